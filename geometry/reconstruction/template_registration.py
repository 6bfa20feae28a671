"""A refined surface in the morphable model's topology: a displacement field on the model's mesh.

Every visible vertex is projected onto the surface; the displacements are extended and smoothed over the mesh by kernels
(M + ℓ²K)⁻¹ M, K being the model's stiffness matrix and M its vertex areas. As a kernel ignores which vertices have data, its
factor is computed once per model; data enter by normalised convolution, S(w t) / S(w), from long to short lengths ℓ
(a multilevel approximation: each level explains what the longer ones leave). Far from data the displacement fades.

What decides whether a vertex or a pixel is used fades in and out over a range: a threshold would let the last bits of the
coordinates, which differ between machines and libraries, move vertices by hundredths of a millimetre.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

from geometry.charts.chart import Chart
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.joined_borders import joined
from geometry.surfaces.laplacian import smooth_field, smoothing_kernels
from geometry.surfaces.raycasting import cast_rays, interpolate, raycasting_scene
from geometry.surfaces.robust_loss import geman_mcclure_weights
from geometry.surfaces.seen_surface import eyeballs_behind_lids

if TYPE_CHECKING:
    from open3d.t.geometry import RaycastingScene


@dataclass(frozen=True)
class RegistrationOptions:
    """How the model's mesh is drawn onto a surface."""

    reach_mm: float = 12.0
    """Longest projection along a vertex normal, in mm; its last quarter counts less and less."""
    facing: tuple[float, float] = (0.5, 0.7)
    """Cosines between a vertex's normal and the surface's where it is projected to: up to the first nothing counts, from the
    second on all does. Of 0.6 ± 0.05, 0.1 and 0.2 the one that amplifies noise least on examples/scans
    (benchmarks/registration_stability.py)."""
    unobserved_weight: float = 0.05
    """Weight of surface that no scan supports; observed surface counts 1."""
    hidden_mm: float = 0.5
    """A vertex that lies this far, in mm, behind the coarse surface's first hit counts half; at twice that it is occluded."""
    projections: int = 2
    """Rounds in which vertices are projected."""
    fits: int = 2
    """Rounds in which the triangles between the vertices are fitted."""
    slack_mm: float = 1.5
    """An error beyond this, in mm, is no detail but a mismatch; no vertex moves further in a round of fitting."""
    damping: float = 0.05
    """Trust in a vertex's projected position, in pixels that would say the same."""
    smoothing: float = 0.03
    """Weight of the smoothness of the fitted steps, against zigzag between pixels."""
    turned_deg: tuple[float, float] = (50.0, 110.0)
    """Turn of a triangle from the coarse one at which its displacement begins to be averaged, and from which it is wholly. Chosen
    as `facing` was, among five ranges about 80°."""


