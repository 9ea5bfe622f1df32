"""What many guesses of a body are worth: how far apart they are, how wide, what they say of sizes.

A prediction that is a distribution gives samples; here they are stacked along the first axis. Pure
functions with one number per person, like those of `metrics`, which has the best of them and how
often they hold. `distributions` has likelihoods.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.evaluate.metrics import MILLIMETRES, central_quantiles, finite, length
from plausibody.models.intervals import QUANTITIES, UNITS, Interval


def sample_diversity(
    samples: Float[Tensor, " N *batch J 3"], counted: Bool[Tensor, "*batch J"] | None = None
) -> Float[Tensor, "*batch"]:
    """Averages the distances of joints from their means over several guesses [mm].

    What is seen should leave little choice and what is hidden much: small for joints in sight,
    large for the others. A figure that says nothing of errors; it falls to 0 for a single guess.

    Args:
        samples: Joints of each guess [m], stacked along the first axis: COCO's 17 in the source,
            in the body model's own frame. Vertices will do.
        counted: Which joints count, the visible or the invisible ones; all without it. A person
            with none gives NaN. The source pools the joints of all frames instead.

    Source: Sengupta et al., "HuManiFlow", 2023, and its released evaluation
    (`joints3D_vis_sample_diversity`, `joints3D_invis_sample_diversity`).
    """
    distance = length(finite(samples) - samples.mean(0)).mean(0) * MILLIMETRES
    if counted is None:
        return distance.mean(-1)
    return (distance * counted).sum(-1) / counted.sum(-1)


def interval_width(
    prediction: Float[Tensor, " N *batch"], level: float = 0.9
) -> Float[Tensor, "*batch"]:
    """Gives the width of the central interval of predictive samples, in their unit.

    The sharpness of a prediction: of two that hold the truth as often as they say (`coverage`) the
    narrower is the better. Arguments as in `coverage`.
    """
    low, high = central_quantiles(prediction, level)
    return high - low


def measurement_errors(
    prediction: Float[Tensor, "*batch 13"], target: Float[Tensor, "*batch 13"]
) -> dict[str, Float[Tensor, "*batch"]]:
    """Compares tailor's measurements: how far off each is, and in which direction.

    Args:
        prediction: Of `models.intervals.measure_table`: the 13 `QUANTITIES` [m; kg].
        target: The same of the true body; NaN where one is unknown.

    Returns:
        By metric: `measured/waist`, the absolute error, and `measured_bias/waist`, predicted less
        true, which is positive where bodies are guessed too large [mm; kg for the mass].
    """
    gap = finite(prediction) - target
    errors: dict[str, Tensor] = {}
    for name, unit, column in zip(QUANTITIES, UNITS, gap.unbind(-1), strict=True):
        bias = column * (MILLIMETRES if unit == "m" else 1.0)
        errors |= {f"measured/{name}": bias.abs(), f"measured_bias/{name}": bias}
    return errors


def interval_scores(
    intervals: Mapping[float, Interval], target: Float[Tensor, "*batch 13"]
) -> dict[str, Float[Tensor, "*batch"]]:
    """Tells of predicted intervals of measurements whether they hold the truth, and their widths.

    Args:
        intervals: By the probability with which they should hold it, between 0 and 1; of
            `models.intervals.MeasurementDistribution.intervals` or corrected ones [m; kg].
        target: True measurements [m; kg]; NaN where one is unknown.

    Returns:
        By metric: `coverage/waist[level90]`, 1 or 0, and `sharpness/waist[level90]` [mm; kg].
    """
    scores: dict[str, Tensor] = {}
    for level, interval in intervals.items():
        tag, unknown = f"level{round(100 * level)}", target.isnan()
        held = interval.holds(target).to(target.dtype).masked_fill(unknown, torch.nan)
        width = finite(interval.high - interval.low).masked_fill(unknown, torch.nan)
        for number, (name, unit) in enumerate(zip(QUANTITIES, UNITS, strict=True)):
            scores[f"coverage/{name}[{tag}]"] = held[..., number]
            scale = MILLIMETRES if unit == "m" else 1.0
            scores[f"sharpness/{name}[{tag}]"] = width[..., number] * scale
    return scores
