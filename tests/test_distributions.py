"""What distributions are worth: likelihoods, the spread to beat, and the best of N samples."""

from __future__ import annotations

import math

import metric_twins as twins
import pytest
import torch

from plausibody.evaluate.distributions import (
    STEEPEST,
    FixedSpread,
    fit_concentration,
    least_errors,
    moving_joints,
    sample_errors,
    surprise,
)
from plausibody.evaluate.metrics import minimum_of_samples, pa_mpjpe, pve_t_sc
from plausibody.models.body import BodyTemplate, regress
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher
from plausibody.models.prediction import BodyParameters, FisherPrediction
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.shapes import ShapeGaussian
from plausibody.synth.stores import SynthAssets


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def camera(people: int) -> WeakPerspectiveCamera:
    return WeakPerspectiveCamera(scale=torch.ones(people), shift=torch.zeros(people, 2))


def bodies(*batch: int, turn: float = 0.3, seed: int = 0) -> BodyParameters:
    rotvec = turn * torch.randn(*batch, 24, 3, generator=chance(seed))
    shape = torch.randn(*batch, 10, generator=chance(seed + 1))
    return BodyParameters(shape=shape, rotations=rotvec_to_rotmat(rotvec))


def spread(people: int, concentration: float, std: float, seed: int = 0) -> FisherPrediction:
    guess = bodies(people, seed=seed)
    return FixedSpread(torch.full((23,), concentration), std * torch.eye(10)).around(
        guess, camera(people)
    )


def test_surprise_is_what_the_prediction_says_of_the_truth() -> None:
    prediction = spread(5, concentration=20.0, std=0.5)
    truth = bodies(5, seed=7)
    found = surprise(prediction, truth)
    torch.testing.assert_close(found.pose.sum(-1) + found.shape, -prediction.log_prob(truth))


def test_surprise_is_its_twin() -> None:
    random = chance(1)
    parameter = 4 * torch.randn(3, 23, 3, 3, generator=random).double()
    factor = torch.randn(3, 10, 10, generator=random).double().tril(-1) + 2 * torch.eye(10)
    mean, truth = torch.randn(3, 10, generator=random).double(), bodies(3, seed=7)
    truth = BodyParameters(shape=truth.shape.double(), rotations=truth.rotations.double())
    prediction = FisherPrediction(
        camera=camera(3),
        root=truth.rotations[:, 0],
        joints=MatrixFisher(parameter),
        shape=ShapeGaussian(mean=mean, factor=factor),
    )
    found = surprise(prediction, truth)
    for n in range(3):
        for joint in range(23):
            arrays = parameter[n, joint].numpy(), truth.rotations[n, joint + 1].numpy()
            assert abs(found.pose[n, joint].item() - twins.fisher_nll(*arrays)) < 1e-6
        twin = twins.gaussian_nll(mean[n].numpy(), factor[n].numpy(), truth.shape[n].numpy())
        assert abs(found.shape[n].item() - twin) < 1e-6


def test_a_uniform_pose_surprises_by_nothing() -> None:
    assert surprise(spread(3, concentration=0.0, std=1.0), bodies(3)).pose.abs().max() < 1e-6


def test_the_mode_of_a_fixed_spread_is_the_guess() -> None:
    guess = bodies(4)
    around = FixedSpread(torch.full((23,), 30.0), torch.eye(10)).around(guess, camera(4))
    torch.testing.assert_close(around.mode().rotations, guess.rotations, atol=1e-5, rtol=0)
    torch.testing.assert_close(around.mode().shape, guess.shape)


@pytest.mark.parametrize("concentration", [0.7, 8.0, 250.0])
def test_fitting_recovers_the_concentration_of_samples(concentration: float) -> None:
    parameter = MatrixFisher(concentration * torch.eye(3, dtype=torch.float64))
    trace = parameter.sample(40_000, chance()).diagonal(dim1=-2, dim2=-1).sum(-1).mean()
    assert float(fit_concentration(trace)) == pytest.approx(concentration, rel=0.03)


def test_joints_that_never_move_are_told_from_others() -> None:
    truth = bodies(6)
    rotations = truth.rotations.clone()
    rotations[:, 22:] = rotations[:1, 22:]
    found = moving_joints(BodyParameters(shape=truth.shape, rotations=rotations))
    assert found.tolist() == [True] * 21 + [False] * 2


