"""Find the head by its landmarks: poses that geometry proposes, a network that knows faces decides and corrects.

`geometry.locating.pose_search` proposes where a face may be and how it may be turned. Each proposal is looked at once
(`geometry.landmarks.views`); the landmarks that the network finds there, lifted to the scan's surface, are held against what a
model of faces allows (`geometry.landmarks.shape_prior`), which gives a pose, and says how many landmarks are seen, sure and where
a face has them. The best proposal is looked at again, straight on in its corrected pose and from both sides.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from scipy.spatial import cKDTree

from geometry.errors import NoFaceFound
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.mark_up import carried
from geometry.landmarks.multiview import Find, combine, observe, snapped
from geometry.landmarks.shape_prior import LEAST, OUTLIER, Posterior, completed, posterior
from geometry.landmarks.views import Viewer, turn_of, view_of_pose
from geometry.locating.candidates import candidate_locations, located_at
from geometry.locating.location import Location
from geometry.locating.pose_search import LocatingOptions
from geometry.locating.units import free_units
from geometry.model.morphable_model import MorphableModel
from geometry.recognition import trial_fit
from geometry.scan import Scan
from geometry.surfaces.normals import with_normals
from geometry.transforms import SimilarityTransform

INNER = slice(17, 68)  # of ibug68
SIZES = 0.56, 1.3  # of heads, in parts of the average adult's: an infant's, and larger than any man's
ADULTS = 0.82, 1.18  # of heads that the model, learned of adults, fits
SIZED_BY = 20  # inner landmarks that are seen: fewer do not tell a head's size
SMALL_LOSS = 0.1  # of support, that another size may cost
AGREED = 0.1  # share by which the first and the refined size of a head that is hardly no adult's may differ
FREE_GAIN = 0.1  # of support, by which a free unit has to win against a metric one
ON_HEAD_MM = 10.0  # from a head's points, by the median, to landmarks that are on it
TURNED_ABOUT = 2  # proposals that are also tried on their side and upside down


@dataclass(frozen=True)
class LandmarkLocatingOptions:
    """Settings of the choice among candidate poses by the landmarks that a network finds from them."""

    sure: float = 0.6
    """A proposal with this support, in [0, 1], is taken at once."""
    least: float = 0.12
    """Below this support there is no face."""
    yaws: tuple[float, ...] = (0.0, -25.0, 25.0)
    """Of the views of the closer look, in degrees about the corrected pose."""
    settled_deg: float = 8.0
    """A pose that the closer look turns by more is looked at again."""
    settled_mm: float = 8.0
    """A pose that the closer look shifts by more is looked at again."""
    looks: int = 3
    """At most so many closer looks."""
    locating: LocatingOptions = LocatingOptions(min_confidence=0.2, rival=0.6)
    """Of the search that proposes the candidates: it lets more of them through than where geometry decides."""


@dataclass(frozen=True)
class PoseEstimate:
    """landmarks found from one pose, in scan mm; what the prior makes of them; support: in [0, 1], how many of the inner
    landmarks are seen, each by its confidence, and lie where a face with the others would have them."""

    estimate: LandmarkEstimate
    posterior: Posterior
    support: float

    @property
    def scan_to_model(self) -> SimilarityTransform:
        return self.posterior.scan_to_model


def landmark_pose(
    viewer: Viewer,
    scan_to_model: SimilarityTransform,
    model: MorphableModel,
    find: Find,
    yaws: tuple[float, ...] = (0.0,),
    turn: np.ndarray | None = None,
    mirrored: bool = True,
) -> PoseEstimate | None:
    """The scan from the pose's front, or from several sides of it; `turn` (3, 3) turns the views further; mirrored as of
    `Find`. None where too few landmarks are seen for a pose."""
    sides = [turn_of(yaw, 0, 0) if turn is None else turn_of(yaw, 0, 0) @ turn for yaw in yaws]
    sightings = observe(viewer, [view_of_pose(scan_to_model, side) for side in sides], find, mirrored)
    estimate = carried(combine(sightings), sightings.mark_up, model)
    try:
        shape = posterior(estimate.points, estimate.covariance, estimate.seen, model, viewer.scan.scale_is_metric)
    except NoFaceFound:
        return None
    in_place = np.nan_to_num(shape.distance, nan=np.inf) < OUTLIER
    return PoseEstimate(estimate, shape, float((estimate.confidence * in_place)[INNER].mean()))


def refine_pose(
    viewer: Viewer,
    first: PoseEstimate,
    model: MorphableModel,
    find: Find,
    options: LandmarkLocatingOptions = LandmarkLocatingOptions(),
) -> PoseEstimate:
    """Look again from the corrected pose, until it stays."""
    found = first
    for _ in range(options.looks):
        before = found.scan_to_model
        again = landmark_pose(viewer, before, model, find, options.yaws)
        if again is None or again.support < 0.5 * found.support:
            break
        found = again
        change = found.scan_to_model.compose(before.inverse())
        if change.angle_deg < options.settled_deg and np.linalg.norm(change.translation) < options.settled_mm:
            break
    return replace(found, estimate=snapped(found.estimate, viewer))


def proposals(candidates: Sequence[Location]) -> Iterator[tuple[Location, np.ndarray | None]]:
    """The candidates as they are; then the first of them turned about their axes, upside down first: a nose is easier found
    than up and down."""
    for candidate in candidates:
        yield candidate, None
    for roll in (180.0, 90.0, -90.0):
        for candidate in candidates[:TURNED_ABOUT]:
            yield candidate, turn_of(0, 0, roll)


def _believable(candidates: Sequence[Location], support: float, options: LandmarkLocatingOptions) -> list[Location]:
    """The candidates that geometry alone would have proposed. Raises NoFaceFound where there is none; it names `support`, the
    best of the landmarks'."""
    alone = LocatingOptions()
    worth = max(alone.min_confidence, alone.rival * candidates[0].confidence)
    if candidates[0].confidence < alone.min_confidence:
        raise NoFaceFound(
            f"no face found: the best proposal's landmarks have a support of {support:.2f}, at least {options.least:.2f} is "
            f"needed, and its shape a confidence of {candidates[0].confidence:.2f}, at least {alone.min_confidence:.2f}"
        )
    return [candidate for candidate in candidates if candidate.confidence >= worth]


