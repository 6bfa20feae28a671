"""A geometry image: named float32 channels in metric units over a chart's pixels.

It is a view-projected raster of a surface, not Gu, Gortler & Hoppe's (2002) parameterization.
"""

from dataclasses import dataclass

import numpy as np

from geometry.charts.chart import Chart

CHANNELS = ("depth", "normal_elevation", "mean_curvature", "normal_x", "normal_y")
# Fixed scales, never an image's own extremes: a grey level means the same millimetre in every image.
CHANNEL_SCALES = {"depth": 50.0, "normal_elevation": np.pi / 2, "mean_curvature": 0.2, "normal_x": 1.0, "normal_y": 1.0}


@dataclass(frozen=True)
class GeometryImage:
    """channels: name → (h, w) float32, 0 where invalid; valid_mask (h, w) bool; units mm, rad, 1/mm.

    Always holds the five of `CHANNELS`, but for the curvature in a view (`geometry.landmarks.views`); others (such as
    "confidence") may be added.
    """

    channels: dict[str, np.ndarray]
    valid_mask: np.ndarray
    chart: Chart

    def __getitem__(self, name: str) -> np.ndarray:
        return self.channels[name]

    @property
    def shape(self) -> tuple[int, int]:
        return self.valid_mask.shape

    def with_channel(self, name: str, values: np.ndarray) -> "GeometryImage":
        return GeometryImage({**self.channels, name: np.asarray(values, np.float32)}, self.valid_mask, self.chart)


def normal_channels(normals: np.ndarray) -> dict[str, np.ndarray]:
    """Unit normals (…, 3) → the channels normal_elevation = atan2(n_z, hypot(n_x, n_y)) in rad, normal_x, normal_y, each (…)."""
    x, y, z = np.moveaxis(normals, -1, 0)
    return {"normal_elevation": np.arctan2(z, np.hypot(x, y)), "normal_x": x, "normal_y": y}


def channel_normals(image: GeometryImage) -> np.ndarray:
    """The inverse of `normal_channels`: (h, w, 3) unit normals, 0 where invalid.

    A network's three channels need not agree; the vector (n_x, n_y, sin elevation) weighs them alike and is then normalised.
    """
    x, y, z = image["normal_x"].astype(float), image["normal_y"].astype(float), np.sin(image["normal_elevation"].astype(float))
    length = np.where(image.valid_mask, np.maximum(np.sqrt(x * x + y * y + z * z), 1e-6), np.inf)
    return np.where(image.valid_mask[:, :, None], np.stack([x / length, y / length, z / length], axis=2), 0.0)
