"""Landmarks that were seen, brought onto the surface that is written: they are points of it."""

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from geometry.landmarks.estimate import LandmarkEstimate
from geometry.mesh import TriangleMesh
from geometry.surfaces.closest_point import closest_points
from geometry.surfaces.raycasting import interpolate

REACH_MM = (1.5, 2.5)  # a landmark farther from the surface than the last stays where it was found: that is of something else
AROUND_MM = (
    4.0  # of the landmarks: so far the corners of the triangles lie that may be met, none of them longer than a millimetre
)


def on_surface(estimate: LandmarkEstimate, mesh: TriangleMesh, observed: np.ndarray) -> LandmarkEstimate:
    """Each landmark that was seen at the nearest point of the surface as far as that was observed, (n,) of its vertices; between
    the two of `REACH_MM` less and less of the way. Both in one frame, mm. Covariances stay: along the surface they are as large
    as before, and normal to it the surface is off as well."""
    seen = np.flatnonzero(estimate.seen & np.isfinite(estimate.points).all(axis=1))
    if not len(seen) or not len(mesh.triangles):
        return estimate
    near = np.isfinite(cKDTree(estimate.points[seen]).query(mesh.vertices, distance_upper_bound=AROUND_MM)[0])
    (a, b, c), known = (near[column] for column in mesh.triangles.T), observed[mesh.triangles].astype(bool).all(axis=1)
    part = TriangleMesh(mesh.vertices, mesh.triangles[(a | b | c) & known])
    if not len(part.triangles):
        return estimate
    met, points = closest_points(estimate.points[seen], part), np.array(estimate.points)
    share = 1 - np.clip((met.distance - REACH_MM[0]) / (REACH_MM[1] - REACH_MM[0]), 0, 1)
    nearest = interpolate(part.vertices, part.triangles[met.triangle], met.uv)
    points[seen] += share[:, None] * (nearest - points[seen])
    return replace(estimate, points=points)
