"""One scan on its way through the graph, and the function of each stage: (Work, Job) → Work.

The functions call into `geometry` and the registries of `pipeline.methods`; timing, failures and Beam are the
business of `pipeline.stages`. Frames: `scan` is in its own frame in mm; everything after `fit` is in the model frame.
"""
from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from geometry import chart as charts
from geometry import cleaning, encoding, handedness, lifting, metrics, plausibility, readers
from geometry import landmarks as landmark_schemes
from geometry.chart import Chart, pixel_centres
from geometry.geometry_image import GeometryImage
from geometry.landmark_estimate import LandmarkEstimate
from geometry.mesh import TriangleMesh
from geometry.model_formats import load_model
from geometry.morphable_model import MorphableModel
from geometry.rasterize import channel_normals, image_from_depth
from geometry.rasterize import rasterize as rasterize_mesh
from geometry.scan import Scan
from geometry.transforms import SimilarityTransform
from geometry.views import VIEW_CHART
from pipeline import landmark_figures, methods, sources
from pipeline.config import ChartConfig, Config
from pipeline.errors import ModelError, TimeLimitExceeded
from pipeline.given_landmarks import GivenLandmarks, check_on_surface, given_landmarks
from pipeline.landmarking import Evidence, finder, landmark_network_is_used

FACE_RADIUS_MM = 100.0  # about the nose tip: where surfaces are compared
SUPPORT_MM = 3.0  # a scan farther from the refined surface shows something else
SHOWN_MM = 4.0  # between a point and the surface seen at its pixel: a steep pixel spans about so much
MOST_POINTS = 12_000  # of the scan's, for a comparison; their mean is then good to 0.01 mm


@dataclass(frozen=True)
class Job:
    """What every stage of a run needs, small enough to travel with the graph.

    model_sha256: of the model that the run's results are recorded under; result_hash: of all that decides results;
    journal: a folder on the launching machine where workers note finished scans, for its progress bar.
    """

    config: Config
    out: str
    model_sha256: str = ""
    result_hash: str = ""
    force: bool = False
    journal: str = ""

    @property
    def model(self) -> MorphableModel:
        return model_of(self.config.model.name, self.model_sha256)

    @property
    def landmarks_only(self) -> bool:
        return self.config.output.stages == "landmarks"

    @property
    def chart(self) -> Chart:
        return chart_of(self.config.chart)

    @property
    def refine(self) -> Callable[[list], list[GeometryImage]]:
        return refiner_of(self.config.refine)


_loaded_model = functools.lru_cache(maxsize=1)(load_model)


def model_of(name: str, sha256: str = "") -> MorphableModel:
    """The model, loaded once per process. Raises ModelError where it is not the one that the run began with."""
    model = _loaded_model(name)
    if sha256 and model.sha256 != sha256:
        raise ModelError(f"model {name!r} changed while the run was going on; start the run again")
    return model


@functools.lru_cache(maxsize=1)
def refiner_of(settings: Any) -> Callable[[list], list[GeometryImage]]:
    """The refiner, built (networks loaded) once per process."""
    return methods.REFINERS[settings.method](settings)


@functools.lru_cache(maxsize=1)
def warm_up(job: Job) -> None:
    """Loads the model and the landmark network and imports Open3D, once per process."""
    rasterize_mesh(job.model.mesh(), charts.OrthographicChart(height=1, width=1))
    if landmark_network_is_used(job.config):
        empty = np.zeros((VIEW_CHART.height, VIEW_CHART.width))
        finder(job.config.landmarks.weights)([image_from_depth(empty, empty > 0, VIEW_CHART)])


def chart_of(settings: ChartConfig) -> Chart:
    given = {name: value for name, value in vars(settings).items() if name != "kind" and value is not None}
    return charts.KINDS[settings.kind](**given)


class Deadline:
    """Raises TimeLimitExceeded once a scan's own working time is used up. It is cooperative: `check` has to be called."""

    def __init__(self, limit_seconds: float, spent: float):
        self.limit_seconds = limit_seconds
        self._end = time.perf_counter() + limit_seconds - spent

    def check(self) -> None:
        if time.perf_counter() > self._end:
            limit = f"limits.seconds_per_scan = {self.limit_seconds:g} s"
            raise TimeLimitExceeded(f"took longer than {limit}; raise it for such scans")


