"""The PLY container (Turk 1994): a header that declares elements, then their rows as text or as little- or big-endian binary.

Any element and any property is read, lists too, because scanners put their own into the files. Nothing is allocated that the
file's own length does not bear out. Text is read as the binary body that its numbers are as doubles.
Read here and not by a library: plyfile is GPL and allocates what a header promises; trimesh keeps the elements that it knows.
"""

import re
import struct
from array import array
from dataclasses import dataclass

import numpy as np

from geometry.readers.scan_file import ScanFile

TYPES = {  # → the code of `struct`, which NumPy takes too
    "char": "b",
    "int8": "b",
    "uchar": "B",
    "uint8": "B",
    "short": "h",
    "int16": "h",
    "ushort": "H",
    "uint16": "H",
    "int": "i",
    "int32": "i",
    "uint": "I",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float": "f",
    "float32": "f",
    "double": "d",
    "float64": "d",
}
BYTE_ORDERS = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}
LONGEST_HEADER = 1 << 20
LONGEST_BLOCK, WORTH_A_BLOCK, MOST_SINGLY = 1 << 16, 8, 1 << 12  # rows


@dataclass(frozen=True)
class Property:
    name: str
    dtype: str  # of the value
    count_dtype: str | None = None  # of a list's length; None for a scalar

    def stored(self, byte_order: str | None) -> "Property":
        """As the body holds it: with the byte order; of text (None) every number as a double."""
        value, count = (byte_order + code if byte_order else "<d" for code in (self.dtype, self.count_dtype or ""))
        return Property(self.name, value, count if self.count_dtype else None)


@dataclass(frozen=True)
class Element:
    name: str
    count: int
    properties: list[Property]


@dataclass(frozen=True)
class Lists:
    """values (k,): the rows' entries one after another; counts (rows,)."""

    values: np.ndarray
    counts: np.ndarray


Columns = dict[str, "np.ndarray | Lists"]


def read_elements(file: ScanFile) -> dict[str, Columns]:
    """Element name → property name → (rows,) array or Lists. Raises ReadError."""
    byte_order, declared, at = _read_header(file)
    body: bytes | memoryview = file.data
    elements, is_text = {}, byte_order is None
    if is_text:
        numbers = file.numbers_in(file.data[at:], "its PLY body is declared as text, but holds")
        body, at = numbers.astype("<f8", copy=False).data.cast("B"), 0
    for element in declared:
        properties = [p.stored(byte_order) for p in element.properties]
        columns, at = _read_rows(file, Element(element.name, element.count, properties), body, at)
        if is_text:
            columns |= _narrowed(element, columns)
        elements.setdefault(element.name, columns)
    rest = body[at:] if is_text else file.data[at:].strip(b"\0 \t\r\n")
    if rest:
        amount = f"{(len(body) - at) // 8} numbers" if is_text else f"{len(body) - at} bytes"
        raise file.error(f"after the rows that its PLY header promises there are {amount} more (wrong counts in the header?)")
    return elements


def _read_header(file: ScanFile) -> tuple[str | None, list[Element], int]:
    """The byte order ("<", ">", None for text), the elements, and the size in bytes with the line break after end_header."""
    head = file.data[:LONGEST_HEADER]
    end = re.search(rb"(?:^|[\r\n])end_header[ \t]*(\r\n|\n|\r)", head)
    if not end:
        raise file.error("its PLY header has no line 'end_header'")
    byte_order, elements, has_format = None, [], False
    for line in re.split(r"\r\n|\n|\r", head[: end.start()].decode("latin-1"))[1:]:
        words = line.split()
        keyword = words[0] if words else ""
        if keyword == "format":
            if len(words) < 2 or words[1] not in BYTE_ORDERS:
                raise file.error(f"PLY format line {line!r}, expected one of {', '.join(BYTE_ORDERS)}")
            byte_order, has_format = BYTE_ORDERS[words[1]], True
        elif keyword == "element":
            if len(words) != 3 or not re.fullmatch(r"\d{1,15}", words[2]):
                raise file.error(f"PLY header line {line!r}, expected 'element NAME COUNT'")
            elements.append(Element(words[1], int(words[2]), []))
        elif keyword == "property":
            if not elements:
                raise file.error(f"PLY header line {line!r} comes before any element")
            elements[-1].properties.append(_property(file, line, words))
    if not has_format:
        raise file.error("its PLY header has no format line")
    return byte_order, elements, end.end()


def _property(file: ScanFile, line: str, words: list[str]) -> Property:
    if len(words) == 3 and words[1] in TYPES:
        return Property(words[2], TYPES[words[1]])
    if len(words) == 5 and words[1] == "list" and words[2] in TYPES and words[3] in TYPES:
        return Property(words[4], TYPES[words[3]], TYPES[words[2]])
    raise file.error(f"PLY header line {line!r}, expected 'property TYPE NAME' or 'property list TYPE TYPE NAME'")


def _too_short(file: ScanFile, element: Element) -> Exception:
    return file.error(
        f"it ends within its element '{element.name}', of which its header promises {element.count} rows (truncated?)"
    )


def _read_rows(file: ScanFile, element: Element, body: bytes | memoryview, at: int) -> tuple[Columns, int]:
    """All rows at once where their lists are as long as the first row's (triangle meshes); else row by row."""
    if not element.count or not element.properties:
        return {p.name: _column(np.zeros(0, p.dtype), np.zeros(0, int), p) for p in element.properties}, at
    starts, counts, end = _walk_rows(file, element, body, at, 1)
    step, end = end - at, at + element.count * (end - at)
    columns: Columns = {}
    if end <= len(body) and _lists_are_alike(element, body, starts[0], counts[0], step):
        for p, start, count in zip(element.properties, starts[0], counts[0]):
            values = _cells(body, p.dtype, start, (element.count, count), step)
            columns[p.name] = _column(values.ravel(), np.full(element.count, count), p)
        return columns, end
    if not any(p.count_dtype for p in element.properties):
        raise _too_short(file, element)
    starts, counts, end = _walk_rows(file, element, body, at, element.count)
    for k, p in enumerate(element.properties):
        values = _gather(body, starts[:, k], counts[:, k], np.dtype(p.dtype))
        columns[p.name] = _column(values, counts[:, k], p)
    return columns, end


