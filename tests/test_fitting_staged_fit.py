"""Recovery: known coefficients and pose come back from a scan sampled from the model, whole or in part.

The scans are surfaces of the model itself, in its own triangles: these tests show that the solver finds what is there to be
found, not how well it fits faces that the model cannot make, or what sensors do to them (`benchmarks` measure that).
"""

from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
from sampled_faces import NO_TRIANGLES, KnownFace, default_model, known_face, mesh_scan, nearly_located, seen_scan
from scipy.spatial.transform import Rotation

from geometry.errors import FitError, NoFaceFound
from geometry.fitting.options import FittingOptions, Stage
from geometry.fitting.result import FitResult
from geometry.fitting.staged_fit import fit
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.shape_prior import posterior
from geometry.locating.cleaning import clean
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh
from geometry.surfaces.closest_point import surface_distance
from geometry.surfaces.normals import with_normals
from geometry.synthesis.sensors import SENSORS, head_rotation, observe
from geometry.transforms import SimilarityTransform

BRIEF = FittingOptions(
    identity_modes=10, expression_modes=0, stages=(Stage(4, 0.0, 0.0, 1.0, 20.0, 2000), Stage(3, 1.0, 0.0, 1.0, 8.0, 2000))
)
NOSE = 30


@pytest.fixture(scope="module")
def whole(location, model) -> FitResult:
    return fit(location, model)


def surface_errors(face: KnownFace, result: FitResult) -> np.ndarray:
    """(n,) mm from each true vertex to the fitted surface, in the frame where the fit believes it to be."""
    mesh = TriangleMesh(result.vertices, default_model().triangles)
    return surface_distance(result.scan_to_model.apply(face.scan_points), mesh)


def vertex_errors(face: KnownFace, result: FitResult) -> np.ndarray:
    """(n,) mm between corresponding vertices, in the scan."""
    return np.linalg.norm(result.scan_to_model.apply(face.scan_points) - result.vertices, axis=1)


def test_the_surface_comes_back_and_so_do_its_corresponding_vertices(face, whole, model):
    region = model.regions["face"]
    assert surface_errors(face, whole)[region].mean() < 0.05
    assert np.quantile(surface_errors(face, whole)[region], 0.95) < 0.15
    assert vertex_errors(face, whole)[region].mean() < 0.35  # point-to-plane leaves sliding along the surface to the prior


def test_the_pose_comes_back(face, whole):
    """But for what shape and pose share: the turn that is left is a nod, which modes of shape tell, too, and what the model
    cannot show as well. The fit says how much that is."""
    error = whole.scan_to_model.compose(face.pose)
    assert error.angle_deg < 1.0 and np.linalg.norm(error.translation) < 1.0
    turn = np.abs(Rotation.from_matrix(error.rotation).as_rotvec())
    assert (turn < 3 * whole.posterior.sigma[:3]).all() and (whole.posterior.sigma[:3] < np.deg2rad(1.5)).all()


def test_the_leading_coefficients_come_back(face, whole):
    assert np.abs(whole.identity_coefficients[:5] - face.identity[:5]).max() < 0.25


def test_a_clean_fit_is_reported_as_one(whole, model):
    assert whole.residuals["inlier_fraction"] > 0.99 and whole.visible_face > 0.97 and whole.noise_mm < 0.05
    assert whole.residuals["mean"] < 0.05 and whole.residuals["inlier_fraction"] > 0.98
    assert whole.residuals["median"] <= whole.residuals["p90"]
    beside = whole.vertices - model.instance(whole.identity_coefficients, whole.expression_coefficients)
    assert np.abs(beside[model.regions["face"]]).mean() < 0.1  # what the model cannot show is little where it made the scan


def test_an_expression_is_followed(model):
    smiling = known_face(3, spread=0.6, expressions=3)
    result = fit(nearly_located(mesh_scan(smiling.scan_points), smiling), model)
    assert surface_errors(smiling, result)[model.regions["face"]].mean() < 0.1
    assert result.residuals["inlier_fraction"] > 0.99


