"""Scan and fit over one chart: distances survive, and so does what is known of the noise."""

from dataclasses import replace

import numpy as np
import pytest
from sampled_faces import CAMERA, NO_TRIANGLES, default_model, mesh_scan
from scipy.spatial.transform import Rotation

from geometry.charts.chart import CylindricalChart, OrthographicChart
from geometry.charts.geometry_image import CHANNELS
from geometry.evaluation.metrics import sample_surface
from geometry.fitting.encoding import encode
from geometry.fitting.legacy_noise import noise_as_trained, noise_map
from geometry.fitting.result import FitResult
from geometry.mesh import TriangleMesh
from geometry.scan import Scan
from geometry.surfaces.raycasting import cast_rays, raycasting_scene
from geometry.synthesis.sensors import head_rotation, render_depth
from geometry.transforms import SimilarityTransform

CHART = OrthographicChart(128, 128, 1.5)
POSE = SimilarityTransform(Rotation.from_rotvec(np.array([0.4, -0.8, 0.3])).as_matrix(), np.array([40.0, -10.0, 300.0]))


def fit_of_the_mean(scan_to_model: SimilarityTransform = SimilarityTransform.identity(), noise_mm: float = 0.0) -> FitResult:
    return FitResult(np.zeros(0), np.zeros(0), scan_to_model, default_model().mean, {}, 1.0, noise_mm, 1.0, 1e4, 1.0)


def shared_residual(encoding) -> np.ndarray:
    return (encoding.scan["depth"] - encoding.coarse["depth"])[encoding.coarse.valid_mask & encoding.scan.valid_mask]


def test_a_scan_that_is_the_fit_has_no_residual(model):
    encoding = encode(mesh_scan(POSE.apply(model.mean)), fit_of_the_mean(POSE.inverse()), model, CHART)
    assert (encoding.coarse.valid_mask == encoding.scan.valid_mask).mean() > 0.999
    assert np.quantile(np.abs(shared_residual(encoding)), 0.99) < 1e-3
    assert set(CHANNELS) <= set(encoding.coarse.channels) and "noise_sigma" in encoding.scan.channels
    assert encoding.coarse.chart == encoding.scan.chart == CHART


@pytest.mark.parametrize("offset", [-2.0, 1.5])
def test_an_offset_of_the_scan_is_the_residual_in_millimetres(offset, model):
    moved = POSE.apply(model.mean + [0, 0, offset])
    residual = shared_residual(encode(mesh_scan(moved), fit_of_the_mean(POSE.inverse()), model, CHART))
    np.testing.assert_allclose(np.quantile(residual, [0.1, 0.5, 0.9]), offset, atol=1e-3)


def test_a_scan_without_scale_is_encoded_in_the_size_of_the_fit(model):
    half = SimilarityTransform(POSE.rotation, POSE.translation, 0.5)
    residual = shared_residual(encode(mesh_scan(half.apply(model.mean)), fit_of_the_mean(half.inverse()), model, CHART))
    assert np.quantile(np.abs(residual), 0.99) < 1e-3


def test_what_the_scan_does_not_show_is_invalid(model):
    image = encode(mesh_scan(model.mean).keep(model.mean[:, 0] > 0), fit_of_the_mean(), model, CHART).scan
    assert not image.valid_mask[:, :60].any() and image.valid_mask[60:70, 70:90].all()
    assert not image["depth"][~image.valid_mask].any() and not image["noise_sigma"][~image.valid_mask].any()


def seen_points(mesh: TriangleMesh, count: int, behind_too: bool = False) -> np.ndarray:
    """(k, 3) area-uniform samples of a mesh: all, or only those that nothing hides from a scanner that goes round."""
    areas = np.linalg.norm(mesh.triangle_area_vectors, axis=1)
    points = sample_surface(mesh, areas, count, np.random.default_rng(0))
    if behind_too:
        return points
    round_the_head = CylindricalChart()
    image_points, radius = round_the_head.project(points)
    origins, directions, start = round_the_head.rays(image_points)
    return points[np.abs(start - cast_rays(raycasting_scene(mesh), origins, directions)[0] - radius) < 0.5]


