"""The steps of a scan: (ScanState, Job) → ScanState. `pipeline.scans.chain` puts them in order.

They call into `geometry` and the registries of `pipeline.scans.methods`, and raise FaceReliefError where a scan ends; time limits
and failures are handled in `pipeline.scans.outcome`. `scan` is in its own frame in mm; everything after `fit` is in the model
frame.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import reduce

from geometry import readers
from geometry.charts.geometry_image import GeometryImage
from geometry.errors import NoFaceFound
from geometry.fitting import encoding
from geometry.fitting.bounds import note_of_bounds
from geometry.landmarks.contradictions import check_against_found
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.given import check_on_surface, given_landmarks
from geometry.landmarks.on_surface import on_surface
from geometry.locating import cleaning
from geometry.locating.candidates import located_at
from geometry.locating.location import Location
from geometry.model import landmark_embedding as landmark_schemes
from geometry.recognition import acceptance, evidence, handedness
from geometry.recognition.by_landmarks import at_given, of_another_head
from geometry.recognition.doubts import doubts_of_camera, with_doubts
from geometry.reconstruction.reconstruct import reconstruct
from geometry.scan import Scan
from pipeline.inputs import reading
from pipeline.scans import landmark_figures, manifest, methods
from pipeline.scans.job import Job
from pipeline.scans.landmarking import on_raw_scan
from pipeline.scans.state import ScanState

SURE = 0.6  # confidence of a face that is there, or would be under another number


def load(state: ScanState, job: Job) -> ScanState:
    """The scan's bytes and those beside it, with their hashes."""
    limits = job.config.limits
    data, sidecars = reading.read(state.source, limits.file_mib * 2**20, limits.archive_ratio)
    digest = hashlib.sha256(data).hexdigest()
    return replace(state, data=data, sidecars=sidecars, sha256=digest, input_hash=manifest.input_hash(data, sidecars))


def read(state: ScanState, job: Job) -> ScanState:
    """The bytes as a scan, with the landmarks that came beside it. A state that comes with a scan goes on as it is."""
    if state.scan is not None:
        return state
    unit = None if job.config.input.unit == "auto" else job.config.input.unit
    scan = readers.read(state.data, source=state.source.name, sidecars=state.sidecars, unit=unit)
    given = given_landmarks(state.source.name, state.sidecars, (landmark_schemes.scheme(job.config.landmarks.scheme),))
    noted = reduce(Scan.with_note, doubts_of_camera(scan), scan)
    return replace(state, scan=noted, given_landmarks=given, data=b"", sidecars={})


def clean(state: ScanState, job: Job) -> ScanState:
    """What no face can be is dropped, and every point has a normal."""
    cleaned = cleaning.clean(state.scan, job.config.clean)
    return replace(state, scan=handedness.with_checked_normals(cleaned, job.config.input.handedness))


def locate(state: ScanState, job: Job) -> ScanState:
    """The head, with the landmarks found on it and those given, checked against the scan."""
    places = None if state.start is None else [located_at(state.scan, state.start)]
    try:
        location = methods.LOCATORS[job.config.locate.method](state.scan, job.model, job.config, state.check, places)
    except NoFaceFound as error:
        raise with_doubts(error, state.scan, job.model, _sees(state, job), state.check) from error
    given, source = state.given_landmarks, state.source.name
    if given is not None:
        whole = state.scan if state.scan.unit_mm else state.scan.in_unit(location.scan.unit_mm, location.scan.scale_is_metric)
        given = check_on_surface(given.scaled(location.scan.unit_mm or 1.0), whole)
        location = replace(location, landmarks=given.points68)
    note = handedness.require_unmirrored(state.scan, location, job.model, job.config.input.handedness, state.check)
    if given is not None:
        face = location.scan_to_model.inverse().apply(landmark_schemes.landmarks_on(job.model, job.model.mean))
        is_sure = _is_sure(location, job) and not of_another_head(location, given.points68, job.model)
        given, won = check_against_found(given, location.estimate, face, source, is_sure)
        location = replace(location, landmarks=given.points68)
        location = at_given(location, whole, given.points68, job.model) if won else location
    notes = (*location.scan.notes, *filter(None, [note]), *(() if given is None else given.notes))
    location = replace(location, scan=replace(location.scan, notes=notes))
    # a depth image without landmarks may yet turn out to be no face, and then its whole says why
    asked_again = state.scan if state.scan.camera is not None and location.estimate is None else None
    return replace(state, location=location, given_landmarks=given, scan=asked_again)


