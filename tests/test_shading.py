"""All outputs of the renderer: what they mean, and that both backends agree."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.camera import PerspectiveCamera, world_to_camera
from plausibody.models.mirroring import mirror_rotations
from plausibody.models.records import map_tensors
from plausibody.models.rotations import axis_rotation
from plausibody.models.skeleton import COCO17, SMPL24
from plausibody.synth.charts import Chart, load_chart
from plausibody.synth.mipmaps import MipMaps
from plausibody.synth.raster import rasterize, rasterize_labels
from plausibody.synth.render import (
    OUTPUTS,
    Lights,
    Rendering,
    composite,
    joint_visibility,
    render,
    render_iuv,
)
from plausibody.synth.stores import SynthAssets

MIRROR24 = (0, 1, 2, *(part for left in range(3, 25, 2) for part in (left + 1, left)))
SIZE = (96, 80)


@pytest.fixture(scope="module")
def chart(template: BodyTemplate) -> Chart:
    return load_chart(template)


@pytest.fixture(scope="module")
def mipmaps() -> MipMaps:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 120, 80, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(1, 12, (3, 120, 80), dtype=torch.uint8, generator=generator)
    return MipMaps.of(images, labels)


def camera(batch: int, size: tuple[int, int] = SIZE) -> PerspectiveCamera:
    return PerspectiveCamera(
        focal=torch.full((batch,), 1.3 * size[0]),
        principal=torch.tensor([size[1] / 2, size[0] / 2]).expand(batch, 2),
        translation=torch.tensor([0.0, -0.25, 3.2]).expand(batch, 3),
    )


def lights(batch: int) -> Lights:
    generator = torch.Generator().manual_seed(1)
    draw = torch.rand(4, batch, 3, generator=generator)
    return Lights(
        ambient=0.4 + 0.4 * draw[0],
        diffuse=0.4 + 0.4 * draw[1],
        specular=0.5 * draw[2],
        position=6 * draw[3] - 3,
    )


def take_lights(of_all: Lights, number: int) -> Lights:
    return map_tensors(of_all, lambda tensor: tensor[number : number + 1])


def people(template: BodyTemplate, batch: int = 5) -> Tensor:
    """Bodies with bent joints, seen from all sides."""
    generator = torch.Generator().manual_seed(2)
    angles = 0.5 * torch.randn(batch, 24, generator=generator)
    rotations = axis_rotation(2, angles) @ axis_rotation(0, angles.flip(1))
    yaw = torch.arange(batch) * (2 * math.pi / batch)
    rotations[:, 0] = axis_rotation(1, yaw)
    return pose_body(template, torch.randn(batch, 10, generator=generator), rotations).vertices


def draw(
    template: BodyTemplate,
    chart: Chart,
    mipmaps: MipMaps | None,
    vertices: Tensor,
    **changes: Any,
) -> Rendering:
    batch = len(vertices)
    view = camera(batch)
    options: dict[str, Any] = {
        "outputs": OUTPUTS,
        "textures": mipmaps,
        "texture": torch.arange(batch) % 3,
        "lights": lights(batch),
        "eye": world_to_camera(-view.translation),
    }
    pixels = view.project(vertices)
    return render(pixels, vertices, template.faces, chart, SIZE, **options | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"perspective": False},
        {"lights": None},
        {"eye": None},
        {"supersample": 2},
        {"cull": "none"},
        {"outputs": ("rgb",)},
        {"outputs": ("normals", "depth")},
        {"outputs": ("semantics",)},
        {"outputs": ("iuv", "silhouette")},
    ],
    ids=str,
)
def test_backends_agree(
    template: BodyTemplate, chart: Chart, mipmaps: MipMaps, changes: dict[str, Any]
) -> None:
    vertices = people(template)
    by_torch, by_numba = (
        draw(template, chart, mipmaps, vertices, backend=backend, **changes)
        for backend in ("torch", "numba")
    )
    for name in ("dropped", *changes.get("outputs", OUTPUTS)):
        wanted, came = getattr(by_torch, name), getattr(by_numba, name)
        if name in ("rgb", "normals", "iuv"):
            torch.testing.assert_close(came, wanted, atol=1e-3, rtol=0)
        else:
            assert torch.equal(came, wanted), name
        assert came.dtype == wanted.dtype and came.is_contiguous() and wanted.is_contiguous()
    if by_torch.iuv is not None and by_numba.iuv is not None:
        assert torch.equal(by_torch.iuv[:, 0], by_numba.iuv[:, 0])
    for name in set(OUTPUTS) - set(changes.get("outputs", OUTPUTS)):
        assert getattr(by_torch, name) is None and getattr(by_numba, name) is None


def test_outputs_agree_with_each_other_and_the_rasteriser(
    template: BodyTemplate, chart: Chart, mipmaps: MipMaps
) -> None:
    vertices = people(template)
    drawn = draw(template, chart, mipmaps, vertices)
    pixels = camera(len(vertices)).project(vertices)
    plain = rasterize(pixels, template.faces, SIZE, cull="back")
    labels = rasterize_labels(pixels, template.faces, chart.face_part, SIZE, cull="back")
    seen = plain.mask
    assert 0.05 < seen.float().mean() < 0.5
    assert drawn.depth is not None and torch.equal(drawn.depth, plain.depth)
    assert drawn.part24 is not None and torch.equal(drawn.part24, labels)
    assert drawn.iuv is not None and torch.equal(drawn.iuv[:, 0], labels.float())
    assert drawn.silhouette is not None and torch.equal(drawn.silhouette, seen.float())
    assert drawn.semantics is not None and torch.equal(drawn.semantics > 0, seen)
    assert drawn.normals is not None and drawn.rgb is not None
    torch.testing.assert_close(drawn.normals.norm(dim=1), seen.float())
    assert (drawn.rgb.movedim(1, -1)[~seen] == 0).all() and drawn.rgb.max() <= 1
    assert set(drawn.part14.unique().tolist()) == set(range(15))
    assert set(drawn.part6.unique().tolist()) == set(range(7))
    # Closed bodies have no seen backs, so culling changes next to nothing.
    whole = draw(template, chart, mipmaps, vertices, cull="none")
    assert (whole.part24 != drawn.part24).float().mean() < 1e-4


def test_images_do_not_depend_on_the_batch_or_on_threads(
    template: BodyTemplate, chart: Chart, mipmaps: MipMaps
) -> None:
    vertices = people(template)
    together = draw(template, chart, mipmaps, vertices, threads=3)
    alone = draw(template, chart, mipmaps, vertices, threads=1)
    one = draw(
        template,
        chart,
        mipmaps,
        vertices[3:4],
        texture=torch.tensor([0]),
        lights=take_lights(lights(5), 3),
    )
    for name in OUTPUTS:
        assert torch.equal(getattr(together, name), getattr(alone, name)), name
        assert torch.equal(getattr(together, name)[3:4], getattr(one, name)), name


def test_a_t_pose_shows_all_parts(template: BodyTemplate, chart: Chart) -> None:
    rotations = torch.eye(3).repeat(2, 24, 1, 1)
    rotations[1, 0] = axis_rotation(1, torch.tensor(math.pi))
    vertices = pose_body(template, torch.zeros(2, 10), rotations).vertices
    iuv = render_iuv(vertices, camera(2, (256, 256)), chart, (256, 256))
    assert set(iuv[:, 0].unique().tolist()) == set(range(25))
    assert iuv[:, 1:].min() >= 0 and iuv[:, 1:].max() <= 1
    seen = iuv[:, 0] > 0
    assert (iuv[:, 1:].movedim(1, -1)[~seen] == 0).all()
    assert (iuv[:, 1:].movedim(1, -1)[seen].std(0) > 0.2).all()
    # From the front, the body's left hand (4) and foot (5) are on our right.
    column = torch.arange(256.0).expand(256, 256)
    front = iuv[0, 0]
    assert column[front == 4].mean() > 200 and column[front == 3].mean() < 56
    assert column[front == 5].mean() > 128 > column[front == 6].mean()
    assert (front == 2).sum() > 1000 > 50 > (front == 1).sum()


def test_who_reaches_behind_the_camera_is_no_black_picture(
    template: BodyTemplate, chart: Chart
) -> None:
    """An arm behind it, everything behind it, everything before it."""
    vertices = pose_body(template, torch.zeros(3, 10), torch.eye(3).repeat(3, 24, 1, 1)).vertices
    vertices = vertices[..., [2, 1, 0]] + torch.tensor([0.0, 0.0, 1.0]) * torch.tensor(
        [3.0, 4.5, 0.0]
    ).reshape(3, 1, 1)
    with pytest.raises(ValueError, match="came 2 that reach behind it .*, the first at place 0"):
        render_iuv(vertices, camera(3), chart, SIZE)
    assert (render_iuv(vertices[2:], camera(1), chart, SIZE)[:, 0] > 0).any()


def test_a_mirrored_pose_gives_the_mirrored_parts(template: BodyTemplate, chart: Chart) -> None:
    generator = torch.Generator().manual_seed(4)
    angles = 0.4 * torch.randn(1, 24, generator=generator)
    rotations = axis_rotation(2, angles) @ axis_rotation(1, angles.roll(3, 1))
    both = torch.cat([rotations, mirror_rotations(rotations)])
    vertices = pose_body(template, torch.zeros(2, 10), both).vertices
    iuv = render_iuv(vertices, camera(2, (256, 256)), chart, (256, 256))
    swapped = torch.tensor(MIRROR24)[iuv[1, 0].long()].flip(1)
    # The mesh is as symmetric as its modelled vertices are: measured 0.03 % of pixels differ.
    different = (swapped != iuv[0, 0].long()).float().mean()
    assert different < 0.002
    assert (iuv[1, 0].long().flip(1) != iuv[0, 0].long()).float().mean() > 0.02


def test_parts_are_never_mixed_and_uv_never_cross_seams(
    template: BodyTemplate, chart: Chart
) -> None:
    """u and v stay within those of the seen face's corners."""
    vertices = people(template)
    pixels = camera(len(vertices)).project(vertices)
    iuv = render_iuv(vertices, camera(len(vertices)), chart, SIZE)
    face = rasterize(pixels, template.faces, SIZE, cull="back").face
    seen = face >= 0
    corners = chart.corners[face[seen].long()]
    u_v = iuv[:, 1:].movedim(1, -1)[seen]
    assert (u_v >= corners.amin(1) - 1e-5).all() and (u_v <= corners.amax(1) + 1e-5).all()
    assert torch.equal(iuv[:, 0][seen], chart.face_part[face[seen].long()].float())


