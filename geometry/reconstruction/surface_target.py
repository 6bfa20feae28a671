"""A surface that a mesh is drawn onto, with what is known of each of its vertices, and the projection of points onto it."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from geometry.mesh import TriangleMesh
from geometry.surfaces.raycasting import first_hits, interpolate, raycasting_scene

if TYPE_CHECKING:
    from open3d.t.geometry import RaycastingScene

FACING = (0.5, 0.7)  # cosines of two normals: up to the first they do not belong together, from the second on they do
_LAST_QUARTER = 4.0  # of the reach, over which a projection counts less and less


@dataclass(frozen=True, eq=False)
class SurfaceTarget:
    """mesh: model frame, mm, outward; support (k,) in [0, 1]: how much each of its vertices counts; sigma_mm (k,): the standard
    deviation of its place along the normal; rough_mm: of what of that differs from one vertex to the next: how closely it is
    followed; front_mm: what lies farther than this before whatever is drawn onto it counts less,
    and at twice that not at all, as hair and hands do (inf: everything counts)."""

    mesh: TriangleMesh
    support: np.ndarray
    sigma_mm: np.ndarray
    rough_mm: float
    front_mm: float = np.inf
    shortest_mm: float = 0.0

    @cached_property
    def scene(self) -> "RaycastingScene":
        return raycasting_scene(self.mesh)

    @cached_property
    def attributes(self) -> np.ndarray:
        """(k, 5) normals, support, σ."""
        return np.concatenate([self.mesh.vertex_normals, self.support[:, None], self.sigma_mm[:, None]], axis=1)


@dataclass(frozen=True)
class Projection:
    """Of points onto a target along given directions: offset (n,) mm, positive along the direction; weight (n,) in [0, 1], 0
    where nothing was met; sigma_mm (n,): of the target there."""

    offset: np.ndarray
    weight: np.ndarray
    sigma_mm: np.ndarray


def fade_in(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to `low`, 1 from `high` on, straight between: a threshold would let the last bits of the coordinates, which differ
    between machines and libraries, move vertices."""
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def project(
    points: np.ndarray,
    directions: np.ndarray,
    target: SurfaceTarget,
    reach_mm: float,
    facing: tuple[float, float] = FACING,
    wanted: np.ndarray | None = None,
) -> Projection:
    """Points (n, 3) along ± unit directions (n, 3) onto what faces the same way within reach; wanted (k,): only these, in any
    order: rays that begin near each other, one after the other, take a quarter less time.

    Of hits on both sides the nearer decides: they share by the inverse eighth power of their distances, 25 to 1 where one is half
    as far again as the other."""
    if wanted is not None:
        few, whole = project(points[wanted], directions[wanted], target, reach_mm, facing), np.zeros((3, len(points)))
        whole[2] = 1.0
        for values, found in zip(whole, (few.offset, few.weight, few.sigma_mm), strict=True):
            values[wanted] = found
        return Projection(*whole)
    n = len(points)
    offset, weight, sigma = np.zeros((2, n)), np.zeros((2, n)), np.ones((2, n))
    if not len(target.mesh.triangles):
        return Projection(offset[0], weight[0], sigma[0])
    share = np.zeros((2, n))
    for side, sign in enumerate((1, -1)):
        hit, at, distance = _met(points, sign * directions, target, reach_mm)
        # the last bit of what was interpolated may lie outside
        counts = np.clip(at[:, 3], 0, 1) * np.minimum(_LAST_QUARTER * (1 - distance / reach_mm), 1.0)
        if sign > 0:
            counts *= 1 - fade_in(distance / target.front_mm, 1.0, 2.0)
        counts *= fade_in(np.einsum("ij,ij->i", at[:, :3], directions[hit]), *facing)
        weight[side, hit], offset[side, hit], sigma[side, hit] = counts, sign * distance, at[:, 4]
        fourth = np.maximum(distance, 1e-3) ** 2 * np.maximum(distance, 1e-3) ** 2
        share[side, hit] = counts / (fourth * fourth)
    share /= np.maximum(share[0] + share[1], np.finfo(float).tiny)
    mean = lambda values: share[0] * values[0] + share[1] * values[1]
    weight_there = mean(weight)
    return Projection(mean(offset), weight_there, np.where(weight_there > 0, mean(sigma), 1.0))


def _met(
    points: np.ndarray, directions: np.ndarray, target: SurfaceTarget, reach_mm: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(k,) which of the points meet a target within reach, its attributes there, (k, 5), and the distance (k,)."""
    distance, triangle, uv, _ = first_hits(target.scene, points, directions)
    hit = np.flatnonzero((triangle >= 0) & (distance < reach_mm))
    return hit, interpolate(target.attributes, target.mesh.triangles[triangle[hit]], uv[hit]), distance[hit]
