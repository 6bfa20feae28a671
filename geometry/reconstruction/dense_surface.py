"""The refined surface: the dense template drawn onto what is known of a face.

Its vertices begin on the smooth surface through the registered mesh. About eyes and closed lips, where the template folds and a
scan shows one sheet, it is unfolded first, as seen from the front. Then each vertex moves along its direction (the surface's
averaged normal; forward where it was unfolded) by

    d = argmin Σ_v Σ_t w_t (d_v − o_t)² / r_t² + Σ_v d_v² / S² + Σ_edges (d_i − d_j)² / G²,

o_t being its offsets to the targets of weight w_t and roughness r_t (`dense_offsets`): a Gaussian random field with the graph
Laplacian as its precision (Rue & Held 2005, section 3.3), so that what nobody saw joins what somebody did without a step and
fades to the registered mesh. Offsets far from what the others say lose their say, and none is so large that skin would meet skin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import comb

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh, triangles_among
from geometry.reconstruction.dense_offsets import offsets
from geometry.reconstruction.dense_template import DenseTemplate
from geometry.reconstruction.surface_target import SurfaceTarget, fade_in, project
from geometry.reconstruction.untangling import Weave, untangled
from geometry.surfaces.patches import Patches
from geometry.surfaces.raycasting import first_hits, raycasting_scene
from geometry.surfaces.self_intersection import cross

REACH_MM = 4.0
SMOOTHINGS = 12  # of the directions, each over the neighbours
SERIES = 6  # degree of the polynomial that stands for them
TURNED = (0.3, 0.6)  # cosine of a normal and the averaged one: a vertex of a fold that turns away is not projected
OF_ROOM = 0.45  # of the room before and behind a vertex
AHEAD_MM = 200.0  # from where faces are looked at
SPRING = (0.3, 0.7)  # cosine of a normal and the direction forward: up to the first no spring holds what is unfolded
BESIDE_MM = 2.0  # the half of a side of a triangle is not longer
FORWARD = np.array([0.0, 0.0, 1.0])
SURE_MM = 0.01  # nothing is surer than this
SUPPORTED = 0.3  # weight of what counts as observed
# Standard deviations of what the surface itself is off, and the same where skin lies close to skin and a part of it is seen by
# nobody: measured on 20 simulated meshes of the validation split (docs/experiments/correspondence.md)
FINE_MM, FOLDED_MM = 0.005, 0.06
SHEET_ROUNDS = 32  # of untangling what is unfolded; what is left then, the mean's own shape drawn apart is the shorter way
FAR_TURNED = 0.5  # cosine: triangles of plain skin that turned less do not cross their neighbours
FAR_MM, UNLIKE_MM = 1.0, 0.02  # no triangle turns so far of which no corner moved so far, and all by about as much


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
    vertices = unfold(template, mesh, mouth_closed)
    found, left, order = [], upright, _in_order(template)
    for target in targets:
        seen = project(vertices, directions, target, REACH_MM, wanted=order[left[order] > 0])
        found.append(replace(seen, weight=left * seen.weight))
        left = left * (1 - np.minimum(seen.weight, 1))
    offset = offsets(template, found, [max(target.rough_mm, SURE_MM) for target in targets])
    room = np.where(offset > 0, template.before_mm, template.behind_mm) * OF_ROOM
    limited = offset + fade_in(1 - unfolded, 0.3, 0.7) * (within(offset, room) - offset)
    nothing = np.zeros(len(vertices))
    weight = sum((each.weight for each in found), nothing)
    variance = sum((each.weight * each.sigma_mm**2 for each in found), nothing) / np.maximum(weight, 1e-9)
    variance = variance + FINE_MM**2 + (FOLDED_MM * template.folded) ** 2
    observed = weight > SUPPORTED
    moved = _drawn_apart(template, vertices + limited[:, None] * directions, vertices, mouth_closed)
    return DenseSurface(
        mesh.with_vertices(moved), observed.astype(np.uint8), np.where(observed, np.sqrt(variance), np.nan), directions
    )


@lru_cache(maxsize=2)
def _in_order(template: DenseTemplate) -> np.ndarray:
    """(N,) the vertices so that those near each other follow each other."""
    return np.asarray(cKDTree(template.mean).indices)


def _drawn_apart(template: DenseTemplate, moved: np.ndarray, before: np.ndarray, mouth_closed: bool) -> np.ndarray:
    """Vertices (N, 3) with triangles that cross drawn apart: where the template is folded as it is on the mean, and where it was
    unfolded, as it was `before` (N, 3) it moved, or as the mean is once it is laid out; elsewhere as before wherever triangles
    turned far, as along the ragged border of a scan."""
    weaves = _weaves(template, mouth_closed)
    apart = untangled(moved, template.mean, weaves.folds)[0]
    apart, left = untangled(apart, before, weaves.sheet, SHEET_ROUNDS)
    if left:
        apart = untangled(apart, weaves.laid_out, weaves.sheet)[0]
    turned = weaves.turned(apart, before)
    return untangled(apart, before, turned)[0] if len(turned.patches) else apart


@dataclass(frozen=True, eq=False)
class _Weaves:
    """folds: where skin lies close to skin; sheet: what is unfolded; whole: all, of which `plain` (p,) are neither, and these
    ones' corners (3, p); laid_out (N, 3): the mean, unfolded."""

    folds: Weave
    sheet: Weave
    whole: Weave
    plain: np.ndarray
    corners: np.ndarray
    laid_out: np.ndarray

    def turned(self, vertices: np.ndarray, before: np.ndarray) -> Weave:
        """The patches about triangles that are neither folded nor unfolded and turned far since `before` (N, 3)."""
        patches = self.whole.patches
        may = self._may_have_turned(vertices - before)
        triangles = patches.triangles[may]
        was, now = (cross(b - a, c - a) for a, b, c in ((each[column] for column in triangles.T) for each in (before, vertices)))
        lengths = np.einsum("ij,ij->i", was, was) * np.einsum("ij,ij->i", now, now)
        far = np.einsum("ij,ij->i", was, now) < FAR_TURNED * np.sqrt(lengths)
        chosen = np.zeros(len(patches), bool)
        chosen[patches.number[may[far]]] = True
        return Weave(patches.among(patches.about(chosen, 2) if far.any() else chosen), self.whole.averaging)

    def _may_have_turned(self, moved: np.ndarray) -> np.ndarray:
        """(k,) of the plain triangles those of which corners moved (N, 3) far, or far from alike: it takes that to turn one."""
        size = np.sqrt(np.einsum("ij,ij->i", moved, moved)).astype(np.float32)
        a, b, c = (size[column] for column in self.corners)
        most = np.maximum(np.maximum(a, b), c)
        return self.plain[(most > FAR_MM) | (most - np.minimum(np.minimum(a, b), c) > UNLIKE_MM)]


