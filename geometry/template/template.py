"""The project's own template: a clean triangulation of the face, every vertex a fixed linear combination of a source model's.

`build_template` takes half the outer skin of a source's head with eyes, nostrils and mouth closed (`closed_skin`), triangulates
it anew (`remeshing`), opens eyes and mouth and mirrors it. Behind lids, lips and nostrils lie eyeballs and linings (`cavities`),
components of their own. `Template.transfer` carries shapes and modes of the source over.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.model.landmark_embedding import shipped_schemes
from geometry.model.morphable_model import MorphableModel
from geometry.template.cavities import BothHalves, Openings, both_halves, cavities
from geometry.template.closed_skin import EYE, MOUTH, NOSTRIL, OPEN_CHAINS, ClosedSkin, closed_half, mirror_images
from geometry.template.constraints import AnchorGatherer, Constraints
from geometry.template.face_curves import named_curves
from geometry.template.face_regions import named_regions, trusted_regions
from geometry.template.half_face import ear_box, half_face
from geometry.template.remeshing import RemeshOptions, remesh
from geometry.template.skin_patch import MIDLINE_MM, pieces_between

SMILES = ("mouthSmile_L", "mouthSmile_R")  # the source's expressions, where it has them, that show the nasolabial folds


@dataclass(frozen=True)
class TemplateOptions(RemeshOptions):
    """Edge lengths of the template, and how its vertices are placed."""

    cheek_edge: float = 2.9
    """Edge length in mm in the face away from its features."""
    lip_edge: float = 1.4
    """Edge length in mm at the lips."""
    eye_edge: float = 1.25
    """Edge length in mm at the eyes."""
    nose_edge: float = 1.5
    """Edge length in mm at the nostrils and the base of the nose."""
    bridge_edge: float = 2.0
    """Edge length in mm along the bridge of the nose."""
    outer_edge: float = 8.0
    """Longest edge in mm outside the narrow face."""
    ear_edge: float = 2.7
    """Edge length in mm at the ears."""
    cavity_edge: float = 2.6
    """Edge length in mm at the rims of eyeballs and linings."""
    growth: float = 0.11
    """How the edge length grows away from the features, in mm per mm."""


@dataclass(frozen=True)
class Template:
    """weights (n, n_source) csr: the skin first, then the cavities; lift (n, 3) mm; triangles (m, 3); landmarks (68,); regions
    name → (n,) bool; mirror_vertex (n,): the vertex that is each one's mirror image; curves name → (k,) vertices in order."""

    weights: sparse.csr_matrix
    lift: np.ndarray
    triangles: np.ndarray
    landmarks: np.ndarray
    regions: dict[str, np.ndarray]
    mirror_vertex: np.ndarray
    curves: dict[str, np.ndarray] = field(default_factory=dict)

    def mean(self, source_mean: np.ndarray) -> np.ndarray:
        """(n, 3) the template on the source's mean."""
        return self.weights @ source_mean + self.lift

    def transfer(self, displacement: np.ndarray) -> np.ndarray:
        """(n_source, 3) displacement of the source from its mean → (n, 3) of the template. Linear."""
        return self.weights @ displacement


