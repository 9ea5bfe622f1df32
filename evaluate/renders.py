"""How well a regressor does on painted, clothed people whom the real front end finds in pictures.

The way from the picture to the body is that of `predict`: the front end, the proxy, the network and
its mirror image, the camera over the picture. Beside each figure stand those of the true body under
the camera that took the picture (clothes and the front end keep these from being perfect), of the
true body under the best orthographic camera (which is what regressors have), and of the mean body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody import __version__
from plausibody.evaluate.asked import Asked, Unlearnt, pictures_for, require_evidence
from plausibody.evaluate.baselines import MeanBody
from plausibody.evaluate.rendered_people import Renders
from plausibody.evaluate.rendered_sight import Sight, Watch, see
from plausibody.evaluate.renders_result import Case, RenderFigure, RendersResult
from plausibody.evaluate.renders_ruler import PROTOCOLS, Errors, RendersRuler, camera_of
from plausibody.evaluate.run import summary, training_bank
from plausibody.models.body import BodyTemplate
from plausibody.models.prediction import BodyParameters
from plausibody.models.records import concatenate, map_tensors, take
from plausibody.models.weights import TrainedRegressor
from plausibody.predict.front_ends.front_end import FrontEnd
from plausibody.predict.front_ends.witness import embedded_digest
from plausibody.predict.placement import PictureCamera

THIRDS = ("thinnest third", "middle third", "stoutest third")
REGRESSOR, TRUTH, WEAK, MEAN = "regressor", "truth", "truth, orthographic", "mean body"
CHUNK = 16
"""People who are predicted and measured together."""
NAMED = 10
"""How many of the worst a result names."""


@dataclass(frozen=True)
class Bodies:
    """What a regressor gave for the people who were found."""

    number: Int[Tensor, " people"]
    body: BodyParameters
    camera: PictureCamera


@dataclass(frozen=True)
class Evaluation:
    """A result, and what is needed to draw the people of it."""

    result: RendersResult
    renders: Renders
    template: BodyTemplate
    """Of the predicted bodies."""
    bodies: Bodies
    errors: Errors
    """Of these bodies."""
    sight: Sight
    """The same people."""


@torch.no_grad()
def evaluate_renders(
    regressor: TrainedRegressor,
    front_end: FrontEnd,
    renders: Renders | None = None,
    watch: Watch = lambda done, total: None,
    *,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    front_end_name: str | None = None,
) -> Evaluation:
    """Evaluates a regressor on painted people.

    Args:
        regressor: From `load_regressor`, on the device.
        front_end: What finds the people.
        renders: The people; those of `renders-v0` if None. Several regressors may share them.
        watch: Is told the progress: everybody is shown first, and then measured.
        device: Where networks and predicted bodies are computed.
        cache: Where what the front end said is kept; the user's cache folder if None.
        front_end_name: What tells the front end from others; by default the embedded one's digest.

    Raises:
        ValueError: If the regressor predicts another body, or nobody got one.
    """
    if regressor.body != "open":
        raise ValueError(
            f"renders: wanted a regressor of the open body, got one of {regressor.body!r}: their "
            "vertices differ"
        )
    require_evidence("renders", regressor)
    renders, name = renders or Renders(), front_end_name or embedded_digest()
    count = renders.settings.count
    whole = concatenate(see(renders, front_end, name, lambda n, _: watch(n, 2 * count), cache))
    ours, found = Asked.of(regressor, device), whole.evidence.found
    measured, bodies = _measure(regressor, ours, renders, whole, watch)
    stout = RendersRuler(renders.assets).stoutness(whole.people.body)
    result = RendersResult(
        benchmark=renders.settings.name,
        digest=renders.digest,
        gender=f"{regressor.gender} (predicted), neutral (true)",
        settings=renders.settings.described(),
        front_end=name,
        regressor=summary(regressor.card),
        plausibody=__version__,
        shown=count,
        missed=_numbers(~found),
        failed=_numbers(found.index_fill(0, bodies.number, False)),
        worst=_worst(measured[REGRESSOR], bodies.number, stout),
        figures=figures(measured, thirds(stout)[bodies.number]),
    )
    people = take(whole, bodies.number)
    return Evaluation(result, renders, ours.template, bodies, measured[REGRESSOR], people)


def _measure(
    regressor: TrainedRegressor, ours: Asked, renders: Renders, whole: Sight, watch: Watch
) -> tuple[dict[str, Errors], Bodies]:
    """Predicts those who were found, and measures what is said of them, by estimator."""
    count, found, ruler = len(whole.people), whole.evidence.found, RendersRuler(renders.assets)
    mean = Unlearnt.beside(regressor, MeanBody.of(training_bank("cpu"), renders.assets))
    theirs = Asked.of(mean, "cpu")
    taken: dict[str, list[Errors]] = {name: [] for name in (REGRESSOR, MEAN, TRUTH, WEAK)}
    bodies, done = [], 0
    for some in found.nonzero()[:, 0].split(CHUNK):
        pictures = pictures_for(renders, some, regressor)
        seen = take(whole, some).evidence
        pairs = enumerate(zip(ours(seen, pictures), theirs(seen, pictures), strict=True))
        rows = [(n, mine, his) for n, (mine, his) in pairs if mine and his]
        done += len(some)
        if rows:
            kept, answers, means = zip(*rows, strict=True)
            some = some[list(kept)]
            people = take(whole, some)
            taken[REGRESSOR].append(ruler.predicted(people, answers, ours.template))
            taken[MEAN].append(ruler.predicted(people, means, theirs.template))
            taken[TRUTH].append(ruler.truth(people))
            taken[WEAK].append(ruler.orthographic(people))
            modes = [map_tensors(one.prediction.mode(), lambda t: t[None]) for one in answers]
            bodies.append(Bodies(some, concatenate(modes), camera_of(answers)))
        watch(count + done, 2 * count)
    if not bodies:
        raise ValueError(
            f"renders: wanted bodies to measure, got none of {count} people, of whom the front end "
            f"found {int(found.sum())}"
        )
    return {name: _join(parts) for name, parts in taken.items()}, concatenate(bodies)


def thirds(stout: Float[Tensor, " people"]) -> Int[Tensor, " people"]:
    """Divides people into thirds by their body mass index, 0 for the thinnest."""
    return stout.argsort().argsort() * len(THIRDS) // max(len(stout), 1)


def figures(
    measured: Mapping[str, Errors], third: Int[Tensor, " people"]
) -> tuple[RenderFigure, ...]:
    """Averages what was measured, over everyone and over each third.

    Args:
        measured: By estimator: of the regressor, of both truths and of the mean body.
        third: To which each person belongs, of all who were shown.
    """
    subsets = {"all": torch.ones_like(third, dtype=torch.bool)}
    subsets |= {name: third == number for number, name in enumerate(THIRDS)}

    def average(estimator: str, metric: str, members: Tensor) -> float:
        value = measured[estimator][metric][members]
        median = PROTOCOLS[metric].statistic == "median"
        return float(value.nanquantile(0.5) if median else value.nanmean())

    return tuple(
        RenderFigure(
            metric=metric,
            subset=subset,
            people=int(measured[REGRESSOR][metric][members].isfinite().sum()),
            value=average(REGRESSOR, metric, members),
            unit=protocol.unit,
            statistic=protocol.statistic,
            compared=protocol.compared,
            truth=average(TRUTH, metric, members),
            truth_orthographic=average(WEAK, metric, members),
            mean_body=average(MEAN, metric, members),
        )
        for subset, members in subsets.items()
        if bool(members.any())
        for metric, protocol in PROTOCOLS.items()
    )


def _join(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _numbers(members: Bool[Tensor, " people"]) -> tuple[int, ...]:
    return tuple(members.nonzero()[:, 0].tolist())


def _worst(
    errors: Errors, number: Int[Tensor, " people"], stout: Float[Tensor, " shown"]
) -> tuple[Case, ...]:
    order = errors["silhouette_iou"].argsort()[:NAMED].tolist()
    names = ("silhouette_iou", "reprojection", "area_ratio")
    return tuple(
        Case(
            number=int(number[n]),
            body_mass_index=round(float(stout[number[n]]), 1),
            **{name: round(float(errors[name][n]), 4) for name in names},
        )
        for n in order
    )
