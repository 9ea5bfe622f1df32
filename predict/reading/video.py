"""Frames of video files as pictures: upright, in order, named by their number, one at a time.

Videos are read by PyAV, an optional extra. Frames are counted from 0 as they are shown, and called
`<name of the video>_<number>`, such as walk_000123. What a phone wrote about how it was held is
applied, and oblong pixels become square. One frame is in memory at a time, however long the video.
"""

from __future__ import annotations

import bisect
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from plausibody.predict.bulk.inputs import Inputs, file_stamp
from plausibody.predict.reading.photo import LEAST_SIDE, PhotoError
from plausibody.synth.picture_file import MOST_PIXELS

SUFFIXES = frozenset(".3gp .avi .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv".split())
"""File names that end so are taken for videos."""
ANEW = 64
"""Frames beyond which it pays to jump to the key frame before the one that is wanted."""


class VideoError(PhotoError):
    """A video that cannot be read, or a part of it."""


def is_video(path: Path | str) -> bool:
    """Says whether a file is named like a video."""
    return Path(path).suffix.lower() in SUFFIXES


def read_frames(
    path: Path | str, step: int = 1, fps: float | None = None
) -> Iterator[tuple[str, UInt8[Tensor, "H W 3"]]]:
    """Gives the name and the picture of frames, in their order, holding one at a time.

    Args:
        step: One frame in so many, beginning with the first.
        fps: Frames per second instead: of each period, the first frame.

    Raises:
        ModuleNotFoundError: If PyAV is not installed.
        FileNotFoundError: If there is no such file.
        VideoError: If it is no video, or breaks off: after the frames before the damage.
        ValueError: If `step` or `fps` is not positive.
    """
    path = Path(path)
    _check_rate(step, fps)
    chosen = _Chosen(step, fps)
    with _opened(path) as container:
        for number, frame in enumerate(_decoded(path, container)):
            if chosen(number, None if frame.time is None else float(frame.time)):
                yield frame_name(path, number), _picture(path, container, frame)


def frame_name(path: Path | str, number: int) -> str:
    """Gives a frame's name; dots become underscores, so that no part looks like a suffix."""
    return f"{Path(path).stem.replace('.', '_')}_{number:06d}"


def video_inputs(path: Path | str, step: int = 1, fps: float | None = None) -> Inputs:
    """Lists the frames of a video as inputs of a run, which opens them by name.

    The list comes from the file's index, without decoding. Names are `<video>/<frame_name>`.

    Args:
        step: One frame in so many, beginning with the first.
        fps: Frames per second instead: of each period, the first frame.

    Raises:
        ModuleNotFoundError, FileNotFoundError, VideoError, ValueError: As of `read_frames`.
    """
    path = Path(path)
    _check_rate(step, fps)
    video = Video.of(path)
    chosen = _Chosen(step, fps)
    numbers = [number for number in range(len(video)) if chosen(number, video.time(number))]
    stamp = file_stamp(path)
    return Inputs(
        names=[str(path / frame_name(path, number)) for number in numbers],
        open=video.open,
        stamp=lambda name: stamp,
    )


