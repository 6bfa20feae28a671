"""Landmarks that come with a scan, in one file beside it: read, identified, and checked against the scan's surface.

Accepted: NAME.landmarks.json (the program's own), .pp (MeshLab), .pts (iBUG, three coordinates), .lm3 (Bosphorus),
.bnd (BU-3DFE), .landmarkAscii (Amira, Avizo). They are in the scan's own frame and unit; beside a depth format, in the
camera frame in mm. Two such files beside one scan are an error: which to believe is not ours to guess.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from geometry.errors import ReadError
from geometry.mesh import TriangleMesh
from geometry.model.landmark_embedding import shipped_schemes
from geometry.model.landmark_scheme import IBUG_POINTS, NO_POINT, LandmarkScheme
from geometry.readers.landmark_files import LandmarkFile, read_landmarks, suffix_of
from geometry.scan import Scan
from geometry.surfaces.closest_point import surface_distance

BY_COUNT = {68: "ibug68", 51: "ibug51", 7: "now7"}  # what a list without names is
MOST_AT_ONE_PLACE = 2  # closed lips may share a point; more is a placeholder for "unknown"
UNIT_FACTORS = (1000.0, 0.001, 10.0, 0.1, 100.0, 0.01, 25.4, 1 / 25.4)  # between m, cm, mm and inches
_REMEDY = (
    "accepted are names (iBUG-68 as in docs/how_to/own_landmarks.md, or iBUG numbers from 0), or unnamed lists of 68 (ibug68), "
    "51 (ibug51) or 7 points (now7), in that order"
)
_NUMBERING = re.compile(r"(p|pt|point|lm|landmark|marker)?[ _.#-]*(\d{1,5})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class GivenLandmarks:
    """The l landmarks of a sidecar. points (l, 3), NaN where unknown, in the scan's own frame and unit; names (l,);
    in_ibug68 (l,): each one's number among the iBUG-68, −1 where it is none; scheme_name: what they are, or "named";
    source_name: the sidecar's file name; notes: what was set aside, and why."""

    points: np.ndarray
    names: tuple[str, ...]
    in_ibug68: tuple[int, ...]
    scheme_name: str
    source_name: str
    notes: tuple[str, ...] = ()

    @property
    def points68(self) -> np.ndarray:
        """(68, 3), NaN where unknown."""
        numbers = np.array(self.in_ibug68)
        landmarks = np.full((IBUG_POINTS, 3), np.nan)
        landmarks[numbers[numbers != NO_POINT]] = self.points[numbers != NO_POINT]
        return landmarks

    @property
    def known(self) -> np.ndarray:
        """(l,) bool."""
        return np.isfinite(self.points).all(1)

    def scaled(self, unit_mm: float) -> "GivenLandmarks":
        """The same landmarks in mm."""
        return replace(self, points=self.points * unit_mm)


def given_landmarks(source: str, sidecars: Mapping[str, bytes], schemes: Iterable[LandmarkScheme] = ()) -> GivenLandmarks | None:
    """The landmarks beside a scan; None where there are none. Raises ReadError.

    schemes: the user's own, beside the shipped ones, that a sidecar may name or take its point names from.
    """
    names = sorted(name for name in sidecars if suffix_of(name))
    if not names:
        return None
    if len(names) > 1:
        raise ReadError(source, f"has {len(names)} landmark files beside it, {' and '.join(names)}", "keep the one to be used")
    shipped = shipped_schemes()
    known = dict(shipped) | {scheme.name: scheme for scheme in schemes if scheme.name not in shipped}
    try:
        file = read_landmarks(names[0], sidecars[names[0]])
        given = _with_a_word_of_others(replace(_identified(file, known), source_name=names[0]))
        _check_values(given)
    except ReadError as error:
        raise ReadError(source, f"its landmarks {names[0]} cannot be used: {error.fault}", error.remedy) from error
    return given


def _with_a_word_of_others(given: GivenLandmarks) -> GivenLandmarks:
    """With a note of how many of them the fit cannot use, where any is none of the iBUG-68 and none was said to be unknown."""
    count, used = int(given.known.sum()), int(np.isfinite(given.points68).all(1).sum())
    if given.notes or used == count or not count:
        return given
    said = f"{used} of {count} given landmarks take part in the fit: the others are none of the iBUG-68"
    return replace(given, notes=(said,))


def _check_values(given: GivenLandmarks) -> None:
    points = given.points[given.known]
    if not len(points):
        raise ReadError(given.source_name, "none of its points is known", "give at least one, or remove the file")
    places, members, counts = np.unique(points, axis=0, return_inverse=True, return_counts=True)
    if counts.max() > MOST_AT_ONE_PLACE or (len(points) > 1 and len(places) == 1):
        most = int(np.argmax(counts))
        alike = [name for name, member in zip(np.array(given.names)[given.known], members.reshape(-1)) if member == most]
        names = ", ".join(alike[:3]) + ", …" * (len(alike) > 3)
        fault = f"{counts[most]} points ({names}) lie at the same place, {np.round(places[most], 3).tolist()}"
        raise ReadError(given.source_name, fault, "leave unknown points out (null, nan or inactive)")


