"""Measures regressors on painted, clothed people through the embedded front end.

    python benchmarks/renders.py OUT.json WEIGHTS...

WEIGHTS are files, or names of weights that ship. Prints the tables, writes the results to OUT.json
and, beside it, a picture of the people fitted worst for each of the regressors.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from plausibody.bench import document
from plausibody.evaluate.rendered_people import Renders
from plausibody.evaluate.renders import evaluate_renders
from plausibody.evaluate.renders_result import to_json, to_markdown
from plausibody.evaluate.renders_sheet import draw_worst
from plausibody.models.files import write_file
from plausibody.models.weights import find_weights, load_regressor
from plausibody.predict.drawing.bodies import save_picture
from plausibody.predict.front_ends.embedded import load_embedded


def main(out: Path, sources: list[str]) -> None:
    front_end, renders, rows = load_embedded(), Renders(), []
    for source in sources:
        path = find_weights(source)
        evaluation = evaluate_renders(load_regressor(path), front_end, renders)
        print(f"{path.stem}\n\n{to_markdown(evaluation.result)}")
        rows.append({"weights": path.stem, **to_json(evaluation.result)})
        save_picture(draw_worst(evaluation), out.with_name(f"{out.stem}_{path.stem}.jpg"))
        record = document([], " ".join(["python", *sys.argv])) | {"rows": rows}
        write_file(out, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("wanted: python benchmarks/renders.py OUT.json WEIGHTS...")
    main(Path(sys.argv[1]), sys.argv[2:])
