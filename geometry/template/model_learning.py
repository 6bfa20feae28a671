"""Learn the project's own morphable model from a population sampled from a source model.

    python -m geometry.model_learning --source ../shared/models/ict_facekit_light.npz --output geometry/data/face_relief_model.npz

Subjects are drawn from the source's identities, mirrored, and given small smooth deformations of their own; every subject lives
on the project's template (geometry/template/template.py). Principal components of the population under a norm that counts the
trusted face most become the identity basis (Blanz & Vetter 1999); the source's blendshapes carry over as the expression basis.
All subjects are linear in a few hundred factors, so the components are computed exactly, from the factors' second moments.
"""

import argparse
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from geometry.mesh import TriangleMesh
from geometry.model.format_face_relief import quantise, save_model
from geometry.model.morphable_model import MorphableModel
from geometry.model.registry import load_model
from geometry.settings import loading
from geometry.settings.commands import writable_folder
from geometry.settings.options import AtLeast0, Count, Positive, Seed, options, to_dict
from geometry.surfaces.closest_point import surface_distance
from geometry.template.model_card import model_card
from geometry.template.remeshing import smallest_angles
from geometry.template.template import Template, TemplateOptions, build_template
from geometry.template.texture_layout import texture_layout
from geometry.transforms import MIRROR

LICENCE = "Learned from samples of the ICT Face Model Light, MIT licence, © 2020 USC Institute for Creative Technologies"
_COVERED_MM = 0.3
_PROJECTION_TANGENTIAL = 0.1  # sliding within the surface hardly counts, as in a fit point to plane
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
    outside_weight: AtLeast0 = 0.02
    """What a square millimetre outside the trusted face counts; inside it counts 1."""
    tangential_weight: AtLeast0 = 0.05
    """What motion within the surface counts; motion along the normal counts 1. It moves landmarks, but changes no shape."""
    symmetric: bool = True
    """Whether mean, modes and blendshapes are made exactly their own mirror images, or each other's. The shipped model's are the
    source's, to 0.04 mm."""
    seed: Seed = 2019
    """Seed of the random population."""


