"""A known height and more pictures: laws of Gaussians, and bodies measured again."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.conditioning import doubt_height, fuse, given_height, with_shape
from plausibody.models.fisher import MatrixFisher
from plausibody.models.measure import measure_shape
from plausibody.models.prediction import BodyParameters, FisherPrediction, PointPrediction
from plausibody.models.shapes import ShapeGaussian
from plausibody.synth.stores import SynthAssets


@pytest.fixture(scope="module")
def template(assets: SynthAssets) -> BodyTemplate:
    return assets.template


def gaussian(*batch: int, seed: int = 0, count: int = 10, scale: float = 1.0) -> ShapeGaussian:
    generator = torch.Generator().manual_seed(seed)
    mean = 0.7 * torch.randn(*batch, count, generator=generator)
    root = 0.15 * torch.randn(*batch, count, count, generator=generator)
    covariance = root @ root.mT + 0.1 * torch.eye(count)
    return ShapeGaussian.of_covariance(mean, scale**2 * covariance)


def prediction(shape: ShapeGaussian) -> FisherPrediction:
    count = len(shape.mean)
    generator = torch.Generator().manual_seed(1)
    return FisherPrediction(
        camera=WeakPerspectiveCamera(
            scale=0.7 + 0.3 * torch.rand(count, generator=generator),
            shift=0.2 * torch.randn(count, 2, generator=generator),
        ),
        root=torch.eye(3).expand(count, 3, 3),
        joints=MatrixFisher(20 * torch.eye(3).expand(count, 23, 3, 3)),
        shape=shape,
    )


def projected_height(prediction: FisherPrediction, template: BodyTemplate) -> Tensor:
    flat = prediction.camera.project(prediction.mode().rest(template).vertices)[..., 1]
    return flat.amax(-1) - flat.amin(-1)


def test_another_shape_is_as_large_in_the_picture_and_at_the_same_place(
    template: BodyTemplate,
) -> None:
    before = prediction(gaussian(5))
    after = with_shape(before, template, gaussian(5, seed=3))
    heights = [measure_shape(template, p.shape.mean).height for p in (before, after)]
    assert (heights[0] - heights[1]).abs().amin() > 0.002
    torch.testing.assert_close(
        projected_height(after, template), projected_height(before, template)
    )
    middles = [p.camera.project(p.posed(template).joints).mean(-2) for p in (before, after)]
    torch.testing.assert_close(middles[1], middles[0])
    assert after.joints is before.joints


def test_a_known_height_is_met_and_narrows_the_shape(template: BodyTemplate) -> None:
    before = prediction(gaussian(16))
    height = torch.linspace(1.5, 1.95, 16)
    after = given_height(before, template, height, std=1e-4)
    met = measure_shape(template, after.shape.mean).height
    # Known to 0.1 mm, so what is left is the linearisation: 0.001 mm were measured.
    assert (met - height).abs().amax() < 5e-5
    assert bool((after.shape.std <= before.shape.std + 1e-5).all())
    drawn = after.shape.sample(64, torch.Generator().manual_seed(0))
    spread = measure_shape(template, drawn).height.std(0)
    wide = before.shape.sample(64, torch.Generator().manual_seed(0))
    assert bool((spread < 0.2 * measure_shape(template, wide).height.std(0)).all())


def test_one_height_serves_all_and_a_height_that_was_expected_changes_little(
    template: BodyTemplate,
) -> None:
    before = prediction(gaussian(3))
    all_ = given_height(before, template, 1.75)
    one = given_height(before, template, torch.full((3,), 1.75))
    torch.testing.assert_close(all_.shape.mean, one.shape.mean)
    expected = measure_shape(template, before.shape.mean).height
    same = given_height(before, template, expected)
    torch.testing.assert_close(same.shape.mean, before.shape.mean, rtol=0, atol=1e-4)
    torch.testing.assert_close(same.camera.scale, before.camera.scale)


@pytest.mark.parametrize(
    ("height", "came"), [(1.8e-2, "1.8 cm"), (18.0, "1800 cm"), (math.nan, "nan"), (0.71, "71 cm")]
)
def test_impossible_heights_are_refused(template: BodyTemplate, height: float, came: str) -> None:
    with pytest.raises(ValueError, match=rf"100 to 250 cm, came {came}.*is in centimetres"):
        given_height(prediction(gaussian(2)), template, height)
    with pytest.raises(ValueError, match="100 to 250 cm"):
        given_height(prediction(gaussian(2)), template, torch.tensor([1.7, height]))


def test_a_height_far_from_the_predicted_one_is_doubted(template: BodyTemplate) -> None:
    people = prediction(gaussian(2, scale=0.5))
    expected = measure_shape(template, people.shape.mean).height
    assert doubt_height(people, template, expected) == ""
    doubt = doubt_height(people, template, torch.stack([expected[0], torch.tensor(2.4)]))
    assert "240 cm is far from what the picture says" in doubt
    assert f"{100 * expected[1]:.0f} cm with" in doubt
    # Beyond the 99 % interval, and not within it.
    drawn = people.shape.sample(1000, torch.Generator().manual_seed(0))
    std = math.hypot(float(measure_shape(template, drawn).height[:, 1].std()), 0.005)
    for away, is_doubted in ((2.3, False), (2.9, True)):
        told = torch.stack([expected[0], expected[1] - away * std])
        assert bool(doubt_height(people, template, told)) == is_doubted


def test_a_single_body_cannot_be_narrowed(template: BodyTemplate) -> None:
    people = prediction(gaussian(1))
    body = BodyParameters(shape=people.shape.mean, rotations=torch.eye(3).expand(1, 24, 3, 3))
    with pytest.raises(TypeError, match="do: use weights of the method hierprob"):
        given_height(PointPrediction(people.camera, body), template, 1.7)


def test_the_published_rule_is_the_product_of_densities() -> None:
    shapes = [gaussian(4, seed=seed) for seed in range(3)]
    fused = fuse(shapes, None)
    precisions = [shape.covariance.double().inverse() for shape in shapes]
    total = sum(precisions)
    assert isinstance(total, Tensor)
    pulled = [p @ s.mean.double()[..., None] for p, s in zip(precisions, shapes, strict=True)]
    mean = (total.inverse() @ torch.stack(pulled).sum(0))[..., 0].float()
    torch.testing.assert_close(fused.covariance, total.inverse().float(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(fused.mean, mean, rtol=1e-3, atol=1e-4)
    assert fuse(shapes[:1]) is shapes[0]
    with pytest.raises(ValueError, match="one for each picture, came none"):
        fuse([])


def test_what_was_known_before_any_picture_counts_once() -> None:
    # Pictures say the shape with error `noise`; each network answers with the exact posterior.
    # Fused with the population taken out, they give the posterior of both pictures, exactly.
    population, noise = 1.3, 0.8
    seen = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
    variance = 1 / (1 / population**2 + 1 / noise**2)
    std = torch.full((6, 10), math.sqrt(variance))
    posteriors = [ShapeGaussian.independent(variance / noise**2 * x, std) for x in seen]
    fused = fuse(posteriors, population)
    both = 1 / (1 / population**2 + 2 / noise**2)
    torch.testing.assert_close(fused.mean, both / noise**2 * seen.sum(0))
    torch.testing.assert_close(fused.std, torch.full((6, 10), math.sqrt(both)))
    assert bool((fuse(posteriors, None).std < fused.std).all())
    with pytest.raises(ValueError, match="positive number, came 0"):
        fuse(posteriors, 0.0)


def test_copies_of_a_picture_do_not_carry_a_shape_away() -> None:
    # From hardly narrower than the population to much narrower, without jumps between.
    stds = torch.linspace(0.2, 1.499, 10)
    one = ShapeGaussian.independent(torch.ones(1, 10), stds[None])
    fused = fuse([one] * 30)
    assert bool((fused.mean > 0).all()) and float(fused.mean.amax()) <= 3
    torch.testing.assert_close(fused.mean[0, :3], torch.ones(3), atol=0.2, rtol=0)


def test_a_picture_that_says_nothing_changes_nothing() -> None:
    # Wider than the population along some axes of its own, and as narrow as before along others.
    narrow = gaussian(3)
    axes = torch.linalg.qr(gaussian(3, seed=5).covariance).Q
    stds = torch.tensor([2.0] * 9 + [0.3]).expand(3, 10)
    covariance = (axes * stds[..., None, :].square()) @ axes.mT
    mean = 0.5 * axes[..., -1]
    wide = ShapeGaussian.of_covariance(mean + axes[..., 0], (covariance + covariance.mT) / 2)
    blind = ShapeGaussian.independent(torch.ones(3, 10), torch.full((3, 10), 1.5))
    alone, both = fuse([narrow, blind]), fuse([narrow, blind, wide])
    torch.testing.assert_close(alone.mean, narrow.mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(alone.covariance, narrow.covariance, rtol=1e-3, atol=1e-4)
    # The third picture pulls along its narrow axis, as a measurement of that alone would.
    noise = 1 / math.sqrt(1 / 0.3**2 - 1 / 1.5**2)
    measured = 0.5 * (noise / 0.3) ** 2
    alike = narrow.given(axes[..., -1], torch.full((3,), measured), noise)
    torch.testing.assert_close(both.mean, alike.mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(both.covariance, alike.covariance, rtol=1e-3, atol=1e-4)
