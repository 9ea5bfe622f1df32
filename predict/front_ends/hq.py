"""The front end of high quality: RF-DETR-Seg finds and outlines people, ViTPose sees their joints.

Both come through `transformers`, an optional extra, from the Hugging Face hub or from a folder.
Only files of tensors (safetensors) are opened, and no code that comes with a model is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from plausibody.models.checkpoint import SafetensorError
from plausibody.models.files import file_sha256
from plausibody.models.skeleton import COCO17
from plausibody.predict.front_ends.hq_keypoints import VitPoseKeypoints
from plausibody.predict.front_ends.hq_people import RfDetrPeople
from plausibody.predict.front_ends.top_down import TopDownFrontEnd
from plausibody.predict.reading.boxes import Boxes

PEOPLE, KEYPOINTS = "Roboflow/rf-detr-seg-medium", "usyd-community/vitpose-base-simple"
"""On the hub, both Apache-2.0. Larger ones: rf-detr-seg-large, vitpose-plus-huge."""
HUB = "https://huggingface.co"
INSTEAD = "or choose --front-end embedded, which needs no download"
_KINDS = {"rf_detr": PEOPLE, "vitpose": KEYPOINTS}
"""By what a model's `config.json` calls it: the one on the hub."""


def load_hq(
    folder: Path | str | None = None,
    device: torch.device | str = "cpu",
    boxes: Boxes | None = None,
    people: str = PEOPLE,
    keypoints: str = KEYPOINTS,
    flip: bool = False,
) -> TopDownFrontEnd:
    """Opens both models.

    Args:
        folder: With a folder for each model, as `save_pretrained` and the hub write them
            (`config.json` and `model.safetensors`), whatever they are called; None for the hub.
        boxes: Where people are, if it is known.
        people: Name on the hub of an RF-DETR-Seg.
        keypoints: Name on the hub of a ViTPose.
        flip: Whether to look for key points in mirror images too.

    Raises:
        ModuleNotFoundError: If `transformers` is not installed.
        FileNotFoundError: If a model cannot be had; tells where it is and what does without.
        ValueError: If a model does not know people, or other key points than COCO's.
    """
    transformers = _transformers()
    found = {"rf_detr": people, "vitpose": keypoints}
    if folder is not None:
        found = _models_in(Path(folder))
    finder = _open(transformers.RfDetrForInstanceSegmentation, found["rf_detr"], "rf_detr")
    looker = _open(transformers.VitPoseForPoseEstimation, found["vitpose"], "vitpose")
    return TopDownFrontEnd(
        name="hq",
        people=RfDetrPeople(
            model=finder.to(device),
            size=_picture_size(transformers, finder, found["rf_detr"]),
            label=_person_label(finder, found["rf_detr"]),
            source=_identity(finder, found["rf_detr"]),
            boxes=boxes,
        ),
        keypoints=VitPoseKeypoints(
            model=looker.to(device),
            size=_crop_size(looker, found["vitpose"]),
            experts=looker.config.backbone_config.num_experts > 1,
            flip=flip,
            source=_identity(looker, found["vitpose"]),
        ),
    )


def _transformers() -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "--front-end hq: wanted the library transformers, which is not installed; "
            f'do: pip install "plausibody[hq]", {INSTEAD}'
        ) from error
    return transformers


def _models_in(folder: Path) -> dict[str, str]:
    """Finds the folder of each model by what its `config.json` says."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"--front-end-weights: wanted a folder with the models of hq, found no folder "
            f"{folder}; do: download {HUB}/{PEOPLE} and {HUB}/{KEYPOINTS} into it, {INSTEAD}"
        )
    found: dict[str, str] = {}
    for config in sorted(folder.glob("*/config.json")):
        try:
            kind = json.loads(config.read_text("utf-8")).get("model_type")
        except (OSError, ValueError, AttributeError):
            continue  # not a model's, or of one that cannot be read: missing, then
        if kind in _KINDS:
            if kind in found:
                raise ValueError(
                    f"{folder}: wanted one model of the kind {kind}, found {found[kind]} and "
                    f"{config.parent}; do: leave one"
                )
            found[kind] = str(config.parent)
    if missing := [kind for kind in _KINDS if kind not in found]:
        wanted = " and ".join(f"{HUB}/{_KINDS[kind]}" for kind in missing)
        raise FileNotFoundError(
            f"{folder}: wanted a folder inside with a config.json for each of "
            f"{', '.join(_KINDS)}, found none for {', '.join(missing)}; do: download {wanted} "
            f"into it, {INSTEAD}"
        )
    return found


def _open(kind: Any, name: str, what: str) -> Any:
    try:
        model, report = kind.from_pretrained(
            name, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        said = str(error).strip().partition("\n")[0][:300]
        raise FileNotFoundError(
            f"--front-end hq: wanted {name}, but it cannot be had ({said}); do: connect to the "
            f"internet once, or download {HUB}/{_KINDS[what]} and name its folder's parent with "
            f"--front-end-weights, {INSTEAD}"
        ) from error
    if absent := sorted([*report["missing_keys"], *map(str, report["mismatched_keys"])]):
        raise ValueError(
            f"{name}: wanted all weights of {kind.__name__}, but {len(absent)} are missing or of "
            f"another shape: {', '.join(absent[:6])}; do: download it again from "
            f"{HUB}/{_KINDS[what]}"
        )
    return model.float().eval().requires_grad_(False)


def _person_label(model: Any, name: str) -> int:
    labels = {int(number): str(label).lower() for number, label in model.config.id2label.items()}
    for number, label in labels.items():
        if label == "person":
            return number
    raise ValueError(
        f"{name}: wanted a model that knows the class person, came one for "
        f"{', '.join(list(labels.values())[:6])}; do: take {HUB}/{PEOPLE}"
    )


def _picture_size(transformers: Any, model: Any, name: str) -> tuple[int, int]:
    """Gives width and height that the model's files ask for, else what it was built for."""
    backbone = model.config.backbone_config
    step = _pair(backbone.patch_size)[0] * backbone.num_windows
    try:
        asked, _ = transformers.ImageProcessingMixin.get_image_processor_dict(name)
        size = asked.get("size", {})
    except (OSError, ValueError):
        size = {}  # a model without that file
    height, width = _pair(backbone.image_size)
    if isinstance(size, dict) and "height" in size and "width" in size:
        height, width = int(size["height"]), int(size["width"])
    if height % step or width % step:
        raise ValueError(
            f"{name}: wanted pictures with sides in multiples of {step} px, its files ask for "
            f"{width} x {height}; do: correct the size in its preprocessor_config.json"
        )
    return width, height


def _crop_size(model: Any, name: str) -> tuple[int, int]:
    config = model.config
    if config.num_labels != len(COCO17):
        raise ValueError(
            f"{name}: wanted the {len(COCO17)} key points of COCO, came a model for "
            f"{config.num_labels}; do: take {HUB}/{KEYPOINTS}"
        )
    height, width = _pair(config.backbone_config.image_size)
    return width, height


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _identity(model: Any, name: str) -> str:
    """Tells weights from others: the hub's commit, or the hash of what a folder holds."""
    files = sorted(Path(name).glob("*.safetensors")) if Path(name).is_dir() else []
    if not files:
        return f"{name}@{getattr(model.config, '_commit_hash', None) or 'unknown'}"
    digest = hashlib.sha256()
    for path in files:
        digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()
