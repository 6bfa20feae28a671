"""The refined surface: the dense template drawn onto what is known of a face.

Its vertices begin on the smooth surface through the registered mesh. About eyes and closed lips, where the template folds and a
scan shows one sheet, it is unfolded first, as seen from the front. Then each vertex moves along its direction (the surface's
averaged normal; forward where it was unfolded) by

    d = argmin Σ_v Σ_t w_t (d_v − o_t)² / r_t² + Σ_v d_v² / S² + Σ_edges (d_i − d_j)² / G²,

o_t being its offsets to the targets of weight w_t and roughness r_t: a Gaussian random field with the graph Laplacian as
its precision (Rue & Held 2005, section 3.3), so that what nobody saw joins what somebody did without a step and fades to the
registered mesh. Offsets far from what the others say lose their say, and none is so large that skin would meet skin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

from geometry.mesh import TriangleMesh
from geometry.reconstruction.dense_template import DenseTemplate
from geometry.reconstruction.surface_target import Projection, SurfaceTarget, fade_in, project
from geometry.reconstruction.untangling import Weave, untangled
from geometry.surfaces.patches import Patches
from geometry.surfaces.raycasting import first_hits, raycasting_scene
from geometry.surfaces.robust_loss import geman_mcclure_weights

REACH_MM = 4.0
SLOPE_MM = 0.15  # G: standard deviation of the difference of neighbours' offsets
SIZE_MM = 1.5  # S: of an offset that nothing tells
ROBUST = 3.0  # standard deviations, of the loss' scale
ROUNDS = 3
SMOOTHINGS = 12  # of the directions, each over the neighbours
TURNED = (0.3, 0.6)  # cosine of a normal and the averaged one: a vertex of a fold that turns away is not projected
OF_ROOM = 0.45  # of the room before and behind a vertex
AHEAD_MM = 200.0  # from where faces are looked at
FORWARD = np.array([0.0, 0.0, 1.0])
SURE_MM = 0.01  # nothing is surer than this
SUPPORTED = 0.3  # weight of what counts as observed


@dataclass(frozen=True, eq=False)
class DenseSurface:
    """mesh: model frame, outward, the dense template's triangles, those of the membrane where the mouth is closed; observed (N,)
    uint8: 1 where a target told the vertex; sigma_mm (N,): standard deviation of its error along the normal, there where it was
    told, NaN elsewhere; directions (N, 3): along which it was moved."""

    mesh: TriangleMesh
    observed: np.ndarray
    sigma_mm: np.ndarray
    directions: np.ndarray


def dense_surface(
    template: DenseTemplate, registered: np.ndarray, targets: Sequence[SurfaceTarget], mouth_closed: bool
) -> DenseSurface:
    """registered (n, 3): vertices in the model's topology, model frame, mm. targets: what is seen, the surest first; where an
    earlier one counts wholly, a later one has no say."""
    mesh = template.mesh(template.matrix @ registered, mouth_closed)
    unfolded = template.unfolded(mouth_closed)
    smooth = _averaged(mesh.vertex_normals, template.averaging)
    directions = _unit((1 - unfolded[:, None]) * smooth + unfolded[:, None] * FORWARD)
    upright = np.maximum(fade_in((smooth * mesh.vertex_normals).sum(axis=1), *TURNED), fade_in(unfolded, 0.3, 0.7))
    vertices = unfold(template, mesh, unfolded)
    found, left = [], upright
    for target in targets:
        seen = project(vertices, directions, target, REACH_MM)
        found.append(replace(seen, weight=left * seen.weight))
        left = left * (1 - np.minimum(seen.weight, 1))
    offset = _offsets(template.laplacian, found, [max(target.rough_mm, SURE_MM) for target in targets])
    room = np.where(offset > 0, template.before_mm, template.behind_mm) * OF_ROOM
    limited = np.where(unfolded > 0.5, offset, room * np.tanh(offset / np.maximum(room, 1e-6)))
    weights = np.array([each.weight for each in found])
    variance = (weights * np.array([each.sigma_mm for each in found]) ** 2).sum(axis=0) / np.maximum(weights.sum(axis=0), 1e-9)
    observed = weights.sum(axis=0) > SUPPORTED
    moved = _drawn_apart(template, vertices + limited[:, None] * directions, vertices, mouth_closed)
    return DenseSurface(
        mesh.with_vertices(moved), observed.astype(np.uint8), np.where(observed, np.sqrt(variance), np.nan), directions
    )


def _drawn_apart(template: DenseTemplate, moved: np.ndarray, before: np.ndarray, mouth_closed: bool) -> np.ndarray:
    """Vertices (N, 3) of which no triangles cross: where the template is folded as it is on the mean, and where it was unfolded,
    as it was `before` (N, 3) it moved."""
    folds, sheet = _weaves(template, mouth_closed)
    return untangled(untangled(moved, template.mean, folds)[0], before, sheet)[0]


@lru_cache(maxsize=4)
def _weaves(template: DenseTemplate, mouth_closed: bool) -> tuple[Weave, Weave]:
    """The triangles where skin lies close to skin, and those that are unfolded."""
    chosen = np.ones(len(template.triangles), bool) if mouth_closed else ~template.membrane
    triangles, coarse = template.triangles[chosen], template.coarse[chosen]
    close = template.folded[triangles].any(axis=1)
    sheet = (template.unfolded(mouth_closed)[triangles] > 0).all(axis=1)
    folds, unfolded = (Patches.of(triangles[part], coarse[part]) for part in (close & ~sheet, sheet))
    return Weave(folds, template.averaging), Weave(unfolded, template.averaging)


def _offsets(laplacian: sparse.csr_matrix, found: Sequence[Projection], rough_mm: Sequence[float]) -> np.ndarray:
    """(N,) mm that minimise the module's energy, reweighted `ROUNDS` times."""
    offset = np.zeros(laplacian.shape[0])
    weights = [each.weight for each in found]
    for _ in range(ROUNDS):
        precision = [weight / rough**2 for weight, rough in zip(weights, rough_mm, strict=True)]
        system = (laplacian / SLOPE_MM**2 + sparse.diags(sum(precision) + SIZE_MM**-2)).tocsr()
        right = sum(each.offset * value for each, value in zip(found, precision, strict=True))
        offset = cg(system, right, x0=offset, rtol=1e-3, maxiter=60, M=sparse.diags(1 / system.diagonal()))[0]
        scales = [ROBUST * float(np.hypot(rough, SLOPE_MM)) for rough in rough_mm]
        losses = [geman_mcclure_weights(each.offset - offset, scale) for each, scale in zip(found, scales, strict=True)]
        weights = [each.weight * loss for each, loss in zip(found, losses, strict=True)]
    return offset


