"""Skin that a displacement presses together, stretched.

Where a blendshape presses skin into a fold, another one on top, or a face of another shape, pushes the fold through itself. The
change is the least smooth field (geometry/learning/smooth_fields.py) after which no triangle keeps less than LEAST_STRETCH of its
length in any direction: the surface stays where it was as nearly as its triangles have room there.
"""

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.learning.smooth_fields import smooth_fields
from geometry.mesh import TriangleMesh
from geometry.surfaces.joined_borders import joined

LEAST_STRETCH = 0.6  # the least of 0.4, 0.5, 0.55, 0.6 with room to spare in sampled faces under an open jaw
_REACH_MM = 30.0  # as far about pressed triangles skin goes along
_TOLERANCE = 0.01
_ROUNDS = 20


def unfolding(mesh: TriangleMesh, skin: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """(n, 3) to be added to a displacement (n, 3) of a mesh, so that it no longer presses the skin (n,) bool together: as near to
    that as _ROUNDS steps come. Zero where nothing is pressed. What begins on a rim of the skin, vertex by vertex, stays on it."""
    triangles, change = mesh.triangles[skin[mesh.triangles].all(axis=1)], np.zeros_like(mesh.vertices)
    size = np.ptp(mesh.vertices[triangles], axis=1).max(axis=1)
    fields = None
    for _ in range(_ROUNDS):
        stretch, rows = least_stretch(mesh.vertices, mesh.vertices + displacement + change, triangles)
        pressed = stretch < LEAST_STRETCH
        if stretch.min(initial=1.0) > LEAST_STRETCH - _TOLERANCE:
            break
        if fields is None:
            about = cKDTree(mesh.vertices[np.unique(triangles[pressed])])
            fields = smooth_fields(mesh, skin & (about.query(mesh.vertices)[0] < _REACH_MM))
        missing = LEAST_STRETCH - stretch[pressed]
        change += fields.least(rows[pressed], size[pressed] ** 2, missing).reshape(-1, 3)
    return change[joined(mesh)]


def least_stretch(before: np.ndarray, after: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, sparse.csr_matrix]:
    """The smaller principal stretch (m,) of each triangle (m, 3) between vertices before and after, both (n, 3): the smaller
    singular value of the linear map of its plane; and (m, 3n) how it changes with the vertices after, flattened.

    Raises ValueError where the corners of a triangle lie on a line before."""
    one, other = (before[triangles[:, k]] - before[triangles[:, 0]] for k in (1, 2))
    normal = np.cross(one, other)
    if not np.all(doubled := np.linalg.norm(normal, axis=1)):
        raise ValueError(f"the corners of {(doubled == 0).sum()} triangles lie on a line")
    along = one / np.linalg.norm(one, axis=1, keepdims=True)
    across = np.cross(normal / doubled[:, None], along)
    in_plane = np.stack([[(side * axis).sum(axis=1) for side in (one, other)] for axis in (along, across)]).transpose(2, 0, 1)
    inverse = np.linalg.inv(in_plane)  # (m, 2, 2)
    sides = np.stack([after[triangles[:, k]] - after[triangles[:, 0]] for k in (1, 2)], axis=2)
    left, stretch, right = np.linalg.svd(sides @ inverse, full_matrices=False)
    of_sides = (inverse @ right[:, 1, :, None])[..., 0]  # d stretch = leftᵀ d(sides) inverse right, of the smaller one
    of_corners = np.column_stack([-of_sides.sum(axis=1), of_sides])
    values = of_corners[:, :, None] * left[:, None, :, 1]
    columns = 3 * triangles[:, :, None] + np.arange(3)
    start = np.arange(len(triangles) + 1) * 9
    rows = sparse.csr_matrix((values.ravel(), columns.ravel(), start), shape=(len(triangles), before.size))
    return stretch[:, 1], rows
