"""The noise of a scan as a spectrum: how large it is, and over how many millimetres it is alike.

A scan's distances r from a surface that is nearly the true one are noise, and what that surface is off. Their variogram,

    γ(h) = ½ E[(r(x) − r(x + h))²] = Σ_j a_j (1 − exp(−h² / 2 ℓ_j²)),    a_j ≥ 0,

is that of a sum of independent parts of variance a_j and correlation length ℓ_j; ℓ = 0 is white. It is measured at lags of half a
millimetre to 32 mm by the estimator of Cressie & Hawkins (Robust estimation of the variogram, Mathematical Geology 12, 1980,
eq. 9), which outliers change little; the a_j follow by non-negative least squares of the relative misfit. Noise is what is alike
over at most `NOISE_MM`; what is alike over more is a bias of the sensor, or the surface's own error.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear, nnls
from scipy.spatial import cKDTree

LENGTHS_MM = np.array([0.0, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.3, 16.0, 22.6])
NOISE_MM = 4.5  # the longest of the project's simulated sensors is alike over 3.6 mm, what a fit is off over 5 mm and more
IS_NOISE = LENGTHS_MM <= NOISE_MM
_OCTAVES_MM = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # upper ends of the lags
_IMAGE_LAGS_MM = np.array([0.75, 1.5, 2.25, 3.0, 4.5, 6.0, 8.25, 12.0, 17.25, 24.0])
_CENTRES, _PARTNERS = 1500, 60  # points from which pairs are made, and how many with each in an octave, on average
_FEWEST_PAIRS, _FEWEST_LAGS = 300, 4


@dataclass(frozen=True)
class NoiseSpectrum:
    """variance (12,) mm² of the parts of `LENGTHS_MM`; spacing_mm: of the points, each to the next."""

    variance: np.ndarray
    spacing_mm: float

    @property
    def sigma_mm(self) -> float:
        """Standard deviation of a point's noise."""
        return float(np.sqrt(self.variance[IS_NOISE].sum()))

    @property
    def correlation_mm(self) -> float:
        """Root mean square of the noise's correlation lengths; 0 where it is white."""
        noise = self.variance * IS_NOISE
        return float(np.sqrt((noise * LENGTHS_MM**2).sum() / max(noise.sum(), 1e-12)))

    @property
    def broad_mm(self) -> float:
        """Standard deviation of what is alike over more than `NOISE_MM`."""
        return float(np.sqrt(self.variance[~IS_NOISE].sum()))

    @property
    def density_mm4(self) -> float:
        """The noise's spectral density at long wavelengths, Σ a 2π ℓ², for white noise a times a point's area: its mean over an
        area A, large against ℓ², has a variance of this over A."""
        return float((self.variance * self._areas)[IS_NOISE].sum())

    def variance_of_mean(self, width_mm: float) -> float:
        """Variance in mm² that the noise leaves in a mean weighted by a Gaussian of this standard deviation in mm: of each part,
        whose correlation is a Gaussian too, a_j ℓ_j² / (ℓ_j² + 2 width²), with a point's area for 2π ℓ² where it is white."""
        return float((self.variance * self._areas / (self._areas + 4 * np.pi * width_mm**2))[IS_NOISE].sum())

    @property
    def _areas(self) -> np.ndarray:
        """(12,) mm² over which each part is alike."""
        return np.maximum(2 * np.pi * LENGTHS_MM**2, self.spacing_mm**2)


def noise_spectrum(points: np.ndarray, residuals: np.ndarray, seed: int = 0) -> NoiseSpectrum | None:
    """Of points (n, 3) mm and their signed distances (n,) mm from a surface; None where there are too few pairs."""
    lags, gamma = variogram(points, residuals, seed)
    if len(lags) < _FEWEST_LAGS:
        return None
    spacing = np.median(cKDTree(points, balanced_tree=False).query(_some(points, seed), k=2)[0][:, 1])
    return spectrum_of_variogram(lags, gamma, float(spacing))


