"""Views: a raw scan as seen from some side, as a geometry image that needs no fit; what the landmark network reads.

A view is an orthographic picture of a scan about a supposed face, 192 mm across at 1.5 mm a pixel. Its frame has the axes of
the model frame for somebody who looks straight at the face (x to the subject's left, y up, z toward the viewer) and its
origin inside the head, so that a face turned by 60° stays in the picture.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import minimum_filter
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from geometry.charts.chart import OrthographicChart, pixel_centres
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.masked_filters import masked_mean
from geometry.charts.rasterize import image_from_depth
from geometry.mesh import TriangleMesh
from geometry.scan import Scan
from geometry.surfaces.raycasting import cast_rays, nearest_on_scene, raycasting_scene
from geometry.surfaces.triangulation import cloud_triangles, surface_of
from geometry.transforms import SimilarityTransform

VIEW_CHART = OrthographicChart(height=128, width=128, pixel_mm=1.5, centre_y=0.0)
FACE_CENTRE = np.array([0.0, -12.0, -35.0])  # of the model frame: the origin of a view
DEPTH_MM = 110.0  # what is nearer to the viewer, or farther away, than the origin by more is not in the picture
SMOOTHING_PX = 1.0  # of depth, before normals are taken from it: a sensor's noise would drown them
VISIBLE_MM = 4.0  # a landmark this far from the surface seen at its pixel is hidden
CELL_MM = 5.0  # of the grid on which a cloud's front is told from what lies behind it
LAYER_MM = 15.0  # points this far behind the nearest of their own cell are another layer, such as the inside of a mouth
FRONT_MM = 25.0  # points this far behind the nearest of the cells about them are another side of the head


@dataclass(frozen=True)
class View:
    """scan_to_view: scan mm → view frame; image: over `VIEW_CHART`, depth smoothed, all channels but curvature from it."""

    scan_to_view: SimilarityTransform
    image: GeometryImage

    def lift(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image coordinates (l, 2) as (column, row) → points (l, 3) on the seen surface in the view frame, the surface's
        gradient of depth (l, 2) by x and y, and whether there is a surface (l,) bool; elsewhere depth is 0."""
        image = self.image
        column, row = np.clip(np.floor(pixels).astype(int), 0, np.array([image.shape[1], image.shape[0]]) - 1).T
        depth, valid = _sample(image["depth"], image.valid_mask, pixels)
        elevation = np.maximum(np.sin(image["normal_elevation"][row, column]), 0.1)
        gradient = -np.stack([image["normal_x"][row, column], image["normal_y"][row, column]], 1) / elevation[:, None]
        return image.chart.lift(pixels, depth), np.where(valid[:, None], gradient, 0.0), valid


