"""Small valid files of every format that is read, in its spellings, from which `fuzz.py` makes damaged ones."""

import base64
import io
import json
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

CAMERA = {"fx": 20.0, "fy": 20.0, "cx": 7.5, "cy": 5.5, "depth_unit_mm": 0.1}


def surface() -> tuple[np.ndarray, np.ndarray]:
    """A bump of 5 × 6 points, float32, and its triangles."""
    v, u = np.mgrid[:5, :6]
    points = np.stack([u * 30.0, v * 30.0, 20 * np.sin(u) * np.cos(v)], -1).reshape(-1, 3).astype(np.float32)
    a = (v[:-1, :-1] * 6 + u[:-1, :-1]).ravel()
    return points, np.concatenate([np.stack([a, a + 1, a + 6], 1), np.stack([a + 1, a + 7, a + 6], 1)]).astype(np.int32)


POINTS, FACES = surface()
COLORS = (np.arange(POINTS.size) * 7 % 256).astype(np.uint8).reshape(-1, 3)


def rows(array: np.ndarray) -> str:
    return "".join(" ".join(map(repr, row)) + "\n" for row in array.tolist())


def ply(encoding: str, polygons: bool = False) -> bytes:
    order = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}[encoding]
    faces = [*FACES.tolist(), [0, 1, 7, 6], [0, 1]] if polygons else FACES.tolist()
    names = [f"property float {axis}" for axis in ("x", "y", "z", "nx", "ny", "nz")]
    colors = [f"property uchar {name}" for name in ("red", "green", "blue")]
    header = ["ply", f"format {encoding} 1.0", "comment made to be damaged", f"element vertex {len(POINTS)}", *names, *colors]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "property uchar flag", "end_header", ""]
    text = "\n".join(header).encode()
    if not order:
        table = np.concatenate([POINTS, POINTS / 100, COLORS], 1)
        return text + (rows(table) + "".join(f"{len(f)} {' '.join(map(str, f))} 1\n" for f in faces)).encode()
    columns = [*POINTS.T, *(POINTS / 100).T, *COLORS.T]
    kinds = [(str(k), (order + "f4") if k < 6 else "u1") for k in range(9)]
    body = np.rec.fromarrays(columns, dtype=kinds).tobytes()
    return text + body + b"".join(bytes([len(f)]) + np.array(f, order + "i4").tobytes() + b"\1" for f in faces)


def pcd(encoding: str) -> bytes:
    fields = np.rec.fromarrays(
        [*POINTS.T, np.arange(len(POINTS), dtype="<u4")], dtype=[(c, "<f4") for c in "xyz"] + [("rgb", "<u4")]
    )
    header = "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\nWIDTH 6\nHEIGHT 5\n"
    header += f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 30\nDATA {encoding}\n"
    if encoding == "ascii":
        return header.encode() + rows(np.concatenate([POINTS, np.arange(30)[:, None]], 1)).encode()
    if encoding == "binary":
        return header.encode() + fields.tobytes()
    raw = b"".join(fields[name].tobytes() for name in fields.dtype.names)
    packed = b"".join(bytes([len(raw[k : k + 32]) - 1]) + raw[k : k + 32] for k in range(0, len(raw), 32))
    return header.encode() + len(packed).to_bytes(4, "little") + len(raw).to_bytes(4, "little") + packed


def stl(is_text: bool) -> bytes:
    corners = POINTS[FACES]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    if not is_text:
        facets = np.zeros(len(FACES), [("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")])
        facets["n"], facets["c"] = normals, corners
        return bytes(80) + len(FACES).to_bytes(4, "little") + facets.tobytes()
    lines = ["solid a"]
    for normal, facet in zip(normals.tolist(), corners.tolist()):
        lines += ["facet normal " + " ".join(map(repr, normal)), "outer loop"]
        lines += ["vertex " + " ".join(map(repr, corner)) for corner in facet] + ["endloop", "endfacet"]
    return "\n".join([*lines, "endsolid a", ""]).encode()


def gltf(container: bool) -> bytes:
    sparse = np.array([1, 3], "<u2").tobytes() + POINTS[:2].tobytes()
    parts = [POINTS.tobytes(), FACES.astype("<u4").tobytes(), (POINTS * 0.01).astype("<f4").tobytes(), sparse]
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    views = [{"buffer": 0, "byteOffset": at, "byteLength": len(part)} for at, part in zip(starts, parts)]
    three = {"componentType": 5126, "type": "VEC3", "count": 30}
    changed = {"indices": {"bufferView": 3, "componentType": 5123}, "values": {"bufferView": 3, "byteOffset": 4}, "count": 2}
    accessors = [
        three | {"bufferView": 0, "sparse": changed},
        {"bufferView": 1, "componentType": 5125, "type": "SCALAR", "count": FACES.size},
    ]
    primitive = {"attributes": {"POSITION": 0}, "indices": 1, "targets": [{"POSITION": 2}]}
    binary = b"".join(parts)
    uri = {} if container else {"uri": "data:application/octet-stream;base64," + base64.b64encode(binary).decode()}
    tree = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"children": [1], "rotation": [0, 0, 0, 1], "translation": [1, 2, 3]}, {"mesh": 0, "scale": [1, 1, -1]}],
        "meshes": [{"primitives": [primitive, {"attributes": {}}], "weights": [0.5]}],
        "accessors": [*accessors, three | {"bufferView": 2}],
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)} | uri],
    }
    text = json.dumps(tree).encode()
    if not container:
        return text
    text, binary = text + b" " * (-len(text) % 4), binary + bytes(-len(binary) % 4)
    chunks = [len(text).to_bytes(4, "little"), b"JSON", text, len(binary).to_bytes(4, "little"), b"BIN\0", binary]
    body = b"".join(chunks)
    return b"glTF" + (2).to_bytes(4, "little") + (12 + len(body)).to_bytes(4, "little") + body


