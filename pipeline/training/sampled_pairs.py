"""One training pair: a sampled face, a simulated scan of it, the real fit, and coarse, scan and truth as geometry images.

Everything about pair `index` of a set follows from (seed, index) alone, so that a set is the same whatever made it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from geometry.charts import chart as charts
from geometry.charts.chart import Chart, OrthographicChart
from geometry.charts.geometry_image import GeometryImage
from geometry.charts.rasterize import rasterize
from geometry.errors import NoFaceFound
from geometry.fitting import encoding, result, staged_fit
from geometry.fitting.options import STAGES, FittingOptions
from geometry.locating import candidates, cleaning, pose_search
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.recognition import acceptance
from geometry.scan import Scan
from geometry.surfaces import normals
from geometry.synthesis import occluders, sensors
from geometry.synthesis.faces import SampledFace, SynthesisOptions, generator, sample_face
from geometry.transforms import SimilarityTransform, rotation_from_vector
from pipeline.errors import ConfigError
from pipeline.store import image_records

CHART_MM = 192.0
SPLITS = ("train", "validation", "test")
GOLDEN = (np.sqrt(5) - 1) / 2
MIN_HEAD_POINTS = 500
# The first stage finds the pose alone; starting a few degrees and mm off, the fit without it ends on the same surface (0.2 mm
# mean vertex distance over eight scans of five sensors, equal residuals), and skipping a second one does not (1.5 mm).
WARM_FIT = FittingOptions(stages=STAGES[1:])
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


@dataclass(frozen=True)
class PairOptions:
    """views_per_subject: scans of each subject, each with another expression and sensor; split_shares: of subjects, train,
    validation, test; sensor_weights: relative frequencies; strength: (low, high) multiples of the published noise for every
    sensor, log-uniform, instead of each sensor's own range; turn_deg and shift_mm: standard deviation, about and along each
    axis, of the error of the pose that the fit starts from; wall_share, shoulders_share: of depth frames."""

    views_per_subject: int = 1
    split_shares: tuple[float, float, float] = (0.9, 0.05, 0.05)
    sensor_weights: dict[str, float] = field(
        default_factory=lambda: {
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
    )
    strength: tuple[float, float] | None = None
    turn_deg: float = 3.0
    shift_mm: float = 3.0
    wall_share: float = 0.15
    shoulders_share: float = 0.2
    faces: SynthesisOptions = field(default_factory=SynthesisOptions)
    poses: sensors.PoseRange = field(default_factory=sensors.PoseRange)
    chart: Chart = field(default_factory=OrthographicChart)

    def to_dict(self) -> dict:
        return json.loads(json.dumps(asdict(self)))


def options_of(
    views: int = 1, sensor_weights: Sequence[str] | None = None, strength: Sequence[float] | None = None, pixel_mm: float = 0.75
) -> PairOptions:
    """What a command asks for; sensor_weights: NAME=WEIGHT, …. Raises ConfigError."""
    options = PairOptions(views_per_subject=views)
    if sensor_weights is not None:
        options = replace(options, sensor_weights=dict(_weight_of(text) for text in sensor_weights))
    if strength is not None:
        if not 0 < strength[0] <= strength[1]:
            raise ConfigError(f"--strength {strength[0]:g} {strength[1]:g}: expected 0 < LOW <= HIGH")
        options = replace(options, strength=(float(strength[0]), float(strength[1])))
    side = CHART_MM / pixel_mm if pixel_mm > 0 else 0
    if not (16 <= side <= 2048 and side % 32 == 0):
        raise ConfigError(f"--pixel-mm {pixel_mm:g}: 192 mm must make 32, 64, … pixels; 0.75 makes 256, 0.375 makes 512")
    return replace(options, chart=OrthographicChart(height=int(side), width=int(side), pixel_mm=pixel_mm))


def _weight_of(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        value = float(weight or 1)
    except ValueError:
        value = 0.0
    if name not in sensors.SENSORS or not value > 0:
        raise ConfigError(
            f"--sensors {text}: expected NAME=WEIGHT, the weight above 0, the name one of {', '.join(sensors.SENSORS)}"
        )
    return name, value


def split_of(subject: int, shares: tuple[float, float, float] = PairOptions.split_shares) -> str:
    """The split of a subject. A golden-ratio sequence: every run of subjects is divided as the shares say, and a larger
    set keeps the splits of a smaller one."""
    position = (subject * GOLDEN) % 1.0
    return SPLITS[int(np.searchsorted(np.cumsum(shares)[:2], position, side="right"))]


def make_pair(index: int, seed: int, model: MorphableModel, options: PairOptions = PairOptions()) -> dict[str, np.ndarray | str]:
    """The record of one pair: `<group>/<channel>` (h·w,) float32 for coarse, scan and truth, and what the schema adds.

    Raises NoFaceFound or FitError where the scan cannot be used, as a run would.
    """
    subject = index // options.views_per_subject
    view_rng = generator(seed, 1, index)
    face = sample_face(model, view_rng, options.faces, person=generator(seed, 0, subject))
    sensor = choose_sensor(options, view_rng)
    pose = sensors.sample_pose(sensor, view_rng, options.poses)
    scan = observe(face.skin, face, sensor, pose, options, view_rng)
    fit, images = fit_and_encode(scan, perturbed_inverse(pose, options, view_rng), model, options.chart)
    camera_to_fit = fit.scan_to_model.compose(pose)
    truth = rasterize(TriangleMesh(camera_to_fit.apply(face.mesh.vertices), face.mesh.triangles), options.chart, face.excluded)
    groups = {"coarse": images.coarse, "scan": images.scan, "truth": truth}
    name = f"synthetic-{seed}-{index:06d}"
    features = {"scan_id": name, "shape": np.array(truth.shape), "chart": charts.to_json(options.chart)}
    for group, image in groups.items():
        features |= image_records.image_features(group, rounded(image))
    return features | {
        "subject": f"synthetic-{seed}-{subject:06d}",
        "split": split_of(subject, options.split_shares),
        "sensor": sensor.name,
        "fit_residual_mm": np.array([fit.residuals["mean"]]),
        "detail_strength": np.array([face.detail_strength]),
    }


def choose_sensor(options: PairOptions, rng: np.random.Generator) -> sensors.Sensor:
    names = sorted(options.sensor_weights)
    shares = np.array([options.sensor_weights[name] for name in names])
    return sensors.SENSORS[names[int(rng.choice(len(names), p=shares / shares.sum()))]]


def observe(
    surface: TriangleMesh,
    face: SampledFace,
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
    turn = rotation_from_vector(np.deg2rad(rng.normal(0, options.turn_deg, 3)))
    return SimilarityTransform(turn, rng.normal(0, options.shift_mm, 3)).compose(pose.inverse())


def fit_and_encode(
    scan: Scan, scan_to_model: SimilarityTransform, model: MorphableModel, chart: Chart
) -> tuple[result.FitResult, encoding.Encoding]:
    """The stages of a run after locating, on the part of the scan about the head. Raises NoFaceFound, FitError."""
    scan = normals.with_normals(cleaning.clean(scan))
    head = candidates.cropped(scan, scan_to_model, pose_search.LocatingOptions().head_radius_mm)
    if len(head.points) < MIN_HEAD_POINTS:
        raise NoFaceFound(f"only {len(head.points)} points of the simulated scan lie on the head, fewer than {MIN_HEAD_POINTS}")
    fit = staged_fit.fit(Location(head, scan_to_model, 1.0), model, WARM_FIT)
    images = encoding.encode(head, fit, model, chart)
    acceptance.require_face(fit, images)
    return fit, images


def rounded(image: GeometryImage) -> GeometryImage:
    """Every channel rounded to its step of `STEPS`."""
    channels = {
        name: (np.round(values / STEPS[name]) * STEPS[name]).astype(np.float32) if name in STEPS else values
        for name, values in image.channels.items()
    }
    return GeometryImage(channels, image.valid_mask, image.chart)
