"""The `measured` corruption: a front end's errors, as fitted to pictures of known truth.

Where published recipes assume noise, this one draws from what was measured: how far each kind of
key point is off, in sight, hidden or outside the picture; how sure the front end is of it, rightly
or wrongly; how often left and right change places; where its masks swell, shrink, lose parts and
spill over. People differ: one person's errors, and doubts, go together.

Distributions are tables of quantiles over normal scores: value number k is the quantile at the
normal probability of SCORES[k]. So any distribution can be told, long tails and lumps alike, and
correlated draws are sums of normal draws (a Gaussian copula).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.models.constants import constant
from plausibody.models.proxy import Observation
from plausibody.models.skeleton import COCO17, mirror
from plausibody.synth.chance import Chance
from plausibody.synth.corrupt import remove_labels, swap_pairs
from plausibody.synth.joint_sight import face_in_sight, joints_in_sight, sight_states
from plausibody.synth.raster import fastest_backend

KINDS = tuple(dict.fromkeys(name.rpartition("_")[2] for name in COCO17))
"""Kinds of key points: left and right are held to be seen alike."""
KIND = [KINDS.index(name.rpartition("_")[2]) for name in COCO17]
SCORES = torch.linspace(-3.0, 3.0, 25)
"""Normal scores at which quantiles are tabled."""
BLUR = 0.012
"""Standard deviation of the blur by which outlines are moved, over the person's side; they move by
up to three of it."""
SLOPE = BLUR / 1.702
"""Of a straight edge, blurred by a Gaussian, the normal score is the distance over the blur; a
logistic curve 1.702 times as steep comes within 0.01 of the normal one and is cheaper."""
FAINT = 0.01
"""What a mask says no more of than this, it does not say."""
ERRORS = ("published", "measured")
"""What recipes may do to what is true: as published, or as measured."""
_MIRROR = mirror(COCO17)
_SIDE = [1.0 if n.startswith("left") else -1.0 if n.startswith("right") else 0.0 for n in COCO17]


@dataclass(frozen=True)
class Truth:
    """What there is to see of people, each in a square frame of its own."""

    labels: UInt8[Tensor, "batch size size"]
    """DensePose's parts 1..24 where the clothed person is seen, 0 elsewhere and beyond the
    borders."""
    whole: UInt8[Tensor, "batch size size"]
    """The same without the things before the person."""
    keypoints: Float[Tensor, "batch 17 2"]
    """COCO-17 in the frame [px], wherever they are."""
    states: Int[Tensor, "batch 17"]
    """Number in STATES."""
    borders: Float[Tensor, "batch 4"]
    """Of the picture in the frame: left, top, right, bottom [px]; infinite where it goes on."""
    side: Float[Tensor, " batch"]
    """Longer side of what is seen of the person [px]."""

    @classmethod
    def of(
        cls,
        marks: Float[Tensor, "batch 17 3"],
        labels: UInt8[Tensor, "batch size size"],
        whole: UInt8[Tensor, "batch size size"],
        borders: Float[Tensor, "batch 4"],
        side: Float[Tensor, " batch"],
    ) -> Truth:
        """Looks which key points are in sight.

        Args:
            marks: Key points in the frame: x, y [px] and depth [m].
        """
        keypoints = marks[..., :2]
        inside = (keypoints >= borders[:, None, :2]) & (keypoints < borders[:, None, 2:])
        sight = joints_in_sight(labels, keypoints) & face_in_sight(marks)
        states = sight_states(sight, inside.all(-1))
        return cls(labels, whole, keypoints, states, borders, side)


@dataclass(frozen=True)
class KeypointErrors:
    """What happens to key points. Lengths are over the person's side. Q = len(SCORES)."""

    distance: Float[Tensor, "9 3 Q"]
    """Quantiles by kind and state of the distance from where the front end puts such a key point
    on average (truth plus bias; from the nearest place in the picture if outside it)."""
    confidence: Float[Tensor, "9 3 Q"]
    """Quantiles of the reported confidence; 0 where nothing is reported."""
    bias: Float[Tensor, "9 3 2"]
    """Mean offset along the trunk, from hips to shoulders, and across it, away from the middle."""
    distance_shared: float
    """Share of the variance of the distances' scores that a person's key points have in common."""
    confidence_shared: float
    shared_tie: float
    """Correlation between what is common to a person's distances and to their confidences."""
    own_tie: float
    """The same of the rest, key point by key point."""
    swap: tuple[float, ...]
    """Probability by kind that left and right change places."""
    sides: tuple[float, float]
    """Probability that all of left and right change places, for who faces us and who does not."""


