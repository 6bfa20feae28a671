"""Outward normals of scans: of surfaces, of pixel grids, of bare clouds."""

from dataclasses import replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

from geometry.scan import Scan
from geometry.surfaces.bulk import spans_of_bulk
from geometry.surfaces.triangulation import surface_of


def voxel_representatives(points: np.ndarray, step: float) -> np.ndarray:
    """The first point in each voxel, in the file's order."""
    # cells beyond 2^20 from the median (spikes) are the last cell: the flat key stays within 64 bits
    keys = np.clip(np.floor((points - np.median(points, axis=0)) / step), -(2**20), 2**20 - 1).astype(np.int64) + 2**20
    flat = (keys[:, 0] << 42) | (keys[:, 1] << 21) | keys[:, 2]
    return np.sort(np.unique(flat, return_index=True)[1])


def oriented_normals(scan: Scan) -> np.ndarray:
    """(n, 3) unit normals: of a surface to the side that its triangles or its pixel grid face, for depth images and grids that
    face the origin turned to the sensor; of a bare cloud those of local planes, away from the local centre of mass."""
    surface = surface_of(scan)
    is_surface = len(surface.triangles) > 0
    normals = surface.vertex_normals if is_surface else plane_normals(scan.points)
    if not scan.is_cloud:
        return normals
    # a pixel grid looks at its camera, which may be the origin, or is not there any more
    if scan.camera is not None or (is_surface and ((normals * scan.points).sum(1) < 0).mean() > 0.95):
        return _turned_to_origin(scan.points, normals)
    return normals if is_surface else _turned_consistently(scan.points, normals)


def plane_normals(points: np.ndarray, at: np.ndarray | None = None, neighbours: int = 16) -> np.ndarray:
    """(n, 3) unit normals, of either sign, of the planes through each point's neighbours; of the points `at` only, if given."""
    wanted = points if at is None else points[at]
    _, index = cKDTree(points).query(wanted, k=min(neighbours, len(points)))
    local = points[index] - points[index].mean(1, keepdims=True)
    return np.linalg.eigh(np.einsum("nka,nkb->nab", local, local))[1][:, :, 0]


def _turned_to_origin(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    return np.where((normals * points).sum(1, keepdims=True) > 0, -normals, normals)


def _turned_consistently(points: np.ndarray, normals: np.ndarray, limit: int = 6000) -> np.ndarray:
    """Signs spread along the minimum spanning tree of 1 − |n_i · n_j| over neighbours (Hoppe et al. 1992, § 3.3), of
    about `limit` representatives; each connected piece is then turned away from its own middle."""
    spans = np.sort(spans_of_bulk(points))  # a stray point would make voxels of the size of the head
    chosen = voxel_representatives(points, max(np.sqrt(spans[1] * spans[2] / limit), spans[2] / limit, 1e-9))
    p, n = points[chosen], normals[chosen]
    tree = cKDTree(p)
    distance, index = tree.query(p, k=min(9, len(p)))
    i, j, length = np.repeat(np.arange(len(p)), index.shape[1] - 1), index[:, 1:].ravel(), distance[:, 1:].ravel()
    near = length < 4 * np.median(distance[:, -1])
    pairs = np.unique(np.sort(np.stack([i, j], 1)[near], axis=1), axis=0)
    cost = 1.001 - np.abs((n[pairs[:, 0]] * n[pairs[:, 1]]).sum(1))  # above 0: a zero would be no edge
    forest = minimum_spanning_tree(coo_matrix((cost, pairs.T), shape=(len(p), len(p))).tocsr())
    forest = forest + forest.T
    count, labels = connected_components(forest, directed=False)
    for piece in range(count):
        members = np.flatnonzero(labels == piece)
        order, parent = breadth_first_order(forest, members[0], directed=False)
        for k in order[1:]:
            if n[k] @ n[parent[k]] < 0:
                n[k] = -n[k]
        if points_inward(p[members], n[members]):
            n[members] = -n[members]
    nearest = tree.query(points)[1]
    return np.where((normals * n[nearest]).sum(1, keepdims=True) < 0, -normals, normals)


def points_inward(points: np.ndarray, normals: np.ndarray) -> bool:
    """Whether normals (n, 3) at points (n, 3) look at the points' middle: a head is convex on the whole."""
    return bool((normals * (points - points.mean(0))).sum() < 0)


def voxel_downsampled(points: np.ndarray, normals: np.ndarray, cell_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean point and unit mean normal in each voxel of `cell_mm`: (k, 3), (k, 3), in a fixed order."""
    keys = np.floor((points - points.min(0)) / cell_mm).astype(np.int64)
    sizes = keys.max(0) + 1
    flat = (keys[:, 0] * sizes[1] + keys[:, 1]) * sizes[2] + keys[:, 2]
    _, inverse, count = np.unique(flat, return_inverse=True, return_counts=True)
    mean = lambda v: np.stack([np.bincount(inverse.ravel(), v[:, k]) for k in range(3)], 1) / count[:, None]
    mean_normals = mean(normals)
    return mean(points), mean_normals / np.maximum(np.linalg.norm(mean_normals, axis=1, keepdims=True), 1e-9)


def with_normals(scan: Scan) -> Scan:
    """The scan with a normal at every point; a bare cloud keeps those of its file, a surface has its own."""
    is_bare = scan.is_cloud and scan.pixels is None
    return scan if is_bare and scan.normals is not None else replace(scan, normals=oriented_normals(scan))
