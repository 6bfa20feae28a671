"""A stand-in for the landmark network that knows the truth: for tests of everything about it."""

import numpy as np

from geometry.landmarks.heatmaps import ViewLandmarks
from geometry.landmarks.views import Viewer, visible


class Oracle:
    """`find` for views that its own `viewer_class` has made: the true landmarks (68, 3), scan frame, with noise of sigma_mm in
    the picture's plane; invisible where they are hidden, or where the face (scan_to_model) is turned away from the view."""

    def __init__(self, truth: np.ndarray, scan_to_model, sigma_mm: float = 0.5, seed: int = 0):
        self.truth, self.scan_to_model, self.sigma_mm = truth, scan_to_model, sigma_mm
        self.rng, self.poses, self.looks = np.random.default_rng(seed), {}, 0
        oracle = self

        class RecordingViewer(Viewer):
            def view(self, scan_to_view, *args):
                view = super().view(scan_to_view, *args)
                oracle.poses[id(view.image)] = (view.image, scan_to_view)
                return view

        self.viewer_class = RecordingViewer

    def find(self, images, mirrored=True):
        return [self._landmarks(image) for image in images]

    def _landmarks(self, image):
        self.looks += 1
        _, pose = self.poses[id(image)]
        points = pose.apply(self.truth)
        shown = visible(image, points)
        angle = pose.compose(self.scan_to_model.inverse()).angle_deg
        pixels, _ = image.chart.project(points)
        pixels = pixels + self.rng.normal(size=pixels.shape) * self.sigma_mm / image.chart.pixel_mm
        covariance = np.tile(np.eye(2) * max(self.sigma_mm, 0.2) ** 2, (68, 1, 1))
        return ViewLandmarks(pixels, covariance, np.where(shown & (angle < 75), 0.97, 0.03))
