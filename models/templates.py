"""Bodies from files in SMPL's format: the one that ships, or one of the user's.

The files as published are read as downloaded, python-2 pickles included, without chumpy and
without running what they contain (`plausibody.models.unpickle`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.assets.contents import read_arrays
from plausibody.assets.topology import topology_hash
from plausibody.models.body import BodyTemplate
from plausibody.models.skeleton import SMPL24
from plausibody.models.unpickle import read_pickle

GENDERS = ("neutral", "male", "female")
KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
"""What SMPL's files call vertices, directions, regressor, weights, tree and faces."""

FOLDERS = (".", "smpl", "models", "smpl/models", "{gender}")
"""Where a folder keeps its bodies: as unpacked from the publishers' archives, or for smplx."""
FILES = (
    r"(smpl|open)_{gender}\.(npz|pkl)",
    r"basicmodel_({gender}|{letter})_lbs_.*\.(npz|pkl)",
    r"model\.(npz|pkl)",
)


def load_template(
    spec: str | Path = "open",
    gender: str = "neutral",
    directories: Sequence[Path] | None = None,
) -> BodyTemplate:
    """Loads a body, in single precision and on the CPU.

    Args:
        spec: "open" for the body that ships; or the path of an `.npz` or `.pkl` file in SMPL's
            format, or of a folder that holds one for each gender under a usual name
            (`SMPL_NEUTRAL.pkl`, `basicmodel_f_lbs_10_207_0_v1.1.0.pkl`, ...). A path that does not
            exist is looked for in the folders of the search order.
        gender: neutral, male or female. A single file keeps the gender that it names.
        directories: Folders to look in instead of `assets.catalog.search_directories()`.
    """
    if gender not in GENDERS:
        raise ValueError(f"gender: wanted one of {', '.join(GENDERS)}, came {gender!r}")
    path = locate_body(str(spec), gender, directories)
    arrays = _read(path)
    _check(path, arrays)
    return BodyTemplate(
        vertices=_floats(arrays["v_template"]),
        shape_directions=_floats(arrays["shapedirs"]),
        pose_directions=_floats(arrays["posedirs"]),
        joint_regressor=_floats(arrays["J_regressor"]),
        skinning_weights=_floats(arrays["weights"]),
        parents=_parents(path, arrays["kintree_table"]),
        faces=torch.from_numpy(arrays["f"].astype(np.int64)),
        topology=_topology(path, arrays),
        gender=_gender(path, arrays) or gender,
    )


def locate_body(spec: str, gender: str, directories: Sequence[Path] | None = None) -> Path:
    """Finds the file that `load_template` would read.

    Raises:
        FileNotFoundError: If there is none.
    """
    if spec == "open":
        return find_asset(f"body/open_{gender}.npz", directories)
    path = Path(spec).expanduser()
    path = path if path.exists() else find_asset(spec, directories)
    if not path.is_dir():
        return path

    words = {"gender": gender, "letter": gender[0]}
    for folder in FOLDERS:
        files = [file for file in (path / folder.format(**words)).glob("*") if file.is_file()]
        # .npz before .pkl, as it opens faster; v1.1.0, with its 300 shapes, before v1.0.0
        files = sorted(files, key=lambda file: file.name, reverse=True)
        files = sorted(files, key=lambda file: file.suffix)
        for pattern in FILES:
            for file in files:
                if re.fullmatch(pattern.format(**words), file.name, re.IGNORECASE):
                    return file
    raise FileNotFoundError(
        f"{path}: wanted a folder with a {gender} body, such as SMPL_{gender.upper()}.pkl or "
        f"basicmodel_{gender[0]}_lbs_10_207_0_v1.1.0.pkl, found none; do: name the file itself"
    )


