"""STL, text and binary. The format repeats a corner for every triangle that uses it: equal corners are merged.

The byte pair after each binary triangle, into which some programs write a colour in one of two contrary ways, is passed over.
Read here and not by a library, because trimesh takes a cut file for an empty one, without an error.
"""

import re

import numpy as np

from geometry.readers.assembly import assemble
from geometry.readers.scan_file import ScanFile
from geometry.readers.text_encoding import with_line_feeds
from geometry.scan import Scan

FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
HEADER_SIZE = 84  # 80 bytes of anything, then the number of facets
SNIFFED = 1 << 16  # bytes
# before the word "solid", and between it and the first facet, programs write comments of their own
TEXT = re.compile(
    rb"^[ \t]*solid\b[^\r\n]*[\r\n]\s*(?:(?:[;#!]|//)[^\r\n]*[\r\n]\s*)*(facet\s|endsolid)", re.IGNORECASE | re.MULTILINE
)
LARGEST, SMALLEST = 1e7, 1e-20  # of a corner's coordinates that are not zero, in any unit


def sniff(name: str, head: bytes) -> bool:
    return _is_text(head) or _is_binary(head)


def read(file: ScanFile) -> Scan:
    # a binary header may begin with "solid" as well, so the length decides first
    is_text = _is_text(file.data) and len(file.data) != _binary_size(file.data)
    corners, rest = _text_corners(file) if is_text else _binary_corners(file)
    if not len(corners):
        raise file.error("it holds no facets", "export the scan with its triangles")
    points, triangles = _merged(corners)
    scan = assemble(file, "stl", points, triangles)
    return scan.with_note(f"{rest} bytes after its last facet were passed over") if rest else scan


def _is_text(data: bytes) -> bool:
    head = with_line_feeds(data[:SNIFFED])
    found = TEXT.search(head)
    return found is not None and b"\0" not in head[: found.end()]


def _binary_size(data: bytes) -> int:
    return HEADER_SIZE + FACET.itemsize * int.from_bytes(data[80:HEADER_SIZE], "little")


def _is_binary(head: bytes) -> bool:
    """The length is the promised one, or the first facets look like facets and the file may be as long as is promised."""
    if len(head) < HEADER_SIZE + FACET.itemsize:
        return False
    if len(head) == _binary_size(head):
        return True
    is_whole = len(head) < SNIFFED - 4  # a byte order mark may be gone
    return not (is_whole and _binary_size(head) > len(head)) and _are_facets(head[HEADER_SIZE : _binary_size(head)])


def _are_facets(data: bytes) -> bool:
    """Do the first of them look like facets? Their corners are numbers of a scan, no triangle is another one's copy, and their
    normals are those of the corners; or else, all normals being zero, neighbours share corners."""
    facets = np.frombuffer(data, FACET, min(20, len(data) // FACET.itemsize))
    if not len(facets):
        return False
    with np.errstate(all="ignore"):
        corners, normals = facets["corners"].astype(float), facets["normal"].astype(float)
        size = np.abs(corners[corners != 0])
        if not np.isfinite(corners).all() or not size.size or size.max() > LARGEST or size.min() < SMALLEST:
            return False
        a, b, c = corners.transpose(1, 0, 2)
        across = np.cross(b - a, c - a)
        lengths, areas = np.linalg.norm(normals, axis=1), np.linalg.norm(across, axis=1)
        if not ((lengths == 0) | (np.abs(lengths - 1) < 1e-3)).all():
            return False
        known = (lengths > 0) & (areas > 1e-6 * size.max() ** 2)  # of a sliver the normal is anybody's
        if known.any():
            cosine = (normals * across).sum(1)[known] / areas[known]
            return bool((np.abs(cosine) > 0.8).mean() > 0.5)
    return len(np.unique(corners.reshape(-1, 3), axis=0)) < 3 * len(facets) or len(facets) < 4


def _binary_corners(file: ScanFile) -> tuple[np.ndarray, int]:
    """(3 m, 3) float32, and how many bytes follow that are no facets."""
    size, expected = len(file.data), _binary_size(file.data)
    if size < HEADER_SIZE:
        raise file.error(f"it has {size} bytes, fewer than the header of a binary STL, and is no text STL either")
    count = (expected - HEADER_SIZE) // FACET.itemsize
    if size < expected or _are_facets(file.data[expected : expected + 20 * FACET.itemsize]):
        cause = "truncated?" if size < expected else "more facets follow: a wrong count?"
        raise file.error(f"its header promises {count} facets, that is {expected} bytes, but it has {size} ({cause})")
    return np.frombuffer(file.data, FACET, count, HEADER_SIZE)["corners"].reshape(-1, 3), size - expected


def _text_corners(file: ScanFile) -> tuple[np.ndarray, int]:
    """(3 m, 3) float64, and how many bytes follow that are no facets."""
    text = with_line_feeds(file.data)
    tail = text[-SNIFFED:]
    end = tail.lower().rfind(b"endsolid")
    end_of_line = tail.find(b"\n", end)
    rest = tail[end_of_line:].strip(b"\0\x1a \t\r\n") if end_of_line >= 0 else b""
    if end < 0 or re.search(rb"^[ \t]*(facet|vertex)\b", rest, re.IGNORECASE | re.MULTILINE):
        raise file.error("its text does not end with 'endsolid' (truncated?)")
    lines = re.findall(rb"^[ \t]*vertex[ \t]([^\n]*)", text, re.MULTILINE | re.IGNORECASE)
    facets = len(re.findall(rb"^[ \t]*endfacet", text, re.MULTILINE | re.IGNORECASE))
    if len(lines) != 3 * facets:
        raise file.error(f"it has {len(lines)} vertex lines for {facets} facets, expected three each")
    for line in lines:
        if len(line.split()) != 3:
            raise file.error(f"among its vertex lines is not a number triple: {line[:60].decode('latin-1').strip()!r}")
    return file.numbers_in(b"\n".join(lines), "among its vertex lines is").reshape(-1, 3), len(rest)


def _merged(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(3 m, 3) → vertices (n, 3) in the order of their first use, triangles (m, 3)."""
    corners = np.ascontiguousarray(corners) + 0.0  # −0 and 0 are one place
    keys = corners.view([("", f"V{corners.dtype.itemsize * 3}")]).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.argsort(order)
    return corners[first[order]], rank[inverse].reshape(-1, 3)
