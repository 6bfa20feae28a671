"""A picture of training pairs, to be looked at: coarse | scan | truth as shaded normals, and the residuals beside them."""

from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image, ImageDraw

from gan.training.pictures import shaded_normals, signed_colours
from geometry.charts.chart import from_json

RESIDUAL_MM = 3.0  # the colour scale's end
GAP = 2


def shaded(features: Mapping, group: str) -> np.ndarray:
    """(h, w, 3) uint8 from the normals of one group; dark blue where invalid."""
    shape = tuple(int(n) for n in features["shape"])
    x, y, elevation, valid = (
        np.reshape(features[f"{group}/{name}"], shape) for name in ("normal_x", "normal_y", "normal_elevation", "valid_mask")
    )
    return shaded_normals(np.stack([x, y, np.sin(elevation)], -1), valid > 0)


def residual(features: Mapping, group: str, base: str) -> np.ndarray:
    """(h, w, 3) uint8: depth of `group` minus `base`, blue where it lies behind, red before, grey none, ±3 mm."""
    shape = tuple(int(n) for n in features["shape"])
    valid = (np.reshape(features[f"{group}/valid_mask"], shape) > 0) & (np.reshape(features[f"{base}/valid_mask"], shape) > 0)
    difference = np.reshape(features[f"{group}/depth"], shape) - np.reshape(features[f"{base}/depth"], shape)
    return signed_colours(difference, valid, RESIDUAL_MM)


def marked(features: Mapping) -> np.ndarray:
    """(h, w, 3) uint8: the view with its landmarks, visible ones green."""
    chart = from_json(b"".join(features["chart"]).decode())
    image = Image.fromarray(shaded(features, "view"))
    pixels, _ = chart.project(np.reshape(features["landmarks"], (-1, 3)).astype(float))
    for (column, row), seen in zip(pixels, features["visible"]):
        ImageDraw.Draw(image).point((column, row), fill=(60, 230, 90) if seen else (240, 90, 70))
    return np.asarray(image)


def sheet(pairs: Iterable[Mapping]) -> Image.Image:
    """One row a pair: coarse, scan, truth, scan − coarse, truth − coarse; or a view, and it with its landmarks.
    pairs: decoded records (`records.decode_example`)."""
    rows = []
    for features in pairs:
        if "landmarks" in features:
            tiles = [shaded(features, "view"), marked(features)]
        else:
            tiles = [shaded(features, group) for group in ("coarse", "scan", "truth")]
            tiles += [residual(features, "scan", "coarse"), residual(features, "truth", "coarse")]
        row = np.concatenate([np.pad(tile, ((GAP, GAP), (GAP, GAP), (0, 0))) for tile in tiles], axis=1)
        rows.append(_labelled(row, features))
    return Image.fromarray(np.concatenate(rows, axis=0)) if rows else Image.new("RGB", (1, 1))


def _labelled(row: np.ndarray, features: Mapping) -> np.ndarray:
    text = {name: b"".join(features[name]).decode() for name in ("scan_id", "sensor", "split")}
    image = Image.fromarray(row)
    ImageDraw.Draw(image).text((6, 4), f"{text['scan_id']}  {text['sensor']}  {text['split']}", fill=(255, 220, 120))
    return np.asarray(image)
