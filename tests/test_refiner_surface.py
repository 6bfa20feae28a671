"""Normals of depth maps and the smoothing bank, against closed forms."""

import numpy as np
import pytest

from gan.refiner.bank import WIDTHS, gaussian_smooth, smoothing_bank
from gan.refiner.surface import depth_normals, elevation, normals_from_components

PIXEL = 0.75


def grid(size: int = 48):
    """x (to the image's right) and y (up) in mm about the image's middle."""
    row, column = np.mgrid[:size, :size] + 0.5
    return (column - size / 2) * PIXEL, (size / 2 - row) * PIXEL


def tensor(image):
    return np.asarray(image, np.float32)[None, ..., None]


def test_normals_of_a_plane_are_exact_up_to_the_border_and_around_holes():
    x, y = grid()
    mask = np.hypot(x - 3, y) > 4
    normals = np.asarray(depth_normals(tensor(np.where(mask, 0.5 * x - 0.25 * y, 0.0)), tensor(mask), PIXEL))[0][mask]
    np.testing.assert_allclose(normals, np.tile(np.array([-0.5, 0.25, 1]) / np.sqrt(1.3125), (len(normals), 1)), atol=2e-4)


def test_normals_of_a_sphere_point_from_its_centre():
    x, y = grid()
    depth = np.sqrt(80.0**2 - x**2 - y**2) - 80
    normals = np.asarray(depth_normals(tensor(depth), tensor(np.ones_like(x)), PIXEL))[0]
    expected = np.stack([x, y, depth + 80], -1) / 80
    angle = np.degrees(np.arccos(np.clip((normals * expected).sum(-1), -1, 1)))
    assert angle[1:-1, 1:-1].max() < 0.1 and angle.max() < 0.6


def test_a_step_between_two_planes_does_not_tilt_their_normals():
    x, _ = grid()
    assert np.asarray(depth_normals(tensor(np.where(x > 0, 20.0, 0.0)), tensor(np.ones_like(x)), PIXEL))[0][..., 2].min() > 0.99


def test_elevation_and_components_agree_with_the_convention():
    normals = normals_from_components(np.full((1, 1, 1, 1), 0.6, np.float32), np.zeros((1, 1, 1, 1), np.float32))
    np.testing.assert_allclose(np.asarray(normals).ravel(), [0.6, 0, 0.8], atol=1e-6)
    assert float(np.asarray(elevation(normals)).item()) == pytest.approx(np.arctan2(0.8, 0.6), abs=1e-5)


def test_a_gaussian_keeps_a_constant_inside_and_has_its_width():
    impulse = np.zeros((1, 65, 65, 1), np.float32)
    impulse[0, 32, 32, 0] = 1
    smooth = np.asarray(gaussian_smooth(impulse, 4.0))[0, ..., 0]
    assert smooth.sum() == pytest.approx(1, abs=1e-5)
    assert np.sqrt((smooth.sum(0) * (np.arange(65) - 32) ** 2).sum()) == pytest.approx(4.0, rel=0.03)


def test_the_bank_bridges_a_hole_and_fades_to_the_coarse_surface_far_from_the_scan():
    mask = np.zeros((128, 128))
    mask[:, :64] = 1
    mask[30:36, 30:36] = 0
    bank, coverage, noise = (np.asarray(a)[0] for a in smoothing_bank(tensor(2 * mask), tensor(0.5 * mask), tensor(mask)))
    assert bank.shape == coverage.shape == (128, 128, len(WIDTHS))
    np.testing.assert_allclose(bank[60, 20], 2.0, rtol=0.01)
    assert bank[32, 32, 0] == 0 and bank[32, 32, 3] == pytest.approx(2.0, rel=0.05)
    assert np.abs(bank[:, 120:]).max() < 1e-3
    np.testing.assert_allclose(noise[mask > 0], 0.5, atol=1e-6)
    assert 0.1 < noise[60, 120, 0] < 0.6
