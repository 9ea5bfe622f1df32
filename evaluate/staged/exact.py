"""What a front end without errors would say of staged people: key points, and silhouettes as files.

Data sets come without silhouettes, but for SSP-3D; regressors that read them could then be measured
through a front end alone, whose errors would hide what a choice of the protocol changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.evaluate.datasets.asking import FromLabels, Shown
from plausibody.evaluate.datasets.people import LabelledPeople
from plausibody.evaluate.datasets.pw3d_labels import CROP, SCALE, label_actor
from plausibody.evaluate.datasets.pw3d_sequences import Sequence3DPW
from plausibody.evaluate.datasets.pw3d_split import crop_name
from plausibody.evaluate.staged.scenes import StagedPeople
from plausibody.models.body import BodyTemplate, pose_body, regress
from plausibody.models.files import write_file
from plausibody.models.proxy import ProxySettings
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.skeleton import SMPL24
from plausibody.predict.reading.mask_files import encode_mask
from plausibody.synth.raster import rasterize
from plausibody.synth.render import joint_visibility
from plausibody.synth.stores import load_regressors

DOUBT = 0.1
"""Confidence of key points that are hidden; of all others it is 1."""


@dataclass(frozen=True)
class Exact:
    """Key points and silhouettes of people, by their names in the data set."""

    keypoints: Mapping[str, Float[Tensor, "17 3"]] = field(default_factory=dict)
    """COCO-17: x, y [px of the person's picture] and confidence."""
    masks: Mapping[str, Path] = field(default_factory=dict)
    """Of the pictures' size."""

    def add(self, people: LabelledPeople) -> LabelledPeople:
        """Gives people with these in place of their labels."""
        return replace(
            people,
            keypoints=torch.stack([self.keypoints[name] for name in people.names]),
            masks=tuple(self.masks[name] for name in people.names),
        )


@dataclass(frozen=True)
class FromExact(FromLabels):
    """Shows people as a front end without errors would see them, in the published box."""

    exact: Exact

    def __call__(self, people: LabelledPeople, settings: ProxySettings) -> Shown:
        return super().__call__(self.exact.add(people), settings)


def exact_people(
    names: Sequence[str],
    people: StagedPeople,
    folder: Path,
    corners: Float[Tensor, "people 2"] | None = None,
    widths: Sequence[int] | None = None,
) -> Exact:
    """Writes the silhouettes of people who were staged.

    Args:
        names: Of the people in the data set.
        folder: For the files; made if it is not there.
        corners: Where in their picture each person's part begins, x and y [px]; at its corner if
            None.
        widths: Of the pictures [px]; those of the parts if None. Heights are those of the parts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    corners = torch.zeros(len(names), 2) if corners is None else corners
    sure = torch.where(people.visible, 1.0, DOUBT)[..., None]
    keypoints = torch.cat([people.keypoints + corners[:, None], sure], -1)
    masks = {}
    for n, name in enumerate(names):
        height, width = people.masks[n].shape
        left, top = (int(place) for place in corners[n].tolist())
        whole = torch.zeros(height, width if widths is None else widths[n], dtype=torch.bool)
        whole[top : top + height, left : left + width] = people.masks[n]
        masks[name] = _write_mask(folder, n, whole)
    return Exact(dict(zip(names, keypoints, strict=True)), masks)


def exact_3dpw(
    sequences: Sequence[Sequence3DPW],
    size: tuple[int, int],
    templates: Mapping[str, BodyTemplate],
    folder: Path,
) -> Exact:
    """Draws the people of staged sequences in the crops that the import makes of them.

    Args:
        sequences: From `stage_3dpw`. Others before a person hide nothing here.
        size: Width and height of the frames [px]: what lies beyond is not seen.
        templates: The open bodies, by gender.
        folder: For the files; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    skins = {gender: template.skin for gender, template in templates.items()}
    keypoints: dict[str, Tensor] = {}
    masks: dict[str, Path] = {}
    for sequence in sequences:
        for person, actor in enumerate(sequence.actors):
            template = templates[actor.gender]
            labels = label_actor(sequence, actor, skins)
            poses = torch.from_numpy(actor.poses[labels.frames]).float()
            body = pose_body(
                template.skin,
                torch.from_numpy(actor.shape).float(),
                rotvec_to_rotmat(poses.unflatten(-1, (len(SMPL24), 3))),
                torch.from_numpy(actor.translations[labels.frames]).float(),
            )
            camera = torch.from_numpy(sequence.cameras[labels.frames]).float()
            seen = body.vertices @ camera[:, :3, :3].mT + camera[:, None, :3, 3]
            marks = regress(load_regressors(template).coco17, seen)
            low, high = (torch.from_numpy(end).float() for end in (labels.low, labels.high))
            step = SCALE * (high - low).amax(1)[:, None] / CROP
            first = (low + high) / 2 + 0.5 - step * (CROP / 2 + 0.5)  # as in `cut_crop`
            lens = torch.from_numpy(sequence.intrinsics).float()
            vertices, points = (_cropped(what, lens, first, step) for what in (seen, marks))
            drawn = rasterize(vertices, template.faces, (CROP, CROP))
            sure = torch.where(joint_visibility(points, drawn.depth)[1], 1.0, DOUBT)
            found = torch.cat([points[..., :2], sure[..., None]], -1)
            within = drawn.mask & _inside(first, step, size)
            for n, frame in enumerate(labels.frames.tolist()):
                name = crop_name(sequence.name, frame, person)
                keypoints[name] = found[n]
                masks[name] = _write_mask(folder, len(masks), within[n])
    return Exact(keypoints, masks)


def _cropped(
    points: Float[Tensor, "n P 3"],
    lens: Float[Tensor, "3 3"],
    first: Float[Tensor, "n 2"],
    step: Float[Tensor, "n 1"],
) -> Float[Tensor, "n P 3"]:
    """Projects points of the camera's frame: x and y [px of the crop, outer corner] and depth."""
    depth = points[..., 2:]
    flat = (points @ lens.T)[..., :2] / depth + 0.5
    return torch.cat([(flat - first[:, None]) / step[:, None], depth], -1)


def _inside(
    first: Float[Tensor, "n 2"], step: Float[Tensor, "n 1"], size: tuple[int, int]
) -> Bool[Tensor, "n crop crop"]:
    """Tells which pixels of crops show something of the frame."""
    place = first[:, None] + step[:, None] * (torch.arange(CROP)[:, None] + 0.5)
    there = (place >= 0) & (place < torch.tensor(size))
    return there[:, None, :, 0] & there[:, :, None, 1]


def _write_mask(folder: Path, number: int, mask: Bool[Tensor, "H W"]) -> Path:
    path = folder / f"{number:05d}.png"
    write_file(path, encode_mask(mask))
    return path
