"""The energy of the fit: what its steps follow, and what weighs how much."""

from dataclasses import replace

import numpy as np
import pytest
from sampled_faces import default_model as model
from sampled_faces import known_face, mesh_scan, nearly_located

from geometry.fitting.gauss_newton import normal_equations
from geometry.fitting.model_arrays import arrays_of
from geometry.fitting.options import STAGES, FittingOptions
from geometry.fitting.posterior import NO_TEMPER, TEMPER
from geometry.fitting.problem import _FRONT, _LEAST_FRONT_MM, Problem, _stepped, _times
from geometry.fitting.target import prepare_target
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh
from geometry.model.expression_prior import CORE, TAIL, expression_prior
from geometry.surfaces.noise_spectrum import LENGTHS_MM, NoiseSpectrum
from geometry.surfaces.robust_loss import occluded_weights
from geometry.transforms import SimilarityTransform

LAST = STAGES[-1]


@pytest.fixture(scope="module")
def begun():
    """A problem with landmarks, a state on the way, and the pairs there."""
    face = known_face(5, expressions=2)
    marks = face.pose.apply(face.vertices[np.asarray(model().landmarks["ibug68"])])
    seen = np.arange(68) >= 17
    estimate = LandmarkEstimate(marks + 1.0, np.tile(np.eye(3), (68, 1, 1)), np.full(68, 0.9), seen)
    location = replace(nearly_located(mesh_scan(face.scan_points), face), estimate=estimate)
    options = FittingOptions()
    arrays = arrays_of(model(), options)
    problem = Problem(arrays, prepare_target(location, model(), options), options, with_scale=True)
    state = problem.start(location.scan_to_model, None)
    for _ in range(2):
        state = problem.step(state, STAGES[2])
    matches = problem.match(TriangleMesh(state.vertices, model().triangles), state.scan_to_model, LAST)
    return problem, state, matches


def energy(problem, state, matches, scale):
    """As the docstring of staged_fit has it, the pairs and their directions as they are."""
    # the offsets that they had, and how far both sides have moved along the normals since
    apart = state.scan_to_model.apply(matches.places) - state.vertices[matches.vertices]
    residual = matches.offsets + ((apart - matches.apart) * matches.directions).sum(axis=1)
    weights = problem.surface_weights(matches.vertices, LAST)
    # ρ(r) = 2 ∫₀ʳ t w(t) dt of the weights' own definition
    share, front = np.linspace(0, 1, 400)[:, None], max(_FRONT / _times(LAST) * scale, _LEAST_FRONT_MM)
    total = (weights * residual**2 * np.trapezoid(share * occluded_weights(share * residual, scale, front), share, axis=0)).sum()
    marks = state.scan_to_model.apply(problem.target.landmarks) - state.vertices[problem.target.landmark_vertices]
    total += 0.5 * ((marks**2).sum(axis=1) / problem.target.landmark_sigma**2).sum()
    identity, expression = np.split(state.coefficients, [problem.arrays.n_identity])
    total += 0.5 * (identity @ identity + state.discrepancy @ state.discrepancy)
    return total + expression_energy(expression - expression_prior(model()).mean)


def expression_energy(off):
    """Minus the logarithm of Student's t, up to a constant, of each blendshape, or of a left and its right one together."""
    prior, names = expression_prior(model()), np.array(model().expression_names)
    stems, total = np.array([name.removesuffix("_L").removesuffix("_R") for name in names]), 0.0
    for stem in np.unique(stems):
        group = np.flatnonzero(stems == stem)
        core = CORE**2 * prior.covariance[np.ix_(group, group)]
        total += (TAIL + len(group)) / 2 * np.log1p(off[group] @ np.linalg.solve(core, off[group]) / TAIL)
    return total


def data_of(problem, state, stage=LAST, temper=NO_TEMPER):
    """(p, p) what the data know of the fit's unknowns at a state."""
    matches = problem.match(TriangleMesh(state.vertices, model().triangles), state.scan_to_model, stage)
    terms = problem.terms(state, stage, matches, np.arange(len(state.coefficients)))
    return problem.data_equations(terms, stage, matches, np.zeros(model().n_vertices), temper)[0][:-1, :-1]


