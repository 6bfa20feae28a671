"""OFF (Geomview's object file format) as text: OFF, COFF, NOFF, CNOFF, with or without counts on the first line.

Read here and not by a library, because trimesh makes a mesh of a cut file's beginning, or raises an error that names no fault.
"""

import re

import numpy as np

from geometry.readers.assembly import assemble, triangulate
from geometry.readers.scan_file import ScanFile
from geometry.scan import Scan

COMMENTS = rb"\s*(?:#[^\r\n]*[\r\n]\s*)*"
KEYWORD = re.compile(COMMENTS + rb"((?:ST)?(C?)(N?)(4?)(n?)(?:OFF|off))(?=[\s\d#]|$)[ \t]*(BINARY)?")
COUNTS = re.compile(COMMENTS + rb"\d+[ \t]+\d+([ \t]+\d+)?[ \t]*(#[^\r\n]*)?([\r\n]|$)")


def sniff(name: str, head: bytes) -> bool:
    keyword = KEYWORD.match(head)
    return keyword is not None and (keyword.group(6) is not None or COUNTS.match(head, keyword.end()) is not None)


def read(file: ScanFile) -> Scan:
    keyword = KEYWORD.match(file.data)
    if not keyword and not COUNTS.match(file.data):  # the format leaves it to the writer to begin with the keyword
        raise file.error("it begins neither with the keyword OFF nor with its counts")
    _, has_colors, has_normals, has_weights, has_dimension, is_binary = keyword.groups() if keyword else [b""] * 6
    if is_binary or has_weights or has_dimension:
        raise file.error(f"it is of the kind {keyword.group(0).strip().decode()!r}", "export it as plain OFF text, or as PLY")
    lines = _lines(file.data[keyword.end() if keyword else 0 :])
    vertices, faces = _counts(file, lines)
    if len(lines) - 1 < vertices + faces:
        raise file.error(
            f"it promises {vertices} vertices and {faces} faces, but has {len(lines) - 1} lines for them (truncated?)"
        )
    table = _vertex_table(file, lines[1 : 1 + vertices])
    normals = table[:, 3:6] if has_normals and table.shape[1] >= 6 else None
    first_color = 6 if normals is not None else 3
    colored = has_colors or (normals is None and table.shape[1] in (6, 7))
    colors = table[:, first_color : first_color + 3] if colored and table.shape[1] >= first_color + 3 else None
    return assemble(file, "off", table[:, :3], _triangles(file, lines[1 + vertices : 1 + vertices + faces]), colors, normals)


def _lines(text: bytes) -> list[bytes]:
    return [line for line in re.sub(rb"#[^\r\n]*", b"", text).splitlines() if line and not line.isspace()]


def _counts(file: ScanFile, lines: list[bytes]) -> tuple[int, int]:
    words = lines[0].split() if lines else []
    if len(words) < 2 or not all(re.fullmatch(rb"\d{1,15}", word) for word in words):
        raise file.error("after the keyword OFF there is no line with the numbers of vertices, faces and edges")
    if int(words[0]) == 0:
        raise file.error("it holds no vertices", "export the scan as a mesh or point cloud")
    return int(words[0]), int(words[1])


def _vertex_table(file: ScanFile, lines: list[bytes]) -> np.ndarray:
    """(n, k ≥ 3) float64."""
    width = min(len(line.split()) for line in lines)
    if width < 3:
        raise file.error("a vertex line has fewer than three numbers (wrong counts, or truncated?)")
    if max(len(line.split()) for line in lines) != width:
        lines, width = [b" ".join(line.split()[:3]) for line in lines], 3
    return file.numbers_in(b"\n".join(lines), "among its vertex lines is").reshape(len(lines), width)


def _triangles(file: ScanFile, lines: list[bytes]) -> np.ndarray:
    """Each line: number of corners, the corners counted from 0, perhaps a colour, which is passed over."""
    rows, fault = [line.split() for line in lines], "a face line holds something that is no vertex number"
    counts = file.numbers_in(b" ".join(row[0] for row in rows), f"{fault}:")
    if not (counts >= 0).all() or any(len(row) <= count for row, count in zip(rows, counts)):
        raise file.error("a face line has fewer corners than it promises (wrong counts, or truncated?)")
    words = [word for row, count in zip(rows, counts) for word in row[1 : int(count) + 1]]
    corners = file.numbers_in(b" ".join(words), f"{fault}:")
    if (counts % 1 != 0).any() or not (corners == np.rint(corners)).all() or (np.abs(corners) >= 2**31).any():
        raise file.error(fault)
    return triangulate(corners.astype(np.int64), counts)
