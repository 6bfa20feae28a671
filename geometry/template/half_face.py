"""The left half of a mirror-symmetric head's outer skin, with what its curves and regions are found by.

Rules are stated once, on this half (x ≥ 0, model frame, mm); curves and regions are mirrored from it, so that they are exactly
symmetric whatever the rounding.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import Delaunay

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.template.skin_patch import labels_among
from geometry.transforms import MIRROR

_BEND_ROUNDS = 2  # neighbour averages of the curvature, which on triangles of 1 to 3 mm is rough
_EAR_MARGIN_MM = 8.0  # the skin round the ear's box that says how the head runs under the ear
_EAR_STANDS_MM = 1.5  # what stands off that surface by more is ear, not the smoothing of its root
_EAR_ROUNDS = 8  # of fitting that surface to what lies by it
_LEAST_EAR = 10
_BEND_SCALE = 0.015  # 1/mm: a step along a bend of this size costs e times less than one on the flat


def ear_box(points: np.ndarray, margin_mm: float = 0.0) -> np.ndarray:
    """(n,) bool: within the box that holds an ear of the mean, grown by a margin."""
    x, y, z = np.abs(points[:, 0]) + margin_mm, points[:, 1], points[:, 2]
    return (x > 66) & (np.abs(y - 2) < 40 + margin_mm) & (np.abs(z + 121.5) < 33.5 + margin_mm)


@dataclass(frozen=True)
class HalfFace:
    """mesh: h vertices on or left of the midline; vertex (h,): their index in the whole, rising.

    mirror_vertex (n,): of the whole. mark: ibug68 index → vertex of the half, for those on it. on_midline, ear (h,) bool.
    bend (h,) 1/mm: how the skin curves, positive where convex; smile_bend: that of the smiling face.
    """

    mesh: TriangleMesh
    vertex: np.ndarray
    mirror_vertex: np.ndarray
    mark: dict[int, int]
    on_midline: np.ndarray
    ear: np.ndarray
    bend: np.ndarray
    smile_bend: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """(h, 3) mm."""
        return self.mesh.vertices

    def at(self, *marks: int) -> np.ndarray:
        """(k, 3) the landmarks of these ibug68 indices, which lie on this half."""
        return self.points[[self.mark[index] for index in marks]]

    def places(self, vertices: np.ndarray | list[int]) -> np.ndarray:
        """The half's vertices of some of the whole's, which lie on it."""
        return np.searchsorted(self.vertex, vertices)

    def path(self, stations: list[int], along: np.ndarray | float = 0.0) -> np.ndarray:
        """(k,) vertices of the shortest edge path through the stations, without what it goes there and back.

        along (h,) 1/mm: an edge costs its length × exp(−along / 0.015), so that a path keeps to where it is large.
        """
        i, j = self.mesh.edges.T
        along = np.broadcast_to(along, len(self.points))
        cost = np.linalg.norm(self.points[i] - self.points[j], axis=1) * np.exp(-(along[i] + along[j]) / (2 * _BEND_SCALE))
        graph = sparse.coo_matrix((cost, (i, j)), shape=(len(self.points),) * 2).tocsr()
        path = stations[:1]
        for start, end in zip(stations, stations[1:]):
            before, leg = dijkstra(graph, directed=False, indices=start, return_predecessors=True)[1], [end]
            while leg[-1] != start:
                if before[leg[-1]] < 0:
                    raise ModelError(f"no path over the skin joins {self.points[start]} and {self.points[end]}")
                leg.append(int(before[leg[-1]]))
            for vertex in leg[-2::-1]:
                path = path[: path.index(vertex)] if vertex in path else path
                path = [*path, vertex]
        return np.array(path)

    def pick(self, where: np.ndarray, score: np.ndarray, what: str) -> int:
        """The vertex under the mask where (h,) whose score (h,) is greatest. Raises ModelError where the mask is empty."""
        if not where.any():
            raise ModelError(f"the head has no vertex where its {what} must lie; check its landmarks, or make its edges shorter")
        return int(np.flatnonzero(where)[score[where].argmax()])

    def nearest(self, target: np.ndarray) -> int:
        """The vertex nearest to a point (3,) mm."""
        return int(np.linalg.norm(self.points - target, axis=1).argmin())

    def beside(self, fence: np.ndarray, seed: int) -> np.ndarray:
        """(h,) bool: what an edge path joins with the vertex seed without touching the fence (h,) bool."""
        label = labels_among(self.mesh, ~fence)
        return label == label[seed]

    def whole(self, mask: np.ndarray) -> np.ndarray:
        """(h,) bool of the half → (n,) bool of the whole."""
        both = np.zeros(len(self.mirror_vertex), bool)
        both[self.vertex[mask]] = True
        return both | both[self.mirror_vertex]


def half_face(mesh: TriangleMesh, marks: np.ndarray, mirror_vertex: np.ndarray, smile: np.ndarray) -> HalfFace:
    """The half of a head's outer skin. mesh: n vertices; marks (68,) vertices; mirror_vertex (n,); smile (n, 3) mm, the face on
    which the nasolabial folds show."""
    faces = [mesh.with_vertices((points + points[mirror_vertex] * MIRROR) / 2) for points in (mesh.vertices, smile)]
    on_midline = mirror_vertex == np.arange(len(mirror_vertex))
    left = on_midline | (faces[0].vertices[:, 0] > 0)
    half, vertex = faces[0].submesh(left)
    place = np.cumsum(left) - 1
    bend, smile_bend = (_bend(face)[vertex] for face in faces)
    mark = {index: int(place[at]) for index, at in enumerate(marks.tolist()) if left[at]}
    return HalfFace(half, vertex, mirror_vertex, mark, on_midline[vertex], _ear(half), bend, smile_bend)


def _bend(mesh: TriangleMesh) -> np.ndarray:
    """(n,) 1/mm: the mean over a vertex's edges of the normal curvature along each, the change of the unit normal against the
    edge, over the edge's length; then averaged with the neighbours'. Positive where convex."""
    i, j = mesh.edges.T
    step, turn = (values[j] - values[i] for values in (mesh.vertices, mesh.vertex_normals))
    along = sparse.coo_matrix(((step * turn).sum(axis=1) / (step**2).sum(axis=1), (i, j)), shape=(len(mesh.vertices),) * 2)
    degree = np.maximum(np.asarray(mesh.adjacency.sum(axis=1)).ravel(), 1)
    bend = np.asarray((along + along.T).sum(axis=1)).ravel() / degree
    for _ in range(_BEND_ROUNDS):
        bend = (mesh.adjacency @ bend + bend) / (degree + 1)
    return bend


def _ear(mesh: TriangleMesh) -> np.ndarray:
    """(h,) bool: what stands off the quadric x(y, z) through the skin round the ear's box, and the concha amid it."""
    near = np.flatnonzero(ear_box(mesh.vertices, _EAR_MARGIN_MM))
    x, y, z = (mesh.vertices[near] - mesh.vertices[near].mean(axis=0)).T
    terms = np.stack([np.ones(len(near)), y, z, y * y, y * z, z * z], axis=1)
    ground = ~ear_box(mesh.vertices[near])
    for _ in range(_EAR_ROUNDS):
        off = x - terms @ np.linalg.lstsq(terms[ground], x[ground], rcond=None)[0]
        ground = np.abs(off) < _EAR_STANDS_MM
    stands = np.zeros(len(mesh.vertices), bool)
    stands[near[off > _EAR_STANDS_MM]] = True
    stands &= ear_box(mesh.vertices)
    if stands.sum() < _LEAST_EAR:
        raise ModelError(f"only {stands.sum()} vertices stand off the side of the head by more than {_EAR_STANDS_MM} mm: no ear")
    outline = Delaunay(mesh.vertices[stands, 1:])
    amid = (outline.find_simplex(mesh.vertices[:, 1:]) >= 0) & ear_box(mesh.vertices) & ~stands
    label = labels_among(mesh, amid)
    # skin of the head behind the auricle projects into its outline, too; the concha is the larger piece
    return stands | amid & (label == np.bincount(label[amid], minlength=1).argmax())
