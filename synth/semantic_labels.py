"""What human parsers say of pixels: Graphonomy's 20 labels, their colours, and how DSR joins them.

Label maps of our textures, of pictures that we draw and of photos are all in these 20 labels, so
that one loss reads them all.

Sources: Gong et al., "Graphonomy: Universal Human Parsing via Graph Transfer Learning", 2019, the
universal model (names, order, colours); Dwivedi et al., "Learning To Regress Bodies from Images
using Differentiable Semantic Rendering", 2021, and its released code (groups). In the data set CIHP
label 10 is the skin of the trunk, in others jumpsuits; DSR counts it as upper clothes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from plausibody.models.constants import constant
from plausibody.synth.charts import PART14_OF_24
from plausibody.synth.texture_canvas import SEMANTICS, label_number
from plausibody.synth.texture_outfits import LOWER, UPPER

LABELS = {
    "background": (0, 0, 0),
    "hat": (128, 0, 0),
    "hair": (255, 0, 0),
    "glove": (0, 85, 0),
    "sunglasses": (170, 0, 51),
    "upper clothes": (255, 85, 0),
    "dress": (0, 0, 85),
    "coat": (0, 119, 221),
    "socks": (85, 85, 0),
    "pants": (0, 85, 85),
    "trunk": (85, 51, 0),
    "scarf": (52, 86, 128),
    "skirt": (0, 128, 0),
    "face": (0, 0, 255),
    "left arm": (51, 170, 221),
    "right arm": (0, 255, 255),
    "left leg": (85, 255, 170),
    "right leg": (170, 255, 85),
    "left shoe": (255, 255, 0),
    "right shoe": (255, 170, 0),
}
"""Colours (red, green, blue) by name, in the order of the labels' numbers."""
NAMES = tuple(LABELS)
GROUPS: dict[str, tuple[str, ...]] = {
    "head": ("hat", "hair", "sunglasses", "scarf", "face"),
    "upper clothes": ("glove", "upper clothes", "dress", "coat", "trunk"),
    "pants": ("socks", "pants", "skirt"),
    "left arm": ("left arm",),
    "right arm": ("right arm",),
    "left leg": ("left leg", "left shoe"),
    "right leg": ("right leg", "right shoe"),
}
"""What DSR-C tells apart, besides the background, which is its class 0."""
BARE = ("left shoe", "right shoe", "left arm", "right arm", "face")
"""What DSR-MC takes for minimally clothed; legs are not among it."""
MIRRORED = tuple(
    NAMES.index(name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right"))
    for name in NAMES
)
"""The label that each becomes in a mirror."""
_SKIN = {
    "face": (10,),
    "left arm": (2, 3, 12),
    "right arm": (4, 5, 11),
    "left leg": (6, 7, 14),
    "right leg": (8, 9, 13),
}
"""What skin is on each of the 14 parts; on the first, the trunk."""


def mirror_labels(labels: UInt8[Tensor, "*batch H W"]) -> UInt8[Tensor, "*batch H W"]:
    """Reflects label maps: the picture, and a person's own left and right. Its own inverse."""
    return constant(MIRRORED, torch.uint8, labels.device)[labels.flip(-1).long()]


def group_matrix() -> Float[Tensor, "20 groups"]:
    """Gives 1 where a label belongs to a group of DSR-C; the background belongs to none."""
    return torch.tensor([[float(name in members) for members in GROUPS.values()] for name in NAMES])


def join_labels(labels: UInt8[Tensor, "*batch H W"]) -> UInt8[Tensor, "*batch H W"]:
    """Gives DSR-C's class of each pixel, 0 for the background."""
    groups = group_matrix()
    classes = (groups.argmax(1) + 1) * (groups.sum(1) > 0)
    return constant(tuple(classes.tolist()), torch.uint8, labels.device)[labels.long()]


def label_table() -> UInt8[Tensor, "kinds 25"]:
    """Gives the label of each kind of texel (`SEMANTICS`) on each of DensePose's parts."""
    table = torch.zeros(len(SEMANTICS), 25, dtype=torch.uint8)
    plain = {
        **{"hair": "hair", "upper": "upper clothes", "lower": "pants", "socks": "socks"},
        **{"glove": "glove", "hat": "hat", "eye": "face", "lip": "face", "brow": "face"},
    }
    for kind, name in plain.items():
        table[label_number(kind), 1:] = NAMES.index(name)
    for part in range(1, 25):
        at = PART14_OF_24[part]
        skin = next((name for name, members in _SKIN.items() if at in members), "trunk")
        table[label_number("skin"), part] = NAMES.index(skin)
        table[label_number("shoes"), part] = NAMES.index(skin.replace("leg", "shoe"))
    return table


def parser_labels(
    kinds: UInt8[Tensor, " batch *place"],
    parts: Integer[Tensor, " batch *place"] | Integer[Tensor, "*place"],
    garments: UInt8[Tensor, "batch 4"],
) -> UInt8[Tensor, " batch *place"]:
    """Says of points of clothed bodies what a parser would.

    Args:
        kinds: Index into `SEMANTICS` of what a point shows; 0 beside the body.
        parts: DensePose's part of each point, 1..24, and 0 beside the body.
        garments: Of each body's texture, as `TextureBank.garments` has them: a jacket is a coat,
            and a skirt is no pair of pants.
    """
    table = constant(tuple(map(tuple, label_table().tolist())), torch.uint8, kinds.device)
    labels = table[kinds.long(), parts.long().expand(kinds.shape)]
    for name, other, place, worn in (
        ("upper clothes", "coat", 0, UPPER.index("jacket")),
        ("pants", "skirt", 1, LOWER.index("skirt")),
    ):
        wears = (garments[:, place] == worn).view(-1, *(1,) * (labels.ndim - 1))
        labels = torch.where(wears & (labels == NAMES.index(name)), NAMES.index(other), labels)
    return labels
