"""Bodies of SMPL's format and mesh train like the open body, with files as published beside them.

SMPL itself cannot be here. Its stand-in is the open body with its vertices in another order, but
for those that both meshes are known to share: of all that ships nothing fits it any more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.io import savemat
from torch import Tensor

from plausibody.assets.catalog import SHIPPED, find_asset
from plausibody.config import override
from plausibody.models.body import BodyTemplate, pose_body, regress
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.markers import Markers
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import ProxySettings
from plausibody.models.skeleton import COCO17, SMPL24
from plausibody.presets import preset
from plausibody.synth.chance import Chance
from plausibody.synth.charts import DENSEPOSE, Chart, load_chart
from plausibody.synth.coarse import CoarseBody, cluster_mesh
from plausibody.synth.generator import BatchGenerator, StreamSettings
from plausibody.synth.hierprob import HierprobSettings
from plausibody.synth.joint_regressor_coco import sample_bodies
from plausibody.synth.joint_regressor_published import FARTHEST, H36M
from plausibody.synth.poses import load_poses
from plausibody.synth.raster import rasterize_labels
from plausibody.synth.stores import (
    SourceSettings,
    SynthAssets,
    load_assets,
    load_coco17,
    load_regressors,
)
from plausibody.synth.straps import StrapsSettings
from plausibody.synth.texels import LANDMARKS
from plausibody.training.trainer import Trainer

COUNT, SIZE = 24, 96
TEXTURES = "smpl_train_textures.npz"


@dataclass(frozen=True)
class Smpl:
    """A folder like train_files, and how its body's vertices lie in the open one's."""

    folder: Path
    order: np.ndarray
    """The open body's vertex at each place."""

    @property
    def directories(self) -> list[Path]:
        return [self.folder, SHIPPED]


def shuffled(template: BodyTemplate) -> np.ndarray:
    fixed = np.array(list(LANDMARKS.values()))
    free = np.setdiff1d(np.arange(len(template.vertices)), fixed)
    order = np.arange(len(template.vertices))
    order[free] = np.random.default_rng(0).permutation(free)
    return order


def body_arrays(template: BodyTemplate, order: np.ndarray) -> dict[str, np.ndarray]:
    """The body with other numbers for its vertices, and ten shapes, under SMPL's names."""
    return {
        "v_template": template.vertices.numpy()[order],
        "shapedirs": template.shape_directions.numpy()[order][..., :10],
        "posedirs": template.pose_directions.numpy()[order],
        "J_regressor": template.joint_regressor.numpy()[:, order],
        "weights": template.skinning_weights.numpy()[order],
        "kintree_table": np.array([template.parents, range(24)]),
        "f": np.argsort(order)[template.faces.numpy()],
    }


def chart_fields(chart: Chart, faces: np.ndarray) -> dict[str, np.ndarray]:
    """A chart in DensePose's layout, for a mesh with the same faces in the same order."""
    owner = np.empty(len(chart.u), np.int64)
    owner[chart.faces_uv.numpy()] = faces
    return {
        "All_FaceIndices": chart.face_part.numpy()[:, None],
        "All_Faces": (chart.faces_uv.numpy() + 1).astype(np.uint32),
        "All_vertices": (owner + 1).astype(np.uint16)[None],
        "All_U_norm": chart.u.numpy()[:, None].astype(np.float64),
        "All_V_norm": chart.v.numpy()[:, None].astype(np.float64),
    }


def write_textures(path: Path) -> None:
    """Two colourful textures and a grey one, smooth, so that they pack well."""
    y, x = np.mgrid[:1200, :800]
    waves = [np.sin(x / 90 + k) * np.cos(y / (70 + 9 * k)) * 100 + 128 for k in range(6)]
    colours = np.stack([np.stack(waves[k : k + 3], -1) for k in (0, 3)]).astype(np.uint8)
    grey = np.repeat(colours[:1, ..., :1], 3, axis=-1)
    np.savez_compressed(path, nongrey=colours, grey=grey)


