"""RF-DETR-Seg and ViTPose: what goes in and comes out, and how models are opened.

Reading the networks' answers is tested with stand-ins of known answers; opening and running, with
tiny models of random numbers where `transformers` is installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from plausibody.predict.front_ends.front_end import Person
from plausibody.predict.front_ends.heatmaps import decode
from plausibody.predict.front_ends.hq import KEYPOINTS, PEOPLE, load_hq
from plausibody.predict.front_ends.hq_keypoints import VitPoseKeypoints
from plausibody.predict.front_ends.hq_people import RfDetrPeople
from plausibody.predict.front_ends.top_down import TopDownFrontEnd
from plausibody.predict.reading.boxes import WholePicture

HEIGHT, WIDTH = 120, 200
NAMES = {0: "background", 1: "person", 2: "dog"}


class Detections(nn.Module):
    """Answers with what it is given, the same for every picture."""

    def __init__(self, score: list[tuple[int, float]], boxes: list[list[float]]):
        """Args:
        score: Class and probability of each query.
        boxes: Left, top, right, bottom of each, in shares of the picture; filled by its mask.
        """
        super().__init__()
        self.here = nn.Parameter(torch.zeros(1))
        self.logits = torch.full((len(score), 3), -9.0)
        for query, (label, probability) in enumerate(score):
            self.logits[query, label] = torch.tensor(probability).logit()
        corners = torch.tensor(boxes)
        middle, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        self.boxes = torch.cat([middle, size], 1)
        x = (torch.arange(48) + 0.5) / 48
        across = (x > corners[:, :1]) & (x < corners[:, 2:3])
        down = (x > corners[:, 1:2]) & (x < corners[:, 3:])
        surer = torch.arange(6.0, 6.0 + len(score))[:, None, None]  # one mask after the other
        self.masks = torch.where(down[:, :, None] & across[:, None], surer, -surer)
        self.seen: list[Tensor] = []

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> SimpleNamespace:
        self.seen.append(pixel_values)
        count = len(pixel_values)
        return SimpleNamespace(
            logits=self.logits.expand(count, -1, -1),
            pred_boxes=self.boxes.expand(count, -1, -1),
            pred_masks=self.masks.expand(count, -1, -1, -1),
        )


class Boxes:
    """Tells where people are."""

    def __init__(self, *boxes: list[float]):
        self.boxes = torch.tensor(boxes).reshape(-1, 4)

    def __call__(self, picture: Any, width: int, height: int) -> Tensor:
        return self.boxes

    def describe(self) -> dict[str, Any]:
        return {"boxes": self.boxes.tolist()}


def picture(height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (height, width, 3), generator=generator).byte()


def people(detections: Detections, **options: Any) -> tuple[Person, ...]:
    front_end = RfDetrPeople(detections, (96, 96), label=1, **options)
    (result,) = front_end([picture()])
    assert result.status == ("ok" if result.people else "no_person")
    assert bool(result.message) != bool(result.people)
    return result.people


TWO = Detections(
    [(2, 0.99), (1, 0.6), (1, 0.9), (1, 0.3)],
    [[0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9], [0.5, 0.1, 0.9, 0.95], [0, 0, 0.5, 0.5]],
)
"""A dog, two people, and one who is not sure enough."""


def test_people_are_found_with_their_masks_and_dogs_are_not():
    large, small = people(TWO)
    assert [large.score, small.score] == pytest.approx([0.9, 0.6])
    assert large.box.tolist() == pytest.approx([100, 12, 180, 114], abs=1e-3)
    assert small.box.tolist() == pytest.approx([20, 24, 60, 108], abs=1e-3)
    mask = large.mask() > 0.5
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask[14:112, 104:176].all() and not mask[:, :96].any() and not mask[:, 184:].any()
    assert large.soft_mask.area() == pytest.approx(80 * 102, rel=0.06)
    assert not large.keypoints.any() and "truncated" not in large.flags


def test_one_person_found_twice_is_one():
    twice = Detections(
        [(1, 0.8), (1, 0.9)], [[0.2, 0.2, 0.6, 0.8], [0.2, 0.2, 0.6, 0.81]]
    )  # fmt: skip
    (person,) = people(twice)
    assert person.score == pytest.approx(0.9)
    assert person.soft_mask.area() > 0.2 * HEIGHT * WIDTH


def test_a_pixel_that_two_claim_goes_to_the_surer_and_the_other_is_flagged():
    pair = Detections([(1, 0.9), (1, 0.8)], [[0.1, 0.1, 0.5, 0.9], [0.3, 0.1, 0.8, 0.9]])
    surer, other = people(pair)
    assert "overlap" in other.flags and "overlap" not in surer.flags
    assert not ((surer.mask() > 0.5) & (other.mask() > 0.5)).any()
    assert surer.soft_mask.area() == pytest.approx(0.4 * HEIGHT * WIDTH, rel=0.06)


def test_boxes_choose_among_those_found():
    told = Boxes([15.0, 20.0, 62.0, 110.0], [150.0, 0.0, 160.0, 10.0])
    front_end = RfDetrPeople(TWO, (96, 96), 1, boxes=told)
    (result,) = front_end([picture()])
    (person,) = result.people
    assert person.score == pytest.approx(0.6) and torch.equal(person.box, told.boxes[0])
    assert "box 1 of 2" in result.message
    (main,) = people(TWO, boxes=WholePicture())
    assert main.score == pytest.approx(0.9)
    assert front_end.describe() != RfDetrPeople(TWO, (96, 96), 1).describe()


def test_nobody_and_bad_pictures_have_reasons(tmp_path):
    nobody = Detections([(2, 0.9), (1, 0.2)], [[0, 0, 1, 1], [0, 0, 1, 1]])
    assert people(nobody) == ()
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"...")
    front_end = RfDetrPeople(TWO, (96, 96), 1, batch=2)
    results = front_end([picture(), bad, picture(90, 60)], max_people=1)
    assert [result.status for result in results] == ["ok", "unreadable", "ok"]
    assert [len(result.people) for result in results] == [1, 0, 1]
    assert (results[2].width, results[2].height) == (60, 90)
    assert results[2].people[0].box[0] == pytest.approx(30)


def test_pictures_come_normalised_and_in_the_size_asked_for():
    model = Detections([(1, 0.9)], [[0.0, 0.0, 1.0, 1.0]])
    RfDetrPeople(model, (96, 48), 1)([torch.full((50, 70, 3), 255, dtype=torch.uint8)])
    (seen,) = model.seen
    assert seen.shape == (1, 3, 48, 96)
    white = [(1 - mean) / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    assert seen.mean((0, 2, 3)).tolist() == pytest.approx(white, abs=1e-5)


class Heatmaps(nn.Module):
    """Answers with one heatmap for all key points; remembers whom it was told to be."""

    def __init__(self, places: tuple[float, float]):
        super().__init__()
        self.here = nn.Parameter(torch.zeros(1))
        across, down = torch.arange(48) - places[0], torch.arange(64)[:, None] - places[1]
        self.map = torch.exp(-(across**2 + down**2) / 8)
        self.told: Tensor | None = None

    def forward(self, pixel_values: Tensor, dataset_index: Tensor | None = None) -> SimpleNamespace:
        self.told = dataset_index
        return SimpleNamespace(heatmaps=self.map.expand(len(pixel_values), 17, -1, -1))


@pytest.mark.parametrize(("place", "there"), [((0.0, 0.0), (0.5, 0.5)), ((47, 63), (191.5, 255.5))])
def test_the_ends_of_a_heatmap_are_those_of_the_crop(place, there):
    keypoints = VitPoseKeypoints(Heatmaps(place), (192, 256))
    found = keypoints(torch.zeros(2, 3, 256, 192))
    assert found.shape == (2, 17, 3)
    # The smoothing filter sees a peak at the border from one side only.
    assert found[0, 0, :2].tolist() == pytest.approx(there, abs=0.1 * 4)


def test_experts_are_told_that_coco_is_meant():
    model = Heatmaps((20.25, 30.5))
    found = VitPoseKeypoints(model, (192, 256), experts=True)(torch.zeros(3, 3, 256, 192))
    assert model.told is not None and model.told.tolist() == [0, 0, 0]
    assert found[2, 5, 0] == pytest.approx(20.25 * 191 / 47 + 0.5, abs=0.1)
    VitPoseKeypoints(model, (192, 256))(torch.zeros(1, 3, 256, 192))
    assert model.told is None


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        load_hq()
    assert "plausibody[hq]" in str(caught.value) and "--front-end embedded" in str(caught.value)


# With the library, and tiny models.


@pytest.fixture(scope="module")
def library() -> Any:
    return pytest.importorskip("transformers", reason="the extra hq is not installed")


@pytest.fixture(scope="module")
def models(library: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both models, as `save_pretrained` writes them."""
    folder = tmp_path_factory.mktemp("hq")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector(library, NAMES).save_pretrained(folder / "people")
        looker(library, 17).save_pretrained(folder / "key points")
    (folder / "notes").mkdir()
    return folder


