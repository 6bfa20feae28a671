"""Simulated sensors: geometry against analytic surfaces, noise against the formulas that the docstrings cite."""

import numpy as np
import pytest
from surfaces import sphere

from geometry.camera import PinholeCamera
from geometry.mesh import TriangleMesh
from geometry.synthesis import sensor_noise, sensors
from geometry.synthesis.occluders import wall
from geometry.synthesis.sensors import SENSORS
from geometry.transforms import SimilarityTransform

BALL = sphere(80.0, (0, 0, 0), subdivisions=5)
KINECT = SENSORS["kinect_v1"]
FRONTAL = sensors.head_rotation(0, 0, 0)


def plane_depth(camera, z):
    """An ideal image of a plane that faces the camera at z mm."""
    return np.full((camera.height, camera.width), float(z)), np.ones((camera.height, camera.width))


def test_a_rendered_plane_has_the_depth_of_the_plane_in_every_pixel():
    camera = PinholeCamera(64, 48, 60, 60, 31.5, 23.5)
    before = SimilarityTransform(FRONTAL, np.array([0, 0, 700.0]))
    depth, cosine = sensors.render_depth(wall(0.0).with_vertices(before.apply(wall(0.0).vertices)), camera)
    np.testing.assert_allclose(depth, 700.0, atol=1e-3)
    assert cosine[23, 31] > 0.999


def test_pixels_are_centred_at_integers():
    """A slanted plane z = 500 + 0.5 x, cast and unprojected, satisfies its own equation: half a pixel would miss by 0.4 mm."""
    camera = PinholeCamera(320, 240, 300, 300, 159.5, 119.5)
    x = np.array([-600.0, 600, 600, -600])
    mesh = TriangleMesh(np.stack([x, [-600, -600, 600, 600], 500 + 0.5 * x], 1), [[0, 2, 1], [0, 3, 2]])
    depth, _ = sensors.render_depth(mesh, camera)
    rows, columns = np.nonzero(depth)
    points = camera.unproject(np.stack([columns, rows], 1).astype(float), depth[rows, columns])
    assert np.abs(points[:, 2] - 500 - 0.5 * points[:, 0]).max() < 2e-3


def test_a_sphere_is_seen_where_and_as_large_as_it_is():
    pose = SimilarityTransform(FRONTAL, np.array([12.0, -7.0, 600.0]))
    ideal = sensors.Sensor("ideal", lambda depth, *_: depth, (600, 600), (1, 1), KINECT.camera)
    scan = sensors.observe(sphere(80.0, (0, 0, 0)), ideal, pose, np.random.default_rng(0))
    assert np.abs(np.linalg.norm(scan.points - pose.translation, axis=1) - 80).max() < 0.03
    assert scan.scale_is_metric and scan.camera == KINECT.camera and scan.raster_shape == (480, 640)


def test_the_camera_sees_the_subjects_left_on_its_right_and_up_as_minus_y():
    np.testing.assert_allclose(FRONTAL, np.diag([1.0, -1, -1]), atol=1e-12)
    assert (sensors.head_rotation(30, 0, 0) @ [0, 0, 1])[0] > 0.4, "a positive yaw turns the face to the subject's left"


@pytest.mark.parametrize("z", [500, 700, 1000])
def test_kinect_depth_comes_in_disparity_steps_of_an_eighth(z):
    measured = sensor_noise.structured_light(*plane_depth(KINECT.camera, z), KINECT.camera, 1.0, np.random.default_rng(1))
    disparity = KINECT.camera.fx * sensor_noise.KINECT_BASELINE_MM / np.unique(measured[measured > 0])
    # depth is rounded to whole mm after the disparity: that moves it by up to half a millimetre
    tolerance = 0.5 * disparity / np.unique(measured[measured > 0]) + 1e-9
    assert (np.abs(disparity * 8 - np.round(disparity * 8)) / 8 <= tolerance).all()


