"""A run's figures, in a file and for TensorBoard, and its pictures for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from jaxtyping import Float
from torch import Tensor

from plausibody.models.files import write_file


class Curves:
    """Keeps a run's figures, in a file and for TensorBoard, and its pictures for TensorBoard."""

    def __init__(self, out: Path, step: int, writes: bool = True):
        """Args:
        out: Folder of the run.
        step: After which a run goes on; later figures are dropped.
        writes: False for all processes of a run but the first, which keep nothing.
        """
        from torch.utils.tensorboard import SummaryWriter  # slow to import, needed only here

        self._file: TextIO | None = None
        if writes:
            _forget_after(out / "curves.jsonl", step)
            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step)
            self._file = (out / "curves.jsonl").open("a", encoding="utf-8")

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._board.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds figures of a step, by their names."""
        if self._file is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()

    def show(self, step: int, picture: Float[Tensor, "3 height width"]) -> None:
        """Adds a picture of predictions."""
        if self._file is not None:
            self._board.add_image("predictions", picture, step, dataformats="CHW")


def _forget_after(curves: Path, step: int) -> None:
    """Drops what a stopped run wrote after its last checkpoint: those steps are done again."""
    if not curves.exists():
        return
    kept = []
    for line in curves.read_text("utf-8").splitlines(keepends=True):
        # A stopped process may leave half a line at the end.
        if line.endswith("}\n") and json.loads(line)["step"] <= step:
            kept.append(line)
    write_file(curves, "".join(kept))
