"""IUV files that are no such files, from the command to what the user is told; and checkpoints of
other networks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from test_files_front_end import HEIGHT, WIDTH, iuv_of, save_openpose

from plausibody.cli import main
from plausibody.config import RunConfig, override
from plausibody.models.networks import build_regressor
from plausibody.models.skeleton import SMPL24_PARENTS
from plausibody.models.weights import save_regressor
from plausibody.presets import preset


def save_network(config: RunConfig, path: Path) -> None:
    """Writes a network of a configuration that has learnt nothing, as a run does."""
    still = torch.eye(3).expand(24, 3, 3)
    parts = (config.method, config.regressor, config.proxy, still, SMPL24_PARENTS, config.danet)
    save_regressor(build_regressor(*parts), path, {"config": asdict(config)})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("network") / "weights.safetensors"
    small = {"danet.width": 8, "danet.features": 8, "danet.crop": 4}
    save_network(override(preset("danet-lite-iuv"), small), path)
    return path


Predict = Callable[[], Result]


@pytest.fixture
def seen(known_person: Any, tmp_path: Path) -> np.ndarray:
    """The IUV map of a photo whose key points are there: (H, W, 3)."""
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 150)).save(tmp_path / "a.jpg")
    save_openpose(tmp_path / "seen", known_person.person.keypoints)
    iuv: np.ndarray = iuv_of(known_person.person.mask() > 0.5)
    return iuv


@pytest.fixture
def predict(weights: Path, tmp_path: Path) -> Predict:
    words = ["predict", "a.jpg", "--front-end", "files", "--files", "seen", "--silhouette-from",
             "parts", "--weights", str(weights), "--out", "out", "--save", "params"]  # fmt: skip

    def run() -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            return CliRunner().invoke(main, words)

    return run


def save_png(iuv: np.ndarray, folder: Path) -> None:
    Image.fromarray(np.ascontiguousarray(iuv)).save(folder / "seen" / "a_IUV.png")


def test_a_network_that_reads_iuv_predicts_from_files(
    predict: Predict, seen: np.ndarray, tmp_path: Path
) -> None:
    """The same of both orders of the channels."""
    found = []
    for order in (slice(None), slice(None, None, -1)):
        save_png(seen[..., order], tmp_path)
        result = predict()
        assert result.exit_code == 0, result.output
        assert "u and v of the open body's chart" in result.output
        (saved,) = (tmp_path / "out").rglob("*.npz")
        with np.load(saved) as arrays:
            found.append({name: arrays[name] for name in arrays.files})
        (tmp_path / "out").rename(tmp_path / f"out{len(found)}")
    np.testing.assert_equal(found[0], found[1])


def beyond(iuv: np.ndarray) -> np.ndarray:
    iuv[..., 0] = np.where(iuv[..., 0] == 23, 30, iuv[..., 0])
    return iuv


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (beyond, "parts from 0 to 24 .* came numbers up to 30 and 2[0-9]+ there; do: write it "
                 "without scaling or loss, as PNG, with the parts that DensePose counts"),
        (lambda iuv: iuv[..., [1, 0, 2]],
         "and what may be parts in the middle one; do: write the channels in the order I, U, V"),
        (lambda iuv: iuv[::2, ::2], "wanted a DensePose IUV map of the size of the upright photo, "
                                    "260 x 300, came 130 x 150; do: .* by nearest pixels"),
        (lambda iuv: iuv.transpose(1, 0, 2), "260 x 300, came 300 x 260; do: "),
    ],
    ids=["ids beyond 24", "swapped channels", "half the size", "turned"],
)  # fmt: skip
def test_files_that_are_no_iuv_maps_are_refused_with_what_to_do(
    predict: Predict, seen: np.ndarray, tmp_path: Path, spoil: Any, complaint: str
) -> None:
    save_png(spoil(seen), tmp_path)
    check_refused(predict(), tmp_path, "unreadable", complaint)


def check_refused(result: Result, folder: Path, status: str, complaint: str) -> None:
    """Checks that the command fails, and says why in its output and in its summary."""
    assert result.exit_code == 1
    (entry,) = json.loads((folder / "out" / "summary.json").read_text("utf-8"))["inputs"]
    assert entry["status"] == status
    for said in (" ".join(result.output.split()), entry["message"]):
        assert re.search(complaint, said), said


def test_fractions_are_refused(predict: Predict, seen: np.ndarray, tmp_path: Path) -> None:
    """Rounded, all of u and v from 0 to 1 would be one point."""
    shares = seen.astype(np.float32) / (1, 255, 255)
    np.savez(tmp_path / "seen" / "a_IUV.npz", iuv=shares)
    complaint = "of whole numbers, came fractions; do: save parts as 0 to 24, and U and V from 0 to"
    check_refused(predict(), tmp_path, "unreadable", complaint)


def test_part_maps_do_not_do(predict: Predict, seen: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(seen[..., 0]).save(tmp_path / "seen" / "a_parts.png")
    complaint = "wanted DensePose's IUV map .* got a part map, which has no u and v; do: put such"
    check_refused(predict(), tmp_path, "failed", complaint)


def test_a_checkpoint_of_another_backbone_is_refused(weights: Path, tmp_path: Path) -> None:
    """A card that tells of a wider network than the one whose tensors lie beside it."""
    (tmp_path / "weights.safetensors").write_bytes(weights.read_bytes())
    card = json.loads(weights.with_suffix(".json").read_text("utf-8"))
    card["config"]["danet"]["width"] = 16
    (tmp_path / "weights.json").write_text(json.dumps(card))
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.jpg")
    words = ["predict", str(tmp_path / "a.jpg"), "--out", str(tmp_path / "out"), "--weights"]
    result = CliRunner().invoke(main, [*words, str(tmp_path / "weights.safetensors")])
    told = " ".join(result.output.split())
    assert result.exit_code == 2
    assert re.search("wanted weights whose card .* got one of another network than these", told)
    assert "do: get both files again" in told
