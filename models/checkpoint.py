"""Checkpoints: tensors in safetensors, everything else in one JSON beside them, written atomically.

A checkpoint is a folder `step_<N>`. It is written under another name, flushed to the disk and
renamed, so a folder with that name is whole; its JSON holds the SHA-256 of the other files. It is
removed the same way.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from plausibody.models.files import DiskFullError, explained, file_sha256, write_file
from plausibody.models.quantise import dequantise

VERSION = 2
"""1 called the tensors of the objective "criterion", and did not seal its state; it is read too."""
_RENAMED = {"criterion": "objective"}
CARD_VERSION = 1
_STATE = "state.json"
_NEEDED = {"version": int, "step": int, "files": dict}
"""What every state tells, by the kind of its values."""
_EARLIER = "use an earlier step_<N> of the same run"
_NAME = re.compile(r"step_(\d+)")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used."""

    def __init__(self, why: str, do: str = ""):
        """Args:
        why: What was wanted and what came.
        do: What helps who cannot do without it.
        """
        super().__init__(f"{why}; do: {do}" if do else why)
        self.why, self.do = why, do


def save_checkpoint(
    folder: Path, step: int, groups: Mapping[str, Mapping[str, Tensor]], state: dict[str, Any]
) -> Path:
    """Writes a checkpoint.

    Args:
        folder: Holds all checkpoints of a run.
        step: Steps done; names the checkpoint.
        groups: Tensors by name, one safetensors file per group ("model", "optimiser", ...).
        state: Anything JSON can hold.

    Returns:
        The folder written.

    Raises:
        DiskFullError: If there is no space; nothing is left of this checkpoint then.
    """
    final, draft = folder / f"step_{step}", folder / f".step_{step}.unfinished"
    with explained(final):
        folder.mkdir(parents=True, exist_ok=True)
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir()
        try:
            _write_parts(draft, step, groups, state)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)  # it would keep the disk full
            if isinstance(error, DiskFullError):
                raise DiskFullError(final, _size(groups), error.errno or errno.ENOSPC) from error
            raise
        if final.exists():
            _remove(final)
        draft.rename(final)
        _flush(folder)
    return final


def _write_parts(
    draft: Path, step: int, groups: Mapping[str, Mapping[str, Tensor]], state: dict[str, Any]
) -> None:
    hashes = {}
    for name, tensors in groups.items():
        content = _encode(tensors)
        write_file(draft / f"{name}.safetensors", content)
        hashes[f"{name}.safetensors"] = hashlib.sha256(content).hexdigest()
    record = {"version": VERSION, "step": step, "files": hashes, **state}
    record = json.loads(json.dumps(record))
    write_file(draft / _STATE, json.dumps({**record, "sha256": _seal(record)}, indent=2))


def _encode(tensors: Mapping[str, Tensor]) -> bytes:
    """Gives the content of a safetensors file.

    The library's own writing leaves a file of a random name behind where a process is killed.
    """
    return save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})


def _size(groups: Mapping[str, Mapping[str, Tensor]]) -> int:
    return sum(value.nbytes for tensors in groups.values() for value in tensors.values())


def _seal(record: Mapping[str, Any]) -> str:
    """Gives the SHA-256 of a state, by which damage to it is found."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def load_checkpoint(
    folder: Path,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Reads a checkpoint and checks that it is whole.

    Raises:
        CheckpointError: If a file is missing, cut short, altered or of another version.
    """
    state = _load_state(folder)
    groups = {}
    for name, digest in state["files"].items():
        part = folder / name
        if not part.exists() or file_sha256(part) != digest:
            came = "another content" if part.exists() else "no such file"
            raise CheckpointError(
                f"{part}: wanted the file that was saved (SHA-256 {digest[:12]}...), got {came}",
                _EARLIER,
            )
        groups[_RENAMED.get(part.stem, part.stem)] = load_file(part)
    return groups, state


def _load_state(folder: Path) -> dict[str, Any]:
    """Reads what a checkpoint keeps beside tensors. Errors as of `load_checkpoint`."""
    path = folder / _STATE
    if not path.exists():
        why = f"{folder}: wanted a checkpoint, found no {_STATE}; its writing did not finish"
        raise CheckpointError(why, _EARLIER)
    try:
        state = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        why = f"{path}: wanted the state of a checkpoint, got no JSON ({error})"
        raise CheckpointError(why, _EARLIER) from error
    told = state if isinstance(state, dict) else {}
    if lacking := [key for key, kind in _NEEDED.items() if not isinstance(told.get(key), kind)]:
        why = f"{path}: wanted the state of a checkpoint, got one without {', '.join(lacking)}"
        raise CheckpointError(why, _EARLIER)
    version = told["version"]
    if version not in range(1, VERSION + 1):
        raise CheckpointError(
            f"{path}: wanted a checkpoint of version 1 to {VERSION}, got {version!r}",
            "resume with the plausibody that wrote it",
        )
    if version > 1 and told.pop("sha256", "") != _seal(told):
        why = f"{path}: wanted the state that was saved, got another content"
        raise CheckpointError(why, _EARLIER)
    return told


