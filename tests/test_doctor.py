"""The convention self-test must fail when a convention is broken."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from plausibody import doctor
from plausibody.models.templates import load_template


def test_conventions_hold() -> None:
    assert all(check.ok for check in doctor.conventions(size=96))


@pytest.mark.parametrize(
    ("name", "signs"),
    [("left", (-1.0, 1.0, 1.0)), ("up", (1.0, -1.0, 1.0)), ("front", (1.0, 1.0, -1.0))],
)
def test_a_mirrored_body_is_found_out(name: str, signs: tuple[float, float, float]) -> None:
    template = load_template("open")
    mirrored = dataclasses.replace(template, vertices=template.vertices * torch.tensor(signs))
    failed = {
        check.name.split(" ")[0] for check in doctor.conventions(mirrored, 96) if not check.ok
    }
    assert name in failed