def _identified(file: LandmarkFile, schemes: Mapping[str, LandmarkScheme]) -> GivenLandmarks:
    if file.format == ".bnd":
        return _bu3dfe(file)
    if file.format == ".lm3":
        scheme = schemes["bosphorus22"]
        return _by_names(
            file,
            _plain(file.names),
            {_plain_name(label): (name, number) for label, name, number in zip(scheme.labels, scheme.names, scheme.in_ibug68)},
            scheme.name,
        )
    scheme = schemes.get(file.scheme)
    names = file.names if file.names and any(file.names) else None
    if scheme is not None and names in (None, scheme.names):
        return _by_order(file, scheme)
    if names is None:
        if file.scheme is not None:
            listed = ", ".join(sorted(schemes))
            raise ReadError("", f"its scheme {file.scheme!r} is unknown", f'known are {listed}; or give the points\' "names"')
        return _by_count(file, schemes)
    known = {}
    for each in sorted(schemes.values(), key=lambda scheme: (scheme.name != file.scheme, scheme.name != "ibug68")):
        for name, number in zip(each.names, each.in_ibug68):
            known.setdefault(_plain_name(name), (name, number))
    if known.keys() & set(_plain(names)):
        return _by_names(file, _plain(names), known, file.scheme or "named")
    return _numbered(file, schemes) or _unrelated(file)


def _by_order(file: LandmarkFile, scheme: LandmarkScheme) -> GivenLandmarks:
    if len(file.points) != len(scheme):
        raise ReadError("", f"holds {len(file.points)} points, not the {len(scheme)} of {scheme.name}", _REMEDY)
    return GivenLandmarks(file.points, scheme.names, scheme.in_ibug68, scheme.name, "")


def _by_count(file: LandmarkFile, schemes: Mapping[str, LandmarkScheme]) -> GivenLandmarks:
    if len(file.points) not in BY_COUNT:
        raise ReadError("", f"holds {len(file.points)} points without known names", _REMEDY)
    return _by_order(file, schemes[BY_COUNT[len(file.points)]])


def _numbered(file: LandmarkFile, schemes: Mapping[str, LandmarkScheme]) -> GivenLandmarks | None:
    """Names that are numbers; None where they are not, or number the points of a scheme that is not known.

    0 … N−1 or 1 … N, perhaps after a word such as "P", is a mere numbering: the order of the file's scheme, or of the one that
    the count tells where it declares none. Other numbers alone are iBUG numbers from 0.
    """
    found = [_NUMBERING.fullmatch(name) for name in file.names]
    if not all(found) or not (file.scheme is None or file.scheme in schemes):
        return None
    numbers, n = [int(match[2]) for match in found], len(found)
    if len({name[: match.start(2)] for name, match in zip(file.names, found)}) == 1 and (
        sorted(numbers) in (list(range(n)), list(range(1, n + 1)))
    ):
        in_order = replace(file, points=file.points[np.argsort(numbers)])
        return _by_count(in_order, schemes) if file.scheme is None else _by_order(in_order, schemes[file.scheme])
    if file.scheme in (None, "ibug68") and all(map(str.isdigit, file.names)):
        return _by_ibug_numbers(file, numbers, schemes["ibug68"])
    return None


def _by_ibug_numbers(file: LandmarkFile, numbers: Sequence[int], ibug68: LandmarkScheme) -> GivenLandmarks:
    least, most, n = min(numbers), max(numbers), len(numbers)
    if len(set(numbers)) < n or most >= IBUG_POINTS:
        raise ReadError("", f"its names are the numbers {least} to {most}, some twice or beyond 67", _REMEDY)
    if least <= 1 and most < min(2 * n, 51):  # 0, 1, 3, 4: rather a numbering with gaps than points of the jaw
        raise ReadError("", f"its {n} points are numbered {least} to {most} with gaps; what is which is unclear", _REMEDY)
    return GivenLandmarks(file.points, tuple(ibug68.names[number] for number in numbers), tuple(numbers), "ibug68", "")


def _unrelated(file: LandmarkFile) -> GivenLandmarks:
    """Points that are what their names say, which nobody here knows: kept, and of no part in the fit."""
    _check_names_differ(_plain(file.names))
    scheme = f" of the scheme {file.scheme!r}" if file.scheme else ""
    note = f"none of the given landmarks' names ({', '.join(file.names[:3])}, …){scheme} is known: they take no part in the fit"
    return GivenLandmarks(file.points, file.names, (NO_POINT,) * len(file.names), file.scheme or "named", "", (note,))


def _by_names(file: LandmarkFile, names: Sequence[str], known: Mapping[str, tuple[str, int]], scheme: str) -> GivenLandmarks:
    """known: plain name → (name, number among the iBUG-68). Points of other names are kept under their own."""
    _check_names_differ(names)
    if not known.keys() & set(names):
        raise ReadError("", f"none of its names ({', '.join(file.names[:3])}, …) is known", _REMEDY)
    found = [known.get(plain, (name, NO_POINT)) for plain, name in zip(names, file.names)]
    numbers = [number for _, number in found if number != NO_POINT]
    if twice := next((number for number in numbers if numbers.count(number) > 1), None):
        raise ReadError("", f"names the iBUG point {twice} twice", "names must differ")
    return GivenLandmarks(file.points, tuple(name for name, _ in found), tuple(number for _, number in found), scheme, "")


