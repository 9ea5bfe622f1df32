"""The normalising constant on a CPU: one compiled loop does what `fisher_normalizer` does by nodes.

The nodes, the weights and the formulas are those of `fisher_normalizer`. The Bessel functions are
polynomials: of the argument up to 8, and of its inverse, over the root of the argument, beyond.
Arguments rise or fall along the nodes, so that each polynomial is evaluated for one range of them,
in plain loops of which the compiler makes vector code.

Source: the two ranges are those of Cephes (Moshier, "Methods and Programs for Mathematical
Functions", 1989); our polynomials interpolate at Chebyshev's nodes and err by 1e-15 at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import fft, special
from torch import Tensor

from plausibody.models.fisher_normalizer import REACH, rule
from plausibody.models.loops_numba import compile_loop

# Written out, because code in the cache does not notice that another file changed.
_REACH = 40.0
_SPLIT = 8.0
_AT_ONCE = 5
assert _REACH == REACH


@compile_loop
def _polynomial(coefficients: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
    """Evaluates by Horner's rule, five steps for each visit.

    Args:
        coefficients: The highest first; their number is a multiple of 5.
    """
    for j in range(len(places)):
        values[j] = 0.0
    for k in range(0, len(coefficients), _AT_ONCE):
        a, b, c = coefficients[k], coefficients[k + 1], coefficients[k + 2]
        d, e = coefficients[k + 3], coefficients[k + 4]
        for j in range(len(places)):
            t = places[j]
            values[j] = ((((values[j] * t + a) * t + b) * t + c) * t + d) * t + e


@compile_loop
def _bessel_near(
    arguments: np.ndarray,
    polynomials: np.ndarray,
    places: np.ndarray,
    zeroth: np.ndarray,
    ratio: np.ndarray,
) -> None:
    """Fills in exp(-x) I0(x) and I1(x) / I0(x) for arguments up to 8.

    Args:
        polynomials: For exp(-x) I0(x) and exp(-x) I1(x).
        places: Room for what they are of.
    """
    for j in range(len(arguments)):
        places[j] = arguments[j] * (2 / _SPLIT) - 1
    _polynomial(polynomials[0], places, zeroth)
    _polynomial(polynomials[1], places, ratio)
    for j in range(len(arguments)):
        ratio[j] /= zeroth[j]


@compile_loop
def _bessel_far(
    arguments: np.ndarray,
    polynomials: np.ndarray,
    places: np.ndarray,
    zeroth: np.ndarray,
    ratio: np.ndarray,
) -> None:
    """Does the same beyond 8, with polynomials for the root of the argument times as much."""
    for j in range(len(arguments)):
        places[j] = 2 * _SPLIT / arguments[j] - 1
    _polynomial(polynomials[0], places, zeroth)
    _polynomial(polynomials[1], places, ratio)
    for j in range(len(arguments)):
        ratio[j] /= zeroth[j]
        zeroth[j] /= np.sqrt(arguments[j])


@compile_loop
def _moments(
    proper: np.ndarray,
    powers: np.ndarray,
    weights: np.ndarray,
    near: np.ndarray,
    far: np.ndarray,
    log_c: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """Fills in the constant's logarithm and gradient of each row; see `_Nodes` for the formulas."""
    count = len(powers)
    half, rest, fallen = np.empty(count), np.empty(count), np.empty(count)
    first, second, places = np.empty(count), np.empty(count), np.empty(count)
    i0_first, i0_second = np.empty(count), np.empty(count)
    ratio_first, ratio_second = np.empty(count), np.empty(count)
    for row in range(len(proper)):
        s1, s2, s3 = proper[row, 0], proper[row, 1], proper[row, 2]
        fall, less, more = max(s1 + s3, 0.0), max(s2 - s3, 0.0), max(s2 + s3, 0.0)
        reach = min(_REACH / fall, 2.0)
        small, large = 0, 0
        for j in range(count):
            half[j] = reach * powers[j] / 2
            rest[j] = 1 - half[j]
            first[j] = less * half[j]
            second[j] = more * rest[j]
            small += first[j] <= _SPLIT
            large += not second[j] <= _SPLIT
        # Slices, because the compiler makes no vector code of loops between two bounds.
        a, b = slice(0, small), slice(small, count)
        _bessel_near(first[a], near, places[a], i0_first[a], ratio_first[a])
        _bessel_far(first[b], far, places[b], i0_first[b], ratio_first[b])
        a, b = slice(large, count), slice(0, large)
        _bessel_near(second[a], near, places[a], i0_second[a], ratio_second[a])
        _bessel_far(second[b], far, places[b], i0_second[b], ratio_second[b])
        for j in range(count):
            fallen[j] = math.exp(-2 * fall * half[j])
        total, along, sum_first, sum_second = 0.0, 0.0, 0.0, 0.0
        for j in range(count):
            mass = weights[j] * i0_first[j] * i0_second[j] * fallen[j]
            total += mass
            along += mass * (1 - 2 * half[j])
            sum_first += mass * ratio_first[j] * half[j]
            sum_second += mass * ratio_second[j] * rest[j]
        log_c[row] = math.log(total * reach / 2) + s1 + s2 + s3
        gradient[row, 0] = along / total
        gradient[row, 1] = (sum_second + sum_first) / total
        gradient[row, 2] = (sum_second - sum_first) / total


def moments(
    proper: Float[Tensor, "*batch 3"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3"]]:
    """Gives log c and its gradient; see `fisher_normalizer.moments`.

    Args:
        proper: Singular values, s1 >= s2 >= |s3|, in float64, on a CPU.
    """
    values = proper.detach().contiguous()
    log_c, gradient = torch.empty_like(values[..., 0]), torch.empty_like(values)
    rows = (values.view(-1, 3), log_c.view(-1), gradient.view(-1, 3))
    inputs, *outputs = (part.numpy() for part in rows)
    _moments(inputs, *_tables(), *outputs)
    return log_c, gradient


@lru_cache(maxsize=1)
def _tables() -> tuple[np.ndarray, ...]:
    """Gives the nodes, their weights, and the polynomials up to 8 and beyond."""
    powers, weights = (np.array(part) for part in rule())
    near = [_interpolate(bessel, 30, _near) for bessel in (special.i0e, special.i1e)]
    far = [_interpolate(bessel, 25, _far) for bessel in (special.i0e, special.i1e)]
    return powers, weights, np.stack(near), np.stack(far)


_Function = Callable[[Any], Any]


def _near(bessel: _Function, t: np.ndarray) -> np.ndarray:
    return bessel((1 + t) * _SPLIT / 2)


def _far(bessel: _Function, t: np.ndarray) -> np.ndarray:
    argument = 2 * _SPLIT / (1 + t)
    return np.sqrt(argument) * bessel(argument)


def _interpolate(
    bessel: _Function, count: int, of_place: Callable[[_Function, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Gives the polynomial through Chebyshev's nodes of -1..1, the highest coefficient first.

    Here the sum of the coefficients' sizes is 1 at most, so that nothing is lost by powers of t.
    """
    nodes = np.cos((np.arange(count) + 0.5) * np.pi / count)
    series = fft.dct(of_place(bessel, nodes)) / count
    series[0] /= 2
    return np.polynomial.chebyshev.cheb2poly(series)[::-1].copy()
