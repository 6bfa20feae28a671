"""One picture per scan: scan, coarse fit, refined surface and their disagreement, seen from the front and turned.

Everything comes in the model frame (mm; origin at the nose tip, x to the subject's left, y up, z out of the face),
so that all previews of a run share one camera, one light and one colour scale and can be compared at a glance.
Surfaces are ray cast and shaded in NumPy; a point cloud is splatted. The same input gives the same pixels.

Colours of the last panel: the signed distance, in mm, from the refined surface to the scan along the refined
surface's normal; red where the scan lies outside (the refinement has removed material), blue where it lies inside,
grey where the scan shows nothing.
"""
from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import open3d as o3d
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.transforms import rotation_from_vector

PANEL_NAMES = ("Scan", "Coarse", "Refined", "Scan to refined")
PANEL_WIDTH, FRONT_HEIGHT, TURNED_HEIGHT = 264, 296, 200
TITLE_HEIGHT, STRIP_HEIGHT = 60, 88  # the strip is the title and, beneath it, the panels' names
HEAT_RANGE_MM = 1.0

PAPER, INK, MUTED, ACCENT = (250, 250, 249), (28, 32, 38), (104, 110, 120), (15, 118, 110)
CLAY = np.array([0.83, 0.785, 0.735], np.float32)
UNSEEN = np.array([0.70, 0.70, 0.695], np.float32)
INSIDE_OUT = np.array([0.45, 0.36, 0.52], np.float32)  # a back face in a fitted mesh is a defect: let it show
# Key light from the upper left of the viewer, a weak fill from the right, the rest ambient.
LIGHTS = (((-0.46, 0.56, 0.69), 0.66), ((0.78, -0.05, 0.62), 0.20))
AMBIENT = 0.22
# A diverging scale that stays readable in grey print and for colour-blind readers (blue, paper, red).
HEAT_STOPS = np.array([(33, 82, 158), (118, 168, 214), (244, 243, 239), (232, 142, 108), (168, 28, 40)], np.float32) / 255

LARGEST_CLOUD = 150_000
START_MM = 400.0  # rays start so far in front of the pivot
# Beyond this sideways offset from the refined point, the nearest scan point belongs to another place: nothing was seen here.
SIDEWAYS_MM, FARTHEST_MM = 2.5, 30.0


