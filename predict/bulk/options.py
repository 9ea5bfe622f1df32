"""What a run over photos writes, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from plausibody.predict.export import MESH_FORMATS

SAVE = ("params", "mesh", "overlay", "samples", "proxies", "iuv", "semantics", "report")
"""What can be written: parameters as npz, meshes, bodies over the photo, samples (a picture, and in
the npz), what the front end saw, IUV maps (a picture, and files), labels of human parsers (a
picture), a page with everything."""


@dataclass(frozen=True)
class RunOptions:
    """What a run writes, and how."""

    save: frozenset[str] = frozenset({"params", "mesh", "overlay"})
    mesh_format: str = "glb"
    vertices: bool = False
    """Whether parameters come with the mesh in the camera's frame."""
    batch_size: int = 8
    """Photos opened at a time."""
    recursive: bool = False
    """Whether folders in folders are searched for photos too."""
    force: bool = False
    """Whether to do again what is finished."""
    labels: Path | None = None
    """Folder of label maps of the photos, as human parsers write them; for semantics."""

    def __post_init__(self) -> None:
        if unknown := sorted(self.save - set(SAVE)):
            raise ValueError(
                f"--save: wanted some of {', '.join(SAVE)}, got {', '.join(unknown)}, which this "
                "version does not write"
            )
        if self.mesh_format not in MESH_FORMATS:
            raise ValueError(
                f"--mesh-format: wanted one of {', '.join(MESH_FORMATS)}, got {self.mesh_format!r}"
            )
        if self.batch_size < 1:
            raise ValueError(f"--batch-size: wanted at least 1, got {self.batch_size}")
        if self.labels is not None and "semantics" not in self.save:
            raise ValueError(
                "--labels: wanted it with --save semantics, which draws label maps beside the "
                f"body's, got --save {','.join(sorted(self.save))}; do: add semantics"
            )

    def check_samples(self, count: int) -> None:
        """Refuses to write samples where none are drawn.

        Args:
            count: Drawn for each person.
        """
        if "samples" in self.save and not count:
            raise ValueError(
                "--save samples: wanted samples to write, got none; do: add --samples 25"
            )
