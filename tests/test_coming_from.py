"""Every command of the page for users of other codes runs, on files of the published names and
layouts that are made here; the README's table of features names tests and commands that exist."""

from __future__ import annotations

import fnmatch
import functools
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import test_official as straps_files
import test_official_danet as danet_files
import test_official_hmr as hmr_files
import test_pose_import as pose_files
import test_real_surfaces as surface_files
import test_smpl_body as smpl_files
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from plausibody.assets.catalog import VARIABLE, find_asset
from plausibody.cli import main
from plausibody.config import RunConfig, known_keys, override, parse_settings
from plausibody.evaluate.staged.coco import stage_coco
from plausibody.evaluate.staged.pw3d import Staged3DPW, stage_3dpw
from plausibody.evaluate.staged.scenes import SceneSettings
from plausibody.evaluate.staged.spin import (
    stage_h36m,
    stage_lsp,
    stage_mpi_inf_3dhp,
    stage_spin_training,
)
from plausibody.evaluate.staged.ssp3d import stage_ssp3d
from plausibody.models.networks import build_regressor
from plausibody.models.official_body import MEAN_PARAMETERS
from plausibody.models.rotations import rotmat_to_rot6d
from plausibody.models.skeleton import SMPL24_PARENTS
from plausibody.models.templates import GENDERS, load_template
from plausibody.models.weights import find_weights, save_regressor
from plausibody.predict import predictor, semantics
from plausibody.predict.front_ends import embedded
from plausibody.presets import PRESETS, preset
from plausibody.real_labels import read_real_labels
from plausibody.synth import joint_regressor_published, stores
from plausibody.synth.backgrounds import load_backgrounds
from plausibody.synth.poses import load_poses
from plausibody.synth.semantic_prior import load_prior
from plausibody.synth.stores import load_regressors
from plausibody.synth.texture_published import load_published

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "coming-from.md").read_text("utf-8")
README = (TESTS.parent / "README.md").read_text("utf-8")
SECTION = "What the five codes could do"
SPAN = re.compile(r"`([^`\n]+)`")
OURS = ("plausibody ", "synth-train ", "python benchmarks/", "torchrun ")
SMALL = SceneSettings(size=128, focal=1250.0, smoothing=1)
UPRIGHT = torch.eye(3).repeat(24, 1, 1)
UPRIGHT[0] = torch.diag(torch.tensor([1.0, -1, -1]))
START = rotmat_to_rot6d(UPRIGHT).flatten()
"""Of networks that do not correct it: a body for sure, upright in a frame with y down."""
LAST = re.compile(r"fc3|ief_layers\.4|fc_cam|^dec|final_layer|pose_regressors|init_shape")
"""Parameters of last layers; zeros correct nothing."""
PROGRAMS_OF_OTHERS = "hrnet"
"""A front end whose file, 255 MB, is not made here."""


def ours(text: str) -> list[list[str]]:
    """Reads our commands of a text, in their order."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    inline = SPAN.findall(re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))
    lines = [line for block in blocks for line in block.splitlines()] + inline
    return [shlex.split(line) for line in lines if line.startswith(OURS) and "RUN..." not in line]


def understood(words: list[str]) -> dict[str, Any]:
    """Reads a command as its program would; settings are those of its preset."""
    program, *rest = words
    if program == "synth-train":
        rest = ["train", *rest]
    elif program != "plausibody":
        path = next(word for word in words if word.startswith("benchmarks/"))
        assert (TESTS.parent / path).is_file(), words
        return {}
    command: click.Command = main
    while isinstance(command, click.Group):
        name, rest = rest[0], rest[1:]
        command = command.commands[name]
    told = command.make_context(command.name, rest).params
    if "settings" in told:
        base = preset(told.get("preset_name") or told.get("method") or "lite")
        override(base, parse_settings(told["settings"]))
    return told


# The page


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of somebody who has everything that the five codes ask for."""
    folder = tmp_path_factory.mktemp("coming")
    skier = Image.open(find_asset("photos/skier.jpg")).convert("RGB").crop((200, 20, 480, 400))
    for name in ("photos/anna.jpg", "crops/1.jpg"):
        (folder / name).parent.mkdir()
        skier.resize((140, 190)).save(folder / name, quality=95)
    (folder / "boxes").mkdir()
    (folder / "boxes" / "anna.json").write_text('{"bbox": [30, 10, 80, 140]}')
    (folder / "seen").mkdir()
    at = np.column_stack([np.linspace([60, 20], [100, 145], 25), np.full(25, 0.9)])
    told = str(at.flatten().round(2).tolist())
    people = f'{{"people": [{{"pose_keypoints_2d": {told}}}]}}'
    (folder / "seen" / "anna_keypoints.json").write_text(people)
    iuv = np.zeros((190, 140, 3), np.uint8)
    iuv[15:150, 45:115] = [90, 120, 2]  # as OpenCV writes it: v, u and the part, blue to red
    Image.fromarray(iuv).save(folder / "seen" / "anna_IUV.png")
    (folder / "labels").mkdir()
    Image.new("L", (140, 190), 5).save(folder / "labels" / "anna.png")
    _write_bodies(folder / "train_files")
    _write_checkpoints(folder)
    _write_training_data(folder)
    _stage_data_sets(folder)
    return folder


