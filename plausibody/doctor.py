"""Self-tests a user can run: is everything here, and does up still mean up."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from plausibody.assets.catalog import check_assets
from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.rotations import axis_rotation
from plausibody.models.skeleton import SMPL24
from plausibody.models.templates import load_template
from plausibody.synth.render import shade

PACKAGES = ("torch", "numpy", "scipy", "numba", "h5py", "lightning-fabric", "roma", "pillow")


@dataclass(frozen=True)
class Check:
    """The outcome of one self-test."""

    name: str
    ok: bool
    detail: str


def environment() -> list[Check]:
    """Lists versions and devices."""
    checks = [Check("python", True, platform.python_version())]
    for package in PACKAGES:
        try:
            checks.append(Check(package, True, version(package)))
        except PackageNotFoundError:
            checks.append(Check(package, False, "not installed; do: pip install plausibody"))
    cuda = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if cuda else "none; everything runs on the CPU"
    return [*checks, Check("CUDA device", True, name)]


def assets(directories: Sequence[Path] | None = None) -> list[Check]:
    """Compares what is installed with the manifest."""
    return [
        Check(finding.asset.path, finding.state in ("ok", "replaced"),
              f"{finding.state} {finding.detail}".strip())
        for finding in check_assets(directories)
    ]  # fmt: skip


def asymmetric_pose() -> Float[Tensor, "24 3 3"]:
    """Left arm straight up, right arm hanging, right knee bent: nothing mirrors into itself."""
    rotations = torch.eye(3).repeat(24, 1, 1)
    rotations[SMPL24.index("left_shoulder")] = axis_rotation(2, torch.tensor(1.4))
    rotations[SMPL24.index("right_shoulder")] = axis_rotation(2, torch.tensor(1.2))
    rotations[SMPL24.index("right_knee")] = axis_rotation(0, torch.tensor(1.3))
    return rotations


def render_pose(
    template: BodyTemplate, rotations: Float[Tensor, "24 3 3"], size: int, backend: str = "auto"
) -> tuple[UInt8[Tensor, "3 size size"], Float[Tensor, "24 3"]]:
    """Draws a body on white; also gives its joints as x, y [px] and depth [m]."""
    body = pose_body(template, torch.zeros(1, 10), rotations[None])
    camera = PerspectiveCamera(
        focal=torch.tensor([1.2 * size]),
        principal=torch.full((1, 2), size / 2),
        translation=torch.tensor([[0.0, -0.25, 3.0]]),
    )
    pixels = camera.project(body.vertices)
    picture = shade(pixels, body.vertices, template.faces, (size, size), backend=backend)
    return (picture[0] * 255).byte(), camera.project(body.joints)[0]


def conventions(template: BodyTemplate | None = None, size: int = 192) -> list[Check]:
    """Renders a known pose with each backend and checks up, left and front in the picture."""
    template = template or load_template("open")
    checks = []
    for backend in ("torch", "numba"):
        picture, joints = render_pose(template, asymmetric_pose(), size, backend)
        drawn = (picture[0] < 255).nonzero().float()
        place = {name: joints[number] for number, name in enumerate(SMPL24)}
        top = drawn[drawn[:, 0].argmin()]
        hand = place["left_hand"]
        raised = (top - hand[:2].flip(0)).norm().item() < 0.1 * size
        checks += [
            Check(f"up ({backend})", bool(place["head"][1] < place["left_ankle"][1]),
                  "the head is above the ankles"),
            Check(f"left ({backend})", bool(hand[0] > place["right_hand"][0]) and raised,
                  "the raised left hand of a body that faces us is the top of the picture, on our "
                  "right"),
            Check(f"front ({backend})", bool(place["left_foot"][2] < place["left_ankle"][2]),
                  "toes are nearer to the camera than ankles"),
            Check(f"knee ({backend})", bool(place["right_ankle"][2] > place["left_ankle"][2] + 0.1),
                  "a bent knee moves the foot backwards"),
        ]  # fmt: skip
    return checks
