"""Pairs of intersecting triangles on meshes whose crossings are known."""

import numpy as np
import pytest

from geometry.mesh import TriangleMesh, merged
from geometry.surfaces.self_intersection import intersecting_triangles

FLAT = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]])
CORNERS = np.array([[0, 1, 2]])


def pairs_of(*triangles):
    return intersecting_triangles(merged([TriangleMesh(corners, CORNERS) for corners in triangles])).tolist()


def grid(n):
    """A flat square of side 1 in the plane z = 0."""
    x, y = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n))
    place = np.arange(n * n).reshape(n, n)
    a, b, c, d = (part.ravel() for part in (place[:-1, :-1], place[:-1, 1:], place[1:, 1:], place[1:, :-1]))
    triangles = np.vstack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return TriangleMesh(np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1), triangles)


@pytest.mark.parametrize("seed", range(3))
def test_one_triangle_through_another_is_one_pair_however_both_are_turned(seed):
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    through = np.array([[1.0, 1, -1], [1, 1, 1], [9, 9, 0.5]])
    assert pairs_of(FLAT @ turn, through @ turn) == [[0, 1]]
    assert pairs_of(through[[2, 0, 1]] @ turn, FLAT[::-1] @ turn) == [[0, 1]]


def test_triangles_beside_over_and_touching_each_other_are_apart():
    assert pairs_of(FLAT, FLAT + [0, 0, 0.01]) == []
    assert pairs_of(FLAT, FLAT + [5, 0, 0]) == []
    assert pairs_of(FLAT, [[3.0, 3, -1], [3, 3, 1], [9, 9, 0.5]]) == []  # through the plane, past the triangle
    assert pairs_of(FLAT, FLAT) == []  # in one plane
    assert pairs_of(FLAT, [[1.0, 1, 0], [1, 1, 1], [2, 2, 2]]) == []  # touches


def test_neighbours_do_not_count():
    folded = TriangleMesh([*FLAT, [2.0, 1, -1], [1, 2, 1]], [[0, 1, 2], [0, 3, 4]])
    assert len(intersecting_triangles(folded)) == 0
    parted = TriangleMesh([*FLAT, [0.1, 0.1, 0], [2.0, 1, -1], [1, 2, 1]], [[0, 1, 2], [3, 4, 5]])
    assert len(intersecting_triangles(parted)) == 1


def test_large_triangles_meet_small_ones():
    sheet = grid(30)
    large = TriangleMesh([[0.5, -40, -40.0], [0.5, 40, -40], [0.5, 0, 60]], CORNERS)
    pairs = intersecting_triangles(merged([sheet, large]))
    right = sheet.vertices[sheet.triangles][:, :, 0] > 0.5
    crossing = right.any(axis=1) & ~right.all(axis=1)
    assert (pairs[:, 1] == len(sheet.triangles)).all() and np.array_equal(pairs[:, 0], np.flatnonzero(crossing))


def test_two_spheres_cross_along_a_circle():
    sheet = grid(40)
    lon, lat = 2 * np.pi * sheet.vertices[:, 0], np.pi * (0.02 + 0.96 * sheet.vertices[:, 1])
    ball = np.stack([np.cos(lon) * np.sin(lat), np.sin(lon) * np.sin(lat), np.cos(lat)], axis=1)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    both = merged([sheet.with_vertices(ball), sheet.with_vertices(ball @ turn + [1.0, 0, 0])])
    pairs = intersecting_triangles(both)
    one, other = (both.vertices[both.triangles[side]].mean(axis=1) for side in pairs.T)
    assert len(pairs) > 50 and (pairs[:, 0] < len(sheet.triangles)).all() and (pairs[:, 1] >= len(sheet.triangles)).all()
    assert np.abs(one[:, 0] - 0.5).max() < 0.15 and np.abs(np.linalg.norm(other, axis=1) - 1).max() < 0.15
    apart = merged([sheet.with_vertices(ball), sheet.with_vertices(ball @ turn + [2.01, 0, 0])])
    assert len(intersecting_triangles(apart)) == 0
