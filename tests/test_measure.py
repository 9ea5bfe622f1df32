"""Measurements: forms whose girths are known, laws, and people as they are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull
from scipy.special import ellipe
from torch import Tensor

from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.girths import enclosed_volume, girth, hull_length, part_edges
from plausibody.models.landmarks import Landmarks
from plausibody.models.measure import DENSITY, Measurements, measure, measure_shape
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.skeleton import SMPL24
from plausibody.models.templates import load_template
from plausibody.synth.mass import mass_index

NAMES = [field.name for field in dataclasses.fields(Measurements)]
GIRTHS = "chest waist hips neck thigh calf upper_arm wrist".split()
AROUND = 96
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)


def table(measurements: Measurements) -> Tensor:
    return torch.stack([getattr(measurements, name) for name in NAMES], -1)


def ellipse_length(a: float, b: float) -> float:
    a, b = max(a, b), min(a, b)
    return 4 * a * float(ellipe(1 - (b / a) ** 2))


def tube(
    start: Tensor, end: Tensor, radii: Callable[[Tensor], tuple[Tensor, Tensor]], rings: int = 61
) -> tuple[Tensor, Tensor]:
    """Elliptic rings from one point to another, closed at both ends.

    Args:
        radii: Along the second of two axes across, and along z (along the first), at shares of
            the way.
    """
    axis = (end - start) / (end - start).norm()
    forward = torch.tensor([0.0, 0.0, 1.0]).double()
    across = torch.linalg.cross(axis, forward)
    shares = torch.linspace(0, 1, rings).double()
    angle = 2 * math.pi * torch.arange(AROUND).double() / AROUND
    wide, deep = radii(shares)
    centre = torch.lerp(start, end, shares[:, None])[:, None]
    ring = (
        centre
        + wide[:, None, None] * angle.cos()[:, None] * across
        + deep[:, None, None] * angle.sin()[:, None] * forward
    )
    vertices = torch.cat([ring.flatten(0, 1), start[None], end[None]])
    i, k = torch.meshgrid(torch.arange(rings - 1), torch.arange(AROUND), indexing="ij")
    a, b = i * AROUND + k, i * AROUND + (k + 1) % AROUND
    c, d = a + AROUND, b + AROUND
    side = torch.cat([torch.stack([a, d, b], -1), torch.stack([a, c, d], -1)]).flatten(0, -2)
    k = torch.arange(AROUND)
    after, last = (k + 1) % AROUND, (rings - 1) * AROUND
    low = torch.stack([torch.full_like(k, len(vertices) - 2), k, after], -1)
    high = torch.stack([torch.full_like(k, len(vertices) - 1), last + after, last + k], -1)
    return vertices, torch.cat([side.view(-1, 3), low, high])


def point(*place: float) -> Tensor:
    return torch.tensor(place).double()


def straight(wide: float, deep: float) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    return lambda s: (torch.full_like(s, wide), torch.full_like(s, deep))


def measured_round(form: tuple[Tensor, Tensor], origin: Tensor, normal: Tensor) -> float:
    vertices, faces = form
    edges = part_edges(faces, torch.ones(len(vertices), dtype=torch.bool))
    return girth(vertices, edges, origin[None], (normal / normal.norm())[None]).item()


@pytest.mark.parametrize("tilt", [0.0, 0.3, 0.8])
def test_a_cylinder_is_measured_across_and_aslant(tilt: float) -> None:
    cylinder = tube(point(0.0, -1, 0), point(0.0, 1, 0), straight(0.15, 0.15))
    normal = point(math.sin(tilt), math.cos(tilt), 0)
    wanted = ellipse_length(0.15, 0.15 / math.cos(tilt))
    assert measured_round(cylinder, point(0, 0.1, 0), normal) == pytest.approx(wanted, rel=1e-3)
    assert enclosed_volume(*cylinder).item() == pytest.approx(math.pi * 0.15**2 * 2, rel=1e-3)


@pytest.mark.parametrize("level", [-0.35, 0.0, 0.2])
def test_an_ellipsoid_is_measured_at_any_level(level: float) -> None:
    def radii(s: Tensor) -> tuple[Tensor, Tensor]:
        r = (1 - (2 * s - 1) ** 2).clamp(min=0).sqrt()
        return 0.18 * r, 0.12 * r

    ellipsoid = tube(point(0.0, -0.5, 0), point(0.0, 0.5, 0), radii)
    r = math.sqrt(1 - (level / 0.5) ** 2)
    found = measured_round(ellipsoid, point(0, level, 0), point(0.0, 1, 0))
    assert found == pytest.approx(ellipse_length(0.18 * r, 0.12 * r), rel=2e-3)
    volume = 4 / 3 * math.pi * 0.18 * 0.12 * 0.5
    assert enclosed_volume(*ellipsoid).item() == pytest.approx(volume, rel=5e-3)


def test_a_tape_follows_the_hull_of_those_points_that_are_there() -> None:
    points = torch.randn(20, 30, 2, generator=torch.Generator().manual_seed(0)).double()
    present = torch.arange(30) < torch.arange(5, 25)[:, None]
    hulls = [ConvexHull(p[here].numpy()).area for p, here in zip(points, present, strict=True)]
    wanted = torch.tensor(hulls).double()  # in two dimensions, `area` is the length
    torch.testing.assert_close(hull_length(points, present), wanted, rtol=3e-4, atol=0)


def test_where_nothing_is_there_is_no_girth() -> None:
    vertices, faces = tube(point(0.0, -1, 0), point(0.0, 1, 0), straight(0.15, 0.15))
    edges = part_edges(faces, torch.ones(len(vertices), dtype=torch.bool))
    origins = torch.stack([point(0.0, 0.5, 0), point(0.0, 2, 0)])
    lengths = girth(vertices, edges, origins, point(0.0, 1, 0).expand(2, 3))
    assert lengths.isnan().tolist() == [False, True]


def test_girths_are_differentiable() -> None:
    vertices, faces = tube(point(0.0, -1, 0), point(0.0, 1, 0), straight(0.2, 0.1), rings=3)
    edges = part_edges(faces, torch.ones(len(vertices), dtype=torch.bool))
    noise = torch.randn(vertices.shape, generator=torch.Generator().manual_seed(0)).double()
    origin, normal = point(0.0, 0.3, 0)[None], point(0.1, 0.9, 0.2)[None]

    def length(scale: Tensor, origin: Tensor, tilt: Tensor) -> Tensor:
        tilted = tilt / tilt.norm(dim=-1, keepdim=True)
        return girth(vertices * scale + 0.003 * noise, edges, origin, tilted)

    inputs = (point(1.0, 1.1, 0.9), origin, normal)
    assert torch.autograd.gradcheck(length, tuple(x.requires_grad_() for x in inputs), eps=1e-7)


def affine(points: Tensor) -> Tensor:
    return torch.cat([points, torch.ones_like(points[:, :1])], 1)


def manikin() -> BodyTemplate:
    """A person of tubes that are not even joined, with vertices that are those of nobody else."""
    joints = dict.fromkeys(SMPL24, point(0.0, 0, 0))
    heights = {"pelvis": -0.2, "spine1": -0.1, "spine2": 0.0, "spine3": 0.1, "neck": 0.3}
    joints |= {name: point(0.0, y, 0) for name, y in {**heights, "head": 0.4}.items()}
    for side, sign in (("left", 1), ("right", -1)):
        legs = {"hip": (0.1, -0.3), "knee": (0.1, -0.7), "ankle": (0.1, -1.1), "foot": (0.1, -1.15)}
        arms = {"collar": (0.05, 0.2), "shoulder": (0.2, 0.2), "elbow": (0.45, 0.2)}
        arms |= {"wrist": (0.7, 0.2), "hand": (0.8, 0.2)}
        places = {**legs, **arms}
        joints |= {f"{side}_{name}": point(sign * x, y, 0) for name, (x, y) in places.items()}

    def trunk(s: Tensor) -> tuple[Tensor, Tensor]:
        y = -0.4 + 0.65 * s
        waves = 0.03 * torch.cos((y + 0.3) * 2 * math.pi / 0.4)  # waist -0.1, stoutest -0.3, 0.1
        return 0.17 + waves, 0.12 + waves

    def leg(s: Tensor) -> tuple[Tensor, Tensor]:
        r = 0.08 - 0.04 * s
        return r, r

    tubes = [("trunk", tube(point(0.0, -0.4, 0), point(0.0, 0.25, 0), trunk, rings=131))]
    tubes += [("neck", tube(point(0.0, 0.25, 0), point(0.0, 0.6, 0), straight(0.06, 0.06)))]
    for side, x in (("left", 0.1), ("right", -0.1)):
        tubes += [(f"{side}_leg", tube(point(x, -0.4, 0), point(x, -1.2, 0), leg))]
        arm = tube(point(1.5 * x, 0.2, 0), point(9 * x, 0.2, 0), straight(0.04, 0.03))
        tubes += [(f"{side}_arm", arm)]
    names = [name for name, (vertices, _) in tubes for _ in vertices]
    vertices = torch.cat([vertices for _, (vertices, _) in tubes])
    firsts = torch.tensor([0] + [len(v) for _, (v, _) in tubes]).cumsum(0).tolist()
    faces = torch.cat([f + first for (_, (_, f)), first in zip(tubes, firsts, strict=False)])

    limbs = {
        "leg": ["hip", "knee", "ankle", "foot"],
        "arm": ["collar", "shoulder", "elbow", "wrist", "hand"],
    }
    owned = {
        **{"trunk": ["pelvis", "spine1", "spine2", "spine3"], "neck": ["neck", "head"]},
        **{f"{s}_{k}": [f"{s}_{n}" for n in limbs[k]] for s in ("left", "right") for k in limbs},
    }
    places = torch.stack([joints[name] for name in SMPL24])
    mine = torch.zeros(len(vertices), 24, dtype=torch.bool)
    for row, name in enumerate(names):
        mine[row, [SMPL24.index(joint) for joint in owned[name]]] = True
    nearest = torch.cdist(vertices, places).masked_fill(~mine, math.inf).argmin(1)
    weights = torch.nn.functional.one_hot(nearest, 24).double()
    regressor = affine(places) @ torch.linalg.pinv(affine(vertices))
    return BodyTemplate(
        vertices=vertices,
        shape_directions=vertices[..., None],
        pose_directions=torch.zeros(len(vertices), 3, 207).double(),
        joint_regressor=regressor,
        skinning_weights=weights,
        parents=PARENTS,
        faces=faces,
        topology="manikin",
        gender="neutral",
    )


def test_a_manikin_of_tubes_is_measured_where_its_tubes_say() -> None:
    body = manikin()
    found = measure(body, body.vertices)
    wanted = {
        "height": 1.8,
        "chest": ellipse_length(0.20, 0.15),
        "waist": ellipse_length(0.14, 0.09),
        "hips": ellipse_length(0.20, 0.15),
        "neck": 2 * math.pi * 0.06,
        "thigh": 2 * math.pi * 0.0785,
        "calf": 2 * math.pi * 0.061,
        "upper_arm": ellipse_length(0.04, 0.03),
        "wrist": ellipse_length(0.04, 0.03),
        "shoulder_width": 0.4,
        "inseam": 0.8,
        "arm_length": 0.25 + math.hypot(0.25, 0.04),
        "mass": DENSITY * enclosed_volume(body.vertices, body.faces).item(),
    }
    for name, value in wanted.items():
        assert getattr(found, name).item() == pytest.approx(value, rel=5e-3), name


@pytest.fixture(scope="module")
def shapes() -> Tensor:
    return 1.25 * torch.randn(100, 10, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def hundred(shapes: Tensor) -> Tensor:
    return table(measure_shape(load_template("open"), shapes))


def rotations(*batch: int, angle: float = 0.6) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return rotvec_to_rotmat(angle * torch.randn(*batch, 24, 3, generator=generator))


def test_measurements_belong_to_the_shape_and_not_to_the_pose(
    template: BodyTemplate, shapes: Tensor, hundred: Tensor
) -> None:
    straight = torch.eye(3).expand(24, 3, 3)
    elsewhere = pose_body(template, shapes, straight, torch.tensor([0.5, 1.0, -3.0]))
    found = table(measure(template, elsewhere.vertices))
    torch.testing.assert_close(found, hundred, rtol=1e-4, atol=0)

    posed = pose_body(template, shapes, rotations(100))
    for vertices in posed.vertices:
        with pytest.raises(ValueError, match=r"wanted bodies at rest.*do:.*measure_shape"):
            measure(template, vertices)


def test_no_body_at_rest_is_taken_for_a_posed_one(template: BodyTemplate) -> None:
    shapes = 4 * torch.eye(16)
    assert table(measure_shape(template, torch.cat([shapes, -shapes]))).isfinite().all()


def test_bodies_are_measured_one_by_one_as_in_batches(
    template: BodyTemplate, shapes: Tensor, hundred: Tensor
) -> None:
    alone = table(measure_shape(template, shapes[7]))
    torch.testing.assert_close(alone, hundred[7], rtol=1e-5, atol=0)
    square = table(measure_shape(template, shapes[:6].reshape(2, 3, 10)))
    torch.testing.assert_close(square, hundred[:6].reshape(2, 3, -1), rtol=1e-5, atol=0)
    assert table(measure_shape(template, shapes[:0])).shape == (0, len(NAMES))


PEOPLE = {
    "male": "1.756 1.059 0.941 1.021 0.398 0.625 0.392 0.176 0.416 0.846 85.5",
    "female": "1.628 0.947 0.861 1.022 0.330 0.617 0.373 0.155 0.365 0.777 67.8",
}
"""Means of a survey: Gordon et al., 2012 Anthropometric Survey of U.S. Army Personnel (ANSUR II).
Its waist is at the navel, its shoulder breadth between the outer borders of the acromions."""


@pytest.mark.parametrize("gender", PEOPLE)
def test_mean_bodies_have_the_measurements_of_people(gender: str) -> None:
    body = load_template("open", gender)
    found = measure(body, body.vertices)
    names = "height chest waist hips neck thigh calf wrist shoulder_width inseam mass".split()
    for name, mean in zip(names, PEOPLE[gender].split(), strict=True):
        assert getattr(found, name).item() == pytest.approx(float(mean), rel=0.1), name
    assert 0.27 < found.upper_arm.item() < 0.36
    assert 0.45 < found.arm_length.item() < 0.60


def test_heavier_bodies_are_stouter_everywhere(
    template: BodyTemplate, shapes: Tensor, hundred: Tensor
) -> None:
    shape = torch.zeros(10, requires_grad=True)
    mass_index(template, shape).log().backward()
    assert shape.grad is not None
    heavier = torch.linspace(-2, 2, 9)[:, None] * shape.grad / shape.grad.norm()
    girths = table(measure_shape(template, heavier))[:, [NAMES.index(name) for name in GIRTHS]]
    assert (girths.diff(dim=0) > 0).all()

    height, mass = (hundred[:, NAMES.index(name)] for name in ("height", "mass"))
    for name, least in (("waist", 0.85), ("hips", 0.75), ("chest", 0.75)):
        column = hundred[:, NAMES.index(name)]
        assert torch.corrcoef(torch.stack([mass / height**2, column]))[0, 1] > least


def test_a_mirrored_body_has_the_same_measurements(template: BodyTemplate) -> None:
    """Of a body whose left side is larger than its right one."""
    x = template.vertices[:, :1]
    vertices = template.vertices * (1 + 0.04 * torch.tanh(20 * x))
    flip = torch.tensor([-1.0, 1.0, 1.0])
    image = torch.cdist(template.vertices * flip, template.vertices).argmin(1)
    mirrored = (vertices * flip)[image]
    found, wanted = (table(measure(template, body)) for body in (mirrored, vertices))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=0)
    assert (wanted - table(measure(template, template.vertices))).abs().max() > 1e-3


def reordered(body: BodyTemplate) -> BodyTemplate:
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(body.vertices), generator=generator)
    faces = order.argsort()[body.faces.long()]
    return dataclasses.replace(
        body,
        vertices=body.vertices[order],
        shape_directions=body.shape_directions[order],
        pose_directions=body.pose_directions[order],
        joint_regressor=body.joint_regressor[:, order],
        skinning_weights=body.skinning_weights[order],
        faces=faces[torch.randperm(len(faces), generator=generator)],
    )


def refined(body: BodyTemplate) -> BodyTemplate:
    """Cuts every triangle into four: another topology with the same surface."""
    faces = body.faces.long()
    edges = part_edges(faces, torch.ones(len(body.vertices), dtype=torch.bool))
    number = {tuple(edge): len(body.vertices) + k for k, edge in enumerate(edges.tolist())}

    def halves(values: Tensor) -> Tensor:
        return torch.cat([values, values[edges].mean(1)])

    cut = []
    for a, b, c in faces.tolist():
        ab, bc, ca = (number[min(p, q), max(p, q)] for p, q in ((a, b), (b, c), (c, a)))
        cut += [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]
    return dataclasses.replace(
        body,
        vertices=halves(body.vertices),
        shape_directions=halves(body.shape_directions),
        pose_directions=halves(body.pose_directions),
        joint_regressor=torch.cat([body.joint_regressor, torch.zeros(24, len(edges))], 1),
        skinning_weights=halves(body.skinning_weights),
        faces=torch.tensor(cut),
    )


@pytest.mark.parametrize(("change", "tolerance"), [(reordered, 1e-4), (refined, 1e-2)])
def test_any_topology_is_measured_alike(
    template: BodyTemplate,
    shapes: Tensor,
    hundred: Tensor,
    change: Callable[[BodyTemplate], BodyTemplate],
    tolerance: float,
) -> None:
    """Landmarks are searched anew: nothing hangs on the numbers of vertices."""
    found = table(measure_shape(change(template), shapes[:20]))
    torch.testing.assert_close(found, hundred[:20], rtol=tolerance, atol=0)


def test_measurements_are_differentiable_in_the_shape(template: BodyTemplate) -> None:
    body = dataclasses.replace(
        template,
        **{
            field.name: getattr(template, field.name).double()
            for field in dataclasses.fields(template)
            if isinstance(getattr(template, field.name), Tensor) and field.name != "faces"
        },
    )
    generator = torch.Generator().manual_seed(2)
    shape, way = torch.randn(2, 10, generator=generator).double()
    slope = torch.autograd.functional.jvp(lambda s: table(measure_shape(body, s)), shape, way)[1]
    step = 1e-6 * way
    ends = [table(measure_shape(body, shape + sign * step)) for sign in (1, -1)]
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-6)
    assert (slope != 0).all()


def test_bodies_that_are_not_numbers_are_refused(template: BodyTemplate) -> None:
    with pytest.raises(ValueError, match="wanted bodies at rest"):
        measure(template, torch.full_like(template.vertices, math.nan))


def test_other_skeletons_are_refused(template: BodyTemplate) -> None:
    odd = dataclasses.replace(template, parents=template.parents[:22])
    with pytest.raises(ValueError, match="24 joints of SMPL, came one with 22"):
        Landmarks.of(odd)


def test_people_have_the_measurements_that_anny_takes(template: BodyTemplate) -> None:
    """On full MakeHuman bodies, outside the open body's shape space.

    The file is written by `python -m plausibody.assets.builders.measured_people`.
    """
    with np.load(Path(__file__).parent / "data" / "measured_people.npz") as file:
        people = {name: torch.from_numpy(file[name]).float() for name in file.files}
    found = measure(template, 1e-4 * people["vertices"])
    # They were measured in MakeHuman's pose; ours raises the arms and straightens the legs.
    torch.testing.assert_close(found.height, people["height"], rtol=5e-3, atol=0)
    torch.testing.assert_close(found.mass / DENSITY, people["volume"], rtol=3e-2, atol=0)

    # Their waist is 61 % of the stature high: there, a level tape agrees with their loop.
    tape = Landmarks.of(template).tapes["waist"][0]
    origin, normal = tape.plane(1e-4 * people["vertices"])
    feet = 1e-4 * people["vertices"][..., 1].amin(-1)
    origin[:, 1] = feet + 0.613 * found.height
    skin = 1e-4 * people["vertices"][:, tape.skin]
    there = girth(skin, tape.edges, origin[:, None], normal[:, None])[:, 0]
    torch.testing.assert_close(there, people["waist"], rtol=5e-2, atol=0)
    assert torch.corrcoef(torch.stack([found.waist, people["waist"]]))[0, 1] > 0.97
    assert (found.waist < people["waist"]).all(), "the natural waist is slimmer"
