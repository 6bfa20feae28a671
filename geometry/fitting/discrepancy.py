"""What a morphable model cannot show of a face: a smooth random field along its normals (Kennedy & O'Hagan 2001, eq. 4).

The field is Gaussian with the covariance k(x, y) = Σ_j s_j² exp(−|x − y|² / 2 ℓ_j²) over the mean shape. Nyström's method on
nodes spread over the face gives its leading eigenvectors (Williams & Seeger 2001, eq. 8). A fit has an N(0, 1) coefficient for
each of them beside the model's own: what is broad in the residual is shared between the two by their priors, and the model's
coefficients are as sure as that leaves them, not as sure as if every millimetre told of them alone.
"""

from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from geometry.model.morphable_model import MorphableModel

_KEPT = 0.02  # of the largest eigenvalue: vectors of smaller ones are left out


@lru_cache(maxsize=2)
def discrepancy_basis(model: MorphableModel, sigmas_mm: tuple[float, ...], lengths_mm: tuple[float, ...]) -> np.ndarray:
    """(n, r) float32 mm along each vertex' normal per coefficient, for the s_j and ℓ_j; it fades to nothing beside the face."""
    face = model.mean[model.regions["face"]]
    nodes = face[_spread(face, min(lengths_mm))]
    among, over = (_covariance(points, nodes, sigmas_mm, lengths_mm) for points in (nodes, model.mean))
    values, vectors = np.linalg.eigh(among)
    kept = values > _KEPT * values[-1]
    return (over @ (vectors[:, kept] / np.sqrt(values[kept]))).astype(np.float32)


def _covariance(points: np.ndarray, nodes: np.ndarray, sigmas: tuple[float, ...], lengths: tuple[float, ...]) -> np.ndarray:
    squared = cdist(points, nodes, "sqeuclidean")
    return sum(sigma**2 * np.exp(-squared / (2 * length**2)) for sigma, length in zip(sigmas, lengths, strict=True))


def _spread(points: np.ndarray, spacing: float) -> np.ndarray:
    """Numbers of points of which no two are nearer than the spacing, first come first served."""
    tree, left, chosen = cKDTree(points), np.ones(len(points), bool), []
    for number in range(len(points)):
        if left[number]:
            chosen.append(number)
            left[tree.query_ball_point(points[number], spacing)] = False
    return np.array(chosen)
