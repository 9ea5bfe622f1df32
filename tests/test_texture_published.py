"""Published textures: read in place or through a store, and refused when they are others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from plausibody.assets.catalog import search_directories
from plausibody.models.body import BodyTemplate
from plausibody.synth import texture_published
from plausibody.synth.chance import Chance
from plausibody.synth.looks import load_looks
from plausibody.synth.picture_store import PictureWriter
from plausibody.synth.texture_published import import_textures, load_published
from plausibody.synth.textures import draw_texture


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three coloured textures and one grey; each is of one value, but for its first pixels."""
    images = np.repeat(np.arange(4, dtype=np.uint8) * 10, 1200 * 800 * 3)
    images = images.reshape(4, 1200, 800, 3)
    images[:, 0, 0] = (101, 100, 100)
    images[:, 1, 1] = (101, 101, 100)
    path = tmp_path_factory.mktemp("published") / "smpl_train_textures.npz"
    np.savez_compressed(path, grey=images[3:], nongrey=images[:3])
    return path


def test_coloured_ones_come_first(published: Path) -> None:
    bank = load_published(published)
    assert bank.images.shape == (4, 1200, 800, 3) and bank.images.dtype == torch.uint8
    assert bank.images[:, 600, 400, 0].tolist() == [0, 10, 20, 30]
    assert bank.grey.tolist() == [False, False, False, True]
    assert bank.semantics is None and bank.garments is None
    assert bank.images[2, 0, 0].tolist() == [101, 100, 100]


def test_grey_ones_are_drawn_as_often_as_published(published: Path) -> None:
    drawn = draw_texture(Chance(0, torch.arange(10_000)), load_published(published, half=True))
    share = (drawn == 3).float().mean()
    assert share == pytest.approx(0.05, abs=0.01)  # its standard deviation is 0.002
    assert drawn.unique().tolist() == [0, 1, 2, 3]


def test_half_the_size_is_the_mean_of_four(published: Path) -> None:
    bank = load_published(published, half=True)
    assert bank.images.shape == (4, 600, 400, 3)
    assert bank.images[2, 0, 0].tolist() == [61, 60, 60]
    assert bank.images[:, 300, 200, 0].tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize("half", [False, True])
def test_a_store_holds_the_same(published: Path, tmp_path: Path, half: bool) -> None:
    told: list[tuple[int, int]] = []
    out = import_textures(
        published, tmp_path / "textures.h5", half, lambda *done: told.append(done)
    )
    assert told == [(3, 4), (4, 4)]
    stored, direct = load_published(out), load_published(published, half)
    assert torch.equal(stored.images, direct.images)
    assert torch.equal(stored.grey, direct.grey)
    assert [path.name for path in tmp_path.iterdir()] == ["textures.h5"]


def test_an_import_that_broke_off_continues(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texture_published, "TOGETHER", 2)

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "textures.h5"
    with pytest.raises(KeyboardInterrupt):
        import_textures(published, out, True, stop)
    assert not out.exists()
    monkeypatch.setattr(texture_published, "TOGETHER", 3)  # so the next one is cut in two
    import_textures(published, out, True)
    assert torch.equal(load_published(out).images, load_published(published, half=True).images)


def test_other_files_are_refused(published: Path, tmp_path: Path) -> None:
    path = tmp_path / "textures.npz"
    good = np.zeros((1, 1200, 800, 3), np.uint8)
    for arrays, came in (
        ({"grey": good}, "came grey;"),
        ({"grey": good, "nongrey": np.zeros((2, 600, 800, 3), np.uint8)}, "came nongrey as uint8"),
        ({"grey": good, "nongrey": np.zeros((2, 9), np.float32)}, "came nongrey as float32"),
        ({"grey": good[:0], "nongrey": good[:0]}, "came none"),
        ({"grey": np.asfortranarray(good), "nongrey": good}, "column by column"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=rf"textures\.npz: wanted .*{came}"):
            load_published(path)
        with pytest.raises(ValueError, match=rf"textures\.npz: wanted .*{came}"):
            import_textures(path, tmp_path / "out.h5")
    path.write_bytes(published.read_bytes()[:-4000])
    with pytest.raises(ValueError, match="cut short"):
        load_published(path)
    altered = bytearray(published.read_bytes())
    altered[len(altered) // 2] ^= 255
    path.write_bytes(altered)
    with pytest.raises(ValueError, match="cut short or altered"):
        load_published(path)
    with pytest.raises(FileNotFoundError):
        load_published(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"wanted a name that ends in \.h5"):
        import_textures(published, tmp_path / "out.npz")


def test_a_store_of_backgrounds_is_refused(tmp_path: Path) -> None:
    writer = PictureWriter(tmp_path / "store.h5", 1, (8, 8), {"of": 1})
    writer.append(np.zeros((1, 8, 8, 3), np.uint8))
    writer.finish()
    with pytest.raises(ValueError, match="wanted a store of textures, came one of other pictures"):
        load_published(tmp_path / "store.h5")


def test_too_little_memory_is_said(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plausibody.synth.memory.free_memory", lambda: 1_000_000)
    with pytest.raises(ValueError, match=r"wanted 0\.01 GB of memory .* do: import it"):
        load_published(published)


def test_they_are_found_among_the_assets(published: Path, template: BodyTemplate) -> None:
    folders = [published.parent, *search_directories()]
    looks = load_looks(template, published.name, "procedural", folders)
    assert looks.textures.images.shape == (4, 600, 400, 3)
    with pytest.raises(FileNotFoundError, match="wanted none.npz, found it in none of these"):
        load_looks(template, "none.npz", "procedural", folders)
