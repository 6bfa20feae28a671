"""Two estimates of the same landmarks as one, and estimates of one scheme carried to another's points."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from geometry.landmarks.calibration import confidence_of
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.model.landmark_embedding import landmarks_on
from geometry.model.morphable_model import MorphableModel

CARRY_MM = 15.0  # within this distance a point moves with the landmarks about it
ON_SCAN_MM = 3.0  # a point nearer to the scan than that is seen there
UNSEEN_CONFIDENCE = 0.9  # of an inferred landmark, relative to a seen one of the same covariance


def fused(
    first: LandmarkEstimate,
    other: LandmarkEstimate,
    correlation: np.ndarray | float = 0.0,
    gate: float = 4.0,
    variance: float = 1.0,
) -> LandmarkEstimate:
    """Both in one frame → the mean weighted by the inverse covariances, landmark by landmark: a + G (b − a), G = A (A + B)⁻¹.

    correlation (l,) or one for all, of the two errors: it does not change the weights (the gain of least variance would trust one
    estimate beyond what its covariance is known to), but the covariance of the mean, which is
    (I − G) A (I − G)ᵀ + G B Gᵀ + (I − G) C Gᵀ + G C (I − G)ᵀ with C = correlation · σ_A σ_B · I, σ² = trace / 3.

    Where they differ by more than `gate` standard deviations of their difference, one is wrong without knowing it: the
    covariances then grow by the excess, so that the result's says so. A landmark is seen where either saw it; where only one
    knows it, that one's is taken as it is. variance: of the mean, relative to that of independent errors.
    """
    known_first, known_other = np.isfinite(first.points).all(1), np.isfinite(other.points).all(1)
    both = known_first & known_other
    points = np.where(known_first[:, None], first.points, other.points)
    covariance = np.where(known_first[:, None, None], first.covariance, other.covariance)
    a, b = first.covariance[both], other.covariance[both]
    offset = other.points[both] - first.points[both]
    inverse = np.linalg.inv(a + b)
    distance = np.sqrt(np.einsum("li,lij,lj->l", offset, inverse, offset))
    growth = (np.maximum(distance / gate, 1.0) ** 2)[:, None, None]
    gain = a @ inverse
    points[both] = first.points[both] + np.einsum("lij,lj->li", gain, offset)
    rest = np.eye(3) - gain
    sigmas = np.sqrt(np.trace(a, axis1=1, axis2=2) * np.trace(b, axis1=1, axis2=2)) / 3
    crossed = (np.broadcast_to(correlation, both.shape)[both] * sigmas)[:, None, None] * (rest @ gain.transpose(0, 2, 1))
    alone = rest @ a @ rest.transpose(0, 2, 1) + gain @ b @ gain.transpose(0, 2, 1)
    covariance[both] = variance * growth * (alone + crossed + crossed.transpose(0, 2, 1))
    seen = np.where(both, first.seen | other.seen, np.where(known_first, first.seen, other.seen))
    confidence = np.where(seen, 1.0, UNSEEN_CONFIDENCE) * confidence_of(covariance)
    return LandmarkEstimate(points, covariance, np.where(np.isfinite(points).all(1), confidence, 0.0), seen, first.scheme)


def to_scheme(
    estimate: LandmarkEstimate,
    model: MorphableModel,
    vertices: np.ndarray,
    scheme: str,
    scan_distance: Callable[[np.ndarray], np.ndarray],
) -> LandmarkEstimate:
    """An ibug68 estimate → any scheme's, in the same frame: the scheme's points of the mesh `vertices` (n, 3), in the model's
    topology, moved as the landmarks about them differ from that mesh's own. scan_distance: points (p, 3) of the frame → (p,) mm
    from the scan.

    A point within the iBUG landmarks' neighbourhood takes a mean of their differences, weighted by information and by a
    Gaussian of `CARRY_MM`; far from all of them it stays as the mesh has it. It is as sure as the landmarks that it follows,
    and less by its distance from them; it is seen where it lies on the scan, and where it is one of them, as that one is.
    """
    if scheme == estimate.scheme:
        return estimate
    places, marks = landmarks_on(model, vertices, scheme), landmarks_on(model, vertices, estimate.scheme)
    distance = np.linalg.norm(places[:, None] - marks[None], axis=2)
    sigma2 = np.trace(estimate.covariance, axis1=1, axis2=2) / 3
    near = np.exp(-0.5 * (distance / CARRY_MM) ** 2)
    # a point that is a landmark takes that one's place and covariance
    share = np.where(distance < 1e-6, 1e9, near) / sigma2
    total = share.sum(1, keepdims=True)
    weights = share / np.maximum(total, 1e-12)
    moved = weights @ (estimate.points - marks) * near.max(1, keepdims=True)
    nearest = distance.argmin(1)
    covariance = np.einsum("pl,lij->pij", weights, estimate.covariance) + (0.1 * distance.min(1)[:, None, None]) ** 2 * np.eye(3)
    same = distance.min(1) < 1e-6
    points = np.where(same[:, None], estimate.points[nearest], places + moved)
    seen = np.where(same, estimate.seen[nearest], scan_distance(points) < ON_SCAN_MM)
    confidence = np.where(seen, 1.0, UNSEEN_CONFIDENCE) * confidence_of(covariance)
    return replace(
        estimate,
        points=points,
        covariance=np.where(same[:, None, None], estimate.covariance[nearest], covariance),
        confidence=np.where(same, estimate.confidence[nearest], confidence),
        seen=seen,
        scheme=scheme,
    )
