"""Triangles that look sideways to what is about them, laid out anew across their longest side."""

import numpy as np

from geometry.mesh import TriangleMesh

SIDEWAYS = 0.3  # cosine of a triangle's normal and the mean normal about it
RINGS = 2  # of vertices about a triangle's corners over which that is


def cosines_about(mesh: TriangleMesh) -> np.ndarray:
    """(m,) of each triangle's normal and the mean normal by area over two rings of vertices about its corners; 1 where either has
    no length."""
    areas, corners = mesh.triangle_area_vectors, mesh.triangles
    about = np.stack([np.bincount(corners.ravel(), np.repeat(axis, 3), len(mesh.vertices)) for axis in areas.T], axis=1)
    for _ in range(RINGS):
        about = about + mesh.adjacency @ about
    mean = about[corners].sum(axis=1)
    lengths = np.linalg.norm(areas, axis=1) * np.linalg.norm(mean, axis=1)
    return np.where(lengths > 0, (areas * mean).sum(axis=1) / np.where(lengths > 0, lengths, 1), 1.0)


def swapped(mesh: TriangleMesh, may: np.ndarray) -> np.ndarray:
    """Triangles (m, 3) of the mesh, of which those under `may` (m,) bool that look sideways give up their longest side: with the
    triangle beyond it, where that may and both look more like what is about them then, they are cut along the other diagonal.
    Orientation and numbers stay; a triangle takes part in one such swap at most."""
    triangles, cosines = mesh.triangles.copy(), cosines_about(mesh)
    taken = np.zeros(len(triangles), bool)
    for number in np.flatnonzero(may & (cosines < SIDEWAYS)):
        a, b, c = _longest_first(mesh.vertices, triangles[number])
        beyond = np.flatnonzero((triangles == a).any(axis=1) & (triangles == b).any(axis=1) & may & ~taken)
        beyond = beyond[beyond != number]
        if taken[number] or len(beyond) != 1:
            continue
        pair = np.array([number, beyond[0]])
        apex = np.setdiff1d(triangles[beyond[0]], [a, b])[0]
        tried = triangles.copy()
        tried[pair] = [[c, a, apex], [c, apex, b]]
        if cosines_about(TriangleMesh(mesh.vertices, tried))[pair].min() > cosines[pair].min():
            triangles, taken[pair] = tried, True
    return triangles


def _longest_first(vertices: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The corners (3,) in the same sense, so that the side from the first to the second is the longest."""
    lengths = np.linalg.norm(vertices[np.roll(corners, -1)] - vertices[corners], axis=1)
    return np.roll(corners, -int(lengths.argmax()))