def build_template(source: MorphableModel, options: TemplateOptions = TemplateOptions()) -> Template:
    """A template on a source with the regions "head_skin", its front "skin", "face", "eyeballs" and "mouth_interior" (the bag
    behind the lips), mirror-symmetric about x = 0. Raises ModelError."""
    missing = {"head_skin", "skin", "face", "eyeballs", "mouth_interior"} - set(source.regions)
    if missing:
        raise ModelError(f"model {source.name!r} lacks the regions {sorted(missing)}; a template's source must name them")
    half = closed_half(source)
    surface = TriangleMesh(half.skin.points(source.mean), half.skin.triangles)
    size = _edge_lengths(source, surface.vertices, half, options)
    constraints, landmark_places, along = _constraints(half, surface, size)
    vertices, triangles = remesh(surface, size, constraints, half.chains["border"], half.skin.part != MOUTH, options)
    mix, triangles, kept = _opened(half, vertices.weights, triangles, constraints.edges)
    landmark_places = {index: int(np.searchsorted(kept, place)) for index, place in landmark_places.items()}
    outer = _mirrored(source, half, mix, triangles, landmark_places)
    lips = np.zeros(len(surface.vertices))
    lips[np.concatenate([half.chains["upper_lip"], half.chains["lower_lip"]])] = 1.0
    on_lips = constraints.weights @ lips > 1 - 1e-9
    lid_rim = (constraints.weights @ half.skin.weights)[along["eye"]]
    openings = Openings(lid_rim, half.lids_end, (constraints.weights @ surface.vertices)[on_lips])
    lines = {name: np.searchsorted(kept, along[name]) for name in ("concha", "helix", "lip_border")}
    return _with_cavities(_with_units(source, outer, lines), cavities(source, options.cavity_edge, options, openings))


def _with_units(source: MorphableModel, outer: Template, lines: dict[str, np.ndarray]) -> Template:
    """The skin with its curves, and with the regions that they bound; lines: those of the left half that have edges, by name."""
    mean = outer.mean(source.mean)
    smiles = [index for index, name in enumerate(source.expression_names) if name in SMILES]
    smile = mean + outer.transfer(np.asarray(source.expression_basis[smiles], np.float64).sum(axis=0))
    half = half_face(TriangleMesh(mean, outer.triangles), outer.landmarks, outer.mirror_vertex, smile)
    curves = named_curves(half, outer.triangles, outer.regions["nostrils"], lines)
    units = named_regions(half, curves, outer.regions["nostrils"])
    trusted = {"face": outer.regions["face"] & ~units["scalp"]}  # at the temples the source's face reaches into the hair
    return replace(outer, curves=curves, regions=outer.regions | units | trusted)


