"""3DPW: people outdoors, their bodies from inertial sensors and a moving camera.

Two layouts are read: crops with their labels, as HierProb3D's evaluation has them and `plausibody
assets import 3dpw` makes them, with the key points that HRNet found in them where the user has its
file; and labels in SPIN's layout over the whole frames.

Sources: von Marcard et al., "Recovering Accurate 3D Human Pose in The Wild Using IMUs and a Moving
Camera", 2018; the evaluations released with Sengupta et al., 2021 [H], and with Kolotouros et al.,
2019 [K].
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.assets.contents import read_headers
from plausibody.evaluate.datasets.labels import (
    TEXT,
    Wanted,
    file_below,
    read_genders,
    read_labels,
    require_files,
    require_once,
)
from plausibody.evaluate.datasets.people import About, LabelledPeople, body_from_labels
from plausibody.evaluate.datasets.pw3d_import import CROPS, TRUNCATED
from plausibody.evaluate.datasets.pw3d_labels import CROP, SCALE
from plausibody.evaluate.datasets.pw3d_sequences import SHAPES, SPLITS
from plausibody.evaluate.datasets.spin import read_spin
from plausibody.evaluate.datasets.spin_joints import EXTRAS
from plausibody.models.naming import first_named
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Box
from plausibody.models.skeleton import COCO17, SMPL24
from plausibody.predict.reading.array_file import read_arrays

HRNET = "hrnet_results_centred.npy"
LEAST_LIMB = 0.6
"""Confidence that key points of the limbs must exceed to be shown to a regressor; all others always
are."""
LEAST = 0.001
"""Confidence of a key point that is shown at least."""
LIMBS = [n for n, name in enumerate(COCO17) if name.endswith(("elbow", "wrist", "knee", "ankle"))]
PUBLISHED = 35_515
"""Crops of the test split, as SPIN's and HierProb3D's labels count them."""
WANTED: Wanted = {
    "imgname": TEXT,
    "center": (2,),
    "wh": (),
    "pose": (3 * len(SMPL24),),
    "shape": (SHAPES,),
    "gender": TEXT,
}
"""Arrays of HierProb3D's labels."""
NAME = re.compile(r"(?P<sequence>.+)_image_\d+_person_\d+\.\w+")
"""Of a crop."""

ABOUT = About(
    name="3dpw",
    source="https://virtualhumans.mpi-inf.mpg.de/3DPW; for registered users, for research",
    layout=f"3dpw_test.npz and {CROPS}/, as 'plausibody assets import 3dpw' writes them, and "
    f"{HRNET} if you have it; or SPIN's 3dpw_test.npz beside imageFiles/",
    protocol=(
        f"Test split ({PUBLISHED:,} people and frames): where the camera's pose is valid for the "
        "person.",
        "Crops round the labelled body, 1.2 times its box: no detector takes part.",
        "True joints: J14 of the H36M regressor on the male or female body of the label.",
        "SPIN and those after it move pelvis onto pelvis (mpjpe); HierProb3D and HuManiFlow do not "
        "(mpjpe_smplorigin).",
        f"HierProb3D's key points are HRNet's; of elbows, wrists, knees and ankles only those "
        f"surer than {LEAST_LIMB}.",
    ),
    headline=("pa_mpjpe", "mpjpe", "mpjpe_smplorigin", "mpjpe_sc", "pve_sc", "pve_t_sc"),
    factor=SCALE,
    samples=10,
)


@dataclass(frozen=True)
class People3DPW:
    """The data set, opened; the first axis of every tensor and every tuple runs over the people."""

    about: About
    names: tuple[str, ...]
    pictures: tuple[Path | None, ...]
    """Crops, or whole frames in SPIN's layout; None where there is no folder of crops."""
    genders: tuple[str, ...]
    box: Box
    body: BodyParameters
    sequences: tuple[str, ...]
    keypoints: Float[Tensor, "people 17 3"] | None = None
    truncated: tuple[str, ...] | None = None
    """yes where a body goes on beyond the frame, no where it does not; None if nothing is known."""

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, numbers: Sequence[int]) -> LabelledPeople:
        """Gives the people of these numbers, from 0 on, in this order."""
        chosen = list(numbers)
        return LabelledPeople(
            names=tuple(self.names[n] for n in chosen),
            pictures=tuple(self.pictures[n] for n in chosen),
            genders=tuple(self.genders[n] for n in chosen),
            box=Box(centre=self.box.centre[chosen], side=self.box.side[chosen]),
            body=BodyParameters(self.body.shape[chosen], self.body.rotations[chosen]),
            keypoints=None if self.keypoints is None else self.keypoints[chosen],
            sequences=tuple(self.sequences[n] for n in chosen),
            attributes={}
            if self.truncated is None
            else {TRUNCATED: tuple(self.truncated[n] for n in chosen)},
        )


def open_3dpw(folder: Path) -> People3DPW:
    """Opens 3DPW in either layout, whichever the labels have.

    Args:
        folder: With the labels; with SPIN's, the labels may also lie in `dataset_extras`. Or the
            file of labels itself.

    Raises:
        FileNotFoundError: If labels, pictures or all that could be shown of people is missing.
        ValueError: If the labels are not as published, or there are labels of several splits.
    """
    labels = find_labels(folder)
    if "wh" in read_headers(labels):
        return _open_crops(labels)
    return _open_frames(labels)


