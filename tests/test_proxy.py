"""The proxy: the box, the resampling against Pillow and a loop, and people who are hardly seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from plausibody.models.edges import canny
from plausibody.models.mirroring import mirror_proxy
from plausibody.models.proxy import (
    Box,
    Observation,
    ProxySettings,
    gaussian_heatmaps,
    make_drawn_proxy,
    make_proxy,
    regressor_image,
    resample_square,
)
from plausibody.models.skeleton import COCO17

NOTHING = torch.zeros(17, 3)
SETTINGS = ProxySettings(size=32)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def square(x: float, y: float, side: float) -> Box:
    return Box(centre=torch.tensor([float(x), float(y)]), side=torch.tensor(float(side)))


def rectangle(height: int, width: int, top: int, bottom: int, left: int, right: int) -> Tensor:
    mask = torch.zeros(height, width)
    mask[top:bottom, left:right] = 1
    return mask


def reported(**places: tuple[float, float, float]) -> Tensor:
    keypoints = NOTHING.clone()
    for name, place in places.items():
        keypoints[COCO17.index(name)] = torch.tensor(place)
    return keypoints


@pytest.mark.parametrize(
    ("centre", "side"),
    [((60, 45), 32), ((60, 45), 47), ((58.3, 44.9), 71.5), ((61, 46), 80), ((60.2, 45), 19.3)],
)
def test_inside_a_picture_resampling_is_pillows(centre: tuple[float, float], side: float) -> None:
    picture, box = noise(90, 120), square(*centre, side)
    low, high = [c - side / 2 for c in centre], [c + side / 2 for c in centre]
    expected = Image.fromarray(picture.numpy()).resize(
        (32, 32), Image.Resampling.BILINEAR, box=(*low, *high)
    )
    ours = resample_square(picture, box, 32)
    # Pillow cuts its filter off at the box's edge and rounds it to single precision.
    inner = slice(3, -3)
    np.testing.assert_allclose(ours[inner, inner], np.asarray(expected)[inner, inner], atol=1e-4)


def test_resampling_against_a_loop_also_over_the_border() -> None:
    picture, box = noise(9, 11).double(), square(2.3, 7.9, 13.7)
    ours = resample_square(picture, Box(box.centre.double(), box.side.double()), 5)
    step = 13.7 / 5
    for row in range(5):
        for column in range(5):
            x, y = 2.3 + (column - 2) * step, 7.9 + (row - 2) * step
            total, weights = 0.0, 0.0
            for i in range(-30, 40):
                for j in range(-30, 40):
                    across = max(0, 1 - abs(j + 0.5 - x) / step)
                    weight = across * max(0, 1 - abs(i + 0.5 - y) / step)
                    inside = 0 <= i < 9 and 0 <= j < 11
                    total += weight * picture[i, j].item() if inside else 0
                    weights += weight
            assert ours[row, column].item() == pytest.approx(total / weights, abs=1e-6)


@pytest.mark.parametrize("side", [10, 31.9, 32, 33, 40, 48, 57, 96, 141.3])
def test_a_flat_picture_stays_flat(side: float) -> None:
    flat = resample_square(torch.ones(200, 210), square(101.7, 99.2, side), 32)
    torch.testing.assert_close(flat, torch.ones(32, 32))


def test_outside_is_zero_and_the_border_fades() -> None:
    seen = resample_square(torch.ones(64, 64), square(0, 32, 128), 32)
    assert (seen[:, :15] == 0).all() and (seen[0:7] == 0).all()
    torch.testing.assert_close(seen[12:20, 18:31], torch.ones(8, 13))


@pytest.mark.parametrize("length", [90, 112])
@pytest.mark.parametrize("side", [40.0, 96.0, 103.7, 480.0])
def test_loops_resample_as_matrix_products_do(length: int, side: float) -> None:
    pictures = noise(40, 112, length)
    pictures[:20] *= noise(20, 112, length, seed=1) > 0.97
    pictures[-1] = 0
    box = Box(centre=-20 + 150 * noise(40, 2, seed=2), side=side * (0.5 + noise(40, seed=3)))
    box.centre[0] = -1e9
    loops = resample_square(pictures, box, 96)
    products = resample_square(pictures.clone().requires_grad_(), box, 96)
    assert products.requires_grad and not loops.requires_grad
    assert torch.equal(loops, products)
    assert torch.equal(resample_square(pictures[3], Box(box.centre[3], box.side[3]), 96), loops[3])


def test_loops_resample_all_colours_of_a_picture_alike() -> None:
    picture, box = noise(4, 3, 50, 60), Box(centre=60 * noise(4, 1, 2), side=20 + 90 * noise(4, 1))
    loops = resample_square(picture, box, 32)
    products = resample_square(picture.clone().requires_grad_(), box, 32)
    torch.testing.assert_close(loops, products, rtol=0, atol=1e-6)


def test_an_unmoved_box_copies_the_picture() -> None:
    picture = noise(2, 32, 32)
    box = Box(centre=torch.full((2, 2), 16.0), side=torch.full((2,), 32.0))
    torch.testing.assert_close(resample_square(picture, box, 32), picture)


def test_resampling_passes_gradients_to_picture_and_box() -> None:
    picture = noise(6, 7).double().requires_grad_()
    centre = torch.tensor([3.21, 2.87]).double().requires_grad_()
    side = torch.tensor(5.3).double().requires_grad_()

    def resample(picture: Tensor, centre: Tensor, side: Tensor) -> Tensor:
        return resample_square(picture, Box(centre, side), 4)

    assert torch.autograd.gradcheck(resample, (picture, centre, side))


def test_squares_and_pictures_are_inverse() -> None:
    box = Box(centre=100 * noise(3, 2), side=10 + 50 * noise(3))
    places = 200 * noise(3, 17, 2, seed=1) - 50
    torch.testing.assert_close(box.to_picture(box.to_square(places)), places)
    edges = torch.stack([box.centre - box.side[:, None] / 2, box.centre + box.side[:, None] / 2], 1)
    expected = torch.tensor([[-1.0, -1], [1, 1]]).expand(3, 2, 2)
    torch.testing.assert_close(box.to_square(edges), expected, rtol=1e-4, atol=1e-4)


def test_the_box_is_round_mask_and_seen_key_points() -> None:
    mask = rectangle(100, 80, 10, 50, 20, 30)
    keypoints = reported(nose=(70, 20, 0.9), left_ankle=(400, 400, 0.1))
    box = make_proxy(Observation(keypoints, mask), SETTINGS).box
    assert box.centre.tolist() == [45, 30]
    assert box.side.item() == pytest.approx(1.2 * 50)


def test_unsure_and_missing_key_points_become_zeros() -> None:
    keypoints = reported(nose=(40, 20, 0.9), left_eye=(41, 19, 0.19), right_eye=(7, 7, 0.0))
    proxy = make_proxy(Observation(keypoints, rectangle(60, 60, 10, 50, 30, 50)), SETTINGS)
    assert (proxy.keypoints[1:] == 0).all()
    expected = torch.tensor([0, -10 / 24, 0.9])
    torch.testing.assert_close(proxy.keypoints[0], expected)


def test_confidence_zero_is_unseen_even_if_anything_else_counts() -> None:
    settings = ProxySettings(size=32, least_confidence=0.0)
    mask = rectangle(60, 60, 10, 50, 30, 50)
    keypoints = reported(nose=(1e6, 1e6, 0.0), left_eye=(31, 11, 1e-3))
    proxy = make_proxy(Observation(keypoints, mask), settings)
    assert proxy.box.side.item() == pytest.approx(48)
    assert (proxy.keypoints[0] == 0).all() and proxy.keypoints[1, 2] > 0


def test_limbs_may_have_to_be_surer_than_the_rest() -> None:
    settings = ProxySettings(size=32, least_confidence=0.2, least_limb_confidence=0.75)
    keypoints = torch.cat([torch.full((17, 2), 30.0), torch.full((17, 1), 0.74)], -1)
    mask = rectangle(60, 60, 10, 50, 30, 50)
    kept = make_proxy(Observation(keypoints, mask), settings).keypoints[:, 2] > 0
    assert kept.nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 11, 12]
    keypoints[:, 2] = 0.75
    assert (make_proxy(Observation(keypoints, mask), settings).keypoints[:, 2] > 0).all()
    keypoints[:, 2] = 0.19
    assert (make_proxy(Observation(keypoints, mask), settings).keypoints == 0).all()


def test_nothing_seen_gives_the_whole_picture_and_zeros() -> None:
    garbage = torch.full((17, 3), 1e4) * torch.tensor([1, 1, 0.0])
    proxy = make_proxy(Observation(garbage, torch.full((40, 60), 0.4)), SETTINGS)
    assert proxy.box.centre.tolist() == [30, 20] and proxy.box.side.item() == pytest.approx(72)
    assert (proxy.keypoints == 0).all()
    empty = make_proxy(Observation(NOTHING, torch.zeros(40, 60)), SETTINGS)
    assert (empty.silhouette == 0).all()


def test_one_seen_point_is_enough() -> None:
    only = Observation(reported(nose=(20, 30, 1)), torch.zeros(40, 60))
    proxy = make_proxy(only, SETTINGS)
    assert proxy.box.centre.tolist() == [20, 30] and proxy.box.side.item() == pytest.approx(1.2)


def test_a_person_at_the_border_keeps_a_square_box() -> None:
    mask = rectangle(50, 50, 0, 50, 40, 50)
    proxy = make_proxy(Observation(NOTHING, mask), SETTINGS)
    assert proxy.box.centre.tolist() == [45, 25] and proxy.box.side.item() == pytest.approx(60)
    assert proxy.silhouette.max() == pytest.approx(1) and (proxy.silhouette[:, -12:] == 0).all()
    # The mask's area in the square is its area in the picture.
    area = proxy.silhouette.sum() * (60 / 32) ** 2
    assert area.item() == pytest.approx(500, rel=0.02)


def test_moving_and_scaling_the_picture_changes_nothing() -> None:
    mask = rectangle(48, 48, 8, 40, 18, 28)
    keypoints = reported(nose=(20, 12, 1), left_knee=(25, 33, 0.5))
    moved = torch.zeros(150, 200)
    moved[30:126, 70:166] = mask.repeat_interleave(2, 0).repeat_interleave(2, 1)
    shift = (keypoints[:, 2:] > 0) * torch.tensor([70, 30, 0])
    places = keypoints * torch.tensor([2, 2, 1]) + shift
    before = make_proxy(Observation(keypoints, mask), ProxySettings(size=16))
    after = make_proxy(Observation(places, moved), ProxySettings(size=16))
    torch.testing.assert_close(after.keypoints, before.keypoints)
    assert (after.silhouette - before.silhouette).abs().max() < 0.1


def test_batches_are_people_side_by_side() -> None:
    mask = (noise(2, 3, 20, 24) > 0.8).float()
    keypoints = noise(2, 3, 17, 3) * torch.tensor([24, 20, 1])
    whole = make_proxy(Observation(keypoints, mask), SETTINGS)
    one = make_proxy(Observation(keypoints[1, 2], mask[1, 2]), SETTINGS)
    torch.testing.assert_close(whole.silhouette[1, 2], one.silhouette)
    torch.testing.assert_close(whole.keypoints[1, 2], one.keypoints)


def test_a_given_box_is_used() -> None:
    observation = Observation(reported(nose=(10, 10, 1)), torch.ones(20, 20))
    proxy = make_proxy(observation, SETTINGS, square(10, 10, 10))
    assert proxy.box.side == 10 and (proxy.silhouette == 1).all()
    assert proxy.keypoints[0].tolist() == [0, 0, 1]


def test_the_mask_gets_gradients() -> None:
    mask = rectangle(30, 30, 5, 25, 10, 20).requires_grad_()
    make_proxy(Observation(NOTHING, mask), SETTINGS).silhouette.sum().backward()
    assert mask.grad is not None and (mask.grad[5:25, 10:20] > 0).all()


def test_heatmaps_peak_at_their_key_points() -> None:
    keypoints = reported(nose=(0.5 / 8, -3.5 / 8, 0.1), left_hip=(2, 0, 1), right_hip=(0, 0, 0))
    maps = gaussian_heatmaps(keypoints, 16, 2.0)
    peak = maps[0].flatten().argmax()
    assert divmod(peak.item(), 16) == (4, 8) and maps[0].max() == 1
    assert maps[0, 4, 10].item() == pytest.approx(np.exp(-0.5))
    assert maps[COCO17.index("left_hip")].max() < 0.1
    assert (maps[COCO17.index("right_hip")] == 0).all()
    assert (maps[1] == 0).all()


# Edges.


EDGES = ProxySettings(size=32, channel="edges")


def photo(height: int, width: int, seed: int = 0) -> Tensor:
    """Coarse enough to survive resampling."""
    coarse = noise(1, 3, height // 8 + 2, width // 8 + 2, seed=seed)
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")[0]


def seen_in(picture: Tensor, mask: Tensor | None = None) -> Observation:
    mask = torch.zeros(picture.shape[-2:]) if mask is None else mask
    return Observation(NOTHING, mask, picture)


def test_edges_of_an_unmoved_box_are_those_of_the_picture() -> None:
    picture, box = photo(32, 32), square(16, 16, 32)
    proxy = make_proxy(seen_in(picture), EDGES, box)
    assert proxy.edges is not None and proxy.channel("edges") is proxy.edges
    torch.testing.assert_close(proxy.edges, canny(picture), rtol=0, atol=1e-5)
    assert proxy.channel("silhouette") is proxy.silhouette


def test_edges_of_a_photo_are_those_of_its_resized_crop() -> None:
    picture, box = photo(150, 180), square(80, 70, 96)
    proxy = make_proxy(seen_in(picture), EDGES, box)
    crop = torch.stack([resample_square(colour, box, 32) for colour in picture])
    assert proxy.edges is not None
    torch.testing.assert_close(proxy.edges, canny(crop))
    assert (proxy.edges > 0.05).double().mean() > 0.02


def test_the_border_of_a_photo_is_no_edge() -> None:
    flat = torch.tensor([0.9, 0.5, 0.2])[:, None, None].expand(3, 60, 50)
    for box in (square(0, 30, 64), square(50, 60, 40), square(25, 30, 300), square(400, 30, 64)):
        edges = make_proxy(seen_in(flat), EDGES, box).edges
        assert edges is not None and edges.max() < 1e-5, "but for rounding"
        crop = resample_square(flat, Box(box.centre[None], box.side[None]), 32, replicate=True)
        torch.testing.assert_close(crop, flat[:, :32, :32], rtol=0, atol=1e-5)


def test_published_padding_draws_the_border_of_a_photo() -> None:
    flat = torch.tensor([0.9, 0.5, 0.2])[:, None, None].expand(3, 60, 50)
    settings = ProxySettings(size=32, channel="edges", edge_padding="zero")
    edges = make_proxy(seen_in(flat), settings, square(0.7, 30, 64)).edges
    assert edges is not None and (edges[8:24, 13:19].amax(1) > 0.5).all()


def test_beyond_a_photo_there_are_no_edges_and_inside_they_are_its_own() -> None:
    picture = photo(64, 64)
    edges = make_proxy(seen_in(picture), EDGES, square(64, 32, 64)).edges
    assert edges is not None and (edges[:, 16:] == 0).all() and (edges[:, :16] > 0).any()
    whole = make_proxy(seen_in(torch.cat([picture, photo(64, 64, 1)], 2)), EDGES,
                       square(64, 32, 64)).edges  # fmt: skip
    assert whole is not None
    torch.testing.assert_close(edges[:, :10], whole[:, :10], rtol=0, atol=1e-5)


def test_replicated_pictures_go_on_as_their_border() -> None:
    picture = noise(12, 20)
    grown = torch.nn.functional.pad(picture[None, None], (30, 30, 30, 30), "replicate")[0, 0]
    for centre, side in (((0.3, 4.2), 9.7), ((19, 11), 31.0), ((-7, 5), 8.0), ((10, 6), 40.0)):
        ours = resample_square(picture, square(*centre, side), 8, replicate=True)
        theirs = resample_square(grown, square(centre[0] + 30, centre[1] + 30, side), 8)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_drawing_into_the_box_is_the_same_as_resampling_an_unmoved_one() -> None:
    picture, mask = photo(32, 32), (noise(32, 32) > 0.5).float()
    keypoints = reported(nose=(20, 12, 1), left_knee=(25, 33, 0.5), right_knee=(5, 5, 0.1))
    observation = Observation(keypoints, mask, picture)
    drawn = make_drawn_proxy(observation, EDGES)
    resampled = make_proxy(observation, EDGES, square(16, 16, 32))
    for name in ("silhouette", "keypoints", "edges"):
        torch.testing.assert_close(getattr(drawn, name), getattr(resampled, name))
    assert torch.equal(drawn.box.centre, resampled.box.centre)
    assert torch.equal(drawn.box.side, resampled.box.side)


@pytest.mark.parametrize("padding", ["replicate", "zero"])
def test_a_photo_that_ends_in_the_drawing_is_as_one_that_ends_in_the_box(padding: str) -> None:
    picture, mask = photo(32, 32), torch.ones(32, 32)
    settings = ProxySettings(size=32, channel="edges", edge_padding=padding)
    borders = torch.tensor([5.0, -torch.inf, 27.0, 20.0])
    drawn = make_drawn_proxy(Observation(NOTHING, mask, picture), settings, borders)
    cut = Observation(NOTHING, mask[:20, 5:27], picture[:, :20, 5:27])
    resampled = make_proxy(cut, settings, square(11, 16, 32))
    assert drawn.edges is not None and resampled.edges is not None
    torch.testing.assert_close(drawn.edges, resampled.edges, rtol=0, atol=1e-5)
    torch.testing.assert_close(drawn.silhouette, resampled.silhouette, rtol=0, atol=1e-5)
    batch = Observation(*(t.expand(2, 3, *t.shape) for t in (NOTHING, mask, picture)))
    many = make_drawn_proxy(batch, settings, borders.expand(2, 3, 4))
    assert many.edges is not None and torch.equal(many.edges[1, 2], drawn.edges)


def test_edges_need_a_picture_and_settings_are_checked() -> None:
    nothing = Observation(NOTHING, torch.zeros(32, 32))
    with pytest.raises(ValueError, match="wanted an observation with its picture"):
        make_proxy(nothing, EDGES)
    with pytest.raises(ValueError, match="wanted an observation with its picture"):
        make_drawn_proxy(nothing, EDGES)
    with pytest.raises(ValueError, match="wanted pictures drawn at 32 px"):
        make_drawn_proxy(Observation(NOTHING, torch.zeros(30, 32)), EDGES)
    assert make_proxy(nothing, SETTINGS).edges is None
    with pytest.raises(ValueError, match="wanted a proxy with edges, got one without"):
        make_proxy(nothing, SETTINGS).channel("edges")
    with pytest.raises(ValueError, match="channel: wanted silhouette or edges or rgb"):
        make_proxy(nothing, SETTINGS).channel("depth")
    with pytest.raises(ValueError, match="proxy.channel: wanted .* or iuv, got 'depth'"):
        ProxySettings(channel="depth")
    with pytest.raises(ValueError, match="proxy.edge_padding: wanted replicate or zero"):
        ProxySettings(edge_padding="mirror")


# The picture itself.

RGB = ProxySettings(size=32, channel="rgb")


def test_the_picture_of_an_unmoved_box_is_the_picture() -> None:
    picture, box = photo(32, 32), square(16, 16, 32)
    proxy = make_proxy(seen_in(picture), RGB, box)
    assert proxy.rgb is not None and proxy.channel("rgb") is proxy.rgb and proxy.edges is None
    torch.testing.assert_close(proxy.rgb, picture, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="proxy.channel=rgb: wanted an observation with its pict"):
        make_proxy(Observation(NOTHING, torch.zeros(32, 32)), RGB, box)
    with pytest.raises(ValueError, match="wanted a proxy with rgb, got one without"):
        make_proxy(seen_in(picture), SETTINGS).channel("rgb")


def test_every_colour_is_resampled_as_everything_is_and_black_beyond_the_photo() -> None:
    picture, box = photo(150, 180), square(150, 70, 96)
    rgb = make_proxy(seen_in(picture), RGB, box).rgb
    assert rgb is not None
    crop = torch.stack([resample_square(colour, box, 32) for colour in picture])
    torch.testing.assert_close(rgb, crop)
    assert (rgb[:, :, 27:] == 0).all() and (rgb[:, :, :25] > 0).any()


def test_a_picture_drawn_into_the_box_is_black_beyond_the_borders() -> None:
    picture, mask = photo(32, 32), torch.ones(32, 32)
    borders = torch.tensor([5.0, -torch.inf, 27.0, 20.0])
    drawn = make_drawn_proxy(Observation(NOTHING, mask, picture), RGB, borders)
    cut = Observation(NOTHING, mask[:20, 5:27], picture[:, :20, 5:27])
    resampled = make_proxy(cut, RGB, square(11, 16, 32))
    assert drawn.rgb is not None and resampled.rgb is not None
    torch.testing.assert_close(drawn.rgb, resampled.rgb, rtol=0, atol=1e-5)
    whole = make_drawn_proxy(Observation(NOTHING, mask, picture), RGB)
    assert whole.rgb is picture
    mirrored = mirror_proxy(whole)
    assert mirrored.rgb is not None and torch.equal(mirrored.rgb, picture.flip(-1))


# What a network convolves.


def test_heatmaps_can_be_drawn_into_a_tensor_that_is_there() -> None:
    keypoints = 2 * noise(3, 17, 3) - 1
    fresh = gaussian_heatmaps(keypoints, 24, 2.0)
    room = torch.full((3, 17, 24, 24), torch.nan)
    assert gaussian_heatmaps(keypoints, 24, 2.0, out=room) is room
    assert torch.equal(room, fresh)


def test_a_regressors_image_is_its_channel_and_the_heatmaps() -> None:
    keypoints, image = 2 * noise(2, 3, 17, 3) - 1, noise(2, 3, 24, 24)
    stacked = regressor_image(image, keypoints, 2.0)
    assert torch.equal(stacked[:, :, 0], image)
    assert torch.equal(stacked[:, :, 1:], gaussian_heatmaps(keypoints, 24, 2.0))
    room = torch.empty(2, 3, 18, 24, 24)
    assert regressor_image(image, keypoints, 2.0, out=room) is room and torch.equal(room, stacked)


def test_a_mirrored_proxy_has_the_edges_of_the_mirrored_picture() -> None:
    picture, mask = photo(32, 32), (noise(32, 32) > 0.5).float()
    proxy = make_drawn_proxy(Observation(NOTHING, mask, picture), EDGES)
    turned = make_drawn_proxy(Observation(NOTHING, mask.flip(-1), picture.flip(-1)), EDGES)
    mirrored = mirror_proxy(proxy)
    assert torch.equal(mirrored.silhouette, turned.silhouette)
    assert mirrored.edges is not None and turned.edges is not None
    assert torch.equal(mirrored.edges, turned.edges)
    assert mirror_proxy(make_drawn_proxy(Observation(NOTHING, mask), SETTINGS)).edges is None
