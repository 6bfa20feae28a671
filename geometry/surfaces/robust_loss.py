"""Weights of iteratively reweighted least squares: what contradicts the rest loses its say."""

import numpy as np


def geman_mcclure_weights(residuals: np.ndarray, scale: float) -> np.ndarray:
    """IRLS weights of ρ(r) = r²/(1 + r²/c²) (Geman & McClure 1985): 1 at zero, 1/16 at √3 c."""
    return 1.0 / (1.0 + (residuals / scale) ** 2) ** 2