def checkpoints(folder: Path) -> list[Path]:
    """Lists the finished checkpoints of a run, oldest first."""
    found = [
        (int(match[1]), path)
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def load_latest(
    folder: Path,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any], list[str]]:
    """Reads the newest checkpoint that is whole.

    Returns:
        Tensors, state, and a message about each newer one that had to be passed over.
    """
    whys = [
        f"{path.name}: its writing did not finish"
        for path in sorted(folder.glob(".step_*.unfinished"))
    ]
    do = "start over, with another --out, or with --force and without --resume"
    for path in reversed(checkpoints(folder)):
        try:
            return *load_checkpoint(path), [f"{why}; it is passed over" for why in whys]
        except CheckpointError as error:
            whys.append(error.why)
            do = do if error.do == _EARLIER else error.do
    lines = "".join(f"\n  {why}" for why in whys)
    raise CheckpointError(
        f"{folder}: wanted a finished checkpoint to resume from, found none{lines}", do
    )


def keep_last(folder: Path, count: int, last: int | None = None) -> None:
    """Removes all but the newest checkpoints, and what a stopped process left of others.

    Args:
        count: How many stay.
        last: Step of the one just written. Later ones are damaged and were passed over: they go.
    """
    found = checkpoints(folder)
    kept = [path for path in found if last is None or _step(path) <= last][-count:]
    for path in found:
        if path not in kept:
            _remove(path)
    for kind in ("unfinished", "removed"):
        for path in folder.glob(f".step_*.{kind}"):
            shutil.rmtree(path)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step_"))


def _remove(path: Path) -> None:
    """Removes a checkpoint; at no moment has a part of one its name."""
    doomed = path.with_name(f".{path.name}.removed")
    if doomed.exists():
        shutil.rmtree(doomed)
    path.rename(doomed)
    shutil.rmtree(doomed)


def save_weights(path: Path, tensors: Mapping[str, Tensor], card: dict[str, Any]) -> None:
    """Writes weights to share: `path` in safetensors, and a card beside it in JSON.

    Raises:
        DiskFullError: If there is no space; the weights of before are whole then.
    """
    content = _encode(tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, content)
    card = {"version": CARD_VERSION, "sha256": hashlib.sha256(content).hexdigest(), **card}
    write_file(path.with_suffix(".json"), json.dumps(card, indent=2) + "\n")


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads shared weights and their card; those in eight bits become single precision.

    Raises:
        FileNotFoundError: If either file is missing.
        CheckpointError: If they are damaged or do not belong together.
    """
    card_path = path.with_suffix(".json")
    for part in (path, card_path):
        if not part.exists():
            raise FileNotFoundError(
                f"weights: wanted {path.name} with its card {card_path.name}, found no {part}; "
                "do: check the path"
            )
    try:
        card = json.loads(card_path.read_text("utf-8"))
        digest = card["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        what = "JSON without the SHA-256 of the weights"
        if isinstance(error, ValueError):
            what = f"JSON that breaks off or is damaged ({error})"
        raise CheckpointError(
            f"{card_path}: wanted the card of {path.name}, came {what}", "get both files again"
        ) from error
    if file_sha256(path) != digest:
        raise CheckpointError(
            f"{path}: wanted the weights that {card_path.name} describes (SHA-256 {digest[:12]}"
            "...), got another content",
            "get both files again",
        )
    try:
        return dequantise(load_file(path)), card
    except (SafetensorError, ValueError) as error:
        why = f"{path}: wanted a safetensors file, got {error}"
        raise CheckpointError(why, "get both files again") from error


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Names the tensors of an optimiser's state "<parameter number>.<entry>"."""
    return {
        f"{number}.{entry}": torch.as_tensor(value)
        for number, entries in optimiser.state_dict()["state"].items()
        for entry, value in entries.items()
    }


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `optimiser_tensors` gave; learning rates stay as they are.

    Each entry gets the memory order of its parameter, which files do not keep: fused optimisers
    walk both side by side, and would mix up the entries of a channels-last filter.

    Raises:
        ValueError: If they are not of as many parameters, or of other shapes.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, entry = name.split(".", 1)
        if int(number) >= len(parameters):
            raise ValueError(f"optimiser: wanted {len(parameters)} parameters, got one {number}")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        elif value.ndim:  # not the count of steps
            raise ValueError(
                f"optimiser: wanted {name} of shape {tuple(parameter.shape)}, got "
                f"{tuple(value.shape)}"
            )
        state.setdefault(int(number), {})[entry] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
