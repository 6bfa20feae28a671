"""What benchmarks/surface_quality.py measures on a mesh: how its triangles lie, its borders, and how much of a scan it covers.

Everything is in mm and degrees, and nothing is aligned.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from geometry.evaluation.metrics import normal_angles
from geometry.mesh import TriangleMesh
from geometry.surfaces.closest_point import closest_points, surface_distance
from geometry.surfaces.self_intersection import intersecting_triangles
from geometry.surfaces.side_swaps import cosines_about

FLIPPED_DEGREES = 90.0
LEAST_AREA_MM2, LEAST_DEGREES = 1e-6, 1.0  # a smaller triangle, or one with a smaller angle, is degenerate
PERCENTILE = 99.0  # of dihedral angles
REGION_MM, REGION_DEGREES = 10.0, 60.0  # a scan's point so near the model's region, and facing as it does, belongs to it


@dataclass(frozen=True)
class Shape:
    """Of one mesh: triangles that pass through another one, that are flipped, that are degenerate; components that have a
    triangle; closed borders, those that touch counted as one; the median of the triangles' smallest angles."""

    triangles: int
    crossing: int
    flipped: int
    degenerate: int
    components: int
    loops: int
    smallest_angle: float


def shape_of(mesh: TriangleMesh) -> Shape:
    """Flipped are triangles turned by more than 90° from what is about them."""
    angles = smallest_angles(mesh)
    return Shape(
        triangles=len(mesh.triangles),
        crossing=crossing(mesh),
        flipped=int(turned_from_neighbours(mesh).sum()),
        degenerate=int(degenerate(mesh, angles).sum()),
        components=len(np.unique(mesh.component_labels[mesh.triangles])),
        loops=boundary_loops(mesh),
        smallest_angle=float(np.median(angles)) if len(angles) else 0.0,
    )


def crossing(mesh: TriangleMesh) -> int:
    """How many triangles pass through another one with which they have no corner in common."""
    return len(np.unique(intersecting_triangles(mesh)))


def degrees_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(m,) angles between vectors (m, 3) of any length; 0 where one has none."""
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(one, other), axis=1), (one * other).sum(axis=1)))


def turned_from(mesh: TriangleMesh, before: TriangleMesh) -> np.ndarray:
    """(m,) bool: triangles that face away from where the same triangle of another mesh faces."""
    return degrees_between(mesh.triangle_area_vectors, before.triangle_area_vectors) > FLIPPED_DEGREES


def turned_from_neighbours(mesh: TriangleMesh) -> np.ndarray:
    """(m,) bool: triangles that face away from the surface about them: from the mean normal, by area, of the triangles at their
    corners and of two rings of vertices about these. A fold narrower than that is seen, and a crease of less than 90° is none."""
    return cosines_about(mesh) < 0


def smallest_angles(mesh: TriangleMesh) -> np.ndarray:
    """(m,) degrees of each triangle's smallest angle, 0 where two corners are one."""
    corners = mesh.vertices[mesh.triangles]
    first, second = np.roll(corners, -1, axis=1) - corners, np.roll(corners, -2, axis=1) - corners
    angles = degrees_between(first.reshape(-1, 3), second.reshape(-1, 3)).reshape(-1, 3)
    return angles.min(axis=1) if len(angles) else np.zeros(0)


def degenerate(mesh: TriangleMesh, angles: np.ndarray) -> np.ndarray:
    """(m,) bool: triangles without area, or with an angle of less than 1°; angles (m,): their smallest."""
    return (np.linalg.norm(mesh.triangle_area_vectors, axis=1) < LEAST_AREA_MM2) | (angles < LEAST_DEGREES)


def boundary_loops(mesh: TriangleMesh) -> int:
    """How many pieces the border has; loops that touch in a vertex are one."""
    members, place = np.unique(mesh.boundary_edges, return_inverse=True)
    if not len(members):
        return 0
    ends = place.reshape(-1, 2).T
    graph = sparse.coo_matrix((np.ones(ends.shape[1]), ends), shape=(len(members),) * 2)
    return int(connected_components(graph, directed=False)[0])


def dihedral_angles(mesh: TriangleMesh, region: np.ndarray) -> np.ndarray:
    """(e,) degrees between the normals of the two triangles at every edge within a region (n,) bool of vertices: 0 where flat."""
    sides = np.sort(mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
    triangle = np.repeat(np.arange(len(mesh.triangles)), 3)
    inside = region[sides].all(axis=1)
    keys, triangle = sides[inside] @ [len(mesh.vertices), 1], triangle[inside]
    order = np.argsort(keys, kind="stable")
    _, first, count = np.unique(keys[order], return_index=True, return_counts=True)
    one, other = (mesh.triangle_area_vectors[triangle[order[first[count == 2] + k]]] for k in (0, 1))
    return degrees_between(one, other)


def dihedral_ratio(mesh: TriangleMesh, template: TriangleMesh, region: np.ndarray) -> float:
    """The 99th percentile of a region's dihedral angles over that of the template, of the same topology."""
    own, usual = (dihedral_angles(each, region) for each in (mesh, template))
    return float(np.percentile(own, PERCENTILE) / np.percentile(usual, PERCENTILE)) if len(own) else float("nan")


def within_region(points: np.ndarray, normals: np.ndarray, body: TriangleMesh, region: np.ndarray) -> np.ndarray:
    """(k,) bool: points (k, 3) with outward normals (k, 3) whose nearest triangle of the whole body is one of a region (n,) bool
    of its vertices, lies within 10 mm and faces the same way to within 60°."""
    found = closest_points(points, body)
    same_way = normal_angles(normals, found, body) < REGION_DEGREES
    return region[body.triangles].all(axis=1)[found.triangle] & (found.distance < REGION_MM) & same_way


def covered(points: np.ndarray, surface: TriangleMesh, reach_mm: float) -> float:
    """The share of points (k, 3) that lie within so many mm of a surface; NaN without points."""
    if not len(points) or not len(surface.triangles):
        return 0.0 if len(points) else float("nan")
    return float((surface_distance(points, surface) <= reach_mm).mean())


def surface_samples(mesh: TriangleMesh, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and outward unit normals (count, 3) drawn by area from a mesh, always the same."""
    rng, area = np.random.default_rng(0), np.linalg.norm(mesh.triangle_area_vectors, axis=1)
    if not area.sum() > 0:
        return np.zeros((0, 3)), np.zeros((0, 3))
    corners = mesh.triangles[rng.choice(len(area), count, p=area / area.sum())]
    weights = rng.dirichlet((1, 1, 1), count)
    points, normals = (np.einsum("kc,kcd->kd", weights, each[corners]) for each in (mesh.vertices, mesh.vertex_normals))
    return points, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
