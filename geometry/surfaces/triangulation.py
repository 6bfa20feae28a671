"""From what a sensor delivers to a surface: pixel grids, bare clouds and meshes → `TriangleMesh`, scan frame and unit."""

from weakref import WeakKeyDictionary

import numpy as np
from scipy.spatial import Delaunay, QhullError, cKDTree

from geometry.mesh import TriangleMesh
from geometry.scan import Scan

JUMP_FACTOR = 4.0  # an edge this many times the local sampling step bridges two surfaces
FLOOR_MM = 3.0  # quantised depth (Kinect: 2 mm steps) must not count as a jump
GRAZING = 6.0  # times the size of a pixel's cell: a surface seen at up to about 80° survives, and a silhouette does not


def grid_triangles(pixels: np.ndarray, points: np.ndarray, floor: float) -> np.ndarray:
    """Triangles (m, 3) between neighbouring pixels of a raster, none across a depth jump.

    pixels (n, 2) int as (row, column); points (n, 3) in any unit; floor: an edge shorter than this, in the unit of the points, is
    no jump (`FLOOR_MM` in mm; 0 where the unit is not known). Each pixel cell is cut along its shorter diagonal. A triangle is
    kept while its longest edge is below `GRAZING` times the cell's size at that depth. Triangles face the camera
    (counter-clockwise seen from the origin side, x right, y down).
    """
    if not len(points):
        return np.zeros((0, 3), np.int32)
    a, b, c, d = _cells(pixels)
    axes = np.ascontiguousarray(points.T)
    length = lambda i, j: np.where((i >= 0) & (j >= 0), _norm(*(axis[i] - axis[j] for axis in axes)), np.inf)
    along_bc = length(b, c) <= length(a, d)
    triangles = np.concatenate(
        [
            np.stack([a, c, b], 1)[along_bc],
            np.stack([b, c, d], 1)[along_bc],
            np.stack([a, c, d], 1)[~along_bc],
            np.stack([a, d, b], 1)[~along_bc],
        ]
    )
    triangles = triangles[(triangles >= 0).all(1)]
    if not len(triangles):
        return np.zeros((0, 3), np.int32)
    corners = [[axis[corner] for axis in axes] for corner in np.ascontiguousarray(triangles.T)]
    sides = [_norm(*(p - q for p, q in zip(corners[k - 1], corners[k]))) for k in range(3)]
    edges = np.maximum(np.maximum(sides[0], sides[1]), sides[2])
    # the sampling step grows with the distance from a pinhole: estimate it as a multiple of that distance
    distance = _norm(*((p + q + r) / 3 for p, q, r in zip(*corners)))
    step = np.median(edges / distance) * distance
    return triangles[edges < np.maximum(GRAZING * step, floor)].astype(np.int32)


def _cells(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each four neighbouring pixels, of which at least three hold a point, row by row: the numbers of the points at the upper
    left, upper right, lower left and lower right, −1 where there is none."""
    rows, columns = (pixels - pixels.min(axis=0)).T
    index = np.full((rows.max() + 1, columns.max() + 1), -1, np.int64)
    index[rows, columns] = np.arange(len(pixels))
    held = (index >= 0).astype(np.int8)
    some = held[:-1, :-1] + held[:-1, 1:] + held[1:, :-1] + held[1:, 1:] >= 3
    return index[:-1, :-1][some], index[:-1, 1:][some], index[1:, :-1][some], index[1:, 1:][some]


def _norm(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Length of vectors by their coordinates: along the last axis of one array it takes several times as long."""
    return np.sqrt(x * x + y * y + z * z)


def cloud_triangles(points: np.ndarray, directions_xy: np.ndarray) -> np.ndarray:
    """Triangles over a bare cloud that is single-valued over a plane: Delaunay in `directions_xy` (n, 2),
    without the triangles whose longest 3-D edge is far above the local point spacing."""
    _, first = np.unique(points, axis=0, return_index=True)  # what a file repeats would have no spacing
    if len(first) < 4:
        return np.zeros((0, 3), np.int32)
    try:
        triangles = first[Delaunay(directions_xy[first]).simplices].astype(np.int32)
    except QhullError:  # all on one line
        return np.zeros((0, 3), np.int32)
    spacing = np.zeros(len(points))
    spacing[first] = cKDTree(points[first]).query(points[first], k=min(5, len(first)))[0][:, -1]
    corners = points[triangles]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
    limit = np.maximum(JUMP_FACTOR * np.median(spacing[first]), 2.5 * spacing[triangles].max(1))
    return triangles[longest < limit]


_SURFACES: WeakKeyDictionary[Scan, TriangleMesh] = WeakKeyDictionary()


def surface_of(scan: Scan) -> TriangleMesh:
    """The scan as a mesh in its own frame and unit: its triangles, or those of its pixel grid; a bare cloud has none.

    Made once, and kept with what is derived from it, its normals and adjacency, as long as the scan.
    """
    surface = _SURFACES.get(scan)
    if surface is None:
        triangles = scan.triangles
        if scan.is_cloud and scan.pixels is not None and len(scan.points):
            floor = 0.0 if scan.unit_mm is None else FLOOR_MM  # a length in mm says nothing of coordinates in an open unit
            triangles = grid_triangles(scan.pixels, scan.points, floor)
        surface = _SURFACES[scan] = TriangleMesh(scan.points, triangles, scan.colors)
    return surface