@pytest.fixture(scope="module")
def smpl(template: BodyTemplate, tmp_path_factory: pytest.TempPathFactory) -> Smpl:
    """Everything that one downloads for SMPL; do not change it."""
    folder, order = tmp_path_factory.mktemp("train_files"), shuffled(template)
    arrays = body_arrays(template, order)
    (folder / "smpl").mkdir()
    np.savez(folder / "smpl" / "SMPL_NEUTRAL.npz", **arrays)
    savemat(folder / DENSEPOSE, chart_fields(load_chart(template), arrays["f"]))
    joints = load_regressors(template).h36m17.numpy()[:, order].astype(np.float64)
    np.save(folder / H36M, joints)
    write_textures(folder / TEXTURES)
    return Smpl(folder, order)


def sources(smpl: Smpl, body: str) -> SourceSettings:
    textures = str(smpl.folder / TEXTURES)
    return SourceSettings(body=body, textures=textures, backgrounds="procedural")


@pytest.fixture(scope="module")
def foreign(smpl: Smpl) -> SynthAssets:
    return load_assets(
        "val", directories=smpl.directories, sources=sources(smpl, "smpl"), coloured=True
    )


@pytest.fixture(scope="module")
def ours(smpl: Smpl) -> SynthAssets:
    return load_assets("val", sources=sources(smpl, "open"), coloured=True)


