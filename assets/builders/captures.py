"""Reads the motion captures behind the pose store: joint angles of three skeletons, 30 a second.

All were captured at CMU. `bvh` are conversions with a common T-pose (B. Hahne, 2010), `asf` the
original ASF/AMC files, `deepmimic` clips on the humanoid of DeepMimic. The angles are kept in
steps of 0.05 degrees, as differences in time, in `sources/cmu_angles.npz.xz`; root positions,
fingers and the initial T-poses are left out, and so are conversions whose original is there.
"""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from scipy.spatial.transform import Rotation

SOURCES = Path(__file__).parent / "sources"
ANGLE_STEP = 0.05
"""Degrees per unit of the stored angles."""
QUATERNION_STEP = 1 / 4096
"""Per unit of the stored numbers of `deepmimic`; its hinge angles are radians in the same unit."""


@dataclass(frozen=True)
class Clip:
    """One capture: how each bone of its skeleton is turned, frame by frame."""

    subject: int
    """CMU's number of the person; 900 where it is not known."""
    trial: int
    origin: str
    """`bvh`, `asf` or `deepmimic`."""
    turns: dict[str, Float[ndarray, "n 3 3"]]
    """World rotation of each bone away from the skeleton's zero pose."""
    directions: dict[str, Float[ndarray, 3]]
    """Where each bone points in the zero pose; none for `deepmimic`."""


def read_captures(folder: Path = SOURCES) -> Iterator[Clip]:
    """Reads all clips, `bvh` first."""
    skeletons = json.loads((folder / "cmu_skeletons.json").read_text())
    packed = io.BytesIO(lzma.decompress((folder / "cmu_angles.npz.xz").read_bytes()))
    readers = {"bvh": _read_bvh, "asf": _read_asf, "deepmimic": _read_deepmimic}
    with np.load(packed) as stored:
        for origin, read in readers.items():
            values = unpack(stored[origin])
            start = 0
            for subject, trial, count in stored[f"{origin}_clips"].tolist():
                yield read(subject, trial, values[start : start + count], skeletons[origin])
                start += count


def pack(values: Int[ndarray, "n C"]) -> UInt8[ndarray, "2 C n"]:
    """Lays differences in time out channel by channel, low bytes apart from high bytes."""
    steps = np.diff(values, axis=0, prepend=0).astype(np.int16).view(np.uint16).T
    return np.stack([(steps & 255).astype(np.uint8), (steps >> 8).astype(np.uint8)])


def unpack(planes: UInt8[ndarray, "2 C n"]) -> Int[ndarray, "n C"]:
    """Undoes `pack`."""
    steps = (planes[0].astype(np.uint16) | (planes[1].astype(np.uint16) << 8)).view(np.int16)
    return np.cumsum(steps.T.astype(np.int64), axis=0)


def _read_bvh(subject: int, trial: int, values: Int[ndarray, "n C"], skeleton: Any) -> Clip:
    angles = (values * ANGLE_STEP).reshape(len(values), -1, 3)
    turns: dict[str, ndarray] = {}
    for k, joint in enumerate(skeleton["joints"]):
        local = Rotation.from_euler(joint["order"], angles[:, k], degrees=True).as_matrix()
        parent = joint["parent"]
        turns[joint["name"]] = local if parent is None else turns[parent] @ local
    directions = {joint["name"]: np.array(joint["offset"]) for joint in skeleton["joints"]}
    return Clip(subject, trial, "bvh", turns, directions)


def _read_asf(subject: int, trial: int, values: Int[ndarray, "n C"], skeleton: Any) -> Clip:
    """Turns each bone about its own axes: C R C^T, where C holds the axes in the zero pose."""
    bones = skeleton["skeletons"][str(subject)]
    angles: dict[str, ndarray] = {}
    for channel, (name, axis) in enumerate(skeleton["channels"]):
        column = angles.setdefault(name, np.zeros((len(values), 3)))
        column[:, "xyz".index(axis[1])] = values[:, channel] * ANGLE_STEP
    turns = {"root": Rotation.from_euler("xyz", angles["root"], degrees=True).as_matrix()}

    def turn(name: str) -> ndarray:
        if name not in turns:
            bone = bones[name]
            axes = Rotation.from_euler("xyz", bone["axis"], degrees=True).as_matrix()
            bent = angles.get(name, np.zeros((len(values), 3)))
            local = Rotation.from_euler("xyz", bent, degrees=True).as_matrix()
            turns[name] = turn(bone["parent"]) @ (axes @ local @ axes.T)
        return turns[name]

    for name in bones:
        turn(name)
    directions = {name: np.array(bone["direction"]) for name, bone in bones.items()}
    return Clip(subject, trial, "asf", turns, directions)


_DEEPMIMIC_PARENTS = {"chest": "root", "neck": "chest"} | {
    f"{side}_{joint}": parent.format(side)
    for side in ("left", "right")
    for joint, parent in (
        ("hip", "root"),
        ("knee", "{}_hip"),
        ("ankle", "{}_knee"),
        ("shoulder", "chest"),
        ("elbow", "{}_shoulder"),
    )
}
_DEEPMIMIC_AXES = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""From its frame (x forward, y up, z right) to ours (x left, y up, z forward)."""


def _read_deepmimic(subject: int, trial: int, values: Int[ndarray, "n C"], skeleton: Any) -> Clip:
    local, start = {}, 0
    for name, width in skeleton["channels"]:
        part = values[:, start : start + width] * QUATERNION_STEP
        if width == 4:
            local[name] = Rotation.from_quat(part[:, [1, 2, 3, 0]]).as_matrix()
        else:
            local[name] = Rotation.from_euler("z", part).as_matrix()
        start += width
    turns: dict[str, ndarray] = {}
    for name, own in local.items():
        parent = _DEEPMIMIC_PARENTS.get(name)
        turns[name] = own if parent is None else turns[parent] @ own
    ours = {name: _DEEPMIMIC_AXES @ own @ _DEEPMIMIC_AXES.T for name, own in turns.items()}
    return Clip(subject, trial, "deepmimic", ours, {})
