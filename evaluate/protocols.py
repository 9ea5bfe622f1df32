"""What each metric is of, so that figures of different papers are not mixed.

A metric has a name and, in brackets, tags that say which of several protocols it follows:
`pve_t_sc[gendered]`, `mpjpe[h36m17,min10+mode]`. `protocol_of` turns such a name into words.

gendered: predicted coefficients are put on the template of the true gender (as the code does that
comes with SSP-3D). neutral: they stay on the template that the network predicts (HierProb3D).
h36m17: all 17 joints of the H36M regressor instead of the 14 of LSP. visible, hidden: only points
in sight, or only those out of sight. pooled: people count by how many points they have. samples10:
10 samples of the prediction, averaged. min10: the best of 10 samples of each person, each
metric choosing its own; min10+mode: the mode takes the place of the first sample, as in the
evaluation that HierProb3D released. level90: of intervals that should hold the truth in 90 %.

A part of what is compared stands behind a slash: `measured/waist`, `oks/ap`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Best = Literal["less", "more", "zero", "neither"]


@dataclass(frozen=True)
class Protocol:
    """How the numbers of a metric came about."""

    points: str
    """What is compared."""
    alignment: str = "none"
    """What is forgiven before."""
    unit: str = "mm"
    pooled: str = ""
    """By what people count in the mean, such as their area; each the same if empty."""
    best: Best = "less"
    """Which values are good: small ones, large ones, those about zero, or none by itself."""
    estimate: str = "mode"
    """Which guess of the prediction is measured."""
    samples: int = 0
    """How many samples of the prediction take part; 0 for none."""
    mode_among_samples: bool = False
    """Whether the mode takes the place of the first sample."""
    bodies: str = ""
    """Whose templates are compared, where that is not the same for all figures of a result."""

    @property
    def digits(self) -> int:
        """Worth printing after the point."""
        return {"0..1": 3, "nats": 2, "kg": 2}.get(self.unit, 1)


_VERTICES, _REST = "vertices, posed", "vertices, at rest"
_JOINTS = "LSP14 of H36M17"
_SC, _PA = "scale, shift", "rotation, scale, shift"

METRICS: Mapping[str, Protocol] = MappingProxyType(
    {
        "mpjpe": Protocol(_JOINTS, "pelvis"),
        "mpjpe_smplorigin": Protocol(_JOINTS),
        "mpjpe_sc": Protocol(_JOINTS, _SC),
        "pa_mpjpe": Protocol(_JOINTS, _PA),
        "pve": Protocol(_VERTICES),
        "pve_pelvis": Protocol(_VERTICES, "pelvis"),
        "pve_sc": Protocol(_VERTICES, _SC),
        "pve_pa": Protocol(_VERTICES, _PA),
        "pve_t": Protocol(_REST),
        "pve_t_sc": Protocol(_REST, _SC),
        "root_angle": Protocol("root rotation", unit="degrees"),
        "keypoint_error": Protocol("COCO17, all, crop of 256 px", unit="px"),
        "silhouette_iou": Protocol("masks", unit="0..1", best="more"),
        "silhouette_iou_pooled": Protocol("masks", unit="0..1", pooled="area", best="more"),
        "mask_accuracy": Protocol("pixels of the photo", unit="0..1", pooled="area", best="more"),
        "mask_f1": Protocol("pixels of the photo, F1", unit="0..1", pooled="area", best="more"),
        "part_accuracy": Protocol(
            "body parts in the photo", unit="0..1", pooled="area", best="more"
        ),
        "part_f1": Protocol("body parts in the photo, F1", unit="0..1", pooled="area", best="more"),
        "diversity": Protocol("COCO17, distance of samples to their mean", best="neither"),
        "nll_pose": Protocol("rotations of joints but the root, mean", unit="nats"),
        "nll_shape": Protocol("coefficients of shape, all together", unit="nats"),
        "coverage": Protocol("measurements in their intervals", unit="0..1", best="neither"),
        "sharpness": Protocol("width of the intervals of measurements", best="neither"),
        "measured": Protocol("measurements, absolute error"),
        "measured_bias": Protocol("measurements, predicted less true", best="zero"),
        "oks": Protocol("COCO17, object key-point similarity", unit="0..1", best="more"),
    }
)
"""By name without tags; what data sets compare instead is said with `dataclasses.replace`."""

_NAME = re.compile(r"(?P<base>\w+)(?:/(?P<part>\w+))?(?:\[(?P<tags>[^\[\]]+)\])?")
_COUNTED = re.compile(r"(?P<kind>samples|min|level)(?P<count>[1-9]\d*)(?P<mode>\+mode)?")


def tagged(metric: str, *tags: str) -> str:
    """Adds tags to the name of a metric: tagged("pve", "min10") is "pve[min10]"."""
    base, _, rest = metric.partition("[")
    known = [tag for tag in rest.removesuffix("]").split(",") if tag]
    return f"{base}[{','.join([*known, *tags])}]" if known or tags else base


def untagged(metric: str) -> str:
    """Takes tags and part off a name: untagged("measured/waist[min10]") is "measured"."""
    return metric.partition("[")[0].partition("/")[0]


def part_of(metric: str) -> str:
    """Gives the part that a name says: part_of("measured/waist[min10]") is "waist"; or nothing."""
    return metric.partition("[")[0].partition("/")[2]


def protocol_of(metric: str) -> Protocol:
    """Says what a metric is of, from its name and tags.

    Args:
        metric: Such as "pa_mpjpe", "pve_t_sc[gendered,min10]" or "measured/waist".

    Raises:
        ValueError: If there is no such metric or tag.
    """
    match = _NAME.fullmatch(metric)
    if match is None or match["base"] not in METRICS:
        raise ValueError(f"wanted one of the metrics {', '.join(METRICS)}, got {metric!r}")
    protocol = METRICS[match["base"]]
    if match["part"]:
        protocol = _part(protocol, match["part"])
    for tag in (match["tags"] or "").split(","):
        protocol = _with_tag(protocol, tag, metric) if tag else protocol
    return protocol


def _part(protocol: Protocol, part: str) -> Protocol:
    measured = "measurements" in protocol.points
    unit = "kg" if part == "mass" and protocol.unit == "mm" else protocol.unit
    part = part.replace("_", " ")
    points = (
        protocol.points.replace("measurements", part) if measured else f"{protocol.points}, {part}"
    )
    return dataclasses.replace(protocol, points=points, unit=unit)


def _with_tag(protocol: Protocol, tag: str, metric: str) -> Protocol:
    if tag == "gendered":
        return dataclasses.replace(
            protocol, bodies="predicted coefficients on the template of the true gender"
        )
    if tag == "neutral":
        return dataclasses.replace(protocol, bodies="the template that the network predicts")
    if tag == "h36m17":
        return dataclasses.replace(protocol, points=protocol.points.replace(_JOINTS, "H36M17"))
    if tag in ("visible", "hidden"):
        points = protocol.points.replace(", all,", ",")
        return dataclasses.replace(protocol, points=f"{points}, {tag} ones")
    if tag == "pooled":
        return dataclasses.replace(protocol, pooled="points")
    counted = _COUNTED.fullmatch(tag)
    if counted is None or (counted["kind"] != "min" and counted["mode"]):
        raise ValueError(
            f"{metric}: wanted tags such as gendered, neutral, h36m17, visible, hidden, pooled, "
            f"samples10, min10, min10+mode or level90, got {tag!r}"
        )
    count, mode = int(counted["count"]), bool(counted["mode"])
    if counted["kind"] == "level":
        return dataclasses.replace(protocol, points=f"{protocol.points} of {count} %")
    among = ", the mode for the first" if mode else ""
    best = f"best of {count} samples{among}"
    return dataclasses.replace(
        protocol,
        estimate=best if counted["kind"] == "min" else f"{count} samples, averaged",
        samples=count,
        mode_among_samples=mode,
    )
