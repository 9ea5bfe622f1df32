"""Published checkpoints: exact names and shapes, twins of the networks, every trap by itself."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_files import (
    PARENTS,
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
from torch.nn import functional

from plausibody.assets.catalog import SHIPPED, VARIABLE, find_asset
from plausibody.evaluate.run import evaluate_open
from plausibody.models import official
from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.checkpoint import CheckpointError
from plausibody.models.hierarchical import HierarchicalRegressor
from plausibody.models.official import gender_named, load_official
from plausibody.models.official_body import (
    MEAN_PARAMETERS,
    find_mean_parameters,
    find_smpl,
    nearby,
    read_mean_parameters,
)
from plausibody.models.official_file import PublishedCheckpoint, read_published, require_match
from plausibody.models.official_straps import CameraFrameRegressor, legacy_heatmaps
from plausibody.models.prediction import FisherPrediction, PointPrediction
from plausibody.models.proxy import Box, Observation, Proxy, gaussian_heatmaps, make_proxy
from plausibody.models.rotations import axis_rotation, rotmat_to_rot6d
from plausibody.models.templates import load_template
from plausibody.models.weights import TrainedRegressor, find_weights, load_regressor
from plausibody.predict.parameters import Origin, person_arrays
from plausibody.predict.predictor import Predictor

ANCESTORS = (0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 6, 7, 7)
"""How many each joint but the root has, without the root."""
SYSTEMS = {"STRAPS": 11_909_789, "LASOR": 27_024_541, "HierProb3D": 12_616_684}
"""Numbers of trainable parameters, as published or counted by hand."""
FILES = {
    "STRAPS": "straps_model_checkpoint.tar",
    "LASOR": "LASOR.tar",
    "HierProb3D": "poseMF_shapeGaussian_net_weights.tar",
}


def encoder_shapes(depth: int) -> dict[str, tuple[int, ...]]:
    return {f"image_encoder.{name}": shape for name, shape in resnet_shapes(depth, 18).items()}


def published_shapes(system: str) -> dict[str, tuple[int, ...]]:
    """The names and shapes that a published file holds, duplicates included."""
    if system == "HierProb3D":
        shapes = encoder_shapes(18) | {"init_glob": (1, 6), "init_cam": (3,)}
        layers = {"fc1": (512, 512), "fc_shape": (512, 20), "fc_glob": (512, 6)}
        layers |= {"fc_cam": (512, 3), "fc_embed": (541, 256)}
        for joint, count in enumerate(ANCESTORS):
            layers[f"fc_pose.{joint}.0"] = (256 + 21 * count, 128)
            layers[f"fc_pose.{joint}.2"] = (128, 9)
    else:
        depth, features, hidden = (18, 512, 512) if system == "STRAPS" else (50, 2048, 1024)
        shapes = encoder_shapes(depth)
        sizes = ((features + 157, hidden), (hidden, hidden), (hidden, 157))
        layers = {f"ief_module.fc{n}": size for n, size in enumerate(sizes, start=1)}
        layers |= {f"ief_module.ief_layers.{2 * n}": size for n, size in enumerate(sizes)}
    for name, size in layers.items():
        shapes |= linear(name, *size)
    return shapes


@functools.cache
def random_state(system: str) -> State:
    """Do not change them."""
    generator = torch.Generator().manual_seed(0)
    shapes = published_shapes(system).items()
    state = {name: random_number(name, shape, generator) for name, shape in shapes}
    if system == "HierProb3D":
        state["init_glob"] = torch.tensor([[1.0, 0.1, 0.0, 0.9, 0.2, 0.0]])
        state["init_cam"] = torch.tensor([0.8, 0.1, -0.1])
        state["fc_shape.weight"].mul_(0.2)
    else:
        for place, layer in enumerate(("fc1", "fc2", "fc3")):
            for entry in ("weight", "bias"):
                value = state[f"ief_module.{layer}.{entry}"]
                if layer == "fc3":
                    value.mul_(0.2)
                state[f"ief_module.ief_layers.{2 * place}.{entry}"] = value
    return state


def save_published(path: Path, state: Mapping[str, Any], legacy: bool = False) -> Path:
    """Writes what the authors' training writes, with scores of numpy's types beside."""
    last = {name: value + 1 for name, value in state.items() if isinstance(value, Tensor)}
    last = dict(list(last.items())[:3])
    content = {
        "epoch": 99,
        "best_epoch": 42,
        "best_epoch_val_metrics": {"pves_pa": np.float64(0.05), "mpjpes": np.arange(3.0)},
        "model_state_dict": last,
        "best_model_state_dict": dict(state),
        "optimiser_state_dict": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 1e-4}]},
    }
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the authors', with everything that they say to download; do not change it."""
    root = tmp_path_factory.mktemp("checkout")
    extra = root / "additional"
    (extra / "smpl").mkdir(parents=True)
    for number, gender in enumerate(("NEUTRAL", "MALE", "FEMALE")):
        np.savez(extra / "smpl" / f"SMPL_{gender}.npz", **small_smpl(number))
    shape = np.linspace(-0.4, 0.4, 10)
    pose = rotmat_to_rot6d(mean_pose()).flatten().double().numpy()
    np.savez(extra / MEAN_PARAMETERS, pose=pose, shape=shape)
    (root / "checkpoints").mkdir()
    save_published(root / "checkpoints" / FILES["STRAPS"], random_state("STRAPS"))
    return root


