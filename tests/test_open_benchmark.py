"""The open benchmark: its people, its seal, the baselines and the result."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from known_answers import Losing
from torch import Tensor

from plausibody.evaluate import metrics
from plausibody.evaluate.baselines import MeanBody, NearestPose, nearest
from plausibody.evaluate.open import (
    OPEN_V0,
    QUICK,
    OpenBenchmark,
    People,
    Seal,
    facing,
    stoutness,
)
from plausibody.evaluate.result import Result, read_result
from plausibody.evaluate.result_text import to_markdown
from plausibody.evaluate.ruler import PROTOCOLS, Ruler
from plausibody.evaluate.run import (
    evaluate_open,
    figures,
    measure,
    run_evaluation,
    training_bank,
)
from plausibody.evaluate.saving import read_with_values, save_result
from plausibody.evaluate.table import result_table
from plausibody.evaluate.values import UNKNOWN
from plausibody.models.camera import WeakPerspectiveCamera, fit_weak_perspective
from plausibody.models.networks import build_regressor
from plausibody.models.prediction import PointPrediction
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.models.regressor import RegressorSettings
from plausibody.models.rotations import axis_rotation
from plausibody.models.weights import TrainedRegressor
from plausibody.synth.poses import PoseBank

PEOPLE = 40


@pytest.fixture(scope="module")
def benchmark() -> OpenBenchmark:
    return OpenBenchmark(dataclasses.replace(OPEN_V0, count=PEOPLE), ProxySettings())


@pytest.fixture(scope="module")
def everyone(benchmark: OpenBenchmark) -> People:
    return benchmark.some(0, PEOPLE)


@pytest.fixture(scope="module")
def regressor() -> TrainedRegressor:
    torch.manual_seed(0)
    settings = RegressorSettings(features=32, width=8, blocks=1)
    start = torch.eye(3).expand(24, 3, 3)
    network = build_regressor("lite", settings, ProxySettings(), start).eval()
    card = {"config": {"method": "lite"}, "steps": 0, "sha256": "0" * 64}
    return TrainedRegressor(network=network, proxy=ProxySettings(), gender="neutral", card=card)


@pytest.fixture(scope="module")
def bank() -> PoseBank:
    return training_bank("cpu")


@pytest.fixture(scope="module")
def baselines(bank: PoseBank, benchmark: OpenBenchmark) -> tuple[MeanBody, NearestPose]:
    return MeanBody.of(bank, benchmark.assets), NearestPose.of(bank, benchmark.assets)


@pytest.fixture(scope="module")
def result(regressor: TrainedRegressor, benchmark: OpenBenchmark) -> Result:
    return evaluate_open(regressor, batch_size=16, settings=benchmark.settings)


def test_people_do_not_depend_on_how_many_are_asked_for(
    benchmark: OpenBenchmark, everyone: People
) -> None:
    parts = list(benchmark.people(17))
    assert [len(part.batch) for part in parts] == [17, 17, 6]
    for name in ("silhouette", "keypoints"):
        joined = torch.cat([getattr(part.batch.proxy, name) for part in parts])
        assert torch.equal(joined, getattr(everyone.batch.proxy, name))
    assert torch.equal(torch.cat([part.truncated for part in parts]), everyone.truncated)


def test_shapes_are_uniform_where_training_is_normal(everyone: People) -> None:
    shape = everyone.batch.target.parameters.shape
    assert shape.shape == (PEOPLE, 10)
    assert shape.abs().max() < 2.5
    # A uniform distribution has std 2.5 / sqrt(3); the bound is three standard errors.
    assert abs(shape.std().item() - 2.5 / math.sqrt(3)) < 3 * 0.65 / math.sqrt(2 * shape.numel())


def test_the_true_camera_is_recovered(benchmark: OpenBenchmark, everyone: People) -> None:
    true = Ruler(benchmark.assets)(everyone.batch.target.parameters, everyone.camera)
    torch.testing.assert_close(true.keypoints, everyone.batch.target.keypoints, atol=1e-4, rtol=0.0)
    # Clothes, lost parts and things in the way differ; people as a whole agree.
    size = true.silhouette.shape[-1]
    seen = torch.nn.functional.interpolate(everyone.batch.proxy.silhouette[:, None], size=size)
    overlap = metrics.silhouette_iou(seen[:, 0], true.silhouette)[~everyone.truncated]
    assert overlap.median() > 0.65  # measured 0.76


def test_truncated_people_leave_the_box(everyone: People) -> None:
    reach = everyone.batch.target.keypoints.abs().amax((1, 2))
    assert 0 < everyone.truncated.sum() < PEOPLE
    assert reach[~everyone.truncated].max() < 1.1
    assert reach[everyone.truncated].median() > 1.1


def test_facing_goes_by_the_direction_of_the_pelvis() -> None:
    yaw = torch.tensor([0.0, 0.7, 0.9, -2.3, 2.4, math.pi])
    rotations = torch.eye(3).repeat(len(yaw), 24, 1, 1)
    rotations[:, 0] = axis_rotation(1, yaw)
    assert facing(rotations).tolist() == [0, 0, 1, 1, 2, 2]


def test_stoutness_of_a_box() -> None:
    corners = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]).float()
    faces = torch.tensor(
        [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]]
        + [[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
    )
    box = corners * torch.tensor([0.2, 2.0, 0.3]) - torch.tensor([1.0, 0.5, 4.0])
    found = stoutness(box[None], faces)
    assert found.item() == pytest.approx(1000 * 0.2 * 0.3 * 2 / 4, rel=1e-4)


def test_the_shipped_assets_and_code_keep_the_seal() -> None:
    """If this fails, published figures of open-v0 no longer compare: make open-v1 instead."""
    benchmark = OpenBenchmark(OPEN_V0, ProxySettings())
    assert OPEN_V0.seal is not None
    assert benchmark.check() == (True, OPEN_V0.seal.digest, ""), benchmark.seal()


def test_a_seal_is_broken_by_content_and_by_code_but_not_by_the_last_bits() -> None:
    seal = Seal(content="a", witnesses=(0.1, 0.2, 0.3, 0.4, 0.5))
    noise = dataclasses.replace(seal, witnesses=(0.100001, 0.2, 0.3, 0.403, 0.5))
    assert seal.agrees(seal) and seal.agrees(noise)
    assert not seal.agrees(dataclasses.replace(seal, content="b"))
    assert not seal.agrees(dataclasses.replace(seal, witnesses=(0.1, 0.2, 0.3, 0.4, 0.52)))
    assert not seal.agrees(dataclasses.replace(seal, witnesses=(0.101, 0.2, 0.3, 0.4, 0.5)))


def test_other_settings_are_another_benchmark() -> None:
    seed = dataclasses.replace(OPEN_V0, seed=OPEN_V0.seed + 1)
    sealed, digest, note = OpenBenchmark(seed, ProxySettings()).check()
    assert not sealed
    assert OPEN_V0.seal is not None and digest != OPEN_V0.seal.digest
    assert note.startswith("NOT open-v0: its settings or asset files")


def test_the_look_during_training_keeps_off_the_test_subjects() -> None:
    assert (OPEN_V0.split, QUICK.split) == ("test", "val")


def test_the_nearest_fits_by_scale_and_shift() -> None:
    generator = torch.Generator().manual_seed(0)
    candidates = torch.randn(30, 17, 2, generator=generator)
    points = 0.3 * candidates[[7, 22]] + torch.tensor([0.5, -0.2])
    weight = torch.rand(2, 17, generator=generator)
    points[0, 4] = 50.0
    weight[0, 4] = 0.0  # not seen: it must not count
    assert nearest(candidates, points, weight).tolist() == [7, 22]
    assert nearest(candidates, -points, weight).tolist() != [7, 22]


def test_the_nearest_is_the_loop_over_all_fits() -> None:
    generator = torch.Generator().manual_seed(1)
    bodies = torch.randn(12, 17, 3, generator=generator)
    points = torch.randn(5, 17, 2, generator=generator)
    weight = torch.rand(5, 17, generator=generator)
    flat = WeakPerspectiveCamera(torch.ones(12), torch.zeros(12, 2)).project(bodies)
    twin = []
    for i in range(5):
        camera = fit_weak_perspective(
            bodies, points[i].expand(12, -1, -1), weight[i].expand(12, -1)
        )
        missed = (camera.project(bodies) - points[i]).square().sum(-1)
        twin.append(int((weight[i] * missed).sum(-1).argmin()))
    assert nearest(flat, points, weight).tolist() == twin


def test_baselines_are_the_same_every_time_and_stand_nothing_seen(
    benchmark: OpenBenchmark,
    bank: PoseBank,
    baselines: tuple[MeanBody, NearestPose],
    everyone: People,
) -> None:
    proxy = everyone.batch.proxy
    blind = dataclasses.replace(proxy, keypoints=torch.zeros_like(proxy.keypoints))
    for baseline in baselines:
        again = type(baseline).of(bank, benchmark.assets)
        mode, other = baseline.predict(proxy).mode(), again.predict(proxy).mode()
        assert torch.equal(mode.rotations, other.rotations)
        assert mode.shape.abs().max() == 0
        camera = baseline.predict(blind).camera
        assert torch.isfinite(camera.shift).all() and (camera.scale == 0.9).all()
    mean = baselines[0].body.rotations
    assert torch.equal(mean[0], torch.eye(3))
    torch.testing.assert_close(mean @ mean.mT, torch.eye(3).expand(24, 3, 3))


class Oracle:
    """Knows the truth, and nothing of perspective."""

    def __init__(self, everyone: People):
        self.everyone = everyone

    def predict(self, proxy: Proxy) -> PointPrediction:
        parameters = self.everyone.batch.target.parameters
        count = len(proxy.keypoints)
        camera = WeakPerspectiveCamera(torch.ones(count), torch.zeros(count, 2))
        return PointPrediction(camera=camera, parameters=parameters)


def test_the_truth_has_no_error(benchmark: OpenBenchmark, everyone: People) -> None:
    ruler = Ruler(benchmark.assets)
    measured = measure([everyone], {"oracle": (Oracle(everyone), ruler)}, ruler)
    assert set(measured.errors["oracle"]) == set(PROTOCOLS)
    for name, value in measured.errors["oracle"].items():
        if PROTOCOLS[name].unit == "mm":
            assert value.max() < 0.01, name
    assert measured.errors["oracle"]["root_angle"].max() < 0.1


def test_figures_are_means_over_their_people(
    benchmark: OpenBenchmark,
    baselines: tuple[MeanBody, NearestPose],
    everyone: People,
    regressor: TrainedRegressor,
) -> None:
    ruler = Ruler(benchmark.assets)
    estimators = {
        "regressor": (regressor.network, ruler),
        "mean body": (baselines[0], ruler),
        "nearest pose": (baselines[1], ruler),
    }
    measured = measure([everyone], estimators, ruler)
    found = {(f.metric, f.subset): f for f in figures(measured, "regressor")}
    subsets = [name for _, name, _ in measured.values("regressor").subsets()]
    for groups in (("untruncated", "truncated"), [s for s in subsets if s.startswith("seen")]):
        assert sum(found["mpjpe", group].people for group in groups) == PEOPLE

    def mean(name: str, metric: str, members: Tensor) -> float:
        values = measured.errors[name][metric].tolist()
        chosen = [v for v, m in zip(values, members.tolist(), strict=True) if m]
        return sum(chosen) / len(chosen)

    cut = found["pa_mpjpe", "truncated"]
    assert cut.value == pytest.approx(mean("regressor", "pa_mpjpe", everyone.truncated))
    assert cut.nearest_pose == pytest.approx(mean("nearest pose", "pa_mpjpe", everyone.truncated))
    true = ruler(everyone.batch.target.parameters, everyone.camera)
    prediction = regressor.network.predict(everyone.batch.proxy)
    ours = ruler(prediction.mode(), prediction.camera)
    pooled = metrics.pooled_silhouette_iou(ours.silhouette, true.silhouette)
    assert found["silhouette_iou_pooled", "all"].value == pytest.approx(pooled.item())


def test_who_gets_no_body_is_named_and_in_no_figure(
    result: Result, regressor: TrainedRegressor, benchmark: OpenBenchmark
) -> None:
    losing = Losing(**vars(regressor), lost=2)
    found = evaluate_open(losing, batch_size=32, settings=benchmark.settings)
    assert found.failed == ("2", "34") and found.of("mpjpe").people == PEOPLE - 2
    assert "2 of 40 people got no body, and are in no figure: 2 (numbers" in found.note
    assert found.values is not None and result.values is not None
    left = torch.tensor([n for n in range(PEOPLE) if n not in (2, 34)])
    ours, before = found.values.errors["pve"], result.values.errors["pve"]
    torch.testing.assert_close(ours[left], before[left])
    assert ours.isnan().sum() == 2 and found.values.attributes["view"].of[34] == UNKNOWN


def test_figures_do_not_depend_on_the_batch_size(
    result: Result, regressor: TrainedRegressor, benchmark: OpenBenchmark
) -> None:
    told: list[tuple[int, int]] = []
    other = evaluate_open(
        regressor, batch_size=PEOPLE, watch=lambda *at: told.append(at), settings=benchmark.settings
    )
    assert told == [(PEOPLE, PEOPLE)]
    assert other.digest == result.digest
    for mine, theirs in zip(result.figures, other.figures, strict=True):
        assert mine.value == pytest.approx(theirs.value, rel=1e-4, abs=1e-4), mine


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_figures_do_not_depend_on_the_device(
    result: Result, regressor: TrainedRegressor, benchmark: OpenBenchmark
) -> None:
    other = evaluate_open(regressor, "cuda", settings=benchmark.settings)
    regressor.network.cpu()
    for mine, theirs in zip(result.figures, other.figures, strict=True):
        assert mine.value == pytest.approx(theirs.value, rel=1e-2), mine


def test_an_untrained_regressor_is_seen_to_be_one(result: Result) -> None:
    assert result.of("pa_mpjpe").ratio > 0.9
    # Baselines in a plausible order, and shape errors alike: both guess the mean shape.
    figure = result.of("pa_mpjpe")
    assert 90 < figure.nearest_pose < figure.mean_body < 200
    assert result.of("pve_t_sc").mean_body == pytest.approx(result.of("pve_t_sc").nearest_pose)


def test_a_result_says_when_it_is_not_the_benchmark(result: Result) -> None:
    # Fewer people than open-v0 has.
    assert not result.sealed
    assert result.benchmark == "not open-v0"
    text = to_markdown(result)
    assert text.startswith(f"# not open-v0 ({result.digest[:12]}), {PEOPLE} people\n\nNOT open-v0:")


def test_results_survive_the_disk_with_their_protocols(result: Result, tmp_path: Path) -> None:
    path = save_result(result, tmp_path / "out")
    assert read_result(path) == result
    tables = json.loads(path.read_text("utf-8"))
    assert list(tables["metrics"]) == list(PROTOCOLS)
    for metric in tables["metrics"].values():
        assert metric["points"] and metric["alignment"] and metric["unit"]
        assert metric["estimate"] == "mode"
        assert metric["figures"]["all"]["people"] == PEOPLE
        assert set(metric["figures"]["all"]["baselines"]) == {"mean body", "nearest pose"}
    assert tables["regressor"] == {"method": "lite", "sha256": "0" * 64, "steps": 0}
    assert "| pa_mpjpe | LSP14 of H36M17 | rotation, scale, shift | mm |" in (
        tmp_path / "out" / "results.md"
    ).read_text("utf-8")
    values = read_with_values(path).values
    assert values is not None and len(values) == PEOPLE
    mean = values.errors["pve"].double().mean().item()
    assert mean == pytest.approx(result.of("pve").value, rel=1e-6)
    assert result_table(result) is not None


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="found no"):
        read_result(tmp_path / "results.json")
    (tmp_path / "results.json").write_text('{"version": 1}')
    with pytest.raises(ValueError, match="wanted a result of plausibody evaluate"):
        read_result(tmp_path / "results.json")


def test_other_data_sets_are_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="agora is no data set.*plausibody evaluate open.*ssp3d"):
        run_evaluation("agora", Path("lite"))


def test_who_cannot_be_shown_these_people_is_refused(regressor: TrainedRegressor) -> None:
    edges = dataclasses.replace(regressor, proxy=ProxySettings(channel="edges"))
    with pytest.raises(ValueError, match="silhouettes or IUV pictures, got one of edges"):
        evaluate_open(edges)
    smpl = dataclasses.replace(regressor, card={"config": {"sources": {"body": "smpl"}}})
    with pytest.raises(ValueError, match="wanted a regressor of the open body, got one of 'smpl'"):
        evaluate_open(smpl)
