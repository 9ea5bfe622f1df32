"""Seeing a person in a mirror as well: the mean of a prediction and of its mirrored twin.

A network that never saw a left-handed rule should say the same of a picture and of its mirror
image. Where it does not, the mean of both is the better guess, at twice the cost.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.prediction import BodyParameters, PointPrediction
from plausibody.models.proxy import Proxy
from plausibody.models.regressor import Regressor
from plausibody.models.rotations import mean_rotation
from plausibody.models.skeleton import COCO17, SMPL24, mirror

_COCO_MIRROR, _SMPL_MIRROR = mirror(COCO17), mirror(SMPL24)


def mirror_proxy(proxy: Proxy) -> Proxy:
    """Reflects what is seen in the middle of its box; left becomes right. Its own inverse."""
    keypoints = proxy.keypoints[..., _COCO_MIRROR, :] * proxy.keypoints.new_tensor([-1.0, 1, 1])
    return Proxy(
        silhouette=proxy.silhouette.flip(-1),
        keypoints=keypoints,
        box=proxy.box,
        edges=None if proxy.edges is None else proxy.edges.flip(-1),
    )


def mirror_rotations(rotations: Float[Tensor, "*batch 24 3 3"]) -> Float[Tensor, "*batch 24 3 3"]:
    """Reflects a pose in the plane between left and right. Its own inverse."""
    signs = rotations.new_tensor([-1.0, 1, 1])
    return rotations[..., _SMPL_MIRROR, :, :] * (signs[:, None] * signs)


def mirror_prediction(prediction: PointPrediction) -> PointPrediction:
    """Reflects a body and its camera; the shape stays, as our bodies are symmetric."""
    mode, camera = prediction.parameters, prediction.camera
    return PointPrediction(
        camera=WeakPerspectiveCamera(
            scale=camera.scale, shift=camera.shift * camera.shift.new_tensor([-1.0, 1])
        ),
        parameters=BodyParameters(shape=mode.shape, rotations=mirror_rotations(mode.rotations)),
    )


def predict_both(network: Regressor, proxy: Proxy) -> PointPrediction:
    """Predicts from a proxy and from its mirror image and averages; rotations by chordal means."""
    ahead = network.predict(proxy)
    behind = mirror_prediction(network.predict(mirror_proxy(proxy)))
    both = torch.stack([ahead.parameters.rotations, behind.parameters.rotations])
    return PointPrediction(
        camera=WeakPerspectiveCamera(
            scale=(ahead.camera.scale + behind.camera.scale) / 2,
            shift=(ahead.camera.shift + behind.camera.shift) / 2,
        ),
        parameters=BodyParameters(
            shape=(ahead.parameters.shape + behind.parameters.shape) / 2,
            rotations=mean_rotation(both),
        ),
    )
