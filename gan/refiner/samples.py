"""Sample grids: scan | coarse | refined | truth | error, rendered from normals, a row per face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from keras import ops
from PIL import Image

from gan.refiner.surface import depth_normals, normals_from_components

LIGHT = np.array([-0.4, 0.4, 0.82])
ERROR_FULL_SCALE_MM = 1.0
PANELS = ("scan", "coarse", "refined", "truth", "error (red: in front of the truth, blue: behind; ±1 mm)")


def save_grid(path: Path, generator, images: list[tuple[dict, np.ndarray, str]], pixel_mm: float) -> None:
    """A PNG with a row for each (x, truth, sensor), columns as `PANELS`."""
    rows = [np.concatenate(panels(x, truth, generator.predict_on_batch(x), pixel_mm), axis=1) for x, truth, _ in images]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows, axis=0)).save(path)


def panels(x: dict, truth: np.ndarray, prediction: dict, pixel_mm: float) -> list[np.ndarray]:
    """Five (h, w, 3) uint8 pictures of batch element 0."""
    coarse, scan = x["coarse"], x["scan"]
    known, seen, true = coarse[..., -1] > 0.5, scan[..., -1] > 0.5, truth[..., -1] > 0.5
    scan_normals = ops.convert_to_numpy(depth_normals(coarse[..., :1] + scan[..., :1], scan[..., -1:], pixel_mm))
    coarse_normals = ops.convert_to_numpy(normals_from_components(coarse[..., 3:4], coarse[..., 4:5]))
    true_normals = ops.convert_to_numpy(normals_from_components(truth[..., 1:2], truth[..., 2:3]))
    error = np.where(true[..., None], prediction["depth"] - truth[..., :1], 0.0)
    shaded = [(scan_normals, seen), (coarse_normals, known), (prediction["normals"], known), (true_normals, true)]
    return [shade(normals[0], mask[0]) for normals, mask in shaded] + [signed_colours(error[0, ..., 0], true[0])]


def shade(normals: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Lambertian grey, (h, w, 3) uint8, white where unknown."""
    grey = np.clip(normals @ LIGHT, 0.0, 1.0) ** 1.5 * 220
    return np.repeat(np.where(mask, grey, 255.0).astype(np.uint8)[..., None], 3, axis=-1)


def signed_colours(error: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """White at 0 to red (positive) and blue (negative) at full scale, grey where unknown."""
    level = np.clip(error / ERROR_FULL_SCALE_MM, -1.0, 1.0)
    colours = np.stack([1.0 - np.maximum(-level, 0), 1.0 - np.abs(level), 1.0 - np.maximum(level, 0)], axis=-1)
    return (np.where(mask[..., None], colours, 0.8) * 255).astype(np.uint8)