def _fade_in(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to `low`, 1 from `high` on, straight between."""
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def visibility(mesh: TriangleMesh, chart: Chart, hidden_mm: float) -> np.ndarray:
    """(n,) in [0, 1]: 1 where nothing lies before the vertex on its ray, which meets it from outside at less than about 81° from
    its normal; 0 from 87°, and where something lies 2 hidden_mm or more before it.

    What the ray hits at the vertex itself is not asked: it may slip between the triangles, or graze the next one's back, and the
    last bit of the coordinates decides which."""
    image_points, depth = chart.project(mesh.vertices)
    origins, directions, start = chart.rays(image_points, float(np.ceil(depth.max())) + 1.0)
    distance, *_ = cast_rays(raycasting_scene(mesh), origins, directions)
    slope = -np.einsum("ij,ij->i", mesh.vertex_normals, directions)
    before = (start - distance - depth) * np.maximum(slope, 0.1)
    return _fade_in(slope, 0.05, 0.15) * (1 - _fade_in(before, 0.0, 2 * hidden_mm))


def _project(
    mesh: TriangleMesh, surface: TriangleMesh, scene: "RaycastingScene", support: np.ndarray, options: RegistrationOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Along ±normal: offsets (n, 3) to the compatible hits, of which the nearer decides, and weights (n,), 0 where there is none.

    Two hits share by the inverse eighth power of their distances: 25 to 1 where one is half as far again as the other.
    """
    normals, n = mesh.vertex_normals, len(mesh.vertices)
    attributes = np.concatenate([surface.vertex_normals, support[:, None]], axis=1)
    outward = np.concatenate([normals, -normals])
    distance, triangle, uv, _ = cast_rays(scene, np.concatenate([mesh.vertices] * 2), outward)
    hit = np.flatnonzero((triangle >= 0) & (distance < options.reach_mm))
    at = interpolate(attributes, surface.triangles[triangle[hit]], uv[hit])
    facing = _fade_in(np.einsum("ij,ij->i", at[:, :3], normals[hit % n]), *options.facing)
    weight, offset = np.zeros(2 * n), np.zeros((2 * n, 3))
    weight[hit] = at[:, 3] * facing * np.minimum(4 - 4 * distance[hit] / options.reach_mm, 1.0)
    offset[hit] = distance[hit, None] * outward[hit]
    share = (weight / np.maximum(distance, 1e-3) ** 8).reshape(2, n)
    share /= np.maximum(share.sum(0), np.finfo(float).tiny)
    return (share[..., None] * offset.reshape(2, n, 3)).sum(0), (share * weight.reshape(2, n)).sum(0)


def _fit_between_vertices(
    mesh: TriangleMesh,
    movable: np.ndarray,
    k: sparse.csr_matrix,
    surface: TriangleMesh,
    support: np.ndarray,
    chart: Chart,
    options: RegistrationOptions,
) -> np.ndarray:
    """Vertices (n, 3) moved along their normals so that the triangles, not only their corners, lie on the surface.

    Corners on a curved surface put every triangle below it by up to edge²/(8R). Least squares over the surface's vertices, each
    compared along its chart ray with the triangle in front of it: min Σ w (Σ b_k s_k − e)² + damping Σ s² + smoothing sᵀKs,
    solved by conjugate gradients (a mass matrix, hence well conditioned). K (n, n): the stiffness matrix.
    """
    image_points, depth = chart.project(surface.vertices)
    highest = max(depth.max(), chart.project(mesh.vertices)[1].max())
    origins, directions, start = chart.rays(image_points, float(np.ceil(highest)) + 1.0)
    distance, triangle, uv, outer = cast_rays(raycasting_scene(mesh), origins, directions)
    hit = np.flatnonzero(outer)
    corners, uv = mesh.triangles[triangle[hit]], uv[hit]
    barycentric = np.stack([1 - uv.sum(1), uv[:, 0], uv[:, 1]], axis=1)
    normals = interpolate(mesh.vertex_normals, corners, uv)
    cosine = -np.einsum("ij,ij->i", normals, directions[hit])
    error = (depth[hit] - (start - distance[hit])) * cosine
    facing = _fade_in(np.einsum("ij,ij->i", normals, surface.vertex_normals[hit]), *options.facing)
    comparable = facing * _fade_in(cosine, 0.1, 0.3) * movable[corners].min(1)
    root = np.sqrt(comparable * support[hit] * geman_mcclure_weights(error, options.slack_mm))
    rows = np.repeat(np.arange(len(hit)), 3)
    shape = (len(hit), len(mesh.vertices))
    design = sparse.csr_matrix(((root[:, None] * barycentric).ravel(), (rows, corners.ravel())), shape=shape)
    system = (design.T @ design + options.damping * sparse.identity(shape[1]) + options.smoothing * k).tocsr()
    step, _ = cg(system, design.T @ (root * error), rtol=1e-3, maxiter=30, M=sparse.diags(1 / system.diagonal()))
    return mesh.vertices + np.clip(step, -options.slack_mm, options.slack_mm)[:, None] * mesh.vertex_normals


def _unflipped(vertices: np.ndarray, coarse: TriangleMesh, turned_deg: tuple[float, float], rounds: int = 20) -> np.ndarray:
    """vertices (n, 3) whose displacement from the coarse mesh is averaged over the neighbours where a triangle turned from the
    coarse one, the more the more it did; repeated there, that tends to a translation, which turns nothing."""
    moved, before, neighbours = vertices - coarse.vertices, coarse.triangle_area_vectors, coarse.adjacency
    mean = sparse.diags(1 / np.maximum(np.asarray(neighbours.sum(1)).ravel(), 1)) @ neighbours
    turned, changed = np.zeros(len(before)), np.ones(len(before), bool)
    for _ in range(rounds):
        turned[changed] = _fade_in(_turn_deg(before[changed], coarse.vertices + moved, coarse.triangles[changed]), *turned_deg)
        if turned.max() < 1e-3:
            break
        corners = coarse.triangles[turned > 0]
        members, place = np.unique(corners, return_inverse=True)
        weight, place = np.repeat(turned[turned > 0], 3), place.ravel()
        share = np.zeros(len(moved))
        np.maximum.at(share, corners.ravel(), weight)
        ring = np.minimum(neighbours @ share, 1) * (1 - share)
        # each turned triangle is translated as a whole, the ring around it follows half-way
        together = weight[:, None] * np.repeat(moved[corners].mean(1), 3, axis=0)
        translated = np.stack([np.bincount(place, axis) for axis in together.T], axis=1) / np.bincount(place, weight)[:, None]
        around = np.flatnonzero(ring)
        moved[around] += ring[around, None] * (mean[around] @ moved - moved[around]) / 2
        moved[members] += share[members, None] * ((translated + mean[members] @ moved) / 2 - moved[members])
        changed = (ring + share > 0)[coarse.triangles].any(1)  # the others turn no further
    return coarse.vertices + moved


def _turn_deg(before: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(m,) degrees between the area vectors before (m, 3) and those of the triangles (m, 3) on vertices (n, 3)."""
    after = TriangleMesh(vertices, triangles).triangle_area_vectors
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return np.degrees(np.arccos(np.clip((before * after).sum(1) / np.maximum(lengths, 1e-12), -1, 1)))


def register_to_surface(
    model: MorphableModel,
    coarse: np.ndarray,
    surface: TriangleMesh,
    observed: np.ndarray,
    chart: Chart,
    options: RegistrationOptions = RegistrationOptions(),
) -> np.ndarray:
    """Model vertices (n, 3) moved onto a surface.

    coarse (n, 3) and surface: model frame, mm; observed (k,) 1 where the scan supports the surface's vertex. Visible vertices are
    projected along their normals, repeatedly; the rest (mouth interior, nostrils, back of the head) follow smoothly.
    """
    coarse = np.asarray(coarse, float)
    if not len(surface.triangles):
        return coarse.copy()
    mesh, (k, kernels) = TriangleMesh(coarse, model.triangles), smoothing_kernels(model)
    labels = mesh.component_labels
    main = labels == np.bincount(labels).argmax()  # linings follow
    usable = visibility(mesh, chart, options.hidden_mm) * (main | eyeballs_behind_lids(model))
    usable *= ~model.regions.get("mouth_interior", np.zeros(len(coarse), bool))
    scene = raycasting_scene(surface)
    support = np.where(np.asarray(observed) > 0, 1.0, options.unobserved_weight)
    vertices = coarse
    for attempt in range(options.projections):
        offset, weight = _project(mesh.with_vertices(vertices), surface, scene, support, options)
        # later offsets are small and local: the shortest kernel only
        vertices = vertices + smooth_field(offset, weight * usable, kernels if attempt == 0 else kernels[-1:])
    for _ in range(options.fits):
        vertices = _fit_between_vertices(mesh.with_vertices(vertices), usable, k, surface, support, chart, options)
    return _unflipped(vertices, mesh, options.turned_deg)[_joined(model)]


@lru_cache(maxsize=4)
def _joined(model: MorphableModel) -> np.ndarray:
    """(n,) the vertex that each must lie on: linings and eyeballs begin on those of lips and lids."""
    return joined(TriangleMesh(model.mean, model.triangles))