@dataclass(frozen=True)
class View:
    """An orthographic camera that looks at the face's middle; `yaw` in radians turns it to the subject's left."""

    width: int
    height: int
    pixel_mm: float
    yaw: float = 0.0
    pivot: tuple[float, float, float] = (0.0, 6.0, -60.0)

    @cached_property
    def model_to_view(self) -> np.ndarray:
        """(3, 3); the view frame has x right, y up, z towards the camera."""
        return rotation_from_vector(np.array([0.0, -self.yaw, 0.0]))

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 3) → pixel coordinates (n, 2) as (column, row), centres at integers, and depth (n,) towards the camera."""
        p = (points - self.pivot) @ self.model_to_view.T
        column = p[:, 0] / self.pixel_mm + (self.width - 1) / 2
        row = (self.height - 1) / 2 - p[:, 1] / self.pixel_mm
        return np.stack([column, row], 1), p[:, 2]

    def lift(self, pixels: np.ndarray, depth: np.ndarray | float) -> np.ndarray:
        """The inverse of `project`."""
        x = (pixels[:, 0] - (self.width - 1) / 2) * self.pixel_mm
        y = ((self.height - 1) / 2 - pixels[:, 1]) * self.pixel_mm
        return np.stack([x, y, np.broadcast_to(depth, x.shape)], 1) @ self.model_to_view + self.pivot

    @cached_property
    def towards_camera(self) -> np.ndarray:
        """(3,) unit vector in the model frame."""
        return self.model_to_view[2].astype(np.float32)

    @cached_property
    def rays(self) -> np.ndarray:
        """(h, w, 6) float32 origins and directions in the model frame."""
        row, column = np.mgrid[: self.height, : self.width]
        origins = self.lift(np.stack([column.ravel(), row.ravel()], 1).astype(float), START_MM)
        directions = np.broadcast_to(-self.towards_camera, origins.shape)
        return np.concatenate([origins, directions], 1).astype(np.float32).reshape(self.height, self.width, 6)


FRONT = View(PANEL_WIDTH, FRONT_HEIGHT, 0.735)
# One for each side: a scan that shows one side of the face is turned so that this side is seen.
TURNED = {side: View(PANEL_WIDTH, TURNED_HEIGHT, 1.08, yaw=side * np.radians(38)) for side in (-1, 1)}


@dataclass(frozen=True)
class Layer:
    """What one view sees of one surface: hit (h, w) bool; per hit, points and unit normals (k, 3), model frame."""

    hit: np.ndarray
    points: np.ndarray
    normals: np.ndarray


class Surface:
    """A mesh prepared for casting. Parts outside the picture are dropped first, because building the tree costs most."""

    def __init__(self, mesh: TriangleMesh):
        inside = (np.abs(mesh.vertices - (0.0, 6.0, -60.0)) < (135.0, 135.0, 130.0)).all(1)
        self.mesh = mesh if inside.all() else mesh.submesh(inside)[0]
        self.points = self.mesh.vertices
        self.normals = self.mesh.vertex_normals.astype(np.float32)
        self.scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        if len(self.mesh.triangles):
            vertices = o3d.core.Tensor(self.mesh.vertices.astype(np.float32))
            self.scene.add_triangles(vertices, o3d.core.Tensor(self.mesh.triangles.astype(np.uint32)))

    def seen_by(self, view: View) -> Layer:
        if not len(self.mesh.triangles):
            return Layer(np.zeros((view.height, view.width), bool), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32))
        answer = self.scene.cast_rays(o3d.core.Tensor(view.rays), nthreads=1)
        distance = answer["t_hit"].numpy()
        hit = np.isfinite(distance)
        points = view.rays[hit][:, :3] - distance[hit][:, None] * view.towards_camera
        uv = answer["primitive_uvs"].numpy()[hit]
        corners = self.mesh.triangles[answer["primitive_ids"].numpy()[hit].astype(np.int64)]
        normals = self.normals[corners[:, 0]] * (1 - uv.sum(1, keepdims=True))
        normals += self.normals[corners[:, 1]] * uv[:, :1] + self.normals[corners[:, 2]] * uv[:, 1:]
        return Layer(hit, points, _unit(normals))

    def offsets_from(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) from each point to the nearest point of the surface."""
        if not len(self.mesh.triangles):
            return np.full(points.shape, np.inf)
        answer = self.scene.compute_closest_points(o3d.core.Tensor(points.astype(np.float32)), nthreads=1)
        return answer["points"].numpy() - points