def detector(library: Any, names: dict[int, str]) -> Any:
    backbone = library.RfDetrDinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=48, patch_size=12,
        num_windows=2, out_features=["stage1", "stage2"],
    )  # fmt: skip
    config = library.RfDetrConfig(
        backbone_config=backbone, d_model=16, decoder_layers=1, decoder_ffn_dim=16,
        decoder_self_attention_heads=2, decoder_cross_attention_heads=2, num_queries=6,
        group_detr=1, intermediate_size=16, decoder_n_points=2, id2label=names,
    )  # fmt: skip
    model = library.RfDetrForInstanceSegmentation(config)
    nn.init.constant_(model.model.class_embed.bias, 2.0)  # everything is found everywhere
    return model


def looker(library: Any, joints: int) -> Any:
    backbone = library.VitPoseBackboneConfig(
        image_size=(64, 48), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        out_indices=[2],
    )  # fmt: skip
    config = library.VitPoseConfig(backbone_config=backbone, num_labels=joints)
    return library.VitPoseForPoseEstimation(config)


def test_both_models_open_from_a_folder_and_look(models):
    front_end = load_hq(models)
    assert isinstance(front_end, TopDownFrontEnd)
    assert isinstance(front_end.people, RfDetrPeople) and front_end.people.size == (48, 48)
    assert front_end.people.label == 1 and front_end.keypoints.size == (48, 64)
    first, second = front_end([picture(), picture(100, 70)])
    assert first.status == second.status == "ok" and len(first.people) > 1
    for result in (first, second):
        for person in result.people:
            assert person.keypoints.isfinite().all() and person.box.isfinite().all()
            assert (person.box >= 0).all() and person.box[2] <= result.width
            assert person.mask().shape == (result.height, result.width)
    (again,) = load_hq(models)([picture()], max_people=1)
    assert torch.allclose(again.people[0].keypoints, first.people[0].keypoints, atol=1e-2)
    assert load_hq(models, flip=True)([picture()])[0].people


