"""Finds people and their COCO-17 key points in a picture with MoveNet MultiPose.

The net gives six maps at a quarter of the picture's size; their reading is done here, because the
published one stops at six people and at one picture.

Source: Google, "MoveNet MultiPose Lightning v1", 2021; after Zhou et al., "Objects as Points",
2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from plausibody.predict.front_ends.crop import Crop, apply, sample
from plausibody.predict.front_ends.graph import Graph, load_graph
from plausibody.predict.front_ends.tiles import tile

STRIDE = 4
"""Pixels of the picture per pixel of the maps, each way."""
COARSE, FINE = 256, 512
"""Longer side [px] to which a picture is brought for people of any size, and for small ones."""
MOST_ENLARGED = 1.5
"""Times a picture, or a part of it, is enlarged at most."""
LARGEST_IN_FINE = 300
"""[px]. Taller people fall to pieces in the fine pass and are left to the coarse one."""
LEAST_SCORE = 0.2
FINE_MARGIN = 0.1
"""By how much a person whom only the fine pass finds must exceed the least score."""
LEAST_CENTRE = 0.15
LEAST_JOINT = 0.127
"""Of a heat map's peak to count in a person's score. Sources for both: the published decoder."""
SIGMAS = torch.tensor(
    [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], dtype=torch.float32
).div(1000)
"""How widely people differ in marking each key point, from COCO's key-point evaluation."""


@dataclass(frozen=True)
class Heads:
    """What the net says of pictures, at a quarter of their size; vectors are (y, x)."""

    centre: Float[Tensor, "batch 1 h w"]
    """Logit of a person's centre."""
    heatmap: Float[Tensor, "batch 17 h w"]
    """Logits of the key points of anybody."""
    regression: Float[Tensor, "batch 34 h w"]
    """From a person's centre to his or her key points [map pixels]."""
    offset: Float[Tensor, "batch 34 h w"]
    """From a pixel to the key point in it [map pixels]."""
    box_size: Float[Tensor, "batch 2 h w"]
    """Height and width of the person whose centre this is [map pixels]."""
    box_offset: Float[Tensor, "batch 2 h w"]
    """From a centre's pixel to the box's centre [map pixels]."""


