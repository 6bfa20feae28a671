"""The room before and behind surfaces whose medial axis is known."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from surfaces import grid_mesh, sphere

from geometry.mesh import TriangleMesh, merged
from geometry.surfaces.room import LARGEST_MM, room_along_normals


def torus(major: float, minor: float) -> TriangleMesh:
    made = trimesh.creation.torus(major, minor, major_sections=96, minor_sections=48)
    return TriangleMesh(made.vertices, made.faces)


def sheet(height: float, upward: bool, step: float = 0.5, half: float = 12.0) -> TriangleMesh:
    x, y = np.meshgrid(*2 * [np.arange(-half, half + step, step)])
    flat = grid_mesh(x, y, height)
    return flat if upward else TriangleMesh(flat.vertices, flat.triangles[:, ::-1])


@pytest.mark.parametrize("radius", [2.0, 5.0, 9.0])
def test_inside_a_ball_is_room_for_its_radius_and_outside_for_any(radius):
    ball = sphere(radius, subdivisions=4)
    np.testing.assert_allclose(room_along_normals(ball, -1), radius, rtol=0.02)
    assert (room_along_normals(ball) == LARGEST_MM).all()
    assert (room_along_normals(sphere(40.0, subdivisions=3), -1) == LARGEST_MM).all()


@pytest.mark.parametrize("gap", [1.0, 3.0, 10.0, 60.0])
def test_between_two_sheets_is_room_for_half_of_what_parts_them(gap):
    facing = merged([sheet(0.0, upward=True), sheet(gap, upward=False)])
    middle = np.abs(facing.vertices[:, :2]).max(axis=1) < 6
    np.testing.assert_allclose(room_along_normals(facing)[middle], min(gap / 2, LARGEST_MM), rtol=0.03)
    assert (room_along_normals(facing, -1) == LARGEST_MM).all()


def test_in_a_torus_is_room_for_its_tube_and_in_its_hole_as_far_as_it_is_wide():
    ring = torus(8.0, 2.0)
    from_axis = np.linalg.norm(ring.vertices[:, :2], axis=1)
    np.testing.assert_allclose(room_along_normals(ring, -1), 2.0, rtol=0.03)
    room = room_along_normals(ring)
    np.testing.assert_allclose(room[from_axis < 6.001], 6.0, rtol=0.03)
    assert (room[from_axis > 8.0] == LARGEST_MM).all()


def test_a_vertex_without_triangles_takes_no_room():
    """As what is left of linings that a surface goes without."""
    flat = sheet(0.0, upward=True)
    lone = TriangleMesh(np.vstack([flat.vertices, [0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]), flat.triangles)
    for sign in (1, -1):
        np.testing.assert_array_equal(room_along_normals(lone, sign)[:-2], room_along_normals(flat, sign))
    assert (room_along_normals(TriangleMesh(flat.vertices, flat.triangles[:0])) == LARGEST_MM).all()


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_neither_pose_nor_numbering_matter(seed):
    rng = np.random.default_rng(seed)
    ring, turn, order = torus(5.0, 1.5), Rotation.random(random_state=rng), rng.permutation(96 * 48)
    moved = TriangleMesh(turn.apply(ring.vertices[order]) + rng.normal(size=3) * 100, np.argsort(order)[ring.triangles])
    np.testing.assert_allclose(room_along_normals(moved), room_along_normals(ring)[order], rtol=0.02)


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.05, 0.45))
def test_what_moves_by_less_than_half_of_its_room_keeps_apart(seed, share):
    """A wavy sheet over another, both moved towards each other."""
    rng = np.random.default_rng(seed)
    low, high = sheet(0.0, upward=True, step=1.0), sheet(3.0, upward=False, step=1.0)
    x, y, _ = low.vertices.T
    wave = rng.uniform(0.2, 1.0) * np.sin(x / rng.uniform(2, 5) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(2, 5))
    both = merged([low, high.with_vertices(high.vertices + wave[:, None] * [0, 0, 1])])
    moved = both.vertices + share * room_along_normals(both)[:, None] * both.vertex_normals
    lower, upper = np.split(moved, 2)
    inner = np.abs(low.vertices[:, :2]).max(axis=1) < 8
    assert (upper[inner, 2] - lower[inner, 2]).min() > 0
