"""Do no harm: where the scan contradicts a refined surface beyond its noise, the smoothed scan takes its place.

A network may be sure and wrong. What it says is compared with the scan's own local mean, whose noise is small: a
difference d over a window is evidence against the refinement where |d| exceeds several times

    τ = √((n a)² + s² + τ₀²),   n the scan's noise, a what the window leaves of it, s the refinement's own σ,

and there the surface moves over to `smoothing.smooth_refine`. Differences beyond OCCLUDER_MM are no evidence: hair, hands
and glasses are not the face. What is imagined where the scan shows nothing is held within IMAGINED_MM of the coarse surface,
and its difference from it is smoothed: no detail can be known there, and a network's own pattern would pass for some.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from geometry.charts.geometry_image import GeometryImage, channel_normals, normal_channels
from geometry.charts.masked_filters import masked_mean
from geometry.charts.rasterize import image_from_depth
from geometry.refinement.baselines import smooth_refine

WINDOW_MM = 3.0  # Gaussian σ of the comparison
LEFT = 0.5  # of a sensor's partly correlated noise, after averaging over the window
FLOOR_MM = 0.05
DOUBT, CERTAIN = 3.0, 5.0  # multiples of τ between which the fallback takes over
OCCLUDER_MM = 4.0
IMAGINED_MM = 3.0
IMAGINED_WIDTH_MM = 3.0  # Gaussian σ of the smoothing where nothing was seen
FEATHER_PX = 2.0


def contradiction(scan: GeometryImage, refined: GeometryImage) -> np.ndarray:
    """(h, w) in [0, 1]: how surely the scan says that the refined surface is wrong; 0 where it says nothing."""
    both = scan.valid_mask & refined.valid_mask
    facing = np.maximum(channel_normals(refined)[..., 2], 0.2) if refined.chart.rays_are_parallel else 1.0
    difference = np.where(both, (scan["depth"] - refined["depth"]) * facing, 0.0)
    near = both & (np.abs(difference) < OCCLUDER_MM)
    width = WINDOW_MM / refined.chart.pixel_mm
    mean = masked_mean(difference, near, width, 1e-3)
    own = refined["sigma_mm"] if "sigma_mm" in refined.channels else 0.0
    scale = np.sqrt((LEFT * scan["noise_sigma"]) ** 2 + np.square(own) + FLOOR_MM**2)
    doubt = np.clip((np.abs(mean) / scale - DOUBT) / (CERTAIN - DOUBT), 0, 1)
    # half a window of evidence, or none
    return np.where(near & (gaussian_filter(near.astype(float), width) > 0.5), doubt, 0.0)


def _without_imagined_detail(coarse: GeometryImage, scan: GeometryImage, refined: GeometryImage) -> GeometryImage:
    """`refined` with its difference to the coarse surface smoothed where nothing was seen, fading in over a few pixels."""
    valid = coarse.valid_mask & refined.valid_mask
    unseen = np.where(valid, np.clip(1 - 2 * gaussian_filter(scan.valid_mask.astype(float), FEATHER_PX), 0, 1), 0)
    if not (unseen > 0.02).any():
        return refined
    width = IMAGINED_WIDTH_MM / refined.chart.pixel_mm
    difference = np.where(valid, refined["depth"] - coarse["depth"], 0.0)
    smooth = masked_mean(difference, valid, width, 1e-3)
    depth = np.where(valid, refined["depth"] + unseen * (smooth - difference), refined["depth"])
    changed = image_from_depth(depth, refined.valid_mask, refined.chart)
    return _with_shape(
        refined, changed, (1 - unseen[..., None]) * channel_normals(refined) + unseen[..., None] * channel_normals(changed)
    )


def _with_shape(refined: GeometryImage, changed: GeometryImage, normals: np.ndarray) -> GeometryImage:
    """`refined` with the depth and curvature of `changed` and these normals (h, w, 3), to be scaled to length 1."""
    normals = normals / np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-9)
    channels = {**refined.channels, "depth": changed["depth"], "mean_curvature": changed["mean_curvature"]}
    shape = {name: np.where(refined.valid_mask, values, 0) for name, values in normal_channels(normals).items()}
    return GeometryImage(
        channels | {name: values.astype(np.float32) for name, values in shape.items()}, refined.valid_mask, refined.chart
    )


def replace_contradicted(coarse: GeometryImage, scan: GeometryImage, refined: GeometryImage) -> GeometryImage:
    """`refined` where nothing speaks against it, with a channel "fallback" in [0, 1]: the share of the fallback in each pixel.

    coarse, scan (with "noise_sigma"), refined: geometry images over one chart. Where the fallback has a share, depth and
    normals are mixed, and "sigma_mm", where there is one, is at least the change.
    """
    refined = _without_imagined_detail(coarse, scan, refined)
    share = gaussian_filter(contradiction(scan, refined), FEATHER_PX)
    share = np.where(share > 0.02, share, 0.0)
    imagined = refined["depth"] - coarse["depth"]
    unseen = coarse.valid_mask & refined.valid_mask & ~scan.valid_mask & (np.abs(imagined) > IMAGINED_MM)
    if not share.any() and not unseen.any():
        return refined.with_channel("fallback", np.zeros(refined.shape))
    fallback = smooth_refine(coarse, scan)
    depth = np.where(
        refined.valid_mask & fallback.valid_mask, (1 - share) * refined["depth"] + share * fallback["depth"], refined["depth"]
    )
    depth = np.where(unseen, coarse["depth"] + np.clip(imagined, -IMAGINED_MM, IMAGINED_MM), depth)
    changed = image_from_depth(depth, refined.valid_mask, refined.chart)
    normals = (1 - share[..., None]) * channel_normals(refined) + share[..., None] * channel_normals(fallback)
    normals = np.where(unseen[..., None], channel_normals(changed), normals)
    result = _with_shape(refined, changed, normals)
    if "sigma_mm" in refined.channels:
        moved = np.abs(depth - refined["depth"]) * refined.valid_mask
        result = result.with_channel("sigma_mm", np.maximum(refined["sigma_mm"], moved))
    return result.with_channel("fallback", share * refined.valid_mask)
