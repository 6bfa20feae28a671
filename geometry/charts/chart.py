"""Charts: families of rays over a pixel grid.

Pixel centres lie at integer + 0.5; row 0 is the top (the subject's forehead), column 0 the image's
left, which is the subject's right (−x). A chart's depth is a signed coordinate in mm that grows
outward from the face along the ray, so that rasterize → lift is an exact round trip.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class OrthographicChart:
    """The papers' frontal view: rays parallel to z of the model frame; depth is z.

    centre_x, centre_y: model-frame mm at the middle of the image. The default covers chin to
    hairline (y from −90 to 102 mm about the nose tip) and ±96 mm across.
    """

    height: int = 256
    width: int = 256
    pixel_mm: float = 0.75
    centre_x: float = 0.0
    centre_y: float = 6.0
    kind: str = "orthographic"

    rays_are_parallel = True
    least_depth = -np.inf  # of a hit

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 3) → image coordinates (n, 2) as (column, row), continuous, and depth (n,)."""
        column = (points[:, 0] - self.centre_x) / self.pixel_mm + self.width / 2
        row = self.height / 2 - (points[:, 1] - self.centre_y) / self.pixel_mm
        return np.stack([column, row], 1), points[:, 2].copy()

    def lift(self, image_points: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """The inverse of `project`."""
        x = (image_points[:, 0] - self.width / 2) * self.pixel_mm + self.centre_x
        y = (self.height / 2 - image_points[:, 1]) * self.pixel_mm + self.centre_y
        return np.stack([x, y, depth], 1)

    def rays(self, image_points: np.ndarray, start_depth: float = 400.0) -> tuple[np.ndarray, np.ndarray, float]:
        """Origins (n, 3) at depth `start_depth`, unit directions (n, 3) that look inward, and the start depth:
        a hit at distance t has depth `start_depth − t`."""
        origins = self.lift(image_points, np.full(len(image_points), start_depth))
        return origins, np.tile([0.0, 0.0, -1.0], (len(image_points), 1)), start_depth

    def outward_directions(self, image_points: np.ndarray) -> np.ndarray:
        """(n, 3) unit direction in which depth grows at each image point."""
        return np.tile([0.0, 0.0, 1.0], (len(image_points), 1))


@dataclass(frozen=True)
class CylindricalChart:
    """Ear to ear: rays meet a vertical axis behind the face; depth is the distance from the axis.

    axis_z: model-frame z of the axis (x = 0). Columns are angle·reference_radius, so that a pixel
    is pixel_mm wide at that radius.
    """

    height: int = 256
    width: int = 384
    pixel_mm: float = 0.75
    axis_z: float = -95.0
    centre_y: float = 6.0
    reference_radius: float = 90.0
    kind: str = "cylindrical"

    rays_are_parallel = False
    least_depth = 0.0  # of a hit: a ray that has crossed the axis sees the head from inside

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 3) → image coordinates (n, 2) as (column, row), continuous, and depth (n,)."""
        x, z = points[:, 0], points[:, 2] - self.axis_z
        column = np.arctan2(x, z) * self.reference_radius / self.pixel_mm + self.width / 2
        row = self.height / 2 - (points[:, 1] - self.centre_y) / self.pixel_mm
        return np.stack([column, row], 1), np.hypot(x, z)

    def _angle(self, image_points: np.ndarray) -> np.ndarray:
        return (image_points[:, 0] - self.width / 2) * self.pixel_mm / self.reference_radius

    def lift(self, image_points: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """The inverse of `project`."""
        angle = self._angle(image_points)
        y = (self.height / 2 - image_points[:, 1]) * self.pixel_mm + self.centre_y
        return np.stack([depth * np.sin(angle), y, depth * np.cos(angle) + self.axis_z], 1)

    def rays(self, image_points: np.ndarray, start_depth: float = 500.0) -> tuple[np.ndarray, np.ndarray, float]:
        """As `OrthographicChart.rays`."""
        origins = self.lift(image_points, np.full(len(image_points), start_depth))
        return origins, -self.outward_directions(image_points), start_depth

    def outward_directions(self, image_points: np.ndarray) -> np.ndarray:
        """(n, 3) unit direction in which depth grows at each image point."""
        angle = self._angle(image_points)
        return np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], 1)


Chart = OrthographicChart | CylindricalChart
KINDS = {"orthographic": OrthographicChart, "cylindrical": CylindricalChart}


def pixel_centres(chart: Chart) -> np.ndarray:
    """(h·w, 2) image coordinates (column, row) of the pixel centres, row-major."""
    columns, rows = np.meshgrid(np.arange(chart.width) + 0.5, np.arange(chart.height) + 0.5)
    return np.stack([columns.ravel(), rows.ravel()], 1)


def to_json(chart: Chart) -> str:
    return json.dumps(asdict(chart), sort_keys=True)


def from_json(text: str) -> Chart:
    """Raises ValueError for an unknown kind."""
    fields = json.loads(text)
    if fields.get("kind") not in KINDS:
        raise ValueError(f"unknown chart kind {fields.get('kind')!r}; known: {', '.join(KINDS)}")
    return KINDS[fields["kind"]](**fields)
