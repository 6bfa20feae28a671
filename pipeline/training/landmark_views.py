"""Training records of the landmark network: a sampled face, a simulated raw scan of it, and views of that scan from all sides,
each with the face's exact landmarks. No fit is involved: the network is to work before one.

Everything about scan `index` of a set follows from (seed, index) alone.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from geometry.charts import chart as charts
from geometry.charts.geometry_image import GeometryImage
from geometry.errors import NoFaceFound
from geometry.landmarks.views import Viewer, turn_of, view_of_pose, visible
from geometry.locating import cleaning, head_groups, pose_search
from geometry.locating.candidates import FEWEST_POINTS
from geometry.scan import Scan
from geometry.synthesis import faces, sensors
from geometry.transforms import SimilarityTransform
from pipeline.scans.job import Job
from pipeline.store import image_records
from pipeline.training import sampled_pairs
from pipeline.training.config import SynthesisConfig, ViewOptions
from pipeline.training.sampled_pairs import choose_sensor, rounded, split_of

KINDS = ("aligned", "facing", "free")
ASTRAY = "astray"  # a view that should show the network no face: from behind, upside down, beside the head
LEAST_SEEN = 12  # landmarks; a view that shows fewer teaches nothing


@dataclass(frozen=True)
class SimulatedScan:
    """A raw scan (sensor's frame, mm) and the truth about it: pose model → sensor, landmarks (68, 3) in the sensor's frame,
    the face that it shows, in its model frame, and whom."""

    scan: Scan
    pose: SimilarityTransform
    landmarks: np.ndarray
    face: faces.SampledFace
    sensor: str
    subject: int
    split: str


def simulate(index: int, config: SynthesisConfig, rng: np.random.Generator | None = None) -> SimulatedScan:
    """Scan `index` of a set. rng: of this scan; a caller that draws more from it passes it."""
    seed, options, pairs = config.set.seed, config.views, config.pairs
    rng = faces.generator(seed, 1, index) if rng is None else rng
    subject = index // config.set.views_per_subject
    face = faces.sample_face(Job(config).model, rng, pairs.faces, person=faces.generator(seed, 0, subject))
    sensor = choose_sensor(pairs, rng)
    pose = sensors.sample_pose(sensor, rng, options.poses)
    scan = sampled_pairs.observe(face.skin, face, sensor, pose, pairs, rng)
    if rng.random() < options.hole_share:
        scan = with_hole(scan, pose.apply(face.landmarks[[rng.integers(68)]])[0], rng.uniform(*options.hole_mm))
    split = split_of(subject, config.set.split_shares)
    return SimulatedScan(scan, pose, pose.apply(face.landmarks), face, sensor.name, subject, split)


def with_hole(scan: Scan, centre: np.ndarray, radius_mm: float) -> Scan:
    """The scan without its points about `centre` (3,)."""
    return scan.keep(np.linalg.norm(scan.points - centre, axis=1) > radius_mm)


def make_views(index: int, config: SynthesisConfig) -> list[dict]:
    """The records of one scan's views. Raises NoFaceFound where too little of the head was seen."""
    seed, options = config.set.seed, config.views
    rng = faces.generator(seed, 1, index)
    made = simulate(index, config, rng)
    scan = cleaning.clean(made.scan, config.clean)
    to_model = made.pose.inverse()
    head = scan.keep(
        np.linalg.norm(to_model.apply(scan.points) - head_groups.HEAD_CENTRE, axis=1)
        < 1.5 * pose_search.LocatingOptions.head_radius_mm
    )
    if len(head.points) < FEWEST_POINTS:
        raise NoFaceFound(f"only {len(head.points)} points of the simulated scan lie on the head, fewer than {FEWEST_POINTS}")
    viewer, found = Viewer(head), []
    for number in range(options.views_per_scan):
        kind = KINDS[int(rng.choice(3, p=np.array(options.shares) / sum(options.shares)))]
        view = viewer.view(view_pose(kind, made.pose, rng, options))
        points = view.scan_to_view.apply(made.landmarks)
        seen = visible(view.image, points)
        if seen.sum() >= LEAST_SEEN:
            found.append(_record(f"synthetic-{seed}-{index:06d}-{number}", view.image, points, seen, kind, seed, made))
    if not found and options.views_per_scan:
        raise NoFaceFound(f"no view shows {LEAST_SEEN} landmarks")
    for number in range(options.views_per_scan, options.views_per_scan + options.astray_per_scan):
        view = viewer.view(astray_pose(made.pose, rng))
        points = view.scan_to_view.apply(made.landmarks)
        found.append(
            _record(f"synthetic-{seed}-{index:06d}-{number}", view.image, points, np.zeros(68, bool), ASTRAY, seed, made)
        )
    mark_up = str(Job(config).model.mark_up)
    return [record | {"mark_up": mark_up} for record in found]


def astray_pose(pose: SimilarityTransform, rng: np.random.Generator) -> SimilarityTransform:
    """Sensor frame → a view turned away from the face or about its axis by more than 80°, or that looks past it."""
    shift = rng.uniform(-30, 30, 3)
    if rng.random() < 0.7:
        axis = rng.normal(size=3) * rng.choice([[1, 1, 1], [0, 0, 1]], p=[0.6, 0.4])
        turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.deg2rad(rng.uniform(80, 180))).as_matrix()
        turn = turn @ turn_of(*rng.uniform(-20, 20, 3))
    else:
        turn, aside = turn_of(*rng.uniform(-40, 40, 3)), rng.normal(size=2)
        shift[:2] = aside / np.linalg.norm(aside) * rng.uniform(90, 150)
    return SimilarityTransform(np.eye(3), shift).compose(view_of_pose(pose.inverse(), turn))


def view_pose(kind: str, pose: SimilarityTransform, rng: np.random.Generator, options: ViewOptions) -> SimilarityTransform:
    """Sensor frame → view frame of one of the `KINDS`; pose: model → sensor."""
    if kind == "aligned":
        turn = Rotation.from_rotvec(np.deg2rad(rng.normal(0, options.aligned_deg, 3))).as_matrix()
        shift = rng.normal(0, options.aligned_mm, 3)
    else:
        limits = np.array(options.free_deg)
        turn = turn_of(*rng.uniform(-limits, limits)) if kind == "free" else _facing(pose, rng.uniform(-limits[2], limits[2]))
        shift = rng.uniform(-options.shift_mm, options.shift_mm, 3)
    return SimilarityTransform(np.eye(3), shift).compose(view_of_pose(pose.inverse(), turn))


def _facing(pose: SimilarityTransform, roll: float) -> np.ndarray:
    """(3, 3) of the view frame: the head as its sensor saw it, held upright, then rolled by so many degrees."""
    turn = sensors.CAMERA_FROM_UPRIGHT.T @ pose.rotation
    up = turn[:, 1]
    return turn_of(0, 0, roll + np.rad2deg(np.arctan2(up[0], up[1]))) @ turn


def _record(
    name: str, image: GeometryImage, points: np.ndarray, seen: np.ndarray, kind: str, seed: int, made: SimulatedScan
) -> dict:
    return {
        "scan_id": name,
        "shape": np.array(image.shape),
        "chart": charts.to_json(image.chart),
        **image_records.image_features("view", rounded(image)),
        "landmarks": points.astype(np.float32).ravel(),
        "visible": seen.astype(np.float32),
        "kind": kind,
        "subject": f"synthetic-{seed}-{made.subject:06d}",
        "split": made.split,
        "sensor": made.sensor,
    }
