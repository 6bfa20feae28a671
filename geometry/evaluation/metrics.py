"""Errors between surfaces, in mm and degrees.

Nothing here aligns anything: every figure has zero degrees of freedom, so that pose and scale errors count. Who wants a figure
after alignment applies `SimilarityTransform.umeyama` first (6 degrees of freedom rigidly, 7 with scale) and says so.
"""

from dataclasses import dataclass

import numpy as np

from geometry.mesh import TriangleMesh
from geometry.surfaces.closest_point import ClosestPoints, closest_points
from geometry.surfaces.raycasting import interpolate

CAP_MM = 20.0  # what a miss costs at most, and a missing surface always
FAILED_DEGREES = 90.0
SAMPLES = 20_000


def boundary_triangles(mesh: TriangleMesh) -> np.ndarray:
    """(m,) bool: triangles with an edge that no other triangle shares."""
    edges = np.sort(mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
    _, inverse, counts = np.unique(edges[:, 0] * len(mesh.vertices) + edges[:, 1], return_inverse=True, return_counts=True)
    return (counts[inverse.reshape(-1)] == 1).reshape(-1, 3).any(1)


def normal_angles(normals: np.ndarray, found: ClosestPoints, mesh: TriangleMesh) -> np.ndarray:
    """Angles (n,) in degrees between outward normals (n, 3) and the mesh's interpolated vertex normals at the closest points.

    Signed normals: an inside-out mesh has 180°. 0 degrees of freedom.
    """
    other = interpolate(mesh.vertex_normals, mesh.triangles[found.triangle], found.uv)
    cosine = (normals * other).sum(1) / np.maximum(np.linalg.norm(other, axis=1), 1e-12)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


@dataclass(frozen=True)
class SurfaceErrors:
    """Means over one pair of surfaces: truth_to_surface and surface_to_truth in mm, normal_angle in degrees, area_ratio = the
    surface's area over the truth's near the nose (1.0 where only one direction is measured)."""

    truth_to_surface: float
    surface_to_truth: float
    normal_angle: float
    area_ratio: float

    @property
    def distance(self) -> float:
        """The mean of both directions, mm."""
        return (self.truth_to_surface + self.surface_to_truth) / 2


FAILED = SurfaceErrors(CAP_MM, CAP_MM, FAILED_DEGREES, 0.0)


def sample_surface(mesh: TriangleMesh, area: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` points (count, 3) drawn uniformly from the triangles, triangle k with a chance ∝ area[k] (m,)."""
    chosen = rng.choice(len(mesh.triangles), count, p=area / area.sum())
    weights = rng.dirichlet((1, 1, 1), count)
    return (mesh.vertices[mesh.triangles[chosen]] * weights[:, :, None]).sum(1)


def _area_near(mesh: TriangleMesh, nose: np.ndarray, radius: float) -> np.ndarray:
    """(m,) areas of the triangles whose centroid lies within radius of the nose, 0 for the others."""
    centroids = mesh.vertices[mesh.triangles].mean(1)
    return np.where(np.linalg.norm(centroids - nose, axis=1) < radius, np.linalg.norm(mesh.triangle_area_vectors, axis=1), 0.0)


def surface_errors(
    truth: TriangleMesh,
    mesh: TriangleMesh,
    nose: np.ndarray,
    visible: np.ndarray | None = None,
    both_ways: bool = True,
    outer_mm: float = 85.0,
    inner_mm: float = 75.0,
) -> SurfaceErrors:
    """How far a surface is from the truth; both in mm and in one frame, compared as they lie: 0 degrees of freedom.

    truth → surface: from the truth's vertices within outer_mm of the nose tip (3,) (those under `visible` (n,) bool, if given) to
    the closest points of the mesh, with the angle between the truth's vertex normals and the mesh's interpolated ones.
    surface → truth: from `SAMPLES` points drawn by area, always the same, within inner_mm, where the nearest truth triangle is
    not on the truth's boundary; left out (equal to the other direction) where both_ways is False, for a topology with a mouth
    cavity or eyeballs.
    Each distance is capped at 20 mm. A mesh without triangles near the nose gets `FAILED`: it is never left out. The truth's
    corners must be merged, so that it has normals and a boundary.
    """
    keep = np.linalg.norm(truth.vertices - nose, axis=1) < outer_mm
    if visible is not None:
        keep &= visible
    if not len(mesh.triangles) or not keep.any():
        return FAILED
    found = closest_points(truth.vertices[keep], mesh)
    forward = float(np.minimum(found.distance, CAP_MM).mean())
    angle = float(normal_angles(truth.vertex_normals[keep], found, mesh).mean())
    if not both_ways:
        return SurfaceErrors(forward, forward, angle, 1.0)
    area = _area_near(mesh, nose, inner_mm)
    if area.sum() == 0:
        return FAILED
    back = closest_points(sample_surface(mesh, area, SAMPLES, np.random.default_rng(0)), truth)
    inside = ~boundary_triangles(truth)[back.triangle]
    backward = float(np.minimum(back.distance[inside], CAP_MM).mean()) if inside.any() else CAP_MM
    return SurfaceErrors(forward, backward, angle, float(area.sum() / max(_area_near(truth, nose, inner_mm).sum(), 1e-12)))
