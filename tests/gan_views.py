"""Small views with landmarks for the tests of the landmark network: a tilted ellipsoid whose landmarks lie on it."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from geometry.charts.chart import OrthographicChart
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.rasterize import image_from_depth
from pipeline.store import image_records, tfrecord

SIZE = 64
CHART = OrthographicChart(height=SIZE, width=SIZE, pixel_mm=1.5, centre_y=0.0)
# 68 places on a disc, in mm, such that place mirror(l) is the mirror image of place l
_ANGLE = np.linspace(0, 2 * np.pi, 68, endpoint=False)


def mirrored_places() -> np.ndarray:
    """(68, 2) places whose mirror images are those of the mirrored landmarks."""
    from geometry.model.landmark_embedding import shipped_schemes

    mirror = np.array(shipped_schemes()["ibug68"].mirror)
    places = np.stack([30 * np.cos(_ANGLE * 7), 30 * np.sin(_ANGLE * 3)], 1)
    return 0.5 * (places + places[mirror] * [-1, 1])


def view(rng: np.random.Generator) -> tuple[GeometryImage, np.ndarray]:
    """An image and its landmarks (68, 3) in the view's frame; the whole thing shifted at random."""
    shift = rng.uniform(-6, 6, 2)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    x, y = (columns - SIZE / 2) * 1.5 - shift[0], (SIZE / 2 - rows) * 1.5 - shift[1]
    height = lambda x, y: 30 - (x / 9) ** 2 - (y / 11) ** 2 + 6 * np.exp(-(x**2 + y**2) / 60)
    depth = height(x, y)
    valid = (x / 42) ** 2 + (y / 44) ** 2 < 1
    places = mirrored_places()
    landmarks = np.column_stack([places + shift, height(*places.T)])
    return image_from_depth(np.where(valid, depth, 0.0), valid, CHART), landmarks


def write_views(path: Path, splits: list[str], seed: int = 0) -> None:
    rng, examples = np.random.default_rng(seed), []
    for number, split in enumerate(splits):
        image, landmarks = view(rng)
        examples.append(
            tfrecord.encode_example(
                {
                    **image_records.image_features("view", image),
                    "shape": np.array(image.shape),
                    "chart": json.dumps(asdict(CHART)),
                    "landmarks": landmarks.astype(np.float32).ravel(),
                    "visible": (np.arange(68) % 5 > 0).astype(np.float32),
                    "split": split,
                    "sensor": "test",
                    "subject": f"s{number}",
                    "scan_id": f"v{number}",
                    "kind": "aligned",
                }
            )
        )
    tfrecord.write_tfrecord(str(path), examples, gzip=True)
