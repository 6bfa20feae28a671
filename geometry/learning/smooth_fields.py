"""The least smooth displacements of a part of a mesh that answer for given linear measures of them.

Of all displacements c they minimise

    Σ weight (row · c − wanted)² + STIFFNESS ‖Δc‖²,

Δ the cotangent Laplacian: the thin-plate energy of Botsch & Sorkine, On Linear Variational Surface Deformation Methods (2008).
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from geometry.mesh import TriangleMesh
from geometry.surfaces.joined_borders import joined
from geometry.surfaces.laplacian import thin_plate

STIFFNESS = 0.3  # mm²


@dataclass(frozen=True)
class SmoothFields:
    """Displacements of n vertices that vanish outside of a zone. spread (3n, 3f) csr from its f free vertices, vertices that are
    joined moving as one; energy (3f, 3f) csr."""

    spread: sparse.csr_matrix
    energy: sparse.csr_matrix

    def least(self, rows: sparse.csr_matrix, weight: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """rows (p, 3n), weight (p,), wanted (p,) or (p, k) → (3n,) or (3n, k): the least fields with rows @ field ≈ wanted."""
        free = rows @ self.spread
        weighted = (free.T @ sparse.diags(weight)).tocsr()
        factor = splu((weighted @ free + self.energy).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        return self.spread @ factor.solve(weighted @ wanted)


def smooth_fields(mesh: TriangleMesh, zone: np.ndarray) -> SmoothFields:
    """The fields of a zone (n,) bool of a mesh whose skin, linings and eyeballs are joined at their rims."""
    first = joined(mesh)
    near = zone[mesh.triangles].any(axis=1)
    near = np.isin(mesh.component_labels, mesh.component_labels[mesh.triangles[near, 0]])[mesh.triangles[:, 0]]
    used, triangles = np.unique(first[mesh.triangles[near]], return_inverse=True)
    energy = thin_plate(TriangleMesh(mesh.vertices[used], triangles.reshape(-1, 3)))
    free = np.flatnonzero(zone[used])
    members = np.flatnonzero(zone & np.isin(first, used))
    column = np.searchsorted(used[free], first[members])
    spread = sparse.csr_matrix((np.ones(len(members)), (members, column)), shape=(len(zone), len(free)))
    cube = sparse.eye(3)
    return SmoothFields(sparse.kron(spread, cube).tocsr(), STIFFNESS * sparse.kron(energy[free][:, free], cube).tocsr())
