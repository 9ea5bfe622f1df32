"""The surface of people: IUV maps of networks and bodies, labels of parsers, and their sheets."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import tiny_run
from torch import Tensor
from torch.nn import functional

from plausibody.config import override
from plausibody.models.danet import DanetRegressor
from plausibody.models.danet_settings import DanetSettings
from plausibody.models.iuv import CLASSES, shown_maps, shown_picture
from plausibody.models.networks import build_regressor
from plausibody.models.part_tables import PARTS24, part_tables
from plausibody.models.proxy import Box, ProxySettings
from plausibody.models.records import map_tensors
from plausibody.models.regressor import RegressorSettings
from plausibody.models.skeleton import COCO17, SMPL24
from plausibody.models.weights import TrainedRegressor
from plausibody.predict import semantics
from plausibody.predict.bulk.options import RunOptions
from plausibody.predict.bulk.run import predict_folder
from plausibody.predict.dense import (
    camera_over,
    dense_arrays,
    dense_maps,
    draw_dense,
    encode_body,
    iuv_bytes,
    whole_maps,
)
from plausibody.predict.drawing import dense, surface
from plausibody.predict.drawing.bodies import save_picture
from plausibody.predict.drawing.dense import (
    Cut,
    draw_iuv_sheet,
    draw_semantics_sheet,
    enlarge,
    joint_order,
)
from plausibody.predict.drawing.iuv import colour_iuv
from plausibody.predict.drawing.labels import PARSER, colour_labels, label_legend
from plausibody.predict.export import OURS
from plausibody.predict.front_ends.front_end import ImageResult, Person
from plausibody.predict.looking import look_at
from plausibody.predict.predictor import Predictor
from plausibody.predict.reading.mask_files import read_parts
from plausibody.predict.reading.photo import PhotoError
from plausibody.predict.semantics import LabelMaps, LabelPrior, draw_labels, open_prior
from plausibody.synth.charts import Chart, load_chart
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.semantic_labels import LABELS, NAMES
from plausibody.training.pictures import PEOPLE, SIDE, Pictures
from plausibody.training.spared import Spared

IUV = ProxySettings(size=32, channel="iuv")
LIGHT = DanetSettings(backbone="light", width=8, stride=2, streams="light", crop=8, features=8)
ARMS = ("elbow", "wrist")


@pytest.fixture(scope="module")
def chart(template: Any) -> Chart:
    return load_chart(template)


@pytest.fixture(scope="module")
def seen(known_person: Any, chart: Chart) -> Tensor:
    """The true IUV picture of the known person."""
    return draw_dense(known_person.vertices, known_person.camera, chart, known_person.size)


@pytest.fixture(scope="module")
def person(known_person: Any, seen: Tensor) -> Person:
    """The known person with an IUV map, as part files give it."""
    whole = iuv_bytes(seen).permute(2, 0, 1)
    found: Person = replace(known_person.person, extras={"iuv": whole})
    return found


@pytest.fixture(scope="module", params=[False, True], ids=["ours", "published"])
def network(request: pytest.FixtureRequest) -> DanetRegressor:
    torch.manual_seed(0)
    start = torch.eye(3).expand(24, 3, 3)
    made = build_regressor("danet", RegressorSettings(), IUV, start, danet=LIGHT)
    assert isinstance(made, DanetRegressor)
    made.published = made.squares.published = request.param
    return made.eval()


@pytest.fixture(scope="module")
def prior(chart: Chart, template: Any) -> LabelPrior:
    """What anybody wears: arms bare, the rest in upper clothes; some background everywhere."""
    share = torch.full((len(template.vertices), len(NAMES)), 0.01)
    share[:, 0] = 0.3
    share[:, NAMES.index("upper clothes")] = 0.2
    for side in ("left", "right"):
        parts = [1 + n for n, name in enumerate(PARTS24) if side in name and "arm" in name]
        bare = torch.isin(chart.face_part, torch.tensor(parts, dtype=torch.uint8))
        share[chart.faces[bare].unique().long(), NAMES.index(f"{side} arm")] = 0.4
    return LabelPrior(share, "by hand")


def pixel(picture: Tensor, known_person: Any, name: str) -> Tensor:
    """What a picture shows where a key point of the known person is."""
    x, y = known_person.person.keypoints[COCO17.index(name), :2].long().tolist()
    return picture[..., y, x]


def test_partial_pictures_undo_partial_maps(seen: Tensor) -> None:
    tables = part_tables()
    each = functional.interpolate(seen[None], size=(40, 40)).expand(24, -1, -1, -1)[None]
    back = shown_picture(shown_maps(each, tables.shown), tables.shown)
    for joint in range(24):
        shown = torch.isin(each[0, joint, 0], tables.shown[joint].float())
        assert torch.equal(back[0, joint], each[0, joint] * shown), SMPL24[joint]
    assert back[0, SMPL24.index("left_wrist"), 0].any() and CLASSES == 25


def test_bodies_show_their_own_left_and_right_parts(known_person: Any, seen: Tensor) -> None:
    for side in ("left", "right"):
        for joint in (*ARMS, "knee", "ankle"):
            part = int(pixel(seen, known_person, f"{side}_{joint}")[0])
            assert side in PARTS24[part - 1], (side, joint)
    assert torch.equal(seen[0] > 0, known_person.person.mask() > 0.5)
    assert 0 <= float(seen[1:].min()) and float(seen[1:].max()) <= 1


def test_a_body_is_written_as_densepose_writes_it(
    known_person: Any, chart: Chart, seen: Tensor, tmp_path: Path
) -> None:
    height, width = known_person.size
    path = tmp_path / "a_IUV.png"
    content = encode_body(known_person.vertices, known_person.camera, chart, (height, width))
    path.write_bytes(content)
    told = iuv_bytes(seen)
    assert torch.equal(read_parts(path, width, height, iuv=True), told.permute(2, 0, 1))
    with Image.open(path) as picture:  # as OpenCV turns channels round
        assert np.array_equal(np.asarray(picture)[..., ::-1], told.numpy())


def test_maps_of_a_network_lie_where_they_say(
    person: Person, network: DanetRegressor, seen: Tensor
) -> None:
    proxy = look_at(person, IUV)
    maps = dense_maps(network, proxy)
    assert maps is not None and maps.given and maps.source == "given" and proxy.iuv is not None
    torch.testing.assert_close(maps.whole, proxy.iuv)
    shown, size, agreed = part_tables().shown, maps.partial.shape[-1], []
    line = (torch.arange(size) + 0.5) / size - 0.5
    for joint in range(24):
        side, (x, y) = maps.squares.side[joint], maps.squares.centre[joint]
        corner = proxy.box.centre - proxy.box.side / 2
        step = proxy.box.side / 32
        column = ((x + side * line - corner[0]) / step).floor().long()
        row = ((y + side * line - corner[1]) / step).floor().long()
        inside = ((row >= 0) & (row < 32))[:, None] & ((column >= 0) & (column < 32))
        there = maps.whole[0][row.clamp(0, 31)[:, None], column.clamp(0, 31)] * inside
        there = there * torch.isin(there, shown[joint].float())
        agreed.append((there == maps.partial[joint, 0]).float().mean())
    assert float(torch.stack(agreed).min()) > 0.95  # the nearest of two pixels may be either


def test_estimated_maps_have_the_parts_of_their_joints(known_person: Any) -> None:
    torch.manual_seed(1)
    settings = ProxySettings(size=32, channel="rgb")
    network = build_regressor(
        "danet", RegressorSettings(), settings, torch.eye(3).expand(24, 3, 3), danet=LIGHT
    ).eval()
    photo = torch.randint(0, 256, (*known_person.size, 3), dtype=torch.uint8)
    proxy = look_at(known_person.person, settings, photo)
    maps = dense_maps(network, proxy)
    assert maps is not None and maps.source == "estimated" and maps.whole.shape == (3, 16, 16)
    assert len(maps.whole[0].unique()) > 3  # untrained, it sees parts here and there
    for joint, shown in enumerate(part_tables().shown):
        assert set(maps.partial[joint, 0].unique().tolist()) <= {0, *shown.tolist()}
    assert 0 <= float(maps.partial[:, 1:].min()) and float(maps.partial[:, 1:].max()) <= 1
    people = whole_maps(network, map_tensors(proxy, lambda tensor: tensor[None]))
    torch.testing.assert_close(people[0], maps.whole)


def test_networks_without_maps_have_none(known_person: Any) -> None:
    regressor = known_person.predictor().regressor
    proxy = look_at(known_person.person, regressor.proxy)
    assert dense_maps(regressor.network, proxy) is None


def test_arrays_hold_what_is_documented(
    known_person: Any, person: Person, network: DanetRegressor, chart: Chart
) -> None:
    proxy = look_at(person, IUV)
    maps = dense_maps(network, proxy)
    assert maps is not None
    body, camera = known_person.vertices, known_person.camera
    arrays = dense_arrays(maps, proxy.box, body, camera, chart)
    text = (Path(__file__).parent.parent / "docs" / "outputs.md").read_text("utf-8")
    part = text.partition("## `person_<k>_iuv.npz`")[2].partition("\n## ")[0]
    assert {name for name in arrays if f"`{name}`" not in part} == set()
    assert arrays["iuv"].shape == arrays["rendered_iuv"].shape == (32, 32, 3)
    assert arrays["partial_iuv"].shape == (24, 8, 8, 3) and arrays["iuv"].dtype == np.uint8
    # The body is the true one, and so are its parts, but for borders.
    same = arrays["iuv"][..., 0] == arrays["rendered_iuv"][..., 0]
    assert same.mean() > 0.99 and (arrays["iuv"][..., 0] > 0).mean() > 0.05


def cut_of(known_person: Any) -> Cut:
    box = Box(centre=torch.tensor([140.0, 140.0]), side=torch.tensor(320.0))
    photo = torch.full((3, *known_person.size), 0.5)
    template = known_person.template
    body, camera = known_person.vertices, known_person.camera
    return Cut.of(photo, camera, box, body, template.faces)


def test_cuts_are_black_beyond_the_photo_and_cameras_follow(known_person: Any) -> None:
    cut = cut_of(known_person)
    assert cut.part.shape == (3, dense.SIDE, dense.SIDE)
    assert float(cut.part[:, :, :8].max()) == 0 and float(cut.part[:, 128, 128].min()) == 0.5
    box = Box(centre=torch.tensor([140.0, 140.0]), side=torch.tensor(320.0))
    whole, part = known_person.camera, camera_over(known_person.camera, box, 256)
    points = whole.project(known_person.vertices)[:, :2]
    expected = (points - box.centre) * 0.8 + 128
    torch.testing.assert_close(part.project(known_person.vertices)[:, :2], expected)


def test_sheets_say_where_maps_are_missing(
    known_person: Any, person: Person, network: DanetRegressor, chart: Chart, monkeypatch: Any
) -> None:
    cut, texts = cut_of(known_person), list[str]()
    label = dense.drawing.label

    def noted(picture: Tensor, text: str, height: int = 20) -> Tensor:
        texts.append(text)
        return label(picture, text, height)

    monkeypatch.setattr(dense.drawing, "label", noted)
    plain = draw_iuv_sheet(cut, chart, None)
    assert dense.NO_MAPS in texts and not any("given" in text for text in texts)
    assert plain.shape[2] == 4 * (dense.SIDE + dense.GAP) - dense.GAP
    texts.clear()
    sheet = draw_iuv_sheet(cut, chart, dense_maps(network, look_at(person, IUV)))
    assert "IUV, given" in texts and dense.NO_MAPS not in texts
    assert {name.replace("_", " ") for name in SMPL24} <= set(texts)
    assert sheet.shape[2] == 5 * (dense.SIDE + dense.GAP) - dense.GAP
    assert sheet.shape[1] > plain.shape[1]


def test_left_joints_stand_above_right_ones() -> None:
    order = [SMPL24[joint] for joint in joint_order()]
    assert sorted(order) == sorted(SMPL24)
    pairs = list(zip(order[:12], order[12:], strict=True))
    assert sum(first == other.replace("right_", "left_") for first, other in pairs) == 9


def test_labels_are_drawn_on_their_own_side(known_person: Any, prior: LabelPrior) -> None:
    faces = known_person.template.faces
    labels = draw_labels(
        known_person.vertices, known_person.camera, faces, prior.share, known_person.size
    )
    for side in ("left", "right"):
        shown = int(pixel(labels, known_person, f"{side}_elbow"))
        assert NAMES[shown] == f"{side} arm"
    assert torch.equal(labels > 0, known_person.person.mask() > 0.5)  # nothing of it is background
    away = replace(known_person.camera, origin=torch.tensor([5000.0, 0.0]))
    assert not draw_labels(known_person.vertices, away, faces, prior.share, known_person.size).any()


def test_labels_have_their_colours_and_a_legend(known_person: Any, prior: LabelPrior) -> None:
    numbers = torch.arange(20, dtype=torch.uint8).reshape(4, 5)
    colours = colour_labels(numbers)
    assert (colours[:, 2, 3] * 255).round().tolist() == list(LABELS["face"])
    legend = label_legend([5, 13, 14], 200)
    for number in (5, 13, 14):
        assert (legend == PARSER[number][:, None, None]).all(0).any()
    assert legend.shape[2] == 200 and label_legend([], 90).shape == (3, 18, 90)
    cut = cut_of(known_person)
    alone = draw_semantics_sheet(cut, prior, None)
    whole = torch.full(known_person.size, NAMES.index("hat"), dtype=torch.uint8)
    box = Box(centre=torch.tensor([140.0, 140.0]), side=torch.tensor(320.0))
    both = draw_semantics_sheet(cut, prior, (whole, box))
    assert both.shape[2] == alone.shape[2] + dense.SIDE + dense.GAP
    given = both[:, : dense.SIDE, dense.SIDE + dense.GAP : 2 * dense.SIDE + dense.GAP]
    torch.testing.assert_close(given[:, 128, 128], PARSER[NAMES.index("hat")])
    assert not given[:, :, :8].any()  # beyond the photo


def test_label_maps_are_found_and_wrong_ones_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"--labels: wanted a folder.*do:"):
        LabelMaps(tmp_path / "none")
    maps, photo, size = LabelMaps(tmp_path), Path("photos/a.jpg"), (30, 40)
    assert maps.of(photo, size) is None
    with pytest.raises(ValueError, match=r"--labels.*such as a.png, found none; do:"):
        maps.check([photo])
    colours = torch.tensor(LABELS["scarf"], dtype=torch.uint8)
    before = maps.digest()
    save_picture(colours[:, None, None].expand(3, *size), tmp_path / "a.png")
    maps.check([photo, Path("b.jpg")])
    found = maps.of(photo, size)
    assert found is not None and found.unique().tolist() == [NAMES.index("scarf")]
    assert maps.digest() != before
    with pytest.raises(PhotoError, match="wanted a label map of its photo's size, 41 x 30"):
        maps.of(photo, (30, 41))
    save_picture(torch.rand(3, *size), tmp_path / "a.png")
    with pytest.raises(PhotoError, match="colours of Graphonomy's labels"):
        maps.of(photo, size)
    for number in (0, 1):
        save_picture(torch.zeros(3, *size), tmp_path / f"b_{number}.png")
    with pytest.raises(PhotoError, match="wanted one label map of b.jpg, found 2; do:"):
        maps.of(Path("b.jpg"), size)
    with pytest.raises(ValueError, match=r"--labels: wanted it with --save semantics.*do:"):
        RunOptions(labels=tmp_path)


def test_a_named_prior_must_be_of_the_body(template: Any, chart: Chart, tmp_path: Path) -> None:
    card = {"config": {"semantics": {"prior": str(tmp_path / "prior.npy")}}}
    np.save(tmp_path / "prior.npy", np.full((13776, 20), 0.05, np.float32))
    with pytest.raises(ValueError, match="SMPL, came the open body"):
        open_prior(card, template, chart)


def test_a_prior_is_counted_over_the_textures_of_the_training(
    template: Any, chart: Chart, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[Any]()

    def load(settings: Any, template: Any) -> Any:
        asked.append(settings)
        return settings

    share = torch.full((3, 20), 0.05)
    monkeypatch.setattr(semantics, "load_textures", load)
    monkeypatch.setattr(semantics, "estimate_prior", lambda bank, *_: share * bank.count)
    card = {"config": {"sources": {"texture_count": 2, "texture_size": [60, 40]}}}
    found = open_prior(card, template, chart)
    assert asked[0].size == (60, 40) and found.source == "counted over 2 textures"
    assert torch.equal(found.share, 2 * share)
    usual = open_prior({}, template, chart)
    assert usual.source == "counted over 64 textures" and usual.digest() != found.digest()


def test_smpls_own_prior_is_taken_where_it_lies(
    template: Any, chart: Chart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / semantics.PUBLISHED
    faces = np.full((13776, 20), 0.05, np.float32)
    np.save(path, faces)
    find = semantics.find_asset
    there = {semantics.PUBLISHED: path}
    monkeypatch.setattr(
        semantics, "find_asset", lambda name, *folders: there.get(name) or find(name, *folders)
    )
    smpl = replace(template, topology="smpl")
    found = open_prior({}, smpl, chart)
    assert found.source == "by semantic_prior.npy"
    torch.testing.assert_close(found.share, torch.full((6890, 20), 0.05))


def run(
    folder: Path, predictor: Predictor, person: Person, save: str, **options: Any
) -> dict[str, Any]:
    """Predicts two photos, a.png and b.png, of one person each."""
    height, width = person.soft_mask.height, person.soft_mask.width
    for name in ("a", "b"):
        save_picture(torch.full((3, height, width), 0.5), folder / "photos" / f"{name}.png")
    predictor.front_end = lambda pictures, _=None: [
        ImageResult(str(path), width, height, "ok", people=(person,)) for path in pictures
    ]
    wanted = RunOptions(save=frozenset(save.split(",")), **options)
    predict_folder([folder / "photos"], folder / "out", predictor, wanted)
    found: dict[str, Any] = json.loads((folder / "out" / "summary.json").read_text())
    return found


def test_iuv_of_a_run_is_written_for_each_person(
    tmp_path: Path, person: Person, network: DanetRegressor, caplog: pytest.LogCaptureFixture
) -> None:
    trained = TrainedRegressor(network, IUV, "neutral", {"sha256": "0" * 64})
    with caplog.at_level(logging.WARNING):
        summary = run(tmp_path, Predictor(trained, lambda *_: []), person, "iuv")
    assert not caplog.records
    names = ["person_0_iuv.jpg", "person_0_IUV.png", "person_0_iuv.npz"]
    assert [entry["people"][0]["files"] for entry in summary["inputs"]] == [names, names]
    assert all(OURS.fullmatch(name) for name in (*names, "person_0_semantics.jpg"))
    with np.load(tmp_path / "out" / "a" / names[2]) as saved:
        assert str(saved["source"]) == "given" and saved["joint_names"].tolist() == SMPL24


def test_networks_without_maps_say_so_at_once(
    tmp_path: Path, known_person: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        summary = run(tmp_path, known_person.predictor(), known_person.person, "iuv")
    (record,) = caplog.records
    assert "--save iuv: the weights 'in memory' find no IUV maps" in record.getMessage()
    files = summary["inputs"][0]["people"][0]["files"]
    assert files == ["person_0_iuv.jpg", "person_0_IUV.png"]


def test_labels_of_a_run_are_drawn_beside_the_bodys(
    tmp_path: Path, known_person: Any, prior: LabelPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surface, "open_prior", lambda *_: prior)
    labels = tmp_path / "labels"
    labels.mkdir()
    size = known_person.size
    save_picture(torch.zeros(3, *size), labels / "a.png")
    how = (known_person.predictor(), known_person.person, "semantics")
    summary = run(tmp_path, *how, labels=labels)
    files = [entry["people"][0]["files"] for entry in summary["inputs"]]
    assert files == [["person_0_semantics.jpg"]] * 2
    told, untold = (
        Image.open(io.BytesIO((tmp_path / "out" / name / files[0][0]).read_bytes())).width
        for name in ("a", "b")
    )
    assert told == untold + dense.SIDE + dense.GAP
    save_picture(torch.rand(3, *size), labels / "a.png")  # a new map: results are made again
    summary = run(tmp_path, *how, labels=labels)
    first, second = summary["inputs"]
    assert first["status"] == "failed" and "Graphonomy" in first["message"]
    assert second["status"] == "ok"


def test_trainings_draw_what_is_read_true_found_and_of_the_body(
    assets: Any, network: DanetRegressor, tmp_path: Path
) -> None:
    config = tiny_run("danet-lite-iuv", {})
    pictures = Pictures(config, assets, tmp_path, Spared(pytest.fail))
    drawn = pictures.draw(network, 3, "cpu")
    assert set(drawn) == {"synthetic", "iuv"}
    assert (tmp_path / "pictures" / "step_3" / "iuv.jpg").is_file()
    line = SIDE + 20
    assert drawn["iuv"].shape[1:] == (3 * line, PEOPLE * (SIDE + 4) - 4)
    stream = BatchGenerator.of(config.stream, config.proxy, assets, PEOPLE, "auto")
    target = stream[0].target.dense
    assert target is not None
    true = drawn["iuv"][:, line : line + SIDE, :SIDE]
    torch.testing.assert_close(true, enlarge(colour_iuv(target.iuv[0]), SIDE))
    # As if it found them in colours: the row of those that it finds comes before the body's.
    rgb = override(config, {"proxy.channel": "rgb"})
    seen = Pictures(rgb, assets, tmp_path / "rgb", Spared(pytest.fail))
    seen._people, seen._true_maps = pictures._people, pictures._true_maps
    found = seen._draw_iuv(network, "cpu")
    assert found.shape[1] == 4 * line
    assert seen._people is not None and seen._people.proxy.iuv is not None
    given = enlarge(colour_iuv(seen._people.proxy.iuv[0]), SIDE)
    torch.testing.assert_close(found[:, 2 * line : 2 * line + SIDE, :SIDE], given)
    torch.testing.assert_close(found[:, 3 * line :], drawn["iuv"][:, 2 * line :])
