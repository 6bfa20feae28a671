"""Several views of one scan agree on its landmarks, whichever of them is wrong."""

from dataclasses import replace

import numpy as np
from landmark_oracle import Oracle

from geometry.landmarks.calibration import shipped_calibration
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.multiview import INLIER_MM, ViewObservations, combine, observe, snapped
from geometry.landmarks.views import Viewer, turn_of, view_of_pose


def sightings(points: np.ndarray, visibility=0.9, sigma=1.0) -> ViewObservations:
    """points (v, l, 3)."""
    shape = points.shape[:2]
    return ViewObservations(
        points, np.tile(np.eye(3) * sigma**2, (*shape, 1, 1)), np.full(shape, visibility), np.ones(shape), np.ones(shape, bool)
    )


def test_landmarks_seen_from_three_sides_are_where_they_are(face, scan):
    oracle = Oracle(face.scan_landmarks, face.pose.inverse(), sigma_mm=0.5)
    viewer = oracle.viewer_class(scan)
    poses = [view_of_pose(face.pose.inverse(), turn_of(yaw, 0, 0)) for yaw in (0, -25, 25)]
    found = snapped(combine(observe(viewer, poses, oracle.find)), viewer)
    error = np.linalg.norm(found.points - face.scan_landmarks, axis=1)
    assert found.seen[17:48].all() and error[found.seen & (np.arange(68) < 48)].mean() < 1.0
    assert np.allclose(Viewer(scan).nearest(found.points[found.seen]), found.points[found.seen], atol=1e-3), (
        "they lie on the scan"
    )
    assert np.isnan(found.points[~found.seen]).all() and (found.confidence[~found.seen] == 0).all()


def uncalibrated(seen: ViewObservations) -> LandmarkEstimate:
    """The combined views, their covariances as they come out."""
    return combine(seen, replace(shipped_calibration(), heatmap_variance=(1.0,) * 68))


def test_one_wrong_view_of_three_has_no_say():
    points = np.zeros((3, 1, 3))
    points[1] += [0.4, 0, 0]
    points[2] += [30.0, 0, 0]
    found = uncalibrated(sightings(points))
    assert np.allclose(found.points, [[0.2, 0, 0]]) and found.seen[0]


def test_views_of_one_scan_are_not_surer_by_their_number_and_less_sure_by_disagreement():
    assert np.allclose(uncalibrated(sightings(np.zeros((5, 1, 3)))).covariance[0], np.eye(3))
    apart = np.zeros((2, 1, 3))
    apart[1, 0, 0] = INLIER_MM - 1
    assert uncalibrated(sightings(apart)).covariance[0, 0, 0] > 2


def test_a_better_known_view_weighs_more():
    given = sightings(np.array([[[0.0, 0, 0]], [[1.0, 0, 0]]]))
    given.covariance[1] *= 9.0
    assert np.allclose(uncalibrated(given).points[0], [0.1, 0, 0])


def test_a_landmark_that_no_view_sees_is_unknown_and_never_faked():
    given = sightings(np.zeros((2, 2, 3)))
    given.visibility[:, 0] = 0.2
    given.lifted[:, 1] = False
    found = uncalibrated(given)
    assert not found.seen.any() and np.isnan(found.points).all()


def test_sightings_lift_with_a_covariance_along_the_slope(face, scan):
    """Where the surface slants from the view, the place along the ray is the less known."""
    oracle = Oracle(face.scan_landmarks, face.pose.inverse(), sigma_mm=0.0)
    pose = view_of_pose(face.pose.inverse())
    found = observe(oracle.viewer_class(scan), [pose], oracle.find)
    along = pose.rotation.T @ [0, 0, 1.0]
    depth_variance = np.einsum("i,lij,j->l", along, found.covariance[0], along)
    steep = found.cosine[0] < 0.7
    assert steep.any() and depth_variance[steep].min() > depth_variance[found.cosine[0] > 0.97].max()
