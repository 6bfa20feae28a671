"""From what a sensor delivers to a surface: pixel grids, bare clouds and meshes → `TriangleMesh`, scan frame and unit."""

from weakref import WeakKeyDictionary

import numpy as np
from scipy.spatial import Delaunay, QhullError, cKDTree

from geometry.mesh import TriangleMesh
from geometry.scan import Scan

JUMP_FACTOR = 4.0  # an edge this many times the local sampling step bridges two surfaces
FLOOR_MM = 3.0  # quantised depth (Kinect: 2 mm steps) must not count as a jump
GRAZING = 6.0  # times the size of a pixel's cell: a surface seen at up to about 80° survives, and a silhouette does not


def grid_triangles(pixels: np.ndarray, raster_shape: tuple[int, int], points: np.ndarray, floor: float) -> np.ndarray:
    """Triangles (m, 3) between neighbouring pixels of a raster, none across a depth jump.

    pixels (n, 2) int as (row, column); points (n, 3) in any unit; floor: an edge shorter than this, in the unit of the points, is
    no jump (`FLOOR_MM` in mm; 0 where the unit is not known). Each pixel cell is cut along its shorter diagonal. A triangle is
    kept while its longest edge is below `GRAZING` times the cell's size at that depth. Triangles face the camera
    (counter-clockwise seen from the origin side, x right, y down).
    """
    index = np.full(raster_shape, -1, np.int64)
    index[pixels[:, 0], pixels[:, 1]] = np.arange(len(points))
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    some = np.count_nonzero(np.stack([a, b, c, d]) >= 0, axis=0) >= 3
    a, b, c, d = a[some], b[some], c[some], d[some]
    length = lambda i, j: np.where((i >= 0) & (j >= 0), np.linalg.norm(points[i] - points[j], axis=1), np.inf)
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
    corners = points[triangles]
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
    # the sampling step grows with the distance from a pinhole: estimate it as a multiple of that distance
    distance = np.linalg.norm(corners.mean(1), axis=1)
    step = np.median(edges / distance) * distance
    return triangles[edges < np.maximum(GRAZING * step, floor)].astype(np.int32)


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
            triangles = grid_triangles(scan.pixels, scan.raster_shape, scan.points, floor)
        surface = _SURFACES[scan] = TriangleMesh(scan.points, triangles, scan.colors)
    return surface
