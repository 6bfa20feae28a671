"""The head in an arbitrarily turned scan: every unit and both sides of a surface are searched, distinct poses are proposed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import overload

import numpy as np

from geometry.errors import NoFaceFound
from geometry.locating.head_groups import HEAD_CENTRE, Believes, by_head, rivals, several_heads
from geometry.locating.hypotheses import CELL_MM
from geometry.locating.location import Location
from geometry.locating.mean_face_field import field_of
from geometry.locating.orientation import looks_inward, turned_inside_out
from geometry.locating.pose_search import LocatingOptions, Pose, rank_poses
from geometry.locating.units import candidate_units, note_of_guess
from geometry.model.morphable_model import MorphableModel
from geometry.scan import Scan
from geometry.surfaces.normals import voxel_downsampled, with_normals
from geometry.surfaces.triangulation import surface_of
from geometry.transforms import SimilarityTransform

SURE = 0.7  # a metric unit that gives this confidence needs no rival
METRIC_ENOUGH = 0.45  # nor does it need one without a unit, from here on
ONE_SIDED = 0.6  # a surface's inner side never gave this confidence: above it nobody looks there
FEWEST_POINTS = 500  # of a head at a known pose
OTHER_SIDE_GAIN = 0.05  # by which it has to win


def _in_unit(scan: Scan, unit_mm: float, is_metric: bool, reach_mm: float) -> Scan:
    """The scan in one candidate unit; an organized cloud, which has its sensor at the origin, within the sensor's reach."""
    scaled = scan.in_unit(unit_mm, is_metric) if scan.unit_mm is None else scan
    if scaled.pixels is None:
        return scaled
    near = np.linalg.norm(scaled.points, axis=1) < reach_mm
    return scaled if near.all() else scaled.keep(near)


def distinct(poses: list[Pose], count: int, near_mm: float = 15.0, near_deg: float = 25.0) -> list[Pose]:
    """The first `count` poses that differ by more than `near_mm` at the nose or by more than `near_deg`."""
    kept: list[Pose] = []
    for pose in poses:
        inverse = pose.scan_to_model.inverse()
        same = (
            np.linalg.norm(other.translation - inverse.translation) < near_mm
            and np.trace(other.rotation.T @ inverse.rotation) > 1 + 2 * np.cos(np.deg2rad(near_deg))
            for other in (k.scan_to_model.inverse() for k in kept)
        )
        if not any(same):
            kept.append(pose)
        if len(kept) == count:
            break
    return kept


def candidate_locations(
    scan: Scan,
    model: MorphableModel,
    believes: Believes,
    options: LocatingOptions = LocatingOptions(),
    units: list[tuple[float, bool]] | None = None,
) -> Sequence[Location]:
    """Where the head may be in a cleaned scan, most confident first; never empty. Where `believes` finds several heads, only
    places of the largest, whose scan has a note of them. A surface that shows its face on the inner side is turned, with a note;
    a unit that is not known is guessed among `units`, by default all `candidate_units`, with a note.

    Raises NoFaceFound where no pose explains enough of the scan as a face.
    """
    whole, found = _better_side(scan, model, options, candidate_units(scan) if units is None else units)
    if not found.poses or found.confidence < options.min_confidence:
        raise NoFaceFound(
            f"no face found: the best pose has confidence {found.confidence:.2f}, at least {options.min_confidence:.2f} is needed"
        )
    poses = found.poses
    if whole.unit_mm is None:
        guess = found.scan.unit_mm, found.scan.scale_is_metric
        whole = whole.in_unit(*guess).with_note(note_of_guess(*guess))
    located = lambda pose: Location(
        cropped(whole, pose.scan_to_model, options.head_radius_mm), pose.scan_to_model, pose.confidence
    )
    groups = rivals(by_head(poses))
    if len(groups) > 1:
        several = several_heads([located(group[0]) for group in groups], believes)
        if several is not None:
            poses, whole = groups[several.place], several.without_others(whole).with_note(several.note)
    poses = distinct(poses, options.alternatives)
    least = max(options.min_confidence, options.rival * poses[0].confidence)
    return _Cropped([pose for pose in poses if pose.confidence >= least], located)


class _Cropped(Sequence[Location]):
    """What `located` makes of poses, of each when it is asked for first: mostly the first of them is the head."""

    def __init__(self, poses: Sequence[Pose], located: Callable[[Pose], Location]) -> None:
        self._poses = kept = list(poses)
        self._of_place = cache(lambda place: located(kept[place]))  # no circle through self, which would hold the scans

    def __len__(self) -> int:
        return len(self._poses)

    @overload
    def __getitem__(self, place: int) -> Location: ...
    @overload
    def __getitem__(self, place: slice) -> list[Location]: ...
    def __getitem__(self, place: int | slice) -> Location | list[Location]:
        places = range(len(self))[place]
        return [self._of_place(k) for k in places] if isinstance(places, range) else self._of_place(places)


