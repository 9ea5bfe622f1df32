"""IUV pictures against a plain twin, and on drawn people by networks that know or know nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.config import override
from plausibody.evaluate.answers import draw_people
from plausibody.evaluate.iuv_accuracy import (
    METRICS,
    SIGHT,
    SIGHTS,
    IuvSettings,
    iuv_scores,
    measure_iuv,
)
from plausibody.models.danet import DanetRegressor
from plausibody.models.danet_crops import Squares
from plausibody.models.danet_estimate import DanetEstimate
from plausibody.models.iuv import IuvMaps, to_maps
from plausibody.models.proxy import ProxySettings
from plausibody.models.weights import TrainedRegressor
from plausibody.presets import preset
from plausibody.synth import generator
from plausibody.synth.stores import SynthAssets

SIDE, PEOPLE = 32, IuvSettings(count=6)
RGB = ProxySettings(size=SIDE, channel="rgb")


def pictures(seed: int, batch: int = 3, side: int = 6) -> Tensor:
    """Of few parts, so that two of them agree somewhere."""
    drawn = torch.Generator().manual_seed(seed)
    part = torch.randint(0, 4, (batch, 1, side, side), generator=drawn).float()
    return torch.cat([part, torch.rand(batch, 2, side, side, generator=drawn) * (part > 0)], 1)


def twin(said: np.ndarray, truth: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """Of one person, pixel by pixel."""
    counts = dict.fromkeys(("open", "open right", "hidden", "hidden right", "both", "either"), 0)
    gaps, parts = [], {part: [0, 0] for part in range(1, 25)}
    for row, column in np.ndindex(*seen.shape):
        part, true = int(said[0, row, column]), int(truth[0, row, column])
        counts["both"] += part > 0 and true > 0
        counts["either"] += part > 0 or true > 0
        for number, (both, either) in parts.items():
            one, other = part == number, true == number
            parts[number] = [both + (one and other), either + (one or other)]
        if true == 0:
            continue
        where = "open" if seen[row, column] else "hidden"
        counts[where] += 1
        if part == true:
            counts[f"{where} right"] += 1
            if where == "open":
                gaps.append(math.dist(said[1:, row, column], truth[1:, row, column]))
    overlaps = [both / either for both, either in parts.values() if either]
    return {
        "part_accuracy": 100 * counts["open right"] / counts["open"],
        "hidden_part_accuracy": 100 * counts["hidden right"] / counts["hidden"],
        "part_iou": 100 * sum(overlaps) / len(overlaps),
        "uv_error": 100 * sum(gaps) / len(gaps),
        "foreground_iou": 100 * counts["both"] / counts["either"],
    }


def test_scores_are_those_of_a_plain_twin() -> None:
    said, truth = pictures(0), pictures(1)
    seen = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(2)) > 0.4
    found = iuv_scores(said, truth, seen)
    assert tuple(found) == METRICS
    for person in range(3):
        expected = twin(*(each[person].numpy() for each in (said, truth, seen)))
        for name, value in expected.items():
            assert float(found[name][person]) == pytest.approx(value, abs=1e-4), name


def test_the_truth_has_no_errors_and_nothing_is_no_number() -> None:
    truth = pictures(1)
    perfect = iuv_scores(truth, truth, truth[:, 0] > 0)
    assert all(bool((perfect[name] == 100).all()) for name in ("part_accuracy", "part_iou"))
    assert bool((perfect["uv_error"] == 0).all())
    assert bool(perfect["hidden_part_accuracy"].isnan().all()), "nothing is hidden"
    nobody = iuv_scores(torch.zeros_like(truth), truth, truth[:, 0] > 0)
    assert bool((nobody["part_accuracy"] == 0).all()) and bool(nobody["uv_error"].isnan().all())


def test_scores_count_pixels_parts_and_distances() -> None:
    truth = torch.zeros(1, 3, 1, 4)
    truth[0, 0, 0] = torch.tensor([1.0, 1.0, 2.0, 0.0])
    said = truth.clone()
    said[0, 0, 0] = torch.tensor([1.0, 2.0, 2.0, 2.0])
    said[0, 1, 0, 0], said[0, 2, 0, 0] = 0.3, 0.4
    found = iuv_scores(said, truth, torch.tensor([[[True, True, False, False]]]))
    assert float(found["part_accuracy"]) == pytest.approx(50)
    assert float(found["hidden_part_accuracy"]) == pytest.approx(100)
    assert float(found["part_iou"]) == pytest.approx(100 * (1 / 2 + 1 / 3) / 2)
    assert float(found["uv_error"]) == pytest.approx(50)
    assert float(found["foreground_iou"]) == pytest.approx(75)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few people a whole block would be drawn."""
    monkeypatch.setattr(generator, "BLOCK", 6)


