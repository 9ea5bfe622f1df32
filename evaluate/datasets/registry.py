"""Which data sets can be evaluated, by the names of the command line; their readers open lazily."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from plausibody.evaluate.datasets.people import Dataset

_HERE = "plausibody.evaluate.datasets"

READERS = {
    "ssp3d": f"{_HERE}.ssp3d:open_ssp3d",
    "3dpw": f"{_HERE}.pw3d:open_3dpw",
    "h36m-p1": f"{_HERE}.h36m:open_h36m_p1",
    "h36m-p2": f"{_HERE}.h36m:open_h36m_p2",
    "mpi-inf-3dhp": f"{_HERE}.mpi_inf:open_mpi_inf_3dhp",
    "coco": f"{_HERE}.coco:open_coco",
}
"""By name, `module:function`; the function takes the folder and gives a `Dataset`."""


def open_dataset(name: str, folder: Path) -> Dataset:
    """Opens a data set where the user keeps it.

    Raises:
        ValueError: If there is no data set of this name, or its labels are not as published.
        FileNotFoundError: If the folder or a file in it is missing.
    """
    if name not in READERS:
        raise ValueError(f"{name} is no data set; do: choose one of {', '.join(READERS)}")
    module, function = READERS[name].split(":")
    reader: Callable[[Path], Dataset] = getattr(importlib.import_module(module), function)
    return reader(folder)
