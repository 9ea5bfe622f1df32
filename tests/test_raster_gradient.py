"""Gradients of edges: against finite differences of finely sampled pictures, and at work."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from plausibody.models.body import Skin, pose_body
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.synth.raster import edge_grad, label_pixels, rasterize, rasterize_labels
from plausibody.synth.stores import SynthAssets

SIDE = 256
FINE = 8
"""Samples of a pixel, along each axis."""
STEP = torch.tensor([0.004, 0.004, 0.02, 0.004] + [0.01] * 9)
"""Of shift [m], scale, and turns of the pelvis, left shoulder and right knee [rad]."""


@dataclass(frozen=True)
class Scene:
    """A body of the bank that 13 numbers move; see `STEP`."""

    skin: Skin
    drawn: int
    faces: Tensor
    rotvecs: Tensor
    shape: Tensor

    def project(self, moves: Tensor, side: int) -> Tensor:
        turns = torch.zeros(len(moves), 24, 3).index_copy(
            1, torch.tensor([0, 16, 5]), moves[:, 4:].view(-1, 3, 3)
        )
        rotmat = rotvec_to_rotmat(self.rotvecs + turns)
        body = pose_body(self.skin, self.shape.expand(len(moves), -1), rotmat)
        camera = PerspectiveCamera(
            focal=torch.full((len(moves),), side * 1.05),
            principal=torch.full((len(moves), 2), side / 2),
            translation=torch.tensor([0.0, -0.2, 2.5]) + moves[:, :3],
        )
        vertices = body.vertices[:, : self.drawn] * (1 + moves[:, 3, None, None])
        return camera.project(vertices)


def scene(assets: SynthAssets, pose: int, coarse: bool = False) -> Scene:
    mesh = assets.coarse if coarse else assets.template
    return Scene(
        skin=assets.coarse.skin if coarse else assets.template.skin,
        drawn=assets.coarse.drawn if coarse else len(assets.template.vertices),
        faces=mesh.faces,
        rotvecs=assets.bank.rotvecs[pose],
        shape=torch.randn(1, 10, generator=torch.Generator().manual_seed(pose)),
    )


def masks(labels: Tensor, count: int) -> Tensor:
    """One channel for each label but 0."""
    return torch.nn.functional.one_hot(labels.long(), count + 1).movedim(-1, 1)[:, 1:].float()


def shares(labels: Tensor, count: int) -> Tensor:
    """The part of each pixel that each label but 0 covers, from fine samples of one picture."""
    side = len(labels) // FINE
    pixel = torch.arange(side)[:, None] * side + torch.arange(side)
    pixel = pixel.repeat_interleave(FINE, 0).repeat_interleave(FINE, 1)
    seen = labels > 0
    place = pixel[seen] * count + labels[seen].long() - 1
    hits = torch.bincount(place, minlength=side * side * count)
    return hits.view(side, side, count).permute(2, 0, 1) / FINE**2


@pytest.mark.parametrize("pose", [5, 9000])
@pytest.mark.parametrize("parts", [False, True], ids=["silhouette", "parts"])
def test_gradients_are_those_of_finely_sampled_pictures(assets, pose, parts):
    """Measured: cosines of 0.9976 to 0.9997, ratios of 0.979 to 1.008."""
    body = scene(assets, pose)
    face_labels = assets.part24 if parts else torch.ones_like(assets.part24)
    count = int(face_labels.max())
    generator = torch.Generator().manual_seed(pose)
    away = torch.randn(1, 13, generator=generator) * torch.tensor([0.03] * 4 + [0.1] * 9)
    target = masks(
        rasterize_labels(body.project(away, SIDE), body.faces, face_labels, (SIDE, SIDE)), count
    )

    moves = torch.zeros(1, 13, requires_grad=True)
    vertices = body.project(moves, SIDE)
    fragments = rasterize(vertices, body.faces, (SIDE, SIDE), barycentrics=False)
    labels = label_pixels(fragments, face_labels)
    picture = edge_grad(masks(labels, count), vertices, fragments, body.faces, labels)
    ((picture - target) ** 2).sum().backward()
    assert moves.grad is not None
    ours = moves.grad[0]

    losses = []
    nudges = torch.cat([torch.diag(STEP), torch.diag(-STEP)])
    for points in body.project(nudges, SIDE * FINE):
        fine = (SIDE * FINE, SIDE * FINE)
        drawn = rasterize_labels(points[None], body.faces, face_labels, fine, cull="back")
        losses.append(((shares(drawn[0], count) - target[0]) ** 2).sum())
    ahead, behind = torch.stack(losses).chunk(2)
    expected = (ahead - behind) / (2 * STEP)
    # In units of its step, each of the 13 counts.
    for unit in (torch.ones(13), STEP):
        one, other = ours * unit, expected * unit
        assert torch.cosine_similarity(one, other, dim=0) > 0.99
        assert 0.9 < one.norm() / other.norm() < 1.1


def test_a_body_follows_its_silhouette(assets):
    """Measured: from an IoU of 0.48 to 0.97 in 60 steps."""
    body, size = scene(assets, 5, coarse=True), (128, 128)
    away = torch.tensor([[0.11, 0.04, 0.05, 0.0, 0.1, -0.1, 0.05, 0.1, 0.1, -0.15, 0.1, 0.0, 0.1]])
    target = rasterize(body.project(away, 128), body.faces, size).mask.float()
    moves = torch.zeros(1, 13, requires_grad=True)
    optimizer = torch.optim.Adam([moves], 0.02)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, 60)
    overlaps = []
    for _ in range(60):
        vertices = body.project(moves, 128)
        fragments = rasterize(vertices, body.faces, size, barycentrics=False)
        mask = fragments.mask
        picture = edge_grad(mask.float()[:, None], vertices, fragments, body.faces, mask)[:, 0]
        loss = ((picture - target) ** 2).sum() / target.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        both = (mask & (target > 0)).sum()
        overlaps.append(float(both / (mask | (target > 0)).sum()))
    assert overlaps[0] < 0.55
    assert overlaps[-1] > 0.95


# By hand


def square(left: float, right: float) -> tuple[Tensor, Tensor]:
    corners = [[left, 2.0], [right, 2.0], [right, 6.0], [left, 6.0]]
    vertices = torch.tensor([[[x, y, 2.0] for x, y in corners]], requires_grad=True)
    return vertices, torch.tensor([[0, 1, 2], [0, 2, 3]])


def test_the_image_passes_unchanged_and_so_does_its_gradient():
    vertices, faces = square(2.0, 6.0)
    fragments = rasterize(vertices, faces, (8, 8))
    image = torch.rand(1, 3, 8, 8, requires_grad=True)
    out = edge_grad(image, vertices, fragments, faces, fragments.mask)
    assert torch.equal(out, image)
    weight = torch.rand(1, 3, 8, 8)
    (out * weight).sum().backward()
    assert torch.equal(image.grad, weight)


def test_the_area_of_a_square_grows_as_its_sides_move_out():
    """d area = height dx for the sides, width dy for top and bottom; shared by their ends."""
    vertices, faces = square(2.0, 6.0)
    fragments = rasterize(vertices, faces, (8, 8))
    mask = fragments.mask
    edge_grad(mask.float()[:, None], vertices, fragments, faces, mask).sum().backward()
    gradient = vertices.grad[0]
    assert torch.equal(gradient[:, 2], torch.zeros(4))
    torch.testing.assert_close(gradient[[1, 2], 0].sum() + gradient[[0, 3], 0].sum(),
                               torch.tensor(0.0), atol=1e-5, rtol=0)  # fmt: skip
    right = (gradient[:, 0] * torch.tensor([0.0, 1.0, 1.0, 0.0])).sum()
    # The outermost centres lie half a pixel inside, so an eighth of it goes to the other side.
    assert 0.7 * 4 < right <= 4
    moved = (gradient[:, 0] * vertices.detach()[0, :, 0]).sum()
    assert 0.7 * 16 < moved <= 16  # widening: d area / d ln width = area


def test_a_shift_of_both_sides_changes_no_area():
    vertices, faces = square(2.2, 6.7)
    fragments = rasterize(vertices, faces, (8, 8))
    mask = fragments.mask
    edge_grad(mask.float()[:, None], vertices, fragments, faces, mask).sum().backward()
    torch.testing.assert_close(vertices.grad.sum(1), torch.zeros(1, 3), atol=1e-5, rtol=0)


def test_the_nearer_of_two_surfaces_owns_their_edge():
    """Far square behind a near one: the far one's vertices feel only its own border."""
    near, faces = square(2.0, 4.0)
    far = near.detach() * torch.tensor([1.0, 1.0, 1.5])
    far[..., 0] = torch.tensor([-20.0, 20.0, 20.0, -20.0])
    far[..., 1] = torch.tensor([-20.0, -20.0, 20.0, 20.0])
    vertices = torch.cat([near.detach(), far], 1).requires_grad_()
    faces = torch.cat([faces, faces + 4])
    fragments = rasterize(vertices, faces, (8, 8))
    labels = label_pixels(fragments, torch.tensor([1, 1, 2, 2], dtype=torch.uint8))
    image = (labels == 1).float()[:, None]
    edge_grad(image, vertices, fragments, faces, labels).sum().backward()
    assert vertices.grad[0, :4, :2].abs().sum() > 1
    assert torch.equal(vertices.grad[0, 4:], torch.zeros(4, 3))


