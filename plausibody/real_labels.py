"""People in photos, as files in SPIN's layout tell of them, for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate.datasets.spin import SPIN24, SpinFile, read_spin
from plausibody.evaluate.datasets.spin_joints import LARGEST, refuse_joints
from plausibody.models.losses import HIPS
from plausibody.models.prediction import BodyParameters
from plausibody.models.records import take
from plausibody.models.skeleton import H36M17, SMPL24, indices
from plausibody.real_coco import map_of, read_coco_people, read_surfaces
from plausibody.real_fits import with_fits
from plausibody.synth.real_people import RealLabels, join_labels_of
from plausibody.synth.real_surfaces import SurfaceLabels
from plausibody.synth.stores import SourceSettings

SHAPES = 10


def read_real_labels(sources: SourceSettings) -> RealLabels:
    """Reads the files that `sources.real_labels` names: SPIN's (.npz), or COCO's and
    DensePose-COCO's annotations (.json).

    Fits are of SMPL, and so is the chart to which DensePose's u and v belong: where another body is
    learnt, key points, label maps and parts of photos count, and no bodies, u and v. People whose
    photo is not there are left out and counted.

    Raises:
        FileNotFoundError: If a file of labels or a folder is missing.
        ValueError: If none is named, a file is damaged, or there are not as many folders as files.
    """
    if not sources.real_labels:
        raise ValueError(
            "stream.real.share: wanted files of people in photos, got none; do: --set "
            "sources.real_labels='[\"coco-eft.npz\"]' and their folder with sources.real_pictures"
        )
    count = len(sources.real_labels)
    pictures = _folders("real_pictures", sources.real_pictures, count)
    maps: Sequence[Path | None] = [None] * count
    if sources.real_maps:
        maps = _folders("real_maps", sources.real_maps, count)
    fits = sources.real_fits or ("",) * count
    if len(fits) != count:
        raise ValueError(
            f"sources.real_fits: wanted a file of fits, or an empty name, for each of the {count} "
            f"files of sources.real_labels, got {len(fits)}"
        )
    told, smpl = zip(sources.real_labels, fits, pictures, maps, strict=True), sources.body != "open"
    people = join_labels_of(
        [_read(Path(name), fit, folder, parsed, smpl) for name, fit, folder, parsed in told]
    )
    if smpl:
        return people
    uncharted = tuple(one and one.without_places() for one in people.surfaces)
    return replace(people, surfaces=uncharted)


def _read(path: Path, fits: str, pictures: Path, maps: Path | None, bodies: bool) -> RealLabels:
    if path.suffix == ".json":
        if fits:
            raise ValueError(
                f"sources.real_fits: wanted fits of files in SPIN's layout, got {fits} for {path}; "
                "do: give an empty name for it"
            )
        return read_coco_people(path, pictures, maps)
    file = read_spin(path)
    return labels_of(
        with_fits(file, Path(fits)) if fits else file,
        pictures,
        maps,
        bodies,
        read_surfaces(path, len(file)),
    )


def _folders(key: str, named: Sequence[str], count: int) -> list[Path]:
    if len(named) not in (1, count):
        raise ValueError(
            f"sources.{key}: wanted one folder, or one for each of the {count} files of "
            f"sources.real_labels, got {len(named)}"
        )
    folders = [Path(name) for name in named] * (count if len(named) == 1 else 1)
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"sources.{key}: wanted a folder, found none at {folder}")
    return folders


def labels_of(
    file: SpinFile,
    pictures: Path,
    maps: Path | None,
    bodies: bool,
    surfaces: Sequence[SurfaceLabels | None] = (),
) -> RealLabels:
    """Takes from a file what training needs.

    Args:
        pictures: Folder of the photos.
        maps: Folder of the label maps; a photo without one has none.
        bodies: Whether fits of SMPL mean anything to the run.
        surfaces: Of each person of the file, if any are annotated.

    Raises:
        ValueError: If a name leads out of the folder.
    """
    everybody = range(len(file))
    paths = file.pictures(pictures, everybody)
    there = {path: path.is_file() for path in dict.fromkeys(paths)}
    kept = [number for number in everybody if there[paths[number]]]
    fitted = torch.zeros(len(kept), dtype=torch.bool)
    body = BodyParameters(
        shape=torch.zeros(len(kept), SHAPES),
        rotations=torch.eye(3).repeat(len(kept), len(SMPL24), 1, 1),
    )
    if bodies and file.fitted is not None:
        body, fitted = file.bodies(kept), file.fitted[kept]
    parsed: list[Path | None] = []
    if maps is not None:
        parsed = [map_of(maps, file.names[number], file.path) for number in kept]
    return RealLabels(
        pictures=tuple(paths[number] for number in kept),
        box=take(file.box, torch.tensor(kept, dtype=torch.long)),
        keypoints=file.coco17(kept),
        body=body,
        fitted=fitted,
        joints=None if file.joints is None else _joints(file, kept),
        label_maps=tuple(parsed),
        missing=tuple(path for path, found in there.items() if not found),
        surfaces=tuple(surfaces[number] for number in kept) if any(surfaces) else (),
    )


def _joints(file: SpinFile, kept: Sequence[int]) -> Float[Tensor, "people 17 4"]:
    """Takes Human3.6M's joints in the world, of people whose bodies may not be known.

    Raises:
        ValueError: If they are not in metres.
    """
    joints = file.world_joints(kept)[:, indices(H36M17, SPIN24)]
    places, known = joints[..., :3], joints[..., 3] > 0
    middle = places[:, list(HIPS)].mean(1, keepdim=True)
    far = ((places - middle).norm(dim=-1) * known).amax(1) > LARGEST
    rows = [kept[n] for n in far.nonzero()[:, 0].tolist()]
    came = f"some farther than {LARGEST:g} m from the hips"
    refuse_joints(file, rows, "joints in metres", came)
    return joints
