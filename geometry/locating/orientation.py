"""Which side of a surface is the outside."""

from dataclasses import replace

import numpy as np

from geometry.scan import Scan
from geometry.surfaces.normals import points_inward


def turned_inside_out(scan: Scan) -> Scan:
    """The scan with its surface facing the other way: triangles wound anew, columns of a grid counted from the other end, normals
    reversed. No point moves."""
    normals = None if scan.normals is None else -scan.normals
    pixels = scan.pixels
    if scan.is_cloud and pixels is not None:
        pixels = np.stack([pixels[:, 0], scan.raster_shape[1] - 1 - pixels[:, 1]], 1).astype(np.int32)
    return replace(scan, triangles=scan.triangles[:, ::-1], pixels=pixels, normals=normals)


def looks_inward(scan: Scan) -> bool:
    """A guess before any face is known: the surface faces its own middle, a grid faces away from the origin. Wrong for rooms and
    for grids in a frame of their own. scan: with normals."""
    if scan.camera is not None:
        return False
    if scan.pixels is not None:
        return bool(((scan.normals * scan.points).sum(1) < 0).mean() < 0.5)
    return points_inward(scan.points, scan.normals)
