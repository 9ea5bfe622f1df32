"""Opens a front end by its name: the one place that knows which there are.

A front end that cannot be opened is an error that names what is missing and what else would do;
none takes the place of another unasked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.predict.front_ends.files import FilesFrontEnd, OtherSilhouettes, check_owners
from plausibody.predict.front_ends.front_end import FrontEnd, describe_front_end
from plausibody.predict.front_ends.silhouettes import (
    EmbeddedSilhouettes,
    MaskFiles,
    PartFiles,
    Silhouettes,
)
from plausibody.predict.reading.boxes import Boxes, BoxFile, WholePicture, read_boxes
from plausibody.predict.reading.companions import MASKS, Companions
from plausibody.predict.reading.keypoint_files import open_keypoints

NAMES = ("embedded", "files", "hrnet", "hq")
"""What ships, finds people and outlines them; what files say; two with weights of others."""


@dataclass(frozen=True)
class FrontEndSettings:
    """How a front end is to look, and what it is given."""

    boxes: Path | Boxes | None = None
    """File or folder that tells where people are, see `plausibody.predict.reading.boxes`; or
    what tells it in memory."""
    cropped: bool = False
    """Whether each picture is cut to one person already."""
    files: Path | None = None
    """Folder with key points and masks, for `files`; or a COCO file of key points, with masks
    beside it."""
    silhouette_from: str = "mask"
    """mask: what the front end says; parts: where part or IUV maps are above 0 (`files` only);
    embedded: what the nets that ship see round the key points (`files` only); or the path of a
    folder with a mask for each photo."""
    group_pass: bool = False
    """Whether the embedded nets look a second time at twice the resolution."""
    tiled: bool = False
    """Whether they look at a third of the picture at a time as well, for people far off."""
    keep_doubtful: bool = False
    """Whether people are kept in whom the embedded nets disagree."""
    weights: str | None = None
    """Of `hrnet`: the official file. Of `hq`: a folder with its two models, or None for the hub."""

    def __post_init__(self) -> None:
        if self.boxes is not None and self.cropped:
            raise ValueError(
                "--cropped: wanted it without --boxes, as the whole picture is the box, came both; "
                "do: leave one out"
            )


def open_front_end(
    name: str,
    device: torch.device | str = "cpu",
    settings: FrontEndSettings | None = None,
) -> FrontEnd:
    """Opens a front end.

    Args:
        name: embedded, files, hrnet or hq.
        device: Where its nets run.

    Raises:
        FileNotFoundError: If a file or folder that it needs is missing.
        ValueError: If there is no such front end, or settings do not go with it.
    """
    settings = settings or FrontEndSettings()
    if name not in NAMES:
        raise ValueError(f"--front-end: wanted one of {', '.join(NAMES)}, got {name!r}")
    _check(name, settings)
    if name == "files":
        return _open_files(settings, device)
    front_end = _open_nets(name, settings, device)
    if settings.silhouette_from != "mask":
        folder = _folder(Path(settings.silhouette_from), "--silhouette-from", "masks")
        return OtherSilhouettes(front_end, MaskFiles(folder, own=True))
    return front_end


def check_photos(front_end: FrontEnd, photos: Sequence[Path]) -> None:
    """Looks whether the files that a front end reads can be meant for these photos.

    To be called before a long run: a wrong file of boxes, say, is then told at once.

    Raises:
        ValueError: If no photo is named by them, or it is unclear which one is meant.
    """
    boxes = getattr(front_end, "boxes", None)
    if isinstance(boxes, BoxFile):
        boxes.check(photos)
    if isinstance(front_end, FilesFrontEnd):
        front_end.check(photos)
    silhouettes = getattr(front_end, "silhouettes", None)
    if isinstance(silhouettes, MaskFiles):
        check_owners(Companions(silhouettes.root, MASKS, silhouettes.own), photos)


def check_channel(front_end: FrontEnd, channel: str) -> None:
    """Looks whether a front end gives what a regressor reads.

    Raises:
        ValueError: If IUV pictures are read, and the front end makes none.
    """
    if channel != "iuv":
        return
    if isinstance(front_end, FilesFrontEnd):
        name, gives = "files without part maps", isinstance(front_end.silhouettes, PartFiles)
    else:  # of others than those here nothing is known
        name = describe_front_end(front_end).get("name", "")
        gives = name not in NAMES
    if not gives:
        raise ValueError(
            "--front-end: wanted one that gives DensePose's IUV maps, which this regressor reads, "
            f"came {name}; do: --front-end files --files DIR --silhouette-from parts, with "
            "IUV maps beside the key points in DIR, or take weights that read something else"
        )


def _check(name: str, settings: FrontEndSettings) -> None:
    """Refuses settings that a front end would not heed."""
    asked = {
        "--files": (settings.files is not None, ("files",)),
        "--silhouette-from parts": (settings.silhouette_from == "parts", ("files",)),
        "--silhouette-from embedded": (settings.silhouette_from == "embedded", ("files",)),
        "group_pass": (settings.group_pass, ("embedded", "hrnet")),
        "--distant": (settings.tiled, ("embedded", "hrnet")),
        "keep_doubtful": (settings.keep_doubtful, ("embedded", "hrnet")),
        "--front-end-weights": (settings.weights is not None, ("hrnet", "hq")),
    }
    if settings.boxes is not None or settings.cropped:
        known = "--boxes" if settings.boxes is not None else "--cropped"
        if settings.tiled:
            raise ValueError(
                f"--distant: wanted it without {known}, as nobody is searched where it is told "
                "who is where, came both; do: leave one out"
            )
    for option, (given, fit) in asked.items():
        if given and name not in fit:
            raise ValueError(
                f"{option}: wanted --front-end {' or '.join(fit)}, came {name}, which does not "
                "heed it; do: leave it out, or choose that front end"
            )


def _open_nets(name: str, settings: FrontEndSettings, device: torch.device | str) -> FrontEnd:
    """Opens a front end that looks at pictures."""
    boxes = _boxes(settings)
    if name == "hq":
        from plausibody.predict.front_ends.hq import load_hq

        return load_hq(settings.weights, device, boxes)
    finder = load_embedded(
        settings.group_pass,
        settings.keep_doubtful,
        device,
        tiled=settings.tiled,
        boxes=boxes,
    )
    if name == "hrnet":
        from plausibody.predict.front_ends.hrnet import load_hrnet

        return load_hrnet(settings.weights, device, people=finder)
    return finder


def _open_files(settings: FrontEndSettings, device: torch.device | str) -> FilesFrontEnd:
    if settings.files is None:
        raise ValueError(
            "--files: wanted a folder with key points and masks, got none; do: name it, or choose "
            "--front-end embedded, which needs no files"
        )
    if settings.files.is_dir():
        _check_readable(settings.files, "--files")
    keypoints = open_keypoints(settings.files)
    root = settings.files if settings.files.is_dir() else settings.files.parent
    silhouettes: Silhouettes
    match settings.silhouette_from:
        case "mask":
            silhouettes = MaskFiles(root)
        case "parts":
            silhouettes = PartFiles(root)
        case "embedded":
            silhouettes = EmbeddedSilhouettes(load_embedded(keep_doubtful=False, device=device))
        case folder:
            silhouettes = MaskFiles(_folder(Path(folder), "--silhouette-from", "masks"), own=True)
    return FilesFrontEnd(keypoints, silhouettes, _boxes(settings))


def _folder(path: Path, option: str, what: str) -> Path:
    if _is_folder(path, option):
        _check_readable(path, option)
        return path
    raise FileNotFoundError(
        f"{option}: wanted mask, parts, embedded or a folder with {what}, found no folder {path}; "
        "do: check the path"
    )


def _is_folder(path: Path, option: str) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise _unreadable(path, option, error) from error


def _check_readable(folder: Path, option: str) -> None:
    """Looks whether a folder and those in it can be listed.

    Raises:
        PermissionError: If one cannot.
    """
    for place in (folder, *_listed(folder, option)):
        if _is_folder(place, option):
            _listed(place, option)


def _listed(folder: Path, option: str) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, option, error) from error


def _unreadable(folder: Path, option: str, error: OSError) -> PermissionError:
    return PermissionError(
        f"{option}: wanted a folder that can be read, came {folder} "
        f"({error.strerror or type(error).__name__}); do: give yourself the right to list it"
    )


def _boxes(settings: FrontEndSettings) -> Boxes | None:
    if settings.cropped:
        return WholePicture()
    if isinstance(settings.boxes, Path):
        return read_boxes(settings.boxes)
    return settings.boxes
