"""The test set of MPI-INF-3DHP, as SPIN and those after it evaluate it.

Source: Mehta et al., "Monocular 3D Human Pose Estimation In The Wild Using Improved CNN
Supervision", 2017; Kolotouros et al., "Learning to Reconstruct 3D Human Pose and Shape via
Model-fitting in the Loop", 2019, as released (preprocessing of `mpi_inf_3dhp`, `eval.py`).
"""

from __future__ import annotations

import re
from pathlib import Path

from plausibody.evaluate.datasets.people import About
from plausibody.evaluate.datasets.spin import read_spin
from plausibody.evaluate.datasets.spin_joints import SpinJoints, find_labels
from plausibody.models.naming import first_named
from plausibody.models.skeleton import H36M17

LABELS = ("mpi_inf_3dhp_valid.npz", "mpi_inf_3dhp_test.npz")
"""What SPIN's configuration calls the file, and what its preprocessing does."""
SEQUENCE = re.compile(r"(?:^|/)(TS\d+)/")

ABOUT = About(
    name="mpi-inf-3dhp",
    source="MPI-INF-3DHP, https://vcai.mpi-inf.mpg.de/3dhp-dataset: to download; labels by SPIN's "
    "preprocessing",
    layout=f"{LABELS[0]}, here or in dataset_extras/, and mpi_inf_3dhp_test_set/TS1 to TS6",
    protocol=(
        "Frames of TS1 to TS6 that are valid and show all joints; crops round the joints, 1.2 "
        "times their longer side.",
        "Predicted joints: the H36M regressor on the predicted neutral mesh, from its joint 0.",
        "True joints: the universal ones, from the pelvis in the file (checked), not moved again.",
        "J17: all of the H36M regressor; the pelvis counts with an error of 0 in MPJPE.",
    ),
    headline=("mpjpe[h36m17]", "pa_mpjpe[h36m17]"),
)


def open_mpi_inf_3dhp(folder: Path) -> SpinJoints:
    """Opens the test set (`mpi_inf_3dhp_valid.npz`).

    Args:
        folder: With the labels, or with `dataset_extras` that holds them, and with
            `mpi_inf_3dhp_test_set`; or the file of labels itself.

    Raises:
        FileNotFoundError: If labels or pictures are missing.
        ValueError: If the labels are not as published.
    """
    labels, home = find_labels(folder, LABELS, "MPI-INF-3DHP")
    file = read_spin(labels, ("S",))
    found = [SEQUENCE.search(name) for name in file.names]
    odd = [name for name, match in zip(file.names, found, strict=True) if match is None]
    if odd:
        raise ValueError(
            f"{labels}: wanted pictures below TS1 to TS6, which are the sequences, got "
            f"{first_named(odd)}; do: make the file with SPIN's preprocessing"
        )
    sequences = tuple(match[1] for match in found if match is not None)
    return SpinJoints.open(ABOUT, file, home, H36M17, sequences)
