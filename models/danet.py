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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plausibody.models.danet_crops import (
    CropSettings,
    JointSquares,
    Squares,
    cut_squares,
    soft_argmax,
)
from plausibody.models.danet_features import HRNetFeatures, LightFeatures
from plausibody.models.danet_graph import PositionAidedGraph
from plausibody.models.danet_streams import (
    LightLocalStreams,
    LocalStreams,
    global_stream,
    joint_head,
    light_global_stream,
    say,
)
from plausibody.models.encoder import Bottleneck
from plausibody.models.iuv import CLASSES, IuvMaps, shown_maps, to_maps
from plausibody.models.part_tables import ANNOTATED15, SHOWN, part_tables
from plausibody.models.prediction import PointPrediction
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.models.regressor import PointRegressor
from plausibody.models.rotations import rot6d_to_rotmat
from plausibody.models.skeleton import SMPL24, SMPL24_PARENTS

BACKBONES = ("hrnet", "light")
STREAMS = ("resnet", "light")
DROP_STAGES = ("post", "published")
READS = ("rgb", "iuv")
"""Channels of proxies from which this network can start."""


@dataclass(frozen=True)
class DanetSettings:
    """The network; as published unless said otherwise."""

    backbone: str = "hrnet"
    """hrnet, or light for CPUs. With the channel iuv it only finds the joints."""
    width: int = 48
    """Channels of the features: 48 or 32 of hrnet, any of light."""
    stride: int = 4
    """Pixels of the picture per pixel of the maps, each way (light; hrnet has 4). With the channel
    iuv the maps are those given, and only features are so much smaller."""
    streams: str = "resnet"
    """resnet, or light for CPUs."""
    crop: int = 56
    """Side of the maps round a joint [px]; light streams want a multiple of 4."""
    features: int = 128
    """Of each joint's rotation."""
    local: bool = True
    """Whether rotations come from local streams; else the global one says them too."""
    graph: bool = True
    """Whether the graph refines features of rotations."""
    refine: bool = True
    """Whether the graph refines positions between its other steps."""
    places: bool = False
    """Ours: whether local streams are told where the joints lie in the picture."""
    partdrop: float = 0.3
    """Probability that a part is dropped in training."""
    partdrop_stage: str = "post"
    """post: from clean maps; published: from scores, with which dropped parts may win."""
    scale_jitter: float = 0.2
    """Whole range of the factor of a square's side in training."""
    centre_jitter: float = 0.1
    """Whole range of its shift along each axis in training [half-squares]."""
    estimator_steps: int = 5000
    """First steps in which only maps and places of joints are learnt, from pictures."""

    def __post_init__(self) -> None:
        known = (("backbone", BACKBONES), ("streams", STREAMS), ("partdrop_stage", DROP_STAGES))
        for name, values in known:
            if (value := getattr(self, name)) not in values:
                raise ValueError(f"danet.{name}: wanted {' or '.join(values)}, got {value!r}")
        if not 0 <= self.partdrop < 1:
            raise ValueError(f"danet.partdrop: wanted a probability below 1, got {self.partdrop}")
        for name in ("width", "stride", "crop", "features"):
            if getattr(self, name) < 1:
                raise ValueError(f"danet.{name}: wanted at least 1, got {getattr(self, name)}")
        if self.estimator_steps < 0:
            raise ValueError(f"danet.estimator_steps: wanted 0 or more, got {self.estimator_steps}")
        if self.streams == "light" and self.crop % 4:
            raise ValueError(f"danet.crop: light streams want a multiple of 4, got {self.crop}")

    def map_size(self, proxy: ProxySettings) -> int:
        """Gives the side of the maps of the whole [px]."""
        if proxy.channel == "iuv":
            return proxy.size
        return proxy.size // (4 if self.backbone == "hrnet" else self.stride)


@dataclass(frozen=True)
class DanetEstimate:
    """What the network believes on its way, before anything is dropped."""

    centres: Float[Tensor, "batch J 2"]
    """Of the joints [half-squares of the box]."""
    squares: Squares
    """Round the joints, in which partial maps are."""
    maps: IuvMaps | None
    """Scores of 25 classes, u and v; None where they are given."""
    annotation: Float[Tensor, "batch 15 H W"] | None
    """Scores of the annotators' classes."""
    partial: IuvMaps | None
    """Scores of 7 classes, u and v, [batch, J, 7, H, W]."""
    first_rotations: Float[Tensor, "batch J 3 3"] | None = None
    """As the local streams say them, before the graph."""
    positions: Float[Tensor, "batch P J 3"] | None = None
    """Of the joints in the body's frame [m], before and after their refinement."""

    def table(self) -> dict[str, Tensor]:
        """Gives all that is known as tensors by name, which several processes can exchange."""
        known = {
            "centres": self.centres,
            "square.centre": self.squares.centre,
            "square.half": self.squares.half,
            "annotation": self.annotation,
            "first_rotations": self.first_rotations,
            "positions": self.positions,
        }
        for name, maps in (("maps", self.maps), ("partial", self.partial)):
            if maps is not None:
                known |= {f"{name}.u": maps.u, f"{name}.v": maps.v, f"{name}.index": maps.index}
        return {name: tensor for name, tensor in known.items() if tensor is not None}

    @classmethod
    def of_table(cls, table: Mapping[str, Tensor]) -> DanetEstimate:
        """Undoes `table`."""

        def maps(name: str) -> IuvMaps | None:
            if f"{name}.u" not in table:
                return None
            return IuvMaps(*(table[f"{name}.{plane}"] for plane in ("u", "v", "index")))

        return cls(
            centres=table["centres"],
            squares=Squares(table["square.centre"], table["square.half"]),
            maps=maps("maps"),
            annotation=table.get("annotation"),
            partial=maps("partial"),
            first_rotations=table.get("first_rotations"),
            positions=table.get("positions"),
        )


