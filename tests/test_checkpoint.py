"""Checkpoints: whole or refused, and nothing lost on the way through a file."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from plausibody.models import checkpoint
from plausibody.models.checkpoint import (
    CheckpointError,
    checkpoints,
    keep_last,
    load_checkpoint,
    load_latest,
    load_optimiser,
    load_weights,
    optimiser_tensors,
    save_checkpoint,
    save_weights,
)
from plausibody.models.files import DiskFullError, write_file

GROUPS = {
    "model": {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(5)},
    "optimiser": {"0.exp_avg": torch.ones(4, dtype=torch.bfloat16)},
}


def save(folder: Path, *steps: int) -> list[Path]:
    return [save_checkpoint(folder, step, GROUPS, {"seed": step}) for step in steps]


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    (written,) = save(tmp_path / "new" / "folder", 7)
    groups, state = load_checkpoint(written)
    assert written.name == "step_7" and state["step"] == 7 and state["seed"] == 7
    assert groups.keys() == GROUPS.keys()
    for name, tensors in GROUPS.items():
        for key, value in tensors.items():
            assert torch.equal(groups[name][key], value) and groups[name][key].dtype == value.dtype


def test_tensors_of_any_memory_order_come_back(tmp_path: Path) -> None:
    filters = torch.randn(3, 4, 5, 5).to(memory_format=torch.channels_last)
    view = torch.randn(6, 4).T
    written = save_checkpoint(tmp_path, 1, {"model": {"filters": filters, "view": view}}, {})
    groups, _ = load_checkpoint(written)
    assert torch.equal(groups["model"]["filters"], filters)
    assert torch.equal(groups["model"]["view"], view)


def test_saving_again_replaces(tmp_path: Path) -> None:
    save(tmp_path, 3)
    save_checkpoint(tmp_path, 3, GROUPS, {"seed": 99})
    assert load_checkpoint(tmp_path / "step_3")[1]["seed"] == 99
    assert [path.name for path in tmp_path.iterdir()] == ["step_3"]


def test_a_stopped_writing_leaves_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)

    monkeypatch.setattr(checkpoint, "write_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert [path.name for path in checkpoints(tmp_path)] == ["step_1"]
    _, state, passed = load_latest(tmp_path)
    assert state["step"] == 1
    assert len(passed) == 1 and "step_2" in passed[0] and "did not finish" in passed[0]
    save(tmp_path, 2)
    assert load_latest(tmp_path)[1]["step"] == 2 and not load_latest(tmp_path)[2]


def damage_state(path: Path) -> None:
    (path / "state.json").unlink()


def damage_text(path: Path) -> None:
    (path / "state.json").write_text("{", encoding="utf-8")


def damage_kind(path: Path) -> None:
    (path / "state.json").write_text("[]", encoding="utf-8")


def damage_depth(path: Path) -> None:
    (path / "state.json").write_text("[" * 100_000, encoding="utf-8")


def seal_without(path: Path, *keys: str) -> None:
    """Writes a state as whole as others, in which something is missing."""
    state = json.loads((path / "state.json").read_text("utf-8"))
    state = {key: value for key, value in state.items() if key not in ("sha256", *keys)}
    sealed = {**state, "sha256": checkpoint._seal(state)}
    (path / "state.json").write_text(json.dumps(sealed), encoding="utf-8")


def damage_step(path: Path) -> None:
    seal_without(path, "step")


def damage_list(path: Path) -> None:
    seal_without(path, "version", "files")


def damage_version(path: Path) -> None:
    state = json.loads((path / "state.json").read_text("utf-8"))
    (path / "state.json").write_text(json.dumps({**state, "version": 3}), encoding="utf-8")


def damage_entry(path: Path) -> None:
    state = json.loads((path / "state.json").read_text("utf-8"))
    (path / "state.json").write_text(json.dumps({**state, "step": 21}), encoding="utf-8")


def damage_length(path: Path) -> None:
    data = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(data[:-1])


def damage_bit(path: Path) -> None:
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "model.safetensors").write_bytes(bytes(data))


def damage_file(path: Path) -> None:
    (path / "optimiser.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_state, "found no state.json"),
        (damage_text, "state.json: wanted the state of a checkpoint, got no JSON"),
        (damage_depth, "state.json: wanted the state of a checkpoint, got no JSON"),
        (damage_kind, "state.json: wanted the state of a checkpoint, got one without version"),
        (damage_step, "state.json: wanted the state of a checkpoint, got one without step"),
        (damage_list, "wanted the state of a checkpoint, got one without version, files"),
        (damage_version, "wanted a checkpoint of version 1 to 2, got 3"),
        (damage_entry, "state.json: wanted the state that was saved, got another content"),
        (damage_length, "model.safetensors: wanted the file that was saved .* another content"),
        (damage_bit, "model.safetensors: wanted the file that was saved .* another content"),
        (damage_file, "optimiser.safetensors: wanted the file that was saved .* no such file"),
    ],
)
def test_damage_is_refused_and_the_one_before_used(
    tmp_path: Path, damage: object, message: str
) -> None:
    _, last = save(tmp_path, 10, 20)
    assert callable(damage)
    damage(last)
    with pytest.raises(CheckpointError, match=f"{message}.*; do: ") as caught:
        load_checkpoint(last)
    _, state, passed = load_latest(tmp_path)
    assert state["step"] == 10
    assert passed == [f"{caught.value.why}; it is passed over"], "with nothing left to do"
    assert "step_20" in passed[0] and "use an earlier" not in passed[0]


def test_nothing_to_resume_from_says_what_there_was(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found none"):
        load_latest(tmp_path / "missing")
    damage_bit(save(tmp_path, 5)[0])
    with pytest.raises(CheckpointError, match="(?s)found none.*step_5.*another content") as caught:
        load_latest(tmp_path)
    assert "use an earlier" not in str(caught.value)
    assert "do: start over, with another --out" in str(caught.value)
    damage_version(save(tmp_path, 6)[0])
    with pytest.raises(CheckpointError, match="do: resume with the plausibody that wrote it$"):
        load_latest(tmp_path)


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path: Path) -> None:
    save(tmp_path, 100, 9, 20)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "step_last").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["step_9", "step_20", "step_100"]


def test_only_the_newest_stay(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 30)
    (tmp_path / ".step_40.unfinished").mkdir()
    (tmp_path / "mine").mkdir()
    keep_last(tmp_path, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"step_2", "step_30", "mine"}
    keep_last(tmp_path, 5)
    assert len(checkpoints(tmp_path)) == 2


def test_weights_to_share(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lite.safetensors"
    save_weights(path, GROUPS["model"], {"method": "lite"})
    tensors, card = load_weights(path)
    assert torch.equal(tensors["weight"], GROUPS["model"]["weight"])
    assert card["method"] == "lite" and len(card["sha256"]) == 64
    assert {file.name for file in path.parent.iterdir()} == {"lite.safetensors", "lite.json"}


def test_weights_without_their_card_and_the_other_way_round(tmp_path: Path) -> None:
    path = tmp_path / "lite.safetensors"
    for missing in (path, path.with_suffix(".json")):
        save_weights(path, GROUPS["model"], {})
        missing.unlink()
        with pytest.raises(FileNotFoundError, match=f"found no .*{missing.name}"):
            load_weights(path)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lite.safetensors"
    save_weights(path, GROUPS["model"], {})
    card = path.with_suffix(".json").read_text("utf-8")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="another content; do: get both files again"):
        load_weights(path)
    path.with_suffix(".json").write_text("not json", encoding="utf-8")
    with pytest.raises(CheckpointError, match="wanted the card of .*do: get both files again"):
        load_weights(path)
    path.write_bytes(b"nonsense")
    described = {**json.loads(card), "sha256": sha256(b"nonsense")}
    path.with_suffix(".json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(CheckpointError, match="wanted a safetensors file.*do: get both"):
        load_weights(path)


def sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_an_older_checkpoint_is_read(tmp_path: Path) -> None:
    """Version 1 had another name for the objective's tensors, and no seal."""
    (written,) = save(tmp_path, 7)
    state = json.loads((written / "state.json").read_text("utf-8"))
    (written / "model.safetensors").rename(written / "criterion.safetensors")
    state["files"]["criterion.safetensors"] = state["files"].pop("model.safetensors")
    del state["sha256"]
    (written / "state.json").write_text(json.dumps({**state, "version": 1}), encoding="utf-8")
    groups, found = load_checkpoint(written)
    assert groups.keys() == {"objective", "optimiser"} and found["seed"] == 7


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("part", ["model.safetensors", "optimiser.safetensors", "state.json"])
def test_a_full_disk_is_said_and_the_checkpoint_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, part: str
) -> None:
    save(tmp_path, 1)

    def full(path: Path, content: bytes | str) -> None:
        if path.name == part:
            path.write_bytes(b"some of it")
            raise DiskFullError(path, len(content), number)
        write_file(path, content)

    monkeypatch.setattr(checkpoint, "write_file", full)
    with pytest.raises(DiskFullError, match=r"step_2: wanted to write 0.0 MB, .*; do: ") as caught:
        save(tmp_path, 2)
    assert caught.value.errno == number
    assert [path.name for path in tmp_path.iterdir()] == ["step_1"], "nothing keeps the disk full"
    assert load_latest(tmp_path)[1]["step"] == 1


