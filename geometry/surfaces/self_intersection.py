"""Which triangles of a mesh pass through each other.

Two triangles in general position intersect where a side of one pierces the other. Whether a segment pq pierces the triangle abc
is decided by signs of the volumes of tetrahedra: p and q lie on different sides of its plane, and the three volumes of pq with
its sides agree in sign (Guigue & Devillers, Fast and Robust Triangle-Triangle Overlap Test Using Orientation Predicates, Journal
of Graphics Tools 8, 2003). Triangles in one plane, or that only touch, count as apart.
"""

import numpy as np

from geometry.mesh import TriangleMesh
from geometry.surfaces.patches import touching


def intersecting_triangles(mesh: TriangleMesh) -> np.ndarray:
    """(p, 2) indices of the pairs of triangles without a common vertex that intersect: each once, smaller index first, sorted."""
    corners = mesh.vertices[mesh.triangles]
    pairs = _near_pairs(corners)
    pairs = pairs[~_neighbours(mesh.triangles[pairs[:, 0]], mesh.triangles[pairs[:, 1]])]
    one, other = corners[pairs[:, 0]], corners[pairs[:, 1]]
    of_one, of_other = _sides(one, other), _sides(other, one)
    across = np.flatnonzero(_differ(of_one) & _differ(of_other))
    pairs, one, other = pairs[across], one[across], other[across]
    pierced = _pierced(one, of_one[across], other) | _pierced(other, of_other[across], one)
    return np.unique(pairs[pierced], axis=0)


def _near_pairs(corners: np.ndarray) -> np.ndarray:
    """corners (m, 3, 3) → (p, 2) pairs, smaller index first, whose axis-parallel boxes overlap."""
    if not len(corners):
        return np.zeros((0, 2), np.int64)
    a, b, c = (np.ascontiguousarray(corners[:, k]) for k in range(3))
    low, high = (extreme(extreme(a, b), c) for extreme in (np.minimum, np.maximum))
    centre = (low + high) / 2
    reach = [np.einsum("ij,ij->i", corner - centre, corner - centre) for corner in (a, b, c)]
    one, other = touching(centre, np.sqrt(np.maximum(np.maximum(reach[0], reach[1]), reach[2])))
    apart = (low[one] > high[other]) | (low[other] > high[one])
    together = ~(apart[:, 0] | apart[:, 1] | apart[:, 2])
    one, other = one[together], other[together]
    return np.stack([np.minimum(one, other), np.maximum(one, other)], axis=1)


def _neighbours(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(p,) bool: whether triangles (p, 3) share a vertex."""
    share = np.zeros(len(first), bool)
    for mine in first.T:
        for theirs in second.T:
            share |= mine == theirs
    return share


def _sides(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(p, 3): where the corners of triangles `one` (p, 3, 3) lie from the planes of `other`: volumes of tetrahedra."""
    a, b, c = (other[:, k] for k in range(3))
    normal = cross(b - a, c - a)
    return np.stack([np.einsum("ij,ij->i", normal, one[:, k] - a) for k in range(3)], axis=1)


def _differ(sides: np.ndarray) -> np.ndarray:
    """(p,) bool: of the sides (p, 3) some are before and some behind."""
    before, behind = sides > 0, sides < 0
    return (before[:, 0] | before[:, 1] | before[:, 2]) & (behind[:, 0] | behind[:, 1] | behind[:, 2])


def _pierced(one: np.ndarray, sides: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(p,) bool: a side of `one` (p, 3, 3), whose corners lie on these `sides` (p, 3) of the other's planes, passes through
    `other`."""
    found = np.zeros(len(one), bool)
    for k in range(3):
        which = np.flatnonzero(sides[:, k] * sides[:, k - 1] < 0)
        p, q = one[which, k], one[which, k - 1]
        a, b, c = (other[which, corner] for corner in range(3))
        turns = np.stack([_volume(p, q, *ends) for ends in ((a, b), (b, c), (c, a))])
        found[which] |= (turns > 0).all(axis=0) | (turns < 0).all(axis=0)
    return found


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As numpy's, of vectors (k, 3) only and without what it spends on others."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)


def _volume(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Six times the signed volume of the tetrahedra abcd, corners (k, 3)."""
    return np.einsum("ij,ij->i", cross(b - a, c - a), d - a)
