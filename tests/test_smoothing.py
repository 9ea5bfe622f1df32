"""Smoothing over frames: trembling goes, motion and what does not change stay."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher
from plausibody.models.prediction import BodyParameters, FisherPrediction, PointPrediction
from plausibody.models.rotations import axis_rotation, geodesic_angle, rotvec_to_rotmat
from plausibody.models.shapes import ShapeGaussian
from plausibody.predict.result import ImagePrediction
from plausibody.predict.smoothing import LIMIT, smooth, smooth_rotations, smooth_window

RADIUS = 4
CAMERA = WeakPerspectiveCamera.from_vector(torch.tensor([0.8, 0.0, 0.1]))


def degrees(angles: Tensor) -> Tensor:
    return angles.rad2deg()


def turning(angles: Tensor) -> Tensor:
    """One joint that turns about an oblique axis by angles [rad]."""
    axis = torch.nn.functional.normalize(torch.tensor([1.0, 2.0, -1.0]), dim=0)
    return rotvec_to_rotmat(angles[:, None] * axis)


def trembling(rotmat: Tensor, std: Tensor | float, seed: int = 0) -> Tensor:
    noise = torch.randn(len(rotmat), 3, generator=torch.Generator().manual_seed(seed))
    return rotmat @ rotvec_to_rotmat(noise * torch.as_tensor(std).reshape(-1, 1))


def smoothed(parameter: Tensor, radius: int = RADIUS) -> Tensor:
    """Modes of one joint over a sequence, smoothed; its ends are left out."""
    camera, shape = CAMERA, ShapeGaussian(torch.zeros(2), torch.eye(2))
    frames = [
        FisherPrediction(camera, torch.eye(3), MatrixFisher(one[None]), shape) for one in parameter
    ]
    found = []
    for middle in range(radius, len(frames) - radius):
        window = smooth_window(frames[middle - radius : middle + radius + 1])
        assert isinstance(window, FisherPrediction)
        found.append(window.joints.mode()[0])
    return torch.stack(found)


def prediction(seed: int) -> FisherPrediction:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.eye(3) + 0.2 * torch.randn(3, 3, generator=generator).tril(-1)
    return FisherPrediction(
        camera=CAMERA,
        root=rotvec_to_rotmat(torch.randn(3, generator=generator)),
        joints=MatrixFisher(5 * torch.randn(4, 3, 3, generator=generator)),
        shape=ShapeGaussian(torch.randn(3, generator=generator), factor),
    )


def test_what_does_not_change_stays_with_all_its_doubts():
    same = prediction(0)
    found = smooth_window([same] * 9)
    assert isinstance(found, FisherPrediction)
    assert torch.allclose(found.joints.parameter, same.joints.parameter, atol=1e-4)
    assert torch.allclose(found.root, same.root, atol=1e-5)
    assert torch.allclose(found.shape.mean, same.shape.mean, atol=1e-5)
    assert torch.allclose(found.shape.factor, same.shape.factor, atol=1e-5)
    assert found.camera is same.camera


def test_a_trembling_joint_comes_nearer_to_the_truth():
    """Measured: errors of 3.2 degrees on average become 1.2 degrees."""
    truth = turning(torch.arange(200) * math.radians(2))
    seen = trembling(truth, math.radians(2))
    before = degrees(geodesic_angle(seen, truth))[RADIUS:-RADIUS].mean()
    after = degrees(geodesic_angle(smoothed(60 * seen), truth[RADIUS:-RADIUS])).mean()
    assert before == pytest.approx(3.2, abs=0.3)
    assert after < 0.5 * before


def test_sure_frames_count_more():
    """Measured: 6.1 degrees become 3.5 if all frames count alike, 1.5 by their certainty."""
    truth = turning(torch.full((200,), 0.3))
    std = torch.where(torch.arange(200) % 3 == 0, math.radians(8), math.radians(1.5))
    seen = trembling(truth, std)
    certainty = (0.5 / std**2)[:, None, None]
    told = geodesic_angle(smoothed(certainty * seen), truth[RADIUS:-RADIUS]).mean()
    untold = geodesic_angle(smoothed(60 * seen), truth[RADIUS:-RADIUS]).mean()
    assert told < 0.6 * untold


@pytest.mark.parametrize("speed", [1.0, 5.0, 15.0])
def test_a_steady_turn_stays_where_it_is(speed):
    truth = turning(torch.arange(40) * math.radians(speed))
    apart = geodesic_angle(smoothed(60 * truth), truth[RADIUS:-RADIUS])
    assert degrees(apart).max() < 0.1


@pytest.mark.parametrize(
    ("hertz", "bound"),
    # Degrees; of an arm swung by 60 degrees each way in a film of 25 frames a second.
    # Measured: 1.5, 3.7 and 4.4. A plain mean with the same weights flattens by 1.6, 6.2 and 20.8.
    [(0.5, 1.8), (1.0, 4.2), (2.0, 5.0)],
)
def test_a_swinging_arm_is_hardly_flattened(hertz, bound):
    time = torch.arange(100) / 25
    truth = turning(math.radians(60) * torch.sin(2 * math.pi * hertz * time))
    apart = degrees(geodesic_angle(smoothed(60 * truth), truth[RADIUS:-RADIUS]))
    assert apart.max() < bound


def test_a_jump_stays_a_jump():
    angles = torch.where(torch.arange(40) < 20, 0.0, math.radians(70))
    truth = turning(angles)
    apart = degrees(geodesic_angle(smoothed(60 * truth), truth[RADIUS:-RADIUS]))
    assert apart.max() < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_no_joint_is_moved_further_than_the_limit(seed):
    generator = torch.Generator().manual_seed(seed)
    steps = 0.5 * torch.randn(9, 200, 3, generator=generator)
    turned = rotvec_to_rotmat(steps)
    certainty = 10 ** (4 * torch.rand(9, 200, 1, 1, generator=generator) - 1)
    found = smooth_rotations(certainty * turned, torch.ones(9))
    assert geodesic_angle(MatrixFisher(found).mode(), turned[0]).max() < LIMIT


def test_shapes_are_averaged_by_their_certainty():
    sure = ShapeGaussian(torch.tensor([1.0, 0.0, 0.0]), 0.1 * torch.eye(3))
    unsure = ShapeGaussian(torch.tensor([0.0, 0.0, 2.0]), torch.eye(3))
    window = [replace(prediction(0), shape=shape) for shape in (sure, unsure, sure)]
    found = smooth_window(window)
    assert isinstance(found, FisherPrediction)
    assert found.shape.mean[0] > 0.9 and found.shape.mean[2] < 0.1
    assert (found.shape.std > sure.std).all() and (found.shape.std < unsure.std).all()


def test_single_guesses_are_smoothed_too():
    truth = turning(torch.arange(9) * 0.02)
    seen = trembling(truth, math.radians(3), seed=4)
    frames = [
        PointPrediction(CAMERA, BodyParameters(torch.tensor([float(n % 2), 0.0]), one[None]))
        for n, one in enumerate(seen)
    ]
    found = smooth_window(frames)
    assert isinstance(found, PointPrediction)
    rotations = found.parameters.rotations[0]
    assert geodesic_angle(rotations, truth[4]) < geodesic_angle(seen[4], truth[4])
    assert torch.allclose(rotations @ rotations.mT, torch.eye(3), atol=1e-5)
    assert 0.3 < found.parameters.shape[0] < 0.7


def test_frames_without_the_person_are_left_out_with_their_partners():
    odd, middle = prediction(1), prediction(0)
    assert smooth_window([odd, middle, None]) is middle
    assert smooth_window([middle]) is middle
    same = smooth_window([odd, middle, middle, middle, None])
    assert isinstance(same, FisherPrediction)
    assert torch.allclose(same.joints.parameter, middle.joints.parameter, atol=1e-4)
    for window in ([middle, None, middle], [middle, middle]):
        with pytest.raises(ValueError, match="wanted an odd number"):
            smooth_window(window)


def moved(image: ImagePrediction, place: int, angle: float) -> ImagePrediction:
    """The same frame with all joints of one person turned."""
    people = list(image.people)
    prediction = people[place].prediction
    assert isinstance(prediction, FisherPrediction)
    turn = axis_rotation(0, torch.tensor(angle))
    joints = MatrixFisher(prediction.joints.parameter @ turn)
    people[place] = replace(people[place], prediction=replace(prediction, joints=joints))
    return replace(image, people=tuple(people))


def angles(images: Iterable[ImagePrediction], place: int) -> list[float]:
    """How far a person's last joint is turned in each frame, against the first."""
    modes = torch.stack([image.people[place].prediction.mode().rotations[-1] for image in images])
    return geodesic_angle(modes, modes[:1].expand_as(modes)).tolist()


