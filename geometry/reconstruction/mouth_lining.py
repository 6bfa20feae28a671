"""The inside of a mouth, where a scan has one: modelled heads carry a bag behind their lips, as the template does.

A registration along normals from far away cannot find it, because skin, gums and bag lie close to each other; with the lips in
place the template's own bag can, moved from its rim on: rounds of projection along its normals, each smoothed over a shorter
length, the rim staying where the lips are. Of a scan that shows no such bag next to nothing is met, and the template's own
follows the lips as before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.reconstruction.dense_surface import FOLDED_MM, SUPPORTED, DenseSurface
from geometry.reconstruction.dense_template import DenseTemplate, chain_along
from geometry.reconstruction.surface_target import Projection, SurfaceTarget, project
from geometry.surfaces.laplacian import stiffness
from geometry.surfaces.seen_surface import opens_its_mouth
from geometry.surfaces.subdivision import refine_region

REACH_MM = 15.0
FACING = (0.2, 0.5)  # of the bag's normals and the scan's, which may be of another shape
LENGTHS_MM = (20.0, 12.0, 8.0, 6.0, 4.0, 3.0, 2.0, 2.0)  # of the smoothing of each round
OF_DENSE_MM = (2.0, 1.0, 1.0)
STIFF = 0.2  # of the smoothing, which gives way where much is met
SHOWN = 0.3  # of the bag's area meets the scan's where that has one: half of what does on real heads with one; without it is 0
EDGE_MM, LEVELS = 1.5, 2  # of the refined surface's bag: longer than the template's, which then has a vertex at each of the rim's


@dataclass(frozen=True, eq=False)
class Lining:
    """mesh: the bag on the mean; vertices (k,): their numbers in the model; fine: the refined surface's bag on the mean; matrix
    (K, n): the model's vertices → those of that, smooth between them, and linear (K, n), flat between them."""

    mesh: TriangleMesh
    vertices: np.ndarray
    fine: TriangleMesh
    matrix: sparse.csr_matrix
    linear: sparse.csr_matrix

    @cached_property
    def membrane(self) -> "Membrane":
        return Membrane.of(self.mesh)

    @cached_property
    def fine_membrane(self) -> "Membrane":
        return Membrane.of(self.fine)


@dataclass(frozen=True, eq=False)
class Membrane:
    """free (f,): numbers of the vertices that are not on the border; areas (n,) and stiffness (n, n)."""

    free: np.ndarray
    areas: np.ndarray
    stiffness: sparse.csr_matrix

    @classmethod
    def of(cls, mesh: TriangleMesh) -> "Membrane":
        return cls(np.flatnonzero(~mesh.boundary_vertices), np.maximum(mesh.vertex_areas, 1e-3), stiffness(mesh))

    def moved(self, mesh: TriangleMesh, target: SurfaceTarget, lengths_mm: Sequence[float]) -> tuple[TriangleMesh, Projection]:
        """The mesh with its border where it is and the rest drawn onto the target, and what its vertices met at last."""
        met = project(mesh.vertices, mesh.vertex_normals, target, REACH_MM, FACING)
        for length in lengths_mm:
            heard = self.areas * met.weight
            system = sparse.diags(heard + 1e-3 * self.areas) + STIFF * length**2 * self.stiffness
            right = (heard * met.offset)[:, None] * mesh.vertex_normals
            vertices = np.array(mesh.vertices)
            vertices[self.free] += splu(system.tocsc()[self.free][:, self.free]).solve(right[self.free])
            mesh = mesh.with_vertices(vertices)
            met = project(mesh.vertices, mesh.vertex_normals, target, REACH_MM, FACING)
        return mesh, met


@lru_cache(maxsize=2)
def mouth_lining(model: MorphableModel) -> Lining | None:
    """Of a model that has one, which begins on the rims of its lips."""
    none = np.zeros(model.n_vertices, bool)
    inside = model.regions.get("mouth_cavity", none) & model.regions.get("cavities", none)
    triangles = model.triangles[inside[model.triangles].all(axis=1)]
    if not len(triangles) or not opens_its_mouth(model):
        return None
    fine = refine_region(model.mean, triangles, inside, EDGE_MM, LEVELS)
    vertices, old = np.unique(triangles), np.unique(fine.triangles)
    coarse, dense = (TriangleMesh(model.mean, triangles), TriangleMesh(fine.apply(model.mean), fine.triangles))
    return Lining(_alone(coarse, vertices), vertices, _alone(dense, old), fine.matrix[old], fine.linear()[old])


def _alone(mesh: TriangleMesh, used: np.ndarray) -> TriangleMesh:
    """The vertices (k,) alone, in that order."""
    number = np.zeros(len(mesh.vertices), np.int32)
    number[used] = np.arange(len(used))
    return TriangleMesh(mesh.vertices[used], number[mesh.triangles])


