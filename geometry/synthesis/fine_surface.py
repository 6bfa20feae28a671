"""The model's surface subdivided where faces have features, and how a field on the model is carried to it."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.raycasting import first_hits, raycasting_scene
from geometry.surfaces.subdivision import Subdivision, refine_region

FADE_ROUNDS = 6  # neighbour averages that fade detail out towards eyes, mouth and the region's border
FEATURES = ("eyes", "mouth", "nostrils")
FEATURE_ROUNDS = 8  # neighbour averages that widen the features
FEATURE_FLOOR = 0.35  # of the shift is everywhere
CLEAR_MM = 0.05  # before an eyeball, where a ray begins that asks whether a lid covers it


@dataclass(frozen=True)
class FineSurface:
    """What `sample_face` needs of a model beside the model: computed once, see `fine_surface`.

    subdivision: coarse → fine, of the triangles of `seen_surface`; mean (N, 3) fine mean shape; detailed (d,): fine vertices
    that carry detail, and their weight (d,) in (0, 1]; excluded (M,) bool: fine triangles inside the mouth; covered (M,) bool:
    those of eyeballs behind the mean's lids; averaging (n, n): the mean over a coarse vertex and its neighbours, see
    `_averaging`; features (n,): `feature_share`.
    """

    subdivision: Subdivision
    mean: np.ndarray
    detailed: np.ndarray
    weight: np.ndarray
    excluded: np.ndarray
    covered: np.ndarray
    averaging: sparse.csr_matrix
    features: np.ndarray


@cache
def fine_surface(model: MorphableModel, edge_mm: float) -> FineSurface:
    """The subdivided topology of a model; kept per process, because it costs half a second."""
    skin = model.regions["face"] & ~model.regions["eyes"] & ~model.regions["mouth_interior"]
    coarse = TriangleMesh(model.mean, model.triangles)
    averaging = _averaging(model, coarse)
    # 0.5 at the border of the skin, 1 well inside: stretched to 0…1
    weight = np.clip(2 * averaged(skin.astype(float), averaging, FADE_ROUNDS) - 1, 0, 1) * skin
    # the strokes are laid out in frontal projection: fade where the surface turns away, and behind the ears' front
    weight *= np.clip((coarse.vertex_normals[:, 2] + 0.05) / 0.3, 0, 1) * np.clip((model.mean[:, 2] + 120) / 15, 0, 1)
    seen, inside = seen_surface(model)
    subdivision = refine_region(model.mean, seen, model.regions["face"], edge_mm)
    fine_weight = np.clip(subdivision.apply(weight), 0, 1)
    detailed = np.flatnonzero(fine_weight > 0.01)
    return FineSurface(
        subdivision,
        subdivision.apply(model.mean),
        detailed,
        fine_weight[detailed],
        inside[subdivision.parents],
        _covered_eyeballs(model, seen)[subdivision.parents],
        averaging,
        feature_share(model, averaging),
    )


def seen_surface(model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    """What a sensor sees of a model: triangles (m, 3) of skin and eyeballs, and (m,) bool those of the inside of its mouth.

    Linings are left out: no sensor sees into a nostril's; behind open lips it sees teeth and tongue, and not a bag that ends in
    the throat. In the lining's place the mouth is closed by a membrane between the rims of the lips, which whoever asks may move
    back (`faces.SampledFace.surroundings`). A model that names no linings keeps its triangles.
    """
    linings = _of_cavities(model) & ~model.regions["eyes"]
    triangles = model.triangles[~linings[model.triangles].any(1)]
    membrane = np.zeros((0, 3), model.triangles.dtype)
    if linings.any() and {"upper_lip_rim", "lower_lip_rim"} <= model.curves.keys():
        membrane = _membrane(model.mean, model.curves["upper_lip_rim"], model.curves["lower_lip_rim"])
    inside = model.regions["mouth_interior"][triangles].all(1)
    return np.vstack([triangles, membrane]), np.append(inside, np.ones(len(membrane), bool))


def _membrane(mean: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """(k, 3) a strip of triangles, facing forward, between two chains of vertices that share their ends: each step goes to the
    nearer of the two next pairs."""
    upper, lower = (chain if mean[chain[0], 0] < mean[chain[-1], 0] else chain[::-1] for chain in (upper, lower))
    strip, i, k = [], 0, 0
    gap = lambda a, b: np.linalg.norm(mean[upper[a]] - mean[lower[b]])
    while (i, k) != (len(upper) - 1, len(lower) - 1):
        above = k == len(lower) - 1 or (i < len(upper) - 1 and gap(i + 1, k) < gap(i, k + 1))
        strip.append((upper[i], lower[k], upper[i + 1] if above else lower[k + 1]))
        i, k = (i + 1, k) if above else (i, k + 1)
    triangles = np.array(strip, np.int32)
    return triangles[(triangles != np.roll(triangles, 1, axis=1)).all(1)]  # at the corners of the mouth both chains are one


def _covered_eyeballs(model: MorphableModel, triangles: np.ndarray) -> np.ndarray:
    """(m,) bool: triangles of eyeballs before which, on the mean, a lid lies at each corner."""
    balls = _of_cavities(model) & model.regions["eyes"]
    scene = raycasting_scene(TriangleMesh(model.mean, triangles[~balls[triangles].any(1)]))
    covered, forward = np.zeros(model.n_vertices, bool), np.array([0.0, 0.0, 1.0])
    covered[balls] = np.isfinite(first_hits(scene, model.mean[balls] + CLEAR_MM * forward, np.tile(forward, (balls.sum(), 1)))[0])
    return covered[triangles].all(1)


def _averaging(model: MorphableModel, mesh: TriangleMesh) -> sparse.csr_matrix:
    """(n, n): half a vertex, half the mean of its neighbours. A vertex on the rim of a lid and the eyeball's nearest vertex are
    neighbours, too, lest the two part."""
    balls = np.flatnonzero(_of_cavities(model) & model.regions["eyes"])
    adjacency = mesh.adjacency
    if len(balls):
        rims = np.flatnonzero(mesh.boundary_vertices & model.regions["eyes"] & ~_of_cavities(model))
        behind = balls[cKDTree(model.mean[balls]).query(model.mean[rims])[1]]
        ties = sparse.coo_matrix((np.ones(len(rims)), (rims, behind)), shape=adjacency.shape)
        adjacency = adjacency + ties + ties.T
    neighbours = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)
    return (0.5 * (sparse.diags(1 / neighbours) @ adjacency + sparse.identity(model.n_vertices))).tocsr()


def _of_cavities(model: MorphableModel) -> np.ndarray:
    """(n,) bool: eyeballs and linings; none where the model does not name them."""
    return model.regions.get("cavities", np.zeros(model.n_vertices, bool))


def feature_share(model: MorphableModel, averaging: sparse.csr_matrix) -> np.ndarray:
    """(n,) in [0, 1]: 1 about eyes, mouth and nostrils, `FEATURE_FLOOR` elsewhere."""
    nowhere = np.zeros(model.n_vertices, bool)
    features = np.any([model.regions.get(region, nowhere) for region in FEATURES], axis=0)
    near = averaged(features.astype(float), averaging, FEATURE_ROUNDS)
    return FEATURE_FLOOR + (1 - FEATURE_FLOOR) * np.clip(1.5 * near, 0, 1)


def averaged(values: np.ndarray, averaging: sparse.csr_matrix, rounds: int) -> np.ndarray:
    """values (n, …) of the model's vertices, `rounds` times averaged with their neighbours'."""
    for _ in range(rounds):
        values = averaging @ values
    return values
