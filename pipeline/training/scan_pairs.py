"""Training pairs from a user's own archive of good scans: `python -m pipeline.synthesize --output DIR --from-scans FOLDER`.

Each scan is located and fitted once, as a run does it; brought into the model's frame it is the truth. View 0 of a scan
is the scan itself. Views 1, 2, … (`--views N`) are the same person changed by the morphable model: another expression and
a somewhat other identity, S ↦ S + instance(α_d′, α_e′) − instance(α_d, α_e), carried over to the scan's own surface so
that its detail rides along (`geometry.synthesis.deformation_transfer`). What the scan channels show is `--scan-input`:

    simulated   a simulated sensor's view of that surface, occluders before it, with the real fit of that view
    real        the surface itself, with its own fit: the papers' setting (Galteri et al. 2019), for `condition: coarse`

No truth is made of a scan that is rejected as a run would reject it, is noisier than `noise_mm`, is coarser than `edge_mm`,
or shows less than `face_share` of the face: such a scan is left out by name and by reason in its shard's account and in the
card, and the job goes on. Where the scan has no surface, or one that is no face (hair, collar: farther than `reach_mm`
from the fitted model), the truth is invalid.

A subject is a scan file, or with `--subject-from folder` everything below one folder of FOLDER's first level (files directly
in FOLDER stand alone). Its split follows from its name alone, whatever else the archive holds. A pair follows from the
seed, its index and the archive's names and content; the card's plan holds their digest. Whether an archive may be trained
on (its licence, the consent of the people scanned) is its user's business.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

import numpy as np

from geometry import readers
from geometry.charts import chart as charts
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.rasterize import rasterize
from geometry.fitting import encoding, staged_fit
from geometry.fitting.result import FitResult
from geometry.landmarks.given import check_on_surface, given_landmarks
from geometry.locating import cleaning
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.recognition import acceptance, trial_fit
from geometry.scan import Scan
from geometry.synthesis import deformation_transfer, faces, occluders, sensors
from geometry.synthesis.sensors import Sensor
from geometry.transforms import SimilarityTransform
from pipeline.errors import ConfigError, FaceReliefError, NoFaceFound, ReadError
from pipeline.inputs import listing, reading
from pipeline.inputs.source import Source
from pipeline.scans import manifest
from pipeline.scans.config import LimitsConfig
from pipeline.store import image_records
from pipeline.training.sampled_pairs import (
    PairOptions,
    choose_sensor,
    fit_and_encode,
    observe,
    perturbed_inverse,
    rounded,
    split_of,
)

SCAN_INPUTS = ("simulated", "real")
SUBJECTS = ("file", "folder")
LIMIT_BYTES = LimitsConfig().file_mib * 2**20
FACE_MM = 90.0  # about the nose tip: where a scan's resolution counts
FACING_AWAY = -0.1  # cosine of a triangle that a camera sees from behind, with a margin for noise at the silhouette
ROLE = 2  # of `synthesis.generator`: pairs from scans have random numbers of their own


@dataclass(frozen=True)
class ScanOptions:
    """scan_input, subject_from: see the module. A truth has at most noise_mm of noise, a median edge of at most edge_mm in the
    face (longer facets hide detail of 6 mm wavelength), and shows at least face_share of the face.
    reach_mm: surface farther from the fitted model is no face. identity_sigma: (low, high) of the standard deviation, in σ,
    of the identity coefficients' change."""

    scan_input: str = "simulated"
    subject_from: str = "file"
    noise_mm: float = 0.1
    edge_mm: float = 3.0
    face_share: float = 0.5
    reach_mm: float = 12.0
    identity_sigma: tuple[float, float] = (0.0, 0.5)

    def __post_init__(self):
        for name, value, known in (("scan_input", self.scan_input, SCAN_INPUTS), ("subject_from", self.subject_from, SUBJECTS)):
            if value not in known:
                raise ConfigError(f"{name} {value!r}: expected one of {', '.join(known)}")


class PoorScan(FaceReliefError):
    """A scan of a face that is not good enough to be a truth."""


class ScanLeftOut(FaceReliefError):
    """A scan of the archive that gives no pair at all; the text says why, `source` which."""

    def __init__(self, source: str, reason: str):
        super().__init__(reason)
        self.source, self.reason = source, reason

    def __reduce__(self):
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
        return {"scans": len(self.scans), "sha256": digest, "options": json.loads(json.dumps(asdict(self.options)))}


def list_archive(path: str, options: ScanOptions = ScanOptions(), out: str | None = None) -> Archive:
    """The scans at PATH (a folder, a glob, an archive file, a URL), as a run lists them. Raises ConfigError where none is."""
    try:
        scans = listing.list_sources(path, out)
    except ConfigError as error:
        raise ConfigError(str(error).replace("--input", "--from-scans", 1)) from error
    with ThreadPoolExecutor(4) as pool:
        return Archive(tuple(scans), tuple(pool.map(_hash, scans)), options)


def _hash(source: Source) -> str:
    try:
        return manifest.input_hash(*reading.read(source, LIMIT_BYTES))
    except ReadError:  # its pairs will say so
        return ""


