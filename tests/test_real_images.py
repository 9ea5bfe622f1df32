"""Photos in the stream: labels of SPIN's files, squares, mirror images, label maps, bad input."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from plausibody.config import RunConfig, override
from plausibody.evaluate.datasets.spin import SPIN24
from plausibody.models.body import pose_body
from plausibody.models.camera import fit_weak_perspective
from plausibody.models.crop import Box, nearest_square
from plausibody.models.losses import Target, TargetMaps
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.skeleton import COCO17, H36M17
from plausibody.presets import preset
from plausibody.real_labels import read_real_labels
from plausibody.sources import open_assets
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.real_images import (
    MixedRecipe,
    RealImages,
    RealSettings,
    mirror_batch,
)
from plausibody.synth.real_maps import MARGIN, photo_maps, read_label_map
from plausibody.synth.real_people import RealLabels, Unread, join_labels_of
from plausibody.synth.semantic_labels import LABELS, NAMES
from plausibody.synth.stores import SourceSettings, SynthAssets
from plausibody.synth.target_maps import MapSettings
from plausibody.synth.turning import Turn

RGB = ProxySettings(size=32, channel="rgb")
STILL = RealSettings(share=0.5, mirrored=0.0, scale=(1.0, 1.0), turned=0.0, gain=0.0)
HEIGHT, WIDTH = 60, 80


def write_label_map(path: Path, labels: np.ndarray) -> None:
    colours = np.array(list(LABELS.values()), dtype=np.uint8)
    Image.fromarray(colours[labels]).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos, of which one has a label map, and labels of five people; do not change it.

    Of the people, one is in a photo that is not there.
    """
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    (root / "images").mkdir()
    (root / "maps" / "images").mkdir(parents=True)
    for n in range(3):
        pixels = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        pixels[:, : WIDTH // 2] //= 4  # the left half is dark
        Image.fromarray(pixels).save(root / "images" / f"{n}.png")
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
    labels[20:40, 20:40], labels[20:40, 40:60] = NAMES.index("left arm"), NAMES.index("coat")
    write_label_map(root / "maps" / "images" / "0.png.png", labels)
    part = np.zeros((5, 24, 3))
    part[:, 19] = [30, 25, 1]  # the nose
    part[:, 6] = [50, 35, 1]  # the right wrist
    np.savez(
        root / "labels.npz",
        imgname=np.array([f"images/{n}.png" for n in (0, 1, 2, 0, 7)]),
        center=np.full((5, 2), 40.0) - [0, 10],
        scale=np.full(5, 0.2),
        part=part,
        pose=generator.normal(size=(5, 72)) * 0.3,
        shape=generator.normal(size=(5, 10)),
        has_smpl=np.array([1, 0, 1, 1, 1]),
    )
    return root


def sources(folder: Path, **changes: Any) -> SourceSettings:
    values: dict[str, Any] = {
        "body": "smpl",
        "real_labels": (str(folder / "labels.npz"),),
        "real_pictures": (str(folder),),
        "real_maps": (str(folder / "maps"),),
    }
    return SourceSettings(**values | changes)


@pytest.fixture(scope="module")
def labels(folder: Path) -> RealLabels:
    return read_real_labels(sources(folder))


def look(labels: RealLabels, count: int = 24, settings: RealSettings = STILL) -> Batch:
    recipe = RealImages(labels, RGB, 3, settings, MapSettings(size=16))
    return recipe(torch.arange(count))


# Labels


def test_people_whose_photo_is_missing_are_counted_and_named(labels: RealLabels) -> None:
    assert len(labels) == 4 and labels.fitted.tolist() == [True, False, True, True]
    first, second = labels.told()
    assert first == "photos: 4 people, 3 with bodies, 0 with joints in space, 2 with label maps"
    assert second.startswith("photos: 1 pictures were not found") and "images/7.png" in second
    assert labels.box.side.tolist() == [40.0] * 4
    many = dataclasses.replace(labels, missing=tuple(Path(f"{n}.jpg") for n in range(30)))
    assert "30 pictures" in many.told()[1] and "9.jpg, ..." in many.told()[1]
    assert "10.jpg" not in many.told()[1]


def test_fits_of_smpl_mean_nothing_to_other_bodies(folder: Path) -> None:
    open_body = read_real_labels(sources(folder, body="open"))
    assert not open_body.fitted.any() and len(open_body) == 4
    assert (open_body.body.rotations == torch.eye(3)).all()


def test_several_files_are_joined(folder: Path) -> None:
    path = str(folder / "labels.npz")
    both = read_real_labels(sources(folder, real_labels=(path, path)))
    assert len(both) == 8 and len(both.label_maps) == 8 and both.keypoints.shape == (8, 17, 3)
    with pytest.raises(ValueError, match="wanted one folder, or one for each of the 2 files"):
        read_real_labels(sources(folder, real_labels=(path, path), real_pictures=("a", "b", "c")))


def test_labels_that_cannot_be_used_are_explained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wanted files of people in photos, got none"):
        read_real_labels(sources(folder, real_labels=()))
    with pytest.raises(FileNotFoundError, match="sources.real_pictures: wanted a folder"):
        read_real_labels(sources(folder, real_pictures=(str(tmp_path / "no"),)))
    np.savez(tmp_path / "bad.npz", imgname=np.array(["a.png"]), center=np.zeros((1, 2)))
    with pytest.raises(ValueError, match="found no scale"):
        read_real_labels(sources(folder, real_labels=(str(tmp_path / "bad.npz"),)))
    nobody = read_real_labels(sources(folder, real_pictures=(str(folder / "maps"),)))
    assert len(nobody) == 0
    with pytest.raises(ValueError, match="wanted people in photos that exist, got none.*images/0"):
        RealImages(nobody, RGB, 0)


# Samples


def test_photos_are_cut_out_of_their_told_squares(labels: RealLabels, folder: Path) -> None:
    batch = look(labels)
    assert batch.proxy.rgb is not None and batch.proxy.rgb.shape == (24, 3, 32, 32)
    assert batch.target.labelled is not None and batch.target.annotated is not None
    whole = np.asarray(Image.open(folder / "images" / "1.png"), dtype=np.float64) / 255
    unknown = (~batch.target.labelled).nonzero()[:, 0]
    assert len(unknown) > 2, "the one person without a body"
    seen = batch.proxy.rgb[unknown[0]]
    # The square is 40 px wide round (40, 30): dark on its left half, bright on its right one.
    assert seen.mean() == pytest.approx(whole[10:50, 20:60].mean(), abs=0.01)
    assert seen[:, :, :14].mean() < 0.2 < 0.4 < seen[:, :, 18:].mean()
    known = batch.target.annotated[0].nonzero()[:, 0].tolist()
    assert known == [COCO17.index("nose"), COCO17.index("right_wrist")]
    place = batch.target.keypoints[0, known]
    torch.testing.assert_close(place, torch.tensor([[-9.5, -4.5], [10.5, 5.5]]) / 20)
    assert torch.equal(batch.proxy.keypoints[0, known, :2], place)
    doubted = dataclasses.replace(labels, keypoints=labels.keypoints.clone())
    doubted.keypoints[:, COCO17.index("nose"), 2] = 0.25  # as OpenPose may say
    known_of = look(doubted, 2).target.annotated
    assert known_of is not None and known_of[0].nonzero()[:, 0].tolist() == known[1:]


def test_samples_are_the_same_in_any_batch(labels: RealLabels) -> None:
    settings = RealSettings(share=1.0)
    recipe = RealImages(labels, RGB, 3, settings, MapSettings(size=16))
    whole, part = recipe(torch.arange(12)), recipe(torch.arange(5, 7))
    assert whole.proxy.rgb is not None and part.proxy.rgb is not None
    torch.testing.assert_close(whole.proxy.rgb[5:7], part.proxy.rgb)
    assert torch.equal(whole.target.keypoints[5:7], part.target.keypoints)
    still = look(labels, 12)
    assert still.proxy.rgb is not None
    assert not torch.allclose(whole.proxy.rgb.mean((1, 2, 3)), still.proxy.rgb.mean((1, 2, 3)))


def test_label_maps_lie_where_the_photo_is(labels: RealLabels) -> None:
    batch = look(labels)
    maps = batch.target.maps
    assert maps is not None and maps.labels is not None and maps.uncovered is not None
    mapped = maps.uncovered.flatten(1).any(1)
    assert 0 < mapped.sum() < 24
    first = maps.labels[mapped][0]
    # Of the square from (20, 10) to (60, 50): rows 20 to 40 are labelled, half and half. Key points
    # are at 30 and 50 px, so that the person may reach from 24.6 to 55.4.
    expected = torch.zeros(16, 16, dtype=torch.uint8)
    expected[4:12, 2:8], expected[4:12, 8:14] = NAMES.index("left arm"), NAMES.index("coat")
    assert torch.equal(first, expected)
    assert torch.equal(maps.whole[mapped][0], (expected > 0).float())
    assert not maps.labels[~mapped].any(), "nothing is known, and nothing counts"


def test_beyond_the_photo_labels_are_background() -> None:
    labels = torch.full((10, 10), 5, dtype=torch.uint8)
    box = Box(centre=torch.tensor([0.0, 5.0]), side=torch.tensor(20.0))
    cut = nearest_square(labels[None], box, 20)[0]
    assert (cut[:, :10] == 0).all() and (cut[5:15, 10:] == 5).all() and (cut[:5] == 0).all()


def label_map(tmp_path: Path) -> Path:
    """Of a photo of 40 x 40 px: a coat in the left half and another in the right one."""
    labels = np.zeros((40, 40), dtype=np.int64)
    labels[:, 2:18] = labels[:, 22:38] = NAMES.index("coat")
    write_label_map(tmp_path / "map.png", labels)
    return tmp_path / "map.png"


def test_beyond_the_photo_nothing_counts(tmp_path: Path) -> None:
    """A person whom the photo's border cuts goes on: nobody says that nothing is there."""
    box = Box(centre=torch.tensor([[40.0, 20.0]]), side=torch.tensor([40.0]))
    unknown, path = torch.zeros(1, 17, 3), label_map(tmp_path)
    for turn in (None, Turn.about(box, 0.0, 1.0, 32)):
        moved = box if turn is None else turn.turned_box
        maps = photo_maps(path, (40, 40), moved, turn, unknown, MapSettings(size=20))
        assert maps is not None and maps.uncovered is not None and maps.labels is not None
        assert maps.uncovered[0, :, :10].all() and not maps.uncovered[0, :, 10:].any()
        assert maps.labels[0, :, 1:9].all() and not maps.labels[0, :, 9:].any()


def test_labels_far_from_a_persons_key_points_do_not_count(tmp_path: Path) -> None:
    box = Box(centre=torch.tensor([[20.0, 20.0]]), side=torch.tensor([40.0]))
    keypoints = torch.zeros(1, 17, 3)
    keypoints[0, 0], keypoints[0, 16] = torch.tensor([[-0.5, -0.6, 1], [-0.3, 0.6, 0.4]])
    keypoints[0, 9] = torch.tensor([0.8, 0.0, 0.3])  # not sure enough
    maps = photo_maps(label_map(tmp_path), (40, 40), box, None, keypoints, MapSettings(size=40))
    assert maps is not None and maps.uncovered is not None and maps.labels is not None
    assert MARGIN == pytest.approx(0.268, abs=1e-3)
    # The rectangle is from -0.77 to -0.03 across, pixels 5 to 18, and -0.87 to 0.87 down, 3 to 36.
    assert maps.labels[0].nonzero().amin(0).tolist() == [3, 5]
    assert maps.labels[0].nonzero().amax(0).tolist() == [36, 17]
    assert maps.uncovered[0, 20, 5:22].all(), "also what is of nobody"
    assert not maps.uncovered[0, 20, 2:5].any() and not maps.uncovered[0, 20, 22:38].any()
    assert maps.uncovered[0, 20, 38:].all(), "nobody is there, the person neither"
    assert torch.equal(maps.whole > 0, maps.labels > 0)


def test_a_mirrored_sample_is_that_of_the_mirrored_person(assets: SynthAssets) -> None:
    generator = torch.Generator().manual_seed(0)
    turn = 0.3 * torch.randn(1, 24, 3, generator=generator)
    body = BodyParameters(shape=torch.zeros(1, 10), rotations=rotvec_to_rotmat(turn))
    posed = pose_body(assets.template, body.shape, body.rotations).vertices
    joints = assets.regressors.coco17 @ posed
    keypoints = joints[..., :2] * torch.tensor([0.8, -0.8])
    labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    labels[0, 2, 1] = NAMES.index("left arm")
    annotated = torch.ones(1, 17, dtype=torch.bool)
    annotated[0, COCO17.index("left_wrist")] = False
    batch = Batch(
        proxy=look_proxy(),
        target=Target(
            parameters=body, keypoints=keypoints, annotated=annotated,
            maps=TargetMaps(whole=(labels > 0).float(), labels=labels),
        ),
    )  # fmt: skip
    mirrored = mirror_batch(batch)
    target = mirrored.target
    assert target.maps is not None and target.maps.labels is not None
    assert (
        target.maps.labels[0, 2, 6] == NAMES.index("right arm") and target.maps.whole[0, 2, 6] == 1
    )
    assert target.annotated is not None and not target.annotated[0, COCO17.index("right_wrist")]
    turned = pose_body(assets.template, target.parameters.shape, target.parameters.rotations)
    again = assets.regressors.coco17 @ turned.vertices
    camera = fit_weak_perspective(again, target.keypoints, torch.ones(1, 17))
    error = (camera.project(again) - target.keypoints).abs().max()
    assert error < 0.02, "the mirrored body is where the mirrored key points are"
    twice = mirror_batch(mirrored)
    torch.testing.assert_close(twice.target.parameters.rotations, body.rotations)
    assert torch.equal(twice.target.keypoints, keypoints)


def test_joints_in_space_are_turned_and_mirrored_with_the_person(
    assets: SynthAssets, labels: RealLabels
) -> None:
    """Joints that belong to the bodies still do, whatever is done to the photos."""
    generator = torch.Generator().manual_seed(0)
    turns = 0.4 * torch.randn(4, 24, 3, generator=generator)
    body = BodyParameters(shape=torch.zeros(4, 10), rotations=rotvec_to_rotmat(turns))

    def h36m(bodies: BodyParameters) -> Tensor:
        posed = pose_body(assets.template, bodies.shape, bodies.rotations).vertices
        return assets.regressors.h36m17 @ posed

    known = torch.tensor([1.0, 0.0, 1.0, 1.0])[:, None, None].expand(4, 17, 1)
    told = dataclasses.replace(labels, body=body, joints=torch.cat([h36m(body), known], -1))
    everything = dataclasses.replace(STILL, share=0.5, mirrored=0.5, turned=0.7)
    recipe = RealImages(told, RGB, 3, everything, MapSettings(size=16))
    target = recipe(torch.arange(24)).target
    assert target.joints is not None and 0 < target.joints[..., 3].mean() < 1
    gap = h36m(target.parameters) - target.joints[..., :3]
    assert (gap - gap.mean(1, keepdim=True)).abs().max() < 0.005, "our bodies are nearly symmetric"
    mixed = MixedRecipe(drawn, recipe, 3)(torch.arange(24)).target
    assert mixed.joints is not None and not mixed.joints.flatten(1).any(1).all()
    both = join_labels_of([told, labels])
    assert both.joints is not None and not both.joints[4:].any() and both.joints[:4].any()


def test_joints_of_spins_files_come_into_the_world(folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "labels.npz") as file:
        arrays = dict(file)
    joints = np.zeros((5, 24, 4))
    joints[:, SPIN24.index("left_wrist")] = [0.3, 0.2, 0.1, 1]
    np.savez(tmp_path / "some.npz", **arrays, S=joints)
    path = (str(tmp_path / "some.npz"),)
    found = read_real_labels(sources(folder, body="open", real_labels=path))
    assert found.joints is not None and "4 with joints in space" in found.told()[0]
    left = found.joints[0, H36M17.index("left_wrist")]
    torch.testing.assert_close(left, torch.tensor([0.3, -0.2, -0.1, 1.0]))
    assert found.joints[0].count_nonzero() == 4
    joints[2, :, :3] *= 1000
    np.savez(tmp_path / "some.npz", **arrays, S=joints)
    with pytest.raises(ValueError, match=r"S: wanted joints in metres, .* in row 2 \(from 0\)"):
        read_real_labels(sources(folder, real_labels=path))


def look_proxy() -> Proxy:
    return Proxy(
        silhouette=torch.zeros(1, 8, 8),
        keypoints=torch.zeros(1, 17, 3),
        box=Box(centre=torch.zeros(1, 2), side=torch.ones(1)),
        rgb=torch.rand(1, 3, 8, 8),
    )


def test_broken_photos_are_passed_over_and_named(labels: RealLabels, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    some = dataclasses.replace(labels, pictures=(broken, *labels.pictures[1:]))
    recipe = RealImages(some, RGB, 3, STILL)
    assert recipe(torch.arange(24)).proxy.rgb is not None
    (told,) = some.unread.told()
    assert told.startswith("photo passed over: ") and str(broken) in told
    some.unread.reasons |= {f"{n}.jpg": "gone" for n in range(30)}
    assert len(some.unread.told()) == 11 and "31 in all" in some.unread.told()[-1]
    all_broken = dataclasses.replace(labels, pictures=(broken,) * 4, unread=Unread())
    with pytest.raises(ValueError, match="wanted one that can be read, got 1 broken ones"):
        RealImages(all_broken, RGB, 3)(torch.arange(2))
    with pytest.raises(ValueError, match="wanted a network that reads photos, got one of silhouet"):
        RealImages(labels, ProxySettings(), 0)


# Label maps


def test_both_ways_to_write_label_maps_are_read(tmp_path: Path) -> None:
    labels = np.arange(20).reshape(4, 5)
    write_label_map(tmp_path / "colours.png", labels)
    Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "numbers.png")
    # Programs that make files smaller give colours a palette in an order of their own.
    smaller = Image.open(tmp_path / "colours.png").quantize(20)
    assert (np.asarray(smaller) != labels).any()
    smaller.save(tmp_path / "smaller.png")
    others = Image.fromarray(labels.astype(np.uint8)).convert("P")
    others.putpalette([12 * n for n in range(20) for _ in range(3)])
    others.save(tmp_path / "others.png")
    for name in ("colours", "numbers", "smaller", "others"):
        read = read_label_map(tmp_path / f"{name}.png", (4, 5))
        assert torch.equal(read.long(), torch.from_numpy(labels))


def test_other_label_maps_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.png"

    def refused(picture: Image.Image, told: str, size: tuple[int, int] = (4, 5)) -> None:
        picture.save(path)
        with pytest.raises(ValueError, match=told):
            read_label_map(path, size)

    grey = Image.fromarray(np.full((4, 5), 20, dtype=np.uint8))
    refused(grey, "wanted labels 0 to 19, came 20")
    mixed = np.zeros((4, 5, 3), dtype=np.uint8)
    mixed[1, 2] = (64, 0, 0)
    refused(Image.fromarray(mixed), r"came \(64, 0, 0\) and others in 1 pixels.*smoothing")
    refused(Image.fromarray(mixed), "its photo's size, 7 x 6 px, came one of 5 x 4", (6, 7))
    path.write_bytes(b"<html>")
    with pytest.raises(ValueError, match="label map: .*wanted a PNG, came something else"):
        read_label_map(path, (4, 5))


# In the stream


def drawn(numbers: Tensor) -> Batch:
    """A recipe whose people are black pictures."""
    count = len(numbers)
    return Batch(
        proxy=Proxy(
            silhouette=torch.zeros(count, 32, 32),
            keypoints=torch.zeros(count, 17, 3),
            box=Box(centre=torch.zeros(count, 2), side=torch.ones(count)),
            rgb=torch.zeros(count, 3, 32, 32),
        ),
        target=Target(
            parameters=BodyParameters(
                shape=torch.zeros(count, 10), rotations=torch.eye(3).repeat(count, 24, 1, 1)
            ),
            keypoints=torch.zeros(count, 17, 2),
            maps=TargetMaps(
                whole=torch.ones(count, 16, 16),
                labels=torch.ones(count, 16, 16, dtype=torch.uint8),
            ),
        ),
    )


def test_photos_are_mixed_in_by_their_share(labels: RealLabels) -> None:
    real = RealImages(labels, RGB, 3, dataclasses.replace(STILL, share=0.3), MapSettings(size=16))
    batch = MixedRecipe(drawn, real, 3, labelled=0.5)(torch.arange(200))
    assert batch.proxy.rgb is not None and batch.target.labelled is not None
    photo = batch.proxy.rgb.flatten(1).any(1)
    assert 0.2 < photo.float().mean() < 0.4
    assert 0.35 < batch.target.labelled[~photo].float().mean() < 0.65
    assert batch.target.annotated is not None and batch.target.annotated[~photo].all()
    again = MixedRecipe(drawn, real, 3, labelled=0.5)(torch.arange(190, 200))
    assert again.proxy.rgb is not None
    torch.testing.assert_close(again.proxy.rgb, batch.proxy.rgb[190:])


def test_files_of_people_are_drawn_by_their_weights(labels: RealLabels) -> None:
    one = dataclasses.replace(labels, counts=(1, 0, 3))
    weighted = dataclasses.replace(STILL, files=(3.0, 0.0, 1.0))
    recipe = RealImages(one, RGB, 3, weighted, MapSettings(size=16))
    who = recipe._choose(Chance(3, torch.arange(2000))).bincount(minlength=4) / 2000
    wanted = torch.tensor([3 / 4, 1 / 12, 1 / 12, 1 / 12])
    torch.testing.assert_close(who, wanted, atol=0.04, rtol=0)
    with pytest.raises(ValueError, match="wanted people in files that count, got none in file 1"):
        RealImages(one, RGB, 3, dataclasses.replace(STILL, files=(1.0, 1.0, 1.0)))
    with pytest.raises(ValueError, match="a weight for each of the 3 files of people, got 1"):
        RealImages(one, RGB, 3, dataclasses.replace(STILL, files=(1.0,)))
    with pytest.raises(ValueError, match=r"real\.files: wanted weights of 0 or more"):
        RealSettings(files=(0.0, 0.0))


def test_a_run_opens_photos_for_training_only(folder: Path) -> None:
    config: RunConfig = override(preset("dsr-lite"), {
        "stream.real.share": 0.5,
        "sources.real_labels": [str(folder / "labels.npz")],
        "sources.real_pictures": [str(folder)],
        "stream.recipe": "lite",
    })  # fmt: skip
    assert (opened := open_assets(config, "train")).real is not None and len(opened.real) == 4
    assert open_assets(config, "val").real is None
    maps = {"sources.real_maps": [str(folder / "maps")], "supervision.weight": 1.0}
    with pytest.raises(ValueError, match=r"supervision\.kind: wanted visible, .* got amodal; do:"):
        open_assets(override(config, maps), "train")
    visible = override(config, maps | {"supervision.kind": "visible"})
    assert (opened := open_assets(visible, "train").real) is not None and any(opened.label_maps)
