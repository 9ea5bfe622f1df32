"""How people of a data set are shown to a regressor: by their labels, or as a front end sees them.

`labels` is what papers do: the data set's own key points and masks in the published box. With a
front end the way is that of `predict`, told where each person is. Whom it misses is predicted all
the same, from an empty proxy of the published box, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from plausibody.evaluate.datasets.labels import require_files
from plausibody.evaluate.datasets.people import Dataset, LabelledPeople
from plausibody.models.batches import in_batches
from plausibody.models.proxy import Box, Observation, Proxy, ProxySettings, make_proxy
from plausibody.models.records import concatenate, map_tensors
from plausibody.predict.front_ends.front_end import FrontEnd, Picture, describe_front_end
from plausibody.predict.front_ends.opening import FrontEndSettings, open_front_end
from plausibody.predict.looking import look_at, open_picture
from plausibody.predict.reading.boxes import LEAST_SIDE
from plausibody.predict.reading.mask_files import read_pixels

LABELS = "labels"
"""Instead of the name of a front end."""
CHUNK = 256
"""People whose labels are looked through at a time."""


@dataclass(frozen=True)
class Shown:
    """What a regressor sees of some people."""

    proxy: Proxy
    """The first axis runs over the people."""
    missed: Bool[Tensor, " people"]
    """Whom the front end did not find: their proxies are empty, but for what the picture gives."""


@runtime_checkable
class Showing(Protocol):
    """Shows people of a data set to regressors."""

    def __call__(self, people: LabelledPeople, settings: ProxySettings) -> Shown:
        """Makes the proxies of some people.

        Args:
            settings: Of the regressor.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Gives what the proxies depend on besides data and settings; JSON can hold it."""
        ...


class FromLabels:
    """The data set's own key points and masks, in the published box.

    Key points keep their confidences, which some regressors read, but none falls below the
    regressor's threshold: which ones are shown is the published protocol's affair.
    """

    def __call__(self, people: LabelledPeople, settings: ProxySettings) -> Shown:
        proxies = [_labelled(people, n, settings) for n in range(len(people))]
        return Shown(concatenate(proxies), torch.zeros(len(people), dtype=torch.bool))

    def describe(self) -> dict[str, Any]:
        return {"name": LABELS}


@dataclass(frozen=True)
class PublishedBoxes:
    """Tells a front end where the people of a data set are."""

    named: Mapping[str, Float[Tensor, "_ 4"]]
    """By the picture's path: left, top, right, bottom of each person [px]."""

    @classmethod
    def of(cls, dataset: Dataset) -> PublishedBoxes:
        """Takes the tight squares of all people: the published crops without their factor."""
        rows: dict[str, list[Tensor]] = {}
        for numbers in in_batches(range(len(dataset)), CHUNK):
            people = dataset.batch(numbers)
            tight = Box(people.box.centre, people.box.side / dataset.about.factor)
            for n, box in enumerate(corners(tight)):
                rows.setdefault(str(_picture_of(people, n)), []).append(box)
        return cls({path: torch.stack(boxes) for path, boxes in rows.items()})

    def __call__(self, picture: Picture, width: int, height: int) -> Float[Tensor, "N 4"]:
        """Gives the boxes within the picture; of one that lies outside, a sliver of the border."""
        boxes = self.named[str(picture)]
        limit = boxes.new_tensor([width, height])
        low = boxes[:, :2].clamp(min=0).minimum(limit - LEAST_SIDE)
        high = boxes[:, 2:].minimum(limit).maximum(low + LEAST_SIDE)
        return torch.cat([low, high], -1)

    def number(self, picture: Path, box: Box) -> int:
        """Gives the number by which a front end calls the person in a published crop."""
        centres = self.named[str(picture)].unflatten(1, (2, 2)).mean(1)
        return int((centres - box.centre).norm(dim=-1).argmin())

    def describe(self) -> dict[str, Any]:
        return {"boxes": "published"}


@dataclass(frozen=True)
class FromFrontEnd:
    """What a front end sees of the people."""

    front_end: FrontEnd
    boxes: PublishedBoxes
    """That the front end has been told."""

    def __call__(self, people: LabelledPeople, settings: ProxySettings) -> Shown:
        wanted = [_picture_of(people, n) for n in range(len(people))]
        pictures = list(dict.fromkeys(wanted))
        results = dict(zip(pictures, self.front_end(pictures), strict=True))
        proxies, missed = [], []
        for n, path in enumerate(wanted):
            if results[path].status in ("unreadable", "too_small"):
                raise ValueError(results[path].message)
            box = Box(people.box.centre[n], people.box.side[n])
            person = results[path].numbered.get(self.boxes.number(path, box))
            missed.append(person is None)
            if person is None:
                proxy = _empty(open_picture(path), box, settings)
            else:
                pixels = open_picture(path) if settings.reads_pictures else None
                proxy = look_at(person, settings, pixels)
            proxies.append(map_tensors(proxy, lambda tensor: tensor[None]))
        return Shown(concatenate(proxies), torch.tensor(missed))

    def describe(self) -> dict[str, Any]:
        return describe_front_end(self.front_end)


