"""The outer skin of a source model as a disc: clipped, cut and its openings closed by patches, all of it linear in the source.

Every vertex of a `Skin` is a fixed linear combination of source vertices (a row of `weights`), plus a small `lift`, so that a
shape of the source carries over exactly. Only the half x ≥ 0 is built; the template mirrors it.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.surfaces.subdivision import refine_region

_LEAST_LEVEL = 1e-6
MIDLINE_MM = 1e-2  # closer to x = 0 than this is on it


@dataclass(frozen=True)
class Skin:
    """weights (k, n_source) csr, rows sum to 1; lift (k, 3) mm added to the mean; triangles (m, 3) and their part (m,), 0 is
    skin."""

    weights: sparse.csr_matrix
    lift: np.ndarray
    triangles: np.ndarray
    part: np.ndarray

    def points(self, source_mean: np.ndarray) -> np.ndarray:
        """(k, 3) positions on the source's mean."""
        return self.weights @ source_mean + self.lift

    def compacted(self) -> "Skin":
        """Without the vertices that no triangle uses."""
        kept, inverse = np.unique(self.triangles, return_inverse=True)
        return Skin(self.weights[kept], self.lift[kept], inverse.reshape(-1, 3).astype(np.int32), self.part)

    def with_patch(self, rows: sparse.spmatrix, lift: np.ndarray, triangles: np.ndarray, part: int) -> "Skin":
        """New vertices `rows`, `lift`; triangles index old and new vertices together."""
        return Skin(
            sparse.vstack([self.weights, rows]).tocsr(),
            np.vstack([self.lift, lift]),
            np.vstack([self.triangles, triangles]).astype(np.int32),
            np.append(self.part, np.full(len(triangles), part)),
        )

    def touched_by(self, part: int) -> np.ndarray:
        """(k,) bool: the vertices of the part's triangles, its rim included."""
        mask = np.zeros(len(self.lift), bool)
        mask[self.triangles[self.part == part]] = True
        return mask


def half_skin(mean: np.ndarray, triangles: np.ndarray, skin: np.ndarray, mirror_vertex: np.ndarray, edge_mm: float) -> Skin:
    """The triangles wholly under `skin` (n,) bool in x ≥ 0, their edges beyond `edge_mm` split along a smooth surface.

    mirror_vertex (n,): the vertex that is each one's mirror image. Raises ModelError where a triangle straddles the midline.
    """
    own = triangles[skin[triangles].all(axis=1)]
    if ((mean[own, 0].min(axis=1) < -MIDLINE_MM) & (mean[own, 0].max(axis=1) > MIDLINE_MM)).any():
        raise ModelError("the source model has triangles across the plane x = 0; a template needs a midline of edges there")
    fine = refine_region(mean, own, skin, edge_mm)
    weights, n = fine.matrix, len(mean)
    swap = sparse.csr_matrix((np.ones(n), (np.arange(n), mirror_vertex)), shape=(n, n))
    # the butterfly stencil of a midline edge is only as symmetric as the triangles round it: averaged with its mirror image
    on_midline = fine.along(np.abs(mean[:, 0]) < MIDLINE_MM)
    weights = sparse.diags(1 - on_midline / 2) @ weights + sparse.diags(on_midline / 2) @ (weights @ swap)
    x = (weights @ mean[:, 0])[fine.triangles]
    kept = fine.triangles[x.min(axis=1) >= -MIDLINE_MM]
    return Skin(weights.tocsr(), np.zeros((weights.shape[0], 3)), kept, np.zeros(len(kept), int)).compacted()


def clip(skin: Skin, level: np.ndarray) -> Skin:
    """Keep where the (k,) field `level`, linear on triangles, is ≥ 0, cutting the triangles across zero; parts are forgotten."""
    both, above = split(skin, level)
    return replace(both, triangles=both.triangles[above], part=np.zeros(above.sum(), int)).compacted()


