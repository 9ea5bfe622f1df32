"""What is drawn of a photo and its people, by the words of `--save`.

- overlay: `overlay.png`, all bodies over the whole photo, with the people's numbers if there are
  several, each in a colour of its own; and for each person a sheet with the
  body over the photo, from the side and at rest, `person_<k>_views.jpg`. If samples were drawn, it
  also shows how sure each place is; `overlay_uncertainty.jpg` does so over the whole photo.
- proxies: `person_<k>_proxies.jpg`, what the front end saw and what the network reads of it.
- samples: `person_<k>_samples.jpg`, those that agree best with what was seen.
- iuv, semantics: see `surface`.

Whole photos keep their size up to 1280 pixels on the longer side; larger ones are shrunk to that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.proxy import ProxySettings
from plausibody.models.records import take
from plausibody.predict.drawing import bodies as drawing
from plausibody.predict.drawing.person import close_up, draw_evidence_sheet, draw_views
from plausibody.predict.drawing.uncertainty import colour_uncertainty, draw_legend, draw_samples
from plausibody.predict.looking import look_at
from plausibody.predict.placement import PictureCamera
from plausibody.predict.result import ImagePrediction, PersonPrediction, Samples

DRAWN = frozenset({"overlay", "proxies", "samples", "iuv", "semantics", "report"})
"""Words of `--save` for which the photo is opened once more."""
VIEW_SIDE, PROXY_SIDE, SAMPLE_SIDE = 384, 480, 240
"""Of a view in a sheet [px]."""
SHOWN = 8
"""Samples in a picture, those that agree best with what was seen."""


@dataclass(frozen=True)
class Photo:
    """A photo to draw on."""

    pixels: UInt8[Tensor, "H W 3"]
    """Upright, in its own size."""

    @cached_property
    def picture(self) -> Float[Tensor, "3 H2 W2"]:
        """RGB, 0..1, at most 1280 pixels on the longer side."""
        return drawing.shrink(self.pixels)

    @property
    def ratio(self) -> float:
        """Of the picture's size to the photo's."""
        return self.picture.shape[2] / self.pixels.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture [px]."""
        return self.picture.shape[1], self.picture.shape[2]

    def camera(self, person: PersonPrediction) -> PictureCamera:
        """Gives a person's camera over the picture."""
        return drawing.shrink_camera(person.camera, self.ratio)

    def box(self, person: PersonPrediction) -> Float[Tensor, " 4"]:
        """Gives a person's box in the picture [px]."""
        return person.evidence.box * self.ratio


def draw_pictures(
    photo: Photo,
    image: ImagePrediction,
    template: BodyTemplate,
    wanted: Set[str],
    settings: ProxySettings,
) -> Iterator[tuple[str, bytes]]:
    """Draws what is wanted of a photo, one file after the other.

    Args:
        image: With at least one person.
        wanted: Words of `--save`; those without pictures mean nothing here.
        settings: Of what the network reads.

    Yields:
        Name and content of each file.
    """
    if "overlay" in wanted:
        yield "overlay.png", drawing.encode_picture(_overlay(photo, image, template))
        if (uncertain := _uncertain_overlay(photo, image, template)) is not None:
            yield "overlay_uncertainty.jpg", drawing.encode_picture(uncertain, ".jpg")
    for person in image.people:
        stem = f"person_{person.index}"
        if "overlay" in wanted:
            sheet = _views(photo, person, template, _colour(person))
            yield f"{stem}_views.jpg", drawing.encode_picture(sheet, ".jpg")
        if "proxies" in wanted:
            sheet = _proxies(photo, person, settings)
            yield f"{stem}_proxies.jpg", drawing.encode_picture(sheet, ".jpg")
        if "samples" in wanted and person.samples is not None:
            sheet = _samples(photo, person, person.samples, template)
            yield f"{stem}_samples.jpg", drawing.encode_picture(sheet, ".jpg")


