"""What the model card states of a learned model: its triangles, its texture's layout, and how near it comes to its source."""

from dataclasses import replace

import numpy as np

from geometry.learning.feature_warps import feature_factors, spread
from geometry.learning.model_learning import SurfaceNorm, identity_factors, project
from geometry.mesh import TriangleMesh
from geometry.model.format_face_relief import quantise
from geometry.model.landmark_embedding import NOSE_TIP
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.closest_point import surface_distance
from geometry.template.remeshing import smallest_angles
from geometry.template.template import Template
from geometry.template.texture_layout import layout_figures
from geometry.transforms import MIRROR

HELD_OUT = 30  # identities
_COVERED_MM = 0.3
_PROJECTION_TANGENTIAL = 0.1  # sliding within the surface hardly counts, as in a fit point to plane


def figures(source: MorphableModel, template: Template, model: MorphableModel, seed: int) -> dict[str, float]:
    """What the model card states."""
    # half a quantum, as stored: one int16 step of the mode with the largest displacement
    quantised = max(quantise(basis)[1].max() / 2 for basis in (model.identity_basis, model.expression_basis))
    return {
        "vertices": model.n_vertices,
        "triangles": len(model.triangles),
        "identity_modes": model.n_identity,
        "expression_modes": model.n_expression,
        "face_vertices": int(model.regions["face"].sum()),
        "cavity_vertices": int(model.regions["cavities"].sum()),
        "quantisation_mm_per_sigma": float(quantised),
        **_triangulation_figures(model),
        **_source_figures(source, template, model, seed),
    }


def _triangulation_figures(model: MorphableModel) -> dict[str, float]:
    mesh, face = TriangleMesh(model.mean, model.triangles), model.regions["face"]
    edge = np.linalg.norm(mesh.vertices[mesh.edges[:, 0]] - mesh.vertices[mesh.edges[:, 1]], axis=1)
    in_face = edge[face[mesh.edges].all(axis=1)]
    angle = smallest_angles(mesh.vertices[mesh.triangles])
    of_face = angle[face[mesh.triangles].all(axis=1)]
    texture = layout_figures(mesh.vertices, mesh.triangles, model.texture, face, model.mirror_vertex)
    return {
        "edge_mm_median": float(np.median(edge)),
        "face_edge_mm_p5": float(np.percentile(in_face, 5)),
        "face_edge_mm_p95": float(np.percentile(in_face, 95)),
        "angle_deg_least": float(angle.min()),
        "face_angle_deg_least": float(of_face.min()),
        "face_angle_deg_median": float(np.median(of_face)),
        "asymmetry_mm": float(np.abs(mesh.vertices[model.mirror_vertex] * MIRROR - mesh.vertices).max()),
        "mode_asymmetry_mm": mode_asymmetry(model),
        "texture_shear_median": texture.angle[0],
        "texture_shear_p95": texture.angle[1],
        "texture_overlap": texture.overlap,
        "texels_mm2_median": texture.texels[1],
        "texels_mm2_p5": texture.texels[0],
    }


def _source_figures(source: MorphableModel, template: Template, model: MorphableModel, seed: int) -> dict[str, float]:
    moved, mean = in_frame_of(model, source, template), TriangleMesh(model.mean, model.triangles)
    own = replace(model, identity_basis=model.identity_basis[: model.notes["learning"]["identity_modes"]])
    errors, with_own = (held_out_errors(source, template, each, seed, HELD_OUT) for each in (model, own))
    return {
        "held_out_mean_mm": float(errors.mean()),
        "held_out_p95_mm": float(np.percentile(errors, 95)),
        "held_out_worst_subject_mm": float(errors.mean(axis=1).max()),
        "held_out_own_modes_mm": float(with_own.mean()),
        "held_out_head_mm": float(held_out_errors(source, template, model, seed, HELD_OUT, whole_head=True).mean()),
        "covered_share": len(covered_vertices(moved, mean)) / int(source.regions["face"].sum()),
        "chord_mean_mm": float(surface_distance(moved.mean[covered_vertices(moved, mean)], mean).mean()),
    }


def mode_asymmetry(model: MorphableModel) -> float:
    """The largest displacement by which an identity mode differs from its mirror image or, where that is nearer, its opposite."""
    mirrored = model.identity_basis[:, model.mirror_vertex] * MIRROR.astype(np.float32)
    off = [np.abs(mirrored - sign * model.identity_basis).max(axis=(1, 2)) for sign in (1, -1)]
    return float(np.minimum(*off).max())


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
    nose = model.landmarks["ibug68"][NOSE_TIP]
    shift = (model.mean - template.mean(source.mean))[nose] * (0, 1, 1)  # on the midline, which both share
    return replace(source, mean=source.mean + shift)


def covered_vertices(source: MorphableModel, mean: TriangleMesh, region: str = "face") -> np.ndarray:
    """(p,) indices of the source's vertices of a region that the template's skin (its largest piece), on the mean, passes by
    within 0.3 mm; mean in the source's frame."""
    chosen = np.flatnonzero(source.regions[region])
    skin, _ = mean.submesh(mean.component_labels == np.bincount(mean.component_labels).argmax())
    return chosen[surface_distance(source.mean[chosen], skin) < _COVERED_MM]


def expression_changes(source: MorphableModel, template: Template, model: MorphableModel) -> dict[str, float]:
    """Blendshape → root mean square in mm, over the face, of how its displacements differ from the source's; the most first.

    What differs is what `contact` and `unfolding` moved, and what was not symmetric in the source.
    """
    face, rms = model.regions["face"], {}
    for name, own in zip(model.expression_names, model.expression_basis):
        carried = template.transfer(np.asarray(source.expression_basis[source.expression_names.index(name)], np.float64))
        rms[name] = float(np.sqrt(((own - carried)[face] ** 2).sum(axis=1).mean()))
    return dict(sorted(rms.items(), key=lambda item: -item[1]))


def warp_spreads(source: MorphableModel, template: Template, model: MorphableModel) -> dict[str, tuple[float, ...]]:
    """Warp → standard deviations in mm of the distance that it changes: published, of the source, of all warps as stated, of the
    model."""
    mesh, marks = TriangleMesh(model.mean, model.triangles), template.landmarks
    warps = feature_factors(mesh, marks, template.regions, template.mirror_vertex)
    own = identity_factors(source, template)[: source.n_identity]
    tables = [spread(model.mean, modes, marks) for modes in (own, warps, model.identity_basis)]
    return {name: (published, *(table[name][1] for table in tables)) for name, (published, _) in tables[0].items()}
