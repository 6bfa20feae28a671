"""What is done to a scan before a face is looked for: outliers, thinning, normals, the unit."""

import numpy as np
from scipy.spatial import cKDTree

from geometry.errors import NoFaceFound
from geometry.locating.walls import outer_surface
from geometry.locating.winding import consistently_wound, place_keys
from geometry.scan import Scan
from geometry.settings.options import Count, Positive, options
from geometry.surfaces.normals import voxel_representatives

NEAREST_MM = 100.0  # of depth sensors


@options
class CleaningOptions:
    """What is removed from a scan before a face is looked for."""

    max_points: Count = 400_000
    """A bare cloud of more is thinned on a voxel grid."""
    max_distance_mm: Positive = 1600.0
    """Depth images: points beyond it are dropped."""
    outlier_neighbours: Count = 8
    """Which neighbour, counted from the nearest, tells by its distance whether a point of a bare cloud stands alone."""
    outlier_factor: Positive = 6.0
    """A point whose distance to that neighbour is more than so many times the median of all points is dropped."""


def clean(scan: Scan, options: CleaningOptions = CleaningOptions()) -> Scan:
    """Drop what no face can be: points that a cloud repeats or that lie alone in space, depth beyond the range of face capture,
    a solid's inner surface; thin huge clouds, wind the triangles of a mesh alike.

    Raises NoFaceFound where too little is left.
    """
    doubt = "" if scan.camera is None else _doubt_of_depth(scan, options.max_distance_mm)
    if scan.camera is not None:
        near = scan.points[:, 2] < options.max_distance_mm
        if near.sum() < len(near):
            scan = scan.keep(near).with_note(f"{len(near) - near.sum()} points beyond {options.max_distance_mm:g} mm dropped")
    if scan.is_cloud and scan.pixels is None:  # a mesh and a raster hold together by their triangles and pixels
        scan = _without_repeats(scan)
        if len(scan.points) > options.max_points:
            scan = _thinned_scan(scan, options.max_points)
        scan = _without_lone_points(scan, options)
    scan = outer_surface(consistently_wound(scan))
    if len(scan.points) < 100:
        raise NoFaceFound(f"no face found: only {len(scan.points)} usable points are left, at least 100 are needed{doubt}")
    if doubt and float(np.median(scan.points[:, 2])) < NEAREST_MM:
        raise NoFaceFound(f"no face found: a face would be larger than the image{doubt}")
    return scan


def _doubt_of_depth(scan: Scan, farthest: float) -> str:
    """What is said of a depth image whose surfaces are nearer than any sensor measures, or farther than faces are captured: the
    unit that would bring them where faces are; "" where they are there."""
    depth = float(np.median(scan.points[:, 2])) if len(scan.points) else 0.0
    if NEAREST_MM <= depth <= farthest or not depth > 0:
        return ""
    seen = f"; its median depth is {depth:.3g} mm, and faces are captured at {NEAREST_MM:g} to {farthest:g} mm"
    factors = [10.0**k for k in range(-6, 7) if NEAREST_MM <= depth * 10.0**k <= farthest]
    if scan.depth_unit_mm is None or not factors:
        return seen
    # of two powers of ten the one by which the unit becomes one that sensors have
    factor = min(factors, key=lambda factor: abs(np.log10(factor * scan.depth_unit_mm)))
    better = f"{factor * scan.depth_unit_mm:g} would make it {factor * depth:.0f} mm"
    return f"{seen}: check depth_unit_mm, which is {scan.depth_unit_mm:g}; {better}"


def _thinned_scan(scan: Scan, max_points: int) -> Scan:
    """One point of a bare cloud a voxel, on a grid whose step gives about `max_points`."""
    spans = np.sort(np.ptp(np.quantile(scan.points, [0.01, 0.99], axis=0), axis=0))  # without the spikes
    # a surface, not a volume, fills its box; a line does not even fill a surface
    step = max(np.sqrt(spans[1] * spans[2] / max_points), spans[2] / max_points, 1e-9)
    for _ in range(20):
        index = voxel_representatives(scan.points, step)
        if len(index) <= max_points:
            break
        step *= 1.3
    mask = np.zeros(len(scan.points), bool)
    mask[index] = True
    return scan.keep(mask).with_note(f"thinned from {len(scan.points)} to {len(index)} points")


def _without_repeats(scan: Scan) -> Scan:
    """Each point of a bare cloud once, the first that the file has. A search for neighbours among many points at one place takes
    time with the square of their number, and such points are no surface's: most are a sensor's "nothing seen here"."""
    first = np.unique(place_keys(scan.points), return_index=True)[1]
    if len(first) == len(scan.points):
        return scan
    mask = np.zeros(len(scan.points), bool)
    mask[first] = True
    return scan.keep(mask).with_note(f"{len(mask) - len(first)} repeated points dropped")


def _without_lone_points(scan: Scan, options: CleaningOptions) -> Scan:
    k = min(options.outlier_neighbours, len(scan.points) - 1)
    if k < 1:
        return scan
    reach = cKDTree(scan.points).query(scan.points, k=k + 1)[0][:, -1]
    if not reach.any():
        return scan
    lone = reach > options.outlier_factor * np.median(reach[reach > 0])  # a point that a file repeats has no distance
    return scan if not lone.any() else scan.keep(~lone).with_note(f"{lone.sum()} lone points dropped")
