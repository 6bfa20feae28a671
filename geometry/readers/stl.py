"""STL, text and binary. The format repeats a corner for every triangle that uses it: equal corners are merged.

The byte pair after each binary triangle, into which some programs write a colour in one of two contrary ways, is passed over.
Read here and not by a library, because trimesh takes a cut file for an empty one, without an error.
"""

import re

import numpy as np

from geometry.readers.assembly import assemble
from geometry.readers.scan_file import ScanFile
from geometry.scan import Scan

FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
LEAST = 1e-12  # of a coordinate that is not 0: small integers and text, taken for floats, are far smaller
HEADER_SIZE = 84  # 80 bytes of anything, then the number of facets


def sniff(name: str, head: bytes) -> bool:
    return _is_text(head) or _is_binary(name, head)


def read(file: ScanFile) -> Scan:
    # a binary header may begin with "solid" as well, so the length decides first
    is_text = _is_text(file.data) and len(file.data) != _binary_size(file.data)
    corners = _text_corners(file) if is_text else _binary_corners(file)
    if not len(corners):
        raise file.error("it holds no facets", "export the scan with its triangles")
    points, triangles = _merged(corners)
    return assemble(file, "stl", points, triangles)


def _is_text(head: bytes) -> bool:
    return re.match(rb"\s*solid\b[^\n]*\n\s*(facet\s|endsolid)", head, re.IGNORECASE) is not None


def _binary_size(data: bytes) -> int:
    return HEADER_SIZE + FACET.itemsize * int.from_bytes(data[80:HEADER_SIZE], "little")


def _is_binary(name: str, head: bytes) -> bool:
    """The length is the promised one, or the first facets look like facets: sane corners, normals of length one or zero."""
    count = int.from_bytes(head[80:HEADER_SIZE], "little")
    facets = np.frombuffer(
        head, FACET, max(0, min(count, 20, (len(head) - HEADER_SIZE) // FACET.itemsize)), min(HEADER_SIZE, len(head))
    )
    if not len(facets):
        return False
    if len(head) == _binary_size(head):
        return True
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(facets["normal"].astype(float), axis=1)
        sizes = np.abs(facets["corners"])
        sane = ((sizes == 0) | (sizes > LEAST) & (sizes < 1e7)).all() and sizes.any()  # NaN is neither
    return bool(sane and ((lengths == 0) | (np.abs(lengths - 1) < 1e-3)).all())


def _binary_corners(file: ScanFile) -> np.ndarray:
    """(3 m, 3) float32."""
    size, expected = len(file.data), _binary_size(file.data)
    if size < HEADER_SIZE:
        raise file.error(f"it has {size} bytes, fewer than the header of a binary STL, and is no text STL either")
    if size != expected:
        count = (expected - HEADER_SIZE) // FACET.itemsize
        raise file.error(f"its header promises {count} facets, that is {expected} bytes, but it has {size} (truncated?)")
    return np.frombuffer(file.data, FACET, offset=HEADER_SIZE)["corners"].reshape(-1, 3)


def _text_corners(file: ScanFile) -> np.ndarray:
    """(3 m, 3) float64."""
    if not re.search(rb"endsolid[^\n]*\s*$", file.data[-4096:], re.IGNORECASE):
        raise file.error("its text does not end with 'endsolid' (truncated?)")
    lines = re.findall(rb"^[ \t]*vertex[ \t]([^\n]*)", file.data, re.MULTILINE | re.IGNORECASE)
    facets = len(re.findall(rb"^[ \t]*endfacet", file.data, re.MULTILINE | re.IGNORECASE))
    if len(lines) != 3 * facets:
        raise file.error(f"it has {len(lines)} vertex lines for {facets} facets, expected three each")
    for line in lines:
        if len(line.split()) != 3:
            raise file.error(f"among its vertex lines is not a number triple: {line[:60].decode('latin-1').strip()!r}")
    return file.numbers_in(b"\n".join(lines), "among its vertex lines is").reshape(-1, 3)


def _merged(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(3 m, 3) → vertices (n, 3) in the order of their first use, triangles (m, 3)."""
    corners = np.ascontiguousarray(corners) + 0.0  # −0 and 0 are one place
    keys = corners.view([("", f"V{corners.dtype.itemsize * 3}")]).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.argsort(order)
    return corners[first[order]], rank[inverse].reshape(-1, 3)
