"""The cotangent Laplacian of a mesh, and smoothing of a vertex field at several scales by it."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.robust_loss import geman_mcclure_weights

LEVELS_MM = (20.0, 7.0, 2.5)


def stiffness(mesh: TriangleMesh) -> sparse.csr_matrix:
    """(n, n) cotangent stiffness matrix, clipped at small positive weights so that kernels stay positive on obtuse triangles.

    Pieces that touch nothing (eyeballs) are tied to the nearest vertex of the largest piece, so that they follow it.
    """
    v, n = mesh.vertices, len(mesh.vertices)
    i, j, weights = [], [], []
    for k in range(3):
        a, b, c = (mesh.triangles[:, (k + s) % 3] for s in range(3))
        one, two = v[b] - v[a], v[c] - v[a]
        sine = np.linalg.norm(np.cross(one, two), axis=1)
        i, j = i + [b], j + [c]
        weights.append(np.clip((one * two).sum(1) / np.maximum(sine, 1e-9), 0.02, 10.0) / 2)
    labels = mesh.component_labels
    main = labels == np.bincount(labels).argmax()
    if not main.all():
        apart = np.flatnonzero(~main)
        i, j = i + [apart], j + [np.flatnonzero(main)[cKDTree(v[main]).query(v[apart])[1]]]
        weights.append(np.full(len(apart), 0.05))
    half = sparse.coo_matrix((np.concatenate(weights), (np.concatenate(i), np.concatenate(j))), shape=(n, n))
    both = (half + half.T).tocsr()
    return (sparse.diags(np.asarray(both.sum(1)).ravel()) - both).tocsr()


def thin_plate(mesh: TriangleMesh) -> sparse.csr_matrix:
    """(n, n) matrix of the energy ∫|Δf|² of a vertex field f: K M⁻¹ K with the stiffness K and the vertices' areas M."""
    k = stiffness(mesh)
    return (k @ sparse.diags(1 / np.maximum(mesh.vertex_areas, 1e-3)) @ k).tocsr()


Kernel = Callable[[np.ndarray], np.ndarray]


@lru_cache(maxsize=2)
def smoothing_kernels(model: MorphableModel) -> tuple[sparse.csr_matrix, tuple[Kernel, ...]]:
    """The model's stiffness matrix (n, n), and one smoothing kernel (n, k) → (n, k) per level, from long to short.

    The first call per model and process factorises (about 0.3 s), later ones look up.
    """
    mesh = TriangleMesh(model.mean, model.triangles)
    areas, k = np.maximum(mesh.vertex_areas, 1e-3), stiffness(mesh)

    def kernel(length: float) -> Kernel:
        factor = splu((sparse.diags(areas) + length**2 * k).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        return lambda values: factor.solve(areas[:, None] * values)

    return k, tuple(kernel(length) for length in LEVELS_MM)


def smooth_field(targets: np.ndarray, weights: np.ndarray, kernels: tuple[Kernel, ...]) -> np.ndarray:
    """Displacements (n, 3) that follow `targets` (n, 3) where `weights` (n,) in [0, 1] are large and fade smoothly elsewhere.

    At each level the data that the levels before leave unexplained by far (robust scale: median) lose weight (Geman–McClure).
    """
    field = np.zeros_like(targets)
    for kernel in kernels:
        residual = targets - field
        size = np.linalg.norm(residual, axis=1)
        scale = 6 * max(float(np.median(size[weights > 0])) if (weights > 0).any() else 0.0, 0.1)
        w = weights * geman_mcclure_weights(size, scale)
        answer = kernel(np.concatenate([w[:, None] * residual, w[:, None]], axis=1))
        field = field + answer[:, :3] / np.maximum(answer[:, 3:], 0.02)  # below 2 % support a level fades out
    return field
