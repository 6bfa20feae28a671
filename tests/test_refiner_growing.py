"""Low resolution first: phases, and batches reduced by masked means."""

import numpy as np
import pytest
from gan_pairs import batch

from gan.refiner.growing import factor_at, phases, reduced
from geometry.errors import ConfigError


def test_phases_follow_one_another_and_end_at_full_resolution():
    growing = ("4:10", "2:5")
    assert [factor_at(step, growing) for step in (0, 9, 10, 14, 15, 1000)] == [4, 4, 2, 2, 1, 1]
    assert factor_at(0, ()) == 1


@pytest.mark.parametrize("phase", ["4", "3:10", "2:", "x:5", "2:0", "-2:5"])
def test_a_wrong_phase_is_refused(phase):
    with pytest.raises(ConfigError, match="FACTOR:STEPS"):
        phases([phase])


def test_full_resolution_changes_nothing():
    x, truth = batch(3)
    same, also = reduced(x, truth, 1)
    assert same is x and also is truth


@pytest.mark.parametrize("factor", [2, 4])
def test_a_reduced_pixel_is_the_mean_of_its_known_pixels(factor):
    x, truth = batch(3)
    small, small_truth = reduced(x, truth, factor)
    scan, found = x["scan"][0], np.asarray(small["scan"])[0]
    size = scan.shape[0] // factor
    assert found.shape == (size, size, scan.shape[2]) and np.asarray(small_truth).shape[1] == size
    blocks = scan.reshape(size, factor, size, factor, -1)
    mask = blocks[..., -1:]
    share = mask.mean((1, 3))
    expected = (blocks * mask).sum((1, 3)) / np.maximum(mask.sum((1, 3)), 1)
    np.testing.assert_array_equal(found[..., -1], (share[..., 0] >= 0.5).astype(np.float32))
    known = share[..., 0] >= 0.5
    np.testing.assert_allclose(found[known][:, :-1], expected[known][:, :-1], atol=2e-4)
    assert not found[~known].any()
