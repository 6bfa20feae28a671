"""Skin that a displacement presses together, laid out evenly."""

import numpy as np
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.surfaces.laplacian import thin_plate

_PRESSED = 0.5  # a triangle with a direction in which it keeps less than this of its length is pressed together
_LAID_OUT_MM = 35.0  # as far about such triangles the displacement is made anew


def unfolding(mesh: TriangleMesh, skin: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """(n, 3) to be added to a displacement (n, 3) of a mesh, so that it no longer presses the skin (n,) bool together.

    About the triangles that it shortens to less than half the sum becomes the thin plate, Δ²d = 0, that continues the
    displacement round about in value and slope. Zero where there are none.
    """
    triangles = mesh.triangles[skin[mesh.triangles].all(axis=1)]
    pressed = np.unique(triangles[least_stretch(mesh.vertices, mesh.vertices + displacement, triangles) < _PRESSED])
    change = np.zeros_like(mesh.vertices)
    if len(pressed):
        part, kept = mesh.submesh(mesh.component_labels == mesh.component_labels[pressed[0]])
        free = (skin & (cKDTree(mesh.vertices[pressed]).query(mesh.vertices)[0] < _LAID_OUT_MM))[kept]
        energy = thin_plate(part)[free]
        change[kept[free]] = -splu(energy[:, free].tocsc()).solve(energy @ displacement[kept])
    return change


def least_stretch(before: np.ndarray, after: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(m,) the smaller principal stretch of each triangle (m, 3) between vertices before and after, both (n, 3): the smaller
    singular value of the linear map of its plane. The corners of a triangle must not lie on a line before."""
    sides = [
        np.stack([v[triangles[:, 1]] - v[triangles[:, 0]], v[triangles[:, 2]] - v[triangles[:, 0]]], axis=1)
        for v in (before, after)
    ]
    metric, deformed = (side @ side.transpose(0, 2, 1) for side in sides)
    squared = np.linalg.solve(metric, deformed)
    half = np.trace(squared, axis1=1, axis2=2) / 2
    return np.sqrt(np.maximum(half - np.sqrt(np.maximum(half**2 - np.linalg.det(squared), 0)), 0))
