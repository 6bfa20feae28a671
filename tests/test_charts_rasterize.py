import numpy as np
import pytest
from surfaces import SMALL_CHART, bumpy_depth, bumpy_mesh, sphere

from geometry.charts.chart import CylindricalChart, OrthographicChart, pixel_centres
from geometry.charts.curvature import positions
from geometry.charts.geometry_image import CHANNELS, channel_normals
from geometry.charts.rasterize import image_from_depth, rasterize
from geometry.mesh import TriangleMesh, merged

CYLINDER = CylindricalChart(96, 144, 2.0, axis_z=-60.0, centre_y=0.0)


@pytest.mark.parametrize("chart", [SMALL_CHART, CYLINDER])
def test_a_spheres_depth_and_normals_are_the_analytic_ones(chart):
    image = rasterize(sphere(), chart)
    radial = positions(image["depth"], chart)[image.valid_mask] - [0, 0, -60]
    np.testing.assert_allclose(np.linalg.norm(radial, axis=1), 60, atol=0.01)
    cosine = (radial * channel_normals(image)[image.valid_mask]).sum(1) / 60
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 1.0  # facets of 1°


def test_rays_beside_the_sphere_are_invalid_and_zero_in_all_channels():
    image = rasterize(sphere(), SMALL_CHART)
    points = SMALL_CHART.lift(pixel_centres(SMALL_CHART), np.zeros(96 * 96))
    np.testing.assert_array_equal(image.valid_mask.ravel(), np.hypot(points[:, 0], points[:, 1]) < 59.99)
    for name in CHANNELS:
        assert image[name].dtype == np.float32 and not image[name][~image.valid_mask].any()


def test_elevation_is_90_degrees_where_the_surface_faces_the_viewer():
    image = rasterize(TriangleMesh([[-50, -50, 7], [50, -50, 7], [50, 50, 7], [-50, 50, 7]], [[0, 1, 2], [0, 2, 3]]), SMALL_CHART)
    assert np.allclose(image["depth"][image.valid_mask], 7, atol=1e-5)
    assert np.allclose(image["normal_elevation"][image.valid_mask], np.pi / 2)


def test_the_first_surface_from_outside_hides_the_others():
    front, back = sphere(20, (0, 0, 0), 4), sphere(40, (0, 0, -60), 4)
    assert rasterize(merged([back, front]), SMALL_CHART)["depth"][48, 48] == pytest.approx(20, abs=0.1)


def test_back_faces_are_invalid_and_hide_what_lies_behind():
    ball, behind = sphere(20, (0, 0, 0), 4), sphere(40, (0, 0, -60), 4)
    image = rasterize(merged([TriangleMesh(ball.vertices, ball.triangles[:, ::-1]), behind]), SMALL_CHART)
    assert not image.valid_mask[48, 48] and image.valid_mask[48, 63]


def test_excluded_triangles_let_rays_through():
    mesh = sphere(subdivisions=4)
    image = rasterize(mesh, SMALL_CHART, exclude=mesh.vertices[mesh.triangles].mean(1)[:, 2] > -30)
    assert not image.valid_mask[48, 48] and image.valid_mask.any()  # the ray enters and meets the far side from inside


def test_a_cylindrical_ray_that_crosses_the_axis_sees_nothing():
    # behind the axis, seen by forward rays only through the axis
    assert not rasterize(sphere(20, (0, 0, -100), 3), CYLINDER).valid_mask[:, 60:84].any()


def test_an_empty_mesh_gives_an_empty_image():
    image = rasterize(TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3))), SMALL_CHART)
    assert not image.valid_mask.any() and set(CHANNELS) <= set(image.channels)


def test_image_from_depth_agrees_with_the_rasterized_mesh():
    chart = OrthographicChart(128, 128, 1.0, 0, 0)
    x, y = positions(np.zeros((128, 128)), chart)[..., :2].transpose(2, 0, 1)
    derived, cast = image_from_depth(bumpy_depth(x, y), np.ones(x.shape, bool), chart), rasterize(bumpy_mesh(), chart)
    inner = np.s_[4:-4, 4:-4]
    for name, tolerance in {
        "depth": 0.05,
        "normal_x": 0.03,
        "normal_y": 0.03,
        "normal_elevation": 0.03,
        "mean_curvature": 0.005,
    }.items():
        np.testing.assert_allclose(derived[name][inner], cast[name][inner], atol=tolerance)


def test_image_from_depth_refuses_another_shape():
    with pytest.raises(ValueError, match=r"\(3, 3\).*\(96, 96\)"):
        image_from_depth(np.zeros((3, 3)), np.ones((3, 3), bool), SMALL_CHART)


def test_channel_normals_are_units_also_where_the_channels_disagree():
    image = rasterize(sphere(), SMALL_CHART).with_channel("normal_x", np.full((96, 96), 0.3))
    np.testing.assert_allclose(np.linalg.norm(channel_normals(image)[image.valid_mask], axis=1), 1, atol=1e-6)
