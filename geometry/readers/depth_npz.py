"""Depth images as NumPy `.npz`: `depth` (h, w) in `depth_unit_mm`, fx, fy, cx, cy; perhaps `color` (h, w, 3).

Pickles are never opened, and nothing is unpacked that is larger than a depth image can be: `numpy.load` would allocate whatever
an archive's headers promise, so they are checked here first.
"""

import io
import math
import zipfile
import zlib
from dataclasses import replace

import numpy as np

from geometry.readers.assembly import eight_bit
from geometry.readers.depth_sidecar import KEYS, MOST_PIXELS, camera_from_values, check_principal_point
from geometry.readers.scan_file import ScanFile
from geometry.scan import Scan

REMEDY = "save it with numpy.savez_compressed(NAME, depth=…, fx=…, fy=…, cx=…, cy=…, depth_unit_mm=…), depth of shape (h, w)"
COLOR_NAMES = ("color", "colors", "rgb")


def sniff(name: str, head: bytes) -> bool:
    """A zip archive whose first member is an array."""
    if not head.startswith(b"PK\x03\x04"):
        return False
    length = int.from_bytes(head[26:28], "little")
    return head[30 : 30 + length].endswith(b".npy")


def read(file: ScanFile) -> Scan:
    try:
        with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            missing = [key for key in ("depth", *KEYS) if key not in members]
            if missing:
                raise file.error(
                    f"it lacks {', '.join(missing)} (it holds {', '.join(sorted(members)[:12]) or 'nothing'})", REMEDY
                )
            depth = _array(file, archive, members["depth"])
            values = {key: _scalar(_array(file, archive, members[key])) for key in KEYS}
            color_name = next((name for name in COLOR_NAMES if name in members), None)
            colors = _array(file, archive, members[color_name]) if color_name else None
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, OSError, ValueError) as error:
        raise file.error(f"its archive is damaged or truncated ({error})", REMEDY) from None
    return _scan(file, depth, values, colors)


def _scan(file: ScanFile, depth: np.ndarray, values: dict[str, object], colors: np.ndarray | None) -> Scan:
    if depth.ndim != 2 or depth.dtype.kind not in "fiu" or not depth.size:
        raise file.error(f"its depth has the shape {depth.shape} and the type {depth.dtype}, expected numbers (h, w)", REMEDY)
    height, width = depth.shape
    camera, unit_mm = camera_from_values(file, values, width, height, "it", REMEDY)
    with np.errstate(over="ignore", invalid="ignore"):
        depth_mm = depth.astype(np.float64) * unit_mm
    depth_mm[~(np.abs(depth_mm) < 1e9)] = 0  # a thousand kilometres: not a depth
    if not (depth_mm > 0).any():
        raise file.error("no pixel has a positive, finite depth", "check the sensor's export")
    check_principal_point(file, camera, "it", REMEDY, size_is_told=True)  # the array has it
    fits = colors is not None and colors.shape in ((*depth.shape, 3), (*depth.shape, 4)) and colors.dtype.kind in "fiu"
    notes = (
        ()
        if fits or colors is None
        else (f"colour of the shape {colors.shape} does not fit depth of the shape {depth.shape} and was ignored",)
    )
    scan = Scan.from_depth(depth_mm, camera, file.source, "depth_npz", eight_bit(colors) if fits else None, notes)
    return replace(scan, depth_unit_mm=unit_mm)


def _array(file: ScanFile, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One member, whose size is checked against its header before anything is allocated; objects (pickles) are refused."""
    if info.file_size > 8 * MOST_PIXELS:
        raise file.error(
            f"its member {info.filename} unpacks to {info.file_size} bytes, at most {8 * MOST_PIXELS} are read", REMEDY
        )
    stream = io.BytesIO(archive.read(info))
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(stream)
    except (ValueError, SyntaxError, TypeError, UnicodeDecodeError) as error:
        raise file.error(f"its member {info.filename} is no NumPy array ({error})", REMEDY) from None
    if dtype.hasobject:
        raise file.error(f"its member {info.filename} is a pickle, which is never opened", REMEDY)
    body = stream.getvalue()[stream.tell() :]
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(body):
        raise file.error(f"its member {info.filename} promises the shape {shape} of {dtype}, but holds {len(body)} bytes", REMEDY)
    return np.frombuffer(body, dtype).reshape(shape, order="F" if is_fortran else "C") if len(body) else np.zeros(shape, dtype)


def _scalar(array: np.ndarray) -> object:
    return array.reshape(-1)[0].item() if array.size == 1 else f"an array of the shape {array.shape}"