def published(path: Path) -> PublishedCheckpoint:
    """What would be read of a file of this name."""
    system = next(system for system in FILES if FILES[system].startswith(path.stem[:5]))
    state = random_state(system)
    kept = {name: value.float() for name, value in state.items() if "ief_layers" not in name}
    return PublishedCheckpoint(path, kept, 42, "0" * 64)


@pytest.fixture
def read_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files need not be there."""
    monkeypatch.setattr(official, "read_published", published)


@pytest.fixture(scope="module")
def loaded(checkout: Path) -> Callable[[str], TrainedRegressor]:
    """Gives each system's network; STRAPS's from a file."""
    folder = checkout / "checkpoints"
    found = {"STRAPS": load_official(folder / FILES["STRAPS"], directories=[SHIPPED])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(official, "read_published", published)
        for system in ("LASOR", "HierProb3D"):
            found[system] = load_official(folder / FILES[system], directories=[SHIPPED])
    return found.__getitem__


@pytest.fixture(scope="module")
def smpl(checkout: Path) -> BodyTemplate:
    return find_smpl(None, "neutral", [checkout / "additional"], "test")[1]


def inputs(count: int = 2, size: int = 64) -> Proxy:
    generator = torch.Generator().manual_seed(1)
    keypoints = torch.rand(count, 17, 3, generator=generator) * torch.tensor([2.2, 2.2, 1])
    keypoints = keypoints - torch.tensor([1.1, 1.1, 0])
    keypoints[:, 3] = 0
    edges = torch.rand(count, size, size, generator=generator)
    return Proxy(
        silhouette=torch.rand(count, size, size, generator=generator),
        keypoints=keypoints,
        box=Box(centre=torch.zeros(count, 2), side=torch.ones(count)),
        edges=edges * (edges > 0.8),
    )


# ------------------------------------------------------------------------------ twins


def twin_heatmaps(keypoints: Tensor, size: int) -> Tensor:
    """STRAPS's heatmaps in loops, from its description."""
    maps = np.zeros((*keypoints.shape[:2], size, size))
    steps = np.linspace(-8, 8, 16)
    patch = np.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / (2 * 4**2))
    for person, points in enumerate(keypoints.tolist()):
        for joint, (x, y, confidence) in enumerate(points):
            column, row = int((x + 1) * size / 2), int((y + 1) * size / 2)
            if confidence <= 0 or not all(-8 < at < size + 7 for at in (column, row)):
                continue
            for i in range(16):
                for j in range(16):
                    if 0 <= row - 8 + i < size - 1 and 0 <= column - 8 + j < size - 1:
                        maps[person, joint, row - 8 + i, column - 8 + j] = patch[i, j]
    return torch.from_numpy(maps).float()


def twin_straps(state: State, proxy: Proxy, initial: Tensor) -> Tensor:
    silhouette = (proxy.silhouette > 0.5).float()[:, None]
    heatmaps = twin_heatmaps(proxy.keypoints, silhouette.shape[-1])
    features = twin_encoder(state, torch.cat([silhouette, heatmaps], 1))
    answers = []
    for feature in features:
        estimate = initial
        for _ in range(3):
            x = torch.cat([feature, estimate])
            for layer in (1, 2, 3):
                name = f"ief_module.fc{layer}"
                x = state[f"{name}.weight"] @ x + state[f"{name}.bias"]
                x = x.relu() if layer < 3 else x
            estimate = estimate + x
        answers.append(estimate)
    return torch.stack(answers)


@dataclasses.dataclass
class Hierarchy:
    """What HierProb3D says of one person."""

    shape: Tensor
    root: Tensor
    camera: Tensor
    parameters: Tensor


