"""A texture layout is conformal, mirror-symmetric and without overlap, on surfaces whose answers are known."""

import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from scipy.spatial import Delaunay
from surfaces import grid_mesh

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh, merged
from geometry.model.texture_layout import TextureLayout
from geometry.template.skin_patch import boundary_loops
from geometry.template.texture_layout import layout_figures, texture_layout
from geometry.transforms import MIRROR


def both_halves(points, triangles):
    """A surface of its half x ≥ 0 and the mirror image, and its vertex pairing."""
    aside, image = np.flatnonzero(points[:, 0] > 1e-9), np.arange(len(points))
    image[aside] = len(points) + np.arange(len(aside))
    points = np.where(np.abs(points) < 1e-9, 0, points)
    mesh = TriangleMesh(np.vstack([points, points[aside] * MIRROR]), np.vstack([triangles, image[triangles][:, ::-1]]))
    return mesh, np.append(image, aside)


def half_dome(radius, reach, step):
    """The half x ≥ 0 of a sphere about the origin, but for what is farther than `reach` rad from the top (0, radius, 0)."""
    rings = [np.linspace(-np.pi / 2, np.pi / 2, max(round(np.pi * r / step), 3)) for r in np.arange(step, reach, step)]
    away = np.append(0, np.repeat(np.arange(step, reach, step), [len(ring) for ring in rings]))
    around = np.concatenate([[0], *rings])
    triangles = Delaunay(np.stack([away * np.cos(around), away * np.sin(around)], axis=1).round(12)).simplices
    points = radius * np.stack([np.sin(away) * np.cos(around), np.cos(away), np.sin(away) * np.sin(around)], axis=1)
    a, b, c = points[triangles].swapaxes(0, 1)
    inward = (np.cross(b - a, c - a) * (a + b + c)).sum(axis=1) < 0
    return points, np.where(inward[:, None], triangles[:, ::-1], triangles)


def dome(radius, reach, turned):
    """Both halves of a small dome; turned: its top, (0, radius, 0), points along -z."""
    mesh, pair = both_halves(*half_dome(radius, reach, 0.25))
    return mesh.with_vertices(
        mesh.vertices[:, [0, 2, 1]] * (1, 1, -1) if turned else mesh.vertices[:, [0, 2, 1]] * (1, -1, 1)
    ), pair


@cache
def head():
    """A ball of 90 mm that ends at a neck, its frontmost point the origin, with openings for eyes and mouth; behind them eyeballs
    and a bag. Its mesh, vertex pairing and regions."""
    eye, mouth = np.array([30.0, 20.0, -8.0]), np.array([0.0, -35.0, -8.0])
    points, triangles = half_dome(90.0, 2.5, 0.07)
    points = points - [0, 0, 90]
    middle = points[triangles].mean(axis=1)
    used, triangles = np.unique(
        triangles[np.minimum(*(np.linalg.norm(middle - place, axis=1) for place in (eye, mouth))) > 11], return_inverse=True
    )
    skin, pair = both_halves(points[used], triangles.reshape(-1, 3))
    ball, bag = dome(12.0, 1.2, turned=False)[0], dome(14.0, 2.2, turned=True)
    left = ball.with_vertices(ball.vertices + eye - [0, 0, 12])
    right = TriangleMesh(left.vertices * MIRROR, left.triangles[:, ::-1])
    pieces = [skin, bag[0].with_vertices(bag[0].vertices + mouth - [0, 0, 12]), left, right]
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    pairs = np.concatenate([pair, bag[1] + starts[1], np.arange(starts[3], starts[4]), np.arange(starts[2], starts[3])])
    mesh = merged(pieces)
    outer = np.arange(starts[-1]) < starts[1]
    face = outer & (mesh.vertices[:, 2] > -60) & (np.abs(mesh.vertices[:, 1]) < 60)
    lips = outer & (np.linalg.norm(mesh.vertices - mouth, axis=1) < 16)
    return mesh, pairs, {"face": face, "mouth_interior": lips, "cavities": ~outer}


def laid_out(mesh, mirror_vertex, regions):
    return texture_layout(mesh.vertices, mesh.triangles, mirror_vertex, regions)


def figures(mesh, layout, mirror_vertex, face):
    return layout_figures(mesh.vertices, mesh.triangles, layout, face, mirror_vertex)


def test_a_surface_that_unrolls_is_laid_out_without_distortion():
    x, y = np.meshgrid(np.linspace(0, 1.5, 16), np.linspace(0, 120, 41))
    half = grid_mesh(x, y)
    mesh, pair = both_halves(np.stack([50 * np.sin(x), y, 50 * np.cos(x)], 2).reshape(-1, 3), half.triangles)
    all_of_it = np.ones(len(mesh.vertices), bool)
    regions = {"face": all_of_it, "mouth_interior": np.abs(mesh.vertices[:, 1] - 60) < 1, "cavities": ~all_of_it}
    found = figures(mesh, laid_out(mesh, pair, regions), pair, all_of_it)
    width = 30 * 2 * 50 * np.sin(0.05)  # of the 30 strips
    assert np.allclose(found.angle, 1, atol=1e-5)
    assert np.allclose(found.texels, (2048 / (width * (1 + 2 / 128))) ** 2)
    assert found.turned == 0 and found.overlap == 0 and found.asymmetry < 1e-12


