"""Damped Gauss–Newton steps over sums of linearised terms, within bounds."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsyrk, ssyrk

from geometry.errors import FitError
from geometry.fitting.residuals import LinearTerm, PriorTerm

_ROUNDS = 6  # of the active set
_BLOCK = 2048  # rows; smaller blocks spend their time adding up


def normal_equations(terms: Sequence[LinearTerm], priors: Sequence[PriorTerm] = ()) -> tuple[np.ndarray, np.ndarray]:
    """H = Σ Jᵀ W J (p, p) and g = Σ Jᵀ W r (p,): each product in the precision of its Jacobian, their sum in float64."""
    size = terms[0].jacobian.shape[1]
    hessian, gradient = np.zeros((size, size)), np.zeros(size)
    for term in terms:
        hessian += gram(term.jacobian, term.weights)
        gradient += (term.weights * term.residuals).astype(term.jacobian.dtype) @ term.jacobian
    return with_priors(hessian, gradient, priors)


def gram(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ w xᵀ x (p, p) of rows x (r, p) with the weights (r,) ≥ 0: in the rows' precision block by block, which are summed in
    float64. All weighted rows at once would pass through memory twice more."""
    product, root = ssyrk if rows.dtype == np.float32 else dsyrk, np.sqrt(weights).astype(rows.dtype)[:, None]
    upper = np.zeros((rows.shape[1],) * 2, order="F")
    for start in range(0, len(rows) if rows.shape[1] else 0, _BLOCK):
        part = slice(start, start + _BLOCK)
        upper += product(1.0, (rows[part] * root[part]).T)
    return upper + np.triu(upper, 1).T  # below the diagonal BLAS leaves the zeros that scipy made


def with_priors(hessian: np.ndarray, gradient: np.ndarray, priors: Sequence[PriorTerm]) -> tuple[np.ndarray, np.ndarray]:
    """H (p, p) and g (p,) of the data with what the priors add to them; new arrays."""
    hessian, gradient = hessian.copy(), gradient.copy()
    for prior in priors:
        part = slice(prior.first, prior.first + len(prior.residuals))
        hessian[part, part] += prior.precision
        gradient[part] += prior.precision @ prior.residuals
    return hessian, gradient


def bounded_step(hessian: np.ndarray, gradient: np.ndarray, bounds: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """δ (p,) that minimises ½ δᵀ H δ + gᵀ δ; H (p, p) with its damping (Levenberg–Marquardt), g (p,).

    bounds: the least and the largest δ, (p,) each. An active set keeps to them: what a step would take beyond is held at its
    bound, and the others are solved for anew (Nocedal & Wright 2006, section 16.7, without the release of bounds: the next step
    of the fit begins with none held). Raises FitError where the equations have no finite solution.
    """
    diagonal = np.diag(hessian)
    hessian = hessian + np.diag(1e-6 * diagonal + 1e-9 * max(diagonal.max(), 1e-9))
    low, high = (np.full(len(gradient), -np.inf), np.full(len(gradient), np.inf)) if bounds is None else bounds
    step, free = np.zeros(len(gradient)), np.ones(len(gradient), bool)
    for _ in range(_ROUNDS):
        if free.all():
            step = _solved(hessian, gradient)
        else:
            step[free] = _solved(hessian[np.ix_(free, free)], gradient[free] + hessian[np.ix_(free, ~free)] @ step[~free])
        outside = (step < low) | (step > high)
        if not outside.any():
            break
        step, free = np.clip(step, low, high), free & ~outside
    return np.clip(step, low, high)


def _solved(hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    try:
        step = -cho_solve(cho_factor(hessian, lower=True), gradient)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise FitError(f"the normal equations cannot be solved ({error}); too little of the face is visible") from error
    if not np.isfinite(step).all():
        raise FitError("the fit diverged: a step is not finite; too little of the face is visible")
    return step
