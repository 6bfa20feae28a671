"""Mouth and eyes of a template: the two sides of each opening, and the pairs of points between which a gap is measured."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.surfaces.closest_point import closest_points
from geometry.surfaces.joined_borders import joined
from geometry.template.skin_patch import boundary_loops, smooth_step

_REACH_MM = 8.0  # along the surface, how far from its rim the sides of an opening reach
_CORNER_MM = 2.0  # nearer to a corner than this the two sides run into each other
_UP = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True)
class Opening:
    """A mouth or an eye of a template of n vertices.

    rim (r,): loop of skin vertices; corners (2,): those in which its two sides meet; upper, lower (n,) bool: the skin between
    the corners within reach of either side of it;
    zone (n,) bool: all skin within reach, and of the lining or eyeball that is joined to the rim; parting (n,): from 0 at the
    corners to 1 away from them.
    """

    rim: np.ndarray
    corners: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    zone: np.ndarray
    parting: np.ndarray


@dataclass(frozen=True)
class Pairs:
    """p pairs of a vertex and the point opposite. rows (p, n) csr: upper minus lower place; across (p, 3) unit:
    direction of a positive gap; gap (p,) mm; parting (p,) as of `Opening`."""

    rows: sparse.csr_matrix
    across: np.ndarray
    gap: np.ndarray
    parting: np.ndarray

    def gap_rows(self) -> sparse.csr_matrix:
        """(p, 3n): the change of each gap by displacements (n, 3), flattened."""
        axes = np.eye(3)
        first, *others = (sparse.kron(sparse.diags(self.across[:, k]) @ self.rows, axes[k : k + 1]) for k in range(3))
        return sum(others, first).tocsr()


def openings(mesh: TriangleMesh, skin: np.ndarray) -> list[Opening]:
    """An opening for each border of the skin (n,) bool but the longest, which is the template's own; from low to high.

    Raises ModelError where a rim has no vertex between its corners on one side."""
    points, first = mesh.vertices, joined(mesh)
    length = lambda loop: np.linalg.norm(points[loop] - points[np.roll(loop, 1)], axis=1).sum()
    loops = sorted(boundary_loops(mesh.triangles[skin[mesh.triangles].all(axis=1)]), key=length)[:-1]
    ends = first[mesh.edges]
    edge_mm = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)
    graph = sparse.csr_matrix((edge_mm, ends.T), shape=(len(points),) * 2)
    found = []
    for loop in sorted(loops, key=lambda loop: points[loop, 1].mean()):
        *sides, corners = _sides(points, loop)
        way = points[corners[1]] - points[corners[0]]
        along = (points - points[corners[0]]) @ way / np.linalg.norm(way)
        between = skin & (along > 0) & (along < along[corners[1]])
        above, below = (
            dijkstra(graph, directed=False, indices=side, min_only=True, limit=2 * _REACH_MM)[first] for side in sides
        )
        zone = np.minimum(above, below) < _REACH_MM
        parting = smooth_step(cKDTree(points[corners]).query(points)[0], 0.0, _CORNER_MM)
        upper, lower = zone & between & (above < below), zone & between & (below < above)
        found.append(Opening(loop, corners, upper, lower, zone, parting))
    return found


def _sides(points: np.ndarray, loop: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Upper and lower rim between the corners, and the corners: where the loop reaches farthest along its longest axis."""
    centred = points[loop] - points[loop].mean(axis=0)
    along = centred @ np.linalg.svd(centred)[2][0]
    start, end = sorted((int(along.argmin()), int(along.argmax())))
    one, other = loop[start + 1 : end], np.append(loop[end + 1 :], loop[:start])
    if not min(len(one), len(other)):
        raise ModelError(f"the rim of an opening, {len(loop)} vertices, has none between its corners on one side")
    above, below = sorted((one, other), key=lambda side: -points[side, 1].mean())
    return above, below, loop[[start, end]]


def pairs(mesh: TriangleMesh, opening: Opening, furthest_mm: float) -> Pairs:
    """Every vertex of either side with the nearest point of the other side, where that is nearer than furthest_mm.

    The direction across is that of the sum of up, the lower side's outward normal, and the opposite of the upper side's."""
    triangles = mesh.triangles
    facing = lambda side, other: triangles[(other[triangles].sum(axis=1) >= 2) & ~side[triangles].any(axis=1)]
    parts = [
        _pairs_with(mesh, opening.upper, facing(opening.upper, opening.lower), 1.0, furthest_mm),
        _pairs_with(mesh, opening.lower, facing(opening.lower, opening.upper), -1.0, furthest_mm),
    ]
    rows, across, gap, vertex = (list(column) for column in zip(*parts))
    parting = opening.parting[np.concatenate(vertex)]
    return Pairs(sparse.vstack(rows).tocsr(), np.concatenate(across), np.concatenate(gap), parting)


def _pairs_with(
    mesh: TriangleMesh, side: np.ndarray, opposite: np.ndarray, sign: float, furthest_mm: float
) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray, np.ndarray]:
    """rows, across and gap of `Pairs`, and vertex (p,) int of the side (n,) bool, paired with the triangles opposite (m, 3);
    sign: 1 for the upper side, −1 for the lower."""
    vertex = np.flatnonzero(side)
    found = closest_points(mesh.vertices[vertex], TriangleMesh(mesh.vertices, opposite))
    near = found.distance < furthest_mm
    vertex, corners = vertex[near], opposite[found.triangle[near]]
    share = np.column_stack([1 - found.uv.sum(axis=1), found.uv])[near]
    count = np.arange(len(vertex))
    at = sparse.csr_matrix((np.ones(len(vertex)), (count, vertex)), shape=(len(vertex), len(mesh.vertices)))
    rows = sign * (at - sparse.csr_matrix((share.ravel(), (np.repeat(count, 3), corners.ravel())), shape=at.shape))
    across = (mesh.vertex_normals[corners] * share[..., None]).sum(axis=1)
    across = sign * (across - mesh.vertex_normals[vertex]) + _UP
    across = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    return rows, across, ((rows @ mesh.vertices) * across).sum(axis=1), vertex
