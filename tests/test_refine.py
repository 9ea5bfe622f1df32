"""Refinement: nearer to what was seen, no farther from the truth, and never worse than before."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from plausibody.evaluate.metrics import pa_mpjpe
from plausibody.models.body import pose_body, regress
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher
from plausibody.models.prediction import (
    BodyParameters,
    BodyPrediction,
    FisherPrediction,
    PointPrediction,
)
from plausibody.models.proxy import ProxySettings, make_proxy
from plausibody.models.records import map_tensors, take
from plausibody.models.rotations import geodesic_angle, rotvec_to_rotmat
from plausibody.models.shapes import ShapeGaussian
from plausibody.predict.fit import Fit
from plausibody.predict.ranking import mask_agreement
from plausibody.predict.refine.evidence import Misfit, Outline, Seen, keypoint_misfit
from plausibody.predict.refine.prior import POINT_TURN, Prior, as_distribution
from plausibody.predict.refine.refiner import Refiner, RefineSettings, judge
from plausibody.synth.stores import SynthAssets

PEOPLE = 4
LEFT_ELBOW = 18
SURE = 15.0
"""Singular values of the joints' distributions: turns of 0.18 rad."""


class Scene:
    """The known person as exact evidence, and vague predictions that are off, each another way."""

    def __init__(self, known: Any, assets: SynthAssets):
        self.assets, self.truth = assets, map_tensors(known.parameters, lambda t: t[None])
        proxy = make_proxy(known.person.observation(), ProxySettings(size=64))
        self.camera = WeakPerspectiveCamera.from_vector(known.answer()[None, :3])
        self.outline = Outline.of(assets.template, assets.regressors.coco17)
        everywhere = torch.ones(1, 64, 64, dtype=torch.bool)
        one = Seen(proxy.keypoints[None], proxy.silhouette[None], everywhere, torch.ones(1))
        self.seen = map_tensors(one, lambda t: t.expand(PEOPLE, *t.shape[1:]))
        generator = torch.Generator().manual_seed(1)
        turns = torch.randn(PEOPLE, 24, 3, generator=generator) * 0.15
        turns[:, 0] *= 0.2
        rotations = rotvec_to_rotmat(turns) @ self.truth.rotations
        shape = self.truth.shape + 0.3 * torch.randn(PEOPLE, 10, generator=generator)
        self.prediction = prediction_of(BodyParameters(shape, rotations), self.camera)

    def refined(self, seen: Seen | None = None, **options: Any) -> Any:
        refiner = Refiner(self.outline, RefineSettings(**options))
        return refiner.move(self.prediction, self.seen if seen is None else seen)

    def keypoint_error(self, prediction: Any) -> Tensor:
        """In half-squares."""
        body = prediction.mode()
        coco = regress(self.outline.coco17, self.vertices(body))
        gap = prediction.camera.project(coco) - self.seen.keypoints[..., :2]
        return torch.linalg.vector_norm(gap, dim=-1).mean(-1)

    def overlap(self, prediction: Any) -> Tensor:
        drawn = self.vertices(prediction.mode())[:, : self.outline.drawn]
        places = prediction.camera.project(drawn)
        return mask_agreement(places[None], self.outline.faces, self.seen.silhouette)[0]

    def distance(self, prediction: Any) -> Tensor:
        """From the truth, after alignment [mm]."""
        joints = pose_body(self.outline.skin, *parameters(prediction.mode())).joints
        true = pose_body(self.outline.skin, *parameters(self.truth)).joints
        return pa_mpjpe(joints[:, :14], true[:, :14].expand(PEOPLE, -1, -1))

    def vertices(self, body: BodyParameters) -> Tensor:
        return pose_body(self.outline.skin, *parameters(body)).vertices


def parameters(body: BodyParameters) -> tuple[Tensor, Tensor]:
    return body.shape, body.rotations


def prediction_of(body: BodyParameters, camera: WeakPerspectiveCamera) -> FisherPrediction:
    count = len(body.shape)
    return FisherPrediction(
        camera=map_tensors(camera, lambda t: t.expand(count, *t.shape[1:])),
        root=body.rotations[:, 0],
        joints=MatrixFisher(SURE * body.rotations[:, 1:]),
        shape=ShapeGaussian.independent(body.shape, torch.full((count, 10), 0.5)),
    )