@dataclass(frozen=True)
class RealFace:
    """A real scan as a truth: its surface (model frame, mm), tied to the model that was fitted to it."""

    attachment: deformation_transfer.Attachment
    identity: np.ndarray
    expression: np.ndarray


@dataclass(frozen=True)
class View:
    """surface: the truth, changed or not; far (m,) bool: triangles of it that are no face; behind: the model's face at the same
    place, whose mouth and occluders a sensor sees besides."""

    surface: TriangleMesh
    far: np.ndarray
    behind: faces.SampledFace


def make_pair(
    index: int, seed: int, model: MorphableModel, options: PairOptions, archive: Archive
) -> dict[str, np.ndarray | str]:
    """The record of one pair, with `training_pairs`' schema: sensor "real" where none is simulated, detail_strength NaN.

    Raises ScanLeftOut where the scan gives no pair at all, another FaceReliefError where this view cannot be used.
    """
    position, number = divmod(index, options.views_per_subject)
    source = archive.scans[position]
    if position in archive.deadly:
        raise ScanLeftOut(source.name, "a worker process died over it (out of memory, or a library crashed)")
    face = _usable(source, archive.hashes[position], model, options.chart, archive.options)
    try:
        features = _pair(face, number, faces.generator(seed, ROLE, index), model, options, archive.options)
    except FaceReliefError:
        raise
    except Exception as error:  # whatever one scan does to a stage, the others go on
        raise FaceReliefError(f"{type(error).__name__}: " + " ".join(str(error).split())) from error
    return features | {
        "scan_id": f"{source.scan_id}-{number:03d}",
        "subject": f"scan-{archive.subject_number(position):08x}",
        "split": archive.split(position, options.split_shares),
    }


_LAST: dict[tuple, tuple[MorphableModel, RealFace | str]] = {}


def _usable(source: Source, digest: str, model: MorphableModel, chart: charts.Chart, options: ScanOptions) -> RealFace:
    """The last scan's face, or why there is none, is kept: a shard's pairs come scan by scan, and none is fitted twice.

    Raises ScanLeftOut."""
    key = source, digest, chart, options
    if key not in _LAST or _LAST[key][0] is not model:
        _LAST.clear()
        _LAST[key] = model, _face_or_reason(source, digest, model, chart, options)
    found = _LAST[key][1]
    if isinstance(found, str):
        raise ScanLeftOut(source.name, found)
    return found


def _face_or_reason(
    source: Source, digest: str, model: MorphableModel, chart: charts.Chart, options: ScanOptions
) -> RealFace | str:
    try:
        return real_face(source, digest, model, chart, options)
    except Exception as error:  # as above
        return f"{type(error).__name__}: " + " ".join(str(error).split()).removeprefix(f"{source.name}: ")


def real_face(source: Source, digest: str, model: MorphableModel, chart: charts.Chart, options: ScanOptions) -> RealFace:
    """Reads, locates, fits and judges a scan, as a run does. Raises ReadError, NoFaceFound, FitError, PoorScan."""
    data, sidecars = reading.read(source, LIMIT_BYTES)
    if manifest.input_hash(data, sidecars) != digest:
        raise ReadError(source.name, "its content has changed since the job began", "start the job again")
    scan = cleaning.clean(readers.read(data, source=source.name, sidecars=sidecars))
    location = trial_fit.locate(scan, model)
    given = given_landmarks(source.name, sidecars)
    if given is not None:
        given = check_on_surface(given.scaled(location.scan.unit_mm or 1.0), location.scan)
        location = replace(location, landmarks=given.points68)
    fit = staged_fit.fit(location, model)
    images = encoding.encode(location.scan, fit, model, chart)
    acceptance.require_face(fit, images)
    surface = encoding.scan_surface(location.scan, fit, model)
    judge_truth(surface, fit, images.scan, model, options)
    return RealFace(
        deformation_transfer.attach(surface, model, fit.vertices), fit.identity_coefficients, fit.expression_coefficients
    )


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
    inner = model.regions["mouth_interior"] | model.regions.get("cavities", False)
    face = model.regions["face"] & ~inner
    pixels, depth = scan.chart.project(fit.vertices[face])
    columns, rows = np.floor(pixels).astype(int).T
    inside = (columns >= 0) & (columns < scan.shape[1]) & (rows >= 0) & (rows < scan.shape[0])
    rows, columns = np.where(inside, rows, 0), np.where(inside, columns, 0)
    seen = inside & scan.valid_mask[rows, columns] & (np.abs(scan["depth"][rows, columns] - depth) < reach_mm)
    return float(np.average(seen, weights=TriangleMesh(fit.vertices, model.triangles).vertex_areas[face]))


