"""Ranking of samples: the true body first, by key points and by mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from plausibody.models.body import regress
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.crop import Box
from plausibody.models.fisher import MatrixFisher
from plausibody.models.prediction import FisherPrediction
from plausibody.models.proxy import Proxy, ProxySettings, make_proxy
from plausibody.models.records import concatenate, map_tensors, take
from plausibody.models.shapes import ShapeGaussian
from plausibody.predict.ranking import mask_agreement, photo_part, rank_samples
from plausibody.synth.stores import SynthAssets

TRUE = 5
"""Place of the true body among the samples."""


class Scene:
    """The known person, as a batch of one, and guesses of a vague prediction."""

    def __init__(self, known: Any, assets: SynthAssets, size: int = 96):
        self.proxy = batched(make_proxy(known.person.observation(), ProxySettings(size=size)))
        self.truth = batched(known.parameters)
        self.template, self.coco17 = assets.template, assets.regressors.coco17
        self.camera = WeakPerspectiveCamera.from_vector(known.answer()[None, :3])
        prediction = FisherPrediction(
            camera=self.camera,
            root=self.truth.rotations[:, 0],
            joints=MatrixFisher(20 * self.truth.rotations[:, 1:]),
            shape=ShapeGaussian.independent(self.truth.shape, torch.ones(1, 10)),
        )
        guesses = prediction.sample(11, torch.Generator().manual_seed(0))
        true = map_tensors(self.truth, lambda t: t[None])
        self.samples = concatenate(
            [take(guesses, slice(0, TRUE)), true, take(guesses, slice(TRUE, 11))]
        )

    def rank(self, **options: Any) -> Any:
        arguments = {"samples": self.samples, "proxy": self.proxy} | options
        return rank_samples(
            arguments.pop("samples"), self.camera, arguments.pop("proxy"), self.template,
            self.coco17, **arguments,
        )  # fmt: skip


def batched(record: Any) -> Any:
    return map_tensors(record, lambda tensor: tensor[None])


@pytest.fixture(scope="module")
def scene(known_person: Any, assets: SynthAssets) -> Scene:
    return Scene(known_person, assets)


def blind(proxy: Proxy) -> Proxy:
    return replace(proxy, keypoints=torch.zeros_like(proxy.keypoints))


@pytest.mark.parametrize("error", ["mean", "worst"])
@pytest.mark.parametrize("mask_weight", [0.0, 0.5, 20.0])
def test_the_true_body_comes_first(scene: Scene, mask_weight: float, error: str) -> None:
    ranked = scene.rank(mask_weight=mask_weight, error=error)
    assert ranked.order[0, 0] == TRUE
    assert torch.equal(ranked.samples.rotations[0], scene.truth.rotations)
    assert ranked.keypoints.worst[0, 0] < 1e-3 and ranked.overlap[0, 0] > 0.95
    assert ranked.overlap[1:].max() < 0.9 and ranked.keypoints.worst[1:].min() > 0.05
    assert (ranked.score.diff(dim=0) >= 0).all()
    distance = getattr(ranked.keypoints, error)
    score = distance + mask_weight * (1 - ranked.overlap)
    torch.testing.assert_close(ranked.score, score)
    assert sorted(ranked.order[:, 0].tolist()) == list(range(12))


def test_without_key_points_the_mask_decides(scene: Scene) -> None:
    ranked = scene.rank(proxy=blind(scene.proxy))
    assert ranked.order[0, 0] == TRUE and ranked.keypoints.worst.isnan().all()
    assert (ranked.overlap.diff(dim=0) <= 0).all()


def test_equal_ones_keep_their_order(scene: Scene) -> None:
    """Where nothing was seen, and where samples are the same."""
    nothing = replace(blind(scene.proxy), silhouette=torch.zeros_like(scene.proxy.silhouette))
    assert scene.rank(proxy=nothing).order[:, 0].tolist() == list(range(12))
    same = map_tensors(scene.samples, lambda t: t[[3, TRUE, 3, TRUE, 3]])
    assert scene.rank(samples=same).order[:, 0].tolist() == [1, 3, 0, 2, 4]


def test_everything_is_reordered_alike(scene: Scene) -> None:
    """The samples' own agreement, in their new order, is what the result says of them."""
    ranked = scene.rank()
    again = scene.rank(samples=ranked.samples)
    assert again.order[:, 0].tolist() == list(range(12))
    torch.testing.assert_close(again.score, ranked.score)
    torch.testing.assert_close(again.overlap, ranked.overlap)
    torch.testing.assert_close(again.keypoints.mean, ranked.keypoints.mean)
    moved = scene.samples.shape[ranked.order[:, 0]]
    assert torch.equal(moved, ranked.samples.shape)


