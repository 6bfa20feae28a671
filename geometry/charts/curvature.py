"""Differential geometry of a depth image: normals and curvature of the surface P(c, r) = A + d·D.

A chart's ray through the image point (column c, row r) starts at A(c, r) and runs outward along the unit vector D(c, r);
d(c, r) is the depth. In the orthonormal frame (E₁ along columns, E₂ along rows, D) every chart here has
A_c = m₀ E₁, A_r = p E₂, D_c = κ E₁, D_r = 0 with constant m₀, p, κ (κ = 0: parallel rays), hence, with m = m₀ + κ d,
    P_c = m E₁ + d_c D, P_r = p E₂ + d_r D,
    P_cc = 2κ d_c E₁ + (d_cc − κ m) D, P_cr = κ d_r E₁ + d_cr D, P_rr = d_rr D,
    outward normal ∝ −p d_c E₁ − m d_r E₂ + m p D.
Derivatives of d come from differences or local fits that read valid pixels only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import correlate1d, uniform_filter

from geometry.charts.chart import Chart, pixel_centres
from geometry.charts.geometry_image import GeometryImage, channel_normals

FIT_SIGMA_MM = 1.5  # width of the Gaussian window of the quadratic fit: 0.1 mm of white depth noise gives 0.0055 /mm of curvature
GRAZING = 0.2  # least cosine between ray and normal that is reckoned with: about 78°
_MONOMIALS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))  # powers of (column, row) in the local quadratic


@dataclass(frozen=True)
class RayFrame:
    """origin A and the unit vectors along_columns E₁, along_rows E₂, direction D, each (h, w, 3); column_step m₀, row_step p (mm
    per pixel) and spread κ (per pixel)."""

    origin: np.ndarray
    along_columns: np.ndarray
    along_rows: np.ndarray
    direction: np.ndarray
    column_step: float
    row_step: float
    spread: float


@lru_cache(maxsize=4)
def ray_frame(chart: Chart) -> RayFrame:
    """The chart's rays at its pixel centres, from differences of the chart's own closed form at a depth of 1 mm."""
    shape = (chart.height, chart.width, 3)
    centres = pixel_centres(chart)

    def difference(step: np.ndarray, depth: float) -> np.ndarray:
        at_depth = np.full(len(centres), depth)
        return (chart.lift(centres + step, at_depth) - chart.lift(centres - step, at_depth)).reshape(shape)

    step = np.array([1e-3, 0.0])
    columns, rows = difference(step, 1.0), difference(step[::-1], 1.0)
    widths = [float(np.linalg.norm(difference(step, d)[0, 0])) / 2e-3 for d in (0.0, 1.0)]
    unit = lambda vectors: vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    return RayFrame(
        chart.lift(centres, np.zeros(len(centres))).reshape(shape),
        unit(columns),
        unit(rows),
        chart.outward_directions(centres).reshape(shape),
        widths[0],
        float(np.linalg.norm(rows[0, 0])) / 2e-3,
        widths[1] - widths[0],
    )


def positions(depth: np.ndarray, chart: Chart) -> np.ndarray:
    """Depth (h, w) in mm at the pixel centres → points (h, w, 3), model frame."""
    frame = ray_frame(chart)
    return frame.origin + np.asarray(depth, float)[..., None] * frame.direction


def facing(image: GeometryImage) -> np.ndarray:
    """(h, w) cosine between each pixel's ray and the image's normal there, at least `GRAZING`, on any chart: a step in depth
    times it is a distance from the surface."""
    return np.maximum((channel_normals(image) * ray_frame(image.chart).direction).sum(axis=2), GRAZING)


def _one_sided_difference(depth: np.ndarray, valid: np.ndarray, axis: int) -> np.ndarray:
    """Mean of the forward and the backward difference, of the one that exists at a border, 0 where none does."""
    depth, valid = (np.moveaxis(image, axis, 0) for image in (depth, valid))
    both = valid[1:] & valid[:-1]
    steps = np.where(both, depth[1:] - depth[:-1], 0.0)
    total, count = np.zeros(depth.shape), np.zeros(depth.shape, np.int8)
    total[1:], count[1:] = steps, both
    total[:-1] += steps
    count[:-1] += both
    return np.moveaxis(total / np.maximum(count, 1), 0, axis)


def normals_from_depth(depth: np.ndarray, valid: np.ndarray, chart: Chart) -> np.ndarray:
    """Depth (h, w) in mm, valid (h, w) bool → outward unit normals (h, w, 3), model frame, 0 where invalid.

    Central differences, one-sided at the border of the valid region.
    """
    frame, depth = ray_frame(chart), np.where(valid, depth, 0.0).astype(float)
    d_c, d_r = _one_sided_difference(depth, valid, 1), _one_sided_difference(depth, valid, 0)
    m, p = frame.column_step + frame.spread * depth, frame.row_step
    x, y, z = -p * d_c, -m * d_r, m * p
    length = np.maximum(np.sqrt(x * x + y * y + z * z), 1e-12)
    x, y, z = (part[..., None] / length[..., None] for part in (x, y, z))
    return np.where(valid[..., None], x * frame.along_columns + y * frame.along_rows + z * frame.direction, 0.0)


def _moments(image: np.ndarray, powers: Sequence[tuple[int, int]], offsets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Windowed moments Σ w(x) w(y) xᵖ yᵠ image, (h, w, len(powers)): separable, so each row pass is shared."""
    along_rows = {p: correlate1d(image, weights * offsets**p, axis=1, mode="constant") for p in {p for p, _ in powers}}
    return np.stack([correlate1d(along_rows[p], weights * offsets**q, axis=0, mode="constant") for p, q in powers], axis=2)


