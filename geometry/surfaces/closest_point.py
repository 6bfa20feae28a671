"""Nearest points on a triangle mesh and the distances to them, in float64."""

from dataclasses import dataclass

import numpy as np

from geometry.mesh import TriangleMesh
from geometry.surfaces.raycasting import nearest_on_scene, raycasting_scene


@dataclass(frozen=True)
class ClosestPoints:
    """Of n query points: distance (n,) mm; triangle (n,) int; uv (n, 2): barycentric weights of its second and third corner."""

    distance: np.ndarray
    triangle: np.ndarray
    uv: np.ndarray


def closest_points(points: np.ndarray, mesh: TriangleMesh) -> ClosestPoints:
    """The closest point of the mesh's triangles to each point (n, 3). Raises ValueError for a mesh without triangles."""
    if not len(mesh.triangles):
        raise ValueError(f"the mesh has {len(mesh.vertices)} vertices and no triangle; distances need a surface")
    points = np.asarray(points, float).reshape(-1, 3)
    nearest, triangle, uv = nearest_on_scene(raycasting_scene(mesh), points)
    return ClosestPoints(np.linalg.norm(points - nearest, axis=1), triangle, uv)


def surface_distance(points: np.ndarray, mesh: TriangleMesh) -> np.ndarray:
    """Unsigned point-to-surface distance of points (n, 3), (n,) in the coordinates' unit. No alignment: 0 degrees of freedom.

    One direction only: what the mesh has and the points lack costs nothing; see `surface_errors` for both.
    """
    return closest_points(points, mesh).distance
