"""The pinhole camera. Frame: x right, y down, z forward; pixel (u, v) is centred at integer (u, v)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PinholeCamera:
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def unproject(self, uv: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Pixels (n, 2) as (u, v) and depth (n,) along z in mm → points (n, 3) in mm, camera frame."""
        x = (uv[:, 0] - self.cx) / self.fx * depth
        y = (uv[:, 1] - self.cy) / self.fy * depth
        return np.stack([x, y, depth], axis=1)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 3) in mm → pixels (n, 2) and depth (n,); the inverse of `unproject`."""
        z = points[:, 2]
        uv = np.stack([points[:, 0] / z * self.fx + self.cx, points[:, 1] / z * self.fy + self.cy], axis=1)
        return uv, z
