"""The noise input of the shipped refiner, as it was trained: the noise that a scan alone shows, which is a fraction of what it is
where neighbouring samples are alike (docs/experiments/fit.md). It goes when the refiner is trained on the measured spectrum.
"""

import numpy as np

from geometry.charts.geometry_image import GeometryImage
from geometry.charts.masked_filters import masked_mean

NOISE_WINDOW_MM = 5.0


def noise_map(coarse: GeometryImage, scan: GeometryImage, noise_mm: float) -> np.ndarray:
    """(h, w) local noise in mm: the scan's overall noise, shared out by how rough its residual is here and there.

    Roughness is the local RMS of the residual's finest band; its ratio to the image's median, kept within a factor
    of three, scales `noise_mm`. A scan without noise has none anywhere, however rich its detail.
    """
    both = coarse.valid_mask & scan.valid_mask
    if noise_mm <= 0 or both.sum() < 100:
        return np.where(scan.valid_mask, np.float32(noise_mm), np.float32(0))
    weight = both.astype(np.float32)
    residual = np.where(both, np.clip(scan["depth"] - coarse["depth"], -10, 10), 0).astype(np.float32)
    fine = residual - masked_mean(residual, weight, 2.0, 1e-3)
    rough = np.sqrt(masked_mean(fine**2, weight, NOISE_WINDOW_MM / coarse.chart.pixel_mm, 1e-3))
    ratio = np.clip(rough / max(np.median(rough[both]), 1e-6), 1 / 3, 3)
    return np.where(scan.valid_mask, noise_mm * np.where(both, ratio, 1.0), 0).astype(np.float32)
