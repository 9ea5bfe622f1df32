"""The house keeps its order: who imports whom, where libraries enter, what no file may say."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ("assets", "models", "synth", "predict", "evaluate", "plausibody")
"""A folder imports itself and those before it."""

COMMANDS = {
    "plausibody/cli.py",
    *(f"plausibody/commands/{name}.py" for name in ("terminal", "training", "predict")),
    *(f"plausibody/commands/{name}.py" for name in ("evaluation", "resources", "imports")),
}
"""What prints, exits and reads options."""


def by_name(library: str) -> set[str]:
    """Kernels live in modules whose names end in their library's."""
    return {path.relative_to(ROOT).as_posix() for path in ROOT.glob(f"*/*_{library}.py")}


DOORS = {
    "av": {"predict/reading/video.py"},
    "PIL": {
        *(
            "predict/reading/photo.py",
            "predict/reading/mask_files.py",
            "predict/drawing/bodies.py",
            "predict/export.py",
            "predict/report/files.py",
        ),
        *("plausibody/preview.py", "plausibody/demo.py", "synth/picture_file.py"),
    },
    "click": COMMANDS,
    "h5py": {"assets/contents.py", "synth/poses.py", "synth/picture_store.py"},
    "filelock": {"models/locks.py"},
    "lightning_fabric": {"plausibody/training/launch.py"},
    "lmdb": {"synth/background_lsun.py"},
    "matplotlib": {"plausibody/plots.py", "evaluate/svg_charts.py"},
    "numba": by_name("numba"),
    "pickle": {"models/unpickle.py", "evaluate/staged/python2.py"},
    "pycocotools": {"evaluate/datasets/coco.py"},
    "pydantic": {"plausibody/config.py"},
    "ray": {"predict/bulk/engine_ray.py"},
    "pytorch3d": {"synth/raster_pytorch3d.py"},
    "rich": {*COMMANDS, "evaluate/table.py"},
    "roma": {"models/rotations.py"},
    "safetensors": {"models/checkpoint.py"},
    "smplx": {"models/templates.py"},
    "tensorboard": {"plausibody/training/curves.py"},
    "triton": by_name("triton"),
    "torch.utils.tensorboard": {"plausibody/training/curves.py"},
    "transformers": {"predict/front_ends/hq.py"},
    "trimesh": {"predict/export.py"},
    **{name: set[str]() for name in ("anny", "chumpy", "cv2", "joblib", "dill", "torchvision")},
}
"""The modules by which a library may enter; builders of assets may use what they like."""

MACHINE = re.compile(
    r"(?<![\w.])/(?:" + "|".join(("work", "tmp", "home", "root", "opt", "Users")) + r")/"
    r"|[A-Z]:\\Users|\.\." + "/shared"
)
"""Paths that exist on one machine only."""


def modules(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """Gives the name below the root, and the tree, of each module of the package but builders."""
    for folder in ORDER:
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if not name.startswith("assets/builders/"):
                yield name, ast.parse(path.read_text("utf-8"), name)


def imports(tree: ast.Module) -> set[str]:
    """Collects the full names of what a module imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{'.' * node.level}{node.module or ''}.{a.name}" for a in node.names}
    return names


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def faults(root: Path) -> list[str]:
    """Lists the imports that break the order of the house."""
    found = []
    for module, tree in modules(root):
        own = module.partition("/")[0]
        for name in sorted(imports(tree)):
            package, _, rest = name.partition(".")
            folder = rest.partition(".")[0]
            folder = folder if folder in ORDER else "plausibody"
            if package != "plausibody":
                if package in ORDER or not package:
                    found.append(f"{module} imports {name}, not by its full name")
            elif is_within(rest, "assets.builders"):
                found.append(f"{module} imports builders, which do not run with the package")
            elif rest != "__version__" and ORDER.index(folder) > ORDER.index(own):
                found.append(f"{module} may not import {folder}")
            for library, doors in DOORS.items():
                if is_within(name, library) and module not in doors:
                    found.append(f"{module} imports {library}, which has other doors: {doors}")
    return found


def test_imports_keep_the_order_and_libraries_their_doors() -> None:
    assert faults(ROOT) == []


def test_the_walk_sees_faults(tmp_path: Path) -> None:
    lines = {
        "models/body.py": "def f():\n    from plausibody.synth.raster import rasterize",
        "models/skeleton.py": "from plausibody.assets.catalog import find_asset",
        "models/proxy.py": "from models import body",
        "synth/generator.py": "from . import raster",
        "synth/recipes.py": "import plausibody.cli",
        "predict/reading/photo.py": "from PIL import Image\nfrom plausibody import __version__",
        "predict/predictor.py": "import PIL.Image",
        "evaluate/open.py": "from plausibody.assets import builders",
        "assets/builders/body.py": "import anny\nfrom plausibody.predict import photo",
    }
    for name, line in lines.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(line)
    found = faults(tmp_path)
    assert [fault.partition(" ")[0] for fault in found] == [
        *("models/body.py", "models/proxy.py", "synth/generator.py", "synth/recipes.py"),
        *("predict/predictor.py", "evaluate/open.py"),
    ]
    assert found[0] == "models/body.py may not import synth"


def test_only_the_command_line_prints_or_exits() -> None:
    found = [
        f"{module}:{node.lineno}"
        for module, tree in modules(ROOT)
        if module not in {*COMMANDS, "plausibody/__main__.py"}
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
        and ast.unparse(node) in ("print", "exit", "quit", "sys.exit", "os._exit", "SystemExit")
    ]
    assert found == []


def test_nothing_but_the_restricted_reader_opens_pickles() -> None:
    found = []
    for module, tree in modules(ROOT):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            open_torch = ast.unparse(node.func) == "torch.load"
            if open_torch and keywords.get("weights_only") != "True":
                found.append(f"{module}:{node.lineno}: torch.load without weights_only=True")
            if keywords.get("allow_pickle", "False") != "False":
                found.append(f"{module}:{node.lineno}: allow_pickle")
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    folders = (*ORDER, "tests", "benchmarks", "examples")
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 20
    silent = [p.relative_to(ROOT) for p in paths if not ast.get_docstring(ast.parse(p.read_text()))]
    assert silent == []


def test_no_committed_text_mentions_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: what is committed is unknown")
    found = []
    for name in listed.stdout.decode().strip("\0").split("\0"):
        try:
            text = (ROOT / name).read_text("utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # no text, or deleted and not yet committed
        for number, line in enumerate(text.splitlines(), start=1):
            if mentioned := MACHINE.search(line):
                found.append(f"{name}:{number}: {mentioned[0]}")
    assert found == []
