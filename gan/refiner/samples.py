"""Sample grids: scan | coarse | refined | truth | error, rendered from normals, a row per face."""

from pathlib import Path

import keras
import numpy as np
from keras import ops
from PIL import Image

from gan.refiner.surface import depth_normals, normals_from_components
from gan.training.pictures import shaded_normals, signed_colours

ERROR_FULL_SCALE_MM = 1.0
PANELS = ("scan", "coarse", "refined", "truth", "error (red: in front of the truth, blue: behind; ±1 mm)")


def save_grid(path: Path, generator: keras.Model, images: list[tuple[dict, np.ndarray, str]], pixel_mm: float) -> None:
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
    shown = [shaded_normals(normals[0], mask[0]) for normals, mask in shaded]
    return [*shown, signed_colours(error[0, ..., 0], true[0], ERROR_FULL_SCALE_MM)]