def test_a_film_is_smoothed_frame_by_frame(known_person, tmp_path):
    predictor = known_person.doubting_predictor(samples=2)
    (still,) = predictor([tmp_path / "two.png"])
    assert len(still.people) == 2
    away = still.people[1].evidence
    away = replace(away, box=away.box + 500.0)
    other = replace(still.people[1], evidence=away)
    still = replace(still, people=(still.people[0], other))
    film = [moved(still, 0, 0.1 * (n % 2)) for n in range(8)]
    asked = []

    def frames():
        for n, image in enumerate(film):
            asked.append(n)
            # From the fourth on, the other person comes first.
            yield image if n < 4 else replace(image, people=image.people[::-1])

    results = []
    for result in smooth(frames(), predictor, 2):
        assert len(asked) <= len(results) + 3  # no more frames are held than needed
        results.append(result)
    assert len(results) == 8
    main = [result.people[0] if n < 4 else result.people[1] for n, result in enumerate(results)]
    others = [result.people[1] if n < 4 else result.people[0] for n, result in enumerate(results)]
    assert all(person is other for person in others)
    turns = [person.prediction.mode().rotations[-1] for person in main]
    steps = geodesic_angle(torch.stack(turns[1:]), torch.stack(turns[:-1]))
    assert steps[3:5].max() < 0.04 < 0.1  # of 0.1 before; at the ends nothing can be said
    middle = main[4]
    assert middle.index == still.people[0].index and middle.samples is not None
    assert not torch.equal(middle.body.joints, still.people[0].body.joints)
    posed = middle.prediction.mode().posed(predictor.template)
    assert torch.allclose(middle.body.joints, posed.joints, atol=1e-4)
    assert results[0].people[0] is film[0].people[0]
    assert [result.path for result in results] == [still.path] * 8