def network(**changes: object) -> DanetRegressor:
    small = {"danet.width": 8, "danet.features": 8, "danet.crop": 4, "proxy.size": SIDE}
    rest = {"stream.hierprob.size": SIDE, "stream.dense.size": 16}
    config = override(preset("danet-lite"), small | rest | changes)
    start = torch.eye(3).expand(24, 3, 3)
    return DanetRegressor(config.danet, config.proxy, start, 10).eval()


class Knowing(DanetRegressor):
    """Is told the true pictures."""

    truth: list[Tensor]

    def estimate(
        self, image: Tensor, generator: torch.Generator | None = None
    ) -> tuple[DanetEstimate, IuvMaps, IuvMaps]:
        maps = to_maps(self.truth.pop(0))
        nowhere = torch.zeros(len(image), 24, 2)
        squares = Squares(nowhere, nowhere[..., 0])
        return DanetEstimate(nowhere, squares, maps, None, None), maps, maps


def test_who_knows_everybody_errs_nowhere(clothed: SynthAssets) -> None:
    stream = PEOPLE.stream(SIDE, 16, "amodal")
    batches = list(draw_people(stream, RGB, clothed, PEOPLE.count))
    other = next(draw_people(PEOPLE.stream(SIDE, 16, "modal"), RGB, clothed, PEOPLE.count))
    assert batches[0].proxy.rgb is not None and other.proxy.rgb is not None
    assert torch.equal(batches[0].proxy.rgb, other.proxy.rgb), "the same people"
    knowing = network()
    knowing.__class__ = Knowing
    assert isinstance(knowing, Knowing)
    knowing.truth = [batch.target.dense.iuv for batch in batches if batch.target.dense is not None]
    told: list[int] = []
    trained = TrainedRegressor(knowing, RGB, "neutral", {})
    values = measure_iuv(trained, clothed, PEOPLE, told.append)
    assert len(values) == told[-1] == 6 and values.attributes[SIGHT].kinds == SIGHTS
    assert bool((values.errors["part_accuracy"] == 100).all())
    assert bool((values.errors["foreground_iou"] == 100).all())
    assert float(values.errors["uv_error"].max()) < 1e-4
    hidden = values.attributes[SIGHT].of == 1
    assert bool(hidden.any()), "somebody lacks a part"
    assert bool((values.errors["hidden_part_accuracy"][hidden] == 100).all())

    untrained = measure_iuv(TrainedRegressor(network(), RGB, "neutral", {}), clothed, PEOPLE)
    assert float(untrained.errors["part_accuracy"].max()) < 50


def test_networks_that_estimate_no_pictures_are_refused(clothed: SynthAssets) -> None:
    given = network(**{"proxy.channel": "iuv", "stream.recipe": "lite"})
    read = ProxySettings(size=SIDE, channel="iuv")
    with pytest.raises(ValueError, match="wanted a network that estimates IUV.* reads iuv"):
        measure_iuv(TrainedRegressor(given, read, "neutral", {}), clothed, PEOPLE)
