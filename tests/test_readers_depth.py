"""PCD, depth PNG, depth .npz and TrueDepth frames: pixels, units, cameras and the lens."""

import io
import json
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geometry import readers
from geometry.camera import PinholeCamera
from geometry.errors import ReadError
from geometry.readers import lzf, truedepth

CAMERA = {"fx": 500.0, "fy": 510.0, "cx": 19.0, "cy": 14.5}


def compress(data: bytes) -> bytes:
    """LZF by definition: a copy of length 3..264 where the last three bytes occurred before, else literals."""
    out, literals, seen, at = b"", b"", {}, 0

    def run_of_literals():
        parts = [literals[k : k + 32] for k in range(0, len(literals), 32)]
        return b"".join(bytes([len(part) - 1]) + part for part in parts)

    while at < len(data):
        key, start = data[at : at + 3], seen.get(data[at : at + 3], -1)
        seen[key] = at
        distance = at - start - 1
        if start < 0 or distance >= 8192 or len(key) < 3:
            literals += data[at : at + 1]
            at += 1
            continue
        code = len(os.path.commonprefix([data[start : start + 264], data[at : at + 264]])) - 2
        more = [code - 7] if code >= 7 else []
        out += run_of_literals() + bytes([(min(code, 7) << 5) | distance >> 8, *more, distance & 255])
        literals = b""
        at += code + 2
    return out + run_of_literals()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 60)), max_size=8).map(
        lambda parts: b"".join(p * n for p, n in parts)
    )
)
def test_lzf_decompresses_what_was_compressed(data):
    assert lzf.decompress(compress(data), len(data)) == data


@pytest.mark.parametrize("stream", [b"\x05ab", b"\xe0", b"\x20\x05", b"\x00a\xff"])
def test_a_damaged_lzf_stream_is_a_value_error(stream):
    with pytest.raises(ValueError):
        lzf.decompress(stream, 100)


def pcd(points, encoding, colors=None, normals=None, height=1):
    fields, columns = [*"xyz"], [points[:, k].astype("<f4") for k in range(3)]
    if colors is not None:
        fields.append("rgb")
        columns.append((colors.astype("<u4") @ np.array([65536, 256, 1], "<u4")).astype("<u4").view("<f4"))
    if normals is not None:
        fields += [f"normal_{axis}" for axis in "xyz"]
        columns += [normals[:, k].astype("<f4") for k in range(3)]
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        "FIELDS " + " ".join(fields),
        "SIZE" + " 4" * len(fields),
        "TYPE" + " F" * len(fields),
        "COUNT" + " 1" * len(fields),
        f"WIDTH {len(points) // height}",
        f"HEIGHT {height}",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(points)}",
        f"DATA {encoding}",
        "",
    ]
    if encoding == "ascii":
        body = "\n".join(" ".join(repr(c[i].item()) for c in columns) for i in range(len(points))).encode() + b"\n"
    elif encoding == "binary":
        body = np.rec.fromarrays(columns).tobytes()
    else:
        raw = b"".join(c.tobytes() for c in columns)
        packed = compress(raw)
        body = struct.pack("<II", len(packed), len(raw)) + packed
    return "\n".join(header).encode() + body


ENCODINGS = ("ascii", "binary", "binary_compressed")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_organized_pcd_keeps_the_pixels_of_its_finite_points(encoding):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(12 * 16, 3)).astype(np.float32)
    holes = rng.random(len(points)) < 0.3
    points[holes] = np.nan
    colors = rng.integers(0, 256, points.shape).astype(np.uint8)
    scan = readers.read(pcd(points, encoding, colors, np.tile([0.0, 0.6, -0.8], (len(points), 1)), height=12), "room.pcd")
    assert np.array_equal(scan.points, points[~holes].astype(np.float64)) and scan.raster_shape == (12, 16)
    assert np.array_equal(scan.pixels, np.argwhere(~holes.reshape(12, 16)))
    assert np.allclose(scan.normals, [0, 0.6, -0.8], atol=1e-6) and scan.unit_mm is None and scan.camera is None
    if encoding != "ascii":  # a colour's bits do not survive as decimal text
        assert np.array_equal(scan.colors, colors[~holes])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_unorganized_pcd_has_no_pixels(encoding):
    points = np.arange(30, dtype=np.float32).reshape(-1, 3)
    scan = readers.read(pcd(points, encoding), "cloud.pcd")
    assert scan.pixels is None and scan.raster_shape is None and np.array_equal(scan.points, points)


