"""Seen landmarks are points of the surface that is written; others stay where they were inferred."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled_faces import default_model as model

from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.on_surface import REACH_MM, on_surface
from geometry.mesh import TriangleMesh
from geometry.surfaces.closest_point import surface_distance

SKIN = TriangleMesh(model().mean, model().triangles)
KNOWN = np.ones(model().n_vertices, bool)
MARKS = np.asarray(model().landmarks["ibug68"])


def estimate(points: np.ndarray, seen: np.ndarray | bool = True) -> LandmarkEstimate:
    count = len(points)
    return LandmarkEstimate(points, np.tile(np.eye(3), (count, 1, 1)), np.full(count, 0.9), np.broadcast_to(seen, count).copy())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 1.5))
def test_what_was_seen_comes_to_lie_on_the_surface_and_moves_no_farther_than_there(seed, length):
    direction = np.random.default_rng(seed).standard_normal((68, 3))
    points = model().mean[MARKS] + length * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    found = on_surface(estimate(points), SKIN, KNOWN)
    assert surface_distance(found.points, SKIN).max() < 1e-4
    np.testing.assert_allclose(np.linalg.norm(found.points - points, axis=1), surface_distance(points, SKIN), atol=1e-4)
    np.testing.assert_allclose(on_surface(found, SKIN, KNOWN).points, found.points, atol=1e-4)


def test_inferred_ones_unknown_ones_and_those_far_from_the_surface_stay():
    points = model().mean[MARKS] + [0.0, 0.0, 1.0]
    seen = np.arange(68) >= 20
    points[30], points[40] = points[30] + [0.0, 0.0, 2 * REACH_MM[1]], np.nan
    nobody_saw = KNOWN & (np.linalg.norm(SKIN.vertices - SKIN.vertices[MARKS[57]], axis=1) > 15)
    found = on_surface(estimate(points, seen), SKIN, nobody_saw)
    stay = ~seen | np.isin(np.arange(68), (30, 40)) | ~nobody_saw[MARKS]
    assert (stay & seen).sum() > 3
    np.testing.assert_array_equal(found.points[stay], points[stay])
    at_the_rim = np.linalg.norm(points - SKIN.vertices[MARKS[57]], axis=1) < 22
    assert (found.points[~stay & ~at_the_rim] != points[~stay & ~at_the_rim]).any(axis=1).all()
    stay &= ~at_the_rim | ~seen
    np.testing.assert_array_equal(found.points[stay], points[stay])
    for name in ("covariance", "confidence", "seen"):
        np.testing.assert_array_equal(getattr(found, name), getattr(estimate(points, seen), name))


def test_without_a_surface_nothing_moves():
    points = model().mean[MARKS]
    for mesh in (TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int32)), SKIN.with_vertices(SKIN.vertices + 500.0)):
        np.testing.assert_array_equal(on_surface(estimate(points), mesh, np.ones(len(mesh.vertices), bool)).points, points)


def test_between_near_and_far_a_landmark_goes_a_part_of_the_way():
    nose = MARKS[30]
    moved = []
    for height in (REACH_MM[0] - 0.01, REACH_MM[0] + 0.01, sum(REACH_MM) / 2, REACH_MM[1] - 0.01, REACH_MM[1] + 0.01):
        points = model().mean[MARKS].copy()
        points[30] += height * SKIN.vertex_normals[nose]
        moved.append(np.linalg.norm(on_surface(estimate(points), SKIN, KNOWN).points[30] - points[30]))
    assert moved[0] > 1.0 and abs(moved[1] - moved[0]) < 0.05 and moved[3] < 0.1 and moved[4] == 0
