"""The container of glTF 2.0: the JSON document, its binary buffers and the arrays (accessors) in them. Nothing is fetched.

https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html, sections 3.6 (binary data) and 4 (GLB). Read here, see `gltf`.
"""

import base64
import binascii
import json
import posixpath
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from geometry.readers.scan_file import ScanFile

GLB_MAGIC = b"glTF"
CHUNK_JSON, CHUNK_BINARY = b"JSON", b"BIN\0"
COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
MOST_ZEROS = 4_000_000  # in an accessor without bytes of its own
MOST_FILES = 1024  # of buffers, and of pictures, that a document may be spread over
GLB_REMEDY = "export it as a plain, uncompressed .glb"


@dataclass(frozen=True)
class Document:
    """tree: the JSON document; binary: GLB's own buffer, or None."""

    file: ScanFile
    tree: dict
    binary: bytes | None
    buffers: dict[int, bytes] = field(default_factory=dict)  # read so far
    notes: list[str] = field(default_factory=list)  # what was passed over or guessed so far

    def items(self, key: str) -> list[dict]:
        listed = self.tree.get(key, [])
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            raise self.file.error(f"its glTF document's {key!r} is no list of objects")
        return listed

    def item(self, key: str, index: object) -> dict:
        items = self.items(key)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(items):
            raise self.file.error(f"its glTF document refers to {key}[{str(index)[:20]}], but has {len(items)}")
        return items[index]

    def array(self, index: object) -> np.ndarray:
        """(count, width) of an accessor, what is sparse in it put in its place; integers marked as normalized become 0..1 or
        −1..1 (section 3.11)."""
        accessor = self.item("accessors", index)
        component, width = COMPONENTS.get(accessor.get("componentType")), WIDTHS.get(accessor.get("type"))
        count = self.whole(accessor, "count")
        if component is None or width is None or not ("sparse" in accessor or "bufferView" in accessor):
            raise self.file.error(
                f"its accessor {index} is compressed, of an unknown type, or neither sparse nor in a buffer", GLB_REMEDY
            )
        dtype = np.dtype(component)
        if "bufferView" in accessor:
            values = self._packed(accessor, (count, width), dtype, f"its accessor {index}")
        elif count <= MOST_ZEROS:
            values = np.zeros((count, width), dtype)
        else:
            raise self.file.error(f"its accessor {index} promises {count} zeros, at most {MOST_ZEROS} are read", GLB_REMEDY)
        if "sparse" in accessor:
            self._put_sparse(values, accessor["sparse"], f"its sparse accessor {index}")
        if accessor.get("normalized") and dtype.kind in "iu":
            return np.maximum(values / np.iinfo(dtype).max, -1.0)
        return values

    def _packed(self, at: dict, shape: tuple[int, int], dtype: np.dtype, what: str) -> np.ndarray:
        """The array of that shape and type in the buffer view, and from the byte, that `at` names."""
        index, (count, width) = at.get("bufferView"), shape
        view, data = self.item("bufferViews", index), self.view(index)
        offset, row = self.whole(at, "byteOffset", 0), dtype.itemsize * width
        stride = self.whole(view, "byteStride", row) or row
        if stride < row or offset + (count - 1) * stride + row > len(data):
            raise self.file.error(f"{what} promises {count} items, but its buffer view has {len(data)} bytes (truncated?)")
        return np.ndarray(shape, dtype, data, offset, (stride, dtype.itemsize)).copy()

    def _put_sparse(self, values: np.ndarray, sparse: object, what: str) -> None:
        """Section 3.6.2.3: `values` (count, width) with those rows that the accessor gives anew."""
        parts = [sparse.get(key) for key in ("indices", "values")] if isinstance(sparse, dict) else []
        if not isinstance(sparse, dict) or not all(isinstance(part, dict) for part in parts):
            raise self.file.error(f"{what} lacks its indices or values", GLB_REMEDY)
        count, component = self.whole(sparse, "count"), COMPONENTS.get(parts[0].get("componentType"), "")
        if component not in ("<u1", "<u2", "<u4"):
            raise self.file.error(f"{what} has indices of an unknown type", GLB_REMEDY)
        rows = self._packed(parts[0], (count, 1), np.dtype(component), what)[:, 0]
        if count and rows.max() >= len(values):
            raise self.file.error(f"{what} gives the row {rows.max()}, but has {len(values)}", GLB_REMEDY)
        values[rows] = self._packed(parts[1], (count, values.shape[1]), values.dtype, what)

    def view(self, index: object) -> bytes:
        """The bytes of a buffer view."""
        view = self.item("bufferViews", index)
        if "extensions" in view:
            raise self.file.error("its buffers are compressed", GLB_REMEDY)
        data = self._buffer(view.get("buffer"))
        start, length = self.whole(view, "byteOffset", 0), self.whole(view, "byteLength")
        if start + length > len(data):
            raise self.file.error(
                f"its buffer view {index} ends at byte {start + length} of a buffer of {len(data)} (truncated?)"
            )
        return data[start : start + length]

    def whole(self, values: dict, key: str, default: int | None = None) -> int:
        """A non-negative whole number below 2⁴⁸."""
        value = values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 48:
            raise self.file.error(f"its glTF document gives {key} as {str(value)[:40]!r}, expected a whole number")
        return value

    def _buffer(self, index: int) -> bytes:
        buffer = self.item("buffers", index)
        uri = buffer.get("uri")
        if index not in self.buffers:
            if uri is None and self.binary is None:
                raise self.file.error("its geometry is in a binary chunk that is missing (truncated?)")
            self.buffers[index] = self.binary if uri is None else self.uri_bytes(uri, self.whole(buffer, "byteLength", 0))
        return self.buffers[index]

    def uri_bytes(self, uri: object, size: int = 0) -> bytes:
        """Of a data URI or of a neighbour; never of the network. size: in bytes, by which NAME.bin is known as a buffer whose own
        name leads nowhere."""
        if not isinstance(uri, str):
            raise self.file.error("its glTF document has a URI that is no text")
        if uri.startswith("data:"):
            try:
                return base64.b64decode(urllib.parse.unquote(uri.partition(",")[2]), validate=True)
            except (binascii.Error, ValueError) as error:
                raise self.file.error(f"an embedded buffer is damaged ({error})") from None
        data = self.neighbour(uri)
        if data is None:
            if uri in self._past_bound:
                raise self.file.error(self._past_bound[uri], GLB_REMEDY)
            beside = self.file.sidecar_name(".bin")
            renamed = self.file.sidecar(beside)
            if size and renamed is not None and size <= len(renamed) < size + 4:  # writers pad to four bytes
                self.notes.append(f"its buffer {uri[:80]!r} is missing: {beside}, which is as long, was taken for it")
                return renamed
            place = (relative_paths(uri) or [beside])[0]
            raise self.file.error(
                f"its geometry is in another file, {uri[:80]!r}, which is missing",
                f"put it there, below the folder of {self.file.name} as {place!r}, or export a single .glb",
            )
        return data

    def neighbour(self, uri: object) -> bytes | None:
        """The file that a URI names, or None: at its place, or, where the folders were lost on the way or lead elsewhere, beside
        this one, with a note; never one of the same name in another folder."""
        places = relative_paths(uri)
        taken = next((place for place in places if place in self.file.sidecars), None)
        if taken is None:
            if isinstance(uri, str) and uri in self._past_bound:
                self.notes.append(self._past_bound[uri])
            return None
        named = _decoded(uri)
        if taken != named:
            fault = "is missing" if named in places else "lies outside of its folder, where nothing is opened"
            self.notes.append(f"its file {named[:80]!r} {fault}: {taken!r}, beside the document, was taken for it")
        return self.file.sidecars[taken]

    @cached_property
    def _past_bound(self) -> Mapping[object, str]:
        """URI → what is said of the file, of files that are not read because the document names too many."""
        listed = {key: file_uris(self.tree.get(key)) for key in ("buffers", "images")}
        said = "its glTF document is spread over {} files of its {}, and only the first {} are read"
        return {
            uri: said.format(len(uris), key, MOST_FILES)
            for key, uris in listed.items()
            for uri in set(uris[MOST_FILES:]).difference(*(uris[:MOST_FILES] for uris in listed.values()))
        }