@pytest.mark.parametrize("z", [600, 800, 1000])
def test_kinect_noise_is_khoshelhams(z):
    """σ_z = 1.43e-5 z² (cm) from half a step of disparity noise, and the step's own z² / (8 f b) / √12."""
    depth, cosine = plane_depth(KINECT.camera, z)
    depth = depth + np.linspace(-8, 8, depth.shape[1])  # slightly slanted, so that all phases of the step occur
    measured = sensor_noise.structured_light(depth, cosine, KINECT.camera, 1.0, np.random.default_rng(2))
    error = np.where(measured > 0, measured - depth, np.nan)[20:-20, 20:-20]
    noise, step = 10 * 1.43e-5 * (z / 10) ** 2, z**2 / (8 * KINECT.camera.fx * sensor_noise.KINECT_BASELINE_MM)
    expected = np.sqrt(noise**2 + step**2 / 12 + 1 / 12)
    assert np.nanstd(error) == pytest.approx(expected, rel=0.12)  # whole mm and steps of about a mm are not independent
    assert abs(np.nanmean(error)) < 0.1


@pytest.mark.parametrize("z", [500, 900])
def test_time_of_flight_noise_is_fankhausers(z):
    camera = SENSORS["time_of_flight"].camera
    measured = sensor_noise.time_of_flight(*plane_depth(camera, z), camera, 1.0, np.random.default_rng(3))
    # the slow biases are not noise: pixel differences leave only what is new from one pixel to the next but two
    difference = (measured[:, 6:] - measured[:, :-6])[20:-20, 20:-20]
    expected = 1.5 - 0.5 * z / 1000 + 0.3 * (z / 1000) ** 2
    assert np.median(np.abs(difference)) * 1.4826 / np.sqrt(2) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("z", [300, 450])
def test_truedepth_noise_grows_with_the_square_of_the_distance(z):
    camera = SENSORS["truedepth"].camera
    stds = []
    for seed in range(6):  # half of the frames are delivered as float16 disparity: their step adds to the noise
        measured = sensor_noise.truedepth(*plane_depth(camera, z), camera, 1.0, np.random.default_rng(seed))
        stds.append(measured[measured > 0].std())
    assert min(stds) == pytest.approx(0.25 * (z / 300) ** 2, rel=0.15)


def test_stereo_noise_is_that_of_its_disparity():
    camera = SENSORS["stereo"].camera
    inner = sensor_noise.passive_stereo(*plane_depth(camera, 700), camera, 1.0, np.random.default_rng(4))[30:-30, 30:-30]
    spread = 1.4826 * np.median(np.abs(inner[inner > 0] - np.median(inner[inner > 0])))
    assert spread == pytest.approx(0.15 * 700**2 / (camera.fx * sensor_noise.STEREO_BASELINE_MM), rel=0.3)


def test_correlated_noise_has_unit_variance_and_the_stated_correlation():
    rng = np.random.default_rng(5)
    for sigma in (0.5, 1.5, 4.0):
        noise = sensor_noise.correlated_noise((400, 400), sigma, rng)
        assert noise.std() == pytest.approx(1, rel=0.1)
    lag = 4  # e^(−lag² / 4σ²) at σ = 4
    assert np.mean(noise[:, lag:] * noise[:, :-lag]) == pytest.approx(np.exp(-(lag**2) / (4 * 16)), abs=0.1)


def test_a_projectors_shadow_lies_beside_the_nearer_object_and_is_as_wide_as_the_disparities_differ():
    camera = KINECT.camera
    depth = np.full((40, 640), 1000.0)
    depth[:, 300:400] = 600.0
    shadow = sensor_noise.projector_shadow(depth, camera.fx, 75.0)
    assert shadow[20].sum() == pytest.approx(camera.fx * 75 * (1 / 600 - 1 / 1000), abs=2)
    assert shadow[20, 299] and not shadow[20, 300:].any()


