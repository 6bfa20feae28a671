"""Landmarks beside a scan: which point is which, whether they belong to the scan, and that the listing hands them over."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from sampled_faces import NO_TRIANGLES, mesh_scan
from test_readers_landmark_files import as_amira, as_bnd, as_json, as_lm3, as_pp, as_pts

from geometry.errors import ReadError
from geometry.landmarks.given import GivenLandmarks, check_on_surface, given_landmarks
from geometry.model.landmark_embedding import landmarks_on, scheme, shipped_schemes
from pipeline.inputs import listing, reading
from pipeline.scans import manifest

BOSPHORUS_FILE = [  # (label, iBUG point): the labels' left is the viewer's
    ("Outer left eyebrow", 17),
    ("Outer right eye corner", 45),
    ("Nose saddle left", None),
    ("Nose tip", 30),
    ("Right nose peak", None),
    ("Left mouth corner", 48),
    ("Chin middle", None),
    ("Right ear lobe", None),
]


@pytest.fixture(scope="module")
def face68(model):
    return landmarks_on(model, model.mean).round(3)


def given_of(name, data, **more):
    return given_landmarks("scan.ply", {"scan.json": b"{}", name: data}, **more)


def known_numbers(given):
    return np.flatnonzero(np.isfinite(given.points68).all(1)).tolist()


def test_a_scan_without_landmark_files_has_none():
    assert given_landmarks("scan.ply", {"scan.json": b"{}", "scan.bin": b""}) is None


@pytest.mark.parametrize(
    "name, write", [("scan.landmarks.json", as_json), ("scan.pp", as_pp), ("scan.pts", as_pts), ("scan.landmarkAscii", as_amira)]
)
def test_sixty_eight_points_are_ibug68_in_any_format(face68, name, write):
    given = given_of(name, write(face68))
    np.testing.assert_array_equal(given.points68, face68)
    assert given.scheme_name == "ibug68" and given.source_name == name and given.names == scheme("ibug68").names


@pytest.mark.parametrize("name", ["ibug51", "now7"])
def test_unnamed_points_are_what_their_count_says(face68, name):
    numbers = list(scheme(name).in_ibug68)
    given = given_of("scan.pts", as_pts(face68[numbers]))
    assert given.scheme_name == name and known_numbers(given) == sorted(numbers)
    np.testing.assert_array_equal(given.points68[numbers], face68[numbers])


@pytest.mark.parametrize("count", [1, 5, 22, 67, 69, 83])
def test_another_count_says_what_was_found_and_what_is_accepted(count):
    points = np.arange(3.0 * count).reshape(-1, 3)
    with pytest.raises(
        ReadError, match=rf"scan.ply: its landmarks scan.pts cannot be used: holds {count} points.*68 \(ibug68\), 51.*7 points"
    ):
        given_of("scan.pts", as_pts(points))
    with pytest.raises(ReadError, match=rf"holds {count} points, not the 68 of ibug68"):
        given_of("scan.landmarks.json", as_json(points))


def test_ibug_names_may_come_in_any_order_and_spelling(face68):
    names = ["Nose Tip", "left_eye_outer", "mouth-right", "my mole"]
    given = given_of("scan.pp", as_pp(np.vstack([face68[[30, 45, 48]], [[9.0, 9.0, 9.0]]]), names))
    assert known_numbers(given) == [30, 45, 48] and given.scheme_name == "named"
    np.testing.assert_array_equal(given.points68[[30, 45, 48]], face68[[30, 45, 48]])
    assert given.names == ("nose_tip", "left_eye_outer", "mouth_right", "my mole")
    np.testing.assert_array_equal(given.points[3], [9, 9, 9])  # no iBUG point, and not lost


@pytest.mark.parametrize("first", [0, 1])
def test_mere_numbering_in_any_order_leaves_the_count_to_decide(face68, first):
    order = np.random.default_rng(0).permutation(68)
    given = given_of("scan.pp", as_pp(face68[order], [str(number + first) for number in order], inactive=[3]))
    hidden = int(order[3])
    assert known_numbers(given) == [number for number in range(68) if number != hidden]
    np.testing.assert_array_equal(np.delete(given.points68, hidden, 0), np.delete(face68, hidden, 0))


def test_other_numbers_are_ibug_numbers_from_zero(face68):
    numbers = [36, 39, 42, 45, 30, 48, 54]
    given = given_of("scan.pp", as_pp(face68[numbers], map(str, numbers)))
    assert known_numbers(given) == sorted(numbers) and np.array_equal(given.points68[30], face68[30])


@pytest.mark.parametrize(
    "numbers, words",
    [
        ([0, 1, 3, 4, 5], "numbered 0 to 5 with gaps"),
        ([30, 30, 36], "some twice or beyond 67"),
        ([30, 36, 68], "some twice or beyond 67"),
        ([0, 1, 2, 3, 4], "holds 5 points without known names"),
    ],
)
def test_numbers_that_could_mean_several_things_are_refused(face68, numbers, words):
    with pytest.raises(ReadError, match=words):
        given_of("scan.pp", as_pp(face68[: len(numbers)], map(str, numbers)))


@pytest.mark.parametrize("numbered", ["P{}", "point {}", "Landmark_{:02}", ""])
def test_names_that_say_nothing_leave_the_count_to_decide(face68, numbered):
    given = given_of("scan.pp", as_pp(face68, [numbered.format(k) for k in range(1, 69)]))
    assert given.scheme_name == "ibug68" and np.array_equal(given.points68, face68)
    with pytest.raises(ReadError, match="holds 3 points without known names"):
        given_of("scan.pp", as_pp(face68[:3], [numbered.format(k) for k in range(3)]))


@pytest.mark.parametrize(
    "names",
    [
        "abcdefg",
        [f"mole{k}" for k in range(1, 8)],
        ["P1", "P2", "P3", "P4", "P5", "P6", "P9"],
        ["P1", "marker2", "P3", "P4", "P5", "P6", "P7"],
    ],
)
def test_points_of_other_names_are_never_told_by_their_count(face68, names):
    given = given_of("scan.pp", as_pp(face68[:7], names))
    assert given.scheme_name == "named" and given.names == tuple(names) and known_numbers(given) == []
    np.testing.assert_array_equal(given.points, face68[:7])
    assert len(given.notes) == 1 and "is known: they take no part in the fit" in given.notes[0]


def declared(scheme_name, names, points):
    content = {"scheme": scheme_name, "names": list(names), "points": points.tolist()}
    return given_of("scan.landmarks.json", json.dumps(content).encode())


@pytest.mark.parametrize("names", ["abcdefg", "0123456", [f"P{k}" for k in range(7)], ["30", "36", "39", "42", "45", "48", "54"]])
def test_a_scheme_that_is_not_known_is_not_taken_for_another(face68, names):
    given = declared("mine", names, face68[:7])
    assert given.scheme_name == "mine" and given.names == tuple(names) and known_numbers(given) == []
    assert "of the scheme 'mine' is known" in given.notes[0]


def test_a_declared_scheme_goes_before_the_count_and_a_subset_of_it_is_told_by_its_names(face68):
    assert known_numbers(declared("now7", "abcdefg", face68[:7])) == []
    assert known_numbers(declared("now7", "1234567", face68[:7])) == sorted(scheme("now7").in_ibug68)
    with pytest.raises(ReadError, match="holds 51 points, not the 68 of ibug68"):
        declared("ibug68", map(str, range(51)), face68[:51])
    assert known_numbers(declared("ibug68", ["30", "36"], face68[[30, 36]])) == [30, 36]
    assert known_numbers(declared("ibug68", ["nose_tip", "chin"], face68[[30, 8]])) == [8, 30]


def test_landmarks_of_unknown_names_pass_the_check_on_the_surface_with_their_note(model, face68):
    checked = check_on_surface(given_of("scan.pp", as_pp(face68[:7], "abcdefg")), mesh_scan(model.mean))
    assert checked.known.all() and len(checked.notes) == 1 and np.isnan(checked.points68).all()


def test_a_shipped_name_means_the_shipped_scheme_beside_a_users_own(face68):
    shadow = replace(shipped_schemes()["now7"], name="ibug68")
    given = given_of("scan.pp", as_pp(face68[[36, 39]], ["36", "39"]), schemes=[shadow])
    assert known_numbers(given) == [36, 39] and given.names == ("right_eye_outer", "right_eye_inner")


def test_bosphorus_labels_are_the_viewers_sides_and_no_point_is_lost(model, face68):
    on_model = dict(zip(scheme("bosphorus22").labels, landmarks_on(model, model.mean, "bosphorus22")))
    points = np.array([on_model.get(label, np.array([80.0, 0, -100])) for label, _ in BOSPHORUS_FILE])
    given = given_of("scan.lm3", as_lm3(points, [label for label, _ in BOSPHORUS_FILE]))
    assert known_numbers(given) == sorted(number for _, number in BOSPHORUS_FILE if number is not None)
    np.testing.assert_allclose(given.points68[[17, 45, 30, 48]], face68[[17, 45, 30, 48]], atol=1e-3)
    assert given.names[2] == "right_nose_saddle" and given.names[4] == "left_nose_peak" and given.names[7] == "Right ear lobe"
    np.testing.assert_array_equal(given.points, points)


def bu3dfe(face68, first_eye="right"):
    """83 points in BU-3DFE's order, from the mean face: eyes, brows, nose, lips, contour."""
    mirror = scheme("ibug68").mirror
    order = {"right": range(68), "left": mirror}[first_eye]
    eye = [39, 38, 37, 37, 36, 41, 40, 40]
    numbers = [
        eye,
        [mirror[k] for k in eye],
        [*range(17, 22), *range(21, 16, -1)],
        [*range(22, 27), *range(26, 21, -1)],
        [27, 28, 31, 31, 32, 33, 33, 34, 35, 35, 28, 27],
        range(48, 60),
        range(60, 68),
        [k for k in range(17) if k not in (3, 13)],
    ]
    flat = [order[k] for part in numbers for k in part]
    assert len(flat) == 83
    return face68[flat] + np.random.default_rng(0).normal(0, 0.01, (83, 3))


