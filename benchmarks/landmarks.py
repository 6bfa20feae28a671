"""How far landmarks lie from the truth, and what the heatmaps are worth.

    python benchmarks/landmarks.py                                     all rows but the rotations, with the shipped weights
    python benchmarks/landmarks.py --rows synthetic --count 60
    python benchmarks/landmarks.py --calibrate                         measures geometry/data/landmark_calibration.json

rows: synthetic (scans of the test split: subjects that training never saw), humface (seven hand-set landmarks), repeat (the
bench's 18 depth images against their clean meshes), topology (five meshes whose vertex i is the same point), cost (seconds),
start (fits started by landmarks against fits started by the geometric search). Rotations: benchmarks/rotations.py.

estimates, all in the scan's frame: heatmaps (the raw scan alone, before any fit), model (the landmarks of the fitted model),
registered (of the refined mesh in the model's topology), fused (heatmaps and registered mesh by their covariances: the
pipeline's). Figures are of the inner 51 of iBUG-68 unless said otherwise; "seen" are those that the truth says the sensor saw.
"""

import json
import pathlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import common
import numpy as np
from landmark_errors import CLOSE_MM, INNER, calibrate, calibration_table

from geometry import readers
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.views import Viewer, view_of_pose
from geometry.mesh import TriangleMesh
from geometry.model.landmark_embedding import landmarks_on
from geometry.scan import Scan
from geometry.settings import loading
from geometry.surfaces.closest_point import closest_points
from geometry.surfaces.raycasting import interpolate
from pipeline.inputs import listing
from pipeline.scans import chain, config, methods, steps
from pipeline.scans.job import Job, warm_up
from pipeline.scans.landmarking import Evidence, finder
from pipeline.scans.state import ScanState
from pipeline.training import landmark_views
from pipeline.training.config import SynthesisConfig
from pipeline.training.sampled_pairs import split_of

METHODS = ("heatmaps", "model", "registered", "fused")
CLEAN = ("clean_mesh", "laser", "photogrammetry", "stereo")
SEED = 4  # of the set that the shipped weights were trained on; its test split is reported, its validation split calibrates
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
    """One scan: its estimates by name, ibug68 in the scan's frame, mm; how far it came, and the reason where it ended early (then
    `estimates` holds what there was)."""

    estimates: dict[str, LandmarkEstimate]
    state: ScanState
    reason: str = ""


def refine(state: ScanState, job: Job) -> ScanState:
    return steps.refine([state], job)[0]


def process(scan: Scan, job: Job) -> Result:
    """The chain of a run on one scan, and every estimate of its landmarks."""
    found = common.walk((*chain.TO_THE_FIT, refine, steps.lift), ScanState.of(scan), job)
    state, estimates = found.state, {}
    if state.location is not None and state.location.estimate is not None:
        estimates["heatmaps"] = state.location.estimate
    if found.reason:
        return Result(estimates, state, found.reason)
    back, fit = state.fit.scan_to_model.inverse(), state.fit
    evidence = Evidence(
        state.location, fit.scan_to_model, job.model, state.registered, state.refined, state.observed, fit.noise_mm
    )
    for name, method in (("heatmaps", "heatmaps"), ("registered", "mesh"), ("fused", "fused")):
        if name not in estimates:
            estimates[name] = methods.LANDMARKERS[method](evidence, job.config.landmarks).transformed(back)
    model = replace(estimates["registered"], points=back.apply(landmarks_on(job.model, fit.vertices)))
    return Result(estimates | {"model": model}, state)


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
    return np.linalg.norm(Viewer(made.scan).nearest(made.landmarks) - made.landmarks, axis=1) < 3.0


