"""The head is found however the scan is turned and whatever its unit; what is no face is refused."""

from dataclasses import replace
from functools import cache
from unittest.mock import Mock

import numpy as np
import pytest
from sampled_faces import CAMERA, NO_TRIANGLES, KnownFace, default_model, known_face, mesh_scan, most_confident, seen_scan
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from shared_files import SHARED, needs
from surfaces import sphere

from geometry import readers
from geometry.charts.chart import OrthographicChart
from geometry.errors import NoFaceFound
from geometry.fitting import encoding, staged_fit
from geometry.fitting.result import FitResult
from geometry.locating import cleaning, mean_face_field, pose_search, units
from geometry.locating.candidates import candidate_locations, cropped, distinct
from geometry.locating.hypotheses import frames_toward, head_centres
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh, merged
from geometry.recognition import acceptance, trial_fit
from geometry.recognition.handedness import facing
from geometry.scan import Scan
from geometry.surfaces.normals import oriented_normals, with_normals
from geometry.surfaces.seen_surface import covered_eyeballs
from geometry.synthesis import occluders
from geometry.synthesis.sensors import head_rotation, render_depth
from geometry.transforms import SimilarityTransform

COW = SHARED / "scans/not_faces/cow.obj"
CHART = OrthographicChart(128, 128, 1.5)
NOSE = 30


def turned(face, rotation: np.ndarray, seed: int = 0, make=seen_scan) -> tuple[Scan, SimilarityTransform]:
    """The face as a mesh scan, turned and moved; and its pose, model → scan."""
    pose = SimilarityTransform(rotation, np.random.default_rng(seed).normal(size=3) * 150)
    return make(pose.apply(face.vertices)), pose


def errors(location: Location, pose: SimilarityTransform, face) -> tuple[float, float]:
    """(degrees, mm at the nose tip) between the located pose and the true one."""
    found, nose = location.scan_to_model.compose(pose), face.landmarks[[NOSE]]
    return found.angle_deg, float(np.linalg.norm(found.apply(nose) - nose))


def depth_scan(face, *angles: float) -> tuple[Scan, SimilarityTransform]:
    """The face as a depth camera sees it, turned by yaw, pitch and roll; and its pose, model → scan."""
    pose = SimilarityTransform(head_rotation(*angles), np.array([0.0, 0.0, 450.0]))
    depth, _ = render_depth(face.mesh.with_vertices(pose.apply(face.vertices)), CAMERA)
    return Scan.from_depth(depth, CAMERA, "rendered", "test"), pose


def accepted(scan: Scan) -> FitResult:
    """The whole way to `ok`. Raises NoFaceFound."""
    location = trial_fit.locate(cleaning.clean(scan), default_model())
    result = staged_fit.fit(location, default_model())
    acceptance.require_face(result, encoding.encode(location.scan, result, default_model(), CHART))
    return result


@pytest.mark.parametrize("number, rotation", enumerate(Rotation.create_group("O").as_matrix()))
def test_a_face_is_found_under_all_axis_orientations_even_if_its_mesh_has_linings(face, model, number, rotation):
    scan, pose = turned(face, rotation, number, mesh_scan)
    location = most_confident(scan, model)
    assert max(errors(location, pose, face)) < 8 and location.confidence > 0.6


@cache
def faces_of_ordinary_size(count: int) -> list[KnownFace]:
    """Very different faces, none larger or smaller than the mean by a twelfth: a search with one mean face may miss those."""
    mean, found, seed = default_model().mean[default_model().landmarks["ibug68"]], [], 10
    while len(found) < count:
        face = known_face(seed, spread=0.9)
        scale = SimilarityTransform.umeyama(face.landmarks, mean, with_scale=True).scale
        found, seed = found + [face] * int(abs(np.log(scale)) < 1 / 12), seed + 1
    return found


