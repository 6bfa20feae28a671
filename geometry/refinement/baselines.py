"""The refiners that need no learning: what a network must beat."""

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from geometry.charts.geometry_image import GeometryImage
from geometry.charts.masked_filters import masked_mean
from geometry.charts.rasterize import image_from_depth

FAR_MM = 15.0  # a scan this far from the fit is hair or a hand, not the face
MM_PER_NOISE = 6.0  # Gaussian width for each mm of noise; chosen on synthetic validation pairs
MAX_WIDTH_MM = 9.0
EDGE_MM = 3.0  # over which a scan's edge gains full weight
FADE_MM = 6.0  # how far the residual is carried beyond the scan's edge
LEAST_WEIGHT = 1e-4  # in a window: below it the residual fades to 0


def none_refine(coarse: GeometryImage) -> GeometryImage:
    """The coarse surface itself, with no confidence in any pixel."""
    return coarse.with_channel("confidence", np.zeros(coarse.shape, np.float32))


def smooth_refine(coarse: GeometryImage, scan: GeometryImage) -> GeometryImage:
    """Coarse depth plus the scan's residual, Gaussian-smoothed within its mask; the width follows the estimated noise.

    A scan is least true at its own edge, so pixels there count less; beyond the edge the residual is carried on
    and fades to zero. confidence: 1 inside the scan, falling with the same fade.
    """
    pixel = coarse.chart.pixel_mm
    both = coarse.valid_mask & scan.valid_mask
    residual = np.where(both, scan["depth"] - coarse["depth"], 0.0)
    both &= np.abs(residual) < FAR_MM
    inside = np.clip(distance_transform_edt(np.pad(both, 1, constant_values=True))[1:-1, 1:-1] * pixel / EDGE_MM, 0, 1)
    weight = both * np.maximum(inside, 0.05)
    noise = float(np.median(scan["noise_sigma"][both])) if both.any() else 0.0
    width = min(MM_PER_NOISE * noise, MAX_WIDTH_MM) / pixel
    smoothed = residual if width < 0.25 else masked_mean(residual, weight, width, LEAST_WEIGHT)
    fade = np.clip(2 * gaussian_filter(weight, FADE_MM / pixel), 0, 1)
    carried = masked_mean(smoothed, weight, FADE_MM / pixel, LEAST_WEIGHT) * fade
    offset = np.where(both, inside * smoothed + (1 - inside) * carried, carried)
    depth = np.where(coarse.valid_mask, coarse["depth"] + offset, 0).astype(np.float32)
    refined = image_from_depth(depth, coarse.valid_mask, coarse.chart)
    return refined.with_channel("confidence", np.where(both, inside + (1 - inside) * fade, fade) * coarse.valid_mask)
