"""The public names: `read`, `process`, `Result`, `Model`, `load_model`, and the errors `NoFaceFound` and `FaceReliefError`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from geometry import readers
from geometry.errors import ConfigError, FaceReliefError, NoFaceFound
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel as Model
from geometry.model.registry import load_model
from geometry.scan import Scan
from pipeline.inputs import listing
from pipeline.inputs.source import Source
from pipeline.scans import chain, config, files, steps
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState

__all__ = ["FaceReliefError", "Model", "NoFaceFound", "Result", "load_model", "process", "read"]


def read(path: str | os.PathLike[str], unit: str | float | None = None) -> Scan:
    """A scan file of any format that a run reads, with the sidecars beside it; unit: m, cm, mm, inch or millimetres in one.

    Raises ReadError, and ConfigError for an unknown unit."""
    try:
        return readers.read(Path(path), unit=None if unit == "auto" else unit)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def process(scan: Scan | str | os.PathLike[str], *settings: str, config_file: str | None = None) -> "Result":
    """Locates, fits, refines and registers one scan by the steps of a run. A run keeps the libraries to one thread and without
    oneDNN; in a process that does not, results differ from a run's in their last bits (thousandths of a millimetre).

    scan: a file, with landmarks and other sidecars beside it, or a Scan, whose unit is settled (`input.unit` is of files).
    settings: such as "refine=smooth" or "fit.seed=1"; `face-relief config` prints them all. There is no time limit here.
    Raises NoFaceFound where there is no usable face, ReadError, FitError, MirroredScan, ConfigError: all are FaceReliefError."""
    if not all(isinstance(setting, str) for setting in settings):
        raise ConfigError(f'settings {settings!r}: give texts, one after the other, such as "refine=smooth"')
    resolved = config.load(config_file, settings)
    if resolved.output.stages != "all":
        raise ConfigError(f"output.stages {resolved.output.stages!r}: `process` takes a scan through all of them; leave it out")
    job = Job(resolved)
    state = ScanState.of(scan) if isinstance(scan, Scan) else steps.load(ScanState(_source(os.fspath(scan))), job)
    (state,) = steps.refine([chain.fitted(state, job)], job)
    return Result(chain.through(chain.LIFTED, state, job), job)


def _source(path: str) -> Source:
    try:
        found = listing.list_sources(path)
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("--input ")) from None
    if len(found) != 1:
        raise ConfigError(f"{path}: holds {len(found)} scans; give one file, or use `face-relief run` for an archive")
    return found[0]


@dataclass(frozen=True, repr=False)
class Result:
    """What came of one scan. Meshes and landmarks are in the scan's own coordinates and unit (`unit_mm` says which)."""

    state: ScanState
    job: Job

    def __repr__(self) -> str:
        told = [name for name in ("fit_quality", "scan_to_refined_mean_mm") if name in self.metrics]
        figures = [f"{name}={self.metrics[name]:.2f}" for name in told]
        return f"Result({', '.join([repr(self.state.source.name), *figures])})"

    @cached_property
    def coarse(self) -> TriangleMesh:
        """The fitted morphable model."""
        return files.in_input(TriangleMesh(self.state.fit.vertices, self.model.triangles), self.state)

    @cached_property
    def refined(self) -> TriangleMesh:
        """The dense refined surface, with the scan's colours."""
        return files.in_input(files.with_scan_colors(self.state.surfaces.refined.mesh, self.state), self.state)

    @cached_property
    def registered(self) -> TriangleMesh:
        """The refined surface in the model's topology: vertex i is the same place on every face."""
        return files.in_input(TriangleMesh(self.state.registered, self.model.triangles), self.state)

    @cached_property
    def landmarks(self) -> LandmarkEstimate:
        """Places, covariances, confidences, and which were seen."""
        return self.state.landmarks.transformed(files.input_to_model(self.state).inverse())

    @property
    def model(self) -> Model:
        """The morphable model that was fitted."""
        return self.job.model

    @property
    def unit_mm(self) -> float:
        """Millimetres in one unit of the coordinates."""
        return self.state.location.scan.unit_mm or 1.0

    @property
    def metrics(self) -> Mapping[str, float]:
        """The figures of a manifest line: fit quality, distances between scan and surfaces, noise, …"""
        return self.state.metrics

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to know of the scan all the same."""
        return self.state.notes

    def save(self, folder: str | os.PathLike[str]) -> dict[str, Path]:
        """Writes the files of a run (meshes, landmarks, fit, images, preview) to folder/scans/<scan_id>; returns them by name."""
        written = files.write(self.state, replace(self.job, out=os.fspath(folder)))
        return {name: Path(folder, path) for name, path in written.files.items()}
