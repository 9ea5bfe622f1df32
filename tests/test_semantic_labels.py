"""Labels of parsers, where textures show them, priors counted and published, errors of parsers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.synth.chance import Chance
from plausibody.synth.charts import load_chart
from plausibody.synth.semantic_labels import (
    BARE,
    GROUPS,
    LABELS,
    MIRRORED,
    NAMES,
    group_matrix,
    join_labels,
    mirror_labels,
    parser_labels,
)
from plausibody.synth.semantic_maps import LabelNoise, spoil_labels
from plausibody.synth.semantic_prior import SMPL_FACES, estimate_prior, load_prior, vertex_parts
from plausibody.synth.stores import SynthAssets
from plausibody.synth.texture_canvas import label_number
from plausibody.synth.texture_outfits import LOWER, UPPER
from plausibody.synth.textures import TextureBank

# Labels


def test_there_are_graphonomys_labels() -> None:
    assert len(LABELS) == 20 and len(set(LABELS.values())) == 20
    assert NAMES.index("face") == 13 and NAMES.index("right shoe") == 19
    assert LABELS["coat"] == (0, 119, 221)
    members = [name for group in GROUPS.values() for name in group]
    assert sorted(members) == sorted(NAMES[1:]), "each is of one group, but the background"
    assert set(BARE) == {"left shoe", "right shoe", "left arm", "right arm", "face"}


def test_labels_are_joined_to_dsrs_classes() -> None:
    joined = join_labels(torch.arange(20, dtype=torch.uint8)[None])
    assert joined[0].tolist() == [0, 1, 1, 2, 1, 2, 2, 2, 3, 3, 2, 1, 3, 1, 4, 5, 6, 7, 6, 7]
    assert group_matrix().sum(1).tolist() == [0.0] + [1.0] * 19


def test_mirrors_swap_left_and_right_and_are_their_own_inverse() -> None:
    assert [NAMES[n] for n in (14, 15, 16, 17, 18, 19)] == [
        "left arm", "right arm", "left leg", "right leg", "left shoe", "right shoe",
    ]  # fmt: skip
    assert MIRRORED[14:] == (15, 14, 17, 16, 19, 18) and MIRRORED[:14] == tuple(range(14))
    labels = torch.randint(0, 20, (3, 5, 7), dtype=torch.uint8)
    labels[0, 0, 0] = 14
    assert mirror_labels(labels)[0, 0, 6] == 15
    assert torch.equal(mirror_labels(mirror_labels(labels)), labels)


def test_what_a_texel_shows_depends_on_the_part_and_the_garment() -> None:
    def said(kind: str, part: int, upper: str = "long", lower: str = "trousers") -> str:
        garments = torch.tensor([[UPPER.index(upper), LOWER.index(lower), 0, 0]]).to(torch.uint8)
        kinds = torch.tensor([[label_number(kind)]], dtype=torch.uint8)
        return NAMES[int(parser_labels(kinds, torch.tensor([part]), garments))]

    assert said("skin", 2) == "trunk" and said("skin", 23) == "face"
    assert said("skin", 4) == said("skin", 15) == said("skin", 21) == "left arm"
    assert said("skin", 3) == said("skin", 16) == said("skin", 20) == "right arm"
    assert said("skin", 5) == said("skin", 8) == said("skin", 14) == "left leg"
    assert said("skin", 6) == said("skin", 7) == said("skin", 13) == "right leg"
    assert said("shoes", 5) == "left shoe" and said("shoes", 13) == "right shoe"
    assert said("lip", 24) == "face" and said("hair", 24) == "hair" and said("socks", 12) == "socks"
    assert said("upper", 2) == "upper clothes" and said("upper", 2, upper="jacket") == "coat"
    assert said("lower", 10) == "pants" and said("lower", 10, lower="skirt") == "skirt"
    assert said("background", 0) == "background"


# Priors


@pytest.fixture(scope="module")
def bank() -> TextureBank:
    """Four textures: three all skin, of one the whole atlas is an upper garment."""
    semantics = torch.full((4, 60, 40), label_number("skin"), dtype=torch.uint8)
    semantics[3] = label_number("upper")
    return TextureBank(
        images=torch.zeros(4, 60, 40, 3, dtype=torch.uint8),
        semantics=semantics,
        garments=torch.zeros(4, 4, dtype=torch.uint8),
        grey=torch.zeros(4, dtype=torch.bool),
    )


def test_a_prior_counts_textures_at_each_vertex(template: BodyTemplate, bank: TextureBank) -> None:
    chart = load_chart(template)
    prior = estimate_prior(bank, template, chart, smoothing=0.4)
    torch.testing.assert_close(prior.sum(1), torch.ones(len(template.vertices)))
    parts = vertex_parts(template.faces, chart.face_part)
    upper, doubt = NAMES.index("upper clothes"), 0.4 / 20 / 4.4
    torch.testing.assert_close(prior[:, upper], torch.full_like(prior[:, 0], 1 / 4.4 + doubt))
    for part, name in ((15, "left arm"), (16, "right arm"), (9, "right leg"), (24, "face")):
        on = prior[parts == part, NAMES.index(name)]
        torch.testing.assert_close(on, torch.full_like(on, 3 / 4.4 + doubt))
    unlabelled = dataclasses.replace(bank, semantics=None, garments=None)
    with pytest.raises(ValueError, match="wanted textures with labels"):
        estimate_prior(unlabelled, template, chart)


@pytest.fixture
def smpl(template: BodyTemplate) -> BodyTemplate:
    """A body that passes for SMPL: ours, with its faces in another order."""
    return dataclasses.replace(template, faces=template.faces.roll(1, 0), topology="smpl")


def published_prior() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(SMPL_FACES, 20, generator=generator).softmax(1)


def test_a_published_prior_gives_each_vertex_the_mean_of_its_faces(
    smpl: BodyTemplate, tmp_path: Path
) -> None:
    faces = published_prior()
    np.save(tmp_path / "semantic_prior.npy", faces[None, :, None].double().numpy())
    prior = load_prior(tmp_path / "semantic_prior.npy", smpl)
    assert prior.shape == (len(smpl.vertices), 20)
    torch.testing.assert_close(prior.sum(1), torch.ones(len(prior)))
    for vertex in (0, 3000, 6889):
        around = (smpl.faces == vertex).any(1)
        torch.testing.assert_close(prior[vertex], faces[around].mean(0), rtol=1e-5, atol=1e-6)


def test_priors_of_other_meshes_and_damaged_ones_are_refused(
    template: BodyTemplate, smpl: BodyTemplate, tmp_path: Path
) -> None:
    path, faces = tmp_path / "semantic_prior.npy", published_prior().numpy()

    def refused(array: np.ndarray, told: str, body: BodyTemplate = smpl) -> None:
        np.save(path, array)
        with pytest.raises(ValueError, match=told):
            load_prior(path, body)

    refused(faces[:-2], "wanted 13,776 faces of SMPL by 20 labels, came an array of .13774, 20.")
    refused(faces[:, :14], "of another mesh, or of another parser")
    refused(faces * 1.1, "wanted probabilities of sum 1")
    refused(np.where(faces > 0.06, np.nan, faces), "wanted probabilities of sum 1")
    refused(faces.argmax(1), "wanted floating-point probabilities, came int64")
    refused(faces, "wanted the body whose faces it is of, SMPL, came the open body", template)
    few = dataclasses.replace(smpl, faces=smpl.faces[:100])
    refused(faces, "came another body with 100 faces", few)
    for content in (b"", b"<html>", np.array([{"a": 1}], dtype=object).dumps()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cut short, altered or something else"):
            load_prior(path, smpl)
    with pytest.raises(FileNotFoundError):
        load_prior("semantic_prior_nowhere.npy", smpl)


# Errors of parsers


def blocks(count: int = 400, size: int = 24) -> Tensor:
    """A left arm beside a coat, on the background."""
    labels = torch.zeros(count, size, size, dtype=torch.uint8)
    labels[:, 4:20, 4:12], labels[:, 4:20, 12:20] = 14, 7
    return labels


def test_perfect_parsers_change_nothing() -> None:
    labels = blocks(3)
    assert spoil_labels(Chance(0, torch.arange(3)), labels, LabelNoise()) is labels


def test_parsers_lose_confuse_and_swap_as_often_as_is_said() -> None:
    labels, chance = blocks(), Chance(0, torch.arange(400))
    lost = spoil_labels(chance, labels, LabelNoise(lost=0.3))
    gone = (lost == 14).flatten(1).any(1).logical_not()
    assert 0.24 < gone.float().mean() < 0.36
    assert ((lost == labels) | (lost == 0)).all()
    confused = spoil_labels(chance, labels, LabelNoise(confused=0.3))
    changed = confused != labels
    assert (confused[changed] == labels[changed] % 19 + 1).all() and (
        confused[labels == 0] == 0
    ).all()
    assert 0.24 < (confused[:, 8, 8] != 14).float().mean() < 0.36
    swapped = spoil_labels(chance, labels, LabelNoise(swapped=0.2))
    assert 0.15 < (swapped[:, 8, 8] == 15).float().mean() < 0.25
    assert (swapped[:, 8, 15] == 7).all()


def test_borders_move_and_labels_stay(assets: SynthAssets) -> None:
    labels, chance = blocks(64), Chance(0, torch.arange(64))
    moved = spoil_labels(chance, labels, LabelNoise(moved=0.05))
    both = ((moved > 0) & (labels > 0)).sum((1, 2)) / ((moved > 0) | (labels > 0)).sum((1, 2))
    assert 0.6 < both.mean() < 0.95
    assert set(moved.unique().tolist()) == {0, 7, 14}
    one = spoil_labels(Chance(0, torch.arange(5, 6)), labels[5:6], LabelNoise(moved=0.05))
    assert torch.equal(one[0], moved[5]), "a sample is the same in any batch"


@pytest.mark.parametrize(
    ("values", "told"), [({"lost": 1.2}, "labels.lost"), ({"moved": -1.0}, "labels.moved")]
)
def test_noise_that_makes_no_sense_is_refused(values: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LabelNoise(**values)