def _sample(depth: np.ndarray, valid: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bilinear depth (l,) from the valid ones of the four pixels about each image point, and whether there was any."""
    base = pixels - 0.5
    corner = np.floor(base).astype(int)
    share = base - corner
    total, weight = np.zeros(len(pixels)), np.zeros(len(pixels))
    height, width = depth.shape
    for dx, dy in np.ndindex(2, 2):
        column, row = corner[:, 0] + dx, corner[:, 1] + dy
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
        w = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1]) * (inside & valid[row, column])
        total, weight = total + w * depth[row, column], weight + w
    return total / np.maximum(weight, 1e-9), weight > 0.2


class Viewer:
    """A scan ready to be looked at from any side; `surface` is made once, and for a bare cloud anew for each side."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self._origin = scan.points.mean(0) if len(scan.points) else np.zeros(3)  # float32 rays want small numbers
        self._scene = self._scene_of(surface_of(scan))

    def _scene_of(self, surface: TriangleMesh) -> Any:
        """Open3D's scene of the surface about the origin, None where it has no triangle."""
        near = surface.with_vertices(surface.vertices - self._origin)
        return raycasting_scene(near) if len(near.triangles) else None

    @property
    def has_surface(self) -> bool:
        """False for a bare cloud."""
        return self._scene is not None

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """The nearest point (q, 3) of the scan's surface, or of its points for a bare cloud, to each of (q, 3), scan frame."""
        if self._scene is None:
            return self.scan.points[cKDTree(self.scan.points).query(points)[1]]
        return nearest_on_scene(self._scene, points - self._origin)[0] + self._origin

    def distance(self, points: np.ndarray) -> np.ndarray:
        """(q,) mm from points (q, 3) to the `nearest` of the scan, scan frame."""
        return np.linalg.norm(self.nearest(points) - points, axis=1)

    def view(self, scan_to_view: SimilarityTransform, chart: OrthographicChart = VIEW_CHART) -> View:
        """The scan in the view frame. Pixels without a surface, or that show a back side, are invalid."""
        to_view = scan_to_view.compose(SimilarityTransform(np.eye(3), self._origin))
        scene = self._scene if self.has_surface else self._scene_of(cloud_surface(self.scan, scan_to_view))
        shape = (chart.height, chart.width)
        if scene is None:
            return View(scan_to_view, image_from_depth(np.zeros(shape), np.zeros(shape, bool), chart, curved=False))
        origins, directions, start = chart.rays(pixel_centres(chart), DEPTH_MM)
        back = to_view.inverse()
        hit, _, _, outer = cast_rays(scene, back.apply(origins), back.apply_to_directions(directions))
        depth = start - hit * to_view.scale
        valid = (outer & (depth > -DEPTH_MM)).reshape(shape)
        depth = smoothed(np.where(valid, depth.reshape(shape), 0.0), valid)
        return View(scan_to_view, image_from_depth(depth, valid, chart, curved=False))


def smoothed(depth: np.ndarray, valid: np.ndarray, sigma_px: float = SMOOTHING_PX) -> np.ndarray:
    """Depth (h, w) mm averaged over valid pixels (h, w) with a Gaussian; 0 where invalid."""
    return np.where(valid, masked_mean(np.where(valid, depth, 0.0), valid, sigma_px, 1e-6), 0.0)


def cloud_surface(scan: Scan, scan_to_view: SimilarityTransform) -> TriangleMesh:
    """A bare cloud as a mesh, scan frame: Delaunay over the view's plane, of the points nearest to the viewer."""
    points = scan_to_view.apply(scan.points)
    half = VIEW_CHART.width * VIEW_CHART.pixel_mm / 2
    index = np.flatnonzero((np.abs(points[:, :2]) < half + 2 * CELL_MM).all(1) & (np.abs(points[:, 2]) < DEPTH_MM))
    near = points[index]
    if len(near) < 4:
        return TriangleMesh(scan.points, np.zeros((0, 3), np.int32))
    side = int(2 * half / CELL_MM) + 8
    cell = tuple(np.clip(np.floor(near[:, k] / CELL_MM).astype(int) + side // 2, 0, side - 1) for k in (1, 0))
    front = np.full((side, side), np.inf)
    np.minimum.at(front, cell, -near[:, 2])
    about = minimum_filter(front, 3)  # sparse clouds leave cells empty, through which the far side would show
    shown = (near[:, 2] > -front[cell] - LAYER_MM) & (near[:, 2] > -about[cell] - FRONT_MM)
    index, near = index[shown], near[shown]
    triangles = cloud_triangles(near, near[:, :2])
    corners = near[triangles][:, :, :2]
    (ax, ay), (bx, by) = ((corners[:, k] - corners[:, 0]).T for k in (1, 2))
    triangles = np.where((ax * by - ay * bx < 0)[:, None], triangles[:, ::-1], triangles)
    return TriangleMesh(scan.points, index[triangles].astype(np.int32))


def view_of_pose(scan_to_model: SimilarityTransform, turn: np.ndarray | None = None) -> SimilarityTransform:
    """scan_to_view of a face in a known pose, seen straight on, or turned by the rotation `turn` (3, 3) of the view frame."""
    centred = replace(scan_to_model, translation=scan_to_model.translation - FACE_CENTRE)
    return centred if turn is None else SimilarityTransform(turn, np.zeros(3)).compose(centred)


def turn_of(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Degrees → (3, 3) of the view frame: the face's yaw to the subject's left, pitch downward, then roll in the picture."""
    yaw_turn, pitch_turn, roll_turn = (
        Rotation.from_rotvec(np.deg2rad(angle) * np.array(axis)).as_matrix()
        for angle, axis in ((yaw, (0.0, 1.0, 0.0)), (pitch, (1.0, 0.0, 0.0)), (roll, (0.0, 0.0, 1.0)))
    )
    return roll_turn @ yaw_turn @ pitch_turn


def visible(image: GeometryImage, points: np.ndarray, limit_mm: float = VISIBLE_MM) -> np.ndarray:
    """(l,) bool: points (l, 3) of the view frame that lie on the surface seen at their pixel or at one beside it."""
    pixels, depth = image.chart.project(points)
    column, row = np.floor(pixels).astype(int).T
    height, width = image.shape
    found = np.zeros(len(points), bool)
    for dx, dy in np.ndindex(3, 3):
        x, y = column + dx - 1, row + dy - 1
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
        found |= inside & image.valid_mask[y, x] & (np.abs(image["depth"][y, x] - depth) < limit_mm)
    return found
