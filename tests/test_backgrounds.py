"""Backgrounds: the same for the same sample, upright, and never silently missing."""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from plausibody.assets.catalog import find_asset
from plausibody.synth import background_pictures
from plausibody.synth.background_import import import_backgrounds, import_lsun
from plausibody.synth.background_lsun import LsunPictures
from plausibody.synth.background_panoramas import (
    Panoramas,
    ViewRange,
    _angles,
    load_panoramas,
)
from plausibody.synth.background_pictures import (
    CropSettings,
    DecodedPictures,
    Pictures,
    StoredPictures,
)
from plausibody.synth.background_procedural import Procedural
from plausibody.synth.backgrounds import BackgroundBank, load_backgrounds
from plausibody.synth.chance import Chance
from plausibody.synth.picture_file import PictureError, decode_square
from plausibody.synth.picture_store import PictureWriter, open_pictures

SIDE = 32
COUNT = 40


def encoded(number: int, suffix: str = "JPEG", size: tuple[int, int] = (48, 40)) -> bytes:
    """A picture of one colour, 5 times its number in red."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (5 * number, 128, 200)).save(buffer, suffix, quality=95)
    return buffer.getvalue()


def png_head(width: int, height: int) -> bytes:
    """A picture that breaks off after it has told its size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    check = struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + check + bytes(3) + b"\xffIDATx"


