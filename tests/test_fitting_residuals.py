"""The linearised energy terms against finite differences of what they linearise."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from geometry.fitting.residuals import (
    Correspondences,
    above,
    point_to_plane,
    point_to_point,
    pose_jacobian,
)
from geometry.mesh import TriangleMesh
from geometry.surfaces.robust_loss import geman_mcclure_weights

N_ROWS, N_MODES, STEP = 7, 4, 1e-6


def scene(seed: int = 0):
    """Points q (r, 3), unit normals (r, 3), model vertices (r, 3) and basis rows (r, 3, m), float64."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(N_ROWS, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return rng.normal(size=(N_ROWS, 3)) * 50, normals, rng.normal(size=(N_ROWS, 3)) * 50, rng.normal(size=(N_ROWS, 3, N_MODES))


def moved(points, delta, with_scale):
    """q under the exact (not linearised) pose step: s R(ω) q + t."""
    return (np.exp(delta[6]) if with_scale else 1.0) * points @ Rotation.from_rotvec(delta[:3]).as_matrix().T + delta[3:6]


def finite_differences(function, size):
    """Central differences (r, size) of a vector function at zero."""
    return np.stack([(function(delta) - function(-delta)) / (2 * STEP) for delta in STEP * np.eye(size)], axis=1)


@pytest.mark.parametrize("with_scale", [False, True])
def test_the_pose_jacobian_is_the_derivative_of_the_similarity(with_scale):
    points, normals, _, _ = scene()
    expected = finite_differences(lambda d: (moved(points, d, with_scale) * normals).sum(1), 6 + with_scale)
    np.testing.assert_allclose(pose_jacobian(points, normals, with_scale), expected, atol=1e-5)


@pytest.mark.parametrize("with_scale", [False, True])
def test_the_point_to_plane_jacobian_is_the_derivative_of_its_residual(with_scale):
    points, normals, vertices, basis = scene(1)

    def residual(delta):
        pose, coefficients = np.split(delta, [6 + with_scale])
        return ((moved(points, pose, with_scale) - vertices - basis @ coefficients) * normals).sum(1)

    offsets = residual(np.zeros(6 + with_scale + N_MODES))
    matches = Correspondences(np.arange(N_ROWS), points, offsets, normals)
    term = point_to_plane(matches, basis, np.zeros((N_ROWS, 0)), np.ones(N_ROWS), with_scale)
    np.testing.assert_allclose(term.jacobian, finite_differences(residual, term.jacobian.shape[1]), atol=1e-5)
    np.testing.assert_allclose(term.residuals, residual(np.zeros(term.jacobian.shape[1])))


@pytest.mark.parametrize("with_scale", [False, True])
def test_the_point_to_point_jacobian_is_the_derivative_of_its_residual(with_scale):
    targets, _, vertices, basis = scene(2)

    def residual(delta):
        pose, coefficients = np.split(delta, [6 + with_scale])
        return (moved(targets, pose, with_scale) - vertices - basis @ coefficients).ravel()

    weights = np.arange(1.0, N_ROWS + 1)
    term = point_to_point(targets, vertices, basis, weights, with_scale)
    np.testing.assert_allclose(term.jacobian, finite_differences(residual, term.jacobian.shape[1]), atol=1e-5)
    np.testing.assert_allclose(term.residuals, residual(np.zeros(term.jacobian.shape[1])))
    np.testing.assert_array_equal(term.weights.reshape(-1, 3), np.tile(weights[:, None], 3))


def test_geman_mcclure_weights_are_the_derivative_of_the_loss_over_the_residual():
    scale, r = 2.5, np.linspace(-20, 20, 81)
    r = r[np.abs(r) > 1e-9]
    loss = lambda x: x**2 / (1 + (x / scale) ** 2)
    slope = (loss(r + STEP) - loss(r - STEP)) / (2 * STEP)
    np.testing.assert_allclose(geman_mcclure_weights(r, scale), slope / (2 * r), atol=1e-6)


def test_geman_mcclure_weights_are_one_at_zero_and_a_sixteenth_at_root_three_scales():
    np.testing.assert_allclose(geman_mcclure_weights(np.array([0.0, np.sqrt(3) * 4, 1e6]), 4.0), [1.0, 1 / 16, 0.0], atol=1e-12)


def test_a_low_precision_basis_gives_a_low_precision_jacobian_of_the_same_values():
    points, normals, vertices, basis = scene(3)
    matches = Correspondences(np.arange(N_ROWS), points, ((points - vertices) * normals).sum(1), normals)
    field = np.ones((N_ROWS, 2))
    double = point_to_plane(matches, basis, field, np.ones(N_ROWS), True).jacobian
    single = point_to_plane(matches, basis.astype(np.float32), field.astype(np.float32), np.ones(N_ROWS), True).jacobian
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-4)


def test_heights_above_a_sphere_know_that_it_falls_away_from_a_vertex():
    """Points up to 6 mm beside a vertex of a sphere of 50 mm: its plane would have them 0.36 mm behind."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(3000, 3))
    directions[:, 2] = np.abs(directions[:, 2]) + 3
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    top = TriangleMesh(np.array([[0, 0, 50.0], [1, 0, 50], [0, 1, 50]]), np.array([[0, 1, 2]]))
    bent = np.tile(np.diag([1, 1, 0]) / 50, (3, 1, 1))
    near = directions[np.hypot(*directions[:, :2].T) < 0.12]
    for height in (-1.0, 0.0, 1.0):
        found, normals = above(top, bent, np.zeros(len(near), int), near * (50 + height))
        np.testing.assert_allclose(found, height, atol=0.02)
        np.testing.assert_allclose(normals, near, atol=0.02)
        assert ((near * (50 + height))[:, 2] - 50 - height).min() < -0.3
