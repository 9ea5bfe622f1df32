"""What a run minimises, put together from its configuration."""

from __future__ import annotations

import dataclasses

import torch

from plausibody.config import RunConfig
from plausibody.models.danet_losses import DanetLoss
from plausibody.models.hmr_loss import HmrLoss
from plausibody.models.joint_markers import joint_markers
from plausibody.models.likelihood import HierprobLoss, LikelihoodLoss
from plausibody.models.losses import LiteLoss, StrapsLoss
from plausibody.models.markers import Markers, area_shares, supervised_vertices
from plausibody.models.part_tables import part_tables
from plausibody.synth.semantic_losses import SemanticLoss, build_semantics
from plausibody.synth.stores import SynthAssets
from plausibody.synth.supervision import DrawnMesh, SilhouetteLoss, SupervisedLoss

SUPERVISED = 700
"""Vertices that small networks learn."""

Plain = LiteLoss | StrapsLoss | LikelihoodLoss | HierprobLoss | HmrLoss
Objective = Plain | DanetLoss | SupervisedLoss | SemanticLoss


def build_objective(config: RunConfig, assets: SynthAssets) -> Objective:
    """Makes the objective of a run, on the device of the assets' body."""
    objective: Objective = _build_plain(config, assets)
    if config.method == "danet":
        first = config.danet.estimator_steps if config.proxy.channel == "rgb" else 0
        device = assets.template.faces.device
        objective = DanetLoss(objective, part_tables(), config.dense, first).to(device)
    settings, backend = config.supervision, config.renderer.backend
    if settings.weight:
        pictures = SilhouetteLoss(DrawnMesh.of(assets, settings.mesh), settings, backend)
        objective = SupervisedLoss(
            objective,
            pictures,
            "silhouette",
            settings.weight,
            settings.first_step,
            learned=config.objective == "straps",
        )
    if config.semantics.counts:
        objective = build_semantics(objective, assets, config.semantics, backend)
    return objective


def loss_changes(config: RunConfig) -> list[int]:
    """Lists the steps at which more begins to count, in order: a step then takes longer."""
    found = []
    if config.method == "hierprob":
        found.append(config.train.second_stage)
    if config.method == "danet" and config.proxy.channel == "rgb":
        found.append(config.danet.estimator_steps)
    if config.supervision.weight:
        found.append(config.supervision.first_step)
    if config.semantics.counts:
        found.append(config.semantics.first_step)
    return sorted(found)


def _build_plain(config: RunConfig, assets: SynthAssets) -> Plain:
    """Makes what is said of bodies by numbers."""
    template, regressors = assets.template, assets.regressors
    second = config.train.second_stage
    if config.objective != "lite":
        every = torch.arange(len(template.vertices), device=template.faces.device)
        whole = Markers.of(template, regressors, every)
        if config.objective == "straps":
            return StrapsLoss(whole)
        if config.objective == "hmr":
            return HmrLoss(_seen_markers(assets, everything=True), config.hmr)
        return HierprobLoss(whole, _seen_markers(assets), config.hierprob, second)
    vertices = supervised_vertices(regressors, assets.supervised, SUPERVISED)
    markers = Markers.of(template, regressors, vertices)
    shares = area_shares(template, vertices)
    lite = LiteLoss(markers, template, config.regressor.shape_count, config.loss, shares)
    if config.method != "hierprob":
        return lite
    return LikelihoodLoss(lite, _seen_markers(assets), config.likelihood, second)


def _seen_markers(assets: SynthAssets, everything: bool = False) -> Markers:
    """Makes what poses COCO's joints and, unless they are all, nothing else."""
    template, regressors = assets.template, assets.regressors
    if not everything:
        zeros = torch.zeros_like(regressors.h36m17)
        regressors = dataclasses.replace(regressors, h36m17=zeros)
    return joint_markers(template, regressors)
