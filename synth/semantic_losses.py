"""DSR's losses: predicted bodies drawn with the probabilities of labels, compared with label maps.

A body is drawn once, with ten interpolated channels: how probably each point of its surface shows
each of DSR's groups of labels. Three comparisons read that picture:

- DSR-MC, "minimally clothed": where a parser sees skin, shoes or a face, the body should be just
  there. 1 - soft intersection over union over the whole picture, or DistM. The released code sums
  each row of pixels by itself, which makes a perfect match of half the rows cost a half.
- DSR-C, "clothed", as the paper describes it: the body should stay within the clothes. Beside the
  person it costs what it covers; on the person what counts is whether its classes match those of
  the map, *given* that it covers the pixel. A pixel that it leaves bare is charged the most that
  any cover could cost, a constant without gradient. So bodies gain nothing by withdrawing from
  clothes of which the prior is unsure, nor do they fill them: only skin and key points pull
  outwards.
- DSR-C as released: cross-entropy of the softmax of probabilities, with a black background. It
  pulls bodies to fill the clothes. For comparison.

Labels that fewer than 60 pixels of 224 x 224 show do not count, nor do pixels that something hides,
nor people without any label.

Source: Dwivedi et al., "Learning To Regress Bodies from Images using Differentiable Semantic
Rendering", 2021, and its released code. It draws each group by itself with SoftRas; gradients are
those of `edge_grad` here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.losses import KnownMean, Moment, Target, TargetMaps
from plausibody.models.markers import Markers
from plausibody.models.prediction import BodyPrediction
from plausibody.synth.semantic_labels import BARE, GROUPS, NAMES, group_matrix, join_labels
from plausibody.synth.semantic_prior import estimate_prior, load_prior
from plausibody.synth.stores import SynthAssets
from plausibody.synth.supervision import (
    MESHES,
    DrawnMesh,
    draw_attributes,
    overlap_error,
    wanted_maps,
)

LEAST_PIXELS, OF_SIDE = 60, 224
"""A label that shows in no more pixels of a picture of that side is not there."""
LIGHTEST = 0.05
"""Of the weights of classes, which balance their areas."""
MASKS = ("iou", "distance")
CLOTHES = ("one-sided", "released")


@dataclass(frozen=True)
class SemanticSettings:
    """What label maps add to an objective. Their size is `stream.maps.size`."""

    mc: float = 0.0
    """Weight of DSR-MC."""
    c: float = 0.0
    """Weight of DSR-C."""
    mc_error: str = "iou"
    """iou (over the whole picture) or distance (DistM)."""
    c_error: str = "one-sided"
    """one-sided: what the paper describes; released: what its code does."""
    inside: float = 1.0
    """Weight, within DSR-C, of what the body covers beside the person, as a share of the person."""
    classes: float = 1.0
    """Weight, within DSR-C, of the classes."""
    first_step: int = 0
    """Of the training, in which they count: bodies have to be near first."""
    mesh: str = "coarse"
    """coarse: the mesh that the lite recipe draws; full: the body's own."""
    prior: str = ""
    """The file of a published prior, for SMPL; one is counted over the textures if empty."""
    hard: bool = False
    """Whether each point shows the most probable label for sure."""

    def __post_init__(self) -> None:
        for name, known in (("mc_error", MASKS), ("c_error", CLOTHES), ("mesh", MESHES)):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"semantics.{name}: wanted {' or '.join(known)}, got {value!r}")
        for name in ("mc", "c", "inside", "classes", "first_step"):
            if not (value := getattr(self, name)) >= 0:
                raise ValueError(f"semantics.{name}: wanted 0 or more, got {value}")

    @property
    def counts(self) -> bool:
        """Whether anything is added at all."""
        return self.mc > 0 or self.c > 0


