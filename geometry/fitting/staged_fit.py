"""The staged robust fit of a morphable model to a located scan.

S(α) = S̄ + U_d α_d + U_e α_e is matched to the scan under a similarity T (scan → model). Each
iteration pairs every scan point with its nearest model vertex, rejects pairs by distance, normal
and boundary, averages what shares a vertex, and takes one damped Gauss–Newton step of

    E = Σ_v w_v ρ(n_v · (T p̄_v − S_v))² / σ² + Σ_l w_l |T p_l − S_l|² + |α_d|² + λ_e |α_e|²

coarse to fine (pose, then few modes under a strong prior, then all), after Amberg et al. 2007 and
Ferrari et al. 2019. What the scan does not show is left to the prior.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from geometry.errors import NoFaceFound
from geometry.fitting.gauss_newton import gauss_newton_step
from geometry.fitting.options import FittingOptions, Stage
from geometry.fitting.residuals import Correspondences, coefficient_prior, geman_mcclure_weights, point_to_plane, point_to_point
from geometry.fitting.result import FitResult, FitState
from geometry.fitting.target import ScanSamples, prepare_target
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.transforms import SimilarityTransform, rotation_from_vector

ABOUT_MM = 25.0  # scan points this near the fitted face speak for or against it


class _Fitter:
    """The model's arrays, restricted and laid out for the inner loop."""

    def __init__(self, model: MorphableModel, options: FittingOptions):
        self.model, self.options = model, options
        self.n_identity = min(options.identity_modes, model.n_identity)
        self.n_expression = min(options.expression_modes, model.n_expression)
        basis = np.concatenate([model.identity_basis[: self.n_identity], model.expression_basis[: self.n_expression]])
        self.basis = np.ascontiguousarray(basis.transpose(1, 2, 0), dtype=np.float32)
        mean = TriangleMesh(model.mean, model.triangles)
        excluded = mean.boundary_vertices | model.regions["mouth_interior"] | model.regions["eyes"]
        excluded |= model.regions.get("cavities", False)
        self.weights = np.where(model.regions["face"], 1.0, options.surround_weight) * ~excluded
        self.areas = mean.vertex_areas
        # Σ a UᵀU: the squared motion of the face that a step of the coefficients causes, per mm² of it
        weighted = (self.basis * (self.areas * self.weights)[:, None, None].astype(np.float32)).reshape(-1, basis.shape[0])
        self.motion = (weighted.T @ self.basis.reshape(-1, basis.shape[0])).astype(np.float64)

    def vertices(self, coefficients: np.ndarray) -> np.ndarray:
        return self.model.mean + self.basis @ coefficients.astype(np.float32)

    def match(self, surface: TriangleMesh, points: np.ndarray, normals: np.ndarray, gate_mm: float) -> Correspondences:
        """Nearest model vertex of each point; pairs too far, turned away or on excluded vertices are dropped."""
        weight = self.options.normal_weight_mm
        tree = cKDTree(np.concatenate([surface.vertices, weight * surface.vertex_normals], axis=1))
        reach = np.hypot(gate_mm, weight)  # up to 60° between the normals
        distance, nearest = tree.query(np.concatenate([points, weight * normals], axis=1), distance_upper_bound=reach)
        found = np.isfinite(distance)
        found[found] &= self.weights[nearest[found]] > 0
        found[found] &= np.linalg.norm(points[found] - surface.vertices[nearest[found]], axis=1) < gate_mm
        points, normals, nearest = points[found], normals[found], nearest[found]
        model_normals = surface.vertex_normals[nearest]
        agree = (model_normals * normals).sum(1) > self.options.normal_cosine
        points, normals, nearest, model_normals = points[agree], normals[agree], nearest[agree], model_normals[agree]
        # symmetric normals cancel the curvature between a point and its vertex (Rusinkiewicz 2019, eq. 5)
        middle = normals + model_normals
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        offset = ((points - surface.vertices[nearest]) * middle).sum(1)
        n = len(surface.vertices)
        support = np.bincount(nearest, minlength=n)
        rows = np.flatnonzero(support)
        mean_of = lambda values: np.bincount(nearest, values, n)[rows] / support[rows]
        targets = np.stack([mean_of(points[:, axis]) for axis in range(3)], 1)
        return Correspondences(rows, targets, mean_of(offset), support[rows])


_fitter_of = lru_cache(maxsize=4)(_Fitter)  # a batch fits one model to many scans


