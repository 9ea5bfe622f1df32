"""Reads checkpoints as their authors publish them: dictionaries of `torch.save`.

Their suffix says `.tar`, but no archive of that kind is inside. torch's restricted reader is used:
it makes tensors and plain values and calls nothing that a file names. What the authors stored
beside the weights, such as numpy's scores and Lightning's settings, that reader refuses; inert
objects and plain tables stand in for it here.
"""

from __future__ import annotations

import re
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plausibody.models.checkpoint import CheckpointError
from plausibody.models.files import file_sha256
from plausibody.models.unpickle import DAMAGED, INERT, Inert

WEIGHTS = "best_model_state_dict"
"""What the authors' prediction loads; `model_state_dict` beside it is of the last epoch."""
ALONE = "alone"
"""The form of a file that holds parameters and nothing else (EFT, early DaNet)."""
FORMS = (WEIGHTS, "model", "state_dict")
"""Keys under which parameters lie: of STRAPS, LASOR and HierProb3D; of SPIN; of DSR."""
DUPLICATES = {
    f"ief_module.ief_layers.{place}.{entry}": f"ief_module.fc{layer}.{entry}"
    for layer, place in ((1, 0), (2, 2), (3, 4))
    for entry in ("weight", "bias")
}
"""Parameters that the files of STRAPS and LASOR hold under two names."""
TABLES = (
    *("argparse.Namespace", "yacs.config.CfgNode", "omegaconf.dictconfig.DictConfig"),
    *("pytorch_lightning.utilities.parsing.AttributeDict",),
    *(
        f"pytorch_lightning.callbacks.{name}"
        for name in ("model_checkpoint.ModelCheckpoint", "early_stopping.EarlyStopping")
    ),
)
"""What Lightning files beside the parameters; plain tables stand in for it."""
SHOWN = 12
"""Names of what came instead of a checkpoint, at most, in a message."""


@dataclass(frozen=True)
class PublishedCheckpoint:
    """What is used of a published file."""

    path: Path
    weights: dict[str, Tensor]
    """By parameter, in single precision, without duplicates."""
    epoch: int | None
    """Of the best weights; None if the file does not say."""
    sha256: str
    form: str = WEIGHTS
    """Where in the file the weights lay: one of `FORMS`, or `ALONE`."""