def _write_bodies(files: Path) -> None:
    """Bodies that pass for SMPL's: ours, their faces in another order; chart and joints of them."""
    (files / "smpl").mkdir(parents=True)
    (files / "poses").mkdir()
    for gender in GENDERS:
        template = load_template("open", gender)
        arrays = smpl_files.body_arrays(template, np.arange(len(template.vertices)))
        arrays["f"] = np.roll(arrays["f"], 1, axis=0)
        np.savez(files / "smpl" / f"SMPL_{gender.upper()}.npz", **arrays)
    template = load_template("open")
    chart = smpl_files.load_chart(template)
    fields = smpl_files.chart_fields(chart, template.faces.numpy())
    for name in ("All_FaceIndices", "All_Faces"):
        fields[name] = np.roll(fields[name], 1, axis=0)
    smpl_files.savemat(files / smpl_files.DENSEPOSE, fields)
    np.save(files / smpl_files.H36M, load_regressors(template).h36m17.double().numpy())
    np.savez(files / MEAN_PARAMETERS, pose=START.double().numpy(), shape=np.zeros(10))


def _write_checkpoints(folder: Path) -> None:
    """Numbers under the published names, of which the last layers say the body of the start."""
    for system, name in straps_files.FILES.items():
        state = _numbers(straps_files.published_shapes(system))
        for key in state:  # under two names
            if layer := re.search(r"ief_layers\.([024])", key):
                state[key] = state[key.replace(layer[0], f"fc{int(layer[1]) // 2 + 1}")]
        straps_files.save_published(folder / name, state)
    gendered = "poseMF_shapeGaussian_net_weights_female.tar"
    (folder / gendered).symlink_to(folder / straps_files.FILES["HierProb3D"])
    lightning = {
        f"model.{'head' if key.startswith(('fc', 'dec', 'init')) else 'backbone'}.{key}": value
        for key, value in _numbers(hmr_files.spin_shapes()).items()
    }
    torch.save({"state_dict": lightning, "epoch": 20}, folder / "dsr_w3DPW_checkpoint.pt")
    (folder / "dsr_wo3DPW_checkpoint.pt").symlink_to(folder / "dsr_w3DPW_checkpoint.pt")
    danet = _numbers({**danet_files.published_shapes(), **danet_files.NOWHERE})
    torch.save({"model": danet}, folder / "danet_model_h36m_itw.pt")
    config, still = preset("danet-lite-iuv"), torch.eye(3).expand(24, 3, 3)
    made = (config.method, config.regressor, config.proxy, still, SMPL24_PARENTS, config.danet)
    (folder / "runs" / "iuv").mkdir(parents=True)
    card = {"config": asdict(config)}
    save_regressor(build_regressor(*made), folder / "runs/iuv/weights.safetensors", card)


def _numbers(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """One number for each tensor, spread over it without taking memory or disk."""
    starts = {
        "init_pose": START,
        "mean_pose": START,
        "init_cam": torch.tensor([0.9, 0.0, 0.0]),
        "mean_cam_shape": torch.tensor([0.9, 0.0, 0.0, *[0.0] * 10]),
        "init_glob": torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
    }
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in shapes.items():
        kind = name.rpartition(".")[2]
        number = 0.5 + torch.rand((), generator=generator)
        if kind == "num_batches_tracked":
            number = torch.tensor(7)
        elif re.search(
            r"fc3|ief_layers\.4|fc_cam|^dec|final_layer|pose_regressors|init_shape", name
        ):
            number = torch.zeros(())  # of the last layers: no correction
        elif kind == "weight" and len(shape) > 1:
            number = number / torch.Size(shape[1:]).numel()
        found[name] = starts[kind].reshape(shape) if kind in starts else number.expand(shape)
    return found


def _write_training_data(folder: Path) -> None:
    motion = load_poses(find_asset("poses/cmu.h5"), "test").rotvecs[:24].double()
    for name, source in (("amass_up3d_3dpw_train", "up3d"), ("up3d_3dpw_val", "3dpw"),
                         ("smpl_train_poses", "h36m")):  # fmt: skip
        names = [f"{source}/{number:03d}" for number in range(len(motion))]
        pose_files.write_list(folder / f"{name}.npz", motion, names)
    smpl_files.write_textures(folder / "smpl_train_textures.npz")
    rooms = folder / "lsun_backgrounds" / "train"
    rooms.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (300, 280), (40 * number, 90, 120)).save(rooms / f"{number}.jpg")
    prior = np.full((13776, 20), 0.05)
    np.save(folder / "semantic_prior.npy", prior)


