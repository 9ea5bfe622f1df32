"""Which split a pose goes to: people never appear in two."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal

from plausibody.synth.pose_sources import Layout, PoseBlock

Split = Literal["train", "val", "test", "by-subject", "by-dataset", "by-file"]
USUAL: dict[Layout, Split] = {"sequence": "by-subject", "list": "by-file"}

HELD_OUT = {
    **{f"CMU/{subject}": "val" for subject in (3, 11, 49, 139)},
    **{f"CMU/{subject}": "test" for subject in (7, 9, 12, 16, 43, 90)},
}
"""People of the poses that ship whom AMASS has too: they keep their split, so that whoever trains
on AMASS has not seen the people on whom `evaluate open` measures."""
_SHARES = (("train", 0.9), ("val", 0.95), ("test", 1.0))
"""Upper ends of the splits among other people."""
_DATASETS = {
    **dict.fromkeys("HumanEva MPI_HDM05 HDM05 SFU MPI_mosh MoSh".split(), "val"),
    **dict.fromkeys("Transitions_mocap Transitions SSM_synced SSM".split(), "test"),
}
"""The usual split of AMASS's data sets, under their old and new names; all others are for training.

Source: the code of VPoser, Pavlakos et al., "Expressive Body Capture", 2019."""


def choose_split(block: PoseBlock, path: Path, layout: Layout, split: Split | None) -> str:
    """Gives train, val or test.

    Args:
        split: What the user wants: one for all, or decided by person (nine in ten of whom train),
            by data set or by the file's name. None takes what is usual: stores keep theirs,
            sequences go by person, lists by file.
    """
    if layout == "store" and split is None:
        return block.split
    match split or USUAL[layout]:
        case "by-subject":
            return _by_subject(_person(block, path, layout))
        case "by-dataset":
            return _DATASETS.get(_person(block, path, layout).partition("/")[0], "train")
        case "by-file":
            words = set(re.split("[^a-z]+", path.stem.lower())) & {"train", "val", "test"}
            if len(words) != 1:
                raise ValueError(
                    f"{path}: wanted one of the words train, val and test in the file's name, came "
                    f"{' and '.join(sorted(words)) or 'none'}; do: name the split by --split"
                )
            return words.pop()
        case named:
            return named


def _person(block: PoseBlock, path: Path, layout: Layout) -> str:
    if not block.person:
        raise ValueError(
            f"{path}: a {layout} does not tell who took its poses; do: --split train, val or test"
        )
    return block.person


def _by_subject(person: str) -> str:
    """Draws a split by the person's name alone, so that it never changes."""
    dataset, _, subject = person.partition("/")
    number = f"{dataset}/{int(subject)}" if subject.isdecimal() else person
    if number in HELD_OUT:
        return HELD_OUT[number]
    share = int.from_bytes(hashlib.sha256(person.encode()).digest()[:8]) / 2**64
    return next(split for split, end in _SHARES if share < end)
