"""What is known of a set of landmarks: places, how sure they are, and whether the scan shows them."""

from dataclasses import dataclass, replace

import numpy as np

from geometry.transforms import SimilarityTransform


@dataclass(frozen=True)
class LandmarkEstimate:
    """The l points of a scheme in one frame, mm.

    points (l, 3), NaN where nothing is known; covariance (l, 3, 3) mm² of the error of each; confidence (l,) in [0, 1]: the
    probability that the point lies within `CLOSE_MM` of the truth; seen (l,) bool: the scan shows a surface there and the
    point was found on it. A point that is not seen is inferred from the others by a model of faces.
    """

    points: np.ndarray
    covariance: np.ndarray
    confidence: np.ndarray
    seen: np.ndarray
    scheme: str = "ibug68"

    def __len__(self) -> int:
        return len(self.points)

    def transformed(self, transform: SimilarityTransform) -> "LandmarkEstimate":
        """The same landmarks in the frame that `transform` leads to."""
        linear = transform.scale * transform.rotation
        return replace(self, points=transform.apply(self.points), covariance=linear @ self.covariance @ linear.T)


CLOSE_MM = 4.0
