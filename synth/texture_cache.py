"""Makes procedural textures once, in the background, and keeps them on disk.

Every texture is a file, written whole or not at all, in a folder named by everything that the
textures depend on. A run that was stopped goes on where it was, and a changed generator, body or
size gets a folder of its own.

Sample n of the stream may depend on no clock: a bank is only given out when all its textures are
there. Start them early with `start_textures`, and let `TextureJob.wait` show the progress.
"""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from plausibody.assets.catalog import find_asset
from plausibody.assets.contents import read_arrays
from plausibody.models.body import BodyTemplate
from plausibody.models.files import cache_folder, encode_arrays, write_file
from plausibody.models.templates import load_template
from plausibody.synth import (
    texels,
    texture_canvas,
    texture_clothes,
    texture_fabrics,
    texture_outfits,
    texture_skin,
    textures,
)
from plausibody.synth.charts import load_chart
from plausibody.synth.texels import Texels, bake_texels
from plausibody.synth.texture_fabrics import FABRICS, load_fabrics
from plausibody.synth.textures import Texture, TextureBank, join_textures, paint_texture

_PAINTERS = (
    *(texels, texture_canvas, texture_clothes, texture_fabrics, texture_outfits, texture_skin),
    textures,
)
"""The modules that decide how a texture looks: a change of one makes new textures."""
_BYTES_PER_TEXEL = 4
"""Three colours and a label; compression saves two thirds of it, and the reserve covers that."""
_ABANDONED = 3600.0
"""Nothing is written to a file for so long [s] unless its process is no more."""

Painter = tuple[Texels, UInt8[np.ndarray, "P side side 3"]]
"""What painting needs: the texels and the photographed fabrics."""
Opener = Callable[[], Painter]
Progress = Callable[[int, int], None]
"""Called with how many textures are ready and how many are wanted."""


