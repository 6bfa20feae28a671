"""glTF 2.0, as .glb or .gltf: every mesh of the scene in scene coordinates, with vertex or texture colours.

glTF says metres, but exporters of face scans often leave millimetres or no unit at all, so the unit stays open.
Morph targets are applied with the weights of the file; skins and animations are passed over. Read here and not by a library,
because trimesh reads Draco-compressed and sparse geometry as zeros and quantized coordinates unscaled, all without an error.
"""

import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from geometry.mesh import TriangleMesh, merged
from geometry.readers.assembly import NO_TRIANGLES, assemble, eight_bit
from geometry.readers.gltf_attributes import Arrays, drawn_arrays, is_packed
from geometry.readers.gltf_buffers import (
    GLB_MAGIC,
    GLB_REMEDY,
    Document,
    numbers,
    open_document,
    referenced,
)
from geometry.readers.scan_file import ScanFile
from geometry.readers.text_encoding import plain_text
from geometry.scan import Scan

UNIT_NOTE = "glTF's unit is the metre, but exporters often ignore it: the unit was left open"
POINTS, TRIANGLES, STRIP, FAN = 0, 4, 5, 6
MOST_INSTANCES = 10_000
MOST_TEXELS = 100_000_000


def sniff(name: str, head: bytes) -> bool:
    return head.startswith(GLB_MAGIC) or (
        head.lstrip()[:1] == b"{"
        and b'"asset"' in head
        and any(key in head for key in (b'"accessors"', b'"buffers"', b'"meshes"'))
    )


def neighbours(name: str, data: bytes) -> list[tuple[str, ...]]:
    """As `geometry.readers.neighbours`."""
    text = plain_text(data)
    return referenced(text) if sniff(name, text) else []


def read(file: ScanFile) -> Scan:
    document = open_document(file)
    placed = [
        _primitive(document, primitive, _weights(document, node, mesh), matrix)
        for node, mesh, matrix in _instances(document)
        for primitive in _listed(document, mesh, "primitives")
    ]
    parts = [part for part in placed if part is not None]
    if not parts:
        raise file.error("its scene holds no mesh or points", "export the scan as a mesh or point cloud")
    whole, all_colored = merged(parts), all(part.colors is not None for part in parts)
    colors = np.concatenate([part.colors for part in parts]) if all_colored else None
    scan = assemble(file, "gltf", whole.vertices, whole.triangles, colors)
    return replace(scan, notes=(UNIT_NOTE, *dict.fromkeys(document.notes), *scan.notes))


def _instances(document: Document) -> Iterator[tuple[dict, dict, np.ndarray]]:
    """Each node of the scene that has a mesh, that mesh, and its (4, 4) matrix to scene coordinates; all meshes as they are where
    there are no scenes."""
    if not document.items("scenes"):
        yield from (({}, mesh, np.eye(4)) for mesh in document.items("meshes"))
        return
    scene = document.item("scenes", document.tree.get("scene", 0))
    waiting = [(index, np.eye(4)) for index in _listed(document, scene, "nodes")]
    for _ in range(MOST_INSTANCES):
        if not waiting:
            return
        index, parent = waiting.pop()
        node = document.item("nodes", index)
        matrix = parent @ _local_matrix(document.file, node)
        waiting.extend((child, matrix) for child in _listed(document, node, "children")[::-1])
        if "mesh" in node:
            yield node, document.item("meshes", node["mesh"]), matrix
    raise document.file.error(f"its scene has more than {MOST_INSTANCES} nodes, or nodes within themselves", GLB_REMEDY)


def _listed(document: Document, item: dict, key: str) -> list:
    listed = item.get(key, [])
    if not isinstance(listed, list):
        raise document.file.error(f"its glTF document's {key!r} is no list")
    return listed


