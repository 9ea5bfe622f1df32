"""Draws grown-ups from MakeHuman's traits so that height and body mass index are as among people.

MakeHuman has no population: its sliders give anything from 1.3 to 2.3 m, and few obese women. So a
large pool is drawn with wide tails, and bodies are picked from it by importance until the target
distribution stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.stats import gaussian_kde, norm

from plausibody.assets.builders.makehuman import SourceBody

DENSITY = 985.0
"""Of the body with air in its lungs [kg/m^3]."""
_CHUNK = 500


@dataclass(frozen=True)
class Population:
    """A target: heights are normal, the body mass index is log-normal above a floor."""

    gender: float
    """On MakeHuman's slider: 0 male, 1 female."""
    height: tuple[float, float]
    """Mean and standard deviation [m], a little wider than national surveys: many nations."""
    median_bmi: float = 25.5
    """[kg/m^2]; a fifth of the population lies above 30."""
    bmi_floor: float = 12.0
    """Where the log-normal begins [kg/m^2]."""
    bmi_spread: float = 0.34
    """Standard deviation of the logarithm of the index above its floor."""


MALE = Population(gender=0.0, height=(1.765, 0.080))
FEMALE = Population(gender=1.0, height=(1.635, 0.075))


@dataclass(frozen=True)
class Pick:
    """Bodies drawn from a population."""

    coefficients: Float[ndarray, "n K"]
    """Of the source's blend shapes."""
    height: Float[ndarray, " n"]
    """[m]"""
    bmi: Float[ndarray, " n"]
    """[kg/m^2]"""
    effective_pool: float
    """How many equally weighted bodies the weighted pool is worth."""
    effective_obese_pool: float
    """The same, of the bodies above 30 kg/m^2."""


