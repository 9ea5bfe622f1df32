"""Presets: configurations of whole trainings, the published ones and small ones for a CPU."""

from __future__ import annotations

import dataclasses
import math

from plausibody.config import RunConfig, TrainSettings, override
from plausibody.models.proxy import ProxySettings
from plausibody.models.regressor import RegressorSettings
from plausibody.synth.generator import StreamSettings


def lite() -> RunConfig:
    """The shipped regressor: a few minutes to a few hours on a CPU."""
    return RunConfig()


def lite_demo() -> RunConfig:
    """What `plausibody demo` trains: the same in two minutes."""
    train = TrainSettings(steps=600, checkpoint_every=200, validate_every=300)
    return dataclasses.replace(RunConfig(), train=train)


def _published(method: str, batch_size: int, steps: int) -> RunConfig:
    """What STRAPS and HierProb3D have in common: Adam at 1e-4, no schedule, no averaging."""
    return RunConfig(
        method=method,
        objective=method,
        train=TrainSettings(
            batch_size=batch_size,
            steps=steps,
            rate=1e-4,
            schedule="constant",
            warm_up=0,
            weight_decay=0.0,
            clip=0.0,
            average=0.0,
            checkpoint_every=2500,
            validate_every=2500,
        ),
        stream=StreamSettings(recipe=method),
        proxy=ProxySettings(size=256, least_confidence=0.0),
        regressor=RegressorSettings(encoder="resnet"),
    )


def straps() -> RunConfig:
    """STRAPS as published, in batches of 140."""
    return _published("straps", 140, 250_000)


def lasor() -> RunConfig:
    """LASOR: a ResNet-50 learns whole bodies from what things and other people leave to see.

    Network (27.0 million weights), input (silhouette and heatmaps), kinds of occlusion, views from
    everywhere and the silhouette among the losses are LASOR's. Its training code is not public and
    the paper gives no numbers; these choices are ours, "LASOR-style", as are those of the recipe:

    - batch, rate and the five other losses are those of STRAPS, on whose code LASOR builds;
    - silhouettes of 128 px reach 1.5 half-squares, since hidden legs lie outside the box of what is
      left to see; they are compared by intersection over union, under a learned weight that starts
      at 0.1, and from the tenth of STRAPS's epochs on: before that, bodies miss their silhouettes;
    - `supervision.kind=visible` compares only where nothing hides the person.
    """
    epoch = 347_962 // 140
    published = _published("straps", 140, 250_000)
    values = {
        "regressor.depth": 50,
        "stream.recipe": "lasor",
        "stream.maps.size": 128,
        "stream.maps.reach": 1.5,
        "supervision.weight": 0.1,
        "supervision.mesh": "full",
        "supervision.first_step": 10 * epoch,
    }
    return override(published, values)


def lasor_lite() -> RunConfig:
    """LASOR's ideas for a quarter of an hour on two CPU cores: `lite`, occlusion and silhouettes.

    The encoder of `lite` reads silhouettes of 64 px and places of key points. Other people and
    things stand before people as in the `lasor` recipe, drawn into the small frames of `lite`, and
    they are seen from 30 degrees above to 30 below. The silhouette of the whole body, drawn with
    the coarse mesh, counts from step 500 on.
    """
    values = {
        "train.steps": 4_000,
        "train.checkpoint_every": 500,
        "proxy.size": 64,
        "stream.lite.frame": 80,
        "stream.lite.occlusion.people.present": 0.3,
        "stream.lite.occlusion.objects.present": 0.5,
        "stream.lite.view.elevation_uniform": math.radians(30),
        "stream.maps.size": 80,
        "stream.maps.reach": 1.5,
        "supervision.weight": 1.0,
        "supervision.first_step": 500,
    }
    return override(lite(), values)


def hierprob() -> RunConfig:
    """HierProb3D as published: 300 epochs of 91,106 poses in batches of 72, stages at epoch 66."""
    epoch = 91_106 // 72
    values = {
        "train.second_stage": 66 * epoch,
        "proxy.channel": "edges",
        "regressor.conditioning": "published",
        "regressor.whole_covariance": False,
    }
    return override(_published("hierprob", 72, 300 * epoch), values)


def hierprob_lite() -> RunConfig:
    """Distributions on a CPU: the encoder of `lite`, wider; correlated shapes, gender if known.

    Network and stream of the shipped weights, which saw five times as many people, at 1e-3 before
    this rate and, in the last steps, in poses as they were captured
    (`stream.lite.pose.jittered=0 recombined=0.1`).
    """
    values = {
        "method": "hierprob",
        "train.second_stage": 15_000,
        "train.rate": 8e-4,
        "train.schedule": "flat",
        "train.cool_down": 0.25,
        "train.stored": "int8",
        "likelihood.shape": 0.3,
        "stream.lite.errors": "both",
        "stream.lite.shape.gendered": 1.0,
        "regressor.cell": 8,
        "regressor.width": 48,
        "regressor.features": 768,
        "regressor.blocks": 6,
        "regressor.gendered": True,
    }
    return override(lite(), values)


