"""Backends against each other, against exact arithmetic, and against PyTorch3D."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.synth import raster_torch
from plausibody.synth.raster import Fragments, rasterize, rasterize_labels

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""test_raster_triton.py runs this file again, for kernels in Triton's slow interpreter."""
COMPILED = ["triton"] if INTERPRETED else ["numba"]
SIZE = (13, 17) if INTERPRETED else (29, 37)
SEEDS = (1, 2) if INTERPRETED else (0, 1, 2)
GOLDEN = Path(__file__).parent / "data" / "pytorch3d_golden.npz"
"""Two posed open bodies of different shape, drawn by PyTorch3D 0.7.9 (CPU, perspective-correct,
96 px; its x and y turned round), with the vertices in our pixel space that went in."""


def scatter(generator: torch.Generator, count: int, reach: float = 1.5) -> Tensor:
    """Unconnected triangles in and around the image, one after the other."""
    size = torch.tensor([SIZE[1], SIZE[0]])
    flat = (torch.rand(2, count * 3, 2, generator=generator) * 2 - 1) * size * reach / 2 + size / 2
    depth = torch.rand(2, count * 3, 1, generator=generator) * 4 + 0.5
    return torch.cat([flat, depth], -1)


def small(generator: torch.Generator) -> Tensor:
    vertices = scatter(generator, 600, reach=1.0).view(2, 600, 3, 3)
    shrunk = vertices[:, :, :1] + (vertices - vertices[:, :, :1]) / 40
    return shrunk.flatten(1, 2)


def on_half_pixels_with_equal_depths(generator: torch.Generator) -> Tensor:
    vertices = scatter(generator, 150)
    depth = 2.0 ** torch.randint(0, 3, (2, 150, 1, 1), generator=generator).expand(2, 150, 3, 1)
    return torch.cat([(vertices[..., :2] * 2).round() / 2, depth.reshape(2, 450, 1)], -1)


def round_the_near_plane(generator: torch.Generator) -> Tensor:
    vertices = scatter(generator, 150)
    vertices[..., 2] = vertices[..., 2] * 0.1 - 0.1
    vertices[:, ::7, 2] = 0.05
    return vertices


def huge(generator: torch.Generator) -> Tensor:
    vertices = scatter(generator, 150)
    scale = torch.tensor([1.0, 300.0, 3000.0, 50000.0])
    return vertices * torch.cat(
        [scale[torch.randint(0, 4, (2, 450, 1), generator=generator)].expand(2, 450, 2),
         torch.ones(2, 450, 1)], -1
    )  # fmt: skip


def flat(generator: torch.Generator) -> Tensor:
    vertices = scatter(generator, 150).view(2, 150, 3, 3)
    vertices[:, ::2, 2, :2] = vertices[:, ::2, :2, :2].mean(2)
    vertices[:, ::5, 1] = vertices[:, ::5, 0]
    return vertices.flatten(1, 2)


def not_finite(generator: torch.Generator) -> Tensor:
    vertices = scatter(generator, 150)
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf, 3e38, -3e38, 1e-42, -0.0])
    where = torch.rand(vertices.shape, generator=generator) < 0.05
    which = torch.randint(0, len(odd), vertices.shape, generator=generator)
    return torch.where(where, odd[which], vertices)


def slivers(generator: torch.Generator) -> Tensor:
    vertices = scatter(generator, 300).view(2, 300, 3, 3)
    along = torch.rand(2, 300, 1, generator=generator)
    middle = vertices[:, :, 0] * along + vertices[:, :, 1] * (1 - along)
    nudge = torch.randn(2, 300, 3, generator=generator) * torch.tensor([1e-3, 1e-3, 0.0])
    vertices[:, :, 2] = middle + nudge
    return vertices.flatten(1, 2)


def far_and_deep(generator: torch.Generator) -> Tensor:
    vertices = scatter(generator, 150)
    vertices[..., 2] = 10 ** (vertices[..., 2] * 15 - 2)
    return vertices


FUZZ: list[Callable[[torch.Generator], Tensor]] = [
    lambda generator: scatter(generator, 150),
    small,
    on_half_pixels_with_equal_depths,
    round_the_near_plane,
    huge,
    flat,
    not_finite,
    slivers,
    far_and_deep,
]
NAMES = ["random", *(make.__name__ for make in FUZZ[1:])]


