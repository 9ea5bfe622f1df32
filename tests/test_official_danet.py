"""DaNet's checkpoints: exact names and shapes, what of them is used, and files that do not fit."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import linear, norm, resnet_shapes, small_smpl
from torch import Tensor

from plausibody.models.checkpoint import CheckpointError
from plausibody.models.danet import DanetRegressor
from plausibody.models.danet_settings import DanetSettings
from plausibody.models.hrnet import PoseHRNet
from plausibody.models.official import load_official, recognise
from plausibody.models.official_danet import PublishedDanet, take_danet, unused
from plausibody.models.official_file import ALONE, PublishedCheckpoint, read_published
from plausibody.models.proxy import ProxySettings
from plausibody.models.weights import load_backbone

OUT = "iuv2smpl.smpl_para_Outs"
FINAL = "img2iuv.iuv_est.final_pred"


def graph_shapes(name: str, *widths: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (before, after) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        shapes |= {
            f"{name}.gc.{layer}.weight": (before, after),
            f"{name}.gc.{layer}.bias": (after,),
        }
        shapes |= norm(f"{name}.act.{layer}.0", 24)
    return shapes


def grouped_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """The last stage of a residual network of 18 layers, 24 times side by side."""
    wide, shapes = 24 * 128, {}
    for block, before in enumerate((256, 128)):
        for number, channels in ((1, before), (2, 128)):
            shapes[f"{name}.{block}.conv{number}.weight"] = (wide, channels, 3, 3)
            shapes |= norm(f"{name}.{block}.bn{number}", wide)
    shapes[f"{name}.0.downsample.0.weight"] = (wide, 256, 1, 1)
    return {**shapes, **norm(f"{name}.0.downsample.1", wide)}


@functools.cache
def published_shapes() -> dict[str, tuple[int, ...]]:
    """The names and shapes of what predicts, as released."""
    with torch.device("meta"):
        hrnet = PoseHRNet(48).state_dict()
    shapes = {
        f"img2iuv.iuv_est.{name}": tuple(value.shape)
        for name, value in hrnet.items()
        if not name.startswith("final_layer")
    }
    for name, classes in (("u", 25), ("v", 25), ("uv_index", 25), ("ann_index", 15)):
        shapes[f"{FINAL}.predict_{name}.weight"] = (classes, 48, 3, 3)
        shapes[f"{FINAL}.predict_{name}.bias"] = (classes,)
    for block in range(3):
        kernels = ((12, 48, 1, 1), (12, 12, 3, 3), (48, 12, 1, 1))
        for number, kernel in enumerate(kernels, 1):
            shapes[f"{FINAL}.predict_hm.0.{block}.conv{number}.weight"] = kernel
            shapes |= norm(f"{FINAL}.predict_hm.0.{block}.bn{number}", kernel[0])
    shapes |= {f"{FINAL}.predict_hm.1.weight": (24, 48, 3, 3), f"{FINAL}.predict_hm.1.bias": (24,)}
    shapes |= {f"{FINAL}.predict_partial_iuv.weight": (504, 48, 3, 3)}
    shapes |= {f"{FINAL}.predict_partial_iuv.bias": (504,)}
    shapes |= {"img2iuv.learned_ratio": (24,), "img2iuv.learned_offset": (24,)}
    shapes |= {f"{OUT}.mean_cam_shape": (1, 13), f"{OUT}.mean_pose": (1, 144)}
    for net, planes in (("body_net", 75), ("limb_net", 21)):
        shapes |= {f"{OUT}.{net}.0.weight": (64, planes, 1, 1), **norm(f"{OUT}.{net}.1", 64)}
        for name, shape in resnet_shapes(18, 64).items():
            if net == "body_net" or not name.startswith("layer4"):
                shapes[f"{OUT}.{net}.3.{name}"] = shape
    shapes |= linear(f"{OUT}.body_net.3.final_layer", 512, 13)
    shapes |= grouped_shapes(f"{OUT}.limb_reslayer.layer4")
    shapes |= graph_shapes(f"{OUT}.r2p_gcn", 128, 128)
    shapes |= graph_shapes(f"{OUT}.p2r_gcn", 128, 128)
    shapes |= graph_shapes(f"{OUT}.refine_gcn", 128, 256, 256, 128)
    for name in ("edge_importance", "A_mask", "r2p_A", "p2r_A"):
        shapes[f"{OUT}.{name}"] = (1, 24, 24)
    for number in range(2):
        for head, outputs in (("pose", 144), ("coord", 72)):
            shapes[f"{OUT}.{head}_regressors.{number}.1.weight"] = (outputs, 128, 1, 1)
            shapes[f"{OUT}.{head}_regressors.{number}.1.bias"] = (outputs,)
    return shapes


NOWHERE = {
    f"{OUT}.rot2pos.0.0.weight": (128, 128),
    f"{OUT}.pos2rot.3.0.bias": (128,),
    f"{OUT}.A": (1, 24, 24),
    f"{OUT}.A_link": (1, 24, 24),
    f"{OUT}.I_n": (1, 24, 24),
}
"""What is in the files and predicts nothing."""


def state(seed: int = 0) -> dict[str, Tensor]:
    """A number of its own for every tensor, spread over it without taking memory."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in {**published_shapes(), **NOWHERE}.items():
        number = torch.rand((), generator=generator)
        whole = name.endswith("num_batches_tracked")
        found[name] = torch.tensor(7) if whole else number.expand(shape)
    return found


