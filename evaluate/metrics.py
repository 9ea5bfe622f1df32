"""Errors of predicted bodies: pure functions of (prediction, target), one number per sample.

Points go in as metres and errors come out as millimetres; every function takes any number of
leading batch axes. The names are those of the papers, which use some of them for different things:
each docstring says which points are compared, how they are aligned, and whose definition it is.

What is predicted must be finite: a NaN that dropped out of a mean would flatter. Where the truth is
unknown, NaN, the sample's error is NaN. `sample_metrics` has what else is taken of many guesses.

Sources: [H] Sengupta et al., "Hierarchical Kinematic Probability Distributions for 3D Human Shape
and Pose Estimation from Images in the Wild", 2021, and its released evaluation; [S] Sengupta et
al., "Synthetic Training for Accurate 3D Human Pose and Shape Estimation in the Wild", 2020, which
brought PVE-T-SC with the SSP-3D data; [K] Kolotouros et al., "Learning to Reconstruct 3D Human
Pose and Shape via Model-fitting in the Loop", 2019, whose evaluation set the joints and the root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from plausibody.models.rotations import mean_rotation
from plausibody.models.skeleton import H36M17, LSP14, indices

Metric = Callable[[Tensor, Tensor], Tensor]
"""(prediction, target) -> error of each sample."""

MILLIMETRES = 1000.0
_PELVIS = H36M17.index("pelvis")


def point_error(
    prediction: Float[Tensor, "*batch N 3"], target: Float[Tensor, "*batch N 3"]
) -> Float[Tensor, "*batch"]:
    """Averages the distances of corresponding points as they are [mm].

    Args:
        prediction: Points [m].
        target: Corresponding by index [m]. A sample with NaN among them has the error NaN.

    Raises:
        ValueError: If a prediction is not finite although its target is.
    """
    error = length(prediction - target).mean(-1) * MILLIMETRES
    if not bool(error.isfinite().all()):
        finite(prediction[target.isfinite().all(-1).all(-1)])
    return error


def finite(prediction: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Gives numbers back if all are finite.

    Raises:
        ValueError: If some are not.
    """
    if not bool(prediction.isfinite().all()):
        raise ValueError("wanted finite predictions, got NaN or infinite ones among them")
    return prediction