def test_a_pcd_may_have_padding_counts_and_doubles():
    header = "VERSION .7\nFIELDS _ z y x rgba\nSIZE 1 8 8 8 4\nTYPE U F F F U\nCOUNT 4 1 1 1 1\n"
    header += "WIDTH 2\nHEIGHT 1\nPOINTS 2\nDATA binary\n"
    body = struct.pack("<4B3dI", 0, 0, 0, 0, 3, 2, 1, 0xFF102030) + struct.pack("<4B3dI", 0, 0, 0, 0, 6, 5, 4, 0x010203)
    scan = readers.read(header.encode() + body, "p.pcd")
    assert scan.points.tolist() == [[1, 2, 3], [4, 5, 6]] and scan.colors.tolist() == [[16, 32, 48], [1, 2, 3]]


def depth_image(seed=0, shape=(30, 40)):
    depth = np.random.default_rng(seed).integers(3000, 9000, shape).astype(np.uint16)
    depth[::5, ::3] = 0
    return depth


def png(depth):
    stream = io.BytesIO()
    Image.fromarray(depth).save(stream, "PNG")
    return stream.getvalue()


def sidecar(depth, **changes):
    values = {"width": depth.shape[1], "height": depth.shape[0], **CAMERA, "depth_unit_mm": 0.1} | changes
    return {"frame.json": json.dumps({k: v for k, v in values.items() if v is not None}).encode()}


def expect_depth_scan(scan, depth_mm):
    rows, columns = np.nonzero(depth_mm > 0)
    z = depth_mm[rows, columns]
    expected = np.stack([(columns - CAMERA["cx"]) / CAMERA["fx"] * z, (rows - CAMERA["cy"]) / CAMERA["fy"] * z, z], axis=1)
    assert np.allclose(scan.points, expected, atol=1e-9) and np.array_equal(scan.pixels, np.stack([rows, columns], 1))
    assert scan.raster_shape == depth_mm.shape and scan.unit_mm == 1.0 and scan.scale_is_metric
    assert scan.camera == PinholeCamera(depth_mm.shape[1], depth_mm.shape[0], **CAMERA)


@pytest.mark.parametrize("unit", [None, "m"])
def test_a_depth_png_becomes_camera_frame_points_in_mm_whatever_unit_is_given(unit):
    depth = depth_image()
    expect_depth_scan(readers.read(png(depth), "archive.zip!a/frame.png", sidecar(depth), unit=unit), depth * 0.1)


def test_the_sidecar_of_a_path_is_found_beside_it(tmp_path):
    depth = depth_image()
    (tmp_path / "frame.png").write_bytes(png(depth))
    (tmp_path / "frame.json").write_bytes(sidecar(depth)["frame.json"])
    for path in (tmp_path / "frame.png", str(tmp_path / "frame.png")):
        expect_depth_scan(readers.read(path), depth * 0.1)
    assert readers.read(tmp_path / "frame.png", source="run/other.png").source == "run/other.png"


def test_a_missing_sidecar_is_named_with_an_example_that_works_when_written():
    depth = depth_image()
    with pytest.raises(ReadError, match="frame.png.*write frame.json") as caught:
        readers.read(png(depth), "frame.png")
    example = caught.value.remedy[caught.value.remedy.index("{") :]
    assert readers.read(png(depth), "frame.png", {"frame.json": example.encode()}).raster_shape == depth.shape


