"""Losses that look through the renderer: where they pull, what counts, and that runs keep them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import tiny_run
from torch import Tensor, nn

from plausibody.config import RunConfig, override
from plausibody.config_file import from_json, to_json
from plausibody.models.camera import WeakPerspectiveCamera, fit_weak_perspective
from plausibody.models.losses import LiteLoss, Moment, StrapsLoss, Target, TargetMaps
from plausibody.models.markers import Markers
from plausibody.models.networks import build_regressor
from plausibody.models.prediction import BodyParameters, PointPrediction
from plausibody.models.records import map_tensors, take
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.presets import preset
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.raster import label_pixels, rasterize
from plausibody.synth.stores import SynthAssets
from plausibody.synth.supervision import (
    ERRORS,
    DrawnMesh,
    SilhouetteLoss,
    SupervisedLoss,
    SupervisionSettings,
    blurred,
    draw_attributes,
    draw_silhouettes,
    overlap_error,
    picture_error,
    wanted_maps,
)
from plausibody.training.estimates import _stages
from plausibody.training.objective import build_objective, loss_changes
from plausibody.training.trainer import Trainer

SIZE = 64
FINE = 8
OWN: dict[str, Any] = {
    "train.steps": 6,
    "train.checkpoint_every": 2,
    "train.validate_every": 6,
    "stream.maps.size": 32,
    "supervision.first_step": 2,
}


def moment(step: int = 0) -> Moment:
    return Moment(step, torch.Generator())


@pytest.fixture(scope="module")
def mesh(assets: SynthAssets) -> DrawnMesh:
    return DrawnMesh.of(assets, "coarse")


@pytest.fixture(scope="module")
def bodies(assets: SynthAssets) -> BodyParameters:
    generator = torch.Generator().manual_seed(3)
    return BodyParameters(
        shape=torch.randn(2, 10, generator=generator),
        rotations=rotvec_to_rotmat(assets.bank.rotvecs[torch.tensor([5, 900])]),
    )


def camera(moves: Tensor | None = None) -> WeakPerspectiveCamera:
    """Puts two bodies into the middle; moves are of scale (relative) and shift [m]."""
    moves = torch.zeros(2, 3) if moves is None else moves
    return WeakPerspectiveCamera(
        scale=0.9 * (1 + moves[:, 0]), shift=torch.tensor([0.0, 0.15]) + moves[:, 1:]
    )


def silhouette(mesh: DrawnMesh, bodies: BodyParameters, seen_by: WeakPerspectiveCamera) -> Tensor:
    return draw_silhouettes(mesh.place(bodies, seen_by, SIZE), mesh.faces, SIZE)


AWAY = torch.tensor([[0.1, 0.05, -0.04], [-0.08, 0.03, 0.06]])


def target_of(whole: Tensor, **fields: Any) -> Target:
    return Target(
        parameters=BodyParameters(torch.zeros(2, 10), torch.eye(3).expand(2, 24, 3, 3)),
        keypoints=torch.zeros(2, 17, 2),
        maps=TargetMaps(whole=whole.detach(), **fields),
    )


# Where the losses pull


@pytest.mark.parametrize("error", list(ERRORS))
def test_a_body_that_was_moved_is_pulled_back(mesh, bodies, error):
    """Measured: from 0.55 to 0.98 and more of the target's area in common."""
    settings = SupervisionSettings(1.0, error=error, blur=2 if error == "cross_entropy" else 0)
    target = target_of(silhouette(mesh, bodies, camera()))
    loss = SilhouetteLoss(mesh, settings)
    moves = AWAY.clone().requires_grad_()
    optimiser = torch.optim.Adam([moves], 0.01)
    found = []
    for step in range(40):
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * (1 - step / 42)
        prediction = PointPrediction(camera(moves), bodies)
        value = loss(prediction, target)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        found.append(float(value.detach()))
    assert found[-1] < 0.2 * found[0]
    assert moves.detach().abs().max() < 0.25 * AWAY.abs().max()


