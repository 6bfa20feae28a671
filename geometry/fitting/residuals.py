"""Energy terms of the fit, each linearised: residuals and their Jacobian at the present state.

Notation: T the scan → model similarity, q = T p a scan point in the model frame, S(α) the model,
v a model vertex with unit normal n_v, U its basis rows. The parameter step is
δ = (ω, t, [log s], δα_d, δα_e) with q ← q + ω × q + t + (log s) q.
"""

from dataclasses import dataclass

import numpy as np

from geometry.mesh import TriangleMesh

_BLOCK = 256  # rows that a processor's cache holds


@dataclass(frozen=True)
class LinearTerm:
    """residuals (r,), jacobian (r, p), weights (r,) ≥ 0: contributes ½ Σ w (r + J δ)²."""

    residuals: np.ndarray
    jacobian: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class PriorTerm:
    """Of the k parameters from number `first` on: residuals (k,), how far they are from their mean, and precision (k, k):
    contributes ½ (r + δ)ᵀ P (r + δ)."""

    first: int
    residuals: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True)
class Correspondences:
    """vertices (r,) model vertex of each row; targets (r, 3) the mean scan point there, model frame; directions (r, 3) mean
    normals of the model below the points, of unit length, along which offsets change; offsets (r,) mean height of the points
    above the model's curved surface, mm (`above`)."""

    vertices: np.ndarray
    targets: np.ndarray
    offsets: np.ndarray
    directions: np.ndarray


def above(surface: TriangleMesh, bent: np.ndarray, vertices: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far points (p, 3) stand before the surface near their vertices (p,), in mm (p,), and its normals below them (p, 3), of
    about unit length where they are near. bent (n, 3, 3): the surface's shape operators S. To the second order the height above
    the surface of what lies (t, h) from a vertex is h + tᵀ S t / 2, and the normal there n + S t.

    The plane of the vertex alone would not do: the points that share a vertex lie around it, on a convex surface below its
    plane, and the farther around the noisier their normals are, by which partners are found. A face would be fitted too small.
    Nor would the scan's normals (Rusinkiewicz 2019, eq. 5), whose noise has had a say in which points share a vertex."""
    normals = surface.vertex_normals[vertices]
    away = points - surface.vertices[vertices]
    height = np.einsum("ij,ij->i", away, normals)
    along = away - height[:, None] * normals
    turned = np.einsum("pij,pj->pi", bent[vertices], along)
    return height + np.einsum("ij,ij->i", along, turned) / 2, normals + turned


def pose_jacobian(points: np.ndarray, normals: np.ndarray, with_scale: bool) -> np.ndarray:
    """d(n · q)/d(ω, t, [log s]) for points q (r, 3) → (r, 6 or 7)."""
    (x, y, z), (nx, ny, nz) = points.T, normals.T
    columns = [y * nz - z * ny, z * nx - x * nz, x * ny - y * nx, nx, ny, nz]  # np.cross takes twice as long
    return np.stack([*columns, x * nx + y * ny + z * nz] if with_scale else columns, axis=1)


def point_to_plane(
    matches: Correspondences, basis: np.ndarray, field: np.ndarray, weights: np.ndarray, with_scale: bool
) -> LinearTerm:
    """r = the offsets, which change along the directions n as n · (q − S_v) does (Chen & Medioni 1992). basis (n, 3, m) and
    field (n, k) of all vertices: how these move with each coefficient, and along their normals with each of the discrepancy's.

    Averaging the scan points that share a vertex denoises them: the mean of k offsets has 1/√k of their noise.
    """
    rows, pose = matches.vertices, pose_jacobian(matches.targets, matches.directions, with_scale)
    first, last = pose.shape[1], pose.shape[1] + basis.shape[2]
    jacobian = np.empty((len(rows), last + field.shape[1]), basis.dtype)
    jacobian[:, :first] = pose
    against = -matches.directions[:, None].astype(basis.dtype)
    for start in range(0, len(rows), _BLOCK):  # the basis of all rows at once would pass through memory twice
        part = slice(start, start + _BLOCK)
        np.matmul(against[part], basis[rows[part]], out=jacobian[part, None, first:last])
        np.negative(field[rows[part]], out=jacobian[part, last:])
    return LinearTerm(matches.offsets, jacobian, weights)


def point_to_point(
    targets: np.ndarray, vertices: np.ndarray, basis: np.ndarray, weights: np.ndarray, with_scale: bool
) -> LinearTerm:
    """r = q − S_v for known pairs, such as landmarks: targets, vertices (l, 3); basis (l, 3, m); weights (l,) → 3·l rows."""
    rows = [pose_jacobian(targets, np.tile(axis, (len(targets), 1)), with_scale) for axis in np.eye(3)]
    pose = np.stack(rows, axis=1).reshape(3 * len(targets), -1)
    jacobian = np.concatenate([pose, -basis.reshape(3 * len(targets), -1)], axis=1)
    return LinearTerm((targets - vertices).ravel(), jacobian, np.repeat(weights, 3))