def unfold(template: DenseTemplate, mesh: TriangleMesh, zone: np.ndarray, rounds: int = 4) -> np.ndarray:
    """Vertices (N, 3) of a mesh of the template, laid out under the zone (N,) in [0, 1] as one sheet seen from the front: what is
    seen stays about where it is, what hides behind a fold is spread between (a membrane, pulled to its place by springs where it
    is seen), and where a triangle still shows its back the springs about it give way.
    """
    inner, outer = np.flatnonzero(zone > 0), np.flatnonzero(zone <= 0)
    if not len(inner):
        return mesh.vertices
    vertices, rows = np.array(mesh.vertices), template.laplacian[inner]
    among, bound = rows[:, inner], rows[:, outer] @ vertices[outer]
    spring = _seen_from_front(mesh, inner) * fade_in(mesh.vertex_normals[inner, 2], 0.3, 0.7) + 1e-3
    triangles = mesh.triangles[(zone[mesh.triangles] > 0).all(axis=1)]
    for _ in range(rounds):
        system = (among + sparse.diags(spring)).tocsr()
        right = spring[:, None] * mesh.vertices[inner] - bound
        scaled = sparse.diags(1 / system.diagonal())
        for axis in range(3):
            vertices[inner, axis] = cg(system, right[:, axis], x0=vertices[inner, axis], rtol=1e-4, maxiter=200, M=scaled)[0]
        areas = TriangleMesh(vertices, triangles).triangle_area_vectors
        turned = areas[:, 2] < 0.15 * np.linalg.norm(areas, axis=1)
        if not turned.any():
            break
        spring *= np.where(_near(template, triangles[turned])[inner], 0.02, 1.0)
    return vertices


def _near(template: DenseTemplate, triangles: np.ndarray, rings: int = 2) -> np.ndarray:
    """(N,) bool: the triangles' corners and their neighbours."""
    near = np.zeros(template.laplacian.shape[0], bool)
    near[triangles] = True
    for _ in range(rings):
        near |= template.averaging @ near.astype(float) > 0
    return near


def _seen_from_front(mesh: TriangleMesh, which: np.ndarray) -> np.ndarray:
    """(k,) in [0, 1] of the vertices (k,): nothing lies before them."""
    starts = mesh.vertices[which] * [1, 1, 0] + AHEAD_MM * FORWARD
    distance = first_hits(raycasting_scene(mesh), starts, np.tile(-FORWARD, (len(starts), 1)))[0]
    return 1 - fade_in(AHEAD_MM - distance - mesh.vertices[which, 2], 0.1, 0.4)


def _averaged(normals: np.ndarray, averaging: sparse.csr_matrix) -> np.ndarray:
    for _ in range(SMOOTHINGS):
        normals = 0.5 * (normals + averaging @ normals)
    return _unit(normals)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