@pytest.mark.parametrize("behind_too", [False, True], ids=["outer skin", "with what lies behind it"])
def test_a_bare_cloud_encodes_like_the_mesh_it_came_from(behind_too, model):
    points = POSE.apply(seen_points(model.mesh(), 40_000, behind_too))
    mesh = encode(mesh_scan(POSE.apply(model.mean)), fit_of_the_mean(POSE.inverse()), model, CHART).scan
    cloud = encode(mesh_scan(points, NO_TRIANGLES), fit_of_the_mean(POSE.inverse()), model, CHART).scan
    both = mesh.valid_mask & cloud.valid_mask
    assert both.sum() > 0.95 * mesh.valid_mask.sum()
    errors = np.abs(mesh["depth"] - cloud["depth"])[both]
    assert np.median(errors) < 0.05 and np.quantile(errors, 0.9) < 0.4


def test_a_cloud_nowhere_near_the_fit_is_an_empty_image(model):
    assert not encode(mesh_scan(model.mean + [0, 0, 900.0], NO_TRIANGLES), fit_of_the_mean(), model, CHART).scan.valid_mask.any()


@pytest.mark.parametrize("sigma, bound", [(0.0, 0.05), (0.8, 0.6)])
def test_a_depth_image_encodes_to_the_surface_that_it_saw(model, sigma, bound):
    pose = SimilarityTransform(head_rotation(15, 5, 90), np.array([0.0, 0.0, 400.0]))
    depth, _ = render_depth(TriangleMesh(pose.apply(model.mean), model.triangles), CAMERA)
    noise = np.random.default_rng(0).normal(size=depth.shape) * sigma
    scan = Scan.from_depth(np.where(depth > 0, depth + noise, 0), CAMERA, "depth", "test")
    residual = shared_residual(encode(scan, fit_of_the_mean(pose.inverse(), noise_mm=sigma), model, CHART))
    assert np.median(np.abs(residual)) < bound and abs(np.median(residual)) < 0.1
    assert len(residual) > 4000


def test_a_clean_scan_has_no_noise_anywhere(model):
    assert not encode(mesh_scan(model.mean), fit_of_the_mean(noise_mm=0.0), model, CHART).scan["noise_sigma"].any()


def test_noise_is_attributed_to_where_the_scan_is_rough(model):
    jitter = np.random.default_rng(0).normal(size=len(model.mean)) * np.where(model.mean[:, 0] > 0, 0.8, 0.05)
    scan = mesh_scan(model.mean + jitter[:, None] * [0, 0, 1])
    image, overall = encode(scan, fit_of_the_mean(), model, CHART).scan, noise_as_trained(scan, 1.0, 0.0)
    sigma, valid = image["noise_sigma"], image.valid_mask
    assert (sigma[valid] > 0).all() and not sigma[~valid].any()
    smooth_half, rough_half = sigma[50:80, 40:58], sigma[50:80, 70:88]
    assert np.median(rough_half) > 2 * np.median(smooth_half)
    assert 0.05 < overall < 0.8 and sigma[valid].max() <= 3 * overall + 1e-6 and sigma[valid].min() >= overall / 3 - 1e-6


def test_with_nothing_shared_the_noise_is_the_same_everywhere(model):
    encoding = encode(mesh_scan(model.mean), fit_of_the_mean(), model, CHART)
    sigma = noise_map(replace(encoding.coarse, valid_mask=np.zeros((128, 128), bool)), encoding.scan, 0.7)
    np.testing.assert_allclose(sigma[encoding.scan.valid_mask], 0.7)
    assert not sigma[~encoding.scan.valid_mask].any()


@pytest.mark.parametrize("jaw_open", [0.0, 0.5])
def test_the_coarse_image_shows_no_hole_between_the_lips(jaw_open, model):
    """The bag behind them is as deep as the head; the refiner was trained on mouths that a membrane closes."""
    expression = np.where(np.array(model.expression_names) == "jawOpen", jaw_open, 0.0)
    vertices = model.instance(expression=expression)
    fit = replace(fit_of_the_mean(), vertices=vertices)
    image, marks = encode(mesh_scan(model.mean), fit, model, CHART).coarse, vertices[model.landmarks["ibug68"]]
    columns, rows = CHART.project(marks[60:68])[0].astype(int).T
    mouth = image["depth"][rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert mouth.size > 20 and mouth.min() > marks[48:68, 2].min() - 3.0
