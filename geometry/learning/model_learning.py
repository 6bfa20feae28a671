"""Learn the project's own morphable model from a population sampled from a source model.

    python -m geometry.model_learning --source ../shared/models/ict_facekit_light.npz --output geometry/data/face_relief_model.npz

Subjects are drawn from the source's identities, mirrored, and given small smooth deformations of their own; every subject lives
on the project's template (geometry/template/template.py), on which lips and lids meet without crossing (contact.py). Principal
components of the population under a norm that counts the trusted face most become the identity basis (Blanz & Vetter 1999). A
second source of variety, local warps of the features (feature_warps.py), adds modes of its own. The source's blendshapes carry
over as the expression basis. All subjects are linear in a few hundred factors, so the components are computed exactly, from the
factors' second moments. The population is as likely as its mirror image: each mode is symmetric or antisymmetric.
"""

import re
from dataclasses import asdict, dataclass

import numpy as np
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from geometry.errors import ModelError
from geometry.learning.contact import Contact
from geometry.learning.feature_warps import feature_factors
from geometry.learning.steady_distances import steadied
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.settings.options import AtLeast0, Count, Positive, Seed, options
from geometry.surfaces.joined_borders import joined
from geometry.surfaces.laplacian import stiffness
from geometry.template.template import Template
from geometry.template.texture_layout import texture_layout
from geometry.transforms import MIRROR

LICENCE = "Learned from samples of the ICT Face Model Light, MIT licence, © 2020 USC Institute for Creative Technologies"
_OTHER_SIDE = {"Left": "Right", "Right": "Left", "_L": "_R", "_R": "_L"}
_LID_MOTION_MM = 3.0  # a gaze blendshape is kept where it moves the lids by more than this


@options
class LearningOptions:
    """The population that the model is learned from, and what counts in it."""

    subjects: Count = 1000
    """Size of the population, before reflection."""
    identity_modes: Count = 100
    """Size of the identity basis."""
    local_sigma: AtLeast0 = 1.0
    """Standard deviation in mm of the smooth deformations: a Gaussian process along the normals (Lüthi et al. 2018)."""
    local_length: Positive = 30.0
    """Correlation length in mm of those deformations."""
    local_factors: Count = 150
    """How many of their leading modes take part."""
    feature_sigma: AtLeast0 = 1.0
    """Scale of the local warps of the features (geometry/learning/feature_warps.py states their amplitudes); 0: none."""
    feature_modes: Count = 20
    """Size of the part of the identity basis that comes after `identity_modes`: for what these leave of the warps."""
    outside_weight: AtLeast0 = 0.02
    """What a square millimetre outside the trusted face counts; inside it counts 1."""
    tangential_weight: AtLeast0 = 0.05
    """What motion within the surface counts; motion along the normal counts 1. It moves landmarks, but changes no shape."""
    seed: Seed = 2019
    """Seed of the random population."""


