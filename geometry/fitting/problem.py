"""One scan to be fitted by one model: pairs of points and vertices, the terms of the energy, and the step that lessens it."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from geometry.errors import NoFaceFound
from geometry.fitting.discrepancy import discrepancy_basis
from geometry.fitting.gauss_newton import bounded_step, gram, normal_equations, with_priors
from geometry.fitting.measured_noise import smooth_skin
from geometry.fitting.model_arrays import ModelArrays
from geometry.fitting.options import FittingOptions, Stage
from geometry.fitting.posterior import BIAS, FINE_MM, NO_TEMPER, OF_SURFACE, FitPosterior, Temper, inverse, spread_along
from geometry.fitting.residuals import (
    Correspondences,
    LinearTerm,
    PriorTerm,
    above,
    point_to_plane,
    point_to_point,
    pose_jacobian,
)
from geometry.fitting.result import Curvature, FitState
from geometry.fitting.target import ScanSamples
from geometry.mesh import TriangleMesh
from geometry.model.expression_prior import expression_prior
from geometry.surfaces.noise_spectrum import NoiseSpectrum
from geometry.surfaces.robust_loss import occluded_weights
from geometry.transforms import SimilarityTransform

LEAST_MATCHES = 60  # model vertices with a partner on the scan, given landmarks among them: with fewer, what is fitted is no face
IDENTITY_BOUND = 4.0  # standard deviations
_ALIKE_MM2 = 36.0  # area over which noise is taken to be alike before it is measured
_ROBUST = 6.0  # scale of the robust loss, in parts of the pairs' robust standard deviation
_ROBUST_OF_EVIDENCE = 4.0  # the same where the discrepancy is in play
_FRONT = 3.0  # what stands so many robust standard deviations before the model counts half: it is hardly the face
_LEAST_FRONT_MM = 1.2  # so far a real face stands before what a model shows of it; chosen on 79 simulated validation scans
_LEAST_SCALE_MM = 1.5  # of the robust loss
_LEAST_SCALE_OF_EVIDENCE_MM = 0.8  # the same where the discrepancy is in play, which would else bend after what is no face
_DAMPED_EVERY = 6  # so many-th vertex with a partner stands for the others where only their motion counts
_UNTOLD = 0.25  # at most such a part of the discrepancy's variance on the face is in none of its vectors
_VARIANCE_BOUNDS = (0.25, 16.0)  # of the discrepancy's, in parts of the options': what a scan can tell of it is little


@dataclass(frozen=True, eq=False)
class Problem:
    """with_scale: the scan's own is unknown; noise: as measured from an earlier stage, model mm; discrepancy_variance: of the
    discrepancy's coefficients."""

    arrays: ModelArrays
    target: ScanSamples
    options: FittingOptions
    with_scale: bool
    noise: NoiseSpectrum | None = None
    discrepancy_variance: float = 1.0

    @property
    def n_pose(self) -> int:
        return 7 if self.with_scale else 6

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest coefficients (m,) each: ±4 σ of identity, and what the expression's prior allows."""
        prior, four = expression_prior(self.arrays.model), np.full(self.arrays.n_identity, IDENTITY_BOUND)
        low, high = (bound[: self.arrays.n_expression] for bound in (prior.low, prior.high))
        return np.concatenate([-four, low]), np.concatenate([four, high])

    def start(self, scan_to_model: SimilarityTransform, known: np.ndarray | None) -> FitState:
        """From a pose and coefficients (K + E,) of the model, or where these are unknown the mean face at rest."""
        arrays, of_model = self.arrays, self.arrays.model.n_identity
        coefficients = np.zeros(arrays.n_identity + arrays.n_expression)
        if known is not None:
            identity, expression = known[: arrays.n_identity], known[of_model : of_model + arrays.n_expression]
            coefficients = np.concatenate([identity, expression])
        coefficients = np.clip(coefficients, *self.bounds)
        return FitState(scan_to_model, coefficients, np.zeros(0), arrays.vertices(coefficients))

    def step(self, state: FitState, stage: Stage, steady: bool = False) -> FitState:
        """One iteration; steady: the state's Hessian still holds. The energy's minimum does not depend on it, and a gradient
        alone takes a fraction of the time. Raises NoFaceFound where next to nothing of the scan lies near the model, FitError."""
        state, active = self._begun(state, stage), self._active_modes(stage)
        surface = TriangleMesh(state.vertices, self.arrays.model.triangles)
        matches = self.match(surface, state.scan_to_model, stage)
        count = len(matches.vertices)
        if count < max(LEAST_MATCHES - self.target.given, 1):
            raise NoFaceFound(
                f"no face found: only {count} model vertices lie near the scan, at least {LEAST_MATCHES} are needed, "
                "given landmarks among them"
            )
        inner = slice(self.n_pose, self.n_pose + len(active))
        size = inner.stop + len(state.discrepancy)
        low, high = np.full(size, -np.inf), np.full(size, np.inf)
        low[inner], high[inner] = (bound[active] - state.coefficients[active] for bound in self.bounds)
        if (known := state.curvature) is None or not steady:
            hessian, gradient = normal_equations(self.terms(state, stage, matches, active))
            known = Curvature(hessian, self._damping(stage, matches, active, size))
        else:
            gradient = self.gradient(state, stage, matches, active)
        hessian = known.data + known.damping
        step = bounded_step(*with_priors(hessian, gradient, self.priors(state, stage, active)), (low, high))
        coefficients = state.coefficients.copy()
        coefficients[active] += step[inner]
        moved, discrepancy = _stepped(state.scan_to_model, step[: self.n_pose]), state.discrepancy + step[inner.stop :]
        if len(discrepancy):
            vertices = self.vertices(coefficients, discrepancy)
        else:
            vertices = self.arrays.moved(state.vertices, active, step[inner])
        return FitState(moved, coefficients, discrepancy, vertices, known)

    def gradient(self, state: FitState, stage: Stage, matches: Correspondences, active: np.ndarray) -> np.ndarray:
        """(p,) of the data's energy at a state, as `normal_equations` of `terms` has it, without their Jacobian."""
        arrays, rows = self.arrays, matches.vertices
        pull = self.surface_weights(rows, stage) * self.robust_weights(matches, stage) * matches.offsets
        pushed = np.zeros((len(arrays.basis), 3), np.float32)
        pushed[rows] = pull[:, None] * matches.directions
        basis = arrays.basis_of(active)
        parts = [pull @ pose_jacobian(matches.targets, matches.directions, self.with_scale)]
        parts.append(-(pushed.ravel() @ basis.reshape(pushed.size, len(active))))
        if len(state.discrepancy):
            along = np.zeros(len(arrays.basis), np.float32)
            along[rows] = pull
            parts.append(-(along @ self._basis))
        gradient = np.concatenate(parts)
        for term in self._landmark_terms(state, active):
            gradient += (term.weights * term.residuals) @ term.jacobian
        return gradient

    def data_equations(
        self, terms: list[LinearTerm], stage: Stage, matches: Correspondences, raised: np.ndarray, temper: Temper = NO_TEMPER
    ) -> tuple[np.ndarray, np.ndarray]:
        """H (p + 1, p + 1) and g (p + 1,) of the data alone at a state and its pairs, of the `terms` with all modes in play, for
        pose, coefficients, discrepancy and last how far in mm the scan's surface is raised along its normals, in parts `raised`
        (n,) of that."""
        data, *others = terms
        as_it_is, tempered = (self.surface_weights(matches.vertices, stage, each) for each in (NO_TEMPER, temper))
        data = replace(data, weights=data.weights * tempered / np.maximum(as_it_is, np.finfo(float).tiny))
        others = [replace(term, weights=term.weights / temper.noise**2) for term in others]
        hessian, gradient = normal_equations([data, *others])
        lifted = -raised[matches.vertices] * data.weights
        beside = lifted.astype(data.jacobian.dtype) @ data.jacobian
        corner = np.array([[-lifted @ raised[matches.vertices]]])
        return np.block([[hessian, beside[:, None]], [beside, corner]]), np.append(gradient, lifted @ data.residuals)

    def known(self, state: FitState) -> np.ndarray | None:
        """(p, p) what the data knew of all unknowns in the step that led to a state, or in the last one before it that measured
        that: enough to settle a scale. None where not all modes were in play."""
        whole = self.n_pose + len(state.coefficients) + len(state.discrepancy)
        return None if state.curvature is None or len(state.curvature.data) != whole else state.curvature.data

    def settled(self, state: FitState, stage: Stage, data: np.ndarray) -> "Problem":
        """The same with the discrepancy's variance that has the largest evidence at this state, data (p, p) being what the data
        know about there: βᵀβ / γ, γ the number of the discrepancy's coefficients β that the scan determines (MacKay, Bayesian
        interpolation, Neural Computation 4, 1992, eq. 4.9)."""
        count = len(state.discrepancy)
        if not count:
            return self
        left = np.trace(inverse(self._precision(state, stage, data))[-count:, -count:])
        determined = max(count - left * stage.prior / self.discrepancy_variance, 1.0)
        variance = float(state.discrepancy @ state.discrepancy) / determined
        return replace(self, discrepancy_variance=float(np.clip(variance, *_VARIANCE_BOUNDS)))

    def posterior(self, state: FitState, stage: Stage, data: np.ndarray) -> FitPosterior:
        """At the end of a fit, after a stage in which all modes were in play; data (p, p): what the data know of pose,
        coefficients and discrepancy there, tempered by `TEMPER`. Raises FitError."""
        surface = TriangleMesh(state.vertices, self.arrays.model.triangles)
        covariance = inverse(self._precision(state, stage, data))
        nothing, every = np.zeros(len(surface.vertices)), np.arange(len(surface.vertices))
        there = Correspondences(every, surface.vertices, nothing, surface.vertex_normals)
        field = self._basis[:, : len(state.discrepancy)]
        jacobian = point_to_plane(there, self.arrays.basis, field, nothing, self.with_scale).jacobian
        told = self.n_pose + len(state.coefficients)
        noise_mm = self.target.noise_mm if self.noise is None else self.noise.sigma_mm
        # beside the face the discrepancy is as large as on it, and no coefficient tells of it; on it little is left untold
        whole = sum(sigma**2 for sigma in self.options.discrepancy_mm)
        untold = np.maximum((1 - _UNTOLD) * whole - np.einsum("nk,nk->n", self._basis, self._basis), 0)
        beside = FINE_MM**2 + (BIAS * noise_mm) ** 2 + OF_SURFACE**2 * self.discrepancy_variance * untold
        sigma = np.hypot(OF_SURFACE * spread_along(jacobian, covariance), np.sqrt(beside))
        return FitPosterior(covariance[:told, :told], self.n_pose, self.arrays.n_identity, sigma)

    def raised(self, state: FitState, stage: Stage, data: tuple[np.ndarray, np.ndarray], prior_mm: float) -> tuple[float, float]:
        """How far in mm the scan's surface is raised beyond what the fit's other unknowns make of it once they have moved along,
        and the standard deviation; data: `data_equations`; prior_mm: the prior's. One step."""
        last = len(data[1]) - 1
        unknown = PriorTerm(last, np.zeros(1), np.eye(1) / prior_mm**2)
        hessian, gradient = with_priors(*data, [*self.priors(state, stage, np.arange(len(state.coefficients))), unknown])
        covariance = inverse(hessian)
        return float(-covariance[last] @ gradient), float(np.sqrt(covariance[last, last]))

    def vertices(self, coefficients: np.ndarray, discrepancy: np.ndarray) -> np.ndarray:
        """(n, 3) the model of coefficients (m,), moved along its normals by a discrepancy (r,), or (0,) where none is in play."""
        plain = self.arrays.vertices(coefficients)
        if not len(discrepancy):
            return plain
        normals = TriangleMesh(plain, self.arrays.model.triangles).vertex_normals
        return plain + (self._basis @ discrepancy.astype(np.float32))[:, None] * normals

    def match(self, surface: TriangleMesh, scan_to_model: SimilarityTransform, stage: Stage) -> Correspondences:
        """Nearest model vertex of each point; pairs too far, turned away or on excluded vertices are dropped."""
        points, normals = self.target.first(stage.points)
        points, normals = scan_to_model.apply(points), scan_to_model.apply_to_directions(normals)
        weight = self.options.normal_weight_mm
        # a tree that is not balanced is made in two thirds of the time, and answers as fast
        tree = cKDTree(np.concatenate([surface.vertices, weight * surface.vertex_normals], axis=1), balanced_tree=False)
        reach = np.hypot(stage.gate_mm, weight)  # up to 60° between the normals
        distance, nearest = tree.query(np.concatenate([points, weight * normals], axis=1), distance_upper_bound=reach)
        near = np.isfinite(distance)
        points, normals, nearest = points[near], normals[near], nearest[near]
        found = self.arrays.weights[nearest] > 0
        found &= _lengths(points - surface.vertices[nearest]) < stage.gate_mm
        found &= np.einsum("ij,ij->i", surface.vertex_normals[nearest], normals) > self.options.normal_cosine
        points, nearest = points[found], nearest[found]
        n = len(surface.vertices)
        count = np.bincount(nearest, minlength=n)
        rows = np.flatnonzero(count)
        mean_of = lambda values: np.stack([np.bincount(nearest, column, n)[rows] / count[rows] for column in values.T], axis=1)
        offsets, directions = above(surface, self.arrays.bent, nearest, points)
        directions = mean_of(directions)
        directions /= _lengths(directions)[:, None]
        return Correspondences(rows, mean_of(points), np.bincount(nearest, offsets, n)[rows] / count[rows], directions)

    def terms(self, state: FitState, stage: Stage, matches: Correspondences, active: np.ndarray) -> list[LinearTerm]:
        """Of the data at a state, linear in a step of (pose, the active (a,) of the m coefficients, the discrepancy)."""
        return [self._surface_term(state, stage, matches, active), *self._landmark_terms(state, active)]

    def priors(self, state: FitState, stage: Stage, active: np.ndarray) -> list[PriorTerm]:
        """The model's own of the identity (Blanz & Vetter 1999, eq. 11), the expression's, and the discrepancy's."""
        prior, n_identity = expression_prior(self.arrays.model), self.arrays.n_identity
        strength, first = stage.prior * self.options.regularization_weight, int((active < n_identity).sum())
        chosen = active[first:] - n_identity
        off, count = state.coefficients[active[first:]] - prior.mean[chosen], len(state.discrepancy)
        return [
            PriorTerm(self.n_pose, state.coefficients[active[:first]], strength * np.eye(first)),
            PriorTerm(self.n_pose + first, off, strength * prior.precision_at(off, chosen)),
            PriorTerm(self.n_pose + len(active), state.discrepancy, stage.prior / self.discrepancy_variance * np.eye(count)),
        ]

    def robust_scale(self, matches: Correspondences, stage: Stage) -> float:
        """In mm, of the loss of Geman and McClure."""
        noise_mm = self.target.noise_mm if self.noise is None else self.noise.sigma_mm
        spread = 1.4826 * np.median(np.abs(matches.offsets))
        least = _LEAST_SCALE_OF_EVIDENCE_MM if stage.evidence else _LEAST_SCALE_MM
        return float(np.clip(_times(stage) * spread, max(least, 2.0 * noise_mm), stage.gate_mm))

    def robust_weights(self, matches: Correspondences, stage: Stage) -> np.ndarray:
        """(r,) in [0, 1] of the pairs. What stands before the face is told from it once the fit is near enough for that."""
        scale = self.robust_scale(matches, stage)
        front = max(_FRONT / _times(stage) * scale, _LEAST_FRONT_MM) if stage.expression else np.inf
        return occluded_weights(matches.offsets, scale, front)

    def surface_weights(self, rows: np.ndarray, stage: Stage, temper: Temper = NO_TEMPER) -> np.ndarray:
        """1/mm² of a pair with each of the vertices (r,): its area over the spectral density of what the scan is off and of what
        neither model nor discrepancy shows."""
        options = self.options
        density = np.full(len(rows), options.first_density_mm4)
        if stage.evidence:
            density = options.unshown_mm4 + options.unshown_features_mm4 * ~smooth_skin(self.arrays.model)[rows]
        noise = _ALIKE_MM2 * self.target.noise_mm**2 if self.noise is None else self.noise.density_mm4
        weights = self.arrays.weights if stage.evidence else self.arrays.first_weights
        return weights[rows] * self.arrays.areas[rows] / (temper.unshown**2 * density + temper.noise**2 * noise)

    @cached_property
    def _basis(self) -> np.ndarray:
        return discrepancy_basis(self.arrays.model, self.options.discrepancy_mm, self.options.discrepancy_length_mm)

    def _begun(self, state: FitState, stage: Stage) -> FitState:
        if not stage.evidence or len(state.discrepancy):
            return state
        return replace(state, discrepancy=np.zeros(self._basis.shape[1]))

    def _active_modes(self, stage: Stage) -> np.ndarray:
        """(a,) numbers of the modes in play, the identity's first."""
        n_identity, n_expression = self.arrays.n_identity, self.arrays.n_expression
        identity = np.arange(int(np.ceil(stage.identity * n_identity)))
        expression = n_identity + np.arange(int(np.ceil(stage.expression * n_expression)))
        return np.concatenate([identity, expression])

    def _surface_term(self, state: FitState, stage: Stage, matches: Correspondences, active: np.ndarray) -> LinearTerm:
        weights = self.surface_weights(matches.vertices, stage) * self.robust_weights(matches, stage)
        field = self._basis if len(state.discrepancy) else self._basis[:, :0]
        return point_to_plane(matches, self.arrays.basis_of(active), field, weights, self.with_scale)

    def _landmark_terms(self, state: FitState, active: np.ndarray) -> list[LinearTerm]:
        """One, or none where there are no landmarks."""
        if not len(self.target.landmarks):
            return []
        places, ids = state.scan_to_model.apply(self.target.landmarks), self.target.landmark_vertices
        strength = 1.0 / self.target.landmark_sigma**2
        term = point_to_point(places, state.vertices[ids], self.arrays.basis_of(active)[ids], strength, self.with_scale)
        return [replace(term, jacobian=np.pad(term.jacobian, ((0, 0), (0, len(state.discrepancy)))))]

    def _precision(self, state: FitState, stage: Stage, data: np.ndarray) -> np.ndarray:
        """(p, p) of (pose, coefficients, discrepancy), what the data (p, p) and the priors know."""
        return with_priors(data, np.zeros(len(data)), self.priors(state, stage, np.arange(len(state.coefficients))))[0]

    def _damping(self, stage: Stage, matches: Correspondences, active: np.ndarray, size: int) -> np.ndarray:
        """(size, size) damping of one step's motion of what is seen: point-to-plane leaves sliding along the surface free, and a
        long slide outruns the correspondences. It is in proportion to the weight of the data, so that noise does not slow the
        fit, and vanishes at convergence: it changes the path and not the minimum. What is not seen goes where the prior says at
        once."""
        rows = matches.vertices[::_DAMPED_EVERY]
        weights = _DAMPED_EVERY * self.surface_weights(rows, stage)
        modes = self.arrays.basis_of(active)[rows].reshape(3 * len(rows), len(active))
        damping, inner = np.zeros((size, size)), slice(self.n_pose, self.n_pose + len(active))
        damping[inner, inner] = self.options.damping * gram(modes, np.repeat(weights, 3))
        return damping


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """Of vectors (n, 3) → (n,)."""
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))


def _times(stage: Stage) -> float:
    return _ROBUST_OF_EVIDENCE if stage.evidence else _ROBUST


def _stepped(transform: SimilarityTransform, step: np.ndarray) -> SimilarityTransform:
    rotation = Rotation.from_rotvec(step[:3]).as_matrix()
    scale = float(np.exp(np.clip(step[6], -0.2, 0.2))) if len(step) == 7 else 1.0
    return SimilarityTransform(rotation, step[3:6], scale).compose(transform)
