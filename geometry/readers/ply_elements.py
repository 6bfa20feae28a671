"""The PLY container (Turk 1994): a header that declares elements, then their rows as text or as little- or big-endian binary.

Any element and any property is read, lists too, because scanners put their own into the files. Nothing is allocated that the
file's own length does not bear out.
Read here and not by a library: plyfile is GPL and allocates what a header promises; trimesh keeps the elements that it knows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from geometry.readers.ascii_numbers import parse_numbers
from geometry.readers.scan_file import ScanFile

TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "int64": "i8",
    "uint64": "u8",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
BYTE_ORDERS = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}
LONGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class Property:
    name: str
    dtype: str  # of the value, without byte order
    count_dtype: str | None = None  # of a list's length; None for a scalar


@dataclass(frozen=True)
class Element:
    name: str
    count: int
    properties: tuple[Property, ...]

    @property
    def has_lists(self) -> bool:
        return any(p.count_dtype for p in self.properties)


@dataclass(frozen=True)
class Lists:
    """values (k,): the rows' entries one after another; counts (rows,)."""

    values: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Header:
    byte_order: str | None  # "<", ">" or None for text
    elements: tuple[Element, ...]
    size: int  # bytes, the line break after end_header included


Columns = dict[str, "np.ndarray | Lists"]


def read_elements(file: ScanFile) -> dict[str, Columns]:
    """Element name → property name → (rows,) array or Lists. Raises ReadError."""
    header = read_header(file)
    if header.byte_order is None:
        return _read_text(file, header)
    return _read_binary(file, header)


def read_header(file: ScanFile) -> Header:
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
            elements.append((*_element(file, line, words), []))
        elif keyword == "property":
            if not elements:
                raise file.error(f"PLY header line {line!r} comes before any element")
            elements[-1][2].append(_property(file, line, words))
    if not has_format:
        raise file.error("its PLY header has no format line")
    return Header(byte_order, tuple(Element(name, count, tuple(props)) for name, count, props in elements), end.end())


def _element(file: ScanFile, line: str, words: list[str]) -> tuple[str, int]:
    if len(words) != 3 or not re.fullmatch(r"\d{1,15}", words[2]):
        raise file.error(f"PLY header line {line!r}, expected 'element NAME COUNT'")
    return words[1], int(words[2])


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


def _left_over(file: ScanFile, amount: str) -> Exception:
    return file.error(f"after the rows that its PLY header promises there are {amount} more (wrong counts in the header?)")


def _read_binary(file: ScanFile, header: Header) -> dict[str, Columns]:
    at, elements = header.size, {}
    for element in header.elements:
        if element.has_lists:
            columns, at = _binary_lists(file, header, element, at)
        else:
            columns, at = _binary_scalars(file, header, element, at)
        elements.setdefault(element.name, columns)
    rest = file.data[at:]
    if rest.strip(b"\0 \t\r\n"):
        raise _left_over(file, f"{len(rest)} bytes")
    return elements


def _binary_scalars(file: ScanFile, header: Header, element: Element, at: int) -> tuple[Columns, int]:
    if not element.properties:
        return {}, at
    dtype = np.dtype([(f"{k}", header.byte_order + p.dtype) for k, p in enumerate(element.properties)])
    end = at + element.count * dtype.itemsize
    if end > len(file.data):
        raise _too_short(file, element)
    rows = np.frombuffer(file.data, dtype, element.count, at) if element.count else np.zeros(0, dtype)
    return {p.name: rows[f"{k}"] for k, p in enumerate(element.properties)}, end


def _binary_lists(file: ScanFile, header: Header, element: Element, at: int) -> tuple[Columns, int]:
    """All rows at once where their lists are as long as the first row's (triangle meshes); else row by row."""
    order, data = header.byte_order, file.data
    if not element.count:
        empty = {p.name: np.zeros(0, p.dtype) for p in element.properties}
        return {
            p.name: Lists(empty[p.name], np.zeros(0, int)) if p.count_dtype else empty[p.name] for p in element.properties
        }, at
    starts, counts, _ = _walk_binary_rows(file, header, element, at, 1)
    fields: list[tuple] = []
    for k, p in enumerate(element.properties):
        if p.count_dtype:
            fields.append((f"n{k}", order + p.count_dtype))
        fields.append((f"{k}", order + p.dtype, (int(counts[0, k]),)) if p.count_dtype else (f"{k}", order + p.dtype))
    dtype = np.dtype(fields)
    if at + element.count * dtype.itemsize <= len(data):
        rows = np.frombuffer(data, dtype, element.count, at)
        if all((rows[f"n{k}"] == counts[0, k]).all() for k, p in enumerate(element.properties) if p.count_dtype):
            columns = {
                p.name: Lists(rows[f"{k}"].ravel(), rows[f"n{k}"].astype(np.int64)) if p.count_dtype else rows[f"{k}"]
                for k, p in enumerate(element.properties)
            }
            return columns, at + element.count * dtype.itemsize
    starts, counts, end = _walk_binary_rows(file, header, element, at, element.count)
    columns = {}
    for k, p in enumerate(element.properties):
        values = _gather(data, starts[:, k], counts[:, k], np.dtype(order + p.dtype))
        columns[p.name] = Lists(values, counts[:, k]) if p.count_dtype else values
    return columns, end


