"""DSR as a whole: label maps of a stream, who is labelled, a short training, the benchmark."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from plausibody.config import RunConfig, override
from plausibody.contact_sheet import contact_sheet
from plausibody.models.hmr import HmrRegressor
from plausibody.models.hmr_loss import HmrLoss, HmrWeights
from plausibody.models.losses import Moment
from plausibody.models.records import take
from plausibody.presets import preset
from plausibody.synth import generator
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.semantic_labels import LABELS, NAMES
from plausibody.synth.semantic_losses import SemanticLoss
from plausibody.synth.stores import SynthAssets
from plausibody.training.objective import build_objective, loss_changes
from plausibody.training.trainer import Trainer

TINY = {
    "train.batch_size": 12,
    "train.warm_up": 0,
    "train.precision": "32-true",
    "proxy.size": 32,
    "stream.hierprob.size": 32,
    "stream.maps.size": 32,
    "regressor.features": 32,
    "regressor.width": 8,
    "regressor.blocks": 1,
    "semantics.first_step": 1,
}


def config(**changes: Any) -> RunConfig:
    return override(
        preset("dsr-lite"), TINY | {k.replace("__", "."): v for k, v in changes.items()}
    )


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few people a whole block would be drawn."""
    monkeypatch.setattr(generator, "BLOCK", 12)


def batch_of(clothed: SynthAssets, **changes: Any) -> Batch:
    return BatchGenerator(config(**changes), clothed)[0]


# The stream


def test_label_maps_change_nothing_else_and_show_the_dressed_person(clothed: SynthAssets) -> None:
    batch, plain = batch_of(clothed), batch_of(clothed, stream__maps__size=0, semantics__mc=0.0,
                                               semantics__c=0.0)  # fmt: skip
    assert plain.target.maps is None and batch.proxy.rgb is not None and plain.proxy.rgb is not None
    assert torch.equal(batch.proxy.rgb, plain.proxy.rgb)
    assert torch.equal(batch.target.keypoints, plain.target.keypoints)
    maps = batch.target.maps
    assert maps is not None and maps.labels is not None and maps.uncovered is not None
    assert torch.equal(maps.labels > 0, maps.visible > 0)
    seen = set(maps.labels.unique().tolist())
    assert {0, NAMES.index("upper clothes"), NAMES.index("left leg")} <= seen
    overlap = ((maps.visible > 0) & (batch.proxy.silhouette > 0.5)).sum()
    assert overlap > 0.9 * (batch.proxy.silhouette > 0.5).sum()


def test_sheets_show_label_maps_in_the_parsers_colours(clothed: SynthAssets) -> None:
    batch = take(batch_of(clothed), slice(0, 2))
    plain = dataclasses.replace(batch, target=dataclasses.replace(batch.target, maps=None))
    with_maps, without = contact_sheet(batch, 64), contact_sheet(plain, 64)
    assert with_maps.shape[2] - without.shape[2] >= 2 * 64
    shirt = torch.tensor(LABELS["upper clothes"])[:, None, None] / 255
    alike = ((with_maps - shirt).abs().amax(0) < 1e-3).sum()
    assert alike > 100 > ((without - shirt).abs().amax(0) < 1e-3).sum()


def test_maps_may_be_smaller_than_pictures(clothed: SynthAssets) -> None:
    large, small = (
        batch_of(clothed).target.maps,
        batch_of(clothed, stream__maps__size=16).target.maps,
    )
    assert large is not None and small is not None and small.labels is not None
    assert small.labels.shape == (12, 16, 16)
    pooled = torch.nn.functional.avg_pool2d(large.whole[:, None], 2)[:, 0]
    assert (pooled - small.whole).abs().mean() < 0.06


def test_streams_that_cannot_draw_label_maps_say_so(clothed: SynthAssets) -> None:
    with pytest.raises(ValueError, match="stream.maps.reach: the hierprob recipe draws maps of"):
        batch_of(clothed, stream__maps__reach=1.5)
    with pytest.raises(ValueError, match="semantics: wanted a stream that hands over label maps"):
        config(stream__maps__size=0)
    looks = clothed.looks
    assert looks is not None
    bare = dataclasses.replace(looks.textures, semantics=None, garments=None)
    published = dataclasses.replace(clothed, looks=dataclasses.replace(looks, textures=bare))
    with pytest.raises(ValueError, match="wanted textures with labels, came published ones"):
        batch_of(published, stream__hierprob__garments__worn=0.0)


