"""`assets import`: poses, pictures and textures of others, turned once into stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from plausibody.commands.terminal import counting, helpful_errors, tell, usage_errors

SKIPPED_NAMED = 5
"""Unreadable files that are named; the rest are counted."""
FILE = click.Path(path_type=Path)


@click.group("import")
def import_group() -> None:
    """Turn what you have (AMASS, LSUN, published textures, ...) into stores of ours."""


@import_group.command("poses")
@click.argument("paths", nargs=-1, required=True, type=FILE)
@click.option("--out", type=FILE, required=True, help="The store to write (.h5).")
@click.option(
    "--frame",
    type=click.Choice(["amass", "straps", "hierprob", "world", "body"]),
    help="How the poses lie.  [default: motions amass, lists straps]",
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test", "by-subject", "by-dataset", "by-file"]),
    help="Where they go.  [default: motions by-subject, lists by-file]",
)
@click.option("--rate", type=float, default=2.0, show_default=True, help="Poses a second; 0: all.")
@click.option(
    "--rows",
    type=click.Choice(["all", "h36m", "up3d", "3dpw", "not_amass"]),
    default="all",
    show_default=True,
    help="Which of a published list.",
)
@click.option("--limits/--no-limits", default=True, help="Leave out what no body can do.")
@click.option("--force", is_flag=True, help="Replace the store.")
@click.option("--quiet", is_flag=True)
def import_poses_command(
    paths: tuple[Path, ...],
    out: Path,
    frame: Any,
    split: Any,
    rate: float,
    rows: Any,
    limits: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Read AMASS, published pose lists and our own stores into one store."""
    with helpful_errors():
        from plausibody.synth.pose_import import ImportOptions, import_poses

        with usage_errors():
            options = ImportOptions(frame, split, rate or None, rows, limits)
        with counting("files", quiet) as watch:
            summary = import_poses(paths, out, options, force, watch)
        for line in summary.lines():
            tell(line)
        if not quiet:
            tell(f"use it: synth-train --set sources.poses={out}")


def _picture_command(name: str, what: str) -> Callable[[Callable[..., None]], click.Command]:
    """Gives the options that both kinds of pictures share."""

    def decorate(function: Callable[..., None]) -> click.Command:
        function.__doc__ = what
        for option in (
            click.option("--quiet", is_flag=True),
            click.option("--size", type=int, default=256, show_default=True, help="Side [px]."),
            click.option("--count", type=int, help="How many, evenly spread.  [default: all]"),
            click.option("--out", type=FILE, required=True, help="The store to write (.h5)."),
            click.argument("source", type=FILE),
        ):
            function = option(function)
        return import_group.command(name)(function)

    return decorate


@_picture_command("lsun", "Decode an LSUN database, or a folder of them, once; goes on if stopped.")
def import_lsun_command(source: Path, out: Path, count: int | None, size: int, quiet: bool) -> None:
    with helpful_errors():
        from plausibody.synth.background_import import import_lsun

        _import_pictures(import_lsun, source, out, count, size, quiet)


@_picture_command("backgrounds", "Decode a folder of pictures once; goes on if stopped.")
def import_backgrounds_command(
    source: Path, out: Path, count: int | None, size: int, quiet: bool
) -> None:
    with helpful_errors():
        from plausibody.synth.background_import import import_backgrounds

        _import_pictures(import_backgrounds, source, out, count, size, quiet)


def _import_pictures(
    convert: Callable[..., Any], source: Path, out: Path, count: int | None, size: int, quiet: bool
) -> None:
    with counting("pictures", quiet) as watch:
        report = convert(source, out, count, size, progress=watch)
    for reason in list(report.skipped.values())[:SKIPPED_NAMED]:
        tell(f"skipped: {reason}")
    tell(f"{report.path}: {report.pictures:,} pictures, {len(report.skipped):,} skipped")
    if not quiet:
        tell(f"use it: synth-train --set sources.backgrounds={out}")


@import_group.command("textures")
@click.argument("source", type=FILE)
@click.option("--out", type=FILE, required=True, help="The store to write (.h5).")
@click.option("--half", is_flag=True, help="Halve both sides: enough for pictures of 256 px.")
@click.option("--quiet", is_flag=True)
def import_textures_command(source: Path, out: Path, half: bool, quiet: bool) -> None:
    """Unpack published textures (smpl_train_textures.npz) once; goes on if stopped."""
    with helpful_errors():
        from plausibody.synth.texture_published import import_textures

        with counting("textures", quiet) as watch:
            tell(f"{import_textures(source, out, half, watch)}: done")
        if not quiet:
            tell(f"use it: synth-train --set sources.textures={out}")


@import_group.command("3dpw")
@click.argument("source", type=FILE)
@click.option("--out", type=FILE, required=True, help="The folder to write.")
@click.option(
    "--split",
    type=click.Choice(["test", "validation", "train"]),
    default="test",
    show_default=True,
    help="Each into a folder of its own.",
)
@click.option(
    "--labels-body",
    default="smpl",
    show_default=True,
    help="What the labels are of: smpl (your files in train_files/smpl), open, or a folder.",
)
@click.option("--force", is_flag=True, help="Begin anew: replace what an earlier import wrote.")
@click.option("--quiet", is_flag=True)
def import_3dpw_command(
    source: Path, out: Path, split: str, labels_body: str, force: bool, quiet: bool
) -> None:
    """Cut 3DPW's people out of its frames, as published for evaluation; goes on if stopped.

    SOURCE holds sequenceFiles and imageFiles.
    """
    with helpful_errors():
        from plausibody.evaluate.datasets.pw3d_import import import_3dpw
        from plausibody.evaluate.datasets.pw3d_split import read_split

        with counting("sequences", quiet) as watch:
            labels = read_split(source, split, labels_body, watch)
        with counting("frames", quiet) as watch:
            report = import_3dpw(labels, out, force, watch=watch)
        for line in report.lines():
            tell(line)
        if not quiet:
            tell(f"use it: plausibody evaluate 3dpw --data {out}")
