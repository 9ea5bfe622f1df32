"""Writes what looks like 3DPW as its authors publish it, of open bodies: everything is known.

`sequenceFiles/<split>/<name>.pkl` as python 2 wrote them and `imageFiles/<name>/image_XXXXX.jpg`:
one or two people before a camera that moves, with frames in which the camera is not valid. The
crops and labels of the evaluation are made of it by `plausibody assets import 3dpw`.

Source: the data set's readme, and the arrays that public readers take from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.evaluate.datasets.pw3d_sequences import SHAPES, Actor, Sequence3DPW
from plausibody.evaluate.datasets.pw3d_split import LETTERS
from plausibody.evaluate.staged.python2 import python2_pickle
from plausibody.evaluate.staged.scenes import paint_over
from plausibody.models.body import pose_body, regress
from plausibody.models.camera import world_to_camera
from plausibody.models.files import write_file
from plausibody.models.rotations import axis_rotation, rotmat_to_rotvec, rotvec_to_rotmat
from plausibody.models.skeleton import COCO17, indices
from plausibody.models.templates import load_template
from plausibody.predict.drawing.bodies import encode_picture, to_bytes
from plausibody.synth.background_procedural import Procedural
from plausibody.synth.chance import Chance
from plausibody.synth.looks import Looks
from plausibody.synth.poses import load_poses
from plausibody.synth.stores import load_regressors

OPENPOSE18 = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist "
    "right_hip right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye "
    "right_ear left_ear"
).split()
"""Order of `poses2d`."""
WRONG = 3.0
"""By how much the camera is off in frames in which it is not valid [m]."""


@dataclass(frozen=True)
class Staged3DPW:
    """Which sequences there are."""

    genders: tuple[tuple[str, ...], ...] = (("male", "female"), ("female",))
    """Of the people of each sequence."""
    frames: int = 4
    """Of each sequence. The camera is not valid in the second, for the first person."""
    size: tuple[int, int] = (1920, 1080)
    """Width and height of the frames [px]."""
    smoothing: int = 2
    """Samples per pixel and axis; 1 is quick, and has jags."""
    split: str = "test"
    seed: int = 0


def stage_3dpw(
    folder: Path, settings: Staged3DPW | None = None, looks: Looks | None = None
) -> list[Sequence3DPW]:
    """Writes sequences and their frames below a folder.

    Args:
        looks: What people wear and what is behind them; one matt colour each, before colours and
            shapes, if None.

    Returns:
        What was written, in the order of the sequences' names.
    """
    settings = settings or Staged3DPW()
    staged = []
    for number, genders in enumerate(settings.genders):
        stage = _Stage(settings, number, genders)
        staged.append(stage.sequence)
        file = folder / "sequenceFiles" / settings.split / f"{stage.sequence.name}.pkl"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, python2_pickle(stage.content()))
        pictures = folder / "imageFiles" / stage.sequence.name
        pictures.mkdir(parents=True, exist_ok=True)
        for frame, picture in enumerate(stage.pictures(looks)):
            content = encode_picture(picture, ".jpg")
            write_file(pictures / f"image_{frame:05d}.jpg", content)
    return staged


class _Stage:
    """One sequence: who is there, where the camera is, what it sees."""

    def __init__(self, settings: Staged3DPW, number: int, genders: tuple[str, ...]):
        self.settings = settings
        self.chance = Chance(settings.seed, torch.tensor([number]))
        self.templates = [load_template("open", gender) for gender in genders]
        actors = [
            self._actor(person, gender, len(genders)) for person, gender in enumerate(genders)
        ]
        width, height = settings.size
        focal = 1.02 * max(width, height)
        self.sequence = Sequence3DPW(
            name=f"courtyard_staged_{number:02d}",
            actors=tuple(actors),
            cameras=self._cameras().double().numpy(),
            intrinsics=np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]),
        )

    def _actor(self, person: int, gender: str, people: int) -> Actor:
        frames, chance, key = self.settings.frames, self.chance, f"person{person}"
        bank = load_poses(find_asset("poses/cmu.h5"), "test")
        poses = bank.pick(chance.integer(f"{key}/pose", len(bank), frames))[0]
        turn = chance.uniform(f"{key}/turn", low=-0.8, high=0.8) + torch.linspace(0, 0.4, frames)
        poses[:, 0] = rotmat_to_rotvec(axis_rotation(1, turn))
        aside = 1.1 * (person - (people - 1) / 2)
        place = torch.tensor([aside, 1.0, 0.3 * person]) + chance.uniform(f"{key}/place", 3)[0] / 5
        steps = torch.linspace(0, 0.3, frames)[:, None] * torch.tensor([0.3, 0.0, 1.0])
        valid = np.ones(frames, dtype=bool)
        valid[1:2] = person > 0
        return Actor(
            gender=gender,
            shape=chance.normal(f"{key}/shape", SHAPES, std=1.25)[0].double().numpy(),
            poses=poses.flatten(1).double().numpy(),
            translations=(place + steps).double().numpy(),
            valid=valid,
        )

    def _cameras(self) -> Float[Tensor, "frames 4 4"]:
        """Walks round the people, looking at them; the horizon sways."""
        frames = self.settings.frames
        turn = self.chance.uniform("camera/turn", low=-0.5, high=0.5)
        turn = turn + torch.linspace(0, 0.5, frames)
        away = 5.0 + torch.linspace(0, 0.6, frames)
        eye = torch.stack([away * turn.sin(), torch.full((frames,), 1.5), away * turn.cos()], 1)
        forward = torch.nn.functional.normalize(torch.tensor([0.0, 0.9, 0.0]) - eye, dim=1)
        right = torch.linalg.cross(forward, torch.tensor([[0.0, 1.0, 0.0]]).expand_as(forward))
        right = torch.nn.functional.normalize(right, dim=1)
        rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], 1)
        rotation = axis_rotation(2, 0.05 * turn) @ rotation
        cameras = torch.eye(4).repeat(frames, 1, 1)
        cameras[:, :3, :3] = rotation
        cameras[:, :3, 3] = -(rotation @ eye[:, :, None])[:, :, 0]
        return cameras

    def content(self) -> dict[str, object]:
        """Gives the dictionary as it is published, the invalid frames with a wrong place."""
        sequence = self.sequence
        wrong = [(~actor.valid)[:, None] * WRONG for actor in sequence.actors]
        return {
            "sequence": sequence.name,
            "genders": [LETTERS[actor.gender] for actor in sequence.actors],
            # Files hold 10 or 300 coefficients, of which the first 10 are used.
            "betas": [
                np.concatenate([actor.shape, np.ones(290 * (person % 2))])
                for person, actor in enumerate(sequence.actors)
            ],
            "poses": [actor.poses for actor in sequence.actors],
            "trans": [
                actor.translations + off for actor, off in zip(sequence.actors, wrong, strict=True)
            ],
            "campose_valid": [actor.valid for actor in sequence.actors],
            "cam_poses": sequence.cameras,
            "cam_intrinsics": sequence.intrinsics,
            "img_frame_ids": 2 * np.arange(len(sequence)),
            "poses2d": [self._openpose(person) for person in range(len(sequence.actors))],
            "jointPositions": [
                self._posed(person)[1].flatten(1).double().numpy()
                for person in range(len(sequence.actors))
            ],
        }

    def _posed(
        self, person: int
    ) -> tuple[Float[Tensor, "frames V 3"], Float[Tensor, "frames 24 3"]]:
        actor = self.sequence.actors[person]
        rotations = rotvec_to_rotmat(torch.from_numpy(actor.poses).float().unflatten(-1, (24, 3)))
        shape, place = torch.from_numpy(actor.shape), torch.from_numpy(actor.translations)
        body = pose_body(self.templates[person], shape.float(), rotations, place.float())
        return body.vertices, body.joints

    def _seen(self, points: Float[Tensor, "frames N 3"]) -> Float[Tensor, "frames N 3"]:
        """Moves points into the frames of the cameras [m]."""
        camera = torch.from_numpy(self.sequence.cameras).float()
        return points @ camera[:, :3, :3].mT + camera[:, None, :3, 3]

    def _projected(self, seen: Float[Tensor, "frames N 3"]) -> Float[Tensor, "frames N 3"]:
        """Gives x and y [px], of pixels whose centres have whole numbers, and depth [m]."""
        flat = seen @ torch.from_numpy(self.sequence.intrinsics).float().T
        return torch.cat([flat[..., :2] / seen[..., 2:], seen[..., 2:]], -1)

    def _openpose(self, person: int) -> np.ndarray:
        """Gives key points as of a detector that is never wrong: (frames, 3, 18)."""
        vertices, _ = self._posed(person)
        regressors = load_regressors(self.templates[person])
        points = self._projected(self._seen(regress(regressors.coco17, vertices)))[..., :2]
        shoulders = indices(["left_shoulder", "right_shoulder"], COCO17)
        points = torch.cat([points, points[:, shoulders].mean(1, keepdim=True)], 1)
        points = points[:, indices(OPENPOSE18, [*COCO17, "neck"])]
        sure = torch.cat([points, torch.ones_like(points[..., :1])], -1)
        return sure.mT.double().numpy()

    def pictures(self, looks: Looks | None) -> Iterator[UInt8[Tensor, "3 H W"]]:
        """Paints the frames: a background, then the people, the farthest first."""
        background = (Procedural() if looks is None else looks.backgrounds).draw(
            self.chance, self.settings.size[::-1]
        )
        bodies = [self._seen(self._posed(n)[0]) for n in range(len(self.templates))]
        for frame in range(len(self.sequence)):
            picture = background
            order = sorted(range(len(bodies)), key=lambda n: -float(bodies[n][frame, :, 2].mean()))
            for person in order:
                seen = bodies[person][frame : frame + 1]
                painted = paint_over(
                    picture,
                    # Pixel centres lie at whole numbers in 3DPW, and at +0.5 in our renderer.
                    self._projected(seen) + seen.new_tensor([0.5, 0.5, 0.0]),
                    world_to_camera(seen),
                    self.templates[person].faces,
                    self.chance,
                    looks,
                    eye=seen.new_zeros(1, 3),
                    name=f"person{person}/",
                    smoothing=self.settings.smoothing,
                )
                picture = to_bytes(painted[0]).permute(2, 0, 1)[None]
            yield picture[0]
