"""How far landmarks lie from the true ones, of a registered mesh, of heatmaps and of both: measured on simulated scans of the
validation split.

`benchmarks/landmarks.py --calibrate` measures it and prints what stands in data/landmark_calibration.json.
"""
from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

import numpy as np


@lru_cache(maxsize=1)
def calibration() -> dict:
    """seen_mm, unseen_mm: 68 standard deviations per axis each of the mesh's landmarks; noise_weight: growth of their variance
    with the square of the scan's noise; heatmap_variance, fused_variance: what the covariances of combined views, and of views
    and mesh together, are multiplied by, because neither views nor mesh and views err independently."""
    return json.loads((resources.files("geometry") / "data" / "landmark_calibration.json").read_text(encoding="utf-8"))


def mesh_covariance(seen: np.ndarray, noise_mm: float) -> np.ndarray:
    """(68,) bool, whether the scan supports the mesh at each iBUG landmark; its noise → (68, 3, 3) mm²."""
    found = calibration()
    sigma = np.where(seen, found["seen_mm"], found["unseen_mm"])
    return (sigma**2 + found["noise_weight"] * noise_mm**2)[:, None, None] * np.eye(3)
