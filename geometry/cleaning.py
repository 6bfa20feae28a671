"""What is done to a scan before a face is sought in it: outliers, thinning, normals, the unit."""
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from geometry.errors import NoFaceFound
from geometry.scan import Scan
from geometry.triangulation import surface_of

METRIC_UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}
HEAD_MM = (110.0, 900.0)  # longest side of what a face scan may show: a bare face, a bust with shoulders
ROOM_MM = 12000.0  # a scan with background may be this long


@dataclass(frozen=True)
class CleaningOptions:
    """max_points: above it a cloud is thinned on a voxel grid. min_component_mm2 and nearest: see `clean`."""

    max_points: int = 400_000
    max_distance_mm: float = 1600.0
    outlier_neighbours: int = 8
    outlier_factor: float = 6.0


def clean(scan: Scan, options: CleaningOptions = CleaningOptions()) -> Scan:
    """Drop what no face can be: points alone in space, depth beyond the range of face capture; thin huge clouds.

    Raises NoFaceFound where too little is left.
    """
    if scan.camera is not None:
        near = scan.points[:, 2] < options.max_distance_mm
        if near.sum() < len(near):
            scan = scan.keep(near).with_note(f"{len(near) - near.sum()} points beyond {options.max_distance_mm:g} mm dropped")
    if len(scan.points) > options.max_points:
        scan = _thinned_scan(scan, options.max_points)
    if scan.is_cloud and scan.pixels is None:
        scan = _without_lone_points(scan, options)
    if len(scan.points) < 100:
        raise NoFaceFound(f"no face found: only {len(scan.points)} usable points are left, at least 100 are needed")
    return scan


def _thinned_scan(scan: Scan, max_points: int) -> Scan:
    """A voxel grid whose step gives about `max_points`; a mesh or an organized scan keeps every k-th structure intact,
    so only bare clouds are thinned here, and huge meshes are sampled as clouds with their normals."""
    if scan.pixels is not None:
        return scan
    if not scan.is_cloud:
        return scan
    spans = np.ptp(scan.points, axis=0)
    step = np.sqrt(np.sort(spans)[1] * spans.max() / max_points)  # a surface, not a volume, fills its box
    for _ in range(20):
        index = _voxel_representatives(scan.points, step)
        if len(index) <= max_points:
            break
        step *= 1.3
    mask = np.zeros(len(scan.points), bool)
    mask[index] = True
    return scan.keep(mask).with_note(f"thinned from {len(scan.points)} to {len(index)} points")


def _voxel_representatives(points: np.ndarray, step: float) -> np.ndarray:
    """The first point in each voxel, in the file's order."""
    keys = np.floor((points - points.min(0)) / step).astype(np.int64)
    sizes = keys.max(0) + 1
    flat = (keys[:, 0] * sizes[1] + keys[:, 1]) * sizes[2] + keys[:, 2]
    return np.sort(np.unique(flat, return_index=True)[1])


def _without_lone_points(scan: Scan, options: CleaningOptions) -> Scan:
    k = min(options.outlier_neighbours, len(scan.points) - 1)
    if k < 1:
        return scan
    reach = cKDTree(scan.points).query(scan.points, k=k + 1)[0][:, -1]
    lone = reach > options.outlier_factor * np.median(reach)
    return scan if not lone.any() else scan.keep(~lone).with_note(f"{lone.sum()} lone points dropped")


def candidate_units(scan: Scan) -> list[tuple[float, bool]]:
    """(mm per file unit, is metric) under which the scan could hold a head, most plausible first.

    A known unit is the only candidate. Otherwise metric units whose size fits a head, then those whose size fits a
    room; then sizes of a head in no unit at all, for sculpted and normalised meshes.
    """
    if scan.unit_mm is not None:
        return [(scan.unit_mm, scan.scale_is_metric)]
    longest = float(np.ptp(scan.points, axis=0).max())
    if not longest > 0:
        return []
    fits = lambda low, high: [(mm, True) for mm in METRIC_UNITS.values() if low <= longest * mm <= high]
    heads = fits(*HEAD_MM)
    rooms = [u for u in fits(HEAD_MM[1], ROOM_MM)]
    free = [(size / longest, False) for size in (190.0, 230.0, 280.0, 340.0, 420.0)]
    return heads + rooms + free


def oriented_normals(scan: Scan) -> np.ndarray:
    """(n, 3) outward unit normals: of the surface where there is one, else of local planes, turned to the sensor
    for organized clouds and away from the local centre of mass otherwise."""
    surface = surface_of(scan)
    if len(surface.triangles):
        normals = surface.vertex_normals
        return _turned_outward(scan, normals) if not scan.is_cloud else _turned_to_origin(scan.points, normals)
    normals = _plane_normals(scan.points)
    if scan.pixels is not None:
        return _turned_to_origin(scan.points, normals)
    return _turned_from_mass(scan.points, normals)


def _plane_normals(points: np.ndarray, neighbours: int = 16) -> np.ndarray:
    _, index = cKDTree(points).query(points, k=min(neighbours, len(points)))
    local = points[index] - points[index].mean(1, keepdims=True)
    return np.linalg.eigh(np.einsum("nka,nkb->nab", local, local))[1][:, :, 0]


def _turned_to_origin(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    return np.where((normals * points).sum(1, keepdims=True) > 0, -normals, normals)


def _turned_from_mass(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    radius = 0.2 * np.ptp(points, axis=0).max()
    sample = points[np.random.default_rng(0).permutation(len(points))[:3000]]
    tree = cKDTree(sample)
    distances, index = tree.query(points, k=min(200, len(sample)), distance_upper_bound=radius)
    near = np.isfinite(distances)
    padded = np.vstack([sample, np.zeros(3)])
    centre = (padded[index] * near[..., None]).sum(1) / np.maximum(near.sum(1), 1)[:, None]
    return np.where((normals * (points - centre)).sum(1, keepdims=True) < 0, -normals, normals)


def _turned_outward(scan: Scan, normals: np.ndarray) -> np.ndarray:
    """Mesh normals follow the winding; a mesh that is wound inside out as a whole is turned."""
    centred = scan.points - scan.points.mean(0)
    return -normals if (normals * centred).sum() < 0 else normals


def thinned(points: np.ndarray, normals: np.ndarray, cell_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean point and unit mean normal in each voxel of `cell_mm`: (k, 3), (k, 3), in a fixed order."""
    keys = np.floor((points - points.min(0)) / cell_mm).astype(np.int64)
    sizes = keys.max(0) + 1
    flat = (keys[:, 0] * sizes[1] + keys[:, 1]) * sizes[2] + keys[:, 2]
    _, inverse, count = np.unique(flat, return_inverse=True, return_counts=True)
    mean = lambda v: np.stack([np.bincount(inverse.ravel(), v[:, k]) for k in range(3)], 1) / count[:, None]
    mean_normals = mean(normals)
    return mean(points), mean_normals / np.maximum(np.linalg.norm(mean_normals, axis=1, keepdims=True), 1e-9)


def with_normals(scan: Scan) -> Scan:
    return scan if scan.normals is not None else replace(scan, normals=oriented_normals(scan))
