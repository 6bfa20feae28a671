"""A picture of training pairs, to be looked at: coarse | scan | truth as shaded normals, and the residuals beside them."""

from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image, ImageDraw

from gan.training.pictures import shaded_normals, signed_colours
from geometry.charts.geometry_image import GeometryImage
from pipeline.store.image_records import image_of

RESIDUAL_MM = 3.0  # the colour scale's end
GAP = 2


def shaded(image: GeometryImage) -> np.ndarray:
    """(h, w, 3) uint8 from the normals; dark blue where invalid."""
    normals = np.stack([image["normal_x"], image["normal_y"], np.sin(image["normal_elevation"])], -1)
    return shaded_normals(normals, image.valid_mask)


def residual(image: GeometryImage, base: GeometryImage) -> np.ndarray:
    """(h, w, 3) uint8: depth of `image` minus `base`, blue where it lies behind, red before, grey none, ±3 mm."""
    return signed_colours(image["depth"] - base["depth"], image.valid_mask & base.valid_mask, RESIDUAL_MM)


def marked(view: GeometryImage, features: Mapping) -> np.ndarray:
    """(h, w, 3) uint8: the view with its landmarks, visible ones green."""
    image = Image.fromarray(shaded(view))
    pixels, _ = view.chart.project(np.reshape(features["landmarks"], (-1, 3)).astype(float))
    for (column, row), seen in zip(pixels, features["visible"]):
        ImageDraw.Draw(image).point((column, row), fill=(60, 230, 90) if seen else (240, 90, 70))
    return np.asarray(image)


def sheet(pairs: Iterable[Mapping]) -> Image.Image:
    """One row a pair: coarse, scan, truth, scan − coarse, truth − coarse; or a view, and it with its landmarks.
    pairs: decoded records (`records.decode_example`)."""
    rows = []
    for features in pairs:
        if "landmarks" in features:
            view = image_of(features, "view")
            tiles = [shaded(view), marked(view, features)]
        else:
            coarse, scan, truth = (image_of(features, group) for group in ("coarse", "scan", "truth"))
            tiles = [shaded(coarse), shaded(scan), shaded(truth), residual(scan, coarse), residual(truth, coarse)]
        row = np.concatenate([np.pad(tile, ((GAP, GAP), (GAP, GAP), (0, 0))) for tile in tiles], axis=1)
        rows.append(_labelled(row, features))
    return Image.fromarray(np.concatenate(rows, axis=0)) if rows else Image.new("RGB", (1, 1))


def _labelled(row: np.ndarray, features: Mapping) -> np.ndarray:
    text = {name: b"".join(features[name]).decode() for name in ("scan_id", "sensor", "split")}
    image = Image.fromarray(row)
    ImageDraw.Draw(image).text((6, 4), f"{text['scan_id']}  {text['sensor']}  {text['split']}", fill=(255, 220, 120))
    return np.asarray(image)
