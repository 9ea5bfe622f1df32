"""What is drawn of the surface of people, by the words of `--save`.

- iuv: `person_<k>_iuv.jpg`, the IUV maps that a network finds and those of the predicted body;
  `person_<k>_IUV.png`, the body's in the size of the photo, as DensePose writes them; and of
  networks that find maps `person_<k>_iuv.npz`, all of them as arrays.
- semantics: `person_<k>_semantics.jpg`, the body's labels beside those of a human parser.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.files import encode_arrays
from plausibody.models.proxy import Box
from plausibody.models.weights import TrainedRegressor
from plausibody.predict.dense import dense_arrays, dense_maps, encode_body
from plausibody.predict.drawing.bodies import PEOPLE, encode_picture
from plausibody.predict.drawing.dense import Cut, draw_iuv_sheet, draw_semantics_sheet
from plausibody.predict.drawing.pictures import Photo
from plausibody.predict.looking import look_at
from plausibody.predict.parameters import Origin
from plausibody.predict.result import ImagePrediction, PersonPrediction
from plausibody.predict.semantics import LabelMaps, LabelPrior, open_prior
from plausibody.synth.charts import Chart, load_chart


@dataclass(frozen=True)
class Surface:
    """What drawing the surface of bodies needs, opened once for a run."""

    chart: Chart
    """Of the mesh of the bodies."""
    iuv: bool = True
    """Whether IUV maps are drawn."""
    prior: LabelPrior | None = None
    """Of the bodies' labels; None where labels are not drawn."""
    labels: LabelMaps | None = None
    """Of the photos; None if they have none."""


def open_surface(
    regressor: TrainedRegressor, template: BodyTemplate, wanted: Set[str], labels: Path | None
) -> Surface | None:
    """Opens what the wanted pictures need; None if they need nothing.

    Args:
        regressor: Whose bodies are drawn.
        template: Of these bodies, on the CPU.
        wanted: Words of `--save`.
        labels: Folder of label maps.

    Raises:
        FileNotFoundError: If there is no such folder; or, for SMPL's mesh, no `UV_Processed.mat`.
        ValueError: If something of this belongs to another mesh.
    """
    if not wanted & {"iuv", "semantics"}:
        return None
    chart = load_chart(template)
    draws_labels = "semantics" in wanted
    return Surface(
        chart=chart,
        iuv="iuv" in wanted,
        prior=open_prior(regressor.card, template, chart) if draws_labels else None,
        labels=None if labels is None else LabelMaps(labels),
    )


def surface_files(
    photo: Photo,
    image: ImagePrediction,
    origin: Origin,
    regressor: TrainedRegressor,
    surface: Surface,
) -> Iterator[tuple[str, bytes]]:
    """Draws the surfaces of the people of a photo, one file after the other.

    Yields:
        Name and content of each file.

    Raises:
        PhotoError: If the photo's label map is wrong.
    """
    told = None
    if surface.labels is not None:
        height, width = photo.pixels.shape[:2]
        told = surface.labels.of(Path(origin.path), (height, width))
    for person in image.people:
        stem = f"person_{person.index}"
        cut = _cut(photo, person, origin.template)
        if surface.iuv:
            yield from _iuv_files(stem, cut, photo, person, regressor, surface.chart)
        if surface.prior is not None:
            sheet = draw_semantics_sheet(cut, surface.prior, _given(told, person))
            yield f"{stem}_semantics.jpg", encode_picture(sheet, ".jpg")


def _cut(photo: Photo, person: PersonPrediction, template: BodyTemplate) -> Cut:
    """Cuts out what the network looks at."""
    box = Box(centre=person.box.centre * photo.ratio, side=person.box.side * photo.ratio)
    return Cut.of(
        photo.picture,
        photo.camera(person),
        box,
        person.body.vertices,
        template.faces,
        PEOPLE[person.index % len(PEOPLE)],
    )


def _iuv_files(
    stem: str,
    cut: Cut,
    photo: Photo,
    person: PersonPrediction,
    regressor: TrainedRegressor,
    chart: Chart,
) -> Iterator[tuple[str, bytes]]:
    """Gives name and content of the files about one person's IUV maps."""
    proxy = look_at(person.evidence, regressor.proxy, photo.pixels)
    maps = dense_maps(regressor.network, proxy)
    yield f"{stem}_iuv.jpg", encode_picture(draw_iuv_sheet(cut, chart, maps), ".jpg")
    height, width = photo.pixels.shape[:2]
    body = person.body.vertices
    yield f"{stem}_IUV.png", encode_body(body, person.camera, chart, (height, width))
    if maps is not None:
        arrays = dense_arrays(maps, person.box, body, person.camera, chart)
        yield f"{stem}_iuv.npz", encode_arrays(arrays)


def _given(
    labels: UInt8[Tensor, "H W"] | None, person: PersonPrediction
) -> tuple[UInt8[Tensor, "H W"], Box] | None:
    return None if labels is None else (labels, person.box)
