"""Choose among candidate poses by fitting: where the mean face alone is not sure, a few modes of the model are."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from geometry.errors import FitError, NoFaceFound
from geometry.fitting.options import FittingOptions, Stage
from geometry.fitting.result import FitResult
from geometry.fitting.staged_fit import fit
from geometry.locating.candidates import candidate_locations
from geometry.locating.location import Location
from geometry.locating.pose_search import LocatingOptions
from geometry.model.morphable_model import MorphableModel
from geometry.recognition.trial_acceptance import believed_head
from geometry.scan import Scan

TRIAL_STAGES = (Stage(5, 0.0, 0.0, 1.0, 20.0, 2500), Stage(8, 0.15, 0.0, 10.0, 12.0, 3000), Stage(3, 0.3, 0.0, 4.0, 8.0, 3000))


@dataclass(frozen=True)
class VerificationOptions:
    """Settings of the choice among candidate poses by trial fits."""

    sure: float = 0.83
    """A first candidate of this confidence is taken untried, as is one without a rival."""
    margin: float = 1.03
    """By this factor the support of another candidate's trial fit must be larger."""
    locating: LocatingOptions = LocatingOptions()
    """Of the search that proposes the candidates."""


def locate(
    scan: Scan,
    model: MorphableModel,
    options: VerificationOptions = VerificationOptions(),
    check: Callable[[], None] = lambda: None,
    places: list[Location] | None = None,
) -> Location:
    """The head in a cleaned scan; of the candidates (`places`, where the caller knows them) the one whose trial fit explains the
    scan best. Raises NoFaceFound."""
    believes = partial(believed_head, model=model, check=check)
    return choose(places or candidate_locations(scan, model, believes, options.locating), model, options, check)


def choose(
    candidates: list[Location],
    model: MorphableModel,
    options: VerificationOptions = VerificationOptions(),
    check: Callable[[], None] = lambda: None,
) -> Location:
    """Of candidates, most confident first, the one whose trial fit explains the scan best."""
    if candidates[0].confidence >= options.sure or len(candidates) == 1:
        return candidates[0]
    best, best_support = candidates[0], -1.0
    for candidate in candidates:
        check()
        support, pose = trial(candidate, model, check)
        if support > best_support * (options.margin if best_support > 0 else 1.0):
            best, best_support = pose, support
    return best


def trial(candidate: Location, model: MorphableModel, check: Callable[[], None] = lambda: None) -> tuple[float, Location]:
    """(support, the candidate with its pose improved) after a short fit; support 0 where the fit fails."""
    try:
        result = fit(candidate, model, FittingOptions(stages=TRIAL_STAGES, found_sigma_factor=0.0), check)
    except (FitError, NoFaceFound):
        return 0.0, candidate
    return support_of(result), replace(candidate, scan_to_model=result.scan_to_model)


def support_of(result: FitResult) -> float:
    """How much of the face is seen, times how much of what is seen agrees."""
    return min(result.visible_face / 0.6, 1.0) ** 0.5 * result.residuals["inlier_fraction"]