def depth_derivatives(depth: np.ndarray, valid: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian-weighted quadratic fit about every pixel (a masked Savitzky–Golay filter).

    depth, valid (h, w); sigma_px the window's standard deviation in pixels. Returns (h, w, 5): d_c, d_r, d_cc, d_cr, d_rr
    in mm per pixel (squared); 0 where invalid or where fewer than 10 valid pixels lie in the window.
    """
    radius = max(2, int(np.ceil(2.5 * sigma_px)))
    offsets = np.arange(-radius, radius + 1) / sigma_px
    weights = np.exp(-(offsets**2) / 2)
    centre = float(depth[valid].mean()) if valid.any() else 0.0  # keeps the moments' digits
    data = _moments(np.where(valid, depth - centre, 0.0), _MONOMIALS, offsets, weights)
    side = 2 * radius + 1
    full = uniform_filter(valid.astype(np.float32), side, mode="constant") * side**2
    coefficients = np.zeros(data.shape)
    interior, rim = valid & (full > side**2 - 0.5), valid & (full > 9.5) & (full <= side**2 - 0.5)
    products = [(p + s, q + t) for p, q in _MONOMIALS for s, t in _MONOMIALS]
    terms = np.stack([np.outer(weights * offsets**q, weights * offsets**p).ravel() for p, q in products], axis=1)
    gram = terms.sum(0).reshape(6, 6)
    coefficients[interior] = data[interior] @ np.linalg.inv(gram)  # the window is complete: one matrix for all
    if rim.any():
        windows = sliding_window_view(np.pad(valid, radius), (side, side))[np.nonzero(rim)]
        grams = (windows.reshape(-1, side * side).astype(float) @ terms).reshape(-1, 6, 6)
        # a sliver of pixels does not determine a quadratic: a weak ridge turns the fit into a plane there
        ridge = 1e-3 * gram.diagonal() * np.array([1e-8, 1e-8, 1e-8, 1, 1, 1])
        coefficients[rim] = np.linalg.solve(grams + np.diag(ridge), data[rim][..., None])[..., 0]
    scale = np.array([1, 1, 2 / sigma_px, 1 / sigma_px, 2 / sigma_px]) / sigma_px
    return coefficients[..., 1:] * scale


def principal_curvatures(
    depth: np.ndarray, valid: np.ndarray, chart: Chart, sigma_mm: float = FIT_SIGMA_MM
) -> tuple[np.ndarray, np.ndarray]:
    """κ₁ ≥ κ₂ (h, w) in 1/mm, positive where convex; 0 where invalid.

    depth (h, w) in mm, valid (h, w) bool; sigma_mm: width of the window. First and second fundamental form of P
    (do Carmo, Differential Geometry of Curves and Surfaces, §3.3). |κ| is bounded by 1/sigma_mm: a window resolves no
    smaller radius, and what exceeds it are depth jumps.
    """
    frame, valid = ray_frame(chart), np.asarray(valid, bool)
    derivatives = depth_derivatives(np.asarray(depth, float), valid, sigma_mm / chart.pixel_mm)[valid]
    d_c, d_r, d_cc, d_cr, d_rr = np.ascontiguousarray(derivatives.T)
    m, p, spread = frame.column_step + frame.spread * np.asarray(depth, float)[valid], frame.row_step, frame.spread
    area = np.sqrt((p * d_c) ** 2 + (m * d_r) ** 2 + (m * p) ** 2)
    e = (m * p * (d_cc - spread * m) - 2 * spread * p * d_c**2) / area
    f = (m * p * d_cr - spread * p * d_c * d_r) / area
    g = m * p * d_rr / area
    mean = -(e * (p**2 + d_r**2) - 2 * f * d_c * d_r + g * (m**2 + d_c**2)) / (2 * area**2)
    half_gap = np.sqrt(np.maximum(mean**2 - (e * g - f * f) / area**2, 0))
    first, second = np.zeros(valid.shape), np.zeros(valid.shape)
    bound = 1 / sigma_mm
    first[valid], second[valid] = np.clip(mean + half_gap, -bound, bound), np.clip(mean - half_gap, -bound, bound)
    return first, second


def mean_curvature(depth: np.ndarray, valid: np.ndarray, chart: Chart, sigma_mm: float = FIT_SIGMA_MM) -> np.ndarray:
    """(κ₁ + κ₂)/2 (h, w) in 1/mm: +1/R on a convex sphere of radius R; 0 where invalid. Arguments as `principal_curvatures`."""
    first, second = principal_curvatures(depth, valid, chart, sigma_mm)
    return (first + second) / 2
