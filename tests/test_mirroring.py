"""Mirror images of proxies and predictions, and the mean of a prediction and its twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import pytest
import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher
from plausibody.models.mirroring import (
    average,
    mirror_prediction,
    mirror_proxy,
    mirror_rotations,
    predict_both,
)
from plausibody.models.prediction import (
    BodyParameters,
    BodyPrediction,
    FisherPrediction,
    PointPrediction,
)
from plausibody.models.proxy import Box, Proxy
from plausibody.models.regressor import Regressor
from plausibody.models.rotations import geodesic_angle, rotvec_to_rotmat
from plausibody.models.shapes import ShapeGaussian
from plausibody.models.skeleton import SMPL24, mirror

FLIP = torch.tensor([-1.0, 1.0, 1.0])


def camera(count: int, generator: torch.Generator) -> WeakPerspectiveCamera:
    return WeakPerspectiveCamera(
        scale=0.8 + 0.2 * torch.rand(count, generator=generator),
        shift=0.1 * torch.randn(count, 2, generator=generator),
    )


def point(count: int = 2, seed: int = 0) -> PointPrediction:
    generator = torch.Generator().manual_seed(seed)
    return PointPrediction(
        camera=camera(count, generator),
        parameters=BodyParameters(
            shape=torch.randn(count, 10, generator=generator),
            rotations=rotvec_to_rotmat(0.4 * torch.randn(count, 24, 3, generator=generator)),
        ),
    )


def fisher(count: int = 2, seed: int = 0, sureness: float = 30.0) -> FisherPrediction:
    generator = torch.Generator().manual_seed(seed)
    rotations = rotvec_to_rotmat(0.4 * torch.randn(count, 24, 3, generator=generator))
    stretch = sureness * torch.rand(count, 23, 3, generator=generator)
    turn = rotvec_to_rotmat(torch.randn(count, 23, 3, generator=generator))
    factor = 0.2 * torch.randn(count, 10, 10, generator=generator)
    return FisherPrediction(
        camera=camera(count, generator),
        root=rotations[:, 0],
        joints=MatrixFisher(turn @ torch.diag_embed(stretch) @ turn.mT @ rotations[:, 1:]),
        shape=ShapeGaussian.of_covariance(
            torch.randn(count, 10, generator=generator), factor @ factor.mT + 0.1 * torch.eye(10)
        ),
    )


def same(first: BodyPrediction, second: BodyPrediction) -> None:
    torch.testing.assert_close(first.camera.scale, second.camera.scale)
    torch.testing.assert_close(first.camera.shift, second.camera.shift)
    one, other = first.mode(), second.mode()
    torch.testing.assert_close(one.shape, other.shape)
    torch.testing.assert_close(one.rotations, other.rotations, atol=1e-5, rtol=0)
    if isinstance(first, FisherPrediction) and isinstance(second, FisherPrediction):
        torch.testing.assert_close(first.joints.parameter, second.joints.parameter)
        torch.testing.assert_close(first.shape.covariance, second.shape.covariance)


@pytest.mark.parametrize("prediction", [point(), fisher()], ids=["point", "fisher"])
def test_mirroring_twice_changes_nothing(prediction: BodyPrediction) -> None:
    mirrored = mirror_prediction(prediction)
    assert type(mirrored) is type(prediction)
    assert (mirrored.mode().rotations - prediction.mode().rotations).abs().max() > 0.1
    same(mirror_prediction(mirrored), prediction)


@pytest.mark.parametrize("prediction", [point(), fisher()], ids=["point", "fisher"])
def test_the_mirrored_body_is_the_body_seen_in_a_mirror(
    prediction: BodyPrediction, template: BodyTemplate
) -> None:
    """The mesh is symmetric to the last bit; measured: 3e-7 m."""
    image = torch.cdist(template.vertices * FLIP, template.vertices).argmin(1)
    mirrored = mirror_prediction(prediction)
    here = prediction.posed(template).vertices
    there = mirrored.posed(template).vertices
    assert ((here * FLIP)[:, image] - there).abs().max() < 1e-5
    seen = prediction.camera.project(here) * FLIP[:2]
    torch.testing.assert_close(mirrored.camera.project(there)[:, image], seen, atol=1e-5, rtol=0)


def test_mirrored_bodies_are_as_likely_as_they_were() -> None:
    """Also joint by joint, so that no joint took another's distribution."""
    prediction = fisher()
    mirrored = cast(FisherPrediction, mirror_prediction(prediction))
    bodies = prediction.sample(4, torch.Generator().manual_seed(1))
    reflected = replace(bodies, rotations=mirror_rotations(bodies.rotations))
    torch.testing.assert_close(
        mirrored.log_prob(reflected), prediction.log_prob(bodies), rtol=1e-5, atol=1e-4
    )
    each = prediction.joints.log_prob(bodies.rotations[..., 1:, :, :])
    swapped = mirrored.joints.log_prob(reflected.rotations[..., 1:, :, :])
    order = [joint - 1 for joint in mirror(SMPL24)[1:]]
    torch.testing.assert_close(swapped, each[..., order], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("prediction", [point(), fisher()], ids=["point", "fisher"])
def test_the_mean_of_a_prediction_and_itself_is_itself(prediction: BodyPrediction) -> None:
    mean = average(prediction, prediction)
    assert type(mean) is type(prediction)
    same(mean, prediction)


def test_the_mean_of_distributions_is_their_logarithmic_pool() -> None:
    """Log-densities of rotations differ from the mean of both by a constant."""
    first, second = fisher(1, seed=0), fisher(1, seed=3)
    mean = cast(FisherPrediction, average(first, second))
    rotations = first.sample(6, torch.Generator().manual_seed(2)).rotations[..., 1:, :, :]
    both = (first.joints.log_prob(rotations) + second.joints.log_prob(rotations)) / 2
    gap = mean.joints.log_prob(rotations) - both
    torch.testing.assert_close(gap, gap[:1].expand_as(gap), atol=1e-4, rtol=1e-5)
    covariance = (first.shape.covariance + second.shape.covariance) / 2
    torch.testing.assert_close(mean.shape.covariance, covariance)
    torch.testing.assert_close(mean.shape.mean, (first.shape.mean + second.shape.mean) / 2)
    halves = [geodesic_angle(mean.root, one.root) for one in (first, second)]
    torch.testing.assert_close(halves[0], halves[1], atol=1e-4, rtol=0)


def test_opinions_that_disagree_are_less_sure_together() -> None:
    turn = rotvec_to_rotmat(torch.tensor([0.0, 0.0, 1.0]))
    first = fisher(1)
    sure = replace(first, joints=MatrixFisher(20 * torch.eye(3).expand(1, 23, 3, 3)))
    other = replace(first, joints=MatrixFisher(20 * turn.expand(1, 23, 3, 3)))
    mean = cast(FisherPrediction, average(sure, other))
    assert (mean.joints.entropy() > sure.joints.entropy() + 0.1).all()


class Sided(Regressor):
    """A network with a rule of its own for each side: what it says depends on the picture."""

    def __init__(self, answers: dict[bool, BodyPrediction]):
        torch.nn.Module.__init__(self)
        self.answers = answers

    def predict(self, proxy: Proxy) -> BodyPrediction:
        return self.answers[bool(proxy.silhouette[0, 0, 0] > 0)]


def proxy_of_left() -> Proxy:
    silhouette = torch.zeros(2, 8, 8)
    silhouette[..., 0] = 1
    keypoints = torch.rand(2, 17, 3, generator=torch.Generator().manual_seed(5))
    box = Box(centre=torch.zeros(2, 2), side=torch.ones(2))
    return Proxy(silhouette=silhouette, keypoints=keypoints, box=box)


@pytest.mark.parametrize("make", [point, fisher])
def test_predictions_of_a_picture_and_of_its_mirror_image_agree(
    make: Callable[..., BodyPrediction],
) -> None:
    """What is said of the mirrored picture is the mirror image of what is said of the picture."""
    answers = {True: make(seed=0), False: make(seed=1)}
    network, proxy = Sided(answers), proxy_of_left()
    here, there = predict_both(network, proxy), predict_both(network, mirror_proxy(proxy))
    same(mirror_prediction(here), there)
    same(here, average(answers[True], mirror_prediction(answers[False])))


@dataclass(frozen=True)
class RicherProxy(Proxy):
    """A proxy with more to it."""

    known: Tensor | None = None


def test_whatever_else_a_proxy_holds_stays() -> None:
    proxy = proxy_of_left()
    known = torch.tensor([1.0, -1.0])
    richer = RicherProxy(proxy.silhouette, proxy.keypoints, proxy.box, known=known)
    mirrored = mirror_proxy(richer)
    assert isinstance(mirrored, RicherProxy) and mirrored.known is known
    assert (mirrored.silhouette[..., -1] == 1).all() and mirrored.edges is None
    nose, eyes = 0, (1, 2)
    torch.testing.assert_close(
        mirrored.keypoints[:, nose, 0], -proxy.keypoints[:, nose, 0], rtol=0, atol=0
    )
    assert torch.equal(mirrored.keypoints[:, eyes[0], 1:], proxy.keypoints[:, eyes[1], 1:])


def test_kinds_are_not_mixed() -> None:
    with pytest.raises(TypeError, match="of one kind.*PointPrediction and FisherPrediction"):
        average(point(), fisher())

    class Other(BodyPrediction):
        mode = sample = log_prob = BodyPrediction.posed  # whatever it says

    with pytest.raises(TypeError, match="got Other"):
        mirror_prediction(Other(camera=point().camera))
