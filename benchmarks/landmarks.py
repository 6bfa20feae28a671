"""How far landmarks lie from the truth, and what the heatmaps are worth.

    python benchmarks/landmarks.py                                     all rows but the rotations, with the shipped weights
    python benchmarks/landmarks.py --rows synthetic --count 60
    python benchmarks/landmarks.py --calibrate                         measures geometry/data/landmark_calibration.json

rows: synthetic (scans of the test split of seed 4: subjects that training never saw), open (heatmaps alone, on wide-open mouths),
humface (seven hand-set landmarks), repeat (the bench's 18 depth images against their clean meshes), topology (five meshes whose
vertex i is the same point), cost (seconds), start (fits started by landmarks against fits started by the geometric search).
Rotations: benchmarks/rotations.py.

estimates, all in the scan's frame: heatmaps (the raw scan alone, before any fit), model (the landmarks of the fitted model),
registered (of the refined mesh in the model's topology), fused (heatmaps and registered mesh by their covariances: the
pipeline's). Figures are of the inner 51 of iBUG-68 unless said otherwise; "seen" are those that the truth says the sensor saw.
"""

import argparse
import itertools
import json
import pathlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import common
import numpy as np
from landmark_errors import INNER, calibrate, calibration_table

from geometry import readers
from geometry.landmarks.estimate import CLOSE_MM, LandmarkEstimate
from geometry.landmarks.views import Viewer, view_of_pose
from geometry.mesh import TriangleMesh
from geometry.model.landmark_embedding import landmarks_on
from geometry.scan import Scan
from geometry.settings import loading
from geometry.surfaces.closest_point import closest_points
from geometry.surfaces.raycasting import interpolate
from geometry.transforms import SimilarityTransform
from pipeline.inputs import listing
from pipeline.scans import chain, config, methods, steps
from pipeline.scans.job import Job, warm_up
from pipeline.scans.landmarking import finder
from pipeline.scans.state import ScanState
from pipeline.training import landmark_views
from pipeline.training.config import SynthesisConfig
from pipeline.training.sampled_pairs import split_of

METHODS = ("heatmaps", "model", "registered", "fused")
HEADING = "".join(f"{name:>12s}" for name in METHODS)
CLEAN = ("clean_mesh", "laser", "photogrammetry", "stereo")
SEED = 4  # of a set that the shipped weights were not trained on; its test split is reported, its validation split calibrates
OPEN_MOUTHS = ("set.seed=12", "pairs.faces.open_share=1", "pairs.faces.open_jaw=[0.5,1.0]")
PARTS = {
    "lips": range(48, 68),
    "chin": range(6, 11),
    "jaw line": range(17),
    "brows": range(17, 27),
    "nose": range(27, 36),
    "eyes": range(36, 48),
    "inner 51": range(17, 68),
}
SUBJECTS = 4000
HUMFACE_7 = (36, 39, 42, 45, 30, 48, 54)
LOCATORS = ("landmarks", "pose_search")
COST_SCANS = (
    "bench/depth/f36_kinect_v1.png",
    "bench/depth/james_truedepth.png",
    "scans/single/humface.ply",
    "scans/single/james.obj",
    "scans/single/walt.obj",
    "scans/single/kinect_room_profile.pcd",
    "scans/kinect_v1/kinect_000.png",
)


@dataclass(frozen=True)
class Result:
    """One scan: its estimates by name, ibug68 in the scan's frame, mm (what there was, where it ended early), and how far it
    came."""

    estimates: dict[str, LandmarkEstimate]
    walk: common.Walk


def refine(state: ScanState, job: Job) -> ScanState:
    return steps.refine([state], job)[0]


def process(scan: Scan, job: Job) -> Result:
    """The chain of a run on one scan, and every estimate of its landmarks."""
    found = common.walk((*chain.TO_THE_FIT, refine, steps.lift), ScanState.of(scan), job)
    state, estimates = found.state, {}
    if state.location is not None and state.location.estimate is not None:
        estimates["heatmaps"] = state.location.estimate
    if found.reason:
        return Result(estimates, found)
    back = state.scan_to_model.inverse()
    for name, method in (("heatmaps", "heatmaps"), ("registered", "mesh"), ("fused", "fused")):
        if name not in estimates:
            estimates[name] = methods.LANDMARKERS[method](state, job.model, job.config.landmarks).transformed(back)
    model = replace(estimates["registered"], points=back.apply(landmarks_on(job.model, state.fit.vertices)))
    return Result(estimates | {"model": model}, found)


