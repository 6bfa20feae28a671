import numpy as np
import pytest
from surfaces import sphere

from geometry.charts.chart import CylindricalChart, OrthographicChart, pixel_centres
from geometry.charts.curvature import mean_curvature, normals_from_depth, positions, principal_curvatures
from geometry.charts.rasterize import rasterize

FINE = OrthographicChart(128, 128, 0.75, 0, 0)
X, Y = positions(np.zeros((128, 128)), FINE)[..., :2].transpose(2, 0, 1)
ALL = np.ones((128, 128), bool)
INNER = np.s_[6:-6, 6:-6]


@pytest.mark.parametrize("chart", [FINE, CylindricalChart(128, 160, 0.75, axis_z=-60.0, centre_y=0.0)])
def test_a_convex_sphere_of_radius_R_has_mean_curvature_plus_one_over_R(chart):
    image = rasterize(sphere(60), chart)
    depth = image["depth"].astype(float)
    exact = mean_curvature(depth, image.valid_mask, chart)[INNER]
    facing = np.abs(positions(depth, chart)[INNER][..., 1]) < 35
    np.testing.assert_allclose(exact[facing] * 60, 1, atol=0.15)  # facets of the icosphere
    assert np.median(exact[facing] * 60) == pytest.approx(1, abs=0.01)


def test_an_analytic_hemisphere_is_exact_to_a_percent():
    np.testing.assert_allclose(mean_curvature(np.sqrt(90.0**2 - X**2 - Y**2), ALL, FINE)[INNER] * 90, 1, atol=0.01)


def test_a_hollow_is_negative():
    assert (mean_curvature((X**2 + Y**2) / 200, ALL, FINE)[INNER] < 0).all()


@pytest.mark.parametrize("a, b", [(0.02, 0.01), (0.03, -0.02), (-0.01, -0.01), (0.0, 0.05)])
def test_a_paraboloids_principal_curvatures_at_its_apex(a, b):
    first, second = principal_curvatures(-(a * X**2 + b * Y**2) / 2, ALL, FINE)
    np.testing.assert_allclose(
        (first[63:65, 63:65], second[63:65, 63:65]), (np.full((2, 2), max(a, b)), np.full((2, 2), min(a, b))), atol=2e-4
    )


@pytest.mark.parametrize("slope", [(0, 0), (0.5, -1.0), (3.0, 2.0)])
def test_a_tilted_plane_is_flat_also_beside_holes(slope):
    valid = np.random.default_rng(0).random(X.shape) > 0.3
    np.testing.assert_allclose(mean_curvature(slope[0] * X + slope[1] * Y - 7, valid, FINE), 0, atol=1e-6)


def test_a_cylinder_about_the_axis_of_a_cylindrical_chart_has_half_the_inverse_radius():
    chart = CylindricalChart(64, 64)
    np.testing.assert_allclose(mean_curvature(np.full((64, 64), 80.0), np.ones((64, 64), bool), chart), 1 / 160, atol=1e-5)


def test_invalid_pixels_are_zero_and_what_they_hold_does_not_matter():
    valid, depth = np.hypot(X, Y) < 40, -(X**2 + Y**2) / 200
    clean = mean_curvature(depth, valid, FINE)
    np.testing.assert_allclose(clean, mean_curvature(np.where(valid, depth, 1e4), valid, FINE), atol=1e-12)
    assert not clean[~valid].any()


def test_depth_noise_of_a_tenth_of_a_millimetre_does_not_explode():
    assert mean_curvature(np.random.default_rng(0).normal(0, 0.1, X.shape), ALL, FINE)[INNER].std() < 0.006


def test_a_depth_jump_stays_within_the_bound():
    assert np.abs(mean_curvature(np.where(X > 0, 40.0, 0.0), ALL, FINE)).max() <= 1 / 1.5


@pytest.mark.parametrize("chart", [FINE, CylindricalChart(128, 128, 0.75, axis_z=-60.0)])
def test_normals_of_constant_depth_point_along_the_rays(chart):
    normals = normals_from_depth(np.full((128, 128), 70.0), ALL, chart)
    np.testing.assert_allclose(normals.reshape(-1, 3), chart.outward_directions(pixel_centres(chart)), atol=1e-9)


def test_normals_of_a_plane_are_exact_up_to_its_rim():
    valid = np.hypot(X, Y) < 30
    normals = normals_from_depth(0.4 * X - 0.7 * Y, valid, FINE)
    expected = np.array([-0.4, 0.7, 1]) / np.linalg.norm([-0.4, 0.7, 1])
    np.testing.assert_allclose(normals[valid], np.tile(expected, (valid.sum(), 1)), atol=1e-9)