@pytest.fixture
def copy(smpl: Smpl, tmp_path: Path) -> Smpl:
    """The same files in a folder of the test's own."""
    for path in smpl.folder.rglob("*"):
        if path.is_file():
            link = tmp_path / path.relative_to(smpl.folder)
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(path)
    return Smpl(tmp_path, smpl.order)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of masks, or of soft ones, each with its counterpart."""
    both, either = torch.minimum(one, other), torch.maximum(one, other)
    return both.sum((1, 2)) / either.sum((1, 2)).clamp(min=1)


def test_key_points_need_no_file_but_the_bodys(
    smpl: Smpl, foreign: SynthAssets, ours: SynthAssets
) -> None:
    bare = [smpl.folder / "smpl", SHIPPED]
    assert torch.equal(load_coco17(foreign.template, bare), foreign.regressors.coco17)
    assert torch.equal(load_coco17(ours.template, bare), ours.regressors.coco17)


def test_what_hangs_on_the_mesh_is_that_of_the_open_body(
    smpl: Smpl, foreign: SynthAssets, ours: SynthAssets
) -> None:
    order = torch.from_numpy(smpl.order)
    assert foreign.template.topology != ours.template.topology
    assert torch.equal(order[foreign.template.faces], ours.template.faces)
    assert torch.equal(foreign.part24, ours.part24)
    assert torch.equal(foreign.regressors.h36m17, ours.regressors.h36m17[:, order])
    assert foreign.looks is not None and ours.looks is not None
    assert torch.equal(foreign.looks.chart.corners, ours.looks.chart.corners)
    assert torch.equal(foreign.looks.mipmaps.texels, ours.looks.mipmaps.texels)


def test_key_points_of_limbs_stay_on_the_kinematic_joints(foreign: SynthAssets) -> None:
    """Held-out people in held-out shapes; the mean of each joint is measured at 2 to 5.5 mm."""
    held_out = load_poses(find_asset("poses/cmu.h5"), "test")
    bodies = sample_bodies(foreign.template, held_out, Chance(7, torch.arange(300)))
    rows = foreign.regressors.coco17
    found = regress(rows.double(), bodies.vertices)
    for place, name in enumerate(COCO17[5:], start=5):
        error = (found[:, place] - bodies.joints[:, SMPL24.index(name)]).norm(dim=-1)
        assert error.mean() < 0.006 and error.quantile(0.95) < 0.012, name
    torch.testing.assert_close(rows.sum(1), torch.ones(17), atol=1e-6, rtol=0)
    assert (rows >= 0).all()
    assert ((rows != 0).sum(1) <= 20).all()  # small networks pose only these vertices
    for place, name in enumerate(COCO17[:5]):
        assert rows[place].nonzero().tolist() == [[LANDMARKS[name]]]


def test_fitted_rows_depend_on_nothing_but_the_body(smpl: Smpl, foreign: SynthAssets) -> None:
    again = load_regressors(foreign.template, smpl.directories)
    assert torch.equal(again.coco17, foreign.regressors.coco17)


def drawn(body: CoarseBody, parameters: BodyParameters) -> Tensor:
    posed = pose_body(body.skin, parameters.shape, parameters.rotations).vertices[:, : body.drawn]
    many = len(posed)
    camera = PerspectiveCamera(
        focal=torch.full((many,), 280.0),
        principal=torch.full((many, 2), 56.0),
        translation=torch.tensor([[0.0, 0.0, 6.0]]).expand(many, 3),
    )
    return rasterize_labels(camera.project(posed), body.faces, body.part24, (112, 112))


def test_the_coarse_mesh_looks_as_ours_does(
    foreign: SynthAssets, ours: SynthAssets, template: BodyTemplate
) -> None:
    whole = CoarseBody(
        skin=ours.template.skin, faces=ours.template.faces, part24=ours.part24,
        coco17=ours.regressors.coco17, drawn=len(template.vertices),
    )  # fmt: skip
    recipe = StreamSettings(recipe="straps", straps=StrapsSettings(size=SIZE))
    batch = BatchGenerator.of(recipe, ProxySettings(size=SIZE), ours, COUNT)[0]
    parameters = batch.target.parameters
    full, coarse = drawn(whole, parameters), drawn(foreign.coarse, parameters)
    assert overlap((coarse > 0).float(), (full > 0).float()).mean() > 0.97
    both = (coarse > 0) & (full > 0)
    assert (coarse == full)[both].float().mean() > 0.93  # all but their borders
    # Closed and wound alike: each edge is met once in each direction.
    faces = foreign.coarse.faces
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forth = {tuple(edge) for edge in edges.tolist()}
    back = {(b, a) for a, b in forth}
    assert len(forth & back) > 0.98 * len(forth)


def test_supervised_vertices_are_spread_as_ours(foreign: SynthAssets, ours: SynthAssets) -> None:
    assert foreign.supervised.shape == ours.supervised.shape
    gaps = [
        torch.cdist(assets.template.vertices, assets.template.vertices[assets.supervised])
        .amin(1)
        .amax()
        for assets in (foreign, ours)
    ]
    assert gaps[0] < 1.05 * gaps[1]


def stream(assets: SynthAssets, settings: StreamSettings) -> Any:
    return BatchGenerator.of(settings, ProxySettings(size=SIZE), assets, COUNT)[0]


def test_hierprob_draws_the_same_pictures(foreign: SynthAssets, ours: SynthAssets) -> None:
    channels = ("rgb", "silhouette", "part24", "iuv")
    settings = StreamSettings(
        recipe="hierprob", hierprob=HierprobSettings(size=SIZE, channels=channels)
    )
    theirs, mine = stream(foreign, settings), stream(ours, settings)
    assert torch.equal(theirs.target.parameters.rotations, mine.target.parameters.rotations)
    assert torch.equal(theirs.target.parameters.shape, mine.target.parameters.shape)
    assert overlap(theirs.channels["silhouette"], mine.channels["silhouette"]).min() > 0.99
    assert (theirs.channels["part24"] == mine.channels["part24"]).float().mean() > 0.9999
    assert (theirs.channels["rgb"] - mine.channels["rgb"]).abs().mean() < 1e-5
    assert (theirs.channels["iuv"] - mine.channels["iuv"]).abs().mean() < 1e-4
    # Of a crop 2 wide: what is clicked of the open body is not the joint, by 2 to 3 cm.
    assert (theirs.target.keypoints - mine.target.keypoints).norm(dim=-1).mean() < 0.03


@pytest.mark.parametrize("recipe", ["straps", "lasor"])
def test_silhouettes_are_the_same(foreign: SynthAssets, ours: SynthAssets, recipe: str) -> None:
    # Noise is drawn vertex by vertex, and so would differ.
    straps = StrapsSettings(size=SIZE, vertex_noise=0.0)
    settings = StreamSettings(recipe=recipe, straps=straps)
    settings = dataclasses.replace(
        settings,
        lasor=dataclasses.replace(
            settings.lasor,
            straps=dataclasses.replace(settings.lasor.straps, size=SIZE, vertex_noise=0.0),
        ),
    )
    theirs, mine = stream(foreign, settings), stream(ours, settings)
    assert torch.equal(theirs.target.parameters.rotations, mine.target.parameters.rotations)
    if recipe == "straps":
        assert overlap(theirs.proxy.silhouette, mine.proxy.silhouette).min() > 0.99
    else:
        # What covers people is sought with the coarse mesh; few boxes change by it.
        assert overlap(theirs.channels["amodal"], mine.channels["amodal"]).mean() > 0.99


def test_lite_sees_the_same_people(foreign: SynthAssets, ours: SynthAssets) -> None:
    settings = StreamSettings(recipe="lite")
    theirs, mine = stream(foreign, settings), stream(ours, settings)
    assert torch.equal(theirs.target.parameters.rotations, mine.target.parameters.rotations)
    same = overlap(theirs.proxy.silhouette, mine.proxy.silhouette)
    assert same.median() > 0.9
    away = (theirs.target.keypoints - mine.target.keypoints).norm(dim=-1)
    assert away.median() < 0.05


def test_vertices_and_joints_to_learn_are_the_same(foreign: SynthAssets, ours: SynthAssets) -> None:
    batch = stream(ours, StreamSettings(recipe="straps", straps=StrapsSettings(size=SIZE)))
    theirs, mine = (
        Markers.of(assets.template, assets.regressors, assets.supervised)(batch.target.parameters)
        for assets in (foreign, ours)
    )
    torch.testing.assert_close(theirs.joints, mine.joints, atol=1e-5, rtol=0)
    torch.testing.assert_close(theirs.h36m, mine.h36m, atol=1e-5, rtol=0)
    assert (theirs.coco - mine.coco).norm(dim=-1).mean() < 0.03


def test_pickles_as_published_give_the_same_stream(
    copy: Smpl,
    template: BodyTemplate,
    foreign: SynthAssets,
    chumpy: Callable[..., Any],
    python2_pickle: Callable[[Any, int], bytes],
) -> None:
    arrays: dict[str, Any] = body_arrays(template, copy.order)
    arrays["shapedirs"] = chumpy("ch.Ch", x=arrays["shapedirs"])
    arrays["J_regressor"] = scipy.sparse.csc_matrix(arrays["J_regressor"])
    (copy.folder / "smpl" / "SMPL_NEUTRAL.npz").unlink()
    (copy.folder / "smpl" / "SMPL_NEUTRAL.pkl").write_bytes(python2_pickle(arrays, 2))
    read = load_assets("val", directories=copy.directories, sources=SourceSettings(body="smpl"))
    assert read.template.topology == foreign.template.topology
    assert torch.equal(read.template.vertices, foreign.template.vertices)
    assert torch.equal(read.regressors.coco17, foreign.regressors.coco17)
    assert torch.equal(read.coarse.faces, foreign.coarse.faces)


def test_a_file_of_the_open_mesh_uses_what_ships(ours: SynthAssets) -> None:
    path = str(SHIPPED / "body" / "open_neutral.npz")
    read = load_assets("val", sources=SourceSettings(body=path), directories=[SHIPPED])
    assert torch.equal(read.regressors.coco17, ours.regressors.coco17)
    assert torch.equal(read.coarse.faces, ours.coarse.faces)


def test_the_body_is_a_setting_of_a_run() -> None:
    config = override(preset("straps"), {"sources.body": "smpl"})
    assert preset("straps").sources.body == "open" and config.sources.body == "smpl"


@pytest.mark.parametrize("method", ["lite", "straps"])
def test_networks_train_on_it(foreign: SynthAssets, method: str) -> None:
    config = override(
        preset(method),
        {
            "train.precision": "32-true",
            "train.batch_size": 4,
            "proxy.size": 32,
            f"stream.{method}.{'frame' if method == 'lite' else 'size'}": 32,
        },
    )
    trainer = Trainer(config, foreign, "cpu")
    batches = BatchGenerator(config, foreign)
    parts = trainer.train_step(trainer.prepare(batches[0]))
    assert all(value.isfinite().all() for value in parts.values())


def load(smpl: Smpl, body: str = "smpl", gender: str = "neutral") -> SynthAssets:
    return load_assets(
        "val", gender, directories=smpl.directories, sources=SourceSettings(body=body)
    )


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("smpl/SMPL_NEUTRAL.npz", "wanted a folder with a neutral body"),
        (DENSEPOSE, r"wanted UV_Processed\.mat, found it in none(.|\n)*DensePose"),
        (H36M, r"wanted J_regressor_h36m\.npy, found it in none(.|\n)*SPIN"),
    ],
)
def test_missing_files_are_named(copy: Smpl, missing: str, message: str) -> None:
    (copy.folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        load(copy)


def replace_file(smpl: Smpl, name: str) -> Path:
    (smpl.folder / name).unlink()
    return smpl.folder / name


def test_joints_of_another_mesh_are_refused(copy: Smpl, ours: SynthAssets) -> None:
    np.save(replace_file(copy, H36M), ours.regressors.h36m17.numpy())
    with pytest.raises(ValueError, match=r"within 12 cm .*different meshes; do: use this file"):
        load(copy)


def test_joints_in_another_order_are_refused(copy: Smpl, foreign: SynthAssets) -> None:
    """Left for right, as in Human3.6M's own order: ankles are farther apart than that."""
    turned = foreign.regressors.h36m17[[0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]]
    np.save(replace_file(copy, H36M), turned.numpy())
    with pytest.raises(ValueError, match=rf"within {FARTHEST * 100:.0f} cm of the body's own"):
        load(copy)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((17, 6889), 1 / 6889), r"wanted floats \(K, 6890\), came float64 \(17, 6889\)"),
        (np.full((19, 6890), 1 / 6890), "wanted 17 joints, came 19"),
        (np.zeros((17, 6890)), "rows that sum to one, came 1 off"),
        (np.full((17, 6890), np.nan), "rows that sum to one, came nan off"),
        (np.zeros((17, 6890), int), "wanted floats .* came int64"),
        (np.full((17, 6890), 1 / 6890), "within 12 cm"),
    ],
)
def test_wrong_joint_files_are_refused(copy: Smpl, rows: np.ndarray, message: str) -> None:
    np.save(replace_file(copy, H36M), rows)
    with pytest.raises(ValueError, match=message):
        load(copy)


