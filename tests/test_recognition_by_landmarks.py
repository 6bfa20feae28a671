"""The head is found by its landmarks, whatever geometry proposed first."""

import numpy as np
import pytest
from landmark_oracle import Oracle
from sampled_faces import default_model, degrees_of, known_face, mesh_scan
from scipy.spatial.transform import Rotation

from geometry.errors import NoFaceFound
from geometry.locating.location import Location
from geometry.recognition import by_landmarks
from geometry.recognition.by_landmarks import landmark_pose, locate, refine_pose
from geometry.scan import Scan
from geometry.surfaces.normals import with_normals
from geometry.transforms import SimilarityTransform

OFF = SimilarityTransform(Rotation.from_euler("xyz", [15, -20, 12], degrees=True).as_matrix(), np.array([8.0, -6.0, 10.0]))


@pytest.fixture(scope="module")
def face():
    return known_face(8)


def truth_of(face) -> np.ndarray:
    return face.pose.apply(face.vertices[default_model().landmarks["ibug68"]])


@pytest.fixture(scope="module")
def scan(face) -> Scan:
    return with_normals(mesh_scan(face.scan_points))


@pytest.fixture
def oracle(face, monkeypatch) -> Oracle:
    oracle = Oracle(truth_of(face), face.pose.inverse())
    monkeypatch.setattr(by_landmarks, "Viewer", oracle.viewer_class)
    return oracle


def degrees_off(location: Location, face) -> float:
    return degrees_of(location.scan_to_model.compose(face.pose).rotation)


def proposing(monkeypatch, *locations: Location) -> None:
    monkeypatch.setattr(by_landmarks, "candidate_locations", lambda scan, model, believes, options: list(locations))


def test_a_rough_pose_is_corrected_and_every_landmark_found(face, scan, oracle, monkeypatch):
    proposing(monkeypatch, Location(scan, OFF.compose(face.pose.inverse()), 0.5))
    found = locate(scan, default_model(), oracle.find)
    assert degrees_off(found, face) < 3
    assert np.isfinite(found.estimate.points).all()
    error = np.linalg.norm(found.estimate.points - truth_of(face), axis=1)
    assert error[found.estimate.seen].mean() < 1.5 and error.mean() < 3


def test_of_several_proposals_the_one_that_shows_a_face_wins(face, scan, oracle, monkeypatch):
    behind = SimilarityTransform(Rotation.from_euler("y", 170, degrees=True).as_matrix(), np.zeros(3))
    proposing(
        monkeypatch,
        Location(scan, behind.compose(face.pose.inverse()), 0.9),
        Location(scan, OFF.compose(face.pose.inverse()), 0.4),
    )
    assert degrees_off(locate(scan, default_model(), oracle.find), face) < 3


@pytest.mark.parametrize("roll", [180, 90, -90])
def test_a_face_proposed_upside_down_or_on_its_side_is_turned_about(face, scan, oracle, monkeypatch, roll):
    turned = SimilarityTransform(Rotation.from_euler("z", roll, degrees=True).as_matrix(), np.zeros(3))
    proposing(monkeypatch, Location(scan, turned.compose(face.pose.inverse()), 0.5))
    assert degrees_off(locate(scan, default_model(), oracle.find), face) < 3


def test_a_sure_first_proposal_needs_no_other(face, scan, oracle, monkeypatch):
    good = Location(scan, face.pose.inverse(), 0.9)
    proposing(monkeypatch, good, good, good, good)
    locate(scan, default_model(), oracle.find)
    assert oracle.looks <= 1 + 3 * 3, "one first look, and at most three closer ones of three views"


def test_where_the_network_sees_no_face_the_word_of_geometry_stands(face, scan, oracle, monkeypatch):
    oracle.truth = oracle.truth + 500.0
    proposing(monkeypatch, Location(scan, face.pose.inverse(), 0.9))
    found = locate(scan, default_model(), oracle.find)
    assert found.estimate is None and degrees_off(found, face) < 3


def test_where_neither_sees_a_face_there_is_none(face, scan, oracle, monkeypatch):
    oracle.truth = oracle.truth + 500.0
    proposing(monkeypatch, Location(scan, face.pose.inverse(), 0.22))
    with pytest.raises(NoFaceFound, match="support of 0.00"):
        locate(scan, default_model(), oracle.find)


def test_the_deadline_is_asked_before_each_look(face, scan, oracle, monkeypatch):
    proposing(monkeypatch, Location(scan, face.pose.inverse(), 0.9))

    class Late(Exception):
        pass

    def check():
        raise Late

    with pytest.raises(Late):
        locate(scan, default_model(), oracle.find, check=check)
    assert oracle.looks == 0


def test_landmarks_where_no_face_has_them_do_not_count(face, scan, oracle):
    viewer = oracle.viewer_class(scan)
    whole = landmark_pose(viewer, face.pose.inverse(), default_model(), oracle.find)
    oracle.truth = truth_of(face)[np.random.default_rng(0).permutation(68)]
    muddled = landmark_pose(viewer, face.pose.inverse(), default_model(), oracle.find)
    assert whole.support > 0.6 and (muddled is None or muddled.support < 0.3 * whole.support)


def test_a_closer_look_never_gives_up_what_the_first_found(face, scan, oracle):
    viewer = oracle.viewer_class(scan)
    first = landmark_pose(viewer, face.pose.inverse(), default_model(), oracle.find)
    oracle.truth = oracle.truth + 500.0
    found = refine_pose(viewer, first, default_model(), oracle.find)
    assert found.posterior is first.posterior and np.array_equal(found.estimate.seen, first.estimate.seen)
    seen = found.estimate.seen
    assert np.allclose(viewer.nearest(found.estimate.points[seen]), found.estimate.points[seen], atol=1e-3), (
        "on the scan nevertheless"
    )
