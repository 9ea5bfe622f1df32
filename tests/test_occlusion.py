"""Occluded people: what stands before them, how they are counted, and what is told of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.config import override
from plausibody.evaluate.ablation import by_kind, certain, effects, mean_values
from plausibody.evaluate.answers import draw_people
from plausibody.evaluate.joint_errors import JOINT_METRICS, joint_errors
from plausibody.evaluate.occlusion import (
    FORTY,
    HIDDEN,
    METRICS,
    SHARES,
    OccludedSettings,
    measure_occluded,
    share_bins,
)
from plausibody.evaluate.values import Attribute, Values
from plausibody.models.body import pose_body
from plausibody.models.camera import fit_weak_perspective
from plausibody.models.markers import Markers
from plausibody.models.prediction import PointPrediction
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.models.rotations import axis_rotation
from plausibody.models.skeleton import SMPL24
from plausibody.presets import preset
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.stores import SynthAssets

OCCLUDED = {
    "stream.recipe": "lite",
    "stream.lite.frame": 40,
    "stream.lite.occlusion.people.present": 0.6,
    "stream.lite.occlusion.objects.present": 0.6,
    "stream.maps.size": 32,
    "proxy.size": 32,
}
CALM = {
    "stream.lite.corruption.clothed": 0.0,
    "stream.lite.corruption.truncated": 0.0,
    "stream.lite.corruption.box": [0.0, 0.0],
    "stream.lite.corruption.attached": 0.0,
    "stream.lite.corruption.lost_parts": 0.0,
    "stream.lite.corruption.ragged": 0.0,
    "stream.lite.corruption.no_mask": 0.0,
}
FEW = OccludedSettings(count=96)


def stream(assets: SynthAssets, count: int, step: int = 0, **changes: Any) -> Batch:
    renamed = {f"stream.lite.{key.replace('__', '.')}": value for key, value in changes.items()}
    config = override(preset("lite"), OCCLUDED | CALM | renamed | {"train.batch_size": count})
    return BatchGenerator(config, assets)[step]


def area(batch: Batch) -> Tensor:
    """Of each silhouette, in the frame's units."""
    return batch.proxy.silhouette.sum((1, 2)) * batch.proxy.box.side**2


@pytest.mark.parametrize("errors", ["published", "both"])
def test_an_occluded_stream_is_repeatable_wherever_it_is_made(assets, errors):
    whole, part = stream(assets, 70, errors=errors), stream(assets, 7, 9, errors=errors)
    again = stream(assets, 70, errors=errors)
    for other, rows in ((again, slice(None)), (part, slice(63, 70))):
        assert torch.equal(other.proxy.silhouette, whole.proxy.silhouette[rows])
        assert torch.equal(other.proxy.keypoints, whole.proxy.keypoints[rows])
        maps, expected = other.target.maps, whole.target.maps
        assert maps is not None and expected is not None
        for name in ("whole", "uncovered", "occluded"):
            assert torch.equal(getattr(maps, name), getattr(expected, name)[rows]), name


@pytest.mark.parametrize("what", ["people", "objects"])
def test_each_kind_hides_a_part_of_people_and_never_adds_to_them(assets, what):
    never = {"occlusion__people__present": 0.0, "occlusion__objects__present": 0.0}
    batch = stream(assets, 64, **(never | {f"occlusion__{what}__present": 1.0}))
    open_to_view = stream(assets, 64, **never)
    share = area(batch) / area(open_to_view)
    maps = batch.target.maps
    assert maps is not None and maps.occluded is not None
    # Frames are alike; silhouettes are resampled from 40 px in boxes of other sizes, and smoothed,
    # so that the legs of a chair leave no trace.
    assert (share < 1.06).all()
    gap = (1 - share - maps.occluded).abs()
    assert gap.median() < 0.03 and gap.max() < 0.25
    assert (maps.occluded > 0.05).double().mean() > 0.5 and maps.occluded.max() <= 0.9
    plain = open_to_view.target.maps
    assert plain is not None and (plain.occluded == 0).all()
    assert torch.equal(batch.target.parameters.shape, open_to_view.target.parameters.shape)


def test_joints_behind_things_are_less_sure(assets):
    """Nobody is cut here: what is hidden in one stream only is so by what stands before people."""
    never = {"occlusion__people__present": 0.0, "occlusion__objects__present": 0.0}
    hidden = stream(assets, 96, occlusion__objects__present=1.0, occlusion__people__present=1.0)
    seen = stream(assets, 96, **never)
    sure, before = hidden.proxy.keypoints[..., 2], seen.proxy.keypoints[..., 2]
    assert ((sure > 0) <= (before > 0)).double().mean() > 0.98
    assert sure.mean() < 0.9 * before.mean()


# The benchmark


@pytest.fixture(scope="module")
def people(assets: SynthAssets) -> list[Batch]:
    return list(draw_people(FEW.stream(), ProxySettings(size=32), assets, FEW.count))


