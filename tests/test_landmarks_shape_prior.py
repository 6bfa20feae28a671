"""Unseen landmarks are inferred from the seen ones: exactly where the model holds the face, and with honest covariances."""

import numpy as np
import pytest
from sampled_faces import known_face

from geometry.errors import NoFaceFound
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.shape_prior import RESIDUAL_MM, completed, posterior, prior_of
from geometry.transforms import SimilarityTransform


def measured(face, sigma_mm: float) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(0).normal(size=(68, 3)) * sigma_mm
    return face.scan_landmarks + noise, np.tile(np.eye(3) * max(sigma_mm, 0.1) ** 2, (68, 1, 1))


def test_the_prior_is_the_model_at_its_landmarks(model):
    prior = prior_of(model)
    identity = np.zeros(model.n_identity)
    identity[2] = 1.0
    assert np.allclose(prior.modes[2], (model.instance(identity) - model.mean)[model.landmarks["ibug68"]].ravel(), atol=1e-4)
    assert np.allclose(prior.covariance, prior.covariance.T) and np.linalg.eigvalsh(prior.covariance).min() > -1e-6


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_half_a_face_tells_the_pose_and_nearly_the_other_half(model, seed):
    face = known_face(seed)
    points, covariance = measured(face, 0.3)
    seen = np.zeros(68, bool)
    seen[[*range(0, 9), *range(17, 22), *range(27, 34), *range(36, 42), 48, 49, 50, 51, 57, 58, 59]] = True
    found = posterior(np.where(seen[:, None], points, np.nan), covariance, seen, model)
    assert found.scan_to_model.compose(face.pose).angle_deg < 4
    error = np.linalg.norm(found.scan_to_model.inverse().apply(found.points) - face.scan_landmarks, axis=1)
    assert error[~seen].mean() < 4.0 and error[seen].mean() < 1.2


def test_landmarks_far_off_lose_their_say(model):
    face = known_face(4)
    points, covariance = measured(face, 0.5)
    points[[36, 50]] += 25.0
    found = posterior(points, covariance, np.ones(68, bool), model)
    assert np.linalg.norm(found.scan_to_model.compose(face.pose).apply(np.zeros((1, 3)))) < 3
    assert (found.distance[[36, 50]] > 5).all() and np.median(found.distance) < 2


def test_the_scale_of_scans_without_unit_is_found(model):
    grown, errors = SimilarityTransform(np.eye(3), np.zeros(3), 1.1), []
    for seed in range(12):
        points, covariance = measured(known_face(seed), 0.2)
        found = posterior(grown.apply(points), covariance, np.ones(68, bool), model, metric=False)
        errors.append(found.scan_to_model.scale * 1.1 - 1)
        assert posterior(points, covariance, np.ones(68, bool), model, metric=True).scan_to_model.scale == 1.0
    assert np.sqrt(np.mean(np.square(errors))) < 0.03 and abs(np.mean(errors)) < 0.015


def test_too_few_landmarks_are_no_face(model):
    with pytest.raises(NoFaceFound, match="only 3 landmarks"):
        posterior(np.zeros((68, 3)), np.tile(np.eye(3), (68, 1, 1)), np.arange(68) < 3, model)


def test_inferred_landmarks_are_said_to_be_and_are_less_sure(model):
    points, covariance = measured(known_face(6), 0.3)
    seen = np.arange(68) >= 17
    estimate = LandmarkEstimate(np.where(seen[:, None], points, np.nan), covariance, np.where(seen, 0.99, 0.0), seen)
    full = completed(estimate, posterior(points, covariance, seen, model))
    assert np.isfinite(full.points).all() and np.array_equal(full.seen, seen)
    assert np.array_equal(full.points[seen], points[seen]), "what is seen stays as it was measured"
    assert full.confidence[~seen].max() < 0.99 and (full.confidence[~seen] > 0).all()
    assert (np.sqrt(np.trace(full.covariance, axis1=1, axis2=2) / 3)[~seen] > RESIDUAL_MM).all()


def test_a_landmark_on_a_depth_spike_is_not_seen(model):
    """It is inferred from the others, and what is stated of it covers the truth; a landmark 3 mm off stays as measured."""
    face = known_face(8)
    points, covariance = measured(face, 0.5)
    covariance += np.eye(3)
    points[30, 2] -= 30.0  # the tip of the nose on a spike before the face
    points[8] += 25.0 / np.sqrt(3)
    points[45, 0] += 3.0
    full = completed(
        LandmarkEstimate(points, covariance, np.full(68, 0.9), np.ones(68, bool)),
        posterior(points, covariance, np.ones(68, bool), model),
    )
    assert not full.seen[[8, 30]].any() and full.seen.sum() == 66
    error = np.linalg.norm(full.points - face.scan_landmarks, axis=1)
    sigma = np.sqrt(np.trace(full.covariance, axis1=1, axis2=2) / 3)
    assert (error[[8, 30]] < 3 * sigma[[8, 30]]).all() and (error[[8, 30]] < 8).all()
    assert np.array_equal(full.points[45], points[45])


def test_the_posterior_covariance_is_true_of_faces_that_the_prior_draws(model):
    """Over many faces, the squared Mahalanobis distances of inferred landmarks average three, their dimension."""
    seen, prior, rng, squared = np.arange(68) >= 17, prior_of(model), np.random.default_rng(0), []
    pose = known_face(1).pose
    for _ in range(50):
        shape = prior.mean + (np.linalg.cholesky(prior.spread) @ rng.standard_normal(len(prior.spread)) @ prior.modes).reshape(
            68, 3
        )
        truth = pose.apply(shape + RESIDUAL_MM * rng.standard_normal((68, 3)))
        points, covariance = truth + 0.3 * rng.standard_normal((68, 3)), np.tile(0.3**2 * np.eye(3), (68, 1, 1))
        found = posterior(points, covariance, seen, model)
        error = (found.points - found.scan_to_model.apply(truth))[~seen]
        squared.append(np.einsum("li,lij,lj->l", error, np.linalg.inv(found.covariance[~seen]), error).mean())
    assert 2.5 < np.mean(squared) < 3.5


def test_the_coefficients_give_the_shape_of_the_posterior(model):
    points, covariance = measured(known_face(7), 0.2)
    found = posterior(points, covariance, np.ones(68, bool), model)
    assert np.allclose(found.instance(model)[model.landmarks["ibug68"]], found.points, atol=1e-3)