def _stage_data_sets(folder: Path) -> None:
    for name in ("SSP-3D", "3DPW", "h36m", "mpi_inf_3dhp", "coco", "lsp"):
        (folder / name).mkdir()
    stage_ssp3d(folder / "SSP-3D", 1, SceneSettings(smoothing=1))
    stage_3dpw(folder / "3DPW", Staged3DPW((("male",),), frames=2, size=(256, 192), smoothing=1))
    stage_h36m(folder / "h36m", 1, 2, SMALL)
    stage_mpi_inf_3dhp(folder / "mpi_inf_3dhp", 1, SMALL)
    stage_lsp(folder / "lsp", 1, SMALL)
    stage_coco(folder / "coco", 1, settings=SMALL)
    stage_spin_training(folder / "coco", 2, settings=SMALL)
    maps = folder / "coco" / "grph_sequences" / "train2014"
    maps.mkdir(parents=True)
    photos = sorted((folder / "coco" / "train2014").iterdir())
    for photo in photos:
        Image.new("L", (128, 128), 5).save(maps / f"{photo.name}.png")
    points = {"dp_I": [2.0], "dp_U": [0.25], "dp_V": [0.75], "dp_x": [128.0], "dp_y": [64.0]}
    content = {
        "images": [{"id": n, "file_name": photo.name} for n, photo in enumerate(photos)],
        "annotations": [
            surface_files.person(n + 5, n, **points, dp_masks=[[]] * 14) for n in range(2)
        ],
    }
    (folder / "coco" / "densepose_coco_2014_train.json").write_text(json.dumps(content))
    (folder / "final_fits").mkdir()
    fits = {"pose": np.zeros((2, 72)), "betas": np.zeros((2, 10)), "valid_fit": np.ones(2)}
    np.savez(folder / "final_fits" / "coco.npz", **fits)


