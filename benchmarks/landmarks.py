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

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import pathlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from landmark_errors import CLOSE_MM, INNER, MEDIAN_CHI2, calibrate  # noqa: E402

from geometry import readers  # noqa: E402
from geometry.errors import FaceReliefError  # noqa: E402
from geometry.landmarks.estimate import LandmarkEstimate  # noqa: E402
from geometry.landmarks.views import Viewer, view_of_pose  # noqa: E402
from geometry.locating import cleaning
from geometry.model.landmark_embedding import landmarks_on  # noqa: E402
from geometry.scan import Scan  # noqa: E402
from pipeline.inputs import source
from pipeline.scans import config, methods, state, steps
from pipeline.scans.job import Job, warm_up  # noqa: E402
from pipeline.scans.landmarking import Evidence, finder  # noqa: E402
from pipeline.training import landmark_views
from pipeline.training.sampled_pairs import split_of  # noqa: E402

METHODS = ("heatmaps", "model", "registered", "fused")
CLEAN = ("clean_mesh", "laser", "photogrammetry", "stereo")
SEED = 4  # of the set that the shipped weights were trained on; its test split is reported, its validation split calibrates
SUBJECTS = 4000
HUMFACE_7 = (36, 39, 42, 45, 30, 48, 54)


@dataclass(frozen=True)
class Result:
    """One scan: its estimates by name, ibug68 in the scan's frame, mm; what was located and fitted; seconds by stage; reason
    where it ended early (then `estimates` holds what there was)."""

    estimates: dict[str, LandmarkEstimate]
    item: state.ScanState | None
    seconds: dict[str, float]
    reason: str = ""


def process(scan: Scan, job: Job) -> Result:
    """The stages of a run on one scan, and every estimate of its landmarks."""
    item, estimates, seconds = (
        state.ScanState(source.Source("benchmark", ""), scan=scan, deadline=state.Deadline(1e9, 0.0)),
        {},
        {},
    )
    stages = (
        ("clean", steps.clean),
        ("locate", steps.locate),
        ("fit", steps.fit),
        ("rasterize", steps.rasterize),
        ("refine", lambda item, job: steps.refine([item], job)[0]),
        ("lift", steps.lift),
    )
    try:
        for name, stage in stages:
            start = time.perf_counter()
            item = stage(item, job)
            seconds[name] = time.perf_counter() - start
            if name == "locate" and item.location.estimate is not None:
                estimates["heatmaps"] = item.location.estimate
    except FaceReliefError as error:
        return Result(estimates, item if item.location is not None else None, seconds, f"{type(error).__name__}: {error}")
    start = time.perf_counter()
    back = item.fit.scan_to_model.inverse()
    evidence = Evidence(
        item.location,
        item.fit.scan_to_model,
        job.model,
        item.registered,
        item.refined,
        item.observed,
        item.fit.noise_mm,
    )
    settings = job.config.landmarks
    for name, method in (("heatmaps", "heatmaps"), ("registered", "mesh"), ("fused", "fused")):
        if name not in estimates:
            estimates[name] = methods.LANDMARKERS[method](evidence, settings).transformed(back)
    seconds["landmarks"] = time.perf_counter() - start
    model = replace(estimates["registered"], points=back.apply(landmarks_on(job.model, item.fit.vertices)))
    return Result(estimates | {"model": model}, item, seconds)


def simulated(count: int, split: str, options: landmark_views.ViewOptions, model) -> Iterator[landmark_views.SimulatedScan]:
    """`count` scans of a split, evenly spread."""
    subjects = [subject for subject in range(SUBJECTS) if split_of(subject, options.split_shares) == split]
    for subject in np.array(subjects)[np.unique(np.linspace(0, len(subjects) - 1, count).astype(int))]:
        yield landmark_views.simulate(int(subject), SEED, model, options)


def seen_by_sensor(made: landmark_views.SimulatedScan) -> np.ndarray:
    """(68,) bool: the scan has a surface where the landmark truly is."""
    if not len(made.scan.points):
        return np.zeros(68, bool)
    return np.linalg.norm(Viewer(made.scan).nearest(made.landmarks) - made.landmarks, axis=1) < 3.0


