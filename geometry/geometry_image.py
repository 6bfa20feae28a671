"""A geometry image: named float32 channels in metric units over a chart's pixels.

It is a view-projected raster of a surface, not Gu, Gortler & Hoppe's (2002) parameterization.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geometry.chart import Chart

CHANNELS = ("depth", "normal_elevation", "mean_curvature", "normal_x", "normal_y")
# Fixed scales, never an image's own extremes: a grey level means the same millimetre in every image.
CHANNEL_SCALES = {"depth": 50.0, "normal_elevation": np.pi / 2, "mean_curvature": 0.2, "normal_x": 1.0, "normal_y": 1.0}


@dataclass(frozen=True)
class GeometryImage:
    """channels: name → (h, w) float32, 0 where invalid; valid_mask (h, w) bool; units mm, rad, 1/mm.

    Always holds the five of `CHANNELS`; others (such as "confidence") may be added.
    """

    channels: dict[str, np.ndarray]
    valid_mask: np.ndarray
    chart: Chart

    def __getitem__(self, name: str) -> np.ndarray:
        return self.channels[name]

    @property
    def shape(self) -> tuple[int, int]:
        return self.valid_mask.shape

    def with_channel(self, name: str, values: np.ndarray) -> GeometryImage:
        return GeometryImage({**self.channels, name: np.asarray(values, np.float32)}, self.valid_mask, self.chart)
