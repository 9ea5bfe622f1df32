"""Where each point of the body lies on its surface: 24 parts, u and v in each, and an atlas of all.

Two files hold this table: `body/charts.npz`, which ships for the open body, and DensePose's
`UV_Processed.mat`, for SMPL. Both give the same `Chart`.

A texture picture is an atlas of 6 rows by 4 columns of cells, one for each part, filled column by
column: part p = 6 * column + row + 1. Within a cell u runs to the right and v upwards, so a place
in the picture, y down, takes 1 - v. That is the layout of the published textures of SMPL. Only the
atlas turns v around: everything else keeps u and v as stored.

Sources: Guler et al., "DensePose", 2018 (parts, u, v); Sengupta et al., "Hierarchical Kinematic
Probability Distributions for 3D Human Shape and Pose Estimation", 2021 (the atlas).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.assets.contents import DAMAGED, read_arrays
from plausibody.models.body import BodyTemplate
from plausibody.models.constants import constant
from plausibody.models.records import to_device

ROWS, COLUMNS = 6, 4
"""Cells of the atlas; a published picture is 1200 px high and 800 px wide."""
PART14_OF_24 = (
    *(0, 1, 1, 11, 12, 14, 13, 8, 6, 8, 6, 9, 7, 9, 7),
    *(2, 4, 2, 4, 3, 5, 3, 5, 10, 10),
)
"""The 14 parts of STRAPS and HierProb3D (1 torso, 2 left upper arm, 3 left forearm, 4 right upper
arm, 5 right forearm, 6 left thigh, 7 left shank, 8 right thigh, 9 right shank, 10 head, 11 right
hand, 12 left hand, 13 right foot, 14 left foot) by DensePose's, 0 the background."""
PART6_OF_24 = (0, 6, 6, 2, 1, 4, 5, 5, 4, 5, 4, 5, 4, 5, 4, 1, 2, 1, 2, 1, 2, 1, 2, 3, 3)
"""STRAPS's parts (1 left arm, 2 right arm, 3 head, 4 left leg, 5 right leg, 6 trunk) by
DensePose's, 0 the background."""

DENSEPOSE = "UV_Processed.mat"
_FIELDS = ("All_FaceIndices", "All_Faces", "All_vertices", "All_U_norm", "All_V_norm")
_ORPHANS = 16
"""DensePose's file lacks two of SMPL's 13,776 faces; one that differs in more than this many is cut
short, or of another mesh."""


@dataclass(frozen=True)
class Chart:
    """The surface of one mesh, of F faces, flattened part by part to N chart vertices.

    Seams have chart vertices of their own, each in one part, so interpolation along `faces_uv`
    never crosses one.
    """

    faces: Int[Tensor, "F 3"]
    """Into the vertices of the mesh; the template's faces."""
    faces_uv: Int[Tensor, "F 3"]
    """Into u, v and atlas; corner by corner those of `faces`."""
    u: Float[Tensor, " N"]
    """0..1 within the part, as stored."""
    v: Float[Tensor, " N"]
    """0..1 within the part, as stored."""
    face_part: UInt8[Tensor, " F"]
    """DensePose's part of each face, 1..24. A table: parts are never interpolated."""
    atlas: Float[Tensor, "N 2"]
    """Place in a texture picture: x to the right and y down, 0..1 from its top-left corner."""

    def to(self, device: torch.device | str) -> Chart:
        return to_device(self, device)

    @cached_property
    def corners(self) -> Float[Tensor, "F 3 2"]:
        """u and v of the corners of each face."""
        return torch.stack([self.u, self.v], -1)[self.faces_uv.long()]

    @cached_property
    def area(self) -> Float[Tensor, " F"]:
        """How much of its cell each face takes, 0..1; never negative."""
        first, second = (self.corners[:, 1:] - self.corners[:, :1]).unbind(1)
        return (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).abs() / 2