@pytest.mark.parametrize("seed", range(6))
def test_a_face_under_a_random_rotation_is_located_well_enough_to_be_fitted(seed, model):
    other = faces_of_ordinary_size(6)[seed]
    scan, pose = turned(other, Rotation.random(rng=np.random.default_rng(seed)).as_matrix(), seed)
    location = trial_fit.locate(scan, model)
    assert errors(location, pose, other)[0] < 20
    degrees, millimetres = errors(replace(location, scan_to_model=staged_fit.fit(location, model).scan_to_model), pose, other)
    assert degrees < 3 and millimetres < 5


@pytest.mark.parametrize(
    "angles",
    [(0, 0, 90), (10, 0, 180), (45, 0, 0), (0, 25, 10)],
    ids=["on its side", "upside down", "three quarters", "looking down"],
)
def test_a_face_is_found_in_a_depth_image(face, model, angles):
    scan, pose = depth_scan(face, *angles)
    assert max(errors(most_confident(cleaning.clean(scan), model), pose, face)) < 12


@pytest.mark.parametrize("seed", range(2))
def test_a_face_is_found_in_a_cloud_without_triangles(seed, face, model):
    scan, pose = turned(face, Rotation.random(rng=np.random.default_rng(seed)).as_matrix(), seed)
    location = trial_fit.locate(cleaning.clean(replace(scan, triangles=NO_TRIANGLES)), model)
    assert max(errors(location, pose, face)) < 10 and location.scan.normals is not None


def test_normals_of_a_cloud_agree_with_those_of_its_mesh(face, model):
    scan, seen = seen_scan(face.scan_points), ~model.regions["cavities"] | model.regions["eyeballs"]
    normals = oriented_normals(replace(scan, triangles=NO_TRIANGLES))
    agree = (normals * TriangleMesh(scan.points, scan.triangles).vertex_normals).sum(1)
    assert (agree[model.regions["face"][seen]] > 0).mean() > 0.97


