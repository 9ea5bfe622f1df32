"""What several test files share."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dressed_looks import plain_looks
from torch import Tensor, nn

from plausibody.doctor import asymmetric_pose
from plausibody.evaluate.staged import python2
from plausibody.models.body import BodyTemplate
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher
from plausibody.models.markers import JointRegressors, Markers
from plausibody.models.prediction import BodyParameters, FisherPrediction
from plausibody.models.proxy import ProxySettings, make_proxy
from plausibody.models.records import map_tensors
from plausibody.models.regressor import PointRegressor, Regressor
from plausibody.models.rotations import axis_rotation, rotmat_to_rot6d
from plausibody.models.shapes import ShapeGaussian
from plausibody.models.templates import load_template
from plausibody.models.weights import TrainedRegressor
from plausibody.predict.front_ends.front_end import ImageResult, Person, Picture
from plausibody.predict.front_ends.mask import SoftMask
from plausibody.predict.placement import PictureCamera
from plausibody.predict.predictor import Predictor
from plausibody.synth.raster import rasterize
from plausibody.synth.stores import SynthAssets, load_assets


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The workers of pytest-xdist share the cores already."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def template() -> BodyTemplate:
    """The open body; do not change it."""
    return load_template("open")


@pytest.fixture(scope="session")
def assets() -> SynthAssets:
    """What the stream draws from in training; do not change it."""
    return load_assets("train")


@pytest.fixture(scope="session")
def clothed(assets: SynthAssets) -> SynthAssets:
    """The same, with people in plain clothes before noise; do not change it."""
    return replace(assets, looks=plain_looks(assets))


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in double precision."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.fixture
def doll() -> BodyTemplate:
    """Forty random vertices on six joints."""
    return BodyTemplate(
        vertices=draw(40, 3),
        shape_directions=0.1 * draw(40, 3, 5, seed=1),
        pose_directions=0.01 * draw(40, 3, 45, seed=2),
        joint_regressor=draw(6, 40, seed=3).softmax(-1),
        skinning_weights=draw(40, 6, seed=4).softmax(-1),
        parents=(-1, 0, 1, 0, 1, 4),
        faces=torch.tensor([[0, 1, 2]]),
        topology="doll",
        gender="neutral",
    )


@pytest.fixture
def markers(doll: BodyTemplate) -> Markers:
    """Key points of the doll, as random as itself, and all its vertices."""
    regressors = JointRegressors(
        coco17=draw(17, 40, seed=5).softmax(-1), h36m17=draw(17, 40, seed=6).softmax(-1)
    )
    return Markers.of(doll, regressors, torch.arange(40))


@pytest.fixture
def python2_pickle() -> Callable[[Any, int], bytes]:
    """Pickles an object under the opcodes and module names of python 2."""
    return python2.python2_pickle


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes objects that pickle as chumpy's; the modules exist only while the test runs.

    `chumpy("reordering.Select", a=..., idxs=...)` has the state of chumpy's own: its terms, besides
    bookkeeping that real files carry too.
    """

    def make(name: str, **terms: Any) -> Any:
        module_name, _, kind = f"chumpy.{name}".rpartition(".")
        for parent in ("chumpy", module_name):
            module = sys.modules.get(parent) or types.ModuleType(parent)
            monkeypatch.setitem(sys.modules, parent, module)
        if not hasattr(module, kind):
            made = type(kind, (), {"__module__": module_name})
            monkeypatch.setattr(module, kind, made, raising=False)
        node = getattr(module, kind)()
        node.__dict__.update(
            _dirty_vars={"x"}, _itr=None, _depends_on_deps={}, _make_dense=False, **terms
        )
        return node

    return make


@pytest.fixture
def smpl_arrays() -> dict[str, np.ndarray]:
    """A body of 30 vertices and 24 joints in SMPL's format, in double precision."""
    generator = np.random.default_rng(0)
    vertices, joints = 30, 24
    weights = generator.dirichlet(np.ones(joints), vertices)
    tree = np.stack([np.maximum(np.arange(joints) - 2, 0), np.arange(joints)])
    tree[0, 0] = 2**32 - 1
    return {
        "v_template": generator.normal(size=(vertices, 3)),
        "shapedirs": generator.normal(size=(vertices, 3, 10)),
        "posedirs": generator.normal(size=(vertices, 3, 9 * (joints - 1))),
        "J_regressor": generator.dirichlet(np.ones(vertices), joints),
        "weights": weights,
        "kintree_table": tree.astype(np.uint32),
        "f": np.arange(vertices, dtype=np.uint32).reshape(-1, 3),
    }


class OneAnswer(PointRegressor):
    """Says the same of every proxy."""

    def __init__(self, answer: Tensor):
        super().__init__(nn.Identity(), torch.eye(3).repeat(24, 1, 1), 10, "silhouette")
        self.answer = answer

    def forward(self, silhouette: Tensor, keypoints: Tensor) -> Tensor:
        return self.answer.expand(len(silhouette), -1)


class OneDistribution(Regressor):
    """Says the same of every proxy, surely of the pose and vaguely of the shape.

    Told a gender, +1 or -1, it moves the first coefficient by as much.
    """

    gendered = True

    def __init__(self, prediction: FisherPrediction):
        """Args:
        prediction: With an axis of one person.
        """
        super().__init__("silhouette", 24)
        self.prediction = prediction

    def forward(self, image: Tensor, keypoints: Tensor, gender: Tensor | None = None) -> Tensor:
        return image.new_zeros(len(image), 1) if gender is None else gender[:, None]

    def read(self, vector: Tensor) -> FisherPrediction:
        count = len(vector)
        same = map_tensors(self.prediction, lambda told: told.expand(count, *told.shape[1:]))
        shape = ShapeGaussian(
            mean=torch.cat([same.shape.mean[:, :1] + vector, same.shape.mean[:, 1:]], 1),
            factor=same.shape.factor,
        )
        return replace(same, shape=shape)


