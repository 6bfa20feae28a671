"""Sheets that pass through themselves or each other are drawn apart, and nothing else moves."""

import numpy as np
import pytest
from dense_faces import lip_rims, thin_face
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from surfaces import grid_mesh

from geometry.mesh import TriangleMesh, merged
from geometry.reconstruction.untangling import Weave, averaging_of, untangled
from geometry.surfaces.patches import Patches
from geometry.surfaces.self_intersection import intersecting_triangles
from geometry.surfaces.side_swaps import cosines_about


def sheet(height: float = 0.0, upward: bool = True, step: float = 1.0, half: float = 15.0) -> TriangleMesh:
    x, y = np.meshgrid(*2 * [np.arange(-half, half + step, step)])
    flat = grid_mesh(x, y, height)
    return flat if upward else TriangleMesh(flat.vertices, flat.triangles[:, ::-1])


def apart(
    vertices: np.ndarray, template: np.ndarray, triangles: np.ndarray, averaging: sparse.csr_matrix
) -> tuple[np.ndarray, int]:
    """Each triangle is its own patch."""
    return untangled(vertices, template, Weave(Patches.of(triangles, triangles), averaging))


def drawn_apart(template: TriangleMesh, vertices: np.ndarray) -> tuple[TriangleMesh, int]:
    averaging = averaging_of(template.triangles, len(template.vertices))
    moved, left = apart(vertices, template.vertices, template.triangles, averaging)
    return template.with_vertices(moved), left


def is_clean(mesh: TriangleMesh) -> bool:
    return not len(intersecting_triangles(mesh))


@given(seed=st.integers(0, 2**32 - 1), tilt=st.floats(-1, 1))
def test_what_is_clean_comes_back_to_the_last_bit(seed, tilt):
    rng, flat = np.random.default_rng(seed), sheet()
    x, y, _ = flat.vertices.T
    height = 0.3 * np.sin(x * rng.uniform(0.1, 0.5)) * np.cos(y * rng.uniform(0.1, 0.5)) + tilt * x
    shape = flat.vertices + height[:, None] * [0, 0, 1] + rng.normal(size=3) * 100 + rng.uniform(-0.1, 0.1, flat.vertices.shape)
    moved, left = drawn_apart(flat, shape)
    assert left == 0 and np.array_equal(moved.vertices, shape)


def bent_sheet(half: float = 30.0) -> TriangleMesh:
    """Two upright arms 2 mm apart, joined below by half a tube; the numbers of both run askew to each other."""
    along, down = np.meshgrid(np.arange(-half, half + 1), np.arange(-half, half + 1) * 0.97)
    bottom = np.clip(down, -np.pi / 2, np.pi / 2)
    x, y = np.sin(bottom), np.maximum(np.abs(down) - np.pi / 2, 0) + (1 - np.cos(bottom))
    return grid_mesh(x, y, along + 0.13 * down)


@pytest.mark.parametrize("through_mm", [0.2, 1.0, 2.0])
def test_a_sheet_folded_through_itself_is_drawn_apart_and_untouched_elsewhere(through_mm):
    bent = bent_sheet()
    press = np.exp(-((bent.vertices[:, 1:] - [10.0, 1.0]) ** 2).sum(axis=1) / 18)
    folded = bent.vertices - (1 + through_mm / 2) * (press * np.sign(bent.vertices[:, 0]))[:, None] * [1, 0, 0]
    assert not is_clean(bent.with_vertices(folded))
    moved, left = drawn_apart(bent, folded)
    assert left == 0 and is_clean(moved)
    far = np.linalg.norm(bent.vertices[:, 1:] - [10.0, 1.0], axis=1) > 18
    assert far.sum() > 1000 and np.array_equal(moved.vertices[far], folded[far])


@pytest.mark.parametrize("columns, depth", [(1, 1.0), (2, 1.0), (3, 0.5)])
def test_no_triangle_of_a_pleat_looks_away_from_what_is_about_it(columns, depth):
    """A narrow one, as at the rim of a lid: its own triangles had so much say in the mean normal about them that they stayed."""
    flat = sheet()
    x, y, _ = flat.vertices.T
    under = np.clip(x, 0, columns)
    pleat = np.stack([np.minimum(x, 0) - 0.6 * under + np.maximum(x - columns, 0), y, -depth * under / columns], axis=1)
    assert cosines_about(flat.with_vertices(pleat)).min() < 0
    moved, left = drawn_apart(flat, pleat)
    assert left == 0 and cosines_about(moved).min() > 0


def two_sheets() -> TriangleMesh:
    """One 1 mm over the other, which looks up at it; no edge over another's."""
    over = sheet(1.0, upward=False)
    return merged([sheet(), over.with_vertices(over.vertices + [0.31, 0.23, 0.0])])


