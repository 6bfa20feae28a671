"""A mirrored scan is an error wherever something gives it away; where nothing does, nothing is mended."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from sampled_faces import CAMERA, NO_TRIANGLES, default_model, mesh_scan, most_confident, seen_scan
from shared_files import SHARED, needs
from surfaces import sphere

from geometry import readers
from geometry.errors import MirroredScan, NoFaceFound
from geometry.locating import cleaning
from geometry.locating.location import Location
from geometry.locating.orientation import looks_inward, turned_inside_out
from geometry.mesh import TriangleMesh
from geometry.recognition import handedness, trial_fit
from geometry.recognition.handedness import (
    INSIDE_OUT,
    facing,
    landmarks_are_mirrored,
    mirrored_axis,
    require_unmirrored,
    with_checked_normals,
)
from geometry.scan import Scan
from geometry.surfaces.normals import with_normals
from geometry.surfaces.triangulation import surface_of
from geometry.synthesis.sensors import head_rotation, render_depth
from geometry.transforms import SimilarityTransform

STL = SHARED / "scans/registered_arbitrary_pose/01.stl"
MIRRORS = {"x": (-1, 1, 1), "y": (1, -1, 1), "z": (1, 1, -1)}


@pytest.fixture
def unquestioned(monkeypatch):
    """Spares the test the fit that decides whether a face that faces inward is one."""
    monkeypatch.setattr(handedness, "trial_fit_is_face", lambda *_, **__: True)


def mirrored(scan: Scan, axis: str = "x") -> Scan:
    """One coordinate negated, and nothing else touched."""
    return replace(scan, points=scan.points * MIRRORS[axis])


def organized(face, turned_by=(10, 5, 0)) -> Scan:
    """A depth image as clouds with pixels come: in the sensor's frame, without a camera."""
    pose = SimilarityTransform(head_rotation(*turned_by), np.array([0.0, 0.0, 450.0]))
    depth, _ = render_depth(TriangleMesh(pose.apply(face.vertices), default_model().triangles), CAMERA)
    return replace(Scan.from_depth(depth, CAMERA, "grid", "test"), camera=None)


def admitted(scan: Scan, declared: str = "checked") -> Location:
    """The pipeline's way from reading to a located head."""
    checked = with_checked_normals(cleaning.clean(scan), declared)
    location = trial_fit.locate(checked, default_model())
    require_unmirrored(checked, location, default_model(), declared)
    return location


def test_a_mesh_with_a_coordinate_negated_is_an_error(face):
    with pytest.raises(
        MirroredScan, match="known face: its triangles face inward: the scan is mirrored.*input.handedness: inside_out"
    ):
        admitted(mirrored(mesh_scan(face.scan_points), "x"))


@pytest.mark.parametrize("mirror", [np.diag([1, -1, 1]), np.diag([1, 1, -1]), -np.eye(3), np.eye(3)[[0, 2, 1]]])
def test_whatever_the_mirror_it_is_an_error(mirror, face, unquestioned):
    scan = mesh_scan(face.scan_points)
    with pytest.raises(MirroredScan, match="triangles face inward"):
        admitted(replace(scan, points=scan.points @ mirror))


def test_a_mesh_wound_inside_out_is_an_error_until_it_is_declared(face, model, unquestioned):
    scan = turned_inside_out(seen_scan(face.scan_points))
    with pytest.raises(MirroredScan, match="or wound inside out"):
        admitted(scan)
    location = admitted(scan, INSIDE_OUT)
    assert facing(location.scan, location, model) > 0.95
    assert np.isin(location.scan.points, scan.points).all()  # turned, not mirrored
    assert any("turned inside out" in note for note in location.scan.notes)


def test_a_mesh_mirrored_and_wound_anew_shows_nothing_and_passes_as_it_is(face, model):
    scan = turned_inside_out(mirrored(seen_scan(face.scan_points)))
    location = admitted(scan)
    assert facing(scan, location, model) > 0.95
    assert np.isin(location.scan.points, scan.points).all() and not location.scan.notes


def test_a_mirrored_bare_cloud_shows_nothing_and_passes_as_it_is(face):
    scan = mirrored(replace(mesh_scan(face.scan_points), triangles=NO_TRIANGLES))
    assert np.isin(admitted(scan).scan.points, scan.points).all()


@pytest.mark.parametrize("axis", MIRRORS)
def test_a_pixel_grid_with_a_coordinate_negated_is_an_error(axis, face, unquestioned):
    with pytest.raises(MirroredScan, match="its pixel grid faces inward"):
        admitted(mirrored(organized(face), axis))


def test_a_pixel_grid_may_have_any_frame_of_its_own(face, model):
    scan = organized(face)
    half_a_turn = replace(scan, points=scan.points * [1, -1, -1])  # y up and z backward, as in computer graphics
    for own in (scan, half_a_turn, replace(scan, points=scan.points - scan.points.mean(0))):
        assert facing(own, admitted(own), model) > 0.9


