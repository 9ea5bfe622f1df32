"""The rasteriser's contract, each law for each backend."""

from __future__ import annotations

import os

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.synth.raster import (
    interpolate,
    label_pixels,
    rasterize,
    rasterize_labels,
    rasterize_outlines,
)

BACKENDS = ("torch", "numba")
if os.environ.get("TRITON_INTERPRET") == "1":
    BACKENDS += ("triton",)  # test_raster_triton.py asks for it
WRONG = (ValueError, jaxtyping.TypeCheckError)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def mesh(points: list[list[float]], faces: list[list[int]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([points]), torch.tensor(faces)


def rectangle(left: float, top: float, right: float, bottom: float, depth: float = 2.0):
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return mesh([[x, y, depth] for x, y in corners], [[0, 1, 2], [0, 2, 3]])


def covered(vertices: Tensor, faces: Tensor, size: tuple[int, int], backend: str, **options) -> int:
    return int(rasterize(vertices, faces, size, backend=backend, **options).mask.sum())


# What is covered


def test_square_on_pixel_corners_covers_its_area(backend):
    fragments = rasterize(*rectangle(4, 4, 12, 12), (16, 16), backend=backend)
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[4:12, 4:12] = True
    assert torch.equal(fragments.mask[0], expected)


def test_square_on_pixel_centres_takes_its_top_and_left_edges(backend):
    fragments = rasterize(*rectangle(4.5, 4.5, 12.5, 12.5), (16, 16), backend=backend)
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[4:12, 4:12] = True
    assert torch.equal(fragments.mask[0], expected)


def test_pixel_row_is_y_and_column_is_x(backend):
    fragments = rasterize(*rectangle(5, 1, 6, 2), (4, 8), backend=backend)
    assert fragments.mask.nonzero().tolist() == [[0, 1, 5]]


@pytest.mark.parametrize("snapped_to", [2.0**-12, 0.25, 0.5])
def test_a_torn_up_square_is_covered_exactly_once(backend, snapped_to):
    """Every pixel of a jittered grid belongs to exactly one of its triangles."""
    if backend == "triton":
        pytest.skip("130 pictures take minutes in the interpreter; see the test of soups")
    generator = torch.Generator().manual_seed(0)
    side = 9
    grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="xy"), -1)
    points = grid.float() * 4
    points[1:-1, 1:-1] += torch.rand(side - 2, side - 2, 2, generator=generator) * 3 - 1.5
    points = (points / snapped_to).round() * snapped_to
    vertices = torch.cat([points.view(-1, 2), torch.ones(side * side, 1)], 1)
    first = (torch.arange(side - 1)[:, None] * side + torch.arange(side - 1)).flatten()
    lower = torch.stack([first, first + 1, first + side + 1], 1)
    upper = torch.stack([first, first + side + 1, first + side], 1)
    faces = torch.cat([lower, upper])
    faces = faces[torch.randperm(len(faces), generator=generator)]
    # One image per face: no face can hide behind another.
    single = torch.zeros(32, 32, dtype=torch.int64)
    for face in faces:
        single += rasterize(vertices[None], face[None], (32, 32), backend=backend).mask[0]
    assert (single == 1).all()
    assert covered(vertices[None], faces, (32, 32), backend) == 32 * 32


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (5, 13), (33, 2)])
def test_what_reaches_past_the_border_fills_the_image(backend, size):
    assert covered(*rectangle(-1000, -1000, 1000, 1000), size, backend) == size[0] * size[1]


def test_what_straddles_the_border_is_cut_there(backend):
    assert covered(*rectangle(-3, -3, 2, 3), (8, 8), backend) == 2 * 3


def test_what_is_outside_covers_nothing_and_is_not_dropped(backend):
    fragments = rasterize(*rectangle(20, 0, 30, 8), (8, 8), backend=backend)
    assert not fragments.mask.any()
    assert fragments.dropped.tolist() == [0]


def test_faces_between_pixel_centres_are_not_seen(backend):
    assert covered(*rectangle(3.6, 3.6, 4.4, 4.4), (8, 8), backend) == 0
    assert covered(*rectangle(3.4, 3.4, 3.6, 3.6), (8, 8), backend) == 1


def test_a_line_covers_nothing(backend):
    vertices, _ = rectangle(0, 0, 8, 8)
    for face in ([0, 0, 1], [0, 2, 2], [1, 1, 1]):
        fragments = rasterize(vertices, torch.tensor([face]), (8, 8), backend=backend)
        assert not fragments.mask.any()
        assert fragments.dropped.tolist() == [0]


