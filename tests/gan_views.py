"""Small views with landmarks for the tests of the landmark network: a tilted ellipsoid whose landmarks lie on it."""

from pathlib import Path

import numpy as np

from geometry.charts.chart import OrthographicChart, pixel_centres
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.rasterize import image_from_depth
from geometry.model.landmark_embedding import shipped_schemes
from pipeline.store import image_records, tfrecord

SIZE = 64
CHART = OrthographicChart(height=SIZE, width=SIZE, pixel_mm=1.5, centre_y=0.0)
_ANGLE = np.linspace(0, 2 * np.pi, 68, endpoint=False)
_ON_A_DISC = np.stack([30 * np.cos(_ANGLE * 7), 30 * np.sin(_ANGLE * 3)], 1)
# (68, 2) mm, such that place mirror(l) is the mirror image of place l
PLACES = 0.5 * (_ON_A_DISC + _ON_A_DISC[list(shipped_schemes()["ibug68"].mirror)] * [-1, 1])


def height(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of the surface, mm, about the middle of what `view` shifts."""
    return 30 - (x / 9) ** 2 - (y / 11) ** 2 + 6 * np.exp(-(x**2 + y**2) / 60)


def view(rng: np.random.Generator) -> tuple[GeometryImage, np.ndarray]:
    """An image and its landmarks (68, 3) in the view's frame; the whole thing shifted at random."""
    shift = rng.uniform(-6, 6, 2)
    x, y = CHART.lift(pixel_centres(CHART), np.zeros(SIZE**2)).T[:2].reshape(2, SIZE, SIZE) - shift[:, None, None]
    valid = (x / 42) ** 2 + (y / 44) ** 2 < 1
    landmarks = np.column_stack([PLACES + shift, height(*PLACES.T)])
    return image_from_depth(np.where(valid, height(x, y), 0.0), valid, CHART), landmarks


def write_views(path: Path, splits: list[str]) -> None:
    rng, examples = np.random.default_rng(0), []
    for number, split in enumerate(splits):
        image, landmarks = view(rng)
        examples.append(
            image_records.images_example(
                f"v{number}",
                {"view": image},
                landmarks=landmarks,
                visible=(np.arange(68) % 5 > 0).astype(np.float32),
                split=split,
                sensor="test",
                subject=f"s{number}",
                kind="aligned",
                mark_up="2",
            )
        )
    tfrecord.write_tfrecord(str(path), examples, gzip=True)