def _robust_scale(noise_mm: float, offsets: np.ndarray, gate_mm: float) -> float:
    spread = 1.4826 * np.median(np.abs(offsets)) if len(offsets) else gate_mm
    return float(np.clip(6.0 * spread, max(1.5, 2.0 * noise_mm), gate_mm))


def fit_states(location: Location, model: MorphableModel, options: FittingOptions = FittingOptions()) -> Iterator[FitState]:
    """The fit, one state an iteration. Raises NoFaceFound where next to nothing of the scan lies near the model, FitError."""
    target = prepare_target(location, model, options)
    yield from _iterate(_fitter_of(model, options), target, location)


def _iterate(fitter: _Fitter, target: ScanSamples, location: Location) -> Iterator[FitState]:
    options, transform = fitter.options, location.scan_to_model
    with_scale = not location.scan.scale_is_metric
    n_pose = 7 if with_scale else 6
    coefficients = np.zeros(fitter.n_identity + fitter.n_expression)
    if location.coefficients is not None:
        coefficients[: len(location.coefficients)] = location.coefficients
    iteration = 0
    vertices = fitter.vertices(coefficients)
    for number, stage in enumerate(options.stages):
        active = _active_modes(fitter, stage)
        for _ in range(stage.iterations):
            surface = TriangleMesh(vertices, fitter.model.triangles)
            points = transform.apply(target.points[: stage.points])
            normals = transform.apply_to_directions(target.normals[: stage.points])
            matches = fitter.match(surface, points, normals, stage.gate_mm)
            if len(matches.vertices) < 60:
                raise NoFaceFound(
                    f"no face found: only {len(matches.vertices)} model vertices lie near the scan, at least 60 are needed"
                )
            terms = _terms(fitter, target, stage, matches, surface, transform, coefficients, active, with_scale)
            step = gauss_newton_step(terms, _trust_region(fitter, active, n_pose))
            transform = _stepped(transform, step[:n_pose])
            coefficients = coefficients.copy()
            coefficients[active] += step[n_pose:]
            coefficients = _bounded(coefficients, fitter)
            iteration += 1
            rms = float(np.sqrt(np.average(matches.offsets**2, weights=fitter.areas[matches.vertices])))
            vertices = fitter.vertices(coefficients)
            yield FitState(iteration, number, transform, coefficients, vertices, rms, len(matches.vertices))


def _trust_region(fitter: _Fitter, active: np.ndarray, n_pose: int) -> np.ndarray:
    """(p, p) damping of one step's motion in mm: point-to-plane leaves sliding along the surface free, and a long
    slide outruns the correspondences. It vanishes at convergence, so it changes the path and not the minimum."""
    damping = np.zeros((n_pose + len(active),) * 2)
    damping[n_pose:, n_pose:] = fitter.motion[np.ix_(active, active)] / (
        fitter.options.independent_area_mm2 * fitter.options.trust_radius_mm**2
    )
    return damping


def _active_modes(fitter: _Fitter, stage: Stage) -> np.ndarray:
    identity = np.arange(int(np.ceil(stage.identity * fitter.n_identity)))
    expression = fitter.n_identity + np.arange(int(np.ceil(stage.expression * fitter.n_expression)))
    return np.concatenate([identity, expression])


def _terms(fitter, target, stage, matches, surface, transform, coefficients, active, with_scale):
    options, rows = fitter.options, matches.vertices
    scale = _robust_scale(target.noise_mm, matches.offsets, stage.gate_mm)
    sigma2 = options.noise_floor_mm**2 + (options.noise_inflation * target.noise_mm) ** 2
    weights = fitter.weights[rows] * fitter.areas[rows] / options.independent_area_mm2 / sigma2
    weights = weights * geman_mcclure_weights(matches.offsets, scale)
    basis = fitter.basis[rows] if len(active) == fitter.basis.shape[2] else fitter.basis[rows][:, :, active]
    terms = [point_to_plane(matches, surface.vertex_normals[rows], basis, weights, with_scale)]
    if len(target.landmarks):
        ids = target.landmark_vertices
        given = transform.apply(target.landmarks)
        strength = 1.0 / target.landmark_sigma**2
        terms.append(point_to_point(given, surface.vertices[ids], fitter.basis[ids][:, :, active], strength, with_scale))
    n_pose = 7 if with_scale else 6
    expression_weight = 1.0 / options.expression_sigma**2 if fitter.model.expression_range else 1.0
    prior = np.where(active < fitter.n_identity, 1.0, expression_weight) * stage.prior * options.regularization_weight
    terms.append(coefficient_prior(coefficients[active], prior, n_pose))
    return terms


