"""Raw frames of Apple's TrueDepth camera as Standard Cyborg's SDK writes them: a PLY of elements metadata, color and depth.

`metadata` is JSON, a byte a row; `color` is rgb 0..1 a pixel; `depth` is metres a pixel, 9999 for none. Depth is as distorted
as the colour image (AVCameraCalibrationData.h: "geometrically distorted to align with images produced by the camera"), so each
pixel is moved to its undistorted position before it becomes a ray. Frame: x right, y down, z forward; never turned upright.
Read here and not by a library: none knows these elements, and trimesh returns an empty scene without an error.

Which of the two lens tables: the header's reference implementation takes the *inverse* table from a point of the distorted image
to its undistorted place, and the plain table back. (Its property texts can be read the other way.) Standard Cyborg's own SDK
unprojects with the plain table, and its fused surfaces carry that: a frame agrees with them best under the plain table, which
proves nothing. Two checks that need no fused surface decide for the header: straight edges of the room become straighter with
the inverse table and more bent with the plain one; and where nine views of one rigid head are registered with the table's
strength as an unknown, it comes out at 0.7 to 1.4 times the inverse table, with the focal length, the principal point or a depth
offset as further unknowns and without.
"""

import numpy as np

from geometry.camera import PinholeCamera
from geometry.readers import ply
from geometry.readers.ply_elements import Columns, Lists, read_elements
from geometry.readers.scan_file import ScanFile
from geometry.scan import Scan

SNIFFED = 1 << 16  # bytes
NO_DEPTH_M = 9999.0
UNDISTORTING_TABLE = "inverse_lens_distortion_lookup_table"
REMEDY = "save the frame again from the capture app, with its calibration"


def sniff(name: str, head: bytes) -> bool:
    if not ply.sniff(name, head):
        return False
    header = head[:SNIFFED].partition(b"end_header")[0]
    return all(b"\nelement " + element + b" " in header for element in (b"metadata", b"depth"))


def read(file: ScanFile) -> Scan:
    elements = read_elements(file)
    text = _column(file, elements["metadata"], "metadata").astype(np.uint8).tobytes().rstrip(b"\0")
    metadata = file.json_object(text, "its metadata are", REMEDY)
    width, height = (int(_number(file, metadata, key)) for key in ("width", "height"))
    depth_m = _column(file, elements["depth"], "depth").astype(np.float64)
    if width < 1 or width * height != len(depth_m):
        raise file.error(f"its metadata say {width} × {height} pixels, but it holds {len(depth_m)} depths", REMEDY)
    shape = height, width
    valid = np.flatnonzero((depth_m > 0) & (depth_m < NO_DEPTH_M))
    if not len(valid):
        raise file.error("no pixel has a depth", "check the capture")
    calibration = metadata.get("camera_intrinsics")
    if not isinstance(calibration, dict):
        raise file.error("its metadata hold no camera_intrinsics", REMEDY)
    camera = _camera(file, calibration, shape)
    rows, columns = np.divmod(valid, shape[1])
    uv = np.stack([columns, rows], axis=1).astype(np.float64)
    notes: tuple[str, ...] = ()
    if calibration.get(UNDISTORTING_TABLE):
        uv = _undistorted(file, calibration, uv, shape)
    else:
        notes = (f"no {UNDISTORTING_TABLE}: pixels are taken as undistorted",)
    return Scan(
        camera.unproject(uv, depth_m[valid] * 1000.0),
        np.zeros((0, 3), np.int32),
        file.source,
        "truedepth_ply",
        unit_mm=1.0,
        scale_is_metric=True,
        colors=_colors(elements.get("color", {}), valid, len(depth_m)),
        pixels=np.stack([rows, columns], axis=1).astype(np.int32),
        raster_shape=shape,
        camera=camera,
        notes=notes,
    )


def undistort(points: np.ndarray, table: np.ndarray, center: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Points (n, 2) of the distorted image → (n, 2) rectilinear, by the model of AVCameraCalibrationData.h.

    table (k,): relative magnification, r_undistorted = r (1 + m(r)), at k radii evenly spaced from 0 at the distortion `center`
    (2,) to the farthest corner of an image of `size` (2,) (width, height); linear between, constant beyond.
    """
    offset = points - center
    farthest = np.linalg.norm(np.maximum(center, size - center))
    magnification = np.interp(np.linalg.norm(offset, axis=1), np.linspace(0.0, farthest, len(table)), table)
    return center + offset * (1.0 + magnification[:, None])


def _undistorted(file: ScanFile, calibration: dict, uv: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(n, 2) pixels → (n, 2); the distortion center is given at the reference size, like the intrinsics."""
    scale = _scale(file, calibration, shape)
    table = _numbers(file, calibration, UNDISTORTING_TABLE)
    if len(table) < 2 or np.abs(table).max() >= 0.5:
        raise file.error(f"its {UNDISTORTING_TABLE} is no table of small relative magnifications", REMEDY)
    center = np.array([_number(file, calibration, f"lens_distortion_center_{axis}") for axis in "xy"]) * scale
    return undistort(uv, table, center, np.array(shape[::-1], float))


def _column(file: ScanFile, element: Columns, name: str) -> np.ndarray:
    """The element's first property."""
    column = next(iter(element.values()), None)
    if column is None or isinstance(column, Lists):
        raise file.error(f"its element '{name}' has no plain property", REMEDY)
    return column


def _camera(file: ScanFile, calibration: dict, shape: tuple[int, int]) -> PinholeCamera:
    """Nominal intrinsics, given column-major at a reference size and scaled by plain multiplication."""
    matrix = _numbers(file, calibration, "intrinsic_matrix")
    if len(matrix) != 9 or not (matrix[0] > 0 and matrix[4] > 0):
        raise file.error("its intrinsic_matrix is not nine numbers, column by column, with positive focal lengths", REMEDY)
    sx, sy = _scale(file, calibration, shape)
    return PinholeCamera(
        shape[1], shape[0], float(matrix[0] * sx), float(matrix[4] * sy), float(matrix[6] * sx), float(matrix[7] * sy)
    )


def _scale(file: ScanFile, calibration: dict, shape: tuple[int, int]) -> np.ndarray:
    """(2,) image pixels in one pixel of the reference size, in x and y."""
    reference = [_number(file, calibration, f"intrinsic_matrix_reference_dimensions_{key}") for key in ("width", "height")]
    if min(reference) < 1:
        raise file.error(f"its intrinsic matrix refers to an image of {reference[0]:g} × {reference[1]:g} pixels", REMEDY)
    return np.array([shape[1] / reference[0], shape[0] / reference[1]])


def _number(file: ScanFile, values: dict, key: str) -> float:
    return file.number(values, key, "its metadata give", REMEDY)


def _numbers(file: ScanFile, values: dict, key: str) -> np.ndarray:
    listed = values.get(key)
    if not isinstance(listed, list) or not listed:
        raise file.error(f"its metadata hold no list {key}", REMEDY)
    return np.array([_number(file, {key: value}, key) for value in listed], np.float64)


def _colors(element: Columns, valid: np.ndarray, pixels: int) -> np.ndarray | None:
    channels = [channel for name in "rgb" if isinstance(channel := element.get(name), np.ndarray) and len(channel) == pixels]
    if len(channels) < 3:
        return None
    colors = np.stack(channels, axis=1)[valid].astype(np.float64)
    return np.rint(np.clip(np.nan_to_num(colors, nan=0.0), 0.0, 1.0) * 255).astype(np.uint8)
