"""Carry a change of a morphable model's coefficients over to a scan that the model was fitted to.

    v ↦ v + d(v),   d: minimizer of  Σ_v a_v w_v |d(v) − D(v*)|² + ℓ² ∫|∇d|² + (ℓ/r)² Σ_v a_v |d(v)|²

over the scan's own surface. D is the model's difference field instance(α′) − instance(α), v* the scan vertex's closest
point on the fitted model (barycentric), a_v the vertex's area and w_v its trust in that point: 1 on the model, 0 far from
it or where the normals disagree (the other lip, the far side of a nostril). What has no trust follows its neighbours and,
over r mm, comes to rest. As d varies slowly, the scan's detail rides along. (Sumner & Popović 2004 transfer gradients
instead; the quadratic is that of the kernels in `geometry.reconstruction.template_registration`.)
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from geometry.errors import FitError
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.closest_point import closest_points
from geometry.surfaces.laplacian import stiffness
from geometry.surfaces.raycasting import interpolate
from geometry.surfaces.robust_loss import geman_mcclure_weights
from geometry.synthesis.fine_surface import fine_surface

TOLERANCE = 1e-5  # of the linear solve, relative: a hundredth of a µm per mm of motion
MOST_STEPS = 3000
LIPS_MM = 12.0  # about the rims of the lips: where an expression parts skin from skin


@dataclass(frozen=True)
class TransferOptions:
    """How a scan follows a change of the model that was fitted to it."""

    trust_mm: float = 5.0
    """Distance in mm from the model at which a scan vertex's trust has fallen to a quarter."""
    smoothing_mm: float = 0.5
    """ℓ of the energy, in mm: over this length the displacement is smooth."""
    rest_mm: float = 60.0
    """r of the energy, in mm: over this length what has no trust comes to rest."""
    torn_stretch: float = 1.6
    """A triangle of the mouth is cut where its longest edge grows by more than this factor and by more than `torn_mm`: it
    spans closed lips that an expression parts. Elsewhere skin stretches."""
    torn_mm: float = 1.0
    """Least growth in mm of the longest edge of a triangle that is cut."""
    edge_mm: float = 1.2
    """Longest edge in mm of the subdivided model that the scan is tied to."""


@dataclass(frozen=True)
class Attachment:
    """A scan's surface (model frame, mm) tied to the fitted model. distance (n,): of its vertices from the model, mm;
    trust (n,) in [0, 1]; weights (n, k): sparse, model vertices → closest points; mouth (n,) bool: those on the model's."""

    surface: TriangleMesh
    distance: np.ndarray
    trust: np.ndarray
    weights: sparse.csr_matrix
    mouth: np.ndarray
    options: TransferOptions

    @cached_property
    def _system(self) -> tuple[sparse.csr_matrix, np.ndarray]:
        """The normal equations' matrix and (n,) the data's weights."""
        length, areas = self.options.smoothing_mm, np.maximum(self.surface.vertex_areas, 1e-3)
        data = areas * self.trust
        rest = areas * (length / self.options.rest_mm) ** 2
        return (sparse.diags(data + rest) + length**2 * stiffness(self.surface)).tocsr(), data

    def displacement(self, difference: np.ndarray) -> np.ndarray:
        """The model's difference field (k, 3) mm → that of the scan's vertices (n, 3). Raises FitError."""
        matrix, data = self._system
        jacobi = sparse.diags(1.0 / matrix.diagonal())
        target = self.weights @ difference
        moved = np.empty_like(target)
        for axis in range(3):
            moved[:, axis], fault = cg(
                matrix, data * target[:, axis], x0=self.trust * target[:, axis], rtol=TOLERANCE, maxiter=MOST_STEPS, M=jacobi
            )
            if fault:
                raise FitError(f"the scan's displacement did not converge in {MOST_STEPS} steps; is its mesh damaged?")
        return moved

    def deformed(self, difference: np.ndarray) -> tuple[TriangleMesh, np.ndarray]:
        """The surface after the model's change (k, 3), less the triangles that it tears, and (m′,) their old indices."""
        mesh = self.surface.with_vertices(self.surface.vertices + self.displacement(difference))
        before, after = (_longest_edges(each) for each in (self.surface, mesh))
        torn = (after > self.options.torn_stretch * before) & (after > before + self.options.torn_mm)
        whole = np.flatnonzero(~(torn & self.mouth[mesh.triangles].any(1)))
        return TriangleMesh(mesh.vertices, mesh.triangles[whole], mesh.colors), whole


def attach(
    surface: TriangleMesh, model: MorphableModel, fitted: np.ndarray, options: TransferOptions = TransferOptions()
) -> Attachment:
    """Ties a scan's surface to the model as fitted to it, vertices (k, 3); both in the model frame, mm.

    The model is subdivided smoothly first, lest the scan gets its facets. Linings of mouth and nostrils, the membrane between
    the lips and what lids cover of the eyeballs take no part: a scan of closed lips, or of lids, lies near them all.
    """
    fine = fine_surface(model, options.edge_mm)
    inner = model.regions["mouth_interior"] & ~model.regions.get("cavities", np.zeros(model.n_vertices, bool))
    skin = TriangleMesh(fine.subdivision.apply(fitted), fine.subdivision.triangles[~(fine.excluded | fine.covered)])
    found = closest_points(surface.vertices, skin)
    corners = skin.triangles[found.triangle]
    normals = interpolate(skin.vertex_normals, corners, found.uv)
    agreement = np.clip((normals * surface.vertex_normals).sum(1), 0, 1)
    trust = agreement * geman_mcclure_weights(found.distance, options.trust_mm)
    u, v = found.uv.T
    rows, barycentric = np.repeat(np.arange(len(corners)), 3), np.stack([1 - u - v, u, v], 1)
    closest = sparse.csr_matrix((barycentric.ravel(), (rows, corners.ravel())), (len(corners), len(skin.vertices)))
    weights = closest @ fine.subdivision.matrix
    lips = np.isfinite(cKDTree(model.mean[inner]).query(model.mean, distance_upper_bound=LIPS_MM)[0])
    mouth = weights @ lips.astype(float) > 0.5
    return Attachment(surface, found.distance, trust, weights, mouth, options)


def _longest_edges(mesh: TriangleMesh) -> np.ndarray:
    corners = mesh.vertices[mesh.triangles]
    return np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1, initial=0)
