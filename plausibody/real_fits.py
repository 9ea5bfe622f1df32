"""Bodies fitted to people in photos, in files beside those that tell of the people: SPIN's fits.

`final_fits/<data set>.npz` has a row for each row of the data set's own file: `pose` (72 numbers,
axis-angle, the root's in the camera's frame), `betas` (10) and `valid_fit`, whether they mean
something; everybody's do where that is not told.

Source: Kolotouros et al., "Learning to Reconstruct 3D Human Pose and Shape via Model-fitting in
the Loop", 2019, and the released code of SPIN and DaNet.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from plausibody.evaluate.datasets.labels import read_labels
from plausibody.evaluate.datasets.spin import SpinFile
from plausibody.models.naming import first_named
from plausibody.models.skeleton import SMPL24

LIMIT = 3.0
"""Coefficients of shapes beyond it make the whole shape the mean one, as in SPIN and DaNet
[standard deviations]."""


def with_fits(file: SpinFile, path: Path) -> SpinFile:
    """Gives the people of a file the bodies of another, row by row; its own are not used.

    Args:
        path: Such as final_fits/coco.npz.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not as published, or has other rows than the people.
    """
    try:
        arrays = read_labels(path, {"pose": (3 * len(SMPL24),), "betas": (10,)}, {"valid_fit": ()})
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: wanted fits in SPIN's layout (.npz with pose, betas and valid_fit), found no "
            "file; do: check the path"
        ) from error
    if len(arrays["pose"]) != len(file):
        raise ValueError(
            f"{path}: wanted a fit for each of the {len(file):,} people of {file.path}, got "
            f"{len(arrays['pose']):,}; do: name the fits of this data set, as they are published"
        )
    shape = torch.from_numpy(arrays["betas"]).float()
    shape[(shape.abs() > LIMIT).any(1)] = 0
    fitted = torch.ones(len(file), dtype=torch.bool)
    if "valid_fit" in arrays:
        told = torch.from_numpy(arrays["valid_fit"])
        if odd := ((told != 0) & (told != 1)).nonzero()[:, 0].tolist():
            raise ValueError(
                f"{path}, valid_fit: wanted 0 or 1, got others in {first_named(odd, 'row')} (from "
                "0); do: take the file as it is published"
            )
        fitted = told > 0
    rotvecs = torch.from_numpy(arrays["pose"]).float().unflatten(1, (-1, 3))
    return replace(file, rotvecs=rotvecs, shape=shape, fitted=fitted)
