"""Damped Gauss–Newton steps over sums of linearised terms."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from geometry.errors import FitError
from geometry.fitting.residuals import LinearTerm


def normal_equations(terms: Sequence[LinearTerm]) -> tuple[np.ndarray, np.ndarray]:
    """H = Σ Jᵀ W J (p, p) and g = Σ Jᵀ W r (p,), accumulated in float64."""
    hessian, gradient = np.zeros(()), np.zeros(())
    for term in terms:
        weighted = term.jacobian * term.weights[:, None].astype(term.jacobian.dtype)
        hessian = hessian + (weighted.T @ term.jacobian).astype(np.float64)
        gradient = gradient + (weighted.T @ term.residuals.astype(term.jacobian.dtype)).astype(np.float64)
    return hessian, gradient


def gauss_newton_step(terms: Sequence[LinearTerm], damping: np.ndarray | float = 0.0) -> np.ndarray:
    """δ (p,) that minimises ½ Σ w (r + J δ)² + ½ δᵀ D δ for a damping matrix D (p, p) (Levenberg–Marquardt).

    Raises FitError where the equations have no finite solution.
    """
    hessian, gradient = normal_equations(terms)
    diagonal = np.diag(hessian)
    hessian = hessian + damping + np.diag(1e-6 * diagonal + 1e-9 * max(diagonal.max(), 1e-9))
    try:
        step = -cho_solve(cho_factor(hessian, lower=True), gradient)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise FitError(f"the normal equations cannot be solved ({error}); too little of the face is visible") from error
    if not np.isfinite(step).all():
        raise FitError("the fit diverged: a step is not finite; too little of the face is visible")
    return step
