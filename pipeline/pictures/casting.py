"""What an orthographic camera sees of a surface or of a point cloud: the casting and splatting beneath the previews.

Everything is in the model frame, mm. The same input gives the same pixels.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from geometry.charts.masked_filters import masked_mean_and_weight
from geometry.mesh import TriangleMesh
from geometry.surfaces.raycasting import first_hits, nearest_on_scene, raycasting_scene
from pipeline.pictures.depth_buffer import nearest_triangles

if TYPE_CHECKING:
    from open3d.t.geometry import RaycastingScene

LARGEST_CLOUD = 150_000
PIVOT_MM = (0.0, 6.0, -60.0)  # the middle of a head
START_MM = 400.0  # rays start so far in front of the pivot


@dataclass(frozen=True)
class View:
    """An orthographic camera that looks at the face's middle; `yaw` in radians turns it to the subject's left."""

    width: int
    height: int
    pixel_mm: float
    yaw: float = 0.0
    pivot: tuple[float, float, float] = PIVOT_MM

    @cached_property
    def model_to_view(self) -> np.ndarray:
        """(3, 3); the view frame has x right, y up, z towards the camera."""
        return Rotation.from_rotvec(np.array([0.0, -self.yaw, 0.0])).as_matrix()

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 3) → pixel coordinates (n, 2) as (column, row), centres at integers, and depth (n,) towards the camera."""
        p = (points - self.pivot) @ self.model_to_view.T
        column = p[:, 0] / self.pixel_mm + (self.width - 1) / 2
        row = (self.height - 1) / 2 - p[:, 1] / self.pixel_mm
        return np.stack([column, row], 1), p[:, 2]

    def lift(self, pixels: np.ndarray, depth: np.ndarray | float) -> np.ndarray:
        """The inverse of `project`."""
        x = (pixels[:, 0] - (self.width - 1) / 2) * self.pixel_mm
        y = ((self.height - 1) / 2 - pixels[:, 1]) * self.pixel_mm
        return np.stack([x, y, np.broadcast_to(depth, x.shape)], 1) @ self.model_to_view + self.pivot

    @cached_property
    def towards_camera(self) -> np.ndarray:
        """(3,) unit vector in the model frame."""
        return self.model_to_view[2].astype(np.float32)

    @cached_property
    def centres(self) -> np.ndarray:
        """(h · w, 2) the pixels' centres as (column, row), row by row."""
        row, column = np.mgrid[: self.height, : self.width]
        return np.stack([column.ravel(), row.ravel()], 1).astype(float)

    @cached_property
    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """(h · w, 3) float32 origins and directions in the model frame, row by row."""
        origins = self.lift(self.centres, START_MM)
        return origins.astype(np.float32), np.broadcast_to(-self.towards_camera, origins.shape)


@dataclass(frozen=True)
class Layer:
    """What one view sees of one surface: hit (h, w) bool; per hit, points and unit normals (k, 3), model frame, and values (k, d)
    of the surface's vertices, d = 0 where it has none."""

    hit: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    values: np.ndarray


