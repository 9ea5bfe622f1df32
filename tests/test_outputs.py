"""What is written of a person, read as others would: it lands on the photo, and on itself."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from plausibody.assets.catalog import find_asset
from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.files import encode_arrays
from plausibody.models.intervals import QUANTITIES
from plausibody.models.skeleton import SMPL24
from plausibody.models.templates import load_template
from plausibody.predict.export import encode_mesh
from plausibody.predict.fit import Fit
from plausibody.predict.interchange import encode_document, person_document
from plausibody.predict.parameters import Origin, person_arrays
from plausibody.predict.predictor import Predictor, load_predictor
from plausibody.predict.result import ImagePrediction, PersonPrediction, Refinement
from plausibody.synth.raster import rasterize
from plausibody.synth.stores import load_coco17


def smplx_style(
    template: BodyTemplate, betas: Any, global_orient: Any, body_pose: Any, transl: Any
) -> np.ndarray:
    """Poses a body as SMPL's tools do: axis-angle, turned about the pelvis, then moved. A twin of
    `pose_body` without any of our code.

    Source: Loper et al., "SMPL", 2015, equations 2 to 9.
    """
    shape = np.asarray(betas)
    turns = []
    for x, y, z in np.reshape([*global_orient, *body_pose], (-1, 3)):
        angle = max(math.sqrt(x * x + y * y + z * z), 1e-12)
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / angle
        turns.append(np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross)
    directions = template.shape_directions.numpy()[..., : len(shape)].astype(np.float64)
    rest = template.vertices.numpy() + directions @ shape
    joints = template.joint_regressor.numpy() @ rest
    feature = np.concatenate([(turn - np.eye(3)).reshape(-1) for turn in turns[1:]])
    bent = rest + template.pose_directions.numpy() @ feature
    chain: list[np.ndarray] = []
    for joint, parent in enumerate(template.parents):
        local = np.eye(4)
        local[:3, :3] = turns[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if joint else 0)
        chain.append(chain[parent] @ local if joint else local)
    moves = np.stack(chain)
    moves[:, :3, 3] -= np.einsum("jab,jb->ja", moves[:, :3, :3], joints)
    blended = np.einsum("vj,jab->vab", template.skinning_weights.numpy(), moves)
    posed: np.ndarray = np.einsum("vab,vb->va", blended[:, :3, :3], bent) + blended[:, :3, 3]
    return posed + np.asarray(transl)


def read_back(
    person: PersonPrediction, predictor: Predictor, image: ImagePrediction
) -> tuple[Any, dict[str, Any]]:
    """Writes a person's two files in memory and reads them."""
    origin = Origin(
        predictor.template,
        predictor.weights_name,
        predictor.weights_sha256,
        str(image.path),
        (image.height, image.width),
        predictor.gendered,
    )
    arrays = person_arrays(person, origin, vertices=True, samples=True)
    text = encode_document(person_document(person, arrays))
    return np.load(io.BytesIO(encode_arrays(arrays))), json.loads(text)


@pytest.fixture(scope="module")
def told(known_person: Any) -> tuple[PersonPrediction, Any, dict[str, Any]]:
    """Somebody of whom much is known: a height and a gender, with samples."""
    predictor = known_person.doubting_predictor(height=1.8, gender="female", samples=3)
    (image,) = predictor(["photo.jpg"])
    (person,) = image.people
    return person, *read_back(person, predictor, image)


def test_smpl_names_give_the_saved_vertices(told: Any) -> None:
    _, saved, document = told
    template = load_template("open", document["gender"])
    assert template.gender == "female" and template.topology == document["topology"]
    assert len(document["body_pose"]) == 3 * (len(SMPL24) - 1) and len(document["betas"]) == 10
    posed = smplx_style(
        template,
        *(document[name] for name in ("betas", "global_orient", "body_pose", "transl")),
    )
    betas, rotmats = (torch.from_numpy(saved[name]) for name in ("betas", "rotmats"))
    ours = pose_body(template, betas, rotmats).vertices.numpy() + saved["translation"]
    np.testing.assert_allclose(posed, ours, atol=1e-5)
    # The mesh is the neutral body's, to which the female body's coefficients were fitted.
    assert np.linalg.norm(posed - saved["vertices"], axis=-1).mean() < 0.015


