"""Label files in the layout of SPIN, in which much of the field passes on data sets (`.npz`).

Human3.6M, MPI-INF-3DHP, LSP, MPII, COCO and 3DPW come so, for training and for evaluation, and the
fits of EFT. Each row is a person in a picture: where the picture is, a square round the person, key
points, joints, a body. Files say as much as is known; all but the first three arrays may be absent.

Sources: Kolotouros et al., "Learning to Reconstruct 3D Human Pose and Shape via Model-fitting in
the Loop", 2019, and its released code: the preprocessing that writes these files, `base_dataset.py`
that reads them, `constants.py` for the order of the joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.evaluate.datasets.labels import (
    TEXT,
    Wanted,
    file_below,
    read_genders,
    read_labels,
)
from plausibody.evaluate.datasets.people import body_from_labels
from plausibody.models.camera import world_to_camera
from plausibody.models.naming import first_named
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Box
from plausibody.models.skeleton import COCO17, SMPL24, indices
from plausibody.predict.reading.openpose import BODY25

SPIN24 = (
    "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow "
    "right_shoulder left_shoulder left_elbow left_wrist neck head_top_lsp pelvis thorax spine jaw "
    "head_top nose left_eye right_eye left_ear right_ear"
).split()
"""The joints of `part` and `S`. `head_top_lsp` is the top of the head as LSP's annotators click it;
`head_top` is the H36M regressor's, which is the one that evaluators compare (J24_TO_J14)."""

PIXELS = 200.0
"""Length of which `scale` is a multiple [px]: the side of the square is 200 times it."""
HALF = 0.5
"""Added to `part`, which numbers pixels from 0, as COCO does [px]."""

WANTED: Wanted = {"imgname": TEXT, "center": (2,), "scale": ()}
OPTIONAL: Wanted = {
    "part": (len(SPIN24), 3),
    "openpose": (len(BODY25), 3),
    "S": (len(SPIN24), 4),
    "pose": (3 * len(SMPL24),),
    "shape": (10,),
    "has_smpl": (),
    "gender": TEXT,
    "maskname": TEXT,
    "partname": TEXT,
}


@dataclass(frozen=True)
class SpinFile:
    """The people of one file; the first axis of every tensor and every tuple runs over them.

    Numbers are as written, in single precision; the methods turn them into this package's frames.
    """

    path: Path
    names: tuple[str, ...]
    """Of the pictures, below the folder of the data set."""
    box: Box
    """The square round each person, which networks are shown [px]. Its corners are of outer
    corners of pixels. SPIN cuts it at whole pixels, rounded towards 0, which moves its borders by
    up to one pixel; here nothing is rounded."""
    part: Float[Tensor, "people 24 3"] | None = None
    """Key points that people marked (`SPIN24`): x, y [px, of the pixel's number] and confidence."""
    openpose: Float[Tensor, "people 25 3"] | None = None
    """Key points that OpenPose found (`BODY25`): x, y [px, from the outer corner], confidence."""
    joints: Float[Tensor, "people 24 4"] | None = None
    """`S`: joints in the camera's axes (y down) [m], from a root that differs between files, and
    whether each is known."""
    rotvecs: Float[Tensor, "people 24 3"] | None = None
    """`pose`: axis-angle of SMPL's joints, the root's in the camera's frame [rad]."""
    shape: Float[Tensor, "people 10"] | None = None
    """Coefficients of SMPL's shape."""
    fitted: Bool[Tensor, " people"] | None = None
    """`has_smpl`: whose pose and shape mean something; everybody's, in files that have no such
    array."""
    genders: tuple[str, ...] | None = None
    """male, female or neutral."""
    masks: tuple[str, ...] | None = None
    """Of the files of silhouettes, where there are any (LSP)."""
    part_masks: tuple[str, ...] | None = None
    """The same of body parts."""

    def __len__(self) -> int:
        return len(self.names)

    def pictures(self, folder: Path, numbers: Sequence[int]) -> tuple[Path, ...]:
        """Gives the files of some people's pictures.

        Args:
            folder: Of the data set.

        Raises:
            ValueError: If a name leads out of the folder.
        """
        told = f"{self.path}, imgname"
        return tuple(file_below(folder, self.names[number], told) for number in numbers)

    def coco17(self, numbers: Sequence[int]) -> Float[Tensor, "people 17 3"]:
        """Gives COCO's key points: x, y in the picture's pixels and confidence, 0 where unknown.

        Those that people marked, and those that OpenPose found where they marked none. Half a pixel
        is added to the former, as they number pixels. It is right for COCO; of the other sources it
        is not known, and SPIN treats them alike.
        """
        chosen = list(numbers)
        found = torch.zeros(len(chosen), len(COCO17), 3)
        if self.openpose is not None:
            found = self.openpose[chosen][:, indices(COCO17, BODY25)]
        if self.part is not None:
            marked = self.part[chosen][:, indices(COCO17, SPIN24)]
            marked = torch.cat([marked[..., :2] + HALF, marked[..., 2:]], -1)
            found = torch.where(marked[..., 2:] > 0, marked, found)
        return torch.where(found[..., 2:] > 0, found, torch.zeros(3))

    def world_joints(self, numbers: Sequence[int]) -> Float[Tensor, "people 24 4"]:
        """Gives the joints (`SPIN24`) in the world's axes, y up [m], and whether each is known.

        Raises:
            ValueError: If the file has none.
        """
        joints = _there(self.joints, "S", self.path)[list(numbers)]
        return torch.cat([world_to_camera(joints[..., :3]), joints[..., 3:]], -1)

    def bodies(self, numbers: Sequence[int]) -> BodyParameters:
        """Gives SMPL's parameters in the world; ask `fitted` whose mean something.

        Raises:
            ValueError: If the file has none.
        """
        chosen = list(numbers)
        rotvecs = _there(self.rotvecs, "pose", self.path)[chosen]
        return body_from_labels(rotvecs, _there(self.shape, "shape", self.path)[chosen])


