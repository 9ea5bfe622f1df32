"""Flat things in front of a person: boxes, ellipses, polygons, blobs and furniture.

Everything is triangles, with the same faces for all samples, so that one rasterisation draws all of
it at any resolution; what is not there is collapsed into a point. Lengths follow the person: they
are shares of the longer side of the rectangle round them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.models.constants import constant
from plausibody.models.proxy import Box
from plausibody.synth.chance import Chance
from plausibody.synth.raster import rasterize_labels

LOOSE = ("box", "ellipse", "polygon", "blob")
"""Things that may be anywhere."""
FURNITURE = ("table", "chair", "counter", "pole")
"""Things that stand on the floor."""
KINDS = (*LOOSE, *FURNITURE)

_CORNERS = 32
_QUADS = 7
_NUMBERS = 8


@dataclass(frozen=True)
class ObjectSettings:
    """How often things stand before a person, how many, of which kinds and sizes."""

    present: float = 0.3
    """Probability of any."""
    most: int = 3
    """There are 1 to `most`, all numbers alike."""
    kinds: dict[str, float] = field(
        default_factory=lambda: {
            "box": 0.2, "ellipse": 0.1, "polygon": 0.2, "blob": 0.2,
            "table": 0.1, "chair": 0.1, "counter": 0.05, "pole": 0.05,
        }
    )  # fmt: skip
    """Weight of each kind; none may be left out, but a weight may be 0."""
    extent: tuple[float, float] = (0.1, 0.5)
    """Range of the width and of the height of loose things, over the person's longer side."""
    furniture: tuple[float, float] = (0.25, 0.8)
    """Range of the width of tables, chairs and counters, over the same; their heights are those of
    furniture, 0.25 to 0.6."""
    tilt: float = math.radians(5)
    """Half range by which furniture leans [rad]; loose things lie at any angle, half of the boxes
    upright."""

    def __post_init__(self) -> None:
        if set(self.kinds) != set(KINDS) or min(self.kinds.values()) < 0:
            raise ValueError(
                f"kinds: wanted a weight of at least 0 for each of {', '.join(KINDS)}, "
                f"got {self.kinds}"
            )


@dataclass(frozen=True)
class Objects:
    """Things in front of each person, in the pixels of the picture."""

    there: Bool[Tensor, "batch most"]
    kind: Int[Tensor, "batch most"]
    """Place in `KINDS`, also of things that are not there."""
    extent: Float[Tensor, "batch most 2"]
    """Width and height before it is turned [px]."""
    vertices: Float[Tensor, "batch N 2"]
    """Of the triangles [px]."""
    faces: Int[Tensor, "F 3"]
    number: UInt8[Tensor, " F"]
    """Which thing each face is of, from 1; the first is the nearest."""

    def only(self, wanted: Bool[Tensor, " batch"]) -> Objects:
        """Takes away what stands before the other samples' people."""
        # Onto their first vertex: triangles without an area are not drawn.
        vertices = torch.where(wanted[:, None, None], self.vertices, self.vertices[:, :1])
        return replace(self, there=self.there & wanted[:, None], vertices=vertices)

    def draw(self, box: Box, size: int, backend: str = "auto") -> UInt8[Tensor, "batch size size"]:
        """Gives the number of the thing that each pixel of a square shows, 0 for none.

        Args:
            box: The square, in the picture.
            size: Its side after resizing [px].
        """
        flat = (box.to_square(self.vertices) + 1) * (size / 2)
        pixels = torch.cat([flat, torch.ones_like(flat[..., :1])], -1)
        return rasterize_labels(
            pixels, self.faces, self.number, (size, size), perspective=False, backend=backend
        )


def draw_objects(
    chance: Chance,
    low: Float[Tensor, "batch 2"],
    high: Float[Tensor, "batch 2"],
    settings: ObjectSettings,
) -> Objects:
    """Draws things in front of people.

    Args:
        low: Upper left corner of the rectangle round each person [px].
        high: Lower right corner.
    """
    most = settings.most
    there = chance.chance("object", settings.present, 1) & (
        torch.arange(most, device=low.device) <= chance.integer("object/count", most, 1)
    )
    steps = _steps(tuple(settings.kinds[name] for name in KINDS), low.device)
    kind = torch.searchsorted(steps, chance.uniform("object/kind", most), right=True)
    form = chance.uniform("object/form", most, _NUMBERS)
    centre, extent = _place(chance, low, high, kind, settings)

    loose = kind < len(LOOSE)
    half_turn = chance.uniform("object/angle", most, low=-1.0, high=1.0)
    upright = (kind == KINDS.index("box")) & chance.chance("object/upright", 0.5, most)
    angle = half_turn * torch.where(loose, math.pi, settings.tilt) * ~upright
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)

    unit = torch.cat([_quads(kind, form), _outlines(chance, kind, form)], -2)
    vertices = centre[..., None, :] + (unit * extent[..., None, :]) @ turn.mT
    vertices = torch.where(there[..., None, None], vertices, centre[..., None, :])
    faces, number = _faces(most, low.device)
    return Objects(
        there=there, kind=kind, extent=extent, vertices=vertices.flatten(1, 2),
        faces=faces, number=number,
    )  # fmt: skip