def draw_population(
    source: SourceBody,
    faces: Int[ndarray, "F 3"],
    population: Population,
    pool_size: int,
    count: int,
    rng: np.random.Generator,
    others: float = 0.0,
) -> Pick:
    """Draws a pool of bodies and picks `count` of them (a body may come more than once).

    Args:
        others: Standard deviation of the local changes that the open body's own population leaves
            alone: face, ears, hands and feet, knock knees, parts that are shifted.
    """
    parts, heights, masses = [], [], []
    for _ in range(pool_size // _CHUNK):
        phenotype = _draw_phenotype(_CHUNK, population.gender, rng)
        adiposity = _draw_adiposity(_CHUNK, rng)
        _fatten(phenotype, adiposity)
        local = _draw_local_changes(source, adiposity, population.gender, rng, others)
        coefficients = source.coefficients(phenotype, local).astype(np.float32)
        vertices = source.shaped(coefficients)
        parts.append(coefficients)
        heights.append(np.ptp(vertices[:, :, 1], axis=1))
        masses.append(volumes(vertices, faces) * DENSITY)
    pool, height = np.concatenate(parts), np.concatenate(heights)
    bmi = np.concatenate(masses) / height**2
    weights = _importance(population, height, bmi, rng)
    picked = rng.choice(len(pool), count, p=weights)
    return Pick(
        pool[picked],
        height[picked],
        bmi[picked],
        _effective_size(weights),
        _effective_size(weights[bmi > 30]),
    )


def volumes(vertices: Float[ndarray, "n V 3"], faces: Int[ndarray, "F 3"]) -> Float[ndarray, " n"]:
    """Measures closed meshes by the divergence theorem [m^3]."""
    first, second, third = (vertices[:, faces[:, k]] for k in range(3))
    return np.einsum("nfi,nfi->n", np.cross(first, second), third) / 6


def _draw_phenotype(n: int, gender: float, rng: np.random.Generator) -> dict[str, ndarray]:
    """Draws MakeHuman's main sliders; age from 25 to about 80."""
    blur = np.abs(rng.normal(0.0, 0.08, n))
    ancestry = rng.dirichlet([0.5, 0.5, 0.5], n) + 1e-6
    return {
        "gender": np.clip(gender + blur * (1 - 2 * gender), 0.0, 1.0),
        "age": rng.uniform(0.63, 0.92, n),
        "muscle": rng.beta(2.2, 2.2, n),
        "weight": rng.beta(1.7, 1.0, n),
        "height": rng.beta(2.5, 4.0, n),
        "proportions": rng.beta(2, 2, n),
        "cupsize": rng.beta(2, 2, n),
        "firmness": rng.beta(2, 2, n),
        "african": ancestry[:, 0],
        "asian": ancestry[:, 1],
        "caucasian": ancestry[:, 2],
    }


def _draw_adiposity(n: int, rng: np.random.Generator) -> Float[ndarray, " n"]:
    """Draws how far past the end of the weight slider a body goes; half of them do not."""
    return np.where(rng.random(n) < 0.5, rng.beta(1.2, 1.2, n), 0.0)


def _fatten(phenotype: dict[str, ndarray], adiposity: Float[ndarray, " n"]) -> None:
    """Moves the main sliders of obese bodies: full weight shows only where muscle is low."""
    ease = np.clip(2 * adiposity, 0.0, 1.0)
    phenotype["weight"] += ease * (1 - phenotype["weight"])
    phenotype["muscle"] *= 1 - 0.7 * adiposity


_ORDINARY_SPREAD = {
    ("upperarm", "lowerarm", "upperleg", "lowerleg"): 0.22,
    ("measure-",): 0.25,
    ("torso-scale", "torso-vshape", "torso-muscle", "hip-scale", "hip-waist", "buttocks"): 0.30,
    ("neck-scale", "neck-double", "head-scale", "head-fat", "pelvis-tone", "stomach-tone"): 0.30,
    ("stomach-pregnant",): 0.30,
    ("breast-dist", "breast-volume-vert", "breast-point"): 0.25,
    ("hand-scale-incr", "foot-scale-incr", "hand-fingers-length"): 0.25,
}
"""Standard deviation of the local changes by the beginning of their names; others stay at 0."""

_BELLY = {
    "stomach-pregnant-incr": 0.55,
    "measure-waist-circ-incr": 0.60,
    "measure-bust-circ-incr": 0.50,
    "measure-underbust-circ-incr": 0.50,
    "torso-scale-depth-incr": 0.45,
    "torso-scale-horiz-incr": 0.30,
    "stomach-tone-incr": -0.50,
    "hip-scale-depth-incr": 0.30,
    "head-fat-incr": 0.40,
    "neck-double-incr": 0.40,
    "measure-neck-circ-incr": 0.35,
}
_HIPS_AND_LIMBS = {
    "measure-hips-circ-incr": 0.60,
    "hip-scale-horiz-incr": 0.40,
    "hip-scale-depth-incr": 0.30,
    "buttocks-volume-incr": 0.45,
    "upperleg-fat-incr": 0.60,
    "measure-thigh-circ-incr": 0.55,
    "measure-knee-circ-incr": 0.45,
    "lowerleg-fat-incr": 0.45,
    "measure-calf-circ-incr": 0.35,
    "upperarm-fat-incr": 0.80,
    "measure-upperarm-circ-incr": 0.60,
    "lowerarm-fat-incr": 0.60,
}
"""Mean local change of a fully obese body, by where it carries its fat."""


def _draw_local_changes(
    source: SourceBody,
    adiposity: Float[ndarray, " n"],
    gender: float,
    rng: np.random.Generator,
    others: float,
) -> dict[str, ndarray]:
    """Draws local changes, the same on both sides of the body, more of them where fat sits."""
    n = len(adiposity)
    on_belly = np.clip(rng.beta(2, 2, n) + 0.15 * (1 - 2 * gender), 0.0, 1.0)
    drawn: dict[str, ndarray] = {}
    changes = {}
    for label in source.model.local_change_labels:
        name = label[2:] if label[:2] in ("l-", "r-") else label
        spread = _spread(name, others)
        if not spread or label in _SIDEWAYS:
            continue
        if name not in drawn:
            fat = _BELLY.get(name, 0.0) * (0.4 + 1.2 * on_belly)
            fat = fat + _HIPS_AND_LIMBS.get(name, 0.0) * (1.6 - 1.2 * on_belly)
            value = rng.normal(0.0, spread, n) + adiposity * fat
            low, high = (0.0, 0.9) if name.startswith("stomach-pregnant") else (-0.8, 0.9)
            drawn[name] = np.clip(value, low, high)
        changes[label] = drawn[name]
    return changes


_SIDEWAYS = (
    *(f"{part}-trans-out" for part in ("head", "hip", "mouth", "neck", "nose", "torso")),
    "head-angle-out",
)
"""Changes that make the body lopsided; they stay at 0."""


def _spread(name: str, others: float) -> float:
    """Gives the standard deviation of a local change."""
    if "trans" in name or "valgus" in name:
        return others
    found = (s for starts, s in _ORDINARY_SPREAD.items() if name.startswith(starts))
    return next(found, others)


def _importance(
    population: Population,
    height: Float[ndarray, " n"],
    bmi: Float[ndarray, " n"],
    rng: np.random.Generator,
) -> Float[ndarray, " n"]:
    """Weighs the pool by target over present density, none above ten times the mean weight."""
    excess = np.log(np.maximum(bmi - population.bmi_floor, 1e-3))
    points = np.stack([height, excess])
    present = gaussian_kde(points[:, rng.choice(len(height), 3000)])(points)
    target = norm.pdf(height, *population.height) * norm.pdf(
        excess, np.log(population.median_bmi - population.bmi_floor), population.bmi_spread
    )
    weights = target / np.maximum(present, np.percentile(present, 1))
    weights = np.minimum(weights, 10 * weights.mean())
    return weights / weights.sum()


def _effective_size(weights: Float[ndarray, " n"]) -> float:
    return float(weights.sum() ** 2 / np.sum(weights**2))
