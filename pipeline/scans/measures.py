"""Figures of a finished scan without a ground truth."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from geometry.charts.geometry_image import GeometryImage, channel_normals
from geometry.fitting.bounds import at_bounds
from geometry.mesh import TriangleMesh
from geometry.recognition.evidence import noise_sigma
from geometry.surfaces import closest_point
from pipeline.scans import landmark_figures
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState, pixels_of

FACE_RADIUS_MM = 100.0  # about the nose tip: where surfaces are compared
SHOWN_MM = 4.0  # between a point and the surface seen at its pixel: a steep pixel spans about so much
MOST_POINTS = 12_000  # of the scan's, for a comparison; their mean is then good to 0.01 mm


def measure_landmarks(state: ScanState, job: Job) -> ScanState:
    """The figures of a scan of which only the landmarks were asked."""
    return _with_metrics(state, {"confidence": state.location.confidence} | _landmark_metrics(state))


def measure(state: ScanState, job: Job) -> ScanState:
    """Figures without a ground truth: how far the scan's visible face lies from each surface, and how much was seen."""
    fit, scan = state.fit, state.encoding.scan
    measured = {
        "fit_quality": fit.fit_quality,
        "confidence": state.location.confidence,
        "noise_mm": noise_sigma(fit),
        "visible_area_mm2": fit.visible_area_mm2,
        "observed_fraction": state.observed.sum() / max(state.refined.valid_mask.sum(), 1),
        "scale_is_metric": float(state.location.scan.scale_is_metric),
        "coefficients_at_bounds": len(at_bounds(fit, job.model)),
    }
    points = face_points(state)
    surfaces = {
        "coarse": TriangleMesh(fit.vertices, job.model.triangles),
        "refined": state.surfaces.refined.mesh,
        "registered": TriangleMesh(state.registered, job.model.triangles),
    }
    for name, mesh in surfaces.items() if len(points) else ():
        distance = closest_point.distance_to_fine(points, mesh)
        statistics = {"mean": distance.mean(), "median": np.median(distance), "p90": np.quantile(distance, 0.9)}
        measured |= {f"scan_to_{name}_{statistic}_mm": value for statistic, value in statistics.items()}
    measured["fusion_disagreement_deg"] = state.surfaces.lifted.normal_disagreement
    measured["normal_disagreement_deg"] = _normal_disagreement(scan, state.refined, state.observed)
    return _with_metrics(state, measured | _landmark_metrics(state))


def _with_metrics(state: ScanState, measured: Mapping[str, float]) -> ScanState:
    return replace(state, metrics={name: round(float(value), 6) for name, value in measured.items() if np.isfinite(value)})


def _landmark_metrics(state: ScanState) -> dict[str, float]:
    return landmark_figures.measured(state.landmarks, given_distances(state))


def given_distances(state: ScanState) -> np.ndarray | None:
    """(l,) mm from each landmark as found to the one that came with the scan, NaN where none did; None where the scan came
    without."""
    given = state.given_in_model_frame
    return None if given is None else landmark_figures.distances_to_given(state.found_landmarks, given)


def face_points(state: ScanState) -> np.ndarray:
    """(n, 3) of the scan's own points, model frame: those that the encoded scan shows within 100 mm of the nose tip,
    evenly thinned to at most `MOST_POINTS`."""
    points = state.fit.scan_to_model.apply(state.location.scan.points)
    points = points[np.linalg.norm(points, axis=1) < FACE_RADIUS_MM]
    scan = state.encoding.scan
    inside, rows, columns, depth = pixels_of(points, scan)
    # hair, and what lies behind the visible surface, is no evidence of the face
    points = points[inside & scan.valid_mask[rows, columns] & (np.abs(depth - scan["depth"][rows, columns]) < SHOWN_MM)]
    return points[:: max(1, int(np.ceil(len(points) / MOST_POINTS)))]


def _normal_disagreement(scan: GeometryImage, refined: GeometryImage, observed: np.ndarray) -> float:
    """Mean angle in degrees between both images' normals; NaN where nothing was observed."""
    if not observed.any():
        return float("nan")
    cosine = (channel_normals(scan)[observed] * channel_normals(refined)[observed]).sum(1)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())