# What is nearest


def test_the_nearer_face_is_seen_whatever_the_order(backend):
    vertices = torch.tensor([[0, 0, 2], [8, 0, 2], [0, 8, 2], [0, 0, 1], [8, 0, 1], [0, 8, 1]])
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])
    near_last = rasterize(vertices[None].float(), faces, (8, 8), backend=backend)
    near_first = rasterize(vertices[None].float(), faces.flip(0), (8, 8), backend=backend)
    assert set(near_last.face.unique().tolist()) == {-1, 1}
    assert set(near_first.face.unique().tolist()) == {-1, 0}
    assert torch.equal(near_last.depth, near_first.depth)


def test_of_equally_near_faces_the_first_is_seen(backend):
    vertices, faces = rectangle(0, 0, 8, 8)
    fragments = rasterize(vertices, faces[[0, 1, 0, 1, 1]], (8, 8), backend=backend)
    assert set(fragments.face.unique().tolist()) == {0, 1}


@pytest.mark.parametrize("perspective", [True, False])
def test_depth_and_barycentrics_follow_a_tilted_plane(backend, perspective):
    """The bound for depth is a snapped position's; the measured maxima are 6e-6 m and 3e-7."""
    vertices = torch.tensor([[[1.3, 2.1, 2.0], [29.7, 5.2, 3.0], [9.4, 30.8, 5.0]]])
    faces = torch.tensor([[0, 1, 2]])
    fragments = rasterize(vertices, faces, (32, 32), backend=backend, perspective=perspective)
    _, row, column = fragments.mask.nonzero(as_tuple=True)
    centre = torch.stack([column + 0.5, row + 0.5, torch.ones(len(row))], 1).double()
    corners = vertices[0].double()
    flat = torch.cat([corners[:, :2], torch.ones(3, 1)], 1)
    weight = torch.linalg.solve(flat.T, centre.T).T
    depth = weight @ corners[:, 2]
    if perspective:
        depth = 1 / (weight @ (1 / corners[:, 2]))
        weight = weight / corners[:, 2] * depth[:, None]
    assert (fragments.depth[fragments.mask] - depth).abs().max() < 1e-4
    assert fragments.barycentric is not None
    assert (fragments.barycentric[fragments.mask] - weight).abs().max() < 1e-6


def test_barycentrics_sum_to_one_or_are_zero(backend):
    fragments = rasterize(*rectangle(1.3, 1.4, 6.7, 6.2), (8, 8), backend=backend)
    assert fragments.barycentric is not None
    total = fragments.barycentric.sum(-1)
    torch.testing.assert_close(total, fragments.mask.float(), atol=2e-7, rtol=0)
    assert (fragments.barycentric >= 0).all()
    fast = rasterize(*rectangle(1.3, 1.4, 6.7, 6.2), (8, 8), backend=backend, barycentrics=False)
    assert fast.barycentric is None
    assert torch.equal(fast.face, fragments.face)


def test_winding_does_not_matter(backend):
    vertices, faces = rectangle(1.3, 1.4, 6.7, 6.2)
    vertices[0, :, 2] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    one = rasterize(vertices, faces, (8, 8), backend=backend)
    other = rasterize(vertices, faces[:, [0, 2, 1]], (8, 8), backend=backend)
    assert torch.equal(one.face, other.face)
    torch.testing.assert_close(one.depth, other.depth, atol=0, rtol=3e-7)
    assert one.barycentric is not None and other.barycentric is not None
    torch.testing.assert_close(
        one.barycentric, other.barycentric[..., [0, 2, 1]], atol=3e-7, rtol=0
    )


def test_culling_leaves_front_or_back(backend):
    """A face's front appears anticlockwise; seen in the image, y is down."""
    vertices = torch.tensor([[[1.0, 7.0, 1.0], [7.0, 7.0, 1.0], [1.0, 1.0, 1.0]]])
    front = torch.tensor([[0, 1, 2]])
    back = front.flip(1)
    everything = covered(vertices, front, (8, 8), backend)
    assert everything > 0
    assert covered(vertices, front, (8, 8), backend, cull="back") == everything
    assert covered(vertices, front, (8, 8), backend, cull="front") == 0
    assert covered(vertices, back, (8, 8), backend, cull="back") == 0
    assert covered(vertices, back, (8, 8), backend, cull="front") == everything


# What is dropped