def _decoded(uri: object) -> str:
    """The path that a URI names, percent signs decoded, without the steps that lead nowhere; "" of the network, of data, and of
    what is no file's."""
    if not isinstance(uri, str) or re.match(r"(?!file:)[A-Za-z][\w+.-]+:", uri):
        return ""
    path = urllib.parse.unquote(uri.removeprefix("file:")).replace("\\", "/")
    whole = posixpath.normpath(path)
    return "" if "\0" in path or posixpath.basename(whole) in ("", ".", "..") or path.rstrip("/").endswith("/..") else whole


def relative_paths(uri: object) -> list[str]:
    """Where below a document's folder the file of a URI may lie, best first: at its path, and beside the document under its name.
    Percent signs are decoded; of an absolute path, and of one that leads out of the folder, only the name counts. None of the
    network and of data URIs."""
    path = _decoded(uri)
    if not path:
        return []
    first, name = path.split("/")[0], posixpath.basename(path)
    leads_out = first in ("", "..") or first.endswith(":")
    return list(dict.fromkeys([*([] if leads_out else [path]), name]))


def file_uris(listed: object) -> list[str]:
    """The URIs of a document's buffers or pictures that name a file, each once."""
    items = listed if isinstance(listed, list) else []
    uris = (item.get("uri") for item in items if isinstance(item, dict))
    return list(dict.fromkeys(uri for uri in uris if relative_paths(uri)))