def test_gradients_reach_pose_and_shape(mesh, bodies):
    target = target_of(silhouette(mesh, bodies, camera()))
    shape = (bodies.shape + 1).requires_grad_()
    rotations = bodies.rotations.roll(1, 0).clone().requires_grad_()
    prediction = PointPrediction(camera(), BodyParameters(shape, rotations))
    SilhouetteLoss(mesh, SupervisionSettings(1.0))(prediction, target).backward()
    for gradient in (shape.grad, rotations.grad):
        assert gradient is not None and gradient.isfinite().all()
        assert (gradient.flatten(1).abs().amax(1) > 0).all()


def soft_labels(mesh: DrawnMesh, seed: int) -> Tensor:
    """Two attributes that change gently over the rest body."""
    place = mesh.skin.vertices[: mesh.drawn]
    waves = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed))
    return torch.sigmoid(5 * (place @ waves.T))


def test_gradients_of_attributes_are_those_of_finely_sampled_pictures(mesh, bodies):
    """Measured on six bodies: cosines of 0.998 and more, ratios of 0.95 to 1.0; at 64 px 0.99 and
    0.77 to 1.03."""
    attributes, side, fine, step = soft_labels(mesh, 1)[None], 128, 4, 0.01

    def drawn(moves: Tensor, size: int) -> Tensor:
        pixels = mesh.place(bodies, camera(moves), size)
        return draw_attributes(pixels, mesh.faces, attributes, size)

    with torch.no_grad():
        target = drawn(AWAY, side)
    moves = torch.zeros(2, 3, requires_grad=True)
    (drawn(moves, side) - target).square().sum().backward()
    expected = torch.zeros(2, 3)
    with torch.no_grad():
        for axis in range(3):
            nudge = torch.zeros(2, 3)
            nudge[:, axis] = step
            ahead, behind = (
                (nn.functional.avg_pool2d(drawn(way, side * fine), fine) - target)
                .square()
                .sum((1, 2, 3))
                for way in (nudge, -nudge)
            )
            expected[:, axis] = (ahead - behind) / (2 * step)
    assert moves.grad is not None
    assert (torch.cosine_similarity(moves.grad, expected) > 0.99).all()
    ratio = moves.grad.norm(dim=1) / expected.norm(dim=1)
    assert ((ratio > 0.9) & (ratio < 1.1)).all()


def test_attributes_get_gradients_and_lie_where_their_faces_do(mesh, bodies):
    pixels = mesh.place(bodies, camera(), SIZE)
    hard = torch.zeros(mesh.drawn, 1)
    hard[mesh.skin.vertices[: mesh.drawn, 1] > 0] = 1
    attributes = hard.clone().requires_grad_()
    picture = draw_attributes(pixels, mesh.faces, attributes[None], SIZE)
    fragments = rasterize(pixels, mesh.faces, (SIZE, SIZE), perspective=False)
    corners = hard[:, 0][mesh.faces]
    labels = label_pixels(fragments, (1 + corners.amin(1)).byte())
    assert (picture[:, 0][labels == 2] - 1).abs().max() < 1e-6
    assert (picture[:, 0][labels == 0] == 0).all() and (labels == 2).any()
    picture.sum().backward()
    assert attributes.grad is not None
    assert abs(float(attributes.grad.sum()) - float(fragments.mask.sum())) < 1


# What counts


