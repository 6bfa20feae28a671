"""How much of a surface's fine relief is right: its mean curvature within a band of wavelengths, against the truth's.

Two surfaces are compared as depth images over one chart, in the same pixels. Both ends of the band are Gaussian: the quadratic
fit that gives the curvature has a window of width σ and answers to a wave of wavelength λ with exp(−(2πσ/λ)²/2) of its curvature,
so that σ = c·λ₀ with c = √(2 ln 2)/(2π) leaves half of it at λ₀. The short end is that window's; the long end is cut by taking
away the mean under a Gaussian of width c·λ₁, normalised by the mask, so that a hole or a border adds nothing. Between the ends
the answer reaches 0.76 (6–20 mm) and 0.82 (2–8 mm); it is the same for both surfaces. Wavelengths are measured in
the chart, along its pixels.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

from geometry.charts.chart import Chart
from geometry.charts.curvature import mean_curvature, normals_from_depth, ray_frame
from geometry.charts.masked_filters import masked_mean

HALF_AMPLITUDE = float(np.sqrt(2 * np.log(2)) / (2 * np.pi))  # Gaussian width over the wavelength that it halves
STEEP_COSINE = 0.4  # a surface turned farther from the rays is a silhouette in the making: a pixel there spans several mm
LIMIT = 0.1  # 1/mm; what is curved more counts as this: lids and lip lines, 1 % of the pixels, made half of the squared error
MARGIN_MM = 2.25  # about silhouettes and borders, where differences read both sides


@dataclass(frozen=True)
class Band:
    """Wavelengths in mm between which relief counts; half of its amplitude is left at both ends."""

    shortest_mm: float
    longest_mm: float

    def __post_init__(self) -> None:
        if not 0 < self.shortest_mm < self.longest_mm:
            raise ValueError(f"a band needs 0 < shortest < longest, got {self.shortest_mm} and {self.longest_mm} mm")


@dataclass(frozen=True)
class DetailError:
    """rms (1/mm) of the difference and Pearson correlation of both surfaces' curvature in the band; truth_rms (1/mm): the truth's
    own, what a surface without detail is wrong by; pixels: how many were compared. NaN where fewer than 100 were."""

    rms: float
    correlation: float
    truth_rms: float
    pixels: int


def band_curvature(depth: np.ndarray, valid: np.ndarray, chart: Chart, band: Band) -> np.ndarray:
    """Mean curvature (h, w) in 1/mm of a depth image (h, w) in mm within the band; 0 where invalid."""
    curvature = mean_curvature(depth, valid, chart, HALF_AMPLITUDE * band.shortest_mm)
    width = HALF_AMPLITUDE * band.longest_mm / chart.pixel_mm
    return np.where(valid, curvature - masked_mean(curvature, np.asarray(valid, float), width, 1e-3), 0.0)


def comparable_pixels(truth_depth: np.ndarray, valid: np.ndarray, chart: Chart) -> np.ndarray:
    """(h, w) bool: valid pixels away from the border of the valid region and from where the truth turns steep."""
    normals = normals_from_depth(truth_depth, valid, chart)
    facing = (normals * ray_frame(chart).direction).sum(2)
    bad = ~np.asarray(valid, bool) | (facing < STEEP_COSINE)
    reach = max(1, round(MARGIN_MM / chart.pixel_mm))
    return ~binary_dilation(bad, np.ones((3, 3), bool), iterations=reach)


def detail_error(
    depth: np.ndarray, truth_depth: np.ndarray, valid: np.ndarray, observed: np.ndarray, chart: Chart, band: Band
) -> DetailError:
    """Compares depth with truth_depth, both (h, w) in mm and known under `valid` (h, w), over the pixels under `observed` (h, w)
    that are `comparable_pixels`; each curvature within ±LIMIT."""
    mask = np.asarray(observed, bool) & comparable_pixels(truth_depth, valid, chart)
    count = int(mask.sum())
    if count < 100:
        return DetailError(float("nan"), float("nan"), float("nan"), count)
    found, true = (np.clip(band_curvature(surface, valid, chart, band)[mask], -LIMIT, LIMIT) for surface in (depth, truth_depth))
    rms = lambda values: float(np.sqrt((values**2).mean()))
    spread = found.std() * true.std()
    correlation = float(((found - found.mean()) * (true - true.mean())).mean() / spread) if spread > 0 else 0.0
    return DetailError(rms(found - true), correlation, rms(true), count)