def test_a_step_follows_the_gradient_of_the_energy(begun):
    problem, state, matches = begun
    state = replace(state, discrepancy=np.zeros(problem.step(state, LAST).discrepancy.shape))
    matches = _Placed(matches, state)
    active, scale = np.arange(len(state.coefficients)), problem.robust_scale(matches, LAST)
    gradient = normal_equations(problem.terms(state, LAST, matches, active), problem.priors(state, LAST, active))[1]
    rng, size = np.random.default_rng(0), len(gradient)
    for _ in range(6):
        direction = rng.standard_normal(size) * np.r_[[1e-3] * 3, [0.1] * 3, 1e-3, np.full(size - 7, 0.03)]

        def along(step, direction=direction):
            pose, coefficients, discrepancy = np.split(step * direction, [7, 7 + len(active)])
            moved = state.coefficients + coefficients
            after = replace(
                state,
                scan_to_model=_stepped(state.scan_to_model, pose),
                coefficients=moved,
                discrepancy=discrepancy,
                vertices=problem.vertices(moved, discrepancy),
            )
            return energy(problem, after, matches, scale)

        slope = (along(0.05) - along(-0.05)) / 0.1
        assert gradient @ direction == pytest.approx(slope, rel=0.02, abs=0.02 * np.abs(gradient * direction).max())


class _Placed:
    """Pairs with their points in the scan's own frame, and how these lie from their vertices at a state."""

    def __init__(self, matches, state):
        self.vertices, self.offsets, self.directions = matches.vertices, matches.offsets, matches.directions
        self.targets = matches.targets
        self.places = state.scan_to_model.inverse().apply(matches.targets)
        self.apart = matches.targets - state.vertices[matches.vertices]


def test_a_pair_weighs_its_area_over_the_density_of_the_noise(begun):
    problem, _, matches = begun
    quiet, loud = (NoiseSpectrum(np.where(LENGTHS_MM == 2.0, variance, 0.0), 0.5) for variance in (0.01, 1.0))
    light, heavy = (replace(problem, noise=noise).surface_weights(matches.vertices, LAST) for noise in (loud, quiet))
    assert (light < heavy)[heavy > 0].all()
    skin = problem.arrays.fitted_face[matches.vertices]
    assert np.median(1 / light[skin] * problem.arrays.areas[matches.vertices][skin]) == pytest.approx(8 * np.pi, rel=0.3)


def test_noise_does_not_slow_the_fit(begun):
    """The damping is in proportion to the weight of the data: four times the noise, nearly the same step."""
    problem, state, _ = begun
    steps = []
    for variance in (0.25, 4.0):
        noise = NoiseSpectrum(np.where(LENGTHS_MM == 2.0, variance, 0.0), 0.5)
        free = replace(problem.options, regularization_weight=1e-6, found_sigma_factor=0.0)
        alone = replace(problem, noise=noise, options=free, target=replace(problem.target, landmarks=np.zeros((0, 3))))
        steps.append(alone.step(state, replace(LAST, evidence=False)).vertices - state.vertices)
    face = problem.arrays.fitted_face
    lengths = [np.linalg.norm(step[face], axis=1).mean() for step in steps]
    assert lengths[1] > 0.9 * lengths[0]


def test_no_blendshape_is_fitted_below_nothing(begun):
    problem, state, _ = begun
    for _ in range(3):
        state = problem.step(state, LAST)
    expression = state.coefficients[problem.arrays.n_identity :]
    assert expression.min() >= 0 and expression.max() <= 1.1 + 1e-9


def test_the_size_of_the_discrepancy_is_the_one_of_largest_evidence(begun):
    """Where the data weighs everything, each coefficient is determined, and their mean square is the variance; where it weighs
    nothing, none is, whatever weight the stage gives the prior."""
    problem, state, _ = begun
    state = replace(state, discrepancy=np.full(problem.step(state, LAST).discrepancy.shape, 1.5))
    for prior in (1.0, 2.0):
        stage = replace(LAST, prior=prior)
        sure = replace(problem, options=replace(problem.options, unshown_mm4=1e-6, unshown_features_mm4=0.0))
        assert sure.settled(state, stage, data_of(sure, state, stage)).discrepancy_variance == pytest.approx(1.5**2, rel=0.35)
        unsure = replace(problem, options=replace(problem.options, unshown_mm4=1e9))
        assert unsure.settled(state, stage, data_of(unsure, state, stage)).discrepancy_variance == 16.0


