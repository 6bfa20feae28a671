"""The fine triangulation that every refined surface has: the face and ears of a model's template, four to sixteen times as dense.

Skin and eyeballs are one surface here, joined at the rims of the lids, and the mouth is closed by a membrane between the rims
of the lips, which a surface with an open mouth leaves out. It ends along smooth lines about face, forehead and ears. What the
model's topology gives comes with it: one piece, triangles of one shape, small ones where a face has detail, and the same point
of every face under the same number.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh, numbered_sides
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.joined_borders import joined
from geometry.surfaces.laplacian import stiffness
from geometry.surfaces.room import room_along_normals
from geometry.surfaces.seen_surface import membrane, opens_its_mouth, skin_and_eyeballs
from geometry.surfaces.side_swaps import swapped
from geometry.surfaces.subdivision import Subdivision, refine_region

EDGE_MM, LEVELS = 0.85, 3  # edges longer than this on the mean are halved, at most so often
BRIDGED_MM = 14.0  # between face and ears, and in bays of the border
BORDER_MM = 8.0  # over which the border is straightened
SHOWN = ("face", "forehead", "ears", "eyes", "lips", "nostrils")
LIDS, LIPS, FOLDED = ("lids", "eyes"), ("lips",), ("lids", "eyes", "lips", "nostrils", "ala", "ears")
BORDER_ROUNDS = 4
RIMS = ("upper_lip_rim", "lower_lip_rim")
FADE_MM = 3.0  # over which the parts that are unfolded fade out


@dataclass(frozen=True, eq=False)
class DenseTemplate:
    """mean (N, 3): the template of the mean face. matrix (N, n): vertices of the model's n → the template's N, smooth between
    them; linear (N, n): the same, flat between them. own (c, 2): numbers of model vertices that are the template's own, and their
    numbers there. triangles (M, 3); coarse (M, 3): the corners of the model's triangle that each lies in; membrane (M,) bool:
    those that close the mouth. lids, lips (N,) in [0, 1]: eyes and mouth with their surroundings; folded (N,) bool: where skin
    lies close to skin. before_mm, behind_mm (N,): the room of each vertex of the mean (`room_along_normals`). laplacian (N, N):
    degrees less adjacency; averaging (N, N): the mean of a vertex' neighbours."""

    mean: np.ndarray
    matrix: sparse.csr_matrix
    linear: sparse.csr_matrix
    own: np.ndarray
    triangles: np.ndarray
    coarse: np.ndarray
    membrane: np.ndarray
    lids: np.ndarray
    lips: np.ndarray
    folded: np.ndarray
    before_mm: np.ndarray
    behind_mm: np.ndarray
    laplacian: sparse.csr_matrix
    averaging: sparse.csr_matrix

    def mesh(self, vertices: np.ndarray, mouth_closed: bool) -> TriangleMesh:
        """Of vertices (N, 3)."""
        return TriangleMesh(vertices, self.triangles if mouth_closed else self.triangles[~self.membrane])

    def unfolded(self, mouth_closed: bool) -> np.ndarray:
        """(N,) in [0, 1]: where the template is laid out as one sheet, as a scan shows eyes and closed lips."""
        return np.maximum(self.lids, self.lips if mouth_closed else 0.0)


@lru_cache(maxsize=2)
def dense_template(model: MorphableModel) -> DenseTemplate:
    """Of a model, made once per process (about 1 s)."""
    first = _one_surface(model)
    kept = _straightened(_shown(model, first), TriangleMesh(model.mean, first))
    fine = refine_region(model.mean, first, kept > 0.3, EDGE_MM, LEVELS)
    share = fine.apply(kept)
    inside = _without_tips(fine.triangles, np.logical_and.reduce([(share > 0.5)[corner] for corner in fine.triangles.T]))
    used = np.zeros(len(share), bool)
    used[fine.triangles[inside]] = True
    old = np.flatnonzero(used)
    mouth = np.zeros(model.n_vertices, bool)
    mouth[[each for name in RIMS for each in model.curves.get(name, ())]] = True
    outline = TriangleMesh(fine.apply(model.mean), fine.triangles[inside])
    moved, border = _smooth_border(outline, fine.along(mouth))
    row = np.arange(len(share))
    row[moved] = len(share) + np.arange(len(moved))
    matrix, linear = (sparse.vstack([whole, border @ whole], format="csr")[row[old]] for whole in (fine.matrix, fine.linear()))
    closing = _closing(model, fine)
    coarse = np.concatenate([first[fine.parents[inside]], model.n_vertices + closing])  # a membrane's: each for itself
    of_membrane = np.arange(inside.sum() + len(closing)) >= inside.sum()
    triangles = (np.cumsum(used) - 1)[np.concatenate([fine.triangles[inside], closing])].astype(np.int32)
    mean = matrix @ model.mean
    lids, lips, folded = (_about(model, mean, names) for names in (LIDS, LIPS, FOLDED))
    laid_out = np.maximum(lids, lips)[triangles].any(axis=1)  # there skin meets eyeballs and lips: creases that are meant
    mesh = TriangleMesh(mean, swapped(TriangleMesh(mean, triangles), ~of_membrane & ~laid_out))
    room = [linear @ room_along_normals(TriangleMesh(model.mean, first), sign) for sign in (1, -1)]
    laplacian, averaging = _of_neighbours(mesh)
    within = np.flatnonzero(old < model.n_vertices)
    own = np.stack([old[within], within], axis=1)
    return DenseTemplate(
        mean,
        matrix,
        linear,
        own,
        mesh.triangles,
        coarse.astype(np.int32),
        of_membrane,
        lids,
        lips,
        folded > 0,
        room[0],
        room[1],
        laplacian,
        averaging,
    )


