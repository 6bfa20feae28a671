"""A wrong unit or camera is recognised: the reason says which number is implausible, its key, and what would show a head."""

from dataclasses import replace

import numpy as np
import pytest
from sampled_faces import CAMERA, mesh_scan
from scipy.spatial.transform import Rotation
from test_readers_depth import CAMERA as VALUES
from test_readers_depth import depth_image, npz, png, sidecar

from geometry import readers
from geometry.errors import NoFaceFound, ReadError, TimeLimitExceeded
from geometry.locating import cleaning
from geometry.locating.candidates import candidate_locations
from geometry.recognition import doubts
from geometry.recognition.doubts import doubt_of, doubts_of_camera, with_doubts
from geometry.scan import Scan
from geometry.surfaces.raycasting import cast_rays, raycasting_scene


def seen(place):
    return True


@pytest.fixture(scope="module")
def frame(face):
    """A depth image of the face at 450 mm, upright, in steps of 0.1 mm."""
    turned = face.mesh.with_vertices(face.vertices @ Rotation.from_euler("x", 180, degrees=True).as_matrix().T + [0, 0, 450.0])
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = CAMERA.unproject(np.stack([u.ravel(), v.ravel()], 1).astype(float), np.ones(u.size))
    hit = cast_rays(raycasting_scene(turned), np.zeros_like(rays), rays)[0]
    depth = np.where(np.isfinite(hit), hit, 0).reshape(u.shape)
    return replace(Scan.from_depth(depth, CAMERA, "frame.png", "depth_png"), depth_unit_mm=0.1)


def in_unit(frame, factor):
    """As it were read with a depth_unit_mm so many times the right one."""
    return replace(frame, points=frame.points * factor, depth_unit_mm=frame.depth_unit_mm * factor)


@pytest.mark.parametrize("factor", [1e-4, 1e-3, 0.1, 10, 100, 1e4])
def test_depths_where_no_face_is_captured_name_the_unit_and_the_one_that_would_do(frame, factor):
    with pytest.raises(NoFaceFound, match=rf"check depth_unit_mm, which is {0.1 * factor:g}; 0.1 would make it 4\d\d mm"):
        cleaning.clean(in_unit(frame, factor))


def test_depths_of_a_sensor_that_has_no_such_key_are_said_without_it(frame):
    with pytest.raises(NoFaceFound, match=r"only 0 usable points.*its median depth is .*faces are captured at 100 to 1600 mm$"):
        cleaning.clean(replace(in_unit(frame, 10), depth_unit_mm=None))
    assert cleaning.clean(frame) is frame


@pytest.mark.parametrize("factor", [0.25, 0.5, 2, 4])
def test_a_unit_in_which_the_face_is_no_face_is_told_by_the_one_that_shows_it(frame, factor, model):
    said = str(with_doubts(NoFaceFound("no face found"), in_unit(frame, factor), model, seen))
    assert said.startswith(f"no face found; a depth_unit_mm of 0.1 instead of {0.1 * factor:g} would show a head there")


def test_a_number_under_which_only_the_shape_of_a_head_is_seen_is_not_named(frame, model):
    asked = []
    assert doubt_of(in_unit(frame, 2), model, lambda place: asked.append(np.median(place.scan.points[:, 2]))) == ""
    assert asked == [pytest.approx(np.median(frame.points[:, 2]), rel=0.02)]


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_focal_lengths_of_another_resolution_are_told(frame, factor, model):
    wrong = replace(frame.camera, fx=frame.camera.fx * factor, fy=frame.camera.fy * factor)
    scan = replace(frame, points=frame.points / [factor, factor, 1], camera=wrong)
    assert f"fx and fy of 280 and 280 instead of {280 * factor:g}" in doubt_of(scan, model, seen)


def test_right_numbers_are_not_doubted(frame, model):
    assert doubt_of(frame, model, seen) == "" and doubts_of_camera(frame) == []
    assert with_doubts(error := NoFaceFound("no face found"), frame, model, seen) is error


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fx": 3000.0, "fy": 3000.0}, "field of view of 5° over 240 pixels: check fx"),
        ({"fx": 40.0, "fy": 40.0}, "field of view of 143°"),
        ({"fx": 400.0}, "fx 400 and fy 280 are those of pixels that are not square"),
        ({"cx": 239.0}, "cx 239 is far from the middle of 240 pixels, 119.5: check cx"),
        ({"cy": 10.0}, "cy 10 is far"),
        ({"cx": -60.0}, "cx -60 is outside the image of 240 pixels: check cx, unless it was cut out of a larger one"),
    ],
)
def test_an_unusual_camera_is_noted(frame, values, words):
    (said,) = doubts_of_camera(replace(frame, camera=replace(frame.camera, **values)))
    assert words in said