def synthetic(job: Job, count: int, split: str = "test") -> list[dict]:
    """One dict a scan: sensor, yaw and pitch of the head, what was seen, errors (68,) by estimate, sigma and confidence."""
    rows = []
    for made in simulated(count, split):
        result = process(made.scan, job)
        errors = {name: np.linalg.norm(found.points - made.landmarks, axis=1) for name, found in result.estimates.items()}
        row = {"sensor": made.sensor, "seen": seen_by_sensor(made), "reason": result.reason, "errors": errors}
        rows.append(row | {"made": made, "result": result})
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def synthetic_table(rows: list[dict]) -> list[str]:
    """Errors by kind of sensor, of seen and of all inner landmarks: means over the scans that have the estimate; in the share
    below 4 mm the others count as misses."""
    lines = [
        f"{'synthetic test split':24s}{'scans':>6s}{'no face':>8s}" + "".join(f"{name:>30s}" for name in METHODS),
        f"{'':24s}{'':14s}" + "".join(f"{'seen mm':>12s}{'all mm':>9s}{'<4mm':>9s}" for _ in METHODS),
    ]
    groups = {"near clean": CLEAN, "noisy depth": None, "all": ()}
    groups |= {sensor: (sensor,) for sensor in sorted({row["sensor"] for row in rows})}
    for label, sensors in groups.items():
        chosen = [row for row in rows if sensors == () or (row["sensor"] in sensors if sensors else row["sensor"] not in CLEAN)]
        if chosen:
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


def humface(job: Job, shared: pathlib.Path) -> list[str]:
    truth = np.array(json.loads((shared / "bench/truth/humface.landmarks.json").read_text())["points_mm"])
    result = process(readers.read(shared / "scans/single/humface.ply"), job)
    lines = [f"{'humface, 7 hand-set':24s}" + "".join(f"{name:>12s}" for name in METHODS)]
    errors = {name: np.linalg.norm(result.estimates[name].points[list(HUMFACE_7)] - truth, axis=1) for name in METHODS}
    lines.append(f"{'mean mm':24s}" + "".join(f"{errors[name].mean():12.2f}" for name in METHODS))
    lines += [
        f"{f'  ibug {mark}':24s}" + "".join(f"{errors[name][k]:12.2f}" for name in METHODS) for k, mark in enumerate(HUMFACE_7)
    ]
    return lines


def clean_mesh_of(name: str, shared: pathlib.Path) -> pathlib.Path:
    found = [path for path in (shared / "scans").rglob(f"{name}.*") if path.suffix in (".ply", ".obj", ".stl")]
    if len(found) != 1:
        raise FileNotFoundError(f"{shared / 'scans'}: {len(found)} meshes called {name}, expected one")
    return found[0]


def repeat(job: Job, shared: pathlib.Path) -> list[str]:
    """Landmarks on each depth image against those on the clean mesh it was made of, in the camera's frame."""
    clean: dict[str, Result] = {}
    rows: list[tuple[str, dict[str, float]]] = []
    for path in sorted((shared / "bench/depth").glob("*.png")):
        person, sensor = path.stem.split("_", 1)
        if person not in clean:
            clean[person] = process(readers.read(clean_mesh_of(person, shared)), job)
        to_camera = np.load(shared / f"bench/truth/{path.stem}.truth.npz")["scan_to_camera"]
        result = process(readers.read(path), job)
        errors = {}
        for name in METHODS:
            if name in result.estimates and name in clean[person].estimates:
                there = clean[person].estimates[name].points @ to_camera[:3, :3].T + to_camera[:3, 3]
                errors[name] = float(np.linalg.norm(result.estimates[name].points - there, axis=1)[INNER].mean())
        if result.reason:
            errors = {}  # the pipeline writes no landmarks of such a scan
        rows.append((f"{person}_{sensor}", errors))
    lines = [f"{'repeatability, 18 images':28s}" + "".join(f"{name:>12s}" for name in METHODS)]
    groups = {"all": rows} | {
        sensor: [row for row in rows if row[0].endswith(sensor)] for sensor in ("truedepth", "kinect_v1", "tof")
    }
    for label, chosen in groups.items():
        lines.append(_mean_line(label, [errors for _, errors in chosen]))
    return lines + [_mean_line("  " + label, [errors]) for label, errors in rows]


def _mean_line(label: str, rows: list[dict[str, float]]) -> str:
    """Means over the scans that have every estimate, and how many of all these are."""
    whole = [row for row in rows if set(METHODS) <= set(row)]
    cells = [f"{np.mean([row[name] for row in whole]):12.2f}" if whole else f"{'–':>12s}" for name in METHODS]
    return f"{label:28s}" + "".join(cells) + f"   {len(whole)} of {len(rows)}"