def test_models_describe_their_weights(models):
    told = load_hq(models).describe()
    assert told["name"] == "hq" and len(told["people"]["weights"]) == 64
    assert told == load_hq(models).describe() != load_hq(models, flip=True).describe()


def test_the_size_that_a_model_s_files_ask_for_counts(models, library, tmp_path):
    folder = tmp_path / "people"
    detector(library, NAMES).save_pretrained(folder)
    looker(library, 17).save_pretrained(tmp_path / "keypoints")
    asked = folder / "preprocessor_config.json"
    asked.write_text(json.dumps({"size": {"height": 72, "width": 96}}))
    front_end = load_hq(tmp_path)
    assert isinstance(front_end.people, RfDetrPeople) and front_end.people.size == (96, 72)
    asked.write_text(json.dumps({"size": {"height": 50, "width": 96}}))
    with pytest.raises(ValueError, match="multiples of 24 px, its files ask for 96 x 50"):
        load_hq(tmp_path)


def test_wrong_models_are_refused(library, tmp_path):
    detector(library, {0: "cat", 1: "horse", 2: "dog"}).save_pretrained(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match=f"none for vitpose; do: download .*{KEYPOINTS}"):
        load_hq(tmp_path)
    looker(library, 17).save_pretrained(tmp_path / "b")
    with pytest.raises(ValueError, match="knows the class person, came one for cat, horse, dog"):
        load_hq(tmp_path)
    detector(library, NAMES).save_pretrained(tmp_path / "a")
    looker(library, 5).save_pretrained(tmp_path / "b")
    with pytest.raises(ValueError, match="17 key points of COCO, came a model for 5"):
        load_hq(tmp_path)
    looker(library, 17).save_pretrained(tmp_path / "c")
    with pytest.raises(ValueError, match="wanted one model of the kind vitpose"):
        load_hq(tmp_path)


def test_missing_weights_are_named(library, models, tmp_path):
    with pytest.raises(FileNotFoundError, match="found no folder") as caught:
        load_hq(tmp_path / "none")
    assert PEOPLE in str(caught.value) and "--front-end embedded" in str(caught.value)
    for kind in ("people", "key points"):
        (tmp_path / kind).mkdir()
        config = (models / kind / "config.json").read_bytes()
        (tmp_path / kind / "config.json").write_bytes(config)
    with pytest.raises(FileNotFoundError, match="cannot be had") as caught:
        load_hq(tmp_path)
    assert "https://huggingface.co/Roboflow" in str(caught.value)


def test_damaged_weights_are_refused(library, models, tmp_path):
    for kind in ("people", "key points"):
        (tmp_path / kind).mkdir()
        for file in (models / kind).iterdir():
            (tmp_path / kind / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "people" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:4000])
    with pytest.raises((FileNotFoundError, ValueError), match="do: "):
        load_hq(tmp_path)


def test_peaks_are_read_as_the_library_reads_them(library):
    twin = pytest.importorskip(
        "transformers.models.vitpose.image_processing_pil_vitpose",
        reason="this transformers has no processor without torchvision",
    )
    generator = torch.Generator().manual_seed(3)
    places = torch.rand(1, 17, 2, generator=generator) * torch.tensor([38.0, 54.0]) + 5
    across = torch.arange(48) - places[..., 0, None, None]
    down = torch.arange(64)[:, None] - places[..., 1, None, None]
    maps = torch.exp(-(across**2 + down**2) / 8)
    rough, _ = twin.get_keypoint_predictions(maps.numpy())
    theirs = twin.post_dark_unbiased_data_processing(rough, maps.numpy(), kernel=11)
    ours = decode(maps, "dark")[..., :2]
    assert torch.allclose(ours, torch.from_numpy(theirs).float(), atol=0.02)