@pytest.mark.parametrize(
    "bad",
    [
        [0.0, 0.0, 0.0499],
        [0.0, 0.0, 0.0],
        [0.0, 0.0, -2.0],
        [0.0, 0.0, np.nan],
        [0.0, 0.0, np.inf],
        [np.nan, 0.0, 1.0],
        [0.0, -np.inf, 1.0],
        [2e6, 0.0, 1.0],
        [0.0, -131072.0, 1.0],
    ],
)
def test_a_face_with_an_unusable_vertex_is_dropped_and_counted(backend, bad):
    vertices, faces = rectangle(0, 0, 8, 8)
    vertices = torch.cat([vertices, vertices])
    vertices[1, 3] = torch.tensor(bad)
    fragments = rasterize(vertices, faces, (8, 8), backend=backend)
    assert fragments.dropped.tolist() == [0, 1]
    assert set(fragments.face[1].unique().tolist()) == {-1, 0}
    assert (fragments.face[0] == 1).any()
    assert torch.isfinite(fragments.depth).all()


def test_a_vertex_on_the_near_plane_is_kept(backend):
    assert covered(*rectangle(0, 0, 8, 8, depth=0.05), (8, 8), backend, near=0.05) == 64
    assert covered(*rectangle(0, 0, 8, 8, depth=0.05), (8, 8), backend, near=0.06) == 0


def test_a_vertex_just_inside_the_guard_band_is_kept(backend):
    far = 131071.0
    assert covered(*rectangle(-far, -far, far, far), (8, 8), backend) == 64


# What comes in


def test_empty_batches_and_meshes(backend):
    vertices, faces = rectangle(0, 0, 8, 8)
    no_faces = rasterize(vertices, faces[:0], (4, 5), backend=backend)
    assert no_faces.face.shape == (1, 4, 5) and not no_faces.mask.any()
    assert no_faces.dropped.tolist() == [0]
    no_images = rasterize(vertices[:0], faces, (4, 5), backend=backend)
    assert no_images.face.shape == (0, 4, 5)
    no_vertices = rasterize(vertices[:, :0], faces[:0], (4, 5), backend=backend)
    assert not no_vertices.mask.any()


def test_types_of_the_results(backend):
    fragments = rasterize(*rectangle(0, 0, 8, 8), (8, 8), backend=backend)
    assert fragments.face.dtype == torch.int32
    assert fragments.depth.dtype == torch.float32
    assert fragments.dropped.dtype == torch.int32
    assert fragments.barycentric is not None
    assert fragments.barycentric.dtype == torch.float32


def test_strides_and_types_of_the_input_do_not_matter(backend):
    vertices, faces = rectangle(1.25, 0, 6, 8)
    expected = rasterize(vertices, faces, (8, 8), backend=backend)
    for changed in (
        vertices.double(),
        vertices.mT.contiguous().mT,
        vertices.clone().requires_grad_(),
    ):
        for indices in (faces.int(), faces.T.contiguous().T):
            got = rasterize(changed, indices, (8, 8), backend=backend)
            assert torch.equal(got.face, expected.face)
            assert torch.equal(got.depth, expected.depth)
            assert not got.depth.requires_grad


def test_inputs_are_left_alone(backend):
    vertices, faces = rectangle(1.25, 0, 6, 8)
    before = vertices.clone(), faces.clone()
    rasterize(vertices, faces, (8, 8), backend=backend)
    assert torch.equal(vertices, before[0]) and torch.equal(faces, before[1])


def test_images_do_not_depend_on_their_batch(backend):
    one, faces = rectangle(1.25, 0, 6, 8)
    other = one + torch.tensor([1.0, 1.0, 0.5])
    both = rasterize(torch.cat([one, other]), faces, (8, 8), backend=backend)
    for number, alone in enumerate((one, other)):
        single = rasterize(alone, faces, (8, 8), backend=backend)
        assert torch.equal(single.face[0], both.face[number])
        assert torch.equal(single.depth[0], both.depth[number])


@pytest.mark.parametrize("index", [-1, 4])
def test_indices_outside_the_vertices_are_refused(backend, index):
    vertices, faces = rectangle(0, 0, 8, 8)
    faces[1, 2] = index
    with pytest.raises(ValueError, match=f"indices of 4 vertices.*{index}.*same mesh"):
        rasterize(vertices, faces, (8, 8), backend=backend)


