"""The `hierprob` recipe: textured people before backgrounds, seen as edges and key points.

Source: Sengupta et al., "Hierarchical Kinematic Probability Distributions for 3D Human Shape and
Pose Estimation from Images in the Wild", 2021, and its released code and configuration. HuManiFlow
(2023) uses the same. Where the release has a defect we correct it:

- The orientation that is the target is the one that is rendered; the release mirrors its
  distribution, by turning the stored root about x from the wrong side. And it is drawn by the
  recipe (yaw uniform), as our pose stores have none; the released file carries its data sets'.
- Every person has a light of their own; the release draws one for a whole batch.
- Parts are looked up face by face; the release interpolates their numbers, and pixels between two
  parts get a third one.
- People are rendered straight into the crop, not cut out of a picture and resampled. The box is
  put round the vertices in the picture instead of round labelled pixels: the same to a pixel.
- A box that leaves the picture sees no edges beyond its border, nor the border itself; the release
  pastes black there, whose outline the detector finds. `proxy.edge_padding=zero` does that too.

Of `settings.channels`, `rgb` and `silhouette` show what is left of the person, within the picture:
beyond it both are 0. Everything else is drawn in the whole crop, before parts go missing.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import max_pool2d
from torch.profiler import record_function

from plausibody.models.crop import inside_borders
from plausibody.models.losses import Target, TargetMaps
from plausibody.models.proxy import Observation, ProxySettings, make_drawn_proxy
from plausibody.models.records import concatenate, take, to_device
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.corrupt import rectangles
from plausibody.synth.genders import with_genders
from plausibody.synth.hierprob_scene import CHANNELS, HierprobSettings, Scene, Scenes
from plausibody.synth.iuv import DenseSettings, IuvFaults, dense_target, spoil_iuv
from plausibody.synth.joint_sight import IN_SIGHT
from plausibody.synth.looks import Looks
from plausibody.synth.measured import MeasuredModel, Truth, corrupt_keypoints
from plausibody.synth.measured_file import choose_measured
from plausibody.synth.removal import count_parts, keep_labels, too_little_seen
from plausibody.synth.render import Rendering, render
from plausibody.synth.semantic_maps import draw_label_maps
from plausibody.synth.shading import OUTPUTS
from plausibody.synth.stores import SynthAssets
from plausibody.synth.target_maps import MapSettings

__all__ = ["CHANNELS", "HierprobRecipe", "HierprobSettings"]

CHUNK = 8
"""People drawn at a time on a CPU: their pictures then stay in its cache."""


class HierprobRecipe:
    """Makes samples from their numbers."""

    def __init__(
        self,
        settings: HierprobSettings,
        proxy: ProxySettings,
        seed: int,
        assets: SynthAssets,
        looks: Looks,
        backend: str = "auto",
        measured: MeasuredModel | None = None,
        targets: MapSettings | None = None,
        dense: DenseSettings | None = None,
        iuv: IuvFaults | None = None,
    ):
        """Args:
        measured: With measured errors, which; those of the embedded front end if None.
        targets: Which label maps and silhouettes of the dressed people are handed over; none if
            None.
        dense: Which IUV pictures of the dressed people are; none if None.
        iuv: What goes wrong with those that the network reads; the usual if None.
        """
        if dense is not None and dense.size and settings.size % dense.size:
            raise ValueError(
                f"stream.dense.size: wanted a divisor of the crop's {settings.size} px, "
                f"got {dense.size}"
            )
        if targets is not None and targets.size and targets.reach != 1:
            raise ValueError(
                f"stream.maps.reach: the hierprob recipe draws maps of the box, wanted 1, "
                f"got {targets.reach}"
            )
        if proxy.size != settings.size:
            raise ValueError(
                f"the hierprob recipe renders {settings.size} px, the proxy wants {proxy.size}: "
                "set stream.hierprob.size and proxy.size to the same number"
            )
        self.settings, self.proxy, self.seed = settings, proxy, seed
        self.looks, self.backend, self.faces = looks, backend, assets.template.faces
        self.scenes = Scenes(settings, assets, looks)
        self.targets = targets or MapSettings()
        self.dense, self.iuv = dense or DenseSettings(), iuv or IuvFaults()
        self.measured = to_device(choose_measured(settings.errors, measured), self.faces.device)

    def __call__(self, numbers: Int[Tensor, " batch"]) -> Batch:
        chance = Chance(self.seed, numbers)
        self.looks.backgrounds.expect(chance)
        scene = self.scenes.draw(chance)
        several = len(numbers) if numbers.is_cuda else CHUNK
        parts = [slice(at, at + several) for at in range(0, len(numbers), several)]
        return concatenate([self._look(numbers[part], take(scene, part)) for part in parts])

    def _look(self, numbers: Int[Tensor, " batch"], scene: Scene) -> Batch:
        """Renders scenes and makes what the regressor reads of them."""
        crop, settings = scene.crop, self.settings
        drawn = self._render(scene)
        assert drawn.part24 is not None
        inside = inside_borders(crop.borders, settings.size)
        counts = count_parts(drawn.part24, inside)
        seen = scene.damage.seen & ~too_little_seen(counts, settings.least_part)
        picture, silhouette, kept = self._compose(numbers, drawn, scene)
        keypoints = torch.cat([scene.damage.places, seen[..., None].float()], -1)
        if self.measured is not None:
            whole = drawn.part24 * inside
            truth = Truth.of(
                torch.cat([crop.truth, crop.depth[..., None]], -1),
                labels=whole * (silhouette > 0),
                whole=whole,
                borders=crop.borders,
                side=crop.extent,
            )
            chance = Chance(self.seed, numbers)
            keypoints = corrupt_keypoints(chance, truth, self.measured.keypoints)
            seen = truth.states == IN_SIGHT
        proxy = make_drawn_proxy(
            Observation(
                keypoints=keypoints,
                mask=silhouette,
                picture=picture,
                iuv=None if drawn.iuv is None else drawn.iuv * kept[:, None],
            ),
            self.proxy,
            crop.borders,
        )
        proxy = spoil_iuv(Chance(self.seed, numbers), proxy, self.iuv)
        made = {"silhouette": proxy.silhouette, "joint_visibility": seen}
        if "rgb" in settings.channels:
            made["rgb"] = picture * inside[:, None]
        batch = Batch(
            proxy=proxy,
            target=Target(
                parameters=crop.parameters,
                keypoints=proxy.box.to_square(crop.truth),
                maps=self._draw_maps(numbers, scene, kept & inside),
                dense=None
                if drawn.iuv is None
                else dense_target(drawn.iuv, kept & inside, proxy.box, crop.skeleton, self.dense),
            ),
            channels={
                name: made[name] if name in made else getattr(drawn, name)
                for name in settings.channels
            },
        )
        return with_genders(batch, crop.genders)

    def _draw_maps(
        self, numbers: Int[Tensor, " batch"], scene: Scene, kept: Bool[Tensor, "batch size size"]
    ) -> TargetMaps | None:
        if not self.targets.size:
            return None
        return draw_label_maps(
            Chance(self.seed, numbers),
            scene.crop.pixels,
            scene.crop.vertices,
            scene.texture,
            self.looks,
            kept,
            self.targets.size,
            self.settings.labels,
            self.backend,
        )

    def _render(self, scene: Scene) -> Rendering:
        settings, looks = self.settings, self.looks
        wanted = {name for name in settings.channels if name in OUTPUTS}
        if self.dense.size or self.proxy.channel == "iuv":
            wanted.add("iuv")
        return render(
            scene.crop.pixels,
            scene.crop.vertices,
            self.faces,
            looks.chart,
            (settings.size, settings.size),
            outputs=wanted | {"rgb", "silhouette", "part24"},
            textures=looks.mipmaps,
            texture=scene.texture,
            lights=scene.lights,
            eye=scene.crop.eye,
            supersample=settings.supersample,
            backend=self.backend,
        )

    def _compose(
        self, numbers: Int[Tensor, " batch"], drawn: Rendering, scene: Scene
    ) -> tuple[
        Float[Tensor, "batch 3 size size"],
        Float[Tensor, "batch size size"],
        Bool[Tensor, "batch size size"],
    ]:
        """Puts what is left of the person before a background; gives that, the silhouette, and
        which pixels show what is there."""
        assert drawn.part24 is not None and drawn.rgb is not None and drawn.silhouette is not None
        wrong, size = scene.damage, self.settings.size
        half = torch.full_like(wrong.square, self.settings.occluder / 2)
        kept = keep_labels(drawn.part24, wrong.removed)
        if self.settings.supersample > 1:
            # Pixels that a part only touches have no label, and go with the part beside them.
            beside = max_pool2d((~kept).float()[:, None], 3, 1, 1)[:, 0] > 0
            kept = kept & ~(beside & (drawn.part24 == 0))
        kept = kept & inside_borders(wrong.body, size)
        kept = kept & ~rectangles(wrong.square, half, (size, size))
        lit = inside_borders(wrong.picture, size)
        with record_function("stage: backgrounds"):
            background = self.looks.backgrounds.draw(Chance(self.seed, numbers), (size, size))
        cover = drawn.silhouette * kept
        picture = drawn.rgb * kept[:, None]
        picture.addcmul_(background.to(picture.dtype), (1 - cover[:, None]) / 255)
        picture.mul_(scene.gain).clamp_(max=1).mul_(lit[:, None])
        return picture, cover * lit, kept & lit
