import io

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from surfaces import sphere

from geometry.mesh import TriangleMesh
from geometry.readers import read
from geometry.readers.ply_elements import read_elements
from geometry.readers.ply_writer import ply_bytes, write_ply
from geometry.readers.scan_file import ScanFile

BALL = sphere(subdivisions=2)
N = len(BALL.vertices)
COLORS = np.random.default_rng(0).integers(0, 256, (N, 3)).astype(np.uint8)
COLORED = TriangleMesh(BALL.vertices, BALL.triangles, COLORS)
ATTRIBUTES = {"observed": (np.arange(N) % 2).astype(np.uint8), "confidence": np.linspace(0, 1, N).astype(np.float32)}


def test_everything_comes_back(tmp_path):
    write_ply(tmp_path / "ball.ply", COLORED, ATTRIBUTES)
    back = read(tmp_path / "ball.ply")
    np.testing.assert_allclose(back.points, BALL.vertices, atol=1e-5)
    np.testing.assert_array_equal(back.triangles, BALL.triangles)
    np.testing.assert_array_equal(back.colors, COLORS)
    attributes = read_elements(ScanFile("ball.ply", (tmp_path / "ball.ply").read_bytes()))["vertex"]
    for name, values in ATTRIBUTES.items():
        assert attributes[name].dtype == values.dtype
        np.testing.assert_array_equal(attributes[name], values)


def test_a_file_object_gets_the_same_bytes_each_time():
    stream = io.BytesIO()
    write_ply(stream, COLORED, ATTRIBUTES)
    assert stream.getvalue() == ply_bytes(COLORED, ATTRIBUTES)


def test_trimesh_and_open3d_read_mesh_colours_and_attributes(tmp_path):
    import open3d as o3d

    path = tmp_path / "ball.ply"
    write_ply(path, COLORED, ATTRIBUTES)
    loaded = trimesh.load(path, process=False)
    np.testing.assert_array_equal(loaded.faces, BALL.triangles)
    np.testing.assert_array_equal(loaded.visual.vertex_colors[:, :3], COLORS)
    np.testing.assert_array_equal(loaded.metadata["_ply_raw"]["vertex"]["data"]["observed"].ravel(), ATTRIBUTES["observed"])
    assert len(o3d.io.read_triangle_mesh(str(path)).triangles) == len(BALL.triangles)
    cloud = o3d.t.io.read_point_cloud(str(path))
    np.testing.assert_array_equal(cloud.point["confidence"].numpy().ravel(), ATTRIBUTES["confidence"])


@given(st.floats(1e-3, 1e7))
def test_no_coordinate_is_off_by_more_than_a_ten_thousandth_of_a_millimetre(size):
    mesh = TriangleMesh(BALL.vertices / 60 * size, BALL.triangles)
    assert np.abs(read(ply_bytes(mesh)).points - mesh.vertices).max() <= 1e-4


def test_metres_are_written_in_doubles_where_float32_is_too_coarse():
    metres = TriangleMesh(BALL.vertices / 1000 + [0, 0, 5], BALL.triangles)
    assert np.abs(read(ply_bytes(metres, unit_mm=1000.0)).points - metres.vertices).max() * 1000 <= 1e-4


def test_a_cloud_and_an_empty_mesh_are_files_too():
    for n in (5, 0):
        elements = read_elements(ScanFile("some.ply", ply_bytes(TriangleMesh(np.ones((n, 3)), np.zeros((0, 3))))))
        assert len(elements["vertex"]["x"]) == n and len(elements["face"]["vertex_indices"].counts) == 0


@pytest.mark.parametrize(
    "name, values, fault",
    [
        ("x", np.zeros(N), "'x'"),
        ("two words", np.zeros(N), "two words"),
        ("short", np.zeros(3), r"\(3,\).*expected"),
        ("text", np.full(N, "a"), "no PLY type"),
    ],
)
def test_an_impossible_attribute_is_refused_by_name(name, values, fault):
    with pytest.raises(ValueError, match=fault):
        ply_bytes(BALL, {name: values})
