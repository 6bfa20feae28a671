"""Means under a mask: exact on constants, blind to what is masked, and fading where nothing is known."""

import numpy as np
import pytest

from geometry.charts.masked_filters import masked_mean

MASK = np.random.default_rng(0).random((40, 50)) > 0.4


@pytest.mark.parametrize("weight", [MASK, MASK.astype(np.float32), MASK * 0.5])
def test_a_constant_under_any_mask_stays_itself(weight):
    np.testing.assert_allclose(masked_mean(np.where(MASK, 3.0, 1e6), weight, 2.0, 1e-6), 3.0, rtol=1e-5)


def test_far_from_all_that_is_known_the_mean_is_zero():
    weight = np.zeros((60, 60))
    weight[:5] = 1
    assert masked_mean(np.ones((60, 60)), weight, 2.0, 1e-3)[40:].max() < 1e-6
