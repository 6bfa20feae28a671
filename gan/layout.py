"""The networks' arrays: which channel lies where, and how geometry images become them.

coarse (h, w, 6), scan (h, w, 7) and truth (h, w, 4) are float32 in metric units; the networks scale
them by fixed constants themselves. Scan and truth depth are *residuals* in mm to the coarse depth,
known only where the coarse surface is. A scan pixel counts only within `limit_mm` of the coarse
surface: beyond it lie hair, hands and other things, which must not influence the face.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from geometry.charts.geometry_image import GeometryImage

COARSE = ("depth", "normal_elevation", "mean_curvature", "normal_x", "normal_y", "valid_mask")
SCAN = ("residual", "normal_elevation", "mean_curvature", "normal_x", "normal_y", "noise_sigma", "valid_mask")
TRUTH = ("residual", "normal_x", "normal_y", "valid_mask")
VIEW = ("depth", "normal_elevation", "normal_x", "normal_y", "valid_mask")
RESIDUAL_LIMIT_MM = 15.0
Tensor = Any  # of the backend that Keras runs on, or an array


def pack_coarse(coarse: GeometryImage) -> np.ndarray:
    """(h, w, 6), 0 where invalid."""
    mask = coarse.valid_mask.astype(np.float32)
    return np.stack([*(np.nan_to_num(coarse[name]) * mask for name in COARSE[:-1]), mask], axis=-1, dtype=np.float32)


def pack_scan(coarse: GeometryImage, scan: GeometryImage, limit_mm: float = RESIDUAL_LIMIT_MM) -> np.ndarray:
    """(h, w, 7), 0 where either image is invalid or the scan is farther than limit_mm from the coarse surface."""
    residual = np.nan_to_num(scan["depth"] - coarse["depth"])
    finite = np.isfinite(scan["depth"]) & np.isfinite(scan["noise_sigma"])
    mask = (coarse.valid_mask & scan.valid_mask & finite & (np.abs(residual) < limit_mm)).astype(np.float32)
    others = (np.nan_to_num(scan[name]) * mask for name in SCAN[1:-1])
    return np.stack([residual * mask, *others, mask], axis=-1, dtype=np.float32)


def pack_truth(coarse: GeometryImage, truth: GeometryImage, limit_mm: float = RESIDUAL_LIMIT_MM) -> np.ndarray:
    """(h, w, 4), 0 where either image is invalid."""
    residual = np.nan_to_num(truth["depth"] - coarse["depth"])
    mask = (coarse.valid_mask & truth.valid_mask & (np.abs(residual) < limit_mm)).astype(np.float32)
    return np.stack([residual * mask, truth["normal_x"] * mask, truth["normal_y"] * mask, mask], axis=-1, dtype=np.float32)


def pack_view(view: GeometryImage) -> np.ndarray:
    """(h, w, 5), 0 where invalid: what the landmark network reads."""
    mask = view.valid_mask.astype(np.float32)
    return np.stack([*(np.nan_to_num(view[name]) * mask for name in VIEW[:-1]), mask], axis=-1, dtype=np.float32)


def mirrored(image: Tensor, names: Sequence[str]) -> Tensor:
    """(…, h, w, c), an array or a tensor, left–right mirrored; the channel called normal_x, where there is one, changes sign."""
    flipped = image[..., ::-1, :] if isinstance(image, np.ndarray) else _flipped(image)
    if "normal_x" not in names:
        return flipped
    return flipped * np.array([-1.0 if name == "normal_x" else 1.0 for name in names], np.float32)


def _flipped(image: Tensor) -> Tensor:
    """A tensor (…, h, w, c) left–right mirrored; as a slice it would take TensorFlow ten times as long."""
    from keras import ops

    return ops.flip(image, axis=-2)
