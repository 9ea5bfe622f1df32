"""Pictures of bodies: what is where, and how it looks, in every form that a network may be shown.

Vertices come twice: projected, as x, y [px] and depth [m], by whichever camera; and in the world
[m], for what depends on the shape itself. `render` draws all outputs at once, by numba on the CPU
and by torch elsewhere; `shade` is for drawings that people look at.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch.profiler import record_function

from plausibody.models.body import vertex_normals
from plausibody.models.camera import PerspectiveCamera, world_to_camera
from plausibody.models.constants import constant
from plausibody.synth import shade_torch
from plausibody.synth.charts import PART6_OF_24, PART14_OF_24, Chart, coarser_parts
from plausibody.synth.mipmaps import MipMaps
from plausibody.synth.raster import fastest_backend, interpolate, label_pixels, rasterize
from plausibody.synth.raster_settings import RasterSettings
from plausibody.synth.shading import OUTPUTS, Job, Lights

__all__ = [
    *("OUTPUTS", "SKIN", "Lights", "PartRendering", "Rendering", "composite", "joint_visibility"),
    *("render", "render_iuv", "render_parts", "shade"),
]

SKIN = (0.72, 0.78, 0.86)
"""A pale blue that no photo's person wears by accident."""
AMBIENT, HEAD, SKY = 0.2, 0.6, 0.3
"""Light from everywhere, from the camera, and from above; together at most 0.97."""


@dataclass(frozen=True)
class Rendering:
    """What `render` drew; what was not asked for is None."""

    dropped: Int[Tensor, " B"]
    """How many faces of each image reached behind the near plane or far out, and are not drawn."""
    silhouette: Float[Tensor, "B H W"] | None = None
    """1 where a face is seen, else 0; with supersampling the share of each pixel."""
    part24: UInt8[Tensor, "B H W"] | None = None
    """DensePose's part, 1..24; 0 where nothing is seen."""
    semantics: UInt8[Tensor, "B H W"] | None = None
    """Label of the texture's nearest texel of about the pixel's size; 0 where nothing is seen."""
    iuv: Float[Tensor, "B 3 H W"] | None = None
    """Part number, u and v as stored in the chart; 0 where nothing is seen."""
    depth: Float[Tensor, "B H W"] | None = None
    """[m]; -1 where nothing is seen."""
    normals: Float[Tensor, "B 3 H W"] | None = None
    """Smooth, in the camera's frame, of unit length; 0 where nothing is seen."""
    rgb: Float[Tensor, "B 3 H W"] | None = None
    """0..1; black where nothing is seen."""

    @property
    def part14(self) -> UInt8[Tensor, "B H W"] | None:
        """The parts joined to 14; see `synth.charts`."""
        return None if self.part24 is None else coarser_parts(self.part24, PART14_OF_24)

    @property
    def part6(self) -> UInt8[Tensor, "B H W"] | None:
        """The parts joined to 6; see `synth.charts`."""
        return None if self.part24 is None else coarser_parts(self.part24, PART6_OF_24)


@record_function("stage: rendering")
def render(
    pixels: Float[Tensor, "B V 3"],
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    chart: Chart | None,
    size: tuple[int, int],
    *,
    outputs: Collection[str],
    textures: MipMaps | None = None,
    texture: Int[Tensor, " B"] | None = None,
    lights: Lights | None = None,
    eye: Float[Tensor, "B 3"] | None = None,
    supersample: int = 1,
    perspective: bool = True,
    cull: str = "back",
    backend: str = "auto",
    threads: int | None = None,
) -> Rendering:
    """Draws a batch of bodies in all the forms that are asked for; no gradients.

    Args:
        pixels: Projected vertices: x, y [px] and depth [m].
        vertices: The same in the world [m], y up.
        faces: Of the mesh; as many as the chart's, in the same order.
        chart: Needed for part24, iuv, semantics and rgb.
        size: Height and width [px].
        outputs: Some of `OUTPUTS`.
        textures: Needed for semantics and rgb.
        texture: Number of each image's texture; likewise.
        lights: None shows textures as they are.
        eye: Place of each camera in the world [m], where highlights are seen from; one far away
            along +z if None. Of a `PerspectiveCamera` it is `world_to_camera(-translation)`.
        supersample: 2 draws rgb and silhouette as means of 2 x 2 samples per pixel, with rgb black
            beyond the outline, ready for `composite`. All other outputs are those of the pixel's
            centre, the same as with 1: labels, parts and depths have no means.
        perspective: False for vertices of an orthographic camera.
        cull: back leaves out faces seen from behind, which a closed surface never shows; none
            draws them.
        backend: auto (numba for tensors on the CPU), numba, or another of the rasteriser's with
            which torch shades.
        threads: How many images numba draws at a time; as many as torch uses if None.
    """
    height, width = size
    job = Job(
        pixels=pixels.detach().float(),
        vertices=vertices.detach().float(),
        faces=faces,
        outputs=frozenset(outputs),
        chart=chart,
        mipmaps=textures,
        texture=texture,
        lights=lights,
        eye=eye,
        settings=RasterSettings(
            size=(int(height), int(width)),
            near=0.05,
            cull=cull,
            perspective=bool(perspective),
            threads=torch.get_num_threads() if threads is None else threads,
        ),
    )
    _check(job)
    if supersample not in (1, 2):
        raise ValueError(f"supersample: wanted 1 or 2 samples per axis, came {supersample}")
    if supersample == 1:
        return Rendering(**_draw(job, backend))
    means = job.outputs & {"rgb", "silhouette"}
    done = _draw(replace(job, outputs=job.outputs - means), backend)
    if means:
        large = replace(job.settings, size=(2 * int(height), 2 * int(width)))
        zoomed = job.pixels * constant((2.0, 2.0, 1.0), torch.float32, job.pixels.device)
        samples = _draw(replace(job, pixels=zoomed, outputs=means, settings=large), backend)
        done |= {name: avg_pool2d(samples[name], 2) for name in means}
    return Rendering(**done)