def synthetic(job: Job, count: int, split: str = "test") -> list[dict]:
    """One dict a scan: sensor, yaw and pitch of the head, what was seen, errors (68,) by estimate, sigma and confidence."""
    rows, options = [], landmark_views.ViewOptions()
    for made in simulated(count, split, options, job.model):
        result = process(made.scan, job)
        row = {
            "sensor": made.sensor,
            "seen": seen_by_sensor(made),
            "reason": result.reason,
            "errors": {},
            "made": made,
            "result": result,
        }
        for name, estimate in result.estimates.items():
            row["errors"][name] = np.linalg.norm(estimate.points - made.landmarks, axis=1)
        rows.append(row)
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def synthetic_table(rows: list[dict]) -> list[str]:
    """Errors by kind of sensor, of seen and of all inner landmarks: means over the scans that have the estimate; in the share below
    4 mm the others count as misses."""
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


def calibration_table(rows: list[dict]) -> list[str]:
    """Whether covariance and confidence mean what they say."""
    lines = [
        f"{'calibration':14s}{'points':>8s}{'median d²/2.37':>16s}"
        + "".join(f"{f'conf {low:.1f}-{low + 0.2:.1f}':>22s}" for low in (0, 0.2, 0.4, 0.6, 0.8))
    ]
    for name in ("heatmaps", "registered", "fused"):
        squared, confidence, close = [], [], []
        for row in rows:
            estimate = row["result"].estimates.get(name)
            if estimate is None:
                continue
            error = estimate.points - row["made"].landmarks
            squared.append(
                np.einsum("li,lij,lj->l", error, np.linalg.inv(estimate.covariance), error)[INNER][estimate.seen[INNER]]
            )
            confidence.append(estimate.confidence[INNER])
            close.append(np.linalg.norm(error, axis=1)[INNER] < CLOSE_MM)
        squared, confidence, close = (np.concatenate(values) for values in (squared, confidence, close))
        line = f"{name:14s}{len(close):8d}{np.median(squared) / MEDIAN_CHI2:16.2f}"
        for low in (0, 0.2, 0.4, 0.6, 0.8):
            chosen = (confidence >= low) & (confidence <= low + 0.2 + 1e-9)
            line += f"{f'{100 * close[chosen].mean():.0f} % of {chosen.sum()}' if chosen.any() else '–':>22s}"
        lines.append(line)
    return lines


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


