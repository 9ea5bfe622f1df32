"""The kernel that draws random numbers on CUDA: in Triton's interpreter, and compiled."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="triton is not installed: pip install 'plausibody[test-triton]'",
)

COMPARE = """
import torch
from plausibody.synth import chance, chance_triton
from plausibody.synth.chance import Chance

assert chance_triton.INTERPRETED
def draws(seed, numbers):
    drawn = Chance(seed, numbers)
    yield drawn.bits("a", 7, 300)
    yield drawn.bits("one")
    yield drawn.bits("none", 0)
    yield drawn.uniform("b", 9)
    yield drawn.uniform("b", 9, low=-0.3, high=7.1)
    yield drawn.normal("c", 9)
    yield drawn.normal("c", 9, mean=3.3, std=0.7)
    yield drawn.integer("d", 12345, 9)
    yield drawn.chance("e", 0.3, 9)

for seed in (0, 5, 2**40 + 5, -1):
    for first in (0, 2**32 - 3, 10**12):
        numbers = torch.arange(first, first + 50)
        steps = list(draws(seed, numbers))
        Chance._kernels = lambda self: chance_triton
        at_once = list(draws(seed, numbers))
        Chance._kernels = lambda self: None
        for one, other in zip(steps, at_once, strict=True):
            assert one.dtype == other.dtype and one.shape == other.shape
            assert torch.equal(one, other)
names = [f"name/{number}" for number in range(200)]
drawn = Chance(1, torch.arange(3))
steps = [drawn.bits(name, 2) for name in names]
Chance._kernels = lambda self: chance_triton
assert all(torch.equal(step, drawn.bits(name, 2)) for step, name in zip(steps, names))
print("the same")
"""

COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from plausibody.synth.chance_triton import _draw

types = {"numbers": "*i64", "total": "i64"}
for unit, drawn in ((True, "*fp32"), (False, "*i64")):
    constants = {"UNIT": unit, "BLOCK": 1024}
    signature = {
        name: "constexpr" if name in constants else (types | {"drawn": drawn}).get(name, "i32")
        for name in _draw.arg_names
    }
    places = {(_draw.arg_names.index(name),): value for name, value in constants.items()}
    ptx = compile(ASTSource(_draw, signature, places), target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    assert "mul.lo.s32" in ptx or "mul.lo.u32" in ptx or "mad.lo" in ptx
print("compiled")
"""


@pytest.mark.parametrize(
    ("program", "switch", "said"),
    [(COMPARE, "1", "the same"), (COMPILE, "0", "compiled")],
    ids=["interpreted", "compiled"],
)
def test_the_kernel_draws_as_the_steps_do_and_compiles(
    program: str, switch: str, said: str, tmp_path: Path
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"TRITON_INTERPRET": switch, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.strip() == said
