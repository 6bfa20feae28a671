"""Feature warps move what they are told, mirror exactly, keep touching parts together, slide lids on eyeballs, fold nothing."""

import inspect
import re
from functools import lru_cache

import numpy as np
import pytest
from shared_files import ICT, needs
from test_template import coarse

from geometry.errors import ModelError
from geometry.learning import model_card as model_card_module
from geometry.learning.feature_warps import WARPS, anchors, feature_factors, interpolated, spread, warp_fields
from geometry.learning.model_figures import warp_spreads
from geometry.learning.model_learning import LearningOptions, SurfaceNorm, learn, project
from geometry.mesh import TriangleMesh
from geometry.model.registry import load_model
from geometry.surfaces.closest_point import surface_distance
from geometry.template.cavities import fitted_sphere
from geometry.transforms import MIRROR


@lru_cache(maxsize=1)
def head():
    """The coarse head template, its symmetric mean, and each warp's field."""
    template, _ = coarse()
    mean = template.mean(load_model(ICT).mean)
    mean = (mean + mean[template.mirror_vertex] * MIRROR) / 2
    mesh = TriangleMesh(mean, template.triangles)
    return template, mesh, warp_fields(mesh, template.landmarks, template.regions)


def test_interpolation_meets_its_handles_is_linear_and_ends_at_its_reach():
    rng = np.random.default_rng(0)
    handles, motions = rng.uniform(0, 20, (5, 3)), rng.normal(size=(5, 3))
    assert np.allclose(interpolated(handles, handles, motions, 15.0), motions)
    assert not interpolated(handles + 60.0, handles, motions, 15.0).any()
    points = rng.uniform(0, 20, (30, 3))
    whole = interpolated(points, handles, motions, 15.0)
    assert np.allclose(whole, interpolated(points, handles, 2 * motions, 15.0) / 2)
    line = np.array([[0.0, 0, 0], [3.0, 0, 0], [10.0, 0, 0]])
    one = interpolated(line, line[:1], np.array([[0.0, 1.0, 0.0]]), 6.0)
    assert np.allclose(one[:, 1], [1.0, 0.5**4 * 3, 0.0])  # Wendland's function at 0, 1/2 and beyond 1


def test_a_sphere_is_found_from_a_cap_of_it():
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(50, 3)) * [1, 1, 0.2] + [0, 0, 2]
    points = np.array([3.0, -4.0, 5.0]) + 12.0 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    centre, radius = fitted_sphere(points)
    assert np.allclose(centre, [3, -4, 5]) and radius == pytest.approx(12.0)


def test_spread_is_that_of_sampled_faces():
    rng = np.random.default_rng(2)
    mean, landmarks = rng.uniform(-50, 50, (68, 3)), np.arange(68)
    modes = rng.normal(size=(6, 68, 3)) * 0.05
    sampled = mean + np.tensordot(rng.standard_normal((4000, 6)), modes, axes=1)
    table = spread(mean, modes, landmarks)
    for warp in WARPS:
        if warp.measure and warp.published:
            a, b = warp.measure
            distance = np.linalg.norm(sampled[:, a] - sampled[:, b], axis=1)
            assert table[warp.name] == (warp.published, pytest.approx(distance.std(), rel=0.06))


@needs(ICT)
def test_every_warp_moves_its_handles_and_keeps_its_pins():
    template, mesh, fields = head()
    places = anchors(mesh, template.landmarks, template.regions)
    vertex = {name: int(np.linalg.norm(mesh.vertices - place, axis=1).argmin()) for name, place in places.items()}
    lids = {
        "inner",
        "outer",
        "upper",
        "upper_in",
        "upper_out",
        "lower",
        "lower_in",
        "lower_out",
        "bag_in",
        "bag_out",
        "crease_in",
        "crease",
    }
    lids |= {"crease_out", "bag", "hood", "sulcus", "sulcus_out"}  # what is near the eyeball slides instead
    for warp, field in zip(WARPS, fields):
        for name, motion in warp.moves.items():
            if name not in lids:
                assert np.allclose(field[vertex[name]], warp.sigma * np.array(motion), atol=0.05 * warp.sigma), (warp.name, name)
            else:
                assert field[vertex[name]] @ motion > 0.1 * warp.sigma * np.dot(motion, motion), (warp.name, name)
        for name in warp.pins.split():
            assert np.linalg.norm(field[vertex[name]]) < 0.05 * warp.sigma, (warp.name, name)
        assert np.linalg.norm(field, axis=1).max() < 1.6 * warp.sigma * max(
            np.linalg.norm(motion) for motion in warp.moves.values()
        )


