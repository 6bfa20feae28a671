"""A quick answer to whether a located head is a face: a short fit, and the gate that a full fit has to pass."""

from collections.abc import Callable

import numpy as np

from geometry.charts.chart import OrthographicChart
from geometry.errors import FitError, NoFaceFound
from geometry.fitting.encoding import encode
from geometry.fitting.options import STAGES, FittingOptions, Stage
from geometry.fitting.result import FitResult
from geometry.fitting.staged_fit import fit
from geometry.locating.head_groups import APART_MM, Head, head_centre
from geometry.locating.location import Location
from geometry.model.morphable_model import MorphableModel
from geometry.recognition.acceptance import require_face

SHORT_STAGES = (Stage(5, 0.0, 0.0, 1.0, 20.0, 2500), Stage(8, 0.15, 0.0, 10.0, 12.0, 3000), Stage(6, 0.4, 1.0, 4.0, 8.0, 4000))
CHART = OrthographicChart(128, 128, 1.5)


def trial_fit_is_face(
    location: Location, model: MorphableModel, check: Callable[[], None] = lambda: None, thorough: bool = False
) -> FitResult | None:
    """The fit of a face that is believed, None where there is none. `thorough`: by all stages of the fit, not by a short one."""
    try:
        result = fit(location, model, FittingOptions(stages=STAGES if thorough else SHORT_STAGES, found_sigma_factor=0.0), check)
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