@pytest.fixture(scope="module")
def scene(known_person: Any, assets: SynthAssets) -> Scene:
    return Scene(known_person, assets)


def test_refined_bodies_are_nearer_to_the_evidence_and_to_the_truth(scene: Scene) -> None:
    refined = scene.refined()
    assert (scene.keypoint_error(refined) < 0.7 * scene.keypoint_error(scene.prediction)).all()
    assert (scene.overlap(refined) > scene.overlap(scene.prediction)).all()
    assert scene.distance(refined).mean() < scene.distance(scene.prediction).mean()
    # As wide as before, round another body.
    torch.testing.assert_close(
        refined.joints.singular_values,
        scene.prediction.joints.singular_values,
        rtol=1e-4,
        atol=1e-4,
    )
    # Clothes cannot inflate it: the shape stays.
    assert refined.shape is scene.prediction.shape


def test_mask_alone_pulls(scene: Scene) -> None:
    blind = replace(scene.seen, keypoints=torch.zeros_like(scene.seen.keypoints))
    assert (scene.overlap(scene.refined(blind)) > scene.overlap(scene.prediction)).all()


def test_the_prior_keeps_what_the_picture_does_not_tell(scene: Scene) -> None:
    points = replace(scene.seen, trust=torch.zeros(PEOPLE))
    before = pose_body(scene.outline.skin, *parameters(scene.prediction.mode())).joints

    def moved_in_depth(pose: float) -> Tensor:
        body = scene.refined(points, pose=pose, steps=20).mode()
        joints = pose_body(scene.outline.skin, *parameters(body)).joints
        return (joints - before)[..., 2].abs().mean()

    assert moved_in_depth(6.0) < 0.6 * moved_in_depth(0.01)


def test_a_joint_that_could_bend_either_way_bends_as_predicted(scene: Scene) -> None:
    """A forearm towards the camera looks as one away from it; key points tell only how far."""
    bent = rotvec_to_rotmat(torch.tensor([[0.0, 0.7, 0.0], [0.0, -0.7, 0.0]]))
    rotations = torch.eye(3).repeat(2, 24, 1, 1)
    rotations[:, LEFT_ELBOW] = bent
    body = BodyParameters(torch.zeros(2, 10), rotations)
    prediction = prediction_of(body, scene.camera)
    seen = take(scene.seen, slice(0, 2))
    # Both see the same straight arm, as if it were less foreshortened.
    straight = BodyParameters(body.shape, torch.eye(3).repeat(2, 24, 1, 1))
    coco = regress(scene.outline.coco17, scene.vertices(straight))
    there = torch.cat([prediction.camera.project(coco), torch.ones(2, 17, 1)], -1)
    refiner = Refiner(scene.outline)
    refined = refiner.move(prediction, replace(seen, keypoints=there, trust=torch.zeros(2)))
    joints = pose_body(scene.outline.skin, *parameters(refined.mode())).joints
    forward = joints[:, LEFT_ELBOW + 2, 2] - joints[:, LEFT_ELBOW, 2]
    before = pose_body(scene.outline.skin, *parameters(body)).joints
    assert (forward * (before[:, LEFT_ELBOW + 2, 2] - before[:, LEFT_ELBOW, 2]) > 0).all()
    assert forward[0] * forward[1] < 0


@pytest.mark.parametrize("size", [0.0, 1e8])
def test_any_sureness_will_do(scene: Scene, size: float) -> None:
    """A network that knows nothing of the joints, and one that is as good as certain."""
    mode = scene.prediction.mode().rotations
    joints = MatrixFisher(size * mode[:, 1:])
    prediction = replace(scene.prediction, joints=joints)
    rotations = Refiner(scene.outline, RefineSettings(steps=2)).move(prediction, scene.seen).mode()
    assert rotations.rotations.isfinite().all()
    if size:
        torch.testing.assert_close(rotations.rotations[:, 1:], mode[:, 1:], atol=1e-3, rtol=0)


