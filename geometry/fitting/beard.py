"""What a beard leaves in a fit. No single figure tells a beard from a chin: a face model follows a beard as it follows a jaw, and
a rough surface may be a sensor's noise. Two together tell thick ones.

**Its outline.** A beard stands before the skin that grows it and ends at the lips and across the cheeks, and no jaw does. One
more unknown is added to the fit's last equations, how far the surface is raised where beards grow, and solved for with all
others: where the model and what it cannot show account for the shape, nothing is left for it.

**Its tufts.** Where beards grow the surface is rougher than elsewhere on the same face, which shares the sensor's noise.
"""

from dataclasses import dataclass

import numpy as np

from geometry.model.beard_area import ABOVE_LIPS, SOFT_MM, beard_area
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.noise_spectrum import variogram

TUFTS_MM = (2.0, 7.5)  # lags of the roughness
FEWEST_POINTS = 150  # in each of the two parts of the face
PRIOR_MM = 3.0  # standard deviation of how far a surface is raised, before the scan is asked
LIKELY = 0.5
THICK_MM = 2.0  # a beard that hides a chin
# The logarithm of the odds, of 285 simulated scans by benchmarks/beards.py --calibrate --count 330
BIAS, WEIGHTS = -3.422, np.array([2.137, 0.396, 2.254])


@dataclass(frozen=True)
class BeardSigns:
    """raised_mm and sigma_mm: how far the surface is raised where beards grow beyond what the rest of the fit explains, and its
    standard deviation; roughness: of the scan there, in parts of that of forehead, nose and cheeks, standard deviations; NaN
    where the scan shows too little of either."""

    raised_mm: float
    sigma_mm: float
    roughness: float


def roughness(points: np.ndarray, residuals: np.ndarray, vertices: np.ndarray, model: MorphableModel) -> float:
    """As of `BeardSigns`, from points (p, 3) of a scan on smooth skin, their distances (p,) from the fit, mm, and the model's
    vertices (p,) that they lie by."""
    marks = model.mean[model.landmarks["ibug68"]]
    there = beard_area(model)[vertices] > 0.9
    elsewhere = model.mean[vertices, 1] > marks[ABOVE_LIPS, 1] + SOFT_MM
    found = [_rough(points[part], residuals[part]) for part in (there, elsewhere)]
    return float(np.sqrt(found[0] / found[1])) if found[1] > 0 else float("nan")


def _rough(points: np.ndarray, residuals: np.ndarray) -> float:
    """Mean of the variogram over the lags of tufts, mm²; NaN where there are too few points."""
    if len(points) < FEWEST_POINTS:
        return float("nan")
    lags, gamma = variogram(points, residuals, longest_mm=8.0)  # the octave that ends beyond them
    of_tufts = (lags > TUFTS_MM[0]) & (lags < TUFTS_MM[1])
    return float(gamma[of_tufts].mean()) if of_tufts.any() else float("nan")


def beard_terms(signs: BeardSigns) -> np.ndarray:
    """(3,) what speaks for a thick beard: raised_mm, the same in its σ, logarithm of the roughness; 0 where there is nothing to
    measure, and cut where there are hardly any calibration scans."""
    values = (signs.raised_mm, signs.raised_mm / signs.sigma_mm, np.log(signs.roughness))
    return np.array([np.clip(value, -3.0, most) if np.isfinite(value) else 0.0 for value, most in zip(values, (3.0, 6.0, 1.0))])


def thick_beard_probability(signs: BeardSigns) -> float:
    """That a beard raises the chin by `THICK_MM` or more, by logistic regression."""
    return float(1 / (1 + np.exp(-BIAS - beard_terms(signs) @ WEIGHTS)))


def is_bearded(signs: BeardSigns | None) -> bool:
    """Whether a thick beard is likelier than none; never without signs."""
    return signs is not None and thick_beard_probability(signs) >= LIKELY