def channel_matrix() -> tuple[Float[Tensor, "20 channels"], tuple[str, ...]]:
    """Says which labels each drawn channel has, and the names of the groups that it is of.

    Each group of DSR-C is a channel of its bare labels one by one, and one of the others.
    """
    columns, groups = [], []
    for group, members in GROUPS.items():
        bare = [name for name in members if name in BARE]
        rest = [name for name in members if name not in BARE]
        for names in [*([name] for name in bare), *([rest] if rest else [])]:
            columns.append([float(name in names) for name in NAMES])
            groups.append(group)
    return torch.tensor(columns).T.contiguous(), tuple(groups)


def vertex_channels(prior: Float[Tensor, "V 20"], hard: bool = False) -> Float[Tensor, "V K"]:
    """Gives what is drawn of each vertex: the channels' probabilities, given that it is a person's.

    Args:
        prior: Of labels; that of the background is left out.
        hard: Whether the most probable label counts alone.
    """
    prior = prior.clone()
    prior[:, 0] = 0
    if hard:
        prior = functional.one_hot(prior.argmax(1), len(NAMES)).to(prior.dtype)
    matrix, _ = channel_matrix()
    return (prior / prior.sum(1, keepdim=True).clamp(min=1e-6)) @ matrix.to(prior)


# Comparing: label maps (batch, H, W) with pictures of channels (batch, K, H, W)


def present(
    labels: UInt8[Tensor, "batch H W"], counted: Bool[Tensor, "batch H W"], count: int
) -> Bool[Tensor, "batch {count}"]:
    """Tells which numbers show in more pixels than `LEAST_PIXELS` of a picture of their size."""
    area = _areas(labels, counted, count)
    return area > LEAST_PIXELS * labels.shape[-1] * labels.shape[-2] / OF_SIDE**2


def _areas(
    labels: UInt8[Tensor, "batch H W"], counted: Bool[Tensor, "batch H W"], count: int
) -> Float[Tensor, "batch {count}"]:
    area = torch.zeros(len(labels), count, device=labels.device)
    return area.scatter_add_(1, labels.flatten(1).long(), counted.flatten(1).float())


def bare_masks(
    drawn: Float[Tensor, "batch K H W"],
    labels: UInt8[Tensor, "batch H W"],
    counted: Bool[Tensor, "batch H W"],
) -> tuple[Float[Tensor, "batch H W"], Float[Tensor, "batch H W"], Bool[Tensor, " batch"]]:
    """Joins what is bare in a picture and in the prediction: the labels of `BARE` that it shows.

    Returns:
        How probably the prediction shows them, where they are, and whose picture shows any.
    """
    matrix, _ = channel_matrix()
    bare = torch.tensor([name in BARE for name in NAMES], device=labels.device)
    shown = present(labels, counted, len(NAMES)) & bare
    mask = shown.gather(1, labels.flatten(1).long()).view(labels.shape) & counted
    weight = shown.to(drawn.dtype) @ matrix.to(drawn)
    said = (drawn * weight[..., None, None]).sum(1) * counted
    return said, mask.to(drawn.dtype), shown.any(1)


def distance_error(
    drawn: Float[Tensor, "batch H W"], mask: Float[Tensor, "batch H W"]
) -> Float[Tensor, " batch"]:
    """Gives DistM: what is drawn times its distance from the mask [px], summed, over area^1.5."""
    far = distances(mask > 0)
    area = drawn.sum((1, 2))
    return (drawn * far).sum((1, 2)) / (area.clamp(min=1e-6) ** 1.5 + 1e-6)


def distances(mask: Bool[Tensor, "batch H W"]) -> Float[Tensor, "batch H W"]:
    """Measures how far each pixel's centre is from the nearest one of a mask [px].

    Of an empty mask all are as far as the picture's diagonal is long.
    """
    height, width = mask.shape[1:]
    most = float(height**2 + width**2)
    place = torch.arange(width, device=mask.device, dtype=torch.float32)
    found = [torch.where(mask, (place - at).square(), most).amin(-1) for at in range(width)]
    row = torch.stack(found, -1)
    place = torch.arange(height, device=mask.device, dtype=torch.float32)
    found = [(row + (place - at).square()[:, None]).amin(1) for at in range(height)]
    return torch.stack(found, 1).clamp(max=most).sqrt()


