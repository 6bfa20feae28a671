"""The head in an arbitrarily turned scan: every unit and both sides of a surface are searched, and distinct poses are proposed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from geometry.errors import NoFaceFound
from geometry.locating.head_groups import HEAD_CENTRE, by_head, rivals
from geometry.locating.hypotheses import CELL_MM
from geometry.locating.location import Location
from geometry.locating.mean_face_field import field_of
from geometry.locating.orientation import looks_inward, turned_inside_out
from geometry.locating.pose_search import LocatingOptions, Pose, rank_poses
from geometry.locating.several_heads import Believes, several_heads
from geometry.locating.units import candidate_units
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


def poses_by_unit(
    scan: Scan, model: MorphableModel, options: LocatingOptions, units: list[tuple[float, bool]], searches: tuple[bool, ...]
) -> Iterator[tuple[Scan, list[Pose]]]:
    """All poses found, best first, under each of the units, most plausible unit first; by one search (`without_nose`) in every
    unit, then, for who still wants more, by the next."""
    field = field_of(model)
    found: dict[float, list[Pose]] = {}
    for without_nose in searches:
        for unit_mm, is_metric in units:
            scaled = _in_unit(scan, unit_mm, is_metric, options.reach_mm)
            if not len(scaled.points):
                continue
            poses = rank_poses(*voxel_downsampled(scaled.points, scaled.normals, CELL_MM), field, options, without_nose)
            found[unit_mm] = sorted(found.get(unit_mm, []) + poses, key=lambda pose: -pose.confidence)
            if found[unit_mm]:
                yield scaled, found[unit_mm]


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
    scan: Scan, model: MorphableModel, believes: Believes, options: LocatingOptions = LocatingOptions()
) -> list[Location]:
    """Where the head may be in a cleaned scan, most confident first; never empty. Where `believes` finds several heads, only
    places of the largest, whose scan has a note of them. A surface that shows its face on the inner side is turned, with a note.

    Raises NoFaceFound where no pose explains enough of the scan as a face.
    """
    whole, found = _better_side(scan, model, options)
    if found is None or found[1][0].confidence < options.min_confidence:
        best = 0.0 if found is None else found[1][0].confidence
        raise NoFaceFound(
            f"no face found: the best pose has confidence {best:.2f}, at least {options.min_confidence:.2f} is needed"
        )
    scaled, poses = found
    whole = whole.in_unit(scaled.unit_mm, scaled.scale_is_metric) if whole.unit_mm is None else whole
    located = lambda pose: Location(
        cropped(whole, pose.scan_to_model, options.head_radius_mm), pose.scan_to_model, pose.confidence
    )
    groups = rivals(by_head(poses))
    if len(groups) > 1:
        several = several_heads([located(group[0]) for group in groups], believes)
        if several is not None:
            poses, whole = groups[several.place], several.without_others(whole).with_note(several.note)
    poses = distinct(poses, options.alternatives)
    worth = [pose for pose in poses if pose.confidence >= max(options.min_confidence, options.rival * poses[0].confidence)]
    return [located(pose) for pose in worth]


def _better_side(scan: Scan, model: MorphableModel, options: LocatingOptions) -> tuple[Scan, tuple[Scan, list[Pose]] | None]:
    """The scan, turned inside out where a face shows on its inner side, and what `_best_unit` says of it. First is searched
    the side that seems the outer one, then, unless that convinces, the other."""
    outer = with_normals(_every_other_pixel(scan))
    turned = looks_inward(outer)
    search = lambda turned, *limits: _best_unit(turned_inside_out(outer) if turned else outer, model, options, *limits)
    found = search(turned, candidate_units(scan))
    confidence = 0.0 if found is None else found[1][0].confidence
    if confidence < ONE_SIDED and scan.camera is None:
        is_metric = found is not None and found[0].scale_is_metric and confidence >= METRIC_ENOUGH
        other = search(not turned, [unit for unit in candidate_units(scan) if unit[1] or not is_metric], (False,))
        if other is not None and other[1][0].confidence > confidence + OTHER_SIDE_GAIN:
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
) -> tuple[Scan, list[Pose]] | None:
    """The scan in the unit in which it holds the most convincing face, and all poses there, best first."""
    best: tuple[Scan, list[Pose]] | None = None
    seen: set[float] = set()
    for scaled, poses in poses_by_unit(scan, model, options, units, searches):
        if scaled.unit_mm in seen and best[1][0].confidence >= SURE:
            break  # every unit was tried by its noses, and one convinced
        seen.add(scaled.unit_mm)
        if best is not None and best[0].scale_is_metric and not scaled.scale_is_metric and best[1][0].confidence >= METRIC_ENOUGH:
            continue
        if best is None or poses[0].confidence > best[1][0].confidence or scaled.unit_mm == best[0].unit_mm:
            best = scaled, poses
        if scaled.scale_is_metric and poses[0].confidence >= SURE:
            break
    return best


def _every_other_pixel(scan: Scan, enough: int = 60_000) -> Scan:
    """A large raster at a half, a quarter, … of its resolution: a head is sought on an 8 mm grid."""
    while scan.pixels is not None and len(scan.points) > enough:
        scan = scan.keep((scan.pixels % 2 == 0).all(1))
        scan = replace(scan, pixels=scan.pixels // 2, raster_shape=tuple((side + 1) // 2 for side in scan.raster_shape))
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