def read_published(path: Path) -> PublishedCheckpoint:
    """Reads a published checkpoint on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is no checkpoint, is damaged, or calls for code.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"weights: wanted a published checkpoint, found no file {path}; "
            "do: download it as its authors say, or name the file"
        )
    content = read_restricted(path)
    form, state = _find_state(path, content)
    odd = [f"{key!r}: {type(value).__name__}" for key, value in state.items() if not _fits(value)]
    if odd or not all(isinstance(key, str) for key in state):
        raise CheckpointError(
            f"{path}: {form}: wanted tensors of numbers by name, came {'; '.join(odd[:SHOWN])}"
        )
    weights = {key: value.float() for key, value in state.items()}
    epoch = content.get("best_epoch", content.get("epoch"))
    return PublishedCheckpoint(
        path=path,
        weights=_without_duplicates(path, weights),
        epoch=epoch if isinstance(epoch, int) else None,
        sha256=file_sha256(path),
        form=form,
    )


def is_hmr(names: Iterable[str]) -> bool:
    """Tells by its parameters' names whether a file holds SPIN's network."""
    return any(name.endswith(("decpose.weight", "deccam.weight")) for name in names)


def find_parameters(path: Path, content: Any) -> Mapping[str, Tensor]:
    """Finds the parameters of any network in what `read_restricted` gave.

    Raises:
        CheckpointError: If there are none.
    """
    tables = [content] if isinstance(content, Mapping) else []
    tables += [content[form] for form in FORMS if tables and isinstance(content.get(form), Mapping)]
    for table in reversed(tables):
        found = {str(name): value for name, value in table.items() if _fits(value)}
        if found:
            return found
    raise CheckpointError(
        f"{path}: wanted the parameters of a network by name, came {_described(content)}"
    )


def _find_state(path: Path, content: Any) -> tuple[str, Mapping[str, Any]]:
    """Finds the parameters, and says under which of `FORMS`, or `ALONE`."""
    if isinstance(content, Mapping):
        for form in FORMS:
            if isinstance(state := content.get(form), Mapping):
                return form, state
        names = [str(name) for name in content]
        if is_hmr(names) or any(name.startswith("img2iuv.") for name in names):
            return ALONE, content
    raise CheckpointError(
        f"{path}: wanted a checkpoint of DaNet, of SPIN or DSR, which has 'model' or "
        "'state_dict', the parameters of EFT or DaNet alone, or a checkpoint of STRAPS, LASOR or "
        f"HierProb3D, which has {WEIGHTS!r}, came {_described(content)}"
    )


def read_restricted(path: Path) -> Any:
    """Reads what `torch.save` wrote, tensors and plain values, on the CPU; runs nothing.

    Raises:
        CheckpointError: If it is damaged or calls for code.
    """
    harmless: list[Any] = [(Inert, name) for name in INERT if name.startswith("numpy.")]
    harmless += [(OrderedDict, name) for name in TABLES]
    try:
        with torch.serialization.safe_globals(harmless), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # of damaged files
            return torch.load(path, map_location="cpu", weights_only=True)
    except (*DAMAGED, RuntimeError, OSError, AssertionError) as error:
        if called := re.search(r"\bGLOBAL (\S+)", str(error)):
            raise CheckpointError(
                f"{path}: wanted a checkpoint of tensors and numbers, came one that calls for "
                f"{called[1]}. It was refused and nothing in it was run; do: take the file from "
                "its authors, and treat this one as hostile"
            ) from error
        said = str(error).partition("\n")[0][:200]
        # torch advises to switch its safety off, which would run what a hostile file holds.
        why = type(error).__name__ + ("" if "weights_only" in str(error) else f": {said}")
        raise CheckpointError(
            f"{path}: wanted a checkpoint as torch.save writes it, came a file that is cut short, "
            f"altered or something else ({why}); do: download it again"
        ) from error


def _fits(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_complex() and value.layout == torch.strided


def _described(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    names = [str(name) for name in content]
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"a table of {', '.join(names[:SHOWN]) or 'nothing'}{rest}"


def _without_duplicates(path: Path, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, twin in DUPLICATES.items():
        if name in weights and twin in weights and not torch.equal(weights[name], weights[twin]):
            raise CheckpointError(
                f"{path}: wanted {name} and {twin} to be one parameter under two names, "
                "came two different ones; do: download the file again"
            )
    return {name: value for name, value in weights.items() if name not in DUPLICATES}


def require_match(file: PublishedCheckpoint, wanted: Mapping[str, Tensor], what: str) -> None:
    """Compares the names and shapes of a file's parameters with a network's.

    Args:
        wanted: The network's parameters.
        what: Whose they are.

    Raises:
        CheckpointError: If any is missing, of another shape, unknown, or not finite; names all.
    """
    faults = []
    for name, tensor in wanted.items():
        came = file.weights.get(name)
        if came is None:
            faults.append(f"missing     {name}, wanted {tuple(tensor.shape)}")
        elif came.shape != tensor.shape:
            faults.append(
                f"other shape {name}, wanted {tuple(tensor.shape)}, came {tuple(came.shape)}"
            )
        elif not came.isfinite().all():
            faults.append(f"not finite  {name}, wanted finite numbers")
    for name, tensor in file.weights.items():
        if name not in wanted:
            faults.append(f"unknown     {name}, wanted none, came {tuple(tensor.shape)}")
    if faults:
        raise CheckpointError(
            f"{file.path}: wanted the {len(wanted)} tensors of {what}, but {len(faults)} do not "
            "fit:\n  " + "\n  ".join(faults) + "\ndo: take the file that its authors publish"
        )
