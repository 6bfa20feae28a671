"""One scan on its way through the graph, and the function of each stage: (Work, Job) → Work.

The functions call into `geometry` and the registries of `pipeline.scans.methods`; timing, failures and Beam are the
business of `pipeline.execution.stages`. Frames: `scan` is in its own frame in mm; everything after `fit` is in the model frame.
"""

from __future__ import annotations

from dataclasses import replace

from geometry import readers
from geometry.charts.geometry_image import GeometryImage
from geometry.fitting import encoding
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.given import GivenLandmarks, check_on_surface, given_landmarks
from geometry.locating import cleaning
from geometry.model import landmark_embedding as landmark_schemes
from geometry.recognition import acceptance, handedness
from geometry.reconstruction import lifting
from pipeline.scans import landmark_figures, methods
from pipeline.scans.job import Job
from pipeline.scans.landmarking import Evidence
from pipeline.scans.state import ScanState


def read(state: ScanState, job: Job) -> ScanState:
    unit = None if job.config.input.unit == "auto" else job.config.input.unit
    scan = readers.read(state.data, source=state.source.name, sidecars=state.sidecars, unit=unit)
    given = given_landmarks(state.source.name, state.sidecars, (landmark_schemes.scheme(job.config.landmarks.scheme),))
    return replace(state, scan=scan, given_landmarks=given, data=b"", sidecars={})


def clean(state: ScanState, job: Job) -> ScanState:
    return replace(state, scan=handedness.with_checked_normals(cleaning.clean(state.scan), job.config.input.handedness))


def locate(state: ScanState, job: Job) -> ScanState:
    location = methods.LOCATORS[job.config.locate.method](state.scan, job.model, job.config, state.deadline.check)
    given = state.given_landmarks
    if given is not None:
        whole = state.scan if state.scan.unit_mm else state.scan.in_unit(location.scan.unit_mm, location.scan.scale_is_metric)
        given = check_on_surface(given.scaled(location.scan.unit_mm or 1.0), whole)
        noted = replace(location.scan, notes=(*location.scan.notes, *given.notes))
        location = replace(location, landmarks=given.points68, scan=noted)
    handedness.require_unmirrored(state.scan, location, job.model, job.config.input.handedness, state.deadline.check)
    return replace(state, location=location, given_landmarks=given, scan=None)


def fit(state: ScanState, job: Job) -> ScanState:
    settings = job.config.fit
    return replace(state, fit=methods.FITTERS[settings.method](state.location, job.model, settings, state.deadline.check))


def rasterize(state: ScanState, job: Job) -> ScanState:
    """Both surfaces in one chart; here it is decided whether the fit is believed (NoFaceFound where not)."""
    encoded = encoding.encode(state.location.scan, state.fit, job.model, job.chart)
    acceptance.require_face(state.fit, encoded)
    return replace(state, encoding=encoded)


def refine(works: list[ScanState], job: Job) -> list[ScanState]:
    """A batch of scans; what comes out for one does not depend on the others."""
    images = job.refine([(state.encoding.coarse, state.encoding.scan) for state in works])
    return [
        replace(state, refined=_with_confidence(image, state.encoding.scan)) for state, image in zip(works, images, strict=True)
    ]


def _with_confidence(refined: GeometryImage, scan: GeometryImage) -> GeometryImage:
    if "confidence" in refined.channels:
        return refined
    return refined.with_channel("confidence", scan.valid_mask & refined.valid_mask)


def lift(state: ScanState, job: Job) -> ScanState:
    surface = lifting.lift(state.refined, state.observed, state.refined["confidence"])
    return replace(
        state, surface=surface, registered=lifting.register(job.model, state.fit.vertices, state.refined, state.observed)
    )


def landmarks(state: ScanState, job: Job) -> ScanState:
    settings = job.config.landmarks
    evidence = Evidence(
        state.location,
        state.fit.scan_to_model,
        job.model,
        state.registered,
        state.refined,
        state.observed,
        state.fit.noise_mm,
    )
    return _with_landmarks(state, methods.LANDMARKERS[settings.method](evidence, settings))


def raw_landmarks(state: ScanState, job: Job) -> ScanState:
    """Landmarks from the located raw scan, without a fit. Raises NoFaceFound where hardly any is seen for sure: no fit
    judges here whether it is a face."""
    found = methods.raw_landmarks(state.location, job.model, job.config.landmarks)
    return _with_landmarks(state, found.transformed(state.scan_to_model))


def _with_landmarks(state: ScanState, found: LandmarkEstimate) -> ScanState:
    given = _given_in_model_frame(state)
    return replace(state, found_landmarks=found, landmarks=found if given is None else landmark_figures.with_given(found, given))


def _given_in_model_frame(state: ScanState) -> GivenLandmarks | None:
    given = state.given_landmarks
    return None if given is None else replace(given, points=state.scan_to_model.apply(given.points))
