"""Reads the sequences of 3DPW as its authors publish them: `sequenceFiles/<split>/<name>.pkl`.

Pickles of python 2, of which nothing but numbers and text is taken (`models.unpickle`). Each tells
of one or two people over all frames of a video: their bodies in a world of the data set's own, and
the moving camera over it.

Source: the data set's readme; von Marcard et al., "Recovering Accurate 3D Human Pose in The Wild
Using IMUs and a Moving Camera", 2018.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from plausibody.evaluate.datasets.labels import read_genders
from plausibody.models.unpickle import read_pickle

SPLITS = ("test", "validation", "train")
SHAPES = 10
"""Coefficients of the shape that are used; files hold 10 or 300."""
KEYS = ("sequence", "poses", "betas", "trans", "genders", "campose_valid")
CAMERA_KEYS = ("cam_poses", "cam_intrinsics")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
"""What a sequence may be called: it becomes part of the names of files."""


@dataclass(frozen=True)
class Actor:
    """One person of a sequence, over its frames."""

    gender: str
    """male or female."""
    shape: Float[ndarray, " 10"]
    """Coefficients of the body of this gender."""
    poses: Float[ndarray, "frames 72"]
    """Axis-angle of the 24 joints, the root's in the data set's world [rad]."""
    translations: Float[ndarray, "frames 3"]
    """In that world [m]."""
    valid: Bool[ndarray, " frames"]
    """Where the camera's pose was aligned to this person; only these frames count."""


@dataclass(frozen=True)
class Sequence3DPW:
    """A video and what is known of its people."""

    name: str
    actors: tuple[Actor, ...]
    cameras: Float[ndarray, "frames 4 4"]
    """From the data set's world to the camera's frame, x right, y down, z forward [m]."""
    intrinsics: Float[ndarray, "3 3"]
    """[px]"""

    def __len__(self) -> int:
        return len(self.cameras)


def find_sequences(source: Path, split: str = "test") -> list[Path]:
    """Lists the files of a split in the order of the published preprocessing: by their names.

    Args:
        source: The folder that holds `sequenceFiles` and `imageFiles`.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split: wanted one of {', '.join(SPLITS)}, came {split!r}")
    folder = source / "sequenceFiles" / split
    files = sorted(folder.glob("*.pkl"))
    if not files:
        there = sorted(path.name for path in source.iterdir())[:5] if source.is_dir() else []
        raise FileNotFoundError(
            f"{source}: wanted 3DPW as its authors publish it, with sequenceFiles/{split}/*.pkl "
            f"and imageFiles/, found {', '.join(there) or 'nothing'}; do: unpack both archives "
            "into one folder, and name it"
        )
    return files


def read_sequence(path: Path) -> Sequence3DPW:
    """Reads a sequence and checks that its parts belong together.

    Numbers may be NaN: whoever uses a frame looks at its own.

    Raises:
        UnsafePickle: If the file is a pickle that would run something.
        ValueError: If it is damaged, or not a sequence of 3DPW.
    """
    content = read_pickle(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: wanted a sequence of 3DPW, came {type(content).__name__}")
    missing = [key for key in (*KEYS, *CAMERA_KEYS) if key not in content]
    if missing:
        raise ValueError(
            f"{path}: wanted a sequence of 3DPW, with {', '.join((*KEYS, *CAMERA_KEYS))}, found no "
            f"{', '.join(missing)}; do: take the file as it is published"
        )
    name = str(content["sequence"])
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{path}: sequence: wanted the name of a folder of pictures, came {name[:80]!r}"
        )
    cameras = _numbers(path, "cam_poses", content["cam_poses"], (None, 4, 4))
    return Sequence3DPW(
        name=name,
        actors=_actors(path, content, len(cameras)),
        cameras=cameras,
        intrinsics=_numbers(path, "cam_intrinsics", content["cam_intrinsics"], (3, 3)),
    )


def _actors(path: Path, content: Mapping[Any, Any], frames: int) -> tuple[Actor, ...]:
    lists = {key: content[key] for key in KEYS[1:]}
    counts = {key: len(value) if _is_list(value) else 0 for key, value in lists.items()}
    if len(set(counts.values())) != 1 or not counts["poses"]:
        raise ValueError(
            f"{path}: wanted lists with an entry for each person under {', '.join(counts)}, came "
            f"{', '.join(map(str, counts.values()))} entries"
        )
    genders = read_genders(map(str, lists["genders"]), f"{path}, genders")
    return tuple(
        Actor(
            gender=gender,
            shape=_numbers(path, f"betas of person {n}", lists["betas"][n], (None,))[:SHAPES],
            poses=_numbers(path, f"poses of person {n}", lists["poses"][n], (frames, 72)),
            translations=_numbers(path, f"trans of person {n}", lists["trans"][n], (frames, 3)),
            valid=_numbers(
                path, f"campose_valid of person {n}", lists["campose_valid"][n], (frames,)
            )
            > 0,
        )
        for n, gender in enumerate(genders)
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, ndarray) and value.ndim > 0)


def _numbers(path: Path, name: str, value: Any, shape: tuple[int | None, ...]) -> ndarray:
    """Gives an array of doubles if it has this shape; None stands for any length."""
    array = value if isinstance(value, ndarray) else np.asarray(value, dtype=object)
    fits = array.dtype.kind in "fiub" and array.ndim == len(shape)
    fits = fits and all(
        wanted is None or wanted == length
        for wanted, length in zip(shape, array.shape, strict=False)
    )
    least = SHAPES if shape == (None,) else 1
    if not fits or not array.size or len(array) < least:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(
            f"{path}: {name}: wanted numbers of the shape ({wanted}), came {array.dtype} of "
            f"{array.shape}; do: take the file as it is published"
        )
    return array.astype(np.float64)
