"""Whole MakeHuman bodies: what they are, how far from linear ones, and how they are stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from plausibody.assets.builders.full_bodies import STEP, quantise
from plausibody.assets.catalog import find_asset
from plausibody.evaluate.metrics import pve_t_sc
from plausibody.models.body import BodyTemplate, rest_vertices
from plausibody.models.intervals import QUANTITIES, body_mass_index, measure_table
from plausibody.synth.full_bodies import FILE, FullBodies, fit_shapes, load_full_bodies, stand_in
from plausibody.synth.stores import SynthAssets


@pytest.fixture(scope="module")
def bodies(template: BodyTemplate) -> FullBodies:
    return load_full_bodies(template)


def test_they_are_adults_of_both_sexes_and_varied_build(bodies: FullBodies) -> None:
    measured = measure_table(bodies.template, bodies.shapes)
    height, index = measured[:, QUANTITIES.index("height")], body_mass_index(measured)
    assert len(bodies.shapes) == 192 and int(bodies.male.sum()) == 96
    assert 1.3 < float(height.min()) < 1.55 < 1.9 < float(height.max()) < 2.2
    assert float(height[bodies.male].mean()) > float(height[~bodies.male].mean()) + 0.1
    assert float(index.quantile(0.05)) < 20 and float(index.quantile(0.95)) > 34


def test_no_two_are_alike_and_all_are_symmetric(bodies: FullBodies) -> None:
    vertices = rest_vertices(bodies.template, bodies.shapes[:40])
    apart = torch.cdist(vertices.flatten(1), vertices.flatten(1)) + 10 * torch.eye(40)
    assert float(apart.min()) > 0.3  # root of the sum of squares over 6890 vertices: 4 mm each
    with np.load(find_asset(FILE)) as file:
        mirror = torch.from_numpy(file["mirror"].astype(np.int64))
    opposite = vertices[:, mirror] * vertices.new_tensor([-1.0, 1.0, 1.0])
    assert float((vertices - opposite).abs().max()) < 1e-4


def test_ten_coefficients_do_not_reach_them(template: BodyTemplate, bodies: FullBodies) -> None:
    vertices = rest_vertices(bodies.template, bodies.shapes)
    left = {}
    for count in (0, 10, 16):
        fitted = fit_shapes(template, vertices, count, scaled=True)
        left[count] = float(pve_t_sc(rest_vertices(template, fitted), vertices).mean())
    assert 21 < left[0] < 25 and 8 < left[10] < 9.5 and 5.5 < left[16] < 7


def test_linear_bodies_are_fitted_exactly(template: BodyTemplate) -> None:
    shape = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    moved = rest_vertices(template, shape) + torch.tensor([0.3, -1.0, 2.0])
    torch.testing.assert_close(fit_shapes(template, moved, 10), shape, atol=1e-4, rtol=0)
    smaller = fit_shapes(template, 0.9 * moved, 10, scaled=True)
    torch.testing.assert_close(smaller, shape, atol=1e-4, rtol=0)


def test_the_coarse_mesh_follows(assets: SynthAssets, bodies: FullBodies) -> None:
    standing = stand_in(assets, bodies)
    fine = rest_vertices(standing.template, bodies.shapes[:3])
    coarse = rest_vertices(standing.coarse.skin, bodies.shapes[:3])
    near = torch.cdist(coarse.double(), fine.double()).amin(-1)
    assert coarse.shape[1] < 2000 and float(near.max()) < 1e-5
    assert standing.regressors is assets.regressors


def test_stored_bodies_are_near_the_drawn_ones() -> None:
    rng = np.random.default_rng(0)
    offsets = 0.03 * rng.normal(size=(12, 50, 3))
    steps, shapes = quantise(offsets, STEP)
    restored = np.tensordot(shapes, steps * STEP, 1)
    assert steps.dtype == np.int64 and np.abs(restored - offsets).max() < 4e-4
    assert np.abs(restored - offsets).mean() < 1e-4


def test_another_body_is_refused(template: BodyTemplate) -> None:
    with pytest.raises(ValueError, match="wanted the neutral body of the topology"):
        load_full_bodies(replace(template, topology="0" * 16))
    with pytest.raises(ValueError, match="got a male one"):
        load_full_bodies(replace(template, gender="male"))
