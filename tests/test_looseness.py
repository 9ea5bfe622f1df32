"""People in clothes of every thickness: the same people, known answers, effects of variants."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from plausibody.evaluate.ablation import by_kind, certain, effects, mean_values
from plausibody.evaluate.answers import draw_people
from plausibody.evaluate.looseness import (
    FACTORS,
    LOOSENESS,
    LooseSettings,
    inflation,
    measure_loose,
    thicker,
    volume_bias,
)
from plausibody.evaluate.values import Attribute, Values
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.prediction import BodyParameters, PointPrediction
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.synth import generator
from plausibody.synth.garments import GarmentSettings
from plausibody.synth.stores import SynthAssets

RGB = ProxySettings(size=32, channel="rgb")
PEOPLE = LooseSettings(count=6)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few people a whole block would be drawn."""
    monkeypatch.setattr(generator, "BLOCK", 6)


def test_all_garments_get_thicker_together() -> None:
    usual, twice = GarmentSettings(), thicker(2.0)
    assert twice.worn == 1 and twice.folds == usual.folds and twice.stride == usual.stride
    assert twice.upper["jacket"] == pytest.approx((0.024, 0.12))
    assert twice.hat == pytest.approx((0.012, 0.06))
    assert set(thicker(0.0).lower.values()) == {(0.0, 0.0)}


def test_only_the_cloth_differs_between_thicknesses(clothed: SynthAssets) -> None:
    batches = [
        next(draw_people(PEOPLE.stream(factor, 32), RGB, clothed, PEOPLE.count, 8))
        for factor in (0.0, 1.0, 2.0)
    ]
    first, middle, last = batches
    for batch in batches:
        assert torch.equal(batch.target.parameters.shape, first.target.parameters.shape)
        assert torch.equal(batch.target.parameters.rotations, first.target.parameters.rotations)
    assert first.proxy.rgb is not None and last.proxy.rgb is not None
    share = [batch.proxy.silhouette.sum() for batch in batches]
    assert not torch.equal(first.proxy.rgb, last.proxy.rgb)
    assert share[0] != share[1] != share[2]


class Truthful:
    """Knows everybody; says that people are fatter by so much."""

    def __init__(self, truth: list[BodyParameters], fatter: float = 0.0):
        self.truth, self.fatter = list(truth), fatter

    def predict(self, proxy: Proxy) -> PointPrediction:
        body = self.truth.pop(0)
        count = len(body.shape)
        camera = WeakPerspectiveCamera(torch.ones(count), torch.zeros(count, 2))
        shape = body.shape.clone()
        shape[:, 1] += self.fatter
        return PointPrediction(camera, BodyParameters(shape=shape, rotations=body.rotations))


def truths(assets: SynthAssets) -> list[BodyParameters]:
    return [
        next(draw_people(PEOPLE.stream(factor, 32), RGB, assets, PEOPLE.count, 8)).target.parameters
        for factor in FACTORS
    ]


def test_who_knows_everybody_has_no_errors(clothed: SynthAssets) -> None:
    told: list[int] = []
    answers = truths(clothed)
    values = measure_loose(Truthful(answers), RGB, clothed, PEOPLE, told.append)
    assert len(values) == 6 * len(FACTORS) and told[-1] == len(values)
    assert values.attributes["looseness"].kinds == LOOSENESS
    for metric in ("pa_mpjpe", "pve_t_sc"):
        assert values.errors[metric].max() < 0.01
    assert values.errors["volume_bias"].abs().max() < 0.01
    fatter = measure_loose(Truthful(answers, 1.5), RGB, clothed, PEOPLE)
    assert fatter.errors["pa_mpjpe"].max() < 40 and fatter.errors["pve_t_sc"].min() > 1
    assert fatter.errors["volume_bias"].abs().min() > 0.5
    added = inflation(fatter).errors["volume_added"]
    assert added.abs().max() < 0.01, "of cloth it takes no notice"


def box(width: float) -> tuple[Tensor, Tensor]:
    """A closed mesh of so many cubic metres."""
    corners = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]).float()
    faces = torch.tensor(
        [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
         [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
    )  # fmt: skip
    return (corners * torch.tensor([width, 1.0, 1.0]))[None], faces


def test_size_is_no_bias_of_volume_but_girth_is() -> None:
    (true, faces), (wide, _) = box(1.0), box(1.2)
    assert volume_bias(3 * true, true, faces).abs() < 1e-3
    flat = true - true.mean(1, keepdim=True)
    broad = wide - wide.mean(1, keepdim=True)
    scale = (flat.square().sum() / broad.square().sum()).sqrt()
    expected = 100 * (1.2 * scale**3 - 1)
    assert float(volume_bias(wide, true, faces)) == pytest.approx(float(expected), abs=1e-3)


def numbers(added: float, noise: int) -> Values:
    generator = torch.Generator().manual_seed(noise)
    count = 40
    volume = torch.randn(count, generator=generator).repeat(len(FACTORS)).double()
    kinds = torch.arange(len(FACTORS)).repeat_interleave(count)
    return Values(
        names=tuple(str(n) for n in range(count * len(FACTORS))),
        errors={"volume_bias": volume + added * kinds},
        attributes={"looseness": Attribute(LOOSENESS, kinds)},
    )


def test_what_cloth_adds_is_told_with_intervals() -> None:
    one, other = inflation(numbers(0.0, 0)), inflation(numbers(2.0, 1))
    assert by_kind(other, "volume_added", "looseness") == pytest.approx([0, 2, 4, 6, 8])
    both = mean_values([one, other])
    assert by_kind(both, "volume_added", "looseness") == pytest.approx([0, 1, 2, 3, 4])
    found = effects(one, other, ("volume_added",), "looseness")
    assert list(found) == list(LOOSENESS)
    last = found[LOOSENESS[-1]]["volume_added"]
    assert last.difference == pytest.approx(8) and certain(last)
    assert not certain(found[LOOSENESS[0]]["volume_added"])