def test_textures_lie_on_their_parts_and_upright(template: BodyTemplate, chart: Chart) -> None:
    """A texture of u, 1 - v and part number: its colours are the IUV image."""
    along = (torch.arange(100.0) + 0.5) / 100
    cell = torch.stack([along.expand(100, 100), along[:, None].expand(100, 100)], -1)
    atlas = cell.repeat(6, 4, 1)
    number = (torch.arange(4).repeat_interleave(100) * 6)[None] + torch.arange(6).repeat_interleave(
        100
    )[:, None]
    image = torch.cat([atlas * 255, (number[..., None] + 1) * 10], -1)
    mipmaps = MipMaps.of(image.round().to(torch.uint8)[None])
    vertices = people(template)
    drawn = draw(
        template,
        chart,
        mipmaps,
        vertices,
        outputs=("rgb", "iuv"),
        texture=torch.zeros(5, dtype=torch.int64),
        lights=None,
    )
    assert drawn.rgb is not None and drawn.iuv is not None
    red, green, blue = drawn.rgb.unbind(1)
    part, u, v = drawn.iuv.unbind(1)
    seen = part > 0
    torch.testing.assert_close(blue * 25.5, part, atol=1e-3, rtol=0)
    inside = seen & (u > 0.15) & (u < 0.85) & (v > 0.15) & (v < 0.85)
    torch.testing.assert_close(red[inside], u[inside], atol=0.01, rtol=0)
    torch.testing.assert_close(green[inside], 1 - v[inside], atol=0.01, rtol=0)