@settings(max_examples=10)
@given(overlap=st.floats(0.05, 2.0), width=st.floats(2.0, 3.0), seed=st.integers(0, 99))
def test_two_sheets_that_pass_through_each_other_part(overlap, width, seed):
    """Lips, as it were: a sheet pressed a way through another, each vertex tied to the one below."""
    template = two_sheets()
    centre = np.random.default_rng(seed).uniform(-4, 4, 2)
    press = np.exp(-((template.vertices[:, :2] - centre) ** 2).sum(axis=1) / (2 * width**2)) * (template.vertices[:, 2] > 0.5)
    shape = template.vertices - (1.0 + overlap) * press[:, None] * [0, 0, 1]
    assert not is_clean(template.with_vertices(shape))
    half = len(shape) // 2
    ties = np.stack([np.arange(half - 1), np.arange(half - 1) + half, np.arange(1, half)], axis=1)
    averaging = averaging_of(np.concatenate([template.triangles, ties]), len(shape))
    moved, left = apart(shape, template.vertices, template.triangles, averaging)
    assert left == 0 and is_clean(template.with_vertices(moved))


@pytest.mark.parametrize("through_mm", [1.0, 2.0])
def test_closed_lips_pushed_through_each_other_part(model, through_mm):
    face = thin_face()
    upper, lower = (np.isin(np.arange(model.n_vertices), rim) for rim in lip_rims(model))
    pushed = {True: upper, False: lower}
    own = dict(face.own)
    push = np.zeros(len(face.mean))
    for up, rim in pushed.items():
        push[[own[each] for each in np.flatnonzero(rim) if each in own]] = -1.0 if up else 1.0
    for _ in range(6):
        push = np.where(push == 0, face.averaging @ push, push)
    shape = face.mean + (0.37 + through_mm / 2) * push[:, None] * [0, 1, 0]
    near = (face.lips[face.triangles] > 0).any(axis=1) & ~face.membrane
    assert not is_clean(TriangleMesh(shape, face.triangles[near]))
    moved, left = apart(shape, face.mean, face.triangles[near], face.averaging)
    assert left == 0 and is_clean(TriangleMesh(moved, face.triangles[near]))
    far = face.mean[:, 1] > 20
    assert np.array_equal(moved[far], shape[far])


def test_triangles_larger_than_the_surroundings_that_are_looked_at_are_not_forgotten():
    """A template's triangles may be so long that their middles lie far from the vertices that were moved."""
    coarse = sheet(step=30.0, half=150.0)
    shape = np.array(coarse.vertices)
    shape[len(shape) // 2] += [130.0, 0.0, 0.0]  # takes more rounds than one
    before = TriangleMesh(shape, coarse.triangles)
    assert (before.triangle_area_vectors[:, 2] < 0).any()
    moved, left = drawn_apart(coarse, shape)
    assert left == 0 and (moved.triangle_area_vectors[:, 2] > 0).all() and is_clean(moved)


def test_what_a_template_itself_crosses_is_reported_as_left():
    flat = sheet(half=4.0)
    upright = flat.with_vertices(flat.vertices @ np.eye(3)[::-1] + [0.31, 0.23, 0.17])
    template = merged([flat, upright])
    crossing = len(np.unique(intersecting_triangles(template)))
    moved, left = drawn_apart(template, template.vertices)
    assert crossing > 0 and left >= crossing and np.isfinite(moved.vertices).all()


def test_no_triangles_no_change():
    vertices = np.random.default_rng(0).normal(size=(5, 3))
    moved, left = apart(vertices, np.zeros((5, 3)), np.zeros((0, 3), int), averaging_of(np.zeros((0, 3), int), 5))
    assert left == 0 and np.array_equal(moved, vertices)


def test_the_same_comes_out_twice_and_what_went_in_is_kept():
    template = two_sheets()
    shape = template.vertices - 3.0 * (template.vertices[:, 2:] > 0.5) * np.exp(-np.abs(template.vertices[:, :1])) * [0, 0, 1]
    kept = shape.copy()
    once, again = (drawn_apart(template, shape)[0].vertices for _ in range(2))
    assert once.tobytes() == again.tobytes() and np.array_equal(shape, kept)


def test_averaging_is_the_mean_of_the_neighbours():
    flat = sheet(half=3.0)
    averaging = averaging_of(flat.triangles, len(flat.vertices) + 1)  # one vertex without triangles
    np.testing.assert_allclose(averaging @ np.ones(len(flat.vertices) + 1), 1.0)
    inner = ~flat.boundary_vertices
    np.testing.assert_allclose((averaging[:-1, :-1] @ flat.vertices)[inner], flat.vertices[inner], atol=1e-12)
    assert averaging[-1, -1] == 1