def png() -> bytes:
    chunk = lambda kind, data: len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    depth = (3000 + np.arange(12 * 16).reshape(12, 16)).astype(">u2")
    lines = b"".join(b"\0" + row.tobytes() for row in depth)
    head = (16).to_bytes(4, "big") + (12).to_bytes(4, "big") + b"\x10\0\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def npz(compressed: bool) -> bytes:
    out = io.BytesIO()
    save: Callable[..., None] = np.savez_compressed if compressed else np.savez
    save(out, depth=np.full((12, 16), 3000, np.uint16), color=np.zeros((12, 16, 3), np.uint8), **CAMERA)
    return out.getvalue()


def truedepth() -> bytes:
    camera: dict[str, list[float] | float] = {
        "intrinsic_matrix": [20, 0, 0, 0, 20, 0, 7.5, 5.5, 1],
        "inverse_lens_distortion_lookup_table": [0.0, 0.01, 0.02],
    }
    camera |= {f"intrinsic_matrix_reference_dimensions_{key}": size for key, size in (("width", 16), ("height", 12))}
    camera |= {f"lens_distortion_center_{axis}": 7.0 for axis in "xy"}
    text = json.dumps({"width": 16, "height": 12, "camera_intrinsics": camera}).encode()
    header = f"ply\nformat binary_little_endian 1.0\nelement metadata {len(text)}\nproperty uchar val\n"
    header += "element depth 192\nproperty float val\nend_header\n"
    return header.encode() + text + np.full(192, 0.4, "<f4").tobytes()


def landmarks() -> dict[str, bytes]:
    points = [[float(k), float(k * k % 7), 1.5] for k in range(7)]
    lines = "".join(" ".join(map(str, p)) + "\n" for p in points)
    picked = "".join(f'<point x="{x}" y="{y}" z="{z}" active="1" name="{k}"/>' for k, (x, y, z) in enumerate(points))
    return {
        "a.landmarks.json": json.dumps({"scheme": "now7", "points": points, "seen": [True] * 7}).encode(),
        "a.pp": f"<!DOCTYPE PickedPoints><PickedPoints>{picked}</PickedPoints>".encode(),
        "a.pts": f"version: 1\nn_points: 7\n{{\n{lines}}}\n".encode(),
        "a.lm3": ("# made\n7 landmarks:\n" + "".join(f"Nose tip {k}\n1 2 {k}\n" for k in range(7))).encode(),
        "a.bnd": "".join(f"{k} {k} 2 3\n" for k in range(83)).encode(),
        "a.landmarkAscii": f"# Avizo 3D ASCII 2.0\ndefine Markers 7\nMarkers {{ float[3] Coordinates }} @1\n@1\n{lines}".encode(),
    }


def utf16(data: bytes) -> bytes:
    return data.decode().encode("utf-16")


SIDECAR = json.dumps({"width": 16, "height": 12} | CAMERA).encode()
SEEDS: dict[str, Callable[[], dict[str, bytes]]] = {
    "ply": lambda: {
        f"{e}{p}.ply": ply(e, p) for e in ("ascii", "binary_little_endian", "binary_big_endian") for p in (False, True)
    },
    "truedepth": lambda: {"raw.ply": truedepth()},
    "obj": lambda: {
        "a.obj": (
            "# made\n" + "".join(f"v {r}\nvn {r}\n" for r in rows(POINTS).splitlines()) + "f 1/1/1 2/2 8 7\nf -1 -2 -3\n"
        ).encode()
    },
    "stl": lambda: {"text.stl": stl(True), "binary.stl": stl(False), "wide.stl": utf16(stl(True))},
    "off": lambda: {
        "a.off": (
            f"OFF\n{len(POINTS)} {len(FACES)} 0\n" + rows(POINTS) + "".join(f"3 {a} {b} {c}\n" for a, b, c in FACES)
        ).encode()
    },
    "gltf": lambda: {"a.glb": gltf(True), "a.gltf": gltf(False)},
    "pcd": lambda: {f"{encoding}.pcd": pcd(encoding) for encoding in ("ascii", "binary", "binary_compressed")},
    "png": lambda: {"frame.png": png()},
    "sidecar": lambda: {"frame.json": SIDECAR},
    "npz": lambda: {"frame.npz": npz(True), "plain.npz": npz(False)},
    "landmarks": landmarks,
}
PNG = png()


def decoded_size(data: bytes) -> int:
    """Bytes that a file stands for once its own compression is undone: what its memory is measured against."""
    size = len(data)
    if data.startswith(b"\x89PNG") and len(data) > 24:
        size += 2 * int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big")
    elif data.startswith(b"PK"):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                size += sum(info.file_size for info in archive.infolist())
        except Exception:  # whatever is wrong with it, it then unpacks to nothing
            return size
    elif b"binary_compressed" in data[:2000]:
        size *= 89
    return size
