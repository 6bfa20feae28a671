"""How much room a surface has before it and behind it."""

import numpy as np
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh

LARGEST_MM = 12.0
ROUNDS = 12


def room_along_normals(mesh: TriangleMesh, sign: int = 1) -> np.ndarray:
    """(n,) mm, at most `LARGEST_MM`: the radius of the largest ball that touches the mesh at a vertex, on the side of its normal
    (sign 1) or behind it (−1), and has no other vertex inside (a medial ball; shrinking ball algorithm of Ma, Bae & Choi, The
    Visual Computer 28, 2012). Points moved along their normals by less than half of it do not meet. A vertex without triangles
    is no part of the surface: it takes no room, and has all."""
    vertices, normals = mesh.vertices, sign * mesh.vertex_normals
    active = np.unique(mesh.triangles)
    surface, radius = vertices[active], np.full(len(vertices), LARGEST_MM)
    if not len(active):
        return radius
    tree = cKDTree(surface)
    for _ in range(ROUNDS):
        distance, nearest = tree.query(vertices[active] + radius[active, None] * normals[active])
        across = surface[nearest] - vertices[active]
        height = (across * normals[active]).sum(axis=1)
        inside = (height > 1e-6) & (distance < 0.995 * radius[active])
        smaller = np.where(inside, (across**2).sum(axis=1) / (2 * np.maximum(height, 1e-9)), radius[active])
        shrunk = smaller < radius[active] - 1e-4
        radius[active] = np.minimum(radius[active], smaller)
        active = active[shrunk]
        if not len(active):
            break
    return radius