def test_a_heads_layout_is_conformal_symmetric_and_without_overlap():
    mesh, pair, regions = head()
    layout = laid_out(*head())
    found = figures(mesh, layout, pair, regions["face"])
    assert found.angle[0] < 1.02 and found.texels[1] > 9
    assert found.turned == 0 and found.overlap == 0 and found.asymmetry < 1e-12
    assert layout.uv.min() > 0 and layout.uv.max() < 1
    assert np.array_equal(layout.corner_vertex[layout.triangles], mesh.triangles)


def test_each_piece_is_one_chart_cut_along_the_midline_behind_the_face():
    mesh, pair, regions = head()
    layout = laid_out(*head())
    flat = TriangleMesh(np.column_stack([layout.uv, np.zeros(len(layout.uv))]), layout.triangles)
    charts = np.unique(flat.component_labels)
    assert len(charts) == len(np.unique(mesh.component_labels)) == 4
    rows = np.bincount(layout.corner_vertex)
    split = mesh.vertices[(rows == 2) & ~regions["cavities"]]
    assert rows.max() == 2 and (split[:, 0] == 0).all() and (pair[rows == 2] == np.flatnonzero(rows == 2)).all()
    assert np.linalg.norm(split[:, None] - mesh.vertices[regions["face"]], axis=2).min() > 8
    assert split[:, 1].min() == mesh.vertices[regions["cavities"] < 1, 1].min() and split[:, 1].max() > 89
    assert (split[split[:, 1] < 0, 2] < -90).all()
    skin = layout.triangles[~regions["cavities"][mesh.triangles].any(axis=1)]
    assert len(boundary_loops(skin)) == 4, "outline, two eyes and the mouth"
    behind = regions["cavities"][layout.corner_vertex]
    assert layout.uv[behind, 1].min() > layout.uv[~behind, 1].max()
    left_eye = behind & (mesh.vertices[layout.corner_vertex, 0] > 15)
    assert layout.uv[left_eye, 0].min() > 0.7, "on the subject's left, in the corner"


def test_triangles_that_a_conformal_map_of_an_uneven_mesh_turns_over_are_mended():
    mesh, pair, regions = head()
    noise = np.random.default_rng(1).normal(scale=2, size=mesh.vertices.shape)
    noise[regions["cavities"] | (np.abs(mesh.vertices[:, 0]) < 12)] = 0
    uneven = mesh.with_vertices(mesh.vertices + (noise + noise[pair] * MIRROR) / 2)
    found = figures(uneven, laid_out(uneven, pair, regions), pair, regions["face"])
    assert (found.turned, found.overlap) == (0, 0) and found.asymmetry < 1e-12 and found.angle[0] < 1.2


def by_hand(uv):
    """Two right triangles of 1 mm² each beside x = 0, at places of your own."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [-1, 0, 0]], float)
    triangles, pair = np.array([[0, 1, 2], [0, 2, 3]]), np.array([0, 3, 2, 1])
    layout = TextureLayout(np.array(uv, float), np.array([[0, 1, 2], [3, 4, 5]]), np.array([0, 1, 2, 0, 2, 3]))
    return layout_figures(vertices, triangles, layout, np.ones(4, bool), pair)


LEFT = [(0.5, 0), (0.6, 0), (0.5, 0.2)]


def test_figures_count_stretch_overlap_turns_and_asymmetry():
    true = by_hand([*LEFT, (0.5, 0), (0.5, 0.2), (0.4, 0)])
    assert np.allclose(true.angle, 1) and np.allclose(true.texels, 0.01 * 2048**2)
    assert (true.turned, true.overlap) == (0, 0) and true.asymmetry < 1e-12
    wide = by_hand([*LEFT, (0.5, 0), (0.5, 0.2), (0.2, 0)])
    assert np.allclose(wide.angle[2], 3) and wide.asymmetry == pytest.approx(0.2)
    assert wide.texels[1] == pytest.approx(0.02 * 2048**2)
    turned = by_hand([*LEFT, (0.5, 0), (0.5, 0.2), (0.6, 0)])
    assert turned.turned == 1 and turned.overlap == 1 and turned.asymmetry == pytest.approx(0.2)
    partly = by_hand([*LEFT, (0.55, 0), (0.55, 0.2), (0.45, 0)])  # both cover a gable, 0.05 wide, 0.1 high at its ends and 0.15
    assert partly.turned == 0 and partly.overlap == pytest.approx(0.00625 / (0.02 - 0.00625), rel=0.002)


def test_what_cannot_be_laid_out_is_said(monkeypatch):
    mesh, pair, regions = head()
    with pytest.raises(ModelError, match="mouth_interior"):
        laid_out(mesh, pair, {name: mask for name, mask in regions.items() if name != "mouth_interior"})
    with pytest.raises(ModelError, match="4 pieces"):
        laid_out(mesh, pair, regions | {"cavities": np.zeros(len(pair), bool)})
    with pytest.raises(ModelError, match="no face"):
        laid_out(mesh, pair, regions | {"face": regions["cavities"]})
    monkeypatch.setitem(sys.modules, "igl", None)
    with pytest.raises(ModelError, match=r"pip install 'face-relief\[template\]'"):
        laid_out(*head())


def test_laying_out_loads_no_library_under_the_gpl():
    """In a process of its own: what else the tests load does not count."""
    code = "import sys, igl; igl.lscm, igl.slim_solve; print([name for name in sys.modules if 'copyleft' in name])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
