"""Where a face might be: orientations to try, points that protrude like a nose, spheres that are the size of a head."""

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

CELL_MM = 8.0  # grid of the scan points that are looked up in the field
FLAT = 1e-9  # share of a patch's variance across it below which it is a plane, and no sphere follows it


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
    """Local maxima of protrusion: indices (c,) and mean outward directions (c, 3)."""
    tree = cKDTree(points)
    protrusion = _protrusion(tree, normals, radius)
    cluster = _clusters(tree)
    suppressed = protrusion < 0.03 * radius
    order = np.argsort(-protrusion, kind="stable")
    chosen: list[int] = []
    taken: dict[int, int] = {}
    for index in order[~suppressed[order]]:
        if suppressed[index] or taken.get(cluster[index], 0) >= count:
            continue
        chosen.append(int(index))
        taken[cluster[index]] = taken.get(cluster[index], 0) + 1
        if len(chosen) == 6 * count:
            break
        suppressed[tree.query_ball_point(points[index], 12.0)] = True
    about = tree.query_ball_point(points[chosen], radius, return_sorted=False)
    return np.array(chosen, int), np.array([_unit(normals[near].mean(0)) for near in about]).reshape(-1, 3)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(…, 3) scaled to length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _protrusion(tree: cKDTree, normals: np.ndarray, radius: float) -> np.ndarray:
    """(n,) how far each of the tree's points stands out from the mean of its neighbours along their mean normal: an integral
    measure (cf. Manay et al. 2006), so that noise and holes matter little. −∞ where neighbours are few or of all directions:
    depth far beyond a sensor's range is spikes, and a nose is a smooth thing."""
    points, pairs = np.asarray(tree.data), tree.query_pairs(radius, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(tree.n, tree.n))
    values = np.concatenate([points, normals, np.ones((tree.n, 1))], axis=1)
    sums = links @ values + links.T @ values + values  # each pair counts for both, and each point for itself
    sizes = sums[:, 6]
    middle, normal = sums[:, :3] / sizes[:, None], sums[:, 3:6] / sizes[:, None]
    protrusion = ((points - middle) * _unit(normal)).sum(1)
    protrusion[(sizes < 8) | (np.linalg.norm(normal, axis=1) < 0.45)] = -np.inf
    return protrusion


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
    near = cKDTree(points[anchors]).sparse_distance_matrix(tree, 85.0, output_type="coo_matrix").tocsr()
    many = np.diff(near.indptr) >= 40
    near, anchors = near[many], anchors[many]
    if not len(anchors):
        return np.zeros((0, 3))
    sizes, owner = np.diff(near.indptr), np.repeat(anchors, np.diff(near.indptr))
    local = [points[near.indices, axis] - points[owner, axis] for axis in range(3)]
    total = lambda values: np.add.reduceat(values, near.indptr[:-1])
    centre, radius = _spheres(local, total)
    directions = normals.T[:, near.indices]
    along = total(sum(place * direction for place, direction in zip(local, directions)))
    along -= sum(centre[:, axis] * total(directions[axis]) for axis in range(3))
    outward = along / sizes / np.maximum(radius, 1e-9)
    fits = np.flatnonzero((radius > 60) & (radius < 140) & (outward > 0.6))
    best = fits[np.argsort(-(outward * sizes)[fits], kind="stable")[:count]]
    return points[anchors[best]] + centre[best]


def _spheres(local: list[np.ndarray], total: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Centres (c, 3) and radii (c,) of the spheres that follow c sets of points, least squares of |x|² = 2 x·centre + constant;
    radius 0 for a flat set. local: x, y and z of all their points, (m,) each; total: (m,) values → their sums (c,) by set."""
    terms, square = [*(2 * axis for axis in local), np.ones(len(local[0]))], sum(axis * axis for axis in local)
    right = np.stack([total(term * square) for term in terms], axis=1)
    gram = np.empty((len(right), 4, 4))
    for i, j in combinations_with_replacement(range(4), 2):
        gram[:, i, j] = gram[:, j, i] = total(terms[i] * terms[j])
    scatter = gram[:, :3, :3] - gram[:, :3, 3:] * gram[:, 3:, :3] / gram[:, 3:, 3:]
    spread = np.linalg.eigvalsh(scatter)
    flat = spread[:, 0] <= FLAT * spread[:, 2]
    gram[flat] = np.eye(4)
    solution = np.linalg.solve(gram, right[..., None])[..., 0]
    centre, constant = solution[:, :3], solution[:, 3]
    return centre, np.where(flat, 0.0, np.sqrt(np.maximum(constant + (centre**2).sum(1), 0)))
