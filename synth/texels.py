"""Which place of the body each texel of a texture shows: what painting in three dimensions needs.

Parts of a texture are islands in a plane, and a stripe painted there would break at every border.
We paint by the place that a texel has on the body in its rest pose instead: garments, stripes and
noise then run over the borders as if there were none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.ndimage import distance_transform_edt

from plausibody.models.body import BodyTemplate, vertex_normals
from plausibody.models.skeleton import SMPL24
from plausibody.synth.charts import COLUMNS, ROWS, Chart
from plausibody.synth.raster import interpolate, rasterize

LANDMARKS = {
    "nose": 332,
    "left_eye": 2800,
    "right_eye": 6260,
    "left_ear": 583,
    "right_ear": 4071,
    "left_toe": 3216,
}
"""Vertices that SMPL's mesh and the open body share. Source: `smplx/vertex_ids.py`."""

_WAVES = 10
_FIELDS = 5
_NOISE_SEED = 20230117


@dataclass(frozen=True)
class Texels:
    """The texels of a texture, row by row, on the neutral body in its rest pose."""

    size: tuple[int, int]
    """Height and width [px]."""
    place: Float[ndarray, "N 3"]
    """On the body [m]; y up, facing +z. Texels that no face covers have the place of the nearest
    covered texel of their part, so that filtering never meets an unpainted one."""
    normal: Float[ndarray, "N 3"]
    """Outwards, of unit length."""
    part: Int[ndarray, " N"]
    """DensePose's part, 1..24."""
    covered: Bool[ndarray, " N"]
    """Whether a face covers the texel's centre."""
    joints: Float[ndarray, "24 3"]
    """Of the rest pose [m]."""
    landmarks: dict[str, Float[ndarray, 3]]
    """Places of `LANDMARKS` [m]."""
    floor: float
    """Height of the soles [m]."""

    def joint(self, name: str) -> Float[ndarray, 3]:
        return self.joints[SMPL24.index(name)]

    @cached_property
    def reach(self) -> Float[ndarray, " N"]:
        """Distance from the plane between left and right [m]."""
        return np.abs(self.place[:, 0])

    def on(self, *parts: int) -> Bool[ndarray, " N"]:
        """Tells which texels belong to some of DensePose's parts."""
        table = np.zeros(25, bool)
        table[list(parts)] = True
        return table[self.part]

    @cached_property
    def noise(self) -> Noise:
        """Smooth noise on the surface; costs about a second, once."""
        return Noise(self.place)


class Noise:
    """Smooth random functions of the place, of unit deviation, from a fixed stock.

    New functions are mixtures of two stored ones, on a circle: that costs two products instead of
    a sum of sines for each texel, and keeps the deviation.
    """

    BANDS = (4.0, 9.0, 20.0, 45.0, 100.0)
    """Periods per metre."""

    def __init__(self, place: Float[ndarray, "N 3"]):
        generator = np.random.default_rng(_NOISE_SEED)
        self._fields = {
            band: _plane_waves(generator, place, band, (1.0, 1.0, 1.0)) for band in self.BANDS
        }
        # Locks of hair and long folds run down the body.
        self._fields[-1.0] = _plane_waves(generator, place, 50.0, (1.0, 0.18, 1.0))
        self._fields[-2.0] = _plane_waves(generator, place, 9.0, (1.5, 0.5, 1.5))
        self._white = generator.standard_normal(len(place)).astype(np.float32)

    def band(self, band: float, mixture: tuple[int, int, float]) -> Float[ndarray, " N"]:
        """Mixes two fields of one band.

        Args:
            band: One of `BANDS`, -1 for locks of hair, -2 for folds.
            mixture: The fields' numbers, any, and the angle of the mixture [rad].
        """
        first, second, angle = mixture
        fields = self._fields[band]
        second = (first + 1 + second % (_FIELDS - 1)) % _FIELDS
        mixed: ndarray = np.cos(angle) * fields[first % _FIELDS] + np.sin(angle) * fields[second]
        return mixed.astype(np.float32)

    def white(self, shift: int) -> Float[ndarray, " N"]:
        """Gives a value of its own to each texel."""
        return np.roll(self._white, shift)