def learn(source: MorphableModel, template: Template, options: LearningOptions = LearningOptions()) -> MorphableModel:
    """The morphable model on the template; its mean is the source's."""
    mirrored = lambda shapes: shapes[..., template.mirror_vertex, :] * MIRROR
    mean = template.mean(source.mean)
    mean = (mean + mirrored(mean)) / 2 if options.symmetric else mean
    mesh = TriangleMesh(mean, template.triangles)
    outer = ~template.regions["cavities"]  # the cavities follow: they have no say in which modes there are
    local = local_factors(mesh, template.regions["face"], options, outer)
    factors = np.concatenate([identity_factors(source, template), local])
    weight = mesh.vertex_areas * np.where(template.regions["face"], 1.0, options.outside_weight) * outer
    norm = SurfaceNorm(mesh.vertex_normals, weight, options.tangential_weight)
    moments = population_moments(source.n_identity, len(factors), options)
    if options.symmetric:
        basis = symmetric_modes(factors, mirrored(factors), moments, norm, options.identity_modes)
    else:
        basis = principal_modes(factors, moments, norm, options.identity_modes)
    kept = [i for i, name in enumerate(source.expression_names) if not name.startswith("eyeLook") or _moves_lids(source, i)]
    names = tuple(source.expression_names[i] for i in kept)
    expressions = np.stack([template.transfer(np.asarray(source.expression_basis[i], np.float64)) for i in kept])
    if options.symmetric:
        expressions = (expressions + mirrored(expressions[[names.index(mirror_name(name)) for name in names]])) / 2
    return MorphableModel(
        name="face-relief",
        mean=mean,
        triangles=template.triangles,
        identity_basis=basis.astype(np.float32),
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


def project(model: MorphableModel, vertices: np.ndarray, norm: SurfaceNorm) -> np.ndarray:
    """(K,) coefficients of the instance nearest to vertices (n, 3) under a norm."""
    basis = norm.flat(model.identity_basis.astype(np.float64))
    return np.linalg.solve(basis @ basis.T, basis @ norm.flat((vertices - model.mean)[None])[0])


def held_out_errors(
    source: MorphableModel, template: Template, model: MorphableModel, seed: int, count: int, whole_head: bool = False
) -> np.ndarray:
    """(count, p) mm from the source's face vertices, or those of its whole head, to the model's surface, for fresh identities of
    the source: each is the instance nearest to it there.

    Only vertices that the template covers count: not the linings of mouth and nostrils.
    """
    rng = np.random.default_rng(seed)
    source, mean = in_frame_of(model, source, template), TriangleMesh(model.mean, model.triangles)
    covered = covered_vertices(source, mean, "head_skin" if whole_head else "face")
    counts = ~model.regions["cavities"] if whole_head else model.regions["face"]
    norm = SurfaceNorm(mean.vertex_normals, mean.vertex_areas * counts, _PROJECTION_TANGENTIAL)
    errors = []
    for _ in range(count):
        truth = source.instance(rng.standard_normal(source.n_identity))
        wanted = model.mean + template.transfer(truth - source.mean)
        found = model.mesh(project(model, wanted, norm))
        errors.append(surface_distance(truth[covered], found))
    return np.array(errors)


def in_frame_of(model: MorphableModel, source: MorphableModel, template: Template) -> MorphableModel:
    """The source with the model's origin: where one was loaded from its file, each has its own mark of the nose tip there."""
    nose = model.landmarks["ibug68"][30]
    shift = (model.mean - template.mean(source.mean))[nose] * (0, 1, 1)  # on the midline, which both share
    return replace(source, mean=source.mean + shift)


def covered_vertices(source: MorphableModel, mean: TriangleMesh, region: str = "face") -> np.ndarray:
    """(p,) indices of the source's vertices of a region that the template's skin (its largest piece), on the mean, passes by
    within 0.3 mm; mean in the source's frame."""
    chosen = np.flatnonzero(source.regions[region])
    skin, _ = mean.submesh(mean.component_labels == np.bincount(mean.component_labels).argmax())
    return chosen[surface_distance(source.mean[chosen], skin) < _COVERED_MM]


def figures(source: MorphableModel, template: Template, model: MorphableModel, seed: int) -> dict[str, float]:
    """What the model card states."""
    mesh = TriangleMesh(model.mean, model.triangles)
    edge = np.linalg.norm(mesh.vertices[mesh.edges[:, 0]] - mesh.vertices[mesh.edges[:, 1]], axis=1)
    in_face = model.regions["face"][mesh.edges].all(axis=1)
    angle = smallest_angles(mesh.vertices[mesh.triangles])
    moved = in_frame_of(model, source, template)
    chord = surface_distance(moved.mean[covered_vertices(moved, mesh)], mesh)
    errors, of_heads = (held_out_errors(source, template, model, seed, 30, whole_head) for whole_head in (False, True))
    # half a quantum, as stored: one int16 step of the mode with the largest displacement
    quantised = max(quantise(basis)[1].max() / 2 for basis in (model.identity_basis, model.expression_basis))
    return {
        "vertices": model.n_vertices,
        "triangles": len(model.triangles),
        "identity_modes": model.n_identity,
        "expression_modes": model.n_expression,
        "face_vertices": int(model.regions["face"].sum()),
        "cavity_vertices": int(model.regions["cavities"].sum()),
        "edge_mm_median": float(np.median(edge)),
        "face_edge_mm_p5": float(np.percentile(edge[in_face], 5)),
        "face_edge_mm_p95": float(np.percentile(edge[in_face], 95)),
        "smallest_angle_deg": float(angle.min()),
        "smallest_angle_deg_p1": float(np.percentile(angle, 1)),
        "held_out_mean_mm": float(errors.mean()),
        "held_out_p95_mm": float(np.percentile(errors, 95)),
        "held_out_worst_subject_mm": float(errors.mean(axis=1).max()),
        "held_out_head_mean_mm": float(of_heads.mean()),
        "chord_mean_mm": float(chord.mean()),
        "quantisation_mm_per_sigma": float(quantised),
    }


def run(arguments: argparse.Namespace) -> None:
    """The documented command: learn, save, measure, write the card. Raises ModelError, ConfigError."""
    chosen = loading.load(LearningOptions, arguments.config, arguments.settings)
    path, output = Path(arguments.source), Path(arguments.output)
    source = load_model(path)
    writable_folder(output.parent)  # before minutes of work
    template = build_template(source, TemplateOptions())
    model = learn(source, template, chosen)
    save_model(output, model)
    measured = figures(source, template, load_model(output), seed=1) | {"bytes": output.stat().st_size}
    defaults = to_dict(LearningOptions())
    changed = [f" --set {key}={value}" for key, value in to_dict(chosen).items() if value != defaults[key]]
    command = f"python -m geometry.model_learning --source ../shared/models/{path.name} --output geometry/data/{output.name}"
    output.with_suffix(".md").write_text(model_card(model, measured, command + "".join(changed)), encoding="utf-8")
    print(json.dumps(measured, indent=2))