def clothed_error(
    drawn: Float[Tensor, "batch K H W"],
    labels: UInt8[Tensor, "batch H W"],
    counted: Bool[Tensor, "batch H W"],
    inside: float = 1.0,
    classes: float = 1.0,
) -> Float[Tensor, " batch"]:
    """Gives DSR-C in its one-sided form: no body beside the person, and the right classes on it.

    Args:
        drawn: Channels; their sum is 1 where the body is drawn.
        labels: Of a parser.
        counted: Pixels that nothing hides.
        inside: Weight of what is covered beside the person, over the person's area.
        classes: Weight of the classes.
    """
    groups = grouped(drawn)
    cover = groups.sum(1)
    person = (labels > 0) & counted
    beside = (cover * (counted & ~person)).sum((1, 2))
    leaked = beside / person.sum((1, 2)).clamp(min=1)

    joined = join_labels(labels)
    weight = class_weights(joined, person, len(GROUPS) + 1)
    heavy = weight.gather(1, joined.flatten(1).long()).view(joined.shape) * person
    said = torch.cat([torch.zeros_like(cover)[:, None], groups], 1)
    said = said.gather(1, joined[:, None].long())[:, 0]
    covered = cover.detach() > 0.5
    wrong = torch.where(covered, 1 - said / torch.where(covered, cover, 1.0), 1.0)
    total = (heavy * wrong).sum((1, 2)) / heavy.sum((1, 2)).clamp(min=1e-6)
    return inside * leaked + classes * total


def released_error(
    drawn: Float[Tensor, "batch K H W"],
    labels: UInt8[Tensor, "batch H W"],
    counted: Bool[Tensor, "batch H W"],
) -> Float[Tensor, " batch"]:
    """Gives DSR-C as released: cross-entropy of the softmax of probabilities, classes balanced.

    The prediction's background is black: its probability is 0 everywhere.
    """
    groups = grouped(drawn)
    scores = torch.cat([torch.zeros_like(groups[:, :1]), groups], 1)
    joined = join_labels(labels)
    weight = class_weights(joined, counted, len(GROUPS) + 1, lightest=0.0)
    heavy = weight.gather(1, joined.flatten(1).long()).view(joined.shape) * counted
    cost = functional.cross_entropy(scores, joined.long(), reduction="none")
    return (heavy * cost).sum((1, 2)) / heavy.sum((1, 2)).clamp(min=1e-6)


def grouped(drawn: Float[Tensor, "batch K H W"]) -> Float[Tensor, "batch groups H W"]:
    """Adds up the channels of each group of DSR-C."""
    matrix, _ = channel_matrix()
    # Each channel's labels are all of one group.
    belongs = ((matrix.T @ group_matrix()) > 0).to(drawn)
    return torch.einsum("bkhw,kg->bghw", drawn, belongs)


def class_weights(
    joined: UInt8[Tensor, "batch H W"],
    counted: Bool[Tensor, "batch H W"],
    count: int,
    lightest: float = LIGHTEST,
) -> Float[Tensor, "batch {count}"]:
    """Gives each class the smallest class's area over its own; 0 to one that is not there."""
    area = _areas(joined, counted, count)
    there = present(joined, counted, count)
    smallest = torch.where(there, area, torch.inf).amin(1, keepdim=True)
    return torch.where(there, (smallest / area.clamp(min=1)).clamp(lightest, 1), 0.0)


# The objective