@pytest.mark.parametrize("sensor", ["truedepth", "kinect_v1", "time_of_flight"])
def test_a_wide_open_mouth_is_followed_where_the_landmarks_speak_for_it(sensor, model):
    """Started shut, a chin 30 mm away pairs with the lower lip, and the mouth stays shut."""
    rng = np.random.default_rng(1)
    expression = np.where(np.array(model.expression_names) == "jawOpen", 1.0, 0.0)
    skin = model.triangles[~model.regions["cavities"][model.triangles].any(axis=1)]
    true = model.instance(rng.standard_normal(model.n_identity) * 0.8, expression)
    distance = np.mean(SENSORS[sensor].distance_mm)
    pose = SimilarityTransform(head_rotation(15.0, 5.0, 0.0), np.array([0.0, 0.0, distance]))
    scan = with_normals(clean(observe(TriangleMesh(true, skin), SENSORS[sensor], pose, rng, strength=1.0)))
    marks = pose.apply(true[model.landmarks["ibug68"]]) + rng.normal(size=(68, 3)) * 1.5
    covariance, seen = np.tile(1.5**2 * np.eye(3), (68, 1, 1)), np.arange(68) >= 17
    told = posterior(marks, covariance, seen, model)
    estimate = LandmarkEstimate(marks, covariance, np.full(68, 0.7), seen)
    result = fit(Location(scan, told.scan_to_model, 0.9, estimate=estimate, coefficients=told.coefficients), model)
    off = result.scan_to_model.apply(pose.apply(true)) - result.vertices
    assert np.linalg.norm(off[model.landmarks["ibug68"]], axis=1)[[55, 56, 57, 58, 59, 65, 66, 67]].mean() < 4.0


def test_noise_is_averaged_away_and_reported(face, model):
    noise = np.random.default_rng(0).normal(size=face.vertices.shape) * 0.6
    result = fit(nearly_located(mesh_scan(face.scan_points + noise), face), model)
    assert surface_errors(face, result)[model.regions["face"]].mean() < 0.15
    assert result.noise_mm > 0.05 and result.residuals["mean"] > 0.2


def test_half_a_face_is_followed_where_seen_and_plausible_where_not(face, scan, model):
    seen = face.vertices[:, 0] > -5
    result = fit(nearly_located(scan.keep(seen), face), model)
    region, errors = model.regions["face"], surface_errors(face, result)
    assert errors[region & seen].mean() < 0.1 and errors[region & ~seen].mean() < 3.0
    assert result.identity_rms_sigma < 1.2 and 0.4 < result.visible_face < 0.7


def test_a_hole_is_filled_from_the_rest_of_the_face(face, scan, model):
    hole = np.linalg.norm(face.vertices - face.landmarks[NOSE] - [25, -20, 0], axis=1) < 28
    errors = surface_errors(face, fit(nearly_located(scan.keep(~hole), face), model))
    assert errors[model.regions["face"] & ~hole].mean() < 0.05 and errors[hole].mean() < 0.5


def test_an_occluder_in_front_of_the_face_does_not_pull_it(face, model):
    hand = np.linalg.norm(face.vertices - face.landmarks[48], axis=1) < 25
    points = face.pose.apply(face.vertices + hand[:, None] * [0, 0, 22.0])
    errors = surface_errors(face, fit(nearly_located(mesh_scan(points), face), model))
    assert errors[model.regions["face"] & ~hand].mean() < 0.2 and errors[hand].mean() < 3.0


def test_a_bare_cloud_gives_the_face_of_its_mesh(face, model):
    result = fit(nearly_located(mesh_scan(face.scan_points, NO_TRIANGLES), face), model)
    assert surface_errors(face, result)[model.regions["face"]].mean() < 0.1


@pytest.fixture(scope="module")
def sizes(model):
    """What comes out for the size of four faces without a scale, in parts of the true one."""
    faces = [known_face(seed) for seed in range(1, 5)]
    scans = [replace(mesh_scan(face.scan_points * 1.1), scale_is_metric=False) for face in faces]
    return np.array([1.1 * fit(nearly_located(s, face), model).scan_to_model.scale for s, face in zip(scans, faces, strict=True)])


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="sizes come out up to 4 % too small: docs/experiments/fit.md")
def test_scale_is_recovered_where_the_scan_has_none(sizes):
    np.testing.assert_allclose(sizes, 1.0, atol=0.02)


def test_scale_is_nearly_recovered_where_the_scan_has_none(sizes):
    np.testing.assert_allclose(sizes, 1.0, atol=0.045)


