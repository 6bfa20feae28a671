"""Small simulated training pairs for the gan tests: a bumpy ellipsoid, a coarse fit that misses its bumps, a noisy scan."""

import numpy as np
from scipy.ndimage import gaussian_filter

from gan import layout
from geometry.charts.chart import OrthographicChart
from geometry.charts.geometry_image import CHANNELS, GeometryImage
from pipeline.store import image_records, tfrecord

RADII = (70.0, 90.0, 60.0)  # mm
SENSOR_NOISE = {"clean": 0.0, "fine": 0.15, "middle": 0.4, "rough": 1.2}  # mm


def image_of(depth, valid, chart, noise=None) -> GeometryImage:
    """Channels by finite differences, noise_sigma where given."""
    down, across = np.gradient(np.where(valid, depth, 0.0), chart.pixel_mm)
    normals = np.stack([-across, down, np.ones_like(depth)], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    curvature = -0.5 * (np.gradient(down, chart.pixel_mm, axis=0) + np.gradient(across, chart.pixel_mm, axis=1))
    elevation = np.arctan2(normals[..., 2], np.hypot(normals[..., 0], normals[..., 1]))
    channels = dict(zip(CHANNELS, (depth, elevation, curvature, normals[..., 0], normals[..., 1])))
    if noise is not None:
        channels["noise_sigma"] = noise
    return GeometryImage(
        {name: np.where(valid, values, 0.0).astype(np.float32) for name, values in channels.items()}, valid, chart
    )


def band(rng, shape, wavelength_px, amplitude):
    """Band-limited bumps with the given RMS."""
    white = gaussian_filter(rng.normal(size=shape), wavelength_px / 6)
    white -= gaussian_filter(white, wavelength_px / 2)
    return amplitude * white / white.std()


def simulate(seed: int, size: int = 64, sensor: str | None = None) -> tuple[GeometryImage, GeometryImage, GeometryImage, str]:
    """coarse, scan, truth, sensor; a chart of size² pixels of 0.75 mm about a point of the ellipsoid."""
    rng = np.random.default_rng(seed)
    sensor = sensor or list(SENSOR_NOISE)[rng.integers(len(SENSOR_NOISE))]
    chart = OrthographicChart(height=size, width=size, centre_x=rng.uniform(-10, 10), centre_y=rng.uniform(-20, 20))
    y, x = np.mgrid[:size, :size] + 0.5
    x, y = (x - size / 2) * 0.75 + chart.centre_x, (size / 2 - y) * 0.75 + chart.centre_y
    inside = 1 - (x / RADII[0]) ** 2 - (y / RADII[1]) ** 2
    valid = inside > 0.02
    smooth = RADII[2] * (np.sqrt(np.maximum(inside, 0.02)) - 1)
    coarse = smooth + band(rng, (size, size), 60, 0.6)
    missed = band(rng, (size, size), 60, 0.5) + band(rng, (size, size), 20, 0.25) + band(rng, (size, size), 7, 0.06)
    truth = coarse + missed
    sigma = SENSOR_NOISE[sensor] * rng.uniform(0.7, 1.4)
    noise = gaussian_filter(rng.normal(size=(size, size)), rng.uniform(0.3, 0.9))
    seen = valid & (gaussian_filter(rng.normal(size=(size, size)), 6) < 0.08)
    scan = truth + sigma * noise / noise.std()
    known = np.full((size, size), max(sigma, 0.01) * rng.uniform(0.85, 1.15))
    return image_of(coarse, valid, chart), image_of(scan, seen, chart, known), image_of(truth, valid, chart), sensor


def batch(*seeds: int, size: int = 64, sensor: str | None = None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Simulated pairs as the refiner's networks take them: coarse (b, size, size, 6) and scan (…, 7); the truth (…, 4)."""
    pairs = [simulate(seed, size, sensor)[:3] for seed in seeds]
    coarse = np.stack([layout.pack_coarse(coarse) for coarse, _, _ in pairs])
    scan = np.stack([layout.pack_scan(coarse, scan) for coarse, scan, _ in pairs])
    return {"coarse": coarse, "scan": scan}, np.stack([layout.pack_truth(coarse, truth) for coarse, _, truth in pairs])


def write_records(path, seeds, splits, size: int = 64) -> None:
    """A GZIP TFRecord of simulated pairs in the schema of training sets."""
    examples = []
    for seed, split in zip(seeds, splits):
        coarse, scan, truth, sensor = simulate(seed, size)
        groups = {"coarse": coarse, "scan": scan, "truth": truth}
        examples.append(image_records.images_example(f"pair-{seed}", groups, subject=f"s{seed}", split=split, sensor=sensor))
    tfrecord.write_tfrecord(path, iter(examples), gzip=True)
