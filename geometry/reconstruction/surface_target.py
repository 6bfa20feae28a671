"""A surface that a mesh is drawn onto, with what is known of each of its vertices, and the projection of points onto it."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from geometry.mesh import TriangleMesh
from geometry.surfaces.raycasting import cast_rays, interpolate, raycasting_scene

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
    points: np.ndarray, directions: np.ndarray, target: SurfaceTarget, reach_mm: float, facing: tuple[float, float] = FACING
) -> Projection:
    """Points (n, 3) along ± unit directions (n, 3) onto what faces the same way within reach.

    Of hits on both sides the nearer decides: they share by the inverse eighth power of their distances, 25 to 1 where one is half
    as far again as the other."""
    n = len(points)
    if not len(target.mesh.triangles):
        return Projection(np.zeros(n), np.zeros(n), np.ones(n))
    outward = np.concatenate([directions, -directions])
    distance, triangle, uv, _ = cast_rays(target.scene, np.concatenate([points] * 2), outward)
    hit = np.flatnonzero((triangle >= 0) & (distance < reach_mm))
    at = interpolate(target.attributes, target.mesh.triangles[triangle[hit]], uv[hit])
    near = np.minimum(_LAST_QUARTER * (1 - distance[hit] / reach_mm), 1.0)
    ahead = np.where(hit < n, distance[hit], 0.0)
    behind_front = 1 - fade_in(ahead / target.front_mm, 1.0, 2.0)
    weight, offset, sigma = np.zeros(2 * n), np.zeros(2 * n), np.ones(2 * n)
    support = np.clip(at[:, 3], 0, 1)  # the last bit of what was interpolated may lie outside
    weight[hit] = support * near * behind_front * fade_in(np.einsum("ij,ij->i", at[:, :3], directions[hit % n]), *facing)
    offset[hit], sigma[hit] = np.where(hit < n, distance[hit], -distance[hit]), at[:, 4]
    share = (weight / np.maximum(np.abs(offset), 1e-3) ** 8).reshape(2, n)
    share /= np.maximum(share.sum(axis=0), np.finfo(float).tiny)
    mean = lambda values: (share * values.reshape(2, n)).sum(axis=0)
    weight_there = mean(weight)
    return Projection(mean(offset), weight_there, np.where(weight_there > 0, mean(sigma), 1.0))