def load_chart(
    template: BodyTemplate, path: Path | None = None, directories: Sequence[Path] | None = None
) -> Chart:
    """Opens the chart of a body.

    Args:
        template: The body whose faces the chart must have.
        path: An `.npz` file of ours or a `.mat` file as DensePose publishes it. If None, the chart
            that ships where it is for this mesh, and otherwise `UV_Processed.mat` from the folders
            of the search order.
        directories: Folders to look in instead of `assets.catalog.search_directories()`.

    Raises:
        ValueError: If the file is damaged or charts another mesh.
        FileNotFoundError: If there is none for this mesh.
    """
    if path is None:
        path = find_asset("body/charts.npz", directories)
        if str(read_arrays(path, ("topology",)).get("topology")) != template.topology:
            path = _densepose(path, template, directories)
    match path.suffix.lower():
        case ".npz":
            return _read_own(path, template)
        case ".mat":
            return _read_densepose(path, template)
        case suffix:
            raise ValueError(
                f"{path}: wanted a chart as .npz or .mat, came {suffix or 'no suffix'}; "
                f"do: name body/charts.npz or DensePose's {DENSEPOSE}"
            )


def coarser_parts(
    parts: UInt8[Tensor, "*shape"], table: tuple[int, ...]
) -> UInt8[Tensor, "*shape"]:
    """Joins DensePose's 24 parts.

    Args:
        parts: 0 the background, 1..24.
        table: `PART14_OF_24` or `PART6_OF_24`.
    """
    return constant(table, torch.uint8, parts.device)[parts.long()]


def atlas_places(
    u: Float[Tensor, " N"], v: Float[Tensor, " N"], part: UInt8[Tensor, " N"]
) -> Float[Tensor, "N 2"]:
    """Gives places in a texture picture, x to the right and y down, 0..1.

    Args:
        part: 1..24.
    """
    cell = part.long() - 1
    column, row = cell // ROWS, cell % ROWS
    return torch.stack([(column + u) / COLUMNS, (row + 1 - v) / ROWS], -1)


def _densepose(ours: Path, template: BodyTemplate, directories: Sequence[Path] | None) -> Path:
    try:
        return find_asset(DENSEPOSE, directories)
    except FileNotFoundError as missing:
        raise FileNotFoundError(
            f"{ours} charts another mesh than this body's, {template.topology}; {missing}. "
            f"For SMPL it comes with DensePose"
        ) from missing


def _read_own(path: Path, template: BodyTemplate) -> Chart:
    data = read_arrays(path)
    wanted = ("part24", "faces_uv", "u", "v", "topology")
    if any(name not in data for name in wanted):
        raise ValueError(
            f"{path}: wanted a chart with {', '.join(wanted)}, came {', '.join(data)}; "
            f"do: name body/charts.npz or DensePose's {DENSEPOSE}"
        )
    if str(data["topology"]) != template.topology:
        raise ValueError(
            f"{path}: wanted a chart of the mesh {template.topology}, came one of "
            f"{data['topology']}; do: for SMPL, name DensePose's {DENSEPOSE}"
        )
    _check_ranges(path, data["part24"], data["u"], data["v"])
    return _chart(template, data["faces_uv"], data["u"], data["v"], data["part24"])


def _read_densepose(path: Path, template: BodyTemplate) -> Chart:
    """Matches DensePose's triangles with the template's, whichever corner each begins with."""
    data = _read_mat(path)
    part, triangles = data["All_FaceIndices"].ravel(), data["All_Faces"].astype(np.int64) - 1
    owners = data["All_vertices"].ravel().astype(np.int64) - 1
    u, v = data["All_U_norm"].ravel(), data["All_V_norm"].ravel()
    faces = template.faces.numpy()
    if (
        triangles.shape != (len(part), 3)
        or not len(owners) == len(u) == len(v)
        or not np.isin(triangles, np.arange(len(owners))).all()
    ):
        raise ValueError(
            f"{path}: wanted one part for each triangle, and one vertex, u and v for each chart "
            f"vertex, came triangles of shape {triangles.shape}, {len(part)} parts, {len(owners)} "
            f"vertices, {len(u)} u and {len(v)} v; do: take the file as published"
        )
    _check_ranges(path, part, u, v)

    place = {tuple(sorted(face)): number for number, face in enumerate(faces.tolist())}
    here = np.array([place.get(tuple(sorted(face)), -1) for face in owners[triangles].tolist()])
    strangers, missing = int((here < 0).sum()), len(faces) - len(np.unique(here[here >= 0]))
    if max(strangers, missing) > _ORPHANS:
        raise ValueError(
            f"{path}: wanted the {len(faces)} triangles of the mesh {template.topology}, but for "
            f"2 or so, came {len(triangles)}, of which {strangers} are not in it, and {missing} "
            f"are missing; do: use this file with SMPL, and body/charts.npz with the open body"
        )
    triangles, part, here = triangles[here >= 0], part[here >= 0], here[here >= 0]
    corners = np.full_like(faces, -1)
    order = (faces[here][:, :, None] == owners[triangles][:, None, :]).argmax(2)
    corners[here] = np.take_along_axis(triangles, order, axis=1)
    face_part = np.zeros(len(faces), np.uint8)
    face_part[here] = part
    _adopt_orphans(faces, corners, face_part)
    return _chart(template, corners, u, v, face_part)


