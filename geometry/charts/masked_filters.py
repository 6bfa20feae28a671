"""Filters over images of which only some pixels are known."""

import numpy as np
from scipy.ndimage import gaussian_filter


def masked_mean(values: np.ndarray, weight: np.ndarray, sigma_px: float, floor: float) -> np.ndarray:
    """(h, w) the mean of values (h, w) under a Gaussian of width `sigma_px` pixels, each pixel counted by its weight (h, w).

    weight: a bool mask, or ≥ 0; values must be finite also where it is 0. Where the weights in the window sum to less than
    `floor`, the mean fades to 0.
    """
    return masked_mean_and_weight(values, weight, sigma_px, floor)[0]


def masked_mean_and_weight(
    values: np.ndarray, weight: np.ndarray, sigma_px: float, floor: float
) -> tuple[np.ndarray, np.ndarray]:
    """As `masked_mean`, and the mean (h, w) of the weights under the same Gaussian: how much is known about each pixel."""
    known = gaussian_filter(weight * 1.0, sigma_px)
    return gaussian_filter(values * weight, sigma_px) / np.maximum(known, floor), known
