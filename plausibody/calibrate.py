"""Joins weights to their calibration: fitted once, kept beside them, measured on other people."""

from __future__ import annotations

import os
from pathlib import Path

from plausibody.config import RunConfig
from plausibody.config_file import from_json
from plausibody.evaluate.calibration import evaluate_calibration, fit_calibration_for
from plausibody.evaluate.calibration_result import CalibrationResult, save_calibration_result
from plausibody.evaluate.run import Watch
from plausibody.models.calibration import (
    Calibration,
    CalibrationError,
    calibration_path,
    load_calibration,
    save_calibration,
)
from plausibody.models.hierarchical import HierarchicalRegressor
from plausibody.models.weights import (
    DEFAULT_WEIGHTS,
    TrainedRegressor,
    find_weights,
    load_regressor,
)
from plausibody.predict.drawing.bodies import save_picture

PEOPLE = 4096
"""To whom a correction is fitted, and others on whom it is measured."""


def calibrate_weights(
    weights: Path | str,
    device: str = "cpu",
    people: int = PEOPLE,
    watch: Watch = lambda done, total: None,
) -> Path:
    """Fits the correction of intervals to weights, and writes it beside them.

    Args:
        weights: File or name, of a network that predicts distributions.
        people: Of the validation subjects.

    Returns:
        The file written.
    """
    path, regressor, config = _open(weights, device)
    _require_writable(path)
    found = fit_calibration_for(regressor, config.stream, config.sources, count=people, watch=watch)
    save_calibration(calibration_path(path), found)
    return calibration_path(path)


def measure_calibration(
    weights: Path | str,
    out: Path | None = None,
    device: str = "cpu",
    people: int = PEOPLE,
    watch: Watch = lambda done, total: None,
) -> CalibrationResult:
    """Measures intervals on people whom neither the training nor the correction has seen.

    Weights without a correction get one, beside them.

    Args:
        weights: File or name, of a network that predicts distributions.
        out: Folder for calibration.json, calibration.md and calibration.png; none for nothing.
        people: Of the validation subjects, and of the test subjects.

    Raises:
        PermissionError: If they have none and none can be written beside them.
    """
    path, regressor, config = _open(weights, device)
    before = _own_calibration(path, regressor)
    if before is None:
        _require_writable(path)
    result, used = evaluate_calibration(
        regressor,
        config.stream,
        config.sources,
        fit=people,
        test=people,
        shifted=people // 4,
        calibration=before,
        watch=watch,
    )
    if out is not None:
        from plausibody.plots import draw_reliability  # matplotlib is slow to start

        save_calibration_result(result, out)
        title = f"Intervals of {path.stem}: {people} synthetic people of other subjects"
        save_picture(draw_reliability(result, title), out / "calibration.png")
    if before is None:
        save_calibration(calibration_path(path), used)
    return result


def _require_writable(path: Path) -> None:
    """Refuses, before minutes of work, weights beside which nothing can be written.

    Raises:
        PermissionError: Such as in the folder of an installed package.
    """
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(
            f"{path}: wanted weights in a folder that can be written to, as their calibration is "
            f"kept beside them, came one that cannot; do: copy {path.name} and "
            f"{path.with_suffix('.json').name} to a folder of yours, and give --weights from there"
        )


def _own_calibration(path: Path, regressor: TrainedRegressor) -> Calibration | None:
    """Reads the correction beside weights; none if it is missing, damaged or of other weights."""
    try:
        return load_calibration(calibration_path(path), str(regressor.card.get("sha256", "")))
    except (FileNotFoundError, CalibrationError):
        return None


def _open(weights: Path | str, device: str) -> tuple[Path, TrainedRegressor, RunConfig]:
    """Finds a network that predicts distributions, and the configuration of its training.

    Raises:
        ValueError: If it predicts single bodies, or nothing is known of its training.
    """
    path = find_weights(weights)
    regressor = load_regressor(path, device)
    if not isinstance(regressor.network, HierarchicalRegressor):
        raise ValueError(
            f"{path.stem}: wanted weights that predict distributions, got such of the method "
            f"{regressor.card.get('config', {}).get('method')}; do: --weights {DEFAULT_WEIGHTS}"
        )
    if "stream" not in regressor.card.get("config", {}):
        raise ValueError(
            f"{path.stem}: wanted weights whose card has the configuration of their training, got "
            "a card without; do: take weights.safetensors and weights.json of one run"
        )
    return path, regressor, from_json(regressor.card["config"])
