"""The arrays of one drawn primitive of glTF 2.0: its attributes and corners, from plain accessors or Draco-compressed.

https://github.com/KhronosGroup/glTF/tree/main/extensions/2.0/Khronos/KHR_draco_mesh_compression, decoded by DracoPy, which is an
extra of its own: few scans need it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from geometry.readers.gltf_buffers import GLB_REMEDY, Document

DRACO = "KHR_draco_mesh_compression"
DRACO_REMEDY = "install the extra for them (pip install 'face-relief[draco]'), or export it as a plain, uncompressed .glb"
INDICES = "indices"
Arrays = Callable[[str], np.ndarray]  # the name of an attribute that the primitive has, or INDICES → (count, width)


def is_packed(primitive: dict) -> bool:
    """Whether its corners are Draco's, which are those of single triangles whatever its mode says."""
    extensions = primitive.get("extensions")
    return isinstance(extensions, dict) and DRACO in extensions


def drawn_arrays(document: Document, primitive: dict) -> Arrays:
    """What gives the arrays of a primitive. Raises ReadError, as does what it returns."""
    attributes = primitive["attributes"]
    if not is_packed(primitive):
        return lambda name: document.array(primitive[INDICES] if name == INDICES else attributes[name])
    extension = primitive["extensions"][DRACO]
    packed = extension.get("attributes") if isinstance(extension, dict) else None
    if not isinstance(packed, dict):
        raise document.file.error("a Draco-compressed mesh of its glTF document lists no attributes", GLB_REMEDY)
    decoded = _decoded(document, document.view(extension.get("bufferView")))

    def array(name: str) -> np.ndarray:
        if name == INDICES:
            return np.asarray(decoded.faces, np.int64).reshape(-1, 1)
        if name not in packed:
            return document.array(attributes[name])
        found = decoded.get_attribute_by_unique_id(packed[name])
        if found is None:
            raise document.file.error(f"its Draco-compressed mesh lacks the attribute {name}")
        return np.asarray(found["data"]).reshape(len(found["data"]), -1)

    return array


def _decoded(document: Document, data: bytes) -> Any:
    """DracoPy's mesh or cloud."""
    try:
        import DracoPy
    except ImportError:
        raise document.file.error(
            "its meshes are Draco-compressed, which this installation does not read", DRACO_REMEDY
        ) from None
    try:
        mesh = DracoPy.decode(data)
    except Exception as error:  # its exceptions have no base of their own
        raise document.file.error(f"its Draco-compressed mesh cannot be decoded ({error})") from None
    if len(mesh.points) == 0:
        raise document.file.error("its Draco-compressed mesh holds no points")
    return mesh
