"""How far each vertex of the dense template is moved, of what targets tell it and of what its neighbours say.

The offsets minimise

    Σ_v Σ_t w_t (d_v − o_t)² / r_t² + Σ_v d_v² / S² + Σ_edges (d_i − d_j)² / G²

with weights that fall where an offset is far from what the others say. Where nobody saw anything they change over many vertices,
which conjugate gradients find slowly: each round begins with what the same system says on the model's own, coarser vertices, and
gradients correct that (a cascade of two grids; Bornemann & Deuflhard, Numerische Mathematik 75, 1996).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from geometry.reconstruction.dense_template import DenseTemplate
from geometry.reconstruction.surface_target import Projection
from geometry.surfaces.conjugate_gradients import conjugate_gradients
from geometry.surfaces.robust_loss import geman_mcclure_weights

SLOPE_MM = 0.15  # G: standard deviation of the difference of neighbours' offsets
SIZE_MM = 1.5  # S: of an offset that nothing tells
ROBUST = 3.0  # standard deviations, of the loss' scale
TOLERANCES = (1e-2, 3e-3, 1e-3)  # of the residual in each round; the first ones only tell the weights
COARSE_TOLERANCE = 1e-3
ITERATIONS = 60


def offsets(template: DenseTemplate, found: Sequence[Projection], rough_mm: Sequence[float]) -> np.ndarray:
    """(N,) mm that minimise the module's energy; found: the offsets to each target, rough_mm: r of each."""
    grids = _grids(template)
    offset = nothing = np.zeros(len(template.mean))
    weights = [each.weight for each in found]
    for tolerance in TOLERANCES:
        precision = [weight / rough**2 for weight, rough in zip(weights, rough_mm, strict=True)]
        right = sum((each.offset * value for each, value in zip(found, precision, strict=True)), nothing)
        offset = grids.solved(sum(precision, nothing) + SIZE_MM**-2, right, offset, tolerance)
        scales = [ROBUST * float(np.hypot(rough, SLOPE_MM)) for rough in rough_mm]
        losses = [geman_mcclure_weights(each.offset - offset, scale) for each, scale in zip(found, scales, strict=True)]
        weights = [each.weight * loss for each, loss in zip(found, losses, strict=True)]
    return offset


@dataclass(frozen=True, eq=False)
class _Grids:
    """Single precision: fine (N, N) and coarse (k, k): the Laplacians over G²; up (N, k): from the coarse grid's vertices to the
    fine one's, and down (k, N), its transpose."""

    fine: sparse.csr_matrix
    coarse: sparse.csr_matrix
    up: sparse.csr_matrix
    down: sparse.csr_matrix

    def solved(self, told: np.ndarray, right: np.ndarray, start: np.ndarray, tolerance: float) -> np.ndarray:
        """(N,) x of (fine + told) x = right, told (N,) being a diagonal, from `start` (N,)."""
        product, right = _system(self.fine, told), right.astype(np.float32)
        left, around = self.down @ (right - product(start.astype(np.float32))), self.down @ told.astype(np.float32)
        diagonal = self.coarse.diagonal() + around
        nothing = np.zeros(len(around))
        first = conjugate_gradients(_system(self.coarse, around), left, nothing, diagonal, COARSE_TOLERANCE, ITERATIONS)
        begun = start + self.up @ first.astype(np.float32)
        return conjugate_gradients(product, right, begun, self.fine.diagonal() + told, tolerance, ITERATIONS)


@lru_cache(maxsize=2)
def _grids(template: DenseTemplate) -> _Grids:
    used = np.flatnonzero(np.bincount(template.linear.indices, minlength=template.linear.shape[1]))
    up, fine = template.linear[:, used].tocsr(), template.laplacian * SLOPE_MM**-2
    down = up.T.tocsr()
    return _Grids(*(each.tocsr().astype(np.float32) for each in (fine, down @ fine @ up, up, down)))


def _system(laplacian: sparse.csr_matrix, diagonal: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What multiplies by laplacian + diagonal, in single precision."""
    added = diagonal.astype(np.float32)
    return lambda x: laplacian @ x + added * x
