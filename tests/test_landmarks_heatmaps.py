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


@pytest.mark.parametrize("sigma", [0.5, 2.0, 6.0])
def test_the_probability_of_an_isotropic_error_is_that_of_its_chi_distribution(sigma):
    draws = np.random.default_rng(0).normal(size=(200_000, 3)) * sigma
    assert np.isclose(probability_within(np.eye(3) * sigma**2, 4.0), (np.linalg.norm(draws, axis=1) < 4).mean(), atol=0.005)


def test_the_probability_of_a_slanted_error_is_nearly_that_of_its_draws():
    axes = np.diag([9.0, 1.0, 0.25])
    draws = np.random.default_rng(0).normal(size=(200_000, 3)) * np.sqrt(np.diag(axes))
    assert np.isclose(probability_within(axes, 4.0), (np.linalg.norm(draws, axis=1) < 4).mean(), atol=0.03)
