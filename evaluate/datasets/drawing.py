"""Draws people of a data set: the picture, what the regressor was shown, the body it predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.evaluate.datasets.asking import Showing, read_mask
from plausibody.evaluate.datasets.people import Dataset, LabelledPeople
from plausibody.evaluate.datasets.scoring import Modes
from plausibody.evaluate.ruler import CROP
from plausibody.evaluate.sheet import Sight, draw_sight
from plausibody.models.body import BodyTemplate
from plausibody.models.proxy import Box, Proxy, ProxySettings
from plausibody.models.records import take
from plausibody.predict.front_ends.crop import Crop, apply, compose, inverse, sample
from plausibody.predict.looking import open_picture
from plausibody.predict.placement import PictureCamera

SIDE = 200
"""Of each of the three pictures of a person [px]."""
GREY = 0.5
"""Of a picture that the data set comes without."""


@dataclass(frozen=True)
class Drawer:
    """Draws people who were measured, by name."""

    dataset: Dataset
    showing: Showing
    settings: ProxySettings
    """Of the regressor."""
    template: BodyTemplate
    """Of the predicted bodies, on the CPU."""
    modes: Modes
    """Of those who have a body."""
    names: Sequence[str]
    """Of the people, in the data set's order."""
    measured: Sequence[int]
    """The numbers of those who have a body."""

    @torch.no_grad()
    def __call__(self, name: str) -> Float[Tensor, "3 height width"]:
        """Draws a person in the published crop; on grey if there is no picture.

        Raises:
            ValueError: If nobody of this name has a body.
        """
        number = self.names.index(name) if name in self.names else -1
        if number not in self.measured:
            raise ValueError(
                f"wanted the name of a person of {self.dataset.about.name} with a body: {name!r}"
            )
        people = self.dataset.batch([number])
        proxy = self.showing(people, self.settings).proxy
        mode = take(self.modes, torch.tensor([self.measured.index(number)]))
        crop = _crop(people.box)
        to_picture = crop.to_picture(CROP)
        to_crop, ratio = inverse(to_picture), CROP / crop.side
        points = proxy.box.to_picture(proxy.keypoints[..., :2])[0]
        sight = Sight(
            picture=_picture(people, to_picture),
            mask=_shown(proxy, to_picture),
            keypoints=torch.cat([apply(to_crop, points), proxy.keypoints[0, :, 2:]], -1),
            true_mask=_true_mask(people, to_picture),
            vertices=mode.body.posed(self.template).vertices[0],
            faces=self.template.faces,
            camera=PictureCamera(
                mode.camera.scale[0] * ratio, apply(to_crop, mode.camera.origin[0])
            ),
        )
        return draw_sight(sight, SIDE)


def _crop(box: Box) -> Crop:
    x, y = box.centre[0].tolist()
    return Crop(x, y, float(box.side[0]))


def _picture(people: LabelledPeople, to_picture: Float[Tensor, "2 3"]) -> Float[Tensor, "3 H W"]:
    if (path := people.pictures[0]) is None:
        return torch.full((3, CROP, CROP), GREY)
    return sample(open_picture(path).permute(2, 0, 1).float() / 255, to_picture, CROP, CROP)


def _shown(proxy: Proxy, to_picture: Float[Tensor, "2 3"]) -> Float[Tensor, "H W"]:
    """Brings the silhouette that the regressor was shown from its box into the crop."""
    silhouette = proxy.silhouette[:1]
    to_proxy = inverse(_crop(proxy.box).to_picture(silhouette.shape[-1]))
    return sample(silhouette, compose(to_picture, to_proxy), CROP, CROP)[0].clamp(0, 1)


def _true_mask(
    people: LabelledPeople, to_picture: Float[Tensor, "2 3"]
) -> Bool[Tensor, "H W"] | None:
    if people.masks is None:
        return None
    mask = read_mask(people.masks[0]).float()[None]
    return sample(mask, to_picture, CROP, CROP)[0] > 0.5
