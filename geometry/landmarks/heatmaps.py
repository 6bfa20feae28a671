"""Landmarks as one view tells them: where in the picture, and how surely."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from geometry.landmarks.estimate import CLOSE_MM
from geometry.model.morphable_model import MARK_UP


@dataclass(frozen=True)
class ViewLandmarks:
    """What a network says of the l landmarks in one view: position (l, 2) as (column, row) in image coordinates; covariance
    (l, 2, 2) mm², of x to the right and y *up*, the view frame's; visibility (l,): the probability that the scan shows it;
    mark_up: the one that the network was trained on."""

    position: np.ndarray
    covariance: np.ndarray
    visibility: np.ndarray
    mark_up: int = MARK_UP


def covariance_of_factor(factor: np.ndarray) -> np.ndarray:
    """Cholesky factors of inverse covariances, (l, 3) as a, b, c of [[a, 0], [b, c]] for x right and y down, 1/mm →
    covariances (l, 2, 2) mm² for x right and y up."""
    a, b, c = factor.T
    # P = F Fᵀ; P⁻¹ = adj(P) / (a c)²
    determinant = (a * c) ** 2
    xx, yy, xy = (b**2 + c**2) / determinant, a**2 / determinant, -a * b / determinant
    return np.stack([np.stack([xx, -xy], 1), np.stack([-xy, yy], 1)], 1)


def probability_within(covariance: np.ndarray, radius_mm: float = CLOSE_MM) -> np.ndarray:
    """(…, d, d) covariances of Gaussian errors → (…) probability that the error is shorter than `radius_mm`, by a scaled χ² with
    the squared length's mean and variance (Satterthwaite 1946)."""
    first = np.trace(covariance, axis1=-2, axis2=-1)
    second = np.einsum("...ij,...ji->...", covariance, covariance)
    scale = second / np.maximum(first, 1e-12)
    return chi2.cdf(radius_mm**2 / np.maximum(scale, 1e-12), np.maximum(first / np.maximum(scale, 1e-12), 1e-6))