def _stepped(transform: SimilarityTransform, step: np.ndarray) -> SimilarityTransform:
    rotation = rotation_from_vector(step[:3])
    scale = float(np.exp(np.clip(step[6], -0.2, 0.2))) if len(step) == 7 else 1.0
    return SimilarityTransform(rotation, step[3:6], scale).compose(transform)


def _bounded(coefficients: np.ndarray, fitter: _Fitter) -> np.ndarray:
    """Coefficients clipped to ±4 σ; blendshape weights to slightly beyond their range, which their linearity allows."""
    k = fitter.n_identity
    coefficients[:k] = np.clip(coefficients[:k], -4, 4)
    if fitter.model.expression_range is not None:
        low, high = fitter.model.expression_range
        margin = 0.25 * (high - low)
        coefficients[k:] = np.clip(coefficients[k:], low - margin, high + margin)
    else:
        coefficients[k:] = np.clip(coefficients[k:], -4, 4)
    return coefficients


def fit(
    location: Location,
    model: MorphableModel,
    options: FittingOptions = FittingOptions(),
    check: Callable[[], None] = lambda: None,
) -> FitResult:
    """Run all stages. `check` is called between iterations and may raise, which ends the fit. Raises NoFaceFound, FitError."""
    fitter, target = _fitter_of(model, options), prepare_target(location, model, options)
    last = None
    for state in _iterate(fitter, target, location):
        last = state
        check()
    return summarize(fitter, target, last)


def summarize(fitter: _Fitter, target: ScanSamples, state: FitState) -> FitResult:
    """Residuals over the face region, and a quality in [0, 1] from residual, visibility and plausibility."""
    surface = TriangleMesh(state.vertices, fitter.model.triangles)
    points = state.scan_to_model.apply(target.points)
    normals = state.scan_to_model.apply_to_directions(target.normals)
    face = fitter.model.regions["face"] & (fitter.weights > 0)
    distance, nearest = cKDTree(state.vertices).query(points, distance_upper_bound=ABOUT_MM)
    near = np.isfinite(distance)
    about = near & face[np.where(near, nearest, 0)]
    near &= distance < 12.0
    near[near] &= face[nearest[near]]
    model_normals = surface.vertex_normals[nearest[near]]
    facing = (model_normals * normals[near]).sum(1) > 0.3
    offsets = np.abs(((points[near] - state.vertices[nearest[near]]) * model_normals).sum(1))[facing]
    covered = np.zeros(len(face), bool)
    reach = (
        cKDTree(points[near]).query(state.vertices[face], distance_upper_bound=5.0)[0]
        if near.any()
        else np.full(face.sum(), np.inf)
    )
    covered[np.flatnonzero(face)[np.isfinite(reach)]] = True
    areas = surface.vertex_areas
    visible = float(areas[covered].sum() / areas[face].sum())
    k = fitter.n_identity
    identity, expression = state.coefficients[:k], state.coefficients[k:]
    if not len(offsets):
        raise NoFaceFound("no face found: no scan point lies on the fitted face")
    residuals = {
        "mean": float(offsets.mean()),
        "median": float(np.median(offsets)),
        "p90": float(np.quantile(offsets, 0.9)),
        "rms": float(np.sqrt((offsets**2).mean())),
        "inlier_fraction": float((offsets < 1.5 + 2 * target.noise_mm).sum() / about.sum()),
    }
    landmark_error = None
    if target.given:
        given = state.scan_to_model.apply(target.landmarks[: target.given])
        landmark_error = float(np.linalg.norm(given - state.vertices[target.landmark_vertices[: target.given]], axis=1).mean())
    mahalanobis = float(np.sqrt((identity**2).mean()))
    quality = _quality(residuals["mean"], target.noise_mm, visible, mahalanobis)
    return FitResult(
        identity,
        expression,
        state.scan_to_model,
        state.vertices,
        residuals,
        quality,
        target.noise_mm,
        visible,
        float(areas[covered].sum()),
        state.iteration,
        landmark_error,
        {"identity_rms_sigma": mahalanobis},
    )


def _quality(mean_mm: float, noise_mm: float, visible: float, mahalanobis: float) -> float:
    excess = max(mean_mm - 0.8 * noise_mm, 0.0)
    return float(np.exp(-((excess / 1.5) ** 2)) * np.clip(visible / 0.7, 0, 1) * np.exp(-max(mahalanobis - 1.5, 0.0)))