def test_locating_twice_gives_the_same_pose(scan, model):
    first, second = (most_confident(scan, model).scan_to_model.matrix for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("name", list(units.METRIC_UNITS))
def test_the_unit_is_inferred_from_the_size_of_the_head(name, face, model):
    unit_mm = units.METRIC_UNITS[name]
    location = most_confident(mesh_scan(face.scan_points / unit_mm, unit_mm=None), model)
    assert location.scan.unit_mm == unit_mm and location.scan.scale_is_metric and location.scan_to_model.scale == 1.0
    assert max(errors(location, face.pose, face)) < 8


@pytest.mark.parametrize("triangle", [NO_TRIANGLES, [[0, 1, -1]]], ids=["unreferenced", "a spike"])
def test_a_stray_vertex_loses_no_face(triangle, face, model):
    whole = seen_scan(face.scan_points)
    points = np.concatenate([whole.points, [[20_000.0, 0, 0]]])
    triangles = np.concatenate([whole.triangles, np.array(triangle) % len(points)])
    location = most_confident(cleaning.clean(mesh_scan(points, triangles, unit_mm=None)), model)
    assert location.scan.unit_mm == 1.0 and location.scan.scale_is_metric and location.confidence > 0.6
    assert max(errors(location, face.pose, face)) < 8


def test_a_known_unit_is_never_doubted(scan, model):
    found = most_confident(scan, model)
    assert found.scan.unit_mm == 1.0 and found.scan.scale_is_metric
    with pytest.raises(NoFaceFound):  # in metres, were its file in millimetres: a face of 0.2 mm
        most_confident(mesh_scan(scan.points / 1000), model)


def test_an_unknown_scale_is_found(scan, model):
    shrink = 0.0137
    result_of = most_confident(mesh_scan(scan.points * shrink, unit_mm=None), model)
    assert not result_of.scan.scale_is_metric
    result = staged_fit.fit(result_of, model)
    assert result.scan_to_model.scale * result_of.scan.unit_mm * shrink == pytest.approx(1.0, rel=0.04)
    assert result.residuals["mean"] < 0.15


def test_shoulders_a_wall_and_floaters_are_cropped_away(face, scan):
    ball = sphere(8.0, (110.0, 60.0, 0.0), 2)
    wall = sphere(200.0, (0.0, -380.0, -100.0), 3)
    others = [mesh.with_vertices(face.pose.apply(mesh.vertices)) for mesh in (ball, wall)]
    scene = merged([TriangleMesh(scan.points, scan.triangles), *others])
    head = cropped(mesh_scan(scene.vertices, scene.triangles), face.pose.inverse(), 150.0)
    skin = scan.points[~default_model().regions["cavities"]]
    assert np.isin(skin, head.points).all(axis=1).mean() > 0.995 and np.isin(head.points, scan.points).all()


def inside_out(face):
    scan = seen_scan(face.scan_points)
    return replace(scan, triangles=scan.triangles[:, ::-1])


def test_a_face_on_the_inner_side_of_a_surface_is_found_and_turned_with_a_note(face, model):
    scan = inside_out(face)
    location = most_confident(scan, model)
    assert errors(location, face.pose, face)[0] < 8
    assert facing(scan, location, model) < -0.9 and facing(location.scan, location, model) > 0.9
    assert any("turned inside out" in note for note in location.scan.notes)
    assert not most_confident(replace(scan, triangles=scan.triangles[:, ::-1]), model).scan.notes


def test_normals_of_a_cloud_that_point_inward_do_not_hide_the_face(face, model):
    scan = with_normals(replace(inside_out(face), triangles=NO_TRIANGLES))
    assert errors(most_confident(replace(scan, normals=-scan.normals), model), face.pose, face)[0] < 8


def centred_grid(face):
    """A pixel grid whose coordinates are not the camera's: centred, as archives of range images often are."""
    scan, _ = depth_scan(face, 10, 5, 0)
    return replace(scan, camera=None, points=scan.points - scan.points.mean(0))


@pytest.mark.parametrize("make", [inside_out, centred_grid])
def test_the_orientation_of_a_surface_is_not_taken_on_trust(make, face):
    result = accepted(make(face))
    assert result.residuals["mean"] < 0.15 and result.visible_face > 0.6


def egg(*axes):
    shape = sphere(95, subdivisions=5)
    return mesh_scan(shape.vertices * axes, shape.triangles)


def wall():
    rows, columns = np.mgrid[:240, :240]
    return Scan.from_depth(700.0 + 0.2 * columns + 0.05 * rows, CAMERA, "wall", "test")


def hand():
    model = default_model()
    made = occluders.hand(model.mean[model.landmarks["ibug68"]], np.random.default_rng(0))
    return mesh_scan(made.vertices, made.triangles)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: egg(0.8, 1.3, 1.1), id="egg"),
        pytest.param(lambda: egg(1, 1, 1), id="ball"),
        wall,
        hand,
        pytest.param(lambda: depth_scan(known_face(1), 180, 0, 0)[0], id="back of a head"),
        pytest.param(lambda: depth_scan(known_face(1), 150, 0, 0)[0], id="behind the ear"),
        pytest.param(lambda: readers.read(COW), id="cow", marks=needs(COW)),
    ],
)
def test_what_is_no_face_is_refused(make):
    with pytest.raises(NoFaceFound, match="no face found"):
        accepted(make())


def test_verification_prefers_the_pose_whose_trial_fit_explains_the_scan(face, location, model, monkeypatch):
    right = replace(location, confidence=0.5)
    upside_down = SimilarityTransform(Rotation.from_rotvec([0, 0, np.pi]).as_matrix(), np.zeros(3)).compose(right.scan_to_model)
    wrong = replace(right, scan_to_model=upside_down, confidence=0.6)
    monkeypatch.setattr(trial_fit, "candidate_locations", lambda *_, **__: [wrong, right])
    check = Mock()
    assert errors(trial_fit.locate(right.scan, model, check=check), face.pose, face)[0] < 5
    assert check.call_count >= 2