def length(vector: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch"]:
    """The norm; by coordinates, as vertices lie in memory: ten times as fast as `norm` on a CPU."""
    return torch.stack([part.square() for part in vector.unbind(-1)]).sum(0).sqrt()


def align_scale_translation(
    points: Float[Tensor, "*batch N 3"], target: Float[Tensor, "*batch N 3"]
) -> Float[Tensor, "*batch N 3"]:
    """Gives `points` the centre and the spread of `target`, leaving their orientation.

    The "SC" of PVE-SC and PVE-T-SC: it forgives what a single image cannot tell, size and place.

    Args:
        points: Predicted [m].
        target: Corresponding by index [m].

    Raises:
        ValueError: If all of `points` coincide, when no scale exists, or some are not finite.

    Source: [S] and [H], as released. The scale is the ratio of the root mean square distances
    from the centre. That is not the scale of least squares, which is smaller unless the two are
    similar; we follow the release, so that figures compare.
    """
    centred = finite(points) - points.mean(-2, keepdim=True)
    target_centre = target.mean(-2, keepdim=True)
    scale = _spread(target - target_centre) / _positive(_spread(centred))
    return centred * scale[..., None, None] + target_centre


def align_similarity(
    points: Float[Tensor, "*batch N 3"], target: Float[Tensor, "*batch N 3"]
) -> Float[Tensor, "*batch N 3"]:
    """Turns, scales and shifts `points` onto `target` by least squares, without reflection.

    The "PA" (Procrustes alignment) of PA-MPJPE and PVE-PA. Points on a line leave the turn about
    it open, and which one is taken changes no distance to `target`.

    Args:
        points: Predicted [m].
        target: Corresponding by index [m]. Where some are NaN, all that is given is.

    Raises:
        ValueError: If all of `points` coincide, when no scale exists, or some are not finite.

    Source: Umeyama, "Least-Squares Estimation of Transformation Parameters Between Two Point
    Patterns", 1991, equations 40-42.
    """
    centred = finite(points) - points.mean(-2, keepdim=True)
    target_centre = target.mean(-2, keepdim=True)
    # Decompositions stop at NaN; the centre keeps that of unknown targets.
    covariance = ((target - target_centre).mT @ centred).nan_to_num()
    # The rotation that maximises trace(R' C) is the one nearest to C: the "mean" of C alone.
    rotation = mean_rotation(covariance[None])
    spread = _positive(centred.square().sum((-2, -1)))
    scale = (rotation * covariance).sum((-2, -1)) / spread
    return scale[..., None, None] * (centred @ rotation.mT) + target_centre


def _spread(centred: Float[Tensor, "*batch N 3"]) -> Float[Tensor, "*batch"]:
    return centred.square().sum(-1).mean(-1).sqrt()


def _positive(spread: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    if not bool((spread > 0).all()):
        raise ValueError("wanted points that differ, to scale them, got some that all coincide")
    return spread


def _counted(
    joints: Float[Tensor, "*batch J 3"], names: Sequence[str]
) -> Float[Tensor, "*batch N 3"]:
    """Takes the joints that are counted: from all rows of the H36M regressor, or LSP's alone."""
    given = {len(H36M17): H36M17, len(LSP14): LSP14}.get(joints.shape[-2])
    if given is None:
        raise ValueError(
            f"joints: wanted the 17 rows of the H36M joint regressor or the 14 of LSP, got "
            f"{joints.shape[-2]}; for other joints take point_error after an alignment"
        )
    if missing := [name for name in names if name not in given]:
        raise ValueError(f"joints: wanted {', '.join(missing)} too, got the {len(given)} of LSP")
    return joints if list(names) == given else joints[..., indices(list(names), given), :]


def _root(joints: Float[Tensor, "*batch J 3"]) -> Float[Tensor, "*batch 1 3"]:
    """The pelvis; from LSP's joints, which have none, the middle of the hips."""
    if joints.shape[-2] == len(H36M17):
        return joints[..., _PELVIS : _PELVIS + 1, :]
    hips = indices(["left_hip", "right_hip"], LSP14)
    return joints[..., hips, :].mean(-2, keepdim=True)


def mpjpe(
    prediction: Float[Tensor, "*batch J 3"],
    target: Float[Tensor, "*batch J 3"],
    names: Sequence[str] = LSP14,
) -> Float[Tensor, "*batch"]:
    """Averages the errors of the 14 LSP joints after moving the pelvis onto the pelvis [mm].

    The usual MPJPE.

    Args:
        prediction: The 17 joints that the H36M regressor gives of the predicted mesh [m]. With
            the 14 of LSP instead, the middle of the hips stands for the pelvis.
        target: The same of the true mesh [m].
        names: Which joints count: the 14 of LSP, often called J14, or all of `H36M17`. SPIN's J17,
            with which MPI-INF-3DHP is measured, are those same 17 in another order.

    Source: [K].
    """
    moved = _counted(prediction, names) - _root(prediction)
    return point_error(moved, _counted(target, names) - _root(target))


def mpjpe_smplorigin(
    prediction: Float[Tensor, "*batch J 3"],
    target: Float[Tensor, "*batch J 3"],
    names: Sequence[str] = LSP14,
) -> Float[Tensor, "*batch"]:
    """Averages the errors of the 14 LSP joints in the body model's own frame [mm].

    Nothing is aligned: the origin of SMPL's template, which is not the pelvis, takes its place, and
    differs from it by a few millimetres to centimetres with the shape. What [S] and [H] print as
    MPJPE. Arguments as in `mpjpe`.
    """
    return point_error(_counted(prediction, names), _counted(target, names))


def mpjpe_sc(
    prediction: Float[Tensor, "*batch J 3"],
    target: Float[Tensor, "*batch J 3"],
    names: Sequence[str] = LSP14,
) -> Float[Tensor, "*batch"]:
    """Averages the errors of the 14 LSP joints after scale and shift ([H]) [mm].

    Arguments as in `mpjpe`.
    """
    prediction, target = _counted(prediction, names), _counted(target, names)
    return point_error(align_scale_translation(prediction, target), target)


def pa_mpjpe(
    prediction: Float[Tensor, "*batch J 3"],
    target: Float[Tensor, "*batch J 3"],
    names: Sequence[str] = LSP14,
) -> Float[Tensor, "*batch"]:
    """Averages the errors of the 14 LSP joints after rotation, scale and shift ([K], [H]) [mm].

    Also known as reconstruction error. Arguments as in `mpjpe`.
    """
    prediction, target = _counted(prediction, names), _counted(target, names)
    return point_error(align_similarity(prediction, target), target)


def pve(
    prediction: Float[Tensor, "*batch V 3"], target: Float[Tensor, "*batch V 3"]
) -> Float[Tensor, "*batch"]:
    """Averages the errors of the posed vertices in the body model's own frame [mm].

    Neither root nor pelvis is aligned ([H]; the evaluation of DSR). Other authors align the pelvis
    and write PVE too: `pve_pelvis`.

    Args:
        prediction: All vertices of the posed body, without translation [m].
        target: The same of the true body [m].
    """
    return point_error(prediction, target)


def pve_pelvis(
    prediction: Float[Tensor, "*batch V 3"],
    target: Float[Tensor, "*batch V 3"],
    pelvis: Float[Tensor, "*batch 3"],
    target_pelvis: Float[Tensor, "*batch 3"],
) -> Float[Tensor, "*batch"]:
    """Averages the errors of the posed vertices after moving the pelvis onto the pelvis [mm].

    Most papers' PVE, also MPVE, MPVPE and V2V.

    Args:
        prediction: As in `pve`.
        target: As in `pve`.
        pelvis: What the H36M regressor gives of the predicted mesh [m].
        target_pelvis: The same of the true mesh [m].
    """
    return point_error(prediction - pelvis[..., None, :], target - target_pelvis[..., None, :])


def pve_sc(
    prediction: Float[Tensor, "*batch V 3"], target: Float[Tensor, "*batch V 3"]
) -> Float[Tensor, "*batch"]:
    """Averages the errors of the posed vertices after scale and shift ([H]) [mm]."""
    return point_error(align_scale_translation(prediction, target), target)


def pve_pa(
    prediction: Float[Tensor, "*batch V 3"], target: Float[Tensor, "*batch V 3"]
) -> Float[Tensor, "*batch"]:
    """Averages the errors of the posed vertices after rotation, scale and shift ([H]) [mm]."""
    return point_error(align_similarity(prediction, target), target)


def pve_t(
    prediction: Float[Tensor, "*batch V 3"], target: Float[Tensor, "*batch V 3"]
) -> Float[Tensor, "*batch"]:
    """Averages the errors of the vertices of bodies at rest as they are ([H]) [mm].

    Arguments, and whose mesh it is: as in `pve_t_sc`.
    """
    return point_error(prediction, target)


def pve_t_sc(
    prediction: Float[Tensor, "*batch V 3"], target: Float[Tensor, "*batch V 3"]
) -> Float[Tensor, "*batch"]:
    """Averages the errors of the vertices of bodies at rest after scale and shift [mm].

    The error of the shape alone. It depends on whose mesh the prediction is: the neutral body's
    (what [H] prints for a neutral regressor) or that of the true gender (the code that comes with
    SSP-3D); say which.

    Args:
        prediction: Vertices of the body in its rest pose, from the shape coefficients alone [m].
        target: The same of the true body [m].

    Source: [S], section 4.
    """
    return point_error(align_scale_translation(prediction, target), target)


def silhouette_iou(
    prediction: Shaped[Tensor, "*batch H W"], target: Shaped[Tensor, "*batch H W"]
) -> Float[Tensor, "*batch"]:
    """Divides the common area of two masks by their joint area, for each pair: 0..1.

    Soft masks are cut at one half. Two empty masks agree: 1. The mean over a data set weighs small
    people like large ones; [H] prints `pooled_silhouette_iou` instead.
    """
    return overlap(*areas(prediction, target))


def pooled_silhouette_iou(
    prediction: Shaped[Tensor, "*batch H W"], target: Shaped[Tensor, "*batch H W"]
) -> Float[Tensor, ""]:
    """Divides the common area of all pairs of masks by their joint area: 0..1.

    The sum of true positives over the sums of true positives, false positives and false negatives
    of a data set ([H]): large people count more. Masks that are all empty agree: 1.
    """
    common, joint = areas(prediction, target)
    return overlap(common.sum(), joint.sum())


def areas(
    prediction: Shaped[Tensor, "*batch H W"], target: Shaped[Tensor, "*batch H W"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Gives the common and the joint area of two masks [px]; soft ones are cut at one half."""
    inside, true = prediction > 0.5, target > 0.5
    return (inside & true).sum((-2, -1)).double(), (inside | true).sum((-2, -1)).double()


def overlap(
    common: Float[Tensor, "*batch"], joint: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Divides common areas by joint ones [px]: 0..1; nothing agrees with nothing."""
    return torch.where(joint > 0, common / joint.clamp(min=1), 1.0)


def keypoint_error(
    prediction: Float[Tensor, "*batch K 2"],
    target: Float[Tensor, "*batch K 2"],
    visible: Bool[Tensor, "*batch K"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Averages the distances of key points in the picture, in the unit that they come in.

    Args:
        prediction: Projected key points; [H] counts pixels of a crop of 256.
        target: True ones.
        visible: Which of them count; without it all do, as in [H]. A sample with none gives NaN.
    """
    distance = length(finite(prediction) - target)
    if visible is None:
        return distance.mean(-1)
    return distance.where(visible, 0.0).sum(-1) / visible.sum(-1)


def minimum_of_samples(
    metric: Metric,
    samples: Float[Tensor, " N *batch"],
    target: Float[Tensor, "*batch"],
    mode: Float[Tensor, "*batch"] | None = None,
) -> Tensor:
    """Takes the smallest error among several guesses of each sample [the metric's unit].

    It falls with the number of guesses whatever they are worth: name that number beside it.

    Args:
        metric: Of one guess, such as `pve`.
        samples: Guesses, as the metric takes them, stacked along the first axis.
        target: The truth, without that axis.
        mode: Takes the place of the first guess if given, as in the released evaluation of [H].
    """
    guesses = list(samples) if mode is None else [mode, *samples[1:]]
    if not guesses:
        raise ValueError("samples: wanted at least one guess, got none")
    return torch.stack([metric(guess, target) for guess in guesses]).amin(0)


def coverage(
    prediction: Float[Tensor, " N *batch"], target: Float[Tensor, "*batch"], level: float = 0.9
) -> Float[Tensor, "*batch"]:
    """Tells whether the truth lies in the central interval of predictive samples: 1 or 0.

    Its mean over people should be the level; above it, the intervals are too wide. N samples can
    at best resolve steps of 1 / (N + 1).

    Args:
        prediction: Samples of a number (a length, a coefficient) along the first axis.
        target: The true number.
        level: Probability that the interval should hold, between 0 and 1.
    """
    low, high = central_quantiles(prediction, level)
    return ((low <= target) & (target <= high)).to(prediction.dtype)


def central_quantiles(
    prediction: Float[Tensor, " N *batch"], level: float
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Gives both ends of the central interval of samples.

    Raises:
        ValueError: If the level is no probability, or samples are not finite.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: wanted a probability between 0 and 1, got {level}")
    tails = prediction.new_tensor([(1 - level) / 2, (1 + level) / 2])
    low, high = finite(prediction).quantile(tails, dim=0)
    return low, high