@pytest.mark.parametrize("first_eye", ["right", "left"])
@pytest.mark.parametrize("turn", [np.eye(3), np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]]), np.diag([-1.0, -1, 1])])
def test_bu3dfe_maps_what_is_sure_whichever_eye_comes_first(face68, first_eye, turn):
    points = bu3dfe(face68, first_eye) @ turn.T
    given = given_of("scan.bnd", as_bnd(points))
    assert known_numbers(given) == [36, 39, 42, 45, 48, 51, 54, 57] and given.scheme_name == "bu3dfe83"
    np.testing.assert_allclose(given.points68[known_numbers(given)], face68[known_numbers(given)] @ turn.T, atol=0.1)
    np.testing.assert_array_equal(given.points, points)


def test_a_bnd_of_another_count_is_refused(face68):
    with pytest.raises(ReadError, match="holds 68 points; a .bnd has BU-3DFE's 83"):
        given_of("scan.bnd", as_bnd(face68))


def test_json_takes_any_shipped_scheme_a_users_own_and_names(model):
    points = landmarks_on(model, model.mean, "bosphorus22")
    content = {"scheme": "bosphorus22", "points": points.tolist()}
    assert len(known_numbers(given_of("scan.landmarks.json", json.dumps(content).encode()))) == 17
    renamed = json.dumps({"scheme": "mine", "points": points[:7].tolist()}).encode()
    with pytest.raises(ReadError, match="its scheme 'mine' is unknown; known are bosphorus22"):
        given_of("scan.landmarks.json", renamed)
    mine = replace(shipped_schemes()["now7"], name="mine")
    assert given_of("scan.landmarks.json", renamed, schemes=[mine]).scheme_name == "mine"
    by_name = json.dumps({"points": {"nose_tip": [1, 2, 3], "chin": None, "mouth_left": [4, 5, 6]}}).encode()
    assert known_numbers(given_of("scan.landmarks.json", by_name)) == [30, 54]