def test_holes_cover_the_share_they_are_asked_to():
    assert sensor_noise.holes((500, 500), 0.05, 3.0, np.random.default_rng(6)).mean() == pytest.approx(0.05, abs=0.01)


def test_grazing_incidence_is_lost_and_frontal_is_not():
    rng = np.random.default_rng(7)
    assert sensor_noise.grazing_dropout(np.full((50, 50), 0.05), 0.3, rng).all()
    assert not sensor_noise.grazing_dropout(np.full((50, 50), 0.9), 0.3, rng).any()


def test_time_of_flight_edges_fly():
    """Between a face and a wall behind it some pixels float, up to the wall and never before the face."""
    camera = SENSORS["time_of_flight"].camera
    depth = np.full((100, 100), 1200.0)
    depth[:, :50] = 600.0
    measured = sensor_noise.time_of_flight(depth, np.ones_like(depth), camera, 0.3, np.random.default_rng(8))
    flying = (measured > 620) & (measured < 1180)
    assert flying.any() and set(np.nonzero(flying)[1]) <= {48, 49, 50, 51}


@pytest.mark.parametrize("name", sorted(SENSORS))
def test_the_same_generator_state_gives_the_same_scan(name):
    sensor, states = SENSORS[name], [np.random.default_rng(9) for _ in range(2)]
    one, other = (sensors.observe(BALL, sensor, sensors.sample_pose(sensor, rng), rng) for rng in states)
    np.testing.assert_array_equal(one.points, other.points)
    np.testing.assert_array_equal(one.triangles, other.triangles)
    assert len(one.points) > 1000


@pytest.mark.parametrize("name", ["laser", "photogrammetry", "clean_mesh"])
def test_scanners_return_meshes_that_face_outward(name):
    rng = np.random.default_rng(10)
    pose = sensors.sample_pose(SENSORS[name], rng)
    scan = sensors.observe(BALL, SENSORS[name], pose, rng, strength=0.1)
    mesh = TriangleMesh(scan.points, scan.triangles)
    assert len(scan.triangles) > 1000
    assert (np.einsum("ij,ij->i", mesh.vertex_normals, scan.points - pose.translation) > 0).mean() > 0.98


def test_a_nearly_clean_mesh_is_nearly_clean():
    sensor = SENSORS["clean_mesh"]
    pose = sensors.sample_pose(sensor, np.random.default_rng(11))
    scan = sensors.observe(sphere(80.0, (0, 0, 0), subdivisions=7), sensor, pose, np.random.default_rng(11), strength=1.0)
    assert np.abs(np.linalg.norm(scan.points - pose.translation, axis=1) - 80).mean() < 0.02


def test_poses_stay_within_their_ranges():
    rng = np.random.default_rng(12)
    for sensor in SENSORS.values():
        for _ in range(50):
            pose = sensors.sample_pose(sensor, rng)
            assert sensor.distance_mm[0] <= pose.translation[2] <= sensor.distance_mm[1]
            assert (pose.rotation @ [0, 0, 1])[2] < -np.cos(np.deg2rad(60)) * np.cos(np.deg2rad(30)) + 1e-9
            assert np.linalg.det(pose.rotation) == pytest.approx(1)


def test_a_view_of_nothing_is_an_empty_scan():
    behind = SimilarityTransform(FRONTAL, np.array([0.0, 0, -500]))
    for name in ("kinect_v1", "laser"):
        assert len(sensors.observe(BALL, SENSORS[name], behind, np.random.default_rng(13)).points) == 0


def test_a_random_sensor_stays_in_its_range_of_noise_and_bias():
    depth, cosine, camera = np.full((120, 160), 500.0), np.ones((120, 160)), SENSORS["any_near"].camera
    spreads = []
    for seed in range(30):
        measured = sensor_noise.any_depth(depth, cosine, camera, 1.0, np.random.default_rng(seed))
        assert (measured > 0).mean() > 0.95
        spreads.append(np.std(measured[measured > 0]))
    assert min(spreads) < 0.3 and 0.8 < max(spreads) < 4.0
