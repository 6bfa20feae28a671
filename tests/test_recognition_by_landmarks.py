"""The head is found by its landmarks, whatever geometry proposed first."""

from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
from landmark_oracle import Oracle
from sampled_faces import default_model, mesh_scan
from scipy.spatial.transform import Rotation

from geometry.errors import NoFaceFound
from geometry.landmarks.heatmaps import ViewLandmarks
from geometry.locating.location import Location
from geometry.locating.units import free_units
from geometry.recognition import by_landmarks
from geometry.recognition.by_landmarks import landmark_pose, locate, refine_pose
from geometry.scan import Scan
from geometry.surfaces.normals import with_normals
from geometry.transforms import SimilarityTransform


def turned(axes, degrees, by=(0.0, 0.0, 0.0)) -> SimilarityTransform:
    return SimilarityTransform(Rotation.from_euler(axes, degrees, degrees=True).as_matrix(), np.array(by))


OFF = turned("xyz", [15, -20, 12], (8.0, -6.0, 10.0))


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
    return location.scan_to_model.compose(face.pose).angle_deg


def proposing(monkeypatch, *locations: Location) -> None:
    monkeypatch.setattr(by_landmarks, "candidate_locations", lambda *given: list(locations))


def test_a_rough_pose_is_corrected_and_every_landmark_found(face, scan, oracle, monkeypatch):
    proposing(monkeypatch, Location(scan, OFF.compose(face.pose.inverse()), 0.5))
    found = locate(scan, default_model(), oracle.find)
    assert degrees_off(found, face) < 3
    assert np.isfinite(found.estimate.points).all()
    error = np.linalg.norm(found.estimate.points - truth_of(face), axis=1)
    assert error[found.estimate.seen].mean() < 1.5 and error.mean() < 3
    model = default_model()
    shape = model.instance(*np.split(found.coefficients, [model.n_identity]))[model.landmarks["ibug68"]]
    assert np.linalg.norm(shape - found.scan_to_model.apply(truth_of(face)), axis=1).mean() < 3, "where the fit starts"


@pytest.mark.parametrize(
    "proposed",
    [
        [(turned("y", 170), 0.9), (OFF, 0.4)],
        [(turned("z", 180), 0.5)],
        [(turned("z", 90), 0.5)],
        [(turned("z", -90), 0.5)],
    ],
    ids=["from behind and near it", "upside down", "on its left", "on its right"],
)
def test_a_face_is_found_among_wrong_proposals_and_turned_about(face, scan, oracle, monkeypatch, proposed):
    proposing(monkeypatch, *(Location(scan, off.compose(face.pose.inverse()), sure) for off, sure in proposed))
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
    with pytest.raises(TimeoutError):
        locate(scan, default_model(), oracle.find, check=Mock(side_effect=TimeoutError))
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


def no_face(images, mirrored=True):
    return [ViewLandmarks(np.full((68, 2), 100.0), np.tile(np.eye(2), (68, 1, 1)), np.full(68, 0.02)) for _ in images]


@pytest.mark.parametrize("size", [0.0137, 1 / 90])
def test_where_no_metric_unit_shows_a_face_a_free_one_is_tried_and_measured_by_the_head(size, face, monkeypatch):
    """As a mesh of longest side one is: in metres a head of a metre, in which geometry sees something and the network nothing."""
    raw, truth = mesh_scan(face.scan_points * size, unit_mm=None), truth_of(face)
    rough, unit_mm = 1.08 / size, 1.0 / size
    oracle = Oracle(truth * 1.08, face.pose.inverse())
    monkeypatch.setattr(by_landmarks, "Viewer", oracle.viewer_class)
    asked = []

    def proposed(scan, model, believes, options, units=None):
        asked.append(units)
        unit = (rough, False) if units else (1000.0, True)
        pose = (
            face.pose.inverse().compose(SimilarityTransform(np.eye(3), np.zeros(3), 1 / 1.08)) if units else face.pose.inverse()
        )
        return [Location(with_normals(raw.in_unit(*unit)), pose, 0.5)]

    monkeypatch.setattr(by_landmarks, "candidate_locations", proposed)
    looks = iter([no_face] * 4)  # the metric proposal, as it is and turned about
    found = locate(raw, default_model(), lambda images, mirrored=True: next(looks, oracle.find)(images, mirrored))
    assert asked[0] is None and asked[1] == free_units(raw)
    assert not found.scan.scale_is_metric and found.scan.unit_mm == pytest.approx(unit_mm, rel=0.06)
    assert found.scan_to_model.scale == pytest.approx(1.0)
    assert np.allclose(found.scan.points, raw.points * found.scan.unit_mm)
    assert np.linalg.norm(found.estimate.points - truth * found.scan.unit_mm * size, axis=1).mean() < 4


class SizedOracle(Oracle):
    """The truth on a face that is `grown` times an adult's."""

    def __init__(self, face, grown):
        pose = SimilarityTransform(face.pose.rotation.T, -face.pose.rotation.T @ face.pose.translation * grown)
        super().__init__(truth_of(face) * grown, pose)


