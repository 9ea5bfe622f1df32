"""LSP: photos of sports with marked silhouettes and body parts, as SPIN and DaNet evaluate them.

Source: Johnson and Everingham, "Clustered Pose and Nonlinear Appearance Models for Human Pose
Estimation", 2010 (photos and joints); Lassner et al., "Unite the People: Closing the Loop Between
3D and 2D Human Representations", 2017 (silhouettes and parts, UPi-S1h); Kolotouros et al.,
"Learning to Reconstruct 3D Human Pose and Shape via Model-fitting in the Loop", 2019, as released
(preprocessing of `lsp_dataset`, `eval.py`). The numbers of the parts were read in the code of
Unite the People; that UPi-S1h's files have them too could not be checked without the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plausibody.evaluate.datasets.labels import file_below, require_files, require_once
from plausibody.evaluate.datasets.people import About, LabelledPeople
from plausibody.evaluate.datasets.spin import SpinFile, read_spin
from plausibody.evaluate.datasets.spin_joints import find_labels
from plausibody.models.proxy import Box

LABELS = "lsp_dataset_test.npz"
"""What SPIN's preprocessing calls the file."""
MASKS = "upi-s1h"
"""Folder in which silhouettes and parts may be."""

ABOUT = About(
    name="lsp",
    source="LSP, http://sam.johnson.io/research/lsp.html (lsp_dataset.zip), and UPi-S1h of Unite "
    "the People, http://files.is.tuebingen.mpg.de/classner/up; labels by SPIN's preprocessing",
    layout=f"{LABELS}, here or in dataset_extras/; images/; and data/lsp/ of UPi-S1h, here or in "
    f"{MASKS}/",
    protocol=(
        "The 1,000 photos of the test part; crops round the marked joints, 1.2 times their longer "
        "side.",
        "Bodies are drawn in the crop at 224 px, with the predicted orthographic camera, and "
        "brought back into the photo, nearest pixel; beyond the crop is background.",
        "Accuracy: pixels of the right class, of all pixels of all photos. F1: 2 tp / (2 tp + fp + "
        "fn), summed over all photos, and then the mean of the classes: background and person "
        "(mask_f1), background and six parts (part_f1). Pixels marked 255 count as background in "
        "part_accuracy and not at all in part_f1.",
        "Parts of the predicted body are those of the joints that move it most; the published "
        "painted mesh, whose borders lie a little otherwise, is not used.",
    ),
    headline=("mask_accuracy", "mask_f1", "part_accuracy", "part_f1", "silhouette_iou"),
)


@dataclass(frozen=True)
class Lsp:
    """LSP, opened."""

    folder: Path
    file: SpinFile
    masks: tuple[Path, ...]
    parts: tuple[Path, ...]
    about: About = ABOUT

    def __len__(self) -> int:
        return len(self.file)

    def batch(self, numbers: Sequence[int]) -> LabelledPeople:
        """Gives the people of these numbers, from 0 on, in this order."""
        chosen, box = list(numbers), self.file.box
        return LabelledPeople(
            names=tuple(self.file.names[n] for n in chosen),
            pictures=self.file.pictures(self.folder, chosen),
            genders=("neutral",) * len(chosen),
            box=Box(centre=box.centre[chosen], side=box.side[chosen]),
            true_keypoints=None if self.file.part is None else self.file.coco17(chosen),
            masks=tuple(self.masks[n] for n in chosen),
            parts=tuple(self.parts[n] for n in chosen),
        )


def open_lsp(folder: Path) -> Lsp:
    """Opens the test part (`lsp_dataset_test.npz`).

    Args:
        folder: With the labels, or with `dataset_extras` that holds them, with `images`, and with
            `data/lsp` or `upi-s1h/data/lsp`; or the file of labels itself.

    Raises:
        FileNotFoundError: If labels, pictures, silhouettes or parts are missing.
        ValueError: If the labels are not as published.
    """
    labels, home = find_labels(folder, (LABELS,), "LSP")
    file = read_spin(labels, ("maskname", "partname"))
    assert file.masks is not None and file.part_masks is not None  # asked for above
    require_once(
        file.names,
        f"{labels}, imgname: wanted one person in each picture",
        "more in",
        "make the file with SPIN's preprocessing",
    )
    require_files(
        file.pictures(home, range(len(file))),
        f"the pictures that {labels.name} names, below {home}",
        "unpack lsp_dataset.zip there",
    )
    found = {}
    for key, names in (("maskname", file.masks), ("partname", file.part_masks)):
        told = f"{labels}, {key}"
        root = home / MASKS if (home / MASKS).is_dir() else home
        found[key] = tuple(file_below(root, name, told) for name in names)
        require_files(
            found[key],
            f"the marked pictures that {labels.name} names in {key}, below {root}",
            f"unpack upi-s1h.zip, and put its data/lsp there: {ABOUT.layout}",
        )
    return Lsp(home, file, found["maskname"], found["partname"])