def render_iuv(
    vertices: Float[Tensor, "B V 3"],
    camera: PerspectiveCamera,
    chart: Chart,
    size: tuple[int, int],
    *,
    backend: str = "auto",
) -> Float[Tensor, "B 3 H W"]:
    """Draws which point of the surface each pixel sees: part number 1..24, u and v; 0 beside it.

    Args:
        vertices: In the world [m].
        camera: Of each image, or one for all.
        chart: Of the mesh.
        size: Height and width [px].

    Raises:
        ValueError: If a body reaches behind the camera: what is there cannot be drawn.
    """
    pixels = camera.project(vertices)
    drawn = render(pixels, vertices, chart.faces, chart, size, outputs=("iuv",), backend=backend)
    assert drawn.iuv is not None
    if lost := drawn.dropped.nonzero()[:, 0].tolist():
        raise ValueError(
            f"vertices: wanted bodies before the camera, came {len(lost)} that reach behind it or "
            f"nearer than 5 cm, the first at place {lost[0]}; do: move them away "
            "(plausibody.synth.scene.stand_back), or call render, which counts what it leaves out"
        )
    return drawn.iuv


def composite(
    rgb: Float[Tensor, "B 3 H W"],
    silhouette: Float[Tensor, "B H W"],
    background: UInt8[Tensor, "B 3 H W"],
) -> Float[Tensor, "B 3 H W"]:
    """Lays a rendering over pictures.

    Args:
        rgb: 0..1 and black outside the silhouette, as `render` gives it.
        silhouette: Share of each pixel that the body covers.
        background: 0..255.
    """
    return torch.addcmul(rgb, background.to(rgb.dtype), (1 - silhouette[:, None]) / 255)


def joint_visibility(
    joints: Float[Tensor, "B K 3"], depth: Float[Tensor, "B H W"], tolerance: float = 0.14
) -> tuple[Bool[Tensor, "B K"], Bool[Tensor, "B K"]]:
    """Tells which joints lie within the picture, and which of those nothing hides.

    Args:
        joints: x, y [px] and depth [m].
        depth: Of the nearest surface [m], -1 where there is none; of the body, and of whatever
            else may hide it.
        tolerance: How far a joint may lie behind the surface that covers it [m]. Joints are
            inside the body: measured on the open one, hips up to 0.13 from front or back, while
            the eyes of a head turned away are 0.16 behind it.
    """
    height, width = depth.shape[1:]
    x, y, z = joints.unbind(-1)
    in_frame = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z > 0)
    column = torch.where(in_frame, x, 0).long()
    row = torch.where(in_frame, y, 0).long()
    surface = depth[torch.arange(len(depth), device=depth.device)[:, None], row, column]
    return in_frame, in_frame & ((surface < 0) | (z <= surface + tolerance))


def _draw(job: Job, backend: str) -> dict[str, Tensor]:
    if _by_numba(backend, job.pixels.device):
        from plausibody.synth import shade_numba

        return shade_numba.shade(job)
    fragments = rasterize(
        job.pixels,
        job.faces,
        job.settings.size,
        near=job.settings.near,
        cull=job.settings.cull,
        perspective=job.settings.perspective,
        barycentrics=bool(job.outputs & {"semantics", "iuv", "normals", "rgb"}),
        backend=backend,
    )
    return shade_torch.shade(job, fragments) | {"dropped": fragments.dropped}


def _by_numba(backend: str, device: torch.device) -> bool:
    if backend == "numba" and device.type != "cpu":
        raise ValueError(
            f"renderer.backend: numba draws tensors on the CPU, got one on {device}; "
            "use auto, or move the vertices"
        )
    if backend == "auto":
        return fastest_backend(device.type) == "numba"
    return backend == "numba"