def gpu_20min() -> RunConfig:
    """The best regressor of 20 minutes on one modern GPU: `hierprob-lite` with more of everything.

    A ResNet-18 (12.6 million weights; 12.7 MB with eight bits each) reads silhouettes and heatmaps
    of 128 pixels. On a GPU the synthesis is the limit, and a network of this size costs no time.
    The rate is that of `hierprob-lite` times the root of the batch's ratio, flat, then falling over
    the last quarter; the last third learns from samples too.

    It stops and goes on (`--resume`) at any step. A checkpoint is 200 MB, and one is written every
    1,500 steps, about a minute. The number of steps is an assumption: 12,000 samples per second for
    18 minutes, and two for the start, the validations and the intervals. No GPU has measured it. On
    another device resume with another `--steps` while the rate is flat, before step 18,000.
    """
    values = {
        "train.batch_size": 512,
        "train.steps": 24_000,
        "train.second_stage": 16_000,
        "train.rate": 2e-3,
        "train.warm_up": 500,
        "train.average": 0.999,
        "train.checkpoint_every": 1500,
        "train.validate_every": 3000,
        "proxy.size": 128,
        "stream.lite.frame": 152,
        "regressor.encoder": "resnet",
        "regressor.heatmap_sigma": 2.0,
    }
    return override(hierprob_lite(), values)


def dsr() -> RunConfig:
    """DSR: SPIN's ResNet-50 and head read colours; semantic labels guide the bodies in clothes.

    Network, losses, weights, rate (Adam, 3e-5), batches of 128, 50 epochs of Human3.6M's 312,188
    pictures and label losses from the fourth epoch on are those of the released configuration,
    which starts from weights of SPIN or EFT: do the same with --init-backbone. What is ours:

    - people are drawn (`hierprob`, in clothes that stand off the body), of one in five the body is
      known, and of the others key points and label maps, as if of photos;
    - maps of 112 px, the one-sided form of DSR-C (`semantics.c_error=released` for the other).
    """
    epoch = 312_188 // 128
    values = {
        "method": "hmr",
        "objective": "hmr",
        "train.rate": 3e-5,
        "proxy.size": 224,
        "proxy.least_confidence": 0.2,
        "proxy.channel": "rgb",
        "regressor.depth": 50,
        "stream.recipe": "hierprob",
        "stream.labelled": 0.2,
        "stream.hierprob.size": 224,
        "stream.hierprob.supersample": 2,
        "stream.hierprob.garments.worn": 0.9,
        "stream.hierprob.errors": "measured",
        "stream.maps.size": 112,
        "semantics.mc": 6.0,
        "semantics.c": 6.0,
        "semantics.mesh": "full",
        "semantics.first_step": 3 * epoch,
    }
    return override(_published("straps", 128, 50 * epoch), values)


def dsr_lite_start() -> RunConfig:
    """What `dsr-lite` starts from, as DSR does from SPIN's or EFT's weights: all bodies are known.

    Encoder and head are those of `lite`, which reads key points beside colours of 64 px: from
    colours alone, as published (`regressor.keypoints=false`), a quarter of an hour on two CPU cores
    teaches little. The synthesis is the limit: some 190 people a second on a core. All people are
    drawn whole and open to view: of half bodies in photos this network knows nothing.
    """
    values = {
        "train.batch_size": 64,
        "train.steps": 2_400,
        "train.rate": 5e-4,
        "train.checkpoint_every": 400,
        "train.validate_every": 600,
        "train.calibrated": 0,
        "proxy.size": 64,
        "proxy.channel": "rgb",
        "regressor.width": 48,
        "regressor.keypoints": True,
        "stream.recipe": "hierprob",
        "stream.hierprob.size": 64,
        "stream.hierprob.supersample": 2,
        "stream.hierprob.garments.worn": 0.9,
        "stream.hierprob.extreme_crop": 0.0,
        "stream.hierprob.occluded": 0.0,
        "stream.hierprob.errors": "measured",
    }
    return override(lite(), values)


def dsr_lite() -> RunConfig:
    """DSR's ideas for ten minutes on two CPU cores: one body in four is known, labels of all.

    Start it from the weights of `dsr-lite-start` (`--init-weights`), of which it has the network
    and the people; it draws others of them. Label maps of 64 px are compared with the coarse mesh.
    """
    values = {
        "train.steps": 1_200,
        "train.rate": 3e-4,
        "train.warm_up": 100,
        "train.validate_every": 300,
        "stream.seed": 1,
        "stream.labelled": 0.25,
        "stream.maps.size": 64,
        "semantics.mc": 0.5,
        "semantics.c": 0.5,
    }
    return override(dsr_lite_start(), values)


