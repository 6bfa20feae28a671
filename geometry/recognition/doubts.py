"""A scan in which no face was found: is one of the numbers that came with it implausible, and which value would show a head?"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from geometry.errors import NoFaceFound
from geometry.locating.candidates import candidate_locations
from geometry.locating.pose_search import LocatingOptions
from geometry.locating.units import HEAD_MM, METRIC_UNITS, ROOM_MM, longest_side
from geometry.model.morphable_model import MorphableModel
from geometry.scan import Scan

DEPTH_FACTORS = (0.1, 0.25, 0.5, 2.0, 4.0, 10.0)  # between the units of sensors: 0.1, 0.25, 0.5 and 1 mm, 1 cm
FOCAL_FACTORS = (0.5, 2.0)  # between the resolutions of sensors
HEAD_SIZES = (0.65, 0.5, 0.4, 1.4, 2.0)  # in parts of the average adult's
CONVINCING, GAIN = 0.6, 0.15  # confidence of a head under another number, and by how much it has to win
WIDEST_DEG, NARROWEST_DEG = 120.0, 20.0  # fields of view of depth cameras
SQUARE, OFF_CENTRE = 1.15, 0.2  # ratio of the focal lengths; of the principal point from the middle, as a share of the width
ENOUGH = 10_000  # points in which a head is sought


def with_doubts(error: NoFaceFound, scan: Scan, model: MorphableModel) -> NoFaceFound:
    """The error with what is implausible about the unit or the camera of the scan, in mm, in which no face was found."""
    doubt = doubt_of(scan, model)
    return NoFaceFound(f"{error}; {doubt}") if doubt else error


def doubt_of(scan: Scan, model: MorphableModel) -> str:
    """Which number is implausible, which key holds it, and what would show a head; "" where nothing is."""
    if scan.unit_mm is None or not len(scan.points):
        return ""
    if scan.camera is None:
        return _doubt_of_unit(scan) or _doubt_of_size(scan, model)
    said = [] if scan.depth_unit_mm is None else list(_under_other_numbers(scan, model))
    return "; ".join(said or doubts_of_camera(scan))


def _doubt_of_unit(scan: Scan) -> str:
    longest, unit_mm = longest_side(scan), scan.unit_mm or 1.0
    if HEAD_MM[0] <= longest <= ROOM_MM:
        return ""
    fitting = [name for name, mm in METRIC_UNITS.items() if HEAD_MM[0] <= longest * mm / unit_mm <= HEAD_MM[1]]
    better = f"; {' or '.join(fitting)} would make it {longest * METRIC_UNITS[fitting[0]] / unit_mm:.0f} mm" if fitting else ""
    return f"in its unit of {unit_mm:g} mm the scan is {longest:.3g} mm long, and a head is not: check input.unit{better}"


def _doubt_of_size(scan: Scan, model: MorphableModel) -> str:
    """Of a mesh or cloud that is as long as a head may be: is there a head of another size than an adult's?"""
    best, said = max(_confidence(scan, model) + GAIN, CONVINCING), ""
    for size in HEAD_SIZES:
        found = _confidence(scan.in_unit((scan.unit_mm or 1.0) / size, is_metric=True), model)
        if found > best:
            best, what = found, "smaller" if size < 1 else "larger"
            said = f"a head {what} than an adult's, about {size:g} of the average, would be there: no child? check input.unit"
    return said


def _under_other_numbers(scan: Scan, model: MorphableModel) -> Iterator[str]:
    """What would show a head more convincingly than the numbers that were given, the most convincing alone."""
    thinned = scan
    while len(thinned.points) > ENOUGH:
        thinned = thinned.keep((thinned.pixels % 2 == 0).all(1))
        height, width = thinned.raster_shape
        thinned = replace(thinned, pixels=thinned.pixels // 2, raster_shape=((height + 1) // 2, (width + 1) // 2))
    best, said = max(_confidence(thinned, model) + GAIN, CONVINCING), ""
    for factor in DEPTH_FACTORS:
        found = _confidence(thinned.in_unit(factor, is_metric=True), model)
        if found > best:
            best, said = found, f"a depth_unit_mm of {factor * scan.depth_unit_mm:g} instead of {scan.depth_unit_mm:g}"
    for factor in FOCAL_FACTORS:
        found = _confidence(replace(thinned, points=thinned.points / [factor, factor, 1]), model)
        if found > best + GAIN * bool(said):  # a face of another size is also a face of another depth
            camera, best = scan.camera, found
            said = f"fx and fy of {factor * camera.fx:g} and {factor * camera.fy:g} instead of {camera.fx:g} and {camera.fy:g}"
    if said:
        yield f"{said} would show a head there: check the sidecar"


def _confidence(scan: Scan, model: MorphableModel) -> float:
    try:
        return candidate_locations(scan, model, lambda place: None, LocatingOptions(min_confidence=CONVINCING))[0].confidence
    except NoFaceFound:
        return 0.0


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
        if abs(value - (size - 1) / 2) > OFF_CENTRE * size:
            said.append(f"{key} {value:g} is far from the middle of {size} pixels, {(size - 1) / 2:g}: check {key}")
    return said
