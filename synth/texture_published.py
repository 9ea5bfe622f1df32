"""Textures as published for SMPL: read as they are, or turned into a store that opens at once.

The files are large: 917 pictures of 1200 x 800 are 2.6 GB, packed in an archive that must be read
from its beginning. A store is mapped into memory and shared by all processes.

Source: Sengupta et al., released data of HierProb3D, from SURREAL and MultiGarmentNet.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from plausibody.assets.contents import DAMAGED, read_headers
from plausibody.synth.memory import require_memory
from plausibody.synth.picture_store import PictureWriter, open_pictures, read_facts
from plausibody.synth.textures import TextureBank

NAMES = ("nongrey", "grey")
"""Arrays of a published file, in the order in which a bank holds them."""
PUBLISHED = {"train": {"nongrey": 792, "grey": 125}, "val": {"nongrey": 76, "grey": 32}}
"""How many textures the published files hold."""
SIZE = (1200, 800)
"""Height and width of each [px]."""
STORES = frozenset((".h5", ".hdf5"))
TOGETHER = 8
"""Textures read at a time, 23 MB."""


def load_published(path: Path, half: bool = False) -> TextureBank:
    """Opens published textures, or a store that `import_textures` made of them.

    They lie in the atlas of DensePose's chart: use them with SMPL and `UV_Processed.mat`.

    Args:
        half: Whether to halve both sides of published textures, which quarters the memory; enough
            for pictures of 256 px. A store is as large as it was imported.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or cut short, holds no such arrays, or does not fit into the
            memory.
    """
    if path.suffix.lower() in STORES:
        images = open_pictures(path, private=True)
        facts = read_facts(path)
        if "grey" not in facts:
            raise ValueError(
                f"{path}: wanted a store of textures, came one of other pictures; "
                "do: plausibody assets import textures"
            )
        return _bank(images, int(facts["grey"]))
    counts = _counts(path)
    height, width = _size(half)
    total = sum(counts.values())
    require_memory(
        total * height * width * 3, str(path), "import it: plausibody assets import textures"
    )
    images = np.empty((total, height, width, 3), np.uint8)
    done = 0
    for some in _read(path, counts, half):
        images[done : done + len(some)] = some
        done += len(some)
    return _bank(images, counts["grey"])


def import_textures(
    source: Path,
    out: Path,
    half: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes published textures into a store; run again after it broke off, it continues.

    Args:
        out: The store, `.h5`; must not exist.
        half: As in `load_published`.
        progress: Called with how many textures are done and how many there are to do.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or cut short, or holds no such arrays.
        OSError: If the disk has no room, or `out` exists.
    """
    if out.suffix.lower() not in STORES:
        raise ValueError(f"{out}: wanted a name that ends in .h5, came another; do: rename it")
    counts = _counts(source)
    total = sum(counts.values())
    facts = {"source": str(source.resolve()), "grey": counts["grey"]}
    writer = PictureWriter(out, total, _size(half), facts)
    seen = 0
    for some in _read(source, counts, half):
        new = some[max(0, writer.written - seen) :]
        seen += len(some)
        if len(new):
            writer.append(new)
            writer.save()
        if progress:
            progress(seen, total)
    writer.finish()
    return out


def _bank(images: UInt8[ndarray, "T H W 3"], grey: int) -> TextureBank:
    return TextureBank(
        images=torch.from_numpy(images),
        semantics=None,
        garments=None,
        grey=torch.arange(len(images)) >= len(images) - grey,
    )


def _size(half: bool) -> tuple[int, int]:
    return (SIZE[0] // 2, SIZE[1] // 2) if half else SIZE


def _counts(path: Path) -> dict[str, int]:
    """Reads how many textures of each kind there are, and that they are what was published."""
    headers = read_headers(path)
    wanted = f"{' and '.join(NAMES)}, uint8 (T, {SIZE[0]}, {SIZE[1]}, 3)"
    do = "do: take the file as published, smpl_train_textures.npz"
    counts = {}
    for name in NAMES:
        if name not in headers:
            raise ValueError(f"{path}: wanted {wanted}, came {', '.join(headers) or 'none'}; {do}")
        shape, kind = headers[name].shape, headers[name].dtype
        if kind != np.uint8 or len(shape) != 4 or shape[1:] != (*SIZE, 3):
            raise ValueError(f"{path}: wanted {wanted}, came {name} as {kind} {shape}; {do}")
        counts[name] = shape[0]
    if not sum(counts.values()):
        raise ValueError(f"{path}: wanted textures, came none; {do}")
    return counts


def _read(
    path: Path, counts: dict[str, int], half: bool
) -> Iterator[UInt8[ndarray, "n height width 3"]]:
    """Reads textures in the order of a bank, a few at a time."""
    each = SIZE[0] * SIZE[1] * 3
    try:
        with zipfile.ZipFile(path) as archive:
            for name in NAMES:
                with archive.open(f"{name}.npy") as file:
                    _skip_header(file)
                    for begin in range(0, counts[name], TOGETHER):
                        count = min(TOGETHER, counts[name] - begin)
                        data = file.read(count * each)
                        if len(data) < count * each:
                            raise EOFError(f"{name} ends after {begin} textures")
                        some = np.frombuffer(data, np.uint8).reshape(count, *SIZE, 3)
                        yield _halved(some) if half else some
    except DAMAGED as error:
        raise ValueError(
            f"{path}: wanted whole textures, came a file that is cut short or altered "
            f"({type(error).__name__}: {error}); do: download it again"
        ) from error


def _skip_header(file: Any) -> None:
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else (np.lib.format.read_array_header_2_0)
    )
    _, in_columns, _ = read(file)
    if in_columns:
        raise ValueError("its arrays lie column by column")


def _halved(images: UInt8[ndarray, "n H W 3"]) -> UInt8[ndarray, "n height width 3"]:
    """Averages 2 x 2 pixels. Cells of the atlas have even sides: no texel mixes two of them."""
    wide = images.astype(np.uint16)
    rows = wide[:, 0::2] + wide[:, 1::2]
    return ((rows[:, :, 0::2] + rows[:, :, 1::2] + 2) // 4).astype(np.uint8)