def danet() -> RunConfig:
    """DaNet: HRNet-W48 estimates IUV maps of the whole and round 24 joints, from which bodies come.

    Network, losses, weights, rate (Adam, 1e-4), batches of 16, 65,000 steps and the first 5,000 of
    them for the maps alone are those of the released code. HRNet starts from COCO's key points
    there: do the same with --init-backbone pose_hrnet_w48_256x192.pth. What is ours:

    - people are drawn (`hierprob`), so that all maps are exact, and amodal as the rendered ones of
      the release (`stream.dense.kind=modal` for what is left to see);
    - parts are dropped from clean maps (`danet.partdrop_stage=published` for the other), and
      squares round joints have sizes of our own, since the release learnt its;
    - the residual networks of the streams start from chance, where the release takes ImageNet's;
    - the rate stays, then falls to zero over the last half, where the release divides it by ten at
      steps 30,000 and 60,000.
    """
    values = {
        "method": "danet",
        "objective": "hmr",
        "hmr.camera": 1.0,
        "train.schedule": "flat",
        "train.cool_down": 0.5,
        "proxy.size": 224,
        "proxy.least_confidence": 0.2,
        "proxy.channel": "rgb",
        "stream.recipe": "hierprob",
        "stream.hierprob.size": 224,
        "stream.hierprob.supersample": 2,
        "stream.dense.size": 56,
    }
    return override(_published("straps", 16, 65_000), values)


def danet_lite() -> RunConfig:
    """DaNet's ideas for half an hour on two CPU cores: small networks, colours of 64 px.

    Maps have 32 px and those round joints 12; bodies are learnt by the objective of `lite`.
    """
    values = {
        "method": "danet",
        "train.batch_size": 64,
        "train.steps": 2_400,
        "train.checkpoint_every": 300,
        "train.validate_every": 600,
        "train.calibrated": 0,
        "train.average": 0.99,
        "proxy.size": 64,
        "proxy.channel": "rgb",
        "danet.backbone": "light",
        "danet.width": 32,
        "danet.stride": 2,
        "danet.streams": "light",
        "danet.crop": 12,
        "danet.features": 64,
        "danet.places": True,
        "danet.estimator_steps": 300,
        "danet.partdrop": 0.15,
        "dense.first_rotations": 20.0,
        "dense.positions": 0.2,
        "stream.recipe": "hierprob",
        "stream.hierprob.size": 64,
        "stream.hierprob.supersample": 2,
        "stream.hierprob.extreme_crop": 0.0,
        "stream.hierprob.occluder": 12,
        "stream.hierprob.halves.row_range": 13,
        "stream.hierprob.halves.column_range": 2,
        "stream.dense.size": 32,
    }
    return override(lite(), values)


def danet_lite_iuv() -> RunConfig:
    """The same from IUV pictures of 32 px, as DensePose gives them: no colours are read.

    People are those of `lite`, and what spoils their silhouettes spoils their IUV pictures too;
    `stream.iuv` adds confused parts, noise and holes.
    """
    values = {
        "train.batch_size": 128,
        "train.steps": 1_600,
        "train.checkpoint_every": 400,
        "train.validate_every": 400,
        "train.average": 0.995,
        "proxy.size": 32,
        "proxy.channel": "iuv",
        "stream.recipe": "lite",
        "stream.lite.frame": 64,
    }
    return override(danet_lite(), values)


def paper() -> RunConfig:
    """HierProb3D's 27.3 million samples, as a GPU takes them best: batches of 256.

    Data, network, losses and the share of the steps before the second stage are those of
    `hierprob`. Some batches of 72 in a row see nearly the same weights, so that one of 256 learns
    about as much as they do and costs much less. Two things follow from the batch: the rate is
    1e-4 sqrt(256 / 72), which keeps the size of Adam's noise (Malladi et al., "On the SDEs and
    scaling rules for adaptive gradient algorithms", 2022, section 5), and it rises over 500 steps.
    One thing is ours: joints hear of their ancestors by `parameter`, since the published way
    decomposes matrices on the CPU, for which a GPU would wait in every level of the tree.
    """
    published = hierprob()
    batch = 256
    share = published.train.batch_size / batch
    values = {
        "train.batch_size": batch,
        "train.steps": round(published.train.steps * share),
        "train.second_stage": round(published.train.second_stage * share),
        "train.rate": round(published.train.rate * share**-0.5, 7),
        "train.warm_up": 500,
        "regressor.conditioning": "parameter",
    }
    return override(published, values)


def stream_config(recipe: str) -> RunConfig:
    """Gives a configuration whose stream is of a recipe: a preset, or the network of `straps`."""
    if recipe in PRESETS:
        return PRESETS[recipe]()
    return override(straps(), {"stream.recipe": recipe})


PRESETS = {
    "lite": lite,
    "lite-demo": lite_demo,
    "straps": straps,
    "hierprob": hierprob,
    "hierprob-lite": hierprob_lite,
    "lasor": lasor,
    "lasor-lite": lasor_lite,
    "dsr": dsr,
    "dsr-lite": dsr_lite,
    "dsr-lite-start": dsr_lite_start,
    "danet": danet,
    "danet-lite": danet_lite,
    "danet-lite-iuv": danet_lite_iuv,
    "gpu-20min": gpu_20min,
    "paper": paper,
}


def preset(name: str) -> RunConfig:
    if name not in PRESETS:
        raise ValueError(f"preset: wanted one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]()