def write_database(folder: Path, values: list[bytes]) -> Path:
    folder.mkdir(parents=True)
    environment = lmdb.open(str(folder), map_size=1 << 26)
    with environment.begin(write=True) as transaction:
        for number, value in enumerate(values):
            transaction.put(f"{number:040x}".encode(), value)
    environment.close()
    return folder


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "plausibody" / "lmdb"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    values = [encoded(n, "WEBP" if n % 2 else "JPEG") for n in range(COUNT)]
    return write_database(tmp_path / "church_outdoor_train_lmdb", values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        kind, inner = (("JPEG", "train/a"), ("PNG", "train/b"), ("WEBP", "c"))[number % 3]
        path = tmp_path / "lsun_backgrounds" / inner / f"{number:03}.{kind.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number, kind))
    (tmp_path / "lsun_backgrounds" / "README.txt").write_text("no picture")
    return tmp_path / "lsun_backgrounds"


@pytest.fixture(scope="module")
def panoramas() -> Panoramas:
    return load_panoramas(find_asset("backgrounds"))


def chance(numbers: list[int], seed: int = 3) -> Chance:
    return Chance(seed, torch.tensor(numbers, dtype=torch.int64))


@pytest.fixture(params=["panoramas", "procedural", "database", "folder", "store"])
def bank(request: pytest.FixtureRequest, tmp_path: Path) -> BackgroundBank:
    if request.param in ("panoramas", "procedural"):
        return load_backgrounds(request.param)
    if request.param == "store":
        source = request.getfixturevalue("folder")
        import_backgrounds(source, tmp_path / "store.h5", side=SIDE)
        return load_backgrounds(tmp_path / "store.h5")
    return load_backgrounds(request.getfixturevalue(request.param), side=SIDE)


def test_a_sample_has_the_same_background_in_any_batch(bank: BackgroundBank) -> None:
    assert isinstance(bank, BackgroundBank)
    size = (24, 36)
    whole = bank.draw(chance(list(range(11))), size)
    assert whole.shape == (11, 3, *size) and whole.dtype == torch.uint8
    order = [9, 2, 0, 7]
    assert torch.equal(bank.draw(chance(order), size), whole[order])
    again = torch.cat([bank.draw(chance([number]), size) for number in range(11)])
    assert torch.equal(again, whole)
    assert not torch.equal(bank.draw(chance(list(range(11)), seed=4), size), whole)
    assert bank.draw(chance([]), size).shape == (0, 3, *size)


def test_every_background_shows_something(bank: BackgroundBank) -> None:
    bank.expect(chance([1, 2]))
    drawn = bank.to("cpu").draw(chance(list(range(60))), (20, 20)).float()
    assert bank.skipped == {}
    assert (drawn.amax((1, 2, 3)) > 60).all()
    assert len({tuple(picture.flatten().tolist()) for picture in drawn}) > 20


def test_panoramas_are_seen_as_by_a_camera() -> None:
    """Against the exact ray of each pixel, worked out one by one in double precision."""
    focal, pitch, size = 117.3, -0.35, (40, 256)
    longitude, latitude = _angles(torch.tensor([focal]), torch.tensor([pitch]), size)
    for row, column in ((0, 0), (39, 255), (17, 90), (20, 128)):
        x, up = column + 0.5 - 128, 20 - (row + 0.5)
        y = up * math.cos(pitch) + focal * math.sin(pitch)
        z = focal * math.cos(pitch) - up * math.sin(pitch)
        assert longitude[0, row, column] == pytest.approx(math.atan2(x, z), abs=6e-4)
        assert latitude[0, row, column] == pytest.approx(math.atan2(y, math.hypot(x, z)), abs=6e-4)


def test_up_is_up_and_right_is_right_in_panoramas() -> None:
    """A panorama whose red grows to the right and whose green grows upwards."""
    height, width = 256, 512
    picture = torch.zeros(height, width, 3, dtype=torch.uint8)
    picture[..., 0] = (torch.arange(width) % 256).to(torch.uint8)
    picture[..., 1] = torch.arange(height).flip(0).to(torch.uint8)[:, None]
    bank = Panoramas.of([picture], ViewRange(gain=(1.0, 1.0)))
    drawn = bank.draw(chance(list(range(40))), (64, 64)).int()
    assert (drawn[:, 1, 1:] <= drawn[:, 1, :-1]).all()
    rising = (drawn[:, 0, :, 1:] >= drawn[:, 0, :, :-1]).float().mean((1, 2))
    assert (rising > 0.9).all()  # but for two jumps from 255 to 0
    horizon = bank.draw(chance([0]), (64, 64))[0, 1]
    assert horizon.float().mean() == pytest.approx(128, abs=70)


def test_panoramas_have_no_seam_and_no_border() -> None:
    """Where the ends of a smooth panorama meet, neighbours stay alike; its colour stays its own."""
    angle = torch.arange(512) * (2 * math.pi / 512)
    smooth = (128 + 100 * torch.sin(angle)).to(torch.uint8)
    other = torch.zeros(64, 128, 3, dtype=torch.uint8)
    picture = smooth[None, :, None].expand(256, -1, 3).contiguous()
    full = ViewRange(gain=(1.0, 1.0), pitch=(-1.5, 1.5))
    drawn = Panoramas.of([other + 255, picture, other + 255], full).draw(
        chance(list(range(300))), (32, 32)
    )
    steps = (drawn[..., 1:].int() - drawn[..., :-1].int()).abs()
    assert steps.amax() < 110 and drawn.amin() >= 28
    level = ViewRange(gain=(1.0, 1.0), pitch=(-0.2, 0.2))
    drawn = Panoramas.of([picture], level).draw(chance(list(range(300))), (64, 64))
    assert (drawn[..., 1:].int() - drawn[..., :-1].int()).abs().amax() < 8


def test_shipped_panoramas_have_no_black_specks(panoramas: Panoramas) -> None:
    assert len(panoramas) == 26
    drawn = panoramas.draw(chance(list(range(64))), (128, 128)).float().mean(1, keepdim=True)
    around = F.avg_pool2d(drawn, 7, stride=1)
    specks = (around > 215) & (drawn[..., 3:-3, 3:-3] < 40)
    assert not specks.any()


def test_a_panorama_of_another_shape_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(1, size=(96, 64)))
    with pytest.raises(ValueError, match=r"a\.jpg: wanted a panorama twice as wide.*96 x 64"):
        load_panoramas(tmp_path)
    with pytest.raises(FileNotFoundError, match="wanted panoramas .* found none"):
        load_panoramas(tmp_path / "none")
    with pytest.raises(ValueError, match="at least one"):
        Panoramas.of([])


def test_pictures_are_whole_and_their_own(database: Path) -> None:
    """A picture's red tells its number; what is drawn is the picture whose index was drawn."""
    bank = load_backgrounds(database, side=SIDE)
    sample = chance(list(range(30)))
    drawn = bank.draw(sample, (SIDE, SIDE)).float()
    wanted = sample.integer("background/picture", COUNT)
    assert len(bank) == COUNT
    assert ((drawn[:, 0].mean((1, 2)) / 5).round().long() == wanted).all()
    assert (drawn.amax((2, 3)) - drawn.amin((2, 3)) < 8).all()


