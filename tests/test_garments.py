"""Clothes as geometry: outside the body, on clothes only, and agreeing with the paint."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate, PosedBody, pose_body, vertex_normals
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.skeleton import SMPL24
from plausibody.synth.chance import Chance
from plausibody.synth.charts import Chart, load_chart
from plausibody.synth.garments import GarmentSettings, dress
from plausibody.synth.raster import rasterize
from plausibody.synth.stores import SynthAssets
from plausibody.synth.texels import bake_texels
from plausibody.synth.texture_fabrics import load_fabrics
from plausibody.synth.texture_outfits import LOWER, UPPER, Draw, draw_outfit
from plausibody.synth.textures import SEMANTICS, TextureBank, join_textures, paint_texture
from plausibody.synth.wardrobe import GARMENTS, Wardrobe, build_wardrobe, vertex_labels

COUNT, SIDE = 16, 128


class Dressed(NamedTuple):
    bank: TextureBank
    wardrobe: Wardrobe
    body: PosedBody
    normals: Tensor
    texture: Tensor
    vertices: Tensor


def skirt_number() -> int:
    """The first texture of the series that wears a skirt below the knee's middle."""
    return next(k for k in range(999) if (o := draw_outfit(Draw(0, k))).lower == "skirt"
                and o.leg > 0.45)  # fmt: skip


@pytest.fixture(scope="module")
def chart(template: BodyTemplate) -> Chart:
    return load_chart(template)


@pytest.fixture(scope="module")
def dressed(template: BodyTemplate, chart: Chart, assets: SynthAssets) -> Dressed:
    texels, photos = bake_texels(template, chart, (300, 200)), load_fabrics()
    numbers = [*range(COUNT - 1), skirt_number()]
    bank = join_textures([paint_texture(texels, photos, 0, number) for number in numbers])
    wardrobe = build_wardrobe(bank, template, chart)
    chance = Chance(5, torch.arange(COUNT))
    rotvecs = assets.bank.rotvecs[chance.integer("pose", len(assets.bank))].clone()
    rotvecs[-1] = 0
    body = pose_body(template, chance.normal("shape", 10), rotvec_to_rotmat(rotvecs))
    normals = vertex_normals(body.vertices, template.faces)
    texture = torch.arange(COUNT)
    vertices = dress(chance, body.vertices, normals, body.joints, wardrobe, texture)
    return Dressed(bank, wardrobe, body, normals, texture, vertices)


def silhouettes(vertices: Tensor, faces: Tensor, yaw: float = 0.0) -> Tensor:
    """Orthographic, 1.7 cm a pixel."""
    turn = rotvec_to_rotmat(torch.tensor([0.0, yaw, 0.0]))
    x, y, z = (vertices @ turn.T - vertices.mean((1, 2))[:, None, None]).unbind(-1)
    middle = (x.mean(1, keepdim=True), y.mean(1, keepdim=True))
    pixels = torch.stack([(x - middle[0]) / 0.017 + SIDE / 2, (middle[1] - y) / 0.017 + SIDE / 2,
                          5 - z], -1)  # fmt: skip
    return rasterize(pixels, faces, (SIDE, SIDE), perspective=False).mask


def test_clothes_only_move_outwards(dressed: Dressed) -> None:
    moved = dressed.vertices - dressed.body.vertices
    outward = (moved * dressed.normals).sum(-1)
    assert outward.min() > -1e-6
    aside = moved - outward[..., None] * dressed.normals
    # Only a skirt's halves are drawn across the legs besides.
    assert aside[~dressed.wardrobe.skirts[dressed.texture]].abs().max() < 1e-5
    assert aside[-1].abs().max() > 0.02


def test_skin_stays_where_it_was(dressed: Dressed) -> None:
    moved = (dressed.vertices - dressed.body.vertices).norm(dim=-1)
    bare = dressed.wardrobe.labels == SEMANTICS.index("skin")
    assert bare.any(1).all()
    assert moved[bare].max() == 0
    for name in ("eye", "lip", "brow"):
        assert moved[dressed.wardrobe.labels == SEMANTICS.index(name)].sum() == 0
    nose, hand = 332, 2445
    assert moved[:, nose].max() == 0
    assert moved[dressed.wardrobe.labels[:, hand] == 1, hand].max() == 0


def test_thickness_is_what_the_kinds_allow(dressed: Dressed) -> None:
    moved = (dressed.vertices - dressed.body.vertices).norm(dim=-1)
    settings = GarmentSettings()
    for texture in range(COUNT - 1):
        upper = dressed.wardrobe.labels[texture] == SEMANTICS.index("upper")
        kind = UPPER[int(dressed.bank.garments[texture, 0])]
        if upper.any():
            assert 0 < moved[texture, upper].max() < 2.5 * settings.upper[kind][1] + 0.02
            assert moved[texture, upper].mean() > 0.2 * settings.upper[kind][0]


