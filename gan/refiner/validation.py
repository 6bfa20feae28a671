"""How far a refinement is from the truth, in mm and degrees, beside the simple refinements it must beat.

Per image: the mean |depth error| and the mean angle between normals over the pixels whose truth is known;
then the mean over a sensor's images, then over sensors, so that no sensor outvotes another.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass

import keras
import numpy as np
from keras import ops

from gan.refiner.bank import WIDTHS, smoothing_bank
from gan.refiner.losses import COVERAGE
from gan.refiner.surface import depth_normals, normals_from_components

Image = tuple[dict[str, np.ndarray], np.ndarray, str]  # x, truth and sensor of a whole pair, batch size 1
MEAN = "mean"  # over sensors


@dataclass(frozen=True)
class SurfaceError:
    """Means over an image or a set: depth_mm, angle_degrees, and both on the pixels that the scan saw."""

    depth_mm: float
    angle_degrees: float
    observed_depth_mm: float
    observed_angle_degrees: float

    def ratio(self, other: "SurfaceError") -> float:
        """Mean of both errors relative to another's on the observed pixels (elsewhere all refiners guess): below 1 is better."""
        depth = self.observed_depth_mm / other.observed_depth_mm
        return 0.5 * (depth + self.observed_angle_degrees / other.observed_angle_degrees)


def surface_error(residual: np.ndarray, normals: np.ndarray, scan: np.ndarray, truth: np.ndarray) -> SurfaceError:
    """residual (1, h, w, 1), normals (1, h, w, 3) against truth (1, h, w, 4), as NumPy arrays; NaN where nothing is known."""
    known = np.asarray(truth)[..., -1] > 0.5
    observed = known & (np.asarray(scan)[..., -1] > 0.5)
    distance = np.abs(np.asarray(residual) - truth[..., :1])[..., 0]
    true_normals = ops.convert_to_numpy(normals_from_components(truth[..., 1:2], truth[..., 2:3]))
    angle = np.degrees(np.arccos(np.clip((np.asarray(normals) * true_normals).sum(-1), -1.0, 1.0)))
    means = [float(values[mask].mean()) if mask.any() else math.nan for mask in (known, observed) for values in (distance, angle)]
    return SurfaceError(*means)


def baseline_names() -> list[str]:
    return ["coarse", "raw"] + [f"smooth_{width:g}" for width in WIDTHS[1:]]


def baselines(x: Mapping, pixel_mm: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name → residual and normals: the coarse surface, the raw scan over it, and its residual smoothed by each fixed width."""
    coarse, scan = x["coarse"], x["scan"]
    bank, _, _ = smoothing_bank(*(ops.convert_to_tensor(part) for part in (scan[..., :1], scan[..., -2:-1], scan[..., -1:])))
    bank = ops.convert_to_numpy(bank)
    residuals = [np.zeros_like(bank[..., :1])] + [bank[..., k : k + 1] for k in range(len(WIDTHS))]
    return {
        name: (residual, ops.convert_to_numpy(depth_normals(coarse[..., :1] + residual, coarse[..., -1:], pixel_mm)))
        for name, residual in zip(baseline_names(), residuals)
    }


def average(errors: Iterable[tuple[str, SurfaceError]]) -> dict[str, SurfaceError]:
    """(sensor, error) of each image → mean by sensor, and "mean" over the sensors; images without a pixel
    both seen and known are left out."""
    by_sensor: dict[str, list] = {}
    for sensor, error in errors:
        if not math.isnan(error.observed_depth_mm):
            by_sensor.setdefault(sensor, []).append(astuple(error))
    means = {sensor: np.mean(values, axis=0) for sensor, values in sorted(by_sensor.items())}
    if not means:
        raise ValueError("no validation image has a pixel that the scan saw and whose truth is known")
    means[MEAN] = np.mean(list(means.values()), axis=0)
    return {sensor: SurfaceError(*(float(value) for value in values)) for sensor, values in means.items()}


def baseline_errors(images: Iterable[Image], pixel_mm: float) -> dict[str, dict[str, SurfaceError]]:
    """Method → sensor → error; adds "smooth_oracle", the best width for each image, chosen with the truth."""
    found: dict[str, list[tuple[str, SurfaceError]]] = {}
    for x, truth, sensor in images:
        errors = {name: surface_error(*surface, x["scan"], truth) for name, surface in baselines(x, pixel_mm).items()}
        candidates = [error for name, error in errors.items() if name != "coarse"]
        errors["smooth_oracle"] = min(candidates, key=lambda error: error.ratio(errors["coarse"]))
        for name, error in errors.items():
            found.setdefault(name, []).append((sensor, error))
    return {name: average(errors) for name, errors in found.items()}


def refiner_errors(generator: keras.Model, images: Iterable[Image]) -> dict[str, SurfaceError]:
    """Sensor → error of the generator."""
    found = []
    for x, truth, sensor in images:
        prediction = generator.predict_on_batch(x)
        found.append((sensor, surface_error(prediction["depth"], prediction["normals"], x["scan"], truth)))
    return average(found)


def _relative_errors(generator: keras.Model, images: Iterable[Image]) -> dict[str, np.ndarray]:
    """Sensor → |depth error| / predicted σ of every observed, known pixel."""
    found: dict[str, list[np.ndarray]] = {}
    for x, truth, sensor in images:
        prediction = generator.predict_on_batch(x)
        chosen = (truth[..., -1:] > 0.5) & (x["scan"][..., -1:] > 0.5)
        error = np.abs(prediction["depth"] - truth[..., :1])[chosen]
        found.setdefault(sensor, []).append(error / np.maximum(prediction["sigma"][chosen], 1e-6))
    return {sensor: np.concatenate(parts) for sensor, parts in sorted(found.items())}


def sigma_scale(generator: keras.Model, images: Iterable[Image]) -> float:
    """What the generator's σ must be multiplied by so that, the mean over sensors, 68 % of the errors lie within it: a
    network is surer of the pairs it was trained on."""
    relative = [errors for errors in _relative_errors(generator, images).values() if len(errors)]
    if not relative:
        return 1.0
    scales = np.exp(np.linspace(np.log(0.25), np.log(4.0), 161))
    covered = np.array([np.mean([(errors <= scale).mean() for errors in relative]) for scale in scales])
    return float(scales[np.abs(covered - COVERAGE).argmin()])


def coverage(generator: keras.Model, images: Iterable[Image], scale: float) -> dict[str, float]:
    """Sensor → share of observed pixels whose error lies within scale · σ, and "mean" over sensors."""
    relative = _relative_errors(generator, images)
    shares = {sensor: round(float((errors <= scale).mean()), 4) for sensor, errors in relative.items() if len(errors)}
    return shares | {MEAN: round(float(np.mean(list(shares.values()))), 4)}


def table(errors: Mapping[str, Mapping[str, SurfaceError]]) -> str:
    """Lines of text: a row per method, mm and degrees per sensor on the pixels that the scan saw."""
    sensors = list(next(iter(errors.values())))
    lines = [f"{'mm / degrees':<14}" + "".join(f"{sensor:>16}" for sensor in sensors)]
    for method, found in errors.items():
        cells = [f"{found[sensor].observed_depth_mm:8.3f} /{found[sensor].observed_angle_degrees:6.2f}" for sensor in sensors]
        lines.append(f"{method:<14}" + "".join(cells))
    return "\n".join(lines)