def test_crops_stay_inside_and_keep_their_scale() -> None:
    ramp = torch.arange(64, dtype=torch.uint8)
    picture = torch.stack(torch.broadcast_tensors(ramp * 3, ramp[:, None] * 2, ramp * 0), -1)
    bank = Pictures(StoredPictures(picture[None].contiguous()), CropSettings(mirrored=0.5))
    drawn = bank.draw(chance(list(range(50))), (64, 64)).float()
    across = (drawn[:, 0, :, -1] - drawn[:, 0, :, 0]).mean(1) / (3 * 63)
    assert ((across.abs() > 0.69) & (across.abs() < 1.01)).all()
    assert (across > 0).any() and (across < 0).any()
    assert (drawn[:, 1, 1:] >= drawn[:, 1, :-1]).all()
    small = bank.draw(chance(list(range(50))), (8, 16)).float()
    down = (small[:, 1, -1] - small[:, 1, 0]).mean(1)
    assert ((down > 2 * 64 * 0.7 * 0.35) & (down < 2 * 64 * 0.5)).all()
    whole = Pictures(bank.pictures, CropSettings((1.0, 1.0), 0.0))
    assert torch.equal(whole.draw(chance([5]), (64, 64))[0], picture.permute(2, 0, 1))


def test_what_is_drawn_does_not_depend_on_what_is_in_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background_pictures, "LEAST_KEPT", 3)
    whole = load_backgrounds(folder, side=SIDE)
    tight = load_backgrounds(folder, side=SIDE, memory=3 * SIDE * SIDE * 3)
    assert isinstance(tight, Pictures)
    for first in range(0, 60, 10):
        sample = chance(list(range(first, first + 10)))
        tight.expect(chance(list(range(first + 10, first + 20))))
        assert torch.equal(whole.draw(sample, (16, 16)), tight.draw(sample, (16, 16)))
    assert isinstance(tight.pictures, DecodedPictures)
    assert len(tight.pictures._pictures) <= 3


