"""Lines along which a skin is split: on surfaces whose lines are known."""

import numpy as np
import pytest
from scipy import sparse
from surfaces import grid_mesh

from geometry.errors import ModelError
from geometry.template.feature_lines import CONCHA_PLANE, with_concha, with_helix, with_lip_border
from geometry.template.skin_patch import Skin, boundary_loops

MARKS = {51: (0.0, 8.0, 0.0), 52: (8.0, 9.3, 0.0), 53: (18.0, 5.0, 0.0), 54: (26.3, 0.4, 0.0)}
MARKS |= {57: (0.0, -9.0, 0.0), 56: (9.0, -8.2, 0.0), 55: (19.0, -4.6, 0.0)}
MARKS = {index: np.array(mark) for index, mark in MARKS.items()}


def half_plane():
    mesh = grid_mesh(*np.meshgrid(np.linspace(0, 50, 41), np.linspace(-30, 30, 43)))
    weights = sparse.identity(len(mesh.vertices), format="csr")
    return Skin(weights, 0 * mesh.vertices, mesh.triangles, np.zeros(len(mesh.triangles), int)), mesh.vertices


def test_the_lips_border_runs_smoothly_from_midline_to_midline_through_its_marks():
    half, mean = half_plane()
    half, line = with_lip_border(half, mean, MARKS)
    points = half.points(mean)[line]
    assert np.allclose(points[[0, -1]], [MARKS[57], MARKS[51]], atol=1e-6) and points[1:-1, 0].min() > 0
    away = {index: np.linalg.norm(points - mark, axis=1).min() for index, mark in MARKS.items()}
    assert away.pop(54) < 1.2 and max(away.values()) < 0.75, "half the grid's longest edge, and the corner is cut"
    step = np.diff(points, axis=0)
    turn = np.degrees(np.abs(np.diff(np.unwrap(np.arctan2(step[:, 1], step[:, 0])))))
    assert np.sort(turn)[-3:].sum() > 60 and np.sort(turn)[:-3].max() < 15, "it turns at the corner of the mouth alone"
    edges = {frozenset(edge) for edge in half.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).tolist()}
    assert {frozenset(edge) for edge in zip(line.tolist(), line[1:].tolist())} <= edges


def test_the_rim_of_a_bowl_is_a_closed_line_in_the_concha_s_plane_from_its_frontmost_point():
    half, mean = half_plane()
    normal = np.array(CONCHA_PLANE[:3])
    right, up = np.linalg.svd(normal[None])[2][1:]
    u, v = (mean[:, :2] - (30, 0)).T
    height = np.minimum(2.0, 0.05 * (u**2 + v**2) - 3) - np.where(u < -27, 9.0, 0)  # a bowl, and beyond it a larger low part
    height -= np.where(np.abs(v) > 20, 9.0, 0)
    mean = u[:, None] * right + v[:, None] * up + (height + CONCHA_PLANE[3])[:, None] * normal / (normal @ normal)
    half, rim = with_concha(half, mean)
    points = half.points(mean)[rim]
    np.testing.assert_allclose(points @ normal, CONCHA_PLANE[3], atol=1e-9)
    distance = np.hypot(points @ right, points @ up)
    assert np.abs(distance - np.sqrt(60)).max() < 0.2 and points[0, 2] == points[:, 2].max()
    assert len(boundary_loops(half.triangles)) == 1


def test_the_helix_is_the_margin_behind_which_a_fin_faces_away():
    half, mean = half_plane()
    y, along = mean[:, 1] * 0.5, mean[:, 0] * 0.8 - 20  # a sheet from front to back, folded outward into a fin at its middle
    height = 14.0 * np.exp(-((along / 6) ** 2) - (y / 8) ** 2)
    mean = np.stack([66.5 + height, 2 + y, -118 - along - 0.9 * height], axis=1)
    half, line = with_helix(half, mean)
    points = half.points(mean)[line]
    assert points[0, 1] > 2 > points[-1, 1] and (np.diff(points[:, 1]) < 1e-9).mean() > 0.9
    middle = points[np.abs(points[:, 1] - 2).argmin()]
    assert middle[0] > 66.5 + 12, "near the crest of the fin, which is 14 mm high"


def test_a_skin_without_lips_ear_or_concha_is_refused():
    half, mean = half_plane()
    with pytest.raises(ModelError, match="no rim of a concha"):
        with_concha(half, mean)
    with pytest.raises(ModelError, match="no margin of an ear"):
        with_helix(half, mean)
    with pytest.raises(ModelError, match="no border of the lips"):
        with_lip_border(half, mean - (0, 0, 20), MARKS)
