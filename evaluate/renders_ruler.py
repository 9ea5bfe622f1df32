"""Measures bodies in pictures whose people are known: against the truth and what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.evaluate import metrics
from plausibody.evaluate.open import stoutness
from plausibody.evaluate.rendered_people import RenderedPeople
from plausibody.evaluate.rendered_sight import Evidence, Sight
from plausibody.models.body import BodyTemplate, pose_body, regress, rest_vertices
from plausibody.models.camera import fit_weak_perspective, world_to_camera
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Observation
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.predict.fit import CONFIDENT, person_diagonal
from plausibody.predict.placement import PictureCamera
from plausibody.predict.result import PersonPrediction
from plausibody.synth.raster import rasterize_outlines
from plausibody.synth.stores import SynthAssets


@dataclass(frozen=True)
class Protocol:
    """What a figure is of."""

    compared: str
    unit: str
    statistic: str
    """Over people: median or mean."""


_BODY = "silhouette of the predicted body"

PROTOCOLS = {
    "silhouette_iou": Protocol(
        f"{_BODY}, and the front end's mask, as predict reports it", "0..1", "median"
    ),
    "silhouette_iou_clothed": Protocol(
        f"{_BODY}, and the true one with clothes and hair", "0..1", "median"
    ),
    "silhouette_iou_naked": Protocol(f"{_BODY}, and the true naked one", "0..1", "median"),
    "reprojection": Protocol(
        "COCO17, and the front end's sure key points, as predict reports it",
        "% of diagonal",
        "median",
    ),
    "reprojection_true": Protocol(
        "COCO17, all, and the true key points", "% of diagonal", "median"
    ),
    "area_ratio": Protocol(f"area of the {_BODY}, over the true naked one's", "ratio", "median"),
    "pa_mpjpe": Protocol("LSP14 of H36M17, after rotation, scale, shift", "mm", "mean"),
    "pve_t_sc": Protocol("vertices, at rest, after scale, shift", "mm", "mean"),
    "body_mass_index": Protocol("no error: the body's own, as if of water", "kg/m2", "mean"),
}
"""The figures that are taken, by name. Predicted bodies wear nothing. Silhouettes are compared
within the picture; the diagonal is that of the rectangle round the front end's mask and sure key
points."""

Errors = dict[str, Float[Tensor, " people"]]
"""By metric."""


@dataclass(frozen=True)
class _Drawn:
    """Bodies in pictures."""

    vertices: Float[Tensor, "people V 3"]
    """Posed [m]."""
    rest: Float[Tensor, "people V 3"]
    """Shaped only [m]."""
    flat: Float[Tensor, "people V 2"]
    """In the picture [px]."""
    keypoints: Float[Tensor, "people 17 2"]
    """The same of COCO-17."""


@dataclass(frozen=True)
class RendersRuler:
    """The true body's mesh, to measure bodies of that mesh with."""

    assets: SynthAssets

    def predicted(
        self, people: Sight, answers: Sequence[PersonPrediction], template: BodyTemplate
    ) -> Errors:
        """Measures predictions.

        Args:
            answers: One for each of the people.
            template: Of the predicted bodies.
        """
        vertices = torch.stack([answer.body.vertices for answer in answers])
        shape = torch.stack([answer.prediction.mode().shape for answer in answers])
        camera = camera_of(answers)
        drawn = _Drawn(
            vertices=vertices,
            rest=rest_vertices(template, shape),
            flat=camera.project(vertices)[..., :2],
            keypoints=torch.stack([answer.keypoints for answer in answers]),
        )
        reported = {
            "silhouette_iou": [answer.fit.silhouette_iou for answer in answers],
            "reprojection": [answer.fit.reprojection for answer in answers],
        }
        told = {name: torch.tensor(values).double() for name, values in reported.items()}
        return self._errors(people, drawn) | told

    def truth(self, people: Sight) -> Errors:
        """Measures the true bodies as if they were predicted, under their own cameras."""
        true = people.people
        vertices = self._posed(true.body)
        flat = true.camera.project(vertices)[..., :2]
        drawn = _Drawn(vertices, self._rest(true.body), flat, true.keypoints)
        return self._errors(people, drawn)

    def orthographic(self, people: Sight) -> Errors:
        """Measures the true bodies under the best orthographic cameras.

        Whom a pinhole camera sees off its axis it sees turned. So the body is turned as the ray to
        it says, and the camera then fitted to the true key points.
        """
        true = people.people
        turned = turn_to_ray(true, regress(self.assets.regressors.coco17, self._posed(true.body)))
        vertices = self._posed(turned)
        coco = regress(self.assets.regressors.coco17, vertices)
        every = torch.ones_like(true.keypoints[..., 0])
        fitted = fit_weak_perspective(coco, true.keypoints, every)
        camera = PictureCamera(fitted.scale, fitted.scale[:, None] * fitted.shift)
        drawn = _Drawn(
            vertices=vertices,
            rest=self._rest(true.body),
            flat=camera.project(vertices)[..., :2],
            keypoints=camera.project(coco)[..., :2],
        )
        return self._errors(people, drawn)

    def stoutness(self, body: BodyParameters) -> Float[Tensor, " people"]:
        """Gives the body mass index of bodies of this mesh, at the density of water [kg/m2]."""
        return stoutness(self._rest(body), self.assets.template.faces)

    def _posed(self, body: BodyParameters) -> Float[Tensor, "people V 3"]:
        return pose_body(self.assets.template.skin, body.shape, body.rotations).vertices

    def _rest(self, body: BodyParameters) -> Float[Tensor, "people V 3"]:
        return rest_vertices(self.assets.template, body.shape)

    def _errors(self, people: Sight, drawn: _Drawn) -> Errors:
        """Takes every error of `PROTOCOLS`, in double precision."""
        true, seen = people.people, people.evidence
        faces, h36m17 = self.assets.template.faces, self.assets.regressors.h36m17
        size = seen.mask.shape[-1]
        outline = rasterize_outlines(drawn.flat, faces, (size, size))
        diagonal = diagonals(seen)
        gap_seen = metrics.keypoint_error(
            drawn.keypoints, seen.keypoints[..., :2], seen.keypoints[..., 2] > CONFIDENT
        )
        gap_true = metrics.keypoint_error(drawn.keypoints, true.keypoints)
        joints = regress(h36m17, drawn.vertices), regress(h36m17, self._posed(true.body))
        area = true.naked.sum((-2, -1)).clamp(min=1)
        errors = {
            "silhouette_iou": metrics.silhouette_iou(outline, silhouettes(seen)),
            "silhouette_iou_clothed": metrics.silhouette_iou(outline, true.clothed),
            "silhouette_iou_naked": metrics.silhouette_iou(outline, true.naked),
            "reprojection": 100 * gap_seen / diagonal,
            "reprojection_true": 100 * gap_true / diagonal,
            "area_ratio": outline.sum((-2, -1)) / area,
            "pa_mpjpe": metrics.pa_mpjpe(*joints),
            "pve_t_sc": metrics.pve_t_sc(drawn.rest, self._rest(true.body)),
            "body_mass_index": stoutness(drawn.rest, faces),
        }
        return {name: error.double() for name, error in errors.items()}


