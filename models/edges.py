"""Edges of pictures: Canny's detector without hysteresis, the input of HierProb3D's regressor.

Five taps of a Gaussian, Sobel's filters, and the magnitude of the gradient where it is a strict
maximum along its direction, one of eight; 0 elsewhere. The magnitudes stay continuous, between 0
and about 5.7 for pictures in 0..1.

All filters are linear and the released detector averages the gradients of the three channels, so
we average the channels first. Pictures go on beyond their border as their border pixels do. The
released detector instead reads zeros there, which draws a frame round every picture that is not
black at its border; `padding="zero"` does the same, for weights that learnt with it.

Every backend does the same floating-point operations in the same order: results are equal bit for
bit, mirrored pictures have mirrored edges, and a flat picture has none.

Source: Canny, "A Computational Approach to Edge Detection", 1986; settings of Sengupta et al.,
"Hierarchical Kinematic Probability Distributions for 3D Human Shape and Pose Estimation from
Images in the Wild", 2021, and of its released code.
"""

from __future__ import annotations

import functools
import importlib.util
import logging

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.profiler import record_function

BACKENDS = ("auto", "torch", "numba", "triton")
PADDINGS = ("replicate", "zero")

CENTRE, NEAR, FAR = 0.4026199579238892, 0.24420134723186493, 0.0544886960089206
"""Taps of a Gaussian of standard deviation 1 px at distances 0, 1 and 2, of sum 1."""
TANGENT = 0.41421356237309503
"""Of 22.5 degrees: half way between two directions of comparison."""
THIRD = 1 / 3


@torch.no_grad()
@record_function("stage: edges")
def canny(
    images: Float[Tensor, "*batch 3 H W"],
    *,
    padding: str = "replicate",
    threshold: float = 0.0,
    backend: str = "auto",
    threads: int | None = None,
) -> Float[Tensor, "*batch H W"]:
    """Gives the magnitude of the gradient on edges one pixel thin, 0 elsewhere.

    Args:
        images: Colours, 0..1.
        padding: What lies beyond the border: replicate (the border's pixels) or zero.
        threshold: Edges weaker than this are left out.
        backend: auto, torch, numba (on a CPU) or triton (on CUDA).
        threads: How many images the numba backend works on at a time; as many as torch uses if
            None.
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding: wanted {' or '.join(PADDINGS)}, got {padding!r}")
    batch, (height, width) = images.shape[:-3], images.shape[-2:]
    flat = images.float().reshape(-1, 3, height, width)
    match _choose(backend, flat.device):
        case "numba":
            from plausibody.models import edges_numba

            threads = torch.get_num_threads() if threads is None else threads
            edges = edges_numba.canny(flat, padding == "zero", threshold, threads)
        case "triton":
            from plausibody.models import edges_triton

            edges = edges_triton.canny(flat, padding == "zero", threshold)
        case _:
            edges = _canny(flat, padding == "zero", threshold)
    return edges.reshape(*batch, height, width)


def _canny(
    images: Float[Tensor, "B 3 H W"], zero: bool, threshold: float
) -> Float[Tensor, "B H W"]:
    """The torch backend; the others follow it step by step."""
    red, green, blue = images.unbind(1)
    grey = (red + green + blue) * THIRD  # torch divides by a number so, on some devices
    mode = "constant" if zero else "replicate"
    grey = functional.pad(grey[:, None], (4, 4, 4, 4), mode)[:, 0]
    a, b, c, d, e = (grey[..., k : k - 4 if k < 4 else None] for k in range(5))
    across = CENTRE * c + NEAR * (b + d) + FAR * (a + e)
    a, b, c, d, e = (across[:, k : k - 4 if k < 4 else None] for k in range(5))
    blurred = CENTRE * c + NEAR * (b + d) + FAR * (a + e)
    if zero:
        blurred = functional.pad(blurred[:, 2:-2, 2:-2], (2, 2, 2, 2))

    above, row, below = blurred[:, :-2], blurred[:, 1:-1], blurred[:, 2:]
    column, rise = (above + below) + 2 * row, above - below
    along_x = column[..., :-2] - column[..., 2:]
    along_y = (rise[..., :-2] + rise[..., 2:]) + 2 * rise[..., 1:-1]
    # In double precision because torch's single-precision root may be off by a last bit.
    strength = (along_x * along_x + along_y * along_y).double().sqrt().float()
    if zero:
        strength = functional.pad(strength[:, 1:-1, 1:-1], (1, 1, 1, 1))

    along_x, along_y = along_x[:, 1:-1, 1:-1], along_y[:, 1:-1, 1:-1]
    up, here, down = strength[:, :-2], strength[:, 1:-1], strength[:, 2:]
    beside = torch.maximum(here[..., :-2], here[..., 2:])
    upright = torch.maximum(up[..., 1:-1], down[..., 1:-1])
    falling = torch.maximum(up[..., :-2], down[..., 2:])
    rising = torch.maximum(up[..., 2:], down[..., :-2])
    far_x, far_y = along_x.abs(), along_y.abs()
    rival = torch.where((along_x > 0) == (along_y > 0), falling, rising)
    rival = torch.where(far_x < TANGENT * far_y, upright, rival)
    rival = torch.where(far_y < TANGENT * far_x, beside, rival)
    here = here[..., 1:-1]
    return torch.where((here > rival) & (here >= threshold), here, 0.0)


def _choose(backend: str, device: torch.device) -> str:
    if backend not in BACKENDS:
        raise ValueError(f"backend: wanted one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "auto":
        wanted = "numba" if device.type == "cpu" else "triton"
        return wanted if device.type in ("cpu", "cuda") and _has(wanted) else "torch"
    if backend == "numba" and device.type != "cpu":
        raise ValueError(
            f"backend: numba works on tensors on the CPU, got one on {device}; "
            "use auto, or move the images"
        )
    return backend


@functools.cache
def _has(library: str) -> bool:
    found = importlib.util.find_spec(library) is not None
    if not found:
        logging.getLogger(__name__).warning(
            "%s is not installed: edges are found by torch, several times slower", library
        )
    return found