@needs(ICT)
def test_each_factor_is_its_own_mirror_image_or_the_opposite_and_sides_are_correlated_as_stated():
    template, mesh, fields = head()
    factors = feature_factors(mesh, template.landmarks, template.regions, template.mirror_vertex)
    assert len(factors) == len(WARPS) + sum(warp.sides == "pair" for warp in WARPS)
    mirrored = factors[:, template.mirror_vertex] * MIRROR
    signs = np.sign((mirrored * factors).sum(axis=(1, 2)))
    assert np.abs(mirrored - signs[:, None, None] * factors).max() < 1e-12
    far = np.linalg.norm(fields[-1], axis=1).argmax()  # an ear: no other side's warp reaches it
    twin, pair = template.mirror_vertex[far], factors[-2:]
    assert (pair[:, far] ** 2).sum() == pytest.approx((fields[-1][far] ** 2).sum())
    assert (pair[:, far] * pair[:, twin] * MIRROR).sum() == pytest.approx(0.9 * (fields[-1][far] ** 2).sum())


@needs(ICT)
def test_no_triangle_of_the_outer_surface_turns_over_at_three_standard_deviations():
    template, mesh, fields = head()
    outer = ~template.regions["cavities"][mesh.triangles].any(axis=1)
    before = mesh.triangle_area_vectors[outer]
    for warp, field in zip(WARPS, fields):
        for times in (-3, 3):
            after = mesh.with_vertices(mesh.vertices + times * field).triangle_area_vectors[outer]
            cosine = (after * before).sum(axis=1) / np.linalg.norm(after, axis=1) / np.linalg.norm(before, axis=1)
            assert cosine.min() > 0.3, (warp.name, times, cosine.min())


@needs(ICT)
def test_lids_slide_on_eyeballs_and_lips_stay_with_the_cavity_behind_them():
    template, mesh, fields = head()
    cavities = template.regions["cavities"]
    ball = template.regions["eyeballs"] & (mesh.vertices[:, 0] > 0)
    centre, radius = fitted_sphere(mesh.vertices[ball])
    rim = mesh.submesh(~cavities)
    rim = rim[1][rim[0].boundary_vertices]
    lids = rim[np.linalg.norm(mesh.vertices[rim] - centre, axis=1) < radius + 1.5]
    inner = np.flatnonzero(template.regions["mouth_cavity"])
    gap = np.linalg.norm(mesh.vertices[inner][:, None] - mesh.vertices[rim][None], axis=2)
    lip, behind = rim[gap.argmin(axis=1)][gap.min(axis=1) < 1e-6], inner[gap.min(axis=1) < 1e-6]
    assert len(lids) > 10 and len(lip) > 10
    for warp, field in zip(WARPS, fields):
        assert np.allclose(field[lip], field[behind], atol=1e-9)
        assert np.ptp(field[ball], axis=0).max() < 1e-9 and field[ball].any() == warp.carries_eye
        for times in (-3, 3):
            moved = mesh.vertices[lids] + times * (field[lids] - field[ball][0])
            change = np.linalg.norm(moved - centre, axis=1) - np.linalg.norm(mesh.vertices[lids] - centre, axis=1)
            assert np.abs(change).max() < 0.35, (warp.name, times)


@needs(ICT)
def test_amplitudes_are_about_half_of_what_is_published():
    template, mesh, _ = head()
    factors = feature_factors(mesh, template.landmarks, template.regions, template.mirror_vertex)
    for name, (published, warped) in spread(mesh.vertices, factors, template.landmarks).items():
        assert 0.2 < warped / published < 0.85, (name, published, warped)


@needs(ICT)
def test_handles_that_coincide_are_refused():
    template, mesh, _ = head()
    marks = template.landmarks.copy()
    marks[42] = marks[45]
    with pytest.raises(ModelError, match="warp 'outer canthus sideways': its handles"):
        warp_fields(mesh, marks, template.regions)


@needs(ICT)
def test_a_model_with_warps_reaches_warped_faces_that_one_without_does_not():
    template, mesh, _ = head()
    factors = feature_factors(mesh, template.landmarks, template.regions, template.mirror_vertex)
    face = template.regions["face"]
    norm = SurfaceNorm(mesh.vertex_normals, mesh.vertex_areas * face, 0.1)
    warped = mesh.vertices + np.tensordot(np.random.default_rng(3).standard_normal(len(factors)), factors, axes=1)
    errors = []
    for sigma in (0.0, 1.0):
        options = LearningOptions(subjects=200, identity_modes=100, local_factors=20, feature_sigma=sigma)
        learned = learn(load_model(ICT), template, options)
        errors.append(surface_distance(warped[face], learned.mesh(project(learned, warped, norm))).mean())
    assert errors[1] < 0.8 * errors[0], errors


@needs(ICT)
def test_the_card_states_what_each_warp_adds():
    template, _, _ = head()
    options = LearningOptions(subjects=50, identity_modes=20, local_factors=10)
    learned = learn(load_model(ICT), template, options)
    spreads = warp_spreads(load_model(ICT), template, learned)
    figures = dict.fromkeys(re.findall(r"{(\w+):", inspect.getsource(model_card_module)), 1.0)
    keys = ("vertices", "cavity_vertices", "triangles", "expression_modes", "face_vertices", "bytes")
    card = model_card_module.model_card(learned, figures | dict.fromkeys(keys, 1), "COMMAND", spreads, {"jawOpen": 0.5})
    published, source, warps, _ = spreads["mouth width"]
    assert f"| mouth width | 3.65 | {source:.2f} | {warps:.2f} |" in card and published == 3.65
