"""IUV pictures of drawn people: what they show, what is spoilt, and what streams hand over."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from plausibody.contact_sheet import contact_sheet
from plausibody.models.body import PosedBody, pose_body
from plausibody.models.crop import Box
from plausibody.models.part_tables import MIRROR25
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.predict.drawing.iuv import colour_iuv
from plausibody.synth.chance import Chance
from plausibody.synth.charts import PART14_OF_24, Chart
from plausibody.synth.generator import BatchGenerator, StreamSettings
from plausibody.synth.iuv import (
    FRONT_BACK,
    DenseSettings,
    IuvFaults,
    coarse_chart,
    dense_target,
    draw_iuv,
    spoil_iuv,
)
from plausibody.synth.stores import SynthAssets

SIZE = 48
CLEAN = IuvFaults(sides=0.0, fronts=0.0, shift=0.0, noise=0.0, lost=0.0)


def at_rest(assets: SynthAssets, mirrored: bool = False) -> tuple[PosedBody, Tensor]:
    """The body at rest, and its coarse vertices in a picture; mirrored, with the left arm up."""
    still = torch.eye(3).expand(1, 24, 3, 3)
    body = pose_body(assets.coarse.skin, torch.zeros(1, 10), still)
    drawn = body.vertices[:, : assets.coarse.drawn]
    flat = drawn[..., :2] * drawn.new_tensor([-1.0 if mirrored else 1.0, -1.0])
    return body, torch.cat([flat * 20 + SIZE / 2, 10 - drawn[..., 2:]], -1)


@pytest.fixture(scope="module")
def chart(assets: SynthAssets) -> Chart:
    assert assets.chart is not None
    return coarse_chart(assets.chart, assets.template, assets.coarse)


def spoilt(iuv: Tensor, faults: IuvFaults) -> Tensor:
    count = len(iuv)
    proxy = Proxy(
        silhouette=torch.zeros(count, *iuv.shape[2:]),
        keypoints=torch.zeros(count, 17, 3),
        box=Box(torch.zeros(count, 2), torch.ones(count)),
        iuv=iuv,
    )
    found = spoil_iuv(Chance(0, torch.arange(count)), proxy, faults).iuv
    assert found is not None
    return found


def contains(sheet: Tensor, picture: Tensor) -> bool:
    """Tells whether a picture is a part of a sheet, pixel by pixel."""
    height, width = picture.shape[-2:]
    windows = sheet.unfold(1, height, 1).unfold(2, width, 1)
    return bool((windows == picture[:, None, None]).all((0, 3, 4)).any())


def test_a_drawn_body_shows_parts_and_places_and_nothing_beside_it(
    assets: SynthAssets, chart: Chart
) -> None:
    body, pixels = at_rest(assets)
    (iuv,) = draw_iuv(pixels, body.vertices[:, : assets.coarse.drawn], chart, SIZE)
    seen = iuv[0] > 0
    assert seen.sum() > 100 and set(iuv[0][seen].tolist()) <= set(range(1, 25))
    assert (iuv[1:] >= 0).all() and (iuv[1:] <= 1).all() and not iuv[1:, ~seen].any()
    # Its left is to the right of the picture, and what is seen of limbs is their front.
    arm = torch.isin(iuv[0], torch.tensor([15.0, 19.0])).nonzero()
    assert len(arm) and bool((arm[:, 1] > SIZE / 2).all())


def test_the_parts_of_a_mirrored_body_are_the_mirror_images(
    assets: SynthAssets, chart: Chart
) -> None:
    body, pixels = at_rest(assets)
    (ahead,) = draw_iuv(pixels, body.vertices[:, : assets.coarse.drawn], chart, SIZE)[:, 0].long()
    mirrored = torch.tensor(MIRROR25)[ahead.flip(-1)]
    same = (mirrored == ahead)[(mirrored > 0) | (ahead > 0)].float().mean()
    assert float(same) > 0.9  # the mesh itself is not quite symmetric
    assert [PART14_OF_24[part] for part in (4, 3)] == [12, 11]


def test_faces_of_the_coarse_mesh_do_not_cross_charts(chart: Chart) -> None:
    corners = chart.corners
    span = (corners.amax(1) - corners.amin(1)).amax(1)
    assert float(span.mean()) < 0.2 and float((span > 0.5).float().mean()) < 0.01
    assert float(corners.min()) >= 0 and float(corners.max()) <= 1


def test_pictures_without_faults_stay_as_they_are() -> None:
    part = torch.randint(0, 25, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    iuv = torch.cat([part, torch.rand(3, 2, 8, 8) * (part > 0)], 1)
    assert torch.equal(spoilt(iuv, CLEAN), iuv)


def test_sides_and_fronts_are_confused_as_often_as_told() -> None:
    every = torch.arange(25.0).view(1, 1, 5, 5).expand(4000, 1, 5, 5)
    iuv = torch.cat([every, torch.zeros(4000, 2, 5, 5)], 1)
    crossed = spoilt(iuv, dataclasses.replace(CLEAN, sides=0.25))[:, 0].flatten(1).long()
    mirror = torch.tensor(MIRROR25)
    paired = mirror != torch.arange(25)
    wrong = crossed != torch.arange(25)
    assert (
        torch.equal(crossed[wrong], mirror.expand(4000, -1)[wrong]) and not wrong[:, ~paired].any()
    )
    assert float(wrong[:, paired].float().mean()) == pytest.approx(0.25, abs=0.01)
    assert torch.equal(wrong[:, 3], wrong[:, 4])  # both hands at once
    turned = spoilt(iuv, dataclasses.replace(CLEAN, fronts=1.0))[0, 0].flatten().long()
    assert turned[1:].tolist() == list(FRONT_BACK) and turned[7] == 9 and turned[3] == 3


def test_places_and_pixels_are_spoilt_as_much_as_told() -> None:
    iuv = torch.full((300, 3, 8, 8), 0.5)
    iuv[:, 0] = 2
    noisy = spoilt(iuv, dataclasses.replace(CLEAN, noise=0.05))
    assert float((noisy[:, 1:] - 0.5).std()) == pytest.approx(0.05, rel=0.02)
    shifted = spoilt(iuv, dataclasses.replace(CLEAN, shift=0.05))[:, 1:]
    assert torch.equal(shifted, shifted[..., :1, :1].expand_as(shifted))
    assert float(shifted[..., 0, 0].std()) == pytest.approx(0.05, rel=0.15)
    lost = spoilt(iuv, dataclasses.replace(CLEAN, lost=0.3))
    assert float((lost[:, 0] == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert not lost[:, 1:][(lost[:, :1] == 0).expand(-1, 2, -1, -1)].any()


def test_targets_are_amodal_or_modal_as_asked_for() -> None:
    iuv, seen = torch.ones(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.bool)
    seen[..., :4] = True
    box, joints = Box(torch.full((1, 2), 4.0), torch.full((1,), 8.0)), torch.tensor([[[8.0, 4.0]]])
    whole = dense_target(iuv, seen, box, joints, DenseSettings(4))
    left = dense_target(iuv, seen, box, joints, DenseSettings(4, "modal"))
    assert whole is not None and left is not None
    assert whole.iuv.eq(1).all() and torch.equal(left.iuv[0, 0], seen[0, ::2, ::2].float())
    assert whole.joints.tolist() == [[[1.0, 0.0]]]
    assert dense_target(iuv, seen, box, joints, DenseSettings()) is None
    with pytest.raises(ValueError, match=r"dense\.kind"):
        DenseSettings(4, "visible")
    with pytest.raises(ValueError, match=r"dense\.size"):
        DenseSettings(-1)


@pytest.mark.parametrize("people", [0.0, 0.5])
def test_the_lite_stream_draws_iuv_where_its_masks_are(assets: SynthAssets, people: float) -> None:
    occlusion = dataclasses.replace(
        StreamSettings().lite.occlusion,
        people=dataclasses.replace(StreamSettings().lite.occlusion.people, present=people),
    )
    lite = dataclasses.replace(StreamSettings().lite, frame=40, occlusion=occlusion)
    stream = StreamSettings(lite=lite, dense=DenseSettings(24), iuv=CLEAN)
    generator = BatchGenerator.of(stream, ProxySettings(size=24, channel="iuv"), assets, 16)
    batch = generator.samples(64, 16)
    plain = BatchGenerator.of(
        dataclasses.replace(stream, dense=DenseSettings()), ProxySettings(size=24), assets, 16
    ).samples(64, 16)
    iuv, dense = batch.proxy.iuv, batch.target.dense
    assert iuv is not None and dense is not None
    assert torch.equal(batch.proxy.keypoints, plain.proxy.keypoints)
    there = iuv[:, 0] > 0
    assert there.any() and bool((batch.proxy.silhouette[there] > 0).all())
    whole = dense.iuv[:, 0] > 0
    sheet, bare = contact_sheet(batch, 24), contact_sheet(plain, 24)
    assert sheet.shape[2] > bare.shape[2]  # what is read and what is true have a column each
    for iuv_of in (iuv, dense.iuv):
        assert contains(sheet, colour_iuv(iuv_of[0]))
    assert whole.sum() > there.sum() and torch.equal(
        iuv[there[:, None].expand_as(iuv)], dense.iuv[there[:, None].expand_as(iuv)]
    )
    # Joints lie where COCO's do: wrists to a fifth of the box.
    wrists = (dense.joints[:, 20:22] - batch.target.keypoints[:, 9:11]).norm(dim=-1)
    assert float(wrists.median()) < 0.2


def test_streams_that_draw_no_iuv_say_so(assets: SynthAssets) -> None:
    stream = StreamSettings(recipe="straps", dense=DenseSettings(24))
    with pytest.raises(ValueError, match=r"stream\.dense\.size: the recipe straps"):
        BatchGenerator.of(stream, ProxySettings(size=256), assets, 4)
