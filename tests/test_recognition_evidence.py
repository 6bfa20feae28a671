"""What a scan says against a fit: free space, missing support, landmarks elsewhere."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sampled_faces import CAMERA, default_model, seen_scan
from surfaces import grid_mesh, small_image, small_relief

from geometry.charts.chart import CylindricalChart, OrthographicChart
from geometry.fitting.encoding import encode
from geometry.fitting.result import FitResult
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh, merged
from geometry.recognition.evidence import Evidence, evidence_of, relief_explained
from geometry.scan import Scan
from geometry.synthesis.sensors import head_rotation, render_depth
from geometry.transforms import SimilarityTransform

CHART = OrthographicChart(128, 128, 1.5)


@cache
def mouth_open(jaw: float) -> np.ndarray:
    """(n, 3) the mean face with its jaw opened."""
    model, weights = default_model(), np.zeros(default_model().n_expression)
    weights[model.expression_names.index("jawOpen")] = jaw
    return model.instance(np.zeros(model.n_identity), weights)


def fit_of(vertices: np.ndarray, pose: SimilarityTransform | None = None) -> FitResult:
    """A fit of these vertices, whose own figures say that all is well."""
    return FitResult(
        identity_coefficients=np.zeros(default_model().n_identity),
        expression_coefficients=np.zeros(default_model().n_expression),
        scan_to_model=pose or SimilarityTransform(np.eye(3), np.zeros(3)),
        vertices=vertices,
        residuals={"mean": 0.1, "inlier_fraction": 0.99},
        fit_quality=np.nan,
        noise_mm=0.1,
        visible_face=0.9,
        visible_area_mm2=4e4,
        identity_rms_sigma=0.0,
    )


def landmarks_at(points: np.ndarray, seen: np.ndarray | None = None) -> LandmarkEstimate:
    return LandmarkEstimate(points, np.tile(np.eye(3), (68, 1, 1)), np.full(68, 0.9), np.ones(68, bool) if seen is None else seen)


def evidence(fitted: np.ndarray, scanned: np.ndarray | Scan, estimate: LandmarkEstimate | None = None, chart=CHART) -> Evidence:
    """Of a fit with these vertices to a scan of those, both in the model frame."""
    model, fit = default_model(), fit_of(fitted)
    scan = scanned if isinstance(scanned, Scan) else seen_scan(scanned)
    location = Location(scan, fit.scan_to_model, 1.0, estimate=estimate)
    return evidence_of(fit, encode(scan, fit, model, chart), location, model)


@pytest.mark.parametrize("chart", [CHART, CylindricalChart(128, 192, 1.5)], ids=["orthographic", "cylindrical"])
def test_a_closed_mouth_before_an_open_one_stands_where_the_scan_shows_free_space(chart):
    wrong, right = (evidence(mouth_open(jaw), mouth_open(1.0), chart=chart) for jaw in (0.0, 1.0))
    assert wrong.in_front_below > 0.2 and wrong.front_below_mm > 2 and wrong.away_below_p90_mm > 5
    assert right.in_front_below < 0.01 and right.front_below_mm < 0.1 and right.away_below_p90_mm < 1.5  # a pixel
    assert right.in_front < wrong.in_front < wrong.in_front_below


@pytest.mark.parametrize("yaw", [0.0, 40.0])
def test_of_a_depth_image_free_space_is_along_the_sensors_own_rays(yaw):
    """The chin of a wide-open mouth is below the chart, and at 40 degrees half of the face is hidden: the sensor's rays tell."""
    model, pose = default_model(), SimilarityTransform(head_rotation(yaw, 0, 0), np.array([0.0, 0.0, 450.0]))
    truth = seen_mesh(mouth_open(1.0))
    scan = Scan.from_depth(render_depth(truth.with_vertices(pose.apply(truth.vertices)), CAMERA)[0], CAMERA, "rendered", "test")
    found = []
    for jaw in (0.0, 1.0):
        fit = fit_of(mouth_open(jaw), pose.inverse())
        found.append(evidence_of(fit, encode(scan, fit, model, CHART), Location(scan, fit.scan_to_model, 1.0), model))
    wrong, right = found
    assert wrong.in_front_below > 0.2 and 0 < wrong.in_front < wrong.in_front_below
    assert right.in_front_below < 0.01 and right.in_front < 0.01


def test_an_open_mouth_is_no_skin_and_contradicts_nothing():
    """Behind open lips the scan shows the mouth's inside; the membrane that closes the encoded model's there is not asked."""
    model, vertices = default_model(), mouth_open(1.0)
    inside = TriangleMesh(vertices - [0, 0, 15.0], model.triangles[model.regions["mouth"][model.triangles].any(1)])
    both = merged([seen_mesh(vertices), inside])
    scan = Scan(both.vertices, both.triangles, "an open mouth", "test", unit_mm=1.0, scale_is_metric=True)
    found = evidence(vertices, scan)
    assert found.in_front_below < 0.02 and found.behind_below < 0.02


def seen_mesh(vertices: np.ndarray) -> TriangleMesh:
    scan = seen_scan(vertices)
    return TriangleMesh(scan.points, scan.triangles)


