"""What a run minimises, put together from its configuration."""

from __future__ import annotations

import dataclasses

import torch

from plausibody.config import RunConfig
from plausibody.models.joint_markers import joint_markers
from plausibody.models.likelihood import HierprobLoss, LikelihoodLoss
from plausibody.models.losses import LiteLoss, StrapsLoss
from plausibody.models.markers import Markers, area_shares, supervised_vertices
from plausibody.synth.stores import SynthAssets
from plausibody.synth.supervision import DrawnMesh, SilhouetteLoss, SupervisedLoss

SUPERVISED = 700
"""Vertices that small networks learn."""

Objective = LiteLoss | StrapsLoss | LikelihoodLoss | HierprobLoss | SupervisedLoss


def build_objective(config: RunConfig, assets: SynthAssets) -> Objective:
    """Makes the objective of a run, on the device of the assets' body."""
    objective, settings = _build_plain(config, assets), config.supervision
    if not settings.weight:
        return objective
    pictures = SilhouetteLoss(
        DrawnMesh.of(assets, settings.mesh), settings, config.renderer.backend
    )
    return SupervisedLoss(
        objective,
        pictures,
        "silhouette",
        settings.weight,
        settings.first_step,
        learned=config.objective == "straps",
    )


def loss_changes(config: RunConfig) -> list[int]:
    """Lists the steps at which more begins to count, in order: a step then takes longer."""
    found = []
    if config.method == "hierprob":
        found.append(config.train.second_stage)
    if config.supervision.weight:
        found.append(config.supervision.first_step)
    return sorted(found)


def _build_plain(config: RunConfig, assets: SynthAssets) -> Objective:
    """Makes what is said of bodies by numbers."""
    template, regressors = assets.template, assets.regressors
    second = config.train.second_stage
    if config.objective != "lite":
        every = torch.arange(len(template.vertices), device=template.faces.device)
        whole = Markers.of(template, regressors, every)
        if config.objective == "straps":
            return StrapsLoss(whole)
        return HierprobLoss(whole, _seen_markers(assets), config.hierprob, second)
    vertices = supervised_vertices(regressors, assets.supervised, SUPERVISED)
    markers = Markers.of(template, regressors, vertices)
    shares = area_shares(template, vertices)
    lite = LiteLoss(markers, template, config.regressor.shape_count, config.loss, shares)
    if config.method != "hierprob":
        return lite
    return LikelihoodLoss(lite, _seen_markers(assets), config.likelihood, second)


def _seen_markers(assets: SynthAssets) -> Markers:
    """Makes what poses COCO's joints and nothing else."""
    template, regressors = assets.template, assets.regressors
    coco = dataclasses.replace(regressors, h36m17=torch.zeros_like(regressors.h36m17))
    return joint_markers(template, coco)
