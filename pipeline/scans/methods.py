"""The swappable stages, by the name that a configuration gives: another method is a function here (or in a file of
its own) and one line in its registry. Nothing heavy is imported until a method is used.

A locator is given the whole configuration, `check`, which may raise between its iterations, and the places where the head may
be, if the caller knows; it raises NoFaceFound. The others are given their own section. A refiner is made once per process: a
function of pairs (coarse, scan). A landmarker's estimate is in the model frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geometry.charts.geometry_image import GeometryImage
    from geometry.fitting.result import FitResult
    from geometry.landmarks.estimate import LandmarkEstimate
    from geometry.locating.location import Location
    from geometry.model.morphable_model import MorphableModel
    from geometry.scan import Scan
    from pipeline.scans.landmarking import Evidence, LandmarkSettings

    Check = Callable[[], None]
    Pairs = Sequence[tuple[GeometryImage, GeometryImage]]
    Refine = Callable[[Pairs], list[GeometryImage]]
    # Any: a class of pipeline.scans.config, which asks these registries for their names
    Locator = Callable[[Scan, MorphableModel, Any, Check, list[Location] | None], Location]
    Fitter = Callable[[Location, MorphableModel, Any, Check], FitResult]
    Landmarker = Callable[[Evidence, LandmarkSettings], LandmarkEstimate]


def _pose_search(scan: Scan, model: MorphableModel, config: Any, check: Check, places: list[Location] | None) -> Location:
    from geometry.recognition import trial_fit

    return trial_fit.locate(scan, model, check=check, places=places)


def _by_landmarks(scan: Scan, model: MorphableModel, config: Any, check: Check, places: list[Location] | None) -> Location:
    from geometry.recognition import by_landmarks
    from pipeline.scans.landmarking import finder

    return by_landmarks.locate(scan, model, finder(config.landmarks.weights), check=check, places=places)


def _gauss_newton(location: Location, model: MorphableModel, settings: Any, check: Check) -> FitResult:
    from geometry.fitting import staged_fit

    return staged_fit.fit(location, model, settings, check=check)


def _gan(settings: Any) -> Refine:
    from gan.refiner.inference import Refiner  # imports TensorFlow when constructed
    from geometry.refinement.contradiction_gate import replace_contradicted

    refiner = Refiner(settings.weights, batch_size=settings.batch_size)
    if refiner.config.condition == "coarse":  # the papers' setting: the scan has no say
        return refiner.refine
    return lambda pairs: [
        replace_contradicted(coarse, scan, image) for (coarse, scan), image in zip(pairs, refiner.refine(pairs), strict=True)
    ]


def _smooth(settings: Any) -> Refine:
    from geometry.refinement.baselines import smooth_refine

    return lambda pairs: [smooth_refine(coarse, scan) for coarse, scan in pairs]


def _none(settings: Any) -> Refine:
    from geometry.refinement.baselines import none_refine

    return lambda pairs: [none_refine(coarse) for coarse, _ in pairs]


def _fused(evidence: Evidence, settings: LandmarkSettings) -> LandmarkEstimate:
    from pipeline.scans import landmarking

    return landmarking.from_both(evidence, settings)


def _heatmaps(evidence: Evidence, settings: LandmarkSettings) -> LandmarkEstimate:
    from pipeline.scans import landmarking

    return landmarking.from_heatmaps(evidence, settings)


def _mesh(evidence: Evidence, settings: LandmarkSettings) -> LandmarkEstimate:
    from pipeline.scans import landmarking

    return landmarking.from_mesh(evidence, settings)


LOCATORS: dict[str, Locator] = {"pose_search": _pose_search, "landmarks": _by_landmarks}
FITTERS: dict[str, Fitter] = {"gauss_newton": _gauss_newton}
REFINERS: dict[str, Callable[[Any], Refine]] = {"gan": _gan, "smooth": _smooth, "none": _none}
BATCHED = {"gan"}  # refiners that gain from batches; the others take each scan as it comes
LANDMARKERS: dict[str, Landmarker] = {"fused": _fused, "heatmaps": _heatmaps, "mesh": _mesh}