@pytest.mark.parametrize(
    "data, words",
    [
        (as_json(np.full((68, 3), np.nan)), "none of its points is known"),
        (as_json(np.ones((68, 3))), r"68 points \(jaw_0, jaw_1, jaw_2, …\) lie at the same place"),
        (
            as_json(np.vstack([np.zeros((3, 3)), np.arange(195.0).reshape(65, 3) + 1])),
            r"3 points \(jaw_0.*\[0.0, 0.0, 0.0\].*leave unknown",
        ),
    ],
)
def test_placeholders_are_not_landmarks(data, words):
    with pytest.raises(ReadError, match=words):
        given_of("scan.landmarks.json", data)


def test_two_points_at_one_place_are_named_and_no_third():
    data = json.dumps({"names": ["nose_tip", "chin"], "points": [[1, 2, 3]] * 2}).encode()
    with pytest.raises(ReadError, match=r"2 points \(nose_tip, chin\) lie"):
        given_of("scan.landmarks.json", data)


def test_of_points_that_the_fit_cannot_use_a_note_says_how_many_it_can(face68):
    names = ["nose_tip", "chin", "pronasale", "glabella"]
    given = given_of("scan.pp", as_pp(face68[:4], names))
    assert given.notes == ("2 of 4 given landmarks take part in the fit: the others are none of the iBUG-68",)
    assert given_of("scan.pp", as_pp(face68[:2], names[:2])).notes == ()


