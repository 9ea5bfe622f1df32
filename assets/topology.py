"""Names a mesh topology by a hash, so that vertex-indexed files of different bodies never mix.

SMPL's files and ours have the same array shapes (6890 vertices, 13776 faces): without a name they
would load into each other as silent garbage.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def topology_hash(faces: NDArray[np.integer]) -> str:
    """Gives the first 16 hex digits of the SHA-256 of the faces as little-endian int64.

    Args:
        faces: Vertex indices of the triangles, (F, 3).
    """
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"faces: wanted an array of shape (F, 3), got {faces.shape}")
    return hashlib.sha256(np.ascontiguousarray(faces, dtype="<i8").tobytes()).hexdigest()[:16]