class SemanticLoss(nn.Module):
    """An objective, and what label maps add to it."""

    channels: Tensor

    def __init__(
        self,
        objective: nn.Module,
        mesh: DrawnMesh,
        channels: Float[Tensor, "V K"],
        settings: SemanticSettings,
        backend: str = "auto",
    ):
        """Args:
        objective: Called like `LiteLoss`, and with its `markers`.
        mesh: To draw predictions with.
        channels: Of its vertices, from `vertex_channels`.
        settings: Weights and forms.
        backend: Of the rasteriser.
        """
        super().__init__()
        self.objective, self.mesh = objective, mesh
        self.settings, self.backend = settings, backend
        self.markers: Markers = objective.markers  # type: ignore[assignment]
        self.register_buffer("channels", channels, persistent=False)

    def forward(
        self, prediction: BodyPrediction, target: Target, moment: Moment
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        loss, parts = self.objective(prediction, target, moment)
        settings = self.settings
        if moment.step < settings.first_step:
            return loss, parts
        maps = wanted_maps(target)
        labels = wanted_labels(maps)
        counted = torch.ones_like(labels, dtype=torch.bool)
        counted = counted if maps.uncovered is None else maps.uncovered
        size = labels.shape[-1]
        pixels = self.mesh.place(prediction.mode(), prediction.camera, size, maps.reach)
        drawn = draw_attributes(pixels, self.mesh.faces, self.channels[None], size, self.backend)
        labelled = (labels > 0).flatten(1).any(1).to(loss.dtype)
        if settings.mc:
            said, mask, shown = bare_masks(drawn, labels, counted)
            if settings.mc_error == "iou":
                error = overlap_error(said[:, None], mask[:, None])
            else:
                error = distance_error(said, mask)
            parts = parts | {
                "dsr_mc": settings.mc * KnownMean.over(shown.to(loss.dtype), moment)(error)
            }
        if settings.c:
            if settings.c_error == "released":
                error = released_error(drawn, labels, counted)
            else:
                error = clothed_error(drawn, labels, counted, settings.inside, settings.classes)
            mean = KnownMean.over(labelled, moment)
            parts = parts | {"dsr_c": settings.c * mean(error)}
        added = [parts[name] for name in ("dsr_mc", "dsr_c") if name in parts]
        return loss + torch.stack(added).sum(), parts


def wanted_labels(maps: TargetMaps) -> UInt8[Tensor, "batch size size"]:
    """Gives the label maps of a target.

    Raises:
        ValueError: If it has none.
    """
    if maps.labels is None:
        raise ValueError(
            "semantics: wanted a stream that hands label maps over, got one without; do: set "
            "stream.recipe=hierprob, or semantics.mc=0 and semantics.c=0"
        )
    return maps.labels


def build_semantics(
    objective: nn.Module, assets: SynthAssets, settings: SemanticSettings, backend: str = "auto"
) -> SemanticLoss:
    """Makes the loss of a run, with the prior of its textures or a published one.

    Raises:
        ValueError: If the assets have no textures with labels and no prior is named, or the prior
            does not belong to the body.
    """
    template = assets.template
    if settings.prior:
        prior = load_prior(settings.prior, template)
    elif assets.looks is None:
        raise ValueError(
            "semantics: wanted textures to count a prior over, got a stream without; do: set "
            "stream.recipe=hierprob, or name a published prior with semantics.prior"
        )
    else:
        prior = estimate_prior(assets.looks.textures, template, assets.looks.chart)
    mesh = DrawnMesh.of(assets, settings.mesh)
    channels = vertex_channels(prior, settings.hard).to(mesh.faces.device)
    if settings.mesh == "coarse":
        channels = channels[same_places(mesh.skin.vertices[: mesh.drawn], template.vertices)]
    return SemanticLoss(objective, mesh, channels, settings, backend)


def same_places(few: Float[Tensor, "N 3"], many: Float[Tensor, "V 3"]) -> Int[Tensor, " N"]:
    """Finds which vertices of a body those of its coarse mesh are."""
    return torch.cdist(few, many).argmin(1)
