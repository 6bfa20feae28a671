"""How large a scan is but for what strays from it."""

import numpy as np

CENTRAL = (0.05, 0.95)  # quantiles along each axis: up to a twentieth of the points may stray to one side


def bulk_of(points: np.ndarray) -> np.ndarray:
    """(n,) bool: the points (n, 3), in any unit, that are within one length of the box which holds the middle nine tenths along
    each axis; the length is that of the box's longest side.

    A surface sampled with any evenness lies in it whole, so that its extent is exact, not a quantile; a vertex that a file left
    metres away, a spike to it, or a floating speck does not. The area of triangles would not tell: a spike's is large.
    """
    if not len(points):
        return np.zeros(0, bool)
    low, high = np.quantile(points, CENTRAL, axis=0)
    length = (high - low).max()
    return ((points >= low - length) & (points <= high + length)).all(axis=1)


def spans_of_bulk(points: np.ndarray) -> np.ndarray:
    """(3,) extent along each axis of the bulk of points (n, 3), in their unit; zeros where there are none."""
    bulk = points[bulk_of(points)]
    return np.ptp(bulk, axis=0) if len(bulk) else np.zeros(3)
