"""DaNet: bodies from dense body parts, by IUV maps of the whole and of the surroundings of joints.

A picture becomes IUV maps and places of joints; squares round the joints become IUV maps of the
parts there. A global stream reads the maps of the whole and says camera and shape; local streams
read those of the parts and say rotations, refined by a graph over the joints. With the channel
`iuv` the maps are given, by a renderer or by DensePose, and only the places of joints are
estimated.

In training, channels of whole parts are dropped by chance (PartDrop), so that no part is relied
on. The published code multiplies the scores of dropped parts by 0 before the best class is chosen,
which lets dropped parts win where all other scores are negative; here they are dropped after that,
unless `partdrop_stage` is `published`.

Source: Zhang et al., "Learning 3D Human Shape and Pose from Dense Body Parts", 2020, and its
released code, https://github.com/HongwenZhang/DaNet-DensePose2SMPL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plausibody.models.danet_crops import CropSettings, JointSquares, cut_squares, soft_argmax
from plausibody.models.danet_estimate import DanetEstimate, DanetPrediction
from plausibody.models.danet_features import HRNetFeatures, LightFeatures
from plausibody.models.danet_heads import IuvHeads
from plausibody.models.danet_settings import READS, DanetSettings
from plausibody.models.danet_streams import DanetStreams
from plausibody.models.iuv import CLASSES, IuvMaps, shown_maps, to_maps
from plausibody.models.part_tables import part_tables
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.models.regressor import PointRegressor
from plausibody.models.rotations import rot6d_to_rotmat
from plausibody.models.skeleton import SMPL24, SMPL24_PARENTS


class DanetRegressor(PointRegressor):
    """The whole network; see the module."""

    def __init__(
        self,
        settings: DanetSettings,
        proxy: ProxySettings,
        mean_rotations: Float[Tensor, "J 3 3"],
        shape_count: int,
        parents: Sequence[int] = SMPL24_PARENTS,
        published: bool = False,
    ):
        """Args:
        settings: Of the network.
        proxy: What is read: rgb or iuv.
        mean_rotations: Where the estimate starts; the root is set to face the camera.
        shape_count: Coefficients.
        parents: Of each joint, -1 for the root.
        published: Whether places are counted as in the published code; see `danet_crops`.

        Raises:
            ValueError: If the proxy has another channel, or a size that does not fit.
        """
        if proxy.channel not in READS:
            raise ValueError(
                f"proxy.channel: danet reads {' or '.join(READS)}, got {proxy.channel}; "
                "do: --set proxy.channel=rgb"
            )
        joints, given = tuple(SMPL24), proxy.channel == "iuv"
        if len(parents) != len(joints):
            raise ValueError(f"parents: wanted those of SMPL's 24 joints, got {len(parents)}")
        super().__init__(_features(settings, given), mean_rotations, shape_count, proxy.channel)
        self.image_encoder: nn.Module
        self.settings, self.published = settings, published
        tables = part_tables(joints, tuple(parents))
        self.register_buffer("shown", tables.shown, persistent=False)
        self.heads = IuvHeads(settings.width, len(joints), whole=not given)
        jitter = CropSettings(settings.scale_jitter, settings.centre_jitter)
        self.squares = JointSquares(tables, jitter, published)
        side = settings.map_size(proxy)
        self.streams = DanetStreams(settings, side, joints, parents, shape_count)

    shown: Tensor

    @property
    def mirrors(self) -> bool:
        """IUV pictures have no mirror images: how u and v change is not known of every chart."""
        return self.channel != "iuv"

    def forward(  # type: ignore[override]
        self,
        image: Float[Tensor, "batch 3 size size"],
        keypoints: Float[Tensor, "batch 17 3"],
        generator: torch.Generator | None = None,
        estimator_only: bool = False,
    ) -> Float[Tensor, "batch parameters"] | dict[str, Tensor]:
        """Gives the vector of numbers; in training a table of `vector` and what led to it.

        Args:
            image: Colours, or an IUV picture.
            keypoints: Nobody looks at them.
            generator: Of what is dropped and moved in training, on the network's device; None to
                predict.
            estimator_only: Whether only maps and places of joints are learnt now.
        """
        estimate, whole, partial = self.estimate(image, generator)
        if generator is None:
            return self._numbers(estimate, whole, partial)[0]
        if estimator_only:
            # All parameters take part, with gradients of 0, as several processes must agree on.
            idle = torch.stack([each.sum() for each in self.streams.parameters()]).sum()
            return {"vector": self.initial.expand(len(image), -1) + 0 * idle, **estimate.table()}
        whole, partial = self._drop(estimate, whole, partial, generator)
        vector, first, positions = self._numbers(estimate, whole, partial)
        if first is not None:
            start = self.initial[3 : 3 + 6 * self.joint_count].unflatten(0, (-1, 6))
            first = rot6d_to_rotmat(first.float() + start)
        estimate = replace(estimate, first_rotations=first, positions=positions)
        return {"vector": vector, **estimate.table()}

    def estimate(
        self, image: Float[Tensor, "batch 3 size size"], generator: torch.Generator | None = None
    ) -> tuple[DanetEstimate, IuvMaps, IuvMaps]:
        """Finds maps and joints.

        Args:
            generator: Moves squares as in training; None does not.

        Returns:
            What is believed; clean maps of the whole; and clean maps round the joints.
        """
        given = self.channel == "iuv"
        maps = to_maps(image) if given else None
        features = self.image_encoder(image if maps is None else maps.stack())
        centres = soft_argmax(self.heads.predict_hm(features), self.published)
        scores = None if given else self.heads.maps(features)
        whole = maps if scores is None else scores.clean()
        assert whole is not None
        squares = self.squares(centres, whole.index, generator)
        crop, published = self.settings.crop, self.published
        if scores is None:
            cut = cut_squares(image, squares, crop, published, nearest=True)
            estimate = DanetEstimate(centres, squares, None, None, None)
            return estimate, whole, shown_maps(cut, self.shown)
        partial = self.heads.partial(cut_squares(features, squares, crop, published))
        annotation = self.heads.predict_ann_index(features)
        estimate = DanetEstimate(centres, squares, scores, annotation, partial)
        return estimate, whole, partial.clean()

    def _drop(
        self,
        estimate: DanetEstimate,
        whole: IuvMaps,
        partial: IuvMaps,
        generator: torch.Generator,
    ) -> tuple[IuvMaps, IuvMaps]:
        """Drops parts, the same from maps of the whole and round the joints."""
        if not self.settings.partdrop:
            return whole, partial
        keep = draw_kept(len(whole.u), self.settings.partdrop, generator).to(whole.u.dtype)
        near = torch.cat([torch.ones_like(keep[:, None, :1]).expand(-1, len(self.shown), -1),
                          keep[:, self.shown]], -1)  # fmt: skip
        if self.settings.partdrop_stage == "post" or estimate.maps is None:
            return whole.times(keep), partial.times(near)
        assert estimate.partial is not None
        return estimate.maps.times(keep).clean(), estimate.partial.times(near).clean()

    def _numbers(
        self, estimate: DanetEstimate, whole: IuvMaps, partial: IuvMaps
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Runs the streams; gives the vector, rotations before the graph, and positions."""
        around = partial if self.settings.local else None
        said, first, positions = self.streams(whole, around, estimate.squares)
        if around is None:  # [camera, shape, pose], as the global stream says them
            shapes = self.initial.numel() - 3 - 6 * self.joint_count
            camera, shape, pose = said.split((3, shapes, 6 * self.joint_count), 1)
            said = torch.cat([camera, pose, shape], 1)
        return said.float() + self.initial, first, positions

    def lesson(self, proxy: Proxy, step: int, generator: torch.Generator) -> tuple[Any, ...]:
        first = self.channel == "rgb" and step < self.settings.estimator_steps
        return (*self.inputs(proxy), generator, first)

    def vector_of(self, answer: Any) -> Float[Tensor, "batch parameters"]:
        vector: Tensor = answer["vector"]
        return vector

    def read_lesson(
        self, answer: Any, vector: Float[Tensor, "batch parameters"]
    ) -> DanetPrediction:
        said = self.read(vector)
        return DanetPrediction(said.camera, said.parameters, DanetEstimate.of_table(answer))


def draw_kept(batch: int, rate: float, generator: torch.Generator) -> Float[Tensor, "batch 25"]:
    """Draws which parts are kept, 1 or 0; the background, 0, always is.

    Args:
        rate: Probability that a part is dropped.
    """
    drawn = torch.rand(batch, CLASSES, generator=generator, device=generator.device)
    drawn[:, 0] = 1
    return (drawn >= rate).float()


def _features(settings: DanetSettings, given: bool) -> HRNetFeatures | LightFeatures:
    if settings.backbone == "hrnet" and not given:
        return HRNetFeatures(settings.width)
    planes = 3 * CLASSES if given else 3
    return LightFeatures(planes, settings.width, settings.stride, colours=not given)
