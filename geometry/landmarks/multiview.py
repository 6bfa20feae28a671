"""Landmarks of one scan from several views: lifted to the scan's surface in each, and combined robustly.

In each view a landmark's place in the picture is lifted along the view's ray to the surface seen there, with a 3 × 3 covariance:
that of the place in the picture, carried along the surface's slope. Views of one scan share its noise and its gaps, so that
their errors are not independent: the combination is as sure as its views are on average, plus their disagreement, and not
surer by their number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from geometry.landmarks.calibration import LandmarkCalibration, confidence_of, shipped_calibration
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.heatmaps import ViewLandmarks
from geometry.landmarks.views import View, Viewer
from geometry.model.morphable_model import MARK_UP
from geometry.transforms import SimilarityTransform

Find = Callable[..., list[ViewLandmarks]]  # of views (a sequence of GeometryImage); mirrored=False: a cheaper, rougher answer
STEEPEST = 2.5  # slope of the surface against the view beyond which a lifted place is no better known
DEPTH_SIGMA_MM = 0.4  # of the smoothed depth under a landmark
LEAST_VISIBILITY = 0.5
INLIER_MM = 6.0  # views that place a landmark farther apart than this contradict each other
# The network's covariances tell the size of an error well and its direction hardly: taken at their word, fusion trusts their thin
# side too much (validation split, measured once: 1.76 mm, as against 1.68 with this share made isotropic; the mesh alone 1.80).
ROUNDNESS = 0.8
GRAZING = 2.5  # views are weighed by cos^GRAZING of the surface's angle: a place seen from the side lifts badly


@dataclass(frozen=True)
class ViewObservations:
    """All landmarks in v views, scan frame: points (v, l, 3), covariance (v, l, 3, 3), visibility (v, l), cosine (v, l) of the
    surface against the view, lifted (v, l) bool: a surface was there; mark_up: whose points they are."""

    points: np.ndarray
    covariance: np.ndarray
    visibility: np.ndarray
    cosine: np.ndarray
    lifted: np.ndarray
    mark_up: int = MARK_UP


def observe(viewer: Viewer, poses: Sequence[SimilarityTransform], find: Find, mirrored: bool = True) -> ViewObservations:
    """The scan seen in each pose (scan_to_view), and the landmarks found there and lifted."""
    views = [viewer.view(pose) for pose in poses]
    answers = find([view.image for view in views], mirrored=mirrored)
    found_on = (_lifted(view, found) for view, found in zip(views, answers, strict=True))
    points, covariance, visibility, cosine, lifted = (np.stack(parts) for parts in zip(*found_on))
    return ViewObservations(points, covariance, visibility, cosine, lifted, answers[0].mark_up)


def _lifted(view: View, found: ViewLandmarks) -> tuple[np.ndarray, ...]:
    points, gradient, valid = view.lift(found.position)
    steepness = np.linalg.norm(gradient, axis=1, keepdims=True)
    slope = gradient * np.minimum(1.0, STEEPEST / np.maximum(steepness, 1e-9))
    count = len(points)
    jacobian = np.concatenate([np.tile(np.eye(2), (count, 1, 1)), slope[:, None]], axis=1)
    covariance = jacobian @ found.covariance @ jacobian.transpose(0, 2, 1)
    covariance[:, 2, 2] += DEPTH_SIGMA_MM**2
    back = view.scan_to_view.inverse()
    linear = back.scale * back.rotation
    cosine = 1.0 / np.sqrt(1.0 + (gradient**2).sum(1))
    return back.apply(points), linear @ covariance @ linear.T, found.visibility, cosine, valid


def combine(sightings: ViewObservations, calibration: LandmarkCalibration | None = None) -> LandmarkEstimate:
    """The views' sightings as one estimate in the scan frame: for each landmark the largest group of views that agree, its
    mean weighted by information, visibility and how squarely the surface is met. A landmark is seen where the views that
    place it say so; others are NaN."""
    count = sightings.points.shape[1]
    points, covariance = np.full((count, 3), np.nan), np.tile(np.eye(3) * 1e4, (count, 1, 1))
    visibility = np.zeros(count)
    sigma = np.sqrt(np.trace(sightings.covariance, axis1=2, axis2=3) / 3)
    weights = sightings.visibility * sightings.cosine**GRAZING / sigma**2 * sightings.lifted
    for number in range(count):
        weight = weights[:, number]
        if not weight.any():
            continue
        places = sightings.points[:, number]
        apart = np.linalg.norm(places[:, None] - places[None], axis=2)
        inliers = (apart < INLIER_MM) & (weight > 0)
        group = inliers[int(np.argmax((inliers * weight).sum(1) * (weight > 0)))]
        w = weight[group] / weight[group].sum()
        points[number] = w @ places[group]
        offset = places[group] - points[number]
        covariance[number] = np.einsum("v,vij->ij", w, sightings.covariance[group, number]) + np.einsum(
            "v,vi,vj->ij", w, offset, offset
        )
        visibility[number] = w @ sightings.visibility[group, number]
    calibration = calibration or shipped_calibration()
    covariance = shrunk_to_isotropic(covariance) * np.array(calibration.heatmap_variance)[:count, None, None]
    seen = visibility > LEAST_VISIBILITY
    confidence = np.where(seen, visibility * confidence_of(covariance, calibration), 0.0)
    points[~seen] = np.nan
    return LandmarkEstimate(points, covariance, confidence, seen)


def shrunk_to_isotropic(covariance: np.ndarray) -> np.ndarray:
    """(l, 3, 3) with `ROUNDNESS` of each replaced by the isotropic one of the same trace."""
    variance = np.trace(covariance, axis1=1, axis2=2) / 3
    return (1 - ROUNDNESS) * covariance + ROUNDNESS * variance[:, None, None] * np.eye(3)


def snapped(estimate: LandmarkEstimate, viewer: Viewer) -> LandmarkEstimate:
    """Seen landmarks moved to the nearest point of the scan's surface: the mean of lifted places lies off a curved one. A bare
    cloud has no surface, and its nearest point may lie aside: there they stay."""
    if not viewer.has_surface:
        return estimate
    seen = np.flatnonzero(estimate.seen)
    points = estimate.points.copy()
    points[seen] = viewer.nearest(points[seen])
    return replace(estimate, points=points)
