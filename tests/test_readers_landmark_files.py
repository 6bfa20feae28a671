"""Files of landmarks: what is written is read again, in every format; damage is a ReadError and nothing else."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geometry.errors import ReadError
from geometry.readers.landmark_files import FORMATS, MOST_BYTES, SUFFIXES, read_landmarks, suffix_of

POINTS = np.array([[1.5, -2.25, 3.0], [-40.125, 0.0, 1e-3], [0.5, 70.0, -810.75]])
NAMES = ("nose_tip", "mouth_left", "mouth_right")


def rows(points):
    return [" ".join(map(repr, point)) for point in np.asarray(points).tolist()]


def as_json(points, names=None):
    listed = [None if np.isnan(point).any() else point.tolist() for point in points]
    return json.dumps(
        {"scheme": "ibug68", "frame": "scan", "points": listed} | ({} if names is None else {"names": list(names)})
    ).encode()


def as_pp(points, names=None, inactive=()):
    names = names or range(len(points))
    lines = [
        f' <point y="{y!r}" z="{z!r}" x="{x!r}" name="{name}" active="{int(k not in inactive)}"/>'
        for k, (name, (x, y, z)) in enumerate(zip(names, points.tolist()))
    ]
    document = (
        ' <DocumentData>\n  <DateTime time="12:00:00" date="2024-01-01"/>\n  <DataFileName name="a.ply"/>\n </DocumentData>'
    )
    return "\n".join(["<!DOCTYPE PickedPoints>", "<PickedPoints>", document, *lines, "</PickedPoints>", ""]).encode()


def as_pts(points, names=None):
    return "\n".join(["version: 1", f"n_points:  {len(points)}", "{", *rows(points), "}", ""]).encode()


def as_lm3(points, names=None):
    pairs = [line for pair in zip(names or [f"Point {k}" for k in range(len(points))], rows(points)) for line in pair]
    return "\r\n".join(["# 3D landmarks", "", f"{len(points)} landmarks:", "", *pairs, ""]).encode()


def as_bnd(points, names=None):
    return "\n".join(f"{k}\t{row}" for k, row in enumerate(rows(points))).encode()


def as_amira(points, names=None):
    head = [
        "# Avizo 3D ASCII 2.0",
        "",
        f"define Markers {len(points)}",
        "",
        "Parameters {",
        "    NumSets 1,",
        '    ContentType "LandmarkSet"',
        "}",
        "",
        "Markers { float[3] Coordinates } @1",
        "",
        "# Data section follows",
        "@1",
    ]
    return "\n".join([*head, *rows(points), ""]).encode()


WRITERS = {".landmarks.json": as_json, ".pp": as_pp, ".pts": as_pts, ".lm3": as_lm3, ".bnd": as_bnd, ".landmarkAscii": as_amira}
finite = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 4))


def test_every_format_has_a_writer_here():
    assert set(WRITERS) == set(FORMATS) == set(SUFFIXES)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=20, deadline=None)
@given(points=st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=90).map(np.array))
def test_what_is_written_is_read_again(suffix, points):
    file = read_landmarks("scan" + suffix, WRITERS[suffix](points))
    assert file.format == suffix
    np.testing.assert_array_equal(file.points, points)


@pytest.mark.parametrize("suffix", [".landmarks.json", ".pp", ".lm3"])
def test_names_are_kept_as_written(suffix):
    assert read_landmarks("a" + suffix, WRITERS[suffix](POINTS, NAMES)).names == NAMES


def test_what_the_file_says_of_its_points_is_kept():
    assert read_landmarks("a.landmarks.json", as_json(POINTS)).scheme == "ibug68"
    assert read_landmarks("a.landmarks.json", b'{"points": [[1, 2, 3]]}').scheme == "ibug68"  # the default
    assert read_landmarks("a.lm3", as_lm3(POINTS)).scheme == "bosphorus22"
    assert read_landmarks("a.pts", as_pts(POINTS)).scheme is None and read_landmarks("a.pts", as_pts(POINTS)).names is None


def test_points_by_name_need_no_scheme():
    file = read_landmarks("a.landmarks.json", b'{"points": {"nose_tip": [1, 2, 3], "chin": null}}')
    assert file.names == ("nose_tip", "chin") and file.scheme is None and np.isnan(file.points[1]).all()


def test_inactive_null_nan_and_inferred_points_are_unknown():
    assert np.isnan(read_landmarks("a.pp", as_pp(POINTS, inactive=[1])).points[:, 0]).tolist() == [False, True, False]
    assert np.isnan(read_landmarks("a.pts", b"1 2 3\nnan NaN nan\n").points[:, 0]).tolist() == [False, True]
    seen = b'{"points": [[1, 2, 3], null, [4, 5, 6]], "seen": [true, true, false]}'
    assert np.isnan(read_landmarks("a.landmarks.json", seen).points[:, 0]).tolist() == [False, True, True]


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.pts", b"1 2 3\n4 5 6\n"),
        ("a.pts", b"2\n1 2 3\n4 5 6"),
        ("a.pts", b"# picked\n1, 2, 3\n4;5;6\n"),
        ("a.pts", b"\xef\xbb\xbf1 2 3\r\n4 5 6\r\n"),
        ("a.bnd", b"2 4 5 6\n1 1 2 3\n"),
    ],
    ids=["bare", "with its count", "with commas", "as Windows writes", "in the order of its indices"],
)
def test_a_list_of_points_is_read_however_it_is_written(name, text):
    np.testing.assert_array_equal(read_landmarks(name, text).points, [[1, 2, 3], [4, 5, 6]])


def test_amira_files_of_both_programs_and_of_two_sets_are_read():
    two = (
        as_amira(POINTS).replace(b"@1\n\n", b"@1\nMarkers { float[3] Coordinates2 } @2\n\n").replace(b"Avizo 3D", b"AmiraMesh 3D")
    )
    np.testing.assert_array_equal(
        read_landmarks("a.landmarkAscii", two + b"\n@2\n" + "\n".join(rows(POINTS + 1)).encode()).points, POINTS
    )


def test_only_landmark_names_are_landmark_files():
    assert [suffix_of(name) for name in ("a/b.pp", "x.landmarks.json", "x.json", "x.landmarkAscii", "x.ply", "x.pptx")] == [
        ".pp",
        ".landmarks.json",
        None,
        ".landmarkAscii",
        None,
        None,
    ]
    with pytest.raises(ReadError, match=r"x.ply: is no landmark file.*\.landmarks\.json, \.pp"):
        read_landmarks("x.ply", b"")


@pytest.mark.parametrize(
    "name, data, words",
    [
        ("a.landmarks.json", b"{", "is no JSON text"),
        ("a.landmarks.json", b"[1]", 'lacks "points"'),
        ("a.landmarks.json", b"[" * 100_000, "is no JSON text"),
        ("a.landmarks.json", b'{"points": []}', "holds no point"),
        ("a.landmarks.json", b'{"points": [[1, 2]]}', r"point 0 is \[1, 2\]; expected three finite numbers or null"),
        ("a.landmarks.json", b'{"points": [[1, 2, Infinity]]}', "three finite numbers"),
        ("a.landmarks.json", b'{"points": [[1, 2, 1' + b"0" * 400 + b"]]}", "three finite numbers"),
        (
            "a.landmarks.json",
            b'{"points": [[1, 2, 3]], "names": ["a", "b"]}',
            '"names" or "scheme" is malformed; expected 1 texts',
        ),
        ("a.landmarks.json", b'{"points": [[1, 2, 3]], "frame": "model"}', "\"frame\" is 'model'.*own frame and unit"),
        ("a.landmarks.json", b'{"points": [[1, 2, 3]], "seen": [1, 0]}', '"seen" is malformed'),
        ("a.pp", b"hello", "is no XML"),
        ("a.pp", b"<a/>", "holds no points"),
        ("a.pp", as_pp(POINTS)[:-20], "is no XML"),
        ("a.pp", b'<PickedPoints><point x="1" y="2"/></PickedPoints>', "point 0 lacks 'z'"),
        ("a.pp", b'<PickedPoints><point x="1" y="2" z="inf"/></PickedPoints>', "point 0 is '1 2 inf'"),
        ("a.pp", b'<!DOCTYPE a [<!ENTITY b "c">]><PickedPoints/>', "declares XML entities"),
        *(
            ("a.pp", f'<?xml version="1.0" encoding="{code}"?>{doctype}<PickedPoints/>'.encode(code), "declares XML entities")
            for code in ("utf-16", "iso-8859-1")
            for doctype in ('<!DOCTYPE a [<!ENTITY b "c">]>', '<!DOCTYPE a [<!ENTITY % b SYSTEM "file:///etc/passwd">]>')
        ),
        ("a.pts", as_pts(POINTS)[:-3], "cut off"),
        ("a.pts", b"n_points: 3\n{\n1 2 3\n}\n", "announces 3 points and has 1"),
        ("a.pts", b"version: 1\nn_points: 1\n{\n10.5 20.5\n}", "two coordinates: a landmark on a picture"),
        ("a.pts", b"", "holds no point"),
        ("a.pts", b"1 2 x", "point 0 is '1 2 x'"),
        ("a.pts", b"1 2 1e999", "three finite numbers"),
        ("a.pts", b"1_0 2 3", "three finite numbers"),
        ("a.pts", b"1 2 3 128 255 255 255", "three finite numbers"),
        ("a.pts", b"1 " * (MOST_BYTES // 2 + 1), "more than any set of landmarks"),
        ("a.lm3", b"# none", "has no line `N landmarks:`"),
        ("a.lm3", as_lm3(POINTS)[:-40], "announces 3 landmarks and has"),
        ("a.lm3", b"1 landmarks:\nNose tip\n1 2", "two coordinates"),
        ("a.bnd", b"0 1 2 3\n0 1 2 3", "line 1 begins with '0'"),
        ("a.bnd", b"x 1 2 3", "line 0 begins with 'x'"),
        ("a.bnd", b"7", "line 0 is ''"),
        ("a.landmarkAscii", b"# AmiraMesh BINARY-LITTLE-ENDIAN 2.1\n", "begins with '# AmiraMesh BINARY"),
        ("a.landmarkAscii", as_amira(POINTS).replace(b"@1\n1.5", b"1.5"), "lacks `define Markers N` or the block `@1`"),
        ("a.landmarkAscii", as_amira(POINTS)[:-20], "announces 3 markers and has 2|two coordinates"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:40],
)
def test_damage_is_named_with_what_was_expected(name, data, words):
    with pytest.raises(ReadError, match=words):
        read_landmarks(name, data)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damage_raises_anything_but_a_read_error(suffix, data):
    whole = WRITERS[suffix](POINTS, NAMES)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 30)))
    damaged = data.draw(
        st.one_of(
            st.just(whole[:start]),
            st.binary(max_size=12).map(lambda noise: whole[:start] + noise + whole[end:]),
            st.binary(max_size=60),
            st.text(max_size=40).map(lambda noise: whole[:start] + noise.encode() + whole[end:]),
        )
    )
    try:
        file = read_landmarks("a" + suffix, damaged)
    except ReadError:
        return
    assert file.points.ndim == 2 and file.points.shape[1] == 3 and not np.isinf(file.points).any()