def _of_neighbours(mesh: TriangleMesh) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """(N, N) degrees less adjacency, and the mean of each vertex' neighbours."""
    degrees = np.maximum(np.asarray(mesh.adjacency.sum(axis=1)).ravel(), 1)
    return (sparse.diags(degrees) - mesh.adjacency).tocsr(), (sparse.diags(1 / degrees) @ mesh.adjacency).tocsr()


def _one_surface(model: MorphableModel) -> np.ndarray:
    """Triangles (m, 3) of skin and eyeballs as one surface."""
    triangles = joined(TriangleMesh(model.mean, model.triangles))[skin_and_eyeballs(model)]
    return triangles[(triangles != np.roll(triangles, 1, axis=1)).all(axis=1)]


def _closing(model: MorphableModel, fine: Subdivision) -> np.ndarray:
    """(k, 3) the membrane between the fine rims of the lips."""
    if not opens_its_mouth(model):
        return np.zeros((0, 3), np.int32)
    vertices = fine.apply(model.mean)
    chains = []
    for name in RIMS:
        mask = np.zeros(model.n_vertices, bool)
        mask[model.curves[name]] = True
        along = fine.along(mask)
        border = TriangleMesh(
            vertices, fine.triangles[sum(along[corner].astype(int) for corner in fine.triangles.T) > 1]
        ).boundary_edges
        chains.append(chain_along(border[along[border].all(axis=1)], int(model.curves[name][0])))
    return membrane(vertices, *chains)


def chain_along(edges: np.ndarray, start: int) -> np.ndarray:
    """Vertices along the edges (e, 2) of a chain, from one of its ends; of a closed line from any of its vertices, which is the
    last as well."""
    beside: dict[int, list[int]] = {}
    for one, other in edges.tolist():
        beside.setdefault(one, []).append(other)
        beside.setdefault(other, []).append(one)
    chain = [start]
    while len(chain) <= len(edges):
        onward = [each for each in beside[chain[-1]] if len(chain) < 2 or each != chain[-2]]
        if not onward:
            break
        chain.append(onward[0])
    return np.array(chain)


def _shown(model: MorphableModel, triangles: np.ndarray) -> np.ndarray:
    """(n,) bool: face, forehead, ears and eyes, and what lies between them."""
    used = np.zeros(model.n_vertices, bool)
    used[triangles] = True
    named = np.any([model.regions[name] for name in SHOWN if name in model.regions], axis=0) & used
    wide = used & (cKDTree(model.mean[named]).query(model.mean)[0] < BRIDGED_MM)
    if not (used & ~wide).any():
        return used
    return named | (wide & (cKDTree(model.mean[used & ~wide]).query(model.mean)[0] > BRIDGED_MM))


def _straightened(region: np.ndarray, mesh: TriangleMesh) -> np.ndarray:
    """(n,) in [0, 1]: a region (n,) bool after a time of heat conduction; it is 1/2 along its straightened border."""
    areas = sparse.diags(np.maximum(mesh.vertex_areas, 1e-3))
    system = (areas + BORDER_MM**2 * stiffness(mesh)).tocsc()
    factor = splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    return np.clip(factor.solve(areas @ region.astype(float)), 0, 1)


def _without_tips(triangles: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(M,) bool: of the triangles (M, 3) those under `inside` but for the tips of its border, of which two sides are free."""
    number = numbered_sides(triangles, int(triangles.max()) + 1)[1]
    while True:
        uses = np.bincount(number[inside].ravel(), minlength=number.max() + 1)
        free = uses[number] == 1
        tips = inside & (free[:, 0] + free[:, 1].astype(int) + free[:, 2] > 1)
        if not tips.any():
            return inside
        inside = inside & ~tips


def _smooth_border(mesh: TriangleMesh, but: np.ndarray) -> tuple[np.ndarray, sparse.csr_matrix]:
    """Vertices (k,) of the border but for those under `but` (N,) bool, and what moves each of them between its neighbours on the
    border, `BORDER_ROUNDS` times, (k, N)."""
    edges, n = mesh.boundary_edges, len(mesh.vertices)
    edges = edges[~but[edges].any(axis=1)]
    chain, ends = np.unique(edges, return_inverse=True)
    ends, k = ends.reshape(-1, 2), len(chain)
    beside = sparse.coo_matrix((np.ones(2 * len(ends)), np.concatenate([ends, ends[:, ::-1]]).T), shape=(k, k)).tocsr()
    count = np.asarray(beside.sum(axis=1)).ravel()
    share = np.where(count == 2, 0.5, 0.0)
    once = sparse.diags(1 - share) + sparse.diags(share / np.maximum(count, 1)) @ beside
    moved = sparse.csr_matrix((np.ones(k), (np.arange(k), chain)), shape=(k, n))
    for _ in range(BORDER_ROUNDS):
        moved = (once @ moved).tocsr()
    return chain, moved


def _about(model: MorphableModel, vertices: np.ndarray, names: Iterable[str]) -> np.ndarray:
    """(N,) 1 on regions of the model that it has, fading over `FADE_MM`."""
    region = np.any([model.regions.get(name, np.zeros(model.n_vertices, bool)) for name in names], axis=0)
    if not region.any():
        return np.zeros(len(vertices))
    distance = cKDTree(model.mean[region]).query(vertices, distance_upper_bound=FADE_MM)[0]  # inf farther away
    return np.clip(1 - distance / FADE_MM, 0, 1)
