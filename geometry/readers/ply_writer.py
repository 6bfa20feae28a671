"""Meshes as binary little-endian PLY with per-vertex attributes. `geometry.readers` reads them back.

Written with NumPy alone: one mesh, one sequence of bytes, whatever the versions of the mesh libraries.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from geometry.mesh import TriangleMesh

PRECISION_MM = 1e-4  # coordinates that float32 rounds by more than this are written as doubles
_TYPES = {"u1": "uchar", "i4": "int", "f4": "float", "f8": "double"}
_COLORS = ("red", "green", "blue")
_TRIANGLE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])


def _stored(values: np.ndarray) -> np.ndarray:
    """Values in one of PLY's types that are used here: uint8 (also for bool), int32, float32, float64."""
    values = np.asarray(values)
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind not in "buif":
        raise ValueError(f"an attribute of type {values.dtype} has no PLY type; use uint8, int32, float32 or float64")
    if kind == "f":
        return values.astype("<f8" if size == 8 else "<f4")
    return values.astype("u1" if kind == "b" or (kind == "u" and size == 1) else "<i4")


def _columns(mesh: TriangleMesh, vertex_attributes: Mapping[str, np.ndarray], unit_mm: float) -> dict[str, np.ndarray]:
    largest = float(np.abs(mesh.vertices).max()) if len(mesh.vertices) else 0.0
    rounding = float(np.spacing(np.float32(largest))) / 2 * unit_mm
    coordinates = mesh.vertices if rounding > PRECISION_MM else mesh.vertices.astype(np.float32)
    columns = {axis: _stored(coordinates[:, k]) for k, axis in enumerate("xyz")}
    if mesh.colors is not None:
        columns |= {name: np.asarray(mesh.colors)[:, k].astype("u1") for k, name in enumerate(_COLORS)}
    for name, values in vertex_attributes.items():
        if name in columns or not name.isidentifier():
            raise ValueError(f"vertex attribute {name!r}: the name must be an identifier other than {', '.join(columns)}")
        if np.shape(values) != (len(mesh.vertices),):
            raise ValueError(f"vertex attribute {name!r} has shape {np.shape(values)}, expected ({len(mesh.vertices)},)")
        columns[name] = _stored(values)
    return columns


def ply_bytes(mesh: TriangleMesh, vertex_attributes: Mapping[str, np.ndarray] | None = None, unit_mm: float = 1.0) -> bytes:
    """The mesh as a binary little-endian PLY file; arguments as `write_ply`."""
    columns = _columns(mesh, vertex_attributes or {}, unit_mm)
    vertices = np.rec.fromarrays(columns.values(), dtype=[(name, values.dtype) for name, values in columns.items()])
    triangles = np.empty(len(mesh.triangles), dtype=_TRIANGLE)
    triangles["count"], triangles["corners"] = 3, mesh.triangles
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    header += [f"property {_TYPES[values.dtype.str[1:]]} {name}" for name, values in columns.items()]
    header += [f"element face {len(triangles)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(header).encode("ascii") + vertices.tobytes() + triangles.tobytes()


def write_ply(
    path_or_file: str | Path | BinaryIO,
    mesh: TriangleMesh,
    vertex_attributes: Mapping[str, np.ndarray] | None = None,
    unit_mm: float = 1.0,
) -> None:
    """Write a mesh as binary little-endian PLY; the same input gives the same bytes.

    vertex_attributes: name → (n,) uint8, bool, int32, float32 or float64. Colours go to red, green, blue. Coordinates are
    float32, or double where float32 would round by more than 1e-4 mm; unit_mm: mm in one unit of the coordinates. Raises
    ValueError for an attribute of another shape or type, or with a taken name.
    """
    data = ply_bytes(mesh, vertex_attributes, unit_mm)
    if hasattr(path_or_file, "write"):
        path_or_file.write(data)
    else:
        Path(path_or_file).write_bytes(data)
