"""Where the silhouettes of people come from, if not from who found their key points.

Masks and key points belong together by what they show: each person gets the mask that holds most of
the sure key points, and each mask goes to one person.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import scipy.optimize
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.predict.front_ends.crop import apply, inverse
from plausibody.predict.front_ends.embedded import EmbeddedFrontEnd
from plausibody.predict.front_ends.front_end import Picture
from plausibody.predict.front_ends.mask import SoftMask
from plausibody.predict.reading.boxes import box_of_points
from plausibody.predict.reading.companions import INSTANCES, IUV, MASKS, PARTS, Companions
from plausibody.predict.reading.mask_files import read_masks, read_parts, read_pixels, soft_mask

SURE = 0.3
"""Least confidence of a key point that tells whose a mask is."""
LEAST_SHARE = 0.4
"""Of the sure key points that a mask must hold to be a person's."""
AROUND = 0.03
"""How far from a mask key points still count as held, in longer sides of the mask."""


@dataclass(frozen=True)
class Silhouette:
    """Where one person is, and what is known besides."""

    mask: SoftMask
    extras: Mapping[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Silhouettes(Protocol):
    """Outlines people whose key points are known."""

    def __call__(
        self, picture: Picture, width: int, height: int, keypoints: Float[Tensor, "N 17 3"]
    ) -> list[Silhouette | None]:
        """Gives each person's silhouette, None where there is none.

        Args:
            width: Of the upright picture [px].
            keypoints: COCO-17 of each person: x, y [px] and confidence.

        Raises:
            FileNotFoundError: If there is no file for this picture.
            ValueError: If a file is wrong.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Gives what the answers depend on; JSON can hold it."""
        ...


@dataclass(frozen=True)
class MaskFiles:
    """Takes masks from files."""

    root: Path
    own: bool = False
    """Whether the root holds nothing but masks."""

    def __call__(
        self, picture: Picture, width: int, height: int, keypoints: Float[Tensor, "N 17 3"]
    ) -> list[Silhouette | None]:
        """Reads the masks of a photo."""
        companions = Companions(self.root, MASKS, self.own)
        files = _of(companions, picture, "--silhouette-from parts takes them from part maps")
        masks = [mask for path in files for mask in read_masks(path, width, height)]
        return share_out([Silhouette(mask) for mask in masks], keypoints)

    def describe(self) -> dict[str, Any]:
        return {"masks": Companions(self.root, MASKS, self.own).digest()}


@dataclass(frozen=True)
class PartFiles:
    """Takes silhouettes from DensePose's IUV maps or from part maps: wherever there is a part.

    People get the whole map as `extras`: `iuv` (3, H, W), I 0..24, U and V 0..255, or `parts`
    (1, H, W). Where a map shows several, theirs is what lies in their mask.
    """

    root: Path

    def __call__(
        self, picture: Picture, width: int, height: int, keypoints: Float[Tensor, "N 17 3"]
    ) -> list[Silhouette | None]:
        """Reads the maps of a photo. Where DensePose tells its people apart (INDS), so is done."""
        photo = _path(picture)
        iuv = Companions(self.root, IUV)
        files = iuv.of(photo)
        name = "iuv" if files else "parts"
        files = files or _of(Companions(self.root, PARTS), picture, f"or {iuv.missing(photo)}")
        maps = [read_parts(path, width, height, name == "iuv") for path in files]
        found: list[Silhouette] = []
        for inside in self._people(photo, maps):
            whole = maps[0] if len(maps) == 1 else maps[len(found)]
            found.append(Silhouette(soft_mask(inside.float(), width, height), {name: whole}))
        return share_out(found, keypoints)

    def _people(self, photo: Path, maps: Sequence[Tensor]) -> Iterator[Bool[Tensor, "H W"]]:
        """Gives where each person is."""
        instances = Companions(self.root, INSTANCES).of(photo)
        if len(maps) > 1 or not instances:
            yield from (parts[0] > 0 for parts in maps)
            return
        ids = torch.from_numpy(read_pixels(instances[0], INSTANCES.what).astype("int64"))
        if ids.ndim == 3:
            ids = ids[..., 0]
        if ids.shape != maps[0].shape[1:]:
            raise ValueError(
                f"{instances[0]}: wanted {INSTANCES.what} of the size of the IUV map, "
                f"{tuple(maps[0].shape[1:])}, came {tuple(ids.shape)}; do: keep both together"
            )
        numbers = [int(number) for number in ids.unique() if number > 0]
        yield from ((ids == number) & (maps[0][0] > 0) for number in numbers)

    def describe(self) -> dict[str, Any]:
        kinds = (IUV, INSTANCES, PARTS)
        return {"parts": [Companions(self.root, kind).digest() for kind in kinds]}


@dataclass(frozen=True)
class EmbeddedSilhouettes:
    """Outlines people with the nets that ship, where the key points say that they are."""

    front_end: EmbeddedFrontEnd

    def __call__(
        self, picture: Picture, width: int, height: int, keypoints: Float[Tensor, "N 17 3"]
    ) -> list[Silhouette | None]:
        """Looks at the box round each person's key points."""
        boxes = [box_of_points(points) for points in keypoints]
        told = [box for box in boxes if len(box)]
        if not told:
            return [None] * len(keypoints)
        limit = torch.tensor([width, height, width, height])
        inside = torch.cat(told).clamp(min=0).minimum(limit)
        front_end = replace(self.front_end, boxes=_KnownBoxes(inside))
        (result,) = front_end([picture])
        found = [Silhouette(person.soft_mask, person.extras) for person in result.people]
        return share_out(found, keypoints)

    def describe(self) -> dict[str, Any]:
        return {"silhouettes": "embedded"}


@dataclass(frozen=True)
class _KnownBoxes:
    """Boxes that are at hand."""

    boxes: Float[Tensor, "N 4"]

    def __call__(self, picture: Picture, width: int, height: int) -> Float[Tensor, "N 4"]:
        return self.boxes

    def describe(self) -> dict[str, Any]:
        return {}


def share_out(
    found: Sequence[Silhouette], keypoints: Float[Tensor, "N 17 3"]
) -> list[Silhouette | None]:
    """Gives each person the mask that holds his or her key points, and each mask to one person.

    The assignment holds as many sure key points as possible. A person none of whose possible masks
    holds 40 % of them gets none.
    """
    people: list[Silhouette | None] = [None] * len(keypoints)
    if not found or not people:
        return people
    shares = torch.tensor(
        [[share_in(points, one.mask, SURE) for one in found] for points in keypoints]
    )
    rows, columns = scipy.optimize.linear_sum_assignment(-shares.numpy())
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if shares[row, column] >= LEAST_SHARE:
            people[row] = found[column]
    return people


def share_in(keypoints: Float[Tensor, "17 3"], mask: SoftMask, sure: float = 0.5) -> float:
    """Gives the share of the sure key points that lie in the silhouette or close to it; 0..1.

    Args:
        sure: Least confidence.
    """
    points = keypoints[keypoints[:, 2] > sure, :2]
    if not len(points):
        return 0.0
    high, wide = mask.logits.shape
    reach = max(1, round(AROUND * max(high, wide)))
    cells = apply(inverse(mask.to_picture), points).floor().long()
    held = 0
    for column, row in cells.tolist():
        top, left = max(row - reach, 0), max(column - reach, 0)
        near = mask.logits[top : max(row + reach + 1, 0), left : max(column + reach + 1, 0)]
        held += bool(near.numel()) and bool((near > 0).any())
    return held / len(points)


def _path(picture: Picture) -> Path:
    if isinstance(picture, Tensor):
        raise ValueError(
            "picture: wanted the file of a photo, to find its masks by its name, came only "
            "pixels; do: give the path"
        )
    return Path(picture)


def _of(companions: Companions, picture: Picture, hint: str) -> list[Path]:
    photo = _path(picture)
    files = companions.of(photo)
    if not files:
        raise FileNotFoundError(
            f"{companions.root}: wanted {companions.missing(photo)}, found none; do: write them "
            f"there ({hint})"
        )
    return files
