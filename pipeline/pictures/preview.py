"""One picture per scan: scan, coarse fit, refined surface and their disagreement, seen from the front and turned.

Everything comes in the model frame (mm; origin at the nose tip, x to the subject's left, y up, z out of the face),
so that all previews of a run share one camera, one light and one colour scale and can be compared at a glance.
Surfaces are ray cast and shaded in NumPy; a point cloud is splatted (`casting`). The same input gives the same pixels.
Landmarks (`marks`) are drawn on the scan and on the refined surface. A run that finds landmarks alone gets a picture of
the scan from three sides.

Colours of the panel "Scan to refined": the signed distance, in mm, from the refined surface to the scan along the refined
surface's normal; red where the scan lies outside (the refinement has removed material), blue where it lies inside,
grey where the scan shows nothing.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from geometry.charts.chart import CylindricalChart
from geometry.charts.masked_filters import masked_mean_and_weight
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.mesh import TriangleMesh
from pipeline.pictures import marks
from pipeline.pictures.casting import Cloud, Layer, Surface, View, unit

PANEL_NAMES = ("Scan", "Coarse", "Refined", "Scan to refined", "Registered")
LANDMARK_PANEL_NAMES = ("Scan", "Landmarks", "Right side", "Left side")
REJECTED_PANEL_NAMES = ("Scan", "Fitted, and not believed", "Right side", "Left side")
PANEL_WIDTH, FRONT_HEIGHT, TURNED_HEIGHT = 264, 296, 200
TITLE_HEIGHT, STRIP_HEIGHT = 60, 88  # the strip is the title and, beneath it, the panels' names
HEAT_RANGE_MM = 1.0
SQUARE_MM, DARK = 9.0, 0.78  # of the pattern on the registered mesh
PAPER, INK, MUTED = (250, 250, 249), (28, 32, 38), (104, 110, 120)
CLAY = np.array([0.83, 0.785, 0.735], np.float32)
UNSEEN = np.array([0.70, 0.70, 0.695], np.float32)
INSIDE_OUT = np.array([0.45, 0.36, 0.52], np.float32)  # a back face in a fitted mesh is a defect: let it show
# Key light from the upper left of the viewer, a weak fill from the right, the rest ambient.
LIGHTS = (((-0.46, 0.56, 0.69), 0.66), ((0.78, -0.05, 0.62), 0.20))
AMBIENT = 0.22
# A diverging scale that stays readable in grey print and for colour-blind readers (blue, paper, red).
HEAT_STOPS = np.array([(33, 82, 158), (118, 168, 214), (244, 243, 239), (232, 142, 108), (168, 28, 40)], np.float32) / 255
# Beyond this sideways offset from the refined point, the nearest scan point belongs to another place: nothing was seen here.
SIDEWAYS_MM, FARTHEST_MM = 2.5, 30.0
FRONT = View(PANEL_WIDTH, FRONT_HEIGHT, 0.735)
# One for each side: a scan that shows one side of the face is turned so that this side is seen.
TURNED = {side: View(PANEL_WIDTH, TURNED_HEIGHT, 1.08, yaw=side * np.radians(38)) for side in (-1, 1)}
# As high as the frontal view: all four panels of a picture of landmarks stand in one row.
SIDES = tuple(View(PANEL_WIDTH, FRONT_HEIGHT, 0.735, yaw=side * np.radians(50)) for side in (-1, 1))


def render_preview(
    scan_mesh: TriangleMesh | None,
    scan_points: np.ndarray | None,
    coarse: TriangleMesh,
    refined: TriangleMesh,
    landmarks: LandmarkEstimate | None,
    title: str,
    registered: Surface | None = None,
) -> Image.Image:
    """The picture of one scan, RGB; everything in the model frame and in mm.

    scan_mesh, or scan_points (n, 3) where it is a cloud; landmarks may be None; registered: as of `patterned`. The first line of
    `title` is the scan's name, the others are set smaller beneath it. The colour scale is the same in every picture on purpose.
    """
    scan = _scan_surface(scan_mesh, scan_points)
    surfaces = (scan, Surface(coarse), Surface(refined))
    seen_side = 1 if len(scan.points) and scan.points[:, 0].mean() > 0 else -1
    names = PANEL_NAMES if registered is not None else PANEL_NAMES[:-1]
    sheet = Image.new("RGB", (len(names) * PANEL_WIDTH, STRIP_HEIGHT + FRONT_HEIGHT + TURNED_HEIGHT), PAPER)
    for view, top, stride in ((FRONT, STRIP_HEIGHT, 2), (TURNED[seen_side], STRIP_HEIGHT + FRONT_HEIGHT, 3)):
        layers = [surface.seen_by(view) for surface in surfaces]
        panels = [_clay(layers[0], view, two_sided=True), _clay(layers[1], view), _clay(layers[2], view)]
        panels.append(_heat(layers[2], scan, view, stride, HEAT_RANGE_MM))
        if registered is not None:
            panels.append(_pattern(registered.seen_by(view), view))
        for column, panel in enumerate(map(Image.fromarray, panels)):
            if landmarks is not None and view is FRONT and column in (0, 2):
                panel = marks.draw_landmarks(panel, view, landmarks)
            sheet.paste(panel, (column * PANEL_WIDTH, top))
    _draw_frame(sheet, title, names)
    _draw_colour_bar(sheet, HEAT_RANGE_MM)
    if landmarks is not None:
        _draw_legend(sheet, 0, 2)
    return sheet


def patterned(vertices: np.ndarray, template: TriangleMesh) -> Surface:
    """A mesh in a template's topology, vertices (n, 3), with a pattern of squares that lies on the same places of every face."""
    axis = CylindricalChart()
    unrolled, _ = axis.project(template.vertices)
    return Surface(template.with_vertices(vertices), unrolled * axis.pixel_mm)


