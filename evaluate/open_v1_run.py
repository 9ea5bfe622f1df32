"""Evaluates regressors on `open-v1`, beside those that have learnt nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plausibody import __version__
from plausibody.evaluate.asked import pictures_for, require_evidence
from plausibody.evaluate.baselines import MeanBody, NearestPose
from plausibody.evaluate.figures import MEAN_BODY, NEAREST_POSE
from plausibody.evaluate.metrics import pve_t_sc
from plausibody.evaluate.open import check_seal, facing
from plausibody.evaluate.open_v1 import OPEN_V1, SEALED, OpenV1, seal_of
from plausibody.evaluate.open_v1_measure import (
    SAMPLES,
    Answers,
    PictureRuler,
    hidden,
    outside,
    protocols,
    proxies,
)
from plausibody.evaluate.open_v1_sheet import Artist
from plausibody.evaluate.rendered_people import COEFFICIENTS, RenderedPeople, Renders
from plausibody.evaluate.rendered_sight import Evidence, Sight, see
from plausibody.evaluate.renders import CHUNK, Bodies
from plausibody.evaluate.renders_ruler import RendersRuler
from plausibody.evaluate.result import Result, worst_cases
from plausibody.evaluate.ruler import Ruler
from plausibody.evaluate.run import (
    SUBSETS_BY_BUILD,
    SUBSETS_BY_FACING,
    Estimator,
    Watch,
    summary,
    training_bank,
)
from plausibody.evaluate.unusable import Unusable
from plausibody.evaluate.values import Attribute, Values, summarise
from plausibody.models.body import rest_vertices
from plausibody.models.calibration import Calibration, calibration_path, load_calibration
from plausibody.models.prediction import BodyParameters
from plausibody.models.records import concatenate, take, to_device
from plausibody.models.weights import TrainedRegressor, find_weights, load_regressor
from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.predict.front_ends.front_end import FrontEnd
from plausibody.predict.front_ends.witness import embedded_digest
from plausibody.predict.placement import PictureCamera
from plausibody.synth.full_bodies import fit_shapes
from plausibody.synth.stores import SynthAssets, load_assets

REGRESSOR = "regressor"
NEAREST_LINEAR = "nearest linear body"
"""The best that ten coefficients of shape can say, in the only figure that needs no pose."""
WORST_BY = "pa_mpjpe"
NAMED = 12
"""How many of the worst a result names."""

HIDDEN = ("nothing before them", "hidden by up to 30 %", "hidden by more than 30 %")
CUT = ("whole in the picture", "cut by the border")
APART = (
    "third nearest to linear bodies",
    "third between near and far",
    "third farthest from linear bodies",
)
FOUND = ("found by the front end", "missed by the front end")

LEAST_HIDDEN, MUCH_HIDDEN = 0.01, 0.3
"""Share of the person in the picture from which it counts as hidden."""
LEAST_CUT = 0.01
"""Share of the vertices beyond the border from which somebody counts as cut."""


@torch.no_grad()
def evaluate_open_v1(
    regressor: TrainedRegressor,
    benchmark: OpenV1 = OPEN_V1,
    watch: Watch = lambda done, total: None,
    *,
    renders: Renders | None = None,
    front_end: FrontEnd | None = None,
    front_end_name: str | None = None,
    calibration: Calibration | None = None,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
) -> Result:
    """Evaluates a regressor: everybody is shown to the front end first, and then measured.

    Everybody counts. Whom the front end does not find is predicted from an empty proxy of the whole
    picture.

    Args:
        regressor: From `load_regressor`, on the device.
        benchmark: Which people.
        watch: Is told the progress.
        renders: The same people, to share them among regressors; drawn here if None.
        front_end: What finds the people; the embedded one if None.
        front_end_name: What tells it from others; by default the embedded one's digest.
        calibration: Of the regressor's intervals, as `predict` uses the one beside the weights.
        device: Where the network and predicted bodies are computed.
        cache: Where what the front end said is kept; the user's cache folder if None.

    Raises:
        ValueError: If the regressor predicts another body, or gives a body for nobody.
    """
    require_evidence(benchmark.name, regressor)
    name = front_end_name or embedded_digest()
    renders = renders or Renders(benchmark.people)
    total = 2 * renders.settings.count
    front_end = front_end or load_embedded()
    seen = concatenate(see(renders, front_end, name, lambda done, _: watch(done, total), cache))
    return evaluate_seen(
        regressor, benchmark, renders, seen, name, watch, calibration=calibration, device=device
    )


@torch.no_grad()
def evaluate_seen(
    regressor: TrainedRegressor,
    benchmark: OpenV1,
    renders: Renders,
    seen: Sight,
    front_end: str,
    watch: Watch = lambda done, total: None,
    *,
    calibration: Calibration | None = None,
    samples: int = SAMPLES,
    device: torch.device | str = "cpu",
) -> Result:
    """Does the same with people who were shown before.

    Args:
        samples: How many are drawn from each prediction that is a distribution.

    Others, and errors, as above.
    """
    if regressor.body != "open":
        raise ValueError(
            f"{benchmark.name}: wanted a regressor of the open body, got one of "
            f"{regressor.body!r}: their vertices differ"
        )
    linear = load_assets("val")
    own = linear if regressor.gender == "neutral" else load_assets("val", regressor.gender)
    bank = training_bank("cpu")
    estimators: dict[str, tuple[Estimator, SynthAssets]] = {
        REGRESSOR: (regressor, own),
        MEAN_BODY: (MeanBody.of(bank, linear), linear),
        NEAREST_POSE: (NearestPose.of(bank, linear), linear),
    }
    ruler, found = PictureRuler(Ruler(renders.assets), samples), seen.evidence.found
    count, names = len(found), tuple(f"{number:04d}" for number in range(len(found)))
    taken, unusable = {name: _Taken() for name in estimators}, Unusable()
    for numbers in torch.arange(count).split(CHUNK):
        first = int(numbers[0])
        pictures = pictures_for(renders, numbers, regressor)
        proxy = proxies(take(seen, numbers).evidence, regressor.proxy, pictures)
        said = to_device(regressor.predict(to_device(proxy, device)), "cpu")
        rows = torch.tensor(unusable.look(said, [names[n] for n in numbers]), dtype=torch.long)
        numbers, proxy, said = numbers[rows], take(proxy, rows), take(said, rows)
        if len(rows):
            truth = ruler.look(take(seen, numbers).people)
            for name, (estimator, of) in estimators.items():
                mine = name == REGRESSOR
                answers = Answers.of(
                    said if mine else estimator.predict(proxy), of.template, proxy.box,
                    calibration if mine else None,
                )  # fmt: skip
                taken[name].add(numbers, answers, ruler(truth, answers, Ruler(of), first))
        watch(count + first + CHUNK, 2 * count)
    unusable.require_some(benchmark.name, count)
    kept = taken[REGRESSOR].numbers()
    values = {name: one.values([names[n] for n in kept]) for name, one in taken.items()}
    floor = _distance(renders, seen.people, linear)
    attributes = _attributes(renders, seen, floor)
    measured = replace(values[REGRESSOR].over(names), attributes=attributes)
    others = {name: values[name].over(names) for name in values if name != REGRESSOR}
    others[NEAREST_LINEAR] = Values(names, {"pve_t_sc": floor})
    now = seal_of(renders, seen, front_end)
    sealed, digest, note = check_seal(benchmark.name, benchmark.seal, now, SEALED)
    if unusable.troubles:
        sealed, note = False, f"{unusable.note(count)} {note}".strip()
    return Result(
        benchmark=benchmark.name if sealed else f"not {benchmark.name}",
        sealed=sealed,
        digest=digest,
        gender=f"{regressor.gender} (predicted), MakeHuman adults (true)",
        people=count,
        settings=renders.settings.described(),
        regressor=summary(regressor.card),
        plausibody=__version__,
        figures=summarise(measured, protocols(list(measured.errors)), others),
        note=note,
        remarks=REMARKS,
        front_end=f"the embedded front end {front_end[:12]}",
        missed=tuple(names[n] for n in (~found).nonzero()[:, 0].tolist()),
        failed=tuple(unusable.troubles),
        worst=worst_cases(measured, WORST_BY, NAMED),
        worst_by=WORST_BY,
        values=measured,
        draw=Artist(names, renders, seen, taken[REGRESSOR].bodies(), own.template),
    )


REMARKS = (
    "True bodies are seen by pinhole cameras of their own; errors without alignment of rotations "
    "contain what an orthographic camera cannot say.",
    "The nearest linear body is the best fit of ten coefficients to each true body, which no "
    "regressor of ten coefficients passes by much.",
)


def evaluate_weights(
    weights: Path | str,
    watch: Watch = lambda done, total: None,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
) -> Result:
    """Evaluates weights that ship, or of a file, with the calibration beside them if there is one.

    Arguments and errors as of `evaluate_open_v1`.
    """
    path = find_weights(weights)
    regressor, beside = load_regressor(path, device), calibration_path(path)
    calibration = None
    if beside.is_file():
        calibration = load_calibration(beside, str(regressor.card.get("sha256", "")))
    return evaluate_open_v1(
        regressor, watch=watch, calibration=calibration, device=device, cache=cache
    )


def oracle(people: RenderedPeople) -> Evidence:
    """Says of people what a front end without errors would: the true mask of what is seen of them,
    and all key points in the picture, hidden ones too, with confidence 1."""
    size, places = people.clothed.shape[-1], people.keypoints
    inside = ((places >= 0) & (places < size)).all(-1, keepdim=True).float()
    whole = torch.tensor([0.0, 0.0, size, size]).expand(len(people), 4)
    return Evidence(
        found=torch.ones(len(people), dtype=torch.bool),
        score=torch.ones(len(people)),
        box=whole,
        keypoints=torch.cat([places * inside, inside], -1),
        mask=people.visible.to(torch.uint8) * 255,
    )


class _Taken:
    """What was measured of one estimator so far."""

    def __init__(self) -> None:
        self._numbers: list[Tensor] = []
        self._rows: list[dict[str, Tensor]] = []
        self._areas: list[Tensor] = []
        self._bodies: list[BodyParameters] = []
        self._cameras: list[PictureCamera] = []

    def add(
        self,
        numbers: Int[Tensor, " people"],
        answers: Answers,
        measured: tuple[dict[str, Tensor], Tensor],
    ) -> None:
        self._numbers.append(numbers)
        self._rows.append(measured[0])
        self._areas.append(measured[1])
        self._bodies.append(answers.prediction.mode())
        self._cameras.append(answers.camera)

    def numbers(self) -> list[int]:
        return torch.cat(self._numbers).tolist()

    def bodies(self) -> Bodies:
        return Bodies(
            torch.cat(self._numbers), concatenate(self._bodies), concatenate(self._cameras)
        )

    def values(self, names: Sequence[str]) -> Values:
        rows = self._rows
        errors = {metric: torch.cat([row[metric] for row in rows]) for metric in rows[0]}
        return Values(tuple(names), errors, {"silhouette_iou_pooled": torch.cat(self._areas)})


def _distance(
    renders: Renders, people: RenderedPeople, linear: SynthAssets
) -> Float[Tensor, " people"]:
    """Measures how far bodies are from the nearest linear one, after scale and shift [mm]."""
    truth, template = renders.assets.template, linear.template
    parts = []
    for shape in people.body.shape.split(256):
        bodies = rest_vertices(truth, shape)
        fitted = fit_shapes(template, bodies, COEFFICIENTS, scaled=True)
        parts.append(pve_t_sc(rest_vertices(template, fitted), bodies))
    return torch.cat(parts).double()


def _attributes(
    renders: Renders, seen: Sight, distance: Float[Tensor, " people"]
) -> dict[str, Attribute]:
    """Says of everybody to which subsets they belong."""
    people, ruler = seen.people, PictureRuler(Ruler(renders.assets))
    size = renders.settings.picture
    cut = torch.cat(
        [
            outside(ruler.flat(take(people, some)), size)
            for some in torch.arange(len(people)).split(CHUNK)
        ]
    )
    edges = torch.tensor([LEAST_HIDDEN, MUCH_HIDDEN])
    stout = RendersRuler(renders.assets).stoutness(people.body)
    return {
        "occlusion": Attribute(HIDDEN, torch.bucketize(hidden(people), edges, right=True)),
        "border": Attribute(CUT, (cut >= LEAST_CUT).long()),
        "view": Attribute(SUBSETS_BY_FACING, facing(people.body.rotations)),
        "build": Attribute.thirds(stout, SUBSETS_BY_BUILD),
        "shape space": Attribute.thirds(distance, APART),
        "front end": Attribute(FOUND, (~seen.evidence.found).long()),
    }