@dataclass(frozen=True)
class _Sight:
    """The best of the candidates by what the network saw from it: support in [0, 1], 0 and no place where it saw nothing."""

    candidates: Sequence[Location]
    support: float = 0.0
    found: PoseEstimate | None = None
    place: Location | None = None


def _looked_at(
    candidates: Sequence[Location],
    model: MorphableModel,
    find: Find,
    options: LandmarkLocatingOptions,
    check: Callable[[], None],
    viewer_of: Callable[[Scan], Viewer],
) -> _Sight:
    best = _Sight(candidates)
    for number, (candidate, turn) in enumerate(proposals(candidates)):
        if number >= len(candidates) and best.support >= options.least:
            break  # turned about only where nothing was found as proposed
        check()
        found = landmark_pose(viewer_of(candidate.scan), candidate.scan_to_model, model, find, turn=turn, mirrored=False)
        if found is not None and found.support > best.support:
            best = _Sight(candidates, found.support, found, candidate)
        if best.support >= options.sure:
            break
    return best


def _size(estimate: LandmarkEstimate, model: MorphableModel) -> float:
    """Of the head that seen landmarks show, in the scan's present unit, in parts of the average adult's."""
    return 1 / posterior(estimate.points, estimate.covariance, estimate.seen, model, metric=False).scan_to_model.scale


def _fits_no_unit(sight: _Sight, model: MorphableModel) -> bool:
    """Of a unit that was guessed: is the head that was found in it larger or smaller than heads are?"""
    if sight.found is None or sight.place is None or not sight.place.scan.scale_is_metric:
        return False
    return not SIZES[0] < _size(sight.found.estimate, model) < SIZES[1]


def _of_its_size(
    place: Location, found: PoseEstimate, model: MorphableModel, find: Find, options: LandmarkLocatingOptions
) -> tuple[Location, PoseEstimate]:
    """A head of a metric scan that is much smaller or larger than the adults of which the model knows: looked at again at an
    adult's size, the model's scale being free, with a note. Any other as it is, and so one of which that look shows less, or
    another size. Raises NoFaceFound where it is no head's size."""
    is_told = place.scan.scale_is_metric and found.estimate.seen[INNER].sum() >= SIZED_BY
    first = _size(found.estimate, model) if is_told else 1.0
    if ADULTS[0] < first < ADULTS[1]:
        return place, found
    free = replace(place.scan, scale_is_metric=False)
    seen = found.estimate
    start = replace(found, posterior=posterior(seen.points, seen.covariance, seen.seen, model, metric=False))
    again = refine_pose(Viewer(free), start, model, find, options)
    size = 1 / again.scan_to_model.scale
    is_near = ADULTS[0] * (1 - AGREED) < first < ADULTS[1] * (1 + AGREED)
    if again.support < found.support - SMALL_LOSS or (is_near and abs(size - first) > AGREED * first):
        return place, found
    if not SIZES[0] < size < SIZES[1] and place.scan.unit_mm is not None:
        what = "smaller than an infant's" if size < 1 else "larger than an adult's"
        raise NoFaceFound(f"no face found: the head would be {size:.2f} of an average adult's, {what}")
    if ADULTS[0] < size < ADULTS[1]:
        return place, found
    what = "smaller" if size < 1 else "larger"
    note = (
        f"the head is {what} than an adult's, {size:.2f} of the average: the model was scaled to it, figures in mm are an adult's"
    )
    return replace(place, scan=free.with_note(note)), again


