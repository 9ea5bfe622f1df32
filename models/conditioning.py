"""What is known of a person besides the picture: their height, or more pictures of them.

Each narrows the distribution of the shape. The pose does not change, as networks of ours predict
both independently of each other; the camera does, since a larger body that fills as many pixels
stands farther away.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.camera import WeakPerspectiveCamera, world_to_camera
from plausibody.models.prediction import BodyPrediction, FisherPrediction
from plausibody.models.shapes import ShapeGaussian

SHORTEST, TALLEST = 1.0, 2.5
"""Heights that are believed [m]: all but a few adults ever measured. Metres, feet or inches that
were given as centimetres lie below, millimetres above."""
HEIGHT_STD = 0.005
"""Of a height that people know [m]: it is rounded to a centimetre, and changes through the day."""
DOUBTFUL = 2.576
"""Standard deviations of the predicted height beyond which a known one is doubted: those of a 99 %
interval."""
POPULATION_STD = 1.5
"""Of the shape coefficients in the streams that networks learn from, over all directions."""
MOST_STRETCHED = 3.0
"""How many times as far from the mean body as a picture's prediction its own opinion may lie, the
population taken out. Where a picture says little, there would be no bound, and what is wrong with a
prediction grows with it: sixteen copies of one picture made bodies that no tape could measure.
"""
STEPS = 3
"""Linearisations of the height. It is the distance of two vertices, linear in the coefficients as
long as these are the highest and the lowest: the mean's error after three is below
0.01 mm."""


def with_shape(
    prediction: FisherPrediction, template: BodyTemplate, shape: ShapeGaussian
) -> FisherPrediction:
    """Replaces the distribution of the shape; the body keeps its size and place in the picture.

    The scale of the weak-perspective camera changes by the ratio of the heights of the two mean
    bodies at rest, and its shift so that the middle of the posed body's joints stays in place. Were
    it the template's origin that stays, a crouching person told to be small would slide downwards.

    Args:
        template: Whose shape it is.
        shape: For the same people, in the same order.
    """
    camera = prediction.camera
    ratio = _height(template, prediction.shape.mean)[0] / _height(template, shape.mean)[0]
    skeleton = template.subset(torch.arange(0, device=template.vertices.device))
    rotations = prediction.mode().rotations
    before, after = (
        world_to_camera(pose_body(skeleton, mean, rotations).joints.mean(-2))[..., :2]
        for mean in (prediction.shape.mean, shape.mean)
    )
    # scale * (middle + shift) stays.
    shift = (before + camera.shift) / ratio[..., None] - after
    moved = WeakPerspectiveCamera(scale=camera.scale * ratio, shift=shift)
    return dataclasses.replace(prediction, camera=moved, shape=shape)


def given_height(
    prediction: BodyPrediction,
    template: BodyTemplate,
    height: float | Float[Tensor, "*batch"],
    std: float = HEIGHT_STD,
) -> FisherPrediction:
    """Conditions the shape on a known height.

    One picture does not tell near and small from far and large, so most of what is uncertain of a
    shape is its size, and a known height narrows nearly every measurement.

    Args:
        template: Whose shape it is.
        height: Barefoot, as `Measurements.height` is [m]; one for all people or one for each.
        std: Of the error of that height [m].

    Raises:
        ValueError: If a height is not between `SHORTEST` and `TALLEST`, or `std` not positive.
        TypeError: If the prediction is a single body, which nothing can narrow.
    """
    prior = _distribution(prediction).shape
    known = _check_height(height, prior.mean)
    posterior = prior
    for _ in range(STEPS):
        value, direction = _height(template, posterior.mean)
        # Of the prior every time: only the point of linearisation moves.
        linear = known - value + (direction * posterior.mean).sum(-1)
        posterior = prior.given(direction, linear, std)
    return with_shape(_distribution(prediction), template, posterior)


def doubt_height(
    prediction: BodyPrediction, template: BodyTemplate, height: float | Float[Tensor, "*batch"]
) -> str:
    """Says what to warn of if a known height is far from what the picture says; empty if not.

    Arguments and errors as of `given_height`.
    """
    shape = _distribution(prediction).shape
    known = _check_height(height, shape.mean)
    mean, direction = _height(template, shape.mean)
    variance = ((shape.factor.mT @ direction[..., None])[..., 0]).square().sum(-1)
    std = (variance + HEIGHT_STD**2).sqrt()
    away = ((known - mean) / std).abs().flatten()
    worst = int(away.argmax())
    if away[worst] <= DOUBTFUL:
        return ""
    came, wanted, wide = (100 * float(x.flatten()[worst]) for x in (known, mean, std))
    return (
        f"--height-cm: {came:.0f} cm is far from what the picture says, {wanted:.0f} cm with a "
        f"standard deviation of {wide:.0f} cm; is it this person's, and in centimetres?"
    )


def fuse(
    shapes: Sequence[ShapeGaussian], population_std: float | None = POPULATION_STD
) -> ShapeGaussian:
    """Joins what several pictures of the same people say of their shape.

    The published rule multiplies the densities. But each of them also holds what the network knew
    of people before it saw a picture, and the product counts that once for every picture. Here it
    is taken out of each, and counts once. Measured on 192 people of the stream, with 2 and with 4
    pictures: 87 and 83 % of measurements in 90 % intervals instead of 79 and 65, and errors of the
    girths smaller by 1 and 6 %. Copies of one picture count as if they were others: leave them out.

    Args:
        shapes: One for each picture, of the same batch. Condition on a known height afterwards.
        population_std: Of each coefficient, in the population that the network learnt; in
            directions in which a picture says less than this, it says nothing. None for the
            published rule.

    Raises:
        ValueError: If there are no shapes, or `population_std` is not positive.

    Source: Sengupta et al., "Probabilistic 3D Human Shape and Pose Estimation from Multiple
    Unconstrained Images in the Wild", 2021, section 3.4 (the product).
    """
    if not shapes:
        raise ValueError("shapes: wanted one for each picture, came none")
    if population_std is not None and not population_std > 0:
        raise ValueError(f"population_std: wanted a positive number, came {population_std}")
    if population_std is None or len(shapes) == 1:
        return functools.reduce(ShapeGaussian.product, shapes)
    first = shapes[0].mean
    prior = population_std**-2
    total = prior * torch.eye(first.shape[-1], dtype=torch.float64, device=first.device)
    pull = torch.zeros_like(first, dtype=torch.float64)[..., None]
    for shape in shapes:
        # The population is alike in all directions: both have the axes of the prediction.
        precision, axes = torch.linalg.eigh(torch.cholesky_inverse(shape.factor.double()))
        gain = (precision - prior).clamp(min=0)
        told = torch.minimum(precision, MOST_STRETCHED * gain)
        total = total + (axes * gain[..., None, :]) @ axes.mT
        pull = pull + (axes * told[..., None, :]) @ (axes.mT @ shape.mean.double()[..., None])
    factor = torch.linalg.cholesky(total)
    mean = torch.cholesky_solve(pull, factor)[..., 0]
    covariance = torch.cholesky_inverse(factor)
    return ShapeGaussian.of_covariance(mean.to(first.dtype), covariance.to(first.dtype))


def _distribution(prediction: BodyPrediction) -> FisherPrediction:
    if not isinstance(prediction, FisherPrediction):
        raise TypeError(
            "known height: wanted a prediction with a distribution, got a single body; "
            "do: use weights of the method hierprob"
        )
    return prediction


def _check_height(
    height: float | Float[Tensor, "*batch"], like: Float[Tensor, "*batch S"]
) -> Float[Tensor, "*batch"]:
    known = torch.as_tensor(height, dtype=like.dtype, device=like.device)
    wrong = ~((known >= SHORTEST) & (known <= TALLEST))  # not a number is wrong too
    if bool(wrong.any()):
        came = 100 * float(known[wrong].flatten()[0])
        raise ValueError(
            f"height: wanted an adult's, {100 * SHORTEST:.0f} to {100 * TALLEST:.0f} cm, came "
            f"{came:.4g} cm; do: --height-cm is in centimetres"
        )
    return known.expand(like.shape[:-1])


def _height(
    template: BodyTemplate, shape: Float[Tensor, "*batch S"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch S"]]:
    """Gives the height of bodies at rest [m], and its gradient by the coefficients."""
    skin, count = template.skin, shape.shape[-1]
    directions = skin.shape_matrix[:count].unflatten(-1, (3, -1))[:, 1]
    level = skin.vertices[:, 1] + shape @ directions
    (high, top), (low, bottom) = level.max(-1), level.min(-1)
    return high - low, (directions.T[top] - directions.T[bottom])
