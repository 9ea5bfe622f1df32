"""Names that other people's code imports stay where they are."""

from __future__ import annotations

import importlib

import pytest

PUBLIC = {
    "models.templates": ("load_template",),
    "models.body": ("BodyTemplate", "PosedBody", "pose_body"),
    "models.fisher": ("MatrixFisher", "log_normalizer"),
    "models.measure": ("measure", "Measurements"),
    "models.prediction": ("BodyPrediction",),
    "synth.raster": ("rasterize", "Fragments", "edge_grad"),
    "synth.generator": ("BatchGenerator",),
    "predict.predictor": ("Predictor",),
    "evaluate.metrics": (
        *("mpjpe", "pa_mpjpe", "pve", "pve_t_sc", "silhouette_iou"),
        *("minimum_of_samples", "coverage"),
    ),
}
"""Of the package's modules, what is promised."""


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_stay(module: str) -> None:
    found = vars(importlib.import_module(f"plausibody.{module}"))
    assert set(PUBLIC[module]) <= set(found)
