"""Landmarks of one view: covariances mean what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry.landmarks.heatmaps import covariance_of_factor, probability_within


@given(st.floats(0.05, 5), st.floats(-3, 3), st.floats(0.05, 5))
def test_a_factor_is_the_cholesky_factor_of_the_inverse_covariance_seen_with_y_up(a, b, c):
    found = covariance_of_factor(np.array([[a, b, c]]))[0]
    factor = np.array([[a, 0], [b, c]])
    flip = np.diag([1.0, -1.0])
    assert np.allclose(flip @ found @ flip @ factor @ factor.T, np.eye(2), atol=1e-6 * max(a, abs(b), c, 1 / a, 1 / c) ** 4)


def test_the_loss_reads_the_same_factor():
    """|Lᵀ e|² of the loss is eᵀ C⁻¹ e."""
    a, b, c, error = 0.7, -0.4, 1.3, np.array([0.8, -1.1])
    covariance = covariance_of_factor(np.array([[a, b, c]]))[0]
    up = error * [1, -1]
    assert np.isclose(up @ np.linalg.inv(covariance) @ up, (a * error[0] + b * error[1]) ** 2 + (c * error[1]) ** 2)


@pytest.mark.parametrize(
    "sigma, tolerance",
    [((0.5, 0.5, 0.5), 0.005), ((2.0, 2.0, 2.0), 0.005), ((6.0, 6.0, 6.0), 0.005), ((3.0, 1.0, 0.5), 0.03)],
    ids=["small", "middle", "large", "slanted"],
)
def test_the_probability_of_an_error_is_exactly_that_of_its_draws_or_nearly_where_it_slants(sigma, tolerance):
    draws = np.random.default_rng(0).normal(size=(200_000, 3)) * sigma
    found = probability_within(np.diag(np.square(sigma)), 4.0)
    assert np.isclose(found, (np.linalg.norm(draws, axis=1) < 4).mean(), atol=tolerance)
