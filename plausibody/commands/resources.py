"""`assets` and `doctor`: what is there, and whether it is whole."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from plausibody.commands.terminal import console, helpful_errors

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
    """Compare each file with the manifest, and all topologies with the body's."""
    with helpful_errors():
        from plausibody.assets.catalog import check_assets, search_directories

        findings = check_assets(search_directories(directory))
        for finding in findings:
            good = finding.state in ("ok", "replaced")
            mark = "[green]ok[/]  " if good else "[bold red]FAIL[/]"
            shapes = ", ".join(f"{name} {shape}" for name, shape in finding.shapes.items())
            if len(finding.shapes) > MOST_SHAPES:
                shapes = f"{len(finding.shapes)} arrays"
            told = escape(f"{finding.asset.path}: {finding.state} {finding.detail} {shapes}")
            console.print(f"{mark} {told}", highlight=False, soft_wrap=True)
        if not all(finding.state in ("ok", "replaced") for finding in findings):
            sys.exit(1)


@click.command("doctor")
@click.option("--picture", type=click.Path(path_type=Path), help="Save the rendered test pose.")
def doctor_command(picture: Path | None) -> None:
    """Check the installation, the assets, and that up, left and front are where they belong."""
    with helpful_errors():
        from plausibody import doctor

        checks = [*doctor.environment(), *doctor.conventions(), *doctor.assets()]
        for check in checks:
            mark = "[green]ok[/]  " if check.ok else "[bold red]FAIL[/]"
            told = escape(f"{check.name}: {check.detail}")
            console.print(f"{mark} {told}", highlight=False, soft_wrap=True)
        if picture is not None:
            from plausibody.models.templates import load_template
            from plausibody.predict.drawing import save_picture

            drawn, _ = doctor.render_pose(load_template("open"), doctor.asymmetric_pose(), 512)
            save_picture(drawn, picture)
        if not all(check.ok for check in checks):
            sys.exit(1)
