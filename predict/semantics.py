"""What people wear where: labels of human parsers, of photos and of predicted bodies.

A body has no clothes; how probably each point of it shows which label is the semantic prior, see
`plausibody.synth.semantic_prior`. Label maps of photos come from files, in Graphonomy's colours or
as numbers 0 to 19 in one plane.

Source: Dwivedi et al., "Learning To Regress Bodies from Images using Differentiable Semantic
Rendering", 2021.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plausibody.assets.catalog import REFERENCE_BODY, SHIPPED, find_asset
from plausibody.assets.contents import topology_of_body
from plausibody.models.body import BodyTemplate
from plausibody.predict.drawing.bodies import extent
from plausibody.predict.placement import PictureCamera
from plausibody.predict.reading.companions import LABEL_MAPS, Companions
from plausibody.predict.reading.photo import PhotoError
from plausibody.synth.charts import Chart
from plausibody.synth.raster import interpolate, rasterize
from plausibody.synth.real_maps import read_label_map
from plausibody.synth.semantic_prior import estimate_prior, load_prior
from plausibody.synth.texture_cache import TextureSettings, load_textures

PUBLISHED = "semantic_prior.npy"
"""What DSR publishes, of SMPL's faces."""


@dataclass(frozen=True)
class LabelMaps:
    """A folder of label maps, named like the photos."""

    folder: Path

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"--labels: wanted a folder with label maps, found none at {self.folder}; do: "
                "check the path"
            )

    def of(self, photo: Path, size: tuple[int, int]) -> UInt8[Tensor, "H W"] | None:
        """Reads the label map of a photo; None if it has none.

        Args:
            size: Height and width of the photo [px].

        Raises:
            PhotoError: If it is damaged, of another size, or of other labels, or one of several.
        """
        try:
            files = self._files.of(photo)
            if len(files) > 1:
                raise ValueError(
                    f"{files[0]}: wanted one label map of {photo.name}, found {len(files)}; do: "
                    f"call it {photo.stem}.png, with everybody in it"
                )
            return read_label_map(files[0], size) if files else None
        except ValueError as error:
            raise PhotoError(str(error)) from error

    def check(self, photos: Sequence[Path]) -> None:
        """Looks whether the label maps can be meant for these photos.

        Raises:
            ValueError: If none of them has one.
        """
        if photos and not any(self._files.of(photo) for photo in photos):
            raise ValueError(
                f"--labels {self.folder}: wanted label maps named like the photos, such as "
                f"{photos[0].stem}.png, found none; do: name the folder that holds them"
            )

    def digest(self) -> str:
        """Tells these files from others."""
        return self._files.digest()

    @property
    def _files(self) -> Companions:
        return Companions(self.folder, LABEL_MAPS, own=True)


@dataclass(frozen=True)
class LabelPrior:
    """How probably each point of a body shows each label."""

    share: Float[Tensor, "V 20"]
    source: str
    """In words."""

    def digest(self) -> str:
        """Tells it from others."""
        return hashlib.sha256(self.share.cpu().numpy().tobytes()).hexdigest()[:16]


def open_prior(card: Mapping[str, Any], template: BodyTemplate, chart: Chart) -> LabelPrior:
    """Opens the semantic prior that goes with some weights.

    It is the file that their training named (`semantics.prior`); of SMPL's mesh, else, DSR's own,
    `semantic_prior.npy`, if it is in one of the asset folders; else it is counted over as many
    procedural textures as the training had, or 64. They are made the first time, which takes half a
    minute, and kept.

    Args:
        card: Of the weights.
        template: Of the body that they predict.
        chart: Of its mesh.

    Raises:
        FileNotFoundError: If the file that is named is missing.
        ValueError: If it does not belong to the body.
    """
    config = card.get("config", {})
    path = config.get("semantics", {}).get("prior", "")
    if not path and template.topology != topology_of_body(find_asset(REFERENCE_BODY, [SHIPPED])):
        with contextlib.suppress(FileNotFoundError):
            path = str(find_asset(PUBLISHED))
    if path:
        return LabelPrior(load_prior(path, template), f"by {Path(path).name}")
    sources, made = config.get("sources", {}), TextureSettings()
    settings = TextureSettings(
        count=int(sources.get("texture_count", made.count)),
        size=tuple(sources.get("texture_size", made.size)),
    )
    share = estimate_prior(load_textures(settings, template=template), template, chart)
    return LabelPrior(share, f"counted over {settings.count} textures")


def draw_labels(
    vertices: Float[Tensor, "V 3"],
    camera: PictureCamera,
    faces: Int[Tensor, "F 3"],
    prior: Float[Tensor, "V 20"],
    size: tuple[int, int],
) -> UInt8[Tensor, "H W"]:
    """Draws the most probable label of each place of a body, 1..19; 0 beside it.

    Args:
        vertices: In the world [m].
        camera: Over the picture.
        prior: Of the labels of each vertex; that of the background does not count on the body.
        size: Height and width [px].
    """
    drawn = torch.zeros(size, dtype=torch.uint8)
    left, top, right, bottom = extent(camera.project(vertices)[:, :2], size)
    if left >= right or top >= bottom:
        return drawn
    window = camera.over_part(camera.origin.new_tensor([left, top]))
    fragments = rasterize(
        window.project(vertices)[None], faces, (bottom - top, right - left), perspective=False
    )
    shares = interpolate(fragments, prior[None, :, 1:], faces)[0]
    label = (shares.argmax(0) + 1) * fragments.mask[0]
    drawn[top:bottom, left:right] = label.to(torch.uint8)
    return drawn
