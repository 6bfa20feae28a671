"""Landmarks found where an earlier mark-up has them, carried to where this one has them.

A network finds the points that it was trained on. When a point of iBUG-68 is placed anew on the model's mean, its number rises;
the model remembers where the earlier mark-ups lie on its mean, and the difference, turned into the scan, carries what an older
network finds.
"""

from dataclasses import replace

import numpy as np

from geometry.landmarks.estimate import LandmarkEstimate
from geometry.model.morphable_model import MorphableModel
from geometry.transforms import SimilarityTransform

LEAST = 6  # landmarks that tell how the face is turned


def carried(estimate: LandmarkEstimate, mark_up: int, model: MorphableModel) -> LandmarkEstimate:
    """An ibug68 estimate under a mark-up → under the model's own, same frame. Where a model does not know that mark-up, and where
    fewer than `LEAST` landmarks are seen, the points stay as they are."""
    before = None if mark_up == model.mark_up else model.earlier_mark_ups.get(mark_up)
    if before is None or estimate.seen.sum() < LEAST:
        return estimate
    seen, offset = estimate.seen, model.mean[model.landmarks["ibug68"]] - before
    precision = 1.0 / np.trace(estimate.covariance[seen], axis1=1, axis2=2)
    model_to_scan = SimilarityTransform.umeyama(before[seen], estimate.points[seen], precision, with_scale=True)
    return replace(estimate, points=estimate.points + model_to_scan.scale * offset @ model_to_scan.rotation.T)