def test_json_says_what_the_arrays_say(told: Any) -> None:
    person, saved, document = told
    turns = [document["global_orient"], *np.reshape(document["body_pose"], (-1, 3)).tolist()]
    pinhole, weak = (document["camera"][name] for name in ("pinhole", "weak_perspective"))
    for mine, name in (
        (document["betas"], "betas"), (turns, "rotvecs"), (document["transl"], "translation"),
        (pinhole["focal"], "focal"), (pinhole["principal"], "principal"),
        (weak["scale_and_shift"], "cam_weak"), (weak["box"], "box"),
        (document["keypoints"]["body"], "keypoints"),
        (document["keypoints"]["seen"], "keypoints_seen"), (document["image_size"], "image_size"),
    ):  # fmt: skip
        assert np.array_equal(np.array(mine, saved[name].dtype), saved[name]), name
    waist = document["measurements"]["values"]["waist"]
    assert waist["unit"] == "m" and list(document["measurements"]["values"]) == list(QUANTITIES)
    low, high = person.measurements.interval("waist", 0.9)
    assert waist["intervals"]["90"] == pytest.approx([low, high])
    assert low < waist["mean"] < high and document["measurements"]["values"]["mass"]["unit"] == "kg"
    assert document["told"] == {"height": 1.8, "gender": "female", "same_person": False}
    assert document["refinement"] is None and not saved["refined"]
    assert document["fit"]["silhouette_iou"] == pytest.approx(float(saved["silhouette_iou"]))


