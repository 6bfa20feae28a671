"""Every damaged file is a ReadError that names the file, the fault and the remedy: never another exception, nor a wrong scan."""

import json
import warnings

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_readers_depth import CAMERA, ENCODINGS, depth_image, npz, pcd, png, sidecar, truedepth_ply
from test_readers_meshes import FACES, PLY_TYPES, POINTS, exported, gltf, ply

from geometry import readers
from geometry.errors import ReadError


def intact_files():
    """name → (bytes, sidecars), one of every format and encoding, small."""
    mesh = trimesh.creation.icosphere(subdivisions=1, radius=80.0)
    points, faces = mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32)
    colors = (np.abs(points) * 3).astype(np.uint8)
    depth = depth_image(shape=(12, 16))
    files = {f"{encoding}.ply": (ply(points, faces, colors, points, encoding), {}) for encoding in PLY_TYPES}
    files |= {
        f"{encoding}_polygons.ply": (ply(points, [[0, 1, 2], [3, 4, 5, 6], *faces.tolist()], encoding=encoding), {})
        for encoding in PLY_TYPES
    }
    files |= {f"{encoding}.pcd": (pcd(points, encoding, colors, points, height=2), {}) for encoding in ENCODINGS}
    names = {"binary.stl": "stl", "text.stl": "stl_ascii", "a.obj": "obj", "a.off": "off", "a.glb": "glb"}
    files |= {name: (exported(mesh, kind), {}) for name, kind in names.items()}
    accessors = [{"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": len(points)}]
    files["a.gltf"] = (gltf(accessors, points.tobytes(), {"attributes": {"POSITION": 0}, "mode": 0}), {})
    camera = CAMERA | {"cx": 7.5, "cy": 5.5}  # of an image of this size
    files["frame.png"] = (png(depth), sidecar(depth, **camera))
    files["frame.npz"] = (npz(depth=depth, depth_unit_mm=1, color=np.zeros((12, 16, 3), np.uint8), **camera), {})
    files["raw.ply"] = (truedepth_ply(np.full((12, 16), 0.4), **{"inverse_lens_distortion_lookup_table": [0.0, 0.01, 0.02]}), {})
    return files


FILES = intact_files()


