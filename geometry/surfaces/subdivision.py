"""Local refinement of a triangulation as one fixed sparse matrix, so that a new shape costs one product."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

WING_WEIGHT = 1 / 16  # the butterfly scheme's tension (Dyn, Levin & Gregory 1990)


@dataclass(frozen=True)
class Subdivision:
    """matrix (N, n): coarse → fine vertex values; its first n rows are the identity, so old indices stay valid.

    triangles (M, 3) int32 of the fine mesh; parents (M,) int32: the coarse triangle each lies in; ends (N, 2) int32: the ends of
    the edge that each vertex split; of a coarse vertex it itself.
    """

    matrix: sparse.csr_matrix
    triangles: np.ndarray
    parents: np.ndarray
    ends: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        """(n, …) values at coarse vertices → (N, …) at fine vertices."""
        return self.matrix @ values

    def along(self, coarse_mask: np.ndarray) -> np.ndarray:
        """(n,) bool of coarse vertices → (N,) bool: these, and what was inserted on edges between them."""
        found = np.append(coarse_mask, np.zeros(len(self.ends) - len(coarse_mask), bool))
        while not np.array_equal(found, spread := found[self.ends].all(1)):
            found = spread
        return found


def refine_region(
    vertices: np.ndarray, triangles: np.ndarray, region: np.ndarray, edge_mm: float, levels: int = 2
) -> Subdivision:
    """Splits the edges longer than `edge_mm` inside `region`, at most `levels` times, without T-junctions.

    vertices (n, 3) mm: where lengths are measured; triangles (m, 3); region (n,) bool. New vertices interpolate
    by the butterfly scheme, so that a smooth surface stays smooth instead of becoming facets of its old triangles.
    """
    total = sparse.identity(len(vertices), format="csr")
    parents, ends = np.arange(len(triangles), dtype=np.int32), np.repeat(np.arange(len(vertices), dtype=np.int32)[:, None], 2, 1)
    for _ in range(levels):
        positions, inside = total @ vertices, total @ region.astype(float) > 0.5
        edges, triangle_edges = _edges_of(triangles, len(positions))
        length = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1)
        split = (length > edge_mm) & inside[edges].all(1)
        if not split.any():
            break
        total = (_insertion_matrix(triangles, edges[split], len(positions)) @ total).tocsr()
        new_vertex = np.full(len(edges), -1, np.int64)
        new_vertex[split] = len(positions) + np.arange(split.sum())
        triangles, source = _split_triangles(triangles, new_vertex[triangle_edges])
        parents, ends = parents[source], np.concatenate([ends, edges[split].astype(np.int32)])
    return Subdivision(total, triangles.astype(np.int32), parents, ends)


def _edges_of(triangles: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Undirected edges (e, 2), and (m, 3) the edge index of each triangle's sides ab, bc, ca."""
    sides = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
    keys, inverse = np.unique(sides[:, 0] * n + sides[:, 1], return_inverse=True)
    return np.stack(np.divmod(keys, n), 1), inverse.reshape(-1, 3)


def _opposite_lookup(triangles: np.ndarray, n: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function (i, j) → the vertex left of the half-edge i→j, −1 where there is none."""
    start = triangles.astype(np.int64).ravel()
    end, opposite = np.roll(triangles, -1, 1).astype(np.int64).ravel(), np.roll(triangles, -2, 1).ravel()
    order = np.argsort(start * n + end, kind="stable")
    keys, opposite = (start * n + end)[order], opposite[order]

    def lookup(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        wanted = np.where((i >= 0) & (j >= 0), i * n + j, -1)
        position = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[position] == wanted, opposite[position], -1)

    return lookup


def _insertion_matrix(triangles: np.ndarray, edges: np.ndarray, n: int) -> sparse.csr_matrix:
    """(n + e, n): identity above, below it one butterfly row per edge; plain midpoints where a wing is missing."""
    left_of = _opposite_lookup(triangles, n)
    a, b = edges.T
    c, d = left_of(a, b), left_of(b, a)
    wings = np.stack([left_of(c, b), left_of(a, c), left_of(d, a), left_of(b, d)], 1)
    whole = (c >= 0) & (d >= 0) & (wings >= 0).all(1)
    columns = np.concatenate([edges, np.stack([c, d], 1), wings], axis=1)
    weights = np.tile([0.5, 0.5, 2 * WING_WEIGHT, 2 * WING_WEIGHT] + [-WING_WEIGHT] * 4, (len(edges), 1))
    weights[~whole, 2:] = 0.0
    rows = np.repeat(np.arange(len(edges)), columns.shape[1])
    used = weights.ravel() != 0
    inserted = sparse.csr_matrix((weights.ravel()[used], (rows[used], columns.ravel()[used])), shape=(len(edges), n))
    return sparse.vstack([sparse.identity(n, format="csr"), inserted], format="csr")


def _split_triangles(triangles: np.ndarray, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (m, 3) with side midpoints (m, 3), −1 where a side stays whole → finer triangles and their sources."""
    count = (middle >= 0).sum(1)
    pieces, sources = [triangles[count == 0]], [np.flatnonzero(count == 0)]
    # turn each triangle so that its single split side, or the one before its single whole side, comes first
    first = np.where(count == 1, (middle >= 0).argmax(1), ((middle < 0).argmax(1) + 1) % 3)
    turn = (first[:, None] + np.arange(3)) % 3
    turned, mid = np.take_along_axis(triangles, turn, 1), np.take_along_axis(middle, turn, 1)
    (a, b, c), (ab, bc, ca) = turned.T, mid.T
    patterns = {
        1: [(a, ab, c), (ab, b, c)],
        2: [(ab, b, bc), (a, ab, bc), (a, bc, c)],
        3: [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)],
    }
    for number, corners in patterns.items():
        chosen = np.flatnonzero(count == number)
        pieces += [np.stack([corner[chosen] for corner in piece], 1) for piece in corners]
        sources += [chosen] * len(corners)
    return np.concatenate(pieces), np.concatenate(sources)