def square(chart: Chart, side: int) -> tuple[Tensor, Tensor, Tensor, Chart]:
    """A wall that faces the camera at 2 m, of metres per pixel 0.01."""
    corner = torch.tensor([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]])
    vertices = corner[None] * side / 100
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    pixels = vertices * torch.tensor([100.0, -100.0, 0.0]) + torch.tensor([side / 2, side / 2, 2.0])
    u = torch.tensor([0.0, 1.0, 1.0, 0.0])
    v = torch.tensor([0.0, 0.0, 1.0, 1.0])
    flat = Chart(
        faces=faces,
        faces_uv=faces,
        u=u,
        v=v,
        face_part=torch.ones(2, dtype=torch.uint8),
        atlas=torch.stack([u / 4, (1 - v) / 6], -1),
    )
    return pixels, vertices, faces, flat


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_light_is_phongs(chart: Chart, backend: str) -> None:
    side = 40
    pixels, vertices, faces, flat = square(chart, side)
    white = MipMaps.of(torch.full((1, 60, 40, 3), 204, dtype=torch.uint8))
    lamp = torch.tensor([[0.1, 0.05, 0.3]])
    eye = torch.tensor([[0.0, 0.0, 2.0]])
    light = Lights(
        ambient=torch.tensor([[0.3, 0.2, 0.1]]),
        diffuse=torch.tensor([[0.4, 0.5, 0.6]]),
        specular=torch.tensor([[0.1, 0.2, 0.3]]),
        position=lamp,
        shininess=12.0,
    )
    drawn = render(
        *(pixels, vertices, faces, flat, (side, side)),
        outputs=("rgb",),
        textures=white,
        texture=torch.zeros(1, dtype=torch.int64),
        lights=light,
        eye=eye,
        perspective=False,
        backend=backend,
    ).rgb
    assert drawn is not None
    for row, column in ((5, 5), (20, 30), (39, 0)):
        x = ((column + 0.5) - side / 2) / 100
        y = (side / 2 - (row + 0.5)) / 100
        place = torch.tensor([x, y, 0.0])
        towards = torch.nn.functional.normalize(lamp[0] - place, dim=0)
        view = torch.nn.functional.normalize(eye[0] - place, dim=0)
        cosine = towards[2]
        mirrored = torch.stack([-towards[0], -towards[1], towards[2]])
        shine = (view @ mirrored).clamp(min=0) ** 12
        wanted = 0.8 * (light.ambient + light.diffuse * cosine) + light.specular * shine
        torch.testing.assert_close(drawn[0, :, row, column], wanted[0], atol=1e-4, rtol=0)
    behind = replace(light, position=-lamp)
    dark = render(
        *(pixels, vertices, faces, flat, (side, side)),
        outputs=("rgb",),
        textures=white,
        texture=torch.zeros(1, dtype=torch.int64),
        lights=behind,
        perspective=False,
        backend=backend,
    ).rgb
    assert dark is not None
    torch.testing.assert_close(dark[0, :, 20, 20], 0.8 * light.ambient[0])