def referenced(data: bytes) -> list[tuple[str, ...]]:
    """Of each file that holds a document's buffers or pictures the paths, below the document's folder, where it may lie, best
    first; of what is no document, none."""
    text = data[20 : 20 + int.from_bytes(data[12:16], "little")] if data.startswith(GLB_MAGIC) else data
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return []
    listed = [tree.get(key) for key in ("buffers", "images")] if isinstance(tree, dict) else []
    return list(dict.fromkeys(tuple(relative_paths(uri)) for items in listed for uri in file_uris(items)[:MOST_FILES]))


def open_document(file: ScanFile) -> Document:
    """Raises ReadError."""
    text, binary = _glb_chunks(file) if file.data.startswith(GLB_MAGIC) else (file.data, None)
    tree = file.json_object(text, "its glTF document is")
    if not isinstance(tree.get("asset"), dict):
        raise file.error("its JSON is no glTF document")
    if not str(tree["asset"].get("version", "2")).startswith("2"):
        raise file.error(f"it is glTF {str(tree['asset'].get('version'))[:10]}, expected version 2", GLB_REMEDY)
    return Document(file, tree, binary)


def _glb_chunks(file: ScanFile) -> tuple[bytes, bytes | None]:
    """The JSON chunk and the first binary chunk."""
    data, at, chunks = file.data, 12, {}
    version, length = (int.from_bytes(data[k : k + 4], "little") for k in (4, 8))
    if version != 2 or not 12 <= length <= len(data):
        raise file.error(
            f"its GLB header says version {version} and {length} bytes, expected version 2 and at most {len(data)} (truncated?)"
        )
    while at + 8 <= length:
        size, kind = int.from_bytes(data[at : at + 4], "little"), data[at + 4 : at + 8]
        if at + 8 + size > length:
            raise file.error("a chunk of its GLB container reaches beyond its end (truncated?)")
        chunks.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size
    if CHUNK_JSON not in chunks:
        raise file.error("its GLB container has no JSON chunk")
    return chunks[CHUNK_JSON], chunks.get(CHUNK_BINARY)


def numbers(file: ScanFile, listed: object, length: int, what: str) -> np.ndarray:
    """(length,) finite float64 from a JSON list. Raises ReadError."""
    if isinstance(listed, list) and len(listed) == length and all(isinstance(x, int | float) and abs(x) < 1e30 for x in listed):
        return np.array(listed, np.float64)
    raise file.error(f"a node of its glTF document has a {what} that is not {length} numbers")
