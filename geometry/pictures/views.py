"""Orthographic cameras, and what they see of a mesh by ray casting. Model frame, mm; the same input gives the same pixels."""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from geometry.mesh import TriangleMesh
from geometry.surfaces.raycasting import first_hits, raycasting_scene

if TYPE_CHECKING:
    from open3d.t.geometry import RaycastingScene

_FAR_MM = 1000.0
_OCCLUSION_RAYS, _OCCLUSION_MM = 64, 45.0  # what lies farther away takes no light from a point
_OFF_SURFACE_MM = 0.15
_BAND = 256  # rows of samples cast at once, which bounds the memory


@dataclass(frozen=True)
class View:
    """An orthographic camera: width × height pixels of `pixel_mm` mm with `pivot`, model frame, in their middle.

    yaw, pitch: degrees by which the camera stands to the subject's left and above; start: mm before the pivot where its rays
    start, so that a small one shows the surface cut open. Each pixel is SAMPLES × SAMPLES rays.
    """

    SAMPLES: ClassVar[int] = 3

    width: int
    height: int
    pixel_mm: float
    pivot: tuple[float, float, float]
    yaw: float = 0.0
    pitch: float = 0.0
    start: float = _FAR_MM

    @property
    def cuts(self) -> bool:
        """Whether its rays start within what it looks at."""
        return self.start < _FAR_MM

    @cached_property
    def axes(self) -> np.ndarray:
        """(3, 3) unit rows: right and up in the picture, and towards the camera."""
        yaw, pitch = np.radians([self.yaw, self.pitch])
        right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
        towards = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        return np.stack([right, np.cross(towards, right), towards])

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 3) → pixels (n, 2) as (column, row), 0 at the picture's edge, and depth (n,) in mm before the pivot."""
        seen = (np.asarray(points, float) - self.pivot) @ self.axes.T
        return seen[:, :2] * (1, -1) / self.pixel_mm + (self.width / 2, self.height / 2), seen[:, 2]

    def rays(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(r · w, 3) float32 origins and directions of the samples in rows (r,) of samples, row by row."""
        columns = np.arange(self.width * self.SAMPLES)
        across = ((columns + 0.5) / self.SAMPLES - self.width / 2) * self.pixel_mm
        down = (self.height / 2 - (rows + 0.5) / self.SAMPLES) * self.pixel_mm
        origins = self.axes[0] * across[None, :, None] + self.axes[1] * down[:, None, None]
        origins = (origins + self.axes[2] * self.start + self.pivot).reshape(-1, 3).astype(np.float32)
        return origins, np.broadcast_to(-self.axes[2].astype(np.float32), origins.shape)


def view_of(points: np.ndarray, size: tuple[int, int], yaw: float = 0.0, pitch: float = 0.0, margin: float = 0.03) -> View:
    """The view of size (width, height) pixels in whose middle the points (n, 3) fit, with a margin (share of their extent)."""
    turned = View(*size, 1.0, (0.0, 0.0, 0.0), yaw, pitch)
    seen = np.asarray(points, float) @ turned.axes.T
    low, high = seen.min(axis=0), seen.max(axis=0)
    pixel_mm = float(((high - low)[:2] * (1 + 2 * margin) / size).max())
    x, y, z = ((low + high) / 2 @ turned.axes).tolist()
    return replace(turned, pixel_mm=max(pixel_mm, 1e-6), pivot=(x, y, z))


@dataclass(frozen=True, eq=False)
class Body:
    """A mesh to be drawn, compared by identity; colours (n, 3) in [0, 1] of its vertices."""

    mesh: TriangleMesh
    colours: np.ndarray

    @cached_property
    def scene(self) -> "RaycastingScene":
        return raycasting_scene(self.mesh)

    @cached_property
    def openness(self) -> np.ndarray:
        """(n,) share of the light of a cosine-weighted sky above each vertex that nothing within 45 mm takes away."""
        normals = self.mesh.vertex_normals
        step = np.arange(_OCCLUSION_RAYS) + 0.5
        turn, up = np.pi * (3 - np.sqrt(5)) * step, np.sqrt(1 - step / _OCCLUSION_RAYS)  # a spiral, dense as the cosine
        sky = np.stack([np.cos(turn) * np.sqrt(1 - up**2), np.sin(turn) * np.sqrt(1 - up**2), up], axis=1)
        least = np.eye(3)[np.abs(normals).argmin(axis=1)]
        first = np.cross(normals, least)
        first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
        frame = np.stack([first, np.cross(normals, first), normals], axis=1)
        directions = np.einsum("ka,nab->nkb", sky, frame).reshape(-1, 3)
        origins = np.repeat(self.mesh.vertices + _OFF_SURFACE_MM * normals, len(sky), axis=0)
        return (first_hits(self.scene, origins, directions)[0] > _OCCLUSION_MM).reshape(-1, len(sky)).mean(axis=1)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a view sees of a body: hit (h, w) bool of its samples; of the k hits, row by row, triangle (k,) and barycentric
    weights (k, 3); depth (h, w) mm before the view's pivot, −inf where nothing is."""

    body: Body
    view: View
    hit: np.ndarray
    triangle: np.ndarray
    weights: np.ndarray
    depth: np.ndarray

    def of(self, values: np.ndarray) -> np.ndarray:
        """Vertex values (n,) or (n, c) → (k,) or (k, c) float32 at the hits."""
        corners, values = self.body.mesh.triangles[self.triangle], np.asarray(values, np.float32)
        return np.einsum("kc,kc...->k...", self.weights, values[corners])

    def shows(self, points: np.ndarray, behind_mm: float = 1.5) -> np.ndarray:
        """(n,) bool: the points (n, 3) lie in the picture and not more than so far behind what it shows there."""
        pixels, depth = self.view.project(points)
        column, row = np.floor(pixels * View.SAMPLES).astype(int).T
        inside = (column >= 0) & (column < self.hit.shape[1]) & (row >= 0) & (row < self.hit.shape[0])
        surface = self.depth[np.where(inside, row, 0), np.where(inside, column, 0)]
        return inside & (depth > surface - behind_mm)


@lru_cache(maxsize=6)
def seen(body: Body, view: View) -> Seen:
    """What the view sees of the body; the last few answers are kept, because several pictures share a view."""
    shape = (view.height * View.SAMPLES, view.width * View.SAMPLES)
    bands = np.array_split(np.arange(shape[0]), -(-shape[0] // _BAND))
    distance, triangle, uv = (
        np.concatenate(part) for part in zip(*(first_hits(body.scene, *view.rays(rows))[:3] for rows in bands))
    )
    hit = triangle >= 0
    uv = uv[hit].astype(np.float32)
    weights = np.column_stack([1 - uv.sum(axis=1), uv])
    depth = np.where(hit, view.start - distance, -np.inf).astype(np.float32)
    return Seen(body, view, hit.reshape(shape), triangle[hit], weights, depth.reshape(shape))
