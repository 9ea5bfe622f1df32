"""Pictures of uncertainty: the colours' order, the unsure limb, the legend, the samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from plausibody.models.body import PosedBody
from plausibody.models.skeleton import SMPL24
from plausibody.models.uncertainty import VertexUncertainty
from plausibody.predict.drawing import bodies as drawing
from plausibody.predict.drawing import uncertainty as pictures


def lightness(colour: Tensor) -> Tensor:
    """CIE L* of sRGB colours."""
    linear = torch.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    luminance = linear @ torch.tensor([0.2126, 0.7152, 0.0722])
    return 116 * luminance.clamp(min=0.008856) ** (1 / 3) - 16


def test_colours_darken_evenly() -> None:
    """Measured: from 91 to 28, by 7.2 to 8.4 for each eighth."""
    values = torch.linspace(0, 0.2, 9)
    colours = pictures.colour_uncertainty(values)
    assert ((colours >= 0) & (colours <= 1)).all()
    steps = -lightness(colours).diff()
    assert steps.min() > 7 and steps.max() < 8.6
    fine = lightness(pictures.colour_uncertainty(torch.linspace(0, 0.2, 200)))
    assert (fine.diff() < 0).all()


def test_values_beyond_the_ends_have_the_end_colours() -> None:
    ends = pictures.colour_uncertainty(torch.tensor([0.0, 0.2, 0.7, float("inf")]))
    torch.testing.assert_close(ends[0], torch.tensor(pictures.COLOURS[0]))
    torch.testing.assert_close(ends[1:], torch.tensor(pictures.COLOURS[-1]).expand(3, 3))
    halves = pictures.colour_uncertainty(torch.full((2, 3), 0.05), most=0.1)
    torch.testing.assert_close(halves, torch.tensor(pictures.COLOURS[4]).expand(2, 3, 3))
    with pytest.raises(ValueError, match="most: wanted a length above 0 m, got 0"):
        pictures.colour_uncertainty(torch.zeros(2), most=0.0)


def test_one_colour_for_each_vertex_is_the_colour_of_the_whole(known_person: Any) -> None:
    body, faces = known_person.vertices, known_person.template.faces
    colour = (0.2, 0.5, 0.9)
    each = torch.tensor(colour).expand(len(body), 3)
    whole = drawing.draw_body(body, faces, known_person.camera, known_person.size, colour)
    parts = drawing.draw_body(body, faces, known_person.camera, known_person.size, each)
    torch.testing.assert_close(parts.colour, whole.colour, atol=1e-5, rtol=0)
    assert torch.equal(parts.alpha, whole.alpha)


def unsure_arm(known: Any) -> Tensor:
    """0.2 m for what follows the left shoulder, the arm that is up; 0 elsewhere."""
    joints = [SMPL24.index(f"left_{name}") for name in ("shoulder", "elbow", "wrist", "hand")]
    arm: Tensor = known.template.skinning_weights[:, joints].sum(-1) > 0.5
    return 0.2 * arm.float()


def test_the_unsure_arm_is_purple_and_the_rest_is_grey(known_person: Any) -> None:
    photo = torch.zeros(3, *known_person.size)
    drawn = pictures.draw_uncertain_overlay(
        photo,
        known_person.vertices,
        unsure_arm(known_person),
        known_person.template.faces,
        known_person.camera,
    )
    red, green, blue = drawn
    mask = known_person.person.mask() > 0.5
    purple = (red > 2 * green) & (blue > 2 * green) & mask
    above_head = mask & (torch.arange(mask.shape[0])[:, None] < 40)
    assert purple[above_head].float().mean() > 0.9
    below = mask & (torch.arange(mask.shape[0])[:, None] > 130)
    assert not purple[below].any() and (blue - red)[below].abs().max() < 0.15
    assert (drawn[:, ~mask] == 0).float().mean() > 0.98


def test_views_have_a_row_for_each_kind_and_a_legend(known_person: Any) -> None:
    arm = unsure_arm(known_person)
    variance = torch.stack([0 * arm, arm.square(), 0 * arm], -1)
    uncertainty = VertexUncertainty(arm, torch.diag_embed(variance))
    rows = pictures.name_directions(uncertainty)
    torch.testing.assert_close(rows["across"], arm)
    assert (rows["depth"] == 0).all()
    side = 64
    faces = known_person.template.faces
    sheet = pictures.draw_uncertain_views(known_person.vertices, rows, faces, side)
    line = side + pictures.TEXT + 4
    legend = 14 + pictures.TEXT
    assert sheet.shape == (3, 2 * line + legend, 3 * side + 2 * 4)

    def purple(part: Tensor) -> int:
        return int(((part[0] > 1.5 * part[1]) & (part[2] > 1.5 * part[1])).sum())

    across, depth = sheet[:, :side], sheet[:, line : line + side]
    assert purple(across) > 50 and purple(depth) == 0
    for view in range(3):
        assert purple(across[:, :, view * (side + 4) :][:, :, :side]) > 10
    with pytest.raises(ValueError, match="wanted at least one picture"):
        pictures.draw_uncertain_views(known_person.vertices, {}, faces, side)


def test_the_legend_goes_from_certain_to_uncertain() -> None:
    legend = pictures.draw_legend(481, most=0.1)
    assert legend.shape == (3, 14 + pictures.TEXT, 481)
    first, last = legend[:, 0, 0], legend[:, 0, -1]
    torch.testing.assert_close(first, torch.tensor(pictures.COLOURS[0]), atol=0.01, rtol=0)
    torch.testing.assert_close(last, torch.tensor(pictures.COLOURS[-1]), atol=0.01, rtol=0)
    text = legend[0, 14:]
    for start in (0, 120, 240, 361):  # something is written after each mark
        assert text[:, start + 4 : start + 40].min() < 0.5
    assert text[:, -40:].min() < 0.5  # and where the colours end


def test_lengths_of_a_narrow_legend_do_not_run_into_each_other() -> None:
    def written(width: int) -> Tensor:
        return (pictures.draw_legend(width)[0, 14:] < 0.5).any(0)

    wide, narrow = written(800), written(120)
    assert [bool(wide[start : start + 50].any()) for start in (0, 200, 400, 600, 750)] == [True] * 5
    assert narrow[:60].any() and narrow[70:].any()
    assert not narrow[44:60].any()  # 10 cm would stand at 60, below 20+ cm


def test_samples_are_drawn_in_their_order(known_person: Any) -> None:
    """The first as the person stands, the second higher: over the photo it is seen higher."""
    photo = torch.zeros(3, *known_person.size)
    up = torch.tensor([0.0, 0.3, 0.0])
    bodies = PosedBody(
        vertices=torch.stack([known_person.vertices, known_person.vertices + up]),
        joints=torch.zeros(2, 24, 3),
    )
    scores = torch.tensor([0.01, 0.2])
    sheet = pictures.draw_samples(
        photo, bodies, scores, known_person.template.faces, known_person.camera, columns=2
    )
    height, width = known_person.size
    assert sheet.shape == (3, height + width + pictures.TEXT, 2 * width + 4)
    first, second = sheet[:, :height, :width], sheet[:, :height, width + 4 :]
    rows = [(one.amax(0) > 0.05).nonzero()[:, 0].float().amax() for one in (first, second)]
    expected = 0.3 * float(known_person.camera.scale)
    assert float(rows[0] - rows[1]) == pytest.approx(expected, abs=2)
    # From the side both look alike: such a view is fitted to the body.
    beside = sheet[:, height : height + width]
    torch.testing.assert_close(beside[..., :width], beside[..., width + 4 :], atol=0.3, rtol=0)
