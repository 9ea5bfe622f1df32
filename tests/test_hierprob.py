"""The hierprob recipe: published numbers over 10,000 samples, and pictures of who the target is."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import pytest
import torch
from frequencies import COUNT, chance, close
from hierprob_people import CALM, LIMBS, SIZE
from jaxtyping import UInt8
from torch import Tensor

from plausibody.models.body import pose_body, regress
from plausibody.models.camera import fit_weak_perspective
from plausibody.models.proxy import ProxySettings
from plausibody.models.skeleton import COCO17
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.charts import load_chart
from plausibody.synth.garments import GarmentSettings
from plausibody.synth.hierprob import HierprobRecipe, HierprobSettings
from plausibody.synth.hierprob_scene import (
    FOREARMS,
    LEGS,
    LightSettings,
    Scenes,
    draw_lights,
)
from plausibody.synth.looks import Looks
from plausibody.synth.mass import MassIndex, mass_index
from plausibody.synth.occluders import BorderSettings
from plausibody.synth.removal import (
    HalvesSettings,
)
from plausibody.synth.scene import CameraSettings, draw_camera
from plausibody.synth.stores import SynthAssets
from plausibody.synth.texture_outfits import UPPER
from plausibody.synth.textures import SEMANTICS, TextureBank, draw_texture
from plausibody.synth.views import VIEWPOINTS, seen_from


@dataclass(frozen=True)
class Blue:
    """Backgrounds without anything."""

    def __len__(self) -> int:
        return 1

    def to(self, device: torch.device | str) -> Blue:
        return self

    @property
    def skipped(self) -> dict[str, str]:
        return {}

    def expect(self, chance: Chance) -> None: ...

    def draw(self, chance: Chance, size: tuple[int, int]) -> UInt8[Tensor, "batch 3 H W"]:
        picture = torch.zeros(len(chance.numbers), 3, *size, dtype=torch.uint8)
        picture[:, 2] = 255
        return picture


@pytest.fixture(scope="module")
def looks(assets: SynthAssets) -> Looks:
    """Two textures: red, and grey without colours; all backgrounds are blue."""
    images = torch.zeros(2, 120, 80, 3, dtype=torch.uint8)
    images[0, ..., 0], images[1] = 255, 128
    bank = TextureBank(images, None, None, torch.tensor([False, True]))
    return Looks.of(load_chart(assets.template), bank, Blue())


def make(
    assets: SynthAssets,
    looks: Looks,
    count: int = 32,
    proxy: ProxySettings | None = None,
    **changes: object,
) -> Batch:
    settings = dataclasses.replace(CALM, channels=("rgb", "part24"), **changes)
    proxy = proxy or ProxySettings(size=settings.size, least_confidence=0.0, channel="edges")
    return HierprobRecipe(settings, proxy, 5, assets, looks)(torch.arange(count))


# Published numbers.


def test_cameras_stand_as_published() -> None:
    settings = HierprobSettings()
    camera = draw_camera(chance(), settings.camera)
    x, y, z = camera.translation.double().unbind(-1)
    assert (camera.focal == 300).all() and (camera.principal == 128).all()
    assert abs(x.mean()) < 0.003 and abs(y.mean() + 0.2) < 0.003
    assert x.std().item() == pytest.approx(0.05, rel=0.04)
    assert y.std().item() == pytest.approx(0.05, rel=0.04)
    assert z.min() >= 2 and z.max() <= 3 and z.mean().item() == pytest.approx(2.5, abs=0.015)
    assert settings.camera.size == 256 and settings.size == 256


def test_lights_are_as_published_and_each_person_has_one() -> None:
    lights = draw_lights(chance(), LightSettings())
    for colour, low, high in (
        (lights.ambient, 0.4, 0.8), (lights.diffuse, 0.4, 0.8), (lights.specular, 0.0, 0.5),
    ):  # fmt: skip
        assert (colour == colour[:, :1]).all(), "white"
        assert colour.min() >= low and colour.max() <= high
        assert colour.std().item() == pytest.approx((high - low) / math.sqrt(12), rel=0.02)
    distance = lights.position.norm(dim=-1)
    assert distance.min() >= 0.05 - 1e-6 and distance.max() <= 3 + 1e-5
    assert distance.mean().item() == pytest.approx(1.525, rel=0.02)
    assert (lights.position / distance[:, None]).mean(0).abs().max() < 0.03, "from anywhere"


def test_shapes_are_normal_as_published(assets: SynthAssets, looks: Looks) -> None:
    shape = Scenes(HierprobSettings(), assets, looks).draw_shape(chance())
    assert shape.shape == (COUNT, 10) and shape.mean(0).abs().max() < 0.06
    torch.testing.assert_close(shape.std(0), torch.full((10,), 1.25), rtol=0.03, atol=0)


def ball(count: int, centre: tuple[float, float], radius: float, vertices: int) -> Tensor:
    """Vertices in a square round a place in the picture, 2 m away."""
    flat = torch.rand(count, vertices, 2, generator=torch.Generator().manual_seed(0))
    flat = flat * 2 - 1
    flat[:, 0], flat[:, 1] = -1, 1
    return torch.cat([torch.tensor(centre) + radius * flat, torch.full_like(flat[..., :1], 2)], -1)


def whole(count: int) -> Tensor:
    """Borders of a picture."""
    return torch.tensor([0.0, 0.0, 256.0, 256.0]).expand(count, 4)


def test_boxes_are_as_published(assets: SynthAssets, looks: Looks) -> None:
    boxes = Scenes(HierprobSettings(extreme_crop=0.0), assets, looks)
    boxes.groups = [torch.arange(12), torch.arange(12), torch.arange(12)]
    box = boxes.draw_box(chance(), ball(COUNT, (120.0, 130.0), 50.0, 12), whole(COUNT))
    scale = box.side / 100
    assert scale.min() >= 0.9 - 1e-5 and scale.max() <= 1.4 + 1e-5
    assert scale.mean().item() == pytest.approx(1.15, abs=0.006)
    shift = box.centre - torch.tensor([120.0, 130.0])
    assert shift.abs().max() <= 5 + 1e-4
    assert shift.std().item() == pytest.approx(10 / 12**0.5, rel=0.02)


def test_one_box_in_ten_leaves_limbs_out(assets: SynthAssets, looks: Looks) -> None:
    """Trunk, forearms and legs lie round one place, each wider than the one before."""
    boxes = Scenes(HierprobSettings(box_scale=(1.0, 1.0), box_shift=0.0), assets, looks)
    surface = torch.cat([ball(COUNT, (128.0, 128.0), r, 4) for r in (20.0, 40.0, 60.0)], 1)
    boxes.groups = [torch.arange(4), torch.arange(4, 8), torch.arange(8, 12)]
    side = boxes.draw_box(chance(), surface, whole(COUNT)).side.round()
    assert set(side.unique().tolist()) == {40.0, 80.0, 120.0}
    assert close(side == 80, 0.05) and close(side == 40, 0.05)


def test_the_groups_of_vertices_are_those_of_the_parts(assets: SynthAssets, looks: Looks) -> None:
    groups = Scenes(HierprobSettings(), assets, looks).groups
    chart = looks.chart
    for number, parts in ((1, FOREARMS), (2, LEGS)):
        member = torch.isin(chart.face_part, torch.tensor(parts, dtype=torch.uint8))
        assert torch.equal(groups[number], chart.faces[member].unique())
    assert {*FOREARMS, *LEGS} == {*range(3, 15), *range(19, 23)}
    assert len(torch.cat(groups).unique()) == len(assets.template.vertices)
    below = assets.template.vertices[groups[2], 1].mean()
    assert below < assets.template.vertices[groups[0], 1].mean() - 0.4, "legs are below"


def test_the_box_is_round_what_the_picture_shows(assets: SynthAssets, looks: Looks) -> None:
    settings = HierprobSettings(extreme_crop=0.0, box_scale=(1.0, 1.0), box_shift=0.0)
    boxes = Scenes(settings, assets, looks)
    boxes.groups = [torch.arange(3), torch.arange(3, 4), torch.arange(4, 5)]
    places = [[10.0, 20], [50, 40], [-300, 30], [60, 500], [30, 30]]
    surface = torch.cat([torch.tensor(places), torch.full((5, 1), 2.0)], 1)
    box = boxes.draw_box(chance(3), surface.expand(3, 5, 3), whole(3))
    torch.testing.assert_close(box.centre, torch.tensor([[30.0, 30.0]]).expand(3, 2))
    torch.testing.assert_close(box.side, torch.full((3,), 40.0))
    nowhere = surface + torch.tensor([1000.0, 0, 0])
    torch.testing.assert_close(
        boxes.draw_box(chance(1), nowhere[None], whole(1)).side, torch.tensor([256.0])
    )


# Pictures.


def test_the_target_body_lands_on_its_key_points(assets: SynthAssets, looks: Looks) -> None:
    far = CameraSettings(focal=(12000.0, 12000.0), place=(0.0, -0.3), depth=(90.0, 110.0))
    batch = make(assets, looks, camera=far)
    body, flat = batch.target.parameters, batch.target.keypoints
    vertices = pose_body(assets.template, body.shape, body.rotations).vertices
    points = regress(assets.regressors.coco17, vertices)
    camera = fit_weak_perspective(points, flat, torch.ones(len(points), 17))
    assert (camera.project(points) - flat).norm(dim=-1).max() < 0.02
    seen = batch.proxy.keypoints[..., 2] > 0
    assert seen.double().mean() > 0.7
    torch.testing.assert_close(batch.proxy.keypoints[..., :2][seen], flat[seen])


def test_the_left_of_who_faces_us_is_on_the_right(assets: SynthAssets, looks: Looks) -> None:
    batch = make(assets, looks, 64)
    flat, labels = batch.target.keypoints, batch.channels["part24"]
    spine = batch.target.parameters.rotations[:, [0, 3, 6, 9]]
    chest = spine[:, 0] @ spine[:, 1] @ spine[:, 2] @ spine[:, 3]
    facing = torch.where(chest[:, 1, 1] > 0.3, chest[:, 2, 2], 0.0)  # of those who are upright
    left, right = COCO17.index("left_shoulder"), COCO17.index("right_shoulder")
    across = flat[:, left, 0] - flat[:, right, 0]
    assert (across[facing > 0.6] > 0).all() and (across[facing < -0.6] < 0).all()
    # Labels agree: the left upper arm is where the left shoulder and elbow are.
    columns = torch.arange(SIZE, dtype=torch.float32)
    upper = (labels == 15) | (labels == 17)
    clear = (facing.abs() > 0.6) & (upper.sum((1, 2)) > 20)
    middle = (upper.float().sum(1) * columns).sum(1) / upper.sum((1, 2)).clamp(min=1)
    joints = (flat[:, [left, COCO17.index("left_elbow")], 0].mean(1) + 1) * SIZE / 2
    assert clear.sum() > 5 and (middle - joints)[clear].abs().max() < 12


def test_the_picture_shows_the_person_before_the_background(
    assets: SynthAssets, looks: Looks
) -> None:
    batch = make(assets, looks, grey=0.0)
    picture, person = batch.channels["rgb"], batch.channels["part24"] > 0
    inside = picture.any(1)
    beyond = ~inside
    assert beyond.any() and (batch.proxy.silhouette[beyond] == 0).all(), "black"
    blue = torch.tensor([0.0, 0, 1])[:, None, None]
    assert (picture.permute(0, 2, 3, 1)[~person & inside] == blue[:, 0, 0]).all()
    red, green, _ = picture.permute(0, 2, 3, 1)[person & inside].unbind(-1)
    assert (red > 0.39).all() and red.max() <= 1 and (green <= 0.51).all(), "but for highlights"
    shown = batch.proxy.silhouette.bool()
    assert torch.equal(shown, person & inside) and 0.05 < shown.double().mean() < 0.6


def test_only_joints_in_the_picture_and_the_crop_are_seen(
    assets: SynthAssets, looks: Looks
) -> None:
    batch = make(assets, looks, 64, box_scale=(0.7, 0.7))
    seen, flat = batch.proxy.keypoints[..., 2] > 0, batch.target.keypoints
    assert (flat[seen].abs() <= 1).all() and not seen.all() and seen.double().mean() > 0.5
    places = ((flat.clamp(-1, 1) + 1) * SIZE / 2).long().clamp(max=SIZE - 1)
    shown = batch.channels["rgb"].any(1)[torch.arange(64)[:, None], places[..., 1], places[..., 0]]
    assert shown[seen].all(), "black is beyond the picture"
    hidden = make(assets, looks, 64, box_scale=(0.7, 0.7), least_part=10**6).proxy.keypoints
    others = [joint for joint in range(17) if joint not in LIMBS]
    assert (hidden[:, LIMBS] == 0).all() and torch.equal(hidden[:, others, 2] > 0, seen[:, others])


def test_arms_behind_the_back_are_not_seen(assets: SynthAssets, looks: Looks) -> None:
    """Hidden limbs are those whose parts hardly show, by the labels themselves."""
    batch = make(assets, looks, 64, least_part=50)
    seen, labels = batch.proxy.keypoints[..., 2] > 0, batch.channels["part24"]
    inside = batch.channels["rgb"].any(1)
    for joint, parts in (("left_wrist", (4,)), ("right_knee", (11, 13)), ("left_elbow", (19, 21))):
        member = torch.isin(labels, torch.tensor(parts, dtype=torch.uint8)) & inside
        few = member.sum((1, 2)) <= 50
        assert few.any() and not seen[few, COCO17.index(joint)].any()


def test_torch_and_numba_make_the_same_of_a_scene(assets: SynthAssets, looks: Looks) -> None:
    settings = dataclasses.replace(HierprobSettings(size=SIZE, occluder=18), channels=("rgb",))
    proxy = ProxySettings(size=SIZE, least_confidence=0.0, channel="edges")
    one, other = (
        HierprobRecipe(settings, proxy, 3, assets, looks, backend)(torch.arange(4))
        for backend in ("torch", "numba")
    )
    assert torch.equal(one.proxy.keypoints, other.proxy.keypoints)
    assert torch.equal(one.proxy.silhouette, other.proxy.silhouette)
    assert (one.channels["rgb"] - other.channels["rgb"]).abs().max() < 1e-3


def test_grey_textures_are_one_in_twenty(assets: SynthAssets, looks: Looks) -> None:
    batch = make(assets, looks, 8, grey=1.0)
    picture = batch.channels["rgb"].permute(0, 2, 3, 1)[batch.channels["part24"] > 0]
    torch.testing.assert_close(picture[:, 0], picture[:, 2])
    assert HierprobSettings().grey == 0.05
    assert close(looks.textures.grey[draw_texture(chance(), looks.textures, 0.05)], 0.05)


def test_the_background_shows_where_parts_or_halves_or_squares_are_missing(
    assets: SynthAssets, looks: Looks
) -> None:
    legless = tuple(1.0 if part in LEGS else 0.0 for part in range(1, 25))
    batch = make(assets, looks, part_removed=legless)
    labels = batch.channels["part24"]
    legs = torch.isin(labels, torch.tensor(LEGS, dtype=torch.uint8))
    assert legs.any() and (batch.proxy.silhouette[legs] == 0).all()
    legs = legs & batch.channels["rgb"].any(1)  # within the picture
    assert legs.any() and (batch.channels["rgb"][:, 2][legs] == 1).all()

    batch = make(assets, looks, halves=HalvesSettings(0.0, 1.0, 0.0, row_range=4))
    assert (batch.proxy.silhouette[:, :44] == 0).all() and batch.proxy.silhouette[:, 52:].any()
    assert (batch.channels["rgb"][:, :, :44] == 0).all(), "the picture's own half is black"
    batch = make(assets, looks, occluded=1.0)
    whole = make(assets, looks)
    missing = (whole.proxy.silhouette - batch.proxy.silhouette) > 0
    rows, columns = missing.any(2).sum(1), missing.any(1).sum(1)
    assert rows.max() == 18 and columns.max() == 18 and (rows > 0).double().mean() > 0.9


def test_smooth_outlines_go_with_their_parts(assets: SynthAssets, looks: Looks) -> None:
    everything = make(assets, looks, 8, part_removed=(1.0,) * 24, supersample=2)
    whole = make(assets, looks, 8, supersample=2)
    # Fingertips that no pixel's centre sees have no label within reach.
    assert everything.proxy.silhouette.sum() < 2e-4 * whole.proxy.silhouette.sum()
    soft = (whole.proxy.silhouette > 0) & (whole.proxy.silhouette < 1)
    assert soft.any() and (whole.channels["part24"][soft] == 0).any()


def test_clothes_stand_off_the_body_and_the_target_stays(assets: SynthAssets, looks: Looks) -> None:
    bank = looks.textures
    dressed = dataclasses.replace(
        bank,
        semantics=torch.full(bank.images.shape[:3], SEMANTICS.index("upper"), dtype=torch.uint8),
        garments=torch.tensor([[UPPER.index("jacket"), 0, 0, 0]] * 2, dtype=torch.uint8),
    )
    wardrobe = Looks.of(looks.chart, dressed, looks.backgrounds)
    far = CameraSettings(focal=(12000.0, 12000.0), place=(0.0, -0.3), depth=(90.0, 110.0))
    changes = {"camera": far, "box_scale": (1.2, 1.2), "box_shift": 0.0}
    naked = make(assets, wardrobe, 16, **changes)
    clothed = make(assets, wardrobe, 16, garments=GarmentSettings(), **changes)
    assert torch.equal(
        naked.target.parameters.rotations, clothed.target.parameters.rotations
    ) and torch.equal(naked.target.parameters.shape, clothed.target.parameters.shape)

    def size(batch: Batch) -> Tensor:
        """Area of the silhouette over that of the key points."""
        spread = batch.target.keypoints.std(1).norm(dim=-1)
        return batch.proxy.silhouette.sum((1, 2)) / spread.square()

    growth = size(clothed) / size(naked)
    assert growth.min() > 1.0 and 1.05 < growth.mean() < 2
    with pytest.raises(ValueError, match="wanted textures with labels"):
        make(assets, looks, 1, garments=GarmentSettings())


def test_colours_are_scaled_one_by_one(assets: SynthAssets, looks: Looks) -> None:
    batch = make(assets, looks, 64, gain=(0.8, 1.2))
    blue = batch.channels["rgb"][:, 2].amax((1, 2))
    assert blue.min() >= 0.8 and blue.max() == 1, "never above 1"
    assert close(blue == 1, 0.5)


def test_edges_stay_inside_the_picture_and_its_border_is_none(
    assets: SynthAssets, looks: Looks
) -> None:
    """Boxes so large that they leave the picture on all sides."""
    batch = make(assets, looks, 16, box_scale=(2.0, 2.0), box_shift=0.0)
    edges = batch.proxy.edges
    assert (
        edges is not None and (edges[:, [0, -1]] == 0).all() and (edges[:, :, [0, -1]] == 0).all()
    )
    # All there is before a blue background is the person.
    outline = torch.nn.functional.max_pool2d(
        (batch.channels["part24"] > 0).float()[:, None], 7, 1, 3
    )
    assert (edges[outline[:, 0] == 0] < 1e-6).all() and (edges > 0.3).any()
    published = make(assets, looks, 16, ProxySettings(SIZE, 1.2, 0.0, "edges", "zero"),
                     box_scale=(2.0, 2.0), box_shift=0.0)  # fmt: skip
    assert published.proxy.edges is not None
    assert (published.proxy.edges[outline[:, 0] == 0] > 0.3).any(), "the border is an edge"


def test_samples_are_the_same_however_many_are_made_at_once(
    assets: SynthAssets, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = HierprobSettings(size=SIZE, channels=("rgb", "joint_visibility"))
    proxy = ProxySettings(size=SIZE, least_confidence=0.0, channel="edges")
    one = HierprobRecipe(settings, proxy, 3, assets, looks)(torch.arange(10))
    monkeypatch.setattr("plausibody.synth.hierprob.CHUNK", 3)
    other = HierprobRecipe(settings, proxy, 3, assets, looks)(torch.arange(10))
    assert one.proxy.edges is not None and other.proxy.edges is not None
    assert torch.equal(one.proxy.edges, other.proxy.edges)
    assert torch.equal(one.proxy.keypoints, other.proxy.keypoints)
    assert torch.equal(one.channels["rgb"], other.channels["rgb"])
    assert torch.equal(one.channels["joint_visibility"], one.proxy.keypoints[..., 2] > 0)


def test_close_ups_from_all_sides_are_drawn_too(assets: SynthAssets, looks: Looks) -> None:
    settings = dataclasses.replace(CALM, channels=("rgb",), supersample=2)
    settings = seen_from(settings, "wide")
    assert settings.camera == VIEWPOINTS["wide"].camera and settings.border.truncated == 0.2
    proxy = ProxySettings(size=SIZE, least_confidence=0.0)
    batch = HierprobRecipe(settings, proxy, 0, assets, looks)(torch.arange(64))
    area = batch.proxy.silhouette.mean((1, 2))
    assert area.min() > 0 and area.max() > 0.3 and batch.channels["rgb"].isfinite().all()
    cut = (batch.target.keypoints.abs() > 1).any(-1).any(1)
    assert 0.1 < cut.double().mean() < 0.95, "some people are truncated"
    assert batch.proxy.keypoints.isfinite().all() and batch.target.keypoints.isfinite().all()


def test_borders_cut_people_on_demand(assets: SynthAssets, looks: Looks) -> None:
    border = BorderSettings(truncated=1.0, most=0.5, bottom=1.0)
    batch = make(assets, looks, 32, border=border, box_scale=(1.5, 1.5), box_shift=0.0)
    hidden = batch.proxy.silhouette < (batch.channels["part24"] > 0)
    assert hidden.flatten(1).any(1).double().mean() > 0.8
    rows = torch.arange(SIZE)[:, None]
    lowest = torch.where(batch.proxy.silhouette > 0, rows, -1).amax((1, 2))
    beyond = hidden & (rows > lowest[:, None, None])
    assert torch.equal(beyond, hidden), "all that is hidden is below the border"
    edges = batch.proxy.edges
    assert edges is not None and (edges[hidden] == 0).all()
    # The box is round what is left: 1 / 1.5 of the side, in the middle.
    shown = batch.proxy.silhouette > 0
    longest = torch.maximum(shown.any(2).sum(1), shown.any(1).sum(1)) / SIZE
    assert (longest - 1 / 1.5).abs().max() < 0.06


def test_channels_are_kept_on_demand(assets: SynthAssets, looks: Looks) -> None:
    names = ("iuv", "depth", "normals", "part14", "part6", "silhouette", "joint_visibility")
    settings = dataclasses.replace(CALM, channels=names)
    silhouettes = ProxySettings(size=SIZE, least_confidence=0.0)
    batch = HierprobRecipe(settings, silhouettes, 0, assets, looks)(torch.arange(4))
    assert tuple(batch.channels) == names and batch.proxy.edges is None
    shapes = {name: tuple(batch.channels[name].shape[1:]) for name in names}
    assert shapes["iuv"] == shapes["normals"] == (3, SIZE, SIZE)
    assert shapes["depth"] == shapes["part6"] == (SIZE, SIZE) and shapes["joint_visibility"] == (
        17,
    )
    assert torch.equal(batch.channels["silhouette"], batch.proxy.silhouette)


def test_wrong_settings_are_refused(assets: SynthAssets, looks: Looks) -> None:
    with pytest.raises(ValueError, match="renders 256 px, the proxy wants 96"):
        HierprobRecipe(HierprobSettings(), ProxySettings(), 0, assets, looks)
    with pytest.raises(ValueError, match=r"wanted some of silhouette, .*got \['smell'\]"):
        HierprobSettings(channels=("rgb", "smell"))
    with pytest.raises(ValueError, match="wanted 24 probabilities, got 6"):
        HierprobSettings(part_removed=(0.1,) * 6)


# Shapes by mass index.


def test_the_mass_index_is_predicted_by_the_coefficients(assets: SynthAssets) -> None:
    shape = chance(400).normal("shape", 10, std=1.25)
    true = mass_index(assets.template, shape)
    error = (MassIndex.of(assets.template)(shape) / true).log().abs()
    assert error.mean() < 0.006
    assert 20 < mass_index(assets.template, torch.zeros(10)) < 30, "of a person"


def test_mass_indices_are_uniform_and_the_rest_is_normal(assets: SynthAssets, looks: Looks) -> None:
    settings = dataclasses.replace(HierprobSettings(), mass_index=(17.0, 38.0))
    shape = Scenes(settings, assets, looks).draw_shape(chance(1000))
    index = mass_index(assets.template, shape)
    quantiles = torch.quantile(index, torch.linspace(0.1, 0.9, 9))
    torch.testing.assert_close(quantiles, torch.linspace(19.1, 35.9, 9), rtol=0.04, atol=0)
    assert index.min() > 16 and index.max() < 40
    assert (shape.std(0) - 1.25).abs().max() < 0.15 and shape.abs().max() < 7
