"""Projection along directions onto surfaces whose distance is known."""

import numpy as np
import pytest
from dense_faces import followed, thin_face
from hypothesis import given
from hypothesis import strategies as st
from surfaces import grid_mesh, sphere

from geometry.mesh import TriangleMesh, merged
from geometry.reconstruction.surface_target import FACING, project

UP = np.array([0.0, 0.0, 1.0])


def plane(height: float = 0.0, turn_deg: float = 0.0, half: float = 40.0) -> TriangleMesh:
    x, y = np.meshgrid(*2 * [np.linspace(-half, half, 21)])
    flat, angle = grid_mesh(x, y), np.radians(turn_deg)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return flat.with_vertices(flat.vertices @ turn.T + height * UP)


def along(count: int, direction: np.ndarray = UP) -> np.ndarray:
    return np.tile(direction, (count, 1))


def somewhere(rng: np.random.Generator, count: int = 50, z: float | np.ndarray = 0.0) -> np.ndarray:
    return np.column_stack([rng.uniform(-20, 20, (count, 2)), np.broadcast_to(z, count)])


@given(height=st.floats(-2.9, 2.9), seed=st.integers(0, 99))
def test_offsets_to_a_plane_are_signed_distances_along_the_direction(height, seed):
    points = somewhere(np.random.default_rng(seed))
    found = project(points, along(50), followed(plane(height), sigma_mm=0.3), 4.0)
    np.testing.assert_allclose(found.offset, height, atol=1e-5)
    np.testing.assert_allclose(found.weight, 1.0, atol=1e-5)  # the last quarter of the reach begins at 3 mm
    np.testing.assert_allclose(found.sigma_mm, 0.3, atol=1e-6)


@given(turn_deg=st.floats(-40, 40), height=st.floats(-2, 2))
def test_along_a_slant_the_offset_is_longer(turn_deg, height):
    points = somewhere(np.random.default_rng(0))
    cosine = np.cos(np.radians(turn_deg))
    direction = np.array([np.sin(np.radians(turn_deg)), 0.0, cosine])
    found = project(points, along(50, direction), followed(plane(height)), 4.0)
    np.testing.assert_allclose(found.offset, height / cosine, atol=1e-5)