def test_without_edges_there_is_no_gradient():
    vertices, faces = square(-50.0, 50.0)
    vertices = (vertices.detach() * torch.tensor([1.0, 40.0, 1.0])
                - torch.tensor([0.0, 160.0, 0.0])).requires_grad_()  # fmt: skip
    fragments = rasterize(vertices, faces, (8, 8))
    assert fragments.mask.all()
    image = torch.rand(1, 2, 8, 8)
    # Between the two faces of the square colours differ, but nothing ends.
    edge_grad(image, vertices, fragments, faces, fragments.mask).sum().backward()
    assert torch.equal(vertices.grad, torch.zeros(1, 4, 3))


def test_labels_without_faces_have_no_edges():
    vertices, faces = square(20.0, 30.0)
    fragments = rasterize(vertices, faces, (8, 8))
    labels = torch.arange(64).view(1, 8, 8)
    edge_grad(torch.rand(1, 2, 8, 8), vertices, fragments, faces, labels).sum().backward()
    assert torch.equal(vertices.grad, torch.zeros(1, 4, 3))


def test_each_picture_of_a_batch_has_its_own_gradient():
    alone = []
    for left in (2.0, 3.3):
        vertices, faces = square(left, 6.0)
        fragments = rasterize(vertices, faces, (8, 9))
        mask = fragments.mask
        edge_grad(mask.float()[:, None], vertices, fragments, faces, mask).square().sum().backward()
        alone.append(vertices.grad)
    both = torch.cat([square(2.0, 6.0)[0], square(3.3, 6.0)[0]]).detach().requires_grad_()
    fragments = rasterize(both, faces, (8, 9))
    mask = fragments.mask
    edge_grad(mask.float()[:, None], both, fragments, faces, mask).square().sum().backward()
    torch.testing.assert_close(both.grad, torch.cat(alone))


def test_strides_and_types_of_the_vertices_do_not_matter():
    vertices, faces = square(2.0, 6.0)
    fragments = rasterize(vertices, faces, (8, 8))
    mask = fragments.mask
    changed = vertices.detach().double().mT.contiguous().mT.requires_grad_()
    for points in (vertices, changed):
        edge_grad(mask.float()[:, None], points, fragments, faces.int(), mask).sum().backward()
    assert changed.grad.dtype == torch.float64
    torch.testing.assert_close(changed.grad.float(), vertices.grad)


def test_sizes_that_do_not_belong_together_are_refused():
    vertices, faces = square(2.0, 6.0)
    fragments = rasterize(vertices, faces, (8, 8))
    wrong = (ValueError, TypeCheckError)
    with pytest.raises(wrong):
        edge_grad(torch.rand(1, 2, 8, 9), vertices, fragments, faces, fragments.mask)
    with pytest.raises(wrong):
        edge_grad(torch.rand(1, 2, 8, 8), vertices, fragments, faces, fragments.mask[:, 1:])
