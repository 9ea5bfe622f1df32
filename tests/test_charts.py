"""The body's surface coordinates, from both kinds of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from plausibody.assets.topology import topology_hash
from plausibody.models.body import BodyTemplate
from plausibody.synth.charts import (
    DENSEPOSE,
    PART6_OF_24,
    PART14_OF_24,
    Chart,
    coarser_parts,
    load_chart,
)

DROPPED = (1234, 9000)


@pytest.fixture(scope="module")
def chart(template: BodyTemplate) -> Chart:
    return load_chart(template)


def densepose_fields(chart: Chart) -> dict[str, Any]:
    """Our chart in the layout that DensePose publishes, without two of its faces.

    Columns, counted from one, triangles in another order that begin with any of their corners.
    """
    generator = np.random.default_rng(0)
    faces, flat = chart.faces.numpy(), chart.faces_uv.numpy()
    owner = np.empty(len(chart.u), np.int64)
    owner[flat] = faces
    kept = generator.permutation(np.delete(np.arange(len(faces)), DROPPED))
    turns = (np.arange(3) + generator.integers(0, 3, (len(kept), 1))) % 3
    return {
        "All_FaceIndices": chart.face_part.numpy()[kept][:, None],
        "All_Faces": (np.take_along_axis(flat[kept], turns, 1) + 1).astype(np.uint32),
        "All_vertices": (owner + 1).astype(np.uint16)[None],
        "All_U": chart.u.numpy()[:, None].astype(np.float64) * 860 + 230,
        "All_V": chart.v.numpy()[:, None].astype(np.float64) * 860 + 230,
        "All_U_norm": chart.u.numpy()[:, None].astype(np.float64),
        "All_V_norm": chart.v.numpy()[:, None].astype(np.float64),
    }


def write(folder: Path, fields: dict[str, Any]) -> Path:
    path = folder / DENSEPOSE
    savemat(path, fields)
    return path


def test_every_corner_is_in_its_parts_cell(chart: Chart) -> None:
    """Cells are filled column by column, and v runs upwards in them."""
    x, y = (chart.atlas[chart.faces_uv] * torch.tensor([4.0, 6.0])).unbind(-1)
    part = chart.face_part.long()
    column, row = (part - 1) // 6, (part - 1) % 6
    assert set(part.tolist()) == set(range(1, 25))
    torch.testing.assert_close(x - column[:, None], chart.corners[..., 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(row[:, None] + 1 - y, chart.corners[..., 1], atol=1e-5, rtol=0)
    assert (chart.corners >= 0).all() and (chart.corners <= 1).all()


def test_chart_vertices_belong_to_one_vertex_and_one_part(chart: Chart) -> None:
    for of_corner in (chart.faces, chart.face_part.long()[:, None].expand(-1, 3)):
        low = torch.full((len(chart.u),), 1 << 40).scatter_reduce(
            0, chart.faces_uv.flatten(), of_corner.flatten(), "amin"
        )
        assert torch.equal(low[chart.faces_uv], of_corner)


def test_areas_fill_most_of_each_cell(chart: Chart) -> None:
    share = torch.zeros(25).index_add(0, chart.face_part.long(), chart.area)
    assert (share[1:] > 0.5).all() and (share[1:] < 1.05).all()


def test_densepose_files_give_the_same_chart(
    template: BodyTemplate, chart: Chart, tmp_path: Path
) -> None:
    read = load_chart(template, write(tmp_path, densepose_fields(chart)))
    whole = torch.ones(len(chart.faces), dtype=torch.bool)
    whole[list(DROPPED)] = False
    assert torch.equal(read.face_part[whole], chart.face_part[whole])
    assert torch.equal(read.corners[whole], chart.corners[whole])
    assert torch.equal(read.atlas[read.faces_uv][whole], chart.atlas[chart.faces_uv][whole])
    assert torch.equal(read.faces, template.faces)


def test_faces_that_the_file_lacks_join_a_neighbour(
    template: BodyTemplate, chart: Chart, tmp_path: Path
) -> None:
    read = load_chart(template, write(tmp_path, densepose_fields(chart)))
    for face in DROPPED:
        shared = torch.isin(chart.faces, chart.faces[face]).sum(1) == 2
        assert int(read.face_part[face]) in chart.face_part[shared].tolist()
    # Both lie within a part, so even their corners are found.
    gone = list(DROPPED)
    assert torch.equal(read.corners[gone], chart.corners[gone])


def test_chart_vertices_that_parts_share_are_split(
    template: BodyTemplate, chart: Chart, tmp_path: Path
) -> None:
    fields = densepose_fields(chart)
    fields["All_FaceIndices"] = fields["All_FaceIndices"].copy()
    fields["All_FaceIndices"][::2] = 25 - fields["All_FaceIndices"][::2]
    read = load_chart(template, write(tmp_path, fields))
    column = (read.atlas[read.faces_uv][..., 0] * 4 - read.corners[..., 0]).round().long()
    assert torch.equal(column, (read.face_part.long() - 1)[:, None].expand(-1, 3) // 6)


def test_without_a_path_the_chart_of_this_mesh_is_found(
    template: BodyTemplate, chart: Chart, tmp_path: Path
) -> None:
    turned = template.faces.roll(1, 1)
    other = replace(template, faces=turned, topology=topology_hash(turned.numpy()))
    with pytest.raises(FileNotFoundError, match=r"another mesh.*\n.*UV_Processed(.|\n)*DensePose"):
        load_chart(other, directories=[Path("plausibody"), *places()])
    write(tmp_path, densepose_fields(chart))
    read = load_chart(other, directories=[tmp_path, *places()])
    assert torch.equal(read.corners.roll(-1, 1)[0], chart.corners[0])
    with pytest.raises(ValueError, match="wanted a chart of the mesh"):
        load_chart(other, places()[0] / "body/charts.npz")


def places() -> list[Path]:
    from plausibody.assets.catalog import SHIPPED

    return [SHIPPED]


def test_charts_of_other_meshes_are_refused(
    template: BodyTemplate, chart: Chart, tmp_path: Path
) -> None:
    fields = densepose_fields(chart)
    fields["All_vertices"] = np.roll(fields["All_vertices"], 1)
    with pytest.raises(ValueError, match=r"wanted the 13776 triangles.*are not in it.*do: "):
        load_chart(template, write(tmp_path, fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"All_U_norm": np.full((7831, 1), 2.0)}, "wanted u of 0 to 1, came 2"),
        ({"All_V_norm": np.full((5, 1), 0.5)}, "5 v; do: take the file as published"),
        ({"All_FaceIndices": np.full((13774, 1), 25, np.uint8)}, "parts of 1 to 24"),
        ({"All_Faces": np.full((13774, 3), 9999, np.uint32)}, "do: take the file as published"),
        ({"All_vertices": np.array(["text"])}, "came none under All_vertices"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    template: BodyTemplate, chart: Chart, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_chart(template, write(tmp_path, densepose_fields(chart) | change))


def test_damaged_files_and_other_kinds_are_refused(template: BodyTemplate, tmp_path: Path) -> None:
    path = tmp_path / DENSEPOSE
    path.write_bytes(b"<html>no such file</html>" * 20)
    with pytest.raises(ValueError, match="wanted a MATLAB file, came"):
        load_chart(template, path)
    with pytest.raises(ValueError, match=r"wanted a chart as \.npz or \.mat, came \.txt"):
        load_chart(template, tmp_path / "chart.txt")
    with pytest.raises(FileNotFoundError):
        load_chart(template, tmp_path / "absent.mat")


def test_coarser_parts_join_what_belongs_together(chart: Chart, template: BodyTemplate) -> None:
    fourteen = coarser_parts(chart.face_part, PART14_OF_24)
    assert set(fourteen.tolist()) == set(range(1, 15)) and PART14_OF_24[0] == 0
    across = template.vertices[template.faces].mean(1)[:, 0]
    for left, right in ((2, 4), (3, 5), (6, 8), (7, 9), (12, 11), (14, 13)):
        assert across[fourteen == left].mean() > 0.05 > -0.05 > across[fourteen == right].mean()
    six = coarser_parts(chart.face_part, PART6_OF_24)
    for part in range(1, 15):
        assert len(set(six[fourteen == part].tolist())) == 1
