"""What a fit yields: its state after an iteration, and the result with its figures of merit."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from geometry.errors import NoFaceFound
from geometry.fitting.beard import BeardSigns
from geometry.fitting.posterior import FitPosterior
from geometry.fitting.target import ScanSamples
from geometry.mesh import TriangleMesh
from geometry.surfaces.noise_spectrum import NoiseSpectrum
from geometry.transforms import SimilarityTransform

ABOUT_MM = 25.0  # scan points this near the fitted face speak for or against it
ON_FACE_MM, FACING = 12.0, 0.3  # a point this near, with a normal of this cosine to the face's, has a residual
SEEN_MM = 5.0  # a vertex this near to a scan point is seen


@dataclass(frozen=True)
class Curvature:
    """data (p, p): the Hessian of what the data say of pose, the coefficients in play and the discrepancy, and damping (p, p)."""

    data: np.ndarray
    damping: np.ndarray


@dataclass(frozen=True)
class FitState:
    """What an iteration leaves: scan_to_model; coefficients (K + E,), identity first; discrepancy (r,) coefficients of what the
    model cannot show, (0,) before that is in play; vertices (n, 3) in the model frame, with it; curvature:
    that of the step that led there, or of an earlier one that it kept, None at the start."""

    scan_to_model: SimilarityTransform
    coefficients: np.ndarray
    discrepancy: np.ndarray
    vertices: np.ndarray
    curvature: Curvature | None = None


@dataclass(frozen=True)
class FitResult:
    """vertices (n, 3): the fitted model with what it cannot show, model frame, mm. scan_to_model: scan mm → model mm, with scale
    where the scan's is unknown. residuals: statistics in mm of |n·(q − S)| over the scan's points on the visible face, and
    inlier_fraction: of the scan's points within 25 mm of the face, those that lie on it.
    fit_quality: the probability that the fit is right, NaN until it is judged (`geometry.recognition.acceptance`).
    visible_face: the fraction of the face region that scan points support; visible_area_mm2 the same as an area.
    identity_rms_sigma: root mean square of the identity coefficients. noise_mm: of the scan, as it alone shows; noise: as
    measured from what the fit leaves, None where it was not; both in model mm. posterior: None of a short fit without evidence.
    discrepancy_sigma: how many times as large as the options say what the model cannot show was found. beard: the signs of one,
    None of a short fit."""

    identity_coefficients: np.ndarray
    expression_coefficients: np.ndarray
    scan_to_model: SimilarityTransform
    vertices: np.ndarray
    residuals: dict[str, float]
    fit_quality: float
    noise_mm: float
    visible_face: float
    visible_area_mm2: float
    identity_rms_sigma: float
    posterior: FitPosterior | None = None
    noise: NoiseSpectrum | None = None
    discrepancy_sigma: float = 1.0
    beard: BeardSigns | None = None


def summarize(state: FitState, target: ScanSamples, triangles: np.ndarray, face: np.ndarray, n_identity: int) -> FitResult:
    """Residuals over the face region `face` (n,) bool, how much of it is seen, and how plausible its shape is.

    Raises NoFaceFound where no scan point lies on the fitted face."""
    surface = TriangleMesh(state.vertices, triangles)
    points, normals = target.first(len(target.points))
    points, normals = state.scan_to_model.apply(points), state.scan_to_model.apply_to_directions(normals)
    distance, nearest = cKDTree(state.vertices, balanced_tree=False).query(points, distance_upper_bound=ABOUT_MM)
    about = np.isfinite(distance)
    about[about] &= face[nearest[about]]
    near = about & (distance < ON_FACE_MM)
    points, nearest = points[near], nearest[near]
    model_normals = surface.vertex_normals[nearest]
    facing = np.einsum("ij,ij->i", model_normals, normals[near]) > FACING
    offsets = np.abs(np.einsum("ij,ij->i", points - state.vertices[nearest], model_normals))[facing]
    if not len(offsets):
        raise NoFaceFound("no face found: no scan point lies on the fitted face")
    areas, covered = surface.vertex_areas, _covered(state.vertices, points, face)
    visible = float(areas[covered].sum() / areas[face].sum())
    identity, expression = state.coefficients[:n_identity], state.coefficients[n_identity:]
    mahalanobis = float(np.sqrt((identity**2).mean()))
    return FitResult(
        identity,
        expression,
        state.scan_to_model,
        state.vertices,
        _statistics(offsets, target.noise_mm, int(about.sum())),
        float("nan"),
        target.noise_mm,
        visible,
        float(areas[covered].sum()),
        mahalanobis,
    )


def _covered(vertices: np.ndarray, points: np.ndarray, face: np.ndarray) -> np.ndarray:
    """(n,) bool: vertices of the face region near any of the points (k, 3)."""
    covered = np.zeros(len(face), bool)
    reach = cKDTree(points, balanced_tree=False).query(vertices[face], distance_upper_bound=SEEN_MM)[0]
    covered[np.flatnonzero(face)[np.isfinite(reach)]] = True
    return covered


def _statistics(offsets: np.ndarray, noise_mm: float, about: int) -> dict[str, float]:
    """Of distances (k,) in mm, and the share of those that noise explains in `about` scan points about the face."""
    return {
        "mean": float(offsets.mean()),
        "median": float(np.median(offsets)),
        "p90": float(np.quantile(offsets, 0.9)),
        "rms": float(np.sqrt((offsets**2).mean())),
        "inlier_fraction": float((offsets < 1.5 + 2 * noise_mm).sum() / about),
    }