@dataclass(frozen=True)
class Poses:
    """People found in one picture, the surest first."""

    score: Float[Tensor, " N"]
    """0..1."""
    box: Float[Tensor, "N 4"]
    """Left, top, right, bottom [px]."""
    keypoints: Float[Tensor, "N 17 3"]
    """COCO-17: x, y [px] and confidence 0..1."""

    def __getitem__(self, which: Shaped[Tensor, " M"]) -> Poses:
        return Poses(self.score[which], self.box[which], self.keypoints[which])

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True)
class MoveNet:
    """The net and how it is used on pictures."""

    graph: Graph
    group_pass: bool = False
    """Whether to look a second time at twice the size, for people below 12 % of the picture."""
    tiled: bool = False
    """Whether to look at a third of the picture at a time too, for people from 6 % of it."""

    def find(self, picture: Shaped[Tensor, "3 H W"]) -> Poses:
        """Finds people in a picture with values 0..255."""
        found = [self._look(picture, COARSE)]
        # Enlarging a small picture beyond its pixels shows nothing new.
        if self.group_pass and FINE <= MOST_ENLARGED * max(picture.shape[-2:]):
            found.append(self._look(picture, FINE))
        if self.tiled:
            found += self._look_at_tiles(picture)
        return suppress(found)

    def find_in_crops(self, crops: Float[Tensor, "batch 3 size size"]) -> list[Poses]:
        """Finds people in equally large crops, in the crops' pixels."""
        return decode(self.heads(crops))

    def heads(self, pictures: Float[Tensor, "batch 3 H W"]) -> Heads:
        """Runs the net on pictures whose sides are multiples of 32."""
        return Heads(**self.graph(pictures))

    def _look(self, picture: Shaped[Tensor, "3 H W"], side: int) -> Poses:
        height, width = picture.shape[-2:]
        scale = side / max(height, width)
        small_height, small_width = max(8, round(height * scale)), max(8, round(width * scale))
        back = torch.tensor([[width / small_width, 0.0, 0.0], [0.0, height / small_height, 0.0]])
        full_height, full_width = (32 * -(-n // 32) for n in (small_height, small_width))
        input_ = sample(picture, back, full_height, full_width)  # black below and to the right
        poses = decode(self.heads(input_[None].to(self.graph.device)))[0]
        if side == FINE:
            extent = (poses.box[:, 2:] - poses.box[:, :2]).amax(-1)
            keep = (extent <= LARGEST_IN_FINE) & (poses.score >= LEAST_SCORE + FINE_MARGIN)
            poses = poses[keep.nonzero()[:, 0]]
        places = apply(back, poses.keypoints[..., :2])
        return Poses(
            poses.score,
            apply(back, poses.box.view(-1, 2, 2)).flatten(1),
            torch.cat([places, poses.keypoints[..., 2:]], -1),
        )

    def _look_at_tiles(self, picture: Shaped[Tensor, "3 H W"]) -> list[Poses]:
        """Looks for people far off; those of all squares count as one pass."""
        height, width = picture.shape[-2:]
        found = []
        for square in tile(width, height, COARSE / MOST_ENLARGED):
            poses = self.find_in_crop(picture, square.crop)
            keep = square.holds(poses.box) & (poses.score >= LEAST_SCORE + FINE_MARGIN)
            found.append(poses[keep.nonzero()[:, 0]])
        return [join(found)] if found else []

    def find_in_crop(
        self, picture: Shaped[Tensor, "3 H W"], crop: Crop, least_centre: float = LEAST_CENTRE
    ) -> Poses:
        """Looks at a part of a picture with values 0..255; the poses are in the picture's pixels.

        Args:
            least_centre: How sure a person must be, 0..1.
        """
        affine = crop.to_picture(COARSE)
        square = sample(picture, affine, COARSE, COARSE)
        (poses,) = decode(self.heads(square[None].to(self.graph.device)), least_centre)
        return Poses(
            poses.score,
            apply(affine, poses.box.view(-1, 2, 2)).flatten(1),
            torch.cat([apply(affine, poses.keypoints[..., :2]), poses.keypoints[..., 2:]], -1),
        )


def load_movenet(
    group_pass: bool = False, device: torch.device | str = "cpu", tiled: bool = False
) -> MoveNet:
    """Loads the net from the assets."""
    return MoveNet(load_graph("movenet_multipose").to(device), group_pass, tiled)


def decode(heads: Heads, least_centre: float = LEAST_CENTRE) -> list[Poses]:
    """Reads the maps, in pixels of the pictures that were given to the net.

    A person is a peak of the centre map. Each key point is where its heat map is highest within
    the person's box, weighted by closeness to where the person's centre says it is.
    """
    centre, heatmap = heads.centre.sigmoid(), heads.heatmap.sigmoid()
    peak = centre >= F.max_pool2d(centre, 5, 1, 2) - 1e-6
    peak &= centre > least_centre
    return [
        _read(index, peak[index, 0].nonzero(), centre, heatmap, heads) for index in range(len(peak))
    ]


def _read(
    index: int, peaks: Shaped[Tensor, "N 2"], centre: Tensor, heatmap: Tensor, heads: Heads
) -> Poses:
    """Reads one picture's people at these peaks (row, column)."""
    height, width = centre.shape[-2:]
    at = (index, slice(None), peaks[:, 0], peaks[:, 1])
    surely = centre[at][0]
    middle = peaks + heads.box_offset[at].T
    half = heads.box_size[at].T.clamp(min=0) / 2
    limit = middle.new_tensor([height, width])
    low = (middle - half).clamp(min=0).minimum(limit)
    high = (middle + half).clamp(min=0).minimum(limit)

    guess = peaks[:, None] + heads.regression[at].T.reshape(-1, 17, 2)
    y = torch.arange(height, dtype=guess.dtype, device=guess.device)[:, None]
    x = torch.arange(width, dtype=guess.dtype, device=guess.device)
    distance = (y - guess[..., :1, None]) ** 2 + (x - guess[..., 1:, None]) ** 2
    inside = (y >= low[:, :1, None]) & (y < high[:, :1, None])
    inside = inside & (x >= low[:, 1:, None]) & (x < high[:, 1:, None])
    weight = torch.exp(-distance / (0.3 * min(height, width))) * inside[:, None]
    confidence, place = (heatmap[index] * weight).flatten(2).max(-1)

    joint = torch.arange(17, device=place.device)
    row, column = place // width, place % width
    offset = heads.offset[index].view(17, 2, height, width)[joint, :, row, column]
    found = torch.stack([column + offset[..., 1], row + offset[..., 0]], -1) * STRIDE
    seen = confidence > LEAST_JOINT
    mean = (confidence * seen).sum(-1) / seen.sum(-1).clamp(min=1)
    order = (surely * mean).argsort(descending=True, stable=True)
    box = torch.cat([low.flip(-1), high.flip(-1)], -1) * STRIDE
    keypoints = torch.cat([found, confidence[..., None]], -1)
    return Poses((surely * mean)[order].cpu(), box[order].cpu(), keypoints[order].cpu())


def join(several: Sequence[Poses]) -> Poses:
    """Puts people together, in the order given."""
    return Poses(
        torch.cat([poses.score for poses in several]),
        torch.cat([poses.box for poses in several]),
        torch.cat([poses.keypoints for poses in several]),
    )


def suppress(passes: Sequence[Poses]) -> Poses:
    """Keeps each person once: earlier passes before later ones, the surer before the less sure.

    Those of any pass who are sure enough go first: what one pass only suspects, another may see. If
    nobody is sure enough, the surest is kept when at least 0.6 times as sure.
    """
    every = join(passes)
    number = torch.cat([torch.full((len(poses),), n) for n, poses in enumerate(passes)])
    kept: list[int] = []
    for index in (every.score < LEAST_SCORE).int().argsort(stable=True).tolist():
        if every.score[index] < 0.6 * LEAST_SCORE:
            continue
        others = torch.tensor(kept, dtype=torch.long)
        if not _is_same(every, index, others, number[others] < number[index]).any():
            kept.append(index)
    poses = every[torch.tensor(kept, dtype=torch.long)]
    poses = poses[poses.score.argsort(descending=True, stable=True)]
    sure = int((poses.score >= LEAST_SCORE).sum())
    return poses[torch.arange(len(poses))[: max(1, sure)]]


def _is_same(
    poses: Poses, index: int, others: Shaped[Tensor, " M"], earlier: Bool[Tensor, " M"]
) -> Bool[Tensor, " M"]:
    """Whether a person is one of others, by key points or by box.

    A person of a later pass who lies mostly within one of an earlier pass is a piece of that one.
    """
    box, boxes = poses.box[index], poses.box[others]
    low, high = box[:2].maximum(boxes[:, :2]), box[2:].minimum(boxes[:, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    area, areas = (box[2:] - box[:2]).prod(-1), (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    same = similarity(poses.keypoints[index], poses.keypoints[others], area.maximum(areas)) > 0.5
    same |= common > 0.65 * (area + areas - common)
    return same | (earlier & (common > 0.7 * area))


def similarity(
    one: Float[Tensor, "*#batch 17 3"],
    other: Float[Tensor, "*#batch 17 3"],
    area: Float[Tensor, "*batch"],
    least_confidence: float = 0.15,
) -> Float[Tensor, "*batch"]:
    """Compares poses by COCO's object key-point similarity over what is seen in both; 0..1."""
    squared = ((one[..., :2] - other[..., :2]) ** 2).sum(-1)
    near = torch.exp(-squared / (8 * SIGMAS**2 * area.clamp(min=1.0)[..., None]))
    both = (one[..., 2] > least_confidence) & (other[..., 2] > least_confidence)
    return (near * both).sum(-1) / both.sum(-1).clamp(min=1)


def crop_round(box: Float[Tensor, " 4"], keypoints: Float[Tensor, "17 3"]) -> Crop:
    """Puts an upright square round a person, 1.3 times as large as box and key points need."""
    seen = keypoints[keypoints[:, 2] > 0.2, :2]
    points = torch.cat([box.view(2, 2), seen if len(seen) > 3 else keypoints[:, :2]])
    low, high = points.amin(0), points.amax(0)
    x, y = ((low + high) / 2).tolist()
    return Crop(x, y, side=1.3 * max(1.0, float((high - low).max())))