def _check(job: Job) -> None:
    """Refuses what would draw nonsense or read outside the arrays."""
    unknown = sorted(job.outputs - set(OUTPUTS))
    if unknown:
        raise ValueError(f"outputs: wanted some of {', '.join(OUTPUTS)}, came {unknown}")
    if job.pixels.shape != job.vertices.shape:
        raise ValueError(
            "pixels: wanted the projections of the vertices, of shape "
            f"{tuple(job.vertices.shape)}, came shape {tuple(job.pixels.shape)}"
        )
    # On a device, where looking means waiting for it, torch itself refuses wrong indices.
    on_cpu = job.pixels.device.type == "cpu"
    if on_cpu and len(job.faces):
        low, high = (int(bound) for bound in torch.aminmax(job.faces))
        if low < 0 or high >= job.pixels.shape[1]:
            raise ValueError(
                f"faces: wanted indices of {job.pixels.shape[1]} vertices, came {low} to {high}; "
                "do faces and vertices belong to the same mesh?"
            )
    if job.outputs & {"part24", "iuv", "semantics", "rgb"}:
        if job.chart is None:
            raise ValueError("chart: wanted one for part24, iuv, semantics or rgb, came none")
        if len(job.chart.faces_uv) != len(job.faces):
            raise ValueError(
                f"chart: wanted one of {len(job.faces)} faces, came {len(job.chart.faces_uv)}; "
                "do: load the chart for this body"
            )
    if not job.outputs & {"semantics", "rgb"}:
        return
    if job.mipmaps is None or job.texture is None:
        raise ValueError("textures: wanted some, and each image's number, for semantics or rgb")
    if on_cpu and len(job.texture):
        low, high = (int(bound) for bound in torch.aminmax(job.texture))
        if low < 0 or high >= len(job.mipmaps):
            raise ValueError(
                f"texture: wanted numbers of {len(job.mipmaps)} textures, came {low} to {high}"
            )
    if "semantics" in job.outputs and not job.mipmaps.has_semantics:
        raise ValueError(
            "semantics: wanted textures with labels, came textures without, as they are "
            "published; do: use the generated ones, or leave this output out"
        )


@dataclass(frozen=True)
class PartRendering:
    """Where each image shows what."""

    silhouette: Float[Tensor, "B H W"]
    """1 where anything is seen, else 0."""
    parts: UInt8[Tensor, "B H W"]
    """Label of the face that is seen, 0 where there is none."""
    depth: Float[Tensor, "B H W"]
    """[m]; -1 where nothing is seen."""


def render_parts(
    pixels: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    face_parts: UInt8[Tensor, " F"],
    size: tuple[int, int],
    *,
    perspective: bool = True,
    backend: str = "auto",
) -> PartRendering:
    """Draws silhouettes, part labels and depths at once.

    For labels alone `raster.rasterize_labels` is faster.

    Args:
        pixels: Projected vertices: x, y [px] and depth [m].
        face_parts: A table; parts are never interpolated.
        size: Height and width [px].
    """
    fragments = rasterize(
        pixels, faces, size, perspective=perspective, barycentrics=False, backend=backend
    )
    return PartRendering(
        silhouette=fragments.mask.float(),
        parts=label_pixels(fragments, face_parts),
        depth=fragments.depth,
    )


def shade(
    pixels: Float[Tensor, "B V 3"],
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    size: tuple[int, int],
    *,
    colour: Float[Tensor, "#B #V 3"] | None = None,
    background: Float[Tensor, "#B 3 H W"] | None = None,
    opacity: float = 1.0,
    smoothing: int = 2,
    perspective: bool = True,
    backend: str = "auto",
) -> Float[Tensor, "B 3 H W"]:
    """Draws matt bodies under a light at the camera and a pale sky, smoothly and without jags.

    Args:
        pixels: Projected vertices: x, y [px] and depth [m].
        vertices: The same in the world [m], y up; their normals decide the shading.
        size: Height and width [px].
        colour: Of each vertex or of all, 0..1; `SKIN` if None.
        background: What shows beside and through the bodies, 0..1; white if None.
        opacity: 1 hides what is behind a body, 0 hides the body.
        smoothing: Samples per pixel and axis.
    """
    zoomed = pixels * pixels.new_tensor([smoothing, smoothing, 1.0])
    large = (size[0] * smoothing, size[1] * smoothing)
    fragments = rasterize(zoomed, faces, large, perspective=perspective, backend=backend)
    if colour is None:
        colour = vertices.new_tensor([[SKIN]])
    normals = world_to_camera(vertex_normals(vertices, faces))
    attributes = torch.cat([normals, colour.expand(*vertices.shape)], -1)
    across, down, forward, *surface = interpolate(fragments, attributes, faces).unbind(1)
    # A normal averaged over a face is shorter than one; a face seen from inside is lit as well.
    length = torch.stack([across, down, forward]).norm(dim=0).clamp(min=1e-6)
    light = AMBIENT + HEAD * (forward / length).abs() + SKY * (1 - down / length) / 2
    cover = fragments.mask[:, None].float()
    lit = avg_pool2d(torch.stack(surface, 1) * light[:, None] * cover, smoothing)
    share = avg_pool2d(cover, smoothing)
    if background is None:
        background = lit.new_ones(1, 3, *size)
    return background * (1 - opacity * share) + opacity * lit
