"""Learning: exact where the population is linear, close on held-out shapes of the source, small enough to ship."""

import inspect
import re
from dataclasses import replace

import numpy as np
import pytest
from sampled_faces import SHIPPED_MODEL
from shared_files import ICT, needs
from surfaces import grid_mesh
from test_template import coarse, source_in_the_frame_of

from geometry.errors import ModelError
from geometry.learning import model_card as model_card_module
from geometry.learning.model_card import model_card
from geometry.learning.model_figures import held_out_errors, in_frame_of
from geometry.learning.model_learning import (
    LearningOptions,
    SurfaceNorm,
    learn,
    local_factors,
    mirror_name,
    population_moments,
    principal_modes,
    project,
    symmetric_modes,
    with_eyeballs_in_lids,
)
from geometry.mesh import TriangleMesh
from geometry.model.registry import load_model
from geometry.surfaces.closest_point import closest_points, surface_distance
from geometry.surfaces.raycasting import interpolate
from geometry.template.remeshing import smallest_angles
from geometry.transforms import MIRROR


def plain_norm(n):
    return SurfaceNorm(np.tile([0.0, 0.0, 1.0], (n, 1)), np.ones(n), 1.0)


def test_principal_modes_are_those_of_the_sampled_covariance():
    rng = np.random.default_rng(0)
    factors, scores = rng.normal(size=(5, 30, 3)), rng.normal(size=(400, 5)) * [3, 2, 1, 0.5, 0.1]
    modes = principal_modes(factors, scores.T @ scores / 400, plain_norm(30), 4)
    _, singular, axes = np.linalg.svd(np.tensordot(scores, factors, axes=1).reshape(400, -1) / 20, full_matrices=False)
    flat = modes.reshape(4, -1)
    assert np.allclose(np.linalg.norm(flat, axis=1), singular[:4])
    assert np.allclose(np.abs((flat * axes[:4]).sum(axis=1)), singular[:4])


def test_symmetric_modes_are_those_of_a_population_and_its_mirror_image():
    rng, swap = np.random.default_rng(0), np.arange(30).reshape(-1, 2)[:, ::-1].ravel()
    factors = rng.normal(size=(5, 30, 3))
    mirrored = factors[:, swap] * MIRROR
    modes = symmetric_modes(factors, mirrored, np.diag([9.0, 4, 1, 0.25, 0.01]), plain_norm(30), 6)
    both = np.concatenate([factors, mirrored]).reshape(10, -1) * np.tile([3, 2, 1, 0.5, 0.1], 2)[:, None] / np.sqrt(2)
    assert np.allclose(np.linalg.norm(modes.reshape(6, -1), axis=1), np.linalg.svd(both)[1][:6])
    again = modes[:, swap] * MIRROR
    signs = np.sign((modes * again).sum(axis=(1, 2)))
    assert np.abs(again - signs[:, None, None] * modes).max() < 1e-12 and {*signs} == {-1, 1}


@needs(ICT)
def test_a_source_that_lacks_a_side_or_all_of_its_modes_is_refused():
    template, source = coarse()[0], load_model(ICT)
    kept = [k for k, name in enumerate(source.expression_names) if name != "eyeBlink_L"]
    names = tuple(source.expression_names[k] for k in kept)
    with pytest.raises(ModelError, match="lacks blendshape 'eyeBlink_L'"):
        learn(replace(source, expression_basis=source.expression_basis[kept], expression_names=names), template)
    with pytest.raises(ModelError, match="lacks identity modes or blendshapes"):
        learn(replace(source, identity_basis=source.identity_basis[:0]), template)
    with pytest.raises(ModelError, match="lacks identity modes or blendshapes"):
        learn(replace(source, expression_basis=source.expression_basis[:0], expression_names=()), template)