def topology(job: Job, shared: pathlib.Path) -> list[str]:
    """Five meshes of one topology: each landmark's place on one, carried to the others by the vertex numbers."""
    meshes = []
    for path in sorted((shared / "scans/registered_arbitrary_pose").glob("*.stl")):
        scan = readers.read(path)
        result = process(scan, job)
        if result.reason:
            print(f"{path.name}: {result.reason}")
        meshes.append((scan, result))
    lines = [f"{'same topology, 5 meshes':28s}" + "".join(f"{name:>12s}" for name in METHODS)]
    errors: dict[str, list[float]] = {name: [] for name in METHODS}
    for first, (scan, result) in enumerate(meshes):
        for name in METHODS:
            if name not in result.estimates:
                continue
            mesh = TriangleMesh(scan.points * _mm(scan, result), scan.triangles)
            places = closest_points(result.estimates[name].points[INNER], mesh)
            for second, (other, found) in enumerate(meshes):
                if second != first and name in found.estimates:
                    carried = interpolate(other.points * _mm(other, found), mesh.triangles[places.triangle], places.uv)
                    errors[name] += list(np.linalg.norm(found.estimates[name].points[INNER] - carried, axis=1))
    lines.append(f"{'mean mm':28s}" + "".join(f"{np.mean(errors[name]) if errors[name] else np.nan:12.2f}" for name in METHODS))
    return lines


def _mm(scan: Scan, result: Result) -> float:
    """What a scan's own coordinates must be multiplied by to be mm."""
    return 1.0 if scan.unit_mm else result.state.location.scan.unit_mm or 1.0


def cost(job: Job, shared: pathlib.Path) -> list[str]:
    """Seconds on one thread: rendering a view, the network on it, and locating by either method."""
    find = finder(job.config.landmarks.weights)
    warm_up(job)
    lines = [f"{'seconds, one thread':28s}{'view':>8s}{'network':>9s}{'locate: landmarks':>20s}{'pose_search':>13s}"]
    for name in COST_SCANS:
        state = ScanState.of(readers.read(shared / name))
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


def start(job: Job, shared: pathlib.Path, match: str = "") -> list[str]:
    """Every real scan (whose path holds `match`), fitted from either start: what became of it, its fit's mean residual, inlier
    fraction and quality; seconds of locating."""
    lines = [f"{'start of the fit':44s}{'landmarks':>34s}{'pose_search':>34s}{'seconds':>16s}"]
    for folder in ("bench/depth", "scans"):
        for source in listing.list_sources(str(shared / folder)):
            name = f"{folder}/{source.name}"
            if match not in name:
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


def main() -> int:
    parsing = common.parser(__doc__)
    add = parsing.add_argument
    add("--rows", nargs="+", default=["synthetic", *ROWS])
    add("--count", type=int, default=60, help="simulated scans; default %(default)s")
    add("--weights", default="landmarks", help="shipped weights, or a weights file")
    add("--locate", default="landmarks", help="locator; default %(default)s")
    add("--shared", type=pathlib.Path, default=common.SHARED)
    add("--match", default="", help="row start: only scans whose path holds this")
    add("--calibrate", action="store_true", help="measure the landmarks on the validation split and print the figures")
    arguments = parsing.parse_args()
    job = Job(config.load(settings=[f"landmarks.weights={arguments.weights}", f"locate.method={arguments.locate}"]))
    if arguments.calibrate:
        rows = synthetic(job, arguments.count, "validation")
        print("\n".join(synthetic_table(rows) + calibration_table(rows)))
        print(json.dumps(calibrate(rows)))
        return 0
    for name in arguments.rows:
        if name == "synthetic":
            rows = synthetic(job, arguments.count)
            lines = synthetic_table(rows) + calibration_table(rows)
        elif name == "start":
            lines = start(job, arguments.shared, arguments.match)
        else:
            lines = ROWS[name](job, arguments.shared)
        print("\n".join(lines) + "\n", flush=True)
    return 0


ROWS = {"humface": humface, "repeat": repeat, "topology": topology, "cost": cost, "start": start}

if __name__ == "__main__":
    sys.exit(main())
