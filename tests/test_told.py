"""Distributions of people in pictures, and what is told of them: height, gender, same person."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from plausibody.models.calibration import LEVELS, Calibration
from plausibody.models.conditioning import fuse
from plausibody.models.fisher import MatrixFisher
from plausibody.models.intervals import QUANTITIES
from plausibody.models.measure import measure_shape
from plausibody.models.prediction import FisherPrediction
from plausibody.models.proxy import ProxySettings, make_proxy
from plausibody.models.weights import TrainedRegressor
from plausibody.predict.looking import look_at
from plausibody.predict.measurements import PersonMeasurements
from plausibody.predict.predictor import Predictor
from plausibody.predict.told import Told, fuse_shapes


def only(predictor: Predictor, name: str = "photo.jpg") -> Any:
    (image,) = predictor([name])
    assert image.status == "ok", image.message
    (person,) = image.people
    return person


def test_samples_follow_from_the_picture_and_not_from_its_company(known_person: Any) -> None:
    predictor = known_person.doubting_predictor(samples=5)
    together = predictor(["a.jpg", "two.jpg", "nobody.jpg", "b.jpg"])
    (alone,) = predictor(["elsewhere/two.jpg"])
    for one, other in zip(together[1].people, alone.people, strict=True):
        first, second = one.samples.parameters, other.samples.parameters
        torch.testing.assert_close(first.shape, second.shape)
        torch.testing.assert_close(first.rotations, second.rotations)
    first, second = (image.people[0].samples.parameters for image in together[:2])
    assert not torch.allclose(first.shape, second.shape)
    (other_seed,) = known_person.doubting_predictor(samples=5, seed=1)(["a.jpg"])
    assert not torch.allclose(first.shape, other_seed.people[0].samples.parameters.shape)


def test_samples_are_ranked_and_scattered_as_the_distribution_says(known_person: Any) -> None:
    person = only(known_person.doubting_predictor(samples=24))
    samples = person.samples
    assert samples.parameters.shape.shape == (24, 10)
    assert (samples.score.diff() >= 0).all() and samples.score[-1] > samples.score[0]
    expected = samples.parameters.posed(known_person.template)
    torch.testing.assert_close(samples.joints, expected.joints, atol=1e-5, rtol=0)
    gap = samples.parameters.shape - person.prediction.shape.mean
    assert 0.6 < float((gap.std(0) / person.prediction.shape.std).mean()) < 1.4
    spread = samples.uncertainty.distance
    assert spread.shape == (len(known_person.template.vertices),) and spread.min() >= 0
    hand = known_person.template.skinning_weights[:, 22] > 0.5
    trunk = known_person.template.skinning_weights[:, 0] > 0.5
    assert spread[hand].mean() > 2 * spread[trunk].mean()


def test_one_sample_has_no_scatter(known_person: Any) -> None:
    assert only(known_person.doubting_predictor(samples=1)).samples.uncertainty is None
    assert only(known_person.doubting_predictor()).samples is None


def test_measurements_are_those_of_the_shape(known_person: Any) -> None:
    single = only(known_person.predictor()).measurements
    truth = measure_shape(known_person.template, known_person.parameters.shape)
    for name in QUANTITIES:
        assert single.of(name) == pytest.approx(float(getattr(truth, name)), rel=1e-4)
        assert single.interval(name, 0.9) is None
    doubtful = only(known_person.doubting_predictor()).measurements
    assert not doubtful.calibrated and doubtful.condition == "plain"
    before = (doubtful.of("waist"),) * 2
    for level in LEVELS:
        low, high = doubtful.interval("waist", level)
        assert low < before[0] and high > before[1]
        before = (low, high)
    # Curvature moves the mean of a distribution a little off the mean body.
    assert doubtful.of("height") == pytest.approx(single.of("height"), abs=0.01)


def calibration(**factors: float) -> Calibration:
    tables = {name: torch.full((1, 4, 23, 2), value) for name, value in factors.items()}
    return Calibration("0" * 64, people=99, shape_count=10, edges=(), factors=tables)


def test_calibration_counts_where_it_was_fitted(known_person: Any) -> None:
    def measured(**told: Any) -> PersonMeasurements:
        fitted = calibration(plain=3.0, height=2.0)
        found: PersonMeasurements = only(
            known_person.doubting_predictor(calibration=fitted, **told)
        ).measurements
        return found

    for told, factor in (({}, 3.0), ({"height": 1.7}, 2.0)):
        found = measured(**told)
        assert found.calibrated
        torch.testing.assert_close(found.high[0] - found.mean, factor * found.std)
    for told in ({"gender": "female"}, {"same_person": True}):
        assert not measured(**told).calibrated


def test_known_height_is_the_bodys_and_its_picture_stays(known_person: Any) -> None:
    free = only(known_person.doubting_predictor())
    for height in (1.65, 1.9):
        person = only(known_person.doubting_predictor(height=height))
        found = measure_shape(known_person.template, person.prediction.mode().shape).height
        assert float(found) == pytest.approx(height, abs=0.002)
        assert person.measurements.of("height") == pytest.approx(height, abs=0.005)
        low, high = person.measurements.interval("height", 0.95)
        assert high - low < 0.03
        size = [body.keypoints.amax(0) - body.keypoints.amin(0) for body in (free, person)]
        torch.testing.assert_close(size[0], size[1], rtol=0.03, atol=0)
        assert person.fit.silhouette_iou > 0.85 and person.warnings == ()
    (warning, *_) = only(known_person.doubting_predictor(height=2.4)).warnings
    assert "240 cm is far from what the picture says" in warning


def test_height_is_told_of_the_main_person_alone(known_person: Any) -> None:
    (image,) = known_person.doubting_predictor(height=1.9)(["two.jpg"])
    main, other = image.people
    assert main.told.height == 1.9 and not other.told
    assert main.measurements.of("height") > other.measurements.of("height") + 0.02
    (image,) = known_person.doubting_predictor(height=1.9, person=1)(["two.jpg"])
    assert image.people[0].measurements.of("height") == pytest.approx(1.9, abs=0.005)


def test_gender_reaches_the_network_for_the_main_person(known_person: Any) -> None:
    for gender, sign in (("female", 1.0), ("male", -1.0)):
        (image,) = known_person.doubting_predictor(gender=gender)(["two.jpg"])
        main, other = (person.prediction.shape.mean for person in image.people)
        assert float(main[0] - other[0]) == pytest.approx(sign)


def test_pictures_of_one_person_are_fused(known_person: Any) -> None:
    alone = only(known_person.doubting_predictor())
    predictor = known_person.doubting_predictor(same_person=True)
    names = ["a.jpg", "nobody.jpg", "two.jpg", "b.jpg"]
    images = list(predictor.stream(iter(names), batch_size=1))
    mains = [image.people[0] for image in images if image.people]
    assert len(mains) == 3
    joined = fuse([alone.prediction.shape] * 3)
    assert bool((joined.std < 0.75 * alone.prediction.shape.std).all())
    for person in mains:
        torch.testing.assert_close(person.prediction.shape.std, joined.std)
        torch.testing.assert_close(person.prediction.shape.mean, joined.mean)
        assert person.measurements.condition == "same_person"
    other = images[2].people[1]
    torch.testing.assert_close(other.prediction.shape.std, alone.prediction.shape.std)
    looks = list(predictor.first_looks([*names, "explode.jpg"]))
    assert [look.failed for look in looks] == [False] * 4 + [True]
    assert [look.shape is not None for look in looks] == [True, False, True, True, False]
    assert fuse_shapes([None, None]) is None
    assert [image.status for image in predictor(["nobody.jpg"])] == ["no_person"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"samples": 5}, "--samples"),
        ({"height": 1.8}, "--height-cm"),
        ({"same_person": True}, "--same-person"),
    ],
)
def test_single_bodies_cannot_be_narrowed(
    known_person: Any, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=f"{named}: wanted weights that give a distribution.*lite"):
        known_person.predictor(**options)


def test_options_that_make_no_sense_are_refused(known_person: Any) -> None:
    with pytest.raises(ValueError, match="--height-cm: wanted .* 100 to 250 cm, got 17 cm"):
        known_person.doubting_predictor(height=0.17)
    with pytest.raises(ValueError, match="--height-cm: .* got nan cm"):
        Told(height=math.nan)
    with pytest.raises(ValueError, match="--gender: wanted female or male"):
        Told(gender="other")
    with pytest.raises(ValueError, match="--samples: wanted 0 or more"):
        known_person.doubting_predictor(samples=-1)
    with pytest.raises(ValueError, match="--gender male: wanted weights that may be told a gender"):
        known_person.predictor(gender="male")


def test_weights_of_a_gender_may_be_told_it(known_person: Any) -> None:
    network = known_person.predictor().regressor.network
    trained = TrainedRegressor(network, ProxySettings(), "female", {})
    told = Predictor(trained, known_person.front_end, gender="female")
    assert told.gendered is None
    # The network knows it anyway: what was calibrated with nothing told still counts.
    assert told.told.condition == "plain"
    with pytest.raises(ValueError, match="made for female bodies; do: .* made for male bodies"):
        Predictor(trained, known_person.front_end, gender="male")


def test_numbers_that_are_no_distribution_are_reported(known_person: Any) -> None:
    predictor = known_person.doubting_predictor(samples=3, height=1.8)
    prediction = predictor.regressor.network.prediction
    assert isinstance(prediction, FisherPrediction)
    root = torch.full_like(prediction.root, math.nan)
    predictor.regressor.network.prediction = replace(prediction, root=root)
    (image,) = predictor(["a.jpg"])
    assert image.status == "failed" and "not finite" in image.message


def test_a_distribution_that_is_none_costs_its_person_only(
    known_person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = known_person.doubting_predictor()
    network = predictor.regressor.network
    seen: list[int] = []

    def read(vector: torch.Tensor) -> FisherPrediction:
        seen.append(len(vector))
        prediction = type(network).read(network, vector)
        parameter = prediction.joints.parameter.clone()
        if len(seen) in (1, 3):  # of both people, then of each: the last is the second person
            parameter[-1] = math.nan
        return replace(prediction, joints=MatrixFisher(parameter))

    monkeypatch.setattr(network, "read", read)
    (image,) = predictor(["two.jpg"])
    assert seen == [2, 1, 1]
    assert image.status == "ok" and [person.index for person in image.people] == [0]
    assert "person 1: wanted a body, got ValueError: parameter: wanted finite" in image.message


@pytest.mark.parametrize("padding", ["replicate", "zero"])
@pytest.mark.parametrize(("left", "top"), [(0, 0), (400, 100), (870, 700)])
def test_edges_of_a_part_are_those_of_the_whole_picture(
    known_person: Any, padding: str, left: int, top: int
) -> None:
    """The person stands in a corner, in the middle, or is cut off by a larger picture's border."""
    generator = torch.Generator().manual_seed(0)
    height, width = 900, 1000
    rough = torch.rand(3, 45, 50, generator=generator)
    picture = torch.nn.functional.interpolate(rough[None], (height, width), mode="bicubic")[0]
    picture = (picture.clamp(0, 1) * 255).byte().permute(1, 2, 0)
    seen = known_person.person
    offset = torch.tensor([left, top, 0.0])
    shift = torch.tensor([[0.0, 0, left], [0, 0, top]])
    mask = replace(
        seen.soft_mask, to_picture=seen.soft_mask.to_picture + shift, height=height, width=width
    )
    person = replace(seen, keypoints=seen.keypoints + offset, soft_mask=mask)
    settings = ProxySettings(size=128, channel="edges", edge_padding=padding)
    part = look_at(person, settings, picture)
    whole = make_proxy(
        replace(person.observation(), picture=picture.permute(2, 0, 1).float() / 255), settings
    )
    assert (part.edges > 0).float().mean() > 0.01
    torch.testing.assert_close(part.edges, whole.edges, atol=1e-4, rtol=0)
    torch.testing.assert_close(part.silhouette, whole.silhouette, atol=0, rtol=0)
    torch.testing.assert_close(part.keypoints, whole.keypoints, atol=0, rtol=0)
    with pytest.raises(ValueError, match="reads edges"):
        look_at(person, settings)
