"""The kernels for CUDA: in Triton's interpreter, compiled without a device, and on one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.synth.raster import Fragments, rasterize, rasterize_labels

HERE = Path(__file__).parent

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="triton is not installed: pip install 'plausibody[test-triton]'",
)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@needs_triton
@pytest.mark.parametrize("file", ["test_raster.py", "test_raster_parity.py"])
def test_the_interpreter_keeps_the_contract(file):
    """Runs the other files' tests in a process of its own: Triton reads the switch when imported.

    The interpreter computes with numpy, which warns of the infinite depths that kernels then drop.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command += ["-W", "ignore::RuntimeWarning", "-k", "triton", str(HERE / file)]
    run = subprocess.run(
        command,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    passed = [line for line in run.stdout.splitlines() if " passed" in line]
    assert passed and int(passed[0].split()[0]) >= 30


COMPILE = """
import json, re
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from plausibody.synth import raster_triton as kernels

TYPES = {
    "points": "*fp32", "faces": "*i32", "keys": "*i64", "dropped": "*i32", "large": "*i32",
    "larges": "*i32", "face": "*i32", "depth": "*fp32", "face_labels": "*u8", "labels": "*u8",
    "barycentric": "*fp32", "near": "fp32",
}
WATCHED = r"fma[.]\\w+[.]f32|div[.]\\w+[.]f32|(?:red|atom)[\\w.]*[.]min[.]s64"
found = {}
# Triton compiles sizes of 1, such as a picture one pixel wide, as constants.
for perspective, ones in ((True, False), (False, False), (True, True)):
    rules = {"CULL": 1, "PERSPECTIVE": perspective}
    for kernel, constants in (
        (kernels._draw, {"LARGE": kernels.LARGE, "BLOCK": 64, **rules}),
        (kernels._draw_large, {"BLOCK": 256, **rules}),
        (kernels._read_keys, {"BLOCK": 256}),
        (kernels._read_labels, {"BLOCK": 256}),
        (kernels._weigh, {"PERSPECTIVE": perspective, "BLOCK": 256}),
    ):
        if ones:
            sizes = {name: 1 for name in kernel.arg_names if name not in {*constants, *TYPES}}
            constants = {**sizes, **constants}
        signature = {
            name: "constexpr" if name in constants else TYPES.get(name, "i32")
            for name in kernel.arg_names
        }
        places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
        ptx = compile(
            ASTSource(kernel, signature, places),
            target=GPUTarget("cuda", %d, 32),
            options={"enable_fp_fusion": False},
        ).asm["ptx"]
        found[f"{kernel.__name__} {perspective} {ones}"] = sorted(set(re.findall(WATCHED, ptx)))
print(json.dumps(found))
"""


@needs_triton
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_cuda_and_round_as_ieee_says(capability, tmp_path):
    """No fused multiply-add, and no fast division, in what an A100 or an H100 would run."""
    run = subprocess.run(
        [sys.executable, "-c", COMPILE % capability],
        env=os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert len(found) == 15
    for name, instructions in found.items():
        arithmetic = [text for text in instructions if not text.endswith("s64")]
        assert arithmetic in ([], ["div.rn.f32"]), name
        minima = [text for text in instructions if text.endswith("min.s64")]
        assert bool(minima) == name.startswith("_draw"), name


# On a device


def soup(seed: int, size: int, reach: float) -> tuple[Tensor, Tensor]:
    """Unconnected triangles of all sizes, some of them unusable."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(3, 500, 1, 2, generator=generator) * size
    spread = 10 ** (torch.rand(3, 500, 1, 1, generator=generator) * reach)
    flat = centre + torch.randn(3, 500, 3, 2, generator=generator) * spread
    depth = torch.rand(3, 500, 3, 1, generator=generator) * 4 + 0.04
    vertices = torch.cat([flat, depth], -1).flatten(1, 2)
    vertices[:, ::301] = torch.nan
    return vertices, torch.arange(1500).view(-1, 3)


def body(size: int) -> tuple[Tensor, Tensor]:
    with np.load(HERE / "data" / "pytorch3d_golden.npz") as file:
        vertices, faces = torch.from_numpy(file["vertices"]), torch.from_numpy(file["faces"])
    return vertices * torch.tensor([size / 96, size / 96, 1.0]), faces


def assert_same(one: Fragments, other: Fragments) -> None:
    """Bit by bit: 0.0 and -0.0 differ."""
    assert one.barycentric is not None and other.barycentric is not None
    assert torch.equal(one.face.cpu(), other.face.cpu())
    assert torch.equal(one.dropped.cpu(), other.dropped.cpu())
    for ours, theirs in ((one.depth, other.depth), (one.barycentric, other.barycentric)):
        assert torch.equal(ours.cpu().view(torch.int32), theirs.cpu().view(torch.int32))


@pytest.mark.cuda
@needs_cuda
@needs_triton
@pytest.mark.parametrize("perspective", [True, False], ids=["perspective", "orthographic"])
@pytest.mark.parametrize("cull", ["none", "back", "front"])
@pytest.mark.parametrize(
    "scene", [soup(0, 96, 0.5), soup(1, 96, 3.0), soup(2, 200, 2.0), body(96), body(512)]
)
def test_cuda_is_as_torch_on_the_cpu(scene, cull, perspective):
    vertices, faces = scene
    size = (301, 257)
    options = {"cull": cull, "perspective": perspective}
    expected = rasterize(vertices, faces, size, backend="torch", **options)
    on_device = vertices.cuda(), faces.cuda()
    assert_same(rasterize(*on_device, size, backend="triton", **options), expected)
    face_labels = torch.arange(len(faces)).remainder(256).to(torch.uint8)
    labels = rasterize_labels(vertices, faces, face_labels, size, backend="torch", **options)
    ours = rasterize_labels(*on_device, face_labels.cuda(), size, backend="triton", **options)
    assert torch.equal(ours.cpu(), labels)


@pytest.mark.cuda
@needs_cuda
@needs_triton
@pytest.mark.parametrize("scene", [soup(3, 96, 3.0), body(256)])
def test_cuda_repeats_itself(scene):
    vertices, faces = (tensor.cuda() for tensor in scene)
    first = rasterize(vertices, faces, (256, 256), backend="triton")
    for _ in range(19):
        assert_same(rasterize(vertices, faces, (256, 256), backend="triton"), first)


@pytest.mark.cuda
@needs_cuda
@needs_triton
def test_auto_on_cuda_is_triton_and_can_be_captured():
    vertices, faces = (tensor.cuda() for tensor in body(256))
    expected = rasterize(vertices, faces, (256, 256))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = rasterize(vertices, faces, (256, 256))
    graph.replay()
    assert_same(captured, expected)
