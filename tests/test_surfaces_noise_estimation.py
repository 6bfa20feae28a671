"""The noise of a scan, from the scan alone: σ where there is noise, none where there is only shape."""

import numpy as np
import pytest
from sampled_faces import CAMERA, NO_TRIANGLES, default_model, mesh_scan
from surfaces import bumpy_depth, bumpy_mesh, sphere

from geometry.scan import Scan
from geometry.surfaces.noise_estimation import noise_of_cloud, noise_of_surface
from geometry.surfaces.triangulation import surface_of


def noise_of(scan: Scan) -> float:
    return noise_of_surface(scan, surface_of(scan))


def noisy_mesh(mesh, sigma: float, seed: int = 0) -> Scan:
    along = np.random.default_rng(seed).normal(size=len(mesh.vertices)) * sigma
    return mesh_scan(mesh.vertices + along[:, None] * mesh.vertex_normals, mesh.triangles)


def depth_image(depth: np.ndarray, sigma: float, seed: int = 0) -> Scan:
    noise = np.random.default_rng(seed).normal(size=depth.shape) * sigma
    return Scan.from_depth(depth + noise, CAMERA, "depth", "test")


PLANE = np.full((240, 240), 500.0)
FACE = 600 - bumpy_depth(*np.meshgrid(*2 * [0.7 * np.arange(-120, 120)]))


@pytest.mark.parametrize(
    "make, shape, sigma",
    [
        (noisy_mesh, sphere(45.0), 0.1),
        (noisy_mesh, sphere(45.0), 0.3),
        (depth_image, PLANE, 0.15),
        (depth_image, PLANE, 0.4),
        (depth_image, FACE, 0.15),
        (depth_image, FACE, 0.4),
    ],
    ids=["mesh 0.1", "mesh 0.3", "plane 0.15", "plane 0.4", "face 0.15", "face 0.4"],
)
def test_the_noise_of_a_dense_mesh_and_of_a_depth_image_comes_back_within_15_percent(make, shape, sigma):
    assert noise_of(make(shape, sigma)) == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.2])
def test_the_noise_of_a_mesh_over_a_grid_comes_back_within_4_percent(sigma):
    """Every k-th edge of one is of one direction, and its ends' products are not the others'."""
    estimates = [noise_of(noisy_mesh(bumpy_mesh(), sigma, seed)) for seed in range(3)]
    assert np.mean(estimates) == pytest.approx(sigma, rel=0.04)


def test_noise_of_half_a_pixel_is_not_taken_for_less_than_three_quarters_of_it():
    """So rough a surface has wild normals, and the noise along them is less than the noise along the rays."""
    assert 0.75 < noise_of(depth_image(PLANE, 1.0)) < 1.15


@pytest.mark.parametrize(
    "make",
    [
        lambda: sphere(90.0, subdivisions=3),
        lambda: sphere(90.0, subdivisions=6),
        bumpy_mesh,
        lambda: default_model().mesh(),
    ],
    ids=["coarse sphere", "fine sphere", "relief", "mean face"],
)
def test_a_clean_mesh_has_no_noise(make):
    assert noise_of(noisy_mesh(make(), 0.0)) < 0.03


def test_a_clean_depth_image_has_hardly_any():
    assert noise_of(depth_image(FACE, 0.0)) <= 0.05  # the floor for sensors


@pytest.mark.parametrize("sigma", [0.0, 0.2, 0.5])
def test_the_noise_of_a_cloud_comes_back_within_a_quarter(sigma):
    assert noise_of_cloud(noisy_mesh(sphere(45.0, subdivisions=6), sigma).points) == pytest.approx(sigma, rel=0.25, abs=0.03)


def test_more_noise_is_more():
    ball = sphere(45.0, subdivisions=5)
    estimates = [noise_of(noisy_mesh(ball, sigma)) for sigma in (0.0, 0.1, 0.2, 0.4)]
    assert estimates == sorted(estimates)


def test_what_cannot_tell_its_noise_has_none():
    few = sphere(50.0, subdivisions=1)
    assert noise_of(noisy_mesh(few, 0.5)) == 0.0
    assert noise_of(mesh_scan(few.vertices, NO_TRIANGLES)) == 0.0  # a cloud without normals
    assert noise_of_cloud(np.zeros((5, 3))) == 0.0


def test_a_surface_in_shreds_has_none():
    """Each shred is a hexagon of two rings: one inner vertex far from the border, and no edge between two such."""
    cells = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if abs(i + j) <= 2]
    number = {cell: k for k, cell in enumerate(cells)}
    points = np.array([[i + j / 2, j * np.sqrt(0.75), 0.0] for i, j in cells])
    corners = [((i, j), *rest) for i, j in cells for rest in (((i + 1, j), (i, j + 1)), ((i + 1, j - 1), (i + 1, j)))]
    triangles = np.array([[number[c] for c in triangle] for triangle in corners if all(c in number for c in triangle)])
    shreds = [points + [10.0 * k, 0, 0] for k in range(150)]
    scan = mesh_scan(np.concatenate(shreds), np.concatenate([triangles + k * len(points) for k in range(150)]))
    assert noise_of(scan) == 0.0