def test_pairs_are_measured_from_the_curved_surface(begun):
    """What lies beside a vertex lies higher above a convex surface than above its plane, and less high above a hollow one."""
    problem, state, _ = begun
    heights = []
    for arrays in (problem.arrays, replace(problem.arrays, bent=0 * problem.arrays.bent)):
        surface = TriangleMesh(state.vertices, model().triangles)
        matches = replace(problem, arrays=arrays).match(surface, state.scan_to_model, LAST)
        shown = problem.arrays.fitted_face[matches.vertices]
        heights.append(matches.offsets[shown])
    raised, bent = heights[0] - heights[1], np.linalg.eigvalsh(problem.arrays.bent[matches.vertices[shown]])
    convex, concave = bent.min(axis=1) >= -1e-9, bent.max(axis=1) <= 1e-9
    assert raised.mean() > 0.003
    assert convex.mean() > 0.4 and (raised[convex] >= -1e-9).all() and (raised[concave] <= 1e-9).all()


def test_without_data_the_posterior_is_the_prior(begun):
    problem, state, _ = begun
    pose, n_identity = problem.n_pose, problem.arrays.n_identity
    data = data_of(problem, state)
    identity = np.linalg.inv(problem._precision(state, LAST, 1e-12 * data))[pose : pose + n_identity, pose : pose + n_identity]
    np.testing.assert_allclose(identity, np.eye(n_identity), atol=1e-3)
    told = problem.posterior(state, LAST, data_of(problem, state, temper=TEMPER))
    sharper = np.sqrt(np.diag(np.linalg.inv(problem._precision(state, LAST, data)))[pose : pose + n_identity])
    assert (told.identity_sigma >= sharper - 1e-9).all() and (told.identity_sigma <= 1 + 1e-9).all()


def test_points_lie_evenly_on_a_surface_and_any_first_of_them_nearly():
    """A sheet of 3,200 triangles of one area: three points for each; the first half of them is a fair draw."""
    x, y = np.meshgrid(np.arange(41.0), np.arange(41.0))
    cells = np.arange(41 * 41).reshape(41, 41)
    a, b, c, d = cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]
    triangles = np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in ((a, b, d), (a, d, c))])
    sheet = mesh_scan(np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3), triangles)
    location = Location(sheet, SimilarityTransform.identity(), 0.9)
    points = prepare_target(location, model(), limit=3 * len(triangles)).points
    where = np.floor(points[:, :2]).astype(int) @ [40, 1] * 2 + (points[:, 0] % 1 < points[:, 1] % 1)
    assert (np.bincount(where, minlength=len(triangles)) == 3).all()
    half = np.bincount(where[: len(points) // 2], minlength=len(triangles))
    assert half.mean() == 1.5 and 0.7 < half.var() < 0.8  # 3/4 of a draw without replacement; 1.5 of independent ones


@pytest.mark.parametrize("stage", [STAGES[1], STAGES[2], LAST])
def test_the_gradient_without_a_jacobian_is_that_of_the_equations(begun, stage):
    problem, state, _ = begun
    if not stage.evidence:
        state = replace(state, discrepancy=np.zeros(0))
    matches = problem.match(TriangleMesh(state.vertices, model().triangles), state.scan_to_model, stage)
    active = np.arange(0, len(state.coefficients), 1 if stage.evidence else 3)
    expected = normal_equations(problem.terms(state, stage, matches, active))[1]
    found = problem.gradient(state, stage, matches, active)
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def test_a_steady_step_keeps_the_curvature_and_follows_the_energy(begun):
    problem, state, _ = begun
    told = problem.step(state, LAST)
    kept = problem.step(replace(state, curvature=told.curvature), LAST, steady=True)
    assert kept.curvature is told.curvature
    np.testing.assert_allclose(kept.vertices, told.vertices, atol=2e-3)


def test_vertices_follow_a_change_of_some_coefficients(begun):
    problem, state, _ = begun
    arrays, modes = problem.arrays, np.array([0, 3, 130])
    changed = state.coefficients.copy()
    changed[modes] += (0.3, -0.2, 0.1)
    moved = arrays.moved(arrays.vertices(state.coefficients), modes, np.array([0.3, -0.2, 0.1]))
    np.testing.assert_allclose(moved, arrays.vertices(changed), atol=1e-3)


def test_the_first_samples_are_reordered_and_no_others(begun):
    target = begun[0].target
    points, normals = target.first(500)
    order = np.lexsort(target.points[:500].T), np.lexsort(points.T)
    np.testing.assert_array_equal(points[order[1]], target.points[:500][order[0]])
    np.testing.assert_array_equal(normals[order[1]], target.normals[:500][order[0]])