def _overlay(
    photo: Photo, image: ImagePrediction, template: BodyTemplate
) -> Float[Tensor, "3 H W"]:
    bodies = [person.body.vertices for person in image.people]
    cameras = [photo.camera(person) for person in image.people]
    colours = [_colour(person) for person in image.people]
    drawn = drawing.draw_overlay(photo.picture, bodies, cameras, template.faces, colours=colours)
    return _numbered(photo, drawn, image.people)


def _colour(person: PersonPrediction) -> drawing.Colour:
    """Gives the colour of a person's number: the same in all pictures and in the report."""
    return drawing.PEOPLE[person.index % len(drawing.PEOPLE)]


def _numbered(
    photo: Photo, drawn: Float[Tensor, "3 H W"], people: Sequence[PersonPrediction]
) -> Float[Tensor, "3 H W"]:
    """Writes the people's numbers at their heads, unless there is only number 0."""
    numbers = [person.index for person in people]
    if numbers == [0]:
        return drawn
    bodies = [person.body.vertices for person in people]
    cameras = [photo.camera(person) for person in people]
    return drawing.number_people(drawn, numbers, bodies, cameras)


def _uncertain_overlay(
    photo: Photo, image: ImagePrediction, template: BodyTemplate
) -> Float[Tensor, "3 tall W"] | None:
    """Draws the people of whom samples tell how sure each place is; None if there are none."""
    known = [
        (person, colours)
        for person in image.people
        if (colours := vertex_colours(person)) is not None
    ]
    if not known:
        return None
    drawn = drawing.draw_overlay(
        photo.picture,
        [person.body.vertices for person, _ in known],
        [photo.camera(person) for person, _ in known],
        template.faces,
        opacity=0.9,
        colours=[colours for _, colours in known],
    )
    drawn = _numbered(photo, drawn, [person for person, _ in known])
    return torch.cat([drawn, draw_legend(drawn.shape[2])], 1)


def vertex_colours(person: PersonPrediction) -> Float[Tensor, "V 3"] | None:
    """Gives each vertex of a body the colour of its uncertainty, if samples tell it."""
    if person.samples is None or person.samples.uncertainty is None:
        return None
    return colour_uncertainty(person.samples.uncertainty.distance)


def _views(
    photo: Photo, person: PersonPrediction, template: BodyTemplate, colour: drawing.Colour
) -> Float[Tensor, "3 tall wide"]:
    part, camera = close_up(photo.picture, photo.camera(person), photo.box(person), VIEW_SIDE)
    spread = person.samples.uncertainty if person.samples is not None else None
    return draw_views(
        part,
        camera,
        person.body.vertices,
        person.prediction.mode().rest(template).vertices,
        template.faces,
        colour,
        None if spread is None else spread.distance,
    )


def _seen(photo: Photo, person: PersonPrediction) -> Float[Tensor, "3 H W"]:
    mask, keypoints = drawing.shrink_evidence(person.evidence, photo.size)
    return drawing.draw_evidence(photo.picture, mask, keypoints)


def _proxies(
    photo: Photo, person: PersonPrediction, settings: ProxySettings
) -> Float[Tensor, "3 tall wide"]:
    seen = drawing.cut_square(_seen(photo, person), photo.box(person), PROXY_SIDE)
    proxy = look_at(person.evidence, settings, photo.pixels)
    return draw_evidence_sheet(seen, proxy, settings.channel)


def _samples(
    photo: Photo, person: PersonPrediction, samples: Samples, template: BodyTemplate
) -> Float[Tensor, "3 tall wide"]:
    """Draws the best samples of a person."""
    part, camera = close_up(photo.picture, photo.camera(person), photo.box(person), SAMPLE_SIDE)
    best = take(samples.parameters, slice(0, SHOWN)).posed(template)
    return draw_samples(part, best, samples.score[:SHOWN], template.faces, camera)
