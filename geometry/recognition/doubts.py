"""A scan in which no face was found: is one of the numbers that came with it implausible, and which value would show a head?"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from geometry.errors import NoFaceFound, TimeLimitExceeded
from geometry.locating.candidates import candidate_locations, located_at
from geometry.locating.hypotheses import CELL_MM
from geometry.locating.location import Location
from geometry.locating.pose_search import LocatingOptions
from geometry.locating.units import HEAD_MM, METRIC_UNITS, ROOM_MM, longest_side
from geometry.model.morphable_model import MorphableModel
from geometry.scan import Scan
from geometry.surfaces.normals import voxel_representatives, with_normals
from geometry.transforms import SimilarityTransform

Sees = Callable[[Location], bool]  # does a landmark network, or whatever else decides, see a face at a place?
SHOWN = " would show a head there: check the sidecar"
DEPTH_FACTORS = (0.1, 0.25, 0.5, 2.0, 4.0, 10.0)  # between the units of sensors: 0.1, 0.25, 0.5 and 1 mm, 1 cm
FOCAL_FACTORS = (0.5, 2.0)  # between the resolutions of sensors
HEAD_SIZES = (0.65, 0.5, 0.4, 1.4, 2.0)  # in parts of the average adult's
LEAST, CONVINCING, GAIN = (
    0.3,
    0.6,
    0.15,
)  # confidence of a head that counts, of one under another number, and by how much this has to win
WIDEST_DEG, NARROWEST_DEG = 120.0, 20.0  # fields of view of depth cameras
SQUARE, OFF_CENTRE = 1.15, 0.2  # ratio of the focal lengths; of the principal point from the middle, as a share of the width
ENOUGH = 10_000  # pixels in which a head is sought
FINE_MM = CELL_MM / 2  # grid, in mm of the head that is sought, of which one point a cell is enough


def with_doubts(
    error: NoFaceFound, scan: Scan, model: MorphableModel, sees: Sees, check: Callable[[], None] = lambda: None
) -> NoFaceFound:
    """The error with what is implausible about the unit or the camera of the scan, in mm, in which no face was found."""
    doubt = doubt_of(scan, model, sees, check)
    return NoFaceFound(f"{error}; {doubt}") if doubt else error


def doubt_of(scan: Scan, model: MorphableModel, sees: Sees, check: Callable[[], None] = lambda: None) -> str:
    """Which number is implausible, which key holds it, and what would show a head; "" where nothing is, and where `check`, which
    is asked before each search, or `sees` says that the time is used up: a scan without a face is one in any case.

    A head is sought by its shape under other numbers; whether the best of them shows a face, `sees` decides: a shape alone is
    found in many a corner of a room of any size."""
    if scan.unit_mm is None or not len(scan.points):
        return ""
    if scan.camera is None:
        return _doubt_of_unit(scan) or _best(scan, _of_other_sizes(scan), model, sees, check)
    said = "" if scan.depth_unit_mm is None else _best(scan, _under_other_numbers(scan), model, sees, check)
    return said or "; ".join(doubts_of_camera(scan))


def _doubt_of_unit(scan: Scan) -> str:
    longest, unit_mm = longest_side(scan), scan.unit_mm or 1.0
    if HEAD_MM[0] <= longest <= ROOM_MM:
        return ""
    fitting = [name for name, mm in METRIC_UNITS.items() if HEAD_MM[0] <= longest * mm / unit_mm <= HEAD_MM[1]]
    better = f"; {' or '.join(fitting)} would make it {longest * METRIC_UNITS[fitting[0]] / unit_mm:.0f} mm" if fitting else ""
    return f"in its unit of {unit_mm:g} mm the scan is {longest:.3g} mm long, and a head is not: check input.unit{better}"


_Other = tuple[str, Callable[[Scan], Scan], float]  # what to say, the scan under it, by how much more it has to win


def _of_other_sizes(scan: Scan) -> list[_Other]:
    """Of a mesh or cloud that is as long as a head or a room may be: an adult's head in another metric unit, or one of another
    size than an adult's."""
    others: list[_Other] = []
    unit_mm = scan.unit_mm or 1.0
    for name, mm in METRIC_UNITS.items():
        if mm != unit_mm and HEAD_MM[0] <= longest_side(scan) * mm / unit_mm <= ROOM_MM:
            said = f"in {name}, and not in units of {unit_mm:g} mm, a head would be there: check input.unit"
            others.append((said, partial(Scan.in_unit, unit_mm=mm, is_metric=True), 0.0))
    for size in HEAD_SIZES:
        what, unit_mm = "smaller" if size < 1 else "larger", (scan.unit_mm or 1.0) / size
        said = f"a head {what} than an adult's, about {size:g} of the average, would be there: no child? check input.unit"
        others.append((said, partial(Scan.in_unit, unit_mm=unit_mm, is_metric=True), GAIN))
    return others


