"""Fine facial detail as a displacement along the normal, in the anatomy of a model's mean shape.

Three layers, in mm, outward positive:

texture   isotropic noise of a skin chart, power-law spectrum |k|^−2.2 in amplitude between wavelengths of 2 and 15 mm:
          0.01 mm RMS on a smooth face to 0.10 mm on a rough one. Skin's own relief of 20–200 µm (Bibb, Medical Modelling,
          §6.17.3) lies mostly below 2 mm wavelength, which a 0.75 mm raster cannot carry; this is its resolved tail together
          with unevenness of the fat beneath.
strokes   single lines with a groove and raised flanks (a skin fold displaces, it does not remove): forehead lines, frown
          lines, crow's feet, lines below the eye, nasolabial folds, marionette lines, lines about the lips. Depths run from
          nothing to about 1 mm (nasolabial 1.6 mm), the range of Lemperle et al. 2001, whose profilometry puts grade 1
          (just perceptible) below 0.2 mm and grade 5 (deep fold) near 1 mm; that they come in families over the mimic
          muscles, about evenly spaced, is Hatzis 2004. Groove half widths (σ) are 0.7–2.5 mm, so they fill the band of 2–15 mm.
bumps     moles, pimples and scars: 0–8 of 1–4 mm radius, −0.3 to 0.8 mm.
beard     (`beard`, of some faces) 0.3 mm of stubble to 6 mm of beard over chin, jaw and upper lip, tufted at 3–12 mm wavelength:
          a scan shows its surface, not the skin beneath.

All are drawn separately for left and right, so that faces are not symmetric.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from geometry.synthesis.random_fields import smooth_noise

TEXTURE_WAVELENGTHS_MM = (2.0, 15.0)
TEXTURE_RMS_MM = (0.01, 0.10)
TEXTURE_SLOPE = -2.2
WOBBLE_MM = 14.0  # wavelength of a line's waviness
CHART_MM = 0.5  # sampling of the texture's chart
CHART_RADIUS_MM = 90.0  # columns are arc length on a cylinder of this radius about the head's axis


@dataclass(frozen=True)
class Stroke:
    """One line of skin. start (2,) mm in the frontal (x, y) plane of the mean shape; angle in radians from +x;
    bow: height of its arc in mm; depth and width (σ of the groove) in mm; flank: raised sides, as a share of the depth;
    bulge: extra height in mm of a broad fold on the left of its direction; wobble: amplitude and phase of its waviness."""

    start: np.ndarray
    angle: float
    length: float
    depth: float
    width: float
    bow: float = 0.0
    flank: float = 0.35
    bulge: float = 0.0
    wobble: tuple[float, float] = (0.0, 0.0)

    def displacement(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) mm → (n,) mm."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        offset = points - self.start
        along = (offset @ [cos, sin]) / self.length
        inside = np.clip(along, 0.0, 1.0)
        waves = self.wobble[0] * np.sin(2 * np.pi * inside * self.length / WOBBLE_MM + self.wobble[1])
        across = (offset @ [-sin, cos] - 4 * self.bow * inside * (1 - inside) - waves) / self.width
        # tapered at both ends, and gone beyond them
        taper = np.sin(np.pi * inside) ** 0.7
        flanks = np.exp(-((across - 2.2) ** 2) / 2) + np.exp(-((across + 2.2) ** 2) / 2)
        groove = self.flank * flanks - np.exp(-(across**2) / 2)
        fold = self.bulge * np.exp(-((across - 3.2) ** 2) / 8)
        return taper * (self.depth * groove + fold)

    def reach_along(self, axis: int) -> float:
        """mm from the middle of the stroke, along x (0) or y (1), beyond which it does nothing."""
        extent = self.length / 2 * abs((np.cos(self.angle), np.sin(self.angle))[axis])
        return extent + abs(self.bow) + abs(self.wobble[0]) + 9 * self.width


def texture(points: np.ndarray, rms_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Band-limited noise at points (n, 3) of the mean shape → (n,) mm, RMS `rms_mm`."""
    columns = np.arctan2(points[:, 0], points[:, 2] + CHART_RADIUS_MM) * CHART_RADIUS_MM / CHART_MM
    rows = points[:, 1] / CHART_MM
    size = 512  # 256 mm each way; the noise is periodic, so points beyond wrap round
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(size, CHART_MM), np.fft.fftfreq(size, CHART_MM)))
    longest, shortest = 1 / TEXTURE_WAVELENGTHS_MM[1], 1 / TEXTURE_WAVELENGTHS_MM[0]
    amplitude = np.where((frequency >= longest) & (frequency <= shortest), np.maximum(frequency, 1e-6) ** TEXTURE_SLOPE, 0.0)
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32)) * amplitude
    field = np.fft.irfft2(spectrum, s=(size, size))
    return map_coordinates(field * (rms_mm / field.std()), [rows % size, columns % size], order=1, mode="grid-wrap")


