"""How well bodies fit the evidence on the shipped photos, for one or several regressors.

    python benchmarks/photos.py OUT.json WEIGHTS_OR_CHECKPOINT...

A regressor is a weights file, a name of weights that ship, or the folder `step_<N>` of a
checkpoint, whose averaged network is taken: several checkpoints of one run show how much the
figures hang on where training stops.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from plausibody.bench import document
from plausibody.evaluate.photos import fit_photos
from plausibody.models.checkpoint import load_checkpoint, save_weights
from plausibody.models.weights import TrainedRegressor, find_weights, load_regressor
from plausibody.predict.front_ends.embedded import load_embedded


def open_regressor(source: Path) -> TrainedRegressor:
    """Opens weights, or a checkpoint's averaged network."""
    if not source.name.startswith("step_"):
        return load_regressor(find_weights(source))
    groups, state = load_checkpoint(source)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "weights.safetensors"
        save_weights(path, groups["average"], {"config": state["config"], "steps": state["step"]})
        return load_regressor(path)


def main(out: Path, sources: list[Path]) -> None:
    front_end, rows = load_embedded(), []
    for source in sources:
        for fit in fit_photos(open_regressor(source), front_end):
            rows.append({"regressor": source.name, **asdict(fit)})
            rows[-1]["silhouette_iou"] = round(fit.silhouette_iou, 3)
            rows[-1]["reprojection"] = round(fit.reprojection, 2)
            print(rows[-1])
    record = document([], " ".join(["python", *sys.argv])) | {"rows": rows}
    out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