def read_or_refuse(name, data, sidecars):
    """A scan of finite points, or a ReadError that says all three; nothing else, and nothing on the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            scan = readers.read(data, name, sidecars)
        except ReadError as error:
            assert error.source == name and error.fault and error.remedy and str(error).startswith(name)
            return None
    assert len(scan.points) and np.isfinite(scan.points).all()
    assert not len(scan.triangles) or (scan.triangles.min() >= 0 and scan.triangles.max() < len(scan.points))
    for rider in (scan.colors, scan.normals, scan.pixels):
        assert rider is None or len(rider) == len(scan.points)
    return scan


@pytest.mark.parametrize("name", FILES)
def test_the_intact_file_reads_and_is_claimed(name):
    data, sidecars = FILES[name]
    assert read_or_refuse(name, data, sidecars) is not None and readers.claims(name, data[: readers.HEAD_SIZE])


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_anywhere_is_refused_or_read(name, data, capfd):
    whole, sidecars = FILES[name]
    length = data.draw(st.integers(0, len(whole) - 1))
    scan = read_or_refuse(name, whole[:length], sidecars)
    if name.endswith((".ply", ".pcd", ".stl", ".glb", ".npz")) and "ascii" not in name and length < len(whole) - 2:
        assert scan is None, "a binary format knows its length"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_changed_bytes_is_refused_or_read(name, data, capfd):
    whole, sidecars = FILES[name]
    changed = bytearray(whole)
    in_head = st.integers(0, min(len(whole), 400) - 1)  # where the counts are
    for at, value in data.draw(
        st.lists(st.tuples(in_head | st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=4)
    ):
        changed[at] = value
    read_or_refuse(name, bytes(changed), sidecars)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=10, deadline=None)
@given(st.binary(max_size=300))
def test_anything_under_a_scan_suffix_is_refused_or_read(name, data):
    read_or_refuse(name, data, {})


@pytest.mark.parametrize("name", ["a.ply", "a.obj", "a.stl", "a.off", "a.glb", "a.gltf", "a.pcd", "a.npz", "a.png", "a"])
def test_an_empty_file_says_so(name):
    with pytest.raises(ReadError, match=f"^{name}: it is empty .*; copy or export"):
        readers.read(b"", name)


@pytest.mark.parametrize("count", [10**12, 10**15 - 1, 2**31])
def test_a_header_that_promises_the_absurd_allocates_nothing(count):
    binary, ascii = "ply\nformat binary_little_endian 1.0\n", "ply\nformat ascii 1.0\n"
    vertices = f"element vertex {count}\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    polygons = f"element face {count}\nproperty list uint int vertex_indices\nend_header\n"
    heads = {
        "a.ply": f"{binary}{vertices}",
        "b.ply": f"{ascii}{vertices}1 2 3\n",
        "c.ply": f"{binary}{polygons}\xff\xff",
        "d.ply": f"{ascii}{polygons}{count} 1 2\n",
        "a.off": f"OFF\n{count} {count} 0\n0 0 0\n",
    }
    for encoding in ENCODINGS:
        heads[f"{encoding}.pcd"] = (
            f"VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {min(count, 10**12 - 1)}\nHEIGHT 1\n"
            f"POINTS {min(count, 10**12 - 1)}\nDATA {encoding}\n" + "\x10\0\0\0\xff\xff\xff\xff" * 3
        )
    document = {"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": min(count, 10**12)}
    files = {name: (text.encode("latin-1"), "") for name, text in heads.items()} | {
        "a.gltf": (gltf([document], b"\0" * 36, {"attributes": {"POSITION": 0}}), ".*promises"),
        "a.stl": (b"\0" * 80 + b"\xff\xff\xff\xff" + b"\0" * 100, ".*promises"),
    }
    for name, (data, words) in files.items():
        with pytest.raises(ReadError, match=name + words):
            readers.read(data, name)


@pytest.mark.parametrize("encoding", PLY_TYPES)
@pytest.mark.parametrize(
    ("counts", "wrong", "words"),
    [
        (b"element vertex 162", b"element vertex 150", "face.ply: .*(wrong counts|face names|truncated)"),
        (b"element face 320", b"element face 300", "face.ply: .*after the rows .* there are"),
    ],
)
def test_wrong_counts_of_a_ply_are_named(encoding, counts, wrong, words):
    with pytest.raises(ReadError, match=words):
        readers.read(ply(POINTS, FACES, encoding=encoding).replace(counts, wrong), "face.ply")


ASCII_MESH = ply(POINTS, FACES, encoding="ascii")
ABSURD_PNG = png(depth_image())[:16] + (10**6).to_bytes(4, "big") * 2 + png(depth_image())[24:]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("nan.ply", ply(np.full((2, 3), np.nan, np.float32)), "none of its 2 points is finite"),
        ("none.ply", ply(np.zeros((0, 3), np.float32)), "none of its 0 points|no points"),
        ("nan.pcd", pcd(np.full((4, 3), np.nan, np.float32), "binary", height=2), "none of its 4 points is finite"),
        ("face.ply", ASCII_MESH.replace(b"\n0.", b"\nabc0.", 1).replace(b"\n-", b"\nabc-", 1), "abc"),
        ("face.obj", b"v 0 0 0\nv 1 x1 0\n", "'x1'"),
        (
            "a.pcd",
            pcd(np.eye(3), "ascii").replace(b"WIDTH 3", b"WIDTH 2").replace(b"POINTS 3", b"POINTS 2"),
            "more.*wrong counts|data hold",
        ),
        (
            "a.pcd",
            pcd(np.eye(3)[:2], "ascii").replace(b"POINTS 2", b"POINTS 3"),
            "promises 3 POINTS, but WIDTH 2 times HEIGHT 1",
        ),
        ("frame.png", ABSURD_PNG, "1000000 × 1000000 pixels"),
        ("frame.png", png(np.zeros((30, 40), np.uint16)), "every pixel is 0"),
        ("portrait.png", png(np.zeros((4, 5, 3), np.uint8)), "picture, not a depth image"),
        (
            "notes.md",
            b"# A heading\n\nSome text.\n",
            "notes.md: its content is none of the formats .*ply.*obj.*; convert it to PLY",
        ),
        ("sidecar.json", json.dumps({"fx": 1}).encode(), "sidecar.json: its content is none"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_fault_of_the_content_is_named(name, data, words):
    with pytest.raises(ReadError, match=words):
        readers.read(data, name, sidecar(depth_image()))
