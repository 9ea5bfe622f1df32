"""Fits COCO's key points to any body of SMPL's mesh: the face's from known vertices, limbs' by fit.

STRAPS, HierProb3D and others take the kinematic joints of shoulders, elbows, wrists, hips, knees
and ankles for those of COCO. A weighted mean of vertices can be had of any surface, though, also of
one that was dressed, scanned or moved; so each joint gets the weights that reproduce it best on
bodies of many poses and shapes. SMPL's own joint regressor belongs to the rest pose: on bent
bodies it drifts by 2 to 3 cm, these by 4 mm.

Sources: Sengupta et al., "Synthetic Training for Accurate 3D Human Pose and Shape Estimation in
the Wild", 2020, released code (which joint is which key point); smplx, `vertex_ids.py`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate, PosedBody, pose_body
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.skeleton import COCO17, SMPL24
from plausibody.synth.chance import Chance
from plausibody.synth.joint_regressor import fit_point, nearest_vertices
from plausibody.synth.poses import PoseBank
from plausibody.synth.texels import LANDMARKS

BODIES = 400
"""On which joints are fitted; 600 fit no better."""
_SHAPE_STD = 1.25
_CANDIDATES = 800
"""Vertices round a joint that may take part; a dozen do."""
_LEAST_WEIGHT = 1e-3
_DIGITS = 6
"""Weights are rounded so that they are the same on every machine."""


def fit_coco17(template: BodyTemplate, bank: PoseBank) -> Float[Tensor, "17 V"]:
    """Makes the regressor of COCO's key points: rows of weights that sum to one.

    Takes a second or two. The same body and bank give the same weights.

    Args:
        template: Of SMPL's mesh: `LANDMARKS` are vertices of its face.
        bank: Of many poses; some are taken, at even distances.
    """
    samples = sample_bodies(template, bank, Chance(0, torch.arange(BODIES)))
    vertices, joints = samples.vertices.numpy(), samples.joints.numpy()
    rest = template.vertices.double()
    at_rest = (template.joint_regressor.double() @ rest).numpy()
    rows = np.zeros((len(COCO17), len(rest)))
    for row, name in zip(rows, COCO17, strict=True):
        if name in LANDMARKS:
            row[LANDMARKS[name]] = 1.0
        else:
            joint = SMPL24.index(name)
            near = nearest_vertices(rest.numpy()[None], at_rest[None, joint], _CANDIDATES)
            row[:] = fit_point(vertices, joints[:, joint], near, _LEAST_WEIGHT).round(_DIGITS)
    return torch.from_numpy(rows / rows.sum(1, keepdims=True)).float()


def sample_bodies(template: BodyTemplate, bank: PoseBank, chance: Chance) -> PosedBody:
    """Poses and shapes a body in double precision, once for each number.

    Args:
        bank: Its poses are picked at even distances, beginning at a place that chance draws.
    """
    count, shapes = len(chance.numbers), min(10, template.shape_directions.shape[-1])
    double = replace(
        template,
        vertices=template.vertices.double(),
        shape_directions=template.shape_directions.double(),
        pose_directions=template.pose_directions.double(),
        joint_regressor=template.joint_regressor.double(),
        skinning_weights=template.skinning_weights.double(),
    )
    places = torch.arange(count) * len(bank) // count + chance.integer("fit/first", len(bank))[0]
    rotations = rotvec_to_rotmat(bank.pick(places % len(bank)).double())
    return pose_body(double, chance.normal("fit/shape", shapes, std=_SHAPE_STD).double(), rotations)
