"""How a surface bends, on surfaces of which it is known."""

import numpy as np
import open3d as o3d
import pytest

from geometry.mesh import TriangleMesh
from geometry.surfaces.shape_operator import shape_operators


def mesh_of(shape: o3d.geometry.TriangleMesh) -> TriangleMesh:
    return TriangleMesh(np.asarray(shape.vertices), np.asarray(shape.triangles))


def test_a_sphere_bends_alike_in_every_direction():
    sphere = mesh_of(o3d.geometry.TriangleMesh.create_icosahedron(1.0).subdivide_loop(0).subdivide_midpoint(4))
    ball = sphere.with_vertices(40 * sphere.vertices / np.linalg.norm(sphere.vertices, axis=1, keepdims=True))
    found, normals = shape_operators(ball), ball.vertex_normals
    plane = np.eye(3) - normals[:, :, None] * normals[:, None, :]
    np.testing.assert_allclose(found, plane / 40, atol=0.04 / 40)


def test_a_cylinder_bends_about_its_axis_alone():
    tube = mesh_of(o3d.geometry.TriangleMesh.create_cylinder(radius=15, height=100, resolution=90, split=60))
    inner = (np.abs(tube.vertices[:, 2]) < 40) & (np.hypot(*tube.vertices[:, :2].T) > 14)
    values = np.linalg.eigvalsh(shape_operators(tube)[inner])
    np.testing.assert_allclose(values, np.tile([0, 0, 1 / 15], (inner.sum(), 1)), atol=0.01 / 15)


def test_a_saddle_bends_both_ways_and_a_hollow_inward():
    x, y = np.meshgrid(np.linspace(-5, 5, 41), np.linspace(-5, 5, 41))
    cells = np.arange(41 * 41).reshape(41, 41)
    a, b, c, d = cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]
    triangles = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])
    for heights, bends in (((x**2 - y**2) / 60, (-1 / 30, 1 / 30)), ((x**2 + y**2) / 60, (-1 / 30, -1 / 30))):
        sheet = TriangleMesh(np.stack([x, y, heights], -1).reshape(-1, 3), triangles)
        middle = shape_operators(sheet)[cells[20, 20]]
        assert np.linalg.eigvalsh(middle[:2, :2]) == pytest.approx(bends, rel=0.03)


def test_no_bend_is_told_where_there_is_none_to_tell_and_none_larger_than_asked():
    lone = TriangleMesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 9, 9]]), np.array([[0, 1, 2]]))
    assert not shape_operators(lone).any()
    small = mesh_of(o3d.geometry.TriangleMesh.create_sphere(radius=2, resolution=20))
    np.testing.assert_allclose(np.linalg.norm(shape_operators(small, 0.15), axis=(1, 2)), 0.15, rtol=1e-6)
