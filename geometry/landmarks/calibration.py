"""How far landmarks lie from the true ones, of a registered mesh, of heatmaps and of both: measured on simulated scans of the
validation split.

`benchmarks/landmarks.py --calibrate --count 90` measures and prints it. What stands in data/landmark_calibration.json was measured
on the same 90 scans before the fits used it themselves; a run since gives the same to 1-3 % (the median over landmarks).
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

import numpy as np

from geometry.landmarks.heatmaps import probability_within


@lru_cache(maxsize=1)
def calibration() -> dict:
    """seen_mm, unseen_mm: 68 standard deviations per axis each of the mesh's landmarks; noise_weight: growth of their variance
    with the square of the scan's noise; heatmap_variance (68): what the covariances of combined views are multiplied by; correlation
    (68): of the errors of heatmaps and mesh, which see the same scan; fused_variance: a last factor for both together; gross_share: of landmarks that are off by more than any covariance says."""
    return json.loads((resources.files("geometry") / "data" / "landmark_calibration.json").read_text(encoding="utf-8"))


def confidence_of(covariance: np.ndarray) -> np.ndarray:
    """(…, 3, 3) mm² → (…) the probability that the landmark lies within `CLOSE_MM` of the truth, were it seen."""
    return (1 - calibration()["gross_share"]) * probability_within(covariance)


def mesh_covariance(seen: np.ndarray, noise_mm: float) -> np.ndarray:
    """(68,) bool, whether the scan supports the mesh at each iBUG landmark; its noise → (68, 3, 3) mm²."""
    found = calibration()
    sigma = np.where(seen, found["seen_mm"], found["unseen_mm"])
    return (sigma**2 + found["noise_weight"] * noise_mm**2)[:, None, None] * np.eye(3)
