"""The landmark network for NumPy callers: views in, landmarks in their pictures out. TensorFlow loads when it is constructed."""

from collections.abc import Sequence
from operator import itemgetter

import numpy as np

from gan import layout, weights
from gan.config import LandmarkNetConfig
from gan.inference import start_tensorflow
from geometry.charts.geometry_image import GeometryImage
from geometry.landmarks.heatmaps import ViewLandmarks, covariance_of_factor
from geometry.model.landmark_embedding import shipped_schemes
from geometry.settings.loading import from_dict


class LandmarkFinder:
    """Finds the landmarks of `scheme` in views. The same view gives the same bits, whatever comes with it."""

    def __init__(self, name_or_path: str = "landmarks", threads: int = 1):
        start_tensorflow(threads)
        import tensorflow as tf

        from gan.landmarks.network import OUTPUTS, build_landmark_net

        network, self.card = weights.load(name_or_path, build_landmark_net, "landmarks")
        self.config = from_dict(LandmarkNetConfig, self.card["landmarks"])
        self.scheme = self.config.scheme
        self.mark_up = int(self.card["data"].get("mark_up", 1))
        self._sigma_scale = float(self.card.get("sigma_scale", 1.0))
        self._run = tf.function(lambda view: itemgetter(*OUTPUTS)(network(view, training=False)))
        self._swap = list(shipped_schemes()[self.scheme].mirror)

    def find(self, views: Sequence[GeometryImage], mirrored: bool = True) -> list[ViewLandmarks]:
        """One answer a view; views over charts of the network's pixel size.

        mirrored: the mean of what is found in the view and in its mirror image, faces of both handedness having been trained on:
        more exact, and twice as dear."""
        return [self._find(view, mirrored) for view in views]

    def _find(self, view: GeometryImage, mirrored: bool) -> ViewLandmarks:
        packed = layout.pack_view(view)
        position, covariance, visibility = self._landmarks(packed)
        if mirrored:
            places, spread, seen = (values[self._swap] for values in self._landmarks(layout.mirrored(packed, layout.VIEW)))
            width = view.shape[1] * view.chart.pixel_mm
            position = 0.5 * (position + np.stack([width - places[:, 0], places[:, 1]], 1))
            covariance = 0.5 * (covariance + spread * np.array([[1, -1], [-1, 1]]))
            visibility = 0.5 * (visibility + seen)
        return ViewLandmarks(position / view.chart.pixel_mm, covariance, visibility, self.mark_up)

    def _landmarks(self, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions (l, 2) mm, covariances (l, 2, 2) mm², visibilities (l,)."""
        position, factor, logit = (values.numpy()[0].astype(float) for values in self._run(packed[None]))
        return position, covariance_of_factor(factor) * self._sigma_scale**2, 1 / (1 + np.exp(-logit))
