"""How a surface bends at its vertices."""

import numpy as np

from geometry.mesh import TriangleMesh


def shape_operators(mesh: TriangleMesh, largest: float = np.inf) -> np.ndarray:
    """(n, 3, 3) symmetric, 1/mm: S with S t the change of the outward unit normal over a step t in the tangent plane (the
    differential of the Gauss map; do Carmo 1976, section 3-2; most books' shape operator is its negative), by least squares over
    the edges at each vertex. A sphere of radius r has S t = t / r. Zero where the edges span no plane, and scaled down to a
    Frobenius norm of `largest`."""
    here, there = np.concatenate([mesh.edges, mesh.edges[:, ::-1]]).T
    normals, n = mesh.vertex_normals, len(mesh.vertices)
    across = lambda steps: steps - (steps * normals[here]).sum(axis=1, keepdims=True) * normals[here]
    steps, turns = across(mesh.vertices[there] - mesh.vertices[here]), across(normals[there] - normals[here])
    sums = lambda a, b: np.stack([np.bincount(here, a[:, i] * b[:, j], n) for i in range(3) for j in range(3)], axis=1)
    mixed, squared = (sums(of, steps).reshape(n, 3, 3) for of in (turns, steps))
    # the inverse in the tangent plane, by Cayley and Hamilton: M⁻¹ = (tr M − M) / det M
    trace = np.trace(squared, axis1=1, axis2=2)
    determinant = (trace**2 - np.einsum("nij,nij->n", squared, squared)) / 2
    plane = trace[:, None, None] * (np.eye(3) - normals[:, :, None] * normals[:, None, :])
    spans = determinant > 1e-4 * np.maximum(trace, 1e-12) ** 2
    found = mixed @ (plane - squared) * (spans / np.where(spans, determinant, 1.0))[:, None, None]
    found = (found + found.transpose(0, 2, 1)) / 2
    size = np.linalg.norm(found, axis=(1, 2))
    return found * np.minimum(1.0, largest / np.maximum(size, 1e-12))[:, None, None]
