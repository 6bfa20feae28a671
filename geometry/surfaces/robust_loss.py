"""Weights of iteratively reweighted least squares: what contradicts the rest loses its say."""

import numpy as np


def geman_mcclure_weights(residuals: np.ndarray, scale: float) -> np.ndarray:
    """IRLS weights of ρ(r) = r²/(1 + r²/c²) (Geman & McClure 1985): 1 at zero, 1/16 at √3 c."""
    return 1.0 / (1.0 + (residuals / scale) ** 2) ** 2


def occluded_weights(offsets: np.ndarray, scale: float, front: float) -> np.ndarray:
    """IRLS weights of signed distances, positive before a surface: those of Geman and McClure, and before it less, half at
    `front` and soon nothing. Hair, a hand or a collar stands before skin and never behind it. Up to about `front` / 2 both sides
    count alike, so that symmetric noise shifts nothing."""
    return geman_mcclure_weights(offsets, scale) / (1.0 + (np.maximum(offsets, 0.0) / front) ** 8)