def test_concentrations_stay_in_their_range() -> None:
    found = fit_concentration(torch.tensor([3.0, 0.0, -0.5], dtype=torch.float64))
    assert found[0] == pytest.approx(STEEPEST)
    assert found[1:].abs().max() < 1e-6


@pytest.mark.parametrize("whole", [False, True])
def test_no_other_spread_is_likelier(whole: bool) -> None:
    guess, truth = bodies(400, seed=0), bodies(400, seed=0, turn=0.36)
    error = torch.randn(400, 10, generator=chance(3)) @ torch.randn(10, 10, generator=chance(4))
    truth = BodyParameters(shape=guess.shape + error, rotations=truth.rotations)
    best = FixedSpread.fit(guess, truth, whole_covariance=whole)
    least = surprise(best.around(guess, camera(400)), truth)
    for factor in (0.9, 1.1):
        other = FixedSpread(best.concentration * factor, best.factor * factor)
        found = surprise(other.around(guess, camera(400)), truth)
        assert found.pose.mean() > least.pose.mean()
        assert found.shape.mean() > least.shape.mean()


def test_errors_that_go_together_are_likelier_under_a_whole_covariance() -> None:
    guess = bodies(400)
    error = torch.randn(400, 1, generator=chance(3)) + 0.3 * torch.randn(
        400, 10, generator=chance(4)
    )
    truth = BodyParameters(shape=guess.shape + error, rotations=guess.rotations)
    each, whole = (
        surprise(FixedSpread.fit(guess, truth, by).around(guess, camera(400)), truth).shape.mean()
        for by in (False, True)
    )
    assert whole < each - 2.0


def test_errors_of_samples_are_the_metrics(template: BodyTemplate, assets: SynthAssets) -> None:
    truth, samples = bodies(3, seed=5), bodies(2, 3, seed=6)
    found = sample_errors(samples, truth, template, assets.regressors)
    body, true = samples.posed(template), truth.posed(template)
    h36m = [regress(assets.regressors.h36m17, x.vertices) for x in (body, true)]
    expected = pa_mpjpe(h36m[0], h36m[1].expand_as(h36m[0]))
    torch.testing.assert_close(found.pa_mpjpe, expected, rtol=1e-4, atol=1e-2)
    still, rest = samples.rest(template).vertices, truth.rest(template).vertices
    expected = pve_t_sc(still, rest.expand_as(still))
    torch.testing.assert_close(found.pve_t_sc, expected, rtol=1e-4, atol=1e-2)


def test_the_truth_has_no_error(template: BodyTemplate, assets: SynthAssets) -> None:
    truth = bodies(300)  # more than one chunk
    one = BodyParameters(shape=truth.shape[None], rotations=truth.rotations[None])
    found = sample_errors(one, truth, template, assets.regressors)
    assert found.pa_mpjpe.shape == found.pve_t_sc.shape == (1, 300)
    assert max(found.pa_mpjpe.max(), found.pve_t_sc.max()) < 0.01


def test_least_errors_against_the_published_loop() -> None:
    samples = torch.randn(12, 5, 14, 3, generator=chance())
    target, mode = samples.new_zeros(5, 14, 3), samples.mean(0)
    metric = pa_mpjpe_of_points
    errors = torch.stack([metric(sample, target) for sample in samples])
    for with_mode in (None, mode):
        error = None if with_mode is None else metric(with_mode, target)
        found = least_errors(errors, (1, 4, 12), error)
        for count, value in found.items():
            expected = minimum_of_samples(metric, samples[:count], target, with_mode)
            torch.testing.assert_close(value, expected)
    assert list(found) == [1, 4, 12]
    assert (found[12] <= found[4]).all() and (found[4] <= found[1]).all()


def pa_mpjpe_of_points(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (prediction - target).norm(dim=-1).mean(-1)


@pytest.mark.parametrize("count", [0, 13])
def test_more_samples_than_there_are(count: int) -> None:
    with pytest.raises(ValueError, match="from 1 to the 12 there are"):
        least_errors(torch.zeros(12, 2), (1, count))


def test_gaussian_shape_likelihood_in_closed_form() -> None:
    truth = bodies(1)
    around = FixedSpread(torch.zeros(23), 2.0 * torch.eye(10)).around(truth, camera(1))
    assert isinstance(around.shape, ShapeGaussian)
    expected = 10 * (math.log(2.0) + 0.5 * math.log(2 * math.pi))
    assert float(surprise(around, truth).shape) == pytest.approx(expected, rel=1e-5)