def simulated(count: int, split: str) -> Iterator[landmark_views.SimulatedScan]:
    """`count` scans of a split, evenly spread."""
    settings = loading.load(SynthesisConfig, None, [f"set.seed={SEED}"])
    subjects = [subject for subject in range(SUBJECTS) if split_of(subject, settings.set.split_shares) == split]
    for subject in np.array(subjects)[np.unique(np.linspace(0, len(subjects) - 1, count).astype(int))]:
        yield landmark_views.simulate(int(subject), settings)


def seen_by_sensor(made: landmark_views.SimulatedScan) -> np.ndarray:
    """(68,) bool: the scan has a surface where the landmark truly is."""
    if not len(made.scan.points):
        return np.zeros(68, bool)
    return Viewer(made.scan).distance(made.landmarks) < 3.0


def simulated_results(job: Job, count: int, split: str) -> list[dict]:
    """One dict a scan: sensor, what was seen, errors (68,) by estimate, the simulation and its result."""
    rows = []
    for made in simulated(count, split):
        result = process(made.scan, job)
        errors = {name: np.linalg.norm(found.points - made.landmarks, axis=1) for name, found in result.estimates.items()}
        row = {"sensor": made.sensor, "seen": seen_by_sensor(made), "reason": result.walk.reason, "errors": errors}
        rows.append(row | {"made": made, "result": result})
        common.say(f"{len(rows)} of {count} simulated scans")
    return rows


def synthetic_table(rows: list[dict]) -> list[str]:
    """Errors by kind of sensor, of seen and of all inner landmarks: means over the scans that have the estimate; in the share
    below 4 mm the others count as misses."""
    lines = [
        f"{'synthetic test split':24s}{'scans':>6s}{'no face':>8s}" + "".join(f"{name:>30s}" for name in METHODS),
        f"{'':24s}{'':14s}" + "".join(f"{'seen mm':>12s}{'all mm':>9s}{'<4mm':>9s}" for _ in METHODS),
    ]
    sensors = sorted({row["sensor"] for row in rows})
    groups = {"near clean": CLEAN, "noisy depth": {*sensors} - {*CLEAN}, "all": sensors} | {name: (name,) for name in sensors}
    for label, members in groups.items():
        if chosen := [row for row in rows if row["sensor"] in members]:
            lines.append(_synthetic_line(label, chosen))
    return lines + [f"refused: {row['sensor']}: {row['reason'][:120]}" for row in rows if row["reason"]]


def _synthetic_line(label: str, rows: list[dict]) -> str:
    cells = f"{label:24s}{len(rows):6d}{sum(bool(row['reason']) for row in rows):8d}"
    for name in METHODS:
        inner = [(row["errors"].get(name, np.full(68, np.inf))[INNER], row["seen"][INNER]) for row in rows]
        seen = np.concatenate([errors[mask] for errors, mask in inner])
        everything = np.concatenate([errors for errors, _ in inner])
        mean = lambda values: values[np.isfinite(values)].mean() if np.isfinite(values).any() else np.nan
        cells += f"{mean(seen):12.2f}{mean(everything):9.2f}{100 * (seen < CLOSE_MM).mean():8.1f}%"
    return cells


def synthetic(job: Job, arguments: argparse.Namespace) -> list[str]:
    rows = simulated_results(job, arguments.count, "test")
    return synthetic_table(rows) + calibration_table(rows)


def open_mouths(job: Job, arguments: argparse.Namespace) -> list[str]:
    """Heatmaps alone on simulated scans of wide-open mouths, by part of the face: the landmarks that the sensor saw, and all."""
    settings, errors, seen, lost = loading.load(SynthesisConfig, None, OPEN_MOUTHS), [], [], 0
    for index in range(arguments.count):
        made = landmark_views.simulate(index, settings)
        location = common.walk(chain.TO_THE_HEAD, ScanState.of(made.scan), job).state.location
        if location is None or location.estimate is None:
            lost += 1
            continue
        errors.append(np.linalg.norm(location.estimate.points - made.landmarks, axis=1))
        seen.append(seen_by_sensor(made))
        common.say(f"{index + 1} of {arguments.count} open mouths")
    lines = [f"{f'{len(errors)} open mouths, {lost} lost':24s}{'seen mm':>12s}{'median':>9s}{'<4mm':>9s}{'all mm':>9s}"]
    for name, part in PARTS.items():
        of_part, shown = np.array(errors)[:, list(part)], np.array(seen)[:, list(part)]
        values = of_part[shown]
        close = 100 * (values < CLOSE_MM).mean()
        lines.append(f"{name:24s}{values.mean():12.2f}{np.median(values):9.2f}{close:8.1f}%{of_part.mean():9.2f}")
    return lines


