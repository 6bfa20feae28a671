"""Which triangles of a mesh pass through each other.

Two triangles in general position intersect where a side of one pierces the other. Whether a segment pq pierces the triangle abc
is decided by signs of the volumes of tetrahedra: p and q lie on different sides of its plane, and the three volumes of pq with
its sides agree in sign (Guigue & Devillers, Fast and Robust Triangle-Triangle Overlap Test Using Orientation Predicates, Journal
of Graphics Tools 8, 2003). Triangles in one plane, or that only touch, count as apart.
"""

import numpy as np
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh


def intersecting_triangles(mesh: TriangleMesh) -> np.ndarray:
    """(p, 2) indices of the pairs of triangles without a common vertex that intersect: each once, smaller index first, sorted."""
    pairs = _near_pairs(mesh.vertices[mesh.triangles])
    first, second = mesh.triangles[pairs[:, 0]], mesh.triangles[pairs[:, 1]]
    pairs = pairs[~(first[:, :, None] == second[:, None]).any(axis=(1, 2))]
    one, other = (mesh.vertices[mesh.triangles[side]] for side in pairs.T)
    across = _crosses_plane(one, other) & _crosses_plane(other, one)
    pairs, one, other = pairs[across], one[across], other[across]
    pierced = np.zeros(len(pairs), bool)
    for k in range(3):
        pierced |= _pierces(one[:, k], one[:, (k + 1) % 3], other) | _pierces(other[:, k], other[:, (k + 1) % 3], one)
    return np.unique(pairs[pierced], axis=0)


def _near_pairs(corners: np.ndarray) -> np.ndarray:
    """corners (m, 3, 3) → (p, 2) pairs, smaller index first, whose axis-parallel boxes overlap.

    Both centroids are within twice the larger triangle's radius, so triangles of one octave of size look for those not larger.
    """
    centroid = corners.mean(axis=1)
    radius = np.linalg.norm(corners - centroid[:, None], axis=2).max(axis=1)
    octave = np.floor(np.log2(np.maximum(radius, 1e-12))).astype(int)
    found = [np.zeros((0, 2), np.int64)]
    for level in np.unique(octave):
        own, smaller = np.flatnonzero(octave == level), np.flatnonzero(octave < level)
        tree, reach = cKDTree(centroid[own]), 2 * radius[own].max()
        found.append(own[tree.query_pairs(reach, output_type="ndarray")])
        if len(smaller):
            near = tree.sparse_distance_matrix(cKDTree(centroid[smaller]), reach, output_type="ndarray")
            found.append(np.stack([own[near["i"]], smaller[near["j"]]], axis=1))
    pairs = np.sort(np.concatenate(found), axis=1)
    low, high = corners.min(axis=1), corners.max(axis=1)
    for axis in range(3):
        a, b = pairs.T
        pairs = pairs[(low[a, axis] <= high[b, axis]) & (low[b, axis] <= high[a, axis])]
    return pairs


def _crosses_plane(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(p,) bool: triangles `one` (p, 3, 3) have corners on both sides of the plane of `other`."""
    side = _volume(other[:, :1], other[:, 1:2], other[:, 2:], one)
    return (side.min(axis=1) < 0) & (side.max(axis=1) > 0)


def _pierces(p: np.ndarray, q: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    """(m,) bool: the segment from p to q (m, 3) passes through the triangle (m, 3, 3)."""
    a, b, c = triangle[:, 0], triangle[:, 1], triangle[:, 2]
    opposite = _volume(a, b, c, p) * _volume(a, b, c, q) < 0
    turns = np.stack([_volume(p, q, a, b), _volume(p, q, b, c), _volume(p, q, c, a)])
    return opposite & ((turns > 0).all(axis=0) | (turns < 0).all(axis=0))


def _volume(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Six times the signed volume of the tetrahedra abcd, corners (…, 3)."""
    return (np.cross(b - a, c - a) * (d - a)).sum(axis=-1)
