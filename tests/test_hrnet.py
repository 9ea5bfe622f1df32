"""HRNet: the official names and shapes, the numbers of an independent twin, and how files open.

The list of names in `data` and the golden numbers were made with timm 1.0.31, which has HRNet's
body under the same names: of its `hrnet_w48` without the classifier and without those layers of
`stage4.2.fuse_layers` that only the classifier needs, and with the pose network's last layer. Ours
gave the same numbers to the last bit, of W18 with one branch and with four, and of W48.
"""

from __future__ import annotations

import gzip
import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plausibody.models.checkpoint import CheckpointError
from plausibody.models.hrnet import HRNet, PoseHRNet, load_pose_hrnet

KEYS = Path(__file__).parent / "data" / "pose_hrnet_w48_384x288_keys.txt.gz"
KEYS_SHA256 = "7bc31c660df8825df6a7da70c69bc94cb69b2c5b3586387491a9a7480e996c5b"
MEANS = [844.79193, 757.40973, 831.33472, 479.35758]
"""Of the twin's four maps, for the numbers and the picture of the test."""


def listed() -> dict[str, tuple[int, ...]]:
    """Names and shapes of `pose_hrnet_w48_384x288.pth`."""
    text = gzip.decompress(KEYS.read_bytes())
    assert hashlib.sha256(text).hexdigest() == KEYS_SHA256
    pairs = (line.split(" ") for line in text.decode().splitlines())
    return {
        name: tuple(int(n) for n in shape.split("x")) if shape != "-" else ()
        for name, shape in pairs
    }


def numbered(network: torch.nn.Module) -> None:
    """Fills a network with numbers that depend on the names of its parameters alone."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in sorted(network.state_dict().items()):
        if tensor.ndim == 4:
            spread = tensor[0].numel() ** -0.5
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread)
        elif name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator) / 10
            tensor.copy_(noise + name.endswith("weight"))


@pytest.fixture(scope="module")
def small() -> dict[str, Tensor]:
    """The tensors of a pose network of width 4."""
    return PoseHRNet(4).state_dict()


def saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "pose.pth")
    return folder / "pose.pth"


def test_names_and_shapes_are_those_of_the_official_file():
    with torch.device("meta"):
        network = PoseHRNet()
        heatmaps = network.eval()(torch.empty(1, 3, 384, 288))
    wanted = listed()
    assert len(wanted) == 1754
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == wanted
    assert sum(parameter.numel() for parameter in network.parameters()) == 63_595_745
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learnt = (math.prod(s) for name, s in wanted.items() if not name.endswith(statistics))
    assert sum(learnt) == 63_595_745
    assert heatmaps.shape == (1, 17, 96, 72)


def test_w32_has_as_many_tensors_of_other_shapes():
    with torch.device("meta"):
        network = PoseHRNet(32)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes.keys() == listed().keys()
    assert shapes["final_layer.weight"] == (17, 32, 1, 1)
    # 28.5 M in the authors' table.
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(28.5e6, rel=0.005)


@torch.no_grad()
def test_the_twin_gives_the_same_numbers():
    network = HRNet(18, scales=4).eval()
    numbered(network)
    picture = torch.linspace(-1, 1, 3 * 64 * 64).sin().mul(3).reshape(1, 3, 64, 64)
    maps = network.features(picture)
    assert network.channels == (18, 36, 72, 144)
    assert [tuple(x.shape) for x in maps] == [
        (1, 18 * 2**scale, 16 // 2**scale, 16 // 2**scale) for scale in range(4)
    ]
    assert [float(x.mean()) for x in maps] == pytest.approx(MEANS, rel=1e-3)


@torch.no_grad()
def test_a_file_opens_as_the_network_that_was_saved(tmp_path, small):
    network = load_pose_hrnet(saved(tmp_path, small))
    assert network.width == 4 and not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    before = PoseHRNet(4).eval()
    before.load_state_dict(small)
    crop = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(network(crop), before(crop))


def test_missing_unexpected_and_odd_tensors_are_named(tmp_path, small):
    changed = dict(small)
    changed["stage3.1.oops.weight"] = changed.pop("stage3.1.branches.0.0.conv1.weight")
    changed["bn1.bias"] = torch.zeros(7)
    with pytest.raises(CheckpointError) as caught:
        load_pose_hrnet(saved(tmp_path, changed))
    message = str(caught.value)
    assert "wanted the 1754 tensors of HRNet, but 3 do not fit" in message
    assert "missing stage3.1.branches.0.0.conv1.weight" in message
    assert "unexpected stage3.1.oops.weight" in message
    assert "bn1.bias is (7,), wanted (64,)" in message
    with pytest.raises(CheckpointError, match="bn2.bias has numbers that are not finite"):
        load_pose_hrnet(saved(tmp_path, small | {"bn2.bias": torch.full((64,), torch.nan)}))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"best_model_state_dict": {}, "best_epoch": 3}, "best_model_state_dict, best_epoch"),
        ([1, 2], "came a list"),
        ({}, "a table of nothing"),
    ],
)
def test_other_files_are_refused_by_what_they_hold(tmp_path, content, named):
    with pytest.raises(CheckpointError, match=named):
        load_pose_hrnet(saved(tmp_path, content))


def test_damage_and_absence_are_told_apart(tmp_path, small):
    path = saved(tmp_path, small)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cut short, altered or something else"):
        load_pose_hrnet(path)
    with pytest.raises(FileNotFoundError, match="found no file"):
        load_pose_hrnet(tmp_path / "none.pth")


def test_sides_and_scales_are_checked():
    with torch.device("meta"):
        network = HRNet(4)
        with pytest.raises(ValueError, match="multiples of 32, got 60 x 64"):
            network.features(torch.empty(1, 3, 64, 60))
    with pytest.raises(ValueError, match="scales: wanted 1 to 4, got 5"):
        HRNet(4, scales=5)