def test_only_what_could_be_seen_counts_in_the_visible_variant(mesh, bodies):
    whole = silhouette(mesh, bodies, camera())
    uncovered = torch.ones_like(whole, dtype=torch.bool)
    uncovered[:, SIZE // 2 :] = False  # a wall before the lower half
    target = target_of(whole, uncovered=uncovered)
    assert target.maps is not None
    assert torch.equal(target.maps.visible, whole * uncovered)
    # Legs that are bent otherwise: nothing of it can be seen.
    rotations = bodies.rotations.clone()
    rotations[:, 4:6] = torch.eye(3)
    moved = BodyParameters(bodies.shape, rotations).rotations.clone().requires_grad_()
    errors = {}
    for kind in ("amodal", "visible"):
        prediction = PointPrediction(camera(), BodyParameters(bodies.shape, moved))
        errors[kind] = SilhouetteLoss(mesh, SupervisionSettings(1.0, kind=kind))(prediction, target)
        (gradient,) = torch.autograd.grad(errors[kind], moved)
        assert (gradient[:, 4:6].abs().max() > 1e-4) == (kind == "amodal")
    assert errors["amodal"] > 0.02 > 1e-6 > errors["visible"]


def test_people_of_whom_no_picture_is_known_do_not_count(mesh, bodies):
    """Photos without a map: their bodies are not drawn to nothing, and do not thin the others."""
    whole = silhouette(mesh, bodies, camera())
    known = torch.ones_like(whole, dtype=torch.bool)
    known[1:] = False
    prediction = PointPrediction(camera(AWAY), bodies)
    for kind, error in (("amodal", "absolute"), ("visible", "iou")):
        loss = SilhouetteLoss(mesh, SupervisionSettings(1.0, kind=kind, error=error))
        some = loss(prediction, target_of(whole * known, uncovered=known))
        one = slice(0, 1)
        first = PointPrediction(take(camera(AWAY), one), take(bodies, one))
        alone = loss(first, take(target_of(whole, uncovered=known), one))
        torch.testing.assert_close(some, alone)


def test_where_nothing_is_before_anybody_both_variants_agree(mesh, bodies):
    target = target_of(silhouette(mesh, bodies, camera()))
    prediction = PointPrediction(camera(AWAY), bodies)
    amodal, visible = (
        SilhouetteLoss(mesh, SupervisionSettings(1.0, kind=kind))(prediction, target)
        for kind in ("amodal", "visible")
    )
    assert torch.equal(amodal, visible) and amodal > 0.1


def test_errors_are_what_they_say():
    ones, nothing = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    half = ones.clone()
    half[..., 2:] = 0
    assert overlap_error(half, ones) == 0.5
    assert overlap_error(nothing, nothing) == 0 and overlap_error(ones, nothing) == 1
    assert picture_error(half, ones, error="absolute") == 0.5
    assert picture_error(half / 2, ones, error="squared") == (0.25 + 1) / 2
    several = torch.cat([half, nothing], 1)
    assert overlap_error(several, torch.cat([ones, nothing], 1)) == 0.5, "empty channels are none"
    counted = half[:, 0] > 0
    assert picture_error(half, ones, counted) == 0
    soft = blurred(half, 1)
    assert picture_error(half, half, error="cross_entropy", blur=1) == 0
    assert picture_error(nothing, half, error="cross_entropy", blur=1) > 1
    torch.testing.assert_close(soft[0, 0, 1], torch.tensor([2.0, 2.0, 1.0, 0.0]) / 3)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"kind": "modal"}, "supervision.kind: wanted amodal or visible, got 'modal'"),
        ({"error": "dice"}, "supervision.error: wanted iou"),
        ({"mesh": "fine"}, "supervision.mesh: wanted coarse or full"),
        ({"weight": -1.0}, "supervision.weight: wanted 0 or more, got -1"),
        ({"weight": float("nan")}, "supervision.weight: wanted 0 or more, got nan"),
        ({"error": "cross_entropy"}, "supervision.blur: wanted at least 1 px"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, named):
    with pytest.raises(ValueError, match=named):
        SupervisionSettings(**values)


def test_a_stream_without_maps_is_refused(assets):
    with pytest.raises(ValueError, match="do: --set stream.maps.size=64"):
        override(preset("lite"), {"supervision.weight": 1.0})
    config = tiny_run("lite", OWN, stream__maps__size=0)
    target = BatchGenerator(config, assets)[0].target
    with pytest.raises(ValueError, match="wanted a stream that hands maps over"):
        wanted_maps(target)


# Maps of streams


