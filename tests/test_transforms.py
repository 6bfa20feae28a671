import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from geometry.transforms import SimilarityTransform

seeds = st.integers(0, 10_000)


def random_transform(rng) -> SimilarityTransform:
    return SimilarityTransform(
        Rotation.from_rotvec(rng.normal(0, 1.5, 3)).as_matrix(), rng.normal(0, 50, 3), float(np.exp(rng.normal(0, 0.5)))
    )


@given(seeds)
def test_the_inverse_undoes(seed):
    rng = np.random.default_rng(seed)
    transform, points = random_transform(rng), rng.normal(0, 100, (7, 3))
    np.testing.assert_allclose(transform.inverse().apply(transform.apply(points)), points, atol=1e-9)


@given(seeds)
def test_compose_applies_the_first_then_the_second(seed):
    rng = np.random.default_rng(seed)
    first, second, points = random_transform(rng), random_transform(rng), rng.normal(0, 100, (7, 3))
    np.testing.assert_allclose(second.compose(first).apply(points), second.apply(first.apply(points)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(second.compose(first).matrix, second.matrix @ first.matrix, rtol=1e-9, atol=1e-9)


@given(seeds)
def test_umeyama_recovers_a_similarity_exactly(seed):
    rng = np.random.default_rng(seed)
    truth, points = random_transform(rng), rng.normal(0, 40, (10, 3))
    np.testing.assert_allclose(SimilarityTransform.umeyama(points, truth.apply(points)).matrix, truth.matrix, atol=1e-8)


def test_umeyama_never_reflects():
    points = np.random.default_rng(0).normal(size=(30, 3))
    assert np.linalg.det(SimilarityTransform.umeyama(points, points * [-1, 1, 1]).rotation) == pytest.approx(1)


def test_umeyama_without_scale_keeps_size():
    points = np.random.default_rng(1).normal(size=(20, 3))
    assert SimilarityTransform.umeyama(points, 3 * points, with_scale=False).scale == 1.0


def test_umeyama_ignores_points_without_weight():
    rng = np.random.default_rng(2)
    truth, points = random_transform(rng), rng.normal(0, 40, (12, 3))
    target, weights = truth.apply(points), np.r_[np.ones(9), np.zeros(3)]
    target[9:] += 500
    np.testing.assert_allclose(SimilarityTransform.umeyama(points, target, weights).matrix, truth.matrix, atol=1e-8)


def test_matrix_round_trip_and_refusal_of_reflections_and_shears():
    transform = random_transform(np.random.default_rng(3))
    np.testing.assert_allclose(SimilarityTransform.from_matrix(transform.matrix).matrix, transform.matrix, atol=1e-12)
    shear = np.eye(4)
    shear[0, 1] = 0.3
    for bad in (np.diag([-1.0, 1, 1, 1]), shear):
        with pytest.raises(ValueError, match="not a similarity"):
            SimilarityTransform.from_matrix(bad)


def test_directions_are_rotated_but_neither_moved_nor_scaled():
    transform = random_transform(np.random.default_rng(4))
    np.testing.assert_allclose(np.linalg.norm(transform.apply_to_directions(np.eye(3)), axis=1), 1)
