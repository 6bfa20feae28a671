"""Landmarks that something covers: the scan shows a surface there, and it is not the skin's."""

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from geometry.landmarks.calibration import confidence_of
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.fusion import UNSEEN_CONFIDENCE
from geometry.mesh import TriangleMesh
from geometry.model.beard_area import beard_area
from geometry.model.morphable_model import MorphableModel

COVERED = 0.5  # of a beard's length
# standard deviation of what a beard raises that was told: root mean square of thick ones in benchmarks/beards.py --calibrate
USUAL_MM = 3.8


def under_beard(estimate: LandmarkEstimate, model: MorphableModel, vertices: np.ndarray) -> LandmarkEstimate:
    """The landmarks of a bearded face, with those on its beard not seen, and as unsure of where the skin is below it as beards
    differ. vertices (n, 3): of the face in the model's topology, in the estimate's frame, mm."""
    known = np.isfinite(estimate.points).all(axis=1)
    nearest = cKDTree(vertices).query(np.where(known[:, None], estimate.points, 0.0))[1]
    covered = known & (beard_area(model)[nearest] > COVERED)
    normals = TriangleMesh(vertices, model.triangles).vertex_normals[nearest]
    added = USUAL_MM**2 * normals[:, :, None] * normals[:, None, :]
    covariance = np.where(covered[:, None, None], estimate.covariance + added, estimate.covariance)
    confidence = np.where(covered, UNSEEN_CONFIDENCE * confidence_of(covariance), estimate.confidence)
    return replace(estimate, covariance=covariance, confidence=confidence, seen=estimate.seen & ~covered)