@needs(ICT)
def test_a_symmetric_model_is_its_own_mirror_image():
    template, _ = coarse()
    options = LearningOptions(subjects=50, identity_modes=12, local_factors=10)
    learned, mirror = learn(load_model(ICT), template, options), template.mirror_vertex
    assert np.abs(learned.mean[mirror] * MIRROR - learned.mean).max() < 1e-12
    flipped = learned.identity_basis[:, mirror] * MIRROR
    signs = np.sign((flipped * learned.identity_basis).sum(axis=(1, 2)))
    assert np.abs(flipped - signs[:, None, None] * learned.identity_basis).max() < 1e-5
    names = learned.expression_names
    partners = [names.index(mirror_name(name)) for name in names]
    assert np.abs(learned.expression_basis[partners][:, mirror] * MIRROR - learned.expression_basis).max() < 1e-5
    assert names[partners[names.index("eyeBlink_L")]] == "eyeBlink_R" and names[partners[names.index("jawLeft")]] == "jawRight"


def test_the_surface_norm_counts_sliding_as_told():
    norm = SurfaceNorm(np.array([[0.0, 0.0, 1.0]]), np.array([4.0]), 0.25)
    for motion, squared in (((0, 0, 1), 4.0), ((1, 0, 0), 1.0), ((1, 1, 1), 6.0)):
        assert (norm.flat(np.array([[motion]], float)) ** 2).sum() == pytest.approx(squared)


def test_a_population_is_reproducible_mirrored_and_centred():
    options = LearningOptions(subjects=600)
    moments = population_moments(4, 11, options)
    assert np.array_equal(moments, population_moments(4, 11, options))
    assert np.allclose(moments[:4, :4], moments[4:8, 4:8]) and not moments[:4, 4:8].any()
    assert np.abs(np.diag(moments)[8:] - 1).max() < 0.25 and np.abs(np.diag(moments)[:8] - 0.5).max() < 0.15


def test_local_deformations_have_the_variance_and_reach_they_are_given():
    mesh = grid_mesh(*np.meshgrid(np.arange(0, 60, 3.0), np.arange(0, 60, 3.0)))
    fields = local_factors(mesh, np.ones(400, bool), LearningOptions(local_sigma=0.7, local_length=15.0))
    covariance = fields[:, :, 2].T @ fields[:, :, 2]
    assert np.allclose(np.diag(covariance), 0.49, rtol=0.02) and not fields[:, :, :2].any()
    gap = np.linalg.norm(mesh.vertices[0] - mesh.vertices, axis=1)
    assert np.allclose(covariance[0], 0.49 * np.exp(-(gap**2) / (2 * 15.0**2)), atol=0.02)
    assert local_factors(mesh, np.ones(400, bool), LearningOptions(local_sigma=0.0)).shape == (0, 400, 3)


def test_an_eyeball_moves_as_the_rim_it_begins_on_and_harmonically_within():
    """On a plane linear motions are harmonic; what the ball was told itself does not count."""
    whole = grid_mesh(*np.meshgrid(np.arange(9.0), np.arange(9.0)))
    middle = np.abs(whole.vertices[:, :2] - 4).max(axis=1) <= 2
    inside = middle[whole.triangles].all(axis=1)
    ball, _ = whole.submesh(middle)
    triangles = np.vstack([whole.triangles[~inside], ball.triangles + len(whole.vertices)])
    used, triangles = np.unique(triangles, return_inverse=True)
    mesh = TriangleMesh(np.vstack([whole.vertices, ball.vertices])[used], triangles.reshape(-1, 3))
    eyeball = used >= len(whole.vertices)
    wanted = mesh.vertices @ np.random.default_rng(0).normal(size=(2, 3, 3))
    told = np.where(eyeball[:, None], 7.0, wanted)
    assert eyeball.sum() == 25 and np.allclose(with_eyeballs_in_lids(told, mesh, eyeball), wanted)


def test_coefficients_come_back_from_an_instance_of_the_shipped_model(model):
    wanted = np.random.default_rng(2).normal(size=model.n_identity)
    norm = SurfaceNorm(model.mesh().vertex_normals, model.mesh().vertex_areas, 0.1)
    assert np.allclose(project(model, model.instance(wanted), norm), wanted, atol=1e-3)


