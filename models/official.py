"""Published weights of STRAPS, LASOR, HierProb3D, SPIN, EFT, DSR and DaNet, used as they are.

A file as downloaded becomes a `TrainedRegressor`: its system is told by its parameters' names, its
inputs are made as published, and its answer is read in our frames. It needs the body that the
weights were trained on, SMPL, and STRAPS, LASOR and EFT need the mean parameters from which they
start, since their files hold only corrections to those.

What is as published, and where we differ:

- One look, without the mirror image, is what the authors report: pass `flip=False` to `Predictor`.
- Boxes go round the mask and the key points; the authors' go round the mask (STRAPS, LASOR), the
  detector's box (HierProb3D), or the key points or a given box (SPIN, EFT, DSR). Squares are
  `scale` = 1.2 times as large in all.
- SPIN, EFT, DSR and DaNet see the square through a pinhole of 5,000 px; here it is read as seen
  from far away, which at that focal length is the same to a pixel or two.
- Confidences are those of the front end in use. HierProb3D's bound for limbs, 0.75, was chosen for
  HRNet's.
- Key points that are not seen are left out. STRAPS draws them at the picture's corner.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from plausibody.models.checkpoint import CheckpointError
from plausibody.models.hierarchical import PUBLISHED
from plausibody.models.networks import build_regressor
from plausibody.models.official_body import (
    STRAPS_SOURCE,
    find_mean_parameters,
    find_smpl,
    nearby,
    read_mean_parameters,
)
from plausibody.models.official_danet import (
    DANET_PROXY,
    DANET_SOURCE,
    PublishedDanet,
    is_danet,
    take_danet,
    unused,
)
from plausibody.models.official_file import (
    ALONE,
    PublishedCheckpoint,
    is_hmr,
    read_published,
    require_match,
)
from plausibody.models.official_hmr import (
    SPIN_MEAN,
    SPIN_SOURCE,
    PublishedHmr,
    take_spin,
)
from plausibody.models.official_straps import CameraFrame, CameraFrameRegressor, pelvis_of
from plausibody.models.proxy import ProxySettings
from plausibody.models.regressor import Regressor, RegressorSettings
from plausibody.models.skeleton import SMPL24
from plausibody.models.templates import GENDERS
from plausibody.models.weights import TrainedRegressor

OWN = ("initial", "pelvis", "pelvis_directions")
"""Tensors of our networks that are in no published file."""


@dataclass(frozen=True)
class System:
    """A published method."""

    name: str
    method: str
    """As `models.networks.build_regressor` takes it."""
    depth: int
    """Of its residual network."""
    proxy: ProxySettings
    """How its inputs are made."""
    source: str


_SILHOUETTES = ProxySettings(size=256, scale=1.2, least_confidence=0.0)
STRAPS = System("STRAPS", "straps", 18, _SILHOUETTES, STRAPS_SOURCE)
LASOR = System("LASOR", "straps", 50, _SILHOUETTES, "github.com/iGame-Lab/LASOR")
_COLOURS = ProxySettings(size=224, scale=1.2, channel="rgb")
SPIN = System("SPIN", "hmr", 50, _COLOURS, SPIN_SOURCE)
DSR = System("DSR", "hmr", 50, _COLOURS, "github.com/saidwivedi/DSR")
EFT = System("EFT", "hmr", 50, _COLOURS, "github.com/facebookresearch/eft")
DANET = System("DaNet", "danet", 18, DANET_PROXY, DANET_SOURCE)
HIERPROB = System(
    name="HierProb3D",
    method="hierprob",
    depth=18,
    proxy=dataclasses.replace(
        _SILHOUETTES, channel="edges", edge_padding="zero", least_limb_confidence=0.75
    ),
    source="github.com/akashsengupta1997/HierarchicalProbabilistic3DHuman",
)


def load_official(
    path: Path | str,
    device: torch.device | str = "cpu",
    *,
    body: Path | str | None = None,
    gender: str | None = None,
    mean_parameters: Path | str | None = None,
    directories: Sequence[Path] | None = None,
) -> TrainedRegressor:
    """Makes a network of a published checkpoint, ready to predict.

    Args:
        path: Such as `straps_model_checkpoint.tar`, `LASOR.tar`,
            `poseMF_shapeGaussian_net_weights_female.tar` or SPIN's `model_checkpoint.pt`.
        body: SMPL's file, or a folder that holds it under a usual name. If None, looked for beside
            the checkpoint and in the search order, there also in a folder `smpl`.
        gender: neutral, male or female. If None, what the checkpoint's name says, or neutral.
        mean_parameters: The file of that name, for STRAPS, LASOR and EFT. If None, looked for
            beside the checkpoint and in the search order.
        directories: Folders to look in instead of `assets.catalog.search_directories()`.

    Raises:
        FileNotFoundError: If the checkpoint, the body or the mean parameters are missing.
        CheckpointError: If the checkpoint is damaged, hostile, of another system or not whole; all
            parameters that do not fit are named.
        ValueError: If the body or the mean parameters cannot belong to it.
    """
    path = Path(path)
    gender = gender or gender_named(path)
    if gender not in GENDERS:
        raise ValueError(f"gender: wanted one of {', '.join(GENDERS)}, came {gender!r}")
    file = read_published(path)
    system = recognise(file)
    settings = RegressorSettings(
        encoder="resnet", depth=system.depth, conditioning=PUBLISHED, whole_covariance=False
    )
    network = _build(system, settings)
    if isinstance(network, PublishedHmr):
        weights = take_spin(file, network, system.name)
    elif isinstance(network, PublishedDanet):
        weights = take_danet(file, network.state_dict())
    else:
        wanted = {name: value for name, value in network.state_dict().items() if name not in OWN}
        if (camera := file.weights.get("init_cam")) is not None and camera.shape == (3,):
            file.weights["init_cam"] = camera.reshape_as(wanted["init_cam"])
        require_match(file, wanted, system.name)
        weights = file.weights

    places, whose = nearby(path, directories), f"{path}: weights of {system.name}"
    spec, template = find_smpl(body, gender, places, whose)
    own: dict[str, Tensor] = {}
    if isinstance(network, CameraFrame):
        own = pelvis_of(template)
        if "initial" not in weights:
            usual = SPIN_MEAN if system.method == "hmr" else ()
            mean = find_mean_parameters(mean_parameters, places, whose, *usual)
            own["initial"] = read_mean_parameters(mean)
    network.load_state_dict(weights | own)
    return TrainedRegressor(
        network=network.to(device).eval(),
        proxy=system.proxy,
        gender=gender,
        card={
            "sha256": file.sha256,
            "system": system.name,
            "source": system.source,
            "epoch": file.epoch,
            "unused": unused(file.weights),
            "config": {
                "method": system.method,
                "gender": gender,
                "proxy": dataclasses.asdict(system.proxy),
                "regressor": dataclasses.asdict(settings),
                "sources": {"body": spec},
            },
        },
    )


def recognise(file: PublishedCheckpoint) -> System:
    """Tells by the names of its parameters whose weights a file holds.

    STRAPS can be trained with 50 layers too; such weights count as LASOR's, whose network it is.
    SPIN, EFT and DSR have one network; whose weights they are is told by the form of the file.

    Raises:
        CheckpointError: If they are of none of these systems.
    """
    names = list(file.weights)
    if is_danet(names):
        return DANET
    if is_hmr(names):
        return {"state_dict": DSR, ALONE: EFT}.get(file.form, SPIN)
    if any(name.startswith("fc_pose.") for name in names):
        return HIERPROB
    if any(name.startswith("ief_module.") for name in names):
        return LASOR if "image_encoder.layer1.0.conv3.weight" in names else STRAPS
    raise CheckpointError(
        f"{file.path}: wanted the weights of STRAPS, LASOR (ief_module.*), HierProb3D (fc_pose.*), "
        "SPIN, EFT or DSR (decpose.*), or DaNet (img2iuv.*), came "
        f"{', '.join(names[:6]) or 'none'}{', ...' if len(names) > 6 else ''}"
    )


def gender_named(path: Path) -> str:
    """Reads the gender that a checkpoint's name ends in; neutral if it names none."""
    word = re.search(r"(?<![a-z])(female|male)(?![a-z])", path.stem.lower())
    return word[1] if word else "neutral"


def _build(system: System, settings: RegressorSettings) -> Regressor:
    if system.method == "straps":
        return CameraFrameRegressor(system.depth)
    if system.method == "hmr":
        return PublishedHmr()
    if system.method == "danet":
        return PublishedDanet()
    still = torch.eye(3).expand(len(SMPL24), 3, 3)
    return build_regressor(system.method, settings, system.proxy, still)