def open_showing(
    dataset: Dataset,
    settings: ProxySettings,
    name: str | None = None,
    device: torch.device | str = "cpu",
    files: Path | None = None,
    weights: str | None = None,
    keypoints: bool = True,
) -> Showing:
    """Chooses how people are shown to a regressor.

    Args:
        settings: Of the regressor: what it reads.
        name: labels; or a front end: embedded, hrnet, hq or files. None: labels where the data has
            what the regressor reads, else embedded.
        device: Where the front end's nets run.
        files: Folder with key points and masks, for the front end `files`.
        weights: Of hrnet or hq.
        keypoints: Whether the regressor reads key points; for others, the published boxes do.

    Raises:
        ValueError: If the data has not what the regressor reads, or the front end does not fit.
        FileNotFoundError: If pictures or the front end's files are missing.
    """
    lacking = lacks(dataset, settings, keypoints)
    if name is None:
        name = "embedded" if lacking else LABELS
    if name == LABELS:
        if lacking:
            raise ValueError(
                f"--proxies labels: wanted {lacking} for a regressor of "
                f"{'key points and ' * keypoints}{settings.channel}, {dataset.about.name} comes "
                "without; do: --proxies embedded, which looks at the pictures"
            )
        return FromLabels()
    if settings.channel == "iuv" and name != "files":
        raise ValueError(
            f"--front-end {name}: wanted DensePose's IUV maps for a regressor of iuv, "
            f"{dataset.about.name} comes without and this front end makes none; do: --front-end "
            "files --files DIR, with key points and IUV maps of the pictures"
        )
    boxes = PublishedBoxes.of(dataset)
    require_files(
        [Path(path) for path in boxes.named],
        "the pictures of the data set, for the front end to look at",
        "add them as the layout says",
    )
    masks = "parts" if settings.channel == "iuv" else "mask"
    asked = FrontEndSettings(boxes=boxes, files=files, weights=weights, silhouette_from=masks)
    return FromFrontEnd(open_front_end(name, device, asked), boxes)


def lacks(dataset: Dataset, settings: ProxySettings, keypoints: bool = True) -> str:
    """Names what a regressor reads and the labels have not; empty if they have all.

    Args:
        keypoints: Whether it reads key points.
    """
    first = dataset.batch([0])
    lacking = []
    if first.keypoints is None and keypoints:
        lacking.append("key points")
    if settings.channel == "silhouette" and first.masks is None:
        lacking.append("masks")
    if settings.channel == "iuv":
        lacking.append("IUV maps")
    if settings.reads_pictures and first.pictures[0] is None:
        lacking.append("pictures")
    return " and ".join(lacking)


def read_mask(path: Path) -> Bool[Tensor, "H W"]:
    """Reads a mask, 0 outside and 1 or 255 inside, whatever the depth of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture, or damaged.
    """
    pixels = read_pixels(path, "a mask of a person")
    if pixels.ndim == 3:
        pixels = pixels.max(-1)
    return torch.from_numpy(pixels.astype(np.float32) > max(int(pixels.max()), 1) / 2)


def corners(box: Box) -> Float[Tensor, "*batch 4"]:
    """Gives left, top, right, bottom of squares [px]."""
    half = box.side[..., None] / 2
    return torch.cat([box.centre - half, box.centre + half], -1)


def _labelled(people: LabelledPeople, number: int, settings: ProxySettings) -> Proxy:
    """Makes the proxy of one person from labels; its tensors have an axis of one."""
    pixels, mask = None, None
    if not settings.reads_pictures:
        assert people.masks is not None  # see `lacks`
        mask = read_mask(people.masks[number]).float()
    else:
        pixels = open_picture(_picture_of(people, number))
        mask = torch.zeros(pixels.shape[:2])
    keypoints = torch.zeros(17, 3)
    if people.keypoints is not None:  # of whom there are none, they are not read: see `lacks`
        keypoints = _lifted(people.keypoints[number], settings)
    seen = Observation(keypoints, mask, _floats(pixels))
    box = Box(people.box.centre[number], people.box.side[number])
    proxy = make_proxy(seen, settings, box)
    return map_tensors(proxy, lambda tensor: tensor[None])


def _lifted(keypoints: Float[Tensor, "17 3"], settings: ProxySettings) -> Float[Tensor, "17 3"]:
    """Lifts confidences above 0 to what a regressor asks for at least."""
    least = max(settings.least_confidence, settings.least_limb_confidence)
    sure = keypoints[:, 2:]
    return torch.cat([keypoints[:, :2], torch.where(sure > 0, sure.clamp(min=least), 0.0)], -1)


def _empty(pixels: UInt8[Tensor, "H W 3"], box: Box, settings: ProxySettings) -> Proxy:
    """Makes the proxy of somebody of whom nothing was seen."""
    nothing = torch.zeros(pixels.shape[:2])
    return make_proxy(Observation(torch.zeros(17, 3), nothing, _floats(pixels)), settings, box)


def _floats(pixels: Tensor | None) -> Float[Tensor, "3 H W"] | None:
    return None if pixels is None else pixels.permute(2, 0, 1).float() / 255


def _picture_of(people: LabelledPeople, number: int) -> Path:
    path = people.pictures[number]
    if path is None:
        raise ValueError(
            f"{people.names[number]}: wanted its picture, the data set comes without; do: choose "
            "--proxies labels, or add the pictures as the layout says"
        )
    return path
