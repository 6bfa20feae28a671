"""The refiners without learning: the scan where it is clean, the coarse surface where there is none."""

import numpy as np
from surfaces import SMALL_ALL, small_image, small_relief

from geometry.charts.geometry_image import CHANNELS, GeometryImage
from geometry.refinement.baselines import none_refine, smooth_refine

SURFACE = small_relief()
ROWS, COLUMNS = np.indices(SURFACE.shape)
INNER = np.pad(np.ones((80, 80), bool), 8)
LEFT = COLUMNS < 48
DETAIL = 1.5 * np.sin(COLUMNS / 3.3) * np.cos(ROWS / 3.3)  # mm that the scan shows and the fit does not, about 40 mm long


def image(depth: np.ndarray, valid: np.ndarray = SMALL_ALL, noise_mm: float | None = None) -> GeometryImage:
    made = small_image(depth, valid)
    return made if noise_mm is None else made.with_channel("noise_sigma", np.where(valid, noise_mm, 0))


def test_none_is_the_coarse_surface_and_claims_nothing():
    refined = none_refine(image(SURFACE))
    np.testing.assert_array_equal(refined["depth"], image(SURFACE)["depth"])
    assert not refined["confidence"].any() and set(CHANNELS) <= set(refined.channels)


def test_a_scan_without_noise_passes_through():
    refined = smooth_refine(image(SURFACE), image(SURFACE + DETAIL, noise_mm=0.0))
    np.testing.assert_allclose(refined["depth"], SURFACE + DETAIL, atol=1e-4)
    assert refined["confidence"][INNER].min() > 0.95


def test_a_constant_residual_survives_any_smoothing():
    refined = smooth_refine(image(SURFACE), image(SURFACE + 2.0, noise_mm=1.0))
    np.testing.assert_allclose(refined["depth"], SURFACE + 2.0, atol=1e-3)


def test_noise_is_smoothed_away():
    noise = np.random.default_rng(0).normal(size=SURFACE.shape) * 0.6
    refined = smooth_refine(image(SURFACE), image(SURFACE + noise, noise_mm=0.6))
    assert np.abs(refined["depth"] - SURFACE)[INNER].mean() < 0.25 * np.abs(noise)[INNER].mean()


def test_where_no_scan_is_the_coarse_surface_stands():
    refined = smooth_refine(image(SURFACE), image(SURFACE + 2.0, LEFT, noise_mm=0.2))
    np.testing.assert_allclose(refined["depth"][:, 70:], SURFACE[:, 70:], atol=1e-3)  # 44 mm from the scan's edge
    np.testing.assert_allclose(refined["depth"][:, :40], (SURFACE + 2.0)[:, :40], atol=1e-3)
    assert refined["confidence"][:, 70:].max() < 0.01 and refined["confidence"][INNER & LEFT].min() >= 0.5
    assert refined.valid_mask.all()


def test_the_residual_fades_beyond_the_scan_without_a_step():
    residual = (smooth_refine(image(SURFACE), image(SURFACE + 2.0, LEFT, noise_mm=0.2))["depth"] - SURFACE)[INNER.any(1)]
    assert np.abs(np.diff(residual, axis=1)).max() < 1.0 and residual.min() > -1e-3 and residual.max() < 2.001


def test_a_hand_before_the_face_is_not_the_face():
    hand = np.pad(np.ones((16, 16), bool), 40)
    refined = smooth_refine(image(SURFACE), image(SURFACE + np.where(hand, 40.0, 0.0), noise_mm=0.3))
    np.testing.assert_allclose(refined["depth"], SURFACE, atol=1e-3)
    assert refined["confidence"][44:52, 44:52].max() < refined["confidence"][INNER & ~hand].min() + 1e-6


def test_an_empty_scan_leaves_the_coarse_surface():
    refined = smooth_refine(image(SURFACE), image(SURFACE, ~SMALL_ALL, noise_mm=0.0))
    np.testing.assert_allclose(refined["depth"], SURFACE, atol=1e-4)
    assert not refined["confidence"].any()


def test_nothing_is_refined_where_the_model_is_not():
    refined = smooth_refine(image(SURFACE, LEFT), image(SURFACE + 1.0, noise_mm=0.3))
    assert not refined.valid_mask[:, 48:].any()
    assert not refined["depth"][:, 48:].any() and not refined["confidence"][:, 48:].any()
    np.testing.assert_allclose(refined["depth"][:, :44], SURFACE[:, :44] + 1.0, atol=1e-3)
