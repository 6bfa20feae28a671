"""A depth buffer sees what rays meet."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surfaces import bumpy_mesh

from geometry.mesh import TriangleMesh
from pipeline.pictures import depth_buffer
from pipeline.pictures.casting import Surface, View
from pipeline.pictures.depth_buffer import nearest_triangles

SHAPE = (6, 8)


def seen(pixels, depth, triangles):
    return nearest_triangles(np.array(pixels, float), np.array(depth, float), np.array(triangles).reshape(-1, 3), SHAPE)


def test_a_triangle_holds_the_centres_within_it_and_on_its_sides():
    triangle, uv, depth = seen([(1, 1), (5, 1), (1, 4)], [0, 4, 3], [0, 1, 2])
    expected = [
        (row, column) for row in range(6) for column in range(8) if row >= 1 and column >= 1 and 3 * column + 4 * row <= 19
    ]
    assert np.argwhere(triangle.reshape(SHAPE) == 0).tolist() == [list(place) for place in expected]
    row, column = np.array(expected).T
    places = row * 8 + column
    np.testing.assert_allclose(uv[places], np.stack([(column - 1) / 4, (row - 1) / 3], axis=1), atol=1e-12)
    np.testing.assert_allclose(depth[places], column - 1 + row - 1, atol=1e-12)
    assert np.isneginf(depth[triangle < 0]).all()


def test_the_nearest_counts_and_of_equals_the_first():
    square = [(0, 0), (7, 0), (0, 5), (7, 5)]
    pixels, corners = square * 3, np.array([[0, 1, 2], [1, 3, 2]])
    triangle, _, depth = seen(pixels, [1] * 4 + [2] * 4 + [2] * 4, np.concatenate([corners, corners + 4, corners + 8]))
    assert set(triangle.tolist()) == {2, 3} and (depth == 2).all()


@pytest.mark.parametrize("triangles", [[], [[0, 1, 1]], [[0, 1, 2]]], ids=["none", "a point twice", "on a line"])
def test_what_has_no_area_is_not_seen(triangles):
    triangle, uv, depth = seen([(1, 1), (3, 3), (5, 5)], [0, 0, 0], np.array(triangles, int))
    assert (triangle == -1).all() and not uv.any() and np.isneginf(depth).all()


def test_what_lies_outside_is_not_seen():
    assert (seen([(-9, -9), (-2, -9), (-2, -1)], [0, 0, 0], [0, 1, 2])[0] == -1).all()
    assert (seen([(8.5, 0), (30, 0), (9, 30)], [0, 0, 0], [0, 1, 2])[0] == -1).all()
    assert (seen([(-100, -100), (300, -100), (-100, 300)], [0, 0, 0], [0, 1, 2])[0] == 0).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.floats(2.0, 60.0), yaw=st.floats(-1.0, 1.0))
def test_it_sees_what_rays_meet(seed, size, yaw):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-60, 60, (200, 1, 3)) + rng.normal(size=(200, 3, 3)) * size / 3 + [0, 6, -60]
    mesh = TriangleMesh(corners.reshape(-1, 3), np.arange(600).reshape(-1, 3))
    same_as_by_rays(mesh, View(60, 70, 2.3, yaw=yaw))


def test_it_sees_of_a_fine_surface_what_rays_meet():
    mesh = bumpy_mesh()
    same_as_by_rays(mesh.with_vertices(mesh.vertices + [0.01, 0.02, 0]), View(264, 296, 0.735, yaw=0.6))


def same_as_by_rays(mesh: TriangleMesh, view: View) -> None:
    """But for pixels whose rays pass by a side within float32."""
    surface = Surface(mesh, mesh.vertices)
    layer = surface.seen_by(view)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depth_buffer, "MOST_PAIRS", -1)
        other = surface.seen_by(view)
    assert (layer.hit != other.hit).mean() < 2e-3
    both = layer.hit & other.hit
    points, met = np.zeros((2, *layer.hit.shape, 3))
    points[layer.hit], met[other.hit] = layer.points, other.points
    assert (np.linalg.norm(points[both] - met[both], axis=1) > 0.01).mean() < 5e-3
    np.testing.assert_allclose(layer.values, layer.points, atol=0.01)
