"""A user's own archive of good scans as truths: which scans there are, whom they show, and which are good enough."""

import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from geometry.charts.geometry_image import GeometryImage
from geometry.errors import ConfigError, FaceReliefError, ReadError
from geometry.fitting import encoding
from geometry.fitting.result import FitResult
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.settings.options import to_dict
from geometry.synthesis import deformation_transfer
from pipeline.inputs import listing
from pipeline.inputs.source import Source
from pipeline.scans import chain, steps
from pipeline.scans.config import bounds_of
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState, pixels_of
from pipeline.training.config import ScanOptions, SynthesisConfig
from pipeline.training.sampled_pairs import split_of

FACE_MM = 90.0  # about the nose tip: where a scan's resolution counts


class PoorScan(FaceReliefError):
    """A scan of a face that is not good enough to be a truth."""


class ScanLeftOut(FaceReliefError):
    """A scan of the archive that gives no pair at all; the text says why, `source` which."""

    def __init__(self, source: str, reason: str):
        super().__init__(reason)
        self.source, self.reason = source, reason

    def __reduce__(self) -> tuple:
        return type(self), (self.source, self.reason)


@dataclass(frozen=True)
class Archive:
    """The scans in order, the hash of each one's content (with its sidecars; "" where it cannot be read), and options.
    deadly: positions of scans over which worker processes have died."""

    scans: tuple[Source, ...]
    hashes: tuple[str, ...]
    options: ScanOptions = ScanOptions()
    deadly: frozenset[int] = frozenset()

    def subject(self, position: int) -> str:
        """The name of whom the scan shows."""
        name = self.scans[position].name
        first, below, _ = name.replace("!", "/").partition("/")
        return first if below and self.options.subject_from == "folder" else name

    def subject_number(self, position: int) -> int:
        """32 bits of the subject's hash: a number that other scans in the archive do not change."""
        return int(hashlib.sha256(self.subject(position).encode("utf-8", "surrogateescape")).hexdigest()[:8], 16)

    def split(self, position: int, shares: tuple[float, float, float]) -> str:
        return split_of(self.subject_number(position), shares)

    def plan(self) -> dict:
        """What a set of pairs depends on, for its card; not where the archive lies."""
        content = "\n".join(f"{scan.name}\0{digest}" for scan, digest in zip(self.scans, self.hashes, strict=True))
        digest = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()
        return {"scans": len(self.scans), "sha256": digest, "options": to_dict(self.options)}


def list_archive(path: str, config: SynthesisConfig, out: str | None = None) -> Archive:
    """The scans at PATH (a folder, a glob, an archive file, a URL), as a run lists them. Raises ConfigError where none is."""
    try:
        scans = listing.list_input(path, out, bounds_of(config)).sources
    except ConfigError as error:
        raise ConfigError(str(error).replace("--input", "--from-scans", 1)) from error
    with ThreadPoolExecutor(4) as pool:
        return Archive(scans, tuple(pool.map(functools.partial(_hash, job=Job(config)), scans)), config.scans)


def _hash(source: Source, job: Job) -> str:
    try:
        return steps.load(ScanState(source), job).input_hash
    except ReadError:  # its pairs will say so
        return ""


@dataclass(frozen=True)
class RealFace:
    """A real scan as a truth: its surface (model frame, mm), tied to the model that was fitted to it."""

    attachment: deformation_transfer.Attachment
    identity: np.ndarray
    expression: np.ndarray


def real_face(source: Source, digest: str, config: SynthesisConfig) -> RealFace:
    """Sends a scan through the chain of a run, and judges it. Raises ReadError, NoFaceFound, FitError, PoorScan, MirroredScan."""
    job = Job(config)
    loaded = steps.load(ScanState(source), job)
    if loaded.input_hash != digest:
        raise ReadError(source.name, "its content has changed since the job began", "start the job again")
    state = chain.fitted(loaded, job)
    surface = encoding.scan_surface(state.location.scan, state.fit, job.model)
    judge_truth(surface, state.fit, state.encoding.scan, job.model, config.scans)
    attachment = deformation_transfer.attach(surface, job.model, state.fit.vertices)
    return RealFace(attachment, state.fit.identity_coefficients, state.fit.expression_coefficients)


def judge_truth(surface: TriangleMesh, fit: FitResult, scan: GeometryImage, model: MorphableModel, options: ScanOptions) -> None:
    """Raises PoorScan where a scan's surface (model frame, mm) and its image are too noisy, coarse or holey to be a truth."""
    share = face_share(fit, scan, model, options.reach_mm)
    ends = surface.vertices[surface.edges]
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)[(np.linalg.norm(ends, axis=2) < FACE_MM).all(1)]
    edge = float(np.median(lengths)) if len(lengths) else np.inf
    tests = (
        (fit.noise_mm <= options.noise_mm, f"its noise is about {fit.noise_mm:.2f} mm, at most {options.noise_mm:.2f} mm"),
        (edge <= options.edge_mm, f"its mesh's median edge in the face is {edge:.1f} mm, at most {options.edge_mm:.1f} mm"),
        (share >= options.face_share, f"it shows {100 * share:.0f} % of the face, at least {100 * options.face_share:.0f} %"),
    )
    for passed, fault in tests:
        if not passed:
            raise PoorScan(f"{fault} makes a truth")


def face_share(fit: FitResult, scan: GeometryImage, model: MorphableModel, reach_mm: float) -> float:
    """The share of the fitted face's area before which the scan's image has a surface within reach."""
    face = model.regions["face"] & ~(model.regions["mouth_interior"] | model.regions.get("cavities", False))
    inside, rows, columns, depth = pixels_of(fit.vertices[face], scan)
    seen = inside & scan.valid_mask[rows, columns] & (np.abs(scan["depth"][rows, columns] - depth) < reach_mm)
    return float(np.average(seen, weights=TriangleMesh(fit.vertices, model.triangles).vertex_areas[face]))