def _read_mat(path: Path) -> Mapping[str, NDArray[Any]]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        data = loadmat(str(path), appendmat=False, variable_names=_FIELDS)
    except FileNotFoundError:
        raise
    except (*DAMAGED, MatReadError, NotImplementedError) as error:
        raise ValueError(
            f"{path}: wanted a MATLAB file, came one that is cut short, altered or something else "
            f"({type(error).__name__}: {error}); do: download it again"
        ) from error
    wrong = [
        name
        for name in _FIELDS
        if not isinstance(data.get(name), np.ndarray) or data[name].dtype.kind not in "iuf"
    ]
    if wrong:
        raise ValueError(
            f"{path}: wanted arrays of numbers named {', '.join(_FIELDS)}, came none under "
            f"{', '.join(wrong)}; do: name DensePose's {DENSEPOSE}"
        )
    return {name: data[name] for name in _FIELDS}


def _check_ranges(path: Path, part: NDArray[Any], u: NDArray[Any], v: NDArray[Any]) -> None:
    if not np.isin(part, np.arange(1, 25)).all():
        raise ValueError(f"{path}: wanted parts of 1 to 24, came {part.min()} to {part.max()}")
    for name, values in (("u", u), ("v", v)):
        if not ((values >= -1e-6) & (values <= 1 + 1e-6)).all():
            raise ValueError(
                f"{path}: wanted {name} of 0 to 1, came {values.min()} to {values.max()}; "
                "do: take those under All_U_norm and All_V_norm, not pixels"
            )


def _adopt_orphans(
    faces: NDArray[np.int64], corners: NDArray[np.int64], part: NDArray[np.uint8]
) -> None:
    """Gives faces that the file lacks the part of a neighbour, and chart vertices out of it.

    A corner that the neighbour's part does not have is drawn to one of the shared edge.
    """
    known: dict[tuple[int, int], int] = {}  # chart vertex by part and vertex of the mesh
    for number, triangle, flat in zip(part.tolist(), faces, corners, strict=True):
        for vertex, corner in zip(triangle.tolist(), flat.tolist(), strict=True):
            known[number, vertex] = corner
    orphans: list[int] = np.flatnonzero(part == 0).tolist()
    while orphans:
        for face in orphans:
            shared = np.isin(faces, faces[face]).sum(1) * (part > 0)
            neighbour = int(shared.argmax())
            if shared[neighbour] == 2:
                break
        else:
            raise ValueError("wanted charts that reach every face, came a mesh in pieces")
        adopted = int(part[neighbour])
        found = [known.get((adopted, int(vertex))) for vertex in faces[face]]
        spare = next(corner for corner in found if corner is not None)
        corners[face] = [spare if corner is None else corner for corner in found]
        part[face] = adopted
        orphans.remove(face)


def _chart(
    template: BodyTemplate,
    corners: NDArray[Any],
    u: NDArray[Any],
    v: NDArray[Any],
    part: NDArray[Any],
) -> Chart:
    """Splits chart vertices that several parts share, so that each has one place in the atlas."""
    corners = corners.astype(np.int64)
    keys = corners * 32 + part.astype(np.int64)[:, None]
    unique, faces_uv = np.unique(keys, return_inverse=True)
    owner = torch.from_numpy((unique % 32).astype(np.uint8))
    flat_u, flat_v = (torch.from_numpy(x[unique // 32].astype(np.float32)) for x in (u, v))
    return Chart(
        faces=template.faces,
        faces_uv=torch.from_numpy(faces_uv.reshape(-1, 3).astype(np.int64)),
        u=flat_u,
        v=flat_v,
        face_part=torch.from_numpy(part.astype(np.uint8)),
        atlas=atlas_places(flat_u, flat_v, owner),
    )