@pytest.mark.parametrize(("grown", "is_metric"), [(1.45, False), (1.0, True), (0.7, True), (0.5, False)])
def test_a_head_larger_than_a_man_or_smaller_than_an_infant_is_in_no_metric_unit(grown, is_metric, face, monkeypatch):
    sized = SizedOracle(face, grown)
    monkeypatch.setattr(by_landmarks, "Viewer", sized.viewer_class)
    raw = mesh_scan(face.scan_points * grown, unit_mm=None)
    asked = []

    def proposed(scan, model, believes, options, units=None):
        asked.append(units)
        if units:
            raise NoFaceFound("no face found")
        return [Location(with_normals(raw.in_unit(1.0, True)), sized.scan_to_model, 0.5)]

    monkeypatch.setattr(by_landmarks, "candidate_locations", proposed)
    try:
        found = locate(raw, default_model(), sized.find)
    except NoFaceFound:
        found = None
    assert asked == ([None] if is_metric else [None, free_units(raw)]) and (found is not None) == is_metric


@pytest.mark.parametrize(
    ("grown", "words"), [(0.6, "smaller than an adult's, 0.6"), (0.75, "smaller than an adult's, 0.7"), (1.25, "larger")]
)
def test_a_metric_head_of_another_size_than_an_adults_is_seen_at_an_adults_size(grown, words, face, monkeypatch):
    sized = SizedOracle(face, grown)
    monkeypatch.setattr(by_landmarks, "Viewer", sized.viewer_class)
    scan = with_normals(mesh_scan(face.scan_points * grown))
    proposing(monkeypatch, Location(scan, sized.scan_to_model, 0.5))
    found = locate(scan, default_model(), sized.find)
    assert not found.scan.scale_is_metric and found.scan.unit_mm == 1.0 and np.array_equal(found.scan.points, scan.points)
    assert found.scan_to_model.scale * grown == pytest.approx(1.0, rel=0.06)
    assert len(found.scan.notes) == 1 and words in found.scan.notes[0]
    assert np.linalg.norm(found.estimate.points - sized.truth, axis=1)[found.estimate.seen].mean() < 1.5


def test_an_adults_head_keeps_its_metric_scale_and_one_of_no_size_is_refused(face, monkeypatch):
    for grown in (0.9, 1.1, 0.5):
        sized = SizedOracle(face, grown)
        monkeypatch.setattr(by_landmarks, "Viewer", sized.viewer_class)
        scan = with_normals(mesh_scan(face.scan_points * grown))
        proposing(monkeypatch, Location(scan, sized.scan_to_model, 0.5))
        if grown == 0.5:
            with pytest.raises(NoFaceFound, match="the head would be 0.5. of an average adult's, smaller than an infant's"):
                locate(scan, default_model(), sized.find)
            continue
        found = locate(scan, default_model(), sized.find)
        assert found.scan.scale_is_metric and found.scan.notes == () and found.scan_to_model.scale == 1.0


@pytest.mark.parametrize(
    ("grown", "refined", "support"),
    [(0.75, 0.4, 0.1), (0.75, 0.72, 0.1), (0.79, 0.6, 0.9), (0.79, 0.4, 0.9), (1.22, 1.5, 0.9)],
    ids=["nothing seen, no size", "nothing seen", "small, of two sizes", "of two sizes, one of no head", "large, of two sizes"],
)
def test_a_look_in_a_free_scale_that_tells_less_or_another_size_changes_nothing(grown, refined, support, face, monkeypatch):
    sized = SizedOracle(face, grown)
    monkeypatch.setattr(by_landmarks, "Viewer", sized.viewer_class)
    scan = with_normals(mesh_scan(face.scan_points * grown))
    proposing(monkeypatch, Location(scan, sized.scan_to_model, 0.5))

    def unsure(viewer, first, *given):
        if viewer.scan.scale_is_metric:
            return refine_pose(viewer, first, *given)
        pose = replace(first.scan_to_model, scale=1 / refined)
        return replace(first, posterior=replace(first.posterior, scan_to_model=pose), support=support)

    monkeypatch.setattr(by_landmarks, "refine_pose", unsure)
    found = locate(scan, default_model(), sized.find)
    assert found.scan.scale_is_metric and found.scan.notes == () and found.scan_to_model.scale == 1.0


@pytest.mark.parametrize("beside", [False, True], ids=["on the head", "beside it"])
def test_given_landmarks_say_where_the_head_is(beside, face, scan):
    away = [400.0, 0, 0] if beside else [0.0, 0, 0]
    both = np.concatenate([scan.triangles, scan.triangles + len(scan.points)])
    two = mesh_scan(np.concatenate([scan.points, scan.points + away]), both) if beside else scan
    wrong = replace(Location(scan, turned("y", 90), 0.3), estimate=object())
    landmarks = np.full((68, 3), np.nan)
    landmarks[17:] = truth_of(face)[17:] + away
    found = by_landmarks.at_given(wrong, two, landmarks, default_model())
    on_the_other = np.linalg.norm(found.scan.points - away - scan.points.mean(0), axis=1).max() < 300
    assert degrees_off(found, face) < 5 and found.estimate is None and found.landmarks is landmarks and on_the_other
    few = np.where(np.arange(68)[:, None] < 20, landmarks, np.nan)
    muddled = landmarks[np.random.default_rng(0).permutation(68)]
    said = [by_landmarks.of_another_head(wrong, marks, default_model()) for marks in (landmarks, few, muddled)]
    assert said == [beside, False, False]
    assert by_landmarks.at_given(wrong, two, few, default_model()) is wrong