@dataclass(frozen=True)
class MaskErrors:
    """What happens to masks. Lengths are over the person's side. Q = len(SCORES)."""

    offset: Float[Tensor, " Q"]
    """Quantiles of how far the outline lies outside the true one (negative: inside)."""
    offset_shared: float
    """Share of the variance of the offsets' scores that a person's whole outline has in common."""
    cells: int
    """The rest varies smoothly, as if given at so many places along each side of the frame."""
    soft: Float[Tensor, " Q"]
    """Quantiles over people of the scale of the mask's logistic slope across its outline."""
    claimed: float
    """Probability that the mask takes what is before the person for the person."""
    lost: Float[Tensor, " 25"]
    """Probability by DensePose's part that the mask leaves out what is seen of it."""
    spill: float
    """Probability of a patch beside the person that the mask takes for the person."""
    spill_radius: Float[Tensor, " Q"]
    cut: float
    """Probability of a patch of the person that the mask leaves out."""
    cut_radius: Float[Tensor, " Q"]
    empty: float
    """Probability of no mask at all."""


@dataclass(frozen=True)
class MeasuredModel:
    """A front end's errors."""

    keypoints: KeypointErrors
    masks: MaskErrors
    missed: float
    """Share of people in the pictures whom the front end did not find. Told, not applied: of whom
    nothing was found, no regressor hears."""
    provenance: dict[str, str | int | float] = field(default_factory=dict)
    """Whence the numbers: front end and its digest, pictures, count."""


def check_errors(name: str, errors: str) -> None:
    """Refuses what is no kind of errors that recipes know.

    Raises:
        ValueError: Naming the setting.
    """
    if errors not in ERRORS:
        raise ValueError(f"{name}: wanted one of {', '.join(ERRORS)}, got {errors!r}")


def corrupt(chance: Chance, truth: Truth, model: MeasuredModel) -> Observation:
    """Sees people as the front end does, in the pixels of the truth's frames.

    Draws under names that begin with "measured/", so that it disturbs no other draw.
    """
    keypoints = corrupt_keypoints(chance, truth, model.keypoints)
    return Observation(keypoints=keypoints, mask=corrupt_mask(chance, truth, model.masks))


def corrupt_keypoints(
    chance: Chance, truth: Truth, errors: KeypointErrors
) -> Float[Tensor, "batch 17 3"]:
    """Places key points and says how sure they are."""
    kind = constant(tuple(KIND), torch.long, truth.states.device)
    low, high = truth.borders[:, None, :2], truth.borders[:, None, 2:]

    shared = chance.normal("measured/person", 2, 1)
    own = chance.normal("measured/joint", 2, 17)
    distance = _mixed(shared[:, 0], own[:, 0], errors.distance_shared)
    confidence = _mixed(
        _tied(shared[:, 0], shared[:, 1], errors.shared_tie),
        _tied(own[:, 0], own[:, 1], errors.own_tie),
        errors.confidence_shared,
    )
    sure = read_quantiles(errors.confidence[kind, truth.states], confidence)
    reach = read_quantiles(errors.distance[kind, truth.states], distance)
    angle = chance.uniform("measured/angle", 17, high=2 * math.pi)
    offset = reach[..., None] * torch.stack([angle.cos(), angle.sin()], -1)
    offset = offset + expected_offset(truth, errors.bias)

    places = truth.keypoints.maximum(low).minimum(high) + truth.side[:, None, None] * offset
    inside = ((places >= low) & (places <= high)).all(-1)
    points = torch.cat([places, (sure * inside)[..., None]], -1)
    points = swap_pairs(chance, points, dict(zip(KINDS, errors.swap, strict=True)), "measured/swap")
    odds = torch.where(facing(truth.keypoints), errors.sides[0], errors.sides[1])
    swapped = chance.uniform("measured/sides") < odds
    mirrored = points[:, constant(tuple(_MIRROR), torch.long, points.device)]
    return torch.where(swapped[:, None, None], mirrored, points)


def facing(keypoints: Float[Tensor, "batch 17 2"]) -> Bool[Tensor, " batch"]:
    """Tells who shows us the front: their left is on the right of the picture."""
    side = constant(_TRUNK_SIDE, keypoints.dtype, keypoints.device)
    return (keypoints[..., 0] * side).sum(1) > 0


