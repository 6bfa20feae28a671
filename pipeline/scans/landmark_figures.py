"""What the landmarks of a run are worth: the figures of one scan, and a table of all scans by region of the face.

The table is made from the scans' landmarks.json alone, and a point's region is read off its name, so that a report can be
written again wherever the run's output lies, with the user's own schemes too.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geometry.landmarks.calibration import confidence_of
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.given import GivenLandmarks
from geometry.model import landmark_embedding
from geometry.model.landmark_scheme import NO_POINT

# The first region one of whose words is in a point's name; brows before eyes, since an eyebrow is no eye.
REGION_WORDS = {
    "brows": ("brow",),
    "eyes": ("eye", "canthi", "pupil", "palpebra"),
    "nose": ("nose", "nasal", "nasion", "nostril", "alar", "sellion", "columella"),
    "mouth": ("mouth", "lip", "cheilion", "labi", "stomion", "philtri"),
    "jaw": ("jaw", "chin", "menton", "pogonion", "gnathion", "gonion", "mentale"),
    "ears": ("tragion", "aurale", "otobasion"),
    "head": ("vertex", "glabella", "opisthocranion", "euryon"),
}
OTHER = "other"
FAR_MM = 30.0  # people set a point of a jaw at most so far apart, and others much less
GIVEN_SIGMA_MM = 1.0  # of landmarks that come with a scan, in each direction: people set them to about that


def measured(estimate: LandmarkEstimate, distances: np.ndarray | None = None) -> dict[str, float]:
    """The manifest's figures of one scan; NaN where there is nothing to average.

    distances (l,) mm to the landmarks that came with the scan, NaN where none did; None where the scan came without.
    """
    figures = {
        "landmarks_seen": float(np.sum(estimate.seen)),
        "landmarks_inferred": float(np.sum(~np.asarray(estimate.seen, bool))),
        "landmark_confidence": _mean(estimate.confidence),
        "landmark_sigma_mm": _mean(sigmas(estimate.covariance)),
    }
    return figures if distances is None else figures | {"landmark_to_given_mm": _mean(distances)}


def sigmas(covariance: np.ndarray) -> np.ndarray:
    """(l, 3, 3) → (l,): the standard deviation per axis, √(trace / 3)."""
    return np.sqrt(np.trace(np.asarray(covariance, float), axis1=1, axis2=2) / 3)


def distances_to_given(estimate: LandmarkEstimate, given: GivenLandmarks) -> np.ndarray:
    """given: in the estimate's frame, mm → (l,) mm, NaN where nothing was given."""
    return np.linalg.norm(estimate.points - counterparts(estimate.scheme, given), axis=1)


def far_from_found(estimate: LandmarkEstimate, given: GivenLandmarks) -> tuple[str, ...]:
    """A note where given landmarks lie much farther from those found, in the same frame, mm, than people set them apart."""
    distances, names = distances_to_given(estimate, given), landmark_embedding.scheme(estimate.scheme).names
    far = np.flatnonzero(np.nan_to_num(distances) > FAR_MM)
    if not len(far):
        return ()
    worst = sorted(far.tolist(), key=lambda number: -distances[number])[:3]
    said = ", ".join(f"{names[number]} {distances[number]:.0f} mm" for number in worst) + ", …" * (len(far) > 3)
    if len(far) == 1:
        return (f"a given landmark lies far from the place found for it, and is believed: {said}",)
    return (f"{len(far)} given landmarks lie far from the places found for them, and are believed: {said}",)


def with_given(estimate: LandmarkEstimate, given: GivenLandmarks) -> LandmarkEstimate:
    """The estimate with the given landmarks, in its frame, mm, in the place of its own: who set them by hand means them."""
    points = counterparts(estimate.scheme, given)
    known = np.isfinite(points).all(1)
    covariance = np.where(known[:, None, None], GIVEN_SIGMA_MM**2 * np.eye(3), estimate.covariance)
    return LandmarkEstimate(
        np.where(known[:, None], points, estimate.points),
        covariance,
        np.where(known, confidence_of(covariance), estimate.confidence),
        estimate.seen | known,
        estimate.scheme,
    )


def counterparts(scheme_name: str, given: GivenLandmarks) -> np.ndarray:
    """(l, 3) given points for a scheme's, NaN where none: a point's counterpart is the same iBUG point, or has the same name
    where it is none of these."""
    scheme, unknown = landmark_embedding.scheme(scheme_name), np.full(3, np.nan)
    by_number, by_name = dict(zip(given.in_ibug68, given.points)), dict(zip(given.names, given.points))
    return np.array(
        [
            by_number.get(number, unknown) if number != NO_POINT else by_name.get(name, unknown)
            for number, name in zip(scheme.in_ibug68, scheme.names)
        ]
    )


def region_of(name: str) -> str:
    lowered = name.lower()
    return next((region for region, words in REGION_WORDS.items() if any(word in lowered for word in words)), OTHER)


@dataclass(frozen=True)
class RegionFigures:
    """points: landmarks of the region in all scans together; share_seen in [0, 1]; mean confidence, sigma in mm and distance
    in mm to the given landmarks; None where no point has the figure."""

    region: str
    points: int
    share_seen: float | None
    confidence: float | None
    sigma_mm: float | None
    to_given_mm: float | None


Point = tuple[str, tuple[float, ...]]  # name; seen, confidence, sigma and distance in mm


def by_region(scans: Iterable[Sequence[Point]]) -> list[RegionFigures]:
    """`points_of` each scan → a row per region that has points, in the order of `REGION_WORDS`, and one of all together."""
    points = [(region_of(name), figures) for scan in scans for name, figures in scan]
    rows = [(region, [figures for found, figures in points if found == region]) for region in (*REGION_WORDS, OTHER)]
    rows = [row for row in rows if row[1]]
    if len(rows) > 1:
        rows.append(("all", [figures for _, figures in points]))
    return [_region_figures(region, figures) for region, figures in rows]


def points_of(content: Mapping) -> list[Point]:
    """The content of a landmarks.json → (name, (seen, confidence, sigma in mm, distance to the given one in mm)) of each point;
    NaN for what the file lacks. Raises ValueError or TypeError where it is no such content."""
    count = len(content.get("points") or ())
    unit_mm = float(content.get("unit_mm") or 1.0)
    column = lambda key: list(content.get(key) or [None] * count)
    sigma = [
        None if matrix is None else unit_mm * math.sqrt(np.trace(np.asarray(matrix, float)) / 3)
        for matrix in column("covariance")
    ]
    names = [OTHER if name is None else str(name) for name in column("names")]
    rows = zip(names, column("seen"), column("confidence"), sigma, column("given_distance_mm"), strict=True)
    return [(name, tuple(math.nan if value is None else float(value) for value in values)) for name, *values in rows]


def _region_figures(region: str, figures: list[tuple[float, ...]]) -> RegionFigures:
    means = [_mean(column) for column in np.array(figures, float).T]
    return RegionFigures(region, len(figures), *(None if math.isnan(value) else value for value in means))


def _mean(values: npt.ArrayLike) -> float:
    """Of the finite values; NaN where there are none."""
    array = np.asarray(values, float)
    finite = array[np.isfinite(array)]
    return float(finite.mean()) if len(finite) else math.nan
