"""The face's skin by its aesthetic units, by which errors are told apart, and the figures that are told of them."""

import numpy as np

from geometry.model.morphable_model import MorphableModel

WHOLE = "face"
NAMES = ("forehead", "brows", "lids", "nose", "ala", "cheeks", "perioral", "lips", "chin", "jaw")  # "nose" holds the "ala", too
LININGS = ("mouth_interior", "eyes", "nostrils", "cavities")


def skin_regions(model: MorphableModel) -> dict[str, np.ndarray]:
    """Name → (n,) bool: the face region's outer skin, and of it what lies in each of `NAMES` that the model has."""
    nowhere = np.zeros(model.n_vertices, bool)
    lining = np.any([model.regions.get(name, nowhere) for name in LININGS], axis=0)
    skin = model.regions["face"] & ~lining
    return {WHOLE: skin} | {name: skin & model.regions[name] for name in NAMES if (skin & model.regions.get(name, nowhere)).any()}


def weighted_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The least of values (k,) that at least `share` of the weight (k,) does not exceed; NaN of none."""
    if not len(values):
        return float("nan")
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order[min(np.searchsorted(reached, share * reached[-1]), len(values) - 1)]])