def test_people_together_are_as_one_by_one(scene: Scene) -> None:
    together = scene.refined()
    refiner = Refiner(scene.outline)
    for n in range(2):
        some = slice(n, n + 1)
        alone = refiner.move(take(scene.prediction, some), take(scene.seen, some))
        expected = take(together, some).mode()
        torch.testing.assert_close(alone.mode().rotations, expected.rotations, atol=5e-3, rtol=0)


def test_without_evidence_nothing_changes(scene: Scene) -> None:
    nothing = replace(
        scene.seen,
        keypoints=torch.zeros_like(scene.seen.keypoints),
        silhouette=torch.zeros_like(scene.seen.silhouette),
        trust=torch.zeros(PEOPLE),
    )
    refined, expected = scene.refined(nothing).mode(), scene.prediction.mode()
    torch.testing.assert_close(refined.rotations, expected.rotations, atol=1e-5, rtol=0)
    assert torch.equal(refined.shape, expected.shape)


def test_numbers_that_are_not_finite_stop_nobody_else(scene: Scene) -> None:
    keypoints = scene.seen.keypoints.clone()
    keypoints[1, 4, 0] = math.nan
    refined = scene.refined(replace(scene.seen, keypoints=keypoints)).mode()
    expected = scene.refined().mode()
    torch.testing.assert_close(refined.rotations[0], expected.rotations[0], atol=5e-3, rtol=0)
    kept = scene.prediction.mode().rotations[1]
    torch.testing.assert_close(refined.rotations[1], kept, atol=1e-5, rtol=0)


def test_what_lies_outside_the_photo_has_no_say(scene: Scene) -> None:
    """A body that goes on below the photo is not pressed into what is left of the mask."""
    inside = scene.seen.inside.clone()
    inside[:, 40:] = False
    cut = replace(scene.seen, silhouette=scene.seen.silhouette * inside, inside=inside)
    places = scene.camera.project(scene.vertices(scene.truth)[:, : scene.outline.drawn])
    misfit = scene.outline.mask_misfit(places, take(cut, slice(0, 1)), 0.8)
    pressed = replace(cut, inside=torch.ones_like(inside))
    assert misfit < 0.5 * scene.outline.mask_misfit(places, take(pressed, slice(0, 1)), 0.8)


def test_a_far_key_point_pulls_less_than_a_near_one() -> None:
    seen = torch.zeros(3, 17, 3)
    seen[:, 5, 2] = 1.0
    coco = torch.zeros(3, 17, 2)
    coco[:, 5, 0] = torch.tensor([0.0, 0.1, 0.9])
    coco.requires_grad_()
    misfit = keypoint_misfit(coco, seen, Misfit())
    (pull,) = torch.autograd.grad(misfit.sum(), coco)
    assert misfit[0] == 0 and misfit[1] < misfit[2]
    assert pull[1, 5, 0] > 2 * pull[2, 5, 0] > 0


def test_numbers_are_standard_deviations(scene: Scene) -> None:
    prior = Prior.of(scene.prediction)
    numbers = prior.start
    assert torch.equal(numbers, torch.zeros(PEOPLE, 24 * 3 + 3))
    at_mode = prior.body(numbers)
    torch.testing.assert_close(at_mode.parameters.rotations, scene.prediction.mode().rotations)
    assert prior.improbability(at_mode, numbers, 1.0).abs().max() < 1e-4
    numbers[:, 3:] = 0.1 * torch.randn(PEOPLE, 72, generator=torch.Generator().manual_seed(0))
    numbers[:, -3:] = 0
    body = prior.body(numbers)
    lost = scene.prediction.log_prob(scene.prediction.mode())
    lost = lost - scene.prediction.log_prob(body.parameters)
    torch.testing.assert_close(prior.improbability(body, numbers, 1.0), lost, atol=1e-2, rtol=0)
    # The widest turns are held a little, so this is not quite half the square.
    half = numbers.square().sum(-1) / 2
    torch.testing.assert_close(lost, half, rtol=0.15, atol=0)
    torch.testing.assert_close(
        prior.recentred(numbers).mode().rotations, body.parameters.rotations, atol=1e-5, rtol=0
    )


