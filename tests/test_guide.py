"""Every command of the guide runs, in its order, in a folder with small photos and files as others
have them: synthetic ones of the published names and layouts, as the originals may not ship."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from plausibody.assets.catalog import VARIABLE, find_asset
from plausibody.cli import main
from plausibody.config import RunConfig
from plausibody.models.body import BodyTemplate
from plausibody.models.rotations import rotmat_to_rot6d
from plausibody.predict import predictor
from plausibody.predict.front_ends import embedded
from plausibody.sources import open_assets
from plausibody.synth.backgrounds import load_backgrounds
from plausibody.synth.generator import COLOURED
from plausibody.synth.poses import load_poses

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("guide.md", "own_files.md")
BLOCK = re.compile(r"^```sh(?: extra=(\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)

NEEDS = {
    "hq": "weights of RF-DETR and ViTPose",
    "hrnet": "the official file of HRNet, 255 MB",
    "ray": "the extra ray",
    "video": "the extra video and a film",
}


@dataclass(frozen=True)
class Command:
    page: str
    words: tuple[str, ...]
    extra: str
    """What it needs besides an installation; empty for nothing."""

    def __str__(self) -> str:
        return " ".join(self.words)


def commands(page: str) -> list[Command]:
    """Reads the commands of a page; a line may go on after a backslash."""
    text = (DOCS / page).read_text("utf-8")
    found = []
    for extra, block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                found.append(Command(page, tuple(words), extra))
    assert text.count("```sh") == len(BLOCK.findall(text))
    return found


LEFT_OUT = [command for page in PAGES for command in commands(page) if command.extra]


def writers(name: str) -> Any:
    """Opens another test file for what it writes files with."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"writers_of_{name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def workplace(template: BodyTemplate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader of the guide has it."""
    folder = tmp_path_factory.mktemp("guide")
    skier = Image.open(find_asset("photos/skier.jpg")).convert("RGB").crop((200, 20, 480, 400))
    for name in ("photos/anna.jpg", "photos/ben.jpg", "anna/1.jpg", "anna/2.jpg", "crops/1.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        skier.resize((140, 190)).save(folder / name, quality=95)
    team = Image.new("RGB", (270, 190))
    team.paste(skier.resize((140, 190)))
    hopper = Image.open(find_asset("photos/grace_hopper.jpg")).convert("RGB")
    team.paste(hopper.resize((130, 190)), (140, 0))
    team.save(folder / "team.jpg", quality=95)
    (folder / "chosen.txt").write_text("photos/anna.jpg\nphotos/ben.jpg\n")
    box = [30, 10, 110, 150]
    (folder / "boxes").mkdir()
    for name in ("anna", "ben"):
        (folder / "boxes" / f"{name}.json").write_text(json.dumps({"bbox": box}))
    (folder / "boxes.json").write_text(json.dumps({"anna.jpg": box, "ben.jpg": [box]}))
    (folder / "masks").mkdir()
    mask = np.zeros((190, 140), np.uint8)
    mask[15:150, 45:115] = 255
    for name in ("anna", "ben"):
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    (folder / "seen").mkdir()
    shutil.copy(folder / "masks" / "anna.png", folder / "seen" / "anna_mask.png")
    at = np.linspace([60, 20], [100, 145], 17)
    np.save(folder / "seen" / "anna_keypoints.npy", np.column_stack([at, np.full(17, 0.9)]))
    (folder / "runs" / "mine").mkdir(parents=True)
    for suffix in (".safetensors", ".json"):
        shutil.copy(
            find_asset(f"weights/hierprob-lite{suffix}"), folder / f"runs/mine/weights{suffix}"
        )
    _write_originals(folder, template)
    return folder


def _write_originals(folder: Path, template: BodyTemplate) -> None:
    """SMPL (our body under other numbers), STRAPS's weights, AMASS, a list of poses, LSUN."""
    smpl, official = writers("test_smpl_body"), writers("test_official")
    files = folder / "train_files"
    (files / "smpl").mkdir(parents=True)
    (files / "poses").mkdir()
    order = smpl.shuffled(template)
    arrays = smpl.body_arrays(template, order)
    np.savez(files / "smpl" / "SMPL_NEUTRAL.npz", **arrays)
    chart = smpl.chart_fields(smpl.load_chart(template), arrays["f"])
    smpl.savemat(files / smpl.DENSEPOSE, chart)
    joints = smpl.load_regressors(template).h36m17.numpy()[:, order].astype(np.float64)
    np.save(files / smpl.H36M, joints)
    still = torch.eye(3).repeat(24, 1, 1)
    still[0] = torch.diag(torch.tensor([1.0, -1, -1]))
    pose = rotmat_to_rot6d(still).flatten().double().numpy()
    np.savez(files / official.MEAN_PARAMETERS, pose=pose, shape=np.zeros(10))
    path = folder / official.FILES["STRAPS"]
    state = dict(official.random_state("STRAPS"))
    for name in state:
        if re.search(r"fc3|ief_layers\.4", name):  # no correction of the mean body: a body for sure
            state[name] = torch.zeros_like(state[name])
    official.save_published(path, state)

    poses = writers("test_pose_import")
    motion = load_poses(find_asset("poses/cmu.h5"), "test").rotvecs[:40].double()
    for subject in range(4):  # subjects are dealt out to the splits
        part = motion[10 * subject :][:10]
        poses.write_amass(folder / "AMASS" / "ACCAD" / f"s{subject}" / "walk_poses.npz", part)
    names = [f"up3d/{n:03d}" for n in range(40)]
    poses.write_list(folder / "smpl_train_poses.npz", motion, names)
    rooms = writers("test_backgrounds")
    pictures = [rooms.encoded(number, size=(300, 280)) for number in range(4)]
    rooms.write_database(folder / "bedroom_train_lmdb", pictures)
    (folder / "rooms").mkdir()
    for number, content in enumerate(pictures):
        (folder / "rooms" / f"{number}.jpg").write_bytes(content)


@pytest.fixture
def at_work(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nets, weights and bodies are opened once for all commands; trainings open their sources."""
    monkeypatch.chdir(workplace)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(workplace / "cache"))
    for module, name in (
        (embedded, "load_movenet"), (embedded, "load_blazepose"), (predictor, "load_regressor"),
        (predictor, "load_template"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, functools.cache(getattr(module, name)))
    monkeypatch.setattr("plausibody.training.run.train_run", _open_sources)
    yield workplace
    torch.set_num_threads(1)


def _open_sources(config: RunConfig, *_: object, **__: object) -> None:
    """What a training does first, and then no more; textures, which take long, are left out."""
    if config.stream.recipe in COLOURED:
        assert len(load_backgrounds(config.sources.backgrounds)) == 4
    else:
        assert len(open_assets(config, "train").bank) > 0
    sys.exit(0)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs(page: str, at_work: Path) -> None:
    run = [command for command in commands(page) if not command.extra]
    assert len(run) >= 8
    for command in run:
        program, *arguments = command.words
        assert program in ("plausibody", "synth-train"), command
        arguments = ["train", *arguments] if program == "synth-train" else arguments
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception!r}"
        if "--out" in arguments and arguments[0] != "train":
            assert (at_work / arguments[arguments.index("--out") + 1]).exists(), command
    if page == "guide.md":
        _check_results(at_work)


def _check_results(folder: Path) -> None:
    """What the guide promises of some of its commands."""
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert summary["counts"] == {"ok": 2}
    assert (folder / "page" / "report.html").stat().st_size > 10_000
    known = json.loads((folder / "out/known/anna/person_0.json").read_text())
    assert known["gender"] == "female" and known["told"]["height"] == pytest.approx(1.72)
    assert known["measurements"]["intervals"] == "calibrated"
    height = known["measurements"]["values"]["height"]["mean"]
    assert height == pytest.approx(1.72, abs=0.02)
    one = json.loads((folder / "out/anna/1/person_0.json").read_text())
    two = json.loads((folder / "out/anna/2/person_0.json").read_text())
    assert one["betas"] == pytest.approx(two["betas"], abs=1e-4)
    assert one["measurements"]["intervals"] == "raw"


@pytest.mark.parametrize("command", LEFT_OUT, ids=str)
def test_commands_that_need_more_are_understood(command: Command) -> None:
    _, name, *arguments = command.words
    assert main.commands[name].make_context(name, arguments).params["out"]
    pytest.skip(f"needs {NEEDS[command.extra]}")


def test_links_between_pages_lead_somewhere() -> None:
    pages = {page.name: page.read_text("utf-8") for page in DOCS.glob("*.md")}
    for name in (*PAGES, "coming-from.md", "outputs.md", "protocols.md", "open_v1.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", pages[name]):
            file, _, place = target.partition("#")
            if file.startswith("http"):
                continue
            assert not file or (DOCS / file).exists(), (name, target)
            if place:
                heads = re.findall(r"^#+ (.+)$", pages[file or name], re.MULTILINE)
                anchors = [
                    re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads
                ]
                assert place in anchors, (name, target)
