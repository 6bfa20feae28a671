"""Published noise models of depth sensors, as functions of an ideal depth image.

Each takes depth (h, w) mm along z, 0 where nothing was hit, cosine (h, w) of the angle θ between ray and normal, the
camera, a strength (1 = as published) and a generator, and returns depth (h, w) with 0 where the sensor has no answer.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.special import ndtri  # the normal quantile

from geometry.camera import PinholeCamera
from geometry.charts.masked_filters import masked_mean

JUMP_MM = 25.0  # neighbouring pixels further apart than this lie on two surfaces
KINECT_BASELINE_MM = 75.0
KINECT_DISPARITY_STEP = 1 / 8
STEREO_BASELINE_MM = 100.0


def correlated_noise(shape: tuple[int, int], sigma_px: float, rng: np.random.Generator) -> np.ndarray:
    """(h, w) Gaussian noise of unit variance whose autocorrelation is a Gaussian of σ = √2 `sigma_px`."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if sigma_px <= 0:
        return noise
    # white noise through a Gaussian of σ keeps 1 / (4πσ²) of its variance, exactly so for σ ≥ 0.5 only: summed over the taps
    radius = int(4 * sigma_px + 0.5)
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma_px**2))
    return gaussian_filter(noise, sigma_px, mode="wrap") * float(1 / (taps**2).sum() * taps.sum() ** 2)