def split(skin: Skin, level: np.ndarray) -> tuple[Skin, np.ndarray]:
    """The triangles cut across the zero of the (k,) field `level`, linear on them; and (m,) bool: those where it is ≥ 0.

    Old vertices keep their indices; those on the zero follow.
    """
    level = np.where(np.abs(level) < _LEAST_LEVEL, _LEAST_LEVEL, level)  # a cut through a vertex would make triangles of no area
    above, k = level >= 0, len(level)
    edges, crossing = _crossing_edges(skin.triangles, above)
    t, rows = level[edges[:, 0]] / (level[edges[:, 0]] - level[edges[:, 1]]), np.arange(len(edges))
    mix = sparse.csr_matrix((np.append(1 - t, t), (np.append(rows, rows), edges.T.ravel())), shape=(len(edges), k))
    cut = {tuple(edge): k + place for place, edge in enumerate(edges.tolist())}
    pieces = [piece for triangle in skin.triangles[crossing] for piece in _pieces(*_rotated(triangle, above), above, cut)]
    both = Skin(
        sparse.vstack([skin.weights, mix @ skin.weights]).tocsr(),
        np.vstack([skin.lift, mix @ skin.lift]),
        np.vstack([skin.triangles[~crossing], np.reshape(pieces, (-1, 3))]).astype(np.int32),
        np.append(skin.part[~crossing], np.repeat(skin.part[crossing], 3)),
    )
    below = np.append(~above, np.zeros(len(edges), bool))
    return both, ~below[both.triangles].any(axis=1)


def _pieces(a: int, b: int, c: int, above: np.ndarray, cut: dict[tuple[int, int], int]) -> list[tuple[int, int, int]]:
    """Of the triangle with a above zero and c not; cut: sorted edge → the vertex on it."""
    ac = cut[min(a, c), max(a, c)]
    if above[b]:
        bc = cut[min(b, c), max(b, c)]
        return [(a, b, bc), (a, bc, ac), (ac, bc, c)]
    ab = cut[min(a, b), max(a, b)]
    return [(a, ab, ac), (ab, b, c), (ab, c, ac)]


def _crossing_edges(triangles: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted edges with one end inside, each once; and which triangles hold some."""
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    mixed = inside[edges[:, 0]] != inside[edges[:, 1]]
    return np.unique(edges[mixed], axis=0), mixed.reshape(-1, 3).any(axis=1)


def _rotated(triangle: np.ndarray, inside: np.ndarray) -> tuple[int, int, int]:
    """The corners turned so that the first is inside and the last outside."""
    turns = (np.roll(triangle, shift).tolist() for shift in range(3))
    return next((a, b, c) for a, b, c in turns if inside[a] and not inside[c])


def one_part_below(skin: Skin, points: np.ndarray, level: np.ndarray, rank: int) -> np.ndarray:
    """`level`, but +|level| on all its connected negative parts save the rank-th largest, 1 or 2: a cut goes round this alone.

    Where there are fewer parts, none stays negative.
    """
    negative = level < 0
    label = labels_among(TriangleMesh(points, skin.triangles), negative)
    part = np.bincount(label[negative], minlength=2).argsort()[-rank]
    return np.where(negative & (label != part), -level, level)


def labels_among(mesh: TriangleMesh, mask: np.ndarray) -> np.ndarray:
    """(k,) label of each vertex's component along edges between vertices under the mask (k,) bool."""
    edges = mesh.edges[mask[mesh.edges].all(axis=1)]
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(len(mask),) * 2)
    return connected_components(graph, directed=False)[1]


def edge_path(skin: Skin, points: np.ndarray, stations: list[int]) -> list[int]:
    """Shortest path along edges through the vertices `stations`."""
    mesh = TriangleMesh(points, skin.triangles)
    i, j = mesh.edges.T
    graph = sparse.coo_matrix((np.linalg.norm(points[i] - points[j], axis=1), (i, j)), shape=(len(points),) * 2)
    path = [stations[0]]
    for start, end in zip(stations, stations[1:]):
        before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)[1]
        leg = [end]
        while leg[-1] != start:
            leg.append(int(before[leg[-1]]))
        path += leg[-2::-1]
    return path


def cut_along(skin: Skin, points: np.ndarray, path: list[int], inside_seed: int) -> tuple[Skin, list[int]]:
    """Drop what `path`, an edge path between two border points, parts from the rest on `inside_seed`'s side; its new indices."""
    on_path, dropped = path_and_side(skin, points, path, inside_seed)
    # a triangle with all corners on the path lies on the inner side of a concave bend: it would hang loose
    keep = ~dropped[skin.triangles].any(axis=1) & ~on_path[skin.triangles].all(axis=1)
    used = np.unique(skin.triangles[keep])
    rest = replace(skin, triangles=skin.triangles[keep], part=skin.part[keep]).compacted()
    return rest, [int(np.searchsorted(used, vertex)) for vertex in path]


def enclosed_by(skin: Skin, points: np.ndarray, path: list[int], inside_seed: int) -> Skin:
    """What `cut_along` drops, with the path as its border."""
    inside = path_and_side(skin, points, path, inside_seed)[1][skin.triangles].any(axis=1)
    return replace(skin, triangles=skin.triangles[inside], part=skin.part[inside]).compacted()