def test_wrong_input_is_refused():
    vertices, faces = rectangle(0, 0, 8, 8)
    with pytest.raises(WRONG):
        rasterize(vertices[0], faces, (8, 8))
    with pytest.raises(WRONG):
        rasterize(vertices, faces.float(), (8, 8))
    with pytest.raises(ValueError, match="int32 or int64"):
        rasterize(vertices, faces.short(), (8, 8))
    with pytest.raises(ValueError, match="height and width"):
        rasterize(vertices, faces, (0, 8))
    with pytest.raises(ValueError, match="near"):
        rasterize(vertices, faces, (8, 8), near=0.0)
    with pytest.raises(ValueError, match="cull.*sideways"):
        rasterize(vertices, faces, (8, 8), cull="sideways")
    with pytest.raises(ValueError, match="threads"):
        rasterize(vertices, faces, (8, 8), threads=0)
    with pytest.raises(ValueError, match="auto, torch, numba.*opengl"):
        rasterize(vertices, faces, (8, 8), backend="opengl")
    with pytest.raises(WRONG):
        rasterize_labels(vertices, faces, torch.zeros(3, dtype=torch.uint8), (8, 8))
    with pytest.raises(WRONG):
        rasterize_labels(vertices, faces, torch.zeros(2), (8, 8))
    with pytest.raises(ValueError, match="barycentrics=True"):
        fragments = rasterize(vertices, faces, (8, 8), barycentrics=False)
        interpolate(fragments, vertices, faces)


# What is made of it


def test_labels_are_those_of_the_faces(backend):
    vertices, faces = rectangle(0, 0, 8, 8)
    face_labels = torch.tensor([7, 255], dtype=torch.uint8)
    fragments = rasterize(vertices, faces, (10, 10), backend=backend)
    labels = rasterize_labels(vertices, faces, face_labels, (10, 10), backend=backend)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels, label_pixels(fragments, face_labels))
    assert torch.equal(labels == 0, ~fragments.mask)
    assert labels[0, 0, 7] == 7 and labels[0, 7, 0] == 255


def test_a_face_labelled_zero_hides_what_is_behind(backend):
    vertices = torch.cat([rectangle(0, 0, 8, 8, 2.0)[0], rectangle(0, 0, 4, 8, 1.0)[0]], 1)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    face_labels = torch.tensor([1, 1, 0, 0], dtype=torch.uint8)
    labels = rasterize_labels(vertices, faces, face_labels, (8, 8), backend=backend)
    assert not labels[0, :, :4].any() and (labels[0, :, 4:] == 1).all()


def test_interpolation_reproduces_what_is_linear_in_space():
    """x z / f, y z / f and z are linear over a plane in space; so is any mix of them."""
    generator = torch.Generator().manual_seed(1)
    vertices = torch.rand(2, 30, 3, generator=generator) * 30 + torch.tensor([1.0, 1.0, 20.0])
    faces = torch.arange(30).view(10, 3)
    fragments = rasterize(vertices, faces, (32, 32))
    space = torch.cat([vertices[..., :2] * vertices[..., 2:], vertices[..., 2:]], -1)
    picture = interpolate(fragments, space, faces)
    image, row, column = fragments.mask.nonzero(as_tuple=True)
    depth = picture[image, 2, row, column]
    # Measured: 3e-5 px here; a sliver's centre may lie 2^-13 px outside.
    torch.testing.assert_close(
        picture[image, 0, row, column] / depth, column + 0.5, atol=5e-3, rtol=0
    )
    torch.testing.assert_close(picture[image, 1, row, column] / depth, row + 0.5, atol=5e-3, rtol=0)
    constant = interpolate(fragments, torch.ones(1, 30, 1), faces)
    torch.testing.assert_close(constant[:, 0], fragments.mask.float(), atol=3e-7, rtol=0)


def test_interpolation_has_gradients_in_the_attributes():
    vertices, faces = rectangle(1.3, 1.4, 6.7, 6.2)
    fragments = rasterize(vertices, faces, (8, 8))
    attributes = torch.rand(1, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: interpolate(fragments, a, faces), (attributes,))


def test_outlines_are_what_any_camera_at_that_place_sees():
    generator = torch.Generator().manual_seed(2)
    places = torch.rand(2, 30, 2, generator=generator) * 24
    faces = torch.arange(30).view(10, 3)
    depth = torch.rand(2, 30, 1, generator=generator) + 1
    seen = rasterize(torch.cat([places, depth], -1), faces, (20, 24)).mask
    assert torch.equal(rasterize_outlines(places, faces, (20, 24)), seen)
    assert 0.1 < seen.float().mean() < 0.95
