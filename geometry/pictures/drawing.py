"""What is drawn and written over and beside pictures: lines, points with labels, legends, colour bars, sheets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geometry.pictures.painting import Colour, scaled
from geometry.pictures.views import Seen

INK: Colour = (28, 32, 38)
MUTED: Colour = (96, 102, 112)
PAPER: Colour = (255, 255, 255)
_ENLARGED = 4  # drawn so much too large and averaged, so that lines are smooth
_STEP_MM = 0.4  # lines are tried for being seen at places so far apart
_GAP = 14  # pixels between the panels of a sheet
_LEADERS = (0.0, 10.0, 20.0, 34.0, 50.0, 70.0, 95.0)  # pixels from a point to its label
_DIRECTIONS = 24


@dataclass(frozen=True)
class Panel:
    """A picture and the line above it."""

    image: Image.Image
    caption: str = ""


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own: the same letters everywhere. It has ASCII and few signs more."""
    return ImageFont.load_default(size)


def over(image: Image.Image, draw: Callable[[ImageDraw.ImageDraw, int], None]) -> Image.Image:
    """The image with what `draw(canvas, enlargement)` draws on it, with smooth edges; other pixels keep their values."""
    large = image.resize((image.width * _ENLARGED, image.height * _ENLARGED), Image.Resampling.NEAREST)
    draw(ImageDraw.Draw(large), _ENLARGED)
    return large.reduce(_ENLARGED)


def draw_lines(
    image: Image.Image, seen: Seen, lines: Sequence[np.ndarray], colour: Colour, width: float, behind_mm: float = 1.5
) -> Image.Image:
    """The image of a view with white-rimmed lines through points (k, 3), where they lie at most so far behind what it shows."""
    runs = [run for line in lines for run in _shown_runs(seen, np.asarray(line, float), behind_mm)]

    def draw(canvas: ImageDraw.ImageDraw, k: int) -> None:
        for thickness, ink in ((width + 1.6, PAPER), (width, colour)):
            for run in runs:
                canvas.line([tuple(point) for point in run * k], ink, round(thickness * k), joint="curve")
                _discs(canvas, run[[0, -1]] * k, thickness / 2 * k, ink)

    return over(image, draw) if runs else image


def _shown_runs(seen: Seen, line: np.ndarray, behind_mm: float) -> list[np.ndarray]:
    """The stretches (r, 2), in pixels, of a line (k, 3) that the view shows."""
    steps = np.maximum(1, np.ceil(np.linalg.norm(np.diff(line, axis=0), axis=1) / _STEP_MM)).astype(int)
    place = np.concatenate([*(k + np.arange(n) / n for k, n in enumerate(steps)), [len(line) - 1]])
    dense = np.stack([np.interp(place, np.arange(len(line)), axis) for axis in line.T], axis=1)
    shown, pixels = seen.shows(dense, behind_mm), seen.view.project(dense)[0]
    runs = np.split(np.arange(len(dense)), np.flatnonzero(shown[1:] != shown[:-1]) + 1)
    return [pixels[run] for run in runs if shown[run[0]] and len(run) > 1]


def _discs(canvas: ImageDraw.ImageDraw, middles: np.ndarray, radius: float, colour: Colour) -> None:
    for middle in middles:
        canvas.ellipse([*(middle - radius), *(middle + radius)], colour)


def draw_points(image: Image.Image, pixels: np.ndarray, colour: Colour, radius: float) -> Image.Image:
    """The image with discs with white rims at pixels (l, 2)."""

    def draw(canvas: ImageDraw.ImageDraw, k: int) -> None:
        _discs(canvas, pixels * k, (radius + 1.2) * k, PAPER)
        _discs(canvas, pixels * k, radius * k, colour)

    return over(image, draw)


def draw_labels(image: Image.Image, pixels: np.ndarray, texts: Sequence[str], size: int, radius: float) -> Image.Image:
    """The image with a text beside each of pixels (l, 2), joined to it by a line where it has to stand away from it; with
    radius 0 the texts stand on their pixels."""
    if not len(texts):
        return image
    letters = font(size)
    boxes = np.array([letters.getbbox(text, anchor="mm") for text in texts], float)
    extents = np.column_stack([boxes[:, 2] - boxes[:, 0] + 3, np.full(len(boxes), size * 0.78)])
    places = label_places(pixels, extents, radius, image.size) if radius else pixels

    def draw(canvas: ImageDraw.ImageDraw, k: int) -> None:
        for point, place, extent in zip(pixels, places, extents):
            end = np.clip(point, place - extent / 2, place + extent / 2)
            if np.linalg.norm(end - point) > radius + 4:  # it stands away
                canvas.line([*(point * k), *(end * k)], MUTED, k)

    image = over(image, draw)
    canvas = ImageDraw.Draw(image)
    for place, text in zip(places, texts):
        canvas.text(tuple(place), text, INK, letters, anchor="mm", stroke_width=2, stroke_fill=PAPER)
    return image