def twin_hierprob(state: State, proxy: Proxy, flip: bool = False) -> list[Hierarchy]:
    """The published network, joint by joint.

    Args:
        flip: Whether singular vectors get the other signs, which an SVD may choose as well.
    """
    image = torch.cat([proxy.edges[:, None], gaussian_heatmaps(proxy.keypoints, 64, 4.0)], 1)

    def layer(name: str, x: Tensor) -> Tensor:
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    people = []
    for feature in twin_encoder(state, image):
        x = functional.elu(layer("fc1", feature))
        shape = layer("fc_shape", x)
        root = layer("fc_glob", x) + state["init_glob"][0]
        camera = layer("fc_cam", x) + state["init_cam"]
        embed = functional.elu(layer("fc_embed", torch.cat([feature, shape, root, camera])))
        told: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        found = []
        for joint in range(1, 24):
            line, at = [], PARENTS[joint]
            while at > 0:
                line.append(at)
                at = PARENTS[at]
            heard = [told[at][kind].flatten() for kind in range(3) for at in line]
            x = functional.elu(layer(f"fc_pose.{joint - 1}.0", torch.cat([embed, *heard])))
            parameter = layer(f"fc_pose.{joint - 1}.2", x).view(3, 3) + torch.eye(3)
            u, s, vh = torch.linalg.svd(parameter)
            if flip:
                u, vh = u * torch.tensor([-1.0, 1, 1]), vh * torch.tensor([[-1.0], [1], [1]])
            v, det_u, det_v = vh.T, torch.linalg.det(u), torch.linalg.det(vh)
            u = u @ torch.diag(torch.stack([torch.ones(()), torch.ones(()), det_u]))
            v = v @ torch.diag(torch.stack([torch.ones(()), torch.ones(()), det_v]))
            s = s * torch.stack([torch.ones(()), torch.ones(()), det_u * det_v])
            told[joint] = (u, s, u @ v.T)
            found.append(parameter)
        people.append(Hierarchy(shape, root, camera, torch.stack(found)))
    return people


# --------------------------------------------------------------------- names and shapes


@pytest.mark.parametrize("system", SYSTEMS)
def test_published_names_and_shapes_load_with_nothing_missing(
    system: str, loaded: Callable[[str], TrainedRegressor]
) -> None:
    network, state = loaded(system).network, random_state(system)
    assert sum(parameter.numel() for parameter in network.parameters()) == SYSTEMS[system]
    found = network.state_dict()
    for name, value in state.items():
        if "ief_layers" not in name:
            assert torch.equal(found.pop(name).flatten(), value.flatten()), name
    assert set(found) <= {"initial", "pelvis", "pelvis_directions"}
    assert not network.training


def test_cards_say_whose_weights_these_are(loaded: Callable[[str], TrainedRegressor]) -> None:
    for system, method in (("STRAPS", "straps"), ("LASOR", "straps"), ("HierProb3D", "hierprob")):
        card = loaded(system).card
        assert card["system"] == system and card["config"]["method"] == method
        assert card["epoch"] == 42 and len(card["sha256"]) == 64
        assert card["source"].startswith("github.com/")
        assert loaded(system).body.endswith("SMPL_NEUTRAL.npz")
        assert Path(loaded(system).body).is_absolute()


def test_inputs_are_made_as_published(loaded: Callable[[str], TrainedRegressor]) -> None:
    for system in ("STRAPS", "LASOR"):
        proxy = loaded(system).proxy
        assert (proxy.size, proxy.scale, proxy.channel) == (256, 1.2, "silhouette")
        assert proxy.least_confidence == proxy.least_limb_confidence == 0
    proxy = loaded("HierProb3D").proxy
    assert (proxy.size, proxy.scale, proxy.channel) == (256, 1.2, "edges")
    assert (proxy.edge_padding, proxy.least_confidence) == ("zero", 0)
    keypoints = torch.cat([torch.full((17, 2), 30.0), torch.full((17, 1), 0.7)], -1)
    settings = dataclasses.replace(proxy, channel="silhouette")  # its edges have tests elsewhere
    seen = make_proxy(Observation(keypoints, torch.ones(60, 60)), settings)
    dropped = (seen.keypoints[:, 2] == 0).nonzero()[:, 0].tolist()
    assert dropped == [7, 8, 9, 10, 13, 14, 15, 16]


# --------------------------------------------------------------------- the same answers


