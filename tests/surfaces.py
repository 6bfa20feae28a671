"""Analytic surfaces that several tests share."""

import numpy as np
import trimesh

from geometry.charts.chart import OrthographicChart, pixel_centres
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.rasterize import image_from_depth
from geometry.mesh import TriangleMesh

SMALL_CHART = OrthographicChart(96, 96, 2.0, 0.0, 0.0)
SMALL_ALL = np.ones((96, 96), bool)


def sphere(radius: float = 60.0, centre=(0.0, 0.0, -60.0), subdivisions: int = 6) -> TriangleMesh:
    made = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return TriangleMesh(made.vertices + centre, made.faces)


def bumpy_depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A face-like relief (mm): a wide dome, a nose, two eye hollows and wrinkles; its tip lies near the origin."""
    dome = -(x**2 + y**2) / 150
    nose = 18 * np.exp(-(x**2) / 120 - (y + 4) ** 2 / 250)
    eyes = -5 * (np.exp(-((x - 32) ** 2 + (y - 35) ** 2) / 150) + np.exp(-((x + 32) ** 2 + (y - 35) ** 2) / 150))
    return dome + nose + eyes + 0.3 * np.cos(y / 2.5) * np.exp(-((y - 60) ** 2) / 200) - 18


def grid_mesh(x: np.ndarray, y: np.ndarray, z: np.ndarray | float = 0.0) -> TriangleMesh:
    """Two triangles a cell of the points (rows, columns); where x grows with the column and y with the row it looks along +z."""
    index = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (index[r, s].ravel() for r in (slice(None, -1), slice(1, None)) for s in (slice(None, -1), slice(1, None)))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    return TriangleMesh(np.stack(np.broadcast_arrays(x, y, z), 2).reshape(-1, 3), triangles)


def bumpy_mesh(step: float = 0.8, half: float = 80.0) -> TriangleMesh:
    x, y = np.meshgrid(*2 * [np.arange(-half, half + step, step)])
    return grid_mesh(x, y, bumpy_depth(x, y))


def small_relief() -> np.ndarray:
    """(96, 96) mm: the depth of the bumpy relief over the small chart."""
    return bumpy_depth(*SMALL_CHART.lift(pixel_centres(SMALL_CHART), np.zeros(96 * 96)).T[:2]).reshape(96, 96)


def small_image(depth: np.ndarray, valid: np.ndarray = SMALL_ALL) -> GeometryImage:
    return image_from_depth(np.where(valid, depth, 0).astype(np.float32), valid, SMALL_CHART)


def image_with(image: GeometryImage, **channels: np.ndarray) -> GeometryImage:
    for name, values in channels.items():
        image = image.with_channel(name, values)
    return image