def _forehead(landmarks: np.ndarray, strength: float, rng: np.random.Generator) -> Iterator[Stroke]:
    brow_y = landmarks[17:27, 1].max()
    spacing = rng.uniform(7, 11)
    for line in range(rng.integers(2, 6)):
        for part in range(rng.integers(1, 3)):  # a line may be broken in two
            half = rng.uniform(18, 38)
            centre = np.array([rng.normal(0, 5) + (part * rng.choice([-18, 18])), brow_y + 9 + line * spacing + rng.normal(0, 1)])
            yield Stroke(
                centre - [half, 0],
                rng.normal(0, 0.04),
                2 * half,
                strength * rng.uniform(0.15, 0.8),
                rng.uniform(0.8, 1.6),
                bow=rng.normal(-2, 3),
                wobble=(rng.uniform(0, 0.8), rng.uniform(0, 6.3)),
            )


def _frown(landmarks: np.ndarray, strength: float, rng: np.random.Generator) -> Iterator[Stroke]:
    middle = landmarks[[21, 22]].mean(0)[:2]
    for side in (-1, 1):
        for _ in range(rng.integers(0, 3)):
            start = middle + [side * rng.uniform(3, 9), rng.uniform(-12, -6)]
            yield Stroke(
                start,
                np.pi / 2 - side * rng.uniform(-0.1, 0.35),
                rng.uniform(10, 20),
                strength * rng.uniform(0.2, 0.9),
                rng.uniform(0.8, 1.4),
            )


def _eye_lines(landmarks: np.ndarray, strength: float, rng: np.random.Generator) -> Iterator[Stroke]:
    """Crow's feet, and lines and a bag below the eye."""
    for side, outer, inner in ((-1, 36, 39), (1, 45, 42)):
        corner, width = landmarks[outer][:2], abs(landmarks[outer][0] - landmarks[inner][0])
        for angle in np.linspace(0.7, -0.7, rng.integers(3, 7)):
            direction = angle + rng.normal(0, 0.1)
            direction = direction if side > 0 else np.pi - direction
            start = corner + [side * rng.uniform(4, 7), 0] + 2 * np.array([np.cos(direction), np.sin(direction)])
            yield Stroke(
                start,
                direction,
                rng.uniform(8, 20),
                strength * rng.uniform(0.1, 0.5),
                rng.uniform(0.7, 1.1),
                bow=rng.normal(0, 1),
            )
        below = landmarks[[outer, inner]].mean(0)[:2] - [0, rng.uniform(9, 12)]
        for line in range(rng.integers(1, 4)):
            length = width * rng.uniform(0.7, 1.2)
            yield Stroke(
                below - [length / 2, 3.5 * line],
                rng.normal(0, 0.06),
                length,
                strength * rng.uniform(0.1, 0.45),
                rng.uniform(0.8, 1.5),
                bow=-rng.uniform(2, 5),
                bulge=strength * rng.uniform(0, 0.25),
            )


