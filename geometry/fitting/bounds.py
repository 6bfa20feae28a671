"""Coefficients of a fit that lie at the ends of what the model is asked for: the face may be beyond."""

import numpy as np

from geometry.fitting.problem import IDENTITY_BOUND
from geometry.fitting.result import FitResult
from geometry.model.expression_prior import expression_prior
from geometry.model.morphable_model import MorphableModel

NEAR = 1e-3  # of the bound
LISTED = 4


def at_bounds(fit: FitResult, model: MorphableModel) -> list[str]:
    """Names of the coefficients at a bound, identity first. 0, where the range of a blendshape begins, counts as none."""
    identity = np.flatnonzero(np.abs(fit.identity_coefficients) > (1 - NEAR) * IDENTITY_BOUND)
    prior, weights = expression_prior(model), fit.expression_coefficients
    high, low = prior.high[: len(weights)], prior.low[: len(weights)]
    ends = weights > high - NEAR * (high - low)
    if model.expression_range is None:
        ends |= weights < low + NEAR * (high - low)
    names = model.expression_names or [f"expression {k}" for k in range(len(high))]
    return [f"identity mode {k}" for k in identity.tolist()] + [names[k] for k in np.flatnonzero(ends).tolist()]


def note_of_bounds(fit: FitResult, model: MorphableModel) -> tuple[str, ...]:
    """What whoever uses the fit has to know of them; nothing where there are none."""
    names = at_bounds(fit, model)
    if not names:
        return ()
    listed = ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
    return (f"{len(names)} of the fit's coefficients are as large as they may be ({listed}): the face may go beyond the model",)