@dataclass(frozen=True)
class Work:
    """A scan and what the stages have made of it so far; `data` and `sidecars` only until it is read."""

    source: sources.Source
    sha256: str = ""
    input_hash: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    data: bytes = b""
    sidecars: Mapping[str, bytes] = field(default_factory=dict)
    scan: Scan | None = None
    given_landmarks: GivenLandmarks | None = None  # in the file's unit until it is located, then in mm
    location: Any = None
    fit: Any = None
    encoding: Any = None
    refined: GeometryImage | None = None
    surface: Any = None
    registered: np.ndarray | None = None
    landmarks: LandmarkEstimate | None = None  # model frame; those that came with the scan in the place of found ones
    found_landmarks: LandmarkEstimate | None = None  # as found, whatever came with the scan
    metrics: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    deadline: Deadline | None = None

    @property
    def scan_to_model(self) -> SimilarityTransform:
        """Scan mm → model mm: of the fit, or of the located head where nothing has been fitted."""
        return self.location.scan_to_model if self.fit is None else self.fit.scan_to_model

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading, cleaning and locating had to say about the scan."""
        scan = self.scan if self.location is None else self.location.scan
        return () if scan is None else tuple(scan.notes)

    @functools.cached_property
    def observed(self) -> np.ndarray:
        """(h, w) bool: `observed_pixels` of this scan."""
        return observed_pixels(self.encoding.scan, self.refined)


def read(work: Work, job: Job) -> Work:
    unit = None if job.config.input.unit == "auto" else job.config.input.unit
    scan = readers.read(work.data, source=work.source.name, sidecars=work.sidecars, unit=unit)
    given = given_landmarks(work.source.name, work.sidecars, (landmark_schemes.scheme(job.config.landmarks.scheme),))
    return replace(work, scan=scan, given_landmarks=given, data=b"", sidecars={})


def clean(work: Work, job: Job) -> Work:
    return replace(work, scan=handedness.with_checked_normals(cleaning.clean(work.scan), job.config.input.handedness))


def locate(work: Work, job: Job) -> Work:
    location = methods.LOCATORS[job.config.locate.method](work.scan, job.model, job.config, work.deadline.check)
    given = work.given_landmarks
    if given is not None:
        whole = work.scan if work.scan.unit_mm else work.scan.in_unit(location.scan.unit_mm, location.scan.scale_is_metric)
        given = check_on_surface(given.scaled(location.scan.unit_mm or 1.0), whole)
        noted = replace(location.scan, notes=(*location.scan.notes, *given.notes))
        location = replace(location, landmarks=given.points68, scan=noted)
    handedness.require_unmirrored(work.scan, location, job.model, job.config.input.handedness, work.deadline.check)
    return replace(work, location=location, given_landmarks=given, scan=None)


def fit(work: Work, job: Job) -> Work:
    settings = job.config.fit
    return replace(work, fit=methods.FITTERS[settings.method](work.location, job.model, settings, work.deadline.check))


def rasterize(work: Work, job: Job) -> Work:
    """Both surfaces in one chart; here it is decided whether the fit is believed (NoFaceFound where not)."""
    encoded = encoding.encode(work.location.scan, work.fit, job.model, job.chart)
    plausibility.judge(work.fit, encoded)
    return replace(work, encoding=encoded)


def refine(works: list[Work], job: Job) -> list[Work]:
    """A batch of scans; what comes out for one does not depend on the others."""
    images = job.refine([(work.encoding.coarse, work.encoding.scan) for work in works])
    return [replace(work, refined=_with_confidence(image, work.encoding.scan)) for work, image in zip(works, images, strict=True)]


def _with_confidence(refined: GeometryImage, scan: GeometryImage) -> GeometryImage:
    if "confidence" in refined.channels:
        return refined
    return refined.with_channel("confidence", scan.valid_mask & refined.valid_mask)


def observed_pixels(scan: GeometryImage, refined: GeometryImage) -> np.ndarray:
    """(h, w) bool: where the scan supports the refined surface, that is, lies on it within its noise. A hand or hair in
    front of the face does not."""
    normals = channel_normals(refined)
    outward = refined.chart.outward_directions(pixel_centres(refined.chart)).reshape(normals.shape)
    facing = np.maximum((normals * outward).sum(2), 0.2)  # a step along the ray → a distance from the surface
    distance = np.abs(scan["depth"] - refined["depth"]) * facing
    return scan.valid_mask & refined.valid_mask & (distance < SUPPORT_MM + 4 * scan["noise_sigma"])


def lift(work: Work, job: Job) -> Work:
    surface = lifting.lift(work.refined, work.observed, work.refined["confidence"])
    return replace(work, surface=surface, registered=lifting.register(job.model, work.fit.vertices, work.refined, work.observed))


def landmarks(work: Work, job: Job) -> Work:
    settings = job.config.landmarks
    evidence = Evidence(
        work.location, work.fit.scan_to_model, job.model, work.registered, work.refined, work.observed, work.fit.noise_mm,
    )
    return _with_landmarks(work, methods.LANDMARKERS[settings.method](evidence, settings))


def raw_landmarks(work: Work, job: Job) -> Work:
    """Landmarks from the located raw scan, without a fit. Raises NoFaceFound where hardly any is seen for sure: no fit
    judges here whether it is a face."""
    found = methods.raw_landmarks(work.location, job.model, job.config.landmarks)
    return _with_landmarks(work, found.transformed(work.scan_to_model))


def _with_landmarks(work: Work, found: LandmarkEstimate) -> Work:
    given = _given_in_model_frame(work)
    return replace(work, found_landmarks=found, landmarks=found if given is None else landmark_figures.with_given(found, given))


def _given_in_model_frame(work: Work) -> GivenLandmarks | None:
    given = work.given_landmarks
    return None if given is None else replace(given, points=work.scan_to_model.apply(given.points))


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
        distance = metrics.surface_distance(points, mesh)
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
