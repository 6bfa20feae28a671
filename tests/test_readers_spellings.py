"""Files as editors, old programs and careless writers leave them: byte order marks, UTF-16, line ends, comments, bytes after the
end, numbers that are none. What is read is what was meant; the rest is named."""

import numpy as np
import pytest
from test_readers_depth import pcd
from test_readers_meshes import FACES, MESH, POINTS, exported, ply

from geometry import readers
from geometry.errors import ReadError
from geometry.readers.landmark_files import read_landmarks

OFF_TEXT = f"{len(POINTS)} {len(FACES)} 0\n" + "".join(
    [*(" ".join(map(repr, p)) + "\n" for p in POINTS.tolist()), *(f"3 {a} {b} {c}\n" for a, b, c in FACES.tolist())]
)
TEXTS = {
    "face.obj": exported(MESH, "obj"),
    "face.stl": exported(MESH, "stl_ascii"),
    "face.ply": ply(POINTS, FACES, encoding="ascii"),
    "face.off": ("OFF\n" + OFF_TEXT).encode(),
}
ENCODINGS = {
    "utf-8 with a mark": lambda text: b"\xef\xbb\xbf" + text,
    "utf-16 with a mark": lambda text: text.decode().encode("utf-16"),
    "big-endian utf-16 with a mark": lambda text: b"\xfe\xff" + text.decode().encode("utf-16-be"),
    "utf-16 without a mark": lambda text: text.decode().encode("utf-16-le"),
    "big-endian utf-16 without a mark": lambda text: text.decode().encode("utf-16-be"),
    "utf-32 with a mark": lambda text: text.decode().encode("utf-32"),
}


def corners(scan):
    return scan.points[scan.triangles]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_read_in_whatever_unicode_it_was_saved(name, encoding):
    data = ENCODINGS[encoding](TEXTS[name])
    assert readers.claims(name.partition(".")[0], data[: readers.HEAD_SIZE])
    scan = readers.read(data, name)
    assert np.array_equal(corners(scan), corners(readers.read(TEXTS[name], name)))
    assert np.allclose(corners(scan), POINTS[FACES], atol=1e-4)


@pytest.mark.parametrize("name", TEXTS)
def test_lines_may_end_in_carriage_returns_alone(name):
    scan = readers.read(TEXTS[name].replace(b"\r\n", b"\n").replace(b"\n", b"\r"), name)
    assert np.allclose(corners(scan), POINTS[FACES], atol=1e-4)


def test_a_mark_before_the_first_vertex_of_an_obj_loses_no_vertex():
    scan = readers.read(b"\xef\xbb\xbfv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 3 4\n", "a.obj")
    assert scan.points.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]] and scan.triangles.tolist() == [
        [0, 1, 2],
        [0, 2, 3],
    ]


@pytest.mark.parametrize("filled", [b"\0", b" "])
@pytest.mark.parametrize("name", ["face.stl", "face"])
def test_a_binary_stl_whose_header_begins_with_a_mark_is_not_shifted(name, filled):
    data = "\ufeffgesicht".encode().ljust(80, filled) + exported(MESH, "stl")[80:]
    assert readers.claims(name, data[: readers.HEAD_SIZE])
    scan = readers.read(data, name)
    assert np.array_equal(corners(scan), POINTS[FACES]) and scan.notes == readers.read(exported(MESH, "stl"), name).notes


@pytest.mark.parametrize("write", [lambda: ply(POINTS, FACES), lambda: pcd(POINTS, "binary")])
def test_a_mark_before_a_text_header_of_binary_numbers_is_passed_over(write):
    assert np.array_equal(readers.read(b"\xef\xbb\xbf" + write(), "face").points, readers.read(write(), "face").points)


@pytest.mark.parametrize("noise", ["settings", "labels", "zeros", "floats"])
def test_what_only_resembles_a_binary_stl_is_no_scan(noise):
    data = {
        "settings": '{"session": "morning", "operator": "A", "frames": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}'.encode("utf-16") * 3,
        "labels": (np.arange(200_000) % 3).astype("u1").tobytes(),
        "zeros": bytes(100_000),
        "floats": np.random.default_rng(0).normal(size=30_000).astype("<f4").tobytes(),
    }[noise]
    assert not readers.claims("labels.bin", data[: readers.HEAD_SIZE])
    with pytest.raises(ReadError, match="none of the formats"):
        readers.read(data, "labels.bin")


@pytest.mark.parametrize("normals", ["its own", "zero"])
def test_a_binary_stl_needs_no_suffix(normals):
    data = bytearray(exported(MESH, "stl"))
    if normals == "zero":
        for at in range(84, len(data), 50):
            data[at : at + 12] = bytes(12)
    assert readers.claims("face", bytes(data[: readers.HEAD_SIZE]))
    assert np.array_equal(corners(readers.read(bytes(data), "face")), POINTS[FACES])