def test_there_are_no_steps(dressed: Dressed, template: BodyTemplate) -> None:
    wardrobe = dressed.wardrobe
    cover = wardrobe.cover.float() / 255
    a, b, _ = template.faces.T
    step = (cover[..., a] - cover[..., b]).abs()
    clothed = ~torch.isin(wardrobe.labels, torch.tensor([1, 9, 10, 11], dtype=torch.uint8))
    within = (clothed[:, a] & clothed[:, b])[:, None] * step
    assert within.max() < 0.5  # between garments
    assert step.mean() < 0.02


@pytest.mark.parametrize("yaw", [0.0, 1.1, 2.2])
def test_the_outline_contains_the_naked_one(
    dressed: Dressed, template: BodyTemplate, yaw: float
) -> None:
    naked = silhouettes(dressed.body.vertices, template.faces, yaw)
    clothed = silhouettes(dressed.vertices, template.faces, yaw)
    grown = torch.nn.functional.max_pool2d(clothed.float()[:, None], 3, 1, 1)[:, 0] > 0
    # Cloth folds over itself behind a bent knee: a pixel of 1.7 cm there may be left out.
    assert (naked & ~grown).sum((1, 2)).max() <= 1
    assert clothed.sum() > 1.04 * naked.sum()


def test_a_skirt_closes_the_gap_between_the_legs(dressed: Dressed, template: BodyTemplate) -> None:
    naked = silhouettes(dressed.body.vertices[-1:], template.faces)[0]
    clothed = silhouettes(dressed.vertices[-1:], template.faces)[0]
    labels = vertex_labels(dressed.bank, template, load_chart(template))[-1]
    worn = dressed.body.vertices[-1, labels == SEMANTICS.index("lower"), 1]
    hem, middle = float(worn.min()), float(dressed.body.vertices[-1, :, 1].mean())
    rows = [int((middle - y) / 0.017 + SIDE / 2) for y in np.linspace(hem + 0.06, hem + 0.2, 6)]
    for row in rows:
        columns = naked[row].nonzero()[:, 0]
        covered = clothed[row, int(columns.min()) : int(columns.max()) + 1]
        assert covered.all()
        assert not naked[row, int(columns.min()) : int(columns.max()) + 1].all()


def test_labels_lie_on_their_parts(dressed: Dressed, template: BodyTemplate) -> None:
    joint = template.skinning_weights.argmax(1)
    head = joint == SMPL24.index("head")
    feet = (joint == SMPL24.index("left_foot")) | (joint == SMPL24.index("right_foot"))
    labels = dressed.wardrobe.labels
    for name in ("eye", "lip", "brow", "hat"):
        assert not (labels[:, ~head] == SEMANTICS.index(name)).any()
    assert not (labels[:, ~feet & (template.vertices[:, 1] > -0.8)]
                == SEMANTICS.index("shoes")).any()  # fmt: skip
    shod = dressed.bank.garments[:, 3] > 0
    assert (labels[:, feet] == SEMANTICS.index("shoes")).float().mean(1)[shod].min() > 0.5


def test_clothes_do_not_depend_on_the_batch(dressed: Dressed) -> None:
    body, part = dressed.body, slice(3, 7)
    again = dress(
        Chance(5, torch.arange(3, 7)), body.vertices[part], dressed.normals[part],
        body.joints[part], dressed.wardrobe, dressed.texture[part],
    )  # fmt: skip
    assert torch.allclose(again, dressed.vertices[part], atol=1e-6, rtol=0)


def test_a_coarser_mesh_wears_the_same(dressed: Dressed) -> None:
    some = torch.arange(0, 6890, 7)
    coarse = dress(
        Chance(5, torch.arange(COUNT)), dressed.body.vertices[:, some], dressed.normals[:, some],
        dressed.body.joints, dressed.wardrobe.subset(some), dressed.texture,
    )  # fmt: skip
    assert torch.allclose(coarse, dressed.vertices[:, some], atol=1e-6, rtol=0)


def test_garments_can_be_paint_only(dressed: Dressed) -> None:
    bare = dress(
        Chance(5, torch.arange(COUNT)), dressed.body.vertices, dressed.normals,
        dressed.body.joints, dressed.wardrobe, dressed.texture, GarmentSettings(worn=0.0),
    )  # fmt: skip
    assert torch.equal(bare, dressed.body.vertices)


def test_textures_without_labels_are_refused(template: BodyTemplate, chart: Chart) -> None:
    bank = TextureBank(
        images=torch.zeros(1, 12, 8, 3, dtype=torch.uint8), semantics=None, garments=None,
        grey=torch.tensor([False]),
    )  # fmt: skip
    with pytest.raises(ValueError, match="wanted textures with labels"):
        build_wardrobe(bank, template, chart)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"garments\.lower: wanted briefs"):
        GarmentSettings(lower={"kilt": (0.0, 0.1)})
    wrong = dict.fromkeys(LOWER, (0.1, 0.0))
    with pytest.raises(ValueError, match=r"garments\.lower\.briefs: wanted 0 <= tightest"):
        GarmentSettings(lower=wrong)
    assert set(GARMENTS) < set(SEMANTICS)
