"""Simulated scans with their heads located, kept in files, so that fits and their acceptance can be tried without locating again.

`generated` makes one that is missing, `load` reads all. Subjects are those of the set that the shipped networks were trained on,
of its validation or test split, continued by the same rule beyond the set's end, so that no training saw them. Of each ten scans
one is cut in half, one a profile, one has a hand before the face; of every other ten, four in five mouths are wide open.
"""

import argparse
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from geometry.errors import FaceReliefError
from geometry.landmarks.views import Viewer
from geometry.locating.location import Location
from geometry.scan import Scan
from geometry.settings import loading
from geometry.surfaces.raycasting import first_hits, raycasting_scene
from geometry.synthesis import faces, sensors
from geometry.transforms import SimilarityTransform
from pipeline.scans import chain
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState
from pipeline.training import landmark_views, sampled_pairs
from pipeline.training.config import SynthesisConfig

SEED = 4
FACE_POINTS = 6000
SHOWN_MM = 4.0  # a true point this near to the scan's surface, and not hidden from the sensor, is seen
KINDS = ("cut", "profile", "hand")  # of each ten scans the first three; the others are "common"


@dataclass(frozen=True)
class Truth:
    """What is true of a scan; scan frame, mm. pose: model → scan; jaw: weight of the blendshape jawOpen; landmarks (68, 3), and
    whether the scan shows them (68,); face (p, 3): points of the true face region, area-uniform, and whether the sensor saw them
    (p,); identity (K,) and expression (E,) of its core; occluders: how many things are before the face; raised_mm: of the skin
    about the chin by a beard."""

    number: int
    split: str
    kind: str
    sensor: str
    pose: SimilarityTransform
    jaw: float
    landmarks: np.ndarray
    landmarks_seen: np.ndarray
    face: np.ndarray
    face_seen: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    occluders: int
    raised_mm: float


@dataclass(frozen=True)
class LocatedScan:
    """location: None where the scan was refused before a fit, for `reason`."""

    truth: Truth
    location: Location | None
    reason: str


def subject_of(number: int, split: str, shares: tuple[float, float, float]) -> int:
    """The `number`-th subject of a split, from 0."""
    found = (subject for subject in range(10**7) if sampled_pairs.split_of(subject, shares) == split)
    return next(subject for place, subject in enumerate(found) if place == number)


def kind_of(number: int) -> str:
    return dict(enumerate(KINDS)).get(number % 10, "common")


def add_choice(parser: argparse.ArgumentParser) -> None:
    """The options that choose among the scans; `chosen` reads them."""
    parser.add_argument("--cache", type=Path, required=True, help="folder of located scans and fits")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--count", type=int, default=100, help="scans of the split; default %(default)s")
    parser.add_argument("--kind", choices=(*KINDS, "common", "all"), default="common", help="default: %(default)s")


def chosen(arguments: argparse.Namespace) -> list[int]:
    """The numbers of the scans that `add_choice`'s options ask for."""
    return [number for number in range(arguments.count) if arguments.kind in ("all", kind_of(number))]


def settings_of(number: int) -> SynthesisConfig:
    chosen = [f"set.seed={SEED}"]
    if number // 10 % 2:
        chosen.append("pairs.faces.open_share=0.8")
    if kind_of(number) == "hand":
        chosen += ["pairs.faces.hand_share=1.0", "pairs.faces.hair_share=0.4"]
    return loading.load(SynthesisConfig, None, chosen)


def face_of(number: int, split: str, job: Job) -> tuple[faces.SampledFace, np.random.Generator]:
    """The true face of scan `number` of a split, model frame, whose first vertices are those of the model's topology; and the
    random numbers that its scan goes on with."""
    settings = settings_of(number)
    subject = subject_of(number, split, settings.set.split_shares)
    rng = faces.generator(SEED, 1, subject)
    return faces.sample_face(job.model, rng, settings.pairs.faces, person=faces.generator(SEED, 0, subject)), rng


def simulate(number: int, split: str, job: Job) -> tuple[Truth, Scan]:
    """Scan `number` of a split and the truth about it; both follow from (number, split) alone."""
    settings, kind = settings_of(number), kind_of(number)
    pairs, (face, rng) = settings.pairs, face_of(number, split, job)
    sensor = sampled_pairs.choose_sensor(pairs, rng)
    pose = sensors.sample_pose(sensor, rng, settings.views.poses)
    if kind == "profile":
        yaw = rng.choice([-1, 1]) * rng.uniform(50, 90) * np.pi / 180
        pitch = np.deg2rad(rng.normal(0, 10))
        straight = sensors.sample_pose(sensor, rng, replace(settings.views.poses, yaw=0.0, pitch=0.0)).rotation
        pose = replace(pose, rotation=straight @ Rotation.from_euler("YX", [yaw, pitch]).as_matrix())
    scan = sampled_pairs.observe(face.skin, face, sensor, pose, pairs, rng)
    if rng.random() < settings.views.hole_share:
        radius = rng.uniform(*settings.views.hole_mm)
        scan = landmark_views.with_hole(scan, pose.apply(face.landmarks[[rng.integers(68)]])[0], radius)
    if kind == "cut":
        scan = _cut(scan, pose, rng)
    return _truth(number, split, job, face, pose, scan), scan


