"""The staged robust fit of a morphable model to a located scan.

S(α) = S̄ + U_d α_d + U_e α_e is matched to the scan under a similarity T (scan → model). Each
iteration pairs every scan point with its nearest model vertex, rejects pairs by distance, normal
and boundary, averages what shares a vertex, and takes one damped Gauss–Newton step of

    E = Σ_v w_v ρ(n_v · (T p̄_v − S_v))² / σ² + Σ_l w_l |T p_l − S_l|² + |α_d|² + λ_e |α_e|²

coarse to fine (pose, then few modes under a strong prior, then all), after Amberg et al. 2007 and
Ferrari et al. 2019. What the scan does not show is left to the prior.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from geometry.errors import NoFaceFound
from geometry.fitting.gauss_newton import gauss_newton_step
from geometry.fitting.model_arrays import ModelArrays, arrays_of
from geometry.fitting.options import FittingOptions, Stage
from geometry.fitting.residuals import Correspondences, LinearTerm, coefficient_prior, point_to_plane, point_to_point
from geometry.fitting.result import FitResult, FitState, summarize
from geometry.fitting.target import ScanSamples, prepare_target
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.robust_loss import geman_mcclure_weights
from geometry.transforms import SimilarityTransform

LEAST_MATCHES = 60  # model vertices with a partner on the scan, given landmarks among them: with fewer, what is fitted is no face


def fit(
    location: Location,
    model: MorphableModel,
    options: FittingOptions = FittingOptions(),
    check: Callable[[], None] = lambda: None,
) -> FitResult:
    """Run all stages, from the location's pose and, where it knows any, its coefficients. `check` is called between iterations
    and may raise, which ends the fit. Raises NoFaceFound, FitError."""
    arrays = arrays_of(model, options.identity_modes, options.expression_modes, options.surround_weight)
    target = prepare_target(location, model, options)
    problem = _Problem(arrays, target, options, with_scale=not location.scan.scale_is_metric)
    coefficients = problem.start(location.coefficients)
    state = FitState(location.scan_to_model, coefficients, arrays.vertices(coefficients))
    for stage in options.stages:
        for _ in range(stage.iterations):
            state = problem.step(state, stage)
            check()
    return summarize(state, target, model.triangles, arrays.fitted_face, arrays.n_identity)


@dataclass(frozen=True)
class _Problem:
    """One scan to be fitted by one model. with_scale: the scan's own is unknown."""

    arrays: ModelArrays
    target: ScanSamples
    options: FittingOptions
    with_scale: bool

    @property
    def n_pose(self) -> int:
        return 7 if self.with_scale else 6

    def start(self, known: np.ndarray | None) -> np.ndarray:
        """(a + e,) coefficients of the modes that are fitted: those known (K + E,) of the model, or zeros."""
        n_identity, n_expression = self.arrays.n_identity, self.arrays.n_expression
        if known is None:
            return np.zeros(n_identity + n_expression)
        of_model = self.arrays.model.n_identity
        return self._bounded(np.concatenate([known[:n_identity], known[of_model : of_model + n_expression]]))

    def step(self, state: FitState, stage: Stage) -> FitState:
        """One iteration. Raises NoFaceFound where next to nothing of the scan lies near the model, FitError."""
        active = self._active_modes(stage)
        surface = TriangleMesh(state.vertices, self.arrays.model.triangles)
        matches = self._match(surface, state.scan_to_model, stage)
        count = len(matches.vertices)
        if count < max(LEAST_MATCHES - self.target.given, 1):
            raise NoFaceFound(
                f"no face found: only {count} model vertices lie near the scan, at least {LEAST_MATCHES} are needed, "
                "given landmarks among them"
            )
        terms = [self._surface_term(matches, surface, stage, active), *self._landmark_terms(state, active)]
        step = gauss_newton_step([*terms, self._prior(state.coefficients, stage, active)], self._trust_region(active))
        coefficients = state.coefficients.copy()
        coefficients[active] += step[self.n_pose :]
        coefficients = self._bounded(coefficients)
        return FitState(_stepped(state.scan_to_model, step[: self.n_pose]), coefficients, self.arrays.vertices(coefficients))

    def _active_modes(self, stage: Stage) -> np.ndarray:
        """(a,) numbers of the modes in play, the identity's first."""
        n_identity, n_expression = self.arrays.n_identity, self.arrays.n_expression
        identity = np.arange(int(np.ceil(stage.identity * n_identity)))
        expression = n_identity + np.arange(int(np.ceil(stage.expression * n_expression)))
        return np.concatenate([identity, expression])

    def _match(self, surface: TriangleMesh, scan_to_model: SimilarityTransform, stage: Stage) -> Correspondences:
        """Nearest model vertex of each point; pairs too far, turned away or on excluded vertices are dropped."""
        points = scan_to_model.apply(self.target.points[: stage.points])
        normals = scan_to_model.apply_to_directions(self.target.normals[: stage.points])
        weight = self.options.normal_weight_mm
        tree = cKDTree(np.concatenate([surface.vertices, weight * surface.vertex_normals], axis=1))
        reach = np.hypot(stage.gate_mm, weight)  # up to 60° between the normals
        distance, nearest = tree.query(np.concatenate([points, weight * normals], axis=1), distance_upper_bound=reach)
        found = np.isfinite(distance)
        found[found] &= self.arrays.weights[nearest[found]] > 0
        found[found] &= np.linalg.norm(points[found] - surface.vertices[nearest[found]], axis=1) < stage.gate_mm
        points, normals, nearest = points[found], normals[found], nearest[found]
        model_normals = surface.vertex_normals[nearest]
        agree = (model_normals * normals).sum(1) > self.options.normal_cosine
        points, normals, nearest, model_normals = points[agree], normals[agree], nearest[agree], model_normals[agree]
        # symmetric normals cancel the curvature between a point and its vertex (Rusinkiewicz 2019, eq. 5)
        middle = normals + model_normals
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        offset = ((points - surface.vertices[nearest]) * middle).sum(1)
        n = len(surface.vertices)
        count = np.bincount(nearest, minlength=n)
        rows = np.flatnonzero(count)
        mean_of = lambda values: np.bincount(nearest, values, n)[rows] / count[rows]
        return Correspondences(rows, np.stack([mean_of(points[:, axis]) for axis in range(3)], 1), mean_of(offset))

    def _surface_term(self, matches: Correspondences, surface: TriangleMesh, stage: Stage, active: np.ndarray) -> LinearTerm:
        arrays, options, noise_mm, rows = self.arrays, self.options, self.target.noise_mm, matches.vertices
        sigma2 = options.noise_floor_mm**2 + (options.noise_inflation * noise_mm) ** 2
        weights = arrays.weights[rows] * arrays.areas[rows] / options.independent_area_mm2 / sigma2
        spread = 1.4826 * np.median(np.abs(matches.offsets))
        scale = float(np.clip(6.0 * spread, max(1.5, 2.0 * noise_mm), stage.gate_mm))
        weights = weights * geman_mcclure_weights(matches.offsets, scale)
        basis = arrays.basis[rows] if len(active) == arrays.basis.shape[2] else arrays.basis[rows][:, :, active]
        return point_to_plane(matches, surface.vertex_normals[rows], basis, weights, self.with_scale)

    def _landmark_terms(self, state: FitState, active: np.ndarray) -> list[LinearTerm]:
        """One, or none where no landmark is known."""
        if not len(self.target.landmarks):
            return []
        places, ids = state.scan_to_model.apply(self.target.landmarks), self.target.landmark_vertices
        strength = 1.0 / self.target.landmark_sigma**2
        return [point_to_point(places, state.vertices[ids], self.arrays.basis[ids][:, :, active], strength, self.with_scale)]

    def _prior(self, coefficients: np.ndarray, stage: Stage, active: np.ndarray) -> LinearTerm:
        expression_weight = 1.0 / self.options.expression_sigma**2 if self.arrays.model.expression_range else 1.0
        weights = np.where(active < self.arrays.n_identity, 1.0, expression_weight)
        return coefficient_prior(coefficients[active], weights * stage.prior * self.options.regularization_weight, self.n_pose)

    def _trust_region(self, active: np.ndarray) -> np.ndarray:
        """(p, p) damping of one step's motion in mm: point-to-plane leaves sliding along the surface free, and a long
        slide outruns the correspondences. It vanishes at convergence, so it changes the path and not the minimum."""
        damping = np.zeros((self.n_pose + len(active),) * 2)
        damping[self.n_pose :, self.n_pose :] = self.arrays.motion[np.ix_(active, active)] / (
            self.options.independent_area_mm2 * self.options.trust_radius_mm**2
        )
        return damping

    def _bounded(self, coefficients: np.ndarray) -> np.ndarray:
        """Coefficients clipped to ±4 σ; blendshape weights to slightly beyond their range, which their linearity allows."""
        expression_range = self.arrays.model.expression_range
        low, high = expression_range or (-4.0, 4.0)
        margin = 0.25 * (high - low) if expression_range else 0.0
        identity, expression = np.split(coefficients, [self.arrays.n_identity])
        return np.concatenate([np.clip(identity, -4, 4), np.clip(expression, low - margin, high + margin)])


def _stepped(transform: SimilarityTransform, step: np.ndarray) -> SimilarityTransform:
    rotation = Rotation.from_rotvec(step[:3]).as_matrix()
    scale = float(np.exp(np.clip(step[6], -0.2, 0.2))) if len(step) == 7 else 1.0
    return SimilarityTransform(rotation, step[3:6], scale).compose(transform)
