"""The command line: names that others call, exit codes, messages a stranger can act on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from plausibody.cli import main
from plausibody.commands.predict import FRONT_ENDS
from plausibody.commands.training import METHODS
from plausibody.config import RunConfig, override
from plausibody.demo import clear_folder
from plausibody.models.networks import NETWORKS
from plausibody.models.weights import DEFAULT_WEIGHTS
from plausibody.predict.bulk.run import SAVE
from plausibody.predict.export import MESH_FORMATS
from plausibody.predict.front_ends.opening import NAMES
from plausibody.predict.told import GENDERS
from plausibody.presets import PRESETS, preset
from plausibody.training.folder import prepare_folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    "command",
    ["train", "predict", "evaluate", "preview", "bench", "assets", "doctor", "demo"],
)
def test_every_fixed_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 4


def test_help_names_all_there_is() -> None:
    """The words stand in the commands once more, since their modules take seconds to import."""
    train, predict, evaluate = (
        "".join(run(name, "--help").output.split())  # lines break within names
        for name in ("train", "predict", "evaluate")
    )
    assert all(name in train for name in PRESETS)
    assert set(METHODS) <= set(PRESETS)
    assert {preset(name).method for name in METHODS} == set(NETWORKS)
    assert all(name in predict for name in (DEFAULT_WEIGHTS, *SAVE, *MESH_FORMATS, *GENDERS))
    assert set(FRONT_ENDS) == set(NAMES)
    assert DEFAULT_WEIGHTS in evaluate


def test_help_comes_at_once() -> None:
    """Nothing that takes seconds to import is imported for it."""
    script = (
        "import sys; import plausibody.cli; slow = {'torch', 'numpy', 'matplotlib', 'pydantic'}; "
        "sys.exit(', '.join(slow & sys.modules.keys()) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_wrong_usage_exits_with_2() -> None:
    assert run("train", "--no-such-option").exit_code == 2
    assert run("no-such-command").exit_code == 2
    assert run("train").exit_code == 2  # --out is missing
    assert run("predict", ".", "--out", "x", "--fov", "400").exit_code == 2
    assert run("predict", ".", "--out", "x", "--save", "everything").exit_code == 2
    assert run("predict", ".", "--out", "x", "--person", "nobody").exit_code == 2
    assert run("predict", ".", "--out", "").exit_code == 2
    assert run("predict", ".", "--out", "x", "--weights", "").exit_code == 2
    assert run("predict", ".", "--out", "x", "--save", "samples").exit_code == 2
    both = run("predict", ".", "--out", "x", "--save", "samples", "--save", "params")
    assert both.exit_code == 2 and "samples" in both.output, "none of several is lost"
    assert run("predict", ".", "--out", "x", "--samples", "99999999").exit_code == 2
    assert run("predict", ".", "--out", "x", "--workers", "2").exit_code == 2
    assert run("predict", ".", "--out", "x", "--smooth", "2").exit_code == 2


def test_an_unknown_configuration_key_lists_the_known_ones(tmp_path: Path) -> None:
    result = run("train", "--out", str(tmp_path / "run"), "--set", "train.stepz=3")
    assert result.exit_code == 2
    assert "train.stepz" in result.output and "train.steps" in result.output
    assert not (tmp_path / "run").exists()


def test_a_method_that_contradicts_its_preset_is_refused(tmp_path: Path) -> None:
    result = run("train", "--method", "straps", "--preset", "lite", "--out", str(tmp_path / "run"))
    assert result.exit_code == 2
    assert "straps" in result.output and "lite" in result.output


def test_other_datasets_are_refused_with_what_there_is() -> None:
    result = run("evaluate", "agora")
    assert result.exit_code == 2
    assert "open" in result.output and "3dpw" in result.output


def test_a_data_set_that_is_not_there_says_where_it_comes_from() -> None:
    result = run("evaluate", "ssp3d")
    assert result.exit_code == 1
    assert "--data" in result.output and "github.com/akashsengupta1997/SSP-3D" in result.output
    assert "labels.npz" in result.output


def test_options_of_data_sets_are_refused_where_they_mean_nothing(tmp_path: Path) -> None:
    for option in (["--data", str(tmp_path)], ["--proxies", "labels"], ["--people", "3"]):
        result = run("evaluate", "open", *option)
        assert result.exit_code == 2 and "open: wanted only" in result.output
    result = run("evaluate", "ssp3d", "--proxies", "labels", "--front-end", "hq")
    assert result.exit_code == 2 and "without a front end" in result.output


def test_preview_draws_a_contact_sheet(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    result = run("preview", "--method", "lite", "--step", "3", "--count", "9", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "samples 384 to 392" in result.output


def test_doctor_passes_here(tmp_path: Path) -> None:
    picture = tmp_path / "pose.png"
    result = run("doctor", "--picture", str(picture))
    assert result.exit_code == 0, result.output
    for word in ("up (torch)", "left (numba)", "front (torch)"):
        assert word in result.output
    assert picture.exists()


def test_assets_are_listed_and_whole() -> None:
    listed, checked = run("assets", "list"), run("assets", "check")
    assert listed.exit_code == 0 and "CC" in listed.output
    assert checked.exit_code == 0, checked.output
    assert "body/open_neutral.npz" in checked.output


def test_brackets_in_a_path_are_printed_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "e[mpty]"
    folder.mkdir()
    result = run("predict", str(folder), "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert str(folder) in result.output


def test_what_only_the_system_says_of_a_file_comes_with_what_to_do(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file where a folder is wanted")
    result = run("preview", "--preset", "lite-demo", "--count", "2", "--out", f"{taken}/a.png")
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert (
        f"error: {taken}: wanted to use this file or folder, the system says 'File exists'" in said
    )
    assert "do: name another" in said and "Errno" not in said


def test_a_demo_leaves_the_users_folders_alone(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "mine.jpg").touch()
    result = run("demo", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "wanted a new or empty folder" in result.output
    assert (photos / "mine.jpg").exists()


def test_a_demo_replaces_an_earlier_one(tmp_path: Path) -> None:
    clear_folder(tmp_path / "demo")
    (tmp_path / "demo" / "photos").mkdir()
    clear_folder(tmp_path / "demo")
    assert not (tmp_path / "demo" / "photos").exists()


def test_resuming_without_settings_takes_those_of_the_run(tmp_path: Path) -> None:
    config = override(preset("straps"), {"train.steps": 7})
    prepare_folder(tmp_path, config, resume=False, force=False)
    with pytest.MonkeyPatch.context() as patch:
        taken: list[RunConfig] = []
        took = "plausibody.training.run.train_run"
        patch.setattr(took, lambda config, *_, **__: taken.append(config))
        assert run("train", "--out", str(tmp_path), "--resume").exit_code == 0
        assert run("train", "--out", str(tmp_path), "--resume", "--steps", "9").exit_code == 0
    assert [found.train.steps for found in taken] == [7, 9]
    assert {found.method for found in taken} == {"straps"}


def test_runs_are_compared_on_a_page(tmp_path: Path) -> None:
    for name, rate in (("slow", 1e-4), ("quick", 1e-3)):
        config = override(preset("lite"), {"train.rate": rate})
        prepare_folder(tmp_path / name, config, resume=False, force=False)
        line = {"step": 50, "train/loss": 3.0, "seconds": 9.0}
        (tmp_path / name / "curves.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    runs, page = [str(tmp_path / name) for name in ("slow", "quick")], tmp_path / "page.html"
    result = run("train", "--compare", *runs, "--out", str(page))
    assert result.exit_code == 0, result.output
    assert "train.rate: 0.0001, 0.001" in result.output
    assert "<svg" in page.read_text("utf-8") or "<img" in page.read_text("utf-8")
    result = run("train", "--compare", runs[0], "--out", str(page))
    assert result.exit_code == 1 and "wanted two or more runs, got 1" in result.output
    result = run("train", "--compare", *runs, "--out", str(tmp_path / "folder"))
    assert result.exit_code == 2 and "wanted the name of a page" in result.output
    result = run("train", runs[0], "--out", str(page))
    assert result.exit_code == 2 and "RUN... are for --compare" in result.output
    both = ("--config", str(tmp_path / "slow" / "config.json"), "--preset", "lite")
    result = run("train", *both, "--out", str(tmp_path / "new"))
    assert result.exit_code == 2 and "--config and --preset: wanted one of them" in result.output
