"""One training pair: a sampled face, a simulated scan of it, the fit that a run would make, and coarse, scan and truth as
geometry images.

Everything about pair `index` of a set follows from (seed, index) alone, so that a set is the same whatever made it.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from geometry.charts import chart as charts
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.rasterize import rasterize
from geometry.errors import FitError
from geometry.mesh import TriangleMesh
from geometry.scan import Scan
from geometry.synthesis import faces, occluders, sensors
from geometry.transforms import SimilarityTransform
from pipeline.scans import chain
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState
from pipeline.store import image_records
from pipeline.training.config import PairOptions, SynthesisConfig

SPLITS = ("train", "validation", "test")
GOLDEN = (np.sqrt(5) - 1) / 2
# A fit this far from the true pose was made of something else than the face: a run would refuse it or be wrong, and a pair of it
# would teach that. Fits of the gate's accepted faces lie within a few degrees and millimetres.
ASTRAY_DEG, ASTRAY_MM = 20.0, 25.0
# Channels are rounded to these steps (powers of two: their low bits vanish, and gzip halves a file). Each is far below what
# a sensor or the chart can tell: depth 2 µm, normals 0.03°, curvature 0.0001 / mm, noise 0.02 mm.
STEPS = {
    "depth": 2.0**-9,
    "noise_sigma": 2.0**-6,
    "normal_elevation": 2.0**-11,
    "normal_x": 2.0**-11,
    "normal_y": 2.0**-11,
    "mean_curvature": 2.0**-13,
}


def split_of(subject: int, shares: tuple[float, float, float] = (0.9, 0.05, 0.05)) -> str:
    """The split of a subject. A golden-ratio sequence: every run of subjects is divided as the shares say, and a larger
    set keeps the splits of a smaller one."""
    position = (subject * GOLDEN) % 1.0
    return SPLITS[int(np.searchsorted(np.cumsum(shares)[:2], position, side="right"))]


def make_pair(index: int, config: SynthesisConfig) -> dict[str, np.ndarray | str]:
    """The record of one pair: `<group>/<channel>` (h·w,) float32 for coarse, scan and truth, and what the schema adds.

    Raises NoFaceFound or FitError where the scan cannot be used, as a run would.
    """
    options, seed, job = config.pairs, config.set.seed, Job(config)
    subject = index // config.set.views_per_subject
    rng = faces.generator(seed, 1, index)
    face = faces.sample_face(job.model, rng, options.faces, person=faces.generator(seed, 0, subject))
    sensor = choose_sensor(options, rng)
    pose = sensors.sample_pose(sensor, rng, options.poses)
    scan = observe(face.skin, face, sensor, pose, options, rng)
    state = fitted(scan, pose, job, rng)
    camera_to_fit = state.fit.scan_to_model.compose(pose)
    truth = rasterize(TriangleMesh(camera_to_fit.apply(face.mesh.vertices), face.mesh.triangles), job.chart, face.excluded)
    return {
        "scan_id": f"synthetic-{seed}-{index:06d}",
        **pair_features(state, truth, sensor.name),
        "subject": f"synthetic-{seed}-{subject:06d}",
        "split": split_of(subject, config.set.split_shares),
        "detail_strength": np.array([face.detail_strength]),
    }


def pair_features(state: ScanState, truth: GeometryImage, sensor: str) -> dict[str, np.ndarray | str]:
    """What a record holds of a fitted scan and its truth."""
    features: dict[str, np.ndarray | str] = {"shape": np.array(truth.shape), "chart": charts.to_json(truth.chart)}
    for group, image in {"coarse": state.encoding.coarse, "scan": state.encoding.scan, "truth": truth}.items():
        features |= image_records.image_features(group, rounded(image))
    return features | {"sensor": sensor, "fit_residual_mm": np.array([state.fit.residuals["mean"]])}


def choose_sensor(options: PairOptions, rng: np.random.Generator) -> sensors.Sensor:
    """A sensor by the relative frequencies of the options."""
    names = sorted(options.sensor_weights)
    shares = np.array([options.sensor_weights[name] for name in names])
    return sensors.SENSORS[names[int(rng.choice(len(names), p=shares / shares.sum()))]]


def observe(
    surface: TriangleMesh,
    face: faces.SampledFace,
    sensor: sensors.Sensor,
    pose: SimilarityTransform,
    options: PairOptions,
    rng: np.random.Generator,
) -> Scan:
    """What the sensor delivers of a surface (model frame, mm) amid the face's surroundings, and before shoulders and a wall."""
    around = face.surroundings
    if sensor.camera is not None:
        if rng.random() < options.shoulders_share:
            around.append(occluders.shoulders(face.landmarks, rng))
        if rng.random() < options.wall_share:
            around.append(occluders.wall(rng.uniform(350, 1200)))
    strength = None if options.strength is None else float(np.exp(rng.uniform(*np.log(options.strength))))
    return sensors.observe(surface, sensor, pose, rng, surroundings=around, strength=strength)


def perturbed_inverse(pose: SimilarityTransform, options: PairOptions, rng: np.random.Generator) -> SimilarityTransform:
    """Camera → model, wrong by a few degrees and millimetres, as a located pose is."""
    turn = Rotation.from_rotvec(np.deg2rad(rng.normal(0, options.turn_deg, 3))).as_matrix()
    return SimilarityTransform(turn, rng.normal(0, options.shift_mm, 3)).compose(pose.inverse())


def fitted(scan: Scan, pose: SimilarityTransform, job: Job, rng: np.random.Generator) -> ScanState:
    """A simulated scan of a head at `pose` (model → scan) through the chain of a run.

    Raises NoFaceFound as a run does, and FitError where the fit is believed and lies elsewhere than the head.
    """
    options = job.config.pairs
    start = perturbed_inverse(pose, options, rng) if options.start == "perturbed" else None
    state = chain.fitted(ScanState.of(scan, start), job)
    error = state.fit.scan_to_model.compose(pose)
    turned, moved = error.angle_deg, np.linalg.norm(error.translation)
    if turned > ASTRAY_DEG or moved > ASTRAY_MM:
        raise FitError(
            f"the fit lies {turned:.0f}° and {moved:.0f} mm from the true pose, at most {ASTRAY_DEG:g}° and {ASTRAY_MM:g} mm"
        )
    return state


def rounded(image: GeometryImage) -> GeometryImage:
    """Every channel rounded to its step of `STEPS`."""
    channels = {
        name: (np.round(values / STEPS[name]) * STEPS[name]).astype(np.float32) if name in STEPS else values
        for name, values in image.channels.items()
    }
    return GeometryImage(channels, image.valid_mask, image.chart)