_TRUNK_SIDE = tuple(
    side if name.endswith(("shoulder", "hip")) else 0.0
    for side, name in zip(_SIDE, COCO17, strict=True)
)


def expected_offset(truth: Truth, bias: Float[Tensor, "9 3 2"]) -> Float[Tensor, "batch 17 2"]:
    """Turns each key point's bias from the trunk's directions into the picture's; still over the
    side."""
    own = bias[constant(tuple(KIND), torch.long, truth.states.device), truth.states]
    along, across = trunk_directions(truth.keypoints)
    return own[..., :1] * along[:, None] + own[..., 1:] * across


def trunk_directions(
    keypoints: Float[Tensor, "batch 17 2"],
) -> tuple[Float[Tensor, "batch 2"], Float[Tensor, "batch 17 2"]]:
    """Gives the direction from the hips to the shoulders, and across it to each key point's side.

    "Its side" is where its kind's left and right lie from each other in the picture; zero for the
    nose. Of a trunk that points at us, up counts as up in the picture.
    """
    at = COCO17.index
    shoulders = keypoints[:, at("left_shoulder")] + keypoints[:, at("right_shoulder")]
    hips = keypoints[:, at("left_hip")] + keypoints[:, at("right_hip")]
    along = shoulders - hips
    length = along.norm(dim=1, keepdim=True)
    upright = constant((0.0, -1.0), along.dtype, along.device)
    along = torch.where(length > 1e-3, along / length.clamp(min=1e-3), upright)
    right = torch.stack([-along[:, 1], along[:, 0]], 1)  # of the picture, for an upright trunk
    mirrored = keypoints[:, constant(tuple(_MIRROR), torch.long, keypoints.device)]
    apart = (keypoints - mirrored) @ right[..., None]
    return along, apart.sign() * right[:, None]


def corrupt_mask(
    chance: Chance, truth: Truth, errors: MaskErrors
) -> Float[Tensor, "batch size size"]:
    """Outlines the person as the front end does: softly, here too wide and there too narrow."""
    claimed = chance.chance("measured/claimed", errors.claimed, 1, 1)
    removed = chance.uniform("measured/lost", 25) < errors.lost
    mask = remove_labels(torch.where(claimed, truth.whole, truth.labels), removed)
    who, disc = _patches(chance, "spill", truth, errors.spill, errors.spill_radius)
    mask[who] = mask[who].maximum(disc)
    who, disc = _patches(chance, "cut", truth, errors.cut, errors.cut_radius)
    mask[who] = mask[who] * (1 - disc)

    across, down = _blurs(truth)
    there = chance.uniform("measured/empty", 1, 1) >= errors.empty
    inside = (torch.stack([across.sum(-1), down.sum(-1)], 1) > 0) & there
    cells = chance.normal("measured/outline", errors.cells, errors.cells)
    spread = _spread(truth.labels.shape[-1], errors.cells, cells.device)
    return _soften(
        down @ mask @ across.mT,
        inside,
        spread @ cells @ spread.mT,
        chance.normal("measured/outline/person"),
        read_quantiles(errors.soft, chance.normal("measured/soft")),
        errors,
    )


def _soften(
    blurred: Float[Tensor, "batch size size"],
    inside: Bool[Tensor, "batch 2 size"],
    noise: Float[Tensor, "batch size size"],
    shared: Float[Tensor, " batch"],
    soft: Float[Tensor, " batch"],
    errors: MaskErrors,
) -> Float[Tensor, "batch size size"]:
    """Makes of blurred masks those of a front end.

    Args:
        inside: Which columns and which rows are in the picture.
        noise: Normal scores of each pixel's own share in how far the outline lies outside.
        shared: The same of each person's share.
        soft: Scale of the slope across the outline.
    """
    if fastest_backend(blurred.device.type) == "numba":
        from plausibody.synth import measured_numba

        return measured_numba.soften(
            blurred, inside, noise, shared, soft, errors.offset, errors.offset_shared, SLOPE, FAINT
        )
    return _soften_all(blurred, inside, noise, shared, soft, errors)