def learn(source: MorphableModel, template: Template, options: LearningOptions = LearningOptions()) -> MorphableModel:
    """The morphable model on the template, its own mirror image; its mean is the source's, but for lips and lids that crossed
    (`contact.Contact`). Raises ModelError for a source without identity modes, or with blendshapes of one side only."""
    mirrored = lambda shapes: shapes[..., template.mirror_vertex, :] * MIRROR
    contact_of = lambda shape: Contact(TriangleMesh(shape, template.triangles), ~template.regions["cavities"])
    mean = template.mean(source.mean)
    mean = (mean + mirrored(mean)) / 2
    mean = mean + contact_of(mean).apart(mean, rest=True)
    mean = (mean + mirrored(mean)) / 2
    contact = contact_of(mean)
    kept = [i for i, name in enumerate(source.expression_names) if not name.startswith("eyeLook") or _moves_lids(source, i)]
    names = tuple(source.expression_names[i] for i in kept)
    lone = sorted({mirror_name(name) for name in names} - set(names))
    if lone or not names or not source.n_identity:
        lack = f"blendshape {lone[0]!r}, the mirror image of one it has" if lone else "identity modes or blendshapes"
        raise ModelError(f"model {source.name!r} lacks {lack}; learning needs it")
    expressions = np.stack([template.transfer(np.asarray(source.expression_basis[i], np.float64)) for i in kept])
    expressions = contact.blendshapes(expressions, names)
    expressions = (expressions + mirrored(expressions[[names.index(mirror_name(name)) for name in names]])) / 2
    identities = identity_basis(source, template, contact, options)
    shapes = [mean, *(mean + own for name, own in zip(names, expressions) if name == "jawOpen")]
    identities = steadied(identities, contact.mesh, contact.skin, shapes)
    identities = with_eyeballs_in_lids(as_symmetric(identities, mirrored(identities)), contact.mesh, template.regions["eyeballs"])
    return MorphableModel(
        name="face-relief",
        mean=mean,
        triangles=template.triangles,
        identity_basis=identities.astype(np.float32),
        expression_basis=expressions.astype(np.float32),
        landmarks={"ibug68": template.landmarks},
        regions=template.regions,
        curves=template.curves,
        mirror_vertex=template.mirror_vertex,
        texture=texture_layout(mean, template.triangles, template.mirror_vertex, template.regions),
        earlier_mark_ups={1: source.mean[source.landmarks["ibug68"]]},
        expression_names=names,
        expression_range=source.expression_range,
        notes={"licence": LICENCE, "source": source.name, "source_sha256": source.sha256, "learning": asdict(options)},
    )


def identity_basis(source: MorphableModel, template: Template, contact: Contact, options: LearningOptions) -> np.ndarray:
    """(K, n, 3) mm per standard deviation: the leading modes of the source's population with its smooth deformations; then those
    of what these leave of the population that has the features' warps, too."""
    mesh = contact.mesh
    outer = ~template.regions["cavities"]  # the cavities follow: they have no say in which modes there are
    weight = mesh.vertex_areas * np.where(template.regions["face"], 1.0, options.outside_weight) * outer
    norm = SurfaceNorm(mesh.vertex_normals, weight, options.tangential_weight)
    plain = np.concatenate([identity_factors(source, template), local_factors(mesh, template.regions["face"], options, outer)])
    warps = feature_factors(mesh, template.landmarks, template.regions, template.mirror_vertex)
    factors = contact.attached(np.concatenate([plain, options.feature_sigma * warps]))
    factors = with_eyeballs_in_lids(factors, mesh, template.regions["eyeballs"])
    moments = population_moments(source.n_identity, len(factors), options)
    mirrored = lambda shapes: shapes[:, template.mirror_vertex] * MIRROR
    own = slice(len(plain))
    first = symmetric_modes(factors[own], mirrored(factors[own]), moments[own, own], norm, options.identity_modes)
    rest = beyond(factors, first, norm)
    return np.concatenate([first, symmetric_modes(rest, mirrored(rest), moments, norm, options.feature_modes)])


def with_eyeballs_in_lids(shapes: np.ndarray, mesh: TriangleMesh, eyeballs: np.ndarray) -> np.ndarray:
    """(k, n, 3) displacements with those of the eyeballs (n,) bool harmonic between their borders, which move with the lids' rim
    they lie on: else the balls of faces with narrow or deep eyes come through their lids, or part from them."""
    shapes = shapes[:, joined(mesh)]
    for label in np.unique(mesh.component_labels[eyeballs]):
        ball, vertex = mesh.submesh(mesh.component_labels == label)
        inner, matrix = ~ball.boundary_vertices, stiffness(ball)
        rims = shapes[:, vertex[~inner]].transpose(1, 0, 2).reshape((~inner).sum(), -1)
        field = splu(matrix[inner][:, inner].tocsc()).solve(-(matrix[inner][:, ~inner] @ rims))
        shapes[:, vertex[inner]] = field.reshape(inner.sum(), -1, 3).transpose(1, 0, 2)
    return shapes