def read_spin(path: Path, needed: Sequence[str] = ()) -> SpinFile:
    """Reads a file and checks every array of it that this layout knows; others are left alone.

    Args:
        needed: Names of arrays that must be there, besides `imgname`, `center` and `scale`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, arrays are missing, pickled or of other shapes, or numbers
            are not finite or make no sense.
    """
    wanted = {**WANTED, **{key: OPTIONAL[key] for key in needed}}
    try:
        arrays = read_labels(path, wanted, OPTIONAL)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: wanted labels in SPIN's layout (.npz with {', '.join(wanted)}), found no "
            "file; do: check the path"
        ) from error
    if ("pose" in arrays) != ("shape" in arrays):
        raise ValueError(
            f"{path}: wanted both pose and shape or neither, found one; do: take the file as it is "
            "published"
        )
    numbers = {
        key: torch.from_numpy(value).float()
        for key, value in arrays.items()
        if not isinstance(value, list)
    }
    names = tuple(arrays["imgname"])
    _require(path, "imgname", [not name.strip() for name in names], "names of pictures")
    _require(path, "scale", (numbers["scale"] <= 0).tolist(), "positive numbers")
    for key in ("part", "openpose", "S"):
        if key in numbers:
            least = numbers[key][..., -1].amin(1)
            _require(path, key, (least < 0).tolist(), "confidences from 0 to 1")
    return SpinFile(
        path=path,
        names=names,
        box=Box(centre=numbers["center"], side=PIXELS * numbers["scale"]),
        part=numbers.get("part"),
        openpose=numbers.get("openpose"),
        joints=numbers.get("S"),
        rotvecs=numbers["pose"].unflatten(1, (-1, 3)) if "pose" in numbers else None,
        shape=numbers.get("shape"),
        fitted=_fitted(path, numbers),
        genders=read_genders(arrays["gender"], f"{path}, gender") if "gender" in arrays else None,
        masks=tuple(arrays["maskname"]) if "maskname" in arrays else None,
        part_masks=tuple(arrays["partname"]) if "partname" in arrays else None,
    )


def _fitted(path: Path, numbers: dict[str, Tensor]) -> Bool[Tensor, " people"] | None:
    """Tells who has a body: as the file says, or else everybody if it has bodies at all."""
    if "pose" not in numbers:
        return None
    if "has_smpl" not in numbers:
        return torch.ones(len(numbers["pose"]), dtype=torch.bool)
    told = numbers["has_smpl"]
    _require(path, "has_smpl", ((told != 0) & (told != 1)).tolist(), "0 or 1")
    return told > 0


def _require(path: Path, key: str, wrong: Sequence[bool], wanted: str) -> None:
    odd = [row for row, bad in enumerate(wrong) if bad]
    if odd:
        raise ValueError(
            f"{path}, {key}: wanted {wanted}, got others in {first_named(odd, 'row')} (from 0); "
            "do: take the file as it is published"
        )


def _there(array: Tensor | None, key: str, path: Path) -> Tensor:
    if array is None:
        raise ValueError(f"{path}: wanted an array {key}, found none; do: use a file that has it")
    return array
