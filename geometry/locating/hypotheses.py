"""Where a face might be: orientations to try, points that protrude like a nose, spheres that are the size of a head."""

from functools import lru_cache

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

CELL_MM = 8.0  # grid of the scan points that are looked up in the field


@lru_cache(maxsize=1)
def hypothesis_rotations() -> np.ndarray:
    """(r, 3, 3) rotations of a face about its nose direction (+z): rolls every 30°, straight and tilted by 28° and by 56°,
    because the mean direction of a half-seen nose points to the side that is seen."""
    tilts = [Rotation.identity()] + [
        Rotation.from_rotvec(np.deg2rad(tilt) * np.array([np.cos(a), np.sin(a), 0]))
        for tilt, count in ((28, 6), (56, 8))
        for a in np.arange(count) * 2 * np.pi / count
    ]
    rolls = [Rotation.from_rotvec([0, 0, a]) for a in np.arange(12) * np.pi / 6]
    return np.stack([(tilt * roll).as_matrix() for tilt in tilts for roll in rolls])


@lru_cache(maxsize=1)
def all_rotations() -> np.ndarray:
    """(180, 3, 3) rotations that cover all orientations: the icosahedral group, and it again turned by 24° about two axes."""
    group = Rotation.create_group("I")
    offsets = [Rotation.identity()] + [
        Rotation.from_rotvec(np.deg2rad(24) * np.array(axis)) for axis in ([0, 1.0, 0], [0.8, 0, 0.6])
    ]
    return np.concatenate([(group * offset).as_matrix() for offset in offsets])


def nose_candidates(points: np.ndarray, normals: np.ndarray, radius: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Local maxima of protrusion: indices (c,) and mean outward directions (c, 3).

    Protrusion is how far a point stands out from the mean of its neighbours along their mean normal, an
    integral measure (cf. Manay et al. 2006), so that noise and holes matter little.
    """
    tree = cKDTree(points)
    pairs = tree.query_ball_point(points, radius, return_sorted=False)
    sizes = np.array([len(p) for p in pairs])
    owner = np.repeat(np.arange(len(points)), sizes)
    member = np.concatenate(pairs).astype(np.int64)
    mean_of = lambda v: np.stack([np.bincount(owner, v[member, k], len(points)) for k in range(3)], 1) / sizes[:, None]
    direction = mean_of(normals)
    coherence = np.linalg.norm(direction, axis=1)
    direction /= np.maximum(coherence, 1e-9)[:, None]
    protrusion = ((points - mean_of(points)) * direction).sum(1)
    # depth far beyond a sensor's range is spikes with normals in all directions; a nose is a smooth thing
    protrusion[(sizes < 8) | (coherence < 0.45)] = -np.inf
    chosen: list[int] = []
    taken: dict[int, int] = {}
    cluster = _clusters(tree)
    suppressed = protrusion < 0.03 * radius
    for index in np.argsort(-protrusion, kind="stable"):
        if suppressed[index] or taken.get(cluster[index], 0) >= count:
            continue
        chosen.append(int(index))
        taken[cluster[index]] = taken.get(cluster[index], 0) + 1
        if len(chosen) == 6 * count:
            break
        suppressed[tree.query_ball_point(points[index], 12.0)] = True
    return np.array(chosen, int), direction[chosen]


def _clusters(tree: cKDTree) -> np.ndarray:
    """(n,) label of each point's cluster (single linkage at twice the cell): a room's clutter must not crowd out a head."""
    pairs = tree.query_pairs(2 * CELL_MM, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(tree.n, tree.n))
    return connected_components(graph, directed=False)[1]


def frames_toward(directions: np.ndarray) -> np.ndarray:
    """(c, 3, 3) rotations that take each unit direction to +z."""
    helper = np.where(np.abs(directions[:, 1:2]) < 0.9, np.array([[0.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 0.0]]))
    x = np.cross(helper, directions)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack([x, np.cross(directions, x), directions], axis=1)


def head_centres(points: np.ndarray, normals: np.ndarray, tree: cKDTree, count: int = 40) -> np.ndarray:
    """(c, 3) centres of head-sized spheres that the surface follows somewhere: a head without a visible nose."""
    _, anchors = np.unique(np.floor(points / 60.0).astype(np.int64), axis=0, return_index=True)
    found = []
    for near in tree.query_ball_point(points[anchors], 85.0):
        if len(near) < 40:
            continue
        p = points[near]
        (*centre, constant), *_ = np.linalg.lstsq(np.c_[2 * p, np.ones(len(p))], (p**2).sum(1), rcond=None)
        radius = np.sqrt(max(constant + np.dot(centre, centre), 0))
        outward = ((p - centre) * normals[near]).sum(1).mean() / max(radius, 1e-9)
        if 60 < radius < 140 and outward > 0.6:
            found.append((-outward * len(near), centre))
    found.sort(key=lambda item: item[0])
    return np.array([centre for _, centre in found[:count]]).reshape(-1, 3)