@pytest.mark.parametrize("rest", [b"made by a scanner", bytes(120), b"text of more than one facet's length " * 5])
def test_bytes_after_the_last_facet_of_a_binary_stl_are_passed_over_with_a_note(rest):
    scan = readers.read(exported(MESH, "stl") + rest, "face.stl")
    assert np.array_equal(corners(scan), POINTS[FACES]) and f"{len(rest)} bytes after" in scan.notes[0]


def test_facets_after_the_promised_number_are_an_error():
    data = exported(MESH, "stl")
    with pytest.raises(ReadError, match="promises 319 facets.*more facets follow"):
        readers.read(data[:80] + (319).to_bytes(4, "little") + data[84:], "face.stl")


@pytest.mark.parametrize("before", [b"; written by a scanner\n", b"# a\n\n// b\n", b"File written by a program\n"])
@pytest.mark.parametrize("after", [b"", b"\x1a", b"\n\0\0", b"\n; the end\n"])
def test_a_text_stl_may_have_comments_before_and_bytes_after(before, after):
    text = exported(MESH, "stl_ascii").replace(b"\n", b"\n! made today\n", 1)
    scan = readers.read(before + text + after, "face.stl")
    assert np.allclose(corners(scan), POINTS[FACES], atol=1e-4)


def test_a_text_stl_cut_within_its_facets_is_an_error():
    with pytest.raises(ReadError, match="endsolid"):
        readers.read(TEXTS["face.stl"] + TEXTS["face.stl"][: len(TEXTS["face.stl"]) // 2], "face.stl")


@pytest.mark.parametrize("keyword", ["OFF", "OFF ", "off\n", "", "# made\n", "# made\rOFF\r", "OFF # made\n"])
def test_the_counts_of_an_off_may_stand_anywhere_behind_its_keyword_or_without_it(keyword):
    assert np.array_equal(corners(readers.read((keyword + OFF_TEXT).encode(), "face.off")), POINTS[FACES].astype(float))


@pytest.mark.parametrize("text", [b"off the record\nand on it", b"OFFICE 12 3\n", b"1 2 3\n4 5 6\n", b"OFF\n"])
def test_a_text_that_only_begins_like_an_off_is_no_scan(text):
    assert not readers.claims("notes.txt", text)


@pytest.mark.parametrize(
    "spelling",
    [
        "nan",
        "-nan(ind)",
        "1.#QNAN",
        "-1.#IND",
        "1.#INF",
        "-1.#INF00",
        "1.#QNAN0",
        "1.#R",
        "NaNQ",
        "Infinity",
        "null",
        "N/A",
        "****",
    ],
)
def test_points_with_any_spelling_of_no_number_are_dropped_with_a_note(spelling):
    row = f"{spelling} {spelling} {spelling}\n"
    header = "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    scan = readers.read((header + "0 0 0\n1 0 0\n" + row + "0 1 0\n0 0 1\n").encode(), "a.ply")
    assert scan.points.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert scan.notes == ("1 of 5 points are not finite and were dropped",)


def test_exponents_of_fortran_are_numbers_and_words_are_none():
    header = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    assert readers.read((header + "1.5D+02 2d0 -3.\n").encode(), "a.ply").points.tolist() == [[150, 2, -3]]
    with pytest.raises(ReadError, match="near '1.5f'"):
        readers.read((header + "1.#QNAN 1.5f 0\n").encode(), "a.ply")


def test_landmark_files_are_read_in_utf_16_and_their_entities_refused_there():
    picked = '<?xml version="1.0" encoding="UTF-16"?><PickedPoints><point x="1" y="2" z="3" active="1" name="0"/></PickedPoints>'
    assert read_landmarks("a.pp", picked.encode("utf-16")).points.tolist() == [[1, 2, 3]]
    assert read_landmarks("a.pts", "1 2 3\r4 5 6\r-1.#IND -1.#IND -1.#IND\r".encode("utf-16")).points[:2].tolist() == [
        [1, 2, 3],
        [4, 5, 6],
    ]
    assert read_landmarks("a.landmarks.json", '{"points": {"nose_tip": [1, 2, 3]}}'.encode("utf-16")).names == ("nose_tip",)
    tricky = picked.replace("<PickedPoints>", '<!DOCTYPE PickedPoints [<!ENTITY a "1">]><PickedPoints>', 1)
    for encoding in ("utf-8", "utf-16", "utf-16-be", "utf-32"):
        with pytest.raises(ReadError, match="XML entities"):
            read_landmarks("a.pp", tricky.encode(encoding))