def test_a_scan_without_a_scale_is_fitted(face, model):
    result = fit(nearly_located(replace(mesh_scan(face.scan_points * 1.1), scale_is_metric=False), face), model)
    assert result.scan_to_model.scale == pytest.approx(1 / 1.1, rel=0.03) and result.posterior.sigma[6] < 0.015
    assert result.residuals["mean"] < 0.1


def test_a_metric_scan_is_never_rescaled(face, model):
    larger = face.vertices * 1.05
    result = fit(nearly_located(mesh_scan(face.pose.apply(larger)), face), model)
    assert result.scan_to_model.scale == 1.0
    corners = model.landmarks["ibug68"][[36, 45]]  # the outer corners of the eyes
    width = np.linalg.norm(np.subtract(*result.vertices[corners]))
    assert width == pytest.approx(np.linalg.norm(np.subtract(*larger[corners])), abs=1.0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_given_landmarks_bring_home_a_pose_that_the_surface_alone_cannot(seed, model):
    face = known_face(seed)
    scan = seen_scan(face.scan_points)
    off = SimilarityTransform(Rotation.from_rotvec(np.array([0.2, 1.2, 0.6])).as_matrix(), np.array([20.0, -25, 10]))
    landmarks = face.scan_landmarks
    landmarks[:17] = np.nan  # a scheme that knows no jaw
    result = fit(Location(with_normals(scan), off.compose(face.pose.inverse()), 0.5, landmarks=landmarks), model)
    assert surface_errors(face, result)[model.regions["face"]].mean() < 0.1
    fitted = result.vertices[model.landmarks["ibug68"]]
    assert np.linalg.norm(result.scan_to_model.apply(landmarks) - fitted, axis=1)[17:].mean() < 1.0


def test_landmarks_that_are_all_unknown_change_nothing(location, model):
    unknown = fit(replace(location, landmarks=np.full((68, 3), np.nan)), model, BRIEF)
    assert unknown.vertices.tobytes() == fit(location, model, BRIEF).vertices.tobytes()


def test_each_stage_comes_closer(face, location, model):
    results = [fit(location, model, replace(BRIEF, stages=stages)) for stages in (BRIEF.stages[:1], BRIEF.stages)]
    begun = surface_distance(location.scan_to_model.apply(face.scan_points), TriangleMesh(model.mean, model.triangles))
    errors = [begun, *(surface_errors(face, result) for result in results)]
    off = [error[model.regions["face"]].mean() for error in errors]
    assert off[0] > off[1] > off[2] and results[1].residuals["rms"] < 0.5 * results[0].residuals["rms"]


def test_the_caller_may_stop_the_fit(location, model):
    check = Mock(side_effect=[None, None, KeyboardInterrupt])
    with pytest.raises(KeyboardInterrupt):
        fit(location, model, BRIEF, check)
    assert check.call_count == 3


def test_the_same_scan_gives_the_same_bytes_whatever_was_fitted_before(location, model):
    first = fit(location, model, BRIEF)
    fit(location, model, replace(BRIEF, regularization_weight=3.0, identity_modes=5))
    again = fit(location, model, BRIEF)
    assert again.vertices.tobytes() == first.vertices.tobytes()
    assert again.scan_to_model.matrix.tobytes() == first.scan_to_model.matrix.tobytes()
    assert again.residuals == first.residuals


def test_a_pose_far_from_the_scan_is_no_face(location, model):
    away = SimilarityTransform(np.eye(3), np.array([0.0, 0.0, 600.0])).compose(location.scan_to_model)
    with pytest.raises(NoFaceFound, match="model vertices lie near the scan"):
        fit(replace(location, scan_to_model=away), model, BRIEF)


def test_a_surface_without_area_is_a_fit_error(face, model):
    with pytest.raises(FitError, match="no area"):
        fit(Location(mesh_scan(np.zeros_like(face.vertices)), face.pose.inverse(), 0.5), model, BRIEF)


def test_stronger_regularization_keeps_the_shape_nearer_to_the_mean(location, model):
    stiff = fit(location, model, replace(BRIEF, regularization_weight=1e5))
    loose = fit(location, model, BRIEF)
    assert np.linalg.norm(stiff.identity_coefficients) < 0.8 * np.linalg.norm(loose.identity_coefficients)