def test_a_flipped_depth_image_shows_nothing_and_is_found_as_it_is(face):
    scan = organized(face)
    flipped = replace(scan, pixels=turned_inside_out(scan).pixels, points=scan.points * [-1, 1, 1], camera=CAMERA)
    assert admitted(flipped).confidence > 0.6


@pytest.mark.parametrize("triangles", ["mesh", "cloud"])
@pytest.mark.parametrize("axis", MIRRORS)
def test_normals_that_were_not_mirrored_with_the_points_give_them_away(axis, triangles, face):
    scan = with_normals(mesh_scan(face.scan_points))
    scan = scan if triangles == "mesh" else replace(scan, triangles=NO_TRIANGLES)
    assert mirrored_axis(scan) is None
    assert mirrored_axis(mirrored(scan, axis)) == axis
    assert mirrored_axis(replace(mirrored(scan, axis), normals=scan.normals * MIRRORS[axis])) is None
    with pytest.raises(MirroredScan, match=f"only with {axis} negated"):
        with_checked_normals(mirrored(scan, axis))
    assert with_checked_normals(mirrored(scan, axis), INSIDE_OUT).normals is None


def test_noisy_and_missing_normals_are_not_held_against_a_scan(face):
    scan, rng = with_normals(mesh_scan(face.scan_points)), np.random.default_rng(0)
    noisy = scan.normals + rng.normal(0, 0.5, scan.normals.shape)
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    noisy[::3] = 0
    assert mirrored_axis(replace(scan, normals=noisy)) is None
    assert mirrored_axis(replace(scan, normals=rng.permutation(scan.normals))) is None
    assert mirrored_axis(replace(scan, normals=None)) is None


def test_a_mirrored_mesh_with_mirrored_normals_is_an_error_that_names_them(face, unquestioned):
    scan = with_normals(mesh_scan(face.scan_points))
    with pytest.raises(MirroredScan, match="inward though its normals face outward"):
        admitted(replace(mirrored(scan), normals=scan.normals * MIRRORS["x"]))


def test_what_is_no_face_is_refused_and_not_called_mirrored():
    shape = sphere(95, subdivisions=4)
    scan = mesh_scan(shape.vertices * [0.8, 1.3, 1.1], shape.triangles[:, ::-1])
    egg = most_confident(scan, default_model())
    with pytest.raises(NoFaceFound, match="inner side of the surface"):
        require_unmirrored(scan, egg, default_model())


def test_a_room_faces_inward_and_the_head_in_it_outward(face, model):
    room = sphere(1500.0, (0.0, 0.0, 400.0), 5)
    points = np.concatenate([face.vertices, room.vertices])
    scan = mesh_scan(points, np.concatenate([model.triangles, room.triangles[:, ::-1] + len(face.vertices)]))
    assert looks_inward(with_normals(scan))
    assert facing(scan, admitted(scan), model) > 0.9


@pytest.mark.parametrize("make", [lambda face: mesh_scan(face.scan_points), organized])
def test_turning_inside_out_turns_the_surface_and_moves_nothing(make, face):
    scan = with_normals(make(face))
    turned = turned_inside_out(scan)
    np.testing.assert_array_equal(turned.points, scan.points)
    np.testing.assert_array_equal(turned.normals, -scan.normals)
    assert ((surface_of(turned).vertex_normals * surface_of(scan).vertex_normals).sum(1) < -0.99).mean() > 0.99
    np.testing.assert_array_equal(surface_of(turned_inside_out(turned)).triangles, surface_of(scan).triangles)


@pytest.mark.parametrize("kept", [range(68), (36, 39, 42, 45, 30, 48, 54)])
def test_landmarks_with_left_and_right_exchanged_are_recognised(kept, face, model):
    landmarks = np.full((68, 3), np.nan)
    landmarks[list(kept)] = face.scan_points[model.landmarks["ibug68"]][list(kept)]
    assert not landmarks_are_mirrored(landmarks, model)
    assert landmarks_are_mirrored(landmarks * MIRRORS["y"], model)


def test_landmarks_that_came_with_a_mirrored_cloud_give_it_away(face, model):
    scan = mirrored(replace(mesh_scan(face.scan_points), triangles=NO_TRIANGLES))
    landmarks = face.scan_points[model.landmarks["ibug68"]] * MIRRORS["x"]
    location = Location(with_normals(scan), SimilarityTransform.identity(), 0.9, landmarks=landmarks)
    with pytest.raises(MirroredScan, match="landmarks given with it fit only the mirror image"):
        require_unmirrored(scan, location, model)


def test_too_few_landmarks_tell_nothing(model):
    assert not landmarks_are_mirrored(np.full((68, 3), np.nan), model)


def test_the_error_survives_its_way_between_workers():
    error = MirroredScan("a.ply", "its triangles face inward", "undo the mirror")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "a.ply: its triangles face inward; undo the mirror"


@needs(STL)
def test_a_real_scan_passes_and_its_mirror_image_does_not(unquestioned):
    scan = readers.read(STL)
    admitted(scan)
    with pytest.raises(MirroredScan):
        admitted(mirrored(scan))