def test_the_card_states_the_figures_of_its_model(model):
    keys = {*re.findall(r"{(\w+):", inspect.getsource(model_card_module)), "bytes", "vertices", "triangles", "cavity_vertices"}
    keys |= {"identity_modes", "expression_modes", "face_vertices"}
    card = model_card(model, dict.fromkeys(keys, 7), "COMMAND", {"nose width": (1.0, 2.0, 3.0, 4.0)}, {"jawOpen": 0.5, "a": 0.1})
    assert (
        "COMMAND" in card
        and "7.000 mm" in card
        and "| nose width | 1.00 | 2.00 | 3.00 | 4.00 |" in card
        and "`jawOpen` 0.50, `a` 0.10 mm; 0.300 mm" in card
        and model.notes["source_sha256"] in card
        and "Permission is hereby granted" in card
    )


def test_the_shipped_card_is_that_of_the_shipped_model(model):
    shipped = SHIPPED_MODEL.with_suffix(".md").read_text(encoding="utf-8")
    assert f"{model.n_vertices} vertices" in shipped and model.notes["source_sha256"] in shipped
    angle = smallest_angles(model.mean[model.triangles[model.regions["face"][model.triangles].all(axis=1)]])
    assert f"| {SHIPPED_MODEL.stat().st_size} bytes |" in shipped
    assert f"{angle.min():.1f}° and {np.median(angle):.1f}°" in shipped


@needs(ICT)
@pytest.mark.parametrize("seed", [101, 102, 103])
@pytest.mark.parametrize("region, of_source, most", [("face", "face", 0.12), ("head", "head_skin", 0.25)])
def test_held_out_faces_and_heads_of_the_source_are_reached(seed, region, of_source, most, model):
    """Independent of the builder: correspondences are the points of the source's mean nearest to the template's mean."""
    source, mean, outer = source_in_the_frame_of(model), model.mesh(), ~model.regions["cavities"]
    skin = source.triangles[source.regions["head_skin"][source.triangles].all(axis=1)]
    chosen = np.flatnonzero(model.regions["face"] if region == "face" else outer)
    nearest = closest_points(model.mean[chosen], TriangleMesh(source.mean, skin))
    counted = np.flatnonzero(source.regions[of_source])
    covered = counted[surface_distance(source.mean[counted], mean.submesh(outer)[0]) < 0.3]
    assert len(covered) > 0.75 * len(counted)
    area = np.zeros(model.n_vertices)
    area[chosen] = mean.vertex_areas[chosen]
    rng, errors = np.random.default_rng(seed), []
    for _ in range(2):
        truth = source.instance(rng.standard_normal(source.n_identity))
        wanted = model.mean.copy()
        wanted[chosen] += interpolate(truth - source.mean, skin[nearest.triangle], nearest.uv)
        reached = model.mesh(project(model, wanted, SurfaceNorm(mean.vertex_normals, area, 0.1)))
        errors.append(surface_distance(truth[covered], reached).mean())
    assert np.mean(errors) <= most


@needs(ICT)
def test_errors_are_measured_in_one_frame_wherever_the_origins_are():
    """A model's origin is its own nose tip, a source's its own, and they are marked apart."""
    source, (template, _) = load_model(ICT), coarse()
    learned = learn(source, template, LearningOptions(subjects=40, identity_modes=60, local_factors=5))
    nose = learned.mean[learned.landmarks["ibug68"][30]]
    moved = replace(learned, mean=learned.mean - nose)
    assert np.linalg.norm(nose) > 1
    here, there = (held_out_errors(source, template, model, 3, 1) for model in (learned, moved))
    assert there.mean() == pytest.approx(here.mean(), rel=1e-3)
    assert np.abs(in_frame_of(moved, source, template).mean + nose - source.mean).max() < 0.05