def window_mean(values: np.ndarray, valid: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian mean over the valid pixels of a window; elsewhere the value itself."""
    known = np.where(valid, values, 0).astype(np.float32)
    return np.where(valid, masked_mean(known, valid.astype(np.float32), sigma_px, 1e-3), values)


def depth_edges(depth: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels with a neighbour on another surface, or on none."""
    edge = np.zeros(depth.shape, bool)
    for beside, across in ((edge, depth), (edge.T, depth.T)):
        jump = np.abs(np.diff(across, axis=0)) > JUMP_MM
        beside[:-1] |= jump
        beside[1:] |= jump
    return edge


def holes(shape: tuple[int, int], probability: np.ndarray | float, size_px: float, rng: np.random.Generator) -> np.ndarray:
    """(h, w) bool: ragged patches about `size_px` wide that cover each pixel with the given probability."""
    return correlated_noise(shape, size_px, rng) < ndtri(np.clip(probability, 1e-9, 1 - 1e-9))


def grazing_dropout(cosine: np.ndarray, limit: float, rng: np.random.Generator) -> np.ndarray:
    """(h, w) bool: no answer where the surface is seen too flatly; certain below half of `limit`, none above it."""
    return holes(cosine.shape, np.clip(2 - 2 * cosine / limit, 0, 1), 1.0, rng)


def projector_shadow(depth: np.ndarray, focal_px: float, baseline_mm: float) -> np.ndarray:
    """(h, w) bool: pixels that a projector `baseline_mm` to the camera's right cannot light.

    A point at pixel column u lies in the projector's column u − f·b/z. Along a row that column grows, except where a
    nearer surface begins: what lies to the left of it and beyond the nearer one's projector column is in its shadow.
    """
    column = np.arange(depth.shape[1]) - focal_px * baseline_mm / np.where(depth > 0, depth, np.inf)
    nearest = np.minimum.accumulate(np.where(depth > 0, column, np.inf)[:, ::-1], axis=1)[:, ::-1]
    return (depth > 0) & (column > nearest + 0.5)


def incidence_term(cosine: np.ndarray) -> np.ndarray:
    """θ² / (π/2 − θ)² of the noise models, θ limited to 80° where it diverges."""
    theta = np.minimum(np.arccos(np.clip(cosine, 0, 1)), np.deg2rad(80))
    return theta**2 / (np.pi / 2 - theta) ** 2


def structured_light(
    depth: np.ndarray, cosine: np.ndarray, camera: PinholeCamera, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Kinect v1. Khoshelham & Elberink 2012 (Sensors 12:1437): σ_z = z²/(f b) σ_d with b = 75 mm, disparity in steps of 1/8 px
    and σ_d = half a step (their σ_z = 1.43e-5 z² in cm: 1.0 mm at 0.85 m). Nguyen, Izadi & Lovell 2012
    (3DIMPVT): lateral noise of 0.8 + 0.035 θ/(π/2 − θ) px and an axial term 0.1 mm /√z · θ²/(π/2 − θ)², z in m. The matching
    window (9 px) low-passes the surface and correlates the error; the projector casts a shadow; output in whole mm."""
    depth = _jitter(depth, cosine, strength, rng)
    focal_baseline = camera.fx * KINECT_BASELINE_MM
    valid = depth > 0
    edge = uniform_filter(depth_edges(depth).astype(np.float32), 5) > 0
    disparity = np.where(valid, focal_baseline / np.maximum(depth, 1.0), 0)
    disparity = window_mean(disparity, valid & ~edge, 1.5)
    disparity = disparity + strength * KINECT_DISPARITY_STEP / 2 * correlated_noise(depth.shape, 1.5, rng)
    tilt = 0.1 / np.sqrt(np.maximum(depth, 100.0) / 1000) * incidence_term(cosine) * strength
    disparity = disparity + tilt * correlated_noise(depth.shape, 1.0, rng) * focal_baseline / np.maximum(depth, 100.0) ** 2
    disparity = np.round(disparity / KINECT_DISPARITY_STEP) * KINECT_DISPARITY_STEP
    measured = np.round(focal_baseline / np.maximum(disparity, KINECT_DISPARITY_STEP))
    lost = projector_shadow(depth, camera.fx, KINECT_BASELINE_MM) | grazing_dropout(cosine, rng.uniform(0.2, 0.4), rng)
    lost |= holes(depth.shape, rng.uniform(0, 0.01), rng.uniform(1.5, 4), rng)
    return np.where(valid & ~lost, measured, 0)


def _jitter(depth: np.ndarray, cosine: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Each 2×2 block reads a pixel that is off by Nguyen's lateral noise: a staircase on slopes, ragged silhouettes."""
    theta = np.arccos(np.clip(cosine, 0.2, 1))
    sigma = strength * (0.8 + 0.035 * theta / (np.pi / 2 - theta))
    height, width = depth.shape
    rows, columns = np.indices(depth.shape)
    offsets = rng.standard_normal((2, (height + 1) // 2, (width + 1) // 2)).repeat(2, 1).repeat(2, 2)[:, :height, :width] * sigma
    rows = np.clip(np.round(rows + offsets[0]).astype(int), 0, height - 1)
    return depth[rows, np.clip(np.round(columns + offsets[1]).astype(int), 0, width - 1)]


def truedepth(
    depth: np.ndarray, cosine: np.ndarray, camera: PinholeCamera, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """iPhone TrueDepth: structured light of about 30,000 dots, so depth is interpolated between dots 1.6 px (at 320×240) apart.
    Breitbarth et al. 2019 (Proc. SPIE 11144) and Vogt et al. 2021 (Technologies 9:25) find sub-millimetre noise at arm's
    length and errors of the order of a millimetre; here σ_z = 0.25 mm (z / 300 mm)², three quarters of its variance with the
    dots' correlation and a quarter over six dots, and depth delivered as disparity in float16 or float32 (Apple AVDepthData)."""
    dot_px = 1.6 * camera.width / 320
    valid = depth > 0
    smooth = window_mean(depth, valid & ~depth_edges(depth), dot_px * rng.uniform(0.6, 1.0))
    sigma = 0.25 * strength * (depth / 300) ** 2 * (1 + 0.3 * incidence_term(cosine))
    noise = np.sqrt(0.75) * correlated_noise(depth.shape, dot_px, rng) + 0.5 * correlated_noise(depth.shape, 6 * dot_px, rng)
    measured = smooth + sigma * noise
    if rng.random() < 0.5:
        disparity = (1000 / np.maximum(measured, 1.0)).astype(np.float16)
        measured = 1000 / np.maximum(disparity.astype(np.float64), 1e-3)
    lost = grazing_dropout(cosine, rng.uniform(0.15, 0.3), rng) | holes(depth.shape, rng.uniform(0, 0.005), 2 * dot_px, rng)
    return np.where(valid & ~lost, np.round(measured, 1), 0)


def time_of_flight(
    depth: np.ndarray, cosine: np.ndarray, camera: PinholeCamera, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Kinect v2. Fankhauser et al. 2015 (ICAR): σ_z = 1.5 − 0.5 z + 0.3 z² + 0.1 z^(3/2) θ²/(π/2 − θ)² mm, z in m. Sarbolandi,
    Lefloch & Kolb 2015 (CVIU 139): a pixel across an edge mixes both distances (flying pixels); the range error wiggles with
    distance by millimetres; interreflection makes concave places too far (multipath); all of it is smooth in the image."""
    valid = depth > 0
    z = depth / 1000
    sigma = strength * (1.5 - 0.5 * z + 0.3 * z**2 + 0.1 * z**1.5 * incidence_term(cosine))
    measured = depth + sigma * correlated_noise(depth.shape, rng.uniform(0.3, 0.8), rng)
    measured += rng.uniform(0.0, 0.12) * np.clip(depth - window_mean(depth, valid, 8.0), 0, 20)
    measured += rng.uniform(0, 2) * strength * np.sin(2 * np.pi * depth / rng.uniform(180, 480) + rng.uniform(0, 2 * np.pi))
    measured += rng.uniform(0, 1.0) * strength * correlated_noise(depth.shape, rng.uniform(10, 30), rng)
    measured = _flying_pixels(measured, depth, rng)
    lost = grazing_dropout(cosine, rng.uniform(0.1, 0.3), rng) & (rng.random(depth.shape) < 0.8)
    return np.where(valid & ~lost, measured, 0)


def _flying_pixels(measured: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Edge pixels become a mixture of their surface and of what lies behind it (a neighbour, or a background not rendered)."""
    edge = depth_edges(depth) & (depth > 0)
    behind = depth.max(initial=0.0) + rng.uniform(100, 800)
    neighbours = [np.roll(depth, shift, axis) for axis in (0, 1) for shift in (-1, 1)]
    further = np.max([np.where(other > 0, other, behind) for other in neighbours], axis=0)
    mixture = rng.beta(0.7, 1.5, depth.shape) * (rng.random(depth.shape) < 0.7)
    return np.where(edge, measured + mixture * np.maximum(further - depth, 0), measured)


def passive_stereo(
    depth: np.ndarray, cosine: np.ndarray, camera: PinholeCamera, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Two cameras, b = 100 mm. σ_z = z²/(f b) σ_d (Gallup et al. 2008) with σ_d = 0.15 px, correlated over the matching
    window, which also smooths the surface (Scharstein & Szeliski 2002); sub-pixel estimates are drawn to whole pixels
    (pixel locking: Shimizu & Okutomi 2001); texture-poor patches have no answer, or a wrong one."""
    window = rng.uniform(2.0, 4.0)
    valid = depth > 0
    focal_baseline = camera.fx * STEREO_BASELINE_MM
    disparity = focal_baseline / np.where(valid, depth, np.inf)
    disparity = window_mean(disparity, valid & ~depth_edges(depth), window)
    disparity = disparity + 0.15 * strength * correlated_noise(depth.shape, window, rng)
    disparity -= rng.uniform(0, 0.06) * np.sin(2 * np.pi * disparity)
    wrong = holes(depth.shape, rng.uniform(0, 0.004), 2 * window, rng)
    disparity = np.where(wrong, disparity + rng.normal(0, 2), disparity)
    lost = grazing_dropout(cosine, rng.uniform(0.2, 0.35), rng) | holes(depth.shape, rng.uniform(0, 0.03), 2 * window, rng)
    lost |= projector_shadow(depth, camera.fx, STEREO_BASELINE_MM)  # seen by one of the two cameras only
    return np.where(valid & ~lost, focal_baseline / np.maximum(disparity, 1e-3), 0)


def laser_lines(
    depth: np.ndarray, cosine: np.ndarray, camera: PinholeCamera | None, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Triangulating laser scanner of the Minolta Vivid class (that of FRGC: Phillips et al. 2005): σ_z = 0.1 mm, each swept
    line with an offset of its own, spikes at up to one point in 2,000, ragged holes."""
    measured = depth + strength * 0.1 * correlated_noise(depth.shape, 0.5, rng)
    measured += strength * 0.04 * rng.standard_normal((depth.shape[0], 1))
    spike = rng.random(depth.shape) < rng.uniform(0, 5e-4)
    measured = measured + spike * rng.normal(0, 6, depth.shape)
    lost = grazing_dropout(cosine, rng.uniform(0.1, 0.3), rng) | holes(depth.shape, rng.uniform(0, 0.015), rng.uniform(2, 6), rng)
    return np.where((depth > 0) & ~lost, measured, 0)


def photogrammetry(
    depth: np.ndarray, cosine: np.ndarray, camera: PinholeCamera | None, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Multi-view stereo of the 3dMD class: mean error 0.2 mm (Lübbers et al. 2010, J. Craniomaxillofac. Surg. 38:179), smooth
    where matching windows and surface fitting averaged, over two ranges; holes are few and filled with a wrong membrane."""
    valid = depth > 0
    measured = window_mean(depth, valid & ~depth_edges(depth), rng.uniform(0.5, 1.5))
    bumps = 0.15 * correlated_noise(depth.shape, rng.uniform(2, 5), rng)
    measured = measured + strength * (bumps + 0.12 * correlated_noise(depth.shape, 25, rng))
    lost = grazing_dropout(cosine, 0.1, rng) | holes(depth.shape, rng.uniform(0, 0.004), rng.uniform(4, 8), rng)
    return np.where(valid & ~lost, measured, 0)


def nearly_clean(
    depth: np.ndarray, cosine: np.ndarray, camera: PinholeCamera | None, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """A finished mesh: 0.01 mm of rounding and nothing else, so that a good scan is learnt to be kept."""
    return np.where(depth > 0, depth + 0.01 * strength * rng.standard_normal(depth.shape), 0)


def any_depth(
    depth: np.ndarray, cosine: np.ndarray, camera: PinholeCamera, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """No sensor in particular: the ingredients of the published models in random proportion (domain randomization,
    Tobin et al. 2017), so that a network learns to read the noise itself, not to know seven sensors.

    σ_z = 0.05–0.8 mm (log-uniform) · (z / 500 mm)², white and correlated over 1–4 and 5–25 px in random shares, growing with
    incidence; a window's smoothing; depth or disparity steps; lateral jitter; a smooth bias of up to 1.5 mm; multipath;
    flying pixels; holes.
    """
    valid = depth > 0
    ideal = _jitter(depth, cosine, strength * rng.uniform(0.2, 1.0), rng) if rng.random() < 0.4 else depth
    if rng.random() < 0.6:
        ideal = window_mean(ideal, valid & ~depth_edges(depth), rng.uniform(0.5, 2.5))
    sigma = strength * np.exp(rng.uniform(np.log(0.05), np.log(0.8))) * (depth / 500) ** 2
    sigma = sigma * (1 + rng.uniform(0, 0.5) * incidence_term(cosine))
    shares = rng.dirichlet((1.0, 1.0, 0.4))
    widths = (rng.uniform(0, 0.6), rng.uniform(1, 4), rng.uniform(5, 25))
    measured = ideal + sigma * sum(
        np.sqrt(share) * correlated_noise(depth.shape, width, rng) for share, width in zip(shares, widths)
    )
    if rng.random() < 0.4:
        measured = measured + strength * rng.uniform(0, 1.5) * correlated_noise(depth.shape, rng.uniform(12, 45), rng)
    if rng.random() < 0.3:
        measured = measured + rng.uniform(0.0, 0.12) * np.clip(depth - window_mean(depth, valid, 8.0), 0, 20)
    if rng.random() < 0.3:
        measured = _flying_pixels(measured, depth, rng)
    if rng.random() < 0.4:
        measured = _stepped(measured, valid, np.exp(rng.uniform(np.log(0.1), np.log(3.0))), rng.random() < 0.5)
    lost = grazing_dropout(cosine, rng.uniform(0.1, 0.45), rng) | holes(depth.shape, rng.uniform(0, 0.01), rng.uniform(1, 6), rng)
    return np.where(valid & ~lost, np.maximum(measured, 1.0), 0)


def _stepped(depth: np.ndarray, valid: np.ndarray, step_mm: float, disparity: bool) -> np.ndarray:
    """Depth in steps of step_mm, or in disparity steps of that size at the median depth."""
    if not disparity or not valid.any():
        return np.round(depth / step_mm) * step_mm
    inverse_step = step_mm / np.median(depth[valid]) ** 2
    return 1.0 / np.maximum(np.round(1.0 / np.maximum(depth, 1.0) / inverse_step) * inverse_step, 1e-9)