def test_people_are_ranked_each_by_themselves(scene: Scene) -> None:
    """Two people in a batch, the second with samples in another order and without key points."""
    turned = map_tensors(scene.samples, lambda t: torch.cat([t, t.flip(0)], 1))
    both = concatenate([scene.proxy, blind(scene.proxy)])
    camera = concatenate([scene.camera, scene.camera])
    ranked = rank_samples(turned, camera, both, scene.template, scene.coco17)
    assert ranked.order[0].tolist() == [TRUE, 11 - TRUE]
    alone = scene.rank()
    assert torch.equal(ranked.order[:, 0], alone.order[:, 0])
    torch.testing.assert_close(ranked.score[:, :1], alone.score)


def test_masks_are_compared_by_area(scene: Scene) -> None:
    """A square of 4 x 4 pixels against one of 4 x 4 that is shifted by 2: 8 of 24 pixels."""
    corners = torch.tensor([[2.0, 2], [6, 2], [6, 6], [2, 6]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    places = (corners / 4 - 1).expand(1, 1, 4, 2)
    silhouette = torch.zeros(1, 8, 8)
    silhouette[0, 2:6, 4:8] = 0.9
    assert mask_agreement(places, faces, silhouette).item() == pytest.approx(8 / 24)
    left = (torch.arange(8) < 6).expand(1, 8, 8)
    assert mask_agreement(places, faces, silhouette, left).item() == pytest.approx(8 / 16)
    silhouette[:] = 0
    assert mask_agreement(places, faces, silhouette).item() == 0


def test_what_lies_beyond_the_photo_is_not_held_against_a_body(
    known_person: Any, assets: SynthAssets
) -> None:
    """The lower half of the person is cut off; the box goes on below the photo."""
    half = known_person.cut(150)
    whole = make_proxy(known_person.person.observation(), ProxySettings())
    cut = batched(make_proxy(half.person.observation(), ProxySettings(), whole.box))
    scene = Scene(known_person, assets)
    inside = photo_part(cut.box, half.size, 96)
    assert inside.shape == (1, 96, 96) and inside[0, 30].any() and not inside[0, -1].any()
    with_border = scene.rank(proxy=cut, inside=inside)
    assert with_border.order[0, 0] == TRUE and with_border.overlap[0, 0] > 0.95
    assert scene.rank(proxy=cut).overlap.max() < 0.8


def test_borders_are_where_the_photo_ends() -> None:
    """A photo of 20 x 10 px, and a box of 20 px round (10, 0), drawn with 2 pixels a pixel."""
    box = Box(centre=torch.tensor([10.0, 0.0]), side=torch.tensor(20.0))
    inside = photo_part(box, (5, 10), 40)
    rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    assert (int(rows[0]), int(rows[-1])) == (20, 29)
    assert (int(columns[0]), int(columns[-1])) == (0, 19)
    assert int(inside.sum()) == 10 * 20


def test_negative_weights_are_refused(scene: Scene) -> None:
    with pytest.raises(ValueError, match="mask_weight: wanted 0 or more, got -1"):
        scene.rank(mask_weight=-1.0)


def test_the_regressor_of_key_points_is_applied_to_each_sample(scene: Scene) -> None:
    ranked = scene.rank(mask_weight=0.0)
    vertices = ranked.samples.posed(scene.template).vertices
    places = scene.camera.project(regress(scene.coco17, vertices))
    gap: Tensor = (places - scene.proxy.keypoints[..., :2]).norm(dim=-1)
    torch.testing.assert_close(ranked.keypoints.worst, gap.amax(-1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ranked.keypoints.mean, gap.mean(-1), atol=1e-5, rtol=1e-4)