def _check_names_differ(names: Sequence[str]) -> None:
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise ReadError("", f"has several points named {repeated!r}", "names must differ")


def _plain_name(name: str) -> str:
    return "_".join(name.lower().replace("-", " ").replace("_", " ").split())


def _plain(names: Sequence[str]) -> list[str]:
    return [_plain_name(name) for name in names]


# Of the 83, those whose meaning two sources agree on (menpo's labeller `face_bu3dfe_83`; Deep-MVLM's BU-3DFE_landmark_info):
# eyes 0–7 and 8–15, each from the inner corner over the upper lid, the outer corner fifth; outer lips 48–59, from the corner
# on the first eye's side over the upper lip; contour 68–82 from ear to ear. Their eyebrows are closed outlines and their
# lids have three points each, which iBUG's are not; the order about the nose and of the inner lips is not documented.
_BU3DFE_COUNT = 83
_BU3DFE = {4: 36, 0: 39, 8: 42, 12: 45, 48: 48, 51: 51, 54: 54, 57: 57}
_EYES, _LIPS, _CONTOUR_ENDS = slice(0, 16), slice(48, 60), [68, 69, 81, 82]


def _bu3dfe(file: LandmarkFile) -> GivenLandmarks:
    """Which eye comes first the sources call differently (the subject's or the viewer's right): the points decide."""
    if len(file.points) != _BU3DFE_COUNT or not np.isfinite(file.points).all():
        raise ReadError("", f"holds {np.isfinite(file.points).all(1).sum()} points", "a .bnd has BU-3DFE's 83, all of them known")
    points, mirror = file.points, shipped_schemes()["ibug68"].mirror
    up = points[_EYES].mean(0) - points[_LIPS].mean(0)
    forward = (points[_EYES].mean(0) + points[_LIPS].mean(0)) / 2 - points[_CONTOUR_ENDS].mean(0)
    left = np.cross(up, forward)
    first_is_right = left @ (points[8:16].mean(0) - points[0:8].mean(0)) > 0
    numbers = {place: number if first_is_right else mirror[number] for place, number in _BU3DFE.items()}
    return GivenLandmarks(
        points,
        tuple(f"bu3dfe_{place}" for place in range(_BU3DFE_COUNT)),
        tuple(numbers.get(place, NO_POINT) for place in range(_BU3DFE_COUNT)),
        "bu3dfe83",
        "",
    )


def check_on_surface(given: GivenLandmarks, scan: Scan, limit_mm: float = 10.0) -> GivenLandmarks:
    """given in mm (`scaled`), scan in mm. Points farther than `limit_mm` from the scan are set aside (NaN, and a note).

    Raises ReadError where the median distance is beyond the limit: they are not landmarks of this scan.
    """
    distance = np.full(len(given.points), np.nan)
    distance[given.known] = _distance(given.points[given.known], scan, limit_mm)
    median = float(np.median(distance[given.known])) if given.known.any() else 0.0
    if median > limit_mm:
        factor = _fitting_factor(given.points[given.known], scan, limit_mm)
        unit = f", and {limit_mm:g} mm at most if multiplied by {factor:g}" if factor else ""
        raise ReadError(
            scan.source,
            f"its landmarks {given.source_name} lie {median:.0f} mm from the scan (median){unit}",
            "they are of another scan, in another unit or in another frame; give them in the scan file's own coordinates",
        )
    far = distance > limit_mm
    notes = tuple(
        f"given landmark {name} lies {mm:.0f} mm from the scan and is not used"
        for name, mm in zip(np.array(given.names)[far], distance[far])
    )
    return replace(given, points=np.where(far[:, None], np.nan, given.points), notes=given.notes + notes)


def _fitting_factor(points: np.ndarray, scan: Scan, limit_mm: float) -> float | None:
    """By which landmarks (n, 3) in another unit have to be multiplied to lie on the scan; None where no unit explains them."""
    median = lambda factor: float(np.median(_distance(factor * points, scan, limit_mm)))
    spread = float(np.linalg.norm(np.ptp(points, axis=0)))  # scaled to a speck they would lie on any surface about the origin
    allowed = (factor for factor in UNIT_FACTORS if factor * spread > 3 * limit_mm)
    return next((factor for factor in allowed if median(factor) <= limit_mm), None)


def _distance(points: np.ndarray, scan: Scan, limit_mm: float) -> np.ndarray:
    """(n,) mm to the scan's points, or, where its triangles are coarse, to its surface."""
    distance = cKDTree(scan.points).query(points)[0]
    doubtful = distance > limit_mm
    if doubtful.any() and not scan.is_cloud:
        centre = scan.points.mean(0)  # float32 is used below
        mesh = TriangleMesh(scan.points - centre, scan.triangles)
        distance[doubtful] = np.minimum(distance[doubtful], surface_distance(points[doubtful] - centre, mesh))
    return distance