def stream(assets: SynthAssets, recipe: str, **changes: Any) -> Batch:
    values: dict[str, Any] = {"train.batch_size": 24, "stream.recipe": recipe}
    for name in ("straps", "lasor.straps"):
        values |= {f"stream.{name}.size": 32}
    return BatchGenerator(tiny_run("lite", OWN | values | changes), assets)[0]


@pytest.mark.parametrize("recipe", ["lite", "straps", "lasor"])
def test_maps_change_nothing_else_and_show_the_true_bodies(assets, mesh, recipe):
    maps = {"stream.maps.size": 64, "stream.maps.reach": 1.5}
    batch, plain = stream(assets, recipe, **maps), stream(assets, recipe, **{"stream.maps.size": 0})
    assert plain.target.maps is None and batch.target.maps is not None
    assert torch.equal(batch.proxy.silhouette, plain.proxy.silhouette)
    assert torch.equal(batch.proxy.keypoints, plain.proxy.keypoints)
    assert torch.equal(batch.target.keypoints, plain.target.keypoints)
    whole, visible = batch.target.maps.whole, batch.target.maps.visible
    assert set(whole.unique().tolist()) == {0.0, 1.0}
    assert (visible <= whole).all() and (visible.sum((1, 2)) < whole.sum((1, 2))).any()

    # The best orthographic camera shows the true bodies where the maps do.
    body = batch.target.parameters
    posed = Markers.of(assets.template, assets.regressors, torch.tensor([0]))(body)
    seen_by = fit_weak_perspective(posed.coco, batch.target.keypoints, torch.ones(24, 17))
    drawn = draw_silhouettes(mesh.place(body, seen_by, 64, 1.5), mesh.faces, 64)
    overlap = 1 - picture_error(drawn[:, None], whole[:, None])
    near = 0.7 if recipe == "lite" else 0.85  # its cameras are near, and no orthographic ones
    assert overlap.median() > near and overlap.min() > near - 0.3


def test_what_is_hidden_of_a_stream_is_known(assets):
    occluded = {
        "stream.lite.occlusion.people.present": 0.5,
        "stream.lite.occlusion.objects.present": 0.7,
        "stream.lite.corruption.truncated": 0.0,
        "stream.lite.corruption.clothed": 0.0,
        "stream.maps.reach": 1.6,
    }
    maps = stream(assets, "lite", **occluded).target.maps
    assert maps is not None and maps.occluded is not None
    share = 1 - maps.visible.sum((1, 2)) / maps.whole.sum((1, 2))
    assert (maps.occluded > 0.1).double().mean() > 0.3
    # Within the reach of the maps, and as well as their pixels tell.
    assert (share - maps.occluded).abs().median() < 0.03


# Objectives


def test_who_is_not_labelled_counts_by_key_points_only(doll, markers):
    generator = torch.Generator().manual_seed(0)
    known = torch.tensor([True, False, True, False])

    def people() -> BodyParameters:
        return BodyParameters(
            shape=torch.randn(4, 5, generator=generator).double(),
            rotations=rotvec_to_rotmat(0.3 * torch.randn(4, 6, 3, generator=generator).double()),
        )

    seen_by = WeakPerspectiveCamera(torch.ones(4).double(), torch.zeros(4, 2).double())
    prediction = PointPrediction(seen_by, people())
    target = Target(people(), 0.1 * torch.randn(4, 17, 2, generator=generator).double())
    for loss in (LiteLoss(markers, doll, 5), StrapsLoss(markers)):
        _, of_all = loss(prediction, dataclasses.replace(target, labelled=torch.ones(4).bool()))
        _, plain = loss(prediction, target)
        for name, value in plain.items():
            torch.testing.assert_close(of_all[name], value)
        _, parts = loss(prediction, dataclasses.replace(target, labelled=known))
        _, few = loss(take(prediction, known), take(target, known))
        for name, value in parts.items():
            torch.testing.assert_close(value, (plain if name == "keypoints" else few)[name])
        _, nobody = loss(prediction, dataclasses.replace(target, labelled=~known & known))
        assert all(value == 0 for name, value in nobody.items() if name != "keypoints")

        annotated = torch.zeros(4, 17).bool()
        annotated[:, :9] = True
        other = target.keypoints.clone()
        other[:, 9:] += 0.3
        _, found = loss(prediction, dataclasses.replace(target, annotated=annotated))
        moved = dataclasses.replace(target, keypoints=other, annotated=annotated)
        _, after = loss(prediction, moved)
        assert torch.equal(found["keypoints"], after["keypoints"])
        assert found["keypoints"] != plain["keypoints"]


