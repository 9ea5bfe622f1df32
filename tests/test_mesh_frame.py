"""Mesh files are where the documented formulas say, beside the other files of a person."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from plausibody.models.body import pose_body
from plausibody.predict.bulk.keeping import person_record
from plausibody.predict.export import encode_mesh
from plausibody.predict.gendered import gendered_body
from plausibody.predict.parameters import Origin, person_arrays
from plausibody.predict.result import PersonPrediction

FLIP = np.array([1.0, -1.0, -1.0])
"""Between a frame with y up and the camera's."""


def only(known_person: Any, **told: Any) -> PersonPrediction:
    (image,) = known_person.doubting_predictor(samples=2, **told)(["photo.jpg"])
    person: PersonPrediction = image.people[0]
    return person


def mesh_of(person: PersonPrediction, known_person: Any) -> Any:
    content = encode_mesh(person.body.vertices, known_person.template.faces, "glb")
    mesh = trimesh.load(io.BytesIO(content), file_type="glb", force="mesh", process=False)
    return np.asarray(mesh.vertices)


@pytest.mark.parametrize("gender", [None, "female"])
def test_the_mesh_origin_leads_from_the_mesh_to_the_camera(
    known_person: Any, gender: str | None
) -> None:
    person = only(known_person, gender=gender)
    gendered = None if gender is None else gendered_body(known_person.template, "open", gender)
    origin = Origin(
        known_person.template, "mine", "0" * 64, "photo.jpg", known_person.size, gendered
    )
    arrays = person_arrays(person, origin, vertices=True)
    mesh = mesh_of(person, known_person)
    moved = mesh * FLIP + person_record(person)["mesh_origin"]
    np.testing.assert_allclose(moved, arrays["vertices"], atol=2e-5)
    # The body that a reader makes of the coefficients: the same, or that of the gender.
    betas, rotmats = (torch.from_numpy(arrays[name]) for name in ("betas", "rotmats"))
    template = known_person.template if gendered is None else gendered.template
    made = pose_body(template, betas, rotmats)
    off = np.linalg.norm(made.vertices.numpy() + arrays["translation"] - moved, axis=-1)
    if gender is not None:
        assert 1e-3 < off.mean() < 0.02  # this shape is not much like a woman's
    else:
        assert off.max() < 2e-5
        pelvis = pose_body(template, betas, torch.eye(3).expand(24, 3, 3)).joints[0].numpy()
        again = made.vertices.numpy() * FLIP + [0, 2 * pelvis[1], 2 * pelvis[2]]
        np.testing.assert_allclose(again, mesh, atol=2e-5)
