"""Expressions of sampled faces go as far as skin meets skin."""

from dataclasses import replace

import numpy as np
import pytest
from sampled_faces import default_model as model

from geometry.mesh import TriangleMesh
from geometry.surfaces.self_intersection import intersecting_triangles
from geometry.synthesis.faces import SynthesisOptions, sample_expression
from geometry.synthesis.skin_contact import until_skin_meets

EYES = {"eyeBlink": 0.9, "cheekSquint": 0.8, "eyeSquint": 0.5}
LIPS = {"mouthShrugLower": 0.9, "mouthRollUpper": 0.7}


def expressed(weights):
    """Both sides alike, where a blendshape has sides."""
    return np.array([weights.get(name.removesuffix("_L").removesuffix("_R"), 0.0) for name in model().expression_names])


def crossings(identity, expression):
    near = model().regions["face"] | model().regions["lids"] | model().regions["mouth"]
    skin = ~(model().regions["cavities"] | model().regions["nostrils"])
    triangles = model().triangles[near[model().triangles].any(axis=1) & skin[model().triangles].all(axis=1)]
    return len(intersecting_triangles(TriangleMesh(model().instance(identity, expression), triangles)))


def people(count):
    return np.random.default_rng(0).standard_normal((count, model().n_identity))


@pytest.mark.parametrize(("closing", "others"), [(EYES, {"jawOpen": 0.4, "mouthSmile": 0.3}), (LIPS, {"eyeWide": 0.4})])
def test_what_would_pull_skin_through_skin_goes_as_far_as_they_meet(closing, others):
    weights = expressed(closing | others)
    for identity in people(3):
        drawn = until_skin_meets(model(), identity, weights)
        assert crossings(identity, weights) > 5 and crossings(identity, drawn) == 0
        share = dict(zip(model().expression_names, drawn / np.maximum(weights, 1e-12)))
        assert all(share[name] > 0.9 for name in share if name.split("_")[0] in others)
        assert all(0.1 < share[name] <= 1 for name in share if name.split("_")[0] in closing)
        nearly = np.where(drawn < weights, np.minimum(drawn / 0.95**2, weights), drawn)
        assert crossings(identity, nearly) > 0, "they are near to each other"


@pytest.mark.parametrize("weights", [{"eyeBlink": 0.4}, {"eyeWide": 1.0, "jawOpen": 1.0}, {}])
def test_skin_that_does_not_meet_stays_as_drawn(weights):
    assert np.array_equal(until_skin_meets(model(), people(1)[0], expressed(weights)), expressed(weights))


def test_what_is_held_does_not_go_back():
    weights = expressed({"jawOpen": 1.0} | EYES)
    held = expressed({"cheekSquint": 1.0}) > 0
    drawn = until_skin_meets(model(), people(1)[0], weights, held)
    assert crossings(people(1)[0], drawn) == 0
    assert np.array_equal(drawn[held], weights[held]) and (drawn < weights).any()


def test_what_crosses_at_rest_holds_no_expression_back():
    pressed = np.array(model().mean)
    lip = model().regions["lips"] & (model().mean[:, 1] > model().mean[model().regions["lips"], 1].mean())
    pressed[lip, 1] -= 3.0
    crossed = replace(model(), mean=pressed)
    smile = expressed({"browInnerUp": 0.5})
    assert crossings(None, 0 * smile) == 0
    assert np.array_equal(until_skin_meets(crossed, np.zeros(crossed.n_identity), smile), smile)


def test_skin_of_sampled_expressions_does_not_cross():
    strong = SynthesisOptions(expression_strength=(0.8, 0.8))
    for seed, identity in enumerate(people(25)):
        assert crossings(identity, sample_expression(model(), identity, np.random.default_rng(seed), strong)) == 0