def beyond(shapes: np.ndarray, modes: np.ndarray, norm: "SurfaceNorm") -> np.ndarray:
    """(k, n, 3) shapes less their components along the modes (K, n, 3), under the norm."""
    flat = norm.flat(modes)
    return shapes - np.tensordot(np.linalg.solve(flat @ flat.T, flat @ norm.flat(shapes).T).T, modes, axes=1)


def mirror_name(name: str) -> str:
    """The blendshape that is the mirror image of this one: eyeBlink_R of eyeBlink_L, jawRight of jawLeft, jawOpen of itself."""
    return re.sub("(Left|Right|_L|_R)$", lambda side: _OTHER_SIDE[side[0]], name)


def _moves_lids(source: MorphableModel, index: int) -> bool:
    motion = np.linalg.norm(source.expression_basis[index][source.regions["skin"]], axis=1)
    return bool(motion.max() > _LID_MOTION_MM)


def identity_factors(source: MorphableModel, template: Template) -> np.ndarray:
    """(2K, n, 3) float64: the source's identity modes on the template, then their mirror images."""
    modes = np.stack([template.transfer(np.asarray(mode, np.float64)) for mode in source.identity_basis])
    return np.concatenate([modes, modes[:, template.mirror_vertex] * MIRROR])


def local_factors(mesh: TriangleMesh, face: np.ndarray, options: LearningOptions, outer: np.ndarray | None = None) -> np.ndarray:
    """(F, n, 3) leading Karhunen–Loève modes of a Gaussian process of displacements with a squared-exponential kernel.

    The displacements are along the normals, smoothed so that both sides of a fold (a lid, a lip) move together. Nyström
    approximation from vertices thinned to half the correlation length; it fades out away from the face. outer (n,) bool, by
    default all: the vertices whose normals count; the others move along with those nearby.
    """
    if options.local_sigma == 0:
        return np.zeros((0, *mesh.vertices.shape))
    nodes = mesh.vertices[face][_thinned(mesh.vertices[face], options.local_length / 2)]
    kernel = lambda a, b: np.exp(-cdist(a, b, "sqeuclidean") / (2 * options.local_length**2))
    values, vectors = np.linalg.eigh(kernel(nodes, nodes))
    top = np.argsort(-values)[: options.local_factors]
    fields = kernel(mesh.vertices, nodes) @ (vectors[:, top] / np.sqrt(values[top]))
    fade = np.exp(-((cKDTree(mesh.vertices[face]).query(mesh.vertices)[0] / options.local_length) ** 2))
    areas = mesh.vertex_areas if outer is None else mesh.vertex_areas * outer
    along = _gaussian_normals(mesh, areas, nodes, options.local_length / 2)
    return options.local_sigma * (fields * fade[:, None]).T[:, :, None] * along


def _gaussian_normals(mesh: TriangleMesh, areas: np.ndarray, nodes: np.ndarray, radius: float) -> np.ndarray:
    """(n, 3) unit means of the surface's normals, weighted by areas (n,), under a Gaussian of standard deviation `radius` mm,
    gathered at nodes (c, 3)."""
    owner = cKDTree(nodes).query(mesh.vertices)[1]
    area_vectors = mesh.vertex_normals * areas[:, None]
    gathered = np.stack([np.bincount(owner, area_vectors[:, axis], len(nodes)) for axis in range(3)], axis=1)
    smooth = np.exp(-cdist(mesh.vertices, nodes, "sqeuclidean") / (2 * radius**2)) @ gathered
    return smooth / np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-12)


def _thinned(points: np.ndarray, spacing: float) -> np.ndarray:
    """Indices of one point per occupied cube of side `spacing`, the one nearest to its centre."""
    cell = np.floor(points / spacing).astype(np.int64)
    off = np.linalg.norm(points / spacing - cell - 0.5, axis=1)
    order = np.argsort(off, kind="stable")
    _, first = np.unique(cell[order], axis=0, return_index=True)
    return np.sort(order[first])