@lru_cache(maxsize=4)
def _weaves(template: DenseTemplate, mouth_closed: bool) -> _Weaves:
    chosen = np.ones(len(template.triangles), bool) if mouth_closed else ~template.membrane
    triangles, coarse = template.triangles[chosen], template.coarse[chosen]
    sheet = (template.unfolded(mouth_closed)[triangles] > 0).all(axis=1)
    close = template.folded[triangles].any(axis=1) & ~sheet
    whole = Patches.of(triangles, coarse)
    folds, unfolded, every = (
        Weave(each, template.averaging)
        for each in (Patches.of(triangles[close], coarse[close]), Patches.of(triangles[sheet], coarse[sheet]), whole)
    )
    unlike = ~template.folded[whole.triangles].any(axis=1) & ~(template.unfolded(mouth_closed)[whole.triangles] > 0).all(axis=1)
    plain = np.flatnonzero(unlike)
    laid_out = unfold(template, template.mesh(template.mean, mouth_closed), mouth_closed)
    return _Weaves(folds, unfolded, every, plain, np.ascontiguousarray(whole.triangles[plain].T), laid_out)


def within(offset: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Offsets (n,) as they are up to half of the room (n,), then less and less of them, and never all of it."""
    half = np.maximum(room, 1e-6) / 2
    return np.clip(offset, -half, half) + half * np.tanh((offset - np.clip(offset, -half, half)) / half)


def unfold(template: DenseTemplate, mesh: TriangleMesh, mouth_closed: bool, rounds: int = 4) -> np.ndarray:
    """Vertices (N, 3) of a mesh of the template, laid out where it is unfolded as one sheet seen from the front: what is seen
    stays about where it is, what hides behind a fold is spread between (a membrane, pulled to its place by springs where it is
    seen), and where a triangle still shows its back the springs about it give way.
    """
    sheet = _sheet(template, mouth_closed)
    inner = sheet.inner
    if not len(inner):
        return mesh.vertices
    vertices, own = np.array(mesh.vertices), mesh.vertices[inner]
    bound = sheet.bound @ mesh.vertices
    spring = _seen_from_front(mesh, inner) * fade_in(mesh.vertex_normals[inner, 2], *SPRING) + 1e-3
    laid = own
    for _ in range(rounds):
        system = (sheet.among + sparse.diags(spring)).tocsr()
        right = spring[:, None] * own - bound
        scaled = sparse.diags(1 / system.diagonal())
        solved = [cg(system, right[:, axis], x0=laid[:, axis], rtol=1e-4, maxiter=200, M=scaled)[0] for axis in range(3)]
        laid = np.stack(solved, axis=1)
        areas = TriangleMesh(laid, sheet.triangles).triangle_area_vectors
        turned = areas[:, 2] < 0.15 * np.sqrt(np.einsum("ij,ij->i", areas, areas))
        if not turned.any():
            break
        near = np.zeros(len(inner), bool)
        near[sheet.triangles[turned]] = True
        for _ in range(2):
            near |= sheet.among @ near.astype(float) != 0
        spring *= np.where(near, 0.02, 1.0)
    vertices[inner] = laid
    return vertices


@dataclass(frozen=True, eq=False)
class _Sheet:
    """inner (k,): vertices that are unfolded; among (k, k) and bound (k, N): of the Laplacian between them, and to the others;
    triangles (t, 3): wholly among them, in their numbers."""

    inner: np.ndarray
    among: sparse.csr_matrix
    bound: sparse.csr_matrix
    triangles: np.ndarray


@lru_cache(maxsize=4)
def _sheet(template: DenseTemplate, mouth_closed: bool) -> _Sheet:
    inside = template.unfolded(mouth_closed) > 0
    inner, rows = np.flatnonzero(inside), template.laplacian[inside]
    triangles = triangles_among(template.mesh(template.mean, mouth_closed).triangles, inside)
    return _Sheet(inner, rows[:, inner], rows @ sparse.diags((~inside).astype(float)), triangles)


def _seen_from_front(mesh: TriangleMesh, which: np.ndarray) -> np.ndarray:
    """(k,) in [0, 1] of the vertices (k,): nothing lies before them. What lies behind a part of the surface has a triangle that
    looks backward before or behind it."""
    points, seen = mesh.vertices[which], np.ones(len(which))
    backward = np.zeros(len(mesh.vertices), bool)
    backward[mesh.triangles[mesh.triangle_area_vectors[:, 2] < 0]] = True
    asked = np.flatnonzero(_beside(points, mesh.vertices[backward]) & (mesh.vertex_normals[which, 2] > SPRING[0]))
    if not len(asked):
        return seen
    points = points[asked]
    near = _beside(mesh.vertices, points)
    a, b, c = (near[column] for column in mesh.triangles.T)
    scene = raycasting_scene(TriangleMesh(mesh.vertices, mesh.triangles[a | b | c]))
    distance = first_hits(scene, points * [1, 1, 0] + AHEAD_MM * FORWARD, np.tile(-FORWARD, (len(points), 1)))[0]
    seen[asked] = 1 - fade_in(AHEAD_MM - distance - points[:, 2], 0.1, 0.4)
    return seen


def _beside(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(k,) bool: which of the points (k, 3) are within `BESIDE_MM` of one of others (q, 3) in x and y, or a little farther."""
    if not len(others):
        return np.zeros(len(points), bool)
    corner = others[:, :2].min(axis=0) - 2 * BESIDE_MM
    cells = np.floor((others[:, :2] - corner) / BESIDE_MM).astype(int)
    shape = cells.max(axis=0) + 3
    marked = np.zeros(shape, bool)
    for step in np.ndindex(3, 3):
        marked[tuple((cells + step - 1).T)] = True
    at = np.floor((points[:, :2] - corner) / BESIDE_MM)
    inside = ((at >= 0) & (at < shape)).all(axis=1)
    near = np.zeros(len(points), bool)
    near[inside] = marked[tuple(at[inside].astype(int).T)]
    return near


def _averaged(normals: np.ndarray, averaging: sparse.csr_matrix) -> np.ndarray:
    """Unit normals (n, 3) replaced `SMOOTHINGS` times by half of themselves and half of their neighbours' mean. Of the n-th power
    of (1 + a) / 2 as a sum of Chebyshev's polynomials of a, Σ_k C(2n, n − k) T_k(a) / 4ⁿ with those of k > 0 twice, what comes
    after `SERIES` is less than 0.007."""
    share = [comb(2 * SMOOTHINGS, SMOOTHINGS - k) * (2 if k else 1) / 4**SMOOTHINGS for k in range(SERIES + 1)]
    before, now = normals, averaging @ normals
    smooth = share[0] * before + share[1] * now
    for each in share[2:]:
        before, now = now, 2 * (averaging @ now) - before
        smooth += each * now
    return _unit(smooth)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), 1e-12)[:, None]
