"""From the arrays of a file to a valid `Scan`: indices checked, polygons triangulated, NaNs dropped, colours in 8 bits."""

from dataclasses import replace

import numpy as np

from geometry.readers.scan_file import ScanFile
from geometry.scan import Scan

NO_TRIANGLES = np.zeros((0, 3), np.int32)


def assemble(
    file: ScanFile,
    format: str,
    points: np.ndarray,
    triangles: np.ndarray = NO_TRIANGLES,
    colors: np.ndarray | None = None,
    normals: np.ndarray | None = None,
    raster_shape: tuple[int, int] | None = None,
) -> Scan:
    """points (n, 3), triangles (m, 3) of any integer type, colors (n, 3) of any number type, normals (n, 3) of any length.

    raster_shape (h, w): of an organized cloud, whose h·w points come row by row. Raises ReadError for an index that no vertex has
    and where no point is finite.
    """
    rows_and_columns = None if raster_shape is None else np.divmod(np.arange(len(points)), raster_shape[1])
    scan = Scan(
        points,
        _checked_triangles(file, triangles, points),
        file.source,
        format,
        colors=None if colors is None else eight_bit(colors),
        normals=None if normals is None else _unit_normals(normals),
        pixels=None if rows_and_columns is None else np.stack(rows_and_columns, 1).astype(np.int32),
        raster_shape=raster_shape,
    )
    finite = np.isfinite(scan.points).all(1)
    if not finite.any():
        raise file.error(f"none of its {len(points)} points is finite", "export the scan again with its points")
    if not finite.all():
        scan = scan.keep(finite).with_note(f"{int((~finite).sum())} of {len(finite)} points are not finite and were dropped")
    return _without_degenerate_triangles(scan)


def triangulate(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Polygons as flat vertex indices with (p,) corner counts → (m, 3) triangles, each polygon a fan about its first corner.

    Exact for convex polygons, which is what scanners write. Polygons of fewer than three corners vanish.
    """
    counts = np.asarray(counts, np.int64)
    starts = np.cumsum(counts) - counts
    fans = np.maximum(counts - 2, 0)
    first = np.repeat(starts, fans)
    step = np.arange(fans.sum()) - np.repeat(np.cumsum(fans) - fans, fans)
    return values[np.stack([first, first + step + 1, first + step + 2], axis=1)]


def eight_bit(colors: np.ndarray) -> np.ndarray:
    """(n, 3) of any number type → uint8.

    8- and 16-bit integers by their range; floats as 0..1 where none exceeds 1, else as 0..255.
    """
    colors = np.asarray(colors)[..., :3]
    if colors.dtype == np.uint8:
        return np.ascontiguousarray(colors)
    if colors.dtype == np.uint16:
        return (colors // 257).astype(np.uint8)
    values = np.nan_to_num(colors.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if colors.dtype.kind == "f" and values.size and values.max() <= 1.0:
        values = values * 255
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _checked_triangles(file: ScanFile, triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    triangles = np.asarray(triangles).reshape(-1, 3)
    if len(triangles) and not (triangles.min() >= 0 and triangles.max() < len(points)):
        bad = triangles[((triangles < 0) | (triangles >= len(points))).any(1)][0]
        raise file.error(
            f"a face names the vertices {', '.join(map(str, bad.tolist()))}, but the file has vertices 0 to {len(points) - 1}"
        )
    return triangles


def _unit_normals(normals: np.ndarray) -> np.ndarray | None:
    """(n, 3) unit normals, zero where the file's is zero or not finite; None where all are."""
    normals = np.nan_to_num(np.asarray(normals, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    with np.errstate(over="ignore"):  # a corrupt normal may be 1e300 long: it becomes zero
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    units = np.divide(normals, lengths, out=np.zeros_like(normals), where=(lengths > 1e-12) & np.isfinite(lengths))
    return units if units.any() else None


def _without_degenerate_triangles(scan: Scan) -> Scan:
    a, b, c = (scan.points[scan.triangles[:, k]] for k in range(3))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        has_area = (np.cross(b - a, c - a) != 0).any(1)  # also false for a repeated corner
    if has_area.all():
        return scan
    whole = replace(scan, triangles=scan.triangles[has_area])
    return whole.with_note(f"{int((~has_area).sum())} triangles without area were dropped")
