"""Where a mesh's surface lies in its texture."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TextureLayout:
    """uv (t, 2) in [0, 1], u to the right and v up; triangles (m, 3) int32: the rows of `uv` at the corners of each of the
    mesh's triangles, counter-clockwise in the plane; corner_vertex (t,): the mesh's vertex at each row.

    A vertex on a seam has several rows. The mirror image of a surface point at (u, v) lies at (1 - u, v).
    """

    uv: np.ndarray
    triangles: np.ndarray
    corner_vertex: np.ndarray