def barycentric_place(point: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest place on a mesh: corners (3,) and weights (3,)."""
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(triangles.astype(np.uint32)))
    answer = scene.compute_closest_points(o3d.core.Tensor(point[None].astype(np.float32)), nthreads=1)
    u, v = answer["primitive_uvs"].numpy()[0]
    return triangles[int(answer["primitive_ids"].numpy()[0])], np.array([1 - u - v, u, v])


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
            unit = result.item.location.scan.unit_mm or 1.0
            places = [
                barycentric_place(point, scan.points * _mm(scan, unit), scan.triangles)
                for point in result.estimates[name].points[INNER]
            ]
            for second, (other, found) in enumerate(meshes):
                if second != first and name in found.estimates:
                    factor = _mm(other, found.item.location.scan.unit_mm or 1.0)
                    carried = np.array([weights @ other.points[corners] * factor for corners, weights in places])
                    errors[name] += list(np.linalg.norm(found.estimates[name].points[INNER] - carried, axis=1))
    lines.append(f"{'mean mm':28s}" + "".join(f"{np.mean(errors[name]) if errors[name] else np.nan:12.2f}" for name in METHODS))
    return lines


def _mm(scan: Scan, unit_mm: float) -> float:
    """What a scan's own coordinates must be multiplied by to be mm."""
    return 1.0 if scan.unit_mm else unit_mm


def cost(job: Job, shared: pathlib.Path) -> list[str]:
    """Seconds on one thread: rendering a view, the network on it, and locating by either method."""
    find = finder(job.config.landmarks.weights)
    warm_up(job)
    lines = [f"{'seconds, one thread':28s}{'view':>8s}{'network':>9s}{'locate: landmarks':>20s}{'pose_search':>13s}"]
    for name in (
        "bench/depth/f36_kinect_v1.png",
        "bench/depth/james_truedepth.png",
        "scans/single/humface.ply",
        "scans/single/james.obj",
        "scans/single/walt.obj",
        "scans/single/kinect_room_profile.pcd",
        "scans/kinect_v1/kinect_000.png",
    ):
        scan = cleaning.clean(readers.read(shared / name))
        times = {}
        for method in ("landmarks", "pose_search"):
            settings = replace(job.config, locate=config.LocateConfig(method))
            start, found = time.perf_counter(), None
            with contextlib.suppress(FaceReliefError):
                found = methods.LOCATORS[method](scan, job.model, settings, lambda: None)
            times[method] = time.perf_counter() - start
        if found is None:
            lines.append(f"{pathlib.Path(name).name:28s}{'no face':>17s}{times['landmarks']:20.2f}{times['pose_search']:13.2f}")
            continue
        viewer, pose = Viewer(found.scan), view_of_pose(found.scan_to_model)
        viewer.view(pose)
        start = time.perf_counter()
        views = [viewer.view(pose) for _ in range(4)]
        middle = time.perf_counter()
        find([view.image for view in views])
        end = time.perf_counter()
        lines.append(
            f"{pathlib.Path(name).name:28s}{(middle - start) / 4:8.3f}{(end - middle) / 4:9.3f}"
            f"{times['landmarks']:20.2f}{times['pose_search']:13.2f}"
        )
    return lines


def start(job: Job, shared: pathlib.Path, match: str = "") -> list[str]:
    """Every real scan (whose path holds `match`), fitted from either start: what became of it, its fit's mean residual, inlier
    fraction and quality; seconds of locating."""
    lines = [f"{'start of the fit':44s}{'pose_search':>34s}{'landmarks':>34s}{'seconds':>16s}"]
    files = [path for folder in ("bench/depth", "scans") for path in sorted((shared / folder).rglob("*")) if path.is_file()]
    for path in files:
        with path.open("rb") as handle:
            if match not in path.as_posix() or not readers.claims(path.name, handle.read(4096)):
                continue
        line = f"{path.relative_to(shared).as_posix():44s}"
        seconds = ""
        for method in ("pose_search", "landmarks"):
            settings = replace(job.config, locate=config.LocateConfig(method))
            try:
                scan = readers.read(path)
                item = state.ScanState(source.Source(path.name, ""), scan=scan, deadline=state.Deadline(1e9, 0.0))
                chosen = replace(job, config=settings)
                item = steps.clean(item, chosen)
                begun = time.perf_counter()
                try:
                    item = steps.locate(item, chosen)
                finally:
                    seconds += f"{time.perf_counter() - begun:8.2f}"
                item = steps.rasterize(steps.fit(item, chosen), chosen)
                line += f"{'ok':>6s}{item.fit.residuals['mean']:9.3f} mm{item.fit.residuals['inlier_fraction']:9.3f}{item.fit.fit_quality:7.3f}"
            except FaceReliefError as error:
                line += f"{type(error).__name__ + ' ' + str(error)[:18]:>31s}"
        lines.append(line + f"{seconds:>16s}")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def main() -> int:
    parsing = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parsing.add_argument
    add("--rows", nargs="+", default=["synthetic", "humface", "repeat", "topology", "cost", "start"])
    add("--count", type=int, default=60, help="simulated scans; default %(default)s")
    add("--weights", default="landmarks", help="shipped weights, or a weights file")
    add("--locate", default="landmarks", help="locator; default %(default)s")
    add("--shared", type=pathlib.Path, default=ROOT.parent / "shared")
    add("--match", default="", help="row start: only scans whose path holds this")
    add(
        "--calibrate",
        action="store_true",
        help="measure the registered mesh's landmarks on the validation split and print the figures",
    )
    arguments = parsing.parse_args()
    job = Job(config.load(None, [f"landmarks.weights={arguments.weights}", f"locate.method={arguments.locate}"]), "")
    if arguments.calibrate:
        rows = synthetic(job, arguments.count, "validation")
        print("\n".join(synthetic_table(rows) + calibration_table(rows)))
        print(json.dumps(calibrate(rows)))
        return 0
    for name in arguments.rows:
        if name == "synthetic":
            rows = synthetic(job, arguments.count)
            lines = synthetic_table(rows) + calibration_table(rows)
        else:
            lines = {
                "humface": humface,
                "repeat": repeat,
                "topology": topology,
                "cost": cost,
                "start": functools.partial(start, match=arguments.match),
            }[name](job, arguments.shared)
        print("\n".join(lines) + "\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