def render_landmarks(
    scan_mesh: TriangleMesh | None,
    scan_points: np.ndarray | None,
    landmarks: LandmarkEstimate,
    title: str,
) -> Image.Image:
    """The picture of a scan of which only the landmarks were asked: plain, then marked from the front and from both sides."""
    scan = _scan_surface(scan_mesh, scan_points)
    sheet = Image.new("RGB", (4 * PANEL_WIDTH, STRIP_HEIGHT + FRONT_HEIGHT), PAPER)
    for column, view in enumerate((FRONT, FRONT, *SIDES)):
        layer = scan.seen_by(view)
        panel = Image.fromarray(_clay(layer, view, two_sided=True))
        if column:
            panel = marks.draw_landmarks(panel, view, landmarks, None if view is FRONT else layer)
        sheet.paste(panel, (column * PANEL_WIDTH, STRIP_HEIGHT))
    _draw_frame(sheet, title, LANDMARK_PANEL_NAMES)
    _draw_legend(sheet, 1, 2)
    return sheet


def render_rejected(
    scan_mesh: TriangleMesh | None,
    scan_points: np.ndarray | None,
    fitted: TriangleMesh | None,
    landmarks: LandmarkEstimate | None,
    title: str,
) -> Image.Image:
    """The picture of a scan in which no face was found, as it was looked at: the scan with the landmarks that were taken for a
    face's, the face that was fitted, if any was, and the scan from both sides."""
    scan, fit = _scan_surface(scan_mesh, scan_points), None if fitted is None else Surface(fitted)
    sheet = Image.new("RGB", (4 * PANEL_WIDTH, STRIP_HEIGHT + FRONT_HEIGHT), PAPER)
    for column, (surface, view) in enumerate(zip((scan, fit, scan, scan), (FRONT, FRONT, *SIDES), strict=True)):
        if surface is None:
            continue
        panel = Image.fromarray(_clay(surface.seen_by(view), view, two_sided=True))
        if landmarks is not None and not column:
            panel = marks.draw_landmarks(panel, view, landmarks)
        sheet.paste(panel, (column * PANEL_WIDTH, STRIP_HEIGHT))
    _draw_frame(sheet, title, REJECTED_PANEL_NAMES if fit else REJECTED_PANEL_NAMES[:1] + ("",) + REJECTED_PANEL_NAMES[2:])
    if landmarks is not None:
        _draw_legend(sheet, 0, 1)
    return sheet


def _scan_surface(mesh: TriangleMesh | None, points: np.ndarray | None) -> Surface | Cloud:
    if mesh is not None and len(mesh.triangles):
        return Surface(mesh)
    return Cloud(np.zeros((0, 3)) if points is None else np.asarray(points, float))


def preview_title(source: str, metrics: Mapping[str, float]) -> str:
    """The two lines of `render_preview`'s strip: the scan's name, and its key figures as far as they are known."""
    parts: tuple[tuple[str, str], ...] = (
        ("fit_quality", "fit quality {:.2f}"),
        ("scan_to_coarse_mean_mm", "scan to coarse {:.2f} mm"),
        ("scan_to_refined_mean_mm", "scan to refined {:.2f} mm"),
        ("noise_mm", "noise {:.2f} mm"),
        ("visible_area_mm2", "visible face {:.0f} mm2"),
        ("landmarks_seen", "{:.0f} landmarks seen"),
    )
    of_landmarks = (("landmark_confidence", "confidence {:.2f}"), ("landmark_sigma_mm", "sigma {:.1f} mm"))
    parts += () if "fit_quality" in metrics else of_landmarks  # there is no room for everything
    figures = [text.format(metrics[key]) for key, text in parts if isinstance(metrics.get(key), (int, float))]
    return source + "\n" + "  \u00b7  ".join(figures)


