"""A refined surface in the morphable model's topology: a displacement field on the model's mesh.

Every visible vertex is projected onto the surface; the displacements are extended and smoothed over the mesh by kernels
(M + ℓ²K)⁻¹ M, K being the model's stiffness matrix and M its vertex areas. As a kernel ignores which vertices have data, its
factor is computed once per model; data enter by normalised convolution, S(w t) / S(w), from long to short lengths ℓ
(a multilevel approximation: each level explains what the longer ones leave). Far from data the displacement fades.

What decides whether a vertex or a pixel is used fades in and out over a range: a threshold would let the last bits of the
coordinates, which differ between machines and libraries, move vertices by hundredths of a millimetre.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

from geometry.charts.chart import Chart
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.reconstruction.dense_surface import DenseSurface
from geometry.reconstruction.dense_template import DenseTemplate
from geometry.reconstruction.surface_target import SurfaceTarget, fade_in, project
from geometry.reconstruction.untangling import Weave, averaging_of, untangled
from geometry.surfaces.joined_borders import joined
from geometry.surfaces.laplacian import LEVELS_MM, Kernel, smooth_field, smoothing_kernels
from geometry.surfaces.patches import Patches
from geometry.surfaces.raycasting import cast_rays, interpolate, raycasting_scene
from geometry.surfaces.robust_loss import geman_mcclure_weights
from geometry.surfaces.seen_surface import eyeballs_behind_lids, seen_surface
from geometry.surfaces.self_intersection import cross

FOLDED = ("lids", "eyes", "lips", "mouth", "nose", "ala", "nostrils", "ears")


@dataclass(frozen=True)
class RegistrationOptions:
    """How the model's mesh is drawn onto a surface."""

    reach_mm: float = 12.0
    """Longest projection along a vertex normal, in mm; its last quarter counts less and less."""
    facing: tuple[float, float] = (0.5, 0.7)
    """Cosines between a vertex's normal and the surface's where it is projected to: up to the first nothing counts, from the
    second on all does. Of 0.6 ± 0.05, 0.1 and 0.2 the one that amplifies noise least on examples/scans
    (benchmarks/registration_stability.py)."""
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
    return fade_in(slope, 0.05, 0.15) * (1 - fade_in(before, 0.0, 2 * hidden_mm))


def _fit_between_vertices(
    mesh: TriangleMesh,
    movable: np.ndarray,
    k: sparse.csr_matrix,
    target: SurfaceTarget,
    chart: Chart,
    options: RegistrationOptions,
) -> np.ndarray:
    """Vertices (n, 3) moved along their normals so that the triangles, not only their corners, lie on the surface.

    Corners on a curved surface put every triangle below it by up to edge²/(8R). Least squares over the surface's vertices, each
    compared along its chart ray with the triangle in front of it: min Σ w (Σ b_k s_k − e)² + damping Σ s² + smoothing sᵀKs,
    solved by conjugate gradients (a mass matrix, hence well conditioned). K (n, n): the stiffness matrix.
    """
    surface = target.mesh
    if not len(surface.triangles):
        return mesh.vertices
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
    facing = fade_in(np.einsum("ij,ij->i", normals, surface.vertex_normals[hit]), *options.facing)
    comparable = facing * fade_in(cosine, 0.1, 0.3) * movable[corners].min(1)
    weight = comparable * target.support[hit] * geman_mcclure_weights(error, options.slack_mm)
    shape = (len(hit), len(mesh.vertices))
    design = sparse.csr_matrix((barycentric.ravel(), (np.repeat(np.arange(len(hit)), 3), corners.ravel())), shape=shape)
    return stepped(mesh, design, error, weight, k, options)


def stepped(
    mesh: TriangleMesh,
    design: sparse.csr_matrix,
    error: np.ndarray,
    weight: np.ndarray,
    k: sparse.csr_matrix,
    options: RegistrationOptions,
) -> np.ndarray:
    """Vertices (n, 3) after steps s along the normals that minimise Σ weight (design s − error)² + damping Σ s² + smoothing
    sᵀKs; design (m, n): points of the triangles from their corners, error (m,) mm, weight (m,), k (n, n)."""
    weighted = sparse.diags(weight) @ design
    system = (design.T @ weighted + options.damping * sparse.identity(design.shape[1]) + options.smoothing * k).tocsr()
    step, _ = cg(system, weighted.T @ error, rtol=1e-3, maxiter=30, M=sparse.diags(1 / system.diagonal()))
    return mesh.vertices + np.clip(step, -options.slack_mm, options.slack_mm)[:, None] * mesh.vertex_normals