@pytest.mark.parametrize("content", [b"", b"<html>no such file</html>", b"PK\x03\x04 cut"])
def test_damaged_joint_files_are_refused(copy: Smpl, content: bytes) -> None:
    replace_file(copy, H36M).write_bytes(content)
    with pytest.raises(ValueError, match=r"J_regressor_h36m\.npy: wanted floats .*do: download"):
        load(copy)


def test_charts_of_another_mesh_are_refused(copy: Smpl, template: BodyTemplate) -> None:
    fields = chart_fields(load_chart(template), template.faces.numpy())
    savemat(replace_file(copy, DENSEPOSE), fields)
    with pytest.raises(ValueError, match=r"wanted the 13776 triangles.*are not in it"):
        load(copy)


def test_bodies_of_another_mesh_are_refused(copy: Smpl, template: BodyTemplate) -> None:
    """One of SMPL's size and format, all of whose files fit each other, but with other numbers."""
    order = np.random.default_rng(1).permutation(len(template.vertices))
    arrays = body_arrays(template, order)
    np.savez(replace_file(copy, "smpl/SMPL_NEUTRAL.npz"), **arrays)
    savemat(replace_file(copy, DENSEPOSE), chart_fields(load_chart(template), arrays["f"]))
    joints = load_regressors(template).h36m17.numpy()[:, order]
    np.save(replace_file(copy, H36M), joints)
    with pytest.raises(ValueError, match="wanted SMPL's mesh, with nose, eyes and ears at"):
        load(copy)


def test_a_body_of_another_gender_is_refused(copy: Smpl) -> None:
    source = copy.folder / "smpl" / "SMPL_NEUTRAL.npz"
    (copy.folder / "smpl_female.npz").symlink_to(source.resolve())
    with pytest.raises(ValueError, match="wanted a neutral body, came a female .*gender=female"):
        load(copy, str(copy.folder / "smpl_female.npz"))
    read = load(copy, str(copy.folder / "smpl_female.npz"), "female")
    assert read.template.gender == "female"


def test_clusters_need_every_vertex_on_a_face() -> None:
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [5, 5, 5]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    with pytest.raises(ValueError, match="came 1 that do not"):
        cluster_mesh(corners, faces, 3)
    whole = cluster_mesh(corners[:4], faces, 4)
    assert whole.kept.tolist() == [0, 1, 2, 3] and whole.faces.tolist() == faces.tolist()
    crumb = np.concatenate([corners[:4], corners[:4] / 100 + [0, 0.95, 0]])  # within a patch
    pieces = cluster_mesh(crumb, np.concatenate([faces, faces + 4]), 4)
    assert pieces.kept.tolist() == [0, 1, 2, 3] and pieces.faces.tolist() == faces.tolist()