@pytest.mark.parametrize("offset", [-2.0, -0.1, 0.1, 2.0])
def test_points_beside_a_sphere_come_to_lie_on_it(offset):
    ball, rng = sphere(30.0, (5.0, -3.0, 2.0)), np.random.default_rng(1)
    outward = rng.normal(size=(200, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    found = project(outward * (30.0 + offset) + [5.0, -3.0, 2.0], outward, followed(ball), 4.0)
    np.testing.assert_allclose(found.offset, -offset, atol=0.01)
    assert found.weight.min() > 0.999


def test_points_of_the_surface_itself_are_told_that_they_lie_on_it():
    """A ray may not miss the triangle that it begins on by the last bit, on both sides."""
    mesh = thin_face().mesh(thin_face().mean, mouth_closed=True)
    normals = mesh.triangle_area_vectors / np.linalg.norm(mesh.triangle_area_vectors, axis=1, keepdims=True)
    found = project(mesh.vertices[mesh.triangles].mean(axis=1), normals, followed(mesh), 4.0, facing=(-1.0, -0.9))
    assert found.weight.min() > 0.9 and np.abs(found.offset).max() < 1e-3


def test_the_reach_fades_over_its_last_quarter():
    heights = np.array([2.9, 3.0, 3.25, 3.5, 3.75, 3.999, 4.001, 5.0])
    for sign in (1, -1):
        found = project(somewhere(np.random.default_rng(2), 8, -sign * heights), along(8), followed(plane()), 4.0)
        np.testing.assert_allclose(found.weight, np.clip(4 - heights, 0, 1), atol=1e-4)
        np.testing.assert_allclose(found.offset, np.where(heights < 4, sign * heights, 0), atol=1e-4)


@given(turn_deg=st.floats(-85, 85))
def test_what_faces_another_way_counts_less(turn_deg):
    found = project(somewhere(np.random.default_rng(3)) * 1e-3, along(50), followed(plane(0.0, turn_deg)), 4.0)
    low, high = FACING
    np.testing.assert_allclose(found.weight, np.clip((np.cos(np.radians(turn_deg)) - low) / (high - low), 0, 1), atol=1e-3)


def test_a_surfaces_back_does_not_count():
    back = TriangleMesh(plane(1.0).vertices, plane().triangles[:, ::-1])
    found = project(somewhere(np.random.default_rng(4)), along(50), followed(back), 4.0)
    assert (found.weight == 0).all() and (found.offset == 0).all() and (found.sigma_mm == 1).all()


def test_what_lies_far_before_a_point_fades_and_what_lies_behind_it_does_not():
    heights = np.array([0.5, 1.0, 1.5, 1.999, 2.5, 2.9])
    target, points = followed(plane(), front_mm=1.0), somewhere(np.random.default_rng(5), 6)
    ahead, behind = (project(points - sign * heights[:, None] * UP, along(6), target, 4.0) for sign in (1, -1))
    np.testing.assert_allclose(ahead.weight, np.clip(2 - heights, 0, 1), atol=1e-4)
    np.testing.assert_allclose(behind.weight, 1.0, atol=1e-4)


def test_support_and_spread_are_those_of_the_surface_there():
    sheet = plane()
    target = followed(sheet, support=(sheet.vertices[:, 0] + 40) / 80)
    points = somewhere(np.random.default_rng(6), z=1.0)
    found = project(points, along(50), target, 4.0)
    np.testing.assert_allclose(found.weight, (points[:, 0] + 40) / 80, atol=1e-5)


@given(above=st.floats(0.2, 2.9), ratio=st.floats(1.5, 4.0), up=st.booleans())
def test_of_two_surfaces_the_nearer_decides(above, ratio, up):
    heights = (above, -above / ratio) if up else (above / ratio, -above)
    nearer = min(heights, key=abs)
    found = project(somewhere(np.random.default_rng(7)), along(50), followed(merged([*map(plane, heights)])), 4.0)
    assert np.abs(found.offset - nearer).max() < 0.05 * np.ptp(heights)


def test_nothing_is_met_on_a_mesh_without_triangles_or_out_of_reach():
    empty = TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), int))
    points = somewhere(np.random.default_rng(8))
    for target in (followed(empty), followed(plane(9.0)), followed(TriangleMesh(np.zeros((4, 3)), empty.triangles))):
        found = project(points, along(50), target, 4.0)
        assert (found.weight == 0).all() and (found.offset == 0).all() and (found.sigma_mm == 1).all()
    assert project(points[:0], along(0), followed(plane()), 4.0).weight.shape == (0,)


@given(seed=st.integers(0, 2**32 - 1))
def test_weights_lie_between_0_and_1_and_all_is_finite_where_support_ends(seed):
    """What is interpolated beside a vertex without support may fall below 0 by the last bit."""
    ball, rng = sphere(30.0, subdivisions=3), np.random.default_rng(seed)
    target = followed(ball, support=rng.integers(0, 2, len(ball.vertices)))
    corners = ball.vertices[ball.triangles]
    points = np.concatenate([ball.vertices, corners.mean(axis=1), corners[:, :2].mean(axis=1)])
    outward = points / np.linalg.norm(points, axis=1, keepdims=True)
    found = project(points + rng.uniform(-1, 1, (len(points), 1)) * outward, outward, target, 4.0)
    assert found.weight.min() >= 0 and found.weight.max() <= 1 + 1e-12
    assert np.isfinite(found.offset).all() and np.abs(found.offset).max() < 1.5 and np.isfinite(found.sigma_mm).all()