@lru_cache(maxsize=4)
def _model_neighbours(model: MorphableModel) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    return _neighbours(TriangleMesh(model.mean, model.triangles))


def _neighbours(mesh: TriangleMesh) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """(n, n) which vertices are neighbours, and the mean of each one's."""
    adjacency = mesh.adjacency
    return adjacency, (sparse.diags(1 / np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)) @ adjacency).tocsr()


def _unflipped(
    vertices: np.ndarray,
    coarse: TriangleMesh,
    about: tuple[sparse.csr_matrix, sparse.csr_matrix],
    turned_deg: tuple[float, float],
    rounds: int = 20,
) -> np.ndarray:
    """vertices (n, 3) whose displacement from the coarse mesh is averaged over the neighbours where a triangle turned from the
    coarse one, the more the more it did; repeated there, that tends to a translation, which turns nothing. about: the mesh'
    `_neighbours`."""
    moved, before, (neighbours, mean) = vertices - coarse.vertices, coarse.triangle_area_vectors, about
    turned, changed = np.zeros(len(before)), np.arange(len(before))
    for _ in range(rounds):
        turned[changed] = fade_in(_turn_deg(before[changed], coarse.vertices + moved, coarse.triangles[changed]), *turned_deg)
        if turned.max() < 1e-3:
            break
        which = np.flatnonzero(turned)
        corners = coarse.triangles[which]
        members, place = np.unique(corners, return_inverse=True)
        weight, place = np.repeat(turned[which], 3), place.ravel()
        share = np.zeros(len(moved))
        np.maximum.at(share, corners.ravel(), weight)
        ring = np.minimum(neighbours @ share, 1) * (1 - share)
        # each turned triangle is translated as a whole, the ring around it follows half-way
        together = weight[:, None] * np.repeat(moved[corners].mean(1), 3, axis=0)
        translated = np.stack([np.bincount(place, axis) for axis in together.T], axis=1) / np.bincount(place, weight)[:, None]
        around = np.flatnonzero(ring)
        moved[around] += ring[around, None] * (mean[around] @ moved - moved[around]) / 2
        moved[members] += share[members, None] * ((translated + mean[members] @ moved) / 2 - moved[members])
        a, b, c = ((ring + share > 0)[column] for column in coarse.triangles.T)
        changed = np.flatnonzero(a | b | c)  # the others turn no further
    return coarse.vertices + moved


