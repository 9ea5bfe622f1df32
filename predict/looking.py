"""What a regressor looks at: the proxy of a person whom a front end has found in a picture."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from plausibody.models.proxy import Box, Observation, Proxy, ProxySettings, make_proxy
from plausibody.predict.front_ends.front_end import ImageResult, Person, Picture
from plausibody.predict.reading.boxes import Boxes, NotListedError
from plausibody.predict.reading.photo import LEAST_SIDE, PhotoError, read_photo


def look_at(
    person: Person, settings: ProxySettings, picture: UInt8[Tensor, "H W 3"] | None = None
) -> Proxy:
    """Makes the proxy of a person.

    Where the picture or its edges are read, only the part under the person's box becomes floats:
    of a large photo, a fraction, and the same result.

    Args:
        picture: In which the person is; needed if the settings want it or its edges.
    """
    seen = person.observation()
    if settings.channel == "iuv":
        seen = replace(seen, iuv=iuv_of(person, seen.mask))
    if not settings.reads_pictures:
        return make_proxy(seen, settings)
    if picture is None:
        raise ValueError(
            f"picture: wanted one, as the regressor reads {settings.channel}, got none"
        )
    proxy = make_proxy(seen, replace(settings, channel="silhouette"))
    left, top, right, bottom = _window(proxy.box, settings.size, picture.shape[0], picture.shape[1])
    offset = proxy.box.centre.new_tensor([left, top])
    part = Observation(
        keypoints=seen.keypoints - torch.cat([offset, offset.new_zeros(1)]),
        mask=seen.mask[top:bottom, left:right],
        picture=picture[top:bottom, left:right].permute(2, 0, 1).float() / 255,
    )
    box = Box(centre=proxy.box.centre - offset, side=proxy.box.side)
    looked = make_proxy(part, settings, box)
    return replace(proxy, edges=looked.edges, rgb=looked.rgb)


def iuv_of(person: Person, mask: Float[Tensor, "H W"]) -> Float[Tensor, "3 H W"]:
    """Takes what lies in a person's mask out of the IUV map that came with the mask.

    Returns:
        Part 1..24, u and v from 0 to 1; 0 outside the mask.

    Raises:
        ValueError: If there is no such map.
    """
    whole = person.extras.get("iuv")
    if whole is None:
        raise ValueError(
            "iuv: wanted DensePose's IUV map of the picture, which the regressor reads, got "
            f"{'a part map, which has no u and v' if 'parts' in person.extras else 'none'}; "
            "do: put such maps beside the key points of --front-end files and add "
            "--silhouette-from parts, or take weights that read something else"
        )
    places = whole[1:].float() / 255
    return torch.cat([whole[:1].float(), places]) * (mask > 0.5)


def open_picture(picture: Picture) -> UInt8[Tensor, "H W 3"]:
    """Reads a picture unless it is one already."""
    return picture if isinstance(picture, Tensor) else read_photo(Path(picture))


def open_or_explain(picture: Picture) -> UInt8[Tensor, "H W 3"] | ImageResult:
    """Reads a picture, or gives the result of one that cannot be used."""
    if isinstance(picture, Tensor):
        height, width = picture.shape[:2]
        if min(height, width) >= LEAST_SIDE:
            return picture
        message = f"wanted at least {LEAST_SIDE} pixels on each side, came {width} x {height}"
        return ImageResult(None, width, height, "too_small", message)
    try:
        return read_photo(Path(picture))
    except PhotoError as error:
        return ImageResult(str(picture), 0, 0, error.status, str(error))
    except OSError as error:
        return ImageResult(str(picture), 0, 0, "unreadable", str(error))


def boxes_or_explain(
    boxes: Boxes, picture: Picture, image: UInt8[Tensor, "H W 3"]
) -> Float[Tensor, "N 4"] | ImageResult:
    """Asks where the people of a picture are, or gives the result of one of which that is unknown.

    Returns:
        Left, top, right, bottom of each [px].
    """
    height, width = image.shape[:2]
    try:
        return boxes(picture, width, height)
    except (ValueError, OSError) as error:
        path = None if isinstance(picture, Tensor) else str(picture)
        status: Literal["no_person", "unreadable"] = "unreadable"
        if isinstance(error, NotListedError):
            status = "no_person"
        return ImageResult(path, width, height, status, str(error))


def _window(box: Box, size: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Gives left, top, right, bottom of the pixels that resampling a box touches [px]."""
    side = float(box.side)
    margin = 2 * max(1.0, side / size) + 1  # the resampling filter reaches one step out
    edges = []
    for centre, length in zip(box.centre.tolist(), (width, height), strict=True):
        low = min(max(math.floor(centre - side / 2 - margin), 0), length - 1)
        high = max(min(math.ceil(centre + side / 2 + margin), length), low + 1)
        edges.append((low, high))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom
