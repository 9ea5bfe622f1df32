"""Textures in several sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.synth.charts import Chart, load_chart
from plausibody.synth.mipmaps import MipMaps, level_of_detail, sample, sample_semantics


@pytest.fixture(scope="module")
def chart(template: BodyTemplate) -> Chart:
    return load_chart(template)


def cells(height: int = 120, width: int = 80) -> Tensor:
    """A texture whose cells have the colour of their part's number, 10 times."""
    row = torch.arange(height)[:, None] * 6 // height
    column = torch.arange(width) * 4 // width
    return ((6 * column + row + 1) * 10)[None, :, :, None].expand(-1, -1, -1, 3).to(torch.uint8)


def everywhere(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    part = torch.randint(1, 25, (count,), generator=generator)
    u, v = torch.rand(2, count, generator=generator) * 1.2 - 0.1
    return torch.zeros(count, dtype=torch.int64), part, u, v


@pytest.mark.parametrize(("height", "width"), [(120, 80), (1200, 800), (78, 44)])
def test_no_level_mixes_parts(height: int, width: int) -> None:
    image = cells(height, width)
    mipmaps = MipMaps.of(image, image[..., 0])
    texture, part, u, v = everywhere(2000)
    for number in range(2 * len(mipmaps.levels) - 1):
        level = torch.full_like(u, number / 2)
        colour = sample(mipmaps, texture, part, u, v, level) * 255
        torch.testing.assert_close(colour, (part * 10.0)[:, None].expand(-1, 3))
        labels = sample_semantics(mipmaps, texture, part, u, v, level)
        assert torch.equal(labels.long(), part * 10)


def test_levels_halve_down_to_small_cells() -> None:
    sides = [(level.height, level.width) for level in MipMaps.of(cells(1200, 800)).levels]
    assert sides == [(200, 200), (100, 100), (50, 50), (25, 25), (13, 13), (7, 7)]


def test_each_level_keeps_the_mean_of_each_part() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 192, 128, 3), dtype=torch.uint8, generator=generator)
    mipmaps = MipMaps.of(images)
    means = []
    for level in mipmaps.levels:
        size = level.height * level.width
        here = mipmaps.texels[:, level.start : level.start + 24 * size].float()
        means.append(here[..., :3].unflatten(1, (24, size)).mean(2))
    for mean in means[1:]:
        torch.testing.assert_close(mean, means[0], atol=0.5, rtol=0)
    assert not mipmaps.has_semantics


def test_texels_are_where_u_and_v_say() -> None:
    """u runs to the right and v upwards; centres of texels give their own colour."""
    generator = torch.Generator().manual_seed(2)
    image = torch.randint(0, 256, (3, 48, 32, 3), dtype=torch.uint8, generator=generator)
    mipmaps = MipMaps.of(image, image[..., 1])
    for row, column in ((0, 0), (13, 30), (47, 31), (20, 8)):
        part = torch.tensor([6 * (column // 8) + row // 8 + 1])
        u = torch.tensor([(column % 8 + 0.5) / 8])
        v = torch.tensor([1 - (row % 8 + 0.5) / 8])
        for texture in range(3):
            which = torch.tensor([texture])
            colour = sample(mipmaps, which, part, u, v, torch.zeros(1))
            torch.testing.assert_close(colour[0] * 255, image[texture, row, column].float())
            label = sample_semantics(mipmaps, which, part, u, v, torch.zeros(1))
            assert label[0] == image[texture, row, column, 1]


def test_between_texels_and_levels_colours_are_linear() -> None:
    ramp = torch.arange(32).repeat(192, 4).mul(8).to(torch.uint8)[None, :, :, None]
    mipmaps = MipMaps.of(ramp.expand(-1, -1, -1, 3))
    u, v = torch.linspace(0.1, 0.9, 50), torch.full((50,), 0.3)
    texture, part = torch.zeros(50, dtype=torch.int64), torch.full((50,), 9)
    for level in (0.0, 0.4, 1.0, 1.7):
        colour = sample(mipmaps, texture, part, u, v, torch.full((50,), level))
        torch.testing.assert_close(colour[:, 0] * 255, u * 256 - 4, atol=0.01, rtol=0)


def test_a_face_of_as_many_pixels_as_texels_takes_the_finest_level() -> None:
    mipmaps = MipMaps.of(cells(1200, 800))
    area = torch.full((5,), 0.01)  # 400 texels
    screen = torch.tensor([400.0, 100.0, 25.0, 4000.0, 0.0])
    assert level_of_detail(screen, area, mipmaps).tolist() == pytest.approx([0, 1, 2, 0, 5])


def test_what_lies_beside_the_charts_does_not_creep_in(chart: Chart) -> None:
    """Covered texels are white, others black: with the chart, all of every level is white."""
    generator = torch.Generator().manual_seed(3)
    inside = torch.zeros(1, 240, 160, dtype=torch.uint8)
    corners = chart.corners[:, :, None]
    weight = torch.rand(len(corners), 3, 400, 1, generator=generator)
    u, v = (corners * weight / weight.sum(1, keepdim=True)).sum(1).unbind(-1)
    part = chart.face_part.long()[:, None].expand_as(u)
    row = (part - 1) % 6 * 40 + ((1 - v) * 40).long().clamp(0, 39)
    column = (part - 1) // 6 * 40 + (u * 40).long().clamp(0, 39)
    inside[0, row, column] = 255
    assert (inside == 0).float().mean() > 0.05
    image = inside[..., None].expand(-1, -1, -1, 3)
    assert (MipMaps.of(image).texels[..., :3] == 0).any()
    filled = MipMaps.of(image, inside, chart)
    assert (filled.texels == 255).all()


def test_pictures_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ValueError, match=r"divides by 6 .* such as 1200 x 800, came 100 x 80"):
        MipMaps.of(torch.zeros(1, 100, 80, 3, dtype=torch.uint8))


def test_textures_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plausibody.synth.memory.free_memory", lambda: 1000)
    with pytest.raises(ValueError, match="textures: wanted .* do: take fewer, or at half size"):
        MipMaps.of(cells())


def test_textures_move_as_one() -> None:
    mipmaps = MipMaps.of(cells())
    assert mipmaps.to("cpu") == replace(mipmaps, texels=mipmaps.texels) and len(mipmaps) == 1
