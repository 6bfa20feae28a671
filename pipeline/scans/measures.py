"""Figures of a finished scan without a ground truth."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from geometry.charts.geometry_image import GeometryImage, channel_normals
from geometry.mesh import TriangleMesh
from geometry.surfaces import closest_point
from pipeline.scans import landmark_figures
from pipeline.scans.job import Job
from pipeline.scans.state import Work
from pipeline.scans.steps import _given_in_model_frame

FACE_RADIUS_MM = 100.0  # about the nose tip: where surfaces are compared
SHOWN_MM = 4.0  # between a point and the surface seen at its pixel: a steep pixel spans about so much
MOST_POINTS = 12_000  # of the scan's, for a comparison; their mean is then good to 0.01 mm


def measure_landmarks(work: Work, job: Job) -> Work:
    """The figures of a scan of which only the landmarks were asked."""
    return _with_metrics(work, {"confidence": work.location.confidence} | _landmark_metrics(work))


def measure(work: Work, job: Job) -> Work:
    """Figures without a ground truth: how far the scan's visible face lies from each surface, and how much was seen."""
    fit, scan = work.fit, work.encoding.scan
    measured = {
        "fit_quality": fit.fit_quality, "confidence": work.location.confidence, "noise_mm": fit.noise_mm,
        "visible_area_mm2": fit.visible_area_mm2,
        "observed_fraction": work.observed.sum() / max(work.refined.valid_mask.sum(), 1),
    }
    points = face_points(work)
    surfaces = {
        "coarse": TriangleMesh(fit.vertices, job.model.triangles), "refined": work.surface.mesh,
        "registered": TriangleMesh(work.registered, job.model.triangles),
    }
    for name, mesh in surfaces.items() if len(points) else ():
        distance = closest_point.surface_distance(points, mesh)
        statistics = {"mean": distance.mean(), "median": np.median(distance), "p90": np.quantile(distance, 0.9)}
        measured |= {f"scan_to_{name}_{statistic}_mm": value for statistic, value in statistics.items()}
    measured["fusion_disagreement_deg"] = work.surface.normal_disagreement
    measured["normal_disagreement_deg"] = _normal_disagreement(scan, work.refined, work.observed)
    return _with_metrics(work, measured | _landmark_metrics(work))


def _with_metrics(work: Work, measured: Mapping[str, float]) -> Work:
    return replace(work, metrics={name: round(float(value), 6) for name, value in measured.items() if np.isfinite(value)})


def _landmark_metrics(work: Work) -> dict[str, float]:
    return landmark_figures.measured(work.landmarks, given_distances(work))


def given_distances(work: Work) -> np.ndarray | None:
    """(l,) mm from each landmark as found to the one that came with the scan, NaN where none did; None where the scan came without."""
    given = _given_in_model_frame(work)
    return None if given is None else landmark_figures.distances_to_given(work.found_landmarks, given)


def face_points(work: Work) -> np.ndarray:
    """(n, 3) of the scan's own points, model frame: those that the encoded scan shows within 100 mm of the nose tip,
    evenly thinned to at most `MOST_POINTS`."""
    points = work.fit.scan_to_model.apply(work.location.scan.points)
    points = points[np.linalg.norm(points, axis=1) < FACE_RADIUS_MM]
    scan = work.encoding.scan
    pixels, depth = scan.chart.project(points)
    columns, rows = np.floor(pixels).astype(int).T
    inside = (columns >= 0) & (columns < scan.shape[1]) & (rows >= 0) & (rows < scan.shape[0])
    points, rows, columns, depth = points[inside], rows[inside], columns[inside], depth[inside]
    # hair, and what lies behind the visible surface, is no evidence of the face
    shown = scan.valid_mask[rows, columns] & (np.abs(depth - scan["depth"][rows, columns]) < SHOWN_MM)
    points = points[shown]
    return points[:: max(1, int(np.ceil(len(points) / MOST_POINTS)))]


def _normal_disagreement(scan: GeometryImage, refined: GeometryImage, observed: np.ndarray) -> float:
    """Mean angle in degrees between both images' normals; NaN where nothing was observed."""
    if not observed.any():
        return float("nan")
    cosine = (channel_normals(scan)[observed] * channel_normals(refined)[observed]).sum(1)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())
