"""Bodies of people in photos from SPIN's fits, row by row, and files that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from plausibody.evaluate.datasets.people import body_from_labels
from plausibody.real_labels import read_real_labels
from plausibody.synth.real_people import RealLabels
from plausibody.synth.stores import SourceSettings

PEOPLE = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of four people, of whom the labels know other bodies than the fits."""
    root = tmp_path_factory.mktemp("fits")
    generator = np.random.default_rng(0)
    Image.new("RGB", (40, 30)).save(root / "a.png")
    (root / "final_fits").mkdir()
    np.savez(
        root / "lsp.npz",
        imgname=np.array(["a.png"] * PEOPLE),
        center=np.full((PEOPLE, 2), 15.0),
        scale=np.full(PEOPLE, 0.1),
        pose=np.zeros((PEOPLE, 72)),
        shape=np.zeros((PEOPLE, 10)),
    )
    betas = generator.uniform(-2, 2, (PEOPLE, 10))
    betas[1, 3] = -3.5
    np.savez(
        root / "final_fits" / "lsp.npz",
        pose=0.4 * generator.normal(size=(PEOPLE, 72)),
        betas=betas,
        valid_fit=np.array([True, True, False, True]),
    )
    return root


def read(folder: Path, fits: str = "final_fits/lsp.npz", **changes: Any) -> RealLabels:
    values: dict[str, Any] = {
        "body": "smpl",
        "real_labels": (str(folder / "lsp.npz"),),
        "real_pictures": (str(folder),),
        "real_fits": (str(folder / fits),),
    }
    return read_real_labels(SourceSettings(**values | changes))


def changed(folder: Path, **arrays: np.ndarray | None) -> str:
    with np.load(folder / "final_fits" / "lsp.npz") as file:
        content = dict(file) | arrays
    np.savez(
        folder / "final_fits" / "other.npz",
        **{name: value for name, value in content.items() if value is not None},
    )
    return "final_fits/other.npz"


def test_fits_take_the_place_of_the_files_bodies(folder: Path) -> None:
    labels = read(folder)
    with np.load(folder / "final_fits" / "lsp.npz") as file:
        shape = torch.from_numpy(file["betas"]).float()
        pose = torch.from_numpy(file["pose"]).float()
    shape[1] = 0  # as SPIN and DaNet do with shapes beyond three deviations
    wanted = body_from_labels(pose.unflatten(1, (24, 3)), shape)
    torch.testing.assert_close(labels.body.shape, wanted.shape)
    torch.testing.assert_close(labels.body.rotations, wanted.rotations)
    assert labels.fitted.tolist() == [True, True, False, True]
    own = read(folder, real_fits=("",))
    assert not own.body.shape.any() and bool(own.fitted.all())


def test_everybody_is_fitted_where_the_file_does_not_say(folder: Path) -> None:
    assert bool(read(folder, changed(folder, valid_fit=None)).fitted.all())


def test_fits_mean_nothing_to_other_bodies(folder: Path) -> None:
    assert not read(folder, body="open").fitted.any()


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"betas": None}, "found no betas among"),
        ({"pose": np.zeros((4, 69))}, r"pose: wanted .*72"),
        (
            {"valid_fit": np.array([1.0, 0.5, 0, 1])},
            "valid_fit: wanted 0 or 1, got others in row",
        ),
        (
            {"pose": np.zeros((5, 72)), "betas": np.zeros((5, 10)), "valid_fit": np.ones(5)},
            "wanted a fit for each of the 4 people of .*lsp.npz, got 5",
        ),
    ],
    ids=["missing", "shape", "valid_fit", "rows"],
)
def test_other_files_are_refused(
    folder: Path, arrays: dict[str, np.ndarray | None], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        read(folder, changed(folder, **arrays))


def test_files_and_fits_must_belong_together(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz: wanted fits in SPIN's layout"):
        read(folder, "nowhere.npz")
    with pytest.raises(ValueError, match="for each of the 1 files of sources.real_labels, got 2"):
        read(folder, real_fits=("", ""))
    with pytest.raises(ValueError, match="wanted fits of files in SPIN's layout, got x.npz for "):
        read(folder, real_labels=(str(tmp_path / "a.json"),), real_fits=("x.npz",))