@dataclass(frozen=True)
class _Found:
    """A scan in some unit and the poses of faces in it, best first; none where none was found."""

    scan: Scan
    poses: list[Pose]

    @property
    def confidence(self) -> float:
        return self.poses[0].confidence if self.poses else 0.0


def _better_side(
    scan: Scan, model: MorphableModel, options: LocatingOptions, units: list[tuple[float, bool]]
) -> tuple[Scan, _Found]:
    """The scan, turned inside out where a face shows on its inner side, and what `_best_unit` says of it. First is searched
    the side that seems the outer one, then, unless that convinces, the other."""
    outer = with_normals(_every_other_pixel(scan))
    turned = looks_inward(outer)
    sides = {False: outer, True: turned_inside_out(outer)}
    found = _best_unit(sides[turned], model, options, units)
    if found.confidence < ONE_SIDED and scan.camera is None:
        if found.scan.scale_is_metric and found.confidence >= METRIC_ENOUGH:
            units = [unit for unit in units if unit[1]]
        other = _best_unit(sides[not turned], model, options, units, searches=(False,))
        if other.confidence > found.confidence + OTHER_SIDE_GAIN:
            turned, found = not turned, other
    whole = scan if scan.pixels is not None else outer  # the full raster, or the normals that are wanted again
    if turned:
        whole = turned_inside_out(whole).with_note("the face shows on the inner side of the surface: it was turned inside out")
    return whole, found


def _best_unit(
    scan: Scan,
    model: MorphableModel,
    options: LocatingOptions,
    units: list[tuple[float, bool]],
    searches: tuple[bool, ...] = (False, True),
) -> _Found:
    """The scan in the unit, most plausible first, in which it holds the most convincing face, and all poses there.

    Two rounds: faces are sought by their noses in every unit, then, unless one of these convinced, as heads without a nose.
    """
    best = _Found(scan, [])
    poses_in: dict[float, list[Pose]] = {}
    for without_nose in searches:
        for unit_mm, is_metric in units:
            if best.confidence >= SURE and poses_in.get(unit_mm):
                return best  # this unit was tried before, and one has convinced
            scaled = _in_unit(scan, unit_mm, is_metric, options.reach_mm)
            if not len(scaled.points):
                continue
            grid = voxel_downsampled(scaled.points, scaled.normals, CELL_MM)
            poses = poses_in.get(unit_mm, []) + rank_poses(*grid, field_of(model), options, without_nose)
            poses_in[unit_mm] = sorted(poses, key=lambda pose: -pose.confidence)
            found = _Found(scaled, poses_in[unit_mm])
            best = _better_unit(best, found)
            if is_metric and found.confidence >= SURE:
                return best
    return best


def _better_unit(best: _Found, other: _Found) -> _Found:
    """The more confident; a unit of its own makes up for nothing where a metric one is confident enough."""
    if not other.poses:
        return best
    if best.scan.scale_is_metric and not other.scan.scale_is_metric and best.confidence >= METRIC_ENOUGH:
        return best
    is_better = not best.poses or other.confidence > best.confidence or other.scan.unit_mm == best.scan.unit_mm
    return other if is_better else best


def _every_other_pixel(scan: Scan, enough: int = 60_000) -> Scan:
    """A large raster at a half, a quarter, … of its resolution: a head is sought on an 8 mm grid."""
    while scan.pixels is not None and len(scan.points) > enough:
        scan = scan.keep((scan.pixels % 2 == 0).all(1))
        height, width = scan.raster_shape
        scan = replace(scan, pixels=scan.pixels // 2, raster_shape=((height + 1) // 2, (width + 1) // 2))
    return scan


def located_at(scan: Scan, scan_to_model: SimilarityTransform, options: LocatingOptions = LocatingOptions()) -> Location:
    """The head of a cleaned scan at a pose that is known; a scan without a unit is one of mm, since the pose is.

    Raises NoFaceFound where the scan has too few points there."""
    metric = scan if scan.unit_mm is not None else scan.in_unit(1.0, is_metric=True)
    head = cropped(metric, scan_to_model, options.head_radius_mm)
    if len(head.points) < FEWEST_POINTS:
        raise NoFaceFound(f"no face found: only {len(head.points)} points lie on the head, at least {FEWEST_POINTS} are needed")
    return Location(head, scan_to_model, 1.0)


def cropped(scan: Scan, scan_to_model: SimilarityTransform, radius_mm: float) -> Scan:
    """The scan's points about the head that hang together with the face: no shoulders, no wall, no floaters."""
    q = scan_to_model.apply(scan.points)
    inside = np.linalg.norm(q - HEAD_CENTRE, axis=1) < radius_mm
    scan, q = scan.keep(inside), q[inside]
    surface = surface_of(scan)
    if not len(surface.triangles):
        return scan
    labels = surface.component_labels
    area = np.bincount(labels, surface.vertex_areas)
    return scan.keep((area[labels] > 0.02 * area.max()) & (area[labels] > 0))
