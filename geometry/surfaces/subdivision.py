"""Local refinement of a triangulation as one fixed sparse matrix, so that a new shape costs one product."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from geometry.mesh import numbered_sides

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

    def linear(self) -> sparse.csr_matrix:
        """(N, n) coarse → fine vertex values as `matrix`, but linear along the edges that were split."""
        count = self.matrix.shape[1]
        rows = sparse.identity(count, format="csr")
        while rows.shape[0] < len(self.ends):
            ends = self.ends[rows.shape[0] :]
            known = int(np.argmax(np.append(ends.max(axis=1) >= rows.shape[0], True)))
            rows = sparse.vstack([rows, 0.5 * (rows[ends[:known, 0]] + rows[ends[:known, 1]])], format="csr")
        return rows

    def along(self, coarse_mask: np.ndarray) -> np.ndarray:
        """(n,) bool of coarse vertices → (N,) bool: these, and what was inserted on edges between them."""
        found = np.append(coarse_mask, np.zeros(len(self.ends) - len(coarse_mask), bool))
        while not np.array_equal(found, spread := found[self.ends[:, 0]] & found[self.ends[:, 1]]):
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
        edges, triangle_edges = numbered_sides(triangles, len(positions))
        length = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1)
        split = (length > edge_mm) & inside[edges[:, 0]] & inside[edges[:, 1]]
        if not split.any():
            break
        inserted = _inserted(triangles, edges, triangle_edges, split)
        total = sparse.vstack([total, inserted @ total[: inserted.shape[1]]], format="csr")
        new_vertex = np.full(len(edges), -1, np.int64)
        new_vertex[split] = len(positions) + np.arange(split.sum())
        triangles, source = _split_triangles(triangles, new_vertex[triangle_edges])
        parents, ends = parents[source], np.concatenate([ends, edges[split].astype(np.int32)])
    return Subdivision(total, triangles.astype(np.int32), parents, ends)


def _inserted(triangles: np.ndarray, edges: np.ndarray, triangle_edges: np.ndarray, split: np.ndarray) -> sparse.csr_matrix:
    """(k, n) one butterfly row per edge under split (e,) bool; plain midpoints where a wing is missing. edges (e, 2) of the
    triangles (m, 3), and triangle_edges (m, 3) those of their sides."""
    left, side = _left_of(triangles, edges, triangle_edges)
    chosen = np.flatnonzero(split)
    (a, b), (c, d) = edges[chosen].T, left[chosen].T
    wings = []
    for way, (start, end, apex) in enumerate(((a, b, c), (b, a, d))):
        triangle, place = np.divmod(side[chosen, way], 3)
        for step, backwards in ((1, apex > end), (2, start > apex)):  # its other sides, seen from outside the triangle
            wings.append(left[triangle_edges[triangle, (place + step) % 3], np.asarray(backwards, int)])
    columns = np.stack([a, b, c, d, *wings], axis=1)
    whole = np.min(columns, axis=1) >= 0
    weights = np.tile([0.5, 0.5, 2 * WING_WEIGHT, 2 * WING_WEIGHT] + [-WING_WEIGHT] * 4, (len(chosen), 1))
    used = np.ones(columns.shape, bool)
    used[:, 2:] = whole[:, None]
    begins = np.append(0, np.cumsum(used.sum(axis=1)))
    return sparse.csr_matrix((weights[used], columns[used], begins), shape=(len(chosen), int(triangles.max()) + 1))


def _left_of(triangles: np.ndarray, edges: np.ndarray, triangle_edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each edge (e, 2), looking from its first end to its second and from its second to its first: (e, 2) the vertex to the
    left, −1 where there is none, and (e, 2) the side, 3 · triangle + place, that has it."""
    left, side = np.full((len(edges), 2), -1, np.int64), np.zeros((len(edges), 2), np.int64)
    ways = np.greater(triangles, np.roll(triangles, -1, axis=1)).astype(int).ravel()[::-1]
    numbers = triangle_edges.ravel()[::-1]  # backwards: where several triangles lie to the left the first counts
    left[numbers, ways] = np.roll(triangles, -2, axis=1).ravel()[::-1]
    side[numbers, ways] = np.arange(triangles.size)[::-1]
    return left, side


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
