"""Poses from files as others publish them: motion sequences, lists of poses, and our own stores.

- A *sequence* is one motion in an `.npz` file of AMASS: `poses` (T, 156) for SMPL-H, (T, 165) for
  SMPL-X or (T, 72) for SMPL, or `root_orient` and `pose_body`; and its frame rate. SMPL's two hand
  joints, which SMPL-H and SMPL-X have not, stay at rest.
- A *list* is an `.npz` file of STRAPS, HierProb3D or HuManiFlow: `poses` (N, 72), `fnames` (N,).
- A *store* is an `.h5` file of `plausibody.synth.poses`.

Nothing that is pickled is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from plausibody.assets.contents import read_arrays, read_headers
from plausibody.synth.poses import read_blocks, splits_of

Layout = Literal["sequence", "list", "store"]
Rows = Literal["all", "h36m", "up3d", "3dpw", "not_amass"]
NOT_AMASS = ("h36m", "up3d", "3dpw")
"""How the names of poses begin that come from other data sets, in the published lists."""

_RATES = ("mocap_framerate", "mocap_frame_rate")
_HANDLESS = 66
"""Numbers of the 22 joints that SMPL, SMPL-H and SMPL-X share."""
_WIDTHS = {72: 72, **{width: _HANDLESS for width in (66, 156, 165)}}
"""How many numbers of a row are SMPL's, by the width of the row."""


class UnusableFile(ValueError):
    """A file without poses that can be read; others may do."""


@dataclass(frozen=True)
class PoseBlock:
    """Poses that share a source."""

    rotvecs: Float[Tensor, "n 24 3"]
    """As in the file [rad], not finite where the file is not."""
    names: list[str]
    person: str = ""
    """Data set and subject, such as "CMU/01"; empty if the file does not tell."""
    split: str = ""
    """Of a store; empty for others."""
    left_out: int = 0
    """Poses that were not asked for: other frames of a sequence, other rows of a list."""


def find_pose_files(paths: Sequence[Path]) -> list[Path]:
    """Lists the `.npz` and `.h5` files at or below some paths, each once."""
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"poses to import: no file or folder {path}")
        inside = path.rglob("*") if path.is_dir() else [path]
        files = sorted(file for file in inside if _holds_poses(file))
        if not files:
            raise FileNotFoundError(
                f"{path}: wanted poses as .npz or .h5 files, found none; do: unpack archives first"
            )
        found.update((file.resolve(), None) for file in files)
    return list(found)


def _holds_poses(path: Path) -> bool:
    """Goes by the name; archives made on a Mac have a shadow `._name` of each file."""
    return path.suffix.lower() in (".npz", ".h5") and not path.name.startswith(".")


def layout_of(path: Path) -> Layout:
    """Tells by the names of its arrays what a file is."""
    if path.suffix.lower() == ".h5":
        return "store"
    try:
        headers = read_headers(path)
    except ValueError as error:
        raise UnusableFile(_reason(path, error)) from error
    if {"poses", "fnames"} <= headers.keys():
        return "list"
    if "poses" in headers or {"root_orient", "pose_body"} <= headers.keys():
        return "sequence"
    raise UnusableFile(f"wanted poses, came {', '.join(headers) or 'nothing'}")


def read_poses(path: Path, rate: float | None = None, rows: Rows = "all") -> Iterator[PoseBlock]:
    """Reads the poses of a file, a store in many blocks, others in one.

    Args:
        rate: Poses to take from each second of a sequence; none takes all.
        rows: Which poses of a list: all, those of one data set, or all data sets but AMASS.

    Raises:
        UnusableFile: If an `.npz` file has no such poses, or cannot be read.
        ValueError: If a store cannot be read.
    """
    match layout_of(path):
        case "store":
            for split in splits_of(path):
                for rotvecs, names in read_blocks(path, split):
                    yield PoseBlock(rotvecs.double(), names, split=split)
        case "sequence":
            yield _read_sequence(path, rate)
        case "list":
            yield _read_list(path, rows)


