"""Landmarks drawn over a picture: a filled disc where the scan shows the point, a ring where it is inferred; the colour tells
the confidence. Two signs for two facts, so that a grey print still tells seen from inferred.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geometry.landmarks.estimate import LandmarkEstimate
from pipeline.pictures.casting import Layer, View

# From unsure to sure, and from light to dark: readable in grey print and for colour-blind readers.
CONFIDENCE_STOPS = np.array([(252, 176, 16), (170, 132, 42), (0, 92, 104)], float)
RIM = (255, 255, 255)
ENLARGED = 4  # drawn so much too large and averaged, so that small circles are round
RADIUS, RING_WIDTH = 2.3, 1.3  # pixels
HIDDEN_MM = 12.0  # so far behind the surface that a view shows at its pixel, a point belongs to another side of the face


def confidence_colour(confidence: float) -> tuple[int, int, int]:
    """confidence in [0, 1], clipped; unknown (NaN) counts as 0."""
    stops = np.linspace(0, 1, len(CONFIDENCE_STOPS))
    share = np.nan_to_num(confidence)
    red, green, blue = (int(round(np.interp(share, stops, channel))) for channel in CONFIDENCE_STOPS.T)
    return red, green, blue


def draw_landmarks(panel: Image.Image, view: View, landmarks: LandmarkEstimate, layer: Layer | None = None) -> Image.Image:
    """`panel`, what `view` shows, with the landmarks (model frame, mm) marked; unmarked pixels keep their values.

    With `layer`, the surface in the picture, landmarks on the far side of it are left out.
    """
    pixels, depth = view.project(landmarks.points)
    shown = np.isfinite(pixels).all(1) & (np.abs(pixels) < 10_000).all(1)
    if layer is not None:
        shown[shown] &= ~_hidden(pixels[shown], depth[shown], view, layer)
    large = panel.resize((panel.width * ENLARGED, panel.height * ENLARGED), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(large)
    # inferred ones first: where two marks meet, what was seen lies on top
    for index in sorted(np.flatnonzero(shown), key=lambda index: (bool(landmarks.seen[index]), index)):
        centre = (pixels[index] + 0.5) * ENLARGED
        _mark(draw, centre, bool(landmarks.seen[index]), confidence_colour(landmarks.confidence[index]), ENLARGED)
    return large.reduce(ENLARGED)


def _mark(draw: ImageDraw.ImageDraw, centre: np.ndarray, seen: bool, colour: tuple[int, int, int], scale: float) -> None:
    """A disc with a thin pale rim, or a ring, `scale` pixels of the drawing to one of the picture."""
    box = lambda radius: [*(centre - radius * scale), *(centre + radius * scale)]
    if seen:
        draw.ellipse(box(RADIUS + 0.6), fill=RIM)
        draw.ellipse(box(RADIUS), fill=colour)
    else:
        draw.ellipse(box(RADIUS + 0.8), outline=colour, width=round(RING_WIDTH * scale))


def _hidden(pixels: np.ndarray, depth: np.ndarray, view: View, layer: Layer) -> np.ndarray:
    """(k,) bool: the surface that the view shows at the point's pixel lies well before the point."""
    surface = np.full(layer.hit.shape, -np.inf)
    surface[layer.hit] = view.project(layer.points)[1]
    columns, rows = np.rint(pixels).astype(int).T
    inside = (columns >= 0) & (columns < view.width) & (rows >= 0) & (rows < view.height)
    before = np.full(len(pixels), -np.inf)
    before[inside] = surface[rows[inside], columns[inside]]
    return before > depth + HIDDEN_MM


def draw_key(sheet: Image.Image, right: int, middle: int, muted: tuple[int, int, int]) -> None:
    """What the two signs mean, in one line that ends at `right` and is centred on the row `middle`."""
    font, draw = ImageFont.load_default(12), ImageDraw.Draw(sheet)
    for text, seen in (("inferred", False), ("seen", True)):
        draw.text((right, middle), text, muted, font, anchor="rm")
        right -= round(draw.textlength(text, font)) + 9
        _draw_sign(sheet, right, middle, seen)
        right -= 15


def _draw_sign(sheet: Image.Image, column: int, row: int, seen: bool) -> None:
    box = (column - 6, row - 6, column + 7, row + 7)
    large = sheet.crop(box).resize((13 * ENLARGED, 13 * ENLARGED), Image.Resampling.NEAREST)
    _mark(ImageDraw.Draw(large), np.full(2, 6.5 * ENLARGED), seen, confidence_colour(1.0), ENLARGED)
    sheet.paste(large.resize((13, 13), Image.Resampling.BOX), box[:2])


def draw_confidence_bar(sheet: Image.Image, right: int, middle: int, muted: tuple[int, int, int]) -> None:
    """The scale of the marks' colours, in one line that ends at `right` and is centred on the row `middle`."""
    width, font, draw = 40, ImageFont.load_default(12), ImageDraw.Draw(sheet)
    draw.text((right, middle), "sure", muted, font, anchor="rm")
    left = right - round(draw.textlength("sure", font)) - 5 - width
    bar = np.array([confidence_colour(share) for share in np.linspace(0, 1, width)], np.uint8)
    sheet.paste(Image.fromarray(np.repeat(bar[None], 9, 0)), (left, middle - 4))
    draw.text((left - 5, middle), "unsure", muted, font, anchor="rm")