def test_what_stands_before_the_face_is_missing_support_and_no_contradiction():
    x, y = np.meshgrid(np.arange(-40.0, 41.0), np.arange(-75.0, -19.0))
    both = merged([seen_mesh(mouth_open(0.0)), grid_mesh(x, y, 40.0)])
    found = evidence(mouth_open(0.0), Scan(both.vertices, both.triangles, "a hand", "test", unit_mm=1.0, scale_is_metric=True))
    assert found.behind_below > 0.8 and found.in_front_below == 0 and found.front_below_mm < 0.05
    assert 0.1 < found.behind < 0.6 and found.away_below_mm > 5 and found.away_mm < 1.5


def test_what_was_not_looked_at_says_nothing():
    vertices = mouth_open(0.0)
    scan = seen_scan(vertices)
    found = evidence(vertices, scan.keep(scan.points[:, 1] > -15))
    assert found.looked_at_below < 0.01 and found.looked_at > 0.4
    half = evidence(vertices, scan.keep(scan.points[:, 0] > 0))
    assert 0.3 < half.looked_at < 0.6 and 0.3 < half.looked_at_below < 0.6 and half.in_front == 0
    empty = evidence(vertices, scan.keep(scan.points[:, 1] > 1e4))
    assert empty.looked_at == 0 and np.isnan([empty.in_front, empty.behind, empty.front_mm, empty.away_mm]).all()


def test_noise_is_allowed_for():
    scan = seen_scan(mouth_open(0.0) - [0, 0, 8.0])
    model, exact = default_model(), fit_of(mouth_open(0.0))
    location = Location(scan, exact.scan_to_model, 1.0)
    shares = []
    for fit in (exact, replace(exact, noise_mm=2.0)):
        encoded = encode(scan, fit, model, CHART)
        encoded = replace(encoded, scan=encoded.scan.with_channel("noise_sigma", np.full(encoded.scan.shape, fit.noise_mm)))
        shares.append(evidence_of(fit, encoded, location, model).in_front)
    assert shares[0] > 0.5 and shares[1] == 0


def test_landmarks_15_mm_off_are_inconsistent_and_their_own_error_is_allowed_for():
    vertices, model = mouth_open(0.0), default_model()
    marks = vertices[model.landmarks["ibug68"]]
    same, off = (evidence(vertices, vertices, landmarks_at(marks + [shift, 0.0, 0.0])) for shift in (0.0, 15.0))
    assert same.landmark_sigma == same.mouth_sigma == same.lower_lip_mm == same.chin_sigma == 0
    expected = 15.0 / np.sqrt(1 + 1.2**2)
    assert np.allclose([off.landmark_sigma, off.landmark_p90_sigma, off.mouth_sigma, off.chin_sigma], expected)
    assert np.isclose(off.lower_lip_mm, 15)
    unsure = replace(landmarks_at(marks + [15.0, 0.0, 0.0]), covariance=np.tile(np.eye(3) * 99, (68, 1, 1)))
    assert evidence(vertices, vertices, unsure).landmark_sigma < 2


def test_only_landmarks_that_were_seen_and_are_sure_are_asked():
    vertices, model = mouth_open(0.0), default_model()
    marks = vertices[model.landmarks["ibug68"]].copy()
    marks[48:] += 30.0
    hidden = evidence(vertices, vertices, landmarks_at(marks, np.arange(68) < 48))
    assert hidden.landmark_sigma == 0 and np.isnan(hidden.mouth_sigma) and hidden.mouth_seen == hidden.lower_lip_seen == 0
    assert np.isclose(hidden.landmarks_seen, 0.9 * 31 / 51)
    unsure = replace(landmarks_at(marks), confidence=np.where(np.arange(68) < 48, 0.9, 0.1))
    assert np.isnan(evidence(vertices, vertices, unsure).mouth_sigma)
    none = evidence(vertices, vertices)
    assert hidden.has_landmarks and not none.has_landmarks
    assert np.isnan([none.landmarks_seen, none.landmark_sigma, none.lower_lip_mm, none.chin_sigma]).all()


def test_landmarks_are_held_against_the_fit_in_the_model_frame():
    vertices, model = mouth_open(0.0), default_model()
    pose = SimilarityTransform(np.diag([1.0, -1.0, -1.0]), np.array([10.0, 20.0, 400.0]))
    scan, fit = seen_scan(pose.apply(vertices)), fit_of(vertices, pose.inverse())
    marks = landmarks_at(pose.apply(vertices[model.landmarks["ibug68"]]))
    found = evidence_of(fit, encode(scan, fit, model, CHART), Location(scan, fit.scan_to_model, 1.0, estimate=marks), model)
    assert found.landmark_sigma < 1e-6 and found.in_front < 0.01 and found.looked_at > 0.7


def test_the_whole_relief_counts_what_is_far_off():
    relief, hole = small_relief(), np.zeros((96, 96), bool)
    hole[40:60, 40:60] = True
    deep = small_image(relief - 30.0 * hole)
    assert relief_explained(small_image(relief), deep) > 0.99
    assert relief_explained(small_image(relief), deep, np.inf) < 0.7
