"""Which data sets can be evaluated, by the names of the command line; their readers open lazily."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plausibody.evaluate.datasets.people import About, Dataset


@dataclass(frozen=True)
class Reader:
    """Where a data set's reader is."""

    module: str
    """In this folder."""
    opens: str
    """Function from a folder to a `Dataset`."""
    about: str = "ABOUT"
    """What is known of the data set without opening it: an `About`, or a function of a protocol."""
    protocol: int | None = None

    def _find(self, name: str) -> Any:
        return getattr(importlib.import_module(f"plausibody.evaluate.datasets.{self.module}"), name)

    def open(self, folder: Path) -> Dataset:
        found: Dataset = self._find(self.opens)(folder)
        return found

    def describe(self) -> About:
        about = self._find(self.about)
        found: About = about if self.protocol is None else about(self.protocol)
        return found


READERS = {
    "ssp3d": Reader("ssp3d", "open_ssp3d"),
    "3dpw": Reader("pw3d", "open_3dpw"),
    "h36m-p1": Reader("h36m", "open_h36m_p1", "about", 1),
    "h36m-p2": Reader("h36m", "open_h36m_p2", "about", 2),
    "mpi-inf-3dhp": Reader("mpi_inf", "open_mpi_inf_3dhp"),
    "coco": Reader("coco", "open_coco"),
    "lsp": Reader("lsp", "open_lsp"),
}
"""By name."""


def open_dataset(name: str, folder: Path | None) -> Dataset:
    """Opens a data set where the user keeps it.

    Raises:
        ValueError: If there is no data set of this name, or its labels are not as published.
        FileNotFoundError: If the folder or a file in it is missing, or no folder is told.
    """
    about = describe_dataset(name)
    if folder is None or not folder.is_dir():
        found = "none" if folder is None else f"no folder {folder}"
        raise FileNotFoundError(
            f"--data: wanted the folder of {name}, got {found}; do: name the folder that holds it\n"
            f"  where it comes from: {about.source}\n"
            f"  what is to be in it: {about.layout}"
        )
    return READERS[name].open(folder)


def describe_dataset(name: str) -> About:
    """Tells what a data set is, without opening it.

    Raises:
        ValueError: If there is no data set of this name.
    """
    if name not in READERS:
        raise ValueError(f"{name} is no data set; do: choose one of {', '.join(READERS)}")
    return READERS[name].describe()