def test_far_textures_do_not_flicker(template: BodyTemplate, chart: Chart) -> None:
    """Noise seen from afar is nearly grey; without coarser levels it stays noise."""
    generator = torch.Generator().manual_seed(5)
    image = torch.randint(0, 256, (1, 1200, 800, 3), dtype=torch.uint8, generator=generator)
    mipmaps = MipMaps.of(image)
    vertices = people(template, 2)
    options: dict[str, Any] = {
        "outputs": ("rgb", "silhouette"),
        "texture": torch.zeros(2, dtype=torch.int64),
        "lights": None,
    }

    def spread(textures: MipMaps) -> float:
        drawn = draw(template, chart, textures, vertices, **options)
        assert drawn.rgb is not None and drawn.silhouette is not None
        return float(drawn.rgb.movedim(1, -1)[drawn.silhouette > 0].std())

    finest = replace(mipmaps, levels=mipmaps.levels[:1])
    assert spread(mipmaps) < 0.08 < 0.15 < spread(finest)


def test_supersampling_softens_outlines_and_nothing_else(
    template: BodyTemplate, chart: Chart, mipmaps: MipMaps
) -> None:
    vertices = people(template)
    once, twice = (draw(template, chart, mipmaps, vertices, supersample=count) for count in (1, 2))
    for name in ("part24", "semantics", "iuv", "depth", "normals", "dropped"):
        assert torch.equal(getattr(once, name), getattr(twice, name)), name
    assert twice.silhouette is not None and once.silhouette is not None
    assert set(twice.silhouette.unique().tolist()) == {0, 0.25, 0.5, 0.75, 1}
    assert (twice.silhouette - once.silhouette).mean().abs() < 0.002
    assert twice.rgb is not None and (twice.rgb.movedim(1, -1)[twice.silhouette == 0] == 0).all()
    with pytest.raises(ValueError, match="supersample: wanted 1 or 2"):
        draw(template, chart, mipmaps, vertices, supersample=3)


