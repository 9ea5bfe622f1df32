"""Checkpoints of SPIN, EFT and DSR: exact names and shapes in three forms, a twin, bad files."""

from __future__ import annotations

import argparse
import functools
import sys
import types
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_files import (
    State,
    linear,
    mean_pose,
    random_number,
    resnet_shapes,
    small_smpl,
    twin_encoder,
    twin_rotation,
)
from torch import Tensor

from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.checkpoint import CheckpointError
from plausibody.models.networks import build_regressor
from plausibody.models.official import load_official, recognise
from plausibody.models.official_body import find_smpl
from plausibody.models.official_file import ALONE, PublishedCheckpoint, read_published
from plausibody.models.official_hmr import SPIN_MEAN, PublishedHmr, spin_names, take_spin
from plausibody.models.prediction import PointPrediction
from plausibody.models.proxy import Box, Proxy, ProxySettings
from plausibody.models.regressor import RegressorSettings
from plausibody.models.rotations import rotmat_to_rot6d
from plausibody.models.weights import (
    TrainedRegressor,
    find_weights,
    load_backbone,
    load_regressor,
    load_start,
    save_regressor,
)

START = {"init_pose": (1, 144), "init_shape": (1, 10), "init_cam": (1, 3)}
MEAN = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def spin_shapes() -> dict[str, tuple[int, ...]]:
    """The names and shapes of SPIN's state dict."""
    shapes = resnet_shapes(50, 3)
    sizes = {"fc1": (2205, 1024), "fc2": (1024, 1024), "decpose": (1024, 144)}
    for name, size in {**sizes, "decshape": (1024, 10), "deccam": (1024, 3)}.items():
        shapes |= linear(name, *size)
    return shapes | START


@functools.cache
def random_state() -> State:
    """Do not change it."""
    generator = torch.Generator().manual_seed(0)
    state = {name: random_number(name, shape, generator) for name, shape in spin_shapes().items()}
    for name in ("decpose", "decshape", "deccam", "fc1", "fc2"):
        state[f"{name}.weight"] = state[f"{name}.weight"] * 0.3
    state["init_pose"] = rotmat_to_rot6d(mean_pose()).flatten()[None]
    state["init_shape"] = torch.linspace(-0.4, 0.4, 10)[None]
    state["init_cam"] = torch.tensor([[0.9, 0.05, -0.1]])
    return state