@pytest.mark.parametrize("system", ["STRAPS", "LASOR"])
@torch.no_grad()
def test_straps_and_lasor_answer_like_a_slow_twin(
    system: str, loaded: Callable[[str], TrainedRegressor], checkout: Path, smpl: BodyTemplate
) -> None:
    network, proxy = loaded(system).network, inputs()
    initial = read_mean_parameters(checkout / "additional" / MEAN_PARAMETERS)
    vector = network(*network.inputs(proxy))
    expected = twin_straps(random_state(system), proxy, initial)
    assert (expected - initial).abs().max() > 0.1 and (expected[0] - expected[1]).abs().max() > 0.01
    torch.testing.assert_close(vector, expected, atol=2e-4, rtol=1e-3)

    prediction = network.predict(proxy)
    posed = prediction.posed(smpl)
    for person, answer in enumerate(expected):
        scale, shift = answer[0], answer[1:3]
        rotations = torch.stack([twin_rotation(six) for six in answer[3:147].view(24, 6)])
        body = pose_body(smpl, answer[147:], rotations)  # in the camera's frame
        published = scale * (body.vertices[:, :2] + shift)
        ours = prediction.camera.project(posed.vertices)[person]
        torch.testing.assert_close(ours, published, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_hierprob_answers_like_a_slow_twin(
    loaded: Callable[[str], TrainedRegressor], smpl: BodyTemplate
) -> None:
    network, proxy = loaded("HierProb3D").network, inputs()
    prediction = network.predict(proxy)
    assert isinstance(prediction, FisherPrediction)
    posed = prediction.posed(smpl)
    for person, said in enumerate(twin_hierprob(random_state("HierProb3D"), proxy)):
        torch.testing.assert_close(
            prediction.joints.parameter[person], said.parameters, atol=1e-3, rtol=1e-3
        )
        torch.testing.assert_close(
            prediction.shape.mean[person], said.shape[:10], atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(
            prediction.shape.std[person], said.shape[10:].exp(), atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(
            prediction.root[person], twin_rotation(said.root), atol=1e-4, rtol=1e-4
        )
        # y up; half a turn about x comes before the camera: u = s (x + tx), v = s (-y + ty).
        flat = posed.vertices[person, :, :2] * torch.tensor([1.0, -1])
        published = said.camera[0] * (flat + said.camera[1:])
        ours = prediction.camera.project(posed.vertices)[person]
        torch.testing.assert_close(ours, published, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_hierprob_hears_the_signs_that_lapack_gives() -> None:
    state, proxy = random_state("HierProb3D"), inputs(1)
    (one,), (other,) = twin_hierprob(state, proxy), twin_hierprob(state, proxy, flip=True)
    children = [joint for joint, count in enumerate(ANCESTORS) if count]
    roots = [joint for joint, count in enumerate(ANCESTORS) if not count]
    torch.testing.assert_close(one.parameters[roots], other.parameters[roots])
    # So a test that agrees with `one` to 1e-3 tells them apart.
    assert (one.parameters - other.parameters)[children].abs().amax((1, 2)).min() > 0.01


def test_hierprob_decomposes_on_the_cpu(loaded: Callable[[str], TrainedRegressor]) -> None:
    network = loaded("HierProb3D").network
    assert isinstance(network, HierarchicalRegressor)
    moved = []

    class Elsewhere(Tensor):
        """As if on another device."""

        def cpu(self, *arguments: Any, **options: Any) -> Tensor:
            moved.append(True)
            return self.as_subclass(Tensor)

    parameter = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    told = network.fc_pose._told(parameter.as_subclass(Elsewhere))
    assert moved == [True] and told.shape == (2, 3, 21)
    left = torch.linalg.svd(parameter)[0]
    torch.testing.assert_close(told[..., :9].unflatten(-1, (3, 3))[..., :2], left[..., :2])


# --------------------------------------------------------------------------- one trap each


def test_mean_parameters_are_row_by_row_and_not_in_the_weights(
    loaded: Callable[[str], TrainedRegressor], checkout: Path
) -> None:
    network = loaded("STRAPS").network
    assert isinstance(network, CameraFrameRegressor)
    start = network.read(network.initial[None])
    torch.testing.assert_close(start.parameters.rotations[0, 1:], mean_pose()[1:])
    torch.testing.assert_close(start.parameters.shape[0], torch.linspace(-0.4, 0.4, 10))
    # In the world the person stands upright: half a turn about x is undone.
    torch.testing.assert_close(
        start.parameters.rotations[0, 0],
        axis_rotation(1, torch.tensor(0.3)),
        atol=1e-6,
        rtol=0,
    )
    assert start.camera.scale.item() == pytest.approx(0.9)


def test_turning_the_root_moves_the_body_by_its_pelvis_and_the_camera_undoes_it(
    loaded: Callable[[str], TrainedRegressor], smpl: BodyTemplate
) -> None:
    network = loaded("LASOR").network
    vector = network.initial.repeat(2, 1)
    vector[:, 147:] = torch.tensor([[0.0] * 10, [3.0, -2, 1, 2, 0, -3, 1, 1, 2, -1]])
    read = network.read(vector)
    assert isinstance(read, PointPrediction)
    posed = read.posed(smpl)
    pelvis = posed.joints[:, 0]
    assert (pelvis[:, 1].abs() > 0.05).all() and (pelvis[0] - pelvis[1]).norm() > 0.02
    camera_frame = vector[:, 3:147].view(2, 24, 6)
    rotations = torch.stack([torch.stack([twin_rotation(r) for r in one]) for one in camera_frame])
    body = pose_body(smpl, vector[:, 147:], rotations)
    torch.testing.assert_close(
        read.camera.project(posed.vertices), 0.9 * body.vertices[..., :2], atol=1e-5, rtol=0
    )
    # Without the shift the picture would be off by twice the pelvis's height.
    naive = 0.9 * posed.vertices[..., :2] * torch.tensor([1.0, -1])
    off = (naive - 0.9 * body.vertices[..., :2]).mean(1)
    torch.testing.assert_close(off[:, 1], -2 * 0.9 * pelvis[:, 1], atol=1e-5, rtol=0)


def test_legacy_heatmaps_are_patches_without_a_peak_of_one() -> None:
    keypoints = torch.tensor([[0.0, 0.0, 1.0], [0.004, 0.003, 1.0], [0.0, 0.0, 0.0]])
    maps = legacy_heatmaps(keypoints, 256)
    assert maps.max().item() == pytest.approx(0.982, abs=5e-4)
    assert torch.equal(maps[0], maps[1])  # cut to whole pixels
    assert (maps[2] == 0).all()
    rows = maps[0].sum(1).nonzero()[:, 0]
    assert (rows.min().item(), rows.max().item()) == (120, 135)
    weights = maps[0] / maps[0].sum()
    centre = (weights.sum(0) * (torch.arange(256) + 0.5)).sum()
    assert centre.item() == pytest.approx(128, abs=1e-4)
    assert (gaussian_heatmaps(keypoints, 256, 4.0)[0] > 0).sum() > 256  # nothing cut off


def test_legacy_heatmaps_never_write_the_last_row_and_column() -> None:
    x = torch.linspace(-1.5, 1.5, 98)
    keypoints = torch.stack([x, torch.full_like(x, 0.95), torch.ones_like(x)], -1)
    keypoints = torch.cat([keypoints, keypoints[:, [1, 0, 2]]])
    maps = legacy_heatmaps(keypoints, 32)
    assert (maps[..., 31, :] == 0).all() and (maps[..., 31] == 0).all()
    assert (maps[..., 30] > 0).any() and (maps[..., 0] > 0).any()
    torch.testing.assert_close(maps, twin_heatmaps(keypoints[None], 32)[0], atol=1e-6, rtol=0)
    empty = maps.flatten(1).sum(1) == 0
    at = (keypoints[:, :2] + 1) * 16
    assert torch.equal(empty, ((at <= -8) | (at >= 39)).any(-1)) and empty.any()


def test_legacy_heatmaps_bear_garbage() -> None:
    garbage = torch.tensor([[torch.inf, 0, 1], [torch.nan, 0, 1], [1e30, -1e30, 1], [0, 0, 1]])
    maps = legacy_heatmaps(garbage, 256)
    assert (maps[:3] == 0).all() and maps[3].max() > 0.9


def test_silhouettes_are_zero_or_one(loaded: Callable[[str], TrainedRegressor]) -> None:
    network, proxy = loaded("STRAPS").network, inputs(1)
    hard = dataclasses.replace(proxy, silhouette=(proxy.silhouette > 0.5).float())
    with torch.no_grad():
        assert torch.equal(network(*network.inputs(proxy)), network(*network.inputs(hard)))


def test_the_best_weights_are_taken_not_the_last(tmp_path: Path) -> None:
    state = {"fc_pose.0.0.weight": torch.ones(3), "half": torch.ones(2).half()}
    file = read_published(save_published(tmp_path / "x.tar", state))
    assert torch.equal(file.weights["fc_pose.0.0.weight"], torch.ones(3))
    assert file.weights["half"].dtype == torch.float32
    assert file.epoch == 42


@pytest.mark.parametrize("legacy", [False, True])
def test_both_of_torchs_formats_are_read_with_numpys_scores_inside(
    tmp_path: Path, legacy: bool
) -> None:
    path = save_published(tmp_path / "x.tar", {"a": torch.arange(3.0)}, legacy)
    allowed = set(torch.serialization.get_safe_globals())
    assert torch.equal(read_published(path).weights["a"], torch.arange(3.0))
    assert set(torch.serialization.get_safe_globals()) == allowed  # nothing stays allowed


def test_duplicates_are_dropped_if_they_are_such(tmp_path: Path) -> None:
    state = {"ief_module.fc2.bias": torch.ones(4), "ief_module.ief_layers.2.bias": torch.ones(4)}
    assert list(read_published(save_published(tmp_path / "x.tar", state)).weights) == [
        "ief_module.fc2.bias"
    ]
    state["ief_module.ief_layers.2.bias"] = torch.zeros(4)
    with pytest.raises(CheckpointError, match=r"ief_layers\.2\.bias and ief_module\.fc2\.bias"):
        read_published(save_published(tmp_path / "x.tar", state))


@pytest.mark.parametrize(
    ("name", "gender"),
    [
        ("poseMF_shapeGaussian_net_weights.tar", "neutral"),
        ("poseMF_shapeGaussian_net_weights_male.tar", "male"),
        ("poseMF_shapeGaussian_net_weights_female.tar", "female"),
        ("Female.tar", "female"),
        ("malevolent.tar", "neutral"),
    ],
)
def test_the_name_says_the_gender(name: str, gender: str) -> None:
    assert gender_named(Path("male") / name) == gender


@pytest.mark.usefixtures("read_never")
def test_gendered_weights_get_a_body_of_their_gender(checkout: Path, tmp_path: Path) -> None:
    path = tmp_path / "poseMF_shapeGaussian_net_weights_female.tar"
    places = [checkout / "additional"]
    trained = load_official(path, directories=places)
    assert trained.gender == "female" and trained.body.endswith("SMPL_FEMALE.npz")
    trained = load_official(path, gender="male", directories=places)
    assert trained.gender == "male" and trained.body.endswith("SMPL_MALE.npz")
    with pytest.raises(ValueError, match="wanted a female body, came a male one"):
        load_official(path, body=places[0] / "smpl" / "SMPL_MALE.npz", directories=places)
    with pytest.raises(ValueError, match="gender: wanted one of neutral, male, female, came 'f'"):
        load_official(path, gender="f")


# ------------------------------------------------------------------------------ bad input


def test_all_that_does_not_fit_is_named_at_once() -> None:
    wanted = {"a": torch.zeros(2, 3), "b": torch.zeros(4), "c": torch.zeros(1), "d": torch.zeros(2)}
    came = {"b": torch.zeros(5, 4), "c": torch.tensor([torch.nan]), "d": torch.zeros(2)}
    file = PublishedCheckpoint(Path("x.tar"), came | {"z": torch.zeros(7)}, None, "")
    with pytest.raises(CheckpointError) as caught:
        require_match(file, wanted, "STRAPS")
    lines = str(caught.value).split("\n")
    assert lines[0] == "x.tar: wanted the 4 tensors of STRAPS, but 4 do not fit:"
    assert lines[1:5] == [
        "  missing     a, wanted (2, 3)",
        "  other shape b, wanted (4,), came (5, 4)",
        "  not finite  c, wanted finite numbers",
        "  unknown     z, wanted none, came (7,)",
    ]


def test_a_damaged_state_dict_is_compared_with_its_own_system(
    tmp_path: Path, checkout: Path
) -> None:
    state = dict(random_state("HierProb3D"))
    del state["fc_cam.bias"]
    state["fc_pose.5.0.weight"] = state["fc_pose.5.0.weight"][:, 1:]
    state["module.fc1.weight"] = torch.zeros(2)
    path = save_published(tmp_path / "x.tar", state)
    with pytest.raises(CheckpointError) as caught:
        load_official(path, directories=[checkout / "additional"])
    message = str(caught.value)
    assert "tensors of HierProb3D, but 3 do not fit" in message
    assert "missing     fc_cam.bias, wanted (3,)" in message
    assert "other shape fc_pose.5.0.weight, wanted (128, 277), came (128, 276)" in message
    assert "unknown     module.fc1.weight" in message


class Hostile:
    """Runs a command when a naive reader opens it."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("function", "named"), [(os.system, r"posix\.system|nt\.system"), (eval, "eval")]
)
def test_hostile_files_are_refused_and_not_run(
    tmp_path: Path, function: Any, named: str, legacy: bool
) -> None:
    mark = tmp_path / "ran"
    command = f"touch {mark}" if function is os.system else f"open({str(mark)!r}, 'w')"
    state = {"fc1.weight": torch.zeros(2), "x": Hostile(function, command)}
    path = save_published(tmp_path / "x.tar", state, legacy)
    with pytest.raises(CheckpointError, match=rf"calls for ({named})\. It was refused"):
        read_published(path)
    assert not mark.exists()


def tar_archive() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("storages")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"abcd"))
    return file.getvalue()


def torch_file(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"PK\x03\x04 no zip", tar_archive(), b"\x80\x02", b"<html>too many downloads"],
)
def test_other_files_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="as torch.save writes it.*download it again"):
        read_published(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_files_cut_short_or_altered_are_explained(tmp_path: Path, legacy: bool) -> None:
    path = save_published(tmp_path / "x.tar", {"a": torch.arange(50.0)}, legacy)
    whole, refused = path.read_bytes(), 0
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole[: generator.integers(1, len(whole))])
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            read_published(path)
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 8):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            read_published(path)
        except CheckpointError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    ("content", "came"),
    [
        ({"conv1.weight": torch.zeros(2)}, "a table of conv1.weight"),
        (torch.zeros(3), "a Tensor"),
        ([1, 2], "a list"),
        ({}, "a table of nothing"),
        ({str(n): n for n in range(40)}, "and 28 more"),
        ({"best_model_state_dict": 5}, "a table of best_model_state_dict"),
    ],
)
def test_other_files_of_torch_are_described(tmp_path: Path, content: Any, came: str) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(torch_file(content))
    with pytest.raises(CheckpointError, match=f"which has 'best_model_state_dict', came .*{came}"):
        read_published(path)


def test_state_dicts_hold_tensors(tmp_path: Path) -> None:
    for odd in (5, "text", torch.zeros(2).to_sparse(), torch.zeros(2, dtype=torch.complex64)):
        path = save_published(tmp_path / "x.tar", {"a": torch.zeros(1)})
        path.write_bytes(torch_file({"best_model_state_dict": {"odd": odd}}))
        with pytest.raises(CheckpointError, match="wanted tensors of numbers by name, came 'odd'"):
            read_published(path)


def test_weights_of_other_systems_are_named(tmp_path: Path) -> None:
    path = save_published(tmp_path / "x.tar", {"backbone.conv1.weight": torch.zeros(2)})
    with pytest.raises(CheckpointError, match="STRAPS, LASOR.*HierProb3D.*came backbone.conv1"):
        load_official(path)


def test_missing_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="found no file"):
        load_official(tmp_path / "x.tar")


@pytest.mark.usefixtures("read_never")
def test_missing_files_are_named_with_where_to_get_them(checkout: Path, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / FILES["STRAPS"]
    path.parent.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no SMPL_NEUTRAL.pkl in.*\n.*deep/er\n(.*\n)*do:"):
        load_official(path, directories=[tmp_path, SHIPPED])
    with pytest.raises(FileNotFoundError, match=f"(?s){MEAN_PARAMETERS}.*STRAPS-3DHumanShapePose"):
        load_official(path, directories=[checkout / "additional" / "smpl"])
    mean = checkout / "additional" / MEAN_PARAMETERS
    folder = checkout / "additional" / "smpl"
    trained = load_official(path, body=folder, mean_parameters=mean, directories=[tmp_path])
    assert trained.body == str(folder / "SMPL_NEUTRAL.npz")


def test_a_checkout_of_the_authors_is_enough(checkout: Path) -> None:
    path = checkout / "checkpoints" / FILES["STRAPS"]
    places = nearby(path, [])
    assert places == [checkout / "checkpoints", checkout / "additional"]
    assert find_mean_parameters(None, places, "x").parent == checkout / "additional"


def test_the_open_body_is_no_smpl(tmp_path: Path) -> None:
    ours = find_asset("body/open_neutral.npz", [SHIPPED])
    for body in (ours, "open"):
        with pytest.raises(ValueError, match="the open body, whose shapes mean other things"):
            find_smpl(body, "neutral", [SHIPPED], "x.tar")
    few = small_smpl()
    few["shapedirs"] = few["shapedirs"][..., :9]
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **few)
    with pytest.raises(ValueError, match="a body of 9 shapes"):
        find_smpl(None, "neutral", [tmp_path], "x.tar")


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"pose": np.zeros(144)}, "shape: wanted 10 floating-point numbers, came none"),
        ({"pose": np.zeros(72), "shape": np.zeros(10)}, r"pose: wanted 144 .*float64 \(72,\)"),
        ({"pose": np.zeros(144, int), "shape": np.zeros(10)}, "pose: wanted 144 .*int64"),
        ({"pose": np.full(144, np.nan), "shape": np.zeros(10)}, "pose: wanted finite numbers"),
        ({"pose": np.zeros(144), "shape": np.zeros(10)}, "first two columns.*1 off"),
        ({"pose": np.tile([1.0, 0, 0, 0, 1, 0], 24), "shape": np.zeros(10)}, "row by row"),
    ],
)
def test_other_mean_parameters_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], match: str
) -> None:
    np.savez(tmp_path / MEAN_PARAMETERS, **{"shape": np.zeros(10)} | arrays)
    if match.startswith("shape"):
        np.savez(tmp_path / MEAN_PARAMETERS, pose=mean_pose()[..., :2].flatten().double().numpy())
    with pytest.raises(ValueError, match=match):
        read_mean_parameters(tmp_path / MEAN_PARAMETERS)


# ---------------------------------------------------------------------------- from outside


def test_weights_are_found_and_loaded_by_their_file_or_name(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = checkout / "checkpoints" / FILES["STRAPS"]
    assert find_weights(path) == path and find_weights(str(path)) == path
    with pytest.raises(FileNotFoundError, match="wanted nowhere.tar"):
        find_weights("nowhere.tar")
    (tmp_path / path.name).symlink_to(path)
    (tmp_path / "SMPL_NEUTRAL.npz").symlink_to(checkout / "additional/smpl/SMPL_NEUTRAL.npz")
    (tmp_path / MEAN_PARAMETERS).symlink_to(checkout / "additional" / MEAN_PARAMETERS)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    trained = load_regressor(find_weights(path.name))
    assert trained.card["system"] == "STRAPS"
    assert trained.body == str(tmp_path / "SMPL_NEUTRAL.npz")


@pytest.fixture
def smpl_at_hand(
    template: BodyTemplate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> BodyTemplate:
    """A body in the search order that passes for SMPL: ours, its faces in another order."""
    arrays = {
        "v_template": template.vertices.numpy(),
        "shapedirs": template.shape_directions.numpy()[..., :10],
        "posedirs": template.pose_directions.numpy(),
        "J_regressor": template.joint_regressor.numpy(),
        "weights": template.skinning_weights.numpy(),
        "kintree_table": np.array([PARENTS, range(24)]),
        "f": np.roll(template.faces.numpy(), 1, axis=0),
    }
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **arrays)
    still = torch.eye(3).repeat(24, 1, 1)
    still[0] = torch.diag(torch.tensor([1.0, -1, -1]))
    pose = rotmat_to_rot6d(still).flatten().double().numpy()
    np.savez(tmp_path / MEAN_PARAMETERS, pose=pose, shape=np.zeros(10))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return load_template(tmp_path / "SMPL_NEUTRAL.npz")


def test_photos_give_the_published_numbers_and_upright_bodies(
    known_person: Any, smpl_at_hand: BodyTemplate, tmp_path: Path
) -> None:
    state = dict(random_state("STRAPS"))
    for name in ("fc3", "ief_layers.4"):
        for entry in ("weight", "bias"):
            state[f"ief_module.{name}.{entry}"] = state[f"ief_module.{name}.{entry}"] / 10
    path = save_published(tmp_path / FILES["STRAPS"], state)

    predictor = Predictor(path.name, known_person.front_end, flip=False)
    (image,) = predictor([Path("photo.jpg")])
    (person,) = image.people
    assert predictor.template.topology == smpl_at_hand.topology
    head, ankle = person.body.joints[15], person.body.joints[7]
    assert head[1] > ankle[1] + 1  # the world's y is up
    assert person.keypoints[0, 1] < person.keypoints[15, 1]  # the picture's is down

    origin = Origin(predictor.template, "STRAPS", "0" * 64, "photo.jpg", known_person.size)
    arrays = person_arrays(person, origin)
    network = predictor.regressor.network
    proxy = make_proxy(known_person.person.observation(), predictor.regressor.proxy)
    with torch.no_grad():
        raw = network(proxy.silhouette[None], proxy.keypoints[None])[0]
    # What is written is in the camera's frame again: the network's own numbers.
    np.testing.assert_allclose(arrays["cam_weak"], raw[:3], atol=1e-5)
    rotations = torch.stack([twin_rotation(six) for six in raw[3:147].view(24, 6)])
    np.testing.assert_allclose(arrays["rotmats"], rotations, atol=1e-5)
    np.testing.assert_allclose(arrays["betas"], raw[147:], atol=1e-6)


def test_the_open_benchmark_refuses_other_bodies(
    loaded: Callable[[str], TrainedRegressor],
) -> None:
    with pytest.raises(ValueError, match="wanted a regressor of the open body"):
        evaluate_open(loaded("STRAPS"))
    with pytest.raises(ValueError, match="silhouettes or IUV pictures, got one of edges"):
        evaluate_open(loaded("HierProb3D"))
