"""Heatmaps of landmarks, and landmarks as one view tells them: the reference in NumPy, free of any network.

A heatmap is a distribution over the cells of a picture. Coordinates are mm in the picture's plane, x to the right, y down, from
its upper left corner; cell (row, column) is centred at ((column + 0.5), (row + 0.5)) · cell_mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from geometry.landmarks.estimate import CLOSE_MM


@dataclass(frozen=True)
class ViewLandmarks:
    """What a network says of the l landmarks in one view: position (l, 2) as (column, row) in image coordinates; covariance
    (l, 2, 2) mm², of x to the right and y *up*, the view frame's; visibility (l,): the probability that the scan shows it."""

    position: np.ndarray
    covariance: np.ndarray
    visibility: np.ndarray


def encode(points_mm: np.ndarray, shape: tuple[int, int], cell_mm: float, sigma_mm: float) -> np.ndarray:
    """Points (l, 2) → (l, h, w) heatmaps, Gaussians that sum to 1; a point off the picture gives the cells nearest to it."""
    rows, columns = np.meshgrid(np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5, indexing="ij")
    x, y = np.asarray(points_mm, float).T[..., None, None]
    exponent = -((columns * cell_mm - x) ** 2 + (rows * cell_mm - y) ** 2) / (2 * sigma_mm**2)
    weight = np.exp(exponent - exponent.max((1, 2), keepdims=True))
    return weight / weight.sum((1, 2), keepdims=True)


def soft_argmax(heatmaps: np.ndarray, cell_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """(l, h, w), each summing to 1 → mean (l, 2) and covariance (l, 2, 2) of the place, mm and mm² (integral regression,
    Sun et al. 2018, eq. 3, with its second moment)."""
    count, height, width = heatmaps.shape
    rows, columns = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    cells = np.stack([columns.ravel(), rows.ravel()], 1) * cell_mm
    share = heatmaps.reshape(count, -1)
    mean = share @ cells
    offset = cells[None] - mean[:, None]
    return mean, np.einsum("ln,lni,lnj->lij", share, offset, offset)


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