def test_verification_takes_a_sure_candidate_untried(location, model, monkeypatch):
    sure = replace(location, confidence=0.9)
    monkeypatch.setattr(trial_fit, "candidate_locations", lambda *_, **__: [sure, replace(sure, confidence=0.4)])
    assert trial_fit.locate(sure.scan, model) is sure


def test_candidates_come_most_confident_first(scan, model):
    confidences = [location.confidence for location in candidate_locations(scan, model, lambda place: None)]
    assert confidences == sorted(confidences, reverse=True) and min(confidences) >= 0.25


def test_distinct_poses_differ():
    roll = lambda degrees: Rotation.from_rotvec([0, 0, np.deg2rad(degrees)]).as_matrix()
    pose = lambda degrees, shift, coverage: pose_search.Pose(
        SimilarityTransform(roll(degrees), np.array([shift, 0.0, 0])), coverage, 1.0
    )
    poses = [pose(0, 0, 0.5), pose(10, 3, 0.4), pose(90, 0, 0.3), pose(0, 40, 0.2), pose(180, 0, 0.1)]
    assert distinct(poses, 3) == [poses[0], poses[2], poses[3]]


def test_frames_turn_their_direction_to_the_front():
    directions = np.array([[0, 0, 1.0], [0, 1, 0], [0, -1, 0], [0.6, 0, -0.8]])
    frames = frames_toward(directions)
    np.testing.assert_allclose(np.einsum("cab,cb->ca", frames, directions), np.tile([0, 0, 1.0], (4, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(frames), 1.0)


def test_a_head_is_sought_where_a_sphere_of_its_size_fits_and_not_on_a_wall():
    ball, away = sphere(100.0, centre=(0, 0, 0), subdivisions=4), np.array([300.0, -50, 700])
    wall = np.stack([*np.mgrid[-200:200:8, -200:200:8].reshape(2, -1), np.full(2500, 1000)], axis=1)
    points, normals = np.concatenate([ball.vertices + away, wall]), np.concatenate([ball.vertex_normals, 0 * wall - [0, 0, 1.0]])
    centres = head_centres(points, normals, cKDTree(points))
    assert len(centres) and np.abs(centres - away).max() < 1e-6
    assert not len(head_centres(wall, normals[-2500:], cKDTree(wall)))
    assert not len(head_centres(points, -normals, cKDTree(points))), "seen from inside"


def test_only_candidates_that_are_asked_for_are_cropped_out_of_the_scan(model, monkeypatch):
    scan, _ = turned(known_face(0), np.eye(3))
    cut = Mock(side_effect=cropped)
    monkeypatch.setattr("geometry.locating.candidates.cropped", cut)
    found = candidate_locations(scan, model, lambda place: None, pose_search.LocatingOptions(min_confidence=0.1, rival=0.1))
    assert len(found) > 1 and not cut.called
    assert found[0] is found[0] and found[:1] == [found[0]] and cut.call_count == 1
    assert len(list(found)) == len(found) == cut.call_count


def test_the_field_measures_the_distance_to_the_mean_face(model):
    field = mean_face_field.field_of(model)
    skin = np.flatnonzero(model.regions["face"])[::50]
    for offset in (-5.0, 0.0, 5.0):
        index, inside = field.look_up(model.mean[skin] + offset * model.mesh().vertex_normals[skin])
        assert inside.mean() > 0.9
        assert abs(np.median(field.distance[index][inside]) - offset) < 0.5  # half a voxel at most, on the median less
    balls = model.regions["eyeballs"] & ~covered_eyeballs(model) & ~model.mesh().boundary_vertices
    index, _ = field.look_up(model.mean[balls])
    assert field.is_face[index].mean() > 0.7 and np.abs(field.distance[index]).max() < 2.6  # half a voxel's diagonal
    cosine = (field.normal[index] * model.mesh().vertex_normals[balls]).sum(1)  # next to a lid's rim, the rim's
    assert np.median(cosine) > 0.95, "no hole between the lids"
    assert not field.look_up(np.array([[1e4, 0, 0]]))[1].any()
    assert mean_face_field.field_of(model) is field
