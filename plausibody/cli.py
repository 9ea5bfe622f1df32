"""The command line: parses, picks the device, prints and exits; the work is done elsewhere."""

from __future__ import annotations

import click

from plausibody.commands.evaluation import demo_command, evaluate_command
from plausibody.commands.predict import predict_command
from plausibody.commands.resources import assets_group, doctor_command
from plausibody.commands.training import bench_command, preview_command, train_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="plausibody")
def main() -> None:
    """Plausible bodies from a photo: a distribution, not a guess."""


for command in (
    *(train_command, preview_command, predict_command, evaluate_command),
    *(bench_command, assets_group, doctor_command, demo_command),
):
    main.add_command(command)


def synth_train() -> None:
    """The console script `synth-train`."""
    train_command(prog_name="synth-train")


if __name__ == "__main__":
    main()