def _turn_deg(before: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(m,) degrees between the area vectors before (m, 3) and those of the triangles (m, 3) on vertices (n, 3)."""
    a, b, c = (vertices[column] for column in triangles.T)
    after = cross(b - a, c - a)
    lengths = np.sqrt(np.einsum("ij,ij->i", before, before) * np.einsum("ij,ij->i", after, after))
    return np.degrees(np.arccos(np.clip(np.einsum("ij,ij->i", before, after) / np.maximum(lengths, 1e-12), -1, 1)))


def register_to_targets(
    model: MorphableModel,
    coarse: np.ndarray,
    front: SurfaceTarget,
    chart: Chart,
    around: SurfaceTarget | None = None,
    options: RegistrationOptions = RegistrationOptions(),
) -> np.ndarray:
    """Model vertices (n, 3) moved onto surfaces.

    coarse (n, 3): the fitted model, mm; front: the refined surface that a chart shows, which decides where the chart sees a
    vertex; around: the scan itself, which decides elsewhere. All in the model frame. Vertices are projected along their normals,
    repeatedly; what nothing shows (mouth interior, nostrils, back of the head) follows smoothly.
    """
    coarse = np.asarray(coarse, float)
    mesh, (k, kernels) = TriangleMesh(coarse, model.triangles), smoothing_kernels(model)
    labels = mesh.component_labels
    main = labels == np.bincount(labels).argmax()  # linings follow
    movable = (main | eyeballs_behind_lids(model)) & ~model.regions.get("mouth_interior", np.zeros(len(coarse), bool))
    seen = visibility(mesh, chart, options.hidden_mm) * movable
    vertices = coarse
    for attempt in range(options.projections):
        moved = mesh.with_vertices(vertices)
        own = project(vertices, moved.vertex_normals, front, options.reach_mm, options.facing)
        told = [Told(own.offset, own.weight * seen)]
        if around is not None:
            other = project(vertices, moved.vertex_normals, around, options.reach_mm, options.facing)
            told.append(Told(other.offset, other.weight * movable * (1 - told[0].weight), around.shortest_mm))
        # later offsets are small and local: the shortest kernel only
        first = 0 if attempt == 0 else len(kernels) - 1
        vertices = vertices + _field(told, moved.vertex_normals, kernels[first:], LEVELS_MM[first:])
    for _ in range(options.fits):
        vertices = _fit_between_vertices(mesh.with_vertices(vertices), seen, k, front, chart, options)
    return _clean(model, vertices, mesh, options)


@dataclass(frozen=True)
class Told:
    """offset (n,) mm along the normals and weight (n,) that a surface gives each vertex; shortest_mm: over less than this its
    noise says more than it."""

    offset: np.ndarray
    weight: np.ndarray
    shortest_mm: float = 0.0


def _field(told: Sequence[Told], normals: np.ndarray, kernels: tuple[Kernel, ...], lengths_mm: Sequence[float]) -> np.ndarray:
    """(n, 3) mm, from long to short, each length from what tells of it."""
    field = np.zeros_like(normals)
    for kernel, length in zip(kernels, lengths_mm, strict=True):
        heard = [each for each in told if each.shortest_mm <= length]
        weight = sum((each.weight for each in heard), np.zeros(len(normals)))
        offset = sum((each.weight * each.offset for each in heard), np.zeros(len(normals))) / np.maximum(weight, 1e-9)
        field = field + smooth_field(offset[:, None] * normals - field, np.minimum(weight, 1), (kernel,))
    return field


@lru_cache(maxsize=4)
def joined_vertices(model: MorphableModel) -> np.ndarray:
    """(n,) the vertex that each must lie on: linings and eyeballs begin on those of lips and lids."""
    return joined(TriangleMesh(model.mean, model.triangles))


def drawn_onto(
    model: MorphableModel,
    vertices: np.ndarray,
    coarse: np.ndarray,
    dense: DenseSurface,
    template: DenseTemplate,
    options: RegistrationOptions = RegistrationOptions(),
) -> np.ndarray:
    """Vertices (n, 3) of the model moved along their normals so that its flat triangles lie on a dense surface that was made from
    them, by least squares over the dense vertices that were observed and not unfolded. coarse (n, 3): the fitted model."""
    mesh, flat = TriangleMesh(vertices, model.triangles), template.linear
    normals = flat @ mesh.vertex_normals
    error = ((dense.mesh.vertices - flat @ vertices) * normals).sum(axis=1) / np.maximum((normals**2).sum(axis=1), 0.25)
    weight = (
        (dense.observed > 0) * (1 - np.maximum(template.lids, template.lips)) * geman_mcclure_weights(error, options.slack_mm)
    )
    moved = stepped(mesh, flat, error, weight, smoothing_kernels(model)[0], options)
    return _clean(model, moved, mesh.with_vertices(coarse), options)


def _clean(model: MorphableModel, vertices: np.ndarray, coarse: TriangleMesh, options: RegistrationOptions) -> np.ndarray:
    """Vertices (n, 3) of which no triangle turned over and no skin passes through skin."""
    unflipped = _unflipped(vertices, coarse, _model_neighbours(model), options.turned_deg)[joined_vertices(model)]
    return untangled(unflipped, model.mean, _folded_skin(model))[0][joined_vertices(model)]


@lru_cache(maxsize=4)
def _folded_skin(model: MorphableModel) -> Weave:
    """Triangles (k, 3) where skin lies close to skin: lids, lips, nose and ears; and what averages over the neighbours of the
    whole model's vertices, those across closed lips as well."""
    none = np.zeros(model.n_vertices, bool)
    folded = np.any([model.regions.get(name, none) for name in FOLDED], axis=0)
    if not folded.any():
        return Weave(Patches.of(none := model.triangles[:0], none), sparse.identity(model.n_vertices, format="csr"))
    skin = ~model.regions.get("cavities", none)[model.triangles].any(axis=1)
    ties = averaging_of(np.concatenate([model.triangles, seen_surface(model)[0]]), model.n_vertices)
    triangles = model.triangles[folded[model.triangles].any(axis=1) & skin]
    return Weave(Patches.of(triangles, triangles), ties)
