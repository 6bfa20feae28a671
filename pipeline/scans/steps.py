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
from pipeline.scans.state import Work


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
    acceptance.judge(work.fit, encoded)
    return replace(work, encoding=encoded)


def refine(works: list[Work], job: Job) -> list[Work]:
    """A batch of scans; what comes out for one does not depend on the others."""
    images = job.refine([(work.encoding.coarse, work.encoding.scan) for work in works])
    return [replace(work, refined=_with_confidence(image, work.encoding.scan)) for work, image in zip(works, images, strict=True)]


def _with_confidence(refined: GeometryImage, scan: GeometryImage) -> GeometryImage:
    if "confidence" in refined.channels:
        return refined
    return refined.with_channel("confidence", scan.valid_mask & refined.valid_mask)


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
