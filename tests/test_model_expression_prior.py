"""One prior of expressions for the fit and for the landmarks."""

from dataclasses import replace

import numpy as np
from sampled_faces import default_model as model

from geometry.landmarks.shape_prior import prior_of
from geometry.model.expression_prior import expression_prior
from geometry.synthesis.faces import SynthesisOptions, drawn_expression

WIDE = SynthesisOptions(expression_strength=(0.0, 1.2), open_share=0.3)


def test_it_holds_the_expressions_that_are_sampled():
    """Wide open jaws, which a prior of one small σ for all calls impossible, and nothing beyond its bounds."""
    prior, jaw = expression_prior(model()), list(model().expression_names).index("jawOpen")
    drawn = np.stack([drawn_expression(model(), np.random.default_rng(n), WIDE) for n in range(1500)])
    assert (drawn >= prior.low).all() and (drawn <= prior.high).all()
    sigma = np.sqrt(np.diag(prior.covariance))
    assert abs(drawn[:, jaw].std() - sigma[jaw]) < 0.06 and abs(drawn[:, jaw].mean() - prior.mean[jaw]) < 0.15
    others = np.delete(np.arange(len(sigma)), jaw)
    assert abs(np.median(drawn[:, others].std(axis=0)) - sigma[others].mean()) < 0.04
    assert (1 - prior.mean[jaw]) / sigma[jaw] < 3


def test_left_and_right_go_together():
    prior, names = expression_prior(model()), list(model().expression_names)
    left, right, brow = (names.index(name) for name in ("mouthSmile_L", "mouthSmile_R", "browDown_L"))
    correlation = prior.covariance / np.sqrt(np.outer(np.diag(prior.covariance), np.diag(prior.covariance)))
    assert correlation[left, right] > 0.8 and correlation[left, brow] == 0
    np.testing.assert_allclose(prior.precision @ prior.covariance, np.eye(len(names)), atol=1e-8)


def test_a_model_of_gaussian_modes_keeps_its_own():
    plain = replace(model(), expression_range=None)
    prior = expression_prior(plain)
    np.testing.assert_array_equal(prior.covariance, np.eye(plain.n_expression))
    assert not prior.mean.any() and (prior.low == -4).all() and (prior.high == 4).all()


def test_the_landmarks_prior_is_the_same():
    prior, of_landmarks, first = expression_prior(model()), prior_of(model()), model().n_identity
    np.testing.assert_array_equal(of_landmarks.spread[first:, first:], prior.covariance)
    np.testing.assert_array_equal(of_landmarks.centre[first:], prior.mean)


def test_a_strong_blendshape_is_held_back_less_than_by_a_gaussian_and_a_faint_one_more():
    """The tails of Student's t, which a left and its right blendshape share; a model of Gaussian modes has none."""
    prior, names = expression_prior(model()), list(model().expression_names)
    left, right, every = names.index("browDown_L"), names.index("browDown_R"), np.arange(model().n_expression)
    for weight, more in ((0.01, True), (0.8, False)):
        off = np.zeros(len(every))
        off[[left, right]] = weight
        pull, gaussian = prior.precision_at(off, every) @ off, prior.precision @ off
        assert (pull[left] > gaussian[left] > 0) if more else (0 < pull[left] < gaussian[left] / 4)
        assert np.isclose(pull[left], pull[right]) and np.count_nonzero(np.abs(pull) > 1e-9) == 2
    assert (expression_prior(replace(model(), expression_range=None)).precision_at(off, every) == np.eye(len(every))).all()