@pytest.fixture
def at_work(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nets and weights are opened once for all commands; trainings open their sources, and no
    more; of evaluations no page is drawn."""
    monkeypatch.chdir(workplace)
    monkeypatch.delenv(VARIABLE, raising=False)
    opened = functools.lru_cache(2)(predictor.load_regressor)
    for module in (predictor, sys.modules["plausibody.evaluate.run"]):
        monkeypatch.setattr(module, "load_regressor", opened)
    for name in ("load_movenet", "load_blazepose"):
        monkeypatch.setattr(embedded, name, functools.cache(getattr(embedded, name)))
    joints = load_regressors(load_template("open")).coco17  # fitting them anew takes seconds
    for module in (stores, joint_regressor_published):
        monkeypatch.setattr(module, "published_coco17", lambda *_, **__: joints)
    monkeypatch.setattr(semantics, "load_textures", lambda *_, **__: None)  # made in half a minute
    prior = torch.full((len(joints[0]), 20), 0.05)
    monkeypatch.setattr(semantics, "estimate_prior", lambda *_, **__: prior)
    monkeypatch.setattr("plausibody.evaluate.saving._save_page", lambda result, folder: None)
    monkeypatch.setattr("plausibody.training.run.train_run", _open_sources)
    yield workplace
    torch.set_num_threads(1)


def _open_sources(config: RunConfig, *_: object, **__: object) -> None:
    """Opens what a training asks for, but for textures that it makes itself, and ends."""
    sources = config.sources
    template = load_template(sources.body, config.gender)
    assert len(load_poses(_found(sources.poses), "train")) > 0
    if config.stream.recipe == "hierprob" and sources.backgrounds != "panoramas":
        assert len(load_backgrounds(sources.backgrounds)) > 0
    if sources.textures != "procedural":
        assert len(load_published(_found(sources.textures)).images) == 3
    if config.stream.real.share:
        real = read_real_labels(sources)
        annotated = sources.real_labels[0].endswith(".json")
        assert len(real) == 2
        assert bool(real.fitted.all()) == (sources.body == "smpl" and not annotated)
        assert len(real.surfaces) == 2 * annotated
        assert all(real.label_maps) and len(real.label_maps) == 2 * bool(sources.real_maps)
    if config.semantics.prior:
        assert len(load_prior(config.semantics.prior, template)) == len(template.vertices)
    if config.train.init_backbone.startswith("dsr"):
        assert find_weights(config.train.init_backbone).is_file()
    sys.exit(0)


def _found(name: str) -> Path:
    return Path(name) if Path(name).exists() else find_asset(name)


def test_every_command_of_the_page_runs(at_work: Path) -> None:
    pytest.importorskip("pycocotools")
    commands = ours(PAGE)
    assert len(commands) >= 40
    for words in commands:
        told = understood(words)
        if PROGRAMS_OF_OTHERS in words:
            continue
        arguments = ["train", *words[1:]] if words[0] == "synth-train" else words[1:]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{shlex.join(words)}\n{result.output}\n{result.exception!r}"
        if words[0] != "synth-train" and told.get("out"):
            assert Path(told["out"]).exists(), words
    for name in ("overlay.png", "person_0_views.jpg", "person_0_samples.jpg", "person_0.npz"):
        assert (at_work / "out/hierprob/anna" / name).is_file()
    assert (at_work / "out/danet/1/person_0_iuv.npz").is_file()
    assert (at_work / "out/dsr_labels/anna/person_0_semantics.jpg").is_file()
    for name in ("results.json", "people.npz"):
        assert (at_work / "out/ssp3d" / name).is_file()
    with np.load(at_work / "out/ssp3d/bodies.npz") as file:
        assert file["rotvecs"].shape == (1, 24, 3) and file["names"].tolist() == ["athlete_000.png"]


THEIRS = {
    "--silh_from", "--pose_shape_cfg", "--train_data", "--openpose", "--img", "--img_folder",
    "--openpose_folder", "--outfile_folder", "--dataset",
}  # fmt: skip
"""Options of the five codes."""


def test_every_setting_and_option_of_the_page_exists() -> None:
    keys = {key for name in PRESETS for key in known_keys(preset(name))}
    groups = {key.partition(".")[0] for key in keys if "." in key}
    importers = main.commands["assets"].commands["import"].commands  # type: ignore[attr-defined]
    commands = (*main.commands.values(), *importers.values())
    options = {option for one in commands for entry in one.params for option in entry.opts}
    told = 0
    for span in SPAN.findall(re.sub(r"^```.*?^```$", "", PAGE, flags=re.DOTALL | re.MULTILINE)):
        if span.startswith((*OURS, "python ")):
            continue
        key, _, value = span.partition("=")
        group, dot, _ = key.partition(".")
        if dot and group in groups:
            found = [known for known in keys if fnmatch.fnmatch(known, key)]
            assert found, span
            told += len(found)
            if value:
                override(preset("danet-lite-iuv"), {key: value})
        for option in re.findall(r"(?<!\S)--[a-z_-]+", span):
            assert option in options | THEIRS, span
    assert told >= 60


# The table of the README


def _rows() -> list[tuple[str, ...]]:
    section = README.partition(f"\n## {SECTION}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    return [row for row in cells if row[1] != "of" and not row[0].startswith("---")]


def test_every_feature_has_a_command_and_a_test_that_exist() -> None:
    rows = _rows()
    assert len(rows) >= 50
    keys = {key for name in PRESETS for key in known_keys(preset(name))}
    for what, systems, here, test in rows:
        assert what and here and set(systems.split()) <= {"all", "S", "H", "L", "Da", "Ds"}, what
        file, _, name = test.strip("`").partition("::")
        assert re.search(rf"^def {name}\(", (TESTS / file).read_text("utf-8"), re.MULTILINE), test
        for span in SPAN.findall(here):
            if span.startswith(OURS):
                assert understood(shlex.split(span)), span
            elif re.fullmatch(r"[a-z_.]+=.*", span):
                key, _, value = span.partition("=")
                assert key in keys, span
                override(preset(_whose(key)), {key: value})


def _whose(key: str) -> str:
    """Gives a preset in which a setting makes sense."""
    told = {"supervision": "lasor-lite", "danet": "danet", "stream.dense": "danet"}
    semantic = {"method": "hierprob", "objective": "straps", "semantics": "dsr"}
    for start, name in (told | semantic).items():
        if key.startswith(start):
            return name
    return "dsr-lite"


def test_the_systems_of_the_table_are_all_five() -> None:
    named = {system for _, systems, _, _ in _rows() for system in systems.split()}
    assert named == {"all", "S", "H", "L", "Da", "Ds"}