def silhouettes(seen: Evidence) -> Bool[Tensor, "people size size"]:
    """Gives the front end's silhouettes."""
    return seen.mask > 127


def diagonals(seen: Evidence) -> Float[Tensor, " people"]:
    """Measures the people's diagonals, as `predict` does [px]."""
    masks = silhouettes(seen).float()
    pairs = zip(seen.keypoints, masks, strict=True)
    return torch.tensor([person_diagonal(Observation(*pair)) for pair in pairs])


def camera_of(answers: Sequence[PersonPrediction]) -> PictureCamera:
    """Joins the cameras of some people."""
    return PictureCamera(
        scale=torch.stack([answer.camera.scale for answer in answers]),
        origin=torch.stack([answer.camera.origin for answer in answers]),
    )


def turn_to_ray(people: RenderedPeople, joints: Float[Tensor, "people K 3"]) -> BodyParameters:
    """Turns bodies so that, seen along the camera's axis, they show what the ray to them shows.

    Args:
        joints: In the world [m]; the ray goes to their mean.
    """
    ray = (world_to_camera(joints) + people.camera.translation[:, None]).mean(1)
    ray = torch.nn.functional.normalize(world_to_camera(ray), dim=-1)  # now in the world
    ahead = torch.tensor([0.0, 0.0, -1.0]).expand_as(ray)
    axis = torch.linalg.cross(ray, ahead)
    sine = torch.linalg.vector_norm(axis, dim=-1, keepdim=True)
    angle = torch.atan2(sine, -ray[:, 2:])
    turn = rotvec_to_rotmat(axis / sine.clamp(min=1e-9) * angle)
    rotations = people.body.rotations
    root = turn @ rotations[:, 0]
    return replace(people.body, rotations=torch.cat([root[:, None], rotations[:, 1:]], 1))