def _documented(heading: str) -> set[str]:
    """Gives the names in the first column of the tables of a part of docs/outputs.md."""
    text = (Path(__file__).parent.parent / "docs" / "outputs.md").read_text("utf-8")
    (part,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.M)
    cells = re.findall(r"^\| (`[^|]*) \|", part, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", " ".join(cells)))


def test_every_field_is_documented_and_every_documented_field_is_there(told: Any) -> None:
    _, saved, document = told
    assert _documented("`person_<k>.json`") == set(document)
    assert _documented("`person_<k>.npz`") == set(saved.files)


def test_refined_people_tell_the_fit_before_and_after(known_person: Any) -> None:
    predictor = known_person.predictor()
    (image,) = predictor(["photo.jpg"])
    before, after = Fit(0.6, 9.0, 17), Fit(0.7, math.nan, 0)
    person = dataclasses.replace(image.people[0], refinement=Refinement(True, before, after))
    keypoints = person.evidence.keypoints.clone()
    keypoints[3] = torch.tensor([math.nan, math.inf, 0.0])  # not seen
    evidence = dataclasses.replace(person.evidence, keypoints=keypoints)
    person = dataclasses.replace(person, evidence=evidence)
    saved, document = read_back(person, predictor, image)
    assert saved["refined"] and float(saved["silhouette_iou_before"]) == pytest.approx(0.6)
    assert document["refinement"]["kept"] is True and document["refinement"]["reason"] == ""
    assert document["refinement"]["before"]["reprojection_percent"] == 9.0
    assert document["refinement"]["after"]["reprojection_percent"] is None
    assert document["keypoints"]["seen"][3] == [None, None, 0.0]
    turns = document["global_orient"], document["body_pose"]
    posed = smplx_style(predictor.template, document["betas"], *turns, document["transl"])
    np.testing.assert_allclose(posed, saved["vertices"], atol=1e-4)
    # A single body has no deviations.
    assert document["measurements"]["intervals"] == "none"
    assert document["measurements"]["values"]["waist"]["std"] is None


def test_moved_bodies_are_written_as_they_are(known_person: Any) -> None:
    predictor = known_person.doubting_predictor(refine=3)
    (image,) = predictor(["photo.jpg"])
    saved, document = read_back(image.people[0], predictor, image)
    assert document["refinement"]["before"]["silhouette_iou"] > 0.9
    assert document["refinement"]["kept"] == bool(saved["refined"])
    turns = document["global_orient"], document["body_pose"]
    posed = smplx_style(predictor.template, document["betas"], *turns, document["transl"])
    np.testing.assert_allclose(posed, saved["vertices"], atol=1e-4)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The skier as she is, turned with a note that says so, cut by the border, and in company."""
    folder = tmp_path_factory.mktemp("photos")
    skier = Image.open(find_asset("photos/skier.jpg")).convert("RGB")
    hopper = Image.open(find_asset("photos/grace_hopper.jpg")).convert("RGB")
    skier.save(folder / "plain.png")
    note = Image.Exif()
    note[0x0112] = 6  # "turn me clockwise": stored turned the other way
    skier.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=note)
    skier.crop((150, 0, 420, 330)).save(folder / "cut.png")
    hopper = hopper.resize((363, 425))
    both = Image.new("RGB", (skier.width + hopper.width, 425))
    both.paste(skier)
    both.paste(hopper, (skier.width, 0))
    both.save(folder / "two.png")
    return folder


@pytest.fixture(scope="module")
def found(predictor: Predictor, photos: Path) -> dict[str, ImagePrediction]:
    names = ["plain", "turned", "cut", "two"]
    images = predictor([photos / f"{name}.png" for name in names])
    return dict(zip(names, images, strict=True))


@pytest.mark.parametrize("name", ["plain", "turned", "cut", "two"])
def test_saved_parameters_land_on_the_photo(
    name: str, found: dict[str, ImagePrediction], predictor: Predictor, photos: Path
) -> None:
    """Nothing but the file and the template it names is used to put the body over the photo."""
    image = found[name]
    with Image.open(photos / f"{name}.png") as file:
        width, height = file.size if name != "turned" else file.size[::-1]
    assert len(image.people) == (2 if name == "two" else 1)
    for person in image.people:
        saved, _ = read_back(person, predictor, image)
        assert saved["image_size"].tolist() == [width, height]
        template = load_template("open", str(saved["gender"]))
        turns = saved["rotvecs"].reshape(-1)
        posed = smplx_style(template, saved["betas"], turns[:3], turns[3:], np.zeros(3))

        scale, *shift = saved["cam_weak"]
        x, y, side = saved["box"]
        far = (scale * (posed[:, :2] + shift)) * side / 2 + [x, y]
        moved = posed + saved["translation"]
        near = saved["focal"] * moved[:, :2] / moved[:, 2:] + saved["principal"]
        assert moved[:, 2].min() > 0  # before the camera

        seen, sure = saved["keypoints_seen"][:, :2], saved["keypoints_seen"][:, 2] > 0.5
        coco17 = load_coco17(template).numpy()
        for points, allowed in ((far, 0.05), (near, 0.08)):
            error = np.linalg.norm((coco17 @ points - seen)[sure], axis=-1).mean()
            assert error < allowed * side, (name, person.index)
        drawn = [
            _silhouette(template, points, moved[:, 2], (height, width)) for points in (far, near)
        ]
        mask = person.evidence.mask() > 0.5
        overlaps = [_overlap(one, mask) for one in drawn]
        assert overlaps[0] == pytest.approx(float(saved["silhouette_iou"]), abs=0.02)
        assert overlaps[1] > overlaps[0] - 0.1


def _silhouette(
    template: BodyTemplate, points: np.ndarray, depth: np.ndarray, size: tuple[int, int]
) -> torch.Tensor:
    at = torch.from_numpy(np.column_stack([points, depth])).float()[None]
    return rasterize(at, template.faces, size, perspective=False, barycentrics=False).mask[0]


def _overlap(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_a_wrong_height_is_doubted_and_moves_nobody(
    found: dict[str, ImagePrediction], predictor: Predictor, photos: Path
) -> None:
    (plain,) = found["plain"].people
    front_end = predictor.front_end
    (image,) = Predictor(predictor.regressor, front_end, height=1.3)([photos / "plain.png"])
    (small,) = image.people
    said = re.search(r"130 cm is far from what the picture says, (\d+) cm", small.warnings[0])
    assert said is not None and 155 < int(said[1]) < 185  # as the shipped weights say
    diagonal = float(torch.linalg.vector_norm(plain.evidence.box[2:] - plain.evidence.box[:2]))
    gap = (small.keypoints - plain.keypoints).mean(0)
    assert float(gap.abs().max()) < 0.01 * diagonal  # 4 % when the template's origin stayed
    assert small.fit.reprojection < plain.fit.reprojection + 1
    for person in (plain, small):
        assert person.pinhole_reprojection < person.fit.reprojection + 0.5


def test_a_turned_file_gives_the_same_body(found: dict[str, ImagePrediction]) -> None:
    plain, turned = (found[name].people[0] for name in ("plain", "turned"))
    assert torch.equal(plain.body.vertices, turned.body.vertices)
    assert torch.equal(plain.keypoints, turned.keypoints)


def test_a_glb_opens_upright_and_in_metres(known_person: Any) -> None:
    """As in any viewer: the whole scene with its transforms, y up, the face towards +z."""
    template = known_person.template
    content = encode_mesh(template.vertices, template.faces, "glb")
    scene = trimesh.load(io.BytesIO(content), file_type="glb")
    low, high = scene.bounds
    vertices = template.vertices.numpy()
    np.testing.assert_allclose([low, high], [vertices.min(0), vertices.max(0)], atol=1e-5)
    assert 1.5 < high[1] - low[1] < 1.9  # a grown person
    (mesh,) = scene.dump()
    joints = dict(zip(SMPL24, (template.joint_regressor @ template.vertices).numpy(), strict=True))
    assert mesh.is_watertight == trimesh.Trimesh(vertices, template.faces.numpy()).is_watertight
    head, feet = joints["head"], joints["left_foot"]
    assert head[1] > feet[1] + 1 and feet[2] > joints["left_ankle"][2] + 0.05
    # What is highest in the file is the top of the head.
    top = mesh.vertices[mesh.vertices[:, 1].argmax()]
    assert np.linalg.norm(top[[0, 2]] - head[[0, 2]]) < 0.12