@pytest.mark.parametrize(("key", "value"), [("cx", 2000.0), ("cy", -1500.0), ("cx", 1e6)])
def test_a_principal_point_where_no_camera_has_it_is_an_error(key, value):
    depth = depth_image()
    for name, data, beside in (
        ("frame.png", png(depth), sidecar(depth, **{key: value})),
        ("frame.npz", npz(depth=depth, depth_unit_mm=1, **VALUES | {key: value}), {}),
    ):
        with pytest.raises(ReadError, match=f"gives {key} as .*outside the image of .* pixels, whose middle is"):
            readers.read(data, name, beside)


@pytest.mark.parametrize(("key", "value"), [("cx", 959.5), ("cy", -3.0), ("cx", -25.0)])
def test_a_principal_point_outside_an_image_that_was_cut_out_is_a_doubt(key, value):
    depth = depth_image()
    for name, data, beside in (
        ("frame.png", png(depth), sidecar(depth, **{key: value})),
        ("frame.npz", npz(depth=depth, depth_unit_mm=1, **VALUES | {key: value}), {}),
    ):
        scan = readers.read(data, name, beside)
        assert getattr(scan.camera, key) == value and any("cut out of a larger one" in said for said in doubts_of_camera(scan))


def test_a_camera_without_a_size_whose_principal_point_is_far_outside_is_another_images():
    depth, no_size = depth_image(), {"width": None, "height": None}
    with pytest.raises(
        ReadError, match="gives cx as 959.5, far outside the image.*cut out of a larger one give width and height"
    ):
        readers.read(png(depth), "frame.png", sidecar(depth, cx=959.5, **no_size))
    assert readers.read(png(depth), "frame.png", sidecar(depth, cx=-25.0, **no_size)).camera.cx == -25.0


@pytest.mark.parametrize(("unit_mm", "better"), [(1000.0, "mm would make it"), (1 / 25.4, "inch")])
def test_a_unit_that_was_given_and_makes_no_head_is_named(face, unit_mm, better, model):
    said = doubt_of(mesh_scan(face.scan_points * unit_mm).in_unit(unit_mm, True), model, seen)
    assert "check input.unit" in said and doubt_of(mesh_scan(face.scan_points), model, seen) == ""
    scan = replace(mesh_scan(face.scan_points * unit_mm), unit_mm=unit_mm)
    assert f"in its unit of {unit_mm:g} mm the scan is" in doubt_of(scan, model, seen) and "mm would make it" in doubt_of(
        scan, model, seen
    )


@pytest.mark.parametrize(("grown", "words"), [(0.5, "a head smaller than an adult's, about 0.5 of the average"), (1.0, "")])
def test_a_head_of_another_size_is_told_where_no_face_was_found(grown, words, face, model):
    said = doubt_of(mesh_scan(face.scan_points * grown), model, seen)
    assert said.startswith(words) if words else said == ""


def test_a_given_unit_in_which_a_head_is_a_room_is_told_by_the_one_that_shows_it(face, model):
    inches = replace(mesh_scan(face.scan_points * 25.4), unit_mm=25.4)
    assert doubt_of(inches, model, seen) == "in mm, and not in units of 25.4 mm, a head would be there: check input.unit"
    assert doubt_of(inches, model, lambda place: False) == ""


def raising(error):
    def stop(*given):
        raise error

    return stop


@pytest.mark.parametrize("error", [NoFaceFound("no face found: only 12 points"), TimeLimitExceeded("took longer than 1 s")])
def test_what_stops_the_search_for_a_doubt_leaves_the_reason_as_it_is(frame, error, model, monkeypatch):
    reason, wrong = NoFaceFound("no face found"), in_unit(frame, 2)
    assert with_doubts(reason, wrong, model, raising(error)) is reason
    monkeypatch.setattr(doubts, "located_at", raising(error))
    assert with_doubts(reason, wrong, model, seen) is reason


def test_the_time_is_asked_before_each_search(frame, model, monkeypatch):
    searched, times = [], iter(range(100))
    monkeypatch.setattr(doubts, "candidate_locations", lambda scan, *given: searched.append(scan) or raising(NoFaceFound(""))())
    late = lambda: None if next(times) < 3 else raising(TimeLimitExceeded("took longer than 1 s"))()
    reason = NoFaceFound("no face found")
    assert with_doubts(reason, in_unit(frame, 2), model, seen, late) is reason and len(searched) == 3


def test_a_dense_mesh_is_searched_thinned_and_seen_whole(face, model, monkeypatch):
    searched, shown = [], []
    monkeypatch.setattr(
        doubts, "candidate_locations", lambda scan, *given: searched.append(len(scan.points)) or candidate_locations(scan, *given)
    )
    scan = mesh_scan(face.scan_points * 0.5)
    said = doubt_of(scan, model, lambda place: not shown.append(len(place.scan.triangles)))
    assert said.startswith("a head smaller than an adult's, about 0.5 of the average")
    assert searched[0] < 0.5 * len(scan.points) and shown[0] > 0.9 * len(scan.triangles)
