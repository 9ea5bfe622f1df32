"""Where assets are looked for, what ships, and whether it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from plausibody.assets.contents import Shapes, read_shapes, read_topology, topology_of_body

SHIPPED = Path(__file__).parent
"""The folder of what ships with plausibody."""
MANIFEST = SHIPPED / "manifest.json"
VARIABLE = "PLAUSIBODY_ASSETS"
"""Environment variable that names a folder of the user's."""
PUBLISHED_FOLDERS = ("train_files", "model_files", "data", "additional")
"""Where the checkouts of HierProb3D and of STRAPS keep their files: such a checkout, with what its
authors say to download, can be named as it is."""
REFERENCE_BODY = "body/open_neutral.npz"
"""Its faces decide the topology that every vertex-indexed file of ours must carry."""

State = Literal["ok", "replaced", "missing", "altered", "unreadable", "wrong topology"]


def search_directories(first: Path | None = None) -> tuple[Path, ...]:
    """Gives the folders in which assets are looked for, in this order.

    A folder named outright (`--assets DIR`), the folder in $PLAUSIBODY_ASSETS, `train_files/` where
    the program runs, `train_files/` of the checkout if plausibody is installed from one, and last
    what ships. The first file found wins. Each folder of the user's is followed by those of
    `PUBLISHED_FOLDERS` that are in it.
    """
    variable = os.environ.get(VARIABLE)
    here, checkout = Path("train_files"), SHIPPED.parent / "train_files"
    wanted = [first, Path(variable) if variable else None, here]
    if checkout.is_dir() and checkout != here.absolute():
        wanted.append(checkout)
    places: list[Path] = []
    for directory in wanted:
        if directory is not None:
            inside = (directory / name for name in PUBLISHED_FOLDERS)
            places += [directory, *(folder for folder in inside if folder.is_dir())]
    return (*places, SHIPPED)


def find_asset(name: str, directories: Sequence[Path] | None = None) -> Path:
    """Finds a file or folder by its name below one of the folders of the search order.

    Args:
        name: Such as "body/open_neutral.npz", with forward slashes.
        directories: Folders to look in instead of `search_directories()`.
    """
    places = search_directories() if directories is None else directories
    for directory in places:
        if (directory / name).exists():
            return directory / name
    looked = "\n".join(f"  {directory / name}" for directory in places)
    raise FileNotFoundError(
        f"wanted {name}, found it in none of these places:\n{looked}\n"
        f"do: put it in one of them, or name its folder by ${VARIABLE}"
    )


@dataclass(frozen=True)
class Asset:
    """One file that ships, as the manifest describes it."""

    path: str
    """Below the folder of assets, with forward slashes."""
    sha256: str
    bytes: int
    source: str
    licence: str
    attribution: str


@dataclass(frozen=True)
class Finding:
    """What a check found of one asset."""

    asset: Asset
    found: Path | None
    """The file that would be used; none if there is none."""
    state: State
    detail: str
    """What is wrong, or where the file comes from; empty if all is well."""
    shapes: Shapes
    """Shape of each array in the file, by its name; empty for files without arrays."""


def list_assets(manifest: Path = MANIFEST) -> list[Asset]:
    """Reads the manifest of what ships."""
    if not manifest.exists():
        raise FileNotFoundError(
            f"wanted the list of what ships, {manifest}, found none; do: install plausibody again"
        )
    try:
        return [Asset(**entry) for entry in json.loads(manifest.read_text("utf-8"))]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{manifest}: wanted a list of assets with {', '.join(Asset.__annotations__)}, "
            f"came something else ({error}); do: install plausibody again"
        ) from error


def check_assets(
    directories: Sequence[Path] | None = None, manifest: Path = MANIFEST
) -> list[Finding]:
    """Compares each shipped asset with the manifest, and all topologies with the body's.

    A file of the same name in an earlier folder of the search order replaces the shipped one; its
    hash may differ, its topology may not.
    """
    places = search_directories() if directories is None else directories
    try:
        topology = topology_of_body(find_asset(REFERENCE_BODY, places))
    except (FileNotFoundError, ValueError):
        topology = None  # reported below, as the body is an asset itself
    return [_check(asset, places, manifest.parent, topology) for asset in list_assets(manifest)]


def replaced_assets(below: tuple[str, ...], directories: Sequence[Path] | None = None) -> list[str]:
    """Lists what ships below some folders, by name, in whose place a file of the user's is found.

    What is nowhere is left out: an installed package has less than the repository.
    """
    places = search_directories() if directories is None else directories
    found = []
    for asset in list_assets():
        if asset.path.startswith(below):
            with contextlib.suppress(FileNotFoundError):
                if _is_replaced(asset, find_asset(asset.path, places), SHIPPED):
                    found.append(asset.path)
    return found


def _is_replaced(asset: Asset, found: Path, shipped: Path) -> bool:
    return found.resolve() != (shipped / asset.path).resolve()


def _check(asset: Asset, places: Sequence[Path], shipped: Path, topology: str | None) -> Finding:
    try:
        found = find_asset(asset.path, places)
    except FileNotFoundError as error:
        return Finding(asset, None, "missing", str(error), {})
    replaced = _is_replaced(asset, found, shipped)
    if not replaced and (difference := _difference(asset, found)):
        return Finding(asset, found, "altered", difference, {})
    try:
        shapes, carried = read_shapes(found), read_topology(found)
    except ValueError as error:
        return Finding(asset, found, "unreadable", str(error), {})
    if topology and carried and carried != topology:
        detail = f"wanted topology {topology}, that of {REFERENCE_BODY}, came {carried}"
        return Finding(asset, found, "wrong topology", detail, shapes)
    return Finding(asset, found, "replaced" if replaced else "ok", "", shapes)


def _difference(asset: Asset, found: Path) -> str:
    size = found.stat().st_size
    if size != asset.bytes:
        return f"wanted {asset.bytes} bytes, came {size}; do: install plausibody again"
    sha256 = hashlib.sha256(found.read_bytes()).hexdigest()
    if sha256 != asset.sha256:
        return f"wanted sha256 {asset.sha256}, came {sha256}; do: install plausibody again"
    return ""
