"""What of a morphable model can be seen from outside: skin, eyeballs between the lids, and no linings."""

from functools import lru_cache

import numpy as np

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.raycasting import first_hits, raycasting_scene

CLEAR_MM = 0.05  # before an eyeball, where a ray begins that asks whether a lid covers it


@lru_cache(maxsize=4)
def seen_surface(model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    """What a sensor sees of a model: triangles (m, 3) of skin and eyeballs, and (m,) bool those of the inside of its mouth.

    Linings are left out: no sensor sees into a nostril's; behind open lips it sees teeth and tongue, and not a bag that ends in
    the throat. In the lining's place the mouth is closed by a membrane between the rims of the lips, which whoever asks may move
    back (`faces.SampledFace.surroundings`). A model that names no linings keeps its triangles.
    """
    triangles = skin_and_eyeballs(model)
    closing = np.zeros((0, 3), model.triangles.dtype)
    if opens_its_mouth(model):
        closing = membrane(model.mean, model.curves["upper_lip_rim"], model.curves["lower_lip_rim"])
    inside = model.regions["mouth_interior"][triangles].all(1)
    return np.vstack([triangles, closing]), np.append(inside, np.ones(len(closing), bool))


def skin_and_eyeballs(model: MorphableModel) -> np.ndarray:
    """Triangles (m, 3) of a model without its linings."""
    linings = _cavities(model) & ~model.regions["eyes"]
    return model.triangles[~linings[model.triangles].any(1)]


def opens_its_mouth(model: MorphableModel) -> bool:
    """Whether there is a hole between the rims of its lips once the lining is left out."""
    lining = _cavities(model) & model.regions["mouth_interior"]
    return bool(lining.any()) and {"upper_lip_rim", "lower_lip_rim"} <= model.curves.keys()


def membrane(mean: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
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


def eyeballs_behind_lids(model: MorphableModel) -> np.ndarray:
    """(n,) bool: the eyeballs of a model that has them as pieces of their own behind its skin."""
    return _cavities(model) & model.regions.get("eyes", False)


def covered_eyeballs(model: MorphableModel) -> np.ndarray:
    """(n,) bool: vertices of eyeballs before which, on the mean, a lid lies."""
    covered, balls, forward = np.zeros(model.n_vertices, bool), eyeballs_behind_lids(model), np.array([0.0, 0.0, 1.0])
    if balls.any():
        scene = raycasting_scene(TriangleMesh(model.mean, model.triangles[~_cavities(model)[model.triangles].any(1)]))
        starts = model.mean[balls] + CLEAR_MM * forward
        covered[balls] = np.isfinite(first_hits(scene, starts, np.tile(forward, (len(starts), 1)))[0])
    return covered


def _cavities(model: MorphableModel) -> np.ndarray:
    return model.regions.get("cavities", np.zeros(model.n_vertices, bool))
