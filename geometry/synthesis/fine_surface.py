"""The model's surface subdivided where faces have features, and how a field on the model is carried to it."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.seen_surface import covered_eyeballs, eyeballs_behind_lids, seen_surface
from geometry.surfaces.subdivision import Subdivision, refine_region

FADE_ROUNDS = 6  # neighbour averages that fade detail out towards eyes, mouth and the region's border
FEATURES = ("eyes", "mouth", "nostrils")
FEATURE_ROUNDS = 8  # neighbour averages that widen the features
FEATURE_FLOOR = 0.35  # of the shift is everywhere


@dataclass(frozen=True)
class FineSurface:
    """What `sample_face` needs of a model beside the model: computed once, see `fine_surface`.

    subdivision: coarse → fine, of the triangles of `seen_surface`; mean (N, 3) fine mean shape; detailed (d,): fine vertices
    that carry detail, and their weight (d,) in (0, 1]; excluded (M,) bool: fine triangles inside the mouth; covered (M,) bool:
    those of eyeballs behind the mean's lids; averaging (n, n): the mean over a coarse vertex and its neighbours, see
    `_averaging`; features (n,): `feature_share`; held (h, 2): see `_held_by_lids`.
    """

    subdivision: Subdivision
    mean: np.ndarray
    detailed: np.ndarray
    weight: np.ndarray
    excluded: np.ndarray
    covered: np.ndarray
    averaging: sparse.csr_matrix
    features: np.ndarray
    held: np.ndarray


@cache
def fine_surface(model: MorphableModel, edge_mm: float) -> FineSurface:
    """The subdivided topology of a model; kept per process, because it costs half a second."""
    skin = model.regions["face"] & ~model.regions["eyes"] & ~model.regions["mouth_interior"]
    coarse = TriangleMesh(model.mean, model.triangles)
    held = _held_by_lids(model, coarse)
    averaging = _averaging(coarse, held)
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
        covered_eyeballs(model)[seen].all(1)[subdivision.parents],
        averaging,
        feature_share(model, averaging),
        held,
    )


def _held_by_lids(model: MorphableModel, mesh: TriangleMesh) -> np.ndarray:
    """(h, 2): each vertex on the border of an eyeball and the nearest on the rim of a lid; none where eyeballs are no pieces of
    their own."""
    balls, border = eyeballs_behind_lids(model), mesh.boundary_vertices & model.regions["eyes"]
    if not balls.any():
        return np.zeros((0, 2), np.int64)
    first, rims = np.flatnonzero(border & balls), np.flatnonzero(border & ~balls)
    return np.stack([first, rims[cKDTree(model.mean[rims]).query(model.mean[first])[1]]], axis=1)


def _averaging(mesh: TriangleMesh, held: np.ndarray) -> sparse.csr_matrix:
    """(n, n): half a vertex, half the mean of its neighbours; the pairs of vertices `held` (h, 2) are neighbours, too."""
    n = len(mesh.vertices)
    ties = sparse.coo_matrix((np.ones(len(held)), held.T), shape=(n, n))
    adjacency = (mesh.adjacency + ties + ties.T).tocsr()
    neighbours = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)
    return (0.5 * (sparse.diags(1 / neighbours) @ adjacency + sparse.identity(n))).tocsr()


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
