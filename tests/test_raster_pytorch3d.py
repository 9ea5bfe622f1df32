"""PyTorch3D behind our interface: its axes, numbers and options, without PyTorch3D.

A module of the same names stands in for it. It answers with the committed golden, which PyTorch3D
0.7.9 drew, or draws by reading its inputs as PyTorch3D documents them, and keeps what it was asked.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.synth import raster_pytorch3d
from plausibody.synth.raster import label_pixels, rasterize, rasterize_labels
from plausibody.synth.raster_settings import RasterSettings

GOLDEN = Path(__file__).parent / "data" / "pytorch3d_golden.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@dataclass
class Meshes:
    verts: Sequence[Tensor]
    faces: Sequence[Tensor]


@dataclass
class StandIn:
    """What `rasterize_meshes` was asked, and what it answers."""

    answer: tuple[Tensor, Tensor, Tensor] | None = None
    """Face numbers, depths and weights; None to draw."""
    asked: dict[str, Any] = field(default_factory=dict)

    def rasterize_meshes(self, meshes: Meshes, **options: Any) -> tuple[Tensor, ...]:
        self.asked = {"meshes": meshes, **options}
        number, depth, weights = self.answer or draw(meshes, **options)
        return number[..., None], depth[..., None], weights[..., None, :], depth[..., None]


def draw(meshes: Meshes, *, image_size: tuple[int, int], cull_backfaces: bool, **_: Any):
    """Draws by PyTorch3D's documents: x left, y up, the shorter side -1..1, and face numbers that
    run on from mesh to mesh. Faces that appear clockwise there are backs."""
    height, width = image_size
    vertices = torch.stack(list(meshes.verts))
    half = min(height, width) / 2
    x = width / 2 - vertices[..., 0] * half
    y = height / 2 - vertices[..., 1] * half
    pixels = torch.stack([x, y, vertices[..., 2]], -1)
    numbers, depths, weights = [], [], []
    for k, faces in enumerate(meshes.faces):
        cull = "back" if cull_backfaces else "none"
        seen = rasterize(pixels[k : k + 1], faces, image_size, cull=cull, backend="torch")
        numbers.append(torch.where(seen.mask, seen.face + k * len(faces), -1).long())
        depths.append(seen.depth)
        # Where nothing is, PyTorch3D gives weights of -1.
        weights.append(torch.where(seen.mask[..., None], seen.barycentric, -1.0))
    return torch.cat(numbers), torch.cat(depths), torch.cat(weights)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    names = ["pytorch3d", "pytorch3d.renderer", "pytorch3d.renderer.mesh"]
    modules = {name: ModuleType(name) for name in [*names, "pytorch3d.structures"]}
    last = modules["pytorch3d.renderer.mesh.rasterize_meshes"] = ModuleType("rasterize_meshes")
    last.rasterize_meshes = stand_in.rasterize_meshes  # type: ignore[attr-defined]
    modules["pytorch3d.structures"].Meshes = Meshes  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return stand_in


def packed(golden: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The golden as PyTorch3D gave it: numbers run on from picture to picture."""
    face = golden["face"].long()
    number = face + torch.arange(len(face))[:, None, None] * len(golden["faces"])
    return torch.where(face < 0, -1, number), golden["depth"], golden["bary"]


def test_its_answer_comes_in_our_numbers(golden, library):
    library.answer = packed(golden)
    size = int(golden["size"])
    fragments = rasterize(golden["vertices"], golden["faces"], (size, size), backend="pytorch3d")
    assert torch.equal(fragments.face, golden["face"])
    assert fragments.face.dtype == torch.int32
    assert torch.equal(fragments.depth, golden["depth"])
    weights = torch.where(fragments.mask[..., None], golden["bary"], 0.0)
    assert torch.equal(fragments.barycentric, weights)
    assert fragments.dropped.tolist() == [0, 0]
    face_labels = torch.arange(len(golden["faces"])).remainder(256).to(torch.uint8)
    labels = rasterize_labels(
        golden["vertices"], golden["faces"], face_labels, (size, size), backend="pytorch3d"
    )
    assert torch.equal(labels, label_pixels(fragments, face_labels))
    without = rasterize(
        *(golden["vertices"], golden["faces"], (size, size)),
        barycentrics=False, backend="pytorch3d",
    )  # fmt: skip
    assert without.barycentric is None


def test_it_is_asked_for_hard_pictures_with_room_for_every_face(golden, library):
    library.answer = packed(golden)
    size = int(golden["size"])
    for perspective in (True, False):
        rasterize(
            *(golden["vertices"], golden["faces"], (size, size)),
            perspective=perspective, backend="pytorch3d",
        )  # fmt: skip
        asked = dict(library.asked)
        meshes = asked.pop("meshes")
        assert asked == {
            "image_size": (size, size),
            "blur_radius": 0.0,
            "faces_per_pixel": 1,
            "max_faces_per_bin": len(golden["faces"]),
            "perspective_correct": perspective,
            "clip_barycentric_coords": False,
            "cull_backfaces": False,
        }
    assert [len(vertices) for vertices in meshes.verts] == [6890, 6890]
    assert all(torch.equal(faces, golden["faces"].long()) for faces in meshes.faces)


