"""Brings poses of others into one store: turned upright, thinned, checked, split by person."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from plausibody.models.body import Skin
from plausibody.models.templates import load_template
from plausibody.synth.joint_limits import count_by_joint, find_impossible, impossible_text
from plausibody.synth.pose_frames import Frame, Standing, turn_upright
from plausibody.synth.pose_sources import (
    Layout,
    PoseBlock,
    Rows,
    UnusableFile,
    find_pose_files,
    layout_of,
    read_poses,
)
from plausibody.synth.pose_splits import Split, choose_split
from plausibody.synth.poses import PoseWriter

USUAL_FRAME: dict[Layout, Frame] = {"sequence": "amass", "list": "straps"}
_AHEAD_FILES, _AHEAD_POSES = 48, 200
"""How many files, and poses of each, are looked at before anything is written."""


@dataclass(frozen=True)
class ImportOptions:
    """What to take, and how to read it."""

    frame: Frame | None = None
    """Of the poses in the files; none takes the usual one: sequences amass, lists straps."""
    split: Split | None = None
    """Where poses go, see `pose_splits.choose_split`."""
    rate: float | None = 2.0
    """Poses to take from each second of a sequence; none takes all. STRAPS's author took 2."""
    rows: Rows = "all"
    """Which poses of a published list; HierProb3D trains on not_amass."""
    limits: bool = True
    """Whether poses are left out that no body can take."""

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError(f"rate: wanted poses a second, above zero, got {self.rate}")


@dataclass(frozen=True)
class Skipped:
    """A file that was not used."""

    path: Path
    reason: str


@dataclass
class ImportSummary:
    """What became of the files and of their poses."""

    files: int = 0
    """Files that were used."""
    skipped: list[Skipped] = field(default_factory=list)
    written: dict[str, int] = field(default_factory=dict)
    """Poses by split."""
    left_out: int = 0
    """Poses that were not asked for, because of `rate` or `rows`."""
    not_finite: int = 0
    """Poses that were dropped because they hold NaN or infinity."""
    impossible: int = 0
    """Poses with a joint beyond its limits."""
    impossible_by_joint: Counter[str] = field(default_factory=Counter)
    limits: bool = True
    """Whether they were dropped."""
    upright: dict[Frame, float] = field(default_factory=dict)
    """Share of people with the head above the pelvis, by the frame their file was read in."""

    def lines(self, most: int = 5) -> list[str]:
        """Tells what happened, naming `most` of the skipped files."""
        counts = ", ".join(f"{count:,} {split}" for split, count in self.written.items())
        stand = ", ".join(f"{share:.1%} upright as {kind}" for kind, share in self.upright.items())
        impossible = impossible_text(self.impossible, self.impossible_by_joint)
        return [
            f"written: {counts} poses of {self.files:,} files; {stand}",
            f"left out: {self.left_out:,} not asked for, {self.not_finite:,} not finite",
            f"{'dropped' if self.limits else 'kept'}: {impossible}",
            *(f"skipped: {skip.path}: {skip.reason}" for skip in self.skipped[:most]),
            *([f"skipped: {len(self.skipped):,} files in all"] if self.skipped else []),
        ]


def import_poses(
    paths: Sequence[Path],
    out: Path,
    options: ImportOptions | None = None,
    overwrite: bool = False,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> ImportSummary:
    """Reads files and folders of poses into one store, file by file.

    Files that cannot be used are skipped, and named in the summary. The store appears at the end,
    whole; nothing is left of an import that fails.

    Args:
        paths: Files (`.npz`, `.h5`), or folders of them at any depth.
        out: The store to write (`.h5`).
        overwrite: Whether a file of that name is replaced.
        watch: Is told how many files of how many are done.

    Raises:
        FileNotFoundError: If a path does not exist, or has no such files.
        FileExistsError: If `out` exists.
        ValueError: If there is no pose to write, people are not upright in the frame, a store is
            damaged, or the split cannot be told.
        OSError: If `out` cannot be written.
    """
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out}: exists already; do: name another file, or --force")
    work = _Import(options or ImportOptions())
    files = [file for file in find_pose_files(paths) if file != out.resolve()]
    work.look_ahead(files)
    attributes = {"rate": work.options.rate or "all", "rows": work.options.rows}
    try:
        with PoseWriter(out, **attributes) as writer:
            for done, file in enumerate(files, start=1):
                work.take(file, writer)
                watch(done, len(files))
            work.finish(writer)
    except OSError as error:
        raise OSError(
            f"{out}: cannot be written ({error}); do: free disk space, or name another file"
        ) from error
    return work.summary


