"""Patches of a triangulation: all triangles that cross are among those that may."""

import numpy as np
import pytest

from geometry.mesh import TriangleMesh
from geometry.surfaces.patches import Patches, may_cross
from geometry.surfaces.self_intersection import intersecting_triangles
from geometry.surfaces.subdivision import refine_region


def sheet(n):
    """A square of side 10 in the plane z = 0, each of its triangles refined, and the corners of the coarse one each lies in."""
    x, y = (side.ravel() for side in np.meshgrid(np.linspace(0, 10, n), np.linspace(0, 10, n)))
    place = np.arange(n * n).reshape(n, n)
    a, b, c, d = (part.ravel() for part in (place[:-1, :-1], place[:-1, 1:], place[1:, 1:], place[1:, :-1]))
    coarse = np.vstack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    flat = np.stack([x, y, 0 * x], axis=1)
    fine = refine_region(flat, coarse, np.ones(len(flat), bool), 0.3)
    return fine.apply(flat), Patches.of(fine.triangles, coarse[fine.parents])


def rolled(vertices, turns):
    """The sheet rolled up about y: from one turn on it meets itself."""
    angle = vertices[:, 0] / 10 * 2 * np.pi * turns
    radius = 2 + 0.05 * np.sin(3 * vertices[:, 1] + 2 * angle)
    return np.stack([radius * np.sin(angle), vertices[:, 1], radius * np.cos(angle)], axis=1)


def test_of_a_flat_sheet_nothing_may_cross():
    vertices, patches = sheet(12)
    assert len(patches) == 242 and len(patches.triangles) > 4 * len(patches)
    assert len(may_cross(patches, vertices)) == 0


@pytest.mark.parametrize("turns", [0.9, 1.2])
def test_what_crosses_on_a_rolled_sheet_is_found_among_few(turns):
    vertices, patches = sheet(24)
    vertices = rolled(vertices, turns)
    suspects = may_cross(patches, vertices)
    all_pairs = intersecting_triangles(TriangleMesh(vertices, patches.triangles))
    found = suspects[intersecting_triangles(TriangleMesh(vertices, patches.triangles[suspects]))]
    assert np.array_equal(found, all_pairs) and (len(found) > 0) == (turns > 1)
    assert len(suspects) < (0.5 if turns > 1 else 0.05) * len(patches.triangles)


def test_of_changed_patches_only_what_they_meet_is_told():
    vertices, patches = sheet(24)
    vertices = rolled(vertices, 1.2)
    changed = patches.corners.min(axis=1) < 100
    among = may_cross(patches, vertices, changed)
    pairs = intersecting_triangles(TriangleMesh(vertices, patches.triangles))
    wanted = pairs[changed[patches.number[pairs]].any(axis=1)]
    assert np.isin(wanted, among).all() and 0 < len(among) < len(may_cross(patches, vertices))
