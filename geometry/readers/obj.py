"""Wavefront OBJ: vertices, their colours where a line has six numbers, and polygons. Materials and textures are passed over.

Read here and not by a library, because trimesh splits vertices at texture seams and makes a cut file a cloud without an error.
"""

import re
from collections.abc import Iterator

import numpy as np

from geometry.errors import ReadError
from geometry.readers.assembly import assemble, triangulate
from geometry.readers.scan_file import ScanFile
from geometry.scan import Scan

STATEMENT = re.compile(
    rb"(#|$|(v|vn|vt|vp|f|fo|l|p|g|o|s|mg|usemtl|mtllib|usemap|maplib|lod|bevel|c_interp|d_interp|cstype|deg|curv2?|surf"
    rb"|parm|end)\b)"
)
VERTEX = re.compile(rb"^[ \t]*v[ \t]+[-+.\d]\S*[ \t]+[-+.\d]\S*[ \t]+[-+.\d]", re.MULTILINE)
SNIFFED = 1 << 16  # bytes
CHUNK = 16 << 20  # bytes of text at a time, so that a large cloud is never held as Python objects whole


def sniff(name: str, head: bytes) -> bool:
    """OBJ has no signature: it is text of which every line is an OBJ statement, with at least one vertex."""
    head = head[:SNIFFED]
    if b"\0" in head:
        return False
    lines = re.split(rb"[\r\n]+", head)
    known = all(STATEMENT.match(line.strip()) for line in lines[:-1])
    return known and len(lines) > 1 and VERTEX.search(head) is not None


def read(file: ScanFile) -> Scan:
    vertices, normals, polygons, total = [], [], [], 0
    for text in _chunks(file.data):
        lines = _lines(text, rb"v")
        vertices.append(_vertices(file, lines))
        normals.append(_lines(text, rb"vn"))
        polygons.append(_polygons(file, text, total))
        total += len(lines)
    if not total:
        raise file.error("it holds no vertex lines 'v x y z'", "export the scan as a mesh or point cloud")
    width = min(part.shape[1] for part in vertices if len(part))
    table = np.concatenate([part[:, :width] for part in vertices if len(part)])
    triangles = triangulate(*(np.concatenate(parts) for parts in zip(*polygons)))
    colors = table[:, 3:6] if width == 6 else None
    cloud_normals = None if len(triangles) else _cloud_normals(file, normals, total)
    return assemble(file, "obj", table[:, :3], triangles, colors, cloud_normals)


def _chunks(data: bytes) -> Iterator[bytes]:
    """Pieces of whole lines, comments stripped and continued lines joined."""
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    at = 0
    while at < len(data):
        end = data.find(b"\n", at + CHUNK)
        while end > 0 and data[at:end].rstrip(b"\r").endswith(b"\\"):
            end = data.find(b"\n", end + 1)
        end = len(data) if end < 0 else end + 1
        text = re.sub(rb"#[^\r\n]*", b"", data[at:end])
        yield re.sub(rb"\\\r?\n", b" ", text)
        at = end


def _lines(text: bytes, keyword: bytes) -> list[bytes]:
    """What follows the keyword on each line that has it."""
    if keyword not in text:  # a search for a word costs far less than one for lines
        return []
    return re.findall(rb"^[ \t]*" + keyword + rb"[ \t]([^\n]*)", text, re.MULTILINE)


def _vertices(file: ScanFile, lines: list[bytes]) -> np.ndarray:
    """(n, 6) with colours where every line has them, else (n, 3)."""
    if not lines:
        return np.zeros((0, 3))
    widths = {len(line.split()) for line in lines}
    if min(widths) < 3:
        raise file.error("a vertex line 'v' has fewer than three numbers (truncated?)")
    if len(widths) > 1:
        lines = [b" ".join(line.split()[: 6 if min(widths) >= 6 else 3]) for line in lines]
        widths = {6 if min(widths) >= 6 else 3}
    table = file.numbers_in(b"\n".join(lines), "among its vertex lines is").reshape(len(lines), widths.pop())
    return table[:, :6] if table.shape[1] >= 6 else table[:, :3]  # a fourth number is the weight w


def _polygons(file: ScanFile, text: bytes, vertices_before: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners (k,) counted from 0 and corners of each polygon (p,). Negative numbers count back from the last vertex so far."""
    joined = re.sub(rb"/\S*", b"", b"\n".join(_lines(text, rb"f")))  # 12/7/12: the vertex alone
    counts = np.array([len(line.split()) for line in joined.split(b"\n")])
    corners = file.numbers_in(joined, "among its face lines is")
    whole = np.isfinite(corners).all() and (corners == np.rint(corners)).all() and (np.abs(corners) < 2**31).all()
    if not whole or (corners == 0).any() or counts.sum() != len(corners):
        raise file.error("a face line 'f' holds a vertex number that is none (they are whole and count from 1)")
    corners = corners.astype(np.int64)
    if (corners < 0).any():
        of_vertices, of_faces = (
            np.array([match.start() for match in re.finditer(rb"^[ \t]*" + key + rb"[ \t]", text, re.MULTILINE)])
            for key in (rb"v", rb"f")
        )
        so_far = np.repeat(vertices_before + np.searchsorted(of_vertices, of_faces), counts)
        corners = np.where(corners < 0, so_far + corners + 1, corners)
    return corners - 1, counts


def _cloud_normals(file: ScanFile, lines: list[list[bytes]], vertices: int) -> np.ndarray | None:
    """Of a cloud whose normals are one for one; a mesh's are indexed by its corners, and its triangles have their own."""
    if sum(map(len, lines)) != vertices:
        return None
    try:
        return np.concatenate([file.numbers_in(b"\n".join(part), "") for part in lines]).reshape(vertices, 3)
    except (ReadError, ValueError):
        return None  # normals are a help, not a condition
