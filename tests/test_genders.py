"""Genders: maps between bodies, and men and women in the stream."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from frequencies import close
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.config import RunConfig, override
from plausibody.models.body import BodyTemplate
from plausibody.models.genders import ShapeMap, gender_sign, shape_map
from plausibody.models.measure import measure_shape
from plausibody.models.templates import load_template
from plausibody.presets import stream_config
from plausibody.preview import draw_proxies
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.genders import GenderedBodies, GenderMaps, draw_genders, gender_maps
from plausibody.synth.generator import BatchGenerator, draws_genders
from plausibody.synth.hierprob_scene import HierprobSettings, Scenes
from plausibody.synth.looks import load_looks
from plausibody.synth.mass import MassIndex, mass_index
from plausibody.synth.scene import ShapeSettings, draw_shape
from plausibody.synth.stores import SourceSettings, SynthAssets, load_assets
from plausibody.synth.texture_cache import TextureSettings

COUNT = 2000


@pytest.fixture(scope="module")
def bodies() -> GenderedBodies:
    return GenderedBodies(
        male=load_template("open", "male"), female=load_template("open", "female")
    )


@pytest.fixture(scope="module")
def maps(bodies: GenderedBodies, template: BodyTemplate) -> GenderMaps:
    made = gender_maps(1.0, bodies, template, 10)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def gendered(assets: SynthAssets, bodies: GenderedBodies) -> SynthAssets:
    return dataclasses.replace(assets, genders=bodies)


def chance(count: int = COUNT, seed: int = 0) -> Chance:
    return Chance(seed, torch.arange(count))


def shapes(count: int = 100) -> Tensor:
    return draw_shape(chance(count), ShapeSettings())


def rest(template: BodyTemplate, shape: Tensor) -> Tensor:
    """Rest vertices about their mean [m]."""
    directions = template.shape_directions[..., : shape.shape[-1]]
    vertices = template.vertices + torch.einsum("vds,bs->bvd", directions, shape)
    return vertices - vertices.mean(1, keepdim=True)


def gap(first: Tensor, second: Tensor) -> float:
    """Mean distance of corresponding vertices [m]."""
    return (first - second).norm(dim=-1).mean().item()


# Maps.


def test_genders_are_numbers() -> None:
    assert [gender_sign(name) for name in ("male", "neutral", "female")] == [-1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="wanted one of neutral, male, female, came 'diverse'"):
        gender_sign("diverse")


def test_a_body_is_mapped_to_itself_exactly(template: BodyTemplate) -> None:
    same = shape_map(template, template, 10, 10)
    torch.testing.assert_close(same.matrix, torch.eye(10), rtol=0, atol=1e-6)
    torch.testing.assert_close(same.offset, torch.zeros(10), rtol=0, atol=1e-6)
    wider = shape_map(template, template, 4, 10)
    assert wider(shapes()[:, :4]).shape == (100, 10) and wider.matrix.shape == (4, 10)


@pytest.mark.parametrize("gender", ["male", "female"])
def test_mapped_bodies_are_near_the_gendered_ones(
    bodies: GenderedBodies, maps: GenderMaps, template: BodyTemplate, gender: str
) -> None:
    own, there = getattr(bodies, gender), getattr(maps, gender)
    shape = shapes()
    mapped = rest(template, there(shape))
    # Measured 5.2 mm (male) and 5.0 mm (female) at the stream's own spread of shapes.
    assert gap(mapped, rest(own, shape)) < 0.006
    # No other coefficients are nearer.
    nudge = 0.05 * torch.randn(100, 10, generator=torch.Generator().manual_seed(0))
    moved = rest(template, there(shape) + nudge)
    assert (moved - rest(own, shape)).square().sum() > (mapped - rest(own, shape)).square().sum()
    # And back: measured 3.6 and 4.1 mm.
    back = shape_map(template, own, 10, 10)(there(shape))
    assert gap(rest(own, back), rest(own, shape)) < 0.005


def test_men_and_women_are_told_apart_by_their_measurements(
    maps: GenderMaps, template: BodyTemplate
) -> None:
    men, women = (measure_shape(template, mapped(shapes())) for mapped in (maps.male, maps.female))

    def more(name: str) -> float:
        """How much more men have on average, over the mean of both."""
        m, w = getattr(men, name).mean(), getattr(women, name).mean()
        return (2 * (m - w) / (m + w)).item()

    assert 0.05 < more("height") < 0.1 and 0.08 < more("shoulder_width") < 0.2
    assert more("neck") > 0.1 and more("chest") > 0.05 and more("mass") > 0.1
    assert (men.hips / men.waist).mean() < 1.16 < 1.28 < (women.hips / women.waist).mean()


def test_only_bodies_of_one_mesh_are_mapped(template: BodyTemplate) -> None:
    other = dataclasses.replace(template, topology="another")
    with pytest.raises(ValueError, match="wanted two bodies of one mesh.*another"):
        shape_map(other, template, 10, 10)
    with pytest.raises(ValueError, match=r"wanted 1 to \d+ coefficients of the neutral.*came 999"):
        shape_map(template, template, 10, 999)


def test_the_mass_index_of_mapped_shapes_is_that_of_their_bodies(
    maps: GenderMaps, template: BodyTemplate
) -> None:
    index = MassIndex.of(template)
    for mapped in (maps.male, maps.female):
        torch.testing.assert_close(
            index.after(mapped)(shapes()), index(mapped(shapes())), rtol=1e-4, atol=0
        )


# Who is drawn.


@pytest.mark.parametrize(("share", "known"), [(1.0, 0.5), (0.4, 0.9)])
def test_shares_are_as_set(share: float, known: float) -> None:
    genders = draw_genders(chance(), share, known)
    assert genders is not None
    assert set(genders.true.tolist()) <= {-1.0, 0.0, 1.0}

    assert close(genders.true == -1, share / 2)
    assert close(genders.true == 1, share / 2)
    told = genders.told != 0
    assert torch.equal(genders.told[told], genders.true[told])
    for sign in (-1, 1):
        those = genders.true == sign
        assert close(told[those], known), "told of men as often as of women"


def test_nobody_has_a_gender_unless_asked_for(maps: GenderMaps) -> None:
    assert draw_genders(chance(), 0.0, 0.5) is None
    plain = draw_shape(chance(), ShapeSettings())
    assert torch.equal(draw_shape(chance(), ShapeSettings(known=0.1), maps), plain)
    some = draw_shape(chance(), ShapeSettings(gendered=0.5), maps)
    same = (some == plain).all(1)
    assert 0.4 < same.float().mean() < 0.6, "neutral people stay who they are"


def test_probabilities_are_checked() -> None:
    with pytest.raises(ValueError, match="shape.gendered: wanted a probability, 0 to 1, got 1.5"):
        ShapeSettings(gendered=1.5)
    with pytest.raises(ValueError, match="shape.known: wanted a probability, 0 to 1, got -1.0"):
        ShapeSettings(known=-1.0)


def test_shapes_by_gender_need_maps(assets: SynthAssets, bodies: GenderedBodies) -> None:
    with pytest.raises(ValueError, match="wanted maps from male and female shapes"):
        draw_shape(chance(), ShapeSettings(gendered=1.0))
    for recipe in ("lite", "straps"):
        with pytest.raises(ValueError, match=r"do: load_assets\(..., gendered=True\)"):
            BatchGenerator(config(recipe, 8), assets)
    with pytest.raises(ValueError, match="wanted a neutral body.*came a male one"):
        gender_maps(1.0, bodies, bodies.male, 10)


# The stream.

SHAPE = {
    "lite": "stream.lite.shape",
    "straps": "stream.straps",
    "lasor": "stream.lasor.straps",
    "hierprob": "stream.hierprob.shape",
}
SMALL = {
    "lite": {"stream.lite.frame": 40},
    "straps": {"stream.straps.size": 48},
    "lasor": {"stream.lasor.straps.size": 48},
    "hierprob": {"stream.hierprob.size": 48},
}


def config(recipe: str, batch_size: int, share: float = 1.0, known: float = 0.5) -> RunConfig:
    values = {
        "train.batch_size": batch_size,
        "proxy.size": 48,
        f"{SHAPE[recipe]}.gendered": share,
        f"{SHAPE[recipe]}.known": known,
    }
    return override(stream_config(recipe), values | SMALL[recipe])


@pytest.fixture(scope="module")
def coloured(gendered: SynthAssets, tmp_path_factory: pytest.TempPathFactory) -> SynthAssets:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        looks = load_looks(gendered.template, TextureSettings(count=3, size=(240, 160)))
    return dataclasses.replace(gendered, looks=looks)


def genders(batch: Batch) -> tuple[Tensor, Tensor]:
    """True and told."""
    true, told = batch.target.gender, batch.proxy.gender
    assert true is not None and told is not None
    return true, told


@pytest.mark.parametrize("recipe", list(SHAPE))
def test_every_recipe_draws_men_and_women(coloured: SynthAssets, recipe: str) -> None:
    made = config(recipe, 64)
    assert draws_genders(made.stream) and not draws_genders(config(recipe, 64, 0.0).stream)
    batch = BatchGenerator(made, coloured)[0]
    true, told = genders(batch)
    assert (true.abs() == 1).all() and torch.equal(told[told != 0], true[told != 0])
    assert 16 < (told != 0).sum() < 48

    shape = batch.target.parameters.shape
    height = measure_shape(coloured.template, shape).height
    assert height[true == -1].mean() > height[true == 1].mean() + 0.05

    # The people of the stream without genders are the same but for their shapes.
    plain = BatchGenerator(config(recipe, 64, 0.0), coloured)[0]
    assert plain.proxy.gender is None and plain.target.gender is None
    assert torch.equal(plain.target.parameters.rotations, batch.target.parameters.rotations)
    assert not torch.equal(plain.target.parameters.shape, shape)


@pytest.mark.parametrize("recipe", ["lite", "straps"])
def test_a_sample_is_the_same_wherever_it_is_made(gendered: SynthAssets, recipe: str) -> None:
    whole = BatchGenerator(config(recipe, 70), gendered)[0]
    part = BatchGenerator(config(recipe, 7), gendered)[9]
    assert torch.equal(part.target.parameters.shape, whole.target.parameters.shape[63:])
    assert torch.equal(part.proxy.silhouette, whole.proxy.silhouette[63:])
    for mine, theirs in zip(genders(part), genders(whole), strict=True):
        assert torch.equal(mine, theirs[63:])


def test_being_told_changes_nothing_else(gendered: SynthAssets) -> None:
    silent, loud = (
        BatchGenerator(config("lite", 64, known=known), gendered)[0] for known in (0.0, 1.0)
    )
    assert torch.equal(silent.proxy.keypoints, loud.proxy.keypoints)
    assert torch.equal(silent.target.parameters.shape, loud.target.parameters.shape)
    assert (genders(silent)[1] == 0).all()
    assert torch.equal(*genders(loud))


def test_mass_indices_stay_uniform_among_men_and_women(coloured: SynthAssets) -> None:
    settings = HierprobSettings(
        mass_index=(17.0, 38.0), shape=ShapeSettings(std=1.25, wide=0.0, gendered=1.0)
    )
    assert coloured.looks is not None
    shape = Scenes(settings, coloured, coloured.looks).draw_shape(chance(1000))
    drawn = draw_genders(chance(1000), 1.0, 0.5)
    assert drawn is not None
    for sign in (-1, 1):
        index = mass_index(coloured.template, shape[drawn.true == sign])
        quantiles = torch.quantile(index, torch.linspace(0.1, 0.9, 9))
        torch.testing.assert_close(quantiles, torch.linspace(19.1, 35.9, 9), rtol=0.06, atol=0)
        assert index.min() > 16 and index.max() < 40


def test_the_contact_sheet_shows_them(gendered: SynthAssets) -> None:
    pictures = draw_proxies(BatchGenerator(config("lite", 4), gendered)[0], side=48)
    assert pictures.shape == (4, 3, 48, 48) and pictures.amax() > 0.5


# Opening.


def test_the_gendered_bodies_are_opened_where_wanted(assets: SynthAssets) -> None:
    opened = load_assets("val", gendered=True).to("cpu").genders
    assert opened is not None and assets.genders is None
    assert [opened.male.gender, opened.female.gender] == ["male", "female"]


def test_a_single_file_has_no_siblings() -> None:
    path = str(find_asset("body/open_neutral.npz"))
    with pytest.raises(ValueError, match="wanted a male body, came a neutral one.*all genders"):
        load_assets("val", sources=SourceSettings(body=path), gendered=True)


def test_a_map_moves_as_a_whole(maps: GenderMaps) -> None:
    moved = maps.male.to("cpu")
    assert isinstance(moved, ShapeMap) and torch.equal(moved.matrix, maps.male.matrix)
