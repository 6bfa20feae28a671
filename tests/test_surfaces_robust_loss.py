"""What contradicts the rest loses its say, and more of it before a surface than behind."""

import numpy as np

from geometry.surfaces.robust_loss import geman_mcclure_weights, occluded_weights

SCALE, FRONT = 1.6, 1.0


def test_behind_and_near_a_surface_both_sides_count_alike():
    offsets = np.linspace(-5, 0.5 * FRONT, 200)
    np.testing.assert_allclose(occluded_weights(offsets, SCALE, FRONT), geman_mcclure_weights(offsets, SCALE), rtol=0.005)


def test_what_stands_before_it_counts_half_at_the_front_and_soon_nothing():
    there = lambda offset: (
        occluded_weights(np.array([offset]), SCALE, FRONT)[0] / geman_mcclure_weights(np.array([offset]), SCALE)[0]
    )
    assert np.isclose(there(FRONT), 0.5) and there(2 * FRONT) < 0.005
    assert (np.diff(occluded_weights(np.linspace(0, 6, 100), SCALE, FRONT)) < 0).all()


def test_symmetric_noise_shifts_nothing():
    """A mean by the weights of normal noise of a quarter of the scale, as in a fit: a scale is 4 σ and the front 2.5."""
    noise = np.random.default_rng(0).normal(0, 0.25 * SCALE, 200_000)
    weights = occluded_weights(noise, SCALE, 0.625 * SCALE)
    assert abs((weights * noise).sum() / weights.sum()) < 0.02 * SCALE * 0.25