def _mouth_lines(landmarks: np.ndarray, strength: float, rng: np.random.Generator) -> Iterator[Stroke]:
    """Nasolabial folds, marionette lines and the short upright lines of the lips' skin."""
    for side, wing, corner in ((-1, 31, 48), (1, 35, 54)):
        start = landmarks[wing][:2] + [side * rng.uniform(3, 6), rng.uniform(0, 6)]
        end = landmarks[corner][:2] + [side * rng.uniform(7, 12), 0]
        if side > 0:  # directed so that the cheek lies on the left of it: its fold bulges
            start, end = end, start
        span = end - start
        yield Stroke(
            start,
            np.arctan2(span[1], span[0]),
            np.hypot(*span) * rng.uniform(0.9, 1.4),
            strength * rng.uniform(0.2, 1.6),
            rng.uniform(1.2, 2.5),
            bow=rng.uniform(0, 4),
            flank=0.15,
            bulge=strength * rng.uniform(0.0, 0.7),
        )
        start = landmarks[corner][:2] + [side * rng.uniform(2, 6), -3]
        yield Stroke(
            start,
            -np.pi / 2 + side * rng.uniform(0, 0.3),
            rng.uniform(12, 25),
            strength * rng.uniform(0, 0.8),
            rng.uniform(1.0, 1.8),
        )
    for _ in range(rng.integers(0, 8)):
        start = landmarks[51][:2] + [rng.uniform(-16, 16), rng.uniform(2, 4)]
        angle = np.pi / 2 + rng.normal(0, 0.15) - start[0] * 0.01
        yield Stroke(start, angle, rng.uniform(5, 9), strength * rng.uniform(0.05, 0.25), rng.uniform(0.7, 0.9))


FAMILIES = (_forehead, _frown, _eye_lines, _mouth_lines)


def sample_strokes(landmarks: np.ndarray, strength: float, rng: np.random.Generator) -> list[Stroke]:
    """landmarks (68, 3) of the mean shape, iBUG order; strength 0 (smooth) to 1 (aged). Each family has its own share."""
    return [stroke for family in FAMILIES for stroke in family(landmarks, strength * rng.uniform(0.3, 1.0), rng)]


def bumps(points: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """(n, 3) → (n,) mm: moles and scars at random points."""
    total = np.zeros(len(points))
    for _ in range(rng.poisson(1 + 4 * strength)):
        centre, radius = points[rng.integers(len(points))], rng.uniform(1, 4)
        height = rng.uniform(0.1, 0.8) if rng.random() < 0.75 else -rng.uniform(0.05, 0.3)
        near = np.flatnonzero(np.abs(points[:, 1] - centre[1]) < 3 * radius)
        squared = ((points[near] - centre) ** 2).sum(1)
        total[near] += height * min(1.0, radius / 2) * np.exp(-squared / (2 * (radius / 1.5) ** 2))
    return total


def detail(points: np.ndarray, landmarks: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The three layers at points (n, 3) of the mean shape's face, landmarks (68, 3) → displacement (n,) mm."""
    low, high = TEXTURE_RMS_MM
    total = texture(points, low + (high - low) * strength * rng.uniform(0.2, 1.0), rng) + bumps(points, strength, rng)
    frontal = np.ascontiguousarray(points[:, :2])
    order = np.argsort(frontal[:, 1], kind="stable")  # by height: a stroke touches a narrow band of it
    height = frontal[order, 1]
    for stroke in sample_strokes(landmarks, strength, rng):
        middle = stroke.start + stroke.length / 2 * np.array([np.cos(stroke.angle), np.sin(stroke.angle)])
        low, high = np.searchsorted(height, middle[1] + np.array([-1, 1]) * stroke.reach_along(1))
        band = order[low:high]
        near = band[np.abs(frontal[band, 0] - middle[0]) < stroke.reach_along(0)]
        total[near] += stroke.displacement(frontal[near])
    return total


def beard(points: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stubble or beard at points (n, 3) of the mean shape, landmarks (68, 3) → (n,) mm outward."""
    length = np.exp(rng.uniform(np.log(0.3), np.log(6.0)))
    border = landmarks[33, 1] + 4 * smooth_noise(points, (10, 40), rng)
    jaw = np.interp(np.abs(points[:, 0]), [0, 25, 60], [0, -8, 12]) + rng.uniform(-10, 5)
    below = np.clip((border + jaw - points[:, 1]) / 8, 0, 1)
    x, y = (points[:, :2] - landmarks[[48, 54]].mean(0)[:2]).T
    lips = np.clip(np.hypot(x / 30, y / 13) * 2 - 1.6, 0, 1)  # bare
    tufts = 1 + rng.uniform(0.1, 0.35) * smooth_noise(points, (3, 12), rng)
    return length * below * lips * np.clip(tufts, 0, 2)