def humface(job: Job, arguments: argparse.Namespace) -> list[str]:
    truth = np.array(json.loads((arguments.shared / "bench/truth/humface.landmarks.json").read_text())["points_mm"])
    found = process(readers.read(arguments.shared / "scans/single/humface.ply"), job).estimates
    errors = np.stack([np.linalg.norm(found[name].points[list(HUMFACE_7)] - truth, axis=1) for name in METHODS], axis=1)
    lines = [f"{'humface, 7 hand-set':24s}{HEADING}", f"{'mean mm':24s}{_cells(errors.mean(0))}"]
    return lines + [f"{f'  ibug {mark}':24s}{_cells(row)}" for mark, row in zip(HUMFACE_7, errors)]


def _cells(values: Iterable[float]) -> str:
    return "".join(f"{value:12.2f}" for value in values)


def clean_mesh_of(name: str, shared: pathlib.Path) -> pathlib.Path:
    found = [path for path in (shared / "scans").rglob(f"{name}.*") if path.suffix in (".ply", ".obj", ".stl")]
    if len(found) != 1:
        raise FileNotFoundError(f"{shared / 'scans'}: {len(found)} meshes called {name}, expected one")
    return found[0]


def repeat(job: Job, arguments: argparse.Namespace) -> list[str]:
    """Landmarks on each depth image against those on the clean mesh it was made of, in the camera's frame."""
    paths = sorted((arguments.shared / "bench/depth").glob("*.png"))
    people = dict.fromkeys(path.stem.split("_")[0] for path in paths)
    clean = {person: process(readers.read(clean_mesh_of(person, arguments.shared)), job).estimates for person in people}
    rows: dict[str, dict[str, float]] = {}
    for path in paths:
        truth = np.load(arguments.shared / f"bench/truth/{path.stem}.truth.npz")
        to_camera = SimilarityTransform.from_matrix(truth["scan_to_camera"])
        there = {name: to_camera.apply(found.points) for name, found in clean[path.stem.split("_")[0]].items()}
        result = process(readers.read(path), job)
        found = {} if result.walk.reason else result.estimates  # the pipeline writes no landmarks of a scan that ended early
        rows[path.stem] = {
            name: float(np.linalg.norm(found[name].points - there[name], axis=1)[INNER].mean())
            for name in found.keys() & there.keys()
        }
    lines = [f"{'repeatability, 18 images':28s}{HEADING}", _mean_line("all", list(rows.values()))]
    for sensor in ("truedepth", "kinect_v1", "tof"):
        lines.append(_mean_line(sensor, [errors for name, errors in rows.items() if name.endswith(sensor)]))
    return lines + [_mean_line("  " + name, [errors]) for name, errors in rows.items()]


def _mean_line(label: str, rows: list[dict[str, float]]) -> str:
    """Means over the scans that have every estimate, and how many of all these are."""
    whole = [row for row in rows if set(METHODS) <= set(row)]
    cells = [f"{np.mean([row[name] for row in whole]):12.2f}" if whole else f"{'–':>12s}" for name in METHODS]
    return f"{label:28s}" + "".join(cells) + f"   {len(whole)} of {len(rows)}"


def topology(job: Job, arguments: argparse.Namespace) -> list[str]:
    """Five meshes of one topology: each landmark's place on one, carried to the others by the vertex numbers."""
    meshes = []
    errors = defaultdict(list)
    for path in sorted((arguments.shared / "scans/registered_arbitrary_pose").glob("*.stl")):
        scan = readers.read(path)
        result = process(scan, job)
        if result.walk.reason:
            print(f"{path.name}: {result.walk.reason}")
        meshes.append((TriangleMesh(scan.points * result.walk.unit_mm(scan), scan.triangles), result.estimates))
    for (mesh, known), (other, found) in itertools.permutations(meshes, 2):
        for name in known.keys() & found.keys():
            places = closest_points(known[name].points[INNER], mesh)
            carried = interpolate(other.vertices, mesh.triangles[places.triangle], places.uv)
            errors[name] += list(np.linalg.norm(found[name].points[INNER] - carried, axis=1))
    means = [np.mean(errors[name]) if errors[name] else np.nan for name in METHODS]
    return [f"{'same topology, 5 meshes':28s}{HEADING}", f"{'mean mm':28s}{_cells(means)}"]