def test_weights_for_which_there_is_no_space_leave_those_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "best.safetensors"
    save_weights(path, GROUPS["model"], {"step": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="best.safetensors: wanted .* the disk is full; do:"):
        save_weights(path, GROUPS["model"], {"step": 2})
    assert load_weights(path)[1]["step"] == 1


def test_no_part_of_a_checkpoint_has_its_name_while_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1, 2)
    monkeypatch.setattr(checkpoint.shutil, "rmtree", interrupt)
    with pytest.raises(KeyboardInterrupt):
        keep_last(tmp_path, 1)
    monkeypatch.undo()
    assert checkpoints(tmp_path) == [tmp_path / "step_2"]
    keep_last(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["step_2"], "and it is removed later"


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def learner() -> tuple[nn.Module, torch.optim.Optimizer]:
    """A filter in channels-last memory, as networks are trained, and fused steps."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6))
    network.to(memory_format=torch.channels_last)
    return network, torch.optim.AdamW(network.parameters(), lr=0.1, fused=True)


def learn(network: nn.Module, optimiser: torch.optim.Optimizer, pictures: Tensor) -> None:
    optimiser.zero_grad()
    network(pictures).square().mul(torch.arange(6.0)[:, None, None]).mean().backward()
    optimiser.step()


def test_an_optimiser_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    pictures = torch.randn(4, 8, 9, 9, generator=torch.Generator().manual_seed(0))
    network, optimiser = learner()
    for _ in range(3):
        learn(network, optimiser, pictures)
    groups: dict[str, dict[str, Tensor]] = {
        "model": network.state_dict(),
        "optimiser": optimiser_tensors(optimiser),
    }
    loaded, _ = load_checkpoint(save_checkpoint(tmp_path, 3, groups, {}))
    other, other_optimiser = learner()
    other.load_state_dict(loaded["model"])
    load_optimiser(other_optimiser, loaded["optimiser"])
    for _ in range(3):
        learn(network, optimiser, pictures)
        learn(other, other_optimiser, pictures)
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_learning_rates_stay_those_of_the_new_optimiser() -> None:
    network, optimiser = learner()
    learn(network, optimiser, torch.ones(2, 8, 3, 3))
    _, other = learner()
    other.param_groups[0]["lr"] = 0.5
    load_optimiser(other, optimiser_tensors(optimiser))
    assert other.param_groups[0]["lr"] == 0.5


def test_an_optimiser_of_another_network_is_refused() -> None:
    network, optimiser = learner()
    assert isinstance(network, nn.Sequential)
    learn(network, optimiser, torch.ones(2, 8, 3, 3))
    tensors = optimiser_tensors(optimiser)
    with pytest.raises(ValueError, match="optimiser: wanted 2 parameters, got one 2"):
        load_optimiser(torch.optim.AdamW(network[0].parameters()), tensors)
    other = torch.optim.AdamW(nn.Sequential(nn.Conv2d(8, 6, 2), nn.BatchNorm2d(6)).parameters())
    with pytest.raises(ValueError, match=r"wanted 0.exp_avg of shape \(6, 8, 2, 2\), got"):
        load_optimiser(other, tensors)


def test_a_damaged_later_checkpoint_does_not_outlive_the_one_just_written(tmp_path: Path) -> None:
    for step in (1000, 2000, 1500):
        save_checkpoint(tmp_path, step, {"model": {"w": torch.ones(2)}}, {})
    (tmp_path / "step_2000" / "model.safetensors").write_bytes(b"cut")
    keep_last(tmp_path, 1, last=1500)
    assert [path.name for path in checkpoints(tmp_path)] == ["step_1500"]