class Surface:
    """A mesh prepared for casting, with values (n, d) of its vertices, if any. Parts outside the picture are dropped first."""

    def __init__(self, mesh: TriangleMesh, values: np.ndarray | None = None):
        inside = _in_picture(mesh.vertices)
        self.mesh = mesh if inside.all() else mesh.submesh(inside)[0]
        self.values = np.zeros((len(self.mesh.vertices), 0)) if values is None else values[inside].astype(np.float32)
        self.points = self.mesh.vertices
        self.normals = self.mesh.vertex_normals.astype(np.float32)

    @cached_property
    def scene(self) -> "RaycastingScene":
        return raycasting_scene(self.mesh)

    def seen_by(self, view: View) -> Layer:
        triangle, uv, points = self._first(view)
        hit = triangle >= 0
        corners, uv, points = self.mesh.triangles[triangle[hit]], uv[hit].astype(np.float32), points[hit].astype(np.float32)
        shares = np.concatenate([1 - uv.sum(1, keepdims=True), uv], axis=1)
        between = lambda values: (values[corners] * shares[:, :, None]).sum(axis=1)
        return Layer(hit.reshape(view.height, view.width), points, unit(between(self.normals)), between(self.values))

    def _first(self, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each pixel the triangle (h · w,) that it sees first, −1 where none, its u, v (h · w, 2) and the point (h · w, 3)."""
        pixels, depth = view.project(self.mesh.vertices)
        found = nearest_triangles(pixels, depth, self.mesh.triangles, (view.height, view.width))
        if found is not None:
            return found[0], found[1], view.lift(view.centres, np.where(found[0] >= 0, found[2], 0.0))
        origins, directions = view.rays
        distance, triangle, uv, _ = first_hits(self.scene, origins, directions)
        return triangle, uv, origins + np.where(triangle >= 0, distance, 0.0)[:, None] * directions

    def offsets_from(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) from each point to the nearest point of the surface."""
        if not len(self.mesh.triangles):
            return np.full(points.shape, np.inf)
        return nearest_on_scene(self.scene, points)[0].astype(np.float32) - points


class Cloud:
    """A point cloud prepared for splatting; thinned by a fixed stride where it is larger than a picture can show."""

    def __init__(self, points: np.ndarray):
        points = points[np.isfinite(points).all(1)]
        points = points[_in_picture(points)]
        self.points = points[:: max(1, -(-len(points) // LARGEST_CLOUD))]

    @cached_property
    def tree(self) -> cKDTree:
        return cKDTree(self.points, balanced_tree=False, compact_nodes=False)

    def seen_by(self, view: View) -> Layer:
        """A depth buffer of square splats as wide as the points' spacing; normals from its smoothed slopes."""
        depth, spacing = _depth_buffer(self.points, view)
        splatted = np.isfinite(depth)
        # Normalised convolution: smooth where there are points, without pulling the edges to the background.
        sigma = 0.8 + 0.8 * spacing
        flat = np.where(splatted, depth, 0).astype(np.float32)
        smooth, known = masked_mean_and_weight(flat, splatted.astype(np.float32), sigma, 1e-3)
        hit = splatted | (known > 0.5)  # gaps between points, smaller than the kernel
        down, right = np.gradient(smooth, view.pixel_mm)
        normals = unit(np.stack([-right, down, np.ones_like(right)], -1)[hit]) @ view.model_to_view
        row, column = np.nonzero(hit)
        depth = np.where(splatted, depth, smooth)[hit]
        points = view.lift(np.stack([column, row], 1).astype(float), depth)
        return Layer(hit, points, normals.astype(np.float32), np.zeros((len(points), 0)))

    def offsets_from(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) from each point to the mean of its four nearest cloud points: one alone follows the sensor's noise."""
        if len(self.points) < 4:
            return np.full(points.shape, np.inf)
        _, nearest = self.tree.query(points, k=4)
        return self.points[nearest].mean(1) - points


def _in_picture(points: np.ndarray) -> np.ndarray:
    """(n,) bool: no view shows the others."""
    return np.all(np.abs(points - np.array(PIVOT_MM)) < (135.0, 135.0, 130.0), axis=1)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _depth_buffer(points: np.ndarray, view: View) -> tuple[np.ndarray, float]:
    """(h, w) depth of the nearest splat, −inf where none; and the points' spacing in pixels."""
    pixels, depth = view.project(points)
    pixels = np.rint(pixels).astype(np.int64)
    blocks = len(np.unique(pixels[:, 0] // 8 * 100_003 + pixels[:, 1] // 8))
    spacing = float(np.clip(np.sqrt(64 * blocks / max(len(points), 1)), 0.3, 3.0))
    reach = int(np.ceil(1.7 * spacing))
    order = np.argsort(depth, kind="stable")  # painter's order: the last write, the nearest point, stays
    column, row, depth = pixels[order, 0], pixels[order, 1], depth[order]
    buffer = np.full((view.height, view.width), -np.inf)
    for dy in range(-(reach // 2), reach - reach // 2):
        for dx in range(-(reach // 2), reach - reach // 2):
            x, y = column + dx, row + dy
            kept = (x >= 0) & (x < view.width) & (y >= 0) & (y < view.height)
            splats = np.full_like(buffer, -np.inf)
            splats[y[kept], x[kept]] = depth[kept]
            np.maximum(buffer, splats, out=buffer)
    return buffer, spacing