@dataclass(frozen=True)
class KnownPerson:
    """A picture of one person of whom everything is known: left arm up, turned a little."""

    template: BodyTemplate
    parameters: BodyParameters
    camera: PictureCamera
    size: tuple[int, int]
    """Height and width [px]."""
    person: Person
    """What a perfect front end would say."""

    @property
    def vertices(self) -> Tensor:
        return self.parameters.posed(self.template).vertices

    def answer(self, settings: ProxySettings | None = None) -> Tensor:
        """The vector of a perfect regressor."""
        box = make_proxy(self.person.observation(), settings or ProxySettings()).box
        shift = (self.camera.origin - box.centre) / self.camera.scale
        pose = rotmat_to_rot6d(self.parameters.rotations).flatten()
        scale = self.camera.scale / (box.side / 2)
        return torch.cat([scale[None], shift, pose, self.parameters.shape])

    def front_end(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        """Finds the person in every picture, but not in files whose names say otherwise."""
        results = []
        for picture in pictures:
            path = None if isinstance(picture, Tensor) else str(picture)
            name = Path(path or "").name
            if "explode" in name:
                raise RuntimeError("a bug of a front end")
            if "nobody" in name:
                results.append(ImageResult(path, *self.size[::-1], "no_person", "nobody here"))
            elif "broken" in name:
                results.append(ImageResult(path, 0, 0, "unreadable", f"{path}: damaged"))
            else:
                people = (self.person,) * (2 if "two" in name else 1)
                people = people[:max_people]
                results.append(ImageResult(path, *self.size[::-1], "ok", people=people))
        return results

    def predictor(self, answer: Tensor | None = None, **options: Any) -> Predictor:
        network = OneAnswer(self.answer() if answer is None else answer)
        trained = TrainedRegressor(network, ProxySettings(), "neutral", {"sha256": "0" * 64})
        return Predictor(trained, self.front_end, **({"flip": False} | options))

    def distribution(self) -> FisherPrediction:
        """The prediction of a perfect regressor that knows its doubts; one person."""
        answer = self.answer()
        generator = torch.Generator().manual_seed(3)
        factor = 0.8 * torch.eye(10) + torch.randn(10, 10, generator=generator).tril(-1) / 10
        return FisherPrediction(
            camera=WeakPerspectiveCamera.from_vector(answer[None, :3]),
            root=self.parameters.rotations[None, 0],
            joints=MatrixFisher(80 * self.parameters.rotations[None, 1:]),
            shape=ShapeGaussian(mean=self.parameters.shape[None], factor=factor[None]),
        )

    def doubting_predictor(self, **options: Any) -> Predictor:
        """Gives that prediction for every person."""
        network = OneDistribution(self.distribution())
        trained = TrainedRegressor(network, ProxySettings(), "neutral", {"sha256": "0" * 64})
        return Predictor(trained, self.front_end, **({"flip": False} | options))

    def cut(self, height: int) -> KnownPerson:
        """The same picture without its lower part."""
        logits = self.person.soft_mask.logits[:height]
        mask = replace(self.person.soft_mask, logits=logits, height=height)
        keypoints = self.person.keypoints.clone()
        keypoints[keypoints[:, 1] > height, 2] = 0
        person = replace(self.person, soft_mask=mask, keypoints=keypoints)
        return replace(self, person=person, size=(height, self.size[1]))


@pytest.fixture(scope="session")
def known_person(assets: SynthAssets) -> KnownPerson:
    size = (300, 260)
    rotations = asymmetric_pose()
    rotations[0] = axis_rotation(1, torch.tensor(0.4)) @ axis_rotation(0, torch.tensor(0.1))
    shape = torch.zeros(10)
    shape[:3] = torch.tensor([1.0, -0.5, 0.7])
    parameters = BodyParameters(shape=shape, rotations=rotations)
    camera = PictureCamera(scale=torch.tensor(120.0), origin=torch.tensor([140.0, 130.0]))
    vertices = parameters.posed(assets.template).vertices
    points = camera.project(assets.regressors.coco17 @ vertices)[:, :2]
    seen = rasterize(
        camera.project(vertices)[None], assets.template.faces, size, perspective=False
    ).mask[0]
    affine = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    mask = SoftMask(torch.where(seen, 9.0, -9.0), affine, *size)
    inside = seen.nonzero().float()
    box = torch.cat([inside.amin(0).flip(0), inside.amax(0).flip(0) + 1])
    keypoints = torch.cat([points, torch.full((17, 1), 0.9)], -1)
    person = Person(score=0.9, box=box, keypoints=keypoints, soft_mask=mask)
    return KnownPerson(assets.template, parameters, camera, size, person)


@pytest.fixture(scope="session")
def staged_3dpw(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[Any]]:
    """Two small sequences of 3DPW as published, below `raw`, and imported into `test`, 7 people;
    and what they were made of. Do not change them."""
    from plausibody.evaluate.datasets.pw3d_import import import_3dpw
    from plausibody.evaluate.datasets.pw3d_split import read_split
    from plausibody.evaluate.staged.pw3d import Staged3DPW, stage_3dpw

    folder = tmp_path_factory.mktemp("3dpw")
    sequences = stage_3dpw(folder / "raw", Staged3DPW(frames=3, size=(256, 192), smoothing=1))
    import_3dpw(read_split(folder / "raw", labels_body="open"), folder / "test")
    return folder, sequences
