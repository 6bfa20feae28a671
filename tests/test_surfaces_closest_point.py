"""Distances to a mesh of many small triangles, of which only the near ones are looked at."""

import numpy as np
import pytest

from geometry.mesh import TriangleMesh
from geometry.surfaces import closest_point

SIDE = 240


@pytest.fixture(scope="module")
def waves() -> TriangleMesh:
    """A wavy sheet of 57,600 vertices, 0.5 mm apart."""
    x, y = (axis.ravel() for axis in np.meshgrid(*2 * [0.5 * np.arange(SIDE)]))
    number = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = (corner.ravel() for corner in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]))
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([b, d, c], axis=1)])
    return TriangleMesh(np.stack([x, y, 3 * np.sin(x / 5) * np.cos(y / 7)], axis=1), triangles)


@pytest.mark.parametrize("away_mm", [0.01, 0.5, 3.0, 40.0])
def test_distances_to_near_triangles_are_those_to_all(waves, away_mm):
    random = np.random.default_rng(3)
    points = random.permutation(waves.vertices)[:2000] + random.normal(0, away_mm, (2000, 3))
    expected = closest_point.surface_distance(points, waves)
    found = closest_point.distance_to_fine(points, waves)
    assert (found >= expected - 1e-5).all()
    assert np.quantile(found - expected, 0.99) < 1e-5 and (found - expected).max() < 0.1


def test_of_more_points_than_it_has_vertices_for_and_of_points_far_away_all_is_looked_at(waves, monkeypatch):
    asked = []
    monkeypatch.setattr(closest_point, "surface_distance", lambda points, mesh: asked.append(mesh) or np.zeros(len(points)))
    for points in (np.zeros((30_000, 3)), np.full((5, 3), 900.0)):
        closest_point.distance_to_fine(points, waves)
    assert [each is waves for each in asked] == [True, True]