def _sees(state: ScanState, job: Job) -> Callable[[Location], bool]:
    """Whether the run's own locator is sure of a face at a place."""

    def sees(place: Location) -> bool:
        try:
            found = methods.LOCATORS[job.config.locate.method](place.scan, job.model, job.config, state.check, [place])
        except NoFaceFound:
            return False
        return _is_sure(found, job)

    return sees


def _is_sure(found: Location, job: Job) -> bool:
    """Whether the run's locator is sure of a face; where a network was asked, only if it saw one."""
    asked = job.config.locate.method == "landmarks"
    return found.confidence >= SURE and (found.estimate is not None or not asked)


def fit(state: ScanState, job: Job) -> ScanState:
    """The morphable model fitted to the located scan."""
    settings = job.config.fit
    return replace(state, fit=methods.FITTERS[settings.method](state.location, job.model, settings, state.check))


def rasterize(state: ScanState, job: Job) -> ScanState:
    """Both surfaces in one chart; here it is decided whether the fit is believed (NoFaceFound where not), and how surely."""
    encoded = encoding.encode(state.location.scan, state.fit, job.model, job.chart)
    marked = state.location.estimate is not None
    recognised = marked or state.location.landmarks is not None or job.config.locate.method != "landmarks"
    try:
        acceptance.require_face(state.fit, encoded, job.config.accept, marked)
        found = evidence.evidence_of(state.fit, encoded, state.location, job.model)
        judged = replace(state.fit, fit_quality=acceptance.require_right(found, job.config.accept, recognised))
    except NoFaceFound as error:
        if marked:
            raise
        raise with_doubts(error, state.scan or state.location.scan, job.model, _sees(state, job), state.check) from error
    notes = acceptance.notes_of(found, state.fit.beard) + note_of_bounds(state.fit, job.model)
    location = replace(state.location, scan=reduce(Scan.with_note, notes, state.location.scan))
    return replace(state, location=location, fit=judged, encoding=encoded, evidence=found, scan=None)


def refine(states: list[ScanState], job: Job) -> list[ScanState]:
    """A batch of scans; what comes out for one does not depend on the others."""
    images = job.refine([(state.encoding.coarse, state.encoding.scan) for state in states])
    return [
        replace(state, refined=_with_confidence(image, state.encoding.scan)) for state, image in zip(states, images, strict=True)
    ]


def _with_confidence(refined: GeometryImage, scan: GeometryImage) -> GeometryImage:
    if "confidence" in refined.channels:
        return refined
    return refined.with_channel("confidence", scan.valid_mask & refined.valid_mask)


def lift(state: ScanState, job: Job) -> ScanState:
    """The surfaces that are written: the refined one, and the model's topology on it."""
    made = reconstruct(job.model, state.fit, state.location.scan, state.refined, state.observed, _follows_scan(job))
    return replace(state, surfaces=made)


def _follows_scan(job: Job) -> bool:
    """Whether the refined surface is more than the fit."""
    return job.config.refine.method != "none"


def landmarks(state: ScanState, job: Job) -> ScanState:
    """Landmarks of the finished scan: from heatmaps, the registered mesh, or both, those that were seen on the refined surface
    where a scan made it; given ones take their places."""
    settings = job.config.landmarks
    found = methods.LANDMARKERS[settings.method](state, job.model, settings)
    refined = state.surfaces.refined
    return _with_landmarks(state, on_surface(found, refined.mesh, refined.observed) if _follows_scan(job) else found)


def raw_landmarks(state: ScanState, job: Job) -> ScanState:
    """Landmarks from the located raw scan, without a fit. Raises NoFaceFound where hardly any is seen for sure: no fit
    judges here whether it is a face."""
    try:
        found = on_raw_scan(state.location, job.model, job.config.landmarks)
    except NoFaceFound as error:
        raise with_doubts(error, state.scan or state.location.scan, job.model, _sees(state, job), state.check) from error
    return _with_landmarks(state, found.transformed(state.scan_to_model))


def _with_landmarks(state: ScanState, found: LandmarkEstimate) -> ScanState:
    given = state.given_in_model_frame
    if given is None:
        return replace(state, found_landmarks=found, landmarks=found)
    notes = landmark_figures.far_from_found(found, given)
    location = replace(state.location, scan=reduce(Scan.with_note, notes, state.location.scan))
    return replace(state, location=location, found_landmarks=found, landmarks=landmark_figures.with_given(found, given))