def cost(job: Job, arguments: argparse.Namespace) -> list[str]:
    """Seconds on one thread: rendering a view, the network on it, and locating by either method."""
    find = finder(job.config.landmarks.weights)
    warm_up(job)
    lines = [f"{'seconds, one thread':28s}{'view':>8s}{'network':>9s}{'locate: landmarks':>20s}{'pose_search':>13s}"]
    for name in COST_SCANS:
        state = ScanState.of(readers.read(arguments.shared / name))
        walks = [common.walk(chain.TO_THE_HEAD, state, by(method, job)) for method in LOCATORS]
        times = [found.seconds.get("locate", np.nan) for found in walks]
        location, line = walks[-1].state.location, f"{pathlib.Path(name).name:28s}"
        if location is None:
            lines.append(line + f"{'no face':>17s}{times[0]:20.2f}{times[1]:13.2f}")
            continue
        viewer, pose = Viewer(location.scan), view_of_pose(location.scan_to_model)
        viewer.view(pose)
        start = time.perf_counter()
        views = [viewer.view(pose) for _ in range(4)]
        middle = time.perf_counter()
        find([view.image for view in views])
        end = time.perf_counter()
        lines.append(line + f"{(middle - start) / 4:8.3f}{(end - middle) / 4:9.3f}{times[0]:20.2f}{times[1]:13.2f}")
    return lines


def by(method: str, job: Job) -> Job:
    """The same job with another locator."""
    return replace(job, config=replace(job.config, locate=config.LocateConfig(method)))


def start(job: Job, arguments: argparse.Namespace) -> list[str]:
    """Every real scan (whose path holds --match), fitted from either start: what became of it, its fit's mean residual, inlier
    fraction and quality; seconds of locating."""
    lines = [f"{'start of the fit':44s}{'landmarks':>34s}{'pose_search':>34s}{'seconds':>16s}"]
    for folder in ("bench/depth", "scans"):
        for source in listing.list_sources(str(arguments.shared / folder)):
            name = f"{folder}/{source.name}"
            if arguments.match not in name:
                continue
            walks = [common.walk(chain.TO_THE_FIT, steps.load(ScanState(source), job), by(method, job)) for method in LOCATORS]
            seconds = "".join(f"{found.seconds.get('locate', np.nan):8.2f}" for found in walks)
            lines.append(f"{name:44s}" + "".join(map(fit_cell, walks)) + f"{seconds:>16s}")
            common.say(lines[-1])
    return lines


def fit_cell(found: common.Walk) -> str:
    if found.reason:
        return f"{found.reason[:33]:>34s}"
    fit = found.state.fit
    return f"{'ok':>6s}{fit.residuals['mean']:9.3f} mm{fit.residuals['inlier_fraction']:9.3f}{fit.fit_quality:7.3f}"


ROWS = {
    "synthetic": synthetic,
    "open": open_mouths,
    "humface": humface,
    "repeat": repeat,
    "topology": topology,
    "cost": cost,
    "start": start,
}


def main() -> None:
    parser = common.parser(__doc__, "--shared")
    add = parser.add_argument
    add("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    add("--count", type=int, default=60, help="simulated scans; default %(default)s")
    add("--weights", default="landmarks", help="shipped weights, or a weights file")
    add("--locate", default="landmarks", help="locator; default %(default)s")
    add("--match", default="", help="row start: only scans whose path holds this")
    add("--calibrate", action="store_true", help="measure the landmarks on the validation split and print the figures")
    arguments = parser.parse_args()
    job = Job(config.load(settings=[f"landmarks.weights={arguments.weights}", f"locate.method={arguments.locate}"]))
    if arguments.calibrate:
        rows = simulated_results(job, arguments.count, "validation")
        print("\n".join(synthetic_table(rows) + calibration_table(rows)))
        print(json.dumps(calibrate(rows)))
        return
    for name in arguments.rows:
        print("\n".join(ROWS[name](job, arguments)) + "\n", flush=True)


if __name__ == "__main__":
    main()
