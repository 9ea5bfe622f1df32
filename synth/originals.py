"""What of the published assets is there, and whether it is as many as their authors name.

None of them is needed. They are found under their own names, as downloaded, in the search order of
`assets.catalog`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.io import whosmat
from scipy.io.matlab import MatReadError

from plausibody.assets.catalog import find_asset, search_directories
from plausibody.assets.contents import DAMAGED, read_arrays, read_headers
from plausibody.models.templates import GENDERS, load_template
from plausibody.synth.backgrounds import PUBLISHED as BACKGROUNDS
from plausibody.synth.backgrounds import open_reader
from plausibody.synth.charts import DENSEPOSE
from plausibody.synth.joint_regressor_published import H36M, read_regressor
from plausibody.synth.pose_sources import NOT_AMASS
from plausibody.synth.texture_published import PUBLISHED as TEXTURES

State = Literal["as published", "other counts", "unusable", "missing"]
Counts = Mapping[str, int]
"""How many there are of what."""


@dataclass(frozen=True)
class Original:
    """A published file or folder."""

    name: str
    """Below a folder of the search order."""
    what: str
    published: Counts
    """As their authors count."""
    count: Callable[[Path], Counts]
    """Counts what a file holds, without reading all of it; raises ValueError if it is no such."""
    source: str
    """Who publishes it."""
    use: str
    """What to do with it once it is there."""


@dataclass(frozen=True)
class OriginalFinding:
    """What a check found of one original."""

    original: Original
    found: Path | None
    counts: Counts
    """Empty if there is none, or if it is unusable."""
    state: State
    detail: str
    """What is wrong, or what to do."""

    def row(self) -> tuple[str, str, str, str, str]:
        """Gives a line of a table: name, found, published, state, what to do."""
        name, published = self.original.name, self.original.published
        return name, _told(self.counts), _told(published), self.state, self.detail


def check_originals(
    directories: Sequence[Path] | None = None, originals: Sequence[Original] | None = None
) -> list[OriginalFinding]:
    """Looks for each published asset and counts what it holds.

    Args:
        directories: Where assets are looked for, instead of the usual places.
        originals: Those to look for, instead of all.
    """
    places = search_directories() if directories is None else directories
    return [_check(original, places) for original in originals or ORIGINALS]


def _check(original: Original, places: Sequence[Path]) -> OriginalFinding:
    try:
        found = find_asset(original.name, places)
    except FileNotFoundError:
        return OriginalFinding(original, None, {}, "missing", f"from {original.source}")
    try:
        counts = original.count(found)
    except (*DAMAGED, NotImplementedError, MatReadError) as error:
        reason = str(error).removeprefix(f"{found}: ") or type(error).__name__
        return OriginalFinding(original, found, {}, "unusable", reason)
    same = all(counts[name] == count for name, count in original.published.items())
    return OriginalFinding(
        original, found, counts, "as published" if same else "other counts", original.use
    )


def _told(counts: Counts) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _count_bodies(path: Path) -> Counts:
    """Opens each body, which checks it; a folder without one gender has fewer."""
    found = []
    for gender in GENDERS:
        try:
            found.append(load_template(path, gender))
        except FileNotFoundError:
            continue
    if not found:
        raise ValueError(f"wanted SMPL_NEUTRAL.pkl or its like, came {_inside(path)}")
    return {"bodies": len(found)}


def _inside(path: Path) -> str:
    names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else [path.name]
    return ", ".join(names[:5]) or "an empty folder"


def _count_poses(path: Path) -> Counts:
    """Counts all poses of a list, and those that are not from AMASS."""
    headers = read_headers(path)
    if "poses" not in headers or "fnames" not in headers:
        raise ValueError(f"wanted poses and fnames, came {', '.join(headers) or 'nothing'}")
    if headers["fnames"].pickled:
        raise ValueError("fnames: wanted plain text, came pickled objects, which are never opened")
    names = read_arrays(path, ("fnames",))["fnames"].astype("U")
    others = np.any([np.char.startswith(names, begin) for begin in NOT_AMASS], axis=0)
    return {"poses": headers["poses"].shape[0], "not_amass": int(others.sum())}


def _count_textures(path: Path) -> Counts:
    headers = read_headers(path)
    counts = {}
    for name in ("grey", "nongrey"):
        header = headers.get(name)
        if header is None or header.shape[1:] != (1200, 800, 3) or header.dtype != np.uint8:
            came = f"{header.dtype} {header.shape}" if header else "none"
            raise ValueError(f"wanted {name} as uint8 (T, 1200, 800, 3), came {came}")
        counts[name] = header.shape[0]
    return counts


def _count_pictures(path: Path) -> Counts:
    return {"pictures": len(open_reader(path, side=256))}


def _count_joints(path: Path) -> Counts:
    """Reads a joint regressor; its rows are weights of SMPL's vertices."""
    return {"joints": len(read_regressor(path, 6890))}


