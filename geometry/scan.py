"""A raw scan, as read: points, perhaps triangles, perhaps the pixel grid they came from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geometry.camera import PinholeCamera
from geometry.mesh import fixed_rows, triangles_among


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan. Immutable (points and triangles are not writeable); every stage returns a new one. Hashed by identity.

    points (n, 3) float64: the file's coordinates × `unit_mm`, so mm where the unit is known; in the
        file's own units while `unit_mm` is None. Depth formats: camera frame, mm. All finite.
    triangles (m, 3) int32: m = 0 for a cloud.
    colors (n, 3) uint8 or None; normals (n, 3) outward unit vectors or None.
    pixels (n, 2) int32 or None: (row, column) of each point in the raster it was read from
        (`raster_shape` (h, w)), for depth images and organized clouds.
    camera: for depth images; None otherwise. depth_unit_mm: mm in one step of its raster, where the file or its sidecar says so.
    unit_mm: mm in one unit of the file's coordinates; None while unknown. Depth formats: 1.0.
    scale_is_metric: the unit is known (given by the format, by the user, or inferred as m/cm/mm/inch);
        False means that size itself must be estimated.
    guessed_winding (n,) bool or None: points all of whose triangles are wound by a guess, and not as the file has them: which
        side these call outward proves nothing.
    """

    points: np.ndarray
    triangles: np.ndarray
    source: str
    format: str
    unit_mm: float | None = None
    scale_is_metric: bool = False
    colors: np.ndarray | None = None
    normals: np.ndarray | None = None
    pixels: np.ndarray | None = None
    raster_shape: tuple[int, int] | None = None
    camera: PinholeCamera | None = None
    depth_unit_mm: float | None = None
    notes: tuple[str, ...] = ()
    guessed_winding: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", fixed_rows(self.points, np.float64))
        object.__setattr__(self, "triangles", fixed_rows(self.triangles, np.int32))

    @classmethod
    def from_depth(
        cls,
        depth: np.ndarray,
        camera: PinholeCamera,
        source: str,
        format: str,
        colors: np.ndarray | None = None,
        notes: Sequence[str] = (),
    ) -> "Scan":
        """depth (h, w) in mm, 0 or NaN where there is none; colors (h, w, 3) uint8 or None."""
        rows, columns = np.nonzero(np.isfinite(depth) & (depth > 0))
        points = camera.unproject(np.stack([columns, rows], 1).astype(float), depth[rows, columns].astype(float))
        return cls(
            points,
            np.zeros((0, 3), np.int32),
            source,
            format,
            unit_mm=1.0,
            scale_is_metric=True,
            colors=None if colors is None else colors[rows, columns],
            pixels=np.stack([rows, columns], 1).astype(np.int32),
            raster_shape=depth.shape,
            camera=camera,
            notes=tuple(notes),
        )

    @property
    def is_cloud(self) -> bool:
        return len(self.triangles) == 0

    def in_unit(self, unit_mm: float, is_metric: bool) -> "Scan":
        """The same scan with its coordinates scaled from its present unit to mm by `unit_mm` per file unit."""
        return replace(self, points=self.points * (unit_mm / (self.unit_mm or 1.0)), unit_mm=unit_mm, scale_is_metric=is_metric)

    def with_note(self, note: str) -> "Scan":
        return replace(self, notes=self.notes + (note,))

    def keep(self, mask: np.ndarray) -> "Scan":
        """The points under `mask` (n,) bool and the triangles wholly among them."""
        take = lambda array: None if array is None else array[mask]
        return replace(
            self,
            points=self.points[mask],
            triangles=triangles_among(self.triangles, mask),
            colors=take(self.colors),
            normals=take(self.normals),
            pixels=take(self.pixels),
            guessed_winding=take(self.guessed_winding),
        )