def path_and_side(skin: Skin, points: np.ndarray, path: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(k,) bool each: the vertices of the path, and those that an edge path joins with `seed` without touching it."""
    mesh = TriangleMesh(points, skin.triangles)
    on_path = np.isin(np.arange(len(points)), path)
    label = labels_among(mesh, ~on_path)
    return on_path, (label == label[seed]) & ~on_path


def boundary_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """Closed loops of boundary vertices, surface to the left, longest first; each starts at its smallest index."""
    half_edges = np.vstack([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).astype(np.int64)
    n = int(triangles.max()) + 1
    keys = half_edges[:, 0] * n + half_edges[:, 1]
    border = half_edges[~np.isin(keys, half_edges[:, 1] * n + half_edges[:, 0])]
    following = dict(border.tolist())
    if len(following) != len(border):
        raise ModelError("the template's boundary touches itself; the source's skin is not a manifold with smooth openings")
    loops = []
    while following:
        loop = [min(following)]
        while following[loop[-1]] != loop[0]:
            loop.append(following.pop(loop[-1]))
        following.pop(loop[-1])
        loops.append(np.array(loop))
    return sorted(loops, key=len, reverse=True)


def pieces_between(triangles: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """(m,) label of the pieces into which the edges `lines` (c, 2) part the triangles (m, 3)."""
    sides = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, inverse = np.unique(np.concatenate([np.sort(lines, axis=1), sides]), axis=0, return_inverse=True)
    on_line, of = np.split(inverse.ravel(), [len(lines)])
    crossed = ~np.isin(np.arange(len(edges)), on_line)
    joins = sparse.csr_matrix((crossed[of], (np.arange(len(of)) // 3, of)), shape=(len(triangles), len(edges)), dtype=float)
    return connected_components(joins @ joins.T, directed=False)[1]


def smooth_step(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to `low`, 1 from `high` on."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mean_value_coordinates(polygon: np.ndarray, points: np.ndarray) -> np.ndarray:
    """polygon (b, 2), points (k, 2) strictly inside → (k, b) weights, exact on linear functions (Floater 2003, eq. 2.1)."""
    spokes = polygon[None] - points[:, None]
    following = np.roll(spokes, -1, axis=1)
    cross = spokes[..., 0] * following[..., 1] - spokes[..., 1] * following[..., 0]
    half_tangent = np.tan(np.arctan2(cross, (spokes * following).sum(axis=2)) / 2)
    weights = (half_tangent + np.roll(half_tangent, 1, axis=1)) / np.linalg.norm(spokes, axis=2)
    return weights / weights.sum(axis=1, keepdims=True)


def ring_patch(points: np.ndarray, loop: np.ndarray, n_rings: int, first_index: int) -> tuple[np.ndarray, np.ndarray]:
    """Close a star-shaped boundary loop by concentric rings about its centre.

    Returns (k, b) weights of the new vertices over the loop's vertices, and triangles that index the loop's vertices and,
    from `first_index` on, the new ones; they continue the orientation of the surface round the loop.
    """
    b = len(loop)
    centre = points[loop].mean(axis=0)
    axes = np.linalg.svd(points[loop] - centre)[2][:2]
    flat = (points[loop] - centre) @ axes.T
    inner = np.vstack([flat * (1 - ring / (n_rings + 1)) for ring in range(1, n_rings + 1)] + [np.zeros((1, 2))])
    index = np.vstack([loop[None], first_index + np.arange(n_rings * b).reshape(n_rings, b)])
    following = np.roll(index, -1, axis=1)
    outer_a, outer_b, inner_a, inner_b = index[:-1], following[:-1], index[1:], following[1:]
    quads = np.concatenate([np.stack([outer_b, outer_a, inner_a], -1), np.stack([outer_b, inner_a, inner_b], -1)]).reshape(-1, 3)
    apex = np.full(b, first_index + n_rings * b)
    return mean_value_coordinates(flat, inner), np.vstack([quads, np.stack([following[-1], index[-1], apex], -1)])


def strip(upper: list[int], lower: list[int], along: np.ndarray) -> np.ndarray:
    """Zip two vertex chains that end in one common vertex, by their positions `along` (k,) → triangles (m, 3)."""
    triangles, i, j = [], 0, 0
    while i < len(upper) - 1 or j < len(lower) - 1:
        step_upper = j == len(lower) - 1 or (i < len(upper) - 1 and along[upper[i + 1]] <= along[lower[j + 1]])
        if step_upper:
            triangle, i = (upper[i], lower[j], upper[i + 1]), i + 1
        else:
            triangle, j = (upper[i], lower[j], lower[j + 1]), j + 1
        if len(set(triangle)) == 3:
            triangles.append(triangle)
    return np.array(triangles, np.int32)