def test_single_bodies_get_a_fixed_prior_and_stay_single(scene: Scene) -> None:
    mode = scene.prediction.mode()
    single = PointPrediction(scene.prediction.camera, mode)
    wide = as_distribution(single)
    torch.testing.assert_close(wide.mode().rotations, mode.rotations)
    turned = rotvec_to_rotmat(torch.tensor([POINT_TURN, 0.0, 0.0])) @ mode.rotations
    lost = wide.joints.log_prob(mode.rotations[:, 1:]) - wide.joints.log_prob(turned[:, 1:])
    torch.testing.assert_close(lost, torch.full_like(lost, 0.5), atol=0.02, rtol=0)
    refined = Refiner(scene.outline).move(single, scene.seen)
    assert isinstance(refined, PointPrediction)
    assert (scene.overlap(refined) > scene.overlap(scene.prediction)).all()
    assert geodesic_angle(refined.mode().rotations, mode.rotations).max() > 0.01


class Unheard(BodyPrediction):
    """Neither one body nor a distribution that refinement knows."""

    mode = sample = log_prob = None  # type: ignore[assignment]


def test_other_predictions_are_refused(scene: Scene) -> None:
    with pytest.raises(TypeError, match="wanted a prediction of a body .* got Unheard"):
        as_distribution(Unheard(scene.camera))


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (Fit(0.8, 2.0, 17), ""),
        (Fit(0.7, 1.0, 17), ""),
        (Fit(0.69, 1.0, 17), "cover the mask less"),
        (Fit(0.9, 2.1, 17), "farther off"),
        (Fit(0.7, 2.0, 17), "nothing would fit better"),
        (Fit(math.nan, 1.0, 17), "none"),
    ],
)
def test_a_moved_body_is_taken_only_if_nothing_fits_worse(after: Fit, reason: str) -> None:
    refinement = judge(Fit(0.7, 2.0, 17), after)
    assert refinement.kept == (reason == "")
    assert reason in refinement.reason


def test_without_sure_key_points_the_mask_decides() -> None:
    blind = Fit(0.7, math.nan, 0)
    assert judge(blind, Fit(0.8, math.nan, 0)).kept


def test_predictor_refines_and_says_so(known_person: Any) -> None:
    answer = known_person.answer()
    answer[1] += 0.03
    (plain,) = known_person.predictor(answer)(["photo.jpg"])[0].people
    (refined,) = known_person.predictor(answer, refine=True)(["photo.jpg"])[0].people
    assert plain.refinement is None
    told = refined.refinement
    assert told is not None and told.kept and told.reason == ""
    assert (told.before, told.after) == (plain.fit, refined.fit)
    assert refined.fit.silhouette_iou > plain.fit.silhouette_iou
    assert refined.fit.reprojection < plain.fit.reprojection
    mode = refined.prediction.mode()
    torch.testing.assert_close(
        mode.posed(known_person.template).vertices, refined.body.vertices, atol=1e-5, rtol=0
    )
    assert torch.equal(mode.shape, plain.prediction.mode().shape)
    assert torch.equal(refined.measurements.mean, plain.measurements.mean)


def test_predictor_keeps_a_body_that_would_fit_worse_and_says_so(known_person: Any) -> None:
    perfect = known_person.doubting_predictor(samples=2)
    (plain,) = perfect(["photo.jpg"])[0].people
    predictor = known_person.doubting_predictor(samples=2, refine=5)
    assert (perfect.refine, predictor.refine) == (0, 5)
    (person,) = predictor(["photo.jpg"])[0].people
    told = person.refinement
    assert told is not None and not told.kept
    assert f"not refined: {told.reason}" in person.warnings
    assert person.fit == plain.fit == told.before != told.after
    assert torch.equal(person.body.vertices, plain.body.vertices)
    assert torch.equal(person.samples.joints, plain.samples.joints)


def test_negative_steps_are_refused(known_person: Any) -> None:
    with pytest.raises(ValueError, match=r"--refine: wanted at least 1 step, got -1"):
        known_person.predictor(refine=-1)