@dataclass(frozen=True, eq=False)
class Inside:
    """registered (n, 3): vertices of the model's topology, those of the lining on the scan's; observed (k,) bool: which of the
    lining's met the scan, and sigma_mm (k,): its standard deviation there."""

    lining: Lining
    registered: np.ndarray
    observed: np.ndarray
    sigma_mm: np.ndarray


def inside_of_mouth(model: MorphableModel, registered: np.ndarray, around: SurfaceTarget | None) -> Inside | None:
    """Registered vertices (n, 3), model frame, mm, with their mouth's lining drawn onto the scan's; None where the scan has
    none."""
    lining = mouth_lining(model)
    if lining is None or around is None or not len(around.mesh.triangles):
        return None
    mesh, membrane = lining.mesh.with_vertices(registered[lining.vertices]), lining.membrane
    if _share(project(mesh.vertices, mesh.vertex_normals, around, REACH_MM, FACING), membrane) < SHOWN:
        return None
    drawn, met = membrane.moved(mesh, around, LENGTHS_MM)
    if _share(met, membrane) < SHOWN:
        return None
    found = np.array(registered)
    found[lining.vertices] = drawn.vertices
    return Inside(lining, found, met.weight > SUPPORTED, np.hypot(met.sigma_mm, FOLDED_MM))


def _share(met: Projection, membrane: Membrane) -> float:
    return float(np.average(met.weight, weights=membrane.areas))


def with_lining(
    surface: DenseSurface, template: DenseTemplate, lining: Lining, registered: np.ndarray, around: SurfaceTarget
) -> tuple[DenseSurface, sparse.csr_matrix]:
    """A refined surface with an open mouth and the lining of that behind its lips; of the vertices that are added, which come
    last, (q, n) what makes them of the model's. registered (n, 3): these, with their lining drawn onto the scan's."""
    seam = _seam(template, lining)
    vertices = lining.matrix @ registered
    vertices[seam.rim] = surface.mesh.vertices[seam.on_lips]
    drawn, met = lining.fine_membrane.moved(lining.fine.with_vertices(vertices), around, OF_DENSE_MM)
    added, told = ~seam.rim, (met.weight > SUPPORTED)[~seam.rim]
    whole = TriangleMesh(
        np.concatenate([surface.mesh.vertices, drawn.vertices[added]]), np.concatenate([surface.mesh.triangles, seam.triangles])
    )
    grown = DenseSurface(
        whole,
        np.append(surface.observed, told.astype(np.uint8)),
        np.append(surface.sigma_mm, np.where(told, np.hypot(met.sigma_mm[added], FOLDED_MM), np.nan)),
        np.concatenate([surface.directions, drawn.vertex_normals[added]]),
    )
    return grown, lining.linear[added]


@dataclass(frozen=True, eq=False)
class _Seam:
    """rim (K,) bool: the vertices of a refined surface's bag on its border; on_lips (r,): the template's vertices there;
    triangles (t, 3): the bag's, the rim's vertices being the template's N own, and the others coming after these."""

    rim: np.ndarray
    on_lips: np.ndarray
    triangles: np.ndarray


@lru_cache(maxsize=2)
def _seam(template: DenseTemplate, lining: Lining) -> _Seam:
    """Where the template's border about the mouth is finer than the bag's, a triangle at the border becomes a fan."""
    edges = TriangleMesh(template.mean, template.triangles[template.membrane]).boundary_edges
    loop = chain_along(edges, int(edges.min()))[:-1]
    rim, count = lining.fine.boundary_vertices, len(template.mean)
    place = np.full(len(rim), -1)
    place[rim] = cKDTree(template.mean[loop]).query(lining.fine.vertices[rim])[1]
    number = np.where(rim, loop[place], 0)
    number[~rim] = count + np.arange((~rim).sum())
    border = {tuple(sorted(edge)) for edge in lining.fine.boundary_edges.tolist()}
    triangles = []
    for corners in lining.fine.triangles.tolist():
        free = [k for k in range(3) if tuple(sorted((corners[k], corners[k - 2]))) in border]
        if not free:
            triangles.append([number[corner] for corner in corners])
            continue
        one, other, apex = (corners[(free[0] + step) % 3] for step in range(3))
        along = _between(loop, place[one], place[other])
        triangles += [[start, end, number[apex]] for start, end in zip(along, along[1:], strict=False)]
    whole = np.array(triangles, np.int32)
    return _Seam(rim, loop[place[rim]], whole[(whole != np.roll(whole, 1, axis=1)).all(axis=1)])


def _between(loop: np.ndarray, start: int, end: int) -> np.ndarray:
    """The vertices of a loop (l,) from its place `start` to its place `end`, the shorter way round."""
    steps = (end - start + len(loop) // 2) % len(loop) - len(loop) // 2
    return loop[(start + np.arange(0, steps + np.sign(steps), np.sign(steps) or 1)) % len(loop)]