def population_moments(n_identity: int, n_factors: int, options: LearningOptions) -> np.ndarray:
    """(F, F) second moments of the population's factor scores about its mean, which is the source's by construction.

    Each draw stands for four subjects: itself, its mirror image, and the opposites of both.
    """
    rng = np.random.default_rng(options.seed)
    moments = np.zeros((n_factors, n_factors))
    for start in range(0, options.subjects, 250):
        count = min(250, options.subjects - start)
        identity, local = rng.standard_normal((count, n_identity)), rng.standard_normal((count, n_factors - 2 * n_identity))
        nothing = np.zeros_like(identity)
        for scores in (np.hstack([identity, nothing, local]), np.hstack([nothing, identity, local])):
            moments += scores.T @ scores
    return moments / (2 * options.subjects)


@dataclass(frozen=True)
class SurfaceNorm:
    """|d|² = Σ_v weight_v ((n_v·d_v)² + tangential |d_v − (n_v·d_v) n_v|²); normals (n, 3), weight (n,)."""

    normals: np.ndarray
    weight: np.ndarray
    tangential: float

    def flat(self, displacements: np.ndarray) -> np.ndarray:
        """(k, n, 3) → (k, 3n) whose Euclidean norm this is."""
        along = (displacements * self.normals).sum(axis=2, keepdims=True) * self.normals
        scaled = np.sqrt(self.tangential) * displacements + (1 - np.sqrt(self.tangential)) * along
        return (scaled * np.sqrt(self.weight)[:, None]).reshape(len(displacements), -1)


def principal_modes(factors: np.ndarray, moments: np.ndarray, norm: SurfaceNorm, count: int) -> np.ndarray:
    """factors (F, n, 3), moments (F, F) → (count, n, 3) modes in mm per standard deviation, most variance under the norm first.

    With moments = L Lᵀ, the subjects are Lᵀ factors under white scores; the modes diagonalise their weighted Gram matrix. The
    sign is fixed so that the largest component, where the norm counts, is positive.
    """
    values, vectors = np.linalg.eigh(moments)
    root = (vectors * np.sqrt(np.maximum(values, 0))).T
    white = np.tensordot(root, factors, axes=1)
    flat = norm.flat(white)
    variance, turn = np.linalg.eigh(flat @ flat.T)
    modes = np.tensordot(turn[:, np.argsort(-variance)[:count]].T, white, axes=1)
    largest = np.abs(modes * (norm.weight > 0)[:, None]).reshape(len(modes), -1).argmax(axis=1)
    return modes * np.sign(modes.reshape(len(modes), -1)[np.arange(len(modes)), largest])[:, None, None]


def symmetric_modes(factors: np.ndarray, mirrored: np.ndarray, moments: np.ndarray, norm: SurfaceNorm, count: int) -> np.ndarray:
    """As `principal_modes`, of a population that is as likely as its mirror image: then symmetric and antisymmetric motions are
    independent, and each has modes of its own. mirrored (F, n, 3): the mirror images of the factors."""
    parts = [principal_modes((factors + sign * mirrored) / 2, moments, norm, count) for sign in (1, -1)]
    modes = np.concatenate(parts)
    return modes[np.argsort(-(norm.flat(modes) ** 2).sum(axis=1), kind="stable")[:count]]


def as_symmetric(modes: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Modes (K, n, 3) and their mirror images → the mean of each and its image or, where that is nearer, the image's opposite."""
    sign = np.sign((modes * mirrored).sum(axis=(1, 2), keepdims=True))
    return (modes + sign * mirrored) / 2


def project(model: MorphableModel, vertices: np.ndarray, norm: SurfaceNorm) -> np.ndarray:
    """(K,) coefficients of the instance nearest to vertices (n, 3) under a norm."""
    basis = norm.flat(model.identity_basis.astype(np.float64))
    return np.linalg.solve(basis @ basis.T, basis @ norm.flat((vertices - model.mean)[None])[0])
