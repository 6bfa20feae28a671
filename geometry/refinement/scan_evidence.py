"""What a scan says of a refined surface: where it shows it, how far the two are apart, and how far that is for this scan.

Distances are along the surface's normals, positive where the scan lies before it, on any chart: a step along a pixel's ray is
turned into a distance by the angle between ray and normal. Two things tell the face from what is not it:

- **what stands before it**, by more than OCCLUDER_MM and the scan's own noise, is hair, a hand or glasses;
- **behind it** there is nothing that could hide it, so that a scan there speaks against the surface, up to FAR_MM, beyond which
  lie the throat, background and pixels that flew off an edge.

How far a difference, averaged over a window, is from nothing is not what the scan alone shows of its noise: a sensor's noise is
alike over millimetres and looks like shape there. It is what scan and surface are apart all over the face, as their differences'
median says, which no local error moves; bounded by the noise that their variogram shows (`noise_spectrum`, alike over at most
4.5 mm) and by a bias that goes with it. Without that bound a surface that is wrong everywhere would pass for a bad scan.
"""

from dataclasses import dataclass

import numpy as np

from geometry.charts.curvature import facing
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.masked_filters import masked_mean_and_weight
from geometry.surfaces.noise_spectrum import image_noise_spectrum

WINDOW_MM = 3.0  # Gaussian σ of the comparison
OCCLUDER_MM, OCCLUDER_NOISES = 4.0, 2.0  # before the surface: so far, and so many times the noise of a pixel, farther
FAR_MM = 15.0  # `baselines.FAR_MM`, `gan.layout.RESIDUAL_LIMIT_MM`
# Of what is alike over more than noise is: so much, and so many times a pixel's noise, in any scan. Chosen of 0.5, 0.7, 0.9 and
# of 0 to 3 times so that a true surface that claims σ = 0.05 mm is kept on 99 % of the seen pixels under simulated sensors (scans
# of bare faces, benchmarks/contradictions.py): depth cameras are off by up to 2.4 mm all over a face there
BIAS_MM, BIAS_NOISES = 0.7, 2.0
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class ScanEvidence:
    """seen (h, w) bool: the scan shows the face; difference (h, w) mm: scan − surface along the normal, the mean over the seen
    pixels of a window; tolerance (h, w) mm: its standard deviation were the surface true; noise_mm: of a pixel."""

    seen: np.ndarray
    difference: np.ndarray
    tolerance: np.ndarray
    noise_mm: float


def scan_evidence(scan: GeometryImage, refined: GeometryImage) -> ScanEvidence:
    """scan (with "noise_sigma") and refined over one chart, of any kind."""
    both = scan.valid_mask & refined.valid_mask
    apart = np.where(both, (scan["depth"].astype(float) - refined["depth"]) * facing(refined), 0.0)
    both &= apart > -FAR_MM
    spectrum = image_noise_spectrum(apart, both & (apart < OCCLUDER_MM), refined.chart.pixel_mm)
    told = float(np.median(scan["noise_sigma"][both])) if both.any() else 0.0
    noise, left = (told, told) if spectrum is None else (spectrum.sigma_mm, np.sqrt(spectrum.variance_of_mean(WINDOW_MM)))
    seen = both & (apart < OCCLUDER_MM + OCCLUDER_NOISES * noise)
    difference, weight = masked_mean_and_weight(apart, seen, WINDOW_MM / refined.chart.pixel_mm, 1e-3)
    typical = MAD_TO_SIGMA * float(np.median(np.abs(difference[seen]))) if seen.any() else 0.0
    rough = np.maximum(scan["noise_sigma"] / told, 1.0) if told > 0 else 1.0  # noisier than most of the scan, as at its sides
    # half a window of evidence has √2 times the noise
    most = float(np.linalg.norm([left, BIAS_MM, BIAS_NOISES * noise]))
    tolerance = min(typical, most) * rough / np.sqrt(np.clip(weight, 1e-3, 1.0))
    return ScanEvidence(seen, np.where(seen, difference, 0.0), tolerance, noise)