@dataclass(frozen=True)
class DanetPrediction(PointPrediction):
    """A body, and in training what led to it."""

    estimate: DanetEstimate | None = None


class IuvHeads(nn.Module):
    """From features to maps of parts, of the annotators' classes, of joints, and of their parts."""

    def __init__(self, planes: int, joints: int, whole: bool = True):
        """Args:
        planes: Of the features.
        joints: How many.
        whole: Whether maps are estimated at all, or only joints.
        """
        super().__init__()
        narrow = planes // Bottleneck.expansion
        blocks = (Bottleneck(planes, narrow) for _ in range(3))
        self.predict_hm = nn.Sequential(nn.Sequential(*blocks), _head(planes, joints))
        self.joints = joints
        if not whole:
            return
        self.predict_u = _head(planes, CLASSES)
        self.predict_v = _head(planes, CLASSES)
        self.predict_uv_index = _head(planes, CLASSES)
        self.predict_ann_index = _head(planes, max(ANNOTATED15) + 1)
        self.predict_partial_iuv = nn.Conv2d(
            joints * planes, joints * 3 * (SHOWN + 1), 3, padding=1, groups=joints
        )

    def maps(self, features: Float[Tensor, "batch C H W"]) -> IuvMaps:
        return IuvMaps(
            u=self.predict_u(features),
            v=self.predict_v(features),
            index=self.predict_uv_index(features),
        )

    def partial(self, features: Float[Tensor, "batch J C H W"]) -> IuvMaps:
        """Gives maps of the parts round each joint, of features cut out there."""
        found = self.predict_partial_iuv(features.flatten(1, 2))
        u, v, index = found.unflatten(1, (self.joints, 3, SHOWN + 1)).unbind(2)
        return IuvMaps(u=u, v=v, index=index)


class DanetStreams(nn.Module):
    """From clean maps to numbers; parameters have the published names."""

    def __init__(
        self,
        settings: DanetSettings,
        side: int,
        joints: Sequence[str],
        parents: Sequence[int],
        shape_count: int,
    ):
        """Args:
        settings: Of the network.
        side: Of the maps of the whole [px].
        joints: Names of joints.
        parents: Of each joint, -1 for the root.
        shape_count: Coefficients.
        """
        super().__init__()
        self.settings, count, features = settings, len(joints), settings.features
        planes, light = 3 * CLASSES, settings.streams == "light"
        outputs = 3 + shape_count + (0 if settings.local else 6 * count)
        width = max(settings.width, 32)
        self.body_net = (
            light_global_stream(planes, outputs, width, side)
            if light
            else global_stream(planes, outputs)
        )
        if not settings.local:
            return
        few = 3 * (SHOWN + 1)
        streams = (
            LightLocalStreams(count, few, features, 32, settings.crop)
            if light
            else LocalStreams(count, few, features)
        )
        self.limb_net: nn.Module = streams
        if settings.places:
            self.places = nn.Linear(3 * count, count * features)
        heads = [joint_head(count, features, 6)]
        if settings.graph:
            self.graph = PositionAidedGraph(features, parents, joints, settings.refine)
            heads.append(joint_head(count, features, 6))
            self.coord_regressors = nn.ModuleList(
                joint_head(count, features, 3) for _ in range(1 + settings.refine)
            )
        self.pose_regressors = nn.ModuleList(heads)

    def forward(
        self, whole: IuvMaps, partial: IuvMaps | None, squares: Squares
    ) -> tuple[
        Float[Tensor, "batch parameters"],
        Float[Tensor, "batch J 6"] | None,
        Float[Tensor, "batch P J 3"] | None,
    ]:
        """Gives what is added to where the estimate starts: [camera 3, pose, shape].

        Args:
            whole: Clean maps.
            partial: Clean maps of the parts round each joint.
            squares: Where these are.

        Returns:
            The numbers; rotations before the graph, likewise less their start; and positions.
        """
        said = self.body_net(whole.stack())
        if partial is None:
            return said, None, None
        features = self.limb_net(partial.stack())
        if self.settings.places:
            where = torch.cat([squares.centre, squares.half[..., None]], -1).flatten(1)
            features = features + self.places(where.to(features.dtype)).view_as(features)
        first: Tensor | None = None
        positions: Tensor | None = None
        if self.settings.graph:
            first = say(self.pose_regressors[0], features)
            refined = self.graph(features)
            heads, found = list(self.coord_regressors), [refined.positions, refined.refined]
            places = [say(head, each) for head, each in zip(heads, found, strict=False)]
            positions = torch.stack(places, 1)
            features = refined.rotations
        pose = say(self.pose_regressors[-1], features)
        return torch.cat([said[:, :3], pose.flatten(1), said[:, 3:]], 1), first, positions


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


def _head(planes: int, classes: int) -> nn.Conv2d:
    return nn.Conv2d(planes, classes, 3, padding=1)