def view_of(
    face: RealFace, number: int, rng: np.random.Generator, model: MorphableModel, options: PairOptions, limits: ScanOptions
) -> View:
    """The scan as it is (number 0), or with another expression and a somewhat other identity."""
    identity, expression = face.identity, face.expression
    if number > 0:
        change = rng.standard_normal(len(identity)) * rng.uniform(*limits.identity_sigma)
        identity = np.clip(identity + change, np.minimum(identity, -3), np.maximum(identity, 3))
        expression = faces.sample_expression(model, rng, options.faces)
    core = model.instance(identity, expression)
    surface, left = face.attachment.surface, slice(None)
    if number > 0:
        surface, left = face.attachment.deformed(core - model.instance(face.identity, face.expression))
    far = (face.attachment.distance > limits.reach_mm)[face.attachment.surface.triangles[left]].any(1)
    return View(surface, far, _behind(TriangleMesh(core, model.triangles), identity, expression, model, rng, options))


def _behind(
    core: TriangleMesh,
    identity: np.ndarray,
    expression: np.ndarray,
    model: MorphableModel,
    rng: np.random.Generator,
    options: PairOptions,
) -> faces.SampledFace:
    """The model's face with occluders; its membrane between the lips becomes the inside of a mouth that an expression opens."""
    landmarks, shares = core.vertices[model.landmarks["ibug68"]], options.faces
    makers = (
        (shares.hair_share, lambda: occluders.hair(core, landmarks, rng)),
        (shares.glasses_share, lambda: occluders.glasses(landmarks, rng)),
        (shares.hand_share, lambda: occluders.hand(landmarks, rng)),
    )
    things = tuple(make() for share, make in makers if rng.random() < share)
    cavity = model.regions.get("cavities", np.zeros(model.n_vertices, bool))
    skin = TriangleMesh(core.vertices, model.triangles[~cavity[model.triangles].any(1)])
    inside = model.regions["mouth_interior"][skin.triangles].any(1)
    depth = rng.uniform(*faces.MOUTH_DEPTH_MM)
    return faces.SampledFace(
        skin,
        identity,
        expression,
        landmarks,
        inside,
        tuple(thing for thing in things if len(thing.triangles)),
        np.zeros(model.n_vertices),
        float("nan"),
        depth,
    )


def _pair(
    face: RealFace, number: int, rng: np.random.Generator, model: MorphableModel, options: PairOptions, limits: ScanOptions
) -> dict[str, np.ndarray | str]:
    view = view_of(face, number, rng, model, options, limits)
    if limits.scan_input == "simulated":
        sensor = choose_sensor(options, rng)
        pose = sensors.sample_pose(sensor, rng, options.poses)
        scan, name = observed(view, sensor, pose, rng, options), sensor.name
    else:
        scan, pose, name = as_scan(view.surface), SimilarityTransform.identity(), "real"
    fit, images = fit_and_encode(scan, perturbed_inverse(pose, options, rng), model, options.chart)
    truth = truth_image(view, fit.scan_to_model.compose(pose), options.chart)
    if not truth.valid_mask.any():
        raise NoFaceFound("no face found: the chart sees nothing of the truth")
    features = {"shape": np.array(truth.shape), "chart": charts.to_json(options.chart), "sensor": name}
    for group, image in {"coarse": images.coarse, "scan": images.scan, "truth": truth}.items():
        features |= image_records.image_features(group, rounded(image))
    return features | {"fit_residual_mm": np.array([fit.residuals["mean"]]), "detail_strength": np.array([np.nan])}


def as_scan(surface: TriangleMesh) -> Scan:
    """A surface in the model frame as a scan of its own, mm."""
    used = np.zeros(len(surface.vertices), bool)
    used[surface.triangles] = True
    scan = Scan(surface.vertices, surface.triangles, source="real", format="real scan", unit_mm=1.0, scale_is_metric=True)
    return scan.keep(used)


def observed(view: View, sensor: Sensor, pose: SimilarityTransform, rng: np.random.Generator, options: PairOptions) -> Scan:
    """What a simulated sensor delivers of a view. A real head is solid: the inside of a scan's open shell is not seen."""
    surface = view.surface
    if not sensor.cylindrical:
        centre = surface.vertices[surface.triangles].mean(1)
        to_sensor = pose.inverse().apply(np.zeros((1, 3))) - centre
        away = np.einsum("ij,ij->i", surface.triangle_area_vectors, to_sensor)
        size = np.linalg.norm(surface.triangle_area_vectors, axis=1) * np.linalg.norm(to_sensor, axis=1)
        surface = TriangleMesh(surface.vertices, surface.triangles[away > FACING_AWAY * size])
    return observe(surface, view.behind, sensor, pose, options, rng)


def truth_image(view: View, to_fit: SimilarityTransform, chart: charts.Chart) -> GeometryImage:
    """The view's surface in the fit's frame; invalid where the scan has none, and where what the chart sees first is no face."""
    mesh = view.surface.with_vertices(to_fit.apply(view.surface.vertices))
    first = rasterize(mesh, chart)
    if not view.far.any():
        return first
    face = rasterize(mesh, chart, view.far)
    valid = first.valid_mask & face.valid_mask & (np.abs(first["depth"] - face["depth"]) < 1e-3)
    channels = {name: np.where(valid, values, 0).astype(np.float32) for name, values in first.channels.items()}
    return GeometryImage(channels, valid, chart)
