"""Labels of human parsers for people to look at: in Graphonomy's colours, with their names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from plausibody.predict.drawing import bodies as drawing
from plausibody.synth.semantic_labels import LABELS, NAMES

PARSER = torch.tensor(list(LABELS.values())) / 255
"""Colours of Graphonomy's labels, by number."""


def colour_labels(labels: UInt8[Tensor, "*batch H W"]) -> Float[Tensor, "*batch 3 H W"]:
    """Gives label maps the colours of Graphonomy; the background is black."""
    return PARSER.to(labels.device)[labels.long()].movedim(-1, -3)


def label_legend(labels: Sequence[int], width: int, line: int = 18) -> Float[Tensor, "3 tall wide"]:
    """Draws a patch of the colour of each label beside its name, in as many rows as they need.

    Args:
        labels: Their numbers.
        width: Of the legend [px].
        line: Height of a row [px].
    """
    rows: list[list[Tensor]] = [[]]
    for number in labels:
        patch = torch.full((3, line, line), drawing.PAPER)
        patch[:, 3:-3, 3:-3] = PARSER[number][:, None, None]
        text = torch.zeros(3, 0, drawing.text_width(NAMES[number], line))
        entry = torch.cat([patch, drawing.label(text, NAMES[number], line)], 2)
        if rows[-1] and sum(one.shape[2] for one in rows[-1]) + entry.shape[2] > width:
            rows.append([])
        rows[-1].append(entry)
    blank = torch.full((3, line, 0), drawing.PAPER)
    return torch.cat([widen(torch.cat([blank, *row], 2), width) for row in rows], 1)


def widen(picture: Float[Tensor, "3 H W"], width: int) -> Float[Tensor, "3 H width"]:
    """Adds paper to the right of a picture."""
    return functional.pad(picture, (0, max(0, width - picture.shape[2])), value=drawing.PAPER)