@pytest.mark.parametrize("names", [["nose_tip", "Nose tip"], ["right_brow_0", "right_brow_outer"]])
def test_twice_the_same_point_is_refused(face68, names):
    with pytest.raises(ReadError, match="names must differ"):
        given_of("scan.pp", as_pp(face68[:2], names))


def test_two_landmark_files_beside_one_scan_are_an_error(face68):
    with pytest.raises(ReadError, match=r"scan.ply: has 2 landmark files beside it, scan.pp and scan.pts; keep the one"):
        given_landmarks("scan.ply", {"scan.pts": as_pts(face68), "scan.pp": as_pp(face68)})


def test_landmarks_travel_between_processes(face68):
    given = given_of("scan.pts", as_pts(face68)).scaled(1000.0)
    assert np.array_equal(pickle.loads(pickle.dumps(given)).points, 1000 * face68)


# --- on the surface ---------------------------------------------------------------------------------------------------


def named(points):
    return GivenLandmarks(points, tuple(f"p{k}" for k in range(len(points))), tuple(range(len(points))), "named", "scan.pp")


def test_landmarks_of_the_scan_pass_as_they_are(model, face68):
    checked = check_on_surface(named(face68), mesh_scan(model.mean))
    assert checked.notes == ()
    np.testing.assert_array_equal(checked.points, face68)


@pytest.mark.parametrize(
    "wrong, words",
    [
        (lambda points: points / 1000, r"lie \d+ mm from the scan \(median\)"),
        (lambda points: points + [812, 0, 700], r"lie 7\d\d mm"),
        (lambda points: points * [-1, -1, 1] + [0, 0, 750], r"lie .*in another unit or in another frame"),
    ],
)
def test_landmarks_of_another_scan_unit_or_frame_are_refused(model, face68, wrong, words):
    with pytest.raises(ReadError, match="known face: its landmarks scan.pp " + words):
        check_on_surface(named(wrong(face68)), mesh_scan(model.mean + [0.0, 0, 700]))


def test_a_single_stray_landmark_is_set_aside_with_a_note(model, face68):
    points = face68.copy()
    points[[8, 30]] += [[0, -40, 0], [0, 0, 25]]
    checked = check_on_surface(named(points), mesh_scan(model.mean))
    assert np.flatnonzero(~checked.known).tolist() == [8, 30] and np.isnan(checked.points68[[8, 30]]).all()
    assert len(checked.notes) == 2 and checked.notes[1] == "given landmark p30 lies 25 mm from the scan and is not used"


def test_coarse_triangles_are_a_surface_too_and_unknown_points_stay_unknown():
    corners = np.array([[-100.0, -100, 0], [100, -100, 0], [100, 100, 0], [-100, 100, 0]])
    plane = mesh_scan(corners, np.array([[0, 1, 2], [0, 2, 3]]))
    points = np.array([[10.0, 20, 1], [-30, 5, 2], [np.nan] * 3])
    assert check_on_surface(named(points), plane).known.tolist() == [True, True, False]
    with pytest.raises(ReadError, match="from the scan"):
        check_on_surface(named(points), mesh_scan(corners, NO_TRIANGLES))


# --- the listing ------------------------------------------------------------------------------------------------------

PLY = b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n1 2 3\n"


def test_landmark_files_are_sidecars_never_scans_and_count_into_the_input_hash(tmp_path, face68):
    writers = {
        "a.landmarks.json": as_json,
        "b.pp": as_pp,
        "c.pts": as_pts,
        "d.lm3": as_lm3,
        "e.bnd": as_bnd,
        "f.landmarkAscii": as_amira,
    }
    for name, write in writers.items():
        (tmp_path / name).write_bytes(write(face68))
        (tmp_path / f"{name[0]}.ply").write_bytes(PLY)
    (tmp_path / "alone.pp").write_bytes(PLY)  # whatever is in it
    for path in (tmp_path, f"{tmp_path}/*.ply"):
        listed = listing.list_sources(str(path))
        assert [source.name for source in listed] == [f"{letter}.ply" for letter in "abcdef"]
        assert [[name for name, _ in source.sidecars] for source in listed] == [[name] for name in writers]
    (single,) = listing.list_sources(str(tmp_path / "b.ply"))
    data, sidecars = reading.read(single, 2**20)
    assert list(sidecars) == ["b.pp"] and manifest.input_hash(data, sidecars) != manifest.input_hash(data, {})