def find_labels(folder: Path) -> Path:
    """Finds the one file of labels of a folder, or takes the file itself.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If there are several.
    """
    if folder.is_file():
        return folder
    homes = (folder, folder / "test", folder / EXTRAS)
    found = [path for home in homes for path in sorted(home.glob("3dpw_*.npz"))]
    if not found:
        raise FileNotFoundError(
            f"{folder}: wanted 3DPW's labels, such as 3dpw_test.npz, found none; do: make them of "
            "the data set's own files with 'plausibody assets import 3dpw'"
        )
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found)
        raise ValueError(f"{folder}: wanted one file of labels, found {names}; do: name the one")
    return found[0]


def _open_crops(labels: Path) -> People3DPW:
    """Reads HierProb3D's layout; each person's picture is a crop."""
    arrays = read_labels(labels, WANTED, {TRUNCATED: ()})
    names = tuple(arrays["imgname"])
    _check_names(labels, names)
    keypoints = _read_hrnet(labels.parent / HRNET, len(names))
    crops = labels.parent / CROPS
    told = f"{labels}, imgname"
    pictures: tuple[Path | None, ...] = (None,) * len(names)
    if crops.is_dir():
        files = [file_below(crops, name, told) for name in names]
        require_files(
            files,
            f"the crops that {labels.name} names",
            "run 'plausibody assets import 3dpw' again, which goes on where it was stopped",
        )
        pictures = tuple(files)
    elif keypoints is None:
        raise FileNotFoundError(
            f"{labels.parent}: wanted the crops in {CROPS}/, or at least {HRNET}, found neither; "
            "do: make the crops with 'plausibody assets import 3dpw'"
        )
    people = len(names)
    rotvecs = torch.from_numpy(arrays["pose"]).float().unflatten(1, (-1, 3))
    return People3DPW(
        about=_about(labels, people),
        names=names,
        pictures=pictures,
        genders=read_genders(arrays["gender"], f"{labels}, gender"),
        box=Box(torch.full((people, 2), CROP / 2), torch.full((people,), float(CROP))),
        body=body_from_labels(rotvecs, torch.from_numpy(arrays["shape"]).float()),
        sequences=tuple(_sequence(name) for name in names),
        keypoints=keypoints,
        truncated=tuple("yes" if cut else "no" for cut in arrays[TRUNCATED])
        if TRUNCATED in arrays
        else None,
    )


def _open_frames(labels: Path) -> People3DPW:
    """Reads SPIN's layout; people share whole frames."""
    file = read_spin(labels, ("pose", "shape", "gender"))
    home = labels.parent.parent if labels.parent.name == EXTRAS else labels.parent
    people = range(len(file))
    pictures = file.pictures(home, people)
    require_files(
        set(pictures), f"the frames that {labels.name} names, below {home}", "unpack them there"
    )
    assert file.genders is not None
    return People3DPW(
        about=_about(labels, len(file)),
        names=_numbered(file.names),
        pictures=pictures,
        genders=file.genders,
        box=file.box,
        body=file.bodies(people),
        sequences=tuple(PurePosixPath(name).parent.name for name in file.names),
    )


def _about(labels: Path, people: int) -> About:
    """Says so if the people are not those of the published test split."""
    split = next((name for name in SPLITS if labels.stem.startswith(f"3dpw_{name}")), "")
    if split == "test" and people == PUBLISHED:
        return ABOUT
    note = f"{labels.name} has {people:,} people, the published test split {PUBLISHED:,}."
    name = ABOUT.name if split == "test" else f"{ABOUT.name}-{split or labels.stem}"
    return replace(ABOUT, name=name, protocol=(*ABOUT.protocol, note))


def _read_hrnet(path: Path, people: int) -> Float[Tensor, "people 17 3"] | None:
    """Reads HRNet's key points in the crops; None without the file.

    HRNet's places count from the centre of the first pixel. Those that the protocol leaves out get
    confidence 0.

    Raises:
        ValueError: If they are not of these people, or not finite.
    """
    if not path.is_file():
        return None
    found = read_arrays(path, "HRNet's key points in the crops").get("")
    if found is None or found.shape != (people, len(COCO17), 3):
        came = "several arrays" if found is None else f"an array of {found.shape}"
        raise ValueError(
            f"{path}: wanted x, y and confidence of 17 key points of each of the {people} people "
            f"of the labels, in their order, got {came}; do: take labels and key points of the "
            "same release, or remove this file to use a front end"
        )
    points = torch.from_numpy(found).float()
    odd = (~points.isfinite().flatten(1).all(1)).nonzero()[:, 0].tolist()
    if odd:
        raise ValueError(
            f"{path}: wanted finite numbers, got others in {first_named(odd, 'row')} (from 0); do: "
            "take the file as it is published"
        )
    sure = points[..., 2:].clamp(LEAST, 1)
    sure[:, LIMBS] = torch.where(points[:, LIMBS, 2:] > LEAST_LIMB, sure[:, LIMBS], 0.0)
    return torch.cat([points[..., :2] + 0.5, sure], -1)


def _check_names(labels: Path, names: Sequence[str]) -> None:
    require_once(
        names,
        f"{labels}, imgname: wanted a crop of each person",
        "the same for several:",
        "take the file as it is published",
    )


def _sequence(name: str) -> str:
    """Takes the sequence out of a crop's name; empty if it has another form."""
    match = NAME.fullmatch(name)
    return match["sequence"] if match else ""


def _numbered(names: Sequence[str]) -> tuple[str, ...]:
    """Tells people of the same picture apart: the second is called `<picture>#1`."""
    seen: Counter[str] = Counter()
    told = []
    for name in names:
        told.append(f"{name}#{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return tuple(told)