@pytest.mark.parametrize(
    ("sidecars", "fault"),
    [
        ({"frame.json": b""}, "frame.png.*frame.json.*not JSON.*for example"),
        ({"frame.json": b"{"}, "frame.png.*frame.json.*not JSON.*for example"),
        ({"frame.json": b"[]"}, "frame.png.*frame.json.*not a JSON object.*for example"),
        ({"frame.json": b"[" * 100_000}, "frame.png.*frame.json.*not JSON.*for example"),
        ({"frame.json": b"\xff\xfe"}, "frame.png.*frame.json.*not JSON.*for example"),
        ({"frame.json": b'{"fx": 1}'}, "frame.png.*frame.json.*lacks fy, cx, cy, depth_unit_mm.*for example"),
        (sidecar(depth_image(), width=41), "frame.json .*width"),
        (sidecar(depth_image(), height="30"), "frame.json .*height"),
        (sidecar(depth_image(), fx=0), "frame.json .*fx"),
        (sidecar(depth_image(), fy=-1.0), "frame.json .*fy"),
        (sidecar(depth_image(), cx=None), "frame.json .*cx"),
        (sidecar(depth_image(), cy="a"), "frame.json .*cy"),
        (sidecar(depth_image(), depth_unit_mm=0), "frame.json .*depth_unit_mm"),
        (sidecar(depth_image(), depth_unit_mm=True), "frame.json .*depth_unit_mm"),
        (sidecar(depth_image(), fx=float("nan")), "frame.json .*fx"),
        (sidecar(depth_image(), cx=float("inf")), "frame.json .*cx"),
        (sidecar(depth_image(), fx=[1]), "frame.json .*fx"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_sidecar_that_is_none_or_holds_a_wrong_value_is_a_read_error_that_says_so(sidecars, fault):
    with pytest.raises(ReadError, match=fault):
        readers.read(png(depth_image()), "frame.png", sidecars)


def test_an_eight_bit_picture_is_not_claimed():
    assert not readers.claims("portrait.png", png(np.zeros((4, 5, 3), np.uint8)))


def npz(**arrays):
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<u2", "<i4"])
def test_a_depth_npz_becomes_camera_frame_points_in_mm(dtype):
    depth = depth_image().astype(dtype)
    colors = np.random.default_rng(1).integers(0, 256, (*depth.shape, 3)).astype(np.uint8)
    scan = readers.read(npz(depth=np.asfortranarray(depth), depth_unit_mm=0.1, color=colors, **CAMERA), "frame.npz")
    expect_depth_scan(scan, depth.astype(float) * 0.1)
    assert np.array_equal(scan.colors, colors[depth > 0])


def test_nan_negative_and_infinite_depths_are_no_depth():
    depth = depth_image().astype(float)
    depth[1, 1], depth[1, 2], depth[2, 1] = np.nan, -5, np.inf
    scan = readers.read(npz(depth=depth, depth_unit_mm=1, **CAMERA), "frame.npz")
    expect_depth_scan(scan, np.where(np.isfinite(depth), depth, 0))


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"depth": np.ones((3, 4))}, "lacks fx"),
        ({"other": np.ones(3)}, "lacks depth"),
        ({"depth": np.ones(3), "depth_unit_mm": 1, **CAMERA}, "shape .3,."),
        ({"depth": np.ones((3, 4), complex), "depth_unit_mm": 1, **CAMERA}, "complex"),
        ({"depth": np.zeros((3, 4)), "depth_unit_mm": 1, **CAMERA}, "no pixel"),
        ({"depth": np.ones((3, 4)), "depth_unit_mm": [1, 2], **CAMERA}, "depth_unit_mm"),
        ({"depth": np.ones((3, 4)), "depth_unit_mm": "mm", **CAMERA}, "depth_unit_mm"),
        ({"depth": np.array([[None]]), "depth_unit_mm": 1, **CAMERA}, "pickle"),
    ],
)
def test_a_wrong_npz_is_a_read_error_with_the_remedy(arrays, fault):
    with pytest.raises(ReadError, match=f"frame.npz.*{fault}"):
        readers.read(npz(**arrays), "frame.npz")


def test_a_zip_bomb_and_a_lying_npz_header_are_refused_before_they_unpack(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("geometry.readers.depth_npz.MOST_PIXELS", 1000)
        with pytest.raises(ReadError, match="unpacks to 90128 bytes, at most 8000"):
            readers.read(npz(depth=np.zeros((300, 300), np.uint8), depth_unit_mm=1, **CAMERA), "bomb.npz")
    lying = io.BytesIO()
    np.savez(lying, depth=np.ones((10, 10)), depth_unit_mm=1, **CAMERA)
    with pytest.raises(ReadError, match="damaged|promises"):
        readers.read(lying.getvalue().replace(b"(10, 10), }    ", b"(9999999, 9999)"), "lying.npz")


def truedepth_ply(depth_m, colors=None, **changes):
    """A raw frame whose lens magnifies by table; calibration at ten times the image's size."""
    height, width = depth_m.shape
    calibration = {
        "intrinsic_matrix": [3000.0, 0, 0, 0, 3100.0, 0, 200.0, 150.0, 1],
        "intrinsic_matrix_reference_dimensions_width": 10.0 * width,
        "intrinsic_matrix_reference_dimensions_height": 10.0 * height,
        "lens_distortion_center_x": 190.0,
        "lens_distortion_center_y": 160.0,
    } | changes
    metadata = json.dumps({"width": width, "height": height, "camera_intrinsics": calibration}).encode()
    colors = np.zeros((*depth_m.shape, 3)) if colors is None else colors
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement metadata {len(metadata)}\nproperty uchar char\n"
        f"element color {depth_m.size}\nproperty float r\nproperty float g\nproperty float b\n"
        f"element depth {depth_m.size}\nproperty float d\nend_header\n"
    )
    return header.encode() + metadata + colors.astype("<f4").tobytes() + depth_m.astype("<f4").tobytes()


