"""Losses that look through the renderer: predicted bodies drawn, and compared with what is seen.

A predicted body is posed, projected by its own camera onto a map (see `target_maps`) and drawn;
`edge_grad` carries what a pixel would gain back to the vertices whose edge lies there. Drawn are
silhouettes, or any attributes of vertices, such as how probably each is skin or cloth, a channel
each. The losses are smooth round 0 and 1 or look at blurred pictures: of a picture of zeros and
ones alone, a cross-entropy has no finite value.

Where a body misses its picture by more than the blur reaches, nothing pulls: key points have to
bring it near, and `SupervisionSettings.first_step` gives them time.

Sources: Pidhorskyi et al., "Rasterized Edge Gradients", 2024, for the gradients; the silhouette
loss is that of Yang et al., "LASOR: Learning Accurate 3D Human Pose and Shape via Synthetic
Occlusion-Aware Data and Neural Mesh Rendering", 2022, in kind: its form, weight and schedule are
not public.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from plausibody.models.body import Skin, pose_body
from plausibody.models.camera import WeakPerspectiveCamera, world_to_camera
from plausibody.models.losses import KnownMean, Moment, Target, TargetMaps
from plausibody.models.markers import Markers
from plausibody.models.prediction import BodyParameters, BodyPrediction
from plausibody.synth.raster import edge_grad, interpolate, rasterize
from plausibody.synth.stores import SynthAssets
from plausibody.synth.target_maps import to_map

KINDS = AMODAL, VISIBLE = "amodal", "visible"
MESHES = ("coarse", "full")
STANDOFF = 10.0
"""Depth of the world's origin before an orthographic camera [m]; only differences mean anything."""
LEAST = 1e-3
"""How near blurred pixels may come to 0 and 1 in a cross-entropy."""


# Drawing


def place_on_map(
    vertices: Float[Tensor, "batch V 3"], camera: WeakPerspectiveCamera, size: int, reach: float = 1
) -> Float[Tensor, "batch V 3"]:
    """Projects bodies onto maps: x, y [px], which have gradients, and the depth [m].

    Args:
        vertices: In the world [m].
        camera: Over the proxy's box.
        size: Side of the map [px].
        reach: As of `MapSettings`.
    """
    depth = world_to_camera(vertices.detach())[..., 2:] + STANDOFF
    return torch.cat([to_map(camera.project(vertices), size, reach), depth], -1)


def draw_silhouettes(
    pixels: Float[Tensor, "batch V 3"], faces: Int[Tensor, "F 3"], size: int, backend: str = "auto"
) -> Float[Tensor, "batch size size"]:
    """Draws silhouettes, 0 or 1, with gradients to the vertices.

    Args:
        pixels: As `place_on_map` gives them.
    """
    fragments = rasterize(
        pixels, faces, (size, size), perspective=False, barycentrics=False, backend=backend
    )
    mask = fragments.mask
    return edge_grad(mask[:, None].to(pixels.dtype), pixels, fragments, faces, mask)[:, 0]


def draw_attributes(
    pixels: Float[Tensor, "batch V 3"],
    faces: Int[Tensor, "F 3"],
    attributes: Float[Tensor, "#batch V K"],
    size: int,
    backend: str = "auto",
) -> Float[Tensor, "batch K size size"]:
    """Draws attributes of the vertices, with gradients to the vertices and to the attributes.

    Attributes are spread over the faces linearly; beside the body they are 0. The gradient to the
    vertices counts every change from one pixel to the next on the body or at its edge: outlines,
    borders between kinds of cloth, and slopes of a soft attribute alike, each as it moves with the
    surface.

    Args:
        pixels: As `place_on_map` gives them.
        attributes: Of each body's vertices, or of one mesh for all.
    """
    fragments = rasterize(pixels, faces, (size, size), perspective=False, backend=backend)
    picture = interpolate(fragments, attributes, faces)
    # Every pixel of the body is its own surface to the gradient: a jump of 0 moves nothing.
    own = torch.arange(1, size * size + 1, device=pixels.device).view(1, size, size)
    return edge_grad(picture, pixels, fragments, faces, own * fragments.mask)


# Comparing: pictures (batch, K, size, size) of shares 0..1, already without what does not count


