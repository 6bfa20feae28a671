"""The configuration of a training set: the sections of a run that decide a fit, and how faces, sensors and views are drawn."""

import dataclasses
from typing import Annotated, Literal

from pydantic import Field

from geometry.settings.options import AtLeast0, Count, OneOf, Positive, PositiveRange, Range, Seed, Share, Shares, options
from geometry.synthesis.faces import SynthesisOptions
from geometry.synthesis.sensors import SENSORS, PoseRange
from pipeline.scans.config import ChainConfig

WEIGHTS = {
    "kinect_v1": 1.2,
    "truedepth": 1.2,
    "truedepth_vga": 0.7,
    "time_of_flight": 1.2,
    "stereo": 0.6,
    "laser": 0.6,
    "photogrammetry": 0.6,
    "clean_mesh": 0.5,
    "any_near": 1.0,
    "any_middle": 0.8,
    "any_wide": 1.0,
}


@options
class SetOptions:
    """The set as a whole."""

    seed: Seed = 0
    """Everything drawn follows from it and a record's index."""
    count: Count | None = None
    """Pairs to try, or scans to take views of; null: 1000, or with an archive of scans all of them times the views."""
    views_per_subject: Count = 1
    """Scans of each subject, each with another expression and sensor; with an archive, pairs of each scan, all but the first
    with expression and identity changed by the model."""
    split_shares: Shares = (0.9, 0.05, 0.05)
    """Of subjects: train, validation, test."""
    pairs_per_shard: Count = 25
    """Pairs in a file."""


@options
class PairOptions:
    """How faces are seen by simulated sensors."""

    sensor_weights: Annotated[dict[Annotated[str, OneOf(SENSORS)], Positive], Field(min_length=1)] = dataclasses.field(
        default_factory=lambda: dict(WEIGHTS), hash=False
    )
    """Relative frequencies of the sensors."""
    strength: PositiveRange | None = None
    """Lowest and highest multiple of the published noise, for every sensor, log-uniform; null: each sensor's own range."""
    start: Literal["located", "perturbed"] = "located"
    """Where a fit starts. located: where a run would find the head; perturbed: at the true pose, wrong by the next two, without
    the search for the head (half a second a pair less)."""
    turn_deg: float = Field(default=3.0, ge=0)
    """Standard deviation, about each axis, of a perturbed start's error."""
    shift_mm: AtLeast0 = 3.0
    """Standard deviation, along each axis, of a perturbed start's error."""
    wall_share: Share = 0.15
    """Of depth frames with a wall behind the head."""
    shoulders_share: Share = 0.2
    """Of depth frames with shoulders."""
    faces: SynthesisOptions = SynthesisOptions()
    """How faces are sampled."""
    poses: PoseRange = PoseRange()
    """Poses of the head before its sensor, for pairs."""


@options
class ScanOptions:
    """Pairs from an archive of real scans: which scans are good enough to be a truth, and how they are changed."""

    scan_input: Literal["simulated", "real"] = "simulated"
    """What the scan channels show: a simulated sensor's view of the scan, or the scan itself (the papers' setting)."""
    subject_from: Literal["file", "folder"] = "file"
    """Whom a scan shows, so that nobody is in two splits: each file, or each folder of the first level, is a subject."""
    noise_mm: AtLeast0 = 0.1
    """Most noise of a truth."""
    edge_mm: Positive = 3.0
    """Largest median edge of a truth's mesh in the face; longer facets hide detail of 6 mm wavelength."""
    face_share: Share = 0.5
    """Least share of the face that a truth shows."""
    reach_mm: Positive = 12.0
    """Surface farther from the fitted model is no face."""
    identity_sigma: Range = (0.0, 0.5)
    """Lowest and highest standard deviation, in σ, of the identity coefficients' change."""


@options
class ViewOptions:
    """Views of raw scans, for the landmark network."""

    views_per_scan: int = Field(default=6, ge=0)
    """Views that show the face."""
    shares: Shares = (0.4, 0.3, 0.3)
    """Of views that are aligned (all but straight on, as a second look after a first estimate), facing (from where the sensor
    stood, rolled), and free (from anywhere within free_deg)."""
    poses: PoseRange = PoseRange(60.0, 40.0, 45.0, 0.2)
    """Poses of the head before its sensor."""
    free_deg: tuple[float, float, float] = (60.0, 40.0, 45.0)
    """Largest yaw, pitch and roll of the free views."""
    aligned_deg: float = Field(default=6.0, ge=0)
    """Standard deviation of the first estimate's error in the aligned views."""
    aligned_mm: AtLeast0 = 5.0
    """Standard deviation of the first estimate's error in the aligned views."""
    shift_mm: AtLeast0 = 25.0
    """Largest offset of the face from the picture's middle, uniform, in the other views."""
    astray_per_scan: int = Field(default=1, ge=0)
    """Views besides, that show no face as it should be looked at, with all landmarks invisible."""
    hole_share: Share = 0.25
    """Of scans with a hole cut into them."""
    hole_mm: Range = (8.0, 30.0)
    """Least and largest radius of that hole."""


@options
class SynthesisConfig(ChainConfig):
    """All that the making of a training set can be told."""

    set: SetOptions = SetOptions()
    """The set as a whole."""
    pairs: PairOptions = PairOptions()
    """How faces are seen by simulated sensors."""
    scans: ScanOptions = ScanOptions()
    """Pairs from an archive of real scans."""
    views: ViewOptions = ViewOptions()
    """Views of raw scans, for the landmark network."""
