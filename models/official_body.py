"""What published weights need beside themselves: SMPL, and for some of them a mean body."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.assets.catalog import (
    PUBLISHED_FOLDERS,
    REFERENCE_BODY,
    SHIPPED,
    find_asset,
    search_directories,
)
from plausibody.assets.contents import read_arrays, topology_of_body
from plausibody.models.body import BodyTemplate
from plausibody.models.official_straps import SHAPE_COUNT
from plausibody.models.regressor import INITIAL_CAMERA
from plausibody.models.skeleton import SMPL24, SMPL24_PARENTS
from plausibody.models.templates import load_template, locate_body

MEAN_PARAMETERS = "neutral_smpl_mean_params_6dpose.npz"
STRAPS_SOURCE = "github.com/akashsengupta1997/STRAPS-3DHumanShapePose"
LARGEST_SKEW = 0.2
"""By which products of columns of a mean rotation may miss 0 and 1; columns one after the other
instead of row by row miss them by 1."""


def nearby(path: Path, directories: Sequence[Path] | None = None) -> list[Path]:
    """Lists where files that belong to a checkpoint may lie: round it, then in the search order.

    Args:
        path: The checkpoint, maybe in a checkout of its authors' code.
        directories: Folders to look in instead of `assets.catalog.search_directories()`.
    """
    near = [path.absolute().parent, path.absolute().parent.parent]
    inside = [folder / name for folder in near for name in PUBLISHED_FOLDERS]
    usual = search_directories() if directories is None else directories
    places = [near[0], *(folder for folder in inside if folder.is_dir()), *usual]
    return list(dict.fromkeys(places))


def find_smpl(
    body: Path | str | None, gender: str, places: Sequence[Path], whose: str
) -> tuple[str, BodyTemplate]:
    """Finds the body that published weights predict.

    Args:
        body: SMPL's file or folder; None to look for it.
        gender: Of it.
        places: Folders to look in; each may keep bodies as `load_template` knows it.
        whose: For messages, such as "LASOR.tar, weights of LASOR".

    Returns:
        Its file, as `load_template` takes it, and the body.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is of another gender, or cannot be SMPL.
    """
    if body is not None:
        file = locate_body(str(body), gender, places).absolute()
    else:
        file = _smpl_file(gender, places, whose).absolute()
    template = load_template(file, gender)
    if template.gender != gender:
        raise ValueError(
            f"{whose}: wanted a {gender} body, came a {template.gender} one, {file}; "
            "do: name a folder with all genders, or the gender of the weights"
        )
    count = template.shape_directions.shape[-1]
    ours = topology_of_body(find_asset(REFERENCE_BODY, [SHIPPED]))
    if template.topology == ours:
        fault = "the open body, whose shapes mean other things"
    elif template.parents != SMPL24_PARENTS or count < SHAPE_COUNT:
        fault = f"a body of {count} shapes and the tree {template.parents}"
    else:
        return str(file), template
    raise ValueError(
        f"{whose}: wanted SMPL, with {SHAPE_COUNT} shapes at least and its own tree, came {file}, "
        f"{fault}; do: take SMPL's file as published"
    )


def _smpl_file(gender: str, places: Sequence[Path], whose: str) -> Path:
    for place in places:
        try:
            if place.is_dir():
                return locate_body(str(place), gender)
        except FileNotFoundError:
            continue
    looked = "\n".join(f"  {place}" for place in places)
    raise FileNotFoundError(
        f"{whose}: wanted the {gender} body of SMPL, found no SMPL_{gender.upper()}.pkl in any of "
        f"these folders, nor in a folder smpl there:\n{looked}\n"
        "do: register at smpl.is.tue.mpg.de, then put the file as downloaded into one of them, or "
        "name its folder by $PLAUSIBODY_ASSETS"
    )


def find_mean_parameters(
    named: Path | str | None,
    places: Sequence[Path],
    whose: str,
    published: str = MEAN_PARAMETERS,
    source: str = f"the additional files of STRAPS, {STRAPS_SOURCE}",
) -> Path:
    """Finds the mean body from which an estimate starts.

    Args:
        named: The file, or its name; None to look for the published one.
        places: Folders to look in.
        whose: For messages.
        published: Its name as published.
        source: Among what it is published, for messages.

    Raises:
        FileNotFoundError: If it is nowhere.
    """
    if named is not None and Path(named).is_file():
        return Path(named)
    try:
        return find_asset(str(named or published), places)
    except FileNotFoundError as missing:
        raise FileNotFoundError(
            f"{whose}, correct a mean body that is in a file of its own; {missing}. "
            f"{published} is among {source}"
        ) from missing


def read_mean_parameters(path: Path) -> Float[Tensor, " parameters"]:
    """Reads where STRAPS and SPIN start: camera, rotations in the camera's frame, shape.

    Args:
        path: Of an `.npz` with `pose`, 24 rotations as six numbers (first two columns, row by
            row), and `shape`, 10 coefficients.

    Raises:
        ValueError: If it holds anything else.
    """
    arrays = read_arrays(path, ("pose", "shape"))
    parts = []
    for name, count in (("pose", 6 * len(SMPL24)), ("shape", SHAPE_COUNT)):
        array = arrays.get(name)
        if array is None or array.shape != (count,) or array.dtype.kind != "f":
            came = "none" if array is None else f"{array.dtype} {array.shape}"
            raise ValueError(f"{path}: {name}: wanted {count} floating-point numbers, came {came}")
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: {name}: wanted finite numbers, came others")
        parts.append(torch.from_numpy(array).float())
    columns = parts[0].unflatten(0, (len(SMPL24), 3, 2))
    skewed = (columns.mT @ columns - torch.eye(2)).abs().amax()
    if skewed > LARGEST_SKEW:
        raise ValueError(
            f"{path}: pose: wanted the first two columns of 24 rotations, row by row (R11, R12, "
            f"R21, ...), came columns whose products are {float(skewed):.2g} off those of unit "
            "vectors at right angles; do: take the file that STRAPS or SPIN publishes"
        )
    return torch.cat([torch.tensor(INITIAL_CAMERA), *parts])
