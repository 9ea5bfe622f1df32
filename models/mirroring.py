"""Seeing a person in a mirror as well: the mean of a prediction and of its mirrored twin.

A network that never saw a left-handed rule should say the same of a picture and of its mirror
image. Where it does not, the mean of both is the better guess, at twice the cost.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher
from plausibody.models.prediction import (
    BodyParameters,
    BodyPrediction,
    FisherPrediction,
    PointPrediction,
)
from plausibody.models.proxy import Proxy
from plausibody.models.regressor import Regressor
from plausibody.models.rotations import mean_rotation
from plausibody.models.shapes import ShapeGaussian
from plausibody.models.skeleton import COCO17, SMPL24, mirror

_COCO_MIRROR, _SMPL_MIRROR = mirror(COCO17), mirror(SMPL24)


def mirror_proxy(proxy: Proxy) -> Proxy:
    """Reflects what is seen in the middle of its box; left becomes right. Its own inverse.

    Raises:
        TypeError: If it has an IUV picture: charts are not symmetric, and no table here says which
            point lies opposite which.
    """
    if proxy.iuv is not None:
        raise TypeError(
            "mirror_proxy: wanted a proxy without IUV, whose mirror image is not known, got one "
            "with; do: predict without the mirror image (flip=False)"
        )
    keypoints = proxy.keypoints[..., _COCO_MIRROR, :] * proxy.keypoints.new_tensor([-1.0, 1, 1])
    return replace(
        proxy,
        silhouette=proxy.silhouette.flip(-1),
        keypoints=keypoints,
        edges=None if proxy.edges is None else proxy.edges.flip(-1),
        rgb=None if proxy.rgb is None else proxy.rgb.flip(-1),
    )


def mirror_rotations(rotations: Float[Tensor, "*batch 24 3 3"]) -> Float[Tensor, "*batch 24 3 3"]:
    """Reflects a pose in the plane between left and right. Its own inverse.

    Parameters of matrix-Fisher distributions change as rotations do: tr(F^T R) stays the same if
    both F and R become S F S and S R S, with S = diag(-1, 1, 1).
    """
    signs = rotations.new_tensor([-1.0, 1, 1])
    return rotations[..., _SMPL_MIRROR, :, :] * (signs[:, None] * signs)


def mirror_prediction(prediction: BodyPrediction) -> BodyPrediction:
    """Reflects bodies and their camera; the shape stays, as our bodies are symmetric.

    Raises:
        TypeError: If the prediction is of a kind that has no known mirror image.
    """
    camera = prediction.camera
    mirrored = WeakPerspectiveCamera(
        scale=camera.scale, shift=camera.shift * camera.shift.new_tensor([-1.0, 1])
    )
    if isinstance(prediction, PointPrediction):
        rotations = mirror_rotations(prediction.parameters.rotations)
        parameters = BodyParameters(shape=prediction.parameters.shape, rotations=rotations)
        return replace(prediction, camera=mirrored, parameters=parameters)
    if isinstance(prediction, FisherPrediction):
        root, joints = prediction.root[..., None, :, :], prediction.joints.parameter
        both = mirror_rotations(torch.cat([root, joints], -3))
        return replace(
            prediction,
            camera=mirrored,
            root=both[..., 0, :, :],
            joints=MatrixFisher(both[..., 1:, :, :]),
        )
    raise _unknown(prediction)


def average(first: BodyPrediction, second: BodyPrediction) -> BodyPrediction:
    """Gives the mean of two predictions from the same picture.

    They are two opinions on one piece of evidence, so the mean is no surer than they are. Single
    rotations have chordal means. Densities of rotations are pooled logarithmically, the normalised
    square root of their product: where both are equally sure and disagree, the result is less sure.
    Means of shapes are averaged, and so are their covariances.

    Raises:
        TypeError: If the two are not of one kind, or of an unknown one.
    """
    camera = WeakPerspectiveCamera(
        scale=(first.camera.scale + second.camera.scale) / 2,
        shift=(first.camera.shift + second.camera.shift) / 2,
    )
    if isinstance(first, PointPrediction) and isinstance(second, PointPrediction):
        one, other = first.parameters, second.parameters
        return PointPrediction(
            camera=camera,
            parameters=BodyParameters(
                shape=(one.shape + other.shape) / 2,
                rotations=mean_rotation(torch.stack([one.rotations, other.rotations])),
            ),
        )
    if isinstance(first, FisherPrediction) and isinstance(second, FisherPrediction):
        return FisherPrediction(
            camera=camera,
            root=mean_rotation(torch.stack([first.root, second.root])),
            joints=MatrixFisher((first.joints.parameter + second.joints.parameter) / 2),
            shape=ShapeGaussian.of_covariance(
                (first.shape.mean + second.shape.mean) / 2,
                (first.shape.covariance + second.shape.covariance) / 2,
            ),
        )
    raise _unknown(first, second)


def predict_both(network: Regressor, proxy: Proxy) -> BodyPrediction:
    """Predicts from a proxy and from its mirror image, and gives the mean of both.

    What a network reads that has no mirror image (`Regressor.mirrors`) is looked at once.
    """
    ahead = network.predict(proxy)
    if not network.mirrors:
        return ahead
    return average(ahead, mirror_prediction(network.predict(mirror_proxy(proxy))))


def _unknown(*predictions: BodyPrediction) -> TypeError:
    came = " and ".join(type(prediction).__name__ for prediction in predictions)
    return TypeError(f"wanted predictions of one kind, points or matrix-Fisher, got {came}")
