"""Point Cloud Library's PCD: ascii, binary and binary_compressed; organized clouds keep the pixel of each point.

Read here and not by a library, because Open3D reads PCD from files only and forgets the rows and columns. PCL's own data are in
metres and its robots mostly speak metres, but the format declares no unit: it is left open, to be inferred.
"""

import re
from dataclasses import dataclass

import numpy as np

from geometry.readers import lzf
from geometry.readers.assembly import assemble
from geometry.readers.scan_file import ScanFile
from geometry.scan import Scan

TYPES = {(b"F", 4): "<f4", (b"F", 8): "<f8"} | {
    (kind, size): f"<{code}{size}" for kind, code in ((b"I", "i"), (b"U", "u")) for size in (1, 2, 4, 8)
}
HIGHEST_LZF_RATIO = 88  # three bytes stand for at most 264


@dataclass(frozen=True)
class Header:
    names: list[str]
    dtypes: list[np.dtype]  # with the field's COUNT as a subarray
    width: int
    height: int
    encoding: str
    size: int

    @property
    def points(self) -> int:
        return self.width * self.height

    @property
    def point_size(self) -> int:
        return sum(dtype.itemsize for dtype in self.dtypes)


def sniff(name: str, head: bytes) -> bool:
    return re.match(rb"\s*(#[^\n]*\n\s*)*(VERSION[ \t]+\.?\d|FIELDS[ \t])", head) is not None or head.startswith(b"# .PCD")


def read(file: ScanFile) -> Scan:
    header = _header(file)
    fields = {"ascii": _text_fields, "binary": _binary_fields, "binary_compressed": _compressed_fields}[header.encoding](
        file, header
    )
    if not {"x", "y", "z"} <= fields.keys():
        raise file.error(f"its FIELDS are {' '.join(header.names)}, without x, y and z", "export the cloud with its coordinates")
    points = np.stack([_first(fields[axis]) for axis in "xyz"], axis=1)
    normal_names = ("normal_x", "normal_y", "normal_z")
    normals = np.stack([_first(fields[name]) for name in normal_names], 1) if set(normal_names) <= fields.keys() else None
    raster_shape = (header.height, header.width) if header.height > 1 else None
    return assemble(file, "pcd", points, colors=_colors(fields), normals=normals, raster_shape=raster_shape)


def _first(field: np.ndarray) -> np.ndarray:
    return field if field.ndim == 1 else field[:, 0]


def _header(file: ScanFile) -> Header:
    data_line = re.search(rb"(?:^|\n)DATA[ \t]+(\w+)[ \t]*\r?\n", file.data[: 1 << 16])
    if not data_line:
        raise file.error("its PCD header has no line 'DATA ascii|binary|binary_compressed'")
    encoding = data_line.group(1).decode().lower()
    if encoding not in ("ascii", "binary", "binary_compressed"):
        raise file.error(f"its DATA are {encoding!r}, expected ascii, binary or binary_compressed")
    entries = {}
    for line in file.data[: data_line.start() + 1].splitlines():
        words = line.split()
        if words and not words[0].startswith(b"#"):
            entries[words[0].decode("latin-1")] = words[1:]
    names = [name.decode("latin-1") for name in entries.get("FIELDS", [])]
    width = _integers(file, entries, "WIDTH", 1)[0]
    height = _integers(file, entries, "HEIGHT", 1)[0] if "HEIGHT" in entries else 1
    points = _integers(file, entries, "POINTS", 1)[0] if "POINTS" in entries else width * height
    if not names or width * height != points:
        raise file.error(f"its PCD header promises {points} POINTS, but WIDTH {width} times HEIGHT {height}")
    if points == 0:
        raise file.error("it holds no points", "export the cloud with its points")
    return Header(names, _dtypes(file, entries, len(names)), width, height, encoding, data_line.end())


def _integers(file: ScanFile, entries: dict[str, list[bytes]], key: str, count: int) -> list[int]:
    words = entries.get(key, [])
    if len(words) != count or not all(re.fullmatch(rb"\d{1,12}", word) for word in words):
        raise file.error(f"its PCD header has no line '{key}' with {count} whole number{'s' if count > 1 else ''}")
    return [int(word) for word in words]


