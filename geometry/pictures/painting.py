"""Shaded pictures of what a view sees: light, wire, colours of regions and colour scales."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from geometry.pictures.views import Seen, View

Colour = tuple[int, int, int]
# Colours that colour-blind readers tell apart as far as so many can be, neighbours in the list unlike in lightness (Tol 2021).
PALETTE: tuple[Colour, ...] = (
    (68, 119, 170), (238, 136, 102), (34, 136, 51), (238, 221, 136), (170, 51, 119), (102, 204, 238), (204, 102, 119),
    (187, 204, 51), (51, 34, 136), (255, 170, 187), (68, 170, 153), (153, 119, 51), (153, 221, 255), (136, 34, 85),
    (170, 170, 0), (119, 170, 221), (221, 119, 0), (17, 119, 51), (204, 187, 221), (102, 17, 0),
)  # fmt: skip
# Darker ones, for points and lines on skin.
STRONG: tuple[Colour, ...] = (
    (0, 90, 181), (213, 94, 0), (0, 140, 100), (160, 30, 120), (40, 40, 48), (60, 160, 225), (136, 20, 20), (110, 120, 0),
    (80, 40, 160), (235, 60, 140), (0, 95, 105), (125, 75, 25), (20, 110, 20), (120, 120, 130),
    (225, 165, 0), (190, 95, 205),
)  # fmt: skip
# From low to high, even in lightness for every reader: viridis, and the other way round as inferno's paler half.
VIRIDIS = np.array([(68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 209, 81), (253, 231, 37)]) / 255
EMBER = np.array([(252, 250, 235), (250, 206, 105), (245, 137, 35), (206, 67, 70), (120, 28, 109), (30, 12, 69)]) / 255
GREY: Colour = (222, 220, 217)
# In the picture's frame (right, up, towards the viewer): key light from the upper left, a weak fill from the right.
_LIGHTS = (((-0.46, 0.56, 0.69), 0.56), ((0.78, -0.05, 0.62), 0.24))
_AMBIENT = 0.44
_BACK_FACE = 0.62


def light(seen: Seen) -> np.ndarray:
    """(k, 1) brightness of the hits; inner sides are lit as if turned, and are darker unless the view cuts the surface open."""
    normal = seen.of(seen.body.mesh.vertex_normals) @ seen.view.axes.T
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    flat = seen.body.mesh.triangle_area_vectors[seen.triangle] @ seen.view.axes[2]
    back = flat < 0
    normal[back] *= -1
    open_share = np.where(back | seen.view.cuts, 0.85, seen.of(seen.body.openness))
    falling = sum(power * np.maximum(normal @ np.array(way) / np.linalg.norm(way), 0) for way, power in _LIGHTS)
    bright = (_AMBIENT + falling * (0.35 + 0.65 * open_share)) * (0.40 + 0.60 * open_share)
    return (bright * np.where(back & (not seen.view.cuts), _BACK_FACE, 1.0))[:, None]


def painted(seen: Seen, colours: np.ndarray, relief: float = 1.0) -> np.ndarray:
    """Colours (k, 3) in [0, 1] of the hits → (h, w, 3) shaded samples on white; relief in [0, 1]: how much the light counts."""
    picture = np.ones((*seen.hit.shape, 3), np.float32)
    picture[seen.hit] = np.clip(colours * (1 - relief + relief * light(seen)), 0, 1)
    return picture


def clay(seen: Seen) -> np.ndarray:
    """(h, w, 3) the body in its own colours."""
    return painted(seen, seen.of(seen.body.colours))


def wire(seen: Seen, width: float) -> np.ndarray:
    """(k,) in [0, 1]: how much of a hit a line of `width` pixels along its triangle's edges covers."""
    corners = seen.view.project(seen.body.mesh.vertices)[0][seen.body.mesh.triangles]
    sides = np.linalg.norm(np.roll(corners, -1, axis=1) - np.roll(corners, -2, axis=1), axis=2)  # the side opposite each corner
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    heights = area[:, None] / np.maximum(sides, 1e-9)
    away = (seen.weights * heights[seen.triangle]).min(axis=1)
    return np.clip(width / 2 - away + 0.5 / View.SAMPLES, 0, 1 / View.SAMPLES) * View.SAMPLES


def inked(picture: np.ndarray, seen: Seen, share: np.ndarray, colour: Colour, strength: float) -> np.ndarray:
    """A picture (h, w, 3) with a colour laid over the hits by their share (k,) in [0, 1] times strength."""
    inked, share = picture.copy(), (share * strength)[:, None]
    inked[seen.hit] = picture[seen.hit] * (1 - share) + np.array(colour, np.float32) / 255 * share
    return inked


def region_of(seen: Seen, regions: Mapping[str, np.ndarray]) -> np.ndarray:
    """(k,) the last of the regions (n,) bool, counted from 0, that holds at least half of a hit's weights; −1 where none does."""
    found = np.full(len(seen.triangle), -1)
    for number, mask in enumerate(regions.values()):
        found[seen.of(mask) >= 0.5] = number
    return found


def scaled(values: np.ndarray, low: float, high: float, stops: np.ndarray) -> np.ndarray:
    """(k,) values → (k, 3) colours in [0, 1] between stops (s, 3), even between low and high and clipped there."""
    place = np.clip((values - low) / (high - low), 0, 1) * (len(stops) - 1)
    return np.stack([np.interp(place, np.arange(len(stops)), channel) for channel in stops.T], axis=1).astype(np.float32)


def finished(picture: np.ndarray) -> Image.Image:
    """Samples (h, w, 3) in [0, 1] → RGB, each pixel the mean of its own."""
    height, width = (size // View.SAMPLES for size in picture.shape[:2])
    means = picture.reshape(height, View.SAMPLES, width, View.SAMPLES, 3).mean(axis=(1, 3))
    return Image.fromarray(np.rint(means * 255).astype(np.uint8))