def _steps(weights: tuple[float, ...], device: torch.device) -> Float[Tensor, " kinds"]:
    """Gives where each kind but the last ends if all share 0..1 out by weight."""
    share = torch.tensor(weights)
    return constant(tuple((share / share.sum()).cumsum(0)[:-1].tolist()), torch.float32, device)


def _place(
    chance: Chance,
    low: Float[Tensor, "batch 2"],
    high: Float[Tensor, "batch 2"],
    kind: Int[Tensor, "batch most"],
    settings: ObjectSettings,
) -> tuple[Float[Tensor, "batch most 2"], Float[Tensor, "batch most 2"]]:
    """Draws centres and extents [px]: loose things round the person, furniture on the floor."""
    most, side = settings.most, (high - low).amax(1)[:, None, None]
    at = chance.uniform("object/place", most, 2)
    scattered = low[:, None] + (high - low)[:, None] * (0.1 + 0.8 * at)
    least, largest = settings.extent
    extent = side * chance.uniform("object/extent", most, 2, low=least, high=largest)

    least, largest = settings.furniture
    width = side * chance.uniform("object/width", most, 1, low=least, high=largest)
    height = side * chance.uniform("object/height", most, 1, low=0.25, high=0.6)
    floor = high[:, None, 1:] + side * (0.15 * at[..., 1:] - 0.05)
    # A counter goes down to the floor and a pole beyond both ends of the person.
    pole, counter = (kind == KINDS.index(name) for name in ("pole", "counter"))
    width = torch.where(pole[..., None], width * 0.1, width)
    height = torch.where(pole[..., None], 4 * side, height)
    middle = torch.where(pole[..., None], (low + high)[:, None, 1:] / 2, floor - height / 2)
    width = torch.where(counter[..., None], width * 2, width)
    standing = torch.cat([scattered[..., :1], middle], -1)

    loose = (kind < len(LOOSE))[..., None]
    placed = torch.where(loose, scattered, standing)
    return placed, torch.where(loose, extent, torch.cat([width, height], -1))


def _outlines(
    chance: Chance, kind: Int[Tensor, "batch most"], form: Float[Tensor, "batch most R"]
) -> Float[Tensor, "batch most N 2"]:
    """Gives the middle and the outline of ellipses, polygons and blobs of extent 1."""
    most = kind.shape[1]
    step = torch.arange(_CORNERS, device=kind.device)
    around = (2 * math.pi / _CORNERS) * step

    # A polygon of k corners shares the vertices out among them: some triangles become empty.
    corners = 3 + (form[..., 0] * 6).long()
    corner = step * corners[..., None] // _CORNERS
    jitter = chance.uniform("object/corner", most, 2 * _CORNERS)
    turned = jitter.gather(-1, corner) * 0.45
    angle = (corner + turned) * (2 * math.pi / corners[..., None])
    reach = 0.3 + 0.2 * jitter.gather(-1, corner + _CORNERS)

    # A blob is a circle with five harmonics, their sum at most half of the radius.
    order = torch.arange(1.0, 6.0, device=kind.device)
    phase = chance.uniform("object/phase", most, 5, 1, high=2 * math.pi)
    wave = torch.cos(order[:, None] * around + phase) / order[:, None]
    strength = chance.uniform("object/wave", most, 5, 1) * 0.5 / (1 / order).sum()
    wavy = 0.5 * (1 + (strength * wave).sum(-2)) / 1.5

    polygon, blob = (kind == KINDS.index(name) for name in ("polygon", "blob"))
    angle = torch.where(polygon[..., None], angle, around)
    reach = torch.where(polygon[..., None], reach, 0.5)
    reach = torch.where(blob[..., None], wavy, reach)
    outlined = polygon | blob | (kind == KINDS.index("ellipse"))
    outline = torch.stack([angle.cos(), angle.sin()], -1) * reach[..., None]
    outline = outline * outlined[..., None, None]
    return torch.cat([torch.zeros_like(outline[..., :1, :]), outline], -2)