def _read(path: Path) -> Mapping[str, Any]:
    match path.suffix.lower():
        case ".npz":
            arrays: Any = read_arrays(path, (*KEYS, "topology", "gender"))
        case ".pkl":
            arrays = read_pickle(path)
        case suffix:
            raise ValueError(f"{path}: wanted a body as .npz or .pkl, came {suffix or 'no suffix'}")
    if not isinstance(arrays, dict) or any(key not in arrays for key in KEYS):
        came = ", ".join(map(str, arrays)) if isinstance(arrays, dict) else type(arrays).__name__
        raise ValueError(
            f"{path}: wanted a body in SMPL's format, with {', '.join(KEYS)}, came {came}"
        )
    return arrays


def _check(path: Path, arrays: Mapping[str, Any]) -> None:
    for key in KEYS:
        array = arrays[key]
        kinds = "iu" if key in ("f", "kintree_table") else "fiu"
        if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
            came = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else repr(array)
            raise ValueError(
                f"{path}: wanted an array of numbers under {key!r}, came {came}; do: take the file "
                f"as published, or save that key as a plain array"
            )

    shapes = {key: arrays[key].shape for key in KEYS}
    joints = len(SMPL24)
    vertices, faces = shapes["v_template"][:1], shapes["f"][:1]
    wanted = {
        "v_template": (*vertices, 3),
        "shapedirs": (*vertices, 3, *shapes["shapedirs"][2:3]),
        "posedirs": (*vertices, 3, 9 * (joints - 1)),
        "J_regressor": (joints, *vertices),
        "weights": (*vertices, joints),
        "kintree_table": (2, joints),
        "f": (*faces, 3),
    }
    wrong = [
        f"{key} {wanted[key]}, not {shapes[key]}" for key in KEYS if shapes[key] != wanted[key]
    ]
    if wrong:
        raise ValueError(
            f"{path}: wanted a body of {joints} joints with {'; '.join(wrong)}. "
            f"Bodies with hands or faces (SMPL-H, SMPL-X) cannot be used yet; do: take SMPL's file"
        )
    if not np.isin(arrays["f"], np.arange(*vertices)).all():
        raise ValueError(f"{path}: f: wanted indices of {vertices[0]} vertices, came others")
    for key in KEYS[:5]:
        if not np.isfinite(arrays[key]).all():
            raise ValueError(f"{path}: {key}: wanted finite numbers, came others")
    for key in ("J_regressor", "weights"):
        error = np.abs(arrays[key].sum(axis=1, dtype=np.float64) - 1).max()
        if error > 0.1:  # published regressors are only nearly exact
            raise ValueError(f"{path}: {key}: wanted rows that sum to one, came {error:.3g} off")


def _parents(path: Path, tree: NDArray[np.integer]) -> tuple[int, ...]:
    """Reads the tree; its root's parent is -1, or 2**32 - 1 where that was written unsigned."""
    names = tree[1].tolist()
    column = {name: place for place, name in enumerate(names)}
    root, *others = tree[0].tolist()
    if root in column or any(name not in column for name in others):
        raise ValueError(
            f"{path}: kintree_table: wanted a root without parent and joints with one, "
            f"came the parents {tree[0].tolist()} of the joints {names}"
        )
    return (-1, *(column[name] for name in others))


def _topology(path: Path, arrays: Mapping[str, Any]) -> str:
    computed = topology_hash(arrays["f"])
    carried = str(arrays.get("topology", computed))
    if carried != computed:
        raise ValueError(
            f"{path}: wanted faces of the topology {carried} that the file names, came {computed}: "
            f"its parts do not belong together; do: build or install it again"
        )
    return computed


def _gender(path: Path, arrays: Mapping[str, Any]) -> str | None:
    named = str(arrays.get("gender", ""))
    if named in GENDERS:
        return named
    word = re.search(r"(?<![a-z])(neutral|female|male|f|m)(?![a-z])", path.stem.lower())
    return next(gender for gender in GENDERS if gender.startswith(word[1])) if word else None


def _floats(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
