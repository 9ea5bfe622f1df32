"""Draws the pictures of docs/distributions.md.

    python benchmarks/figures.py docs/ [--weights hierprob-lite] [--only NAME ...]

The picture of calibration is of a `calibration.json`, as `plausibody evaluate calibration` writes
it: by default the one in benchmarks/results.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from plausibody.assets.catalog import SHIPPED
from plausibody.evaluate.calibration_result import read_calibration_result
from plausibody.models.body import BodyTemplate
from plausibody.models.fisher import MatrixFisher
from plausibody.plots import draw_reliability, draw_rotations
from plausibody.predict.drawing import bodies as drawing
from plausibody.predict.drawing.uncertainty import (
    VIEWS,
    colour_uncertainty,
    draw_legend,
)
from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.predict.predictor import Predictor
from plausibody.predict.reading.photo import read_photo
from plausibody.predict.result import PersonPrediction

CASES = {
    "known well": (60.0, 60.0, 60.0),
    "known but for the twist about x": (40.0, 0.4, 0.2),
    "hardly known": (4.0, 4.0, 4.0),
    "nothing known": (0.0, 0.0, 0.0),
}
PHOTOS = ("skier.jpg", "astronaut.png")
SAMPLES = 100
RANKS = (1, 34, 67, 100)
"""Samples that are drawn, by their place in the order of agreement with what was seen."""
SIDE = 250
"""Of each picture in the sheet of bodies [px]."""
RESULT = Path(__file__).parent / "results" / "calibration.json"


def rotations() -> Float[Tensor, "3 H W"]:
    """Draws some matrix-Fisher distributions."""
    cases = {name: MatrixFisher(torch.diag(torch.tensor(values))) for name, values in CASES.items()}
    return draw_rotations(cases, torch.Generator().manual_seed(0))


def bodies(weights: str) -> Float[Tensor, "3 H W"]:
    """Draws what is known of the people on two photos: one row each, and a legend."""
    predictor = Predictor(weights, load_embedded(), samples=SAMPLES, person="main")
    paths = [SHIPPED / "photos" / name for name in PHOTOS]
    rows = [
        row(path, image.people[0], predictor.template)
        for path, image in zip(paths, predictor(paths), strict=True)
    ]
    sheet = torch.cat([rows[0], *(part for one in rows[1:] for part in (gap(one), one))], 1)
    return torch.cat([sheet, gap(sheet), draw_legend(sheet.shape[2])], 1)


def row(path: Path, person: PersonPrediction, template: BodyTemplate) -> Float[Tensor, "3 H W"]:
    """Draws one person: the photo, how sure each place is, and samples from the side."""
    assert person.samples is not None and person.samples.uncertainty is not None
    pixels = read_photo(path)
    picture = drawing.shrink(pixels)
    box = person.evidence.box * (picture.shape[2] / pixels.shape[1])
    vertices, faces = person.body.vertices, template.faces
    colours = colour_uncertainty(person.samples.uncertainty.distance)
    parts = {"photo": drawing.cut_square(picture, box, SIDE)}
    for name, view in (("most probable", "camera"), ("from the photo's right", "side")):
        parts[name] = drawing.draw_alone(vertices, faces, SIDE, VIEWS[view], colours)
    samples = person.samples.parameters.posed(template).vertices
    for rank in RANKS:
        sample = drawing.draw_alone(samples[rank - 1], faces, SIDE, VIEWS["side"])
        parts[f"sample, rank {rank} of {SAMPLES}"] = sample
    return drawing.tile([drawing.label(part, name) for name, part in parts.items()], len(parts))


def gap(like: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 6 W"]:
    return torch.full((3, 6, like.shape[2]), drawing.PAPER)


def calibration(path: Path) -> Float[Tensor, "3 H W"]:
    """Draws coverage and widths."""
    result = read_calibration_result(path)
    picture = draw_reliability(result, "Intervals of held-out synthetic people")
    return functional.interpolate(picture[None], scale_factor=0.75, mode="area")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", default="hierprob-lite")
    parser.add_argument("--calibration", type=Path, default=RESULT)
    names = ("rotations.png", "uncertainty.jpg", "calibration.jpg")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    given = parser.parse_args()
    torch.set_num_threads(1)
    draw = {
        names[0]: rotations,
        names[1]: lambda: bodies(given.weights),
        names[2]: lambda: calibration(given.calibration),
    }
    for name in given.only:
        drawing.save_picture(draw[name](), given.out / name)
        print(given.out / name, (given.out / name).stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main()