def _count_chart(path: Path) -> Counts:
    shapes = {name: shape for name, shape, _ in whosmat(path)}
    if not {"All_Faces", "All_vertices"} <= shapes.keys():
        raise ValueError(f"wanted All_Faces and All_vertices, came {', '.join(shapes)}")
    return {"faces": max(shapes["All_FaceIndices"]), "vertices": max(shapes["All_vertices"])}


_HIERPROB = "HierProb3D (github.com/akashsengupta1997/HierarchicalProbabilistic3DHuman)"
_STRAPS = "STRAPS (github.com/akashsengupta1997/STRAPS-3DHumanShapePose)"
_IMPORT = "plausibody assets import poses {} --frame {} --out train_files/poses/mine.h5"
_SPIN = "SPIN (github.com/nkolot/SPIN), and with HierProb3D"
_REGRESSOR = "not used yet"

ORIGINALS = (
    Original(
        "smpl",
        "SMPL bodies",
        {"bodies": 3},
        _count_bodies,
        "smpl.is.tue.mpg.de, unpacked into train_files/smpl",
        "--set sources.body=smpl, with UV_Processed.mat and J_regressor_h36m.npy",
    ),
    Original(
        "smpl_train_poses.npz",
        "training poses of HierProb3D",
        {"not_amass": 91_106},
        _count_poses,
        _HIERPROB,
        _IMPORT.format("smpl_train_poses.npz smpl_val_poses.npz", "hierprob --rows not_amass"),
    ),
    Original(
        "smpl_val_poses.npz",
        "validation poses of HierProb3D",
        {"poses": 33_347},
        _count_poses,
        _HIERPROB,
        "imported with smpl_train_poses.npz",
    ),
    Original(
        "amass_up3d_3dpw_train.npz",
        "training poses of STRAPS",
        {"poses": 347_962},
        _count_poses,
        _STRAPS,
        _IMPORT.format("amass_up3d_3dpw_train.npz up3d_3dpw_val.npz", "straps"),
    ),
    Original(
        "up3d_3dpw_val.npz",
        "validation poses of STRAPS",
        {"poses": 11_836},
        _count_poses,
        _STRAPS,
        "imported with amass_up3d_3dpw_train.npz",
    ),
    Original(
        "smpl_train_textures.npz",
        "training textures of SURREAL and MultiGarmentNet",
        TEXTURES["train"],
        _count_textures,
        _HIERPROB,
        "--set sources.textures=..., read in place",
    ),
    Original(
        "smpl_val_textures.npz",
        "validation textures of the same",
        TEXTURES["val"],
        _count_textures,
        _HIERPROB,
        "--set sources.textures=..., read in place",
    ),
    *(
        Original(
            f"lsun_backgrounds/{split}",
            f"LSUN backgrounds, {split}",
            {"pictures": BACKGROUNDS[split]},
            _count_pictures,
            "LSUN (yf.io/p/lsun): folders of pictures, or its databases unpacked",
            "--set sources.backgrounds=..., read in place",
        )
        for split in ("train", "val")
    ),
    Original(
        H36M,
        "joints of Human3.6M",
        {"joints": 17},
        _count_joints,
        _SPIN,
        "used with sources.body=smpl",
    ),  # fmt: skip
    Original(
        "J_regressor_extra.npy", "joints of SPIN", {"joints": 9}, _count_joints, _SPIN, _REGRESSOR
    ),  # fmt: skip
    Original(
        "cocoplus_regressor.npy",
        "joints of COCO",
        {"joints": 19},
        _count_joints,
        "HMR (github.com/akanazawa/hmr), and with HierProb3D",
        _REGRESSOR,
    ),  # fmt: skip
    Original(
        DENSEPOSE,
        "DensePose's chart of SMPL",
        {"faces": 13_774, "vertices": 7_829},
        _count_chart,
        "DensePose (github.com/facebookresearch/DensePose), and with HierProb3D",
        "used with sources.body=smpl",
    ),
)
"""Everything published that has a place here."""
