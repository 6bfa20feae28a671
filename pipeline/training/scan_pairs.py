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

import functools
from dataclasses import dataclass

import numpy as np

from geometry.charts import chart as charts
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.rasterize import rasterize
from geometry.errors import FaceReliefError, NoFaceFound
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.scan import Scan
from geometry.surfaces.seen_surface import seen_surface
from geometry.synthesis import faces, occluders, sensors
from geometry.transforms import SimilarityTransform
from pipeline.inputs.source import Source
from pipeline.scans.job import Job
from pipeline.training import real_truth
from pipeline.training.config import PairOptions, SynthesisConfig
from pipeline.training.real_truth import Archive, RealFace, ScanLeftOut
from pipeline.training.sampled_pairs import choose_sensor, fitted, observe, pair_features

ROLE = 2  # of `faces.generator`: pairs from scans have random numbers of their own


@dataclass(frozen=True)
class View:
    """surface: the truth, changed or not; far (m,) bool: triangles of it that are no face; behind: the model's face at the same
    place, whose mouth and occluders a sensor sees besides."""

    surface: TriangleMesh
    far: np.ndarray
    behind: faces.SampledFace


def make_pair(index: int, config: SynthesisConfig, archive: Archive) -> dict[str, np.ndarray | str]:
    """The record of one pair, with the schema of `sampled_pairs`: sensor "real" where none is simulated, detail_strength NaN.

    Raises ScanLeftOut where the scan gives no pair at all, another FaceReliefError where this view cannot be used.
    """
    position, number = divmod(index, config.set.views_per_subject)
    source = archive.scans[position]
    if position in archive.deadly:
        raise ScanLeftOut(source.name, "a worker process died over it (out of memory, or a library crashed)")
    face = _face_or_reason(source, archive.hashes[position], config)
    if isinstance(face, str):
        raise ScanLeftOut(source.name, face)
    try:
        features = _pair(face, number, faces.generator(config.set.seed, ROLE, index), config)
    except FaceReliefError:
        raise
    except Exception as error:  # whatever one scan does to a step, the others go on
        raise FaceReliefError(f"{type(error).__name__}: " + " ".join(str(error).split())) from error
    return features | {
        "scan_id": f"{source.scan_id}-{number:03d}",
        "subject": f"scan-{archive.subject_number(position):08x}",
        "split": archive.split(position, config.set.split_shares),
    }


@functools.lru_cache(maxsize=1)
def _face_or_reason(source: Source, digest: str, config: SynthesisConfig) -> RealFace | str:
    """A scan's face, or why there is none. The last one is kept: a shard's pairs come scan by scan, and none is fitted twice."""
    try:
        return real_truth.real_face(source, digest, config)
    except Exception as error:  # as above
        return f"{type(error).__name__}: " + " ".join(str(error).split()).removeprefix(f"{source.name}: ")


def view_of(face: RealFace, number: int, rng: np.random.Generator, config: SynthesisConfig) -> View:
    """The scan as it is (number 0), or with another expression and a somewhat other identity."""
    model, options = Job(config).model, config.pairs
    identity, expression = face.identity, face.expression
    if number > 0:
        change = rng.standard_normal(len(identity)) * rng.uniform(*config.scans.identity_sigma)
        identity = np.clip(identity + change, np.minimum(identity, -3), np.maximum(identity, 3))
        expression = faces.sample_expression(model, identity, rng, options.faces)
    core = model.instance(identity, expression)
    surface = face.attachment.surface
    left = np.arange(len(surface.triangles))
    if number > 0:
        surface, left = face.attachment.deformed(core - model.instance(face.identity, face.expression))
    far = (face.attachment.distance > config.scans.reach_mm)[face.attachment.surface.triangles[left]].any(1)
    return View(surface, far, _behind(TriangleMesh(core, model.triangles), identity, expression, model, rng, options))


def _behind(
    core: TriangleMesh,
    identity: np.ndarray,
    expression: np.ndarray,
    model: MorphableModel,
    rng: np.random.Generator,
    options: PairOptions,
) -> faces.SampledFace:
    """The model's head with occluders; the membrane between its lips becomes the inside of a mouth that an expression opens."""
    landmarks, shares = core.vertices[model.landmarks["ibug68"]], options.faces
    makers = (
        (shares.hair_share, lambda: occluders.hair(core, landmarks, rng)),
        (shares.glasses_share, lambda: occluders.glasses(landmarks, rng)),
        (shares.hand_share, lambda: occluders.hand(landmarks, rng)),
    )
    things = tuple(make() for share, make in makers if rng.random() < share)
    seen, inside = seen_surface(model)
    depth = rng.uniform(*faces.MOUTH_DEPTH_MM)
    return faces.SampledFace(
        TriangleMesh(core.vertices, seen),
        identity,
        expression,
        landmarks,
        inside,
        tuple(thing for thing in things if len(thing.triangles)),
        np.zeros(model.n_vertices),
        float("nan"),
        depth,
    )


def _pair(face: RealFace, number: int, rng: np.random.Generator, config: SynthesisConfig) -> dict[str, np.ndarray | str]:
    job, options = Job(config), config.pairs
    view = view_of(face, number, rng, config)
    if config.scans.scan_input == "simulated":
        sensor = choose_sensor(options, rng)
        pose = sensors.sample_pose(sensor, rng, options.poses)
        scan, name = observe(view.surface, view.behind, sensor, pose, options, rng), sensor.name
    else:
        scan, pose, name = as_scan(view.surface), SimilarityTransform.identity(), "real"
    state = fitted(scan, pose, job, rng)
    truth = truth_image(view, state.fit.scan_to_model.compose(pose), job.chart)
    if not truth.valid_mask.any():
        raise NoFaceFound("no face found: the chart sees nothing of the truth")
    return pair_features(state, truth, name) | {"detail_strength": np.array([np.nan])}


def as_scan(surface: TriangleMesh) -> Scan:
    """A surface in the model frame as a scan of its own, mm."""
    scan = Scan(surface.vertices, surface.triangles, source="real", format="real scan", unit_mm=1.0, scale_is_metric=True)
    return scan.keep(np.bincount(surface.triangles.ravel(), minlength=len(surface.vertices)) > 0)


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