def label_places(points: np.ndarray, extents: np.ndarray, radius: float, size: tuple[int, int]) -> np.ndarray:
    """(l, 2) middles of labels of extents (l, 2) beside points (l, 2), in a picture (width, height): one after the other where
    it covers least of points and earlier labels, crosses fewest lines, stands near and away from the points' middle."""
    turn = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    way = np.tile(np.stack([np.cos(turn), np.sin(turn)], axis=1), (len(_LEADERS), 1))
    leader = np.repeat(_LEADERS, _DIRECTIONS)
    middle, places = points.mean(axis=0), np.zeros((0, 2))
    for number, (point, extent) in enumerate(zip(points, extents)):
        reach = np.minimum(*(extent[:, None] / 2 / np.maximum(np.abs(way.T), 1e-9)))  # from a label's middle to its edge
        candidate = point + way * (radius + 3 + leader + reach)[:, None]
        outward = (point - middle) / max(np.linalg.norm(point - middle), 1e-9)
        cost = 0.05 * leader - 0.6 * way @ outward
        beyond = np.abs(candidate - np.array(size) / 2) + extent / 2 > np.array(size) / 2
        cost += 100 * beyond.any(axis=1)
        near = np.maximum(np.abs(candidate[:, None] - points) - extent / 2, 0)
        cost += 4 * (np.linalg.norm(near, axis=2) < radius + 1).sum(axis=1)
        apart = np.abs(candidate[:, None] - places) - (extents[:number] + extent) / 2
        cost += 6 * (apart < 1).all(axis=2).sum(axis=1)
        cost += 3 * _crossings(point, candidate, points[:number], places)
        places = np.vstack([places, candidate[int(np.argmin(np.round(cost, 9)))]])
    return places


def _crossings(point: np.ndarray, ends: np.ndarray, starts: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(c,) how many of the segments starts → places (l, 2) each segment from a point (2,) to ends (c, 2) crosses."""
    cross = lambda a, b: a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    way, other = (ends - point)[:, None], (places - starts)[None]
    apart = cross(way, starts - point) * cross(way, places - point) < 0
    across = cross(other, point - starts) * cross(other, ends[:, None] - starts) < 0
    return (apart & across).sum(axis=1)


def legend(entries: Sequence[tuple[Colour | None, str]], width: int, size: int = 17) -> Image.Image:
    """Swatches with their texts, one beneath the other; no swatch where the colour is None."""
    line = round(size * 1.5)
    image = Image.new("RGB", (width, line * len(entries)), PAPER)
    canvas = ImageDraw.Draw(image)
    for number, (colour, text) in enumerate(entries):
        middle = line * number + line // 2
        if colour is not None:
            canvas.rounded_rectangle([2, middle - size // 2, 2 + size, middle + size // 2], 3, colour)
        canvas.text((size + 10 if colour is not None else 2, middle), text, INK, font(size), anchor="lm")
    return image


def colour_bar(low: float, high: float, stops: np.ndarray, ticks: Sequence[tuple[float, str]], width: int) -> Image.Image:
    """A horizontal scale of `scaled`'s colours with texts under its ticks."""
    image, edge = Image.new("RGB", (width, 52), PAPER), 34
    ramp = scaled(np.linspace(low, high, width - 2 * edge), low, high, stops)
    image.paste(Image.fromarray(np.rint(np.tile(ramp, (18, 1, 1)) * 255).astype(np.uint8)), (edge, 4))
    canvas = ImageDraw.Draw(image)
    canvas.rectangle([edge - 1, 3, width - edge, 22], outline=MUTED)
    for value, text in ticks:
        column = edge + (value - low) / (high - low) * (width - 2 * edge - 1)
        canvas.line([column, 22, column, 28], MUTED)
        canvas.text((column, 30), text, INK, font(17), anchor="mt")
    return image


def sheet(rows: Sequence[Sequence[Panel]], size: int = 19) -> Image.Image:
    """Rows of panels on white, each row in the middle, captions above the panels."""
    above = round(size * 1.7)
    extent = lambda row: (sum(panel.image.width for panel in row) + _GAP * (len(row) - 1), max(p.image.height for p in row))
    caption = [above if any(panel.caption for panel in row) else 0 for row in rows]
    width = max(extent(row)[0] for row in rows) + 2 * _GAP
    picture = Image.new("RGB", (width, sum(extent(row)[1] + _GAP for row in rows) + sum(caption) + _GAP), PAPER)
    canvas, top = ImageDraw.Draw(picture), _GAP
    for row, strip in zip(rows, caption):
        left = (width - extent(row)[0]) // 2
        for panel in row:
            canvas.text((left + panel.image.width / 2, top + strip / 2), panel.caption, INK, font(size), anchor="mm")
            picture.paste(panel.image, (left, top + strip))
            left += panel.image.width + _GAP
        top += extent(row)[1] + strip + _GAP
    return picture