def locate(
    scan: Scan,
    model: MorphableModel,
    find: Find,
    options: LandmarkLocatingOptions = LandmarkLocatingOptions(),
    check: Callable[[], None] = lambda: None,
    places: list[Location] | None = None,
) -> Location:
    """The head in a cleaned scan, with its landmarks; or, where no proposal shows the network a face, as in full profile, the
    proposal whose trial fit explains the scan best, without. The proposals are `places` where the caller knows them, else those
    of geometry; where the unit is not known and no metric one shows a face of a head's size, those in a free unit too. Raises
    NoFaceFound where nothing is proposed."""
    believes = partial(trial_fit.believed_head, model=model, check=check)
    look = partial(_looked_at, model=model, find=find, options=options, check=check, viewer_of=cache(Viewer))
    sight = look(places or candidate_locations(scan, model, believes, options.locating))
    if places is None and scan.unit_mm is None and (sight.support < options.sure or _fits_no_unit(sight, model)):
        with suppress(NoFaceFound):
            free = look(candidate_locations(scan, model, believes, options.locating, free_units(scan)))
            wanted = 0.0 if _fits_no_unit(sight, model) else sight.support + FREE_GAIN
            sight = free if free.support >= max(options.least, wanted) else sight
    if sight.found is None or sight.place is None or sight.support < options.least:
        return trial_fit.choose(_believable(sight.candidates, sight.support, options), model, check)
    found = refine_pose(Viewer(sight.place.scan), sight.found, model, find, options)
    place, found = _of_its_size(sight.place, found, model, find, options)
    located = replace(
        place,
        scan_to_model=found.scan_to_model,
        confidence=min(1.0, found.support),
        estimate=completed(found.estimate, found.posterior),
        coefficients=found.posterior.coefficients,
    )
    return _in_found_unit(located) if scan.unit_mm is None and not sight.place.scan.scale_is_metric else located


def _in_found_unit(location: Location) -> Location:
    """Of a scan in a guessed free unit: in the unit in which its head, as the landmarks show it, is as large as the model's."""
    scan, pose = location.scan, location.scan_to_model
    growth = SimilarityTransform(np.eye(3), np.zeros(3), pose.scale)
    return replace(
        location,
        scan=scan.in_unit((scan.unit_mm or 1.0) * pose.scale, is_metric=False),
        scan_to_model=pose.compose(growth.inverse()),
        estimate=None if location.estimate is None else location.estimate.transformed(growth),
    )


def of_another_head(location: Location, landmarks: np.ndarray, model: MorphableModel) -> bool:
    """Whether landmarks (68, 3) that came with the scan, in its mm and NaN where unknown, are a face's and lie beside the head
    that was found: of several heads they are another's."""
    known = np.isfinite(landmarks).all(1)
    if known.sum() < LEAST or _apart(location, landmarks[known]) < ON_HEAD_MM:
        return False
    distance = _pose_of(landmarks, known, model, location.scan.scale_is_metric).distance[known]
    return bool(np.median(distance) < OUTLIER)


def _apart(location: Location, landmarks: np.ndarray) -> float:
    return float(np.median(cKDTree(location.scan.points).query(landmarks)[0]))


def _pose_of(landmarks: np.ndarray, known: np.ndarray, model: MorphableModel, metric: bool) -> Posterior:
    return posterior(landmarks, np.tile(np.eye(3), (len(known), 1, 1)), known, model, metric)


def at_given(location: Location, whole: Scan, landmarks: np.ndarray, model: MorphableModel) -> Location:
    """Where landmarks (68, 3) that came with the scan, in its mm and NaN where unknown, say that the head is: nothing of what was
    found on it remains. whole: the scan in mm, of which their head is cut out where they lie beside the one that was found. As it
    is where they are too few for a pose or no head is there."""
    known = np.isfinite(landmarks).all(1)
    try:
        shape = _pose_of(landmarks, known, model, location.scan.scale_is_metric)
        is_on = _apart(location, landmarks[known]) < ON_HEAD_MM
        head = location.scan if is_on else located_at(with_normals(whole), shape.scan_to_model).scan
    except NoFaceFound:
        return location
    scan = replace(head, notes=location.scan.notes)
    return replace(
        location,
        scan=scan,
        scan_to_model=shape.scan_to_model,
        coefficients=shape.coefficients,
        estimate=None,
        landmarks=landmarks,
    )
