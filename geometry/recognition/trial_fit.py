"""Short fits where the mean face alone is not sure: which candidate pose explains the scan best, and whether a head is a face."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from geometry.charts.chart import OrthographicChart
from geometry.errors import FitError, NoFaceFound
from geometry.fitting.encoding import encode
from geometry.fitting.options import STAGES, FittingOptions, Stage
from geometry.fitting.result import FitResult
from geometry.fitting.staged_fit import fit
from geometry.locating.candidates import candidate_locations
from geometry.locating.head_groups import APART_MM, Head, head_centre
from geometry.locating.location import Location
from geometry.model.morphable_model import MorphableModel
from geometry.recognition.acceptance import require_face
from geometry.scan import Scan

TRIAL_STAGES = (Stage(5, 0.0, 0.0, 1.0, 20.0, 2500), Stage(8, 0.15, 0.0, 10.0, 12.0, 3000), Stage(3, 0.3, 0.0, 4.0, 8.0, 3000))
FACE_STAGES = (*TRIAL_STAGES[:2], Stage(6, 0.4, 1.0, 4.0, 8.0, 4000))
CHART = OrthographicChart(128, 128, 1.5)
SURE = 0.83  # a first candidate of this confidence is taken untried, as is one without a rival
MARGIN = 1.03  # by this factor the support of another candidate's trial fit must be larger


def locate(
    scan: Scan, model: MorphableModel, check: Callable[[], None] = lambda: None, places: list[Location] | None = None
) -> Location:
    """The head in a cleaned scan; of the candidates (`places`, where the caller knows them) the one whose trial fit explains the
    scan best. Raises NoFaceFound."""
    believes = partial(believed_head, model=model, check=check)
    return choose(places or candidate_locations(scan, model, believes), model, check)


def choose(candidates: Sequence[Location], model: MorphableModel, check: Callable[[], None] = lambda: None) -> Location:
    """Of candidates, most confident first, the one whose trial fit explains the scan best."""
    if candidates[0].confidence >= SURE or len(candidates) == 1:
        return candidates[0]
    best, best_support = candidates[0], -1.0
    for candidate in candidates:
        check()
        support, pose = trial(candidate, model, check)
        if support > MARGIN * best_support:
            best, best_support = pose, support
    return best


def trial(candidate: Location, model: MorphableModel, check: Callable[[], None] = lambda: None) -> tuple[float, Location]:
    """(support, the candidate with its pose improved) after a short fit. support: how much of the face is seen, times how much of
    what is seen agrees; 0 where the fit fails."""
    try:
        result = fit(candidate, model, FittingOptions(stages=TRIAL_STAGES, found_sigma_factor=0.0), check)
    except (FitError, NoFaceFound):
        return 0.0, candidate
    support = min(result.visible_face / 0.6, 1.0) ** 0.5 * result.residuals["inlier_fraction"]
    return support, replace(candidate, scan_to_model=result.scan_to_model)


def trial_fit_is_face(
    location: Location, model: MorphableModel, check: Callable[[], None] = lambda: None, thorough: bool = False
) -> FitResult | None:
    """The fit of a face that is believed, as the gate says that a full fit has to pass; None where there is none. `thorough`: by
    all stages of the fit, not by a short one."""
    try:
        result = fit(location, model, FittingOptions(stages=STAGES if thorough else FACE_STAGES, found_sigma_factor=0.0), check)
        require_face(result, encode(location.scan, result, model, CHART))
    except (FitError, NoFaceFound):
        return None
    return result


def believed_head(location: Location, model: MorphableModel, check: Callable[[], None] = lambda: None) -> Head | None:
    """The head at a location, None where a short fit finds no face there."""
    fit = trial_fit_is_face(location, model, check)
    if fit is None:
        return None
    centre = head_centre(fit.scan_to_model)
    near = np.linalg.norm(location.scan.points - centre, axis=1) < APART_MM
    return Head(centre, fit.visible_area_mm2, int(near.sum()))