def _read_sequence(path: Path, rate: float | None) -> PoseBlock:
    arrays = _arrays(path, ("poses", "root_orient", "pose_body", *_RATES))
    poses = _smpl_rows(arrays["poses"]) if "poses" in arrays else _joined(arrays)
    places = np.arange(len(poses))
    if rate is not None:
        places = places[_every(len(poses), _frame_rate(arrays), rate)]
    dataset, subject = path.resolve().parts[-3:-1]
    person = f"{dataset}/{subject}"
    return PoseBlock(
        rotvecs=torch.from_numpy(poses[places]),
        names=[f"{person}/{path.stem}_f{place:05d}" for place in places],
        person=person,
        left_out=len(poses) - len(places),
    )


def _read_list(path: Path, rows: Rows) -> PoseBlock:
    arrays = _arrays(path, ("poses", "fnames"))
    poses, names = _smpl_rows(arrays["poses"]), arrays["fnames"]
    if names.dtype.kind not in "US" or names.shape != poses.shape[:1]:
        raise UnusableFile(
            f"wanted fnames as one text for each of {len(poses)} poses, "
            f"came {names.shape} of {names.dtype}"
        )
    texts = np.char.decode(names, "utf-8", "replace") if names.dtype.kind == "S" else names
    begins = NOT_AMASS if rows == "not_amass" else ("",) if rows == "all" else (rows,)
    wanted = np.any([np.char.startswith(texts, begin) for begin in begins], axis=0)
    if not wanted.any():
        raise UnusableFile(
            f"wanted names that begin with {' or '.join(begins)}, came none among "
            f"{len(poses)} such as {str(texts[0])!r}"
        )
    return PoseBlock(
        rotvecs=torch.from_numpy(poses[wanted]),
        names=texts[wanted].tolist(),
        left_out=int((~wanted).sum()),
    )


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        pickled = [name for name, header in read_headers(path).items() if header.pickled]
        if any(name in pickled for name in names):
            raise UnusableFile(
                f"{', '.join(name for name in names if name in pickled)}: wanted plain arrays, "
                "came pickled objects, which are never opened"
            )
        return read_arrays(path, names)
    except UnusableFile:
        raise
    except (ValueError, MemoryError) as error:
        raise UnusableFile(_reason(path, error)) from error


def _smpl_rows(poses: NDArray[Any]) -> NDArray[np.float64]:
    """Takes SMPL's 24 joints out of rows of SMPL, SMPL-H or SMPL-X."""
    if poses.ndim < 2 or not len(poses) or poses.dtype.kind != "f":
        raise UnusableFile(f"wanted rows of floats as poses, came {poses.shape} of {poses.dtype}")
    flat = poses.reshape(len(poses), -1)
    if flat.shape[1] not in _WIDTHS:
        wide = ", ".join(map(str, sorted(_WIDTHS)))
        raise UnusableFile(f"wanted poses of {wide} numbers, came {poses.shape}")
    joints = np.zeros((len(flat), 72))
    count = _WIDTHS[flat.shape[1]]
    joints[:, :count] = flat[:, :count]
    return joints.reshape(-1, 24, 3)


def _joined(arrays: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Takes SMPL's joints from the root and the body of SMPL-H or SMPL-X."""
    root, body = arrays["root_orient"], arrays["pose_body"]
    if root.shape[1:] != (3,) or body.shape != (len(root), _HANDLESS - 3):
        raise UnusableFile(
            f"wanted root_orient (T, 3) and pose_body (T, {_HANDLESS - 3}), "
            f"came {root.shape} and {body.shape}"
        )
    return _smpl_rows(np.concatenate([root, body], axis=1))


def _frame_rate(arrays: dict[str, NDArray[Any]]) -> float:
    """Reads how many poses a second a sequence has."""
    named = [arrays[name] for name in _RATES if name in arrays]
    if not named:
        raise UnusableFile(f"wanted {' or '.join(_RATES)}, to take few of its poses, came neither")
    value = float(named[0]) if named[0].size == 1 and named[0].dtype.kind in "fiu" else 0.0
    if not 0 < value < np.inf:
        raise UnusableFile(f"wanted a frame rate above zero, came {named[0]}")
    return value


def _every(count: int, recorded: float, rate: float) -> NDArray[np.int64]:
    """Places of the frames at `rate` a second; all if it was recorded more slowly."""
    step = max(1.0, recorded / rate)
    places = np.floor(np.arange(0, count / step) * step + 1e-6).astype(np.int64)
    return places[places < count]


def _reason(path: Path, error: Exception) -> str:
    """A message without the path, which the summary names."""
    return str(error).removeprefix(f"{path}: ") or type(error).__name__
