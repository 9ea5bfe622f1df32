"""A front end with HRNet's key points, from the file that its authors publish.

Regressors such as HierProb3D learnt from key points of this network. It looks at one person at a
time: another front end finds the people, and their boxes and masks are that front end's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.checkpoint import CheckpointError
from plausibody.models.files import file_sha256
from plausibody.models.hrnet import JOINTS, STRIDE, PoseHRNet, load_pose_hrnet
from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.predict.front_ends.front_end import FrontEnd
from plausibody.predict.front_ends.heatmaps import Decoding, decode, in_crop, with_flip
from plausibody.predict.front_ends.top_down import TopDownFrontEnd

FILE = "pose_hrnet_w48_384x288.pth"
ADDRESS = "https://github.com/leoxiaobin/deep-high-resolution-net.pytorch (Model Zoo, pose_coco)"


@dataclass(frozen=True)
class HRNetKeypoints:
    """The network, and how its heatmaps are read. Pixel i of a heatmap is pixel 4 i of the crop."""

    network: PoseHRNet
    size: tuple[int, int] = (288, 384)
    """Width and height of the crops [px]; multiples of 32."""
    decoding: Decoding = "quarter"
    """quarter, as the authors read heatmaps, or argmax, as HierProb3D does."""
    flip: bool = False
    """Whether to look at the mirror image too: twice the time, a little better."""
    sha256: str = field(default="", compare=False)
    """Of the file."""

    def __post_init__(self) -> None:
        if any(side < 32 or side % 32 for side in self.size):
            raise ValueError(
                f"hrnet: wanted crops with sides in multiples of 32, got {self.size[0]} x "
                f"{self.size[1]}"
            )

    def __call__(self, crops: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 17 3"]:
        """Gives COCO-17: x, y in pixels of the crop, and the height of the heatmap's peak."""
        crops = crops.to(self.network.conv1.weight.device)
        heatmaps = with_flip(self.network, crops, shift=True) if self.flip else self.network(crops)
        return in_crop(decode(heatmaps, self.decoding), (float(STRIDE),) * 2).cpu()

    def describe(self) -> dict[str, Any]:
        """Gives what the answers depend on; JSON can hold it."""
        return {
            "weights": self.sha256,
            "size": list(self.size),
            "decoding": self.decoding,
            "flip": self.flip,
        }


def load_hrnet(
    path: Path | str | None,
    device: torch.device | str = "cpu",
    people: FrontEnd | None = None,
    decoding: Decoding = "quarter",
    flip: bool = False,
    batch: int = 8,
) -> TopDownFrontEnd:
    """Opens the official weights.

    Args:
        path: Of `pose_hrnet_w48_384x288.pth`, or another of the authors' files for COCO. The crops
            are of the size that the name tells, height first, else 384x288.
        people: Finds and outlines people; None for the front end that ships. Where boxes are known,
            `load_embedded(boxes=...)`, or `BoxedPeople`, which outlines nobody.
        decoding: quarter, as the authors read heatmaps, or argmax, as HierProb3D does.
        flip: Whether to look at the mirror image too.
        batch: Crops looked at together.

    Raises:
        FileNotFoundError: If there is no such file; tells where to get it and what does without.
        CheckpointError: If it is damaged, hostile, or of another network.
    """
    if path is None or not Path(path).is_file():
        came = "none was named" if path is None else f"found no file {path}"
        raise FileNotFoundError(
            f"--front-end hrnet: wanted {FILE} (255 MB), {came}; do: download it from {ADDRESS} "
            "and name it with --front-end-weights, or choose --front-end embedded, which needs no "
            "download"
        )
    path = Path(path)
    network = load_pose_hrnet(path)
    if network.final_layer.out_channels != JOINTS:
        raise CheckpointError(
            f"{path}: wanted HRNet for the {JOINTS} key points of COCO, came one for "
            f"{network.final_layer.out_channels}; do: take {FILE}"
        )
    named = re.search(r"_(\d+)x(\d+)", path.stem)
    size = (int(named[2]), int(named[1])) if named else (288, 384)
    keypoints = HRNetKeypoints(network.to(device), size, decoding, flip, file_sha256(path))
    return TopDownFrontEnd("hrnet", people or load_embedded(device=device), keypoints, batch)