def test_a_truedepth_frame_scales_its_intrinsics_and_reads_9999_as_no_depth():
    depth_m = depth_image().astype(np.float32) / 10_000
    depth_m[depth_m == 0] = 9999
    colors = np.random.default_rng(2).random((*depth_m.shape, 3)).astype(np.float32)
    scan = readers.read(truedepth_ply(depth_m, colors), "frame.ply")
    valid = depth_m < 9999
    assert scan.format == "truedepth_ply" and scan.camera == PinholeCamera(40, 30, 300.0, 310.0, 20.0, 15.0)
    rows, columns = np.nonzero(valid)
    z = depth_m[valid].astype(float) * 1000
    assert np.allclose(scan.points, np.stack([(columns - 20) / 300 * z, (rows - 15) / 310 * z, z], 1))
    assert np.array_equal(scan.pixels, np.stack([rows, columns], 1)) and scan.unit_mm == 1.0 and scan.scale_is_metric
    assert np.array_equal(scan.colors, np.rint(colors[valid] * 255)) and "taken as undistorted" in scan.notes[0]


def test_undistortion_follows_the_table_from_the_center_to_the_farthest_corner():
    center, size, table = np.array([19.0, 16.0]), np.array([40.0, 30.0]), np.array([0.0, 0.1, 0.3])
    radii, magnification = np.hypot(21, 16) * np.array([0, 0.25, 0.5, 0.75, 1.5]), np.array([0.0, 0.05, 0.1, 0.2, 0.3])
    for direction in ([1.0, 0.0], [0.6, 0.8]):
        moved = truedepth.undistort(center + np.outer(radii, direction), table, center, size)
        np.testing.assert_allclose(moved, center + np.outer(radii * (1 + magnification), direction))


def test_a_truedepth_frame_is_undistorted_by_the_table_that_the_header_names_for_it():
    """A plane seen through a lens: the plain table says where its rays land, the inverse table brings the pixels back."""
    size, center, magnify = np.array([40.0, 30.0]), np.array([19.0, 16.0]), lambda r: 1e-4 * r**2
    radii = np.linspace(0, np.hypot(21, 16), 200)
    back = np.r_[0.0, np.interp(radii, radii * (1 + magnify(radii)), radii)[1:] / radii[1:] - 1]
    v, u = np.mgrid[0:30, 0:40].astype(float)
    true_pixels = center + (np.stack([u, v], -1) - center) * (1 + np.interp(np.hypot(u - 19, v - 16), radii, back))[..., None]
    depth_m = 0.4 + 0.02 * (true_pixels[..., 0] - 20) / 300  # of a tilted plane, in the image that the lens distorted
    tables = {"lens_distortion_lookup_table": magnify(radii).tolist(), "inverse_lens_distortion_lookup_table": back.tolist()}
    scan = readers.read(truedepth_ply(depth_m, **tables), "frame.ply")
    assert np.allclose(scan.points[:, :2] / scan.points[:, 2:], (true_pixels.reshape(-1, 2) - [20, 15]) / [300, 310], atol=1e-6)
    assert np.allclose(
        truedepth.undistort(true_pixels.reshape(-1, 2), magnify(radii), center, size),
        np.stack([u, v], -1).reshape(-1, 2),
        atol=2e-3,
    )
    assert scan.camera == PinholeCamera(40, 30, 300.0, 310.0, 20.0, 15.0) and not scan.notes


HALF_A_METRE = np.full((3, 4), 0.5)
TABLES = ("lens_distortion_lookup_table", "inverse_lens_distortion_lookup_table")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (truedepth_ply(HALF_A_METRE, intrinsic_matrix=[1, 2]), "frame.ply"),
        (truedepth_ply(HALF_A_METRE, intrinsic_matrix=None), "frame.ply"),
        (truedepth_ply(HALF_A_METRE, intrinsic_matrix_reference_dimensions_width=0), "frame.ply"),
        (truedepth_ply(HALF_A_METRE, **dict.fromkeys(TABLES, [0.9] * 5)), "frame.ply"),
        (truedepth_ply(HALF_A_METRE, **dict.fromkeys(TABLES, [0, "a"])), "frame.ply"),
        (truedepth_ply(HALF_A_METRE).replace(b'"height": 3', b'"height": 2'), "4 × 2 pixels, but it holds 12"),
        (truedepth_ply(np.full((3, 4), 9999.0)), "no pixel has a depth"),
    ],
    ids=["short matrix", "no matrix", "no width", "lens folds over", "text in the table", "wrong size", "no depth"],
)
def test_a_truedepth_frame_of_a_wrong_calibration_or_size_or_without_depth_is_a_read_error(data, words):
    with pytest.raises(ReadError, match=words):
        readers.read(data, "frame.ply")
