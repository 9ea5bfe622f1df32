"""Who is in which photo, as labels tell: squares, key points, bodies, label maps, surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.models.crop import Box
from plausibody.models.naming import NAMED, first_named
from plausibody.models.prediction import BodyParameters
from plausibody.models.records import concatenate
from plausibody.models.skeleton import H36M17
from plausibody.synth.real_surfaces import SurfaceLabels


class Unread:
    """Photos that could not be read, and why; somebody else takes the place of who is in them."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def told(self) -> list[str]:
        """Says how many there are, and names the first."""
        lines = [f"photo passed over: {why}" for why in list(self.reasons.values())[:NAMED]]
        more = len(self.reasons) > NAMED
        return lines + [f"photos passed over: {len(self.reasons):,} in all"] * more


@dataclass(frozen=True)
class RealLabels:
    """What is known of people in photos; the first axis runs over the people."""

    pictures: tuple[Path, ...]
    box: Box
    """The square round each [px of the picture]."""
    keypoints: Float[Tensor, "people 17 3"]
    """COCO-17: x, y [px] and confidence, 0 where unknown."""
    body: BodyParameters
    """In the world; anything finite where it is not known."""
    fitted: Bool[Tensor, " people"]
    """Whose bodies are known."""
    joints: Float[Tensor, "people 17 4"] | None = None
    """Human3.6M's, in the world's axes [m], and whether each is known; None if nobody's are."""
    label_maps: tuple[Path | None, ...] = ()
    """Files of a parser's label maps, in its colours or as numbers; empty if there are none."""
    missing: tuple[Path, ...] = ()
    """Pictures that were not found; the people in them are left out."""
    surfaces: tuple[SurfaceLabels | None, ...] = ()
    """What annotators say of the surface of each; empty if nobody was asked."""
    counts: tuple[int, ...] = ()
    """How many people are of each file, one file after the other; empty if all are of one."""
    unread: Unread = field(default_factory=Unread, compare=False)
    """What streams that draw these people could not read."""

    def __len__(self) -> int:
        return len(self.pictures)

    def told(self) -> list[str]:
        """Says how much there is, and which pictures are missing."""
        maps = sum(path is not None for path in self.label_maps)
        joints = 0 if self.joints is None else int((self.joints[..., 3] > 0).any(1).sum())
        lines = [
            f"photos: {len(self):,} people, {int(self.fitted.sum()):,} with bodies, {joints:,} "
            f"with joints in space, {maps:,} with label maps"
        ]
        if self.surfaces:
            asked = sum(one is not None for one in self.surfaces)
            lines.append(f"photos: of {asked:,} people points of the surface are annotated")
            if any(one is not None and one.place_on_part.isnan().any() for one in self.surfaces):
                lines.append(
                    "photos: of these points parts count, and not u and v, which are of "
                    "DensePose's chart of SMPL; the body that is learnt has another"
                )
        if self.missing:
            lines.append(
                f"photos: {len(self.missing):,} pictures were not found, and the people in them "
                f"are left out: {first_named(self.missing)}"
            )
        return lines


def join_labels_of(files: Sequence[RealLabels]) -> RealLabels:
    """Joins the people of several files."""
    nowhere = [torch.zeros(len(one), len(H36M17), 4) for one in files]
    joints = [
        zeros if one.joints is None else one.joints
        for one, zeros in zip(files, nowhere, strict=True)
    ]
    maps: list[Path | None] = []
    surfaces: list[SurfaceLabels | None] = []
    for one in files:
        maps += one.label_maps or [None] * len(one)
        surfaces += one.surfaces or [None] * len(one)
    return RealLabels(
        pictures=tuple(path for one in files for path in one.pictures),
        box=concatenate([one.box for one in files]),
        keypoints=torch.cat([one.keypoints for one in files]),
        body=concatenate([one.body for one in files]),
        fitted=torch.cat([one.fitted for one in files]),
        joints=torch.cat(joints) if any(one.joints is not None for one in files) else None,
        label_maps=tuple(maps) if any(maps) else (),
        missing=tuple(path for one in files for path in one.missing),
        surfaces=tuple(surfaces) if any(surfaces) else (),
        counts=tuple(len(one) for one in files),
    )