class Oracle:
    """Knows the bodies of the stream, and finds the best orthographic camera."""

    def __init__(self, assets: SynthAssets, people: list[Batch], wrong: float = 0.0):
        self.joints = Markers.of(assets.template, assets.regressors, torch.tensor([0]))
        self.batches: Iterator[Batch] = iter(people)
        self.wrong = wrong

    def predict(self, proxy: Proxy) -> PointPrediction:
        target = next(self.batches).target
        assert len(target.keypoints) == len(proxy.keypoints)
        body = target.parameters
        coco = self.joints(body).coco
        camera = fit_weak_perspective(coco, target.keypoints, torch.ones_like(coco[..., 0]))
        shape = body.shape.clone()
        shape[:, 0] += self.wrong
        return PointPrediction(camera, dataclasses.replace(body, shape=shape))


def test_the_truth_has_no_error_and_who_is_wrong_has(assets, people):
    proxy = ProxySettings(size=32)
    right = measure_occluded(Oracle(assets, people), proxy, assets, FEW)
    wrong = measure_occluded(Oracle(assets, people, wrong=2.0), proxy, assets, FEW)
    for metric in ("mpjpe", "pa_mpjpe", "pve_t_sc"):
        assert right.errors[metric].max() < 0.1 < wrong.errors[metric].min()
    # What is left is perspective, which orthographic cameras have not.
    assert right.errors["overlap"].median() > 0.75 > wrong.errors["overlap"].min()
    shares = torch.cat([batch.target.maps.occluded for batch in people])  # type: ignore[union-attr]
    assert torch.equal(right.attributes[HIDDEN].of, share_bins(shares).of)
    counted = torch.bincount(share_bins(shares).of + 1, minlength=8)
    assert counted.min() >= 3, "every share is met"

    found = effects(right, wrong, METRICS, HIDDEN)
    assert tuple(found) == SHARES
    forty = found[FORTY]["pve_t_sc"]
    assert certain(forty) and forty.low is not None and forty.low > 0.1
    assert forty.difference == pytest.approx(by_kind(wrong, "pve_t_sc", HIDDEN)[4], abs=0.1)
    assert not certain(effects(right, right, METRICS, HIDDEN)[FORTY]["pve_t_sc"])
    others = {HIDDEN: Attribute(SHARES, right.attributes[HIDDEN].of.flip(0))}
    for strangers in (
        dataclasses.replace(wrong, attributes=others),
        dataclasses.replace(wrong, names=tuple(f"{name}a" for name in wrong.names)),
    ):
        with pytest.raises(ValueError, match="hidden: wanted numbers of the same people twice"):
            effects(right, strangers, METRICS, HIDDEN)


def test_bins_reach_five_percent_either_way():
    shares = torch.tensor([0.0, 0.04, 0.06, 0.36, 0.44, 0.64, 0.66, 0.9])
    assert share_bins(shares).of.tolist() == [0, 0, 1, 4, 4, 6, -1, -1]


def test_errors_joint_by_joint_are_those_of_the_sides_together(assets, people):
    truth = people[0].target.parameters
    turned = truth.rotations.clone()
    knee, sides = SMPL24.index("left_knee"), [SMPL24.index(f"{s}_ankle") for s in ("left", "right")]
    turned[:, knee] = turned[:, knee] @ axis_rotation(0, torch.tensor(0.5))
    skin = assets.coarse.skin
    found = joint_errors(dataclasses.replace(truth, rotations=turned), truth, skin)
    assert tuple(found) == JOINT_METRICS and len(JOINT_METRICS) == 14 + 14
    half = torch.full_like(found["rotation/knee"], math.degrees(0.5) / 2)
    assert torch.allclose(found["rotation/knee"], half, atol=0.05)
    for joint in ("hip", "ankle", "pelvis", "wrist"):
        assert found[f"rotation/{joint}"].max() < 0.1
    # By hand: the mean over both ankles, pelvis on pelvis; everything before the knee stays.
    joints = [
        pose_body(skin, truth.shape, rotations).joints.numpy()
        for rotations in (truth.rotations, turned)
    ]
    true, said = (each - each[:, :1] for each in joints)
    expected = 1000 * np.linalg.norm(said - true, axis=-1)[:, sides].mean(1)
    assert expected.min() > 20
    assert np.allclose(found["position/ankle"].numpy(), expected, atol=1e-2)
    assert found["position/knee"].max() < 0.01 and found["position/hand"].max() < 0.01


def test_joints_are_measured_where_they_are_wanted(assets, people):
    proxy = ProxySettings(size=32)
    wanted = dataclasses.replace(FEW, joints=True)
    found = measure_occluded(Oracle(assets, people), proxy, assets, wanted)
    assert set(found.errors) == {*METRICS, *JOINT_METRICS}
    assert max(float(found.errors[name].max()) for name in JOINT_METRICS) < 0.1


def test_seeds_are_averaged_person_by_person():
    names, hidden = ("0", "1"), {HIDDEN: share_bins(torch.tensor([0.0, 0.4]))}
    one, two = (
        Values(names, {name: torch.tensor(column) for name in METRICS}, attributes=hidden)
        for column in ([10.0, 30.0], [20.0, 50.0])
    )
    mean = mean_values([one, two])
    assert mean.errors["mpjpe"].tolist() == [15.0, 40.0]
    means = by_kind(mean, "mpjpe", HIDDEN)
    assert means[0] == 15.0 and means[4] == 40.0
