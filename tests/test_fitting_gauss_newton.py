"""Gauss–Newton steps: exact on linear problems, an error where there is no answer."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from geometry.errors import FitError
from geometry.fitting.gauss_newton import bounded_step, normal_equations
from geometry.fitting.residuals import LinearTerm, PriorTerm


def step_of(terms, priors=(), damping=0.0, bounds=None):
    """The step that terms and priors ask for."""
    hessian, gradient = normal_equations(terms, priors)
    return bounded_step(hessian + damping, gradient, bounds)


def linear_term(seed: int, rows: int = 40):
    """A term whose residuals vanish at δ = solution."""
    rng = np.random.default_rng(seed)
    jacobian, solution = rng.normal(size=(rows, 5)), rng.normal(size=5)
    return LinearTerm(-jacobian @ solution, jacobian, rng.uniform(0.5, 2.0, rows)), solution


def test_one_step_solves_a_linear_problem():
    term, solution = linear_term(0)
    np.testing.assert_allclose(step_of([term]), solution, atol=1e-5)


def test_terms_add_up_as_if_they_were_one():
    (one, solution), (other, _) = linear_term(1), linear_term(2, rows=13)
    joined = LinearTerm(*(np.concatenate(parts) for parts in zip(vars(one).values(), vars(other).values())))
    for mine, theirs in zip(normal_equations([one, other]), normal_equations([joined]), strict=True):
        np.testing.assert_allclose(mine, theirs)
    np.testing.assert_allclose(step_of([one, other]), step_of([joined]))
    assert not np.allclose(step_of([joined]), solution)


def test_an_inconsistent_problem_gives_the_weighted_least_squares_answer():
    rng = np.random.default_rng(3)
    term = LinearTerm(rng.normal(size=30), rng.normal(size=(30, 4)), rng.uniform(0.1, 3.0, 30))
    root = np.sqrt(term.weights)
    expected = np.linalg.lstsq(term.jacobian * root[:, None], -term.residuals * root, rcond=None)[0]
    np.testing.assert_allclose(step_of([term]), expected, atol=1e-5)


def test_rows_of_no_weight_have_no_say():
    term, solution = linear_term(4)
    wrong = LinearTerm(np.full(3, 1e6), np.ones((3, 5)), np.zeros(3))
    np.testing.assert_allclose(step_of([term, wrong]), solution, atol=1e-5)


def test_damping_shortens_the_step_and_only_where_it_acts():
    term = LinearTerm(np.array([-1.0, -1.0]), np.eye(2), np.ones(2))
    np.testing.assert_allclose(step_of([term], damping=np.diag([0.0, 1.0])), [1.0, 0.5], atol=1e-5)


def test_a_direction_that_nothing_determines_stays_where_it_is():
    jacobian = np.zeros((10, 3))
    jacobian[:, :2] = np.random.default_rng(5).normal(size=(10, 2))
    step = step_of([LinearTerm(-jacobian @ [1.0, 2.0, 0.0], jacobian, np.ones(10))])
    np.testing.assert_allclose(step, [1.0, 2.0, 0.0], atol=1e-4)


@pytest.mark.parametrize("field", ["residuals", "jacobian", "weights"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_a_fit_error(field, bad):
    term, _ = linear_term(6)
    getattr(term, field).flat[0] = bad
    with np.errstate(invalid="ignore"), pytest.raises(FitError, match="too little of the face is visible"):
        step_of([term])


def test_equations_without_a_minimum_are_a_fit_error():
    term, _ = linear_term(7)
    with pytest.raises(FitError):
        step_of([term], damping=-1e6 * np.eye(term.jacobian.shape[1]))


def test_a_step_within_bounds_is_the_best_there():
    rng = np.random.default_rng(3)
    for _ in range(20):
        jacobian, residuals = rng.normal(size=(30, 6)), rng.normal(size=30) * 3
        low, high = np.full(6, -0.3), rng.uniform(0.05, 0.6, 6)
        step = step_of([LinearTerm(residuals, jacobian, np.ones(30))], bounds=(low, high))
        best = lsq_linear(jacobian, -residuals, (low, high)).x
        cost = lambda x, j=jacobian, r=residuals: ((r + j @ x) ** 2).sum()
        assert (step >= low).all() and (step <= high).all()
        assert cost(step) <= 1.02 * cost(best)


def test_a_prior_holds_its_own_parameters():
    rng = np.random.default_rng(4)
    jacobian, residuals, root, off = rng.normal(size=(9, 5)), rng.normal(size=9), rng.normal(size=(3, 3)), rng.normal(size=3)
    found = normal_equations([LinearTerm(residuals, jacobian, np.ones(9))], [PriorTerm(1, off, root.T @ root)])
    rows = np.pad(root, ((0, 0), (1, 1)))
    joined = normal_equations([LinearTerm(np.r_[residuals, root @ off], np.concatenate([jacobian, rows]), np.ones(12))])
    for mine, theirs in zip(found, joined, strict=True):
        np.testing.assert_allclose(mine, theirs)
