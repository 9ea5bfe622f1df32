"""Errors of predicted bodies against the labels of a data set, in every variant that papers print.

Papers mix protocols: on whose template predicted coefficients are put, what is aligned at the root,
whether the mode is among the samples, whether overlaps are pooled. Here all of them are computed;
the tags of a metric's name tell them apart (see `protocols`).

2D errors and silhouettes are compared in the published crop, at 256 px: a predicted body is seen by
its own orthographic camera, which lies over the box that the regressor was shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.evaluate import metrics
from plausibody.evaluate.datasets.asking import read_mask
from plausibody.evaluate.datasets.bodies import LabelBodies
from plausibody.evaluate.datasets.overlaps import Overlaps, with_overlaps
from plausibody.evaluate.datasets.part_maps import Sums, compare_photo, draw_parts, face_parts
from plausibody.evaluate.datasets.people import LabelledJoints, LabelledPeople, camera_over_world
from plausibody.evaluate.datasets.variants import (
    JOINT_SETS,
    PELVIS,
    Errors,
    diversity,
    joint_errors,
    reduced,
)
from plausibody.evaluate.distributions import surprise
from plausibody.evaluate.open import facing, stoutness
from plausibody.evaluate.protocols import tagged
from plausibody.evaluate.ruler import CROP
from plausibody.models.body import BodyTemplate, pose_body, regress, rest_vertices
from plausibody.models.crop import nearest_square
from plausibody.models.genders import shape_map
from plausibody.models.markers import JointRegressors
from plausibody.models.prediction import BodyParameters, BodyPrediction, FisherPrediction
from plausibody.models.proxy import Box, Proxy
from plausibody.models.records import map_tensors, to_device
from plausibody.models.rotations import geodesic_angle
from plausibody.predict.placement import PictureCamera
from plausibody.synth.raster import rasterize_outlines

VISIBLE = 0.5
"""Confidence of key points in the network's input from which they count as visible."""


@dataclass(frozen=True)
class Modes:
    """The most probable bodies, on the CPU; all places are in pixels of the picture."""

    body: BodyParameters
    camera: PictureCamera
    keypoints: Float[Tensor, "people 17 2"]
    """COCO-17."""
    joints: Float[Tensor, "people 24 2"]
    """Kinematic."""
    sure: Float[Tensor, " people"] | None
    """How sure the predictions are: the less entropy the rotations have, the more [nats]; None of
    single bodies."""


@dataclass(frozen=True)
class Scores:
    """The numbers of some people, on the CPU in double precision."""

    values: Mapping[str, Float[Tensor, " people"]]
    """By metric, tags included. NaN: this person has not this figure."""
    weights: Mapping[str, Float[Tensor, " people"]]
    """By how much people count, of pooled metrics."""
    labels: Mapping[str, Float[Tensor, " people"]]
    """How well the labelled bodies themselves fit the 2D labels, by the same metrics."""
    label_weights: Mapping[str, Float[Tensor, " people"]]
    joint_nll: Float[Tensor, "people joints"] | None
    """Of the rotation of each joint but the root [nats]; None for single bodies."""
    modes: Modes
    facing: Int[Tensor, " people"]
    """From where the labelled body is seen, see `open.facing`; -1 if there is none."""
    stoutness: Float[Tensor, " people"]
    """Body mass index of the labelled body [kg/m2]; NaN if there is none."""


@dataclass(frozen=True)
class Truth:
    """What labels say of some people, as far as it is compared."""

    vertices: Float[Tensor, "people V 3"] | None
    """Posed [m]."""
    rest: Float[Tensor, "people V 3"] | None
    """Shaped only [m]."""
    h36m: Float[Tensor, "people 17 3"] | None
    root: Float[Tensor, "people 3 3"] | None
    joints: LabelledJoints | None
    keypoints: Float[Tensor, "people 17 2"] | None
    """In half-squares of the published crop."""
    counted: Bool[Tensor, "people 17"] | None
    mask: Bool[Tensor, "people size size"] | None
    """In the published crop."""
    keypoint_metric: str
    """keypoint_error, tagged where only some key points count."""