def _cut(scan: Scan, pose: SimilarityTransform, rng: np.random.Generator) -> Scan:
    """Without one side of the face, or, of three in ten, without what lies below or above the middle of the nose."""
    x, y, _ = pose.inverse().apply(scan.points).T
    if rng.random() < 0.7:
        return scan.keep(rng.choice([-1, 1]) * x < rng.uniform(-15, 25))
    return scan.keep(y > rng.uniform(-45, -5) if rng.random() < 0.7 else y < rng.uniform(5, 35))


def _truth(number: int, split: str, job: Job, face: faces.SampledFace, pose: SimilarityTransform, scan: Scan) -> Truth:
    model, names = job.model, job.model.expression_names
    points, chin = _face_points(face, model), model.landmarks["ibug68"][6:11]
    landmarks = pose.apply(face.landmarks)
    near = cKDTree(face.mesh.vertices).query(face.mesh.vertices[chin], k=60)[1]
    return Truth(
        number=number,
        split=split,
        kind=kind_of(number),
        sensor=scan.source,
        pose=pose,
        jaw=float(face.expression[names.index("jawOpen")]),
        landmarks=landmarks,
        landmarks_seen=seen(landmarks, face, pose, scan),
        face=pose.apply(points).astype(np.float32),
        face_seen=seen(pose.apply(points), face, pose, scan),
        identity=face.identity,
        expression=face.expression,
        occluders=len(face.occluders),
        raised_mm=float(face.displacement[near].mean()),
    )


def _face_points(face: faces.SampledFace, model) -> np.ndarray:
    """(p, 3) points of the true skin in the face region, evenly by area, model frame."""
    skin, rng = face.skin, np.random.default_rng(0)
    centres = skin.vertices[skin.triangles].mean(1)
    nearest = cKDTree(face.mesh.vertices[: model.n_vertices]).query(centres)[1]
    lining = model.regions["mouth_interior"] | model.regions["eyes"] | model.regions.get("cavities", False)
    area = np.linalg.norm(skin.triangle_area_vectors, axis=1) * (model.regions["face"] & ~lining)[nearest]
    chosen = rng.choice(len(area), FACE_POINTS, p=area / area.sum())
    return (skin.vertices[skin.triangles[chosen]] * rng.dirichlet((1, 1, 1), FACE_POINTS)[:, :, None]).sum(1)


def seen(points: np.ndarray, face: faces.SampledFace, pose: SimilarityTransform, scan: Scan) -> np.ndarray:
    """(p,) bool of points (p, 3), scan frame: the scan has a surface there, and nothing else stands between the point and the
    sensor."""
    if not len(scan.points):
        return np.zeros(len(points), bool)
    shown = Viewer(scan).distance(points) < SHOWN_MM
    if scan.camera is None:
        return shown
    meshes = [face.skin, *face.surroundings]
    for mesh in meshes:
        scene = raycasting_scene(mesh.with_vertices(pose.apply(mesh.vertices)))
        shown &= first_hits(scene, np.zeros_like(points), points)[0] > 1 - 1.0 / np.linalg.norm(points, axis=1)
    return shown


def located(number: int, split: str, job: Job) -> LocatedScan:
    """A simulated scan through the chain of a run until its head is located."""
    truth, scan = simulate(number, split, job)
    try:
        return LocatedScan(truth, chain.through(chain.TO_THE_HEAD, ScanState.of(scan), job).location, "")
    except FaceReliefError as error:
        return LocatedScan(truth, None, f"{type(error).__name__}: {error}")


def file_of(cache: Path, split: str, number: int) -> Path:
    return cache / f"{split}_{number:05d}.pkl"


def generated(cache: Path, split: str, number: int, job: Job) -> LocatedScan:
    """Scan `number` of a split; it is made and written to the folder where that lacks it."""
    file = file_of(cache, split, number)
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = located(number, split, job)
        part = file.with_suffix(".part")
        part.write_bytes(pickle.dumps((vars(made.truth), made.location, made.reason), protocol=5))
        part.rename(file)
    return read(file)


def read(file: Path) -> LocatedScan:
    truth, location, reason = pickle.loads(file.read_bytes())
    return LocatedScan(Truth(**truth), location, reason)


def load(cache: Path, split: str, count: int | None = None) -> list[LocatedScan]:
    """Those that are there, in order."""
    return [read(file) for file in sorted(Path(cache).glob(f"{split}_*.pkl"))[:count]]
