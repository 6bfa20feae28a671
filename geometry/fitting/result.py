"""What a fit yields: a state for each iteration, and the result."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from geometry.transforms import SimilarityTransform


@dataclass(frozen=True)
class FitState:
    """What an iteration leaves: yielded, so that logging and stopping are the caller's."""

    iteration: int
    stage: int
    scan_to_model: SimilarityTransform
    coefficients: np.ndarray
    vertices: np.ndarray
    rms_mm: float
    matched_vertices: int


@dataclass(frozen=True)
class FitResult:
    """vertices (n, 3): the fitted model, model frame, mm. scan_to_model: scan mm → model mm, with scale where the
    scan's is unknown. residuals: statistics in mm of |n·(q − S)| over the scan's points on the visible face, and
    inlier_fraction: of the scan's points within 25 mm of the face, those that lie on it.
    visible_face: the fraction of the face region that scan points support; visible_area_mm2 the same as an area."""

    identity_coefficients: np.ndarray
    expression_coefficients: np.ndarray
    scan_to_model: SimilarityTransform
    vertices: np.ndarray
    residuals: dict[str, float]
    fit_quality: float
    noise_mm: float
    visible_face: float
    visible_area_mm2: float
    iterations: int
    landmark_error_mm: float | None = None
    details: dict[str, float] = field(default_factory=dict)
