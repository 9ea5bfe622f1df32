"""Human3.6M, protocols 1 and 2, as SPIN and those after it evaluate them.

The people are subjects 9 and 11, every fifth frame: of all four cameras in protocol 1, of the
frontal one in protocol 2. Papers print the MPJPE of the first and the PA-MPJPE of the second, and
mean them when they say P1 and P2; both are computed for both.

Source: Kolotouros et al., "Learning to Reconstruct 3D Human Pose and Shape via Model-fitting in the
Loop", 2019, as released (preprocessing of `h36m`, `eval.py`); the table by action is that of Zhang
et al., "Learning 3D Human Shape and Pose from Dense Body Parts", 2020, as released (`eval.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from plausibody.evaluate.datasets.people import About
from plausibody.evaluate.datasets.spin import read_spin
from plausibody.evaluate.datasets.spin_joints import SpinJoints, find_labels
from plausibody.models.naming import first_named
from plausibody.models.skeleton import LSP14

FRONTAL = "60457274"
"""The camera of protocol 2."""
FACTOR = 0.9
"""Side of the crop over that of the data set's own box, which is loose."""
NAME = re.compile(r"(?P<subject>S\d+)_(?P<action>[^_.]+)[^.]*\.(?P<camera>\d+)_\d+\.\w+")
"""Of a picture, such as `S9_Directions_1.54138969_000001.jpg`. The action ends at the second `_`,
as published: so the two takes of an action are one row of the table."""

_PROTOCOL = (
    "Subjects 9 and 11, every fifth frame; crops round the data set's box, 0.9 times its longer "
    "side.",
    "Predicted joints: the H36M regressor on the predicted neutral mesh, from its joint 0.",
    "True joints: of motion capture, from the pelvis in the file (checked), not moved again.",
    "J14: twelve limb joints, neck, and the H36M top of the head.",
)


def open_h36m_p1(folder: Path) -> SpinJoints:
    """Opens protocol 1 (`h36m_valid_protocol1.npz`): all cameras.

    Args:
        folder: With the labels, or with `dataset_extras` that holds them, and with `images`; or
            the file of labels itself.

    Raises:
        FileNotFoundError: If labels or pictures are missing.
        ValueError: If the labels are not as published.
    """
    return _open(folder, 1)


def open_h36m_p2(folder: Path) -> SpinJoints:
    """Opens protocol 2 (`h36m_valid_protocol2.npz`): the frontal camera alone. As `open_h36m_p1`.

    Raises:
        ValueError: Also if pictures of other cameras are among them.
    """
    return _open(folder, 2)


def _open(folder: Path, protocol: int) -> SpinJoints:
    labels, home = find_labels(folder, (f"h36m_valid_protocol{protocol}.npz",), "Human3.6M")
    file = read_spin(labels, ("S",))
    attributes = parse_names(file.names, labels, protocol)
    return SpinJoints.open(about(protocol), file, home, LSP14, take_names(file.names), attributes)


def about(protocol: int) -> About:
    """Describes one of the protocols, 1 or 2."""
    cameras = "all four cameras" if protocol == 1 else f"the frontal camera, {FRONTAL}"
    return About(
        name=f"h36m-p{protocol}",
        source="Human3.6M, http://vision.imar.ro/human3.6m: asks for registration; labels by "
        "SPIN's preprocessing",
        layout=f"h36m_valid_protocol{protocol}.npz, here or in dataset_extras/, and images/",
        protocol=(f"Protocol {protocol}: {cameras}.", *_PROTOCOL),
        headline=("mpjpe",) if protocol == 1 else ("pa_mpjpe",),
        factor=FACTOR,
    )


def take_names(names: Iterable[str]) -> tuple[str, ...]:
    """Gives the take that each picture shows, which all four cameras filmed: S9_Directions_1."""
    return tuple(PurePosixPath(name).name.partition(".")[0] for name in names)


def parse_names(names: Iterable[str], labels: Path, protocol: int) -> dict[str, tuple[str, ...]]:
    """Reads action, subject and camera from the names of the pictures.

    Raises:
        ValueError: If names are of another form, or of cameras that the protocol leaves out.
    """
    names = list(names)
    found = [NAME.fullmatch(PurePosixPath(name).name) for name in names]
    odd = [name for name, match in zip(names, found, strict=True) if match is None]
    if odd:
        raise ValueError(
            f"{labels}: wanted pictures named like S9_Directions_1.54138969_000001.jpg, which tell "
            f"their action, got {first_named(odd)}; do: make the file with SPIN's preprocessing"
        )
    parts = [match.groupdict() for match in found if match is not None]
    others = [n for n, part in enumerate(parts) if part["camera"] != FRONTAL]
    if protocol == 2 and others:
        raise ValueError(
            f"{labels}: wanted pictures of camera {FRONTAL} alone (protocol 2), got those of "
            f"others: {first_named([names[n] for n in others])}; do: make the file with SPIN's "
            "preprocessing, or evaluate h36m-p1"
        )
    return {key: tuple(part[key] for part in parts) for key in ("action", "subject", "camera")}
