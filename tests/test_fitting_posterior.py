"""How sure a fit says it is, against how far off it is: faces off the model, seen by simulated sensors."""

import numpy as np
import pytest
from sampled_faces import default_model as model
from scipy.spatial import cKDTree

from geometry.errors import FitError
from geometry.fitting.posterior import FitPosterior, inverse, spread_along
from geometry.fitting.staged_fit import fit
from geometry.locating.cleaning import clean
from geometry.locating.location import Location
from geometry.surfaces.closest_point import surface_distance
from geometry.surfaces.normals import with_normals
from geometry.synthesis.faces import SynthesisOptions, sample_face
from geometry.synthesis.sensors import SENSORS, head_rotation, observe
from geometry.transforms import SimilarityTransform

BARE = SynthesisOptions(hair_share=0.0, hand_share=0.0, glasses_share=0.0, beard_share=0.0)


@pytest.mark.parametrize("sensor", ["clean_mesh", "truedepth", "kinect_v1"])
def test_errors_are_as_large_as_stated(sensor):
    """Before the noise was measured and the model's discrepancy known, coefficients were off by 2 to 3.6 σ."""
    coefficients, seen = [], []
    for seed in range(2):
        rng = np.random.default_rng(20 + seed)
        face = sample_face(model(), rng, BARE)
        pose = SimilarityTransform(head_rotation(12, 4, 0), np.array([0, 0, np.mean(SENSORS[sensor].distance_mm)]))
        scan = with_normals(clean(observe(face.skin, SENSORS[sensor], pose, rng, face.surroundings, strength=1.0)))
        found = fit(Location(scan, pose.inverse(), 0.9), model())
        told = found.posterior
        coefficients.append(np.abs(found.identity_coefficients - face.identity) / told.identity_sigma)
        region = model().regions["face"] & ~model().regions["eyes"]
        there = found.scan_to_model.inverse().apply(found.vertices)
        off = surface_distance(there, face.skin.with_vertices(pose.apply(face.skin.vertices)))
        near = cKDTree(scan.points).query(there)[0] < 3.0
        seen.append((off / told.sigma_mm)[region & near])
        assert found.noise is not None
        assert told.identity_sigma.max() <= 1  # of the prior: no scan makes a face less known than it was
    assert 0.55 < np.quantile(np.concatenate(coefficients), 0.68) < 1.6
    assert 0.5 < np.quantile(np.concatenate(seen), 0.68) < 1.7


def test_it_is_exact_for_a_linear_problem():
    rng = np.random.default_rng(0)
    jacobian = rng.normal(size=(40, 5))
    precision = jacobian.T @ jacobian + np.eye(5)
    np.testing.assert_allclose(inverse(precision), np.linalg.inv(precision), rtol=1e-6)
    rows = rng.normal(size=(7, 5))
    wanted = np.sqrt(np.diag(rows @ np.linalg.inv(precision) @ rows.T))
    np.testing.assert_allclose(spread_along(rows, np.linalg.inv(precision)), wanted)
    with pytest.raises(FitError):
        inverse(-precision)


def test_the_low_rank_form_keeps_the_variances_and_the_leading_correlations():
    rng = np.random.default_rng(1)
    factor = rng.normal(size=(30, 2))
    covariance = factor @ factor.T + np.diag(rng.uniform(0.5, 1.0, 30))
    posterior = FitPosterior(covariance, 6, 20, np.ones(3))
    diagonal, low = posterior.low_rank(2)
    again = np.diag(diagonal) + low @ low.T
    np.testing.assert_allclose(np.diag(again), np.diag(covariance))
    assert (diagonal >= 0).all() and np.abs(again - covariance).mean() < 0.35 * np.abs(covariance).mean()
    assert len(posterior.identity_sigma) == 20 and len(posterior.expression_sigma) == 4