def _plane_waves(
    generator: np.random.Generator,
    place: Float[ndarray, "N 3"],
    frequency: float,
    stretch: tuple[float, float, float],
) -> Float[ndarray, "fields N"]:
    fields = []
    for _ in range(_FIELDS):
        direction = generator.normal(size=(_WAVES, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        wave = direction * np.array(stretch) * frequency * generator.uniform(0.7, 1.4, (_WAVES, 1))
        phase = generator.uniform(0, 2 * np.pi, _WAVES)
        angle = (2 * np.pi * wave).astype(np.float32) @ place.T + phase.astype(np.float32)[:, None]
        fields.append(np.sin(angle).sum(0) * np.float32(np.sqrt(2 / _WAVES)))
    return np.stack(fields)


def bake_texels(template: BodyTemplate, chart: Chart, size: tuple[int, int]) -> Texels:
    """Finds each texel's place by drawing the texture with the rasteriser.

    Args:
        template: The neutral body; lengths of garments are set on it.
        size: Height and width of the textures [px], at least 10 px a cell.
    """
    height, width = size
    if height < 10 * ROWS or width < 10 * COLUMNS or height % ROWS or width % COLUMNS:
        raise ValueError(
            f"textures.size: wanted a height divisible by {ROWS} and a width divisible by "
            f"{COLUMNS}, of at least 10 px a cell, got {height} x {width}; "
            "do: take 600 x 400 or 1200 x 800"
        )
    flat = torch.cat([chart.atlas * torch.tensor([width, height]), torch.ones(len(chart.u), 1)], 1)
    fragments = rasterize(flat[None], chart.faces_uv, size, perspective=False)
    normals = vertex_normals(template.vertices, template.faces)
    attributes = torch.cat([template.vertices, normals], 1)[None]
    surface = interpolate(fragments, attributes, template.faces)[0].permute(1, 2, 0).numpy()
    covered = fragments.mask[0].numpy()

    rows, columns = np.arange(height) * ROWS // height, np.arange(width) * COLUMNS // width
    part = (6 * columns[None, :] + rows[:, None] + 1).astype(np.int64)
    row, column = _nearest_covered(covered)
    surface = surface[row, column].reshape(-1, 6)
    length = np.linalg.norm(surface[:, 3:], axis=1, keepdims=True)
    return Texels(
        size=size,
        place=np.ascontiguousarray(surface[:, :3]),
        normal=surface[:, 3:] / np.maximum(length, 1e-6),
        part=part.ravel(),
        covered=covered.ravel(),
        joints=(template.joint_regressor @ template.vertices).numpy(),
        landmarks={name: template.vertices[at].numpy() for name, at in LANDMARKS.items()},
        floor=float(template.vertices[:, 1].min()),
    )


def _nearest_covered(
    covered: Bool[ndarray, "H W"],
) -> tuple[Int[ndarray, "H W"], Int[ndarray, "H W"]]:
    """Finds the nearest covered texel of the same cell for each texel."""
    height, width = covered.shape
    tall, wide = height // ROWS, width // COLUMNS
    rows, columns = np.empty((2, height, width), np.int64)
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            cell = np.s_[top : top + tall, left : left + wide]
            if not covered[cell].any():
                raise ValueError(
                    f"chart: wanted faces in every cell of the texture, found none in the cell at "
                    f"column {left // wide}, row {top // tall}"
                )
            nearest = distance_transform_edt(
                ~covered[cell], return_distances=False, return_indices=True
            )
            rows[cell], columns[cell] = nearest[0] + top, nearest[1] + left
    return rows, columns
