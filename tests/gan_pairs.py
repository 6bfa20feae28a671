"""Small simulated training pairs for the gan tests: a bumpy ellipsoid, a coarse fit that misses its bumps, a noisy scan."""

import numpy as np
from scipy.ndimage import gaussian_filter

from gan import layout
from geometry.charts.chart import OrthographicChart, pixel_centres
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.rasterize import image_from_depth
from pipeline.store import image_records, tfrecord

RADII = (70.0, 90.0, 60.0)  # mm
SENSOR_NOISE = {"clean": 0.0, "fine": 0.15, "middle": 0.4, "rough": 1.2}  # mm


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
    x, y = chart.lift(pixel_centres(chart), np.zeros(size**2)).T[:2].reshape(2, size, size)
    inside = 1 - (x / RADII[0]) ** 2 - (y / RADII[1]) ** 2
    valid = inside > 0.02
    smooth = RADII[2] * (np.sqrt(np.maximum(inside, 0.02)) - 1)
    coarse = smooth + band(rng, (size, size), 60, 0.6)
    missed = band(rng, (size, size), 60, 0.5) + band(rng, (size, size), 20, 0.25) + band(rng, (size, size), 7, 0.06)
    truth = coarse + missed
    sigma = SENSOR_NOISE[sensor] * rng.uniform(0.7, 1.4)
    noise = gaussian_filter(rng.normal(size=(size, size)), rng.uniform(0.3, 0.9))
    seen = valid & (gaussian_filter(rng.normal(size=(size, size)), 6) < 0.08)
    known = np.where(seen, max(sigma, 0.01) * rng.uniform(0.85, 1.15), 0.0)
    scan = image_from_depth(truth + sigma * noise / noise.std(), seen, chart).with_channel("noise_sigma", known)
    return image_from_depth(coarse, valid, chart), scan, image_from_depth(truth, valid, chart), sensor


def pair_example(seed: int, split: str, size: int) -> bytes:
    coarse, scan, truth, sensor = simulate(seed, size)
    groups = {"coarse": coarse, "scan": scan, "truth": truth}
    return image_records.images_example(f"pair-{seed}", groups, subject=f"s{seed}", split=split, sensor=sensor)


def batch(*seeds: int, size: int = 64, sensor: str | None = None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Simulated pairs as the refiner's networks take them: coarse (b, size, size, 6) and scan (…, 7); the truth (…, 4)."""
    pairs = [simulate(seed, size, sensor)[:3] for seed in seeds]
    coarse = np.stack([layout.pack_coarse(coarse) for coarse, _, _ in pairs])
    scan = np.stack([layout.pack_scan(coarse, scan) for coarse, scan, _ in pairs])
    return {"coarse": coarse, "scan": scan}, np.stack([layout.pack_truth(coarse, truth) for coarse, _, truth in pairs])


def write_records(path, seeds, splits, size: int = 64) -> None:
    """A GZIP TFRecord of simulated pairs in the schema of training sets."""
    tfrecord.write_tfrecord(path, (pair_example(seed, split, size) for seed, split in zip(seeds, splits)), gzip=True)
