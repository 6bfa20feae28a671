"""A thick beard is told from a chin, and landmarks under it are not called seen."""

from dataclasses import replace

import numpy as np
import pytest
from sampled_faces import default_model as model
from sampled_faces import known_face, nearly_located, seen_scan

from geometry.fitting.beard import BeardSigns, is_bearded, roughness, thick_beard_probability
from geometry.fitting.staged_fit import fit
from geometry.landmarks.covered import USUAL_MM, under_beard
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.mesh import TriangleMesh
from geometry.model.beard_area import beard_area
from geometry.model.landmark_embedding import landmarks_on
from geometry.synthesis.random_fields import smooth_noise

CHIN, NOSE, INNER_LIPS = slice(6, 11), slice(27, 36), slice(60, 68)
SIGNS = BeardSigns(0.1, 0.3, 1.0)
THICK = BeardSigns(2.5, 0.4, 2.5)


def signs(raised_mm: float, tufts: float, seed: int) -> BeardSigns:
    """Of a fit to a face of the model with a beard of a length, which `tufts` is the relative standard deviation of."""
    face = known_face(seed)
    mesh, rng = face.mesh, np.random.default_rng(seed)
    length = raised_mm * beard_area(model()) * np.clip(1 + tufts * smooth_noise(model().mean, (3, 12), rng), 0, 2)
    vertices = mesh.vertices + length[:, None] * mesh.vertex_normals
    found = fit(nearly_located(seen_scan(face.pose.apply(vertices)), face), model())
    return found.beard


def test_a_beard_covers_chin_and_jaw_and_neither_lips_nor_nose():
    area = beard_area(model())
    of = lambda part: area[model().landmarks["ibug68"][part]]
    assert of(CHIN).min() > 0.9 and of(NOSE).max() < 0.5 and of(INNER_LIPS).max() < 0.1
    assert area[model().regions["forehead"]].max() == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_beard_is_told_from_a_chin(seed):
    bare, bearded = signs(0.0, 0.0, seed), signs(4.5, 0.3, seed)
    assert bearded.raised_mm > bare.raised_mm + 0.5 and bearded.roughness > 1.5 * bare.roughness
    assert thick_beard_probability(bare) < 0.3 and is_bearded(bearded)


def test_tufts_are_rougher_than_skin_and_noise_is_not():
    rng = np.random.default_rng(0)
    vertices = rng.integers(0, model().n_vertices, 20_000)
    vertices = vertices[model().regions["face"][vertices]]
    points, noise = model().mean[vertices] + rng.normal(0, 0.5, (len(vertices), 3)), rng.normal(0, 0.3, len(vertices))
    assert roughness(points, noise, vertices, model()) == pytest.approx(1.0, abs=0.1)
    tufts = 0.6 * beard_area(model())[vertices] * smooth_noise(points, (3, 12), rng)
    assert roughness(points, noise + tufts, vertices, model()) > 1.4
    assert np.isnan(roughness(points[:100], noise[:100], vertices[:100], model()))


def test_what_cannot_be_measured_speaks_for_nothing():
    unknown = thick_beard_probability(BeardSigns(0.1, 0.3, float("nan")))
    assert unknown == pytest.approx(thick_beard_probability(SIGNS))
    assert unknown < thick_beard_probability(THICK) and not is_bearded(SIGNS) and is_bearded(THICK) and not is_bearded(None)


def test_landmarks_under_a_beard_are_not_seen_and_the_others_are():
    points = landmarks_on(model(), model().mean)
    sure = LandmarkEstimate(points, np.tile(np.eye(3), (68, 1, 1)), np.full(68, 0.95), np.ones(68, bool))
    sure = replace(sure, points=np.where(np.arange(68)[:, None] == 40, np.nan, sure.points))
    found = under_beard(sure, model(), model().mean)
    assert not found.seen[CHIN].any() and found.seen[17:].all()
    assert (found.confidence[CHIN] < 0.7).all() and (found.confidence[17:] == 0.95).all()
    normals = TriangleMesh(model().mean, model().triangles).vertex_normals[model().landmarks["ibug68"][CHIN]]
    assert np.allclose(np.einsum("li,lij,lj->l", normals, found.covariance[CHIN], normals), 1 + USUAL_MM**2)
    assert np.array_equal(found.points, sure.points, equal_nan=True)