def test_who_was_lost_for_long_is_not_mixed_with_who_comes_after(known_person, tmp_path):
    predictor = known_person.doubting_predictor()
    (here,) = predictor([tmp_path / "a.png"])
    person = here.people[0]
    there = replace(person, evidence=replace(person.evidence, box=person.evidence.box + 900.0))
    elsewhere = moved(replace(here, people=(there,)), 0, 0.2)
    nobody = replace(here, status="no_person", people=())
    film = [here, here, here, nobody, elsewhere, elsewhere, elsewhere, elsewhere, elsewhere]
    results = list(smooth(film, predictor, 2))
    assert [len(result.people) for result in results] == [1, 1, 1, 0, 1, 1, 1, 1, 1]
    turned = [result.people[0].prediction.mode().rotations[-1] for result in results[4:]]
    was = elsewhere.people[0].prediction.mode().rotations[-1]
    for rotation in turned:
        assert geodesic_angle(rotation, was) < 1e-3


def test_no_radius_changes_nothing(known_person, tmp_path):
    predictor = known_person.doubting_predictor()
    film = predictor([tmp_path / "a.png", tmp_path / "nobody.png"])
    assert list(smooth(film, predictor, 0)) == film
    assert list(smooth([], predictor, 3)) == []
    with pytest.raises(ValueError, match="--smooth: wanted a number of frames, 0 or more, got -1"):
        next(smooth(film, predictor, -1))
