"""Two estimates are better than one, say how sure they are, and go over to any scheme."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.fusion import fused, to_scheme
from geometry.model.landmark_embedding import landmarks_on
from geometry.transforms import SimilarityTransform


def on_scan(points: np.ndarray) -> np.ndarray:
    """(p,) as far from a scan that has every point."""
    return np.zeros(len(points))


def estimate(points, sigma, seen=True) -> LandmarkEstimate:
    points = np.atleast_2d(np.asarray(points, float))
    covariance = np.tile(np.eye(3) * sigma**2, (len(points), 1, 1))
    return LandmarkEstimate(points, covariance, np.full(len(points), 0.9), np.full(len(points), seen))


@given(st.floats(0.2, 5), st.floats(0.2, 5), st.floats(-1, 1))
def test_fusion_is_the_inverse_variance_mean(first, other, x):
    found = fused(estimate([0, 0, 0], first), estimate([x, 0, 0], other))
    share = first**2 / (first**2 + other**2)
    assert np.allclose(found.points, [[x * share, 0, 0]], atol=1e-9)
    if abs(x) < 3.9 * np.hypot(first, other):
        assert np.allclose(found.covariance, np.eye(3) * (first * other) ** 2 / (first**2 + other**2))


def test_the_mean_of_two_unbiased_estimates_is_nearer_than_either():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4000, 3)) * 1.0, rng.normal(size=(4000, 3)) * 2.0
    found = fused(estimate(a, 1.0), estimate(b, 2.0))
    mean = lambda points: np.linalg.norm(points, axis=1).mean()
    assert mean(found.points) < mean(a) < mean(b)
    squared = np.einsum("li,lij,lj->l", found.points, np.linalg.inv(found.covariance), found.points)
    assert 2.7 < squared.mean() < 3.2, "the covariance is that of the error"


def test_estimates_that_contradict_each_other_are_not_called_sure():
    found = fused(estimate([0, 0, 0], 0.5), estimate([20, 0, 0], 0.5))
    assert found.confidence[0] < 0.8 and found.covariance[0, 0, 0] > 2.0


def test_what_only_one_knows_is_taken_from_it():
    known, unknown = estimate([1, 2, 3], 1.0, seen=False), estimate([np.nan] * 3, 1.0)
    for found in (fused(known, unknown), fused(unknown, known)):
        assert np.allclose(found.points, [[1, 2, 3]]) and not found.seen[0]
    assert fused(unknown, unknown).confidence[0] == 0


@settings(max_examples=20)
@given(st.tuples(*[st.floats(-3, 3)] * 3), st.floats(0.5, 2))
def test_a_transformed_estimate_fuses_to_the_transformed_fusion(turn, scale):
    move = SimilarityTransform(Rotation.from_rotvec(np.array(turn)).as_matrix(), np.array([5.0, -7.0, 2.0]), scale)
    a, b = estimate([0, 1, 2], 1.0), estimate([1, 1, 2.5], 2.0)
    b.covariance[0] = np.diag([4.0, 1.0, 0.25])
    here, there = fused(a, b).transformed(move), fused(a.transformed(move), b.transformed(move))
    assert np.allclose(here.points, there.points) and np.allclose(here.covariance, there.covariance)


def on_face(face, offset=0.0) -> LandmarkEstimate:
    return LandmarkEstimate(face.landmarks + offset, np.tile(np.eye(3), (68, 1, 1)), np.full(68, 0.9), np.ones(68, bool))


@pytest.mark.parametrize("scheme", ["bosphorus22", "now7", "ibug51"])
def test_landmarks_that_agree_with_the_mesh_give_the_mesh_s_points_of_any_scheme(face, model, scheme):
    found = to_scheme(on_face(face), model, face.vertices, scheme, on_scan)
    assert found.scheme == scheme and np.allclose(found.points, landmarks_on(model, face.vertices, scheme), atol=1e-6)


def test_other_schemes_points_move_with_the_landmarks_about_them(face, model):
    shift = np.array([1.5, 0.0, 0.0])
    moved = to_scheme(on_face(face, shift), model, face.vertices, "bosphorus22", on_scan)
    still = landmarks_on(model, face.vertices, "bosphorus22")
    assert np.abs(moved.points - still - shift).max() < 1.0 and np.median(np.abs(moved.points - still - shift)) < 0.1


def test_a_subset_takes_over_its_points_exactly(face, model):
    given = on_face(face, 1.0)
    found = to_scheme(given, model, face.vertices, "ibug51", on_scan)
    assert np.array_equal(found.points, given.points[17:]) and np.allclose(found.covariance, given.covariance[17:])


def test_a_point_far_from_all_landmarks_is_seen_where_it_lies_on_the_scan(face, model):
    """The back of a head is not seen because the jaw, the nearest landmark, is: a laser scan of a face had an opisthocranion
    marked as seen 121 mm from its surface."""
    front = face.vertices[face.vertices[:, 2] > -60]
    from_front = lambda points: cKDTree(front).query(points)[0]
    found = to_scheme(on_face(face), model, face.vertices, "caple_stephan", from_front)
    distance = from_front(found.points)
    assert (found.seen == (distance < 3.0)).all() and 0 < found.seen.sum() < len(found)
    assert to_scheme(on_face(face), model, face.vertices, "caple_stephan", on_scan).seen.all()