def file_of(state: State, form: str = "model") -> PublishedCheckpoint:
    kept = {name: value.float() for name, value in state.items()}
    return PublishedCheckpoint(Path("x.pt"), kept, 3, "0" * 64, form)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With SMPL, the mean body of SPIN, and its checkpoint; do not change it."""
    root = tmp_path_factory.mktemp("spin")
    (root / "smpl").mkdir()
    np.savez(root / "smpl" / "SMPL_NEUTRAL.npz", **small_smpl())
    pose = random_state()["init_pose"][0].double().numpy()
    np.savez(root / SPIN_MEAN[0], pose=pose, shape=np.full(10, 0.25), cam=[0.9, 0, 0])
    content = {
        "model": dict(random_state()),
        "optimizer": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 5e-5}]},
        "epoch": 3,
        "batch_idx": 0,
        "batch_size": 64,
        "dataset_perm": np.arange(5),
        "total_step_count": 100,
    }
    torch.save(content, root / "model_checkpoint.pt")
    return root


@pytest.fixture(scope="module")
def loaded(folder: Path) -> TrainedRegressor:
    return load_official(folder / "model_checkpoint.pt", directories=[folder])


def inputs(count: int = 2, size: int = 64) -> Proxy:
    generator = torch.Generator().manual_seed(1)
    return Proxy(
        silhouette=torch.zeros(count, size, size),
        keypoints=torch.zeros(count, 17, 3),
        box=Box(centre=torch.zeros(count, 2), side=torch.ones(count)),
        rgb=torch.rand(count, 3, size, size, generator=generator),
    )


def test_published_names_and_shapes_load_with_nothing_missing(loaded: TrainedRegressor) -> None:
    network, state = loaded.network, random_state()
    assert isinstance(network, PublishedHmr) and not network.training
    found, taken = network.state_dict(), 0
    for name, value in state.items():
        if name in START:
            continue
        group = "head" if name.startswith(("fc", "dec")) else "image_encoder"
        assert torch.equal(found.pop(f"{group}.{name}"), value), name
        taken += 1
    assert taken == 328 and set(found) == {"initial", "pelvis", "pelvis_directions"}
    start = torch.cat([state["init_cam"], state["init_pose"], state["init_shape"]], 1)[0]
    assert torch.equal(found["initial"], start)


def test_cards_say_whose_weights_these_are(loaded: TrainedRegressor) -> None:
    card = loaded.card
    assert (card["system"], card["config"]["method"], card["epoch"]) == ("SPIN", "hmr", 3)
    assert card["source"] == "github.com/nkolot/SPIN"
    proxy = loaded.proxy
    assert (proxy.size, proxy.scale, proxy.channel) == (224, 1.2, "rgb")
    assert loaded.body.endswith("SMPL_NEUTRAL.npz")


def twin(state: State, rgb: Tensor) -> Tensor:
    """SPIN's forward pass straight from its parameters."""
    mean, deviation = (torch.tensor(each, dtype=torch.float32)[:, None, None] for each in MEAN)
    features = twin_encoder(state, (rgb - mean) / deviation)

    def layer(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    pose, shape, camera = (
        state[name].expand(len(rgb), -1) for name in ("init_pose", "init_shape", "init_cam")
    )
    for _ in range(3):
        x = layer("fc2", layer("fc1", torch.cat([features, pose, shape, camera], 1)))
        pose, shape, camera = (
            pose + layer("decpose", x),
            shape + layer("decshape", x),
            camera + layer("deccam", x),
        )
    return torch.cat([camera, pose, shape], 1)


@torch.no_grad()
def test_the_network_answers_like_a_slow_twin_in_our_frames(
    loaded: TrainedRegressor, folder: Path
) -> None:
    proxy = inputs()
    assert proxy.rgb is not None
    expected = twin(random_state(), proxy.rgb)
    vector = loaded.network(*loaded.network.inputs(proxy))
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    torch.testing.assert_close(vector, expected, atol=2e-4, rtol=1e-3)

    smpl: BodyTemplate = find_smpl(None, "neutral", [folder], "test")[1]
    prediction = loaded.network.predict(proxy)
    assert isinstance(prediction, PointPrediction)
    posed = prediction.posed(smpl)
    for person, answer in enumerate(expected):
        scale, shift = answer[0], answer[1:3]
        # Interleaved: the two columns of a rotation, row by row.
        rotations = torch.stack([twin_rotation(six) for six in answer[3:147].view(24, 6)])
        body = pose_body(smpl, answer[147:], rotations)  # in the camera's frame
        published = scale * (body.vertices[:, :2] + shift)
        ours = prediction.camera.project(posed.vertices)[person]
        torch.testing.assert_close(ours, published, atol=1e-3, rtol=1e-3)


class Settings(dict):  # type: ignore[type-arg]
    """A table of another library's type."""


def test_dsrs_form_is_read_with_lightnings_settings_inside(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("yacs.config")
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    node = type("CfgNode", (Settings,), {"__module__": "yacs.config"})
    module.CfgNode = node  # type: ignore[attr-defined]
    settings = node(METHOD="dsr", DSR=node(LOSS_WEIGHT=60))
    settings.frozen = True
    names = {
        name: f"model.{'head' if name.startswith(('fc', 'dec', 'init')) else 'backbone'}.{name}"
        for name in random_state()
    }
    state = {names[name]: value for name, value in random_state().items()}
    state |= {
        "model.smpl.smpl.v_template": torch.zeros(40, 3),
        "smpl.J_regressor": torch.zeros(24, 40),
        "smpl_native.posedirs": torch.zeros(207, 120),
        "J_regressor": torch.zeros(17, 40),
        "model.backbone.fc.weight": torch.zeros(1000, 2048),
    }
    path = tmp_path / "dsr_checkpoint.ckpt"
    hyper = {"hparams": settings, "arguments": argparse.Namespace(cfg="x")}
    torch.save({"state_dict": state, "epoch": 20, "hyper_parameters": hyper}, path)
    monkeypatch.delitem(sys.modules, "yacs.config")
    trained = load_regressor_from(path, folder)
    assert trained.card["system"] == "DSR" and trained.card["epoch"] == 20
    assert torch.equal(trained.network.state_dict()["head.fc1.bias"], random_state()["fc1.bias"])


def load_regressor_from(path: Path, folder: Path) -> TrainedRegressor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLAUSIBODY_ASSETS", str(folder))
        return load_regressor(find_weights(path))


def test_efts_form_starts_from_spins_mean_body(folder: Path, tmp_path: Path) -> None:
    state = {name: value for name, value in random_state().items() if name not in START}
    for name in [name for name in state if name.endswith("num_batches_tracked")]:
        del state[name]  # of an older torch
    path = tmp_path / "eft.pt"
    torch.save(state, path)
    trained = load_official(path, directories=[folder])
    assert trained.card["system"] == "EFT" and trained.card["epoch"] is None
    network = trained.network
    assert isinstance(network, PublishedHmr)
    torch.testing.assert_close(network.initial[147:], torch.full((10,), 0.25))
    torch.testing.assert_close(network.initial[3:147], random_state()["init_pose"][0])
    with pytest.raises(FileNotFoundError, match="(?s)smpl_mean_params.npz.*nkolot/SPIN"):
        load_official(path, directories=[folder / "smpl"])


@pytest.mark.parametrize(
    ("form", "system"), [("model", "SPIN"), ("state_dict", "DSR"), (ALONE, "EFT")]
)
def test_the_form_tells_the_system(form: str, system: str) -> None:
    assert recognise(file_of(random_state(), form)).name == system


def change(alter: Callable[[State], Any]) -> State:
    state = dict(random_state())
    alter(state)
    return state


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (lambda s: s.pop("layer3.5.conv3.weight"), "missing     layer3.5.conv3.weight, wanted (10"),
        (lambda s: s.pop("init_shape"), "missing     init_shape, wanted (1, 10)"),
        (
            lambda s: s.update({"decpose.weight": torch.zeros(72, 1024)}),
            r"other shape decpose.weight, wanted (144, 1024), came (72, 1024)",
        ),
        (
            lambda s: s.update({"init_pose": torch.zeros(144)}),
            "other shape init_pose, wanted (1, 144), came (144,)",
        ),
        (lambda s: s.update({"gru.weight": torch.zeros(3)}), "unknown     gru.weight, wanted none"),
        (lambda s: s.update({"fc1.bias": torch.full((1024,), torch.nan)}), "not finite  fc1.bias"),
    ],
)
def test_what_does_not_fit_is_named_as_published(
    alter: Callable[[State], Any], told: str, loaded: TrainedRegressor
) -> None:
    network = loaded.network
    assert isinstance(network, PublishedHmr)
    with pytest.raises(CheckpointError, match="tensors of SPIN, but 1 do not fit") as caught:
        take_spin(file_of(change(alter)), network, "SPIN")
    assert told in str(caught.value)