def test_a_share_of_the_bodies_is_known(clothed: SynthAssets) -> None:
    known = batch_of(clothed, train__batch_size=128, stream__labelled=0.25).target.labelled
    assert known is not None and 0.15 < known.float().mean() < 0.36
    again = BatchGenerator(config(stream__labelled=0.25), clothed).samples(70, 5).target.labelled
    assert again is not None and torch.equal(again, known[70:75])
    assert batch_of(clothed, stream__labelled=1.0).target.labelled is None
    with pytest.raises(ValueError, match="stream.labelled: wanted a share"):
        config(stream__labelled=1.5)


# The objective


@torch.no_grad()
def test_hmrs_objective_is_that_of_spin(clothed: SynthAssets) -> None:
    settings = config(objective="hmr", method="hmr", stream__labelled=1.0)
    batch, objective = BatchGenerator(settings, clothed)[0], build_objective(settings, clothed)
    assert isinstance(objective, SemanticLoss) and isinstance(objective.objective, HmrLoss)
    hmr, moment = objective.objective, Moment(0, torch.Generator())
    trainer = Trainer(settings, clothed, "cpu")
    prediction = trainer.best.eval().predict(batch.proxy)
    total, parts = hmr(prediction, batch.target, moment)
    assert set(parts) == {"keypoints", "joints", "rotations", "shape", "camera"}
    assert total == pytest.approx(float(sum(parts.values())))
    gap = prediction.mode().rotations - batch.target.parameters.rotations
    assert parts["rotations"] == pytest.approx(60 * float(gap.square().mean()), rel=1e-4)
    points = hmr.markers(prediction.mode())
    true = hmr.markers(batch.target.parameters)
    rooted = [each.h36m - each.h36m[:, :1] for each in (points, true)]
    expected = 300 * (rooted[0] - rooted[1]).square().mean()
    assert parts["joints"] == pytest.approx(float(expected), rel=1e-4)

    # Of people whose bodies are not known, key points alone count.
    known = torch.zeros(12, dtype=torch.bool)
    known[:3] = True
    some = dataclasses.replace(batch.target, labelled=known)
    _, weak = hmr(prediction, some, moment)
    first = slice(0, 3)
    _, three = hmr(take(prediction, first), take(batch.target, first), moment)
    assert weak["joints"] == pytest.approx(float(three["joints"]), rel=1e-4)
    assert weak["keypoints"] == pytest.approx(float(parts["keypoints"]), rel=1e-5)
    assert HmrWeights().keypoints == 300


@pytest.mark.parametrize("method", ["lite", "hmr"])
def test_trainings_learn_and_go_on_bit_for_bit(
    clothed: SynthAssets, tmp_path: Path, method: str
) -> None:
    """Dropout too: its chance is that of the step."""
    settings = config(method=method, train__rate=1e-3)
    batches = BatchGenerator(settings, clothed)
    trainer = Trainer(settings, clothed, "cpu")
    assert isinstance(trainer.best, HmrRegressor) == (method == "hmr")
    first = trainer.train_step(batches[0])
    assert "dsr_mc" not in first
    trainer.save(tmp_path, {})
    second = trainer.train_step(batches[1])
    assert {"dsr_mc", "dsr_c"} <= set(second)
    other = Trainer(settings, clothed, "cpu")
    other.restore(tmp_path)
    again = other.train_step(batches[1])
    assert all(torch.equal(second[name], again[name]) for name in second)
    for one, two in zip(trainer.best.parameters(), other.best.parameters(), strict=True):
        assert torch.equal(one, two)
    assert loss_changes(settings) == [1]


def test_the_published_preset_has_the_published_numbers() -> None:
    found = preset("dsr")
    assert (found.method, found.objective, found.regressor.depth) == ("hmr", "hmr", 50)
    assert (found.train.batch_size, found.train.rate, found.proxy.size) == (128, 3e-5, 224)
    assert found.train.steps == 50 * 2438 and found.semantics.first_step == 3 * 2438
    assert found.semantics.mc == found.semantics.c == 0.1 * 60
    assert found.proxy.channel == "rgb" and 0.1 <= found.stream.labelled <= 0.25