def png_bytes(image: Image.Image) -> bytes:
    """The file's bytes; nothing in them depends on the time or the machine."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def front_row(preview: Image.Image, named: bool = False) -> Image.Image:
    """The first four frontal panels without the title strip: what a report shows as a thumbnail. named: with the panels' names
    above, and as much less below."""
    top = TITLE_HEIGHT if named else STRIP_HEIGHT
    return preview.crop((0, top, 4 * PANEL_WIDTH, top + FRONT_HEIGHT))


def _lit(normals: np.ndarray, albedo: np.ndarray, view: View) -> np.ndarray:
    """Lambert's law under two lights that move with the camera: (k, 3) in linear light."""
    light = np.full(len(normals), AMBIENT, np.float32)
    for direction, strength in LIGHTS:
        towards = unit(np.array(direction)) @ view.model_to_view
        light += strength * np.maximum(normals @ towards.astype(np.float32), 0)
    return albedo * light[:, None] * 1.12


def _clay(layer: Layer, view: View, two_sided: bool = False) -> np.ndarray:
    """(h, w, 3) uint8 of one surface in neutral clay."""
    away = layer.normals @ view.towards_camera < 0
    normals = np.where(away[:, None], -layer.normals, layer.normals)
    albedo = np.where(away[:, None] & (not two_sided), INSIDE_OUT, CLAY)
    return _composed(layer.hit, _lit(normals, albedo, view) ** (1 / 1.6))


def _pattern(layer: Layer, view: View) -> np.ndarray:
    """(h, w, 3) uint8 of a surface of `patterned`."""
    dark = np.floor(layer.values / SQUARE_MM).sum(axis=1) % 2 > 0
    albedo = np.where(dark[:, None], DARK * CLAY, CLAY)
    away = layer.normals @ view.towards_camera < 0
    normals = np.where(away[:, None], -layer.normals, layer.normals)
    return _composed(layer.hit, _lit(normals, np.where(away[:, None], INSIDE_OUT, albedo), view) ** (1 / 1.6))


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
    flat = np.where(known, full, 0).astype(np.float32)
    smooth, weight = masked_mean_and_weight(flat, known.astype(np.float32), stride / 2, 1e-3)
    return np.where(weight > 0.4, smooth, np.nan)


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


def _shortened(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text with its middle left out where it is wider than `width`: both ends of a path tell something."""
    if draw.textlength(text, font) <= width:
        return text
    kept = len(text)
    while kept > 4 and draw.textlength(text[: kept // 2] + "\u2026" + text[-(kept // 2) :], font) > width:
        kept -= 2
    return text[: kept // 2] + "\u2026" + text[-(kept // 2) :]


def _draw_frame(sheet: Image.Image, title: str, panel_names: Sequence[str]) -> None:
    """The title strip, the panels' names and hairlines between them."""
    draw = ImageDraw.Draw(sheet)
    name, *others = title.split("\n")
    width = sheet.width - 28
    large, plain = ImageFont.load_default(19), ImageFont.load_default(14)
    draw.text((14, 9), _shortened(draw, name, large, width), INK, large)
    draw.text((14, 35), _shortened(draw, "  ".join(others), plain, width), MUTED, plain)
    draw.line([(0, TITLE_HEIGHT), (sheet.width, TITLE_HEIGHT)], (222, 222, 220))
    for column, label in enumerate(panel_names):
        draw.text((column * PANEL_WIDTH + 14, TITLE_HEIGHT + 7), label, INK, plain)
        if column:
            draw.line([(column * PANEL_WIDTH, TITLE_HEIGHT), (column * PANEL_WIDTH, sheet.height)], (232, 232, 230))


def _draw_legend(sheet: Image.Image, signs: int, colours: int) -> None:
    """Beside the names of two panels: what the marks mean, and the scale of their colours."""
    middle = TITLE_HEIGHT + 15
    marks.draw_key(sheet, (signs + 1) * PANEL_WIDTH - 14, middle, MUTED)
    marks.draw_confidence_bar(sheet, (colours + 1) * PANEL_WIDTH - 14, middle, MUTED)


def _draw_colour_bar(sheet: Image.Image, range_mm: float) -> None:
    """Beside the fourth panel's name: its scale."""
    width, left, top = 64, 4 * PANEL_WIDTH - 118, TITLE_HEIGHT + 11
    bar = _heat_colours(np.linspace(-1, 1, width))
    sheet.paste(Image.fromarray(np.rint(np.repeat(bar[None], 9, 0) * 255).astype(np.uint8)), (left, top))
    font, draw = ImageFont.load_default(12), ImageDraw.Draw(sheet)
    draw.text((left - 5, top + 4), f"-{range_mm:g}", MUTED, font, anchor="rm")
    draw.text((left + width + 5, top + 4), f"+{range_mm:g} mm", MUTED, font, anchor="lm")
