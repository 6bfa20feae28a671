"""The configuration of a run: sections of options (`geometry.settings`), checked key by key before any work starts.

Values come, later ones winning, from the defaults below (written out in configs/default.yaml), a `--config` file,
`--set section.key=value` and the flags.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from geometry.fitting.options import FittingOptions
from geometry.locating.cleaning import CleaningOptions
from geometry.recognition.acceptance import AcceptanceOptions
from geometry.settings import loading
from geometry.settings.options import OneOf, options, to_dict
from pipeline.inputs.listing import Bounds
from pipeline.scans import methods


@options
class InputConfig:
    """How the scans are read."""

    unit: Literal["auto", "m", "cm", "mm", "inch"] | Annotated[float, Field(gt=0)] = "auto"
    """Unit of the scans' coordinates: auto infers it from the size of a head; a number is the millimetres in one unit."""
    handedness: Literal["checked", "inside_out"] = "checked"
    """checked: a mirrored scan is an error; inside_out: triangles that face inward are merely wound so."""
    follow_links: bool = True
    """Whether files and folders behind links are read; each folder is entered once."""


@options
class ModelConfig:
    """The morphable model."""

    name: str = "default"
    """A shipped model ("default"), or a model file."""


@options
class LocateConfig:
    """How the head is found."""

    method: Annotated[str, OneOf(methods.LOCATORS)] = "landmarks"
    """landmarks: geometry proposes, the heatmap network decides and corrects; pose_search: geometry alone."""


@options
class FitConfig(FittingOptions):
    """How the morphable model is fitted."""

    method: Annotated[str, OneOf(methods.FITTERS)] = "gauss_newton"
    """The fitter: staged robust Gauss–Newton."""


@options
class ChartConfig:
    """The chart of the geometry images; null takes the kind's own value."""

    kind: Literal["orthographic", "cylindrical"] = "orthographic"
    """orthographic: seen from the front; cylindrical: from ear to ear."""
    height: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Pixels; null: 256."""
    width: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Pixels; null: 256, or 384 for the cylindrical chart."""
    pixel_mm: Annotated[float, Field(ge=0.05, le=10)] | None = None
    """Millimetres in a pixel; null: 0.75."""
    centre_y: float | None = None
    """Millimetres above the nose tip at the middle of the image; null: 6."""


@options
class RefineConfig:
    """How the fitted surface is refined by what the scan shows."""

    method: Annotated[str, OneOf(methods.REFINERS)] = "gan"
    """gan: the trained refiner; smooth: the scan's residual under a Gaussian; none: the coarse fit itself."""
    weights: str = "default"
    """A shipped refiner, or a weights file."""
    batch_size: int = Field(default=1, ge=1, le=64)
    """Images in a step of the network. More than one pays on a GPU only, and there the last bits of an image depend on its place
    in the batch, so that outputs are no longer the same bytes for any number of workers."""


@options
class LandmarksConfig:
    """How landmarks are found."""

    method: Annotated[str, OneOf(methods.LANDMARKERS)] = "fused"
    """Of a full run. fused: the next two by their covariances; heatmaps: the network's; mesh: the registered mesh's."""
    scheme: str = "ibug68"
    """A shipped scheme (ibug68, ibug51, bosphorus22, now7, caple_stephan), or a scheme's JSON file."""
    weights: str = "landmarks"
    """A shipped heatmap network, or a weights file."""


@options
class OutputConfig:
    """What is written."""

    stages: Literal["all", "landmarks"] = "all"
    """landmarks: find landmarks on the raw scans and nothing else (also --stages)."""
    previews: bool = True
    """Pictures of the people scanned (also --no-previews)."""
    records: bool = True
    """TFRecords of the geometry images."""
    scans_per_shard: int = Field(default=32, ge=1)
    """Scans in a file of records."""


@options
class LimitsConfig:
    """What a scan may cost."""

    seconds_per_scan: float = Field(default=120.0, ge=0)
    """A scan's own working time in seconds; beyond it that scan alone fails."""
    wall_seconds: Annotated[float, Field(gt=0)] | None = None
    """A scan's time by the clock in seconds; beyond it, as in a library that hangs, its worker process is ended and replaced.
    null: five times `seconds_per_scan`, at least 60."""
    worker_mib: Annotated[int, Field(ge=256)] | None = None
    """Memory of a worker process in MiB; a scan that needs more fails. null: what there is, divided by the workers."""
    file_mib: int = Field(default=2048, ge=1, le=2**30)
    """The largest scan file in MiB."""
    archive_members: int = Field(default=1_000_000, ge=1)
    """The most files in one archive."""
    archive_ratio: int = Field(default=200, ge=1)
    """The most bytes that a byte of a compressed archive may become, beyond the first 256 MiB."""

    @property
    def clock_seconds(self) -> float:
        """The limit by the clock."""
        return max(60.0, 5 * self.seconds_per_scan) if self.wall_seconds is None else self.wall_seconds


@options
class ChainConfig:
    """What decides how a scan is read, cleaned, located, fitted, encoded and judged, in a run and in training sets alike."""

    input: InputConfig = InputConfig()
    """How the scans are read."""
    model: ModelConfig = ModelConfig()
    """The morphable model."""
    clean: CleaningOptions = CleaningOptions()
    """What is done to a scan before a face is sought in it."""
    locate: LocateConfig = LocateConfig()
    """How the head is found."""
    fit: FitConfig = FitConfig()
    """How the morphable model is fitted."""
    accept: AcceptanceOptions = AcceptanceOptions()
    """The gate that decides whether a fit is believed to be a face."""
    chart: ChartConfig = ChartConfig()
    """The chart of the geometry images."""
    landmarks: LandmarksConfig = LandmarksConfig()
    """How landmarks are found."""
    limits: LimitsConfig = LimitsConfig()
    """What a scan may cost."""


@options
class Config(ChainConfig):
    """All that a run can be told."""

    refine: RefineConfig = RefineConfig()
    """How the fitted surface is refined."""
    output: OutputConfig = OutputConfig()
    """What is written."""

    @property
    def uses_landmark_network(self) -> bool:
        """Whether a run with this configuration looks for landmarks by heatmaps anywhere."""
        return "landmarks" in (self.locate.method, self.output.stages) or self.landmarks.method != "mesh"

    def result_hash(self, **identities: str) -> str:
        """SHA-256 of everything that decides a finished scan's outputs: the configuration without the limits, the links that lead
        to scans and the packing of records, and `identities` such as the hashes of model and weights."""
        decisive = {name: section for name, section in to_dict(self).items() if name != "limits"}
        decisive["input"] = {key: value for key, value in decisive["input"].items() if key != "follow_links"}
        decisive["output"] = {"previews": self.output.previews, "stages": self.output.stages}
        text = json.dumps({"config": decisive, "identities": identities}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def bounds_of(config: ChainConfig) -> Bounds:
    """What a listing needs to know of a configuration."""
    return Bounds(config.limits.archive_members, config.limits.archive_ratio, config.input.follow_links)


def load(file: str | None = None, settings: Iterable[str] = ()) -> Config:
    """Defaults, then the YAML `file`, then `settings` such as "refine.method=smooth". Raises ConfigError."""
    return loading.load(Config, file, settings)
