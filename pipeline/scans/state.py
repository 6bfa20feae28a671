"""One scan on its way through the stages, and the time that it has left."""

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from geometry.charts.curvature import facing
from geometry.charts.geometry_image import GeometryImage
from geometry.errors import TimeLimitExceeded
from geometry.fitting.encoding import Encoding
from geometry.fitting.result import FitResult
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.given import GivenLandmarks
from geometry.locating.location import Location
from geometry.recognition.evidence import Evidence
from geometry.reconstruction.reconstruct import Reconstruction
from geometry.scan import Scan
from geometry.transforms import SimilarityTransform
from pipeline.inputs.source import Source

SUPPORT_MM = 3.0  # a scan farther from the refined surface shows something else


class Deadline:
    """Raises TimeLimitExceeded once a scan's own working time is used up. It is cooperative: `check` has to be called."""

    def __init__(self, limit_seconds: float, spent: float):
        self.limit_seconds = limit_seconds
        self._end = time.perf_counter() + limit_seconds - spent

    def check(self) -> None:
        if time.perf_counter() > self._end:
            limit = f"limits.seconds_per_scan = {self.limit_seconds:g} s"
            raise TimeLimitExceeded(f"took longer than {limit}; raise it for such scans")


@dataclass(frozen=True)
class ScanState:
    """A scan and what the stages have made of it so far; `data` and `sidecars` only until it is read."""

    source: Source
    sha256: str = ""
    input_hash: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    data: bytes = b""
    sidecars: Mapping[str, bytes] = field(default_factory=dict)
    scan: Scan | None = None
    start: SimilarityTransform | None = None  # scan mm → model mm: where the head is, taken for granted and not searched for
    given_landmarks: GivenLandmarks | None = None  # in the file's unit until it is located, then in mm
    location: Location | None = None
    fit: FitResult | None = None
    encoding: Encoding | None = None
    evidence: Evidence | None = None
    refined: GeometryImage | None = None
    surfaces: Reconstruction | None = None
    landmarks: LandmarkEstimate | None = None  # model frame; those that came with the scan in the place of found ones
    found_landmarks: LandmarkEstimate | None = None  # as found, whatever came with the scan
    metrics: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    deadline: Deadline | None = None

    @classmethod
    def of(cls, scan: Scan, start: SimilarityTransform | None = None) -> Self:
        """A scan that no file holds: simulated, or read already."""
        return cls(Source(scan.source, ""), scan=scan, start=start)

    def check(self) -> None:
        """Raises TimeLimitExceeded where the scan's time is used up; it has no limit outside of a run."""
        if self.deadline is not None:
            self.deadline.check()

    @property
    def scan_to_model(self) -> SimilarityTransform:
        """Scan mm → model mm: of the fit, or of the located head where nothing has been fitted."""
        return self.location.scan_to_model if self.fit is None else self.fit.scan_to_model

    @property
    def registered(self) -> np.ndarray:
        """(n, 3) vertices in the model's topology on the refined surface, model frame, mm."""
        return self.surfaces.registered

    @property
    def given_in_model_frame(self) -> GivenLandmarks | None:
        """The landmarks that came with the located scan, in the model frame."""
        given = self.given_landmarks
        return None if given is None else replace(given, points=self.scan_to_model.apply(given.points))

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading, cleaning and locating had to say about the scan."""
        scan = self.scan if self.location is None else self.location.scan
        return () if scan is None else tuple(scan.notes)

    @functools.cached_property
    def observed(self) -> np.ndarray:
        """(h, w) bool: `observed_pixels` of this scan."""
        return observed_pixels(self.encoding.scan, self.refined)


def pixels_of(points: np.ndarray, image: GeometryImage) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where points (n, 3), model frame, lie in an image: whether inside (n,), rows and columns (n,), clipped, and depth (n,)."""
    pixels, depth = image.chart.project(points)
    places, size = np.floor(pixels).astype(int), np.array(image.shape[::-1])
    columns, rows = np.clip(places, 0, size - 1).T
    return np.all((places >= 0) & (places < size), axis=1), rows, columns, depth


def observed_pixels(scan: GeometryImage, refined: GeometryImage) -> np.ndarray:
    """(h, w) bool: where the scan supports the refined surface, that is, lies on it within its noise. A hand or hair in
    front of the face does not."""
    distance = np.abs(scan["depth"] - refined["depth"]) * facing(refined)
    return scan.valid_mask & refined.valid_mask & (distance < SUPPORT_MM + 4 * scan["noise_sigma"])