class Cloud:
    """A point cloud prepared for splatting; thinned by a fixed stride where it is larger than a picture can show."""

    def __init__(self, points: np.ndarray):
        points = points[np.isfinite(points).all(1)]
        points = points[(np.abs(points - (0.0, 6.0, -60.0)) < (135.0, 135.0, 130.0)).all(1)]
        self.points = points[:: max(1, -(-len(points) // LARGEST_CLOUD))]

    @cached_property
    def tree(self) -> cKDTree:
        return cKDTree(self.points, balanced_tree=False, compact_nodes=False)

    def seen_by(self, view: View) -> Layer:
        """A depth buffer of square splats as wide as the points' spacing; normals from its smoothed slopes."""
        depth, spacing = _depth_buffer(self.points, view)
        splatted = np.isfinite(depth)
        # Normalised convolution: smooth where there are points, without pulling the edges to the background.
        sigma = 0.8 + 0.8 * spacing
        known = gaussian_filter(splatted.astype(np.float32), sigma)
        smooth = gaussian_filter(np.where(splatted, depth, 0).astype(np.float32), sigma) / np.maximum(known, 1e-3)
        hit = splatted | (known > 0.5)  # gaps between points, smaller than the kernel
        down, right = np.gradient(smooth, view.pixel_mm)
        normals = _unit(np.stack([-right, down, np.ones_like(right)], -1)[hit]) @ view.model_to_view
        row, column = np.nonzero(hit)
        depth = np.where(splatted, depth, smooth)[hit]
        return Layer(hit, view.lift(np.stack([column, row], 1).astype(float), depth), normals.astype(np.float32))

    def offsets_from(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) from each point to the mean of its four nearest cloud points: one alone follows the sensor's noise."""
        if len(self.points) < 4:
            return np.full(points.shape, np.inf)
        _, nearest = self.tree.query(points, k=4)
        return self.points[nearest].mean(1) - points


def render_preview(
    scan_mesh: TriangleMesh | None,
    scan_points: np.ndarray | None,
    coarse: TriangleMesh,
    refined: TriangleMesh,
    landmarks: np.ndarray | None,
    title: str,
    heat_range_mm: float = HEAT_RANGE_MM,
) -> Image.Image:
    """The picture of one scan, RGB; everything in the model frame and in mm.

    scan_mesh, or scan_points (n, 3) where it is a cloud; landmarks (l, 3) or None. The first line of `title` is the
    scan's name, the others are set smaller beneath it. The colour scale is the same in every picture on purpose.
    """
    has_mesh = scan_mesh is not None and len(scan_mesh.triangles) > 0
    scan = Surface(scan_mesh) if has_mesh else Cloud(np.zeros((0, 3)) if scan_points is None else np.asarray(scan_points, float))
    surfaces = (scan, Surface(coarse), Surface(refined))
    seen_side = 1 if len(scan.points) and scan.points[:, 0].mean() > 0 else -1
    sheet = Image.new("RGB", (4 * PANEL_WIDTH, STRIP_HEIGHT + FRONT_HEIGHT + TURNED_HEIGHT), PAPER)
    for view, top, stride in ((FRONT, STRIP_HEIGHT, 2), (TURNED[seen_side], STRIP_HEIGHT + FRONT_HEIGHT, 3)):
        layers = [surface.seen_by(view) for surface in surfaces]
        panels = [_clay(layers[0], view, two_sided=True), _clay(layers[1], view), _clay(layers[2], view)]
        panels.append(_heat(layers[2], scan, view, stride, heat_range_mm))
        for column, panel in enumerate(panels):
            sheet.paste(Image.fromarray(panel), (column * PANEL_WIDTH, top))
    draw = ImageDraw.Draw(sheet)
    if landmarks is not None and len(landmarks):
        _draw_landmarks(sheet, np.asarray(landmarks, float))
    _draw_frame(draw, title)
    _draw_colour_bar(sheet, draw, heat_range_mm)
    return sheet


def preview_title(source: str, metrics: Mapping[str, float]) -> str:
    """The two lines of `render_preview`'s strip: the scan's name, and its key figures as far as they are known."""
    parts = (
        ("fit_quality", "fit quality {:.2f}"), ("scan_to_coarse_mean_mm", "scan to coarse {:.2f} mm"),
        ("scan_to_refined_mean_mm", "scan to refined {:.2f} mm"), ("noise_mm", "noise {:.2f} mm"),
        ("visible_area_mm2", "visible face {:.0f} mm2"),
    )
    figures = [text.format(metrics[key]) for key, text in parts if isinstance(metrics.get(key), (int, float))]
    return source + "\n" + "  \u00b7  ".join(figures)


def png_bytes(image: Image.Image) -> bytes:
    """The file's bytes; nothing in them depends on the time or the machine."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def front_row(preview: Image.Image) -> Image.Image:
    """The four frontal panels without the title strip: what a report shows as a thumbnail."""
    scale = preview.width / (4 * PANEL_WIDTH)
    return preview.crop((0, round(STRIP_HEIGHT * scale), preview.width, round((STRIP_HEIGHT + FRONT_HEIGHT) * scale)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _depth_buffer(points: np.ndarray, view: View) -> tuple[np.ndarray, float]:
    """(h, w) depth of the nearest splat, −inf where none; and the points' spacing in pixels."""
    pixels, depth = view.project(points)
    pixels = np.rint(pixels).astype(np.int64)
    blocks = len(np.unique(pixels[:, 0] // 8 * 100_003 + pixels[:, 1] // 8))
    spacing = float(np.clip(np.sqrt(64 * blocks / max(len(points), 1)), 0.3, 3.0))
    reach = int(np.ceil(1.7 * spacing))
    order = np.argsort(depth, kind="stable")  # painter's order: the last write, the nearest point, stays
    column, row, depth = pixels[order, 0], pixels[order, 1], depth[order]
    buffer = np.full((view.height, view.width), -np.inf)
    for dy in range(-(reach // 2), reach - reach // 2):
        for dx in range(-(reach // 2), reach - reach // 2):
            x, y = column + dx, row + dy
            kept = (x >= 0) & (x < view.width) & (y >= 0) & (y < view.height)
            splats = np.full_like(buffer, -np.inf)
            splats[y[kept], x[kept]] = depth[kept]
            np.maximum(buffer, splats, out=buffer)
    return buffer, spacing


def _lit(normals: np.ndarray, albedo: np.ndarray, view: View) -> np.ndarray:
    """Lambert's law under two lights that move with the camera: (k, 3) in linear light."""
    light = np.full(len(normals), AMBIENT, np.float32)
    for direction, strength in LIGHTS:
        towards = _unit(np.array(direction)) @ view.model_to_view
        light += strength * np.maximum(normals @ towards.astype(np.float32), 0)
    return albedo * light[:, None] * 1.12


def _clay(layer: Layer, view: View, two_sided: bool = False) -> np.ndarray:
    """(h, w, 3) uint8 of one surface in neutral clay."""
    away = layer.normals @ view.towards_camera < 0
    normals = np.where(away[:, None], -layer.normals, layer.normals)
    albedo = np.where(away[:, None] & (not two_sided), INSIDE_OUT, CLAY)
    return _composed(layer.hit, _lit(normals, albedo, view) ** (1 / 1.6))


def _heat(layer: Layer, scan: Surface | Cloud, view: View, stride: int, range_mm: float) -> np.ndarray:
    """(h, w, 3) uint8 of the refined surface, coloured by the scan's signed distance and lightly shaded."""
    distance = _distance_image(layer, scan, stride)[layer.hit]
    known = np.isfinite(distance)
    albedo = np.where(known[:, None], _heat_colours(np.where(known, distance, 0) / range_mm), UNSEEN)
    relief = 0.72 + 0.28 * np.maximum(layer.normals @ view.towards_camera, 0)[:, None]  # a hint of shape, hue untouched
    return _composed(layer.hit, albedo * relief)


def _heat_colours(share: np.ndarray) -> np.ndarray:
    """(k,) in [−1, 1], clipped → (k, 3)."""
    stops = np.linspace(-1, 1, len(HEAT_STOPS))
    return np.stack([np.interp(share, stops, HEAT_STOPS[:, c]) for c in range(3)], 1)


def _distance_image(layer: Layer, scan: Surface | Cloud, stride: int) -> np.ndarray:
    """(h, w) signed mm from the refined surface to the scan, NaN where unknown; measured at every `stride`-th pixel."""
    image = np.full(layer.hit.shape, np.nan, np.float32)
    index = np.full(layer.hit.shape, -1, np.int64)
    index[layer.hit] = np.arange(len(layer.points))
    chosen = index[::stride, ::stride]
    rows = chosen[chosen >= 0]
    if not len(rows):
        return image
    offsets, normals = scan.offsets_from(layer.points[rows]), layer.normals[rows]
    with np.errstate(invalid="ignore"):
        along = (offsets * normals).sum(1)
        sideways = np.linalg.norm(offsets - along[:, None] * normals, axis=1)
        # Nothing was seen where the nearest scan point is off to the side; a large offset *along* the normal is an error to show.
        seen = (sideways < SIDEWAYS_MM + 0.5 * np.abs(along)) & (np.abs(along) < FARTHEST_MM)
    coarse = np.full(chosen.shape, np.nan, np.float32)
    coarse[chosen >= 0] = np.where(seen, along, np.nan)
    return _enlarged(coarse, stride, layer.hit.shape)


def _enlarged(image: np.ndarray, stride: int, shape: tuple[int, int]) -> np.ndarray:
    """Repeat each value `stride` times, then smooth among the known ones."""
    full = np.repeat(np.repeat(image, stride, 0), stride, 1)[: shape[0], : shape[1]]
    known = np.isfinite(full)
    weight = gaussian_filter(known.astype(np.float32), stride / 2)
    total = gaussian_filter(np.where(known, full, 0).astype(np.float32), stride / 2)
    return np.where(weight > 0.4, total / np.maximum(weight, 1e-3), np.nan)


def _composed(hit: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Hits' colours (k, 3) in [0, 1] over the paper, the outline softened by one pixel: (h, w, 3) uint8."""
    height, width = hit.shape
    paper = np.array(PAPER, np.float32) / 255
    image = np.zeros((height + 2, width + 2, 3), np.float32)
    image[1:-1, 1:-1][hit] = colours
    padded = np.pad(hit, 1).astype(np.float32)
    cover = gaussian_filter(padded, 0.7)[1:-1, 1:-1]
    row, column = np.nonzero((cover > 0.02) & (cover < 0.98))
    total, count = np.zeros((len(row), 3), np.float32), np.zeros(len(row), np.float32)
    for dy in range(3):
        for dx in range(3):  # the mean of the neighbouring hits colours the soft rim
            total += image[row + dy, column + dx]
            count += padded[row + dy, column + dx]
    image = image[1:-1, 1:-1]
    image[~hit] = paper
    rim = total / np.maximum(count, 1)[:, None]
    alpha = (cover[row, column] * (count > 0))[:, None]
    image[row, column] = rim * alpha + paper * (1 - alpha)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _draw_landmarks(sheet: Image.Image, landmarks: np.ndarray) -> None:
    """Dots on the frontal refined panel, drawn four times too large and reduced, so that they are round."""
    pixels, _ = FRONT.project(landmarks)
    dots = Image.new("L", (PANEL_WIDTH * 4, FRONT_HEIGHT * 4), 0)
    draw = ImageDraw.Draw(dots)
    for column, row in (pixels + 0.5) * 4:
        draw.ellipse([column - 7, row - 7, column + 7, row + 7], fill=235)
    dots = dots.resize((PANEL_WIDTH, FRONT_HEIGHT), Image.Resampling.BOX)
    sheet.paste(Image.new("RGB", dots.size, ACCENT), (2 * PANEL_WIDTH, STRIP_HEIGHT), dots)


def _shortened(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text with its middle left out where it is wider than `width`: both ends of a path tell something."""
    if draw.textlength(text, font) <= width:
        return text
    kept = len(text)
    while kept > 4 and draw.textlength(text[: kept // 2] + "\u2026" + text[-(kept // 2):], font) > width:
        kept -= 2
    return text[: kept // 2] + "\u2026" + text[-(kept // 2):]


def _draw_frame(draw: ImageDraw.ImageDraw, title: str) -> None:
    """The title strip, the panels' names and hairlines between them."""
    name, *others = title.split("\n")
    width, bottom = 4 * PANEL_WIDTH - 28, STRIP_HEIGHT + FRONT_HEIGHT + TURNED_HEIGHT
    large, plain = ImageFont.load_default(19), ImageFont.load_default(14)
    draw.text((14, 9), _shortened(draw, name, large, width), INK, large)
    draw.text((14, 35), _shortened(draw, "  ".join(others), plain, width), MUTED, plain)
    draw.line([(0, TITLE_HEIGHT), (4 * PANEL_WIDTH, TITLE_HEIGHT)], (222, 222, 220))
    for column, label in enumerate(PANEL_NAMES):
        draw.text((column * PANEL_WIDTH + 14, TITLE_HEIGHT + 7), label, INK, plain)
        if column:
            draw.line([(column * PANEL_WIDTH, TITLE_HEIGHT), (column * PANEL_WIDTH, bottom)], (232, 232, 230))


def _draw_colour_bar(sheet: Image.Image, draw: ImageDraw.ImageDraw, range_mm: float) -> None:
    """Beside the last panel's name: its scale."""
    width, left, top = 64, 4 * PANEL_WIDTH - 118, TITLE_HEIGHT + 11
    bar = _heat_colours(np.linspace(-1, 1, width))
    sheet.paste(Image.fromarray(np.rint(np.repeat(bar[None], 9, 0) * 255).astype(np.uint8)), (left, top))
    font = ImageFont.load_default(12)
    draw.text((left - 5, top + 4), f"-{range_mm:g}", MUTED, font, anchor="rm")
    draw.text((left + width + 5, top + 4), f"+{range_mm:g} mm", MUTED, font, anchor="lm")
