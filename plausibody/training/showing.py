"""What a run shows of itself while it goes on: pictures of its predictions, and its page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.config import RunConfig
from plausibody.models.files import write_file
from plausibody.models.regressor import Regressor
from plausibody.synth.stores import SynthAssets
from plausibody.training.history import read_history
from plausibody.training.page import render_run
from plausibody.training.pictures import Pictures
from plausibody.training.spared import Spared


class Showing:
    """Pictures and page of a run. What cannot be drawn is told once, and costs nothing else."""

    def __init__(
        self, config: RunConfig, held_out: SynthAssets, out: Path, say: Callable[[str], None]
    ):
        """Args:
        config: Of the run.
        held_out: To draw synthetic people from: poses of the validation split.
        out: Folder of the run.
        say: Is told what cannot be drawn.
        """
        self._out, self._spared = out, Spared(say)
        self._pictures = Pictures(config, held_out, out, self._spared)

    def pictures(
        self, network: Regressor, step: int, device: torch.device | str
    ) -> dict[str, Float[Tensor, "3 height width"]]:
        """Draws what the network makes of people who stay the same, see `Pictures.draw`."""
        return self._pictures.draw(network, step, device)

    def page(self, state: str = "") -> None:
        """Writes RUN/run.html.

        Args:
            state: What the run is doing; found out from the folder if empty.

        Raises:
            DiskFullError: If there is no space for it.
        """
        content = self._spared(
            "the page of the run", lambda: render_run(read_history(self._out), state, self._spared)
        )
        if content is not None:
            write_file(self._out / "run.html", content)
