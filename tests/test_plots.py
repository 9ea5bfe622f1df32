"""Plots: what their pictures show."""

from __future__ import annotations

import torch

from plausibody.models.fisher import MatrixFisher
from plausibody.plots import draw_rotations


def test_rotations_are_drawn_by_colour_of_axis_and_alike_each_time() -> None:
    cases = {"sharp": MatrixFisher(50 * torch.eye(3)), "uniform": MatrixFisher(torch.zeros(3, 3))}
    pictures = [draw_rotations(cases, torch.Generator().manual_seed(1)) for _ in range(2)]
    torch.testing.assert_close(pictures[0], pictures[1], rtol=0, atol=0)
    red, green, blue = pictures[0]
    assert ((red > green + 0.3) & (red > blue + 0.3)).sum() > 100
    half = pictures[0].shape[2] // 2
    green_dots = (green > red + 0.15) & (green > blue + 0.1)
    # The sharp one's y axes stay together at the top; the uniform one's are everywhere.
    rows = [torch.nonzero(part.any(1))[:, 0] for part in green_dots.split(half, 1)[:2]]
    assert rows[0].max() < rows[1].max()
