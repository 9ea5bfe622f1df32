"""Laws of the shipped body: it must be a body, a closed and symmetric one, of plausible people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from plausibody.assets.catalog import find_asset
from plausibody.assets.topology import topology_hash
from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.skeleton import COCO17, H36M17, SMPL24
from plausibody.models.templates import load_template

GENDERS = ("female", "male", "neutral")
DENSITY = 985.0
"""Of a body [kg/m^3]."""


@pytest.fixture(scope="module", params=GENDERS)
def template(request: pytest.FixtureRequest) -> BodyTemplate:
    return load_template("open", gender=request.param)


@pytest.fixture(scope="module")
def neutral() -> BodyTemplate:
    return load_template("open", gender="neutral")


def stored(name: str) -> dict[str, ndarray]:
    with np.load(find_asset(f"body/{name}.npz")) as file:
        return {key: file[key] for key in file.files}


def draw_rest_bodies(
    template: BodyTemplate, count: int, spread: float
) -> Float[torch.Tensor, "n V 3"]:
    shapes = spread * torch.randn(count, 10, generator=torch.Generator().manual_seed(0))
    offsets = torch.einsum("vds,ns->nvd", template.shape_directions[..., :10], shapes)
    return template.vertices + offsets


def volumes(
    vertices: Float[torch.Tensor, "n V 3"], faces: Int[torch.Tensor, "F 3"]
) -> torch.Tensor:
    first, second, third = (vertices[:, faces[:, k]] for k in range(3))
    return (torch.linalg.cross(first, second) * third).sum(dim=(1, 2)) / 6


def directed_edges(faces: Int[ndarray, "F 3"]) -> set[tuple[int, int]]:
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = set(map(tuple, pairs.tolist()))
    assert len(edges) == len(pairs), "some edge is used twice in the same direction"
    return edges


def assert_closed_sphere(faces: Int[ndarray, "F 3"]) -> None:
    """Every edge has one triangle on each side, and vertices - edges + faces is 2."""
    edges = directed_edges(faces)
    assert edges == {(b, a) for a, b in edges}
    assert len(np.unique(faces)) - len(edges) // 2 + len(faces) == 2


def mirror_of(vertices: Float[torch.Tensor, "V 3"]) -> Int[torch.Tensor, " V"]:
    opposite = vertices * vertices.new_tensor([-1.0, 1.0, 1.0])
    distance, index = torch.cdist(
        opposite.double(), vertices.double(), compute_mode="donot_use_mm_for_euclid_dist"
    ).min(dim=1)
    assert distance.max() < 1e-5
    return index


def test_the_arrays_have_the_shapes_of_smpl(template: BodyTemplate) -> None:
    assert template.vertices.shape == (6890, 3)
    assert template.shape_directions.shape == (6890, 3, 16)
    assert template.pose_directions.shape == (6890, 3, 207)
    assert template.joint_regressor.shape == (24, 6890)
    assert template.skinning_weights.shape == (6890, 24)
    assert template.faces.shape == (13776, 3)
    assert template.topology == topology_hash(template.faces.numpy())


def test_weights_are_shares(template: BodyTemplate) -> None:
    for rows in (template.joint_regressor, template.skinning_weights):
        assert (rows >= 0).all()
        torch.testing.assert_close(rows.sum(dim=1), torch.ones(len(rows)))
    assert ((template.skinning_weights > 0).sum(dim=1) <= 5).all()


def test_the_mesh_is_a_closed_sphere_facing_outwards(template: BodyTemplate) -> None:
    assert_closed_sphere(template.faces.numpy())
    assert volumes(template.vertices[None], template.faces)[0] > 0.05


def test_the_body_is_symmetric(template: BodyTemplate) -> None:
    mirror = mirror_of(template.vertices)
    assert (mirror[mirror] == torch.arange(len(mirror))).all()
    flip = torch.tensor([-1.0, 1.0, 1.0])
    # float16 keeps directions of up to 0.1 m to 3e-5 m.
    directions = template.shape_directions
    torch.testing.assert_close(directions[mirror] * flip[:, None], directions, atol=1e-4, rtol=0)
    swapped = [SMPL24.index(_other_side(name)) for name in SMPL24]
    torch.testing.assert_close(
        template.joint_regressor[swapped][:, mirror], template.joint_regressor, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        template.skinning_weights[:, swapped][mirror], template.skinning_weights, atol=1e-5, rtol=0
    )


def _other_side(name: str) -> str:
    if name.startswith("left_"):
        return name.replace("left_", "right_")
    return name.replace("right_", "left_")


def test_the_body_stands_upright_facing_ahead_left_on_the_left(template: BodyTemplate) -> None:
    joints = dict(zip(SMPL24, template.joint_regressor @ template.vertices, strict=True))
    assert joints["head"][1] > joints["pelvis"][1] > joints["left_ankle"][1]
    assert joints["left_foot"][2] > joints["left_ankle"][2] + 0.05
    for name, place in joints.items():
        if name.startswith("left_"):
            assert place[0] > 0.03, name


def test_drawn_bodies_are_plausible_people(template: BodyTemplate) -> None:
    bodies = draw_rest_bodies(template, 400, spread=1.0)
    height = bodies[..., 1].amax(dim=1) - bodies[..., 1].amin(dim=1)
    bmi = volumes(bodies, template.faces) * DENSITY / height**2
    assert height.min() > 1.30 and height.max() < 2.20
    assert 24 < bmi.median() < 28
    low, high = torch.quantile(bmi, torch.tensor([0.01, 0.99]))
    assert low > 14 and 35 < high < 45, (low, high)


def test_the_first_coefficient_makes_taller(template: BodyTemplate) -> None:
    taller = template.vertices + 2 * template.shape_directions[..., 0]
    assert taller[:, 1].max() - taller[:, 1].min() > 1.05 * (
        template.vertices[:, 1].max() - template.vertices[:, 1].min()
    )


def test_pose_directions_keep_a_bent_elbow_thick(neutral: BodyTemplate) -> None:
    """Plain skinning loses volume at a bent elbow; the learned offsets win some of it back."""
    rotations = torch.eye(3).repeat(24, 1, 1)
    sine, cosine = np.sin(2.0), np.cos(2.0)
    rotations[SMPL24.index("left_elbow")] = torch.tensor(
        [[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]]
    )
    plain = BodyTemplate(
        **{
            name: getattr(neutral, name)
            for name in BodyTemplate.__dataclass_fields__
            if name != "pose_directions"
        },
        pose_directions=torch.zeros_like(neutral.pose_directions),
    )
    shape, place = torch.zeros(10), torch.zeros(3)
    with_offsets = pose_body(neutral, shape, rotations, place).vertices
    without = pose_body(plain, shape, rotations, place).vertices
    gained, lost = (volumes(v[None], neutral.faces)[0] for v in (with_offsets, without))
    assert gained > lost
    assert 0.002 < (with_offsets - without).norm(dim=1).max() < 0.06


@pytest.mark.parametrize("name", ["coco17", "h36m17", "cocoplus19", "spin9"])
def test_regressors_are_weighted_means_of_this_body(name: str, neutral: BodyTemplate) -> None:
    regressors = stored("regressors")
    rows = regressors[name]
    assert rows.shape == (int(name[-2:].lstrip("nps")), 6890)
    assert str(regressors["topology"]) == neutral.topology
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize(("name", "joints"), [("coco17", COCO17), ("h36m17", H36M17)])
def test_regressed_joints_are_where_their_names_say(
    name: str, joints: list[str], template: BodyTemplate
) -> None:
    places = stored("regressors")[name] @ template.vertices.numpy()
    kinematic = dict(
        zip(SMPL24, (template.joint_regressor @ template.vertices).numpy(), strict=True)
    )
    for joint, place in zip(joints, places, strict=True):
        if joint.startswith("left_"):
            assert place[0] > 0.02, joint
        if joint.startswith("right_"):
            assert place[0] < -0.02, joint
        if joint in kinematic and joint != "pelvis":
            assert np.linalg.norm(place - kinematic[joint]) < 0.05, joint


@dataclass(frozen=True)
class Charts:
    part: Int[ndarray, " F"]
    uv: Float[ndarray, "F 3 2"]
    flipped: Bool[ndarray, " F"]


@pytest.fixture(scope="module")
def charts() -> Charts:
    file = stored("charts")
    uv = np.stack([file["u"], file["v"]], axis=1)[file["faces_uv"]].astype(np.float64)
    first, second = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return Charts(file["part24"], uv, area <= 0)


def test_charts_cover_every_face_of_this_body(charts: Charts, neutral: BodyTemplate) -> None:
    file = stored("charts")
    assert str(file["topology"]) == neutral.topology
    assert (file["vertex_of_uv"][file["faces_uv"]] == neutral.faces.numpy()).all()
    assert set(charts.part.tolist()) == set(range(1, 25))
    assert set(file["part14"].tolist()) == set(range(1, 15))
    assert charts.uv.min() >= 0 and charts.uv.max() <= 1


def test_charts_of_hands_feet_and_heads_do_not_fold(charts: Charts) -> None:
    delicate = np.isin(charts.part, [3, 4, 5, 6, 23, 24])
    assert not charts.flipped[delicate].any()
    assert charts.flipped.mean() < 0.005  # measured: 0.0017, in the crotch


def test_parts_are_on_their_sides(charts: Charts, neutral: BodyTemplate) -> None:
    across = neutral.vertices[neutral.faces].mean(dim=1)[:, 0].numpy()
    for left in (4, 5, 8, 10, 12, 14, 15, 17, 19, 21, 24):
        assert (across[charts.part == left] > 0).all(), left


def test_the_coarse_mesh_is_a_closed_thinned_body(neutral: BodyTemplate) -> None:
    coarse = stored("coarse")
    assert str(coarse["topology"]) == neutral.topology
    assert_closed_sphere(coarse["faces"])
    assert len(np.unique(coarse["vertices"])) == 1200 and len(coarse["faces"]) == 2396
    assert len(np.unique(coarse["supervised"])) == 700 and coarse["supervised"].max() < 6890
    assert len(coarse["part24"]) == len(coarse["faces"])
    thin = neutral.vertices[torch.as_tensor(coarse["vertices"])]
    ratio = volumes(thin[None], torch.as_tensor(coarse["faces"])) / volumes(
        neutral.vertices[None], neutral.faces
    )
    assert 0.96 < ratio[0] < 1.0


def test_supervised_vertices_leave_no_large_gap(neutral: BodyTemplate) -> None:
    picked = neutral.vertices[torch.as_tensor(stored("coarse")["supervised"])]
    assert torch.cdist(neutral.vertices, picked).min(dim=1).values.max() < 0.05


def test_landmarks_of_smpl_code_are_where_it_expects_them(neutral: BodyTemplate) -> None:
    """The vertex numbers that smplx takes for granted: nose, eyes, ears, thumb, big toe, heel."""
    coco = dict(zip(COCO17, stored("regressors")["coco17"] @ neutral.vertices.numpy(), strict=True))
    for vertex, name in ((332, "nose"), (2800, "left_eye"), (6260, "right_eye"), (583, "left_ear")):
        assert np.linalg.norm(neutral.vertices[vertex].numpy() - coco[name]) < 0.03, name
    joints = dict(zip(SMPL24, neutral.joint_regressor @ neutral.vertices, strict=True))
    assert neutral.vertices[2746][0] > joints["left_wrist"][0]
    assert neutral.vertices[3216][2] > joints["left_foot"][2]
    assert neutral.vertices[3387][2] < joints["left_ankle"][2]


def test_genders_differ_in_shape_only() -> None:
    female, male = (load_template("open", gender=gender) for gender in ("female", "male"))
    assert (female.faces == male.faces).all()
    torch.testing.assert_close(female.pose_directions, male.pose_directions)
    tall = [float(body.vertices[:, 1].max() - body.vertices[:, 1].min()) for body in (male, female)]
    assert tall[0] > tall[1] + 0.05