def _walk_binary_rows(file: ScanFile, header: Header, element: Element, at: int, rows: int) -> tuple[np.ndarray, np.ndarray, int]:
    """(rows, properties) byte offset of each property's first value and number of its values, and where the rows end."""
    big: Literal["big", "little"] = "big" if header.byte_order == ">" else "little"
    layout = [
        (
            np.dtype(p.dtype).itemsize,
            np.dtype(p.count_dtype).itemsize if p.count_dtype else 0,
            (p.count_dtype or "").startswith("i"),
        )
        for p in element.properties
    ]
    data, size, starts, counts = file.data, len(file.data), [], []
    for _ in range(rows):
        for value_size, count_size, signed in layout:
            count = int.from_bytes(data[at : at + count_size], big, signed=signed) if count_size else 1
            at += count_size
            starts.append(at)
            counts.append(count)
            at += count * value_size
            if count < 0 or at > size:
                raise _too_short(file, element)
    shape = (rows, len(layout))
    return np.array(starts, np.int64).reshape(shape), np.array(counts, np.int64).reshape(shape), at


def _gather(data: bytes, starts: np.ndarray, counts: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values at byte offsets `starts` (rows,), `counts` (rows,) of them each, one after another."""
    sizes = counts * dtype.itemsize
    ends = np.cumsum(sizes)
    offsets = np.repeat(starts - (ends - sizes), sizes) + np.arange(ends[-1])
    return np.frombuffer(data, np.uint8)[offsets].view(dtype)


def _read_text(file: ScanFile, header: Header) -> dict[str, Columns]:
    try:
        numbers = parse_numbers(file.data[header.size :])
    except ValueError as error:
        raise file.error(f"its PLY body is declared as text, but holds {error}") from None
    at, elements = 0, {}
    for element in header.elements:
        columns, at = _text_element(file, element, numbers, at)
        elements.setdefault(element.name, columns)
    if at != len(numbers):
        raise _left_over(file, f"{len(numbers) - at} numbers")
    return elements


def _text_element(file: ScanFile, element: Element, numbers: np.ndarray, at: int) -> tuple[Columns, int]:
    if not element.properties or not element.count:
        empty = np.zeros(0)
        return {p.name: Lists(empty, np.zeros(0, int)) if p.count_dtype else empty for p in element.properties}, at
    starts, counts, end = _walk_text_rows(file, element, numbers, at, 1)
    width = end - at
    rows = numbers[at : at + element.count * width]
    if len(rows) == element.count * width and not (
        element.has_lists and _lists_vary(rows.reshape(-1, width), starts[0] - at, element)
    ):
        table = rows.reshape(-1, width)
        columns = {}
        for k, p in enumerate(element.properties):
            start, count = starts[0, k] - at, counts[0, k]
            values = table[:, start : start + count]
            columns[p.name] = Lists(values.ravel(), np.full(len(table), count)) if p.count_dtype else values[:, 0]
        return _typed(element, columns), at + len(rows)
    if not element.has_lists:
        raise _too_short(file, element)
    starts, counts, end = _walk_text_rows(file, element, numbers, at, element.count)
    columns = {}
    for k, p in enumerate(element.properties):
        ends = np.cumsum(counts[:, k])
        values = numbers[np.repeat(starts[:, k] - (ends - counts[:, k]), counts[:, k]) + np.arange(ends[-1])]
        columns[p.name] = Lists(values, counts[:, k]) if p.count_dtype else values
    return _typed(element, columns), end


def _typed(element: Element, columns: Columns) -> Columns:
    """Colours keep their declared type, by which they are scaled; coordinates and indices stay float64."""
    eight_bit = {p.name for p in element.properties if p.dtype == "u1" and not p.count_dtype}
    narrowed = {
        name: np.clip(c, 0, 255).astype(np.uint8)
        for name, c in columns.items()
        if isinstance(c, np.ndarray) and name in eight_bit
    }
    return {**columns, **narrowed}


def _lists_vary(table: np.ndarray, starts: np.ndarray, element: Element) -> bool:
    columns = [table[:, starts[k] - 1] for k, p in enumerate(element.properties) if p.count_dtype]
    return any((column != column[0]).any() for column in columns)


def _walk_text_rows(
    file: ScanFile, element: Element, numbers: np.ndarray, at: int, rows: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """As `_walk_binary_rows`, in numbers and not in bytes."""
    starts, counts, size, is_list = [], [], len(numbers), [bool(p.count_dtype) for p in element.properties]
    for _ in range(rows):
        for listed in is_list:
            if at >= size:
                raise _too_short(file, element)
            count = 1
            if listed:
                length = numbers[at]
                if not 0 <= length <= size - at - 1 or length != int(length):
                    raise _too_short(file, element)
                count, at = int(length), at + 1
            starts.append(at)
            counts.append(count)
            at += count
    shape = (rows, len(is_list))
    return np.array(starts, np.int64).reshape(shape), np.array(counts, np.int64).reshape(shape), at