def overlap_error(
    drawn: Float[Tensor, "batch K H W"], target: Float[Tensor, "batch K H W"]
) -> Float[Tensor, " batch"]:
    """Gives 1 - soft intersection over union, the mean over the channels that either has.

    Products stand for what both share; of pictures that are both empty the error is 0.
    """
    both = (drawn * target).sum((2, 3))
    either = (drawn + target - drawn * target).sum((2, 3))
    there = either > 0
    error = torch.where(there, 1 - both / torch.where(there, either, 1.0), 0.0)
    return error.sum(1) / there.sum(1).clamp(min=1)


def absolute_error(
    drawn: Float[Tensor, "batch K H W"], target: Float[Tensor, "batch K H W"]
) -> Float[Tensor, " batch"]:
    """Gives the mean absolute difference over pixels and channels."""
    return (drawn - target).abs().mean((1, 2, 3))


def squared_error(
    drawn: Float[Tensor, "batch K H W"], target: Float[Tensor, "batch K H W"]
) -> Float[Tensor, " batch"]:
    """Gives the mean squared difference over pixels and channels."""
    return (drawn - target).square().mean((1, 2, 3))


def cross_entropy(
    drawn: Float[Tensor, "batch K H W"], target: Float[Tensor, "batch K H W"]
) -> Float[Tensor, " batch"]:
    """Gives the mean binary cross-entropy [nats], less that of a perfect picture: 0 is the least.

    For blurred pictures: shares of exactly 0 and 1 are moved in by `LEAST`.
    """
    drawn, target = drawn.clamp(LEAST, 1 - LEAST), target.clamp(LEAST, 1 - LEAST)
    own = target * target.log() + (1 - target) * (1 - target).log()
    cross = target * drawn.log() + (1 - target) * (1 - drawn).log()
    return (own - cross).mean((1, 2, 3))


PictureError = Callable[[Tensor, Tensor], Tensor]
ERRORS: dict[str, PictureError] = {
    "iou": overlap_error,
    "absolute": absolute_error,
    "squared": squared_error,
    "cross_entropy": cross_entropy,
}


def blurred(picture: Float[Tensor, "batch K H W"], radius: int) -> Float[Tensor, "batch K H W"]:
    """Averages squares of 2 radius + 1 pixels a side, with zeros beyond the border."""
    return picture if not radius else avg_pool2d(picture, 2 * radius + 1, 1, radius)


def picture_error(
    drawn: Float[Tensor, "batch K H W"],
    target: Float[Tensor, "batch K H W"],
    counted: Bool[Tensor, "batch H W"] | None = None,
    error: str = "iou",
    blur: int = 0,
) -> Float[Tensor, " batch"]:
    """Compares pictures of predictions with what should be seen, person by person.

    Args:
        drawn: From `draw_silhouettes` (with an axis for its channel) or `draw_attributes`.
        target: Shares 0..1.
        counted: The pixels that count; all of them if None.
        error: One of `ERRORS`.
        blur: Radius by which both are blurred first [px]: how far off an edge still pulls.
    """
    if counted is not None:
        drawn, target = drawn * counted[:, None], target * counted[:, None]
    return ERRORS[error](blurred(drawn, blur), blurred(target, blur))


# Objectives


@dataclass(frozen=True)
class SupervisionSettings:
    """What pictures of the predicted body add to an objective. Their size is `stream.maps.size`."""

    weight: float = 0.0
    """Of the error; 0 draws nothing. Where an objective learns its weights, this is the first."""
    kind: str = "amodal"
    """amodal: against the whole silhouette, hidden parts included. visible: only pixels count
    where nothing hides the person."""
    error: str = "iou"
    """iou (1 - soft intersection over union), absolute, squared, or cross_entropy, which needs a
    blur."""
    first_step: int = 0
    """Of the training, in which it counts."""
    mesh: str = "coarse"
    """coarse: the mesh that the lite recipe draws; full: the body's own."""
    blur: int = 0
    """Radius by which both pictures are blurred first [px]."""

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("error", tuple(ERRORS)), ("mesh", MESHES)):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"supervision.{name}: wanted {' or '.join(known)}, got {value!r}")
        for name in ("weight", "first_step", "blur"):
            if not (value := getattr(self, name)) >= 0:
                raise ValueError(f"supervision.{name}: wanted 0 or more, got {value}")
        if self.error == "cross_entropy" and not self.blur:
            raise ValueError(
                "supervision.blur: wanted at least 1 px with the error cross_entropy, which has no "
                "finite value for zeros and ones, got 0; do: set supervision.blur=2"
            )


