"""The container of glTF 2.0: the JSON document, its binary buffers and the arrays (accessors) in them. Nothing is fetched.

https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html, sections 3.6 (binary data) and 4 (GLB). Read here, see `gltf`.
"""

import base64
import binascii
from dataclasses import dataclass, field

import numpy as np

from geometry.readers.scan_file import ScanFile

GLB_MAGIC = b"glTF"
CHUNK_JSON, CHUNK_BINARY = b"JSON", b"BIN\0"
COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
GLB_REMEDY = "export it as a plain, uncompressed .glb"


@dataclass(frozen=True)
class Document:
    """tree: the JSON document; binary: GLB's own buffer, or None."""

    file: ScanFile
    tree: dict
    binary: bytes | None
    buffers: dict[int, bytes] = field(default_factory=dict)  # read so far

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
        """(count, width) of an accessor; integers marked as normalized become 0..1 or −1..1 (section 3.11)."""
        accessor = self.item("accessors", index)
        component, width = COMPONENTS.get(accessor.get("componentType")), WIDTHS.get(accessor.get("type"))
        count = self.whole(accessor, "count")
        if component is None or width is None or "sparse" in accessor or "bufferView" not in accessor:
            raise self.file.error(f"its accessor {index} is sparse, compressed or of an unknown type", GLB_REMEDY)
        dtype, view = np.dtype(component), self.item("bufferViews", accessor["bufferView"])
        data = self.view(accessor["bufferView"])
        offset, row = self.whole(accessor, "byteOffset", 0), dtype.itemsize * width
        stride = self.whole(view, "byteStride", row) or row
        if stride < row or offset + (count - 1) * stride + row > len(data):
            raise self.file.error(
                f"its accessor {index} promises {count} items, but its buffer view has {len(data)} bytes (truncated?)"
            )
        values = np.ndarray((count, width), dtype, data, offset, (stride, dtype.itemsize)).copy()
        if accessor.get("normalized") and dtype.kind in "iu":
            return np.maximum(values / np.iinfo(dtype).max, -1.0)
        return values

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
            self.buffers[index] = self.binary if uri is None else self.uri_bytes(uri)
        return self.buffers[index]

    def uri_bytes(self, uri: object) -> bytes:
        """Of a data URI or of a neighbour; never of the network."""
        if not isinstance(uri, str):
            raise self.file.error("its glTF document has a URI that is no text")
        if uri.startswith("data:"):
            try:
                return base64.b64decode(uri.partition(",")[2], validate=True)
            except (binascii.Error, ValueError) as error:
                raise self.file.error(f"an embedded buffer is damaged ({error})") from None
        data = self.file.sidecar(uri)
        if data is None:
            raise self.file.error(
                f"its geometry is in another file, {uri[:80]!r}, which is missing",
                f"put {self.file.sidecar_name('.bin')} beside it under that name, or export a single .glb",
            )
        return data


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
    if version != 2 or length != len(data):
        raise file.error(
            f"its GLB header says version {version} and {length} bytes, expected version 2 and {len(data)} (truncated?)"
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
