"""How well bodies fit the evidence on the shipped photos, for one or several regressors.

    python benchmarks/photos.py OUT.json WEIGHTS_OR_CHECKPOINT...

A regressor is a weights file, or the folder `step_<N>` of a checkpoint, whose averaged network is
taken: several checkpoints of one run show how much the figures hang on where training stops.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from plausibody.assets.catalog import SHIPPED
from plausibody.bench import document
from plausibody.models.checkpoint import load_checkpoint, save_weights
from plausibody.models.weights import load_regressor
from plausibody.predict.embedded import load_embedded
from plausibody.predict.predictor import Predictor

PHOTOS = sorted(path for path in (SHIPPED / "photos").iterdir() if path.suffix in (".jpg", ".png"))


def weights_of(path: Path, scratch: Path) -> Path:
    """Gives a weights file; makes one of a checkpoint's averaged network."""
    if path.suffix == ".safetensors":
        return path
    groups, state = load_checkpoint(path)
    out = scratch / f"{path.name}.safetensors"
    save_weights(out, groups["average"], {"config": state["config"], "steps": state["step"]})
    return out


def main(out: Path, sources: list[Path]) -> None:
    front_end, rows = load_embedded(), []
    for source in sources:
        predictor = Predictor(load_regressor(weights_of(source, out.parent)), front_end)
        for image in predictor(PHOTOS):
            person = image.people[0]
            rows.append(
                {
                    "regressor": source.name,
                    "photo": Path(str(image.path)).name,
                    "silhouette_iou": round(person.fit.silhouette_iou, 3),
                    "reprojection_percent": round(person.fit.reprojection, 2),
                }
            )
            print(rows[-1])
    record = document([], " ".join(["python", *sys.argv])) | {"rows": rows}
    out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