def test_too_little_memory_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"wanted memory for 40 pictures.* came 0 MB; do:"):
        load_backgrounds(folder, memory=1000)
    with pytest.raises(ValueError, match=r"wanted 1000000\.00 GB of memory"):
        load_backgrounds(folder, memory=10**15)
    monkeypatch.setattr("plausibody.synth.memory.free_memory", lambda: 1000)
    store = StoredPictures(np.zeros((5, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="wanted .* GB of memory for its cache"):
        store.resident("cpu")


def test_a_store_moves_into_memory(folder: Path, tmp_path: Path) -> None:
    import_backgrounds(folder, tmp_path / "store.h5", side=SIDE)
    bank = load_backgrounds(tmp_path / "store.h5")
    assert isinstance(bank, Pictures) and bank.to("cpu") is bank
    moved = bank.resident("cpu")
    assert isinstance(moved.pictures, StoredPictures)
    assert isinstance(moved.pictures.pictures, torch.Tensor)
    sample = chance(list(range(9)))
    assert torch.equal(bank.draw(sample, (16, 16)), moved.draw(sample, (16, 16)))
    with pytest.raises(ValueError, match="came pictures that must be decoded; do: import them"):
        load_backgrounds(folder, side=SIDE).resident("cpu")  # type: ignore[attr-defined]


def test_unreadable_pictures_are_skipped_and_named(tmp_path: Path) -> None:
    values = [encoded(number) for number in range(COUNT)]
    values[3], values[4], values[39] = values[3][:200], b"", b"no picture at all"
    path = write_database(tmp_path / "bridge_lmdb", values)
    bank = load_backgrounds(path, side=SIDE, crop=CropSettings((1.0, 1.0), 0.0))
    assert isinstance(bank, Pictures)
    drawn = bank.pictures.gather(torch.tensor([2, 3, 4, 5, 39])).float()[..., 0].mean((1, 2)) / 5
    assert drawn.round().tolist() == [2, 5, 5, 5, 0]
    assert len(bank.skipped) == 3
    assert all("bridge_lmdb[000" in name for name in bank.skipped)
    assert any("breaks off or is damaged" in reason for reason in bank.skipped.values())
    assert all(reason.count(name) == 1 for name, reason in bank.skipped.items())


def test_nothing_but_unreadable_pictures_is_an_error(tmp_path: Path) -> None:
    path = write_database(tmp_path / "tower_lmdb", [b"nothing"] * 5)
    bank = load_backgrounds(path, side=SIDE)
    with pytest.raises(PictureError, match="wanted a readable picture from .* the next 5 are not"):
        bank.draw(chance([0, 1]), (16, 16))
    with pytest.raises(ValueError, match="none of 5 is readable"):
        import_lsun(path, tmp_path / "out.h5")
    assert not list(tmp_path.glob("out.h5*"))


def test_mended_pictures_are_imported(tmp_path: Path) -> None:
    folder, out = tmp_path / "rooms", tmp_path / "out.h5"
    folder.mkdir()
    (folder / "0.jpg").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="none of 1 is readable"):
        import_backgrounds(folder, out, side=SIDE)
    (folder / "0.jpg").write_bytes(encoded(1))
    assert import_backgrounds(folder, out, side=SIDE).pictures == 1


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_a_database_cut_short_is_refused(database: Path, share: float) -> None:
    file = database / "data.mdb"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(ValueError, match=r"data\.mdb: wanted .*(cut short|empty)"):
        load_backgrounds(database)


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(bytes(range(256)) * 100)
    with pytest.raises(ValueError, match=r"data\.mdb: wanted an LMDB database"):
        load_backgrounds(tmp_path)
    empty = write_database(tmp_path / "empty_lmdb", [])
    with pytest.raises(ValueError, match="came an empty one"):
        load_backgrounds(empty)


def test_several_databases_follow_one_another(database: Path, tmp_path: Path) -> None:
    write_database(tmp_path / "zoo_lmdb", [encoded(n) for n in range(COUNT, COUNT + 5)])
    reader = LsunPictures(tmp_path, SIDE)
    assert len(reader) == COUNT + 5
    reds = [int(reader.read(number)[..., 0].mean().round()) for number in (0, 39, 40, 44)]
    assert reds == pytest.approx([0, 195, 200, 220], abs=2)
    assert reader.name(40) == f"{tmp_path / 'zoo_lmdb'}[{0:040x}]"


def test_keys_are_listed_once_and_anew_after_a_change(database: Path, cache_folder: Path) -> None:
    first = LsunPictures(database, SIDE)
    (listed,) = cache_folder.iterdir()
    before = listed.stat().st_mtime_ns
    assert len(LsunPictures(database, SIDE)) == len(first) == COUNT
    assert listed.stat().st_mtime_ns == before
    listed.write_bytes(listed.read_bytes()[:50])
    assert len(LsunPictures(database, SIDE)) == COUNT and listed.stat().st_size > 50
    os.utime(database / "data.mdb", ns=(1, 1))
    LsunPictures(database, SIDE)
    assert len(list(cache_folder.iterdir())) == 2


def test_keys_are_listed_even_if_they_cannot_be_kept(database: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert len(LsunPictures(database, SIDE, cache=tmp_path / "file")) == COUNT


def test_sources_that_are_not_there_are_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="found none; do: name the folder that holds them"):
        load_backgrounds(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="'panoramas' and 'procedural' need no file"):
        load_backgrounds(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="wanted an LMDB database"):
        import_lsun(tmp_path / "empty", tmp_path / "out.h5")
    (tmp_path / "notes.txt").write_text("no pictures")
    with pytest.raises(ValueError, match="came another file"):
        load_backgrounds(tmp_path / "notes.txt")


def test_a_source_is_found_in_the_folders_of_assets(folder: Path) -> None:
    found = load_backgrounds("lsun_backgrounds/train", directories=[folder.parent], side=SIDE)
    assert len(found) == COUNT - COUNT // 3


def test_an_import_is_the_same_as_reading_in_place(database: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    report = import_lsun(
        database, tmp_path / "new" / "lsun.h5", side=SIDE, progress=lambda *done: told.append(done)
    )
    assert (report.pictures, report.skipped, report.continued) == (COUNT, {}, 0)
    assert told == [(COUNT, COUNT)]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lsun.h5"]
    sample = chance(list(range(20)))
    stored, placed = load_backgrounds(report.path), load_backgrounds(database, side=SIDE)
    assert torch.equal(stored.draw(sample, (20, 20)), placed.draw(sample, (20, 20)))
    with h5py.File(report.path) as file:
        assert file["pictures"].shape == (COUNT, SIDE, SIDE, 3)
        assert file.attrs["of"] == COUNT
    with pytest.raises(FileExistsError, match="do: remove it or name another"):
        import_lsun(database, report.path)


def test_an_import_that_broke_off_continues(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plausibody.synth.background_import.TOGETHER", 8)

    def stop_at(limit: int) -> Callable[[int, int], None]:
        def stop(done: int, of: int) -> None:
            if done >= limit:
                raise KeyboardInterrupt

        return stop

    out = tmp_path / "lsun.h5"
    for limit in (8, 24):
        with pytest.raises(KeyboardInterrupt):
            import_lsun(database, out, side=SIDE, progress=stop_at(limit))
        assert not out.exists()
    report = import_lsun(database, out, side=SIDE)
    assert (report.pictures, report.continued) == (COUNT, 24)
    whole = import_lsun(database, tmp_path / "whole.h5", side=SIDE)
    assert out.read_bytes() == whole.path.read_bytes()

    with pytest.raises(KeyboardInterrupt):
        import_lsun(database, tmp_path / "b.h5", side=SIDE, progress=stop_at(8))
    assert import_lsun(database, tmp_path / "b.h5", side=16).continued == 0


def test_an_import_takes_some_and_leaves_out_the_unreadable(tmp_path: Path) -> None:
    values = [encoded(number) for number in range(COUNT)]
    values[8] = values[8][:100]
    path = write_database(tmp_path / "bridge_lmdb", values)
    report = import_lsun(path, tmp_path / "out.h5", count=10, side=SIDE)
    assert report.pictures == 9 and len(report.skipped) == 1
    reds = open_pictures(report.path)[..., 0].mean((1, 2)) / 5
    assert reds.round().tolist() == [0, 4, 12, 16, 20, 24, 28, 32, 36]
    with h5py.File(report.path) as file:
        assert file["pictures"].shape == (9, SIDE, SIDE, 3)
    assert not list(tmp_path.glob("out.h5.*"))
    with pytest.raises(ValueError, match="count: wanted at least 1"):
        import_lsun(path, tmp_path / "none.h5", count=0)
    with pytest.raises(ValueError, match="size: wanted at least 1"):
        import_lsun(path, tmp_path / "none.h5", side=0)


def test_too_little_disk_is_said(database: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"wanted .* GB of disk, .* are free; do: import fewer"):
        PictureWriter(tmp_path / "huge.h5", 10**9, (256, 256), {})
    assert not list(tmp_path.glob("huge*"))


def test_a_store_cut_short_or_of_another_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    path = import_backgrounds(folder, tmp_path / "store.h5", side=SIDE).path
    whole = path.read_bytes()
    for share in (0.0, 0.001, 0.5, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=r"store\.h5: wanted a picture store in HDF5"):
            load_backgrounds(path)
    for shape, kind in (((3, 8, 8, 3), "f4"), ((3, 8, 8), "u1"), ((0, 8, 8, 3), "u1")):
        with h5py.File(path, "w") as file:
            file["pictures"] = np.zeros(shape, kind)
        with pytest.raises(ValueError, match=r"uint8 of shape \(N, H, W, 3\), came"):
            load_backgrounds(path)
    with h5py.File(path, "w") as file:
        file["poses"] = np.zeros(3)
    with pytest.raises(ValueError, match="wanted the dataset 'pictures', the file has"):
        load_backgrounds(path)
    with h5py.File(path, "w") as file:
        file["pictures"] = np.zeros((2, 8, 9, 3), np.uint8)
    with pytest.raises(ValueError, match="wanted square pictures, came 8 x 9"):
        load_backgrounds(path)


def test_compressed_stores_of_other_programs_are_read(tmp_path: Path) -> None:
    pictures = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_dataset("pictures", data=pictures, compression="gzip")
    assert np.array_equal(open_pictures(tmp_path / "other.h5"), pictures)


@pytest.mark.parametrize("size", [(40, 300), (300, 40), (1000, 900), (20, 20)])
def test_pictures_are_cut_from_the_middle(size: tuple[int, int]) -> None:
    """A white square of half the shorter side, in the middle of black."""
    short = min(size)
    picture = Image.new("L", size)
    x, y = (size[0] - short // 2) // 2, (size[1] - short // 2) // 2
    picture.paste(255, (x, y, x + short // 2, y + short // 2))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    square = decode_square(buffer.getvalue(), "it", SIDE).astype(float)
    assert square.shape == (SIDE, SIDE, 3)
    assert square[12:20, 12:20].mean() > 240 and square[:, :6].mean() < 12
    assert square.mean() == pytest.approx(255 / 4, abs=8)


def test_pictures_that_cannot_be_backgrounds_are_refused() -> None:
    for data, message in (
        (encoded(1, size=(9, 9)), "sides from 16 px .* came 9 x 9"),
        (png_head(20_000, 20_000), "DecompressionBombError"),
        (png_head(16, 300), "breaks off or is damaged"),
        (b"GIF89a" + bytes(50), "came something else"),
        (b"", "came nothing"),
    ):
        with pytest.raises(PictureError, match=message):
            decode_square(data, "it", SIDE)


def test_procedural_backgrounds_need_nothing() -> None:
    drawn = Procedural().draw(chance(list(range(20))), (64, 48)).float()
    assert drawn.shape == (20, 3, 64, 48)
    assert (drawn.std((2, 3)).mean(1) > 5).all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_backgrounds_agree_on_cuda(panoramas: Panoramas) -> None:
    numbers = torch.arange(64)
    for bank in (panoramas, Procedural()):
        ours = bank.draw(Chance(0, numbers), (64, 64)).int()
        theirs = bank.to("cuda").draw(Chance(0, numbers.cuda()), (64, 64)).cpu().int()
        assert ((ours - theirs).abs() > 3).float().mean() < 1e-3
