"""Six parts of the body in a photo, as people marked them and as a predicted body shows them.

Counted as SPIN's and DaNet's evaluation of LSP counts them: over the pixels of the whole photo, and
over all photos together. Accuracy is the share of pixels of the right class. F1 of a class is
2 tp / (2 tp + fp + fn), with tp, fp and fn summed over all photos; what papers print is its mean
over the classes, the background among them. Pixels of which annotators were unsure count as
background in the accuracy, and not at all in F1.

Sources: Lassner et al., "Unite the People: Closing the Loop Between 3D and 2D Human
Representations", 2017, and its released code (numbers of the parts); Kolotouros et al., "Learning
to Reconstruct 3D Human Pose and Shape via Model-fitting in the Loop", 2019, and its released code
(`eval.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.evaluate.datasets.asking import read_mask
from plausibody.evaluate.datasets.overlaps import nearest_photo
from plausibody.evaluate.protocols import part_of, untagged
from plausibody.models.body import BodyTemplate
from plausibody.models.camera import world_to_camera
from plausibody.models.proxy import Box
from plausibody.models.skeleton import SMPL24
from plausibody.predict.reading.mask_files import read_pixels
from plausibody.synth.raster import rasterize_labels

PARTS = ("background", "head", "torso", "right_arm", "left_arm", "right_leg", "left_leg")
"""By their numbers in label maps."""
MASK = ("background", "person")
UNSURE = 255
"""In label maps: a pixel of a person of which no part was told."""
SIZE = 224
"""Side of the crop in which predicted bodies are drawn, as published [px]."""
ENDS = {"head": ("head",), "arm": ("shoulder", "elbow", "wrist", "hand"),
        "leg": ("hip", "knee", "ankle", "foot")}  # fmt: skip
"""Joints that move heads, arms and legs; all others move the torso, the neck among them."""

Sums = dict[str, tuple[float, float]]
"""Of one photo by metric: the value, and how much it counts among all photos."""


def part_of_joint(name: str) -> int:
    """Gives the number of the part that a joint of `SMPL24` moves."""
    side, _, rest = name.rpartition("_")
    for end, joints in ENDS.items():
        if rest in joints:
            return PARTS.index(f"{side}_{end}" if side else end)
    return PARTS.index("torso")


def face_parts(template: BodyTemplate) -> UInt8[Tensor, " F"]:
    """Gives the part of each face: whose joints move its corners most.

    Published evaluations have a painted mesh of SMPL (`vertex_texture.npy`, `cube_parts.npy`);
    borders between parts lie a little otherwise there.
    """
    owner = torch.tensor([part_of_joint(name) for name in SMPL24], device=template.faces.device)
    weights = template.skinning_weights
    moved = weights.new_zeros(len(weights), len(PARTS)).index_add_(1, owner, weights)
    found: Tensor = moved[template.faces.long()].sum(1).argmax(1)
    return found.to(torch.uint8)


def draw_parts(
    flat: Float[Tensor, "people V 2"],
    vertices: Float[Tensor, "people V 3"],
    template: BodyTemplate,
    labels: UInt8[Tensor, " F"],
) -> UInt8[Tensor, "people 224 224"]:
    """Draws which part of each body is seen in its crop.

    Args:
        flat: Vertices in half-squares of the crop.
        vertices: The same in the world [m]: what is nearer hides what is behind.
        labels: Of the faces, from `face_parts`.
    """
    depth = world_to_camera(vertices)[..., 2:]
    depth = depth - depth.amin(1, keepdim=True) + 1
    pixels = torch.cat([(flat + 1) * (SIZE / 2), depth], -1)
    return rasterize_labels(pixels, template.faces, labels, (SIZE, SIZE), perspective=False)


def read_parts(path: Path) -> UInt8[Tensor, "H W"]:
    """Reads a label map: numbers of `PARTS`, or `UNSURE`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture of one channel, damaged, or has other numbers.
    """
    pixels = read_pixels(path, "a label map of body parts")
    numbers = np.unique(pixels)
    odd = numbers[(numbers >= len(PARTS)) & (numbers != UNSURE)].tolist()
    if pixels.ndim != 2 or odd:
        came = f"numbers such as {odd[0]}" if odd else "a picture of colours"
        raise ValueError(
            f"{path}: wanted numbers 0 to {len(PARTS) - 1} of body parts, or {UNSURE}, in one "
            f"channel, got {came}; do: take the files as they are published"
        )
    return torch.from_numpy(pixels.astype(np.uint8))


def compare_photo(
    drawn: UInt8[Tensor, "size size"], box: Box, mask: Path, parts: Path | None
) -> Sums:
    """Compares a drawn body with what is marked in the photo.

    Args:
        drawn: Parts in the published crop.
        box: The crop in the photo [px].
        mask: File of the person's silhouette, of the photo's size.
        parts: File of the parts; None to compare the silhouette alone.

    Raises:
        ValueError: If the two files are of different sizes, or not as published.
    """
    person = read_mask(mask)
    found = nearest_photo(drawn.cpu(), box, person.shape[0], person.shape[1]).long()
    everywhere = torch.ones_like(person)
    sums = compare_classes("mask", MASK, (found > 0).long(), person.long(), everywhere)
    if parts is None:
        return sums
    marked = read_parts(parts).long()
    if marked.shape != person.shape:
        raise ValueError(
            f"{parts}: wanted a label map of the size of {mask.name}, {tuple(person.shape)}, got "
            f"{tuple(marked.shape)}; do: take the files as they are published"
        )
    sure = marked != UNSURE
    return sums | compare_classes("part", PARTS, found, marked * sure, sure)


def compare_classes(
    name: str,
    classes: tuple[str, ...],
    found: Int[Tensor, "H W"],
    true: Int[Tensor, "H W"],
    counted: Bool[Tensor, "H W"],
) -> Sums:
    """Gives accuracy and F1 of each class.

    Args:
        name: What the names of the metrics begin with.
        classes: By number.
        counted: Which pixels F1 is of; the accuracy is of all.
    """
    hit = found == true
    sums = {f"{name}_accuracy": (float(hit.double().mean()), float(hit.numel()))}
    size = len(classes)
    both = sum(part[counted].bincount(minlength=size).double() for part in (found, true))
    common = 2 * true[counted & hit].bincount(minlength=size).double()
    for one, twice, total in zip(classes, common.tolist(), torch.as_tensor(both), strict=True):
        area = float(total)
        sums[f"{name}_f1/{one}"] = (twice / area if area else float("nan"), area)
    return sums


def class_means(
    values: Mapping[str, Float[Tensor, " people"]], weights: Mapping[str, Float[Tensor, " people"]]
) -> dict[str, float]:
    """Averages F1 over the classes, as papers print it; classes that nobody has are left out.

    Args:
        values: By metric, of each person; others than F1 are passed over.
        weights: The same.
    """
    classes: dict[str, list[float]] = {}
    for metric, value in values.items():
        name = untagged(metric)
        if name in ("mask_f1", "part_f1") and part_of(metric):
            area = weights[metric]
            if float(area.sum()):
                share = (value.nan_to_num() * area).sum() / area.sum()
                classes.setdefault(name, []).append(float(share))
    return {name: sum(shares) / len(shares) for name, shares in classes.items()}