class _Import:
    """The counts and checks of an import under way."""

    def __init__(self, options: ImportOptions):
        self.options = options
        self.summary = ImportSummary(limits=options.limits)
        self._skin: Skin = load_template("open").subset(torch.tensor([0]))
        self._standing: dict[Frame, Standing] = {}

    def look_ahead(self, files: Sequence[Path]) -> None:
        """Refuses a wrong frame before hours of work, by a few poses of a few files."""
        standing: dict[Frame, Standing] = {}
        step = max(1, len(files) // _AHEAD_FILES)
        for file in files[::step]:
            try:
                block = next(self._read(file), None)
            except UnusableFile:
                continue
            if block is not None:
                rotvecs = block.rotvecs[block.rotvecs.isfinite().all(-1).all(-1)]
                frame = self._frame(layout_of(file))
                look = standing.setdefault(frame, Standing(frame, self._skin)).look
                look(rotvecs[:: max(1, len(rotvecs) // _AHEAD_POSES)])
        for seen in standing.values():
            # Few poses may mislead; only where they agree on another frame is this the end.
            if seen.fitting():
                seen.refuse_wrong()

    def take(self, file: Path, writer: PoseWriter) -> None:
        """Brings the poses of a file into the store, or skips it."""
        try:
            layout = layout_of(file)
            for block in self._read(file):
                split = choose_split(block, file, layout, self.options.split)
                self._take(block, layout, split, writer)
            self.summary.files += 1
        except UnusableFile as error:
            self.summary.skipped.append(Skipped(file, str(error)))

    def finish(self, writer: PoseWriter) -> None:
        """Refuses a store that is empty or lies on its side."""
        summary = self.summary
        for frame, standing in self._standing.items():
            summary.upright[frame] = standing.share()
            standing.refuse_wrong()
        summary.written = dict(writer.counts)
        if not sum(summary.written.values()):
            first = [f"{skipped.path}: {skipped.reason}" for skipped in summary.skipped[:3]]
            raise ValueError(
                f"wanted poses, came none: {len(summary.skipped)} files cannot be used, "
                f"{summary.not_finite} poses are not finite, {summary.impossible} impossible. "
                + "; ".join(first)
            )

    def _read(self, file: Path) -> Iterator[PoseBlock]:
        return read_poses(file, self.options.rate, self.options.rows)

    def _frame(self, layout: Layout) -> Frame:
        if layout == "store":
            return "body"  # it says so itself
        return self.options.frame or USUAL_FRAME[layout]

    def _take(self, block: PoseBlock, layout: Layout, split: str, writer: PoseWriter) -> None:
        summary, frame = self.summary, self._frame(layout)
        summary.left_out += block.left_out
        finite = block.rotvecs.isfinite().all(-1).all(-1)
        summary.not_finite += int((~finite).sum())
        rotvecs = block.rotvecs[finite]
        self._standing.setdefault(frame, Standing(frame, self._skin)).look(rotvecs)
        turned = turn_upright(rotvecs, frame)
        impossible = find_impossible(turned)
        summary.impossible += int(impossible.any(1).sum())
        summary.impossible_by_joint.update(count_by_joint(impossible))
        kept = ~impossible.any(1) if self.options.limits else torch.ones(len(turned)).bool()
        places = finite.nonzero()[:, 0][kept].tolist()
        if places:
            writer.append(split, turned[kept], [block.names[place] for place in places])