@dataclass
class Video:
    """A video whose frames are opened by their names, quickly in their order, and in any other."""

    path: Path
    shown: list[int] | None
    """When each frame is shown, in the stream's unit, ascending; None if the file does not say."""
    count: int
    """Of frames."""
    unit: Fraction
    """Of time [s]."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._container: Any = None
        self._frames: Iterator[Any] = iter(())
        self._next = 0
        self._whole = False  # whether a key frame has come since the last jump

    @classmethod
    def of(cls, path: Path) -> Video:
        """Reads the index of a file.

        Raises:
            ModuleNotFoundError, FileNotFoundError, VideoError: As of `read_frames`.
        """
        with _opened(path) as container, _explained(path):
            stream = container.streams.video[0]
            packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
            times = [packet.pts for packet in packets]
            known = [time for time in times if time is not None]
            exact = len(known) == len(times) == len(set(known))
            unit = stream.time_base or Fraction(1, 25)
        if not times:
            raise VideoError(f"{path}: wanted a video, came one without frames; do: copy it again")
        return cls(path, sorted(known) if exact else None, len(times), unit)

    def __len__(self) -> int:
        return self.count

    def time(self, number: int) -> float | None:
        """Gives when a frame is shown [s]; None if the file does not say."""
        return None if self.shown is None else float(self.shown[number] * self.unit)

    def open(self, name: Path) -> UInt8[Tensor, "H W 3"]:
        """Gives a frame by its name; threads may ask, one after the other.

        Raises:
            VideoError: If there is no such frame, or the video is damaged there.
        """
        number = int(name.name.rpartition("_")[2])
        with self._lock, _explained(self.path):
            try:
                return self._find(number)
            except BaseException:
                self._close()
                raise

    def _find(self, number: int) -> UInt8[Tensor, "H W 3"]:
        if not 0 <= number < self.count:
            raise VideoError(f"{self.path}: wanted frame {number}, it has {self.count}")
        ahead = number - self._next
        starts: list[int | None] = [number, number - ANEW, 0]
        if self._container is not None and 0 <= ahead and (ahead <= ANEW or self.shown is None):
            starts = [None, *starts]  # on from here first
        # Where frames are stored in another order than shown, the key frame that is found may be
        # too late; and some files have no index of them, then only the beginning is safe.
        for start in starts:
            if start is not None:
                self._go_to(max(0, start))
            found = self._forward_to(number)
            if found is not None:
                return found
            if self._whole:
                break
        raise VideoError(f"{self.path}: wanted frame {number}, which is damaged or missing")

    def _forward_to(self, number: int) -> UInt8[Tensor, "H W 3"] | None:
        """Reads on to a frame; None if it does not come, or not with all that it builds on."""
        for frame in self._frames:
            here = self._number_of(frame)
            self._next = here + 1
            if here <= number:
                self._whole = self._whole or frame.key_frame
            if here == number and self._whole:
                return _picture(self.path, self._container, frame)
            if here >= number:
                break
        return None

    def _number_of(self, frame: Any) -> int:
        if self.shown is None or frame.pts is None:
            return self._next
        return bisect.bisect_left(self.shown, frame.pts)

    def _go_to(self, number: int) -> None:
        """Goes to the key frame before a frame, or to the beginning if times are unknown."""
        self._close()
        self._container = _open(self.path)
        self._whole = self.shown is None or number == 0
        if self.shown is not None and number > 0:
            stream = self._container.streams.video[0]
            try:
                with _explained(self.path):
                    self._container.seek(self.shown[number], stream=stream)
            except VideoError:  # some kinds can only be read from the beginning
                self._container.close()
                self._container = _open(self.path)
                self._whole = True
        self._frames = _decoded(self.path, self._container)

    def _close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container, self._frames, self._next, self._whole = None, iter(()), 0, False

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs to read the same frames."""
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()


class _Chosen:
    """Says of each frame, in their order, whether it is wanted."""

    def __init__(self, step: int, fps: float | None):
        self.step, self.fps = step, fps
        self._due = 0

    def __call__(self, number: int, time: float | None) -> bool:
        """Args:
        time: When the frame is shown [s].
        """
        if self.fps is None:
            return number % self.step == 0
        if time is None:
            raise ValueError(
                "fps: wanted a video that says when its frames are shown, came one that does not; "
                "do: choose one frame in so many"
            )
        period = int(time * self.fps + 1e-6)
        if number > 0 and period < self._due:
            return False
        self._due = period + 1
        return True


def _check_rate(step: int, fps: float | None) -> None:
    if step < 1:
        raise ValueError(f"--every: wanted one frame in 1 or more, got {step}")
    if fps is not None and not fps > 0:
        raise ValueError(f"fps: wanted more than 0 frames per second, got {fps}")


def _library() -> Any:
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "video: wanted the library PyAV, which is not installed; do: pip install "
            '"plausibody[video]", or save the frames as pictures and name their folder'
        ) from error
    return av


def _open(path: Path) -> Any:
    av = _library()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: wanted a video, found no file; do: check the path")
    with _explained(path):
        container = av.open(str(path))
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path}: wanted a video, came a file without moving pictures")
    return container


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    container = _open(path)
    try:
        yield container
    finally:
        container.close()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns PyAV's errors into ours."""
    av = _library()
    try:
        yield
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path}: wanted a whole video of a known format, came one that breaks off, is damaged "
            f"or something else ({error}); do: copy it again, or convert it to MP4"
        ) from error


def _decoded(path: Path, container: Any) -> Iterator[Any]:
    frames = container.decode(container.streams.video[0])
    while True:
        with _explained(path):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


def _picture(path: Path, container: Any, frame: Any) -> UInt8[Tensor, "H W 3"]:
    """Brings a frame to RGB, square pixels and the way it is to be held."""
    width, height = frame.width, frame.height
    if aspect := container.streams.video[0].sample_aspect_ratio:  # not 1 on DVDs
        width = max(1, round(width * float(aspect)))
    if width * height > MOST_PIXELS:
        raise VideoError(
            f"{path}: wanted frames of at most {MOST_PIXELS // 10**6} megapixels, came {width} x "
            f"{height}; do: shrink it, a side of 2000 pixels is plenty"
        )
    if min(width, height) < LEAST_SIDE:
        raise VideoError(
            f"{path}: wanted frames of at least {LEAST_SIDE} pixels a side, came {width} x "
            f"{height}; do: use a larger version",
            status="too_small",
        )
    pixels = torch.from_numpy(frame.to_ndarray(format="rgb24", width=width, height=height))
    turns = round(frame.rotation / 90) % 4  # quarter turns against the clock
    return torch.rot90(pixels, turns, (0, 1)).contiguous()
