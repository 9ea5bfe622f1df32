"""The same people again and again as a network learns: synthetic ones, and the photos that ship."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from plausibody.assets.catalog import SHIPPED
from plausibody.config import RunConfig
from plausibody.models.body import BodyTemplate, regress
from plausibody.models.camera import WeakPerspectiveCamera, fit_weak_perspective
from plausibody.models.crop import resample_square
from plausibody.models.files import write_file
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Box, Proxy, ProxySettings
from plausibody.models.records import concatenate, map_tensors, take, to_device
from plausibody.models.regressor import Regressor
from plausibody.predict.bulk.inputs import find_photos
from plausibody.predict.dense import draw_dense, finds_maps, whole_maps
from plausibody.predict.drawing.bodies import (
    PAPER,
    draw_overlay,
    draw_side,
    encode_picture,
    label,
    tile,
)
from plausibody.predict.drawing.iuv import colour_iuv
from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.predict.front_ends.front_end import FrontEnd
from plausibody.predict.looking import look_at
from plausibody.predict.placement import PictureCamera
from plausibody.predict.reading.photo import read_photo
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.stores import SynthAssets
from plausibody.training.spared import Spared

PEOPLE = 8
"""Synthetic people in a row."""
SIDE = 112
"""Of each drawn person [px]."""
PERSON = 0.45
"""Grey of a silhouette under a body."""
SHOWN_EDGES = 3.0
"""How much edges are strengthened, whose contrast is rarely full."""


@dataclass(frozen=True)
class Sitters:
    """People who are drawn again and again."""

    proxy: Proxy
    """What the network is shown of them; a batch."""
    under: Float[Tensor, "people 3 side side"]
    """What lies under their bodies: the square that the network looks at, in colours 0..1."""


class Pictures:
    """Draws what a network makes of people who stay the same, into RUN/pictures.

    RUN/pictures/truth.jpg               true bodies of the synthetic people
    RUN/pictures/step_N/synthetic.jpg    predicted ones, over what the network was shown
    RUN/pictures/step_N/photos.jpg       bodies over the photos that ship, and from the side; not
                                         of networks that read iuv
    RUN/pictures/step_N/iuv.jpg          of networks that find IUV maps: what they were shown of the
                                         synthetic people, the true maps, those that they find, and
                                         those of the predicted bodies
    """

    def __init__(
        self,
        config: RunConfig,
        held_out: SynthAssets,
        out: Path,
        spared: Spared,
        front_end: FrontEnd | None = None,
    ):
        """Args:
        config: Of the run; its stream gives the synthetic people.
        held_out: To draw them from: poses that no training sees.
        out: Folder of the run.
        spared: Does what may fail.
        front_end: Finds people in photos; the one that ships if None.
        """
        self._config, self._assets, self._spared = config, held_out, spared
        self._folder, self._front_end = out / "pictures", front_end
        self._people: Sitters | None = None
        self._photos: Sitters | None = None
        self._truth: Float[Tensor, "3 height width"] | None = None
        self._true_maps: Float[Tensor, "people 3 N N"] | None = None

    def draw(
        self, network: Regressor, step: int, device: torch.device | str
    ) -> dict[str, Float[Tensor, "3 height width"]]:
        """Draws and writes the pictures of a moment of training.

        Args:
            network: On the device; its mode is left as it was.
            step: Steps done.

        Returns:
            Each picture by the name of its file; those that cannot be drawn are missing.

        Raises:
            DiskFullError: If there is no space for a file.
        """
        training = network.training
        network.eval()
        found = {
            "synthetic": self._spared(
                "pictures of synthetic people", lambda: self._draw_people(network, device)
            ),
        }
        if finds_maps(network):
            found["iuv"] = self._spared(
                "pictures of IUV maps", lambda: self._draw_iuv(network, device)
            )
        if self._config.proxy.channel != "iuv":  # the photos that ship have no such maps
            found["photos"] = self._spared(
                "pictures of photos", lambda: self._draw_photos(network, device)
            )
        network.train(training)
        drawn = {name: picture for name, picture in found.items() if picture is not None}
        for name, picture in drawn.items():
            _save(picture, self._folder / f"step_{step}" / f"{name}.jpg")
        if self._truth is not None:
            _save(self._truth, self._folder / "truth.jpg")
            self._truth = None
        return drawn

    def _draw_people(
        self, network: Regressor, device: torch.device | str
    ) -> Float[Tensor, "3 height width"]:
        if self._people is None:
            self._people, self._truth = self._choose_people()
        bodies, camera = _predict(network, self._people.proxy, device)
        return tile(_put_over(self._people.under, bodies, camera, self._assets.template), PEOPLE)

    def _draw_iuv(
        self, network: Regressor, device: torch.device | str
    ) -> Float[Tensor, "3 height width"]:
        """Draws a row of each kind of map, below each other."""
        if self._people is None:
            self._people, self._truth = self._choose_people()
        chart, people = self._assets.chart, self._people
        if chart is None or self._true_maps is None:
            raise ValueError("wanted a stream that draws IUV maps, got one without")
        bodies, camera = _predict(network, people.proxy, device)
        vertices = bodies.posed(self._assets.template).vertices
        square = Box(centre=torch.full((2,), SIDE / 2), side=torch.tensor(float(SIDE)))
        drawn = [
            draw_dense(body, PictureCamera.of(_one(camera, n), square), chart, (SIDE, SIDE))
            for n, body in enumerate(vertices)
        ]
        rows = {"what the network reads": people.under, "true": _shown(self._true_maps)}
        if self._config.proxy.channel != "iuv":
            rows["estimated"] = _shown(whole_maps(network, people.proxy))
        rows["of the predicted body"] = _shown(torch.stack(drawn))
        return torch.cat([label(tile(list(row), PEOPLE), name) for name, row in rows.items()], 1)

    def _choose_people(self) -> tuple[Sitters, Float[Tensor, "3 height width"]]:
        """Gives the people, and a picture of their true bodies."""
        config, assets = self._config, self._assets
        stream = BatchGenerator.of(
            config.stream, config.proxy, assets, PEOPLE, config.renderer.backend
        )
        batch = stream[0]
        people = Sitters(batch.proxy, draw_evidence(batch.proxy, config.proxy.channel))
        truth = batch.target
        if truth.dense is not None:
            self._true_maps = truth.dense.iuv
            if truth.dense.drawn is not None:  # of people in photos it is not known
                self._true_maps = self._true_maps * truth.dense.drawn[:, None, None, None]
        joints = regress(assets.regressors.coco17, truth.parameters.posed(assets.template).vertices)
        camera = fit_weak_perspective(joints, truth.keypoints, torch.ones(PEOPLE, 17))
        true = _put_over(people.under, truth.parameters, camera, assets.template)
        return people, tile(true, PEOPLE)

    def _draw_photos(
        self, network: Regressor, device: torch.device | str
    ) -> Float[Tensor, "3 height width"]:
        if self._photos is None:
            self._photos = self._choose_photos()
        sitters, template = self._photos, self._assets.template
        bodies, camera = _predict(network, sitters.proxy, device)
        over = _put_over(sitters.under, bodies, camera, template)
        vertices = bodies.posed(template).vertices
        sides = [draw_side(each, template.faces, SIDE) for each in vertices]
        pairs = zip(over, sides, strict=True)
        return tile([picture for pair in pairs for picture in pair], 2 * len(over))

    def _choose_photos(self) -> Sitters:
        if self._front_end is None:
            return _shipped(self._config.proxy)
        return find_sitters(shipped_photos(), self._front_end, self._config.proxy)


@functools.lru_cache(maxsize=2)
def _shipped(settings: ProxySettings) -> Sitters:
    """Looks at the photos that ship with the front end that ships, once in a process."""
    return find_sitters(shipped_photos(), load_embedded(), settings)


def shipped_photos() -> list[Path]:
    """Lists the photos that ship."""
    return find_photos([SHIPPED / "photos"])


@torch.no_grad()
def find_sitters(photos: Sequence[Path], front_end: FrontEnd, settings: ProxySettings) -> Sitters:
    """Makes proxies of the main people of photos.

    Args:
        settings: Of the regressor.

    Raises:
        ValueError: If nobody is found in any of them.
    """
    proxies, under = [], []
    for photo, result in zip(photos, front_end(photos, 1), strict=True):
        if not result.people:
            continue
        pixels = read_photo(photo)
        proxy = look_at(result.people[0], settings, pixels)
        whole = Box(proxy.box.centre.expand(3, 2), proxy.box.side.expand(3))  # of each colour
        picture = pixels.permute(2, 0, 1).float() / 255
        under.append(resample_square(picture, whole, SIDE, replicate=True).clamp(0, 1))
        proxies.append(map_tensors(proxy, lambda tensor: tensor[None]))
    if not proxies:
        names = ", ".join(photo.name for photo in photos)
        raise ValueError(f"wanted people in the photos {names}, the front end found none")
    return Sitters(concatenate(proxies), torch.stack(under))


def draw_evidence(proxy: Proxy, channel: str) -> Float[Tensor, "people 3 side side"]:
    """Draws what a network is shown besides key points: dark on paper.

    Args:
        channel: silhouette, edges, rgb, which is shown as it is, or iuv, in colours of its own.
    """
    shown = proxy.channel(channel).float()
    if channel == "iuv":
        shown = colour_iuv(shown)
    coloured = channel in ("rgb", "iuv")
    planes = shown if coloured else shown[:, None]
    shrinks = shown.shape[-1] > SIDE
    drawn = functional.interpolate(planes, size=(SIDE, SIDE), mode="area" if shrinks else "nearest")
    if coloured:
        return drawn
    strength = SHOWN_EDGES if channel == "edges" else 1 - PERSON
    return (PAPER - strength * drawn).clamp(0, 1).expand(-1, 3, -1, -1)


def _shown(iuv: Float[Tensor, "people 3 N N"]) -> Float[Tensor, "people 3 side side"]:
    """Colours IUV maps, pixel by pixel: parts have no means."""
    return functional.interpolate(colour_iuv(iuv), size=(SIDE, SIDE), mode="nearest-exact")


@torch.no_grad()
def _predict(
    network: Regressor, proxy: Proxy, device: torch.device | str
) -> tuple[BodyParameters, WeakPerspectiveCamera]:
    prediction = to_device(network.predict(to_device(proxy, device)), "cpu")
    return prediction.mode(), prediction.camera


def _put_over(
    under: Float[Tensor, "people 3 side side"],
    bodies: BodyParameters,
    camera: WeakPerspectiveCamera,
    template: BodyTemplate,
) -> list[Float[Tensor, "3 side side"]]:
    """Draws a body over each square.

    Args:
        camera: Over the squares.
    """
    vertices, side = bodies.posed(template).vertices, torch.tensor(float(SIDE))
    square = Box(centre=torch.full((2,), SIDE / 2), side=side)
    return [
        draw_overlay(
            picture, [vertices[n]], [PictureCamera.of(_one(camera, n), square)], template.faces
        )
        for n, picture in enumerate(under)
    ]


def _one(camera: WeakPerspectiveCamera, person: int) -> WeakPerspectiveCamera:
    return take(camera, torch.tensor(person))


def _save(picture: Float[Tensor, "3 height width"], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, encode_picture(picture, path.suffix))