def image_noise_spectrum(residuals: np.ndarray, valid: np.ndarray, pixel_mm: float) -> NoiseSpectrum | None:
    """As `noise_spectrum`, of residuals (h, w) mm at the pixels under `valid` (h, w) bool, `pixel_mm` apart: all pairs along rows
    and columns at each of the lags."""
    lags, gamma = [], []
    for step in np.unique(np.maximum(np.round(_IMAGE_LAGS_MM / pixel_mm), 1).astype(int)).tolist():
        roots = []
        for values, known in ((residuals, valid), (residuals.T, valid.T)):
            both = known[step:] & known[:-step]
            roots.append(np.sqrt(np.abs(values[step:] - values[:-step])[both]))
        change = np.concatenate(roots)
        if len(change) >= _FEWEST_PAIRS:
            lags.append(step * pixel_mm)
            gamma.append(_cressie_hawkins(change))
    if len(lags) < _FEWEST_LAGS:
        return None
    return spectrum_of_variogram(np.array(lags), np.array(gamma), pixel_mm)


def spectrum_of_variogram(lags: np.ndarray, gamma: np.ndarray, spacing_mm: float) -> NoiseSpectrum:
    """Of mean lags (b,) mm and γ (b,) mm² there; spacing_mm: of the points."""
    parts = 1 - np.exp(-(lags[:, None] ** 2) / (2 * np.maximum(LENGTHS_MM, 1e-6) ** 2))
    weight = 1.0 / np.maximum(gamma, 1e-3 * gamma.max() + 1e-12)
    system, right = parts * weight[:, None], gamma * weight
    try:
        variance = nnls(system, right)[0]
    except RuntimeError:  # it goes in circles where the parts, of which neighbours are nearly alike, fit almost exactly
        variance = np.maximum(lsq_linear(system, right, (0, np.inf), method="bvls").x, 0.0)
    return NoiseSpectrum(variance, spacing_mm)


def _cressie_hawkins(roots: np.ndarray) -> float:
    """γ from the roots (n,) of the absolute differences of n pairs."""
    return float(0.5 * roots.mean() ** 4 / (0.457 + 0.494 / len(roots)))


def variogram(
    points: np.ndarray, residuals: np.ndarray, seed: int = 0, longest_mm: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Mean lags (b,) mm and γ (b,) mm² of the half octaves in which there are enough pairs, up to one that ends at
    `longest_mm`."""
    rng, lags, gamma = np.random.default_rng(seed), [], []
    tops = [top for top in _OCTAVES_MM if top <= longest_mm and len(points) > 1]
    centre = rng.permutation(len(points))[:_CENTRES]
    tree, near = (cKDTree(some, balanced_tree=False) for some in (points, points[centre]))
    around = cKDTree(points[centre[:200]]).count_neighbors(tree, tops) / min(len(points), 200) if tops else ()
    for top, held in zip(tops, around, strict=True):
        partner, among = rng.permutation(len(points))[: int(np.ceil(len(points) * min(1.0, _PARTNERS / held)))], tree
        if len(partner) < len(points):
            among = cKDTree(points[partner], balanced_tree=False)
        else:
            partner = np.arange(len(points))
        pairs = near.sparse_distance_matrix(among, top, output_type="ndarray")
        lag = np.ascontiguousarray(pairs["v"])
        for low in (top / 2, top / np.sqrt(2)):
            inside = np.flatnonzero((lag > low) & (lag <= low * np.sqrt(2)))
            if len(inside) >= _FEWEST_PAIRS:
                change = residuals[centre][pairs["i"][inside]] - residuals[partner][pairs["j"][inside]]
                lags.append(lag[inside].mean())
                gamma.append(_cressie_hawkins(np.sqrt(np.abs(change))))
    return np.array(lags), np.array(gamma)


def _some(points: np.ndarray, seed: int) -> np.ndarray:
    return points[np.random.default_rng(seed).permutation(len(points))[:_CENTRES]]
