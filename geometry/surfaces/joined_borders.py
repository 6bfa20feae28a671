"""Pieces of a mesh whose borders lie vertex on vertex: skin and lining at the lips, lids and eyeballs."""

import numpy as np
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh

_COINCIDENT_MM = 1e-3


def joined(mesh: TriangleMesh) -> np.ndarray:
    """(n,) for a vertex on a border the first of the border's vertices at its place; other vertices are their own."""
    border = np.flatnonzero(mesh.boundary_vertices)
    first = np.arange(len(mesh.vertices))
    for one, other in sorted(cKDTree(mesh.vertices[border]).query_pairs(_COINCIDENT_MM)):
        first[border[other]] = min(first[border[other]], first[border[one]])
    return first