def test_what_was_asked_by_its_axes_is_the_golden(golden, library):
    """Read as PyTorch3D reads it, the request is the picture that PyTorch3D drew."""
    size = int(golden["size"])
    fragments = rasterize(golden["vertices"], golden["faces"], (size, size), backend="pytorch3d")
    assert (fragments.mask == (golden["face"] >= 0)).float().mean() > 0.9999
    same = (fragments.face == golden["face"]) & fragments.mask
    assert same.sum() / fragments.mask.sum() > 0.998
    assert (fragments.depth - golden["depth"])[same].abs().max() < 2e-4


@pytest.mark.parametrize(
    ("size", "pixel", "expected"),
    [
        ((96, 96), (0.0, 0.0), (1.0, 1.0)),
        ((96, 96), (96.0, 96.0), (-1.0, -1.0)),
        ((96, 96), (48.0, 0.0), (0.0, 1.0)),
        ((50, 100), (0.0, 0.0), (2.0, 1.0)),
        ((100, 50), (50.0, 100.0), (-1.0, -2.0)),
        ((50, 100), (75.0, 25.0), (-1.0, 0.0)),
    ],
)
def test_x_points_left_and_y_up_and_the_shorter_side_counts(size, pixel, expected):
    vertices = torch.tensor([[[*pixel, 3.0]]])
    usable = torch.ones(1, 1, dtype=torch.bool)
    assert raster_pytorch3d.to_ndc(vertices, usable, size).tolist() == [[[*expected, 3.0]]]


@pytest.mark.parametrize("size", [(24, 24), (20, 31), (31, 20)])
@pytest.mark.parametrize("cull", ["none", "back", "front"])
def test_pictures_of_any_form_and_side_are_as_ours(library, size, cull):
    generator = torch.Generator().manual_seed(0)
    vertices = torch.rand(2, 60, 3, generator=generator) * 30 + torch.tensor([0.0, 0.0, 1.0])
    faces = torch.arange(60).view(20, 3)
    ours = rasterize(vertices, faces, size, cull=cull, backend="torch")
    theirs = rasterize(vertices, faces, size, cull=cull, backend="pytorch3d")
    assert (ours.face == theirs.face).float().mean() > 0.99
    same = (ours.face == theirs.face) & ours.mask
    assert same.any()
    torch.testing.assert_close(theirs.barycentric[same], ours.barycentric[same], atol=2e-3, rtol=0)
    assert library.asked["cull_backfaces"] == (cull != "none")


def test_the_same_faces_are_dropped(library):
    vertices = torch.tensor([[[0.0, 0, 2], [8, 0, 2], [8, 8, 2], [0, 8, 2]]]).repeat(4, 1, 1)
    vertices[1, 3, 2] = 0.01
    vertices[2, 3, 0] = torch.nan
    vertices[3, 0, 1] = 2e6
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    ours = rasterize(vertices, faces, (8, 8), backend="torch")
    theirs = rasterize(vertices, faces, (8, 8), backend="pytorch3d")
    assert theirs.dropped.tolist() == ours.dropped.tolist() == [0, 1, 1, 2]
    assert torch.equal(theirs.face, ours.face)
    assert all(torch.isfinite(verts).all() for verts in library.asked["meshes"].verts)


def test_nothing_to_draw_is_not_asked_for(library):
    vertices = torch.ones(2, 3, 3)
    empty = rasterize(vertices, torch.zeros(0, 3).long(), (4, 5), backend="pytorch3d")
    assert empty.face.shape == (2, 4, 5) and not empty.mask.any()
    assert empty.depth.unique().tolist() == [-1.0]
    none = rasterize(vertices[:0], torch.tensor([[0, 1, 2]]), (4, 5), backend="pytorch3d")
    assert none.face.shape == (0, 4, 5)
    assert library.asked == {}


def test_without_it_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    with pytest.raises(ValueError, match=r"pytorch3d is not installed.*\[pytorch3d\]"):
        rasterize(torch.ones(1, 3, 3), torch.tensor([[0, 1, 2]]), (4, 4), backend="pytorch3d")


def test_usable_is_decided_as_elsewhere():
    settings = RasterSettings((8, 8), 0.05, "none", True, 1)
    vertices = torch.tensor([[[0.0, 0, 0.05], [0, 0, 0.0499], [131072, 0, 1], [0, 0, torch.inf]]])
    usable = raster_pytorch3d.usable_vertices(vertices, settings)
    assert usable.tolist() == [[True, False, False, False]]


@pytest.mark.skipif(
    importlib.util.find_spec("pytorch3d") is None,
    reason="pytorch3d is not installed: pip install 'plausibody[pytorch3d]'",
)
def test_the_real_one_draws_the_golden(golden):
    size = int(golden["size"])
    fragments = rasterize(golden["vertices"], golden["faces"], (size, size), backend="pytorch3d")
    assert (fragments.face != golden["face"]).sum() <= 2
    same = fragments.face == golden["face"]
    torch.testing.assert_close(fragments.depth[same], golden["depth"][same], atol=1e-5, rtol=0)