def assert_same(one: Fragments, other: Fragments) -> None:
    """Bit by bit: 0.0 and -0.0 differ."""
    assert torch.equal(one.face, other.face)
    assert torch.equal(one.depth.view(torch.int32), other.depth.view(torch.int32))
    assert torch.equal(one.dropped, other.dropped)
    assert one.barycentric is not None and other.barycentric is not None
    assert torch.equal(one.barycentric.view(torch.int32), other.barycentric.view(torch.int32))


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("perspective", [True, False], ids=["perspective", "orthographic"])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("make", FUZZ, ids=NAMES)
def test_all_is_as_torch_on_triangle_soups(make, seed, perspective, backend):
    vertices = make(torch.Generator().manual_seed(seed))
    if INTERPRETED:
        vertices = vertices[:, :90]
    faces = torch.arange(vertices.shape[1]).view(-1, 3)
    cull = ("none", "back", "front")[seed]
    options = {"perspective": perspective, "cull": cull}
    reference = rasterize(vertices, faces, SIZE, backend="torch", **options)
    assert_same(rasterize(vertices, faces, SIZE, backend=backend, **options), reference)
    assert torch.isfinite(reference.depth).all()
    face_labels = faces[:, 0].remainder(256).to(torch.uint8)
    labels = [
        rasterize_labels(vertices, faces, face_labels, SIZE, backend=either, **options)
        for either in ("torch", backend)
    ]
    assert torch.equal(*labels)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("size", [48, 96, 256])
def test_all_is_as_torch_on_bodies(golden, size, backend):
    vertices = golden["vertices"] * torch.tensor([size / 96, size / 96, 1.0])
    faces = golden["faces"]
    reference = rasterize(vertices, faces, (size, size), backend="torch")
    assert_same(rasterize(vertices, faces, (size, size), backend=backend), reference)
    assert reference.dropped.tolist() == [0, 0]
    # A closed surface hides its own back.
    front = rasterize(vertices, faces, (size, size), cull="back")
    assert (front.face == reference.face).float().mean() > 0.9995


def test_chunks_of_pairs_do_not_matter(golden, monkeypatch):
    vertices, faces = golden["vertices"], golden["faces"]
    expected = rasterize(vertices, faces, (64, 64), backend="torch")
    monkeypatch.setattr(raster_torch, "PAIRS_AT_ONCE", 1000)
    monkeypatch.setattr(raster_torch, "FACES_AT_ONCE", 1)
    assert_same(rasterize(vertices, faces, (64, 64), backend="torch"), expected)
    monkeypatch.setattr(raster_torch, "PAIRS_AT_ONCE", 1)
    soup = scatter(torch.Generator().manual_seed(0), 20)
    triangles = torch.arange(60).view(-1, 3)
    tiny = rasterize(soup, triangles, SIZE, backend="torch")
    assert_same(tiny, rasterize(soup, triangles, SIZE, backend="numba"))


@pytest.mark.skipif(not INTERPRETED, reason="test_raster_triton.py asks for it")
@pytest.mark.parametrize(("large", "at_once"), [(0, 1), (10, 2), (1 << 20, 1)])
def test_shares_of_triton_do_not_matter(monkeypatch, large, at_once):
    from plausibody.synth import raster_triton

    vertices = scatter(torch.Generator().manual_seed(0), 20)
    faces = torch.arange(60).view(-1, 3)
    monkeypatch.setattr(raster_triton, "LARGE", large)
    monkeypatch.setattr(raster_triton, "IMAGES_AT_ONCE", at_once)
    expected = rasterize(vertices, faces, SIZE, backend="torch")
    assert_same(rasterize(vertices, faces, SIZE, backend="triton"), expected)