def test_the_silhouette_counts_from_its_first_step_on(assets):
    config = tiny_run("lite", OWN, supervision__weight=2.0)
    objective = build_objective(config, assets)
    assert isinstance(objective, SupervisedLoss) and objective.log_variance is None
    batch = BatchGenerator(config, assets)[0]
    truth = PointPrediction(
        WeakPerspectiveCamera(torch.full((8,), 0.8), torch.zeros(8, 2)), batch.target.parameters
    )
    early, parts = objective(truth, batch.target, moment(1))
    late, more = objective(truth, batch.target, moment(2))
    assert more.keys() - parts.keys() == {"silhouette"}
    torch.testing.assert_close(late - early, more["silhouette"])
    assert loss_changes(config) == [2]


def test_learned_weights_weigh_silhouettes_too(assets):
    values = {"supervision.weight": 0.1, "objective": "straps", "supervision.first_step": 0}
    config = tiny_run("lite", OWN | values)
    trainer = Trainer(config, assets, "cpu")
    weight = trainer.objective.log_variance
    assert weight is not None
    assert weight.item() == pytest.approx(2.302585)
    trainer.train_step(BatchGenerator(config, assets)[0])
    assert weight.item() != pytest.approx(2.302585, abs=1e-6)
    assert len(list(trainer.objective.parameters())) == 6


# Runs


def test_training_with_occlusion_and_silhouettes_resumes_bit_for_bit(assets, tmp_path: Path):
    config = tiny_run("lasor-lite", OWN)
    assert config.stream.lite.occlusion.anything and config.supervision.weight > 0
    batches = BatchGenerator(config, assets)

    def learn(trainer: Trainer, last: int) -> dict[str, Tensor]:
        parts = {}
        for step in range(trainer.step, last):
            parts = trainer.train_step(trainer.prepare(batches[step]))
        return parts

    whole, stopped, resumed = (Trainer(config, assets, "cpu") for _ in range(3))
    parts = learn(whole, 5)
    assert 0 < parts["silhouette"] <= config.supervision.weight
    learn(stopped, 3)
    stopped.save(tmp_path, {})
    resumed.restore(tmp_path)
    for name, value in learn(resumed, 5).items():
        assert torch.equal(value, parts[name]), name
    for name, value in whole.model.module.state_dict().items():
        assert torch.equal(value, resumed.model.module.state_dict()[name]), name


def test_times_are_told_with_and_without_silhouettes(assets):
    trainer = Trainer(tiny_run("lasor-lite", OWN), assets, "cpu")
    assert list(_stages(trainer)) == [(1, 0, 2), (2, 2, 6)]
    trainer.step = 3
    assert list(_stages(trainer)) == [(2, 3, 6)]


@pytest.mark.parametrize("name", ["lasor", "lasor-lite"])
def test_presets_are_whole(name):
    config = preset(name)
    assert from_json(to_json(config)) == config
    assert config.supervision.kind == "amodal" and config.stream.maps.reach == 1.5


def test_the_published_network_has_27_million_weights():
    config: RunConfig = preset("lasor")
    mean = torch.eye(3).expand(24, 3, 3)
    network = build_regressor(config.method, config.regressor, config.proxy, mean)
    assert sum(each.numel() for each in network.parameters()) == 27_024_541
    assert map_tensors(config.stream, lambda tensor: tensor) == config.stream
