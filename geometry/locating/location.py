"""Where a head is in a scan."""

from dataclasses import dataclass

import numpy as np

from geometry.landmarks.estimate import LandmarkEstimate
from geometry.scan import Scan
from geometry.transforms import SimilarityTransform


@dataclass(frozen=True)
class Location:
    """A head in a scan: `scan` cropped to it, in a decided unit, with normals; `scan_to_model` in mm; confidence in
    [0, 1]. landmarks (68, 3) in scan mm (NaN rows unknown) that came with the scan; estimate: the landmarks
    that a network found on the raw scan, in scan mm, where one was asked; coefficients (K + E,) of the model's modes that the
    landmarks speak for, where the fit starts."""

    scan: Scan
    scan_to_model: SimilarityTransform
    confidence: float
    landmarks: np.ndarray | None = None
    estimate: LandmarkEstimate | None = None
    coefficients: np.ndarray | None = None
