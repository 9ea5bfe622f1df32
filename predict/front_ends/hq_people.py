"""Finds and outlines people with RF-DETR-Seg, a detection transformer with instance masks.

The model comes from `transformers`; what goes in and comes out is handled here, as the model's own
processor needs torchvision.

Source: Robinson et al., "RF-DETR: Neural Architecture Search for Real-Time Detection Transformers",
2025.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.encoder import normalise
from plausibody.predict.front_ends.files import LEAST_OVERLAP, person_from
from plausibody.predict.front_ends.front_end import ImageResult, Person, Picture, below
from plausibody.predict.front_ends.mask import SoftMask, separate, without_islands
from plausibody.predict.front_ends.silhouettes import Silhouette
from plausibody.predict.looking import boxes_or_explain, open_or_explain
from plausibody.predict.reading.boxes import Boxes, WholePicture, overlaps

LEAST_SCORE = 0.5
"""Of a detection to count as a person. Source: the model's own post-processing."""
SAME = 0.85
"""Common over joint area of two boxes for them to be one person found twice."""
TAKEN = 0.98
"""A silhouette that keeps less of its area, once others' claims are settled, is flagged."""


@dataclass(frozen=True)
class RfDetrPeople:
    """A front end that finds and outlines people, and says nothing of their key points."""

    model: nn.Module
    """`RfDetrForInstanceSegmentation`."""
    size: tuple[int, int]
    """Width and height to which pictures are brought, whatever their proportions [px]."""
    label: int
    """Number of the class "person"."""
    source: str = ""
    """Tells these weights from others."""
    boxes: Boxes | None = None
    """Where people are, if it is known: of those found, one is chosen for each box."""
    least_score: float = LEAST_SCORE
    batch: int = 4
    """Pictures looked at together."""

    @torch.no_grad()
    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        """Gives one result per picture in the same order; a bad picture never stops the others."""
        results: list[ImageResult] = []
        for start in range(0, len(pictures), self.batch):
            results += self._look(pictures[start : start + self.batch], max_people)
        return results

    def describe(self) -> dict[str, Any]:
        """Gives everything that results depend on besides the pictures; JSON can hold it."""
        told = self.boxes.describe() if self.boxes else {}
        return {
            "name": "rf-detr",
            "weights": self.source,
            "size": list(self.size),
            "least_score": self.least_score,
        } | told

    def _look(self, pictures: Sequence[Picture], max_people: int | None) -> Iterator[ImageResult]:
        opened = [open_or_explain(picture) for picture in pictures]
        images = [image for image in opened if isinstance(image, Tensor)]
        found = iter(self._find(images) if images else [])
        for picture, image in zip(pictures, opened, strict=True):
            if isinstance(image, ImageResult):
                yield image
                continue
            height, width = image.shape[:2]
            people = next(found)
            message = "" if people else "no person found; do: try --front-end embedded"
            if self.boxes is not None:
                told = boxes_or_explain(self.boxes, picture, image)
                if isinstance(told, ImageResult):
                    yield told
                    continue
                people, message = _chosen(people, told, isinstance(self.boxes, WholePicture))
            status: Literal["ok", "no_person"] = "ok" if people else "no_person"
            path = None if isinstance(picture, Tensor) else str(picture)
            yield ImageResult(path, width, height, status, message, below(people, max_people))

    def _find(self, images: Sequence[UInt8[Tensor, "_ _ 3"]]) -> list[list[Person]]:
        device = next(self.model.parameters()).device
        width, height = self.size
        batch = torch.stack([_prepared(image, width, height) for image in images]).to(device)
        seen = torch.ones(len(images), height, width, dtype=torch.long, device=device)
        answer = self.model(pixel_values=batch, pixel_mask=seen)
        score = answer.logits[..., self.label].sigmoid().float().cpu()
        boxes, masks = answer.pred_boxes.float().cpu(), answer.pred_masks.float().cpu()
        return [
            _people(score[n], boxes[n], masks[n], image.shape[0], image.shape[1], self.least_score)
            for n, image in enumerate(images)
        ]


def _prepared(
    image: UInt8[Tensor, "H W 3"], width: int, height: int
) -> Float[Tensor, "3 {height} {width}"]:
    pixels = image.permute(2, 0, 1)[None].float() / 255
    small = functional.interpolate(pixels, (height, width), mode="bilinear", antialias=True)[0]
    return normalise(small)


def _people(
    score: Float[Tensor, " Q"],
    boxes: Float[Tensor, "Q 4"],
    masks: Float[Tensor, "Q h w"],
    height: int,
    width: int,
    least_score: float,
) -> list[Person]:
    """Reads what the model says of one picture; the main person first.

    Args:
        score: That each query is a person, 0..1.
        boxes: Middle, width and height, in widths and heights of the picture.
        masks: Logits, over the whole picture.
    """
    limit = torch.tensor([width, height], dtype=torch.float32)
    middle, half = boxes[:, :2], boxes[:, 2:] / 2
    corners = torch.cat([(middle - half) * limit, (middle + half) * limit], 1)
    corners = corners.clamp(min=0).minimum(limit.repeat(2))
    kept: list[int] = []
    for n in score.argsort(descending=True, stable=True).tolist():
        if score[n] < least_score:
            break
        if not kept or float(overlaps(corners[kept], corners[n]).max()) < SAME:
            kept.append(n)
    step = limit / torch.tensor([masks.shape[2], masks.shape[1]])
    to_picture = torch.cat([torch.diag(step), torch.zeros(2, 1)], 1)
    claimed = [SoftMask(masks[n], to_picture, height, width) for n in kept]
    people = []
    for n, before, after in zip(kept, claimed, separate(claimed), strict=True):
        mask = without_islands(after)
        person = person_from(torch.zeros(17, 3), Silhouette(mask))
        flags = person.flags
        if mask.area() < TAKEN * without_islands(before).area():
            flags |= {"overlap"}
        people.append(replace(person, score=float(score[n]), box=corners[n], flags=flags))
    return sorted(people, key=lambda person: -person.soft_mask.area() * person.score)


def _chosen(
    people: Sequence[Person], told: Float[Tensor, "N 4"], whole: bool
) -> tuple[list[Person], str]:
    """Takes for each box the person who is nearest to filling it; says which box has nobody.

    Args:
        whole: Whether the only box is the whole picture, which nobody fills exactly.
    """
    if whole:
        return list(people[:1]), "" if people else "no person found in the picture"
    rest, chosen, missing = list(people), [], []
    for number, box in enumerate(told):
        common = [float(overlaps(person.box[None], box)) for person in rest]
        best = max(range(len(rest)), key=common.__getitem__, default=-1)
        if best < 0 or common[best] < LEAST_OVERLAP:
            missing.append(str(number))
            continue
        chosen.append(replace(rest.pop(best), box=box, number=number))
    if not len(told):
        return [], "no box is given for this picture; do: add one if somebody is in it"
    message = f"no person found in box {', '.join(missing)} of {len(told)} (from 0)"
    return chosen, message if missing else ""
