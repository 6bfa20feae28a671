"""The registry: what is claimed, what unit a scan gets, and the real files."""

import numpy as np
import pytest
from shared_files import SHARED, needs
from test_readers_meshes import FACES, POINTS, ply

from geometry import readers
from geometry.errors import ReadError

needs_scans = needs(SHARED / "scans")


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("README.md", b"# Scans\nv is for vertex\n"),
        ("frame.json", b'{"width": 3, "fx": 1}'),
        ("notes.txt", b"OFFICE hours\n"),
        ("a.zip", b"PK\x03\x04" + b"\0" * 22 + b"\x05\0\0\0a.obj"),
        ("a.mtl", b"newmtl skin\nKd 1 1 1\n"),
        ("a.jpg", b"\xff\xd8\xff"),
        ("a.csv", b"1,2,3\n4,5,6\n"),
        ("noise.bin", bytes(range(256)) * 4),
        ("zeros.bin", b"\0" * 1000),
        *((f"labels.{kind}", (np.arange(20000) % 3).astype(kind).tobytes()) for kind in ("u1", "<u2", "<i4", "<i8", ">i4")),
        *(
            (f"a.{code}", ('{"session": "morning", "frames": [1, 1, 1]}' * 9).encode(code))
            for code in ("utf-16", "utf-32", "cp037")
        ),
        ("empty.txt", b""),
    ],
)
def test_what_is_no_scan_is_not_claimed(name, head):
    assert not readers.claims(name, head)


@pytest.mark.parametrize("name", ["a.ply", "A.PLY", "a.obj", "a.stl", "a.off", "a.glb", "a.gltf", "a.pcd", "a.npz", "a.png"])
@pytest.mark.parametrize("head", [b"", b"damaged"])
def test_a_damaged_file_under_a_scan_suffix_is_claimed_so_that_it_is_reported(name, head):
    assert readers.claims(name, head)


def test_a_scan_under_another_suffix_is_claimed_by_its_content():
    assert readers.claims("scan.txt", ply(POINTS, FACES)) and readers.claims("scan", b"v 0 0 0\nv 1 0 0\nf 1 2 1\n")


@pytest.mark.parametrize(
    ("unit", "unit_mm"),
    [("m", 1000.0), ("cm", 10.0), ("mm", 1.0), ("inch", 25.4), (4.2, 4.2), (2, 2.0), (None, None), ("unknown", None)],
)
def test_a_given_unit_scales_to_mm_and_is_metric_and_without_one_the_coordinates_stay_the_files_own(unit, unit_mm):
    scan = readers.read(ply(POINTS, FACES), "face.ply", unit=unit)
    np.testing.assert_array_equal(scan.points, POINTS.astype(float) * (unit_mm or 1.0))
    assert (scan.unit_mm, scan.scale_is_metric) == (unit_mm, unit_mm is not None)


@pytest.mark.parametrize("unit", ["km", "", 0, -1.0, float("nan"), float("inf"), True])
def test_an_unknown_unit_is_refused_with_the_known_ones(unit):
    with pytest.raises(ValueError, match="m, cm, mm, inch, unknown"):
        readers.read(b"v 0 0 0\n", "a.obj", unit=unit)


@pytest.mark.parametrize(("name", "words"), [("nothing.ply", "cannot be opened .No such file"), ("", "cannot be opened")])
def test_a_missing_path_and_a_folder_are_read_errors(tmp_path, name, words):
    with pytest.raises(ReadError, match=words):
        readers.read(tmp_path / name)


@needs_scans
def test_every_real_scan_reads_and_nothing_else_is_claimed():
    formats = {}
    for path in sorted([*(SHARED / "scans").rglob("*.*"), *(SHARED / "bench" / "depth").glob("*")]):
        claimed = readers.claims(path.name, path.read_bytes()[: readers.HEAD_SIZE])
        assert claimed == (path.suffix not in (".json", ".md")), path
        if claimed:
            scan = readers.read(path)
            formats[scan.format] = formats.get(scan.format, 0) + 1
            assert (scan.unit_mm == 1.0) == (scan.camera is not None) and len(scan.points) > 1000
    assert formats == {"ply": 6, "truedepth_ply": 2, "depth_png": 36, "pcd": 1, "stl": 5, "obj": 3}


@needs_scans
def test_the_real_kinect_cloud_keeps_its_pixels():
    scan = readers.read(SHARED / "scans" / "single" / "kinect_room_profile.pcd")
    assert scan.raster_shape == (480, 640) and len(scan.pixels) == len(scan.points) == 242_749
    focal = scan.points[:, 2] * (scan.pixels[:, 1] - 319.5) / np.where(scan.points[:, 0] == 0, 1, scan.points[:, 0])
    assert abs(np.median(focal) - 525) < 10  # the pixels belong to the points: they project with the Kinect's focal length


@needs_scans
@pytest.mark.parametrize("frame", ["frame-020", "frame-050"])
def test_a_real_raw_frame_is_the_png_frame_with_the_lens_taken_out(frame):
    raw = readers.read(SHARED / "scans" / "truedepth_raw_ply" / f"{frame}.ply")
    flat = readers.read(SHARED / "scans" / "truedepth_mannequin" / f"{frame}.png")
    assert np.allclose([raw.camera.fx, raw.camera.cx, raw.camera.cy], [flat.camera.fx, flat.camera.cx, flat.camera.cy])
    assert np.median(raw.colors[raw.points[:, 2] < 400], axis=0)[0] > 80  # the skin's red
    index = {tuple(pixel): k for k, pixel in enumerate(flat.pixels)}
    pairs = np.array([(k, index[tuple(pixel)]) for k, pixel in enumerate(raw.pixels) if tuple(pixel) in index])
    a, b = raw.points[pairs[:, 0]], flat.points[pairs[:, 1]]
    assert np.abs(a[:, 2] - b[:, 2]).max() < 0.051  # the PNG's rounding
    shift = np.linalg.norm(a[:, :2] / a[:, 2:] - b[:, :2] / b[:, 2:], axis=1) * raw.camera.fx
    radius = np.linalg.norm(flat.pixels[pairs[:, 1]] - [raw.camera.cy, raw.camera.cx], axis=1)
    assert shift[radius < 20].max() < 0.05 and 0.3 < np.median(shift[(radius > 90) & (radius < 110)]) < 1.5