def file_of(parameters: dict[str, Tensor]) -> PublishedCheckpoint:
    kept = {name: value.float() for name, value in parameters.items()}
    return PublishedCheckpoint(Path("danet.pt"), kept, 3, "0" * 64, "model")


@functools.cache
def wanted() -> dict[str, Tensor]:
    with torch.device("meta"):
        return PublishedDanet().state_dict()


def test_published_names_and_shapes_are_all_that_predicts() -> None:
    parameters = state()
    found = take_danet(file_of(parameters), wanted())
    assert found.keys() == wanted().keys() - {"pelvis", "pelvis_directions"}
    assert all(found[name].shape == wanted()[name].shape for name in found)
    assert len(found) + 1 == len(published_shapes())  # camera and shape, and pose, become one
    start = torch.cat([parameters[f"{OUT}.mean_cam_shape"][0, :3],
                       parameters[f"{OUT}.mean_pose"][0],
                       parameters[f"{OUT}.mean_cam_shape"][0, 3:]])  # fmt: skip
    assert torch.equal(found["initial"], start)
    edges = parameters[f"{OUT}.edge_importance"]
    assert torch.equal(found["streams.graph.edge_importance"], edges)
    assert unused(parameters) == list(NOWHERE)


def test_missing_unknown_and_misshapen_parameters_are_named_as_published() -> None:
    parameters = state()
    del parameters[f"{FINAL}.predict_u.bias"]
    parameters["img2iuv.learned_ratio"] = torch.zeros(17)
    parameters["img2iuv.iuv_est.layer9.weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as error:
        take_danet(file_of(parameters), wanted())
    said = str(error.value)
    assert f"missing     {FINAL}.predict_u.bias" in said
    assert "other shape img2iuv.learned_ratio, wanted (24,), came (17,)" in said
    assert "unknown     img2iuv.iuv_est.layer9.weight" in said


@pytest.mark.parametrize(
    ("spoil", "came"),
    [
        ({"transition1.0.0.weight": torch.zeros(32, 256, 3, 3)}, "one with HRNet-W32"),
        ({"deconv_layers.0.weight": torch.zeros(2, 2)}, "a residual network with deconvolutions"),
        ({}, "another network"),
    ],
    ids=["narrower", "residual", "no stages"],
)
def test_another_backbone_is_refused(spoil: dict[str, Tensor], came: str) -> None:
    kept = {
        name: value
        for name, value in state().items()
        if "one with" in came or not name.startswith("img2iuv.iuv_est.stage")
    }
    kept |= {f"img2iuv.iuv_est.{name}": value for name, value in spoil.items()}
    with pytest.raises(CheckpointError) as error:
        take_danet(file_of(kept), wanted())
    said = str(error.value)
    assert "danet.pt: wanted DaNet with the backbone HRNet-W48, came" in said
    assert came in said and "do: take danet_model_h36m_itw.pt" in said and len(said) < 300


@pytest.mark.parametrize("alone", [False, True], ids=["model", "alone"])
def test_both_forms_of_file_are_read(tmp_path: Path, alone: bool) -> None:
    parameters = state()
    path = tmp_path / "danet.pt"
    perm = np.arange(5)
    torch.save(parameters if alone else {"model": parameters, "dataset_perm": perm}, path)
    file = read_published(path)
    assert (file.form == ALONE) == alone
    assert recognise(file).name == "DaNet"


def test_a_checkpoint_becomes_a_network_that_predicts(tmp_path: Path) -> None:
    (tmp_path / "smpl").mkdir()
    np.savez(tmp_path / "smpl" / "SMPL_NEUTRAL.npz", **small_smpl())
    torch.save({"model": state(), "epoch": 3}, tmp_path / "danet.pt")
    loaded = load_official(tmp_path / "danet.pt", directories=[tmp_path])
    network = loaded.network
    assert isinstance(network, PublishedDanet) and network.published and not network.training
    assert loaded.card["system"] == "DaNet" and loaded.proxy.channel == "rgb"
    assert loaded.card["config"]["method"] == "danet" and loaded.proxy.size == 224
    assert loaded.card["unused"] == list(NOWHERE)


def test_training_starts_from_the_encoder_of_others(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pose, path = PoseHRNet(8), tmp_path / "network.pt"
    settings = DanetSettings(width=8, streams="light", crop=8, features=8)
    start = torch.eye(3).expand(24, 3, 3)
    network = DanetRegressor(settings, ProxySettings(size=32, channel="rgb"), start, 10)
    encoder = network.image_encoder
    files = {"a pose network": ("", ""), "DaNet": ("model", "img2iuv.iuv_est."),
             "STRAPS": ("best_model_state_dict", "image_encoder.")}  # fmt: skip
    for whose, (form, prefix) in files.items():
        named = {f"{prefix}{name}": value for name, value in pose.state_dict().items()}
        torch.save({form: named} if form else named, path)
        with torch.no_grad():
            for value in encoder.state_dict().values():
                value.zero_()
        load_backbone(network, path)
        found = encoder.state_dict()
        assert found.keys() == pose.state_dict().keys() - {"final_layer.weight", "final_layer.bias"}
        same = [torch.equal(value, pose.state_dict()[name]) for name, value in found.items()]
        assert all(same), whose
