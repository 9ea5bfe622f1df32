"""Validation on people who are drawn once: the same for every network of a run.

`evaluate.run.quick_figures` has people of its own, the same for all runs, whom it can show to
networks that read silhouettes and learn the open body. Networks that read edges, or learn another
body, are measured here on people of their own stream with the poses of the validation split.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch

from plausibody.config import RunConfig
from plausibody.evaluate.baselines import MeanBody
from plausibody.evaluate.ruler import Measured, Ruler
from plausibody.evaluate.run import QUICK_FIGURES, Estimator, mean_errors
from plausibody.models.body import regress
from plausibody.models.camera import fit_weak_perspective
from plausibody.models.losses import Target
from plausibody.models.proxy import Proxy
from plausibody.models.records import to_device
from plausibody.models.regressor import Regressor
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.stores import SynthAssets

HELD_OUT = 256
"""People."""
HELD_OUT_SEED = 256_000
"""Of the stream that they are from, whatever the seed of the run: runs with one stream, and another
seed, are measured on the same people."""
CHUNK = 32
"""People at a time: pictures of 256 pixels take memory."""


class HeldOut:
    """People of a run's own stream whom no training sees; made once, at the first measurement."""

    def __init__(
        self, config: RunConfig, assets: SynthAssets, held_out: SynthAssets, count: int = HELD_OUT
    ):
        """Args:
        config: Of the run.
        assets: Of the training: its mean body is the baseline.
        held_out: To draw people from: poses of the validation split.
        count: How many people.
        """
        self._config, self._assets, self._held_out = config, assets, held_out
        self._count = count
        self._parts: list[tuple[Proxy, Measured]] = []
        self._ruler: Ruler | None = None
        self._mean_body = float("nan")

    def figures(self, network: Regressor, device: torch.device | str) -> dict[str, float]:
        """Measures a network.

        Args:
            network: On the device; its mode is left as it was.

        Returns:
            The main errors, and PA-MPJPE over the mean body's.
        """
        if self._ruler is None:
            self._make(torch.device(device))
        training = network.training
        found = self._measure(network.eval())
        network.train(training)
        return {**found, "pa_mpjpe_over_mean_body": found["pa_mpjpe"] / self._mean_body}

    def _make(self, device: torch.device) -> None:
        """Draws the people and poses their true bodies."""
        self._ruler = ruler = held_out_ruler(self._held_out, device)
        for people in held_out_people(self._config, self._held_out, self._count):
            proxy, target = to_device(people.proxy, device), to_device(people.target, device)
            self._parts.append((proxy, true_measures(ruler, target)))
        mean_body = MeanBody.of(self._assets.bank.to(device), ruler.assets)
        self._mean_body = self._measure(mean_body)["pa_mpjpe"]

    def _measure(self, estimator: Estimator) -> dict[str, float]:
        assert self._ruler is not None
        found = mean_errors(estimator, self._ruler, self._parts)
        return {name: found[name] for name in QUICK_FIGURES}


def held_out_ruler(held_out: SynthAssets, device: torch.device | str) -> Ruler:
    """Gives what bodies of a run are measured with."""
    return Ruler(to_device(dataclasses.replace(held_out, looks=None, genders=None), device))


def held_out_people(config: RunConfig, held_out: SynthAssets, count: int) -> Iterator[Batch]:
    """Draws people of a run's stream, a few at a time.

    Args:
        config: Of the run.
        held_out: Poses that no training sees.
    """
    stream = dataclasses.replace(config.stream, seed=HELD_OUT_SEED)
    generator = BatchGenerator.of(stream, config.proxy, held_out, count, config.renderer.backend)
    for first in range(0, count, CHUNK):
        yield generator.samples(first, min(CHUNK, count - first))


def true_measures(ruler: Ruler, truth: Target) -> Measured:
    """Poses true bodies. Of their cameras the key points are known, and exact."""
    joints = regress(
        ruler.assets.regressors.coco17, truth.parameters.posed(ruler.assets.template).vertices
    )
    everywhere = torch.ones_like(truth.keypoints[..., 0])
    camera = fit_weak_perspective(joints, truth.keypoints, everywhere)
    return dataclasses.replace(ruler(truth.parameters, camera), keypoints=truth.keypoints)