def test_names_that_become_one_are_refused() -> None:
    twice = {"model.backbone.conv1.weight": torch.zeros(1), "conv1.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="came conv1.weight under several names"):
        spin_names(twice, Path("x.pt"))


def test_other_tables_are_no_checkpoints_of_spin(tmp_path: Path) -> None:
    for content in ({"model": 5}, {"conv1.weight": torch.zeros(2)}, {"state_dict": [1]}):
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match="of SPIN or DSR, which has 'model' or 'state_d"):
            read_published(tmp_path / "x.pt")
    torch.save({"model": {"conv1.weight": torch.zeros(2)}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"SPIN, EFT or DSR \(decpose"):
        load_official(tmp_path / "x.pt")


# Where training starts


@pytest.mark.parametrize("form", ["torchvision", "spin"])
def test_training_starts_from_published_encoders(form: str, tmp_path: Path) -> None:
    state = {name: value for name, value in random_state().items() if name in resnet_shapes(50, 3)}
    if form == "torchvision":
        older = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        content: Any = older | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    else:
        content = {"model": dict(random_state()), "epoch": 3}
    path = tmp_path / "resnet50-11ad3fa6.pth"
    torch.save(content, path)
    proxy = ProxySettings(size=224, channel="rgb")
    settings = RegressorSettings(encoder="resnet", depth=50)
    still = torch.eye(3).expand(24, 3, 3)
    network = build_regressor("hmr", settings, proxy, still)
    load_backbone(network, path)
    found = network.get_submodule("image_encoder").state_dict()
    assert torch.equal(found["layer4.2.conv3.weight"], state["layer4.2.conv3.weight"])
    assert torch.equal(found["bn1.running_var"], state["bn1.running_var"])
    smaller = build_regressor("hmr", RegressorSettings(encoder="resnet"), proxy, still)
    with pytest.raises(CheckpointError, match="wanted an image encoder of 120 tensors.*differs"):
        load_backbone(smaller, path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match="wanted the parameters of a network by name"):
        load_backbone(network, path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        load_backbone(network, tmp_path / "nowhere.pth")


def test_training_starts_from_all_of_our_weights_only(folder: Path, tmp_path: Path) -> None:
    proxy, still = ProxySettings(size=32, channel="rgb"), torch.eye(3).expand(24, 3, 3)
    small = RegressorSettings(features=32, width=8, blocks=1)
    first, second = (build_regressor("hmr", small, proxy, still) for _ in range(2))
    path = tmp_path / "mine.safetensors"
    config = {"method": "hmr", "regressor": asdict(small), "proxy": asdict(proxy)}
    save_regressor(first, path, {"config": config})
    load_start(second, path)
    for name, value in load_regressor(path).network.state_dict().items():
        assert torch.equal(second.state_dict()[name], value)
    deep, large = RegressorSettings(encoder="resnet", depth=50), replace(proxy, size=224)
    published = build_regressor("hmr", deep, large, still)
    with pytest.raises(CheckpointError, match="all weights of a HmrRegressor .* a PublishedHmr;"):
        load_start(published, folder / "model_checkpoint.pt")
    wider = build_regressor("hmr", RegressorSettings(features=64, width=8, blocks=1), proxy, still)
    with pytest.raises(CheckpointError, match=r"differs in \d+ tensors, .* do: give both"):
        load_start(wider, path)
    seeing = build_regressor("lite", replace(small, keypoints=True), proxy, still)
    config = {"method": "lite", "regressor": asdict(replace(small, keypoints=True))}
    save_regressor(seeing, path, {"config": config | {"proxy": asdict(proxy)}})
    with pytest.raises(CheckpointError, match="differs in 2 tensors, such as .*keypoints"):
        load_start(build_regressor("lite", small, proxy, still), path)
