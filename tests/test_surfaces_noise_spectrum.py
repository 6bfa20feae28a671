"""Noise as a spectrum: how large and over how many millimetres it is alike, with noise that is correlated as sensors' is."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from geometry.surfaces.noise_spectrum import image_noise_spectrum, noise_spectrum, spectrum_of_variogram, variogram
from geometry.synthesis.sensor_noise import correlated_noise


def plane(step_mm, size_mm=180.0):
    ticks = np.arange(0, size_mm, step_mm)
    x, y = np.meshgrid(ticks, ticks)
    return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1), (len(ticks), len(ticks))


@pytest.mark.parametrize("step_mm", [0.8, 2.0])
@pytest.mark.parametrize("length_mm", [0.0, 1.4, 2.8, 3.5])
@pytest.mark.parametrize("broad_mm", [0.0, 0.4])
def test_size_and_length_of_correlated_noise_are_found(step_mm, length_mm, broad_mm):
    points, shape = plane(step_mm)
    rng = np.random.default_rng(1)
    noise = 0.5 * correlated_noise(shape, length_mm / np.sqrt(2) / step_mm, rng)
    bias = broad_mm * correlated_noise(shape, 11 / step_mm, rng)
    found = noise_spectrum(points, (noise + bias).ravel())
    assert found.sigma_mm == pytest.approx(0.5, rel=0.12)
    if length_mm > step_mm:  # what is alike over less than the points' spacing is white to them
        assert found.correlation_mm == pytest.approx(length_mm, rel=0.2)
        assert found.density_mm4 == pytest.approx(0.25 * 2 * np.pi * length_mm**2, rel=0.4)
    else:
        assert found.correlation_mm <= max(1.0, 0.75 * step_mm)
    assert found.broad_mm < 0.2 if broad_mm == 0 else 0.2 < found.broad_mm < 0.6


def test_the_variance_of_a_mean_is_the_density_over_its_area():
    points, shape = plane(1.0, 160)
    means = []
    for seed in range(60):
        noise = 0.7 * correlated_noise(shape, 2 / np.sqrt(2), np.random.default_rng(seed))
        means.append(noise.reshape(4, 40, 4, 40).mean(axis=(1, 3)).ravel())
    found = noise_spectrum(points, noise.ravel())
    assert np.concatenate(means).var() == pytest.approx(found.density_mm4 / 40**2, rel=0.35)


@pytest.mark.parametrize("length_mm", [0.0, 1.4, 2.8])
def test_an_image_shows_what_its_points_show(length_mm):
    shape, rng = (160, 200), np.random.default_rng(3)
    noise = 0.5 * correlated_noise(shape, length_mm / np.sqrt(2) / 0.75, rng) + 1.0  # what is the same all over is no noise
    valid = rng.random(shape) < 0.8
    found = image_noise_spectrum(np.where(valid, noise, 1e3), valid, 0.75)
    assert found.sigma_mm == pytest.approx(0.5, rel=0.12)
    assert found.correlation_mm == pytest.approx(length_mm, abs=0.3)
    assert image_noise_spectrum(noise, np.zeros(shape, bool), 0.75) is None


@pytest.mark.parametrize("length_mm", [0.0, 1.4, 2.8])
@pytest.mark.parametrize("width_mm", [1.5, 4.0])
def test_the_variance_of_a_gaussian_mean_follows_from_the_spectrum(length_mm, width_mm):
    noise = 0.5 * correlated_noise((400, 400), length_mm / np.sqrt(2) / 0.75, np.random.default_rng(4))
    found = image_noise_spectrum(noise, np.ones(noise.shape, bool), 0.75)
    left = gaussian_filter(noise, width_mm / 0.75, mode="wrap").var()
    assert found.variance_of_mean(width_mm) == pytest.approx(left, rel=0.25)


def test_outliers_hardly_count():
    points, shape = plane(1.5)
    rng = np.random.default_rng(2)
    noise = 0.4 * correlated_noise(shape, 1.0, rng).ravel()
    clean = noise_spectrum(points, noise).sigma_mm
    noise[rng.random(len(noise)) < 0.01] += 8.0
    assert noise_spectrum(points, noise).sigma_mm < 1.6 * clean < 0.8 * noise.std()


def test_a_variogram_on_which_the_active_set_method_goes_in_circles_has_a_spectrum():
    lags = 0.75 * np.array([1, 2, 3, 4, 6, 8, 11, 16, 23, 32])
    gamma = np.array([0.010524, 0.040888, 0.089184, 0.15381, 0.32427, 0.5342, 0.88423, 1.4578, 2.1083, 2.6371])
    found = spectrum_of_variogram(lags, gamma, 0.75)
    assert (found.variance >= 0).all() and found.sigma_mm < 0.2 and found.broad_mm == pytest.approx(np.sqrt(3.0), rel=0.1)


def test_residuals_without_noise_have_none():
    points, _ = plane(1.5)
    found = noise_spectrum(points, 0.5 * np.sin(points[:, 0] / 10))
    assert found.sigma_mm < 0.05 and found.broad_mm > 0.2
    assert noise_spectrum(points, np.zeros(len(points))).sigma_mm == 0


def test_too_few_points_have_no_spectrum():
    assert noise_spectrum(np.zeros((0, 3)), np.zeros(0)) is None
    assert noise_spectrum(plane(30.0)[0], np.ones(36)) is None


def test_the_same_points_give_the_same_bytes():
    points, shape = plane(1.5)
    noise = correlated_noise(shape, 1.0, np.random.default_rng(0)).ravel()
    first, second = noise_spectrum(points, noise), noise_spectrum(points, noise)
    assert np.array_equal(first.variance, second.variance)
    assert all(np.array_equal(a, b) for a, b in zip(variogram(points, noise), variogram(points, noise)))
