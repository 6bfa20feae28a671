"""Nearest points on a triangle mesh and the distances to them, in float64."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.surfaces.raycasting import nearest_on_scene, raycasting_scene

FINE_MESH = 50_000  # vertices, from which on a tree of all triangles takes longer than to find the near ones
AROUND_MM = 10.0  # around the points, in which nearest vertices are looked for


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


def distance_to_fine(points: np.ndarray, mesh: TriangleMesh, nearest: int = 3) -> np.ndarray:
    """As `surface_distance`, of few points to a mesh of many small triangles: only those about each point's nearest vertices are
    looked at, as a tree of all takes longest to build. Where the nearest point lies on none of them, the distance comes out too
    large by less than a triangle's side."""
    points = np.asarray(points, float).reshape(-1, 3)
    if len(mesh.vertices) < FINE_MESH or len(points) * nearest > len(mesh.vertices):
        return surface_distance(points, mesh)
    low, high = points.min(axis=0) - AROUND_MM, points.max(axis=0) + AROUND_MM
    inside = np.ones(len(mesh.vertices), bool)
    for axis, least, most in zip(mesh.vertices.T, low, high, strict=True):
        inside &= (axis >= least) & (axis <= most)
    number, near = np.flatnonzero(inside), np.zeros(len(inside), bool)
    if len(number) < nearest:
        return surface_distance(points, mesh)
    tree = cKDTree(mesh.vertices[number], balanced_tree=False, compact_nodes=False)
    near[number[tree.query(points, k=nearest)[1]]] = True
    a, b, c = (near[column] for column in mesh.triangles.T)
    return surface_distance(points, TriangleMesh(mesh.vertices, mesh.triangles[a | b | c]))
