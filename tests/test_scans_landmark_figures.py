"""Figures of landmarks: of one scan, and of all scans by region; and landmarks.json, from which they are made."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.given import GivenLandmarks, given_landmarks
from geometry.locating.location import Location
from geometry.model.landmark_embedding import shipped_schemes
from geometry.scan import Scan
from geometry.transforms import SimilarityTransform
from pipeline.inputs.source import Source
from pipeline.scans import files, landmark_figures
from pipeline.scans.state import ScanState

POSE = SimilarityTransform(Rotation.from_rotvec(np.array([0.3, -1.0, 0.5])).as_matrix(), np.array([10.0, -40.0, 700.0]))


def estimate(scheme="ibug68", sigma_mm=2.0, seed=0):
    """Random points, model frame; every third is inferred."""
    rng, count = np.random.default_rng(seed), len(shipped_schemes()[scheme])
    covariance = np.tile(sigma_mm**2 * np.eye(3), (count, 1, 1))
    return LandmarkEstimate(
        rng.normal(scale=50, size=(count, 3)), covariance, rng.uniform(size=count), np.arange(count) % 3 > 0, scheme
    )


def located(landmarks, unit_mm=1.0, given=None):
    """A state as the landmarks step leaves it; given in scan mm."""
    return ScanState(
        Source("a.ply", "/a.ply"),
        location=Location(Scan(np.zeros((4, 3)), np.zeros((0, 3)), "a.ply", "ply", unit_mm=unit_mm), POSE, 1.0),
        landmarks=landmarks,
        found_landmarks=landmarks,
        given_landmarks=given,
    )


def given_as(scheme, points):
    found = shipped_schemes()[scheme]
    return GivenLandmarks(points, found.names, found.in_ibug68, scheme, "a.landmarks.json")


def content_of(work):
    return json.loads(files.landmarks_bytes(work))


@pytest.mark.parametrize("unit_mm", [1.0, 10.0, 1000.0, 25.4])
@pytest.mark.parametrize("scheme", sorted(shipped_schemes()))
def test_written_landmarks_come_back_as_a_sidecar_the_inferred_ones_as_unknown(scheme, unit_mm):
    found = estimate(scheme)
    given = given_landmarks("b.ply", {"b.landmarks.json": files.landmarks_bytes(located(found, unit_mm))})
    np.testing.assert_array_equal(given.known, found.seen)
    np.testing.assert_allclose(POSE.apply(given.scaled(unit_mm).points)[found.seen], found.points[found.seen], atol=3e-4)
    assert (given.scheme_name, given.names) == (scheme, shipped_schemes()[scheme].names)


def test_landmarks_are_written_in_the_files_unit_with_names_and_covariances():
    found = estimate(sigma_mm=2.0)
    content = content_of(located(found, 1000.0))
    assert list(content) == ["scheme", "frame", "unit_mm", "names", "points", "confidence", "seen", "covariance"]
    assert (content["scheme"], content["frame"], content["unit_mm"]) == ("ibug68", "scan", 1000.0)
    assert content["names"] == list(shipped_schemes()["ibug68"].names) and content["seen"] == found.seen.tolist()
    np.testing.assert_allclose(landmark_figures.sigmas(np.array(content["covariance"])) * 1000, 2.0, rtol=1e-4)


def test_a_covariance_is_turned_with_its_point():
    along_z = np.tile(np.diag([0.01, 0.01, 9.0]), (68, 1, 1))
    content = content_of(located(LandmarkEstimate(np.zeros((68, 3)), along_z, np.ones(68), np.ones(68, bool))))
    _, axes = np.linalg.eigh(np.array(content["covariance"][0]))
    assert abs(axes[:, 2] @ (POSE.rotation.T @ [0, 0, 1])) > 0.9999


def test_what_is_unknown_is_null_and_comes_back_as_unknown():
    found = estimate()
    found.points[5] = np.nan
    found.covariance[5] = np.nan
    data = files.landmarks_bytes(located(found))
    assert json.loads(data)["points"][5] is None and json.loads(data)["covariance"][5] is None
    assert not given_landmarks("b.ply", {"b.landmarks.json": data}).known[5] and found.seen[5]
    assert landmark_figures.by_region([landmark_figures.points_of(json.loads(data))])[-1].points == 68


def test_the_distance_to_given_landmarks_is_measured_in_mm_where_one_was_given():
    found = estimate()
    given = POSE.inverse().apply(found.points + (3.0, 0.0, 4.0))
    given[:17] = np.nan
    content = content_of(located(found, 1000.0, given_as("ibug68", given)))
    assert content["given_distance_mm"][:17] == [None] * 17
    np.testing.assert_allclose(content["given_distance_mm"][17:], 5.0, atol=1e-3)
    rows = {row.region: row for row in landmark_figures.by_region([landmark_figures.points_of(content)])}
    assert rows["jaw"].to_given_mm is None and rows["eyes"].to_given_mm == pytest.approx(5.0, abs=1e-3)


def test_a_points_counterpart_is_the_same_ibug_point_or_has_the_same_name():
    found = estimate("bosphorus22")
    from_68 = landmark_figures.distances_to_given(found, given_as("ibug68", np.zeros((68, 3))))
    np.testing.assert_array_equal(np.isfinite(from_68), np.array(shipped_schemes()["bosphorus22"].in_ibug68) >= 0)
    np.testing.assert_array_equal(landmark_figures.distances_to_given(found, given_as("bosphorus22", found.points)), 0.0)


def test_the_figures_of_one_scan():
    figures = landmark_figures.measured(estimate(sigma_mm=1.5))
    assert (figures["landmarks_seen"], figures["landmarks_inferred"]) == (45, 23)
    assert figures["landmark_sigma_mm"] == pytest.approx(1.5) and "landmark_to_given_mm" not in figures


@pytest.mark.parametrize("scheme", sorted(shipped_schemes()))
def test_every_point_of_a_shipped_scheme_has_its_region(scheme):
    names = shipped_schemes()[scheme].names
    assert {landmark_figures.region_of(name) for name in names} <= set(landmark_figures.REGION_WORDS)


def test_the_regions_of_ibug68_are_its_groups():
    counts = {
        row.region: row.points
        for row in landmark_figures.by_region([landmark_figures.points_of(content_of(located(estimate())))])
    }
    assert counts == {"brows": 10, "eyes": 12, "nose": 9, "mouth": 20, "jaw": 17, "all": 68}
    assert landmark_figures.region_of("left_eyebrow_inner") == "brows" and landmark_figures.region_of("tragion") == "ears"
    assert landmark_figures.region_of("left_mole") == "other"


def test_regions_average_over_all_scans():
    sure = {
        "names": ["nose_tip", "chin"],
        "points": [[0, 0, 0]] * 2,
        "unit_mm": 1000.0,
        "seen": [True, False],
        "confidence": [1.0, 0.5],
        "covariance": [(np.eye(3) * 1e-6).tolist()] * 2,
    }
    bare = {"names": ["nose_tip", "chin"], "points": [[0, 0, 0]] * 2}  # an older file
    nose, jaw, everything = landmark_figures.by_region([landmark_figures.points_of(content) for content in (sure, bare)])
    assert (nose.points, nose.share_seen, nose.confidence, nose.sigma_mm) == (2, 1.0, 1.0, pytest.approx(1.0))
    assert (jaw.share_seen, jaw.confidence, everything.points, everything.share_seen) == (0.0, 0.5, 4, 0.5)
    assert landmark_figures.by_region([]) == []


def test_given_landmarks_far_from_the_found_are_noted_the_farthest_first():
    found = LandmarkEstimate(np.zeros((68, 3)), np.tile(np.eye(3), (68, 1, 1)), np.ones(68), np.ones(68, bool))
    points = np.full((68, 3), np.nan)
    points[[8, 30, 36, 45, 48]] = [[0, 0, 29.0], [0, 0, 40.0], [0, 116.4, 0], [31.0, 0, 0], [0, 50.0, 0]]
    (note,) = landmark_figures.far_from_found(found, given_as("ibug68", points))
    assert note.startswith("4 given landmarks lie far from the places found for them, and are believed: ")
    assert note.index("116 mm") < note.index("50 mm") < note.index("40 mm") and note.endswith(", …") and "31 mm" not in note
    points[[30, 36, 45, 48]] = np.nan
    assert landmark_figures.far_from_found(found, given_as("ibug68", points)) == ()


def test_given_landmarks_take_the_place_of_found_ones_and_the_others_stay():
    found = LandmarkEstimate(np.zeros((68, 3)), np.tile(9 * np.eye(3), (68, 1, 1)), np.full(68, 0.4), np.arange(68) > 16)
    points = np.full((68, 3), np.nan)
    points[[0, 30]] = [[1.0, 2, 3], [4, 5, 6]]
    both = landmark_figures.with_given(found, given_as("ibug68", points))
    assert np.array_equal(both.points[[0, 30]], points[[0, 30]]) and both.seen[[0, 30]].all()
    assert (both.confidence[[0, 30]] > 0.9).all() and np.allclose(
        both.covariance[30], landmark_figures.GIVEN_SIGMA_MM**2 * np.eye(3)
    )
    rest = np.setdiff1d(np.arange(68), [0, 30])
    assert np.array_equal(both.points[rest], found.points[rest]) and np.array_equal(both.seen[rest], found.seen[rest])
    assert np.array_equal(both.confidence[rest], found.confidence[rest])