def test_compositing_lays_the_body_over_the_picture(
    template: BodyTemplate, chart: Chart, mipmaps: MipMaps
) -> None:
    vertices = people(template)
    drawn = draw(template, chart, mipmaps, vertices, supersample=2)
    assert drawn.rgb is not None and drawn.silhouette is not None
    generator = torch.Generator().manual_seed(6)
    behind = torch.randint(0, 256, (5, 3, *SIZE), dtype=torch.uint8, generator=generator)
    before = drawn.rgb.clone()
    picture = composite(drawn.rgb, drawn.silhouette, behind)
    empty = (drawn.silhouette == 0)[:, None].expand_as(picture)
    full = (drawn.silhouette == 1)[:, None].expand_as(picture)
    torch.testing.assert_close(picture[empty], behind[empty] / 255)
    assert torch.equal(picture[full], drawn.rgb[full]) and torch.equal(before, drawn.rgb)
    assert picture.min() >= 0 and picture.max() <= 1 + 1e-6


def test_joints_are_hidden_by_what_is_before_them(
    template: BodyTemplate, chart: Chart, assets: SynthAssets
) -> None:
    rotations = torch.eye(3).repeat(3, 24, 1, 1)
    rotations[1, 0] = axis_rotation(1, torch.tensor(math.pi))
    rotations[2, 0] = axis_rotation(1, torch.tensor(math.pi / 2))
    vertices = pose_body(template, torch.zeros(3, 10), rotations).vertices
    view = camera(3)
    joints = view.project(assets.regressors.coco17 @ vertices)
    depth = render(
        view.project(vertices), vertices, template.faces, None, SIZE, outputs=("depth",)
    ).depth
    assert depth is not None
    in_frame, unoccluded = joint_visibility(joints, depth)
    assert in_frame.all()
    front, back, left_turn = (set() for _ in range(3))
    for seen, names in zip(unoccluded, (front, back, left_turn), strict=True):
        names |= {name for name, one in zip(COCO17, seen.tolist(), strict=True) if one}
    assert front == set(COCO17)
    assert not back & {"nose", "left_eye", "right_eye"}
    # Turned to its left it shows us its right side: its left arm is behind the trunk.
    assert {"right_ear", "right_hip", "right_knee"} <= left_turn
    assert not left_turn & {"left_shoulder", "left_hip", "left_knee"}
    moved = joints + torch.tensor([0.0, float(SIZE[0]), 0.0])
    in_frame, unoccluded = joint_visibility(moved, depth)
    assert not in_frame.all() and not (unoccluded & ~in_frame).any()
    assert "left_hip" in COCO17 and "pelvis" in SMPL24


def test_a_body_behind_the_camera_is_counted(
    template: BodyTemplate, chart: Chart, mipmaps: MipMaps
) -> None:
    vertices = people(template, 2) + torch.tensor([[[0.0, 0, 0]], [[0.0, 0, 3.2]]])
    for backend in ("torch", "numba"):
        drawn = draw(template, chart, mipmaps, vertices, backend=backend)
        assert drawn.dropped[0] == 0 and 100 < drawn.dropped[1] <= len(template.faces)


def test_no_images_give_none(template: BodyTemplate, chart: Chart, mipmaps: MipMaps) -> None:
    nobody = torch.zeros(0, 6890, 3)
    for backend in ("torch", "numba"):
        drawn = draw(template, chart, mipmaps, nobody, backend=backend)
        assert drawn.rgb is not None and drawn.rgb.shape == (0, 3, *SIZE)
        assert drawn.part24 is not None and drawn.part24.dtype == torch.uint8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": ("colour",)}, "outputs: wanted some of silhouette, .* came .*colour"),
        ({"textures": None}, "textures: wanted some"),
        ({"texture": torch.tensor([0, 1, 2, 3, 0])}, "wanted numbers of 3 textures, came 0 to 3"),
        ({"chart": None}, "chart: wanted one"),
        ({"backend": "opengl"}, "renderer.backend: wanted"),
    ],
)
def test_what_is_missing_is_said(
    template: BodyTemplate, chart: Chart, mipmaps: MipMaps, changes: dict[str, Any], message: str
) -> None:
    changes = dict(changes)
    with pytest.raises(ValueError, match=message):
        draw(template, changes.pop("chart", chart), mipmaps, people(template), **changes)


def test_textures_without_labels_have_no_semantics(
    template: BodyTemplate, chart: Chart, mipmaps: MipMaps
) -> None:
    published = replace(mipmaps, has_semantics=False)
    with pytest.raises(ValueError, match="semantics: wanted textures with labels"):
        draw(template, chart, published, people(template))
