"""The predicted bodies of a data set's people as a file, beside the figures told of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plausibody.evaluate.datasets.people import labels_from_body
from plausibody.evaluate.datasets.scoring import Modes
from plausibody.models.files import encode_arrays
from plausibody.models.rotations import rotmat_to_rotvec

BODIES = "bodies.npz"
"""Beside a results.json."""


def encode_bodies(names: Sequence[str], modes: Modes) -> bytes:
    """Gives the content of a `bodies.npz`, in the frames in which data sets publish labels.

    The arrays, a row for each person: `names`; `betas`, of the network's own body; `rotvecs`,
    axis-angle of each joint, the root's in the camera's frame, y down [rad]; `camera_scale` [px/m]
    and `camera_origin`, where SMPL's origin appears: x, y [px of the picture]; and `keypoints`,
    where the body has those of COCO [px of the picture].

    Args:
        names: Of the people, as in `people.npz`.

    Raises:
        ValueError: If there are not as many names as bodies.
    """
    if len(names) != len(modes.keypoints):
        raise ValueError(
            f"names: wanted one for each of {len(modes.keypoints)} people, got {len(names)}"
        )
    return encode_arrays(
        {
            "names": np.array(names),
            "betas": modes.body.shape.float().numpy(),
            "rotvecs": rotmat_to_rotvec(labels_from_body(modes.body)).float().numpy(),
            "camera_scale": modes.camera.scale.float().numpy(),
            "camera_origin": modes.camera.origin.float().numpy(),
            "keypoints": modes.keypoints.float().numpy(),
        }
    )
