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
        a, b, c = (self.vertices[self.triangles[:, k]] for k in range(3))
        return np.cross(b - a, c - a) / 2

    @cached_property
    def vertex_normals(self) -> np.ndarray:
        """(n, 3) unit normals, the area-weighted mean of the adjacent triangles'; zero for a vertex without any."""
        corners, n = self.triangles.ravel(), len(self.vertices)
        total = np.stack([np.bincount(corners, np.repeat(axis, 3), n) for axis in self.triangle_area_vectors.T], axis=1)
        return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)

    @cached_property
    def vertex_areas(self) -> np.ndarray:
        """(n,) a third of the area of the adjacent triangles, mm²."""
        area = np.linalg.norm(self.triangle_area_vectors, axis=1)
        return np.bincount(self.triangles.ravel(), np.repeat(area / 3, 3), len(self.vertices))

    @cached_property
    def _edges_and_counts(self) -> tuple[np.ndarray, np.ndarray]:
        edges = np.sort(self.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
        keys, counts = np.unique(edges[:, 0] * len(self.vertices) + edges[:, 1], return_counts=True)
        return np.stack(np.divmod(keys, max(len(self.vertices), 1)), axis=1), counts

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
        half = sparse.coo_matrix((np.ones(len(self.edges)), self.edges.T), shape=(len(self.vertices),) * 2)
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