def _under_other_numbers(scan: Scan) -> list[_Other]:
    """Of a depth image: another unit, or the focal lengths of another resolution."""
    others: list[_Other] = []
    for factor in DEPTH_FACTORS:
        said = f"a depth_unit_mm of {factor * scan.depth_unit_mm:g} instead of {scan.depth_unit_mm:g}"
        others.append((said + SHOWN, partial(Scan.in_unit, unit_mm=factor, is_metric=True), 0.0))
    for factor in FOCAL_FACTORS:
        fx, fy = scan.camera.fx, scan.camera.fy
        said = f"fx and fy of {factor * fx:g} and {factor * fy:g} instead of {fx:g} and {fy:g}"
        # a face of another size is also a face of another depth
        others.append((said + SHOWN, partial(_narrowed, by=factor), GAIN))
    return others


def _narrowed(scan: Scan, by: float) -> Scan:
    """A depth image under other focal lengths."""
    return replace(scan, points=scan.points / [by, by, 1])


def _best(scan: Scan, others: list[_Other], model: MorphableModel, sees: Sees, check: Callable[[], None]) -> str:
    """What the most convincing of the others says; "" where none convinces more than the scan as it is, or shows a face, or where
    that cannot be told."""
    try:
        best = _most_convincing(scan, others, model, check)
        if best is None:
            return ""
        said, under, pose = best
        return said if sees(located_at(under(scan), pose)) else ""
    except (NoFaceFound, TimeLimitExceeded):
        return ""


def _most_convincing(
    scan: Scan, others: list[_Other], model: MorphableModel, check: Callable[[], None]
) -> tuple[str, Callable[[Scan], Scan], SimilarityTransform] | None:
    """Of the others in which a head's shape is found more surely than in the scan as it is: what it says, and the head's pose."""
    prepared = _coarse(scan)
    check()
    as_given = _head_in(_thinned(prepared), model)
    least, best = max(CONVINCING, GAIN + (as_given.confidence if as_given else 0.0)), None
    for said, under, more in others:
        check()
        found = _head_in(_thinned(under(prepared)), model)
        if found is not None and found.confidence > least + more * (best is not None):
            least, best = found.confidence, (said, under, found.scan_to_model)
    return best


def _coarse(scan: Scan) -> Scan:
    """A depth image at a half, a quarter, … of its resolution; a mesh as a cloud, with its normals."""
    if scan.pixels is None:
        return replace(with_normals(scan), triangles=np.zeros((0, 3), np.int32))
    while len(scan.points) > ENOUGH:
        scan = scan.keep((scan.pixels % 2 == 0).all(1))
        height, width = scan.raster_shape
        scan = replace(scan, pixels=scan.pixels // 2, raster_shape=((height + 1) // 2, (width + 1) // 2))
    return scan


def _thinned(scan: Scan) -> Scan:
    """One point a cell of a cloud with normals; a pixel grid as it is."""
    if scan.pixels is not None:
        return scan
    chosen = np.zeros(len(scan.points), bool)
    chosen[voxel_representatives(scan.points, FINE_MM)] = True
    return scan.keep(chosen)


def _head_in(scan: Scan, model: MorphableModel) -> Location | None:
    """Where the shape of a head is found."""
    try:
        return candidate_locations(scan, model, lambda place: None, LocatingOptions(min_confidence=LEAST))[0]
    except NoFaceFound:
        return None


def doubts_of_camera(scan: Scan) -> list[str]:
    """What is unusual about the camera of a depth image whose file or sidecar says it; nothing of other scans."""
    camera, said = scan.camera, []
    if camera is None or scan.depth_unit_mm is None:
        return []
    angle = float(np.degrees(2 * np.arctan(camera.width / (2 * camera.fx))))
    if not NARROWEST_DEG < angle < WIDEST_DEG:
        said.append(f"fx {camera.fx:g} means a field of view of {angle:.0f}° over {camera.width} pixels: check fx")
    if not 1 / SQUARE < camera.fx / camera.fy < SQUARE:
        said.append(f"fx {camera.fx:g} and fy {camera.fy:g} are those of pixels that are not square: check both")
    for key, value, size in (("cx", camera.cx, camera.width), ("cy", camera.cy, camera.height)):
        if not -0.5 <= value <= size - 0.5:
            said.append(
                f"{key} {value:g} is outside the image of {size} pixels: check {key}, unless it was cut out of a larger one"
            )
        elif abs(value - (size - 1) / 2) > OFF_CENTRE * size:
            said.append(f"{key} {value:g} is far from the middle of {size} pixels, {(size - 1) / 2:g}: check {key}")
    return said
