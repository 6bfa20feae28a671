"""Carrying a model's change over to a scan: exact where it must be, detail kept, lips parted, far things at rest."""

from functools import cache

import numpy as np
import pytest
from sampled_faces import default_model

from geometry.mesh import TriangleMesh, merged
from geometry.synthesis.deformation_transfer import attach
from geometry.synthesis.fine_surface import fine_surface

BUMP_MM, WAVELENGTH_MM = 0.4, 7.0


def bumps(points):
    """Detail of a few mm wavelength that no model holds: (n,) mm, over places of the mean shape."""
    return BUMP_MM * np.prod(np.sin(2 * np.pi * points / WAVELENGTH_MM), axis=1)


@cache
def scan():
    """A finer mesh than the model's, in other triangles, with bumps: (mesh, their heights (n,), its fitted model (k, 3))."""
    model, fine = default_model(), fine_surface(default_model(), 1.2)
    skin = TriangleMesh(fine.subdivision.apply(model.mean), fine.subdivision.triangles[~(fine.excluded | fine.covered)])
    height = bumps(skin.vertices)
    return skin.with_vertices(skin.vertices + height[:, None] * skin.vertex_normals), height, model.mean


@cache
def attached():
    mesh, _, fitted = scan()
    return attach(mesh, default_model(), fitted)


def expressed(**weights):
    names = default_model().expression_names
    return default_model().instance(None, [weights.get(name, 0.0) for name in names])


def face_of_scan():
    face = fine_surface(default_model(), 1.2).subdivision.apply(default_model().regions["face"].astype(float)) > 0.5
    return face & (attached().trust > 0.5)


def test_no_change_moves_nothing_and_cuts_nothing():
    mesh, whole = attached().deformed(np.zeros((default_model().n_vertices, 3)))
    assert np.array_equal(mesh.vertices, scan()[0].vertices) and len(whole) == len(scan()[0].triangles)


def test_a_shift_of_the_model_shifts_the_scan():
    shift = np.array([1.0, -2.0, 3.0])
    moved = attached().displacement(np.tile(shift, (default_model().n_vertices, 1)))
    assert np.abs(moved[face_of_scan()] - shift).max() < 0.02


def test_the_scans_detail_rides_along_with_another_identity():
    model, (_, height, fitted) = default_model(), scan()
    change = 0.5 * np.random.default_rng(1).standard_normal(model.n_identity)
    mesh, _ = attached().deformed(model.instance(change) - fitted)
    smooth = TriangleMesh(fine_surface(model, 1.2).subdivision.apply(model.instance(change)), mesh.triangles)
    kept = ((mesh.vertices - smooth.vertices) * smooth.vertex_normals).sum(1)[face_of_scan()]
    assert np.linalg.norm(model.instance(change) - fitted, axis=1).max() > 2.0
    assert np.corrcoef(kept, height[face_of_scan()])[0, 1] > 0.97
    assert np.std(kept - height[face_of_scan()]) < 0.15 * np.std(height)


def test_an_opening_jaw_parts_closed_lips_and_nothing_else():
    model, (mesh, _, fitted) = default_model(), scan()
    # the scanner has joined the lips: one more strip of skin over the gap that the membrane closes
    fine = fine_surface(model, 1.2)
    joined = attach(TriangleMesh(mesh.vertices, fine.subdivision.triangles), model, fitted)
    _, whole = joined.deformed(expressed(jawOpen=0.6) - fitted)
    cut = np.setdiff1d(np.arange(len(fine.subdivision.triangles)), whole)
    mouth = model.mean[model.regions["mouth_interior"]].mean(0)
    assert len(cut) > 20
    assert np.linalg.norm(mesh.vertices[fine.subdivision.triangles[cut]].mean(1) - mouth, axis=1).max() < 40
    assert len(attached().deformed(expressed(mouthSmile_L=0.5, mouthSmile_R=0.5) - fitted)[1]) > len(mesh.triangles) - 60


@cache
def with_a_far_piece():
    """The scan with a triangle 150 mm before it as its last vertices, and how it moves (n, 3) where the model moves 5 mm."""
    corners = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0]]) + [0, 0, 150]
    tied = attach(merged([scan()[0], TriangleMesh(corners, np.array([[0, 1, 2]]))]), default_model(), scan()[2])
    return tied, tied.displacement(np.tile([0.0, 0, 5.0], (default_model().n_vertices, 1)))


def test_what_lies_far_from_the_model_has_no_trust_and_is_still_dragged_along():
    tied, moved = with_a_far_piece()
    assert (tied.trust[-3:] < 1e-3).all() and tied.distance[-3:] == pytest.approx(150, abs=10)
    assert moved[-3:, :2] == pytest.approx(0, abs=1e-6) and (moved[-3:, 2] > 3.5).all()  # a known limit: the next test


@pytest.mark.xfail(
    strict=True, reason="the stiffness ties every separate piece to the main one, so a far one moves nearly as far"
)
def test_what_lies_far_from_the_model_comes_to_rest():
    assert np.abs(with_a_far_piece()[1][-3:]).max() < 0.5
