"""How far landmarks lie from the true ones, of a registered mesh, of heatmaps and of both: measured on simulated scans of the
validation split.

`benchmarks/landmarks.py --calibrate --count 90` measures and prints it. What stands in data/landmark_calibration.json is what it
printed, while the fits used a calibration on nearly the same scans.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from geometry.landmarks.heatmaps import probability_within


@dataclass(frozen=True)
class LandmarkCalibration:
    """What was measured of the errors of landmarks; tuples hold a number for each of the iBUG-68."""

    seen_mm: tuple[float, ...]
    """Standard deviation per axis of the registered mesh's landmarks where the scan shows a surface."""
    unseen_mm: tuple[float, ...]
    """The same where it shows none."""
    noise_weight: float
    """Growth of the mesh's variance with the square of the scan's noise."""
    heatmap_variance: tuple[float, ...]
    """What the covariances of combined views are multiplied by."""
    correlation: tuple[float, ...]
    """Of the errors of heatmaps and mesh, which see the same scan."""
    fused_variance: float
    """A last factor for the covariances of both together."""
    gross_share: float
    """Share of landmarks that are off by more than any covariance says."""


@lru_cache(maxsize=1)
def shipped_calibration() -> LandmarkCalibration:
    """That of the shipped landmark network and model."""
    text = (resources.files("geometry") / "data" / "landmark_calibration.json").read_text(encoding="utf-8")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()}
    return LandmarkCalibration(**values)


def confidence_of(covariance: np.ndarray, calibration: LandmarkCalibration | None = None) -> np.ndarray:
    """(…, 3, 3) mm² → (…) the probability that the landmark lies within `CLOSE_MM` of the truth, were it seen.

    calibration: the shipped one where none is given, here as in all functions of landmarks."""
    return (1 - (calibration or shipped_calibration()).gross_share) * probability_within(covariance)


def mesh_covariance(seen: np.ndarray, noise_mm: float, calibration: LandmarkCalibration | None = None) -> np.ndarray:
    """(68,) bool, whether the scan supports the mesh at each iBUG landmark; its noise → (68, 3, 3) mm²."""
    found = calibration or shipped_calibration()
    sigma = np.where(seen, found.seen_mm, found.unseen_mm)
    return (sigma**2 + found.noise_weight * noise_mm**2)[:, None, None] * np.eye(3)
