"""Triangle meshes as immutable arrays."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse
from scipy.sparse.csgraph import connected_components


def fixed_rows(array: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """(n, 3) contiguous view that cannot be written to, a copy only where dtype or layout ask for one."""
    rows = np.ascontiguousarray(array, dtype=dtype).reshape(-1, 3)  # a new array object: the caller's stays as it is
    rows.setflags(write=False)
    return rows


def triangles_among(triangles: np.ndarray, vertex_mask: np.ndarray) -> np.ndarray:
    """Of the triangles (m, 3) those wholly among the vertices under the mask (n,) bool, counted among these alone."""
    return (np.cumsum(vertex_mask) - 1)[triangles[vertex_mask[triangles].all(1)]]


def numbered_sides(triangles: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of triangles (m, 3) among `count` vertices the undirected edges (e, 2), each once, sorted, and (m, 3) those of the sides
    ab, bc, ca. Vertex by vertex, as a sparse matrix is sorted: one sort of all sides takes four times as long."""
    start, end = triangles.ravel(), triangles[:, [1, 2, 0]].ravel()
    low, high, place = np.minimum(start, end), np.maximum(start, end), np.arange(len(start), dtype=np.int32)
    of_low = sparse.csr_matrix((place, (low, place)), shape=(count, max(len(place), 1)))
    sides = sparse.csr_matrix((of_low.indices, high[of_low.indices], of_low.indptr), shape=(count, count))
    sides.sort_indices()
    low, high = np.repeat(np.arange(count), np.diff(sides.indptr)), sides.indices
    fresh = np.ones(len(low), bool)
    fresh[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    number = np.empty(len(start), np.int64)
    number[sides.data] = np.cumsum(fresh) - 1
    return np.stack([low[fresh], high[fresh]], axis=1).astype(np.int64), number.reshape(-1, 3)


@dataclass(frozen=True)
class TriangleMesh:
    """vertices (n, 3) float64, triangles (m, 3) int32, counter-clockwise seen from outside; colors (n, 3) uint8 or None.

    vertices and triangles are not writeable, so that what is derived from them and kept stays true.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colors: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "vertices", fixed_rows(self.vertices, np.float64))
        object.__setattr__(self, "triangles", fixed_rows(self.triangles, np.int32))

    @cached_property
    def triangle_area_vectors(self) -> np.ndarray:
        """(m, 3) outward normals whose length is the triangle's area."""
        axes, (a, b, c) = np.ascontiguousarray(self.vertices.T), np.ascontiguousarray(self.triangles.T)
        starts = [axis[a] for axis in axes]
        (ux, uy, uz), (vx, vy, vz) = ([axis[end] - start for axis, start in zip(axes, starts)] for end in (b, c))
        vectors = np.empty((len(self.triangles), 3))  # np.cross takes twice as long
        vectors[:, 0], vectors[:, 1], vectors[:, 2] = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        vectors /= 2
        return vectors

    @cached_property
    def vertex_normals(self) -> np.ndarray:
        """(n, 3) unit normals, the area-weighted mean of the adjacent triangles'; zero for a vertex without any."""
        corners, n = self.triangles.ravel(), len(self.vertices)
        x, y, z = (np.bincount(corners, np.repeat(axis, 3), n) for axis in self.triangle_area_vectors.T)
        length = np.maximum(np.sqrt(x * x + y * y + z * z), 1e-12)
        return np.stack([x / length, y / length, z / length], axis=1)

    @cached_property
    def vertex_areas(self) -> np.ndarray:
        """(n,) a third of the area of the adjacent triangles, mm²."""
        area = np.linalg.norm(self.triangle_area_vectors, axis=1)
        return np.bincount(self.triangles.ravel(), np.repeat(area / 3, 3), len(self.vertices))

    @cached_property
    def _side_counts(self) -> sparse.csr_matrix:
        """(n, n) how many triangles use each edge, from its smaller end to its larger."""
        ends = [self.triangles[:, [0, 1, 2]].ravel(), self.triangles[:, [1, 2, 0]].ravel()]
        ones = np.ones(len(ends[0]), np.int32)
        return sparse.coo_matrix((ones, (np.minimum(*ends), np.maximum(*ends))), shape=(len(self.vertices),) * 2).tocsr()

    @cached_property
    def _edges_and_counts(self) -> tuple[np.ndarray, np.ndarray]:
        table = self._side_counts
        starts = np.repeat(np.arange(len(self.vertices)), np.diff(table.indptr))
        return np.stack([starts, table.indices], axis=1).astype(np.int64), table.data

    @property
    def edges(self) -> np.ndarray:
        """(e, 2) undirected edges, each once, sorted."""
        return self._edges_and_counts[0]

    @property
    def boundary_edges(self) -> np.ndarray:
        """(b, 2) edges that only one triangle uses."""
        edges, counts = self._edges_and_counts
        return edges[counts == 1]

    @property
    def is_edge_manifold(self) -> bool:
        """True where no edge has more than two triangles."""
        return bool((self._edges_and_counts[1] <= 2).all())

    @cached_property
    def boundary_vertices(self) -> np.ndarray:
        """(n,) bool."""
        return np.isin(np.arange(len(self.vertices)), self.boundary_edges)

    @cached_property
    def adjacency(self) -> sparse.csr_matrix:
        """(n, n) symmetric 0/1 vertex adjacency."""
        table = self._side_counts
        half = sparse.csr_matrix((np.ones(len(table.data)), table.indices, table.indptr), shape=table.shape)
        return (half + half.T).tocsr()

    @cached_property
    def component_labels(self) -> np.ndarray:
        """(n,) label of each vertex's connected component; a vertex without triangles is its own."""
        first, second, third = self.triangles.T  # two sides join a triangle; to make each edge once would cost more
        ends = np.append(first, second), np.append(second, third)
        graph = sparse.coo_matrix((np.ones(len(ends[0]), np.int8), ends), shape=(len(self.vertices),) * 2)
        return connected_components(graph, directed=False)[1]

    def with_vertices(self, vertices: np.ndarray) -> "TriangleMesh":
        return replace(self, vertices=vertices)

    def submesh(self, vertex_mask: np.ndarray) -> tuple["TriangleMesh", np.ndarray]:
        """Vertices under the mask and the triangles wholly among them; also the (k,) old index of each new vertex."""
        kept = np.flatnonzero(vertex_mask)
        colors = None if self.colors is None else self.colors[kept]
        return TriangleMesh(self.vertices[kept], triangles_among(self.triangles, vertex_mask), colors), kept


def merged(meshes: list[TriangleMesh]) -> TriangleMesh:
    """One mesh of several, colours dropped; an empty list gives an empty mesh."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    vertices = [np.zeros((0, 3)), *(mesh.vertices for mesh in meshes)]
    triangles = [np.zeros((0, 3), np.int32), *(mesh.triangles + start for mesh, start in zip(meshes, starts))]
    return TriangleMesh(np.concatenate(vertices), np.concatenate(triangles))
