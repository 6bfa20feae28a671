"""PLY meshes and clouds: text, little- and big-endian; colours and normals where there are any, other properties passed over.

Read here and not by a library, because a scanner's own elements must not make the file an empty scene, as they do in trimesh.
"""

import re

import numpy as np

from geometry.readers.assembly import NO_TRIANGLES, assemble, triangulate
from geometry.readers.ply_elements import Columns, Lists, read_elements
from geometry.readers.scan_file import ScanFile
from geometry.scan import Scan

COLOR_NAMES = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))


def sniff(name: str, head: bytes) -> bool:
    return re.match(rb"ply[ \t]*[\r\n]", head) is not None


def read(file: ScanFile) -> Scan:
    elements = read_elements(file)
    vertex = elements.get("vertex", {})
    points = _stacked(vertex, ("x", "y", "z"))
    if points is None:
        raise file.error("its PLY elements hold no 'vertex' with x, y and z", "export the scan as a mesh or point cloud")
    colors = next((c for c in (_stacked(vertex, names) for names in COLOR_NAMES) if c is not None), None)
    return assemble(file, "ply", points, _triangles(file, elements), colors, _stacked(vertex, ("nx", "ny", "nz")))


def _stacked(columns: Columns, names: tuple[str, ...]) -> np.ndarray | None:
    """(n, 3), or None where a property is missing or a list."""
    picked = [column for name in names if isinstance(column := columns.get(name), np.ndarray)]
    return np.stack(picked, axis=1) if len(picked) == len(names) else None


def _triangles(file: ScanFile, elements: dict[str, Columns]) -> np.ndarray:
    """Of `face` polygons and of `tristrips` (Stanford's vertex lists in which −1 starts a new strip)."""
    parts = [NO_TRIANGLES]
    for element, to_triangles in (
        ("face", lambda lists: triangulate(lists.values, lists.counts)),
        ("tristrips", _strip_triangles),
    ):
        lists = elements.get(element, {}).get("vertex_indices", elements.get(element, {}).get("vertex_index"))
        if isinstance(lists, Lists) and len(lists.counts):
            values = lists.values.astype(np.float64)
            if not (np.isfinite(values).all() and (np.abs(values) < 2**31).all()):
                raise file.error(f"its element '{element}' holds values that are no vertex indices")
            parts.append(to_triangles(Lists(values.astype(np.int64), lists.counts)))
    return np.concatenate(parts)


def _strip_triangles(strips: Lists) -> np.ndarray:
    """Every three consecutive vertices, each second triangle turned so that all face one way."""
    starts_row = np.zeros(len(strips.values) + 1, bool)
    starts_row[np.cumsum(strips.counts)] = True
    v = strips.values
    starts = (np.r_[True, v[:-1] == -1] | starts_row[:-1]) if len(v) else np.zeros(0, bool)
    place = np.arange(len(v)) - np.maximum.accumulate(np.where(starts, np.arange(len(v)), 0))
    last = np.flatnonzero((place >= 2) & (v >= 0))
    corners = np.stack([v[last - 2], v[last - 1], v[last]], axis=1)
    odd = place[last] % 2 == 1
    corners[odd] = corners[odd][:, [1, 0, 2]]
    return corners
