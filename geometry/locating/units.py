"""The units in which a scan could hold a head."""

import numpy as np

from geometry.scan import Scan
from geometry.surfaces.bulk import spans_of_bulk

METRIC_UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}
HEAD_MM = (110.0, 900.0)  # longest side of what a face scan may show: a bare face, a bust with shoulders
HEAD_SIZES_MM = (190.0, 230.0, 280.0, 340.0, 420.0)
ROOM_MM = 12000.0  # a scan with background may be this long


def candidate_units(scan: Scan) -> list[tuple[float, bool]]:
    """(mm per file unit, is metric) under which the scan could hold a head, most plausible first.

    A known unit is the only candidate. Otherwise metric units whose size fits a head, then those whose size fits a
    room; then sizes of a head in no unit at all, for sculpted and normalised meshes. The size is that of the scan's bulk: what
    strays from it, and vertices of a mesh that no triangle has, do not count.
    """
    if scan.unit_mm is not None:
        return [(scan.unit_mm, scan.scale_is_metric)]
    longest = longest_side(scan)
    if not longest > 0:
        return []
    metric = lambda low, high: [(mm, True) for mm in METRIC_UNITS.values() if low <= longest * mm <= high]
    return metric(*HEAD_MM) + metric(HEAD_MM[1], ROOM_MM) + free_units(scan)


def free_units(scan: Scan) -> list[tuple[float, bool]]:
    """Of `candidate_units` those that are no metric ones: under which a scan in an open unit is as long as a head may be."""
    longest = longest_side(scan)
    return [(size / longest, False) for size in HEAD_SIZES_MM] if longest > 0 else []


def longest_side(scan: Scan) -> float:
    """Of the scan's bulk, in its present unit."""
    points = scan.points if scan.is_cloud else scan.points[np.unique(scan.triangles)]
    return float(spans_of_bulk(points).max())


def note_of_guess(unit_mm: float, is_metric: bool) -> str:
    """What whoever uses a scan has to know whose unit its file does not tell."""
    if is_metric:
        name = next((name for name, mm in METRIC_UNITS.items() if mm == unit_mm), f"{unit_mm:g} mm")
        return f"its unit was guessed by the size of a head: {name} (input.unit tells it)"
    return "its unit was guessed, as no metric one fits a head: all sizes are those of a head of average size, not measured"
