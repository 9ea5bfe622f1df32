"""`assets` and `doctor`: what is there, and whether it is whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from plausibody.commands.imports import import_group
from plausibody.commands.terminal import (
    console,
    counting,
    helpful_errors,
    pick_device,
    prepare_cpu,
    tell,
    usage_errors,
)

MOST_SHAPES = 8
"""Arrays of a file that are told one by one; networks have hundreds."""


@click.group("assets")
def assets_group() -> None:
    """Where each asset comes from, and whether it is whole."""


@assets_group.command("list")
def assets_list() -> None:
    """List what ships: size, licence, source."""
    with helpful_errors():
        from plausibody.assets.catalog import list_assets

        table = Table("file", "kB", "licence", "source")
        for asset in list_assets():
            table.add_row(asset.path, f"{asset.bytes / 1000:.0f}", asset.licence, asset.source)
        Console().print(table)


@assets_group.command("check")
@click.option("--assets", "directory", type=click.Path(path_type=Path), help="Looked in first.")
def assets_check(directory: Path | None) -> None:
    """Compare each file with the manifest, look through pose stores, count the originals.

    Exits with 1 if anything that ships is missing or damaged, or a pose store is unusable; nobody
    needs the originals.
    """
    with helpful_errors():
        from plausibody.assets.catalog import check_assets, search_directories
        from plausibody.synth.originals import check_originals
        from plausibody.synth.pose_check import check_store, find_stores

        directories = search_directories(directory)
        good = True
        for finding in check_assets(directories):
            whole = finding.state in ("ok", "replaced")
            shapes = ", ".join(f"{name} {shape}" for name, shape in finding.shapes.items())
            if len(finding.shapes) > MOST_SHAPES:
                shapes = f"{len(finding.shapes)} arrays"
            _mark(whole, f"{finding.asset.path}: {finding.state} {finding.detail} {shapes}")
            good &= whole
        for path in find_stores(directories):
            store = check_store(path)
            _mark(not store.fault, f"{path}: {store.line()}")
            good &= not store.fault
        tell("originals, none of them needed:")
        for original in check_originals(directories):
            name, found, published, state, detail = original.row()
            tell(f"{state:8} {name}: found {found or 'none'}, published {published}; {detail}")
        if not good:
            sys.exit(1)


@assets_group.command("fit-corruption")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The model (.json).")
@click.option("--count", type=int, default=1600, show_default=True, help="People to look at.")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--quiet", is_flag=True)
def fit_corruption_command(out: Path, count: int, seed: int, device: str, quiet: bool) -> None:
    """Show painted people to the front end and fit a model of its errors; goes on if stopped.

    Prints how far each recipe's errors are from the front end's (the proxy gap), and plots them
    beside the model.
    """
    with helpful_errors():
        from plausibody.fit_corruption import FitSettings, fit_corruption
        from plausibody.plots import draw_gap
        from plausibody.predict.drawing.bodies import save_picture
        from plausibody.predict.front_ends.embedded import load_embedded

        with usage_errors():
            settings = FitSettings(count=count, seed=seed)
        prepare_cpu(os.cpu_count() or 1)
        front_end = load_embedded(device=pick_device(device))
        with counting("people", quiet) as watch:
            report = fit_corruption(
                out, front_end, settings, lambda who, done, total: watch(done, total)
            )
        for line in report.lines():
            tell(line)
        picture = out.with_suffix(".gap.png")
        title = f"{out.name}: {report.fitted} people, gaps on {report.held_out} others"
        save_picture(draw_gap(report, title), picture)
        tell(f"{out}, {picture}")
        if not quiet:
            tell("use it: as train_files/corruption/embedded.json, which comes before the one that")
            tell("ships, then: synth-train --set stream.lite.errors=measured")


def _mark(good: bool, text: str) -> None:
    mark = "[green]ok[/]  " if good else "[bold red]FAIL[/]"
    console.print(f"{mark} {escape(text)}", highlight=False, soft_wrap=True)


assets_group.add_command(import_group)


@click.command("doctor")
@click.option("--picture", type=click.Path(path_type=Path), help="Save the rendered test pose.")
def doctor_command(picture: Path | None) -> None:
    """Check the installation, the assets, and that up, left and front are where they belong."""
    with helpful_errors():
        from plausibody import doctor

        checks = [*doctor.environment(), *doctor.conventions(), *doctor.assets()]
        for check in checks:
            _mark(check.ok, f"{check.name}: {check.detail}")
        if picture is not None:
            from plausibody.models.templates import load_template
            from plausibody.predict.drawing.bodies import save_picture

            drawn, _ = doctor.render_pose(load_template("open"), doctor.asymmetric_pose(), 512)
            save_picture(drawn, picture)
        if not all(check.ok for check in checks):
            sys.exit(1)
