"""Measures bodies: which errors are taken of a prediction whose truth is known completely."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.evaluate import metrics
from plausibody.evaluate.protocols import METRICS, Protocol
from plausibody.models.body import pose_body, regress
from plausibody.models.camera import (
    PerspectiveCamera,
    WeakPerspectiveCamera,
)
from plausibody.models.prediction import BodyParameters
from plausibody.models.rotations import geodesic_angle
from plausibody.synth.raster import rasterize_outlines
from plausibody.synth.stores import SynthAssets

CROP = 256
"""Side of the crop in whose pixels key points are compared, as published."""
SILHOUETTE = 128
"""Side of the silhouettes that are compared [px]."""


_NAKED = "naked body, uncut"

PROTOCOLS: Mapping[str, Protocol] = {
    **{
        name: METRICS[name]
        for name in (
            *("mpjpe", "mpjpe_smplorigin", "mpjpe_sc", "pa_mpjpe"),
            *("pve", "pve_sc", "pve_pa", "pve_t", "pve_t_sc", "root_angle", "keypoint_error"),
        )
    },
    **{
        name: dataclasses.replace(METRICS[name], points=_NAKED)
        for name in ("silhouette_iou", "silhouette_iou_pooled")
    },
}
"""The figures that are taken, by name."""


@dataclass(frozen=True)
class Measured:
    """A body and its picture, as far as they are compared."""

    vertices: Float[Tensor, "batch V 3"]
    """Posed [m]."""
    rest: Float[Tensor, "batch V 3"]
    """Shaped only [m]."""
    h36m: Float[Tensor, "batch 17 3"]
    root: Float[Tensor, "batch 3 3"]
    keypoints: Float[Tensor, "batch 17 2"]
    """COCO-17 in half-squares."""
    silhouette: Bool[Tensor, "batch size size"]


@dataclass(frozen=True)
class Ruler:
    """The body of one gender, to measure predictions or truths of it with."""

    assets: SynthAssets

    def __call__(
        self, body: BodyParameters, camera: PerspectiveCamera | WeakPerspectiveCamera
    ) -> Measured:
        """Poses a body and takes its picture.

        Args:
            body: Its parameters.
            camera: Over the square of the proxy, in half-squares.
        """
        template, regressors = self.assets.template, self.assets.regressors
        skin, count = template.skin, body.shape.shape[-1]
        vertices = pose_body(skin, body.shape, body.rotations).vertices
        offset = (body.shape @ skin.shape_matrix[:count]).unflatten(1, (3, -1))
        rest = template.vertices.mT.contiguous() + offset
        coco = regress(regressors.coco17, vertices)
        return Measured(
            vertices=vertices,
            rest=rest.mT,
            h36m=regress(regressors.h36m17, vertices),
            root=body.rotations[:, 0],
            keypoints=camera.project(coco)[..., :2],
            silhouette=self._silhouette(body, camera),
        )

    def _silhouette(
        self, body: BodyParameters, camera: PerspectiveCamera | WeakPerspectiveCamera
    ) -> Bool[Tensor, "batch size size"]:
        """Draws the coarse mesh."""
        coarse = self.assets.coarse
        posed = pose_body(coarse.skin, body.shape, body.rotations).vertices[:, : coarse.drawn]
        flat = (camera.project(posed)[..., :2] + 1) * (SILHOUETTE / 2)
        return rasterize_outlines(flat, coarse.faces, (SILHOUETTE, SILHOUETTE))


def errors(prediction: Measured, truth: Measured) -> dict[str, Float[Tensor, " batch"]]:
    """Takes every error of `PROTOCOLS`, of each person."""
    bodies = (prediction.vertices, truth.vertices)
    rests, joints = (prediction.rest, truth.rest), (prediction.h36m, truth.h36m)
    overlap = metrics.silhouette_iou(prediction.silhouette, truth.silhouette)
    turn = geodesic_angle(prediction.root, truth.root)
    flat = metrics.keypoint_error(prediction.keypoints, truth.keypoints)
    return {
        "mpjpe": metrics.mpjpe(*joints),
        "mpjpe_smplorigin": metrics.mpjpe_smplorigin(*joints),
        "mpjpe_sc": metrics.mpjpe_sc(*joints),
        "pa_mpjpe": metrics.pa_mpjpe(*joints),
        "pve": metrics.pve(*bodies),
        "pve_sc": metrics.pve_sc(*bodies),
        "pve_pa": metrics.pve_pa(*bodies),
        "pve_t": metrics.point_error(*rests),
        "pve_t_sc": metrics.pve_t_sc(*rests),
        "root_angle": turn * (180 / math.pi),
        "keypoint_error": flat * (CROP / 2),
        "silhouette_iou": overlap,
        "silhouette_iou_pooled": overlap,
    }


def joint_area(prediction: Measured, truth: Measured) -> Float[Tensor, " batch"]:
    """The area of both silhouettes together [px]: by it people count in pooled figures."""
    return (prediction.silhouette | truth.silhouette).sum((-2, -1)).double()
