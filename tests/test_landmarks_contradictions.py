"""Given landmarks that are not where the face has them: which are set aside, and what is said of the others."""

import numpy as np
import pytest
from sampled_faces import mesh_scan

from geometry.errors import ReadError
from geometry.landmarks.contradictions import check_against_found
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.given import GivenLandmarks, check_on_surface
from geometry.model.landmark_embedding import landmarks_on, shipped_schemes


@pytest.fixture(scope="module")
def face68(model):
    return landmarks_on(model, model.mean)


def found_at(points, confidence=0.9):
    count = len(points)
    return LandmarkEstimate(points, np.tile(np.eye(3), (count, 1, 1)), np.full(count, confidence), np.ones(count, bool))


def given(points, numbers):
    names = shipped_schemes()["ibug68"].names
    return GivenLandmarks(points, tuple(names[k] for k in numbers), tuple(numbers), "named", "scan.pp")


def checked(face68, points, numbers, found=True, is_sure=True):
    return check_against_found(given(points, numbers), found_at(face68) if found else None, face68, "scan.ply", is_sure)


@pytest.mark.parametrize("found", [True, False])
@pytest.mark.parametrize("numbers", [range(68), range(17, 68), (30, 36, 45), (30,)])
def test_right_landmarks_pass_without_a_note(face68, numbers, found):
    off = np.random.default_rng(0).normal(size=(len(numbers), 3)) * 2
    result, won = checked(face68, face68[list(numbers)] + off, numbers, found)
    assert not won and result.notes == () and result.known.all()


def exchanged(face68, numbers):
    return face68[np.array(shipped_schemes()["ibug68"].mirror)[list(numbers)]]


@pytest.mark.parametrize("found", [True, False])
@pytest.mark.parametrize(
    ("numbers", "points", "words"),
    [
        (range(17, 68), lambda f: f[:16:-1], "they are in reversed order"),
        (range(17, 68), lambda f: exchanged(f, range(17, 68)), "left and right are exchanged"),
        ((30, 36, 45), lambda f: f[[30, 45, 36]], "2 of 3 lie elsewhere.*left and right are exchanged"),
        ((36, 45), lambda f: f[[45, 36]], "2 of 2 lie elsewhere.*left and right are exchanged"),
        (range(17, 68), lambda f: np.roll(f[17:], 17, axis=0), "another order, or of another face"),
        (range(17, 68), lambda f: f[17:] + [0, 60, 0], "another order, or of another face"),
    ],
)
def test_landmarks_that_contradict_the_face_are_an_error_that_says_what_they_look_like(face68, numbers, points, words, found):
    with pytest.raises(ReadError, match="scan.ply: its landmarks scan.pp contradict the face.*" + words):
        checked(face68, points(face68), numbers, found)


def test_a_single_misplaced_landmark_is_set_aside_with_a_note(face68):
    points = face68.copy()
    points[30] += [0, 0, 22]
    result, _ = checked(face68, points, range(68))
    assert np.flatnonzero(~result.known).tolist() == [30] and np.isnan(result.points68[30]).all()
    assert len(result.notes) == 1 and "lies 22 mm from the one found and is not used" in result.notes[0]


def test_landmarks_that_nobody_found_for_sure_contradict_nothing(face68):
    far = given(face68[17:] + [0, 60, 0], range(17, 68))
    assert check_against_found(far, found_at(face68, confidence=0.1), face68, "scan.ply") == (far, False)
    unknown = GivenLandmarks(face68[:3] + 100, ("a", "b", "c"), (-1, -1, -1), "named", "scan.pp")
    assert check_against_found(unknown, found_at(face68), face68, "scan.ply") == (unknown, False)


@pytest.mark.parametrize("found", [True, False])
def test_against_a_face_that_is_not_sure_the_given_landmarks_win_unless_what_is_wrong_can_be_said(face68, found):
    far = face68[17:] + [0, 60, 0]
    result, won = checked(face68, far, range(17, 68), found, is_sure=False)
    assert won and np.array_equal(result.points, far)
    assert (
        len(result.notes) == 1
        and "which is not sure or another one, and were believed: 51 of 51 lie elsewhere" in result.notes[0]
    )
    with pytest.raises(ReadError, match="they are in reversed order"):
        checked(face68, face68[:16:-1], range(17, 68), found, is_sure=False)


@pytest.mark.parametrize("factor", [1000.0, 0.001, 25.4])
def test_landmarks_in_another_unit_are_told_by_which_factor(model, face68, factor):
    away = np.array([0.0, 0, 700])
    with pytest.raises(ReadError, match=f"at most if multiplied by {factor:g}; they are of another scan, in another unit"):
        check_on_surface(given((face68 + away) / factor, range(68)), mesh_scan(model.mean + away))