@dataclass(frozen=True)
class TextureSettings:
    """Which procedural textures there are."""

    count: int = 64
    """How many; 64 take less than half a minute on two cores."""
    seed: int = 0
    size: tuple[int, int] = (600, 400)
    """Height and width [px]; published textures have 1200 x 800."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"textures.count: wanted at least 1, got {self.count}")


class TextureJob:
    """Textures that are being made, by threads that end with the program."""

    def __init__(
        self, folder: Path, settings: TextureSettings, missing: Sequence[int], open_painter: Opener
    ):
        self._folder, self._settings, self._missing = folder, settings, missing
        self._open_painter = open_painter
        self._left, self._lock = iter(missing), threading.Lock()
        self._done: queue.SimpleQueue[int | Exception] = queue.SimpleQueue()
        self._painter: Painter | None = None

    def start(self, threads: int) -> None:
        for number in range(min(threads, len(self._missing))):
            name = f"textures-{number}"
            # A daemon: a program that fails elsewhere does not wait for textures.
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def wait(self, progress: Progress | None = None) -> TextureBank:
        """Gives the bank when all its textures are there.

        Raises:
            OSError: If they could not be written.
        """
        count = self._settings.count
        for ready in range(count - len(self._missing) + 1, count + 1):
            done = self._done.get()
            if isinstance(done, Exception):
                raise done
            if progress:
                progress(ready, count)
        return join_textures([_read(self._folder, number) for number in range(count)])

    def _work(self) -> None:
        try:
            with self._lock:
                if self._painter is None:
                    self._painter = self._open_painter()
                    self._painter[0].noise  # noqa: B018 - made here, not by two threads at once
            while True:
                with self._lock:
                    number = next(self._left, None)
                if number is None:
                    return
                _make(self._folder, self._painter, self._settings.seed, number)
                self._done.put(number)
        except Exception as error:  # whatever it is, who waits must hear of it
            self._done.put(error)


def load_textures(
    settings: TextureSettings | None = None,
    *,
    template: BodyTemplate | None = None,
    directories: Sequence[Path] | None = None,
    cache: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> TextureBank:
    """Opens the procedural textures, making those that are missing.

    Args:
        template: The neutral body; the open body if None.
        directories: Where assets are looked for, instead of the usual places.
        cache: Folder to keep them in; `cache_folder()` if None.
        threads: How many to make textures in; None takes two, or one on a single core.
    """
    job = start_textures(
        settings, template=template, directories=directories, cache=cache, threads=threads
    )
    return job.wait(progress)


def start_textures(
    settings: TextureSettings | None = None,
    *,
    template: BodyTemplate | None = None,
    directories: Sequence[Path] | None = None,
    cache: Path | None = None,
    threads: int | None = None,
) -> TextureJob:
    """Begins to make the textures that are missing, in the background.

    Arguments as of `load_textures`.

    Raises:
        OSError: If the disk has too little room for them.
    """
    settings = settings or TextureSettings()
    template = template or load_template("open", directories=directories)
    folder = _folder(settings, template, directories, cache or cache_folder())
    _remove_unfinished(folder)
    missing = [number for number in range(settings.count) if not _is_whole(folder, number)]
    if missing:
        _check_room(folder, settings, len(missing))

    def open_painter() -> Painter:
        chart = load_chart(template, directories=directories)
        return bake_texels(template, chart, settings.size), load_fabrics(directories)

    job = TextureJob(folder, settings, missing, open_painter)
    job.start(min(2, os.cpu_count() or 1) if threads is None else threads)
    return job


def _make(folder: Path, painter: Painter, seed: int, number: int) -> None:
    """Paints one texture and writes it."""
    target = _file(folder, number)
    if target.exists():
        return  # another process was faster
    texture = paint_texture(*painter, seed, number)
    content = encode_arrays(
        {
            "image": texture.image,
            "semantics": texture.semantics,
            "garments": np.array(texture.garments, np.uint8),
            "grey": np.array(texture.grey),
        }
    )
    try:
        write_file(target, content, contested=True)
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(
            error.errno,
            f"textures: wanted to write {target}, failed with {cause}; do: free some room, or set "
            "$XDG_CACHE_HOME to a folder with more",
        ) from error


def _folder(
    settings: TextureSettings,
    template: BodyTemplate,
    directories: Sequence[Path] | None,
    cache: Path,
) -> Path:
    """Names a folder by all that the textures depend on, except their number."""
    identity = hashlib.sha256(template.topology.encode())
    identity.update(template.vertices.numpy().tobytes())
    identity.update(load_chart(template, directories=directories).atlas.numpy().tobytes())
    identity.update(find_asset(FABRICS, directories).read_bytes())
    identity.update(repr((settings.seed, settings.size)).encode())
    for module in _PAINTERS:
        identity.update(Path(str(module.__file__)).read_bytes())
    folder = cache / "textures" / identity.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            error.errno,
            f"textures: wanted a folder {folder} to keep them in, failed with {error.strerror}; "
            "do: set $XDG_CACHE_HOME to a folder that can be written",
        ) from error
    return folder


def _check_room(folder: Path, settings: TextureSettings, missing: int) -> None:
    wanted = missing * settings.size[0] * settings.size[1] * _BYTES_PER_TEXEL
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise OSError(
            f"textures: wanted {wanted / 1e6:.0f} MB in {folder}, found {free / 1e6:.0f} MB free; "
            "do: free some room, set $XDG_CACHE_HOME to a folder with more, or lower "
            "textures.count"
        )


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npz"


def _remove_unfinished(folder: Path) -> None:
    """Removes what killed processes left behind; others may be at work, on other machines too."""
    for path in folder.glob(".*.unfinished"):
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
        except FileNotFoundError:
            continue  # finished, or removed by another process


def _is_whole(folder: Path, number: int) -> bool:
    """Tells whether a texture is there, and removes it if it cannot be read."""
    path = _file(folder, number)
    if not path.exists():
        return False
    try:
        return read_arrays(path, ("grey",))["grey"].shape == ()
    except (ValueError, KeyError):
        path.unlink()
        return False


def _read(folder: Path, number: int) -> Texture:
    path = _file(folder, number)
    try:
        arrays = read_arrays(path)
        upper, lower, hair, shoes = (int(kind) for kind in arrays["garments"])
        return Texture(
            image=arrays["image"],
            semantics=arrays["semantics"],
            garments=(upper, lower, hair, shoes),
            grey=bool(arrays["grey"]),
        )
    except (ValueError, KeyError) as error:
        path.unlink(missing_ok=True)
        raise ValueError(
            f"{path}: wanted a texture, came a file that is damaged ({error}); it was removed; "
            "do: start again, and it is made anew"
        ) from error
