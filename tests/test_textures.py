"""Procedural textures: the right clothes on the right parts, the same ones every time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from plausibody.models.body import BodyTemplate
from plausibody.models.files import cache_folder
from plausibody.synth import texture_cache
from plausibody.synth.chance import Chance
from plausibody.synth.charts import COLUMNS, ROWS, load_chart
from plausibody.synth.texels import Texels, bake_texels
from plausibody.synth.texture_cache import TextureSettings, load_textures
from plausibody.synth.texture_fabrics import load_fabrics
from plausibody.synth.texture_outfits import LOWER, SHOES, UPPER, Draw, draw_outfit
from plausibody.synth.textures import (
    SEMANTICS,
    Texture,
    draw_texture,
    join_textures,
    paint_texture,
)

SIZE = (300, 200)
HANDS, FEET, HEAD, TORSO = (3, 4), (5, 6), (23, 24), (1, 2)


class Painted(NamedTuple):
    texels: Texels
    textures: list[Texture]


@pytest.fixture(scope="module")
def painted(template: BodyTemplate) -> Painted:
    texels = bake_texels(template, load_chart(template), SIZE)
    photos = load_fabrics()
    return Painted(texels, [paint_texture(texels, photos, 3, number) for number in range(24)])


def labels_on(texture: Texture, texels: Texels, *parts: int) -> set[str]:
    found = np.unique(texture.semantics.ravel()[texels.on(*parts)])
    return {SEMANTICS[number] for number in found}


def share(texture: Texture, texels: Texels, label: str, *parts: int) -> float:
    on = texture.semantics.ravel()[texels.on(*parts)]
    return float((on == SEMANTICS.index(label)).mean())


def test_texels_lie_where_the_atlas_says(template: BodyTemplate, painted: Painted) -> None:
    # Part p is in column (p - 1) // 6 and row (p - 1) % 6, counted from the top left.
    part = painted.texels.part.reshape(SIZE)
    assert part[0, 0] == 1
    assert part[SIZE[0] // ROWS, 0] == 2
    assert part[0, SIZE[1] // COLUMNS] == 7
    assert part[-1, -1] == 24
    place = painted.texels.place.reshape(*SIZE, 3)
    chest = place[part == 2]
    assert (chest[:, 2] > np.median(place[part == 1][:, 2])).mean() > 0.9
    assert np.all(place[part == 24][:, 0] > -0.01)  # the left half of the head, at +x
    assert np.all(place[part == 3][:, 0] < -0.5)  # the right hand
    # v runs upwards in the atlas and down the trunk: its upper rows show the hips.
    rows = place[: SIZE[0] // ROWS, : SIZE[1] // COLUMNS, 1].mean(1)
    assert rows[2] < rows[-3] - 0.3


def test_each_chart_vertex_has_its_own_place(template: BodyTemplate, painted: Painted) -> None:
    chart = load_chart(template)
    owner = torch.empty(len(chart.u), dtype=torch.int64)
    owner[chart.faces_uv.flatten()] = template.faces.flatten()
    pixel = (chart.atlas * torch.tensor([SIZE[1], SIZE[0]])).long()
    inside = (chart.u > 0.02) & (chart.u < 0.98) & (chart.v > 0.02) & (chart.v < 0.98)
    place = torch.from_numpy(painted.texels.place.reshape(*SIZE, 3))
    found = place[pixel[inside, 1], pixel[inside, 0]]
    distance = (found - template.vertices[owner[inside]]).norm(dim=-1)
    assert distance.median() < 0.006
    assert distance.quantile(0.99) < 0.05


def test_every_texture_dresses_the_right_parts(painted: Painted) -> None:
    for texture in painted.textures:
        texels, (upper, lower, _, shoes) = painted.texels, texture.garments
        assert labels_on(texture, texels, *HANDS) in ({"skin"}, {"glove"}, {"skin", "glove"},
                                                      {"skin", "upper"})  # fmt: skip
        assert share(texture, texels, "upper", *HANDS) < 0.1
        assert labels_on(texture, texels, *FEET) <= {"skin", "shoes", "socks", "lower"}
        assert (share(texture, texels, "shoes", *FEET) > 0.6) == (SHOES[shoes] != "none")
        face = {"skin", "hair", "eye", "lip", "brow"}
        assert face - {"hair"} <= labels_on(texture, texels, *HEAD) <= face | {"hat", "upper"}
        assert share(texture, texels, "skin", *HEAD) > 0.15
        worn = share(texture, texels, "upper", *TORSO)
        assert (worn > 0.15) == (UPPER[upper] != "none")
        assert share(texture, texels, "lower", *TORSO) > 0.02
        knee = painted.texels.joint("left_knee")[1]
        shanks = texels.on(*range(11, 15)) & (texels.place[:, 1] < knee - 0.25)
        trousers = (texture.semantics.ravel()[shanks] == SEMANTICS.index("lower")).mean()
        if LOWER[lower] in ("trousers", "leggings"):
            # Trousers may be stuck into boots.
            assert trousers > 0.2 or labels_on(texture, texels, 11, 12) >= {"lower", "shoes"}
        if LOWER[lower] in ("briefs", "shorts"):
            assert trousers == 0


def test_labels_are_symmetric_but_for_wobble(painted: Painted) -> None:
    for texture in painted.textures:
        cells = [
            texture.semantics[50 * row : 50 * row + 50, 50 * column : 50 * column + 50]
            for column in range(COLUMNS)
            for row in range(ROWS)
        ]
        for left, right in ((4, 3), (10, 9), (12, 11), (15, 16), (19, 20), (24, 23)):
            flipped = cells[right - 1][:, ::-1]
            assert (cells[left - 1] == flipped).mean() > 0.85


def test_textures_differ_and_repeat(template: BodyTemplate, painted: Painted) -> None:
    photos = load_fabrics()
    again = paint_texture(painted.texels, photos, 3, 5)
    assert np.array_equal(again.image, painted.textures[5].image)
    assert np.array_equal(again.semantics, painted.textures[5].semantics)
    other = paint_texture(painted.texels, photos, 4, 5)
    assert not np.array_equal(other.image, again.image)
    assert len({texture.garments for texture in painted.textures}) > 8


def test_grey_textures_have_no_colour_and_their_share(painted: Painted) -> None:
    grey = [texture.grey for texture in painted.textures]
    assert sum(grey) == 1 and grey[19]
    image = painted.textures[19].image.astype(int)
    assert np.abs(image - image[..., :1]).max() <= 1
    bank = join_textures(painted.textures)
    drawn = draw_texture(Chance(0, torch.arange(20000)), bank)
    assert bank.grey[drawn].float().mean() == pytest.approx(0.05, abs=0.01)
    assert set(drawn.tolist()) == set(range(24))


def test_everything_is_worn_by_someone() -> None:
    outfits = [draw_outfit(Draw(0, number)) for number in range(400)]
    assert {outfit.upper for outfit in outfits} == set(UPPER)
    assert {outfit.lower for outfit in outfits} == set(LOWER)
    assert {outfit.shoes for outfit in outfits} == set(SHOES)
    assert all(outfit.lower == "skirt" for outfit in outfits if outfit.dress)
    assert any(outfit.hat for outfit in outfits) and any(outfit.gloves for outfit in outfits)


SMALL = TextureSettings(count=3, seed=1, size=(120, 80))


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, monkeypatch) -> None:
    whole = load_textures(SMALL, cache=tmp_path / "a")
    folder = next((tmp_path / "a" / "textures").iterdir())
    # What a killed process leaves: one texture missing, one cut short, one half written.
    copy = tmp_path / "b" / "textures" / folder.name
    shutil.copytree(folder, copy)
    (copy / "00000.npz").unlink()
    (copy / "00001.npz").write_bytes((folder / "00001.npz").read_bytes()[:500])
    (copy / ".00001.npz.0123abcd.unfinished").write_bytes(b"half")
    os.utime(copy / ".00001.npz.0123abcd.unfinished", (0, 0))
    made = []
    real = texture_cache._make
    monkeypatch.setattr(texture_cache, "_make", lambda *args: made.append(args[-1]) or real(*args))
    again = load_textures(SMALL, cache=tmp_path / "b")
    assert sorted(made) == [0, 1]
    assert torch.equal(again.images, whole.images)
    assert torch.equal(again.semantics, whole.semantics)
    assert sorted(os.listdir(copy)) == ["00000.npz", "00001.npz", "00002.npz"]


def test_a_bank_grows_without_changing(tmp_path: Path) -> None:
    small = load_textures(SMALL, cache=tmp_path)
    more = TextureSettings(count=4, seed=1, size=SMALL.size)
    large = load_textures(more, cache=tmp_path)
    assert torch.equal(large.images[:3], small.images)
    assert len(list((tmp_path / "textures").iterdir())) == 1
    other = TextureSettings(count=1, seed=2, size=SMALL.size)
    load_textures(other, cache=tmp_path)
    assert len(list((tmp_path / "textures").iterdir())) == 2


def test_threads_make_the_same_textures(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    far = load_textures(
        SMALL, cache=tmp_path / "far", threads=1, progress=lambda *at: seen.append(at)
    )
    near = load_textures(SMALL, cache=tmp_path / "near", threads=2)
    assert torch.equal(far.images, near.images)
    assert torch.equal(far.garments, near.garments)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_too_little_disk_is_said(tmp_path: Path, monkeypatch) -> None:
    full = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(texture_cache.shutil, "disk_usage", lambda path: full)
    with pytest.raises(OSError, match=r"wanted 0 MB in .*textures.count"):
        load_textures(SMALL, cache=tmp_path)


def test_an_error_while_painting_reaches_who_waits(tmp_path: Path, monkeypatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device.*XDG_CACHE_HOME"):
        load_textures(SMALL, cache=tmp_path)
    assert not list(tmp_path.rglob("*.unfinished"))


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="XDG_CACHE_HOME"):
        load_textures(SMALL, cache=tmp_path / "file")


def test_the_cache_is_where_the_platform_says(monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/plausibody")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().is_relative_to(Path.home())


@pytest.mark.parametrize("size", [(600, 401), (50, 400), (601, 400)])
def test_sizes_that_do_not_divide_are_refused(template: BodyTemplate, size) -> None:
    with pytest.raises(ValueError, match="textures.size"):
        bake_texels(template, load_chart(template), size)