def _quads(
    kind: Int[Tensor, "batch most"], form: Float[Tensor, "batch most R"]
) -> Float[Tensor, "batch most Q 2"]:
    """Gives the quadrilaterals of boxes and furniture, within -0.5 .. 0.5, y down."""
    made = {"box": _box, "table": _table, "chair": _chair, "counter": _counter, "pole": _box}
    quads = form.new_zeros(*kind.shape, _QUADS, 4, 2)
    for name, make in made.items():
        of_kind = make(*form.unbind(-1))
        empty = torch.zeros_like(of_kind[0])
        whole = torch.stack([*of_kind, *[empty] * (_QUADS - len(of_kind))], -3)
        quads = torch.where((kind == KINDS.index(name))[..., None, None, None], whole, quads)
    return quads.flatten(-3, -2)


def _slab(
    left: Tensor, top: Tensor, right: Tensor, bottom: Tensor, splay: Tensor | float = 0.0
) -> Float[Tensor, "batch most 4 2"]:
    """A quadrilateral with level ends, the lower one shifted by `splay`."""
    x = torch.stack([left, right, right + splay, left + splay], -1)
    return torch.stack([x, torch.stack([top, top, bottom, bottom], -1)], -1)


def _box(*form: Tensor) -> list[Tensor]:
    half = torch.full_like(form[0], 0.5)
    return [_slab(-half, -half, half, half)]


def _counter(*form: Tensor) -> list[Tensor]:
    half, inset = torch.full_like(form[0], 0.5), 0.46 - 0.1 * form[1]
    edge = -half + 0.08 + 0.1 * form[0]
    return [_slab(-half, -half, half, edge), _slab(-inset, edge, inset, half)]


def _table(*form: Tensor) -> list[Tensor]:
    half, thick, leg = torch.full_like(form[0], 0.5), 0.05 + 0.1 * form[0], 0.03 + 0.05 * form[1]
    top, inset, splay = -half + thick, 0.5 - 0.15 * form[2], 0.08 * (form[3] - 0.3)
    far, short = inset - leg - 0.25 * form[4] * inset, half - 0.15 * form[5]
    return [
        _slab(-half, -half, half, top),
        _slab(-inset, top, leg - inset, half, -splay),
        _slab(inset - leg, top, inset, half, splay),
        _slab(-far, top, leg - far, short, -splay),
        _slab(far - leg, top, far, short, splay),
    ]


def _chair(*form: Tensor) -> list[Tensor]:
    half, leg = torch.full_like(form[0], 0.5), 0.06 + 0.06 * form[0]
    seat, under = 0.1 * (form[1] - 0.5), 0.1 * (form[1] - 0.5) + 0.06 + 0.06 * form[2]
    # From the side the back is one bar; from the front it fills the width.
    from_side = form[3] < 0.5
    back = torch.where(from_side, leg - half, half)
    lower = torch.where(from_side, seat, seat - 0.3 * form[4])
    splay, short = 0.06 * form[5], half - 0.12 * form[6]
    far = 0.5 - leg * (1.5 + form[7])
    return [
        _slab(-half, -half, back, lower),
        _slab(-half, lower, leg - half, seat),
        _slab(-half, seat, half, under),
        _slab(-half, under, leg - half, half, -splay),
        _slab(half - leg, under, half, half, splay),
        _slab(-far, under, leg - far, short, -splay),
        _slab(far - leg, under, far, short, splay),
    ]


@lru_cache(maxsize=16)
def _faces(most: int, device: torch.device) -> tuple[Int[Tensor, "F 3"], UInt8[Tensor, " F"]]:
    """Triangles over the vertices of `most` things: quadrilaterals, then a fan."""
    quad = 4 * torch.arange(_QUADS)[:, None, None] + torch.tensor([[0, 1, 2], [0, 2, 3]])
    step, middle = torch.arange(_CORNERS), 4 * _QUADS
    fan = torch.stack([torch.zeros_like(step), 1 + step, 1 + (step + 1) % _CORNERS], -1) + middle
    one = torch.cat([quad.flatten(0, 1), fan])
    things = torch.arange(most)
    faces = one + (things * (middle + 1 + _CORNERS))[:, None, None]
    number = (things + 1).repeat_interleave(len(one)).to(torch.uint8)
    return faces.flatten(0, 1).to(device), number.to(device)
