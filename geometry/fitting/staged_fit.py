"""The staged robust fit of a morphable model to a located scan.

S(α, β) = S̄ + U_d α_d + U_e α_e + n Φ β, the model and along its normals n what it cannot show, is matched to the scan under
a similarity T (scan → model). Each iteration pairs every scan point with its nearest model vertex, rejects pairs by distance,
normal and boundary, averages what shares a vertex, and takes one damped Gauss–Newton step, whose Hessian the next one keeps
where it was small, of

    E = ½ Σ_v w_v ρ(h̄_v) + ½ Σ_l |T p_l − S_l|² / σ_l² + ½ |α_d|² + Σ_b ½ (ν + d_b) log(1 + x_bᵀ Σ_b⁻¹ x_b / ν) + ½ |β|² / s²

with h̄_v the mean height of v's points T p above the model's curved surface (`residuals.above`) and x_b = α_e − μ of the d_b
blendshapes, a left and its right one, that go together (`ExpressionPrior.precision_at`), within the bounds of the expression,
coarse to fine (pose, then few modes under a strong prior, then all), after Amberg et al. 2007 and Ferrari et al. 2019. The
weight w_v is the vertex' area over the spectral density of the noise, which is measured from what an earlier stage leaves, less
on the neck and beside the face, and 0 on the scalp. ρ is Geman and McClure's loss, and flat sooner before the model than behind
it: hair, hands and collars stand before skin. What the scan does not show is left to the prior.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from geometry.fitting.beard import PRIOR_MM, BeardSigns, roughness
from geometry.fitting.measured_noise import noise_of_residuals, residuals_on_smooth_skin
from geometry.fitting.model_arrays import arrays_of
from geometry.fitting.options import FittingOptions, Stage
from geometry.fitting.posterior import TEMPER
from geometry.fitting.problem import Problem
from geometry.fitting.result import FitResult, FitState, summarize
from geometry.fitting.target import prepare_target
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh
from geometry.model.beard_area import beard_area
from geometry.model.morphable_model import MorphableModel

_STEADY_MM = 0.05  # a step that moves the face by less hardly changes the curvature of the energy: the next one keeps it


def fit(
    location: Location,
    model: MorphableModel,
    options: FittingOptions = FittingOptions(),
    check: Callable[[], None] = lambda: None,
) -> FitResult:
    """Run all stages, from the location's pose and, where it knows any, its coefficients. `check` is called between iterations
    and may raise, which ends the fit. Raises NoFaceFound, FitError."""
    arrays = arrays_of(model, options)
    target = prepare_target(location, model, options)
    problem = Problem(arrays, target, options, with_scale=not location.scan.scale_is_metric)
    state = problem.start(location.scan_to_model, location.coefficients)
    for stage in options.stages:
        if stage.evidence:
            pose, vertices = state.scan_to_model, state.vertices
            skin = residuals_on_smooth_skin(location.scan, pose, vertices, model, options.seed)
            noise = noise_of_residuals(location.scan, skin, target.noise_mm, options.seed)
            problem = replace(problem, noise=noise)
        state = _after(stage, problem, state, check)
        if stage.evidence and stage is not options.stages[-1] and (known := problem.known(state)) is not None:
            problem = problem.settled(state, stage, known)
        elif stage.evidence:
            matches = problem.match(TriangleMesh(state.vertices, model.triangles), state.scan_to_model, stage)
            terms = problem.terms(state, stage, matches, np.arange(len(state.coefficients)))
            data = problem.data_equations(terms, stage, matches, beard_area(model))
            problem = problem.settled(state, stage, data[0][:-1, :-1])
    result = summarize(state, target, model.triangles, arrays.fitted_face, arrays.n_identity)
    if not stage.evidence:
        return result
    sigma = float(np.sqrt(problem.discrepancy_variance))
    rough = roughness(skin.points, skin.distances, skin.vertices, model)
    beard = BeardSigns(*problem.raised(state, stage, data, PRIOR_MM), rough)
    tempered, _ = problem.data_equations(terms, stage, matches, beard_area(model), TEMPER)
    posterior = problem.posterior(state, stage, tempered[:-1, :-1])
    return replace(result, posterior=posterior, noise=problem.noise, discrepancy_sigma=sigma, beard=beard)


def _after(stage: Stage, problem: Problem, state: FitState, check: Callable[[], None]) -> FitState:
    """The state in which a stage ends."""
    motion = np.inf
    for _ in range(stage.iterations):
        before, state = state, problem.step(state, stage, steady=stage.evidence and motion < _STEADY_MM)
        check()
        motion = _motion(before, state, problem.arrays.fitted_face)
        if motion < problem.options.still_mm:
            break
    return state


def _motion(before: FitState, after: FitState, face: np.ndarray) -> float:
    """Mean distance in mm by which a step moved the vertices `face` (n,) bool against the scan."""
    back = before.scan_to_model.compose(after.scan_to_model.inverse())
    return float(np.linalg.norm(back.apply(after.vertices[face]) - before.vertices[face], axis=1).mean())