@dataclass(frozen=True)
class DrawnMesh:
    """The mesh that predictions are drawn with."""

    skin: Skin
    faces: Int[Tensor, "F 3"]
    drawn: int
    """How many of the skin's first vertices the mesh has."""

    @classmethod
    def of(cls, assets: SynthAssets, mesh: str) -> DrawnMesh:
        """Args:
        mesh: One of `MESHES`.
        """
        if mesh == "coarse":
            body = assets.coarse
            return cls(body.skin, body.faces, body.drawn)
        template = assets.template
        return cls(template.skin, template.faces, len(template.vertices))

    def place(
        self, body: BodyParameters, camera: WeakPerspectiveCamera, size: int, reach: float = 1.0
    ) -> Float[Tensor, "batch V 3"]:
        """Poses bodies and projects their mesh onto maps; see `place_on_map`."""
        vertices = pose_body(self.skin, body.shape, body.rotations).vertices[:, : self.drawn]
        return place_on_map(vertices, camera, size, reach)


class SilhouetteLoss(nn.Module):
    """How far silhouettes of the most probable bodies are from those of the true ones."""

    def __init__(self, mesh: DrawnMesh, settings: SupervisionSettings, backend: str = "auto"):
        super().__init__()
        self.mesh, self.settings, self.backend = mesh, settings, backend

    def forward(
        self, prediction: BodyPrediction, target: Target, moment: Moment | None = None
    ) -> Float[Tensor, ""]:
        """Gives the mean error over the people of whom a picture is known, before any weight."""
        maps, settings = wanted_maps(target), self.settings
        size = maps.whole.shape[-1]
        pixels = self.mesh.place(prediction.mode(), prediction.camera, size, maps.reach)
        drawn = draw_silhouettes(pixels, self.mesh.faces, size, self.backend)
        counted = maps.uncovered if settings.kind == "visible" else None
        error = picture_error(
            drawn[:, None], maps.whole[:, None], counted, settings.error, settings.blur
        )
        if maps.uncovered is None:
            return error.mean()
        known = maps.uncovered.flatten(1).any(1).to(error.dtype)
        return KnownMean.over(known, moment)(error)


def wanted_maps(target: Target) -> TargetMaps:
    """Gives the maps of a target.

    Raises:
        ValueError: If it has none.
    """
    if target.maps is None:
        raise ValueError(
            "supervision: wanted a stream that hands maps over, got one without; "
            "do: set stream.maps.size=64, or supervision.weight=0"
        )
    return target.maps


class SupervisedLoss(nn.Module):
    """An objective, and what pictures of the predictions add to it."""

    def __init__(
        self,
        objective: nn.Module,
        pictures: nn.Module,
        name: str,
        weight: float,
        first_step: int = 0,
        learned: bool = False,
    ):
        """Args:
        objective: Called like `LiteLoss`, and with its `markers`.
        pictures: Of prediction, target and moment; gives a number.
        name: Of the part of the loss.
        weight: Of that number.
        first_step: From which step on it counts.
        learned: Whether the weight is only where a learned one starts, as in `StrapsLoss`.
        """
        super().__init__()
        self.objective, self.pictures = objective, pictures
        self.name, self.weight, self.first_step = name, weight, first_step
        self.markers: Markers = objective.markers  # type: ignore[assignment]
        self.log_variance = nn.Parameter(-torch.tensor(weight).log()) if learned else None

    def forward(
        self, prediction: BodyPrediction, target: Target, moment: Moment
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        loss, parts = self.objective(prediction, target, moment)
        if moment.step < self.first_step:
            return loss, parts
        error = self.pictures(prediction, target, moment)
        if self.log_variance is None:
            error = self.weight * error
            return loss + error, parts | {self.name: error}
        weighed = error * torch.exp(-self.log_variance) + self.log_variance
        return loss + weighed, parts | {self.name: error}