@dataclass(frozen=True)
class Guesses:
    """Predicted bodies: the mode first, then the samples."""

    vertices: Float[Tensor, "guesses people V 3"]
    rest: Float[Tensor, "guesses people V 3"]
    """On the template that the network predicts."""
    gendered: Float[Tensor, "guesses people V 3"] | None
    """The same coefficients on the template of the true gender."""
    h36m: Float[Tensor, "guesses people 17 3"]
    coco: Float[Tensor, "guesses people 17 3"]
    root: Float[Tensor, "guesses people 3 3"]
    flat: Float[Tensor, "guesses people V 2"]
    """In half-squares of the published crop."""
    keypoints: Float[Tensor, "guesses people 17 2"]


@dataclass(frozen=True)
class Scorer:
    """Measures predictions of one network against labels."""

    template: BodyTemplate
    """That the network predicts."""
    regressors: JointRegressors
    """Of its mesh."""
    labels: LabelBodies | None
    """Of data sets that label bodies."""
    samples: int = 0
    """How many are drawn from each prediction, if it is a distribution."""
    size: int = CROP
    """Side of the crop in whose pixels pictures are compared."""

    @property
    def same_mesh(self) -> bool:
        """Whether vertices can be compared."""
        return self.labels is not None and self.labels.topology == self.template.topology

    @torch.no_grad()
    def __call__(
        self,
        people: LabelledPeople,
        proxy: Proxy,
        prediction: BodyPrediction,
        generator: torch.Generator,
    ) -> Scores:
        """Takes every error of some people.

        Args:
            people: On the device of the prediction.
            proxy: That the regressor was shown; its box is the camera's.
        """
        truth = self.truth(people)
        distribution = prediction if isinstance(prediction, FisherPrediction) else None
        count = self.samples if distribution is not None else 0
        bodies = _stacked(prediction, count, generator)
        guesses = self._guesses(bodies, prediction, proxy.box, people)
        errors = self._errors(guesses, truth)
        values, points = reduced(errors, count), dict[str, Tensor]()
        if count:
            inside = (proxy.keypoints[..., :2].abs() <= 1).all(-1)
            seen = (proxy.keypoints[..., 2] >= VISIBLE) & inside
            spread, points = diversity(guesses.coco[1:], seen, count)
            values |= spread
        values, weights = with_overlaps(values, self._overlaps(guesses, truth), count)
        weights |= points
        if people.parts is not None:
            sums = self._parts_of(guesses, people)
            for name in sums[0]:
                pairs = torch.tensor([one[name] for one in sums], dtype=torch.float64)
                values[name], weights[name] = pairs[:, 0], pairs[:, 1]
        joint_nll = None
        if distribution is not None and people.body is not None and self.same_mesh:
            unlikely = surprise(distribution, self._in_their_space(people, people.body))
            joint_nll = unlikely.pose.double().cpu()
            values["nll_shape"] = unlikely.shape
        labels, label_weights = self._labels_themselves(people, truth)
        seen_from, stout = torch.full((len(people),), -1), torch.full((len(people),), math.nan)
        if people.body is not None and truth.rest is not None and self.labels is not None:
            seen_from = facing(people.body.rotations)
            stout = stoutness(truth.rest, self.labels.faces)
        return Scores(
            values=_on_cpu(values),
            weights=_on_cpu(weights),
            labels=_on_cpu(labels),
            label_weights=_on_cpu(label_weights),
            joint_nll=joint_nll,
            modes=self._modes(bodies, prediction, proxy.box),
            facing=seen_from.cpu(),
            stoutness=stout.double().cpu(),
        )

    def _modes(self, bodies: BodyParameters, prediction: BodyPrediction, box: Box) -> Modes:
        mode = map_tensors(bodies, lambda guesses: guesses[0])
        posed = pose_body(self.template.skin, mode.shape, mode.rotations)
        camera = PictureCamera.of(prediction.camera, box)
        coco = regress(self.regressors.coco17, posed.vertices)
        sure = None
        if isinstance(prediction, FisherPrediction):
            sure = -prediction.joints.entropy().sum(-1)
        found = Modes(
            body=mode,
            camera=camera,
            keypoints=camera.project(coco)[..., :2],
            joints=camera.project(posed.joints)[..., :2],
            sure=sure,
        )
        return to_device(found, "cpu")

    def truth(self, people: LabelledPeople) -> Truth:
        """Poses labelled bodies, and brings 2D labels into the published crop."""
        vertices = rest = h36m = root = keypoints = counted = mask = None
        if people.body is not None:
            assert self.labels is not None
            vertices = self.labels.posed(people.body, people.genders)
            rest = self.labels.rest(people.body.shape, people.genders)
            h36m, root = self.labels.joints(vertices), people.body.rotations[:, 0]
        marks = people.keypoints if people.true_keypoints is None else people.true_keypoints
        if marks is not None:
            keypoints = people.box.to_square(marks[..., :2])
            counted = torch.ones_like(marks[..., 2], dtype=torch.bool)
            if people.true_keypoints is not None:
                counted = marks[..., 2] > 0
        if people.masks is not None:
            crops = [
                nearest_square(
                    read_mask(path).to(people.box.side.device)[None],
                    Box(people.box.centre[n], people.box.side[n]),
                    self.size,
                )[0]
                for n, path in enumerate(people.masks)
            ]
            mask = torch.stack(crops)
        name = "keypoint_error" if people.true_keypoints is None else "keypoint_error[visible]"
        return Truth(vertices, rest, h36m, root, people.joints, keypoints, counted, mask, name)

    def _guesses(
        self, bodies: BodyParameters, prediction: BodyPrediction, box: Box, people: LabelledPeople
    ) -> Guesses:
        vertices = pose_body(self.template.skin, bodies.shape, bodies.rotations).vertices
        coco = regress(self.regressors.coco17, vertices)
        gendered = None
        if self.same_mesh and people.body is not None:
            assert self.labels is not None
            gendered = self.labels.rest(bodies.shape, people.genders)

        def seen(points: Tensor) -> Tensor:
            return people.box.to_square(box.to_picture(prediction.camera.project(points)))

        return Guesses(
            vertices=vertices,
            rest=rest_vertices(self.template, bodies.shape),
            gendered=gendered,
            h36m=regress(self.regressors.h36m17, vertices),
            coco=coco,
            root=bodies.rotations[:, :, 0],
            flat=seen(vertices),
            keypoints=seen(coco),
        )

    def _errors(self, guesses: Guesses, truth: Truth) -> Errors:
        """Takes all errors that are numbers of one guess and one person."""
        found: Errors = {}

        if truth.h36m is not None:
            joints = guesses.h36m, truth.h36m.expand_as(guesses.h36m)
            for tags, names in JOINT_SETS:
                found[tagged("mpjpe", *tags)] = metrics.mpjpe(*joints, names)
                found[tagged("mpjpe_sc", *tags)] = metrics.mpjpe_sc(*joints, names)
                found[tagged("pa_mpjpe", *tags)] = metrics.pa_mpjpe(*joints, names)
        if truth.joints is not None:
            found |= joint_errors(guesses.h36m, truth.joints)
        if self.same_mesh and truth.vertices is not None:
            found |= self._vertex_errors(guesses, truth)
        if truth.keypoints is not None and truth.counted is not None:
            counted = truth.counted.expand(guesses.keypoints.shape[:-1])
            true = truth.keypoints.expand_as(guesses.keypoints)
            gap = metrics.keypoint_error(guesses.keypoints, true, counted)
            found[truth.keypoint_metric] = gap * (self.size / 2)
        return found

    def _vertex_errors(self, guesses: Guesses, truth: Truth) -> Errors:
        """Takes the errors for which both bodies must have the same mesh and origin."""
        assert truth.vertices is not None and truth.rest is not None
        assert truth.h36m is not None and truth.root is not None and guesses.gendered is not None
        posed = guesses.vertices, truth.vertices.expand_as(guesses.vertices)
        joints = guesses.h36m, truth.h36m.expand_as(guesses.h36m)
        rest = truth.rest.expand_as(guesses.rest)
        turn = geodesic_angle(guesses.root, truth.root.expand_as(guesses.root))
        pelvis = [joint[..., PELVIS, :] for joint in joints]
        return {
            "mpjpe_smplorigin": metrics.mpjpe_smplorigin(*joints),
            "pve": metrics.pve(*posed),
            "pve_pelvis": metrics.pve_pelvis(*posed, *pelvis),
            "pve_sc": metrics.pve_sc(*posed),
            "pve_pa": metrics.pve_pa(*posed),
            "pve_t[neutral]": metrics.point_error(guesses.rest, rest),
            "pve_t[gendered]": metrics.point_error(guesses.gendered, rest),
            "pve_t_sc[neutral]": metrics.pve_t_sc(guesses.rest, rest),
            "pve_t_sc[gendered]": metrics.pve_t_sc(guesses.gendered, rest),
            "root_angle": turn * (180 / math.pi),
        }

    def _overlaps(self, guesses: Guesses, truth: Truth) -> Overlaps | None:
        if truth.mask is None:
            return None
        flat = (guesses.flat.flatten(0, 1) + 1) * (self.size / 2)
        drawn = rasterize_outlines(flat, self.template.faces, (self.size, self.size))
        drawn = drawn.unflatten(0, guesses.flat.shape[:2])
        return Overlaps.of(drawn, truth.mask)

    @cached_property
    def _face_parts(self) -> UInt8[Tensor, " F"]:
        return face_parts(self.template)

    def _parts_of(self, guesses: Guesses, people: LabelledPeople) -> list[Sums]:
        """Compares masks and parts of the most probable bodies over whole photos."""
        assert people.masks is not None and people.parts is not None
        drawn = draw_parts(guesses.flat[0], guesses.vertices[0], self.template, self._face_parts)
        box = to_device(people.box, "cpu")
        return [
            compare_photo(one, Box(box.centre[n], box.side[n]), people.masks[n], people.parts[n])
            for n, one in enumerate(drawn)
        ]

    def _in_their_space(self, people: LabelledPeople, body: BodyParameters) -> BodyParameters:
        """Gives true bodies by those coefficients of the network's template that come nearest."""
        assert self.labels is not None
        count, shape = body.shape.shape[-1], body.shape.clone()
        for gender, template in self.labels.templates.items():
            some = torch.tensor([own == gender for own in people.genders], device=shape.device)
            if gender != self.template.gender and bool(some.any()):
                shape[some] = shape_map(template, self.template, count, count)(body.shape[some])
        return replace(body, shape=shape)

    def _labels_themselves(
        self, people: LabelledPeople, truth: Truth
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Measures how labelled bodies under the published camera fit the 2D labels.

        Large errors say that data and templates do not belong together.
        """
        if people.camera is None or truth.vertices is None or people.body is None:
            return {}, {}
        assert self.labels is not None
        pelvis = self.labels.pelvis(people.body.shape, people.genders)
        camera = camera_over_world(people.camera, pelvis)

        def seen(points: Tensor) -> Tensor:
            return people.box.to_square(camera.project(points)[..., :2])

        values: dict[str, Tensor] = {}
        weights: dict[str, Tensor] = {}
        if truth.keypoints is not None and truth.counted is not None:
            coco = seen(regress(self.labels.regressors.coco17, truth.vertices))
            gap = metrics.keypoint_error(coco, truth.keypoints, truth.counted)
            values[truth.keypoint_metric] = gap * (self.size / 2)
        if truth.mask is not None:
            flat = (seen(truth.vertices) + 1) * (self.size / 2)
            drawn = rasterize_outlines(flat, self.labels.faces, (self.size, self.size))
            values, weights = with_overlaps(values, Overlaps.of(drawn[None], truth.mask), 0)
        return values, weights


def _stacked(prediction: BodyPrediction, count: int, generator: torch.Generator) -> BodyParameters:
    """Puts the mode before samples along a first axis."""
    mode = prediction.mode()
    shape, rotations = mode.shape[None], mode.rotations[None]
    if count:
        drawn = prediction.sample(count, generator)
        shape, rotations = torch.cat([shape, drawn.shape]), torch.cat([rotations, drawn.rotations])
    return BodyParameters(shape=shape, rotations=rotations)


def _on_cpu(columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: column.double().cpu() for name, column in columns.items()}