def _dtypes(file: ScanFile, entries: dict[str, list[bytes]], fields: int) -> list[np.dtype]:
    sizes = _integers(file, entries, "SIZE", fields)
    counts = _integers(file, entries, "COUNT", fields) if "COUNT" in entries else [1] * fields
    kinds = [kind.upper() for kind in entries.get("TYPE", [])]
    if len(kinds) != fields or any(key not in TYPES for key in zip(kinds, sizes)) or max(counts) > 1 << 20:
        raise file.error("the lines SIZE, TYPE and COUNT of its PCD header do not describe its FIELDS")
    return [
        np.dtype((TYPES[key], (count,))) if count != 1 else np.dtype(TYPES[key]) for key, count in zip(zip(kinds, sizes), counts)
    ]


def _truncated(file: ScanFile, header: Header, has: str) -> Exception:
    return file.error(f"its PCD header promises {header.points} points, but the data hold {has} (truncated?)")


def _text_fields(file: ScanFile, header: Header) -> dict[str, np.ndarray]:
    widths = [int(np.prod(dtype.shape)) for dtype in header.dtypes]
    numbers = file.numbers_in(file.data[header.size :], "its DATA are ascii, but hold")
    if len(numbers) != header.points * sum(widths):
        raise _truncated(file, header, f"{len(numbers)} numbers, expected {header.points * sum(widths)}")
    table = numbers.reshape(header.points, sum(widths))
    fields = {}
    for name, dtype, start, width in zip(header.names, header.dtypes, np.cumsum([0, *widths]), widths):
        column = table[:, start : start + width]
        with np.errstate(invalid="ignore", over="ignore"):  # NaN in an integer field means nothing
            column = column.astype(dtype.base)
        if width:
            fields.setdefault(name, column[:, 0] if width == 1 else column)
    return fields


def _binary_fields(file: ScanFile, header: Header) -> dict[str, np.ndarray]:
    if len(file.data) - header.size < header.points * header.point_size:
        raise _truncated(file, header, f"{len(file.data) - header.size} bytes, expected {header.points * header.point_size}")
    row = np.dtype([(f"{k}", dtype) for k, dtype in enumerate(header.dtypes)])
    rows = np.frombuffer(file.data, row, header.points, header.size)
    return {name: rows[f"{k}"] for k, name in reversed(list(enumerate(header.names))) if header.dtypes[k].itemsize}


def _compressed_fields(file: ScanFile, header: Header) -> dict[str, np.ndarray]:
    """u32 compressed size, u32 size, then LZF of the fields one after another, each for all points."""
    packed_size, size = (int.from_bytes(file.data[header.size + k : header.size + k + 4], "little") for k in (0, 4))
    packed = file.data[header.size + 8 : header.size + 8 + packed_size]
    if len(packed) < packed_size or len(file.data) < header.size + 8:
        raise _truncated(file, header, f"{len(packed)} compressed bytes of {packed_size}")
    if size != header.points * header.point_size or size > HIGHEST_LZF_RATIO * packed_size:
        raise _truncated(file, header, f"{size} bytes in {packed_size} compressed, expected {header.points * header.point_size}")
    try:
        raw = lzf.decompress(packed, size)
    except ValueError as error:
        raise file.error(f"its compressed data are damaged: {error}") from None
    fields, at = {}, 0
    for name, dtype in zip(header.names, header.dtypes):
        if dtype.itemsize:
            fields.setdefault(name, np.frombuffer(raw, dtype, header.points, at))
        at += header.points * dtype.itemsize
    return fields


def _colors(fields: dict[str, np.ndarray]) -> np.ndarray | None:
    """(n, 3) uint8 of the field `rgb` or `rgba`: 0xRRGGBB in an integer or in the bits of a float."""
    packed = fields.get("rgb", fields.get("rgba"))
    if packed is None or packed.ndim != 1 or packed.dtype.itemsize != 4:
        return None
    bits = np.ascontiguousarray(packed).view(np.uint32)
    return np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=1).astype(np.uint8)
