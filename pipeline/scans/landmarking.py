"""The landmark side of a run: the network, kept for the life of a process, and the ways to use it.

Frames: a location and what the network finds on it are in the scan's frame, mm; what leaves `from_*`, made of the state of a
registered scan, is in the model frame.
"""

import functools
from dataclasses import replace
from typing import Protocol

import numpy as np

from geometry.errors import NoFaceFound
from geometry.fitting.beard import is_bearded
from geometry.landmarks.calibration import confidence_of, mesh_covariance, shipped_calibration
from geometry.landmarks.covered import under_beard
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.fusion import UNSEEN_CONFIDENCE, fused, to_scheme
from geometry.landmarks.multiview import Find
from geometry.landmarks.shape_prior import completed, posterior
from geometry.landmarks.views import Viewer
from geometry.locating.location import Location
from geometry.model.landmark_embedding import landmarks_on
from geometry.model.morphable_model import MorphableModel
from geometry.recognition.by_landmarks import LandmarkLocatingOptions, PoseEstimate, landmark_pose, refine_pose
from pipeline.scans.state import ScanState, pixels_of

IBUG68 = "ibug68"
LEAST_SURE_SHARE = 0.15  # of the landmarks: half of the least, 21, of 40 simulated validation faces
OFF_SURFACE_MM = 8.0  # a landmark of the mesh this far from the refined image's depth at its pixel is not what the image shows


class LandmarkSettings(Protocol):
    """What a landmarker is told: of `pipeline.scans.config.LandmarksConfig`."""

    @property
    def scheme(self) -> str: ...
    @property
    def weights(self) -> str: ...


@functools.lru_cache(maxsize=1)
def finder(weights: str) -> Find:
    """The network's `find`, loaded once per process; imports TensorFlow."""
    from gan.landmarks.inference import LandmarkFinder

    return LandmarkFinder(weights).find


def on_raw_scan(location: Location, model: MorphableModel, settings: LandmarkSettings) -> LandmarkEstimate:
    """All landmarks of the settings' scheme on a located scan, without a fit, in scan mm; the unseen ones inferred from the seen
    by the model. Raises NoFaceFound where too few are seen for a face."""
    estimate = _on_raw_scan_68(location, model, settings.weights)
    if settings.scheme == IBUG68:
        return estimate
    shape = posterior(estimate.points, estimate.covariance, estimate.seen, model, location.scan.scale_is_metric)
    vertices = shape.scan_to_model.inverse().apply(shape.instance(model))
    return to_scheme(estimate, model, vertices, settings.scheme, Viewer(location.scan).distance)


def _on_raw_scan_68(location: Location, model: MorphableModel, weights: str) -> LandmarkEstimate:
    estimate = location.estimate
    if estimate is None:
        found = _closer(location, model, finder(weights))
        estimate = completed(found.estimate, found.posterior)
    sure = int((estimate.seen & (estimate.confidence > 0.5)).sum())
    if sure < LEAST_SURE_SHARE * len(estimate):
        raise NoFaceFound(
            f"no face found: only {sure} of {len(estimate)} landmarks are seen for sure, {LEAST_SURE_SHARE:.0%} are needed"
        )
    return estimate


def _closer(location: Location, model: MorphableModel, find: Find) -> PoseEstimate:
    viewer = Viewer(location.scan)
    first = landmark_pose(viewer, location.scan_to_model, model, find)
    if first is None or first.support < LandmarkLocatingOptions().least:
        raise NoFaceFound("no face found: too few landmarks are seen on the scan")
    return refine_pose(viewer, first, model, find)


def from_heatmaps(state: ScanState, model: MorphableModel, settings: LandmarkSettings) -> LandmarkEstimate:
    """The landmarker "heatmaps": what the network finds on the raw scan; what it does not see is the registered mesh's,
    as inferred."""
    mesh = _mesh_68(state, model)
    found = _heatmaps_68(state, model, settings)
    keep = found.seen
    either = LandmarkEstimate(
        np.where(keep[:, None], found.points, mesh.points),
        np.where(keep[:, None, None], found.covariance, mesh.covariance),
        np.where(keep, found.confidence, np.where(mesh.seen, UNSEEN_CONFIDENCE, 1.0) * mesh.confidence),
        keep,
        IBUG68,
    )
    return _in_model_frame(either, state, model, settings.scheme)


def from_mesh(state: ScanState, model: MorphableModel, settings: LandmarkSettings) -> LandmarkEstimate:
    """The landmarker "mesh": where the registered mesh carries them."""
    return _in_model_frame(_mesh_68(state, model), state, model, settings.scheme)


def from_both(state: ScanState, model: MorphableModel, settings: LandmarkSettings) -> LandmarkEstimate:
    """The landmarker "fused": heatmaps and registered mesh by their covariances."""
    found = _heatmaps_68(state, model, settings)
    known = replace(found, points=np.where(found.seen[:, None], found.points, np.nan))
    measured = shipped_calibration()
    both = fused(_mesh_68(state, model), known, np.array(measured.correlation), variance=measured.fused_variance)
    return _in_model_frame(both, state, model, settings.scheme)


def _in_model_frame(estimate: LandmarkEstimate, state: ScanState, model: MorphableModel, scheme: str) -> LandmarkEstimate:
    """An ibug68 estimate of a registered scan, both in the model frame, as any scheme's."""
    to_scan = state.scan_to_model.inverse()
    scan_distance = lambda points: Viewer(state.location.scan).distance(to_scan.apply(points))
    found = to_scheme(estimate, model, state.registered, scheme, scan_distance)
    return under_beard(found, model, state.registered) if is_bearded(state.fit.beard) else found


def _heatmaps_68(state: ScanState, model: MorphableModel, settings: LandmarkSettings) -> LandmarkEstimate:
    """In the model frame; unseen ones as they were inferred, or NaN. A scan on which the network sees too little has none."""
    estimate = state.location.estimate
    if estimate is None:
        located = replace(state.location, scan_to_model=state.scan_to_model)
        try:
            estimate = _on_raw_scan_68(located, model, settings.weights)
        except NoFaceFound:
            estimate = LandmarkEstimate(
                np.full((68, 3), np.nan), np.tile(np.eye(3), (68, 1, 1)), np.zeros(68), np.zeros(68, bool)
            )
    return estimate.transformed(state.scan_to_model)


def _mesh_68(state: ScanState, model: MorphableModel) -> LandmarkEstimate:
    """Seen where the scan supports the refined surface at that place, and the landmark lies on it."""
    points, refined = landmarks_on(model, state.registered), state.refined
    inside, rows, columns, depth = pixels_of(points, refined)
    seen = inside & state.observed[rows, columns] & (np.abs(refined["depth"][rows, columns] - depth) < OFF_SURFACE_MM)
    covariance = mesh_covariance(seen, state.fit.noise_mm)
    confidence = np.where(seen, 1.0, UNSEEN_CONFIDENCE) * confidence_of(covariance)
    return LandmarkEstimate(points, covariance, confidence, seen)
