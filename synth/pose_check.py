"""What a pose store holds: how many poses, whether people stand in it, and who is impossible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from plausibody.assets.catalog import search_directories
from plausibody.models.body import Skin
from plausibody.models.templates import load_template
from plausibody.synth.joint_limits import count_by_joint, find_impossible, impossible_text
from plausibody.synth.pose_frames import LEAST_UPRIGHT, Standing
from plausibody.synth.poses import PoseBank, read_blocks, splits_of

MOST = 200_000
"""Poses that are looked at, evenly spread, in a larger store."""
FEW, LEAST_OF_FEW = 200, 0.8
"""Poses that are looked at before a store is used, and the share of people to be upright."""


@dataclass
class StoreCheck:
    """What is in a store."""

    path: Path
    counts: dict[str, int] = field(default_factory=dict)
    """Poses of each split."""
    looked_at: int = 0
    not_finite: int = 0
    """Of those looked at, as the following."""
    impossible: int = 0
    impossible_by_joint: Counter[str] = field(default_factory=Counter)
    upright: float = 1.0
    """Share of people with their head above their pelvis."""
    fault: str = ""
    """Why the store should not be used; empty if it may be."""

    def line(self) -> str:
        """Says in a line what was found."""
        if not self.looked_at:
            return self.fault
        counts = ", ".join(f"{count:,} {split}" for split, count in self.counts.items())
        line = f"{counts} poses, {self.upright:.0%} upright, "
        line += impossible_text(self.impossible, self.impossible_by_joint)
        if self.looked_at < sum(self.counts.values()):
            line += f" among {self.looked_at:,}"
        return f"{line}; {self.fault}" if self.fault else line


def find_stores(directories: Sequence[Path] | None = None) -> list[Path]:
    """Lists the `.h5` files in the folders `poses` of the search order."""
    places = search_directories() if directories is None else directories
    return [path for place in places for path in sorted((place / "poses").glob("*.h5"))]


def require_upright(path: Path, bank: PoseBank, skin: Skin) -> None:
    """Refuses a store, by a few of its poses, whose people lie or stand on their heads.

    A split of few people may have more of them on the floor than `assets import` lets pass of all;
    in another frame hardly half have their heads above their pelvises.

    Args:
        path: Of the store, for the message.
        skin: Of any body; few vertices will do.
    """
    standing = Standing("body", skin)
    standing.look(bank.spread(FEW))
    if standing.share() < LEAST_OF_FEW:
        raise ValueError(
            f"{path}: poses in another frame than said: wanted the head above the pelvis in at "
            f"least {LEAST_OF_FEW:.0%}, came {standing.share():.0%} of {min(FEW, len(bank))}; do: "
            "plausibody assets import poses, from the files that the store was made of"
        )


def check_store(path: Path, most: int = MOST) -> StoreCheck:
    """Reads a store and looks at its poses; what is wrong is told in `fault`, never raised."""
    check = StoreCheck(path)
    standing = Standing("body", load_template("open").subset(torch.tensor([0])))
    try:
        check.counts = splits_of(path)
        step = max(1, sum(check.counts.values()) // most)
        for split in check.counts:
            for block, _ in read_blocks(path, split):
                finite = block.isfinite().all(-1).all(-1)
                check.not_finite += int((~finite).sum())
                poses = block[finite][::step]
                standing.look(poses)
                impossible = find_impossible(poses)
                check.impossible += int(impossible.any(1).sum())
                check.impossible_by_joint.update(count_by_joint(impossible))
                check.looked_at += len(poses)
    except (FileNotFoundError, ValueError) as error:
        check.fault = str(error).removeprefix(f"{path}: ")
        return check
    check.upright = standing.share()
    if check.not_finite:
        check.fault = f"{check.not_finite} poses are not finite; do: import them again"
    elif check.upright < LEAST_UPRIGHT:
        check.fault = f"{check.upright:.0%} are upright: it is in another frame; do: import it"
    return check
