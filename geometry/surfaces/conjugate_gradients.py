"""Conjugate gradients in single precision, for systems whose solution is wanted to a few digits only."""

from collections.abc import Callable

import numpy as np


def conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray],
    right: np.ndarray,
    start: np.ndarray,
    diagonal: np.ndarray,
    tolerance: float,
    iterations: int,
) -> np.ndarray:
    """x (n,) of `product(x) = right`, of a symmetric positive definite matrix with this diagonal (n,), which preconditions; from
    `start` (n,) until the residual is `tolerance` of the right side, or so many iterations."""
    right, x = (np.asarray(each, np.float32).copy() for each in (right, start))
    inverse = (1 / diagonal).astype(np.float32)
    residual = right - product(x)
    enough, direction, before = tolerance * float(np.linalg.norm(right)), np.zeros_like(x), 1.0
    for number in range(iterations):
        if float(np.linalg.norm(residual)) <= enough:
            break
        scaled = inverse * residual
        now = float(residual @ scaled)
        direction *= np.float32(now / before if number else 0.0)
        direction += scaled
        along = product(direction)
        step = np.float32(now / float(direction @ along))
        x += step * direction
        along *= step
        residual -= along
        before = now
    return x.astype(float)
