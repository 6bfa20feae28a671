"""Dense templates that several tests share, made once a process, and what is asked of meshes of them."""

from functools import lru_cache
from unittest.mock import patch

import numpy as np
from sampled_faces import default_model
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.reconstruction import dense_template
from geometry.reconstruction.surface_target import SurfaceTarget


def thin_template(model: MorphableModel) -> dense_template.DenseTemplate:
    """The template of a model with edges of 2 mm: a sixth of the vertices."""
    with patch.multiple(dense_template, EDGE_MM=2.0, LEVELS=2):
        return dense_template.dense_template.__wrapped__(model)


@lru_cache(maxsize=1)
def thin_face() -> dense_template.DenseTemplate:
    return thin_template(default_model())


def followed(mesh: TriangleMesh, support: np.ndarray | float = 1.0, sigma_mm: float = 0.05, **fields) -> SurfaceTarget:
    """A target of one support and standard deviation everywhere, or of the support (k,) of each vertex."""
    shape = len(mesh.vertices)
    return SurfaceTarget(
        mesh, np.broadcast_to(support, shape).astype(float), np.full(shape, sigma_mm), **{"rough_mm": 0.03, **fields}
    )


def smallest_angles(mesh: TriangleMesh) -> np.ndarray:
    """(m,) degrees."""
    corners = mesh.vertices[mesh.triangles]
    angles = []
    for k in range(3):
        one, other = corners[:, (k + 1) % 3] - corners[:, k], corners[:, (k + 2) % 3] - corners[:, k]
        angles.append(np.arctan2(np.linalg.norm(np.cross(one, other), axis=1), (one * other).sum(axis=1)))
    return np.degrees(np.min(angles, axis=0))


def dihedral_angles(mesh: TriangleMesh) -> np.ndarray:
    """(e,) degrees by which the surface turns at each edge of two triangles: 180 where one lies back on the other."""
    sides = np.sort(mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    order = np.lexsort(sides.T)
    twice = np.flatnonzero((sides[order][1:] == sides[order][:-1]).all(axis=1))
    normals = mesh.triangle_area_vectors / np.linalg.norm(mesh.triangle_area_vectors, axis=1, keepdims=True)
    one, other = normals[order[twice] // 3], normals[order[twice + 1] // 3]
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(one, other), axis=1), (one * other).sum(axis=1)))


def boundary_loops(mesh: TriangleMesh) -> int:
    edges, n = mesh.boundary_edges, len(mesh.vertices)
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(n, n))
    return len(np.unique(connected_components(graph, directed=False)[1][edges]))


def is_oriented(mesh: TriangleMesh) -> bool:
    """Neighbours go through their common edge in opposite directions."""
    sides = mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
    return len(np.unique(sides[:, 0] * len(mesh.vertices) + sides[:, 1])) == len(sides)


def lip_rims(model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the upper lip's rim and the other's opposite."""
    return model.curves["upper_lip_rim"], model.curves["lower_lip_rim"]


def opened(model: MorphableModel, weight: float, identity: np.ndarray | None = None) -> np.ndarray:
    """(n, 3) a face of the model with its jaw open by a weight."""
    return model.instance(identity, np.where(np.array(model.expression_names) == "jawOpen", weight, 0.0))
