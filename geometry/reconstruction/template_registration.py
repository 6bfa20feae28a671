"""A refined surface in the morphable model's topology: a displacement field on the model's mesh.

Every visible vertex is projected onto the surface; the displacements are extended and smoothed over the mesh by kernels
(M + ℓ²K)⁻¹ M, K being the model's stiffness matrix and M its vertex areas. As a kernel ignores which vertices have data, its
factor is computed once per model; data enter by normalised convolution, S(w t) / S(w), from long to short lengths ℓ
(a multilevel approximation: each level explains what the longer ones leave). Far from data the displacement fades.

What decides whether a vertex or a pixel is used fades in and out over a range: a threshold would let the last bits of the
coordinates, which differ between machines and libraries, move vertices by hundredths of a millimetre. The ranges of facing and
turning are those that amplify noise least on examples/scans (benchmarks/registration_stability.py).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

from geometry.charts.chart import Chart
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.laplacian import smooth_field, smoothing_kernels
from geometry.surfaces.raycasting import cast_rays, interpolate, raycasting_scene
from geometry.surfaces.robust_loss import geman_mcclure_weights

if TYPE_CHECKING:
    from open3d.t.geometry import RaycastingScene


_FACING_WIDTH = 0.1


@dataclass(frozen=True)
class RegistrationOptions:
    """How the model's mesh is drawn onto a surface."""

    reach_mm: float = 12.0
    """Longest projection along a vertex normal, in mm; its last quarter counts less and less."""
    facing: float = 0.6
    """Cosine between a vertex's normal and the surface's where it is projected to, at which half of the weight is left."""
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


def _fade_in(values: np.ndarray, half: float, width: float) -> np.ndarray:
    """0 below half − width, 1 above half + width, straight between."""
    return np.clip((values - half) / (2 * width) + 0.5, 0.0, 1.0)


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
    return _fade_in(slope, 0.1, 0.05) * _fade_in(-before, -hidden_mm, hidden_mm)


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
    facing = _fade_in(np.einsum("ij,ij->i", at[:, :3], normals[hit % n]), options.facing, _FACING_WIDTH)
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
    facing = _fade_in(np.einsum("ij,ij->i", normals, surface.vertex_normals[hit]), options.facing, _FACING_WIDTH)
    comparable = facing * _fade_in(cosine, 0.2, 0.1) * movable[corners].min(1)
    root = np.sqrt(comparable * support[hit] * geman_mcclure_weights(error, options.slack_mm))
    rows = np.repeat(np.arange(len(hit)), 3)
    shape = (len(hit), len(mesh.vertices))
    design = sparse.csr_matrix(((root[:, None] * barycentric).ravel(), (rows, corners.ravel())), shape=shape)
    system = (design.T @ design + options.damping * sparse.identity(shape[1]) + options.smoothing * k).tocsr()
    step, _ = cg(system, design.T @ (root * error), rtol=1e-3, maxiter=30, M=sparse.diags(1 / system.diagonal()))
    return mesh.vertices + np.clip(step, -options.slack_mm, options.slack_mm)[:, None] * mesh.vertex_normals


def _unflipped(vertices: np.ndarray, coarse: TriangleMesh, rounds: int = 20) -> np.ndarray:
    """vertices (n, 3) whose displacement from the coarse mesh is averaged over the neighbours where a triangle turned from the
    coarse one, wholly from 110° and not at all below 50°; repeated there, that tends to a translation, which turns nothing."""
    moved, before, neighbours = vertices - coarse.vertices, coarse.triangle_area_vectors, coarse.adjacency
    mean = sparse.diags(1 / np.maximum(np.asarray(neighbours.sum(1)).ravel(), 1)) @ neighbours
    shape, rows = (len(vertices), len(before)), coarse.triangles.ravel()
    for _ in range(rounds):
        after = coarse.with_vertices(coarse.vertices + moved).triangle_area_vectors
        lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        angle = np.degrees(np.arccos(np.clip((before * after).sum(1) / np.maximum(lengths, 1e-12), -1, 1)))
        turned = np.repeat(_fade_in(angle, 80.0, 30.0), 3)
        if turned.max() < 1e-3:
            break
        at_corners = sparse.csr_matrix((turned, (rows, np.arange(len(rows)) // 3)), shape)
        share = at_corners.max(1).toarray()
        ring = np.minimum(neighbours @ share, 1) * (1 - share)
        # each turned triangle is translated as a whole, the ring around it follows half-way
        translated = at_corners @ moved[coarse.triangles].mean(1) / np.maximum(at_corners.sum(1).A, 1e-12)
        moved = moved + ring * (mean @ moved - moved) / 2
        moved = moved + share * ((translated + mean @ moved) / 2 - moved)
    return coarse.vertices + moved


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
    main = labels == np.bincount(labels).argmax()  # eyeballs follow the lids
    usable = visibility(mesh, chart, options.hidden_mm) * main
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
    return _unflipped(vertices, mesh)