def _local_matrix(file: ScanFile, node: dict) -> np.ndarray:
    """Section 3.5.2: `matrix` column by column, or translation · rotation · scale."""
    if "matrix" in node:
        return numbers(file, node["matrix"], 16, "matrix").reshape(4, 4).T
    matrix = np.eye(4)
    if "rotation" in node:
        quaternion = numbers(file, node["rotation"], 4, "rotation")
        x, y, z, w = quaternion / max(float(np.linalg.norm(quaternion)), 1e-12)
        matrix[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    if "scale" in node:
        matrix[:3, :3] *= numbers(file, node["scale"], 3, "scale")
    if "translation" in node:
        matrix[:3, 3] = numbers(file, node["translation"], 3, "translation")
    return matrix


def _weights(document: Document, node: dict, mesh: dict) -> np.ndarray:
    """(t,) how much of each morph target a mesh has as it stands in the scene: the node's own weights before its mesh's."""
    listed = node.get("weights", mesh.get("weights", []))
    return numbers(document.file, listed, len(listed) if isinstance(listed, list) else -1, "list of morph weights")


def _primitive(document: Document, primitive: object, weights: np.ndarray, matrix: np.ndarray) -> TriangleMesh | None:
    """In scene coordinates, to which matrix (4, 4) leads, perhaps with colours and without triangles; None for lines and for what
    has no positions, which the format says to pass over."""
    if not isinstance(primitive, dict) or not isinstance(primitive.get("attributes"), dict):
        raise document.file.error("a primitive of its glTF document has no attributes")
    mode = primitive.get("mode", TRIANGLES)
    if mode not in (POINTS, TRIANGLES, STRIP, FAN) or "POSITION" not in primitive["attributes"]:
        return None
    arrays = drawn_arrays(document, primitive)
    points = arrays("POSITION").astype(np.float64)
    if points.shape[1] != 3:
        raise document.file.error("its positions are not three numbers each")
    points = _morphed(document, primitive, points, weights)
    triangles = NO_TRIANGLES
    if mode != POINTS:
        corners = arrays("indices")[:, 0].astype(np.int64) if "indices" in primitive else np.arange(len(points))
        triangles = _triangles(corners, TRIANGLES if "indices" in primitive and is_packed(primitive) else mode)
        if len(triangles) and triangles.max() >= len(points):  # before an offset could make it another mesh's vertex
            raise document.file.error(
                f"a face names the vertex {triangles.max()}, but its mesh has vertices 0 to {len(points) - 1}"
            )
    with np.errstate(over="ignore", invalid="ignore"):  # a corrupt matrix: the points become inf and are dropped
        points = points @ matrix[:3, :3].T + matrix[:3, 3]
    if np.linalg.det(matrix[:3, :3]) < 0:  # section 3.7.4: a mirror reverses the winding
        triangles = triangles[:, ::-1]
    return TriangleMesh(points, triangles, _colors(document, primitive, arrays, len(points)))


def _morphed(document: Document, primitive: dict, points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Section 3.7.2.2: points (n, 3) moved by each morph target's displacements as much as its weight says."""
    targets = _listed(document, primitive, "targets")
    if not weights.any():
        return points
    if len(weights) != len(targets):
        raise document.file.error(f"it gives {len(weights)} morph weights for {len(targets)} morph targets", GLB_REMEDY)
    document.notes.append("morph targets were applied with the weights of the file")
    for weight, target in zip(weights, targets):
        if weight == 0 or not isinstance(target, dict) or "POSITION" not in target:
            continue
        moved = document.array(target["POSITION"])
        if moved.shape != points.shape:
            raise document.file.error(f"a morph target moves {len(moved)} of {len(points)} points", GLB_REMEDY)
        points = points + weight * moved
    return points


def _triangles(corners: np.ndarray, mode: int) -> np.ndarray:
    """Section 3.7.2.1."""
    if mode == TRIANGLES:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    k = np.arange(max(len(corners) - 2, 0))
    if mode == FAN:
        return np.stack([corners[k + 1], corners[k + 2], np.broadcast_to(corners[:1], k.shape)], axis=1)
    return np.stack([corners[k], corners[k + 1 + k % 2], corners[k + 2 - k % 2]], axis=1)


def _colors(document: Document, primitive: dict, arrays: Arrays, count: int) -> np.ndarray | None:
    """COLOR_0, else the base-colour texture at each vertex, nearest texel."""
    attributes = primitive["attributes"]
    if "COLOR_0" in attributes:
        colors = arrays("COLOR_0")
        return eight_bit(colors) if len(colors) == count and colors.shape[1] >= 3 else None
    if "TEXCOORD_0" not in attributes or "material" not in primitive:
        return None
    uv, texture = arrays("TEXCOORD_0"), _texture(document, primitive["material"])
    if texture is None or uv.shape != (count, 2):
        return None
    size = np.array(texture.shape[1::-1])
    texels = np.floor(np.mod(np.nan_to_num(uv.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0), 1.0) * size)
    column, row = np.minimum(texels.astype(np.int64), size - 1).T  # v runs down from the image's top
    return texture[row, column]


def _texture(document: Document, material: object) -> np.ndarray | None:
    """(h, w, 3) uint8; None where there is none that can be read here: colour is a help, not a condition."""
    base = document.item("materials", material).get("pbrMetallicRoughness", {}).get("baseColorTexture")
    if not isinstance(base, dict):
        return None
    source = document.item("textures", base.get("index")).get("source")
    if source is None:
        return None
    image = document.item("images", source)
    if "uri" in image and not str(image["uri"]).startswith("data:") and document.neighbour(image["uri"]) is None:
        return None
    data = document.view(image.get("bufferView")) if "bufferView" in image else document.uri_bytes(image.get("uri"))
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MOST_TEXELS:
                return None
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