def _column(values: np.ndarray, counts: np.ndarray, of: Property) -> "np.ndarray | Lists":
    return Lists(values, counts) if of.count_dtype else values


def _cells(body: bytes | memoryview, dtype: str, start: int, shape: tuple[int, int], step: int) -> np.ndarray:
    """(rows, width): values from `start` on in rows of `step` bytes."""
    return np.ndarray(shape, dtype, body, start, (step, np.dtype(dtype).itemsize))


def _lists_are_alike(element: Element, body: bytes | memoryview, starts: np.ndarray, counts: np.ndarray, step: int) -> bool:
    """Are all rows' lists as long as the first row's, whose values begin at `starts` and are `counts` many?"""
    return all(
        (_cells(body, p.count_dtype, start - np.dtype(p.count_dtype).itemsize, (element.count, 1), step) == count).all()
        for p, start, count in zip(element.properties, starts, counts)
        if p.count_dtype
    )


def _walk_rows(
    file: ScanFile, element: Element, body: bytes | memoryview, at: int, rows: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """(rows, properties) byte offset of each property's first value and number of its values, and where the rows end.

    Rows whose lists are as long as those before them are taken by the block: most lists of a file are of one or two lengths."""
    layout = [(struct.Struct(p.count_dtype) if p.count_dtype else None, np.dtype(p.dtype).itemsize) for p in element.properties]
    least = sum(length.size if length else value_size for length, value_size in layout)
    if rows * least > len(body) - at:
        raise _too_short(file, element)
    code = "i" if len(body) < 1 << 31 else "q"
    starts, counts = array(code), array(code)  # half of what lists of numbers take, and more for each row
    row, block, singly = 0, 1, 1
    while row < rows:
        singly = min(singly, rows - row)
        at, step = _walk_singly(file, element, layout, body, at, (starts, counts), singly)
        row += singly
        last = tuple(np.array(each[-len(layout) :], code) for each in (starts, counts))
        most = min(block, LONGEST_BLOCK, rows - row, (len(body) - at) // step)
        alike = _rows_alike(element, body, last[0] + step, last[1], step, most)
        starts.frombytes((last[0] + step * np.arange(1, alike + 1, dtype=code)[:, None]).tobytes())
        counts.frombytes(np.tile(last[1], alike).tobytes())
        row, at, block = row + alike, at + alike * step, max(2 * alike, 32)
        singly = 1 if alike >= WORTH_A_BLOCK else min(2 * singly, MOST_SINGLY)
    shape = (rows, len(layout))
    return np.frombuffer(starts, code).reshape(shape), np.frombuffer(counts, code).reshape(shape), at


def _walk_singly(
    file: ScanFile,
    element: Element,
    layout: list[tuple[struct.Struct | None, int]],
    body: bytes | memoryview,
    at: int,
    found: tuple[array, array],
    rows: int,
) -> tuple[int, int]:
    """Some rows from byte `at` on, their starts and counts appended to `found` → where they end, and the last one's size."""
    size, first, starts, counts = len(body), at, found[0].append, found[1].append
    for _ in range(rows):
        first = at
        for length, value_size in layout:
            count = 1
            if length:
                if at + length.size > size:
                    raise _too_short(file, element)
                (count,) = length.unpack_from(body, at)
                at += length.size
            if not 0 <= count * value_size <= size - at or count % 1:
                raise _too_short(file, element)
            starts(at)
            counts(int(count))
            at += int(count) * value_size
    return at, at - first


def _rows_alike(element: Element, body: bytes | memoryview, starts: np.ndarray, counts: np.ndarray, step: int, most: int) -> int:
    """How many of the next `most` rows of `step` bytes, the first's values beginning at `starts`, have lists of these lengths."""
    alike = most
    for p, start, count in zip(element.properties, starts, counts):
        if p.count_dtype and alike:
            lengths = _cells(body, p.count_dtype, int(start) - np.dtype(p.count_dtype).itemsize, (alike, 1), step)[:, 0]
            other = np.flatnonzero(lengths != count)
            alike = int(other[0]) if len(other) else alike
    return alike


def _gather(body: bytes | memoryview, starts: np.ndarray, counts: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values at byte offsets `starts` (rows,), `counts` (rows,) of them each, one after another."""
    starts, counts = starts[counts > 0], counts[counts > 0]
    if not len(counts):
        return np.zeros(0, dtype)
    at_every_byte = np.ndarray(len(body) - dtype.itemsize + 1, dtype, body, 0, (1,))
    ends = np.cumsum(counts, dtype=np.int64)
    places = np.repeat(starts - dtype.itemsize * (ends - counts), counts)
    places += dtype.itemsize * np.arange(ends[-1])
    return at_every_byte[places]


def _narrowed(element: Element, columns: Columns) -> Columns:
    """Of a text the columns of bytes: colours are scaled by their declared type; coordinates and indices stay doubles."""
    eight_bit = {p.name for p in element.properties if p.dtype == "B" and not p.count_dtype}
    return {
        name: np.clip(column, 0, 255).astype(np.uint8)
        for name, column in columns.items()
        if isinstance(column, np.ndarray) and name in eight_bit
    }
