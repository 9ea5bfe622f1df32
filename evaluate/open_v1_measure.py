"""Measures bodies that were predicted from painted pictures, against people known completely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from plausibody.evaluate import metrics
from plausibody.evaluate.datasets.variants import reduced
from plausibody.evaluate.protocols import METRICS, Protocol, protocol_of, tagged
from plausibody.evaluate.rendered_people import RenderedPeople
from plausibody.evaluate.rendered_sight import Evidence
from plausibody.evaluate.ruler import PROTOCOLS, Measured, Ruler, errors, joint_area
from plausibody.evaluate.sample_metrics import interval_scores, measurement_errors
from plausibody.models.body import BodyTemplate, pose_body, regress, rest_vertices
from plausibody.models.calibration import LEVELS, Calibration
from plausibody.models.camera import PerspectiveCamera, WeakPerspectiveCamera
from plausibody.models.intervals import QUANTITIES, Interval, measure_table
from plausibody.models.prediction import BodyParameters, BodyPrediction, FisherPrediction
from plausibody.models.proxy import Box, Proxy, ProxySettings
from plausibody.models.records import concatenate, map_tensors
from plausibody.predict.looking import look_at
from plausibody.predict.measurements import PersonMeasurements, measure_people
from plausibody.predict.placement import PictureCamera
from plausibody.synth.raster import rasterize_outlines

ROOM = 1.2
"""Side of the square in which key points and silhouettes are compared, over the longer side of the
rectangle round the true body, hidden and cut parts included."""
SAMPLES = 10
SHOWN = ("height", "chest", "waist", "hips", "inseam", "mass")
"""The measurements that have figures."""
LEVEL = 0.9
"""Of the intervals that are judged."""
OF_SAMPLES = ("mpjpe", "pa_mpjpe", "pve_t_sc")
"""Errors whose best of samples is taken."""

VISIBLE = "silhouette_iou[visible]"
HELD = f"coverage[level{round(100 * LEVEL)}]"

_SQUARE = "square of 256 px round the true body"
_WORDS: Mapping[str, Protocol] = {
    "keypoint_error": replace(METRICS["keypoint_error"], points=f"COCO17, all, {_SQUARE}"),
    VISIBLE: replace(
        METRICS["silhouette_iou"],
        points="what the picture would show of the predicted body, and shows of the clothed person",
    ),
}


def protocols(names: Sequence[str]) -> dict[str, Protocol]:
    """Says what the metrics of this benchmark are of."""
    found = {}
    for name in names:
        base = name.partition("[")[0]
        known = _WORDS.get(name) or PROTOCOLS.get(name)
        tags = protocol_of(name)
        found[name] = known or (
            replace(tags, points=_WORDS[base].points) if base in _WORDS else tags
        )
    return found


@dataclass(frozen=True)
class Answers:
    """What somebody says of some people, on the CPU."""

    prediction: BodyPrediction
    camera: PictureCamera
    measurements: list[PersonMeasurements]

    @classmethod
    def of(
        cls,
        prediction: BodyPrediction,
        template: BodyTemplate,
        box: Box,
        calibration: Calibration | None = None,
    ) -> Answers:
        """Makes of a prediction what `predict` makes of it.

        Args:
            prediction: On the CPU.
            template: Of the predicted bodies.
            box: Of the proxies.
            calibration: Of the intervals.
        """
        return cls(
            prediction=prediction,
            camera=PictureCamera.of(prediction.camera, box),
            measurements=measure_people(
                prediction, template, ["plain"] * len(prediction.camera.scale), calibration
            ),
        )


def proxies(
    seen: Evidence,
    settings: ProxySettings,
    pictures: Sequence[UInt8[Tensor, "size size 3"]] | None = None,
) -> Proxy:
    """Makes what regressors read, as `predict` does once the front end has spoken.

    Args:
        settings: Of the regressor.
        pictures: Needed by those who read them.
    """
    found = [
        look_at(seen.person(n), settings, None if pictures is None else pictures[n])
        for n in range(len(seen.found))
    ]
    return concatenate([map_tensors(one, lambda t: t[None]) for one in found])


@dataclass(frozen=True)
class Truth:
    """What is true of some people, as far as it is compared."""

    people: RenderedPeople
    square: Box
    """In which key points and silhouettes are compared."""
    body: Measured
    measured: Float[Tensor, "people 13"]
    """`QUANTITIES` [m; kg]."""


@dataclass(frozen=True)
class PictureRuler:
    """Measures predictions."""

    truth: Ruler
    """Of the true bodies."""
    samples: int = SAMPLES
    """How many are drawn from each prediction that is a distribution."""

    @torch.no_grad()
    def look(self, people: RenderedPeople) -> Truth:
        """Measures the people themselves."""
        square = square_round(self.flat(people))
        body = self.truth(people.body, _seen_in(people.camera, square))
        return Truth(people, square, body, measure_table(self._template, people.body.shape))

    @torch.no_grad()
    def __call__(
        self, truth: Truth, answers: Answers, predicted: Ruler, seed: int
    ) -> tuple[dict[str, Tensor], Float[Tensor, " people"]]:
        """Takes every error.

        Args:
            predicted: Of the predicted bodies.
            seed: Of the samples.

        Returns:
            Numbers of each person by metric; by what people count in pooled figures.
        """
        prediction = answers.prediction
        guess = predicted(prediction.mode(), _over(answers.camera, truth.square))
        found = errors(guess, truth.body)
        found[VISIBLE] = _visible(truth.people, guess, answers.camera, predicted)
        if isinstance(prediction, FisherPrediction) and self.samples:
            drawn = prediction.sample(self.samples, torch.Generator().manual_seed(seed))
            theirs = _sample_errors(drawn, truth.body, predicted)
            stacked = {n: torch.cat([found[n][None], theirs[n]]) for n in OF_SAMPLES}
            found |= reduced(stacked, self.samples)
        found |= _measured(truth.measured, answers.measurements)
        weight = joint_area(guess, truth.body)
        return {name: value.double() for name, value in found.items()}, weight

    @property
    def _template(self) -> BodyTemplate:
        return self.truth.assets.template

    def flat(self, people: RenderedPeople) -> Float[Tensor, "people V 2"]:
        """Gives the true vertices in the picture [px]."""
        skin = self._template.skin
        vertices = pose_body(skin, people.body.shape, people.body.rotations).vertices
        return people.camera.project(vertices)[..., :2]


def _visible(
    people: RenderedPeople, guess: Measured, camera: PictureCamera, predicted: Ruler
) -> Float[Tensor, " people"]:
    size = people.clothed.shape[-1]
    flat = camera.project(guess.vertices)[..., :2]
    faces = predicted.assets.template.faces
    outlines = rasterize_outlines(flat, faces, (size, size)) & ~people.covered
    return metrics.silhouette_iou(outlines, people.visible)


def _sample_errors(
    drawn: BodyParameters, true: Measured, predicted: Ruler
) -> dict[str, Float[Tensor, "samples people"]]:
    """Takes those errors of samples that are cheap: nothing but joints is posed."""
    template, h36m17 = predicted.assets.template, predicted.assets.regressors.h36m17
    used = (h36m17 != 0).any(0).nonzero()[:, 0]
    posed = pose_body(template.subset(used), drawn.shape, drawn.rotations).vertices
    joints, rest = regress(h36m17[:, used], posed), rest_vertices(template, drawn.shape)
    them = true.h36m.expand_as(joints)
    return {
        "mpjpe": metrics.mpjpe(joints, them),
        "pa_mpjpe": metrics.pa_mpjpe(joints, them),
        "pve_t_sc": metrics.pve_t_sc(rest, true.rest.expand_as(rest)),
    }


def _measured(
    true: Float[Tensor, "people 13"], told: Sequence[PersonMeasurements]
) -> dict[str, Tensor]:
    found = measurement_errors(torch.stack([one.mean for one in told]), true)
    place = LEVELS.index(LEVEL)
    lows = [one.low[place] for one in told if one.low is not None]
    highs = [one.high[place] for one in told if one.high is not None]
    held = {}
    if lows:
        held = interval_scores({LEVEL: Interval(torch.stack(lows), torch.stack(highs))}, true)
    kept = {
        name: value
        for name, value in (found | held).items()
        if name.partition("[")[0].rpartition("/")[2] in SHOWN
    }
    if held:
        tag = f"level{round(100 * LEVEL)}"
        each = [held[tagged(f"coverage/{name}", tag)] for name in QUANTITIES]
        kept[HELD] = torch.stack(each).mean(0)
    return kept


def square_round(flat: Float[Tensor, "people V 2"]) -> Box:
    """Puts a square round each body [px]."""
    low, high = flat.amin(1), flat.amax(1)
    return Box(centre=(low + high) / 2, side=(high - low).amax(1) * ROOM)


def outside(flat: Float[Tensor, "people V 2"], size: int) -> Float[Tensor, " people"]:
    """Gives the share of vertices that lie beyond the border of the picture."""
    return (~((flat >= 0) & (flat < size)).all(-1)).double().mean(1)


def hidden(people: RenderedPeople) -> Float[Tensor, " people"]:
    """Gives the share of the clothed person in the picture that something stands before."""
    shown: Bool[Tensor, "people size size"] = people.clothed & people.covered
    return shown.sum((-2, -1)) / people.clothed.sum((-2, -1)).clamp(min=1)


def _seen_in(camera: PerspectiveCamera, square: Box) -> PerspectiveCamera:
    """Says in half-squares what a camera says in pixels of the picture."""
    half = square.side / 2
    return replace(
        camera,
        focal=camera.focal / half,
        principal=(camera.principal - square.centre) / half[:, None],
    )


def _over(camera: PictureCamera, square: Box) -> WeakPerspectiveCamera:
    """The same for a camera over the whole picture."""
    return WeakPerspectiveCamera(
        scale=camera.scale / (square.side / 2),
        shift=(camera.origin - square.centre) / camera.scale[:, None],
    )