def _opened(
    half: ClosedSkin, mix: sparse.csr_matrix, triangles: np.ndarray, chains: np.ndarray
) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Without the triangles between the lids and between the lips, and without the vertices that only these use; those kept.

    chains (c, 2): the edges along the curves, which part those triangles from the skin."""
    piece, dropped = pieces_between(triangles, chains), np.zeros(len(triangles), bool)
    for part in (EYE, MOUTH):
        outside = ~(mix @ half.skin.touched_by(part).astype(float) > 1 - 1e-9)[triangles].all(axis=1)
        dropped |= np.bincount(piece, outside)[piece] == 0
    kept, triangles = np.unique(triangles[~dropped], return_inverse=True)
    return mix[kept], triangles.reshape(-1, 3), kept


def _edge_lengths(source: MorphableModel, points: np.ndarray, half: ClosedSkin, options: TemplateOptions) -> np.ndarray:
    """(k,) wanted edge length: short at eyes, lips and nose, growing away from them; long beyond the narrow face."""
    marks = source.mean[source.landmarks["ibug68"]]
    face = half.skin.weights @ source.regions["face"].astype(float) > 0.5
    beyond = cKDTree(points[face]).query(points)[0]
    size = np.where(face, options.cheek_edge, np.minimum(options.cheek_edge + options.growth * beyond, options.outer_edge))
    size = np.where(ear_box(points) & ~face, options.ear_edge, size)
    for members, shortest, reach in (
        (range(42, 48), options.eye_edge, 3.0),
        (range(48, 68), options.lip_edge, 3.0),
        (range(31, 36), options.nose_edge, 5.0),
        (range(27, 31), options.bridge_edge, 6.0),
    ):
        away = cKDTree(marks[list(members)]).query(points)[0]
        size = np.minimum(size, shortest + options.growth * np.maximum(away - reach, 0))
    return size


def _constraints(
    half: ClosedSkin, surface: TriangleMesh, size: np.ndarray
) -> tuple[Constraints, dict[int, int], dict[str, np.ndarray]]:
    """Vertices along the chains; places among these anchors: of the landmarks of this half, ibug68 index → place, and along the
    chains, name → (k,)."""
    x, border, chains = surface.vertices[:, 0], half.chains["border"], half.chains
    on = np.abs(x[border]) < MIDLINE_MM
    ends = border[on & ~(np.roll(on, 1) & np.roll(on, -1))]  # where the midline meets the template's rim
    must = {*half.landmark.values(), *ends.tolist(), int(chains["nostril"][np.argmin(x[chains["nostril"]])])}
    must |= {int(chains["concha"][0]), *(int(end) for name in OPEN_CHAINS for end in chains[name][[0, -1]])}
    must |= {int(chains["eye"][extreme(x[chains["eye"]])]) for extreme in (np.argmin, np.argmax)}
    gatherer = AnchorGatherer(surface.vertices, size)
    along = {name: gatherer.add_chain(chain, must, closed=name not in OPEN_CHAINS) for name, chain in chains.items()}
    places = {index: gatherer.place_of(vertex) for index, vertex in half.landmark.items()}
    return gatherer.constraints(), places, along


def _mirrored(
    source: MorphableModel,
    half: ClosedSkin,
    mix: sparse.csr_matrix,
    triangles: np.ndarray,
    places: dict[int, int],
) -> Template:
    """Both halves: the mirror image of a row takes the mirror image of each source vertex."""
    mean = np.asarray(source.mean, np.float64)
    twin = mirror_images(source, source.regions["head_skin"])
    both = both_halves(mix @ half.skin.weights, mix @ half.skin.lift, triangles, mean, twin)
    weights, image, aside = both.weights, both.image, both.aside
    mirror = shipped_schemes()["ibug68"].mirror
    landmarks = np.array([places[i] if i in places else image[places[mirror[i]]] for i in range(68)])
    parts = mix @ np.stack([half.skin.touched_by(part) for part in (EYE, NOSTRIL, MOUTH)], axis=1).astype(float) > 1 - 1e-9
    patches = dict(zip(("eye_patch", "nostrils", "mouth_interior"), np.vstack([parts, parts[aside]]).T))
    narrow = weights @ source.regions["face"].astype(float) > 0.5
    return Template(
        weights,
        both.lift,
        both.triangles,
        landmarks,
        trusted_regions(weights @ mean + both.lift, mean[source.landmarks["ibug68"]], narrow, patches),
        both.mirror_vertex,
    )


def _with_cavities(outer: Template, linings: dict[str, BothHalves]) -> Template:
    """The outer template, and behind its patches the cavities, each a component of its own, in the order given."""
    sizes = [len(lining.mirror_vertex) for lining in linings.values()]
    starts = len(outer.lift) + np.cumsum([0, *sizes])
    piece = np.repeat(["", *linings], [len(outer.lift), *sizes])
    regions = {name: np.append(mask, np.zeros(sum(sizes), bool)) for name, mask in outer.regions.items()}
    regions |= {name: piece == name for name in linings} | {"cavities": piece != ""}
    for part, behind in (("mouth_interior", "mouth_cavity"), ("eyes", "eyeballs")):
        regions[part] = regions[part] | regions[behind]
    placed = list(zip(linings.values(), starts))
    return replace(
        outer,
        weights=sparse.vstack([outer.weights, *(lining.weights for lining in linings.values())]).tocsr(),
        lift=np.vstack([outer.lift, *(lining.lift for lining in linings.values())]),
        triangles=np.vstack([outer.triangles, *(lining.triangles + start for lining, start in placed)]).astype(np.int32),
        regions=regions,
        mirror_vertex=np.concatenate([outer.mirror_vertex, *(lining.mirror_vertex + start for lining, start in placed)]),
    )