def _soften_all(
    blurred: Float[Tensor, "batch size size"],
    inside: Bool[Tensor, "batch 2 size"],
    noise: Float[Tensor, "batch size size"],
    shared: Float[Tensor, " batch"],
    soft: Float[Tensor, " batch"],
    errors: MaskErrors,
) -> Float[Tensor, "batch size size"]:
    """Does the same pixel by pixel, on any device."""
    distance = blurred.clamp(1e-4, 1 - 1e-4).logit() * SLOPE
    score = _mixed(shared[:, None, None], noise, errors.offset_shared)
    offset = read_quantiles(errors.offset, score)
    seen = ((distance + offset) / soft[:, None, None]).sigmoid()
    columns, rows = inside.unbind(1)
    return seen * (rows[:, :, None] & columns[:, None, :] & (seen > FAINT))


def read_quantiles(
    tables: Float[Tensor, "*#batch Q"], scores: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Reads tables of quantiles at normal scores, linearly between their entries."""
    last = len(SCORES) - 1
    place = ((scores + 3.0) * (last / 6.0)).clamp(0, last)
    below = place.floor().clamp(max=last - 1).long()
    share = place - below
    if tables.dim() == 1:
        low, high = tables[below], tables[below + 1]
    else:
        tables = tables.expand(*scores.shape, -1)
        low, high = tables.gather(-1, torch.stack([below, below + 1], -1)).unbind(-1)
    return torch.lerp(low, high, share)


def _mixed(shared: Tensor, own: Tensor, share: float) -> Tensor:
    """Adds what is common and what is not, keeping a variance of 1."""
    return math.sqrt(share) * shared + math.sqrt(1 - share) * own


def _tied(first: Tensor, second: Tensor, correlation: float) -> Tensor:
    """Makes of two independent normal draws one that is correlated with the first."""
    return correlation * first + math.sqrt(1 - correlation**2) * second


def _patches(
    chance: Chance, name: str, truth: Truth, odds: float, radius: Float[Tensor, " Q"]
) -> tuple[Int[Tensor, " some"], Float[Tensor, "some size size"]]:
    """Draws a disc: on a key point to be cut out, beside one to be added; or none.

    Returns:
        Who may have one, and theirs.
    """
    reach = read_quantiles(radius, chance.normal(f"measured/{name}/radius")) * truth.side
    reach = torch.where(chance.chance(f"measured/{name}", odds), reach, -1.0)
    which = chance.integer(f"measured/{name}/joint", 17)
    everybody = torch.arange(len(which), device=which.device)
    centre = truth.keypoints[everybody, which]
    if name == "spill":
        angle = chance.uniform("measured/spill/angle", high=2 * math.pi)
        centre = centre + reach[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    who = everybody if reach.is_cuda else (reach > 0).nonzero()[:, 0]  # CUDA would be waited for
    place = torch.arange(truth.labels.shape[-1], device=reach.device) + 0.5
    across = (place - centre[who, :1]).square()[:, None, :]
    down = (place - centre[who, 1:]).square()[:, :, None]
    within = across + down < (reach * reach.abs())[who, None, None]
    return who, within.float()


def _blurs(
    truth: Truth,
) -> tuple[Float[Tensor, "batch size size"], Float[Tensor, "batch size size"]]:
    """Gives the matrices that blur columns and rows within the picture; beyond it they are zero.

    The picture's border does not count as an outline: a mask that is cut there runs up to it.
    """
    size = truth.labels.shape[-1]
    apart = torch.arange(size, device=truth.side.device)
    near = torch.exp(-((apart / (BLUR * truth.side)[:, None]) ** 2) / 2)
    # The weight of two pixels depends on their distance alone: row i begins i before the middle.
    weight = torch.cat([near.flip(1)[:, :-1], near], 1).unfold(1, size, 1).flip(1)
    place = apart + 0.5
    matrices = []
    for axis in (0, 1):
        low, high = truth.borders[:, axis, None], truth.borders[:, axis + 2, None]
        inside = ((place >= low) & (place < high)).to(weight)
        kept = weight * inside[:, None] * inside[:, :, None]
        matrices.append(kept / kept.sum(-1, keepdim=True).clamp(min=1e-6))
    return matrices[0], matrices[1]


@lru_cache(maxsize=8)
def _spread(size: int, cells: int, device: torch.device) -> Float[Tensor, "{size} {cells}"]:
    """Gives linear interpolation from cells to pixels, scaled so that a pixel's variance is 1."""
    place = (torch.arange(size) + 0.5) * (cells / size) - 0.5
    weight = (1 - (place[:, None] - torch.arange(cells)).abs()).clamp(min=0)
    return (weight / weight.norm(dim=1, keepdim=True)).to(device)