def exact(vertices: Tensor, faces: Tensor, size: tuple[int, int]) -> list[list[list[Fraction]]]:
    """Depths of every face at every pixel in rational arithmetic; zero where it does not cover.

    Written from the definition: a centre is inside if it is after an infinitely small step to the
    right and an even smaller one down.
    """
    depths = []
    for corners in vertices[faces].tolist():
        place = [tuple(Fraction(floor(Fraction(v) * 4096 + Fraction(1, 2)), 4096) for v in c[:2])
                 for c in corners]  # fmt: skip
        area = cross(place[0], place[1], place[2])
        rows = []
        for i in range(size[0]):
            row = []
            for j in range(size[1]):
                centre = (j + Fraction(1, 2), i + Fraction(1, 2))
                weights, inside = [], area != 0
                for k in range(3):
                    start, end = place[(k + 1) % 3], place[(k + 2) % 3]
                    sign = 1 if area > 0 else -1
                    value = cross(start, end, centre) * sign
                    slope = ((start[1] - end[1]) * sign, (end[0] - start[0]) * sign)
                    inside = inside and (value, *slope) > (0, 0, 0)
                    weights.append(value / abs(area) if inside else Fraction(0))
                total = sum((w / Fraction(c[2]) for w, c in zip(weights, corners, strict=True)),
                            Fraction(0))  # fmt: skip
                row.append(1 / total if inside else Fraction(0))
            rows.append(row)
        depths.append(rows)
    return depths


def cross(a: tuple, b: tuple, c: tuple) -> Fraction:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@pytest.mark.parametrize("make", [FUZZ[0], on_half_pixels_with_equal_depths, slivers, small])
def test_exact_arithmetic_agrees(make):
    size = (24, 24)
    vertices = make(torch.Generator().manual_seed(7))[:1, : 3 * 24]
    faces = torch.arange(vertices.shape[1]).view(-1, 3)
    fragments = rasterize(vertices, faces, size, backend="torch")
    depths = exact(vertices[0], faces, size)
    for i in range(size[0]):
        for j in range(size[1]):
            bids = [(rows[i][j], t) for t, rows in enumerate(depths) if rows[i][j] > 0]
            depth, face = min(bids, default=(Fraction(-1), -1))
            assert int(fragments.face[0, i, j]) == face
            assert float(fragments.depth[0, i, j]) == pytest.approx(float(depth), rel=1e-6)


@pytest.mark.parametrize("backend", ["torch", *COMPILED])
def test_pytorch3d_agrees(golden, backend):
    """Measured: silhouettes equal, 1 of 1530 ids, depth 7.3e-5 m, weights 1.2e-4 (p99 1.7e-5).

    Depth differs by our snapping, weights by theirs: PyTorch3D adds 1e-8 to areas. Ours lie
    within 1.1e-7 of float64, which the next test holds on to.
    """
    size = int(golden["size"])
    fragments = rasterize(golden["vertices"], golden["faces"], (size, size), backend=backend)
    assert torch.equal(fragments.mask, golden["face"] >= 0)
    same = (fragments.face == golden["face"]) & fragments.mask
    assert 1 - same.sum() / fragments.mask.sum() < 0.002
    assert (fragments.depth - golden["depth"])[same].abs().max() < 2e-4
    assert fragments.barycentric is not None
    weight = (fragments.barycentric - golden["bary"])[same].abs()
    assert weight.max() < 2e-4 and weight.quantile(0.99) < 2e-5


def test_weights_are_those_of_float64(golden):
    vertices, faces = golden["vertices"], golden["faces"].long()
    fragments = rasterize(vertices, faces, (96, 96))
    image, row, column = fragments.mask.nonzero(as_tuple=True)
    corners = vertices.double()[image[:, None], faces[fragments.face[fragments.mask].long()]]
    flat = torch.cat([corners[..., :2], torch.ones(len(corners), 3, 1)], -1).double()
    centre = torch.stack([column + 0.5, row + 0.5, torch.ones(len(row))], -1).double()
    weight = torch.linalg.solve(flat.mT, centre) / corners[..., 2]
    weight = weight / weight.sum(-1, keepdim=True)
    assert fragments.barycentric is not None
    got = fragments.barycentric[fragments.mask]
    # Where snapping brought a centre inside, the true weights leave 0..1; then ours are nearest.
    inside = (weight >= 0).all(-1)
    assert inside.float().mean() > 0.99
    assert (got - weight)[inside].abs().max() < 5e-7
