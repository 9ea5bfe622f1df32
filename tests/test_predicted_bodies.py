"""Predicted bodies beside the figures of a data set are in the frames of published labels."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from plausibody.evaluate.datasets.people import body_from_labels
from plausibody.evaluate.datasets.predicted import encode_bodies
from plausibody.evaluate.datasets.scoring import Modes
from plausibody.models.prediction import BodyParameters
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.predict.placement import PictureCamera


@pytest.fixture
def modes() -> Modes:
    generator = torch.Generator().manual_seed(0)
    rotvecs = 0.5 * torch.randn(3, 24, 3, generator=generator)
    return Modes(
        body=BodyParameters(
            shape=torch.randn(3, 10, generator=generator), rotations=rotvec_to_rotmat(rotvecs)
        ),
        camera=PictureCamera(torch.tensor([90.0, 100, 110]), torch.full((3, 2), 64.0)),
        keypoints=torch.rand(3, 17, 2, generator=generator),
        joints=torch.rand(3, 24, 2, generator=generator),
        sure=None,
    )


def test_bodies_are_read_back_as_labels_are(modes: Modes) -> None:
    with np.load(io.BytesIO(encode_bodies(("a", "b", "c"), modes))) as file:
        arrays = dict(file)
    assert arrays["names"].tolist() == ["a", "b", "c"]
    numbers = {name: torch.from_numpy(arrays[name]) for name in arrays if name != "names"}
    body = body_from_labels(numbers["rotvecs"], numbers["betas"])
    torch.testing.assert_close(body.rotations, modes.body.rotations, atol=1e-5, rtol=0)
    assert torch.equal(body.shape, modes.body.shape)
    assert numbers["camera_scale"].tolist() == [90, 100, 110]
    assert numbers["camera_origin"].shape == (3, 2) and (numbers["camera_origin"] == 64).all()
    assert torch.equal(numbers["keypoints"], modes.keypoints)


def test_names_are_of_these_people(modes: Modes) -> None:
    with pytest.raises(ValueError, match="wanted one for each of 3 people, got 2"):
        encode_bodies(("a", "b"), modes)
