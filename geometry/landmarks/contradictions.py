"""Landmarks that came with a scan held against those found on it: what is wrong about them, before anybody believes them."""

from dataclasses import replace

import numpy as np

from geometry.errors import ReadError
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.given import GivenLandmarks
from geometry.model.landmark_embedding import shipped_schemes
from geometry.model.landmark_scheme import IBUG_POINTS, NO_POINT

SURE = 0.4  # confidence of a found landmark that is asked
LIMIT_MM, BROWS_MM, JAW_MM = 15.0, 20.0, 30.0  # farther apart, a given and a found landmark are not the same point
MEAN_FACE_MM = 45.0  # the same where none was found, from those of an average face at the located pose: eyes are 60 mm apart
MOST_WRONG = 0.3  # share of the landmarks that may be set aside
EXPLAINED = 0.5  # another order explains landmarks that it brings within this share of the limits, and that much nearer
_LIMITS = np.full(IBUG_POINTS, LIMIT_MM)
_LIMITS[:17], _LIMITS[17:27] = JAW_MM, BROWS_MM


def check_against_found(
    given: GivenLandmarks, found: LandmarkEstimate | None, face: np.ndarray, source: str, is_sure: bool = True
) -> tuple[GivenLandmarks, bool]:
    """What is used of the given landmarks, and whether they are to be believed against what was found.

    given in scan mm; found: the ibug68 estimate on the scan, or None; face (68, 3): the landmarks of an average face at the
    located pose, scan mm, which judge where none were found. A landmark that lies elsewhere is set aside (NaN, and a note).

    Raises ReadError, naming the scan `source`, where several do and what they then look like can be said, or `is_sure`: it
    was found beyond doubt that this is their face. Otherwise all are kept, with a note."""
    points, names = given.points68, _names(given)
    expected = face if found is None else np.where((found.seen & (found.confidence > SURE))[:, None], found.points, np.nan)
    limits = _LIMITS if found is not None else np.full(IBUG_POINTS, MEAN_FACE_MM)
    apart = np.linalg.norm(points - expected, axis=1)
    asked, wrong = np.isfinite(apart), np.nan_to_num(apart) > limits
    if not wrong.any():
        return given, False
    if wrong.sum() > max(1, MOST_WRONG * asked.sum()):
        first = int(np.nanargmax(np.where(wrong, apart, np.nan)))
        fault = f"{wrong.sum()} of {asked.sum()} lie elsewhere, {names[first]} {apart[first]:.0f} mm apart"
        cause = _cause(points, expected, limits)
        if not (is_sure or cause):
            note = f"the given landmarks contradict the face found, which is not sure or another one, and were believed: {fault}"
            return replace(given, notes=(*given.notes, note)), True
        raise ReadError(
            source,
            f"its landmarks {given.source_name} contradict the face found on it: {fault}; "
            + (cause or "they are in another order, or of another face"),
            "correct them, or remove the file: without it the landmarks found on the scan are used",
        )
    notes = tuple(
        f"given landmark {names[k]} lies {apart[k]:.0f} mm from the one found and is not used"
        for k in np.flatnonzero(wrong).tolist()
    )
    gone = np.isin(np.array(given.in_ibug68), np.flatnonzero(wrong))
    return replace(given, points=np.where(gone[:, None], np.nan, given.points), notes=given.notes + notes), False


def _names(given: GivenLandmarks) -> dict[int, str]:
    """By their number among the iBUG-68."""
    return {number: name for number, name in zip(given.in_ibug68, given.names) if number != NO_POINT}


def _cause(points: np.ndarray, expected: np.ndarray, limits: np.ndarray) -> str:
    """The order that would explain landmarks (68, 3) which lie elsewhere than expected (68, 3): in words; "" where none
    does."""
    known = np.flatnonzero(np.isfinite(points).all(1))
    mirror = np.array(shipped_schemes()["ibug68"].mirror)
    away = lambda taken: float(np.nanmedian(np.linalg.norm(taken - expected[known], axis=1) / limits[known]))
    enough = EXPLAINED * min(away(points[known]), 1.0)
    partner = points[mirror[known]]  # of a point whose partner is not given, the point itself tells
    exchanged = np.where(np.isfinite(partner), partner, points[known])
    if np.isfinite(partner).any() and away(exchanged) < enough:
        return "left and right are exchanged in them"
    if away(points[known][::-1]) < enough:
        return "they are in reversed order"
    return ""
