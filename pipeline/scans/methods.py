"""The swappable stages, by the name that a configuration gives: another method is a function here (or in a file of
its own) and one line in its registry. TensorFlow is imported when a network is used.

A locator is given the whole configuration, `check`, which may raise between its iterations, and the places where the head may
be, if the caller knows; it raises NoFaceFound. The others are given their own section. A refiner is made once per process: a
function of pairs (coarse, scan). A landmarker is given the state of a registered scan; its estimate is in the model frame.
"""

from collections.abc import Callable, Sequence
from typing import Any

from geometry.charts.geometry_image import GeometryImage
from geometry.fitting import staged_fit
from geometry.fitting.result import FitResult
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.locating.location import Location
from geometry.model.morphable_model import MorphableModel
from geometry.recognition import by_landmarks, trial_fit
from geometry.refinement.baselines import none_refine, smooth_refine
from geometry.refinement.contradiction_gate import replace_contradicted
from geometry.scan import Scan
from pipeline.scans import landmarking
from pipeline.scans.landmarking import LandmarkSettings
from pipeline.scans.state import ScanState

Check = Callable[[], None]
Pairs = Sequence[tuple[GeometryImage, GeometryImage]]
Refine = Callable[[Pairs], list[GeometryImage]]
# Any: a class of pipeline.scans.config, which asks these registries for their names
Locator = Callable[[Scan, MorphableModel, Any, Check, list[Location] | None], Location]
Fitter = Callable[[Location, MorphableModel, Any, Check], FitResult]
Landmarker = Callable[[ScanState, MorphableModel, LandmarkSettings], LandmarkEstimate]


def _pose_search(scan: Scan, model: MorphableModel, config: Any, check: Check, places: list[Location] | None) -> Location:
    return trial_fit.locate(scan, model, check=check, places=places)


def _by_landmarks(scan: Scan, model: MorphableModel, config: Any, check: Check, places: list[Location] | None) -> Location:
    find = landmarking.finder(config.landmarks.weights)
    return by_landmarks.locate(scan, model, find, check=check, places=places)


def _gan(settings: Any) -> Refine:
    from gan.refiner.inference import Refiner

    refiner = Refiner(settings.weights, batch_size=settings.batch_size)
    if refiner.config.condition == "coarse":  # the papers' setting: the scan has no say
        return refiner.refine
    return lambda pairs: [
        replace_contradicted(coarse, scan, image) for (coarse, scan), image in zip(pairs, refiner.refine(pairs), strict=True)
    ]


LOCATORS: dict[str, Locator] = {"pose_search": _pose_search, "landmarks": _by_landmarks}
FITTERS: dict[str, Fitter] = {"gauss_newton": staged_fit.fit}
REFINERS: dict[str, Callable[[Any], Refine]] = {
    "gan": _gan,
    "smooth": lambda settings: lambda pairs: [smooth_refine(coarse, scan) for coarse, scan in pairs],
    "none": lambda settings: lambda pairs: [none_refine(coarse) for coarse, _ in pairs],
}
BATCHED = {"gan"}  # refiners that gain from batches; the others take each scan as it comes
LANDMARKERS: dict[str, Landmarker] = {
    "fused": landmarking.from_both,
    "heatmaps": landmarking.from_heatmaps,
    "mesh": landmarking.from_mesh,
}
