"""DSR's losses on squares whose figures are known, and the traps of the released ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.losses import Moment, Target, TargetMaps
from plausibody.models.prediction import BodyParameters, PointPrediction
from plausibody.synth.semantic_labels import GROUPS, NAMES
from plausibody.synth.semantic_losses import (
    SemanticLoss,
    SemanticSettings,
    bare_masks,
    build_semantics,
    channel_matrix,
    class_weights,
    clothed_error,
    distance_error,
    distances,
    grouped,
    present,
    released_error,
    same_places,
    vertex_channels,
)
from plausibody.synth.stores import SynthAssets
from plausibody.synth.supervision import DrawnMesh, draw_attributes, overlap_error

SIZE = 32
ARM, COAT, PANTS, FACE, SHOE = (
    NAMES.index(name) for name in ("left arm", "coat", "pants", "face", "right shoe")
)
EVERYWHERE = torch.ones(1, SIZE, SIZE, dtype=torch.bool)
QUAD = torch.tensor([[0, 1, 2], [0, 2, 3]])


def square(low: tuple[float, float], high: tuple[float, float]) -> Tensor:
    """Corners of a rectangle on a map [px], wound so that it is seen."""
    (x, y), (u, v) = low, high
    return torch.tensor([[[x, y, 9.0], [u, y, 9.0], [u, v, 9.0], [x, v, 9.0]]])


def draw(corners: Tensor, prior: dict[int, float]) -> Tensor:
    """Draws a square that shows labels with some probabilities."""
    table = torch.zeros(1, 20)
    for label, share in prior.items():
        table[0, label] = share
    return draw_attributes(corners, QUAD, vertex_channels(table).expand(4, -1)[None], SIZE)


def region(label: int, rows: slice, columns: slice) -> Tensor:
    labels = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    labels[:, rows, columns] = label
    return labels


# What is drawn


def test_channels_are_the_bare_labels_and_the_rest_of_each_group() -> None:
    matrix, groups = channel_matrix()
    assert matrix.shape == (20, 10) and matrix[1:].sum(1).tolist() == [1.0] * 19
    assert matrix[0].sum() == 0 and set(groups) == set(GROUPS)
    assert groups.count("head") == groups.count("left leg") == 2 and groups.count("pants") == 1


def test_vertices_show_labels_of_people_only() -> None:
    prior = torch.tensor([[0.5, *[0.0] * 12, 0.3, 0.2, *[0.0] * 5]])
    channels = vertex_channels(prior)
    assert channels.sum() == pytest.approx(1) and channels.amax() == pytest.approx(0.6)
    hard = vertex_channels(prior, hard=True)
    assert hard.amax() == 1 and hard.sum() == 1
    assert hard.argmax() == channels.argmax()


def test_groups_are_drawn_in_one_picture() -> None:
    drawn = draw(square((4, 4), (20, 20)), {COAT: 0.7, PANTS: 0.3})
    groups = grouped(drawn)
    assert groups.shape == (1, 7, SIZE, SIZE)
    names = list(GROUPS)
    assert groups[0, names.index("upper clothes"), 10, 10] == pytest.approx(0.7)
    assert groups[0, names.index("pants"), 10, 10] == pytest.approx(0.3)
    assert groups.sum(1)[0, 10, 10] == pytest.approx(1) and groups[0, :, 25, 25].sum() == 0


# DSR-MC


def test_bare_labels_that_a_picture_shows_are_joined() -> None:
    labels = region(ARM, slice(4, 20), slice(4, 20))
    labels[:, 22, 22] = FACE  # one pixel: not there
    labels[:, 24:30, 4:20] = COAT
    drawn = draw(square((4, 4), (20, 20)), {ARM: 0.6, FACE: 0.3, COAT: 0.1})
    said, mask, shown = bare_masks(drawn, labels, EVERYWHERE)
    assert shown.tolist() == [True]
    assert torch.equal(mask[0] > 0, labels[0] == ARM)
    assert said[0, 10, 10] == pytest.approx(0.6), "faces do not count where none shows"
    hidden = EVERYWHERE & (labels != ARM)
    said, mask, shown = bare_masks(drawn, labels, hidden)
    assert not shown.any() and mask.sum() == 0 and said.sum() == 0
    assert present(labels, EVERYWHERE, 20)[0].nonzero()[:, 0].tolist() == [0, COAT, ARM]


def test_a_perfect_match_costs_nothing_though_rows_are_empty() -> None:
    labels = region(ARM, slice(4, 12), slice(4, 20))
    drawn = draw(square((4, 4), (20, 12)), {ARM: 1.0})
    said, mask, _ = bare_masks(drawn, labels, EVERYWHERE)
    assert overlap_error(said[:, None], mask[:, None]) == pytest.approx(0, abs=1e-6)
    rows = 1 - (said * mask).sum(-1) / ((said + mask - said * mask).sum(-1) + 1e-6)
    assert rows.mean() == pytest.approx(0.75, abs=1e-4), "as released: empty rows cost 1"


def test_squares_are_pulled_to_where_skin_is() -> None:
    labels = region(ARM, slice(8, 24), slice(12, 28))
    for measure in ("iou", "distance"):
        corners = square((7.5, 8), (23.5, 24)).requires_grad_()
        said, mask, _ = bare_masks(draw(corners, {ARM: 1.0}), labels, EVERYWHERE)
        if measure == "iou":
            error = overlap_error(said[:, None], mask[:, None])
        else:
            error = distance_error(said, mask)
        (slope,) = torch.autograd.grad(error.sum(), corners)
        assert slope[..., 0].sum() < -1e-4, f"{measure}: to the right"
        assert abs(slope[..., 1].sum()) < 0.05 * abs(slope[..., 0].sum())


def test_distances_are_those_of_scipy() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(4, 20, 25, generator=generator) < 0.01
    masks[0, 3, 4] = True
    masks[3] = False
    found = distances(masks)
    for mask, ours in zip(masks[:3], found[:3], strict=True):
        if mask.any():
            expected = torch.from_numpy(distance_transform_edt(~mask.numpy())).float()
            torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(found[3], torch.full((20, 25), float(np.hypot(20, 25))))


def test_distm_against_a_loop() -> None:
    labels = region(ARM, slice(8, 24), slice(12, 28))
    said = draw(square((4, 8), (20, 24)), {ARM: 1.0}).sum(1)
    far = distance_transform_edt(labels[0].numpy() != ARM)
    total = sum(far[i, j] for i in range(8, 24) for j in range(4, 20))
    expected = total / (256**1.5 + 1e-6)
    assert float(distance_error(said, (labels > 0).float())) == pytest.approx(expected, rel=1e-5)


# DSR-C


def test_small_classes_weigh_more_and_absent_ones_nothing() -> None:
    joined = torch.zeros(1, 8, 8, dtype=torch.uint8)
    joined[:, :4], joined[:, 4:6], joined[:, 6, :4] = 2, 3, 4
    weights = class_weights(joined, joined > 0, 8)
    assert weights[0].tolist() == pytest.approx([0, 0, 4 / 32, 4 / 16, 1, 0, 0, 0])
    joined[:, 6] = 2
    joined[:, 7] = 1
    lightest = class_weights(joined, joined > 0, 8, lightest=0.5)
    assert lightest[0].tolist() == pytest.approx([0, 1, 0.5, 0.5, 0, 0, 0, 0])


def test_a_body_strictly_inside_its_clothes_is_let_be() -> None:
    labels = region(COAT, slice(4, 28), slice(4, 28))
    corners = square((9.4, 9.4), (22.6, 22.6)).requires_grad_()
    error = clothed_error(draw(corners, {COAT: 0.6, PANTS: 0.4}), labels, EVERYWHERE)
    (slope,) = torch.autograd.grad(error.sum(), corners)
    assert slope.abs().max() < 1e-4


def test_what_leaks_out_is_pushed_in() -> None:
    labels = region(COAT, slice(4, 28), slice(4, 20))
    corners = square((8.4, 8.4), (24.4, 24.4)).requires_grad_()
    drawn = draw(corners, {COAT: 1.0})
    error = clothed_error(drawn, labels, EVERYWHERE, classes=0.0)
    assert float(error.detach()) == pytest.approx(16 * 4 / (24 * 16), abs=1e-5)
    (slope,) = torch.autograd.grad(error.sum(), corners)
    assert slope[0, 1:3, 0].sum() > 1e-3, "the right side to the left"
    assert abs(slope[0, [0, 3], 0].sum()) < 0.1 * slope[0, 1:3, 0].sum()
    hidden = EVERYWHERE.clone()
    hidden[:, :, 20:] = False
    assert clothed_error(drawn.detach(), labels, hidden, classes=0.0) == 0


def test_borders_between_classes_are_pulled_to_those_of_the_map() -> None:
    """Two squares side by side, coat and pants: the border moves to where the map has it."""
    labels = region(COAT, slice(4, 28), slice(4, 20))
    labels[:, 4:28, 20:28] = PANTS
    corners = torch.cat([square((6, 6), (14.5, 26)), square((14.5, 6), (26, 26))], 1)
    corners = corners.requires_grad_()
    faces = torch.cat([QUAD, QUAD + 4])
    table = torch.zeros(8, 20)
    table[:4, COAT], table[4:, PANTS] = 1, 1
    table[:, ARM] = 0.2
    drawn = draw_attributes(corners, faces, vertex_channels(table)[None], SIZE)
    (slope,) = torch.autograd.grad(clothed_error(drawn, labels, EVERYWHERE).sum(), corners)
    border = slope[0, [1, 2, 4, 7], 0].sum()
    assert border < -1e-3, "to the right"


@pytest.mark.parametrize("prior", [{COAT: 0.6, PANTS: 0.4}, {COAT: 0.1, ARM: 0.9}, {COAT: 1.0}])
def test_uncovering_clothes_never_pays(prior: dict[int, float]) -> None:
    """The soft-prior shrink test, by values and by gradients; the naive form fails both."""
    labels = region(COAT, slice(4, 28), slice(4, 28))
    drawn = draw(square((8, 8), (24, 24)), prior)
    covered = float(clothed_error(drawn, labels, EVERYWHERE))
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        left = torch.rand(1, 1, SIZE, SIZE, generator=generator) < 0.7
        assert float(clothed_error(drawn * left, labels, EVERYWHERE)) >= covered - 1e-6

    corners = square((8.4, 8.4), (23.6, 23.6)).requires_grad_()
    centre = torch.tensor([16.0, 16.0, 9.0])

    def gained_by_shrinking(error: Tensor) -> float:
        (slope,) = torch.autograd.grad(error.sum(), corners, retain_graph=True)
        return float((slope * (corners.detach() - centre)).sum())

    drawn = draw(corners, prior)
    assert gained_by_shrinking(clothed_error(drawn, labels, EVERYWHERE)) < 1e-4
    groups = grouped(drawn)
    right = groups[:, list(GROUPS).index("upper clothes")]
    naive = -(right + 1 - groups.sum(1) + 1e-4).log()[labels == COAT].mean()
    if prior[COAT] < 1:
        assert gained_by_shrinking(naive) > 1e-3


def test_no_pixel_pulls_without_bound_however_impossible_its_class() -> None:
    labels = region(COAT, slice(4, 28), slice(4, 28))
    drawn = draw(square((8, 8), (24, 24)), {COAT: 1e-5, ARM: 1 - 1e-5}).requires_grad_()
    (slope,) = torch.autograd.grad(clothed_error(drawn, labels, EVERYWHERE).sum(), drawn)
    person, beside = 24 * 24, 1.0
    assert 0.5 / person < slope.abs().max() <= (1 + beside) / person


def test_the_released_form_is_the_cross_entropy_of_a_softmax_and_fills_clothes() -> None:
    labels = region(COAT, slice(4, 28), slice(4, 28))
    scores = torch.zeros(8)
    bare = -scores.log_softmax(0)[2]
    scores[2] = 1
    right, beside = -scores.log_softmax(0)[2], -scores.log_softmax(0)[0]
    assert bare == pytest.approx(2.079, abs=1e-3) and bare - right == pytest.approx(0.805, abs=1e-3)
    assert beside - bare == pytest.approx(0.195, abs=1e-3)
    drawn = draw(square((4, 4), (28, 28)), {COAT: 1.0})
    clothes, background = 576.0, 448.0
    weight = {"clothes": background / clothes, "background": 1.0}
    expected = (weight["clothes"] * clothes * right + background * bare) / (2 * background)
    assert float(released_error(drawn, labels, EVERYWHERE)) == pytest.approx(
        float(expected), rel=1e-5
    )
    corners = square((8.4, 8.4), (23.6, 23.6)).requires_grad_()
    error = released_error(draw(corners, {COAT: 1.0}), labels, EVERYWHERE)
    (slope,) = torch.autograd.grad(error.sum(), corners)
    outwards = corners.detach() - torch.tensor([16.0, 16.0, 9.0])
    assert (slope * outwards).sum() < -1e-3, "it pulls bodies to fill the clothes"


# The objective


class Nothing(nn.Module):
    """An objective that asks for nothing."""

    markers = None

    def forward(self, prediction: object, target: object, moment: object) -> tuple[Tensor, dict]:
        return torch.zeros(()), {"nothing": torch.zeros(())}


def people(assets: SynthAssets, moved: float = 0.0) -> tuple[PointPrediction, BodyParameters]:
    body = BodyParameters(shape=torch.zeros(2, 10), rotations=torch.eye(3).repeat(2, 24, 1, 1))
    camera = WeakPerspectiveCamera(
        scale=torch.tensor([0.9, 0.9]), shift=torch.tensor([[moved, 0.25], [moved, 0.25]])
    )
    return PointPrediction(camera=camera, parameters=body), body


@pytest.fixture(scope="module")
def loss(assets: SynthAssets) -> SemanticLoss:
    """Trunks wear coats, arms are bare, all else are pants; of the left side."""
    mesh = DrawnMesh.of(assets, "coarse")
    prior = torch.zeros(len(assets.template.vertices), 20)
    reach = assets.template.vertices[:, 0]
    prior[:, PANTS] = 1
    prior[reach > 0.25] = torch.eye(20)[ARM]
    places = same_places(mesh.skin.vertices[: mesh.drawn], assets.template.vertices)
    torch.testing.assert_close(assets.template.vertices[places], mesh.skin.vertices[: mesh.drawn])
    return SemanticLoss(
        Nothing(), mesh, vertex_channels(prior)[places], SemanticSettings(mc=2.0, c=3.0)
    )


def target_of(loss: SemanticLoss, assets: SynthAssets, labels: Tensor | None = None) -> Target:
    """Label maps as the prediction of `people` has them."""
    prediction, body = people(assets)
    pixels = loss.mesh.place(body, prediction.camera, 48)
    drawn = draw_attributes(pixels, loss.mesh.faces, loss.channels[None], 48)
    if labels is None:
        matrix, _ = channel_matrix()
        arms = matrix[ARM].argmax()
        labels = torch.where(drawn[:, arms] > 0.5, ARM, PANTS) * (drawn.sum(1) > 0.5)
    maps = TargetMaps(whole=(labels > 0).float(), labels=labels.to(torch.uint8))
    return Target(parameters=body, keypoints=torch.zeros(2, 17, 2), maps=maps)


def test_true_bodies_cost_little_and_moved_ones_more(
    loss: SemanticLoss, assets: SynthAssets
) -> None:
    target, moment = target_of(loss, assets), Moment(0, torch.Generator())
    true, parts = loss(people(assets)[0], target, moment)
    assert set(parts) == {"nothing", "dsr_mc", "dsr_c"}
    assert true == pytest.approx(float(parts["dsr_mc"] + parts["dsr_c"]))
    assert parts["dsr_mc"] < 0.3 and parts["dsr_c"] < 0.2
    shifted, _ = people(assets, 0.1)
    shift = shifted.camera.shift.requires_grad_()
    moved, parts = loss(shifted, target, moment)
    assert moved > true + 1
    (slope,) = torch.autograd.grad(moved, shift)
    assert (slope[:, 0] > 0).all(), "back to the left"


def test_people_without_labels_are_passed_over(loss: SemanticLoss, assets: SynthAssets) -> None:
    target = target_of(loss, assets)
    assert target.maps is not None and target.maps.labels is not None
    moment, moved = Moment(0, torch.Generator()), people(assets, 0.1)[0]
    both, _ = loss(moved, target, moment)
    labels = target.maps.labels.clone()
    labels[1] = 0
    half, _ = loss(moved, target_of(loss, assets, labels), moment)
    assert half == pytest.approx(float(both), rel=1e-3)
    nobody, _ = loss(moved, target_of(loss, assets, 0 * labels), moment)
    assert nobody == 0


def test_label_losses_wait_for_their_step(loss: SemanticLoss, assets: SynthAssets) -> None:
    late = dataclasses.replace(loss.settings, first_step=5)
    waiting = SemanticLoss(Nothing(), loss.mesh, loss.channels, late)
    target, prediction = target_of(loss, assets), people(assets)[0]
    _, parts = waiting(prediction, target, Moment(4, torch.Generator()))
    assert set(parts) == {"nothing"}
    _, parts = waiting(prediction, target, Moment(5, torch.Generator()))
    assert "dsr_mc" in parts
    bare = dataclasses.replace(target, maps=TargetMaps(whole=torch.zeros(2, 8, 8)))
    with pytest.raises(ValueError, match="wanted a stream that hands label maps over"):
        loss(prediction, bare, Moment(0, torch.Generator()))


def test_other_forms_count_too(loss: SemanticLoss, assets: SynthAssets) -> None:
    released = SemanticSettings(mc=1.0, c=1.0, mc_error="distance", c_error="released")
    other = SemanticLoss(Nothing(), loss.mesh, loss.channels, released)
    target, moment = target_of(loss, assets), Moment(0, torch.Generator())
    true, parts = other(people(assets)[0], target, moment)
    moved, _ = other(people(assets, 0.15)[0], target, moment)
    assert moved > true and 1.2 < parts["dsr_c"] < 2.3


def test_a_prior_needs_textures(assets: SynthAssets) -> None:
    with pytest.raises(ValueError, match="wanted textures to count a prior over"):
        build_semantics(Nothing(), assets, SemanticSettings(mc=1.0))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"mc": -1.0}, "semantics.mc: wanted 0 or more"),
        ({"c": float("nan")}, "semantics.c: wanted 0 or more"),
        ({"c_error": "soft"}, "semantics.c_error: wanted one-sided or released"),
        ({"mc_error": "row"}, "semantics.mc_error: wanted iou or distance"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SemanticSettings(**values)
    assert not SemanticSettings().counts
