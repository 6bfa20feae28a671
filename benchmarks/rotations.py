"""Any orientation: scans turned at random and by the 24 axis orientations, located and fitted, against their upright run.

    python benchmarks/rotations.py --scans ../shared/scans --count 200 --seed 0
    python benchmarks/rotations.py --count 12 --method pose_search --json runs/rotations.json

--scans is the folder with `average_faces/`, `single/humface.ply` and `single/james.obj`, or any mesh files. The random
rotations (uniform over all orientations) and the 24 axis orientations are dealt out to the scans in turn; `--every-axis` gives
each scan all 24. Each scan goes through the pipeline's own chain, and the gate that decides whether a face is believed.

A turned scan is **right** where it is believed, its fitted pose is the upright one's, turned, within 15° and 15 mm at the
nose, and its mean residual is at most 5 % above the upright one's. **Silently wrong** is what is believed in another pose;
**refused** what ends as no face; **worse** what is in the right pose with a larger residual. Degrees and mm of the located
pose (before the fit) are against the fitted upright pose as well; `surface` is the mean distance between the two fitted
models, vertex by vertex.
"""

import argparse
import json
import pathlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import common
import numpy as np
from scipy.spatial.transform import Rotation

from geometry import readers
from geometry.scan import Scan
from geometry.transforms import SimilarityTransform
from pipeline.scans import config
from pipeline.scans.chain import TO_THE_FIT
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState

PATTERNS = ("average_faces/*.ply", "single/humface.ply", "single/james.obj")
WRONG_DEG, WRONG_MM = 15.0, 15.0
WORSE = 1.05  # times the upright scan's mean residual
RIGHT, WORSE_FIT, REFUSED, SILENTLY_WRONG = "right", "worse", "refused", "silently wrong"


@dataclass(frozen=True)
class Run:
    """One scan through the chain. located, fitted: file coordinates → model mm; None where it ended earlier, as `reason` says."""

    located: SimilarityTransform | None
    fitted: SimilarityTransform | None
    vertices: np.ndarray | None
    residual_mm: float
    confidence: float
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Row:
    scan: str
    orientation: str
    outcome: str
    confidence: float
    located_deg: float
    located_mm: float
    fitted_deg: float
    fitted_mm: float
    residual_ratio: float
    surface_mm: float
    seconds: float
    reason: str
    rotation: list[list[float]]


def main(given: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(given)
    paths = scan_files(arguments.scans)
    if not paths:
        places = ", ".join(map(str, arguments.scans))
        sys.exit(f"no scans at {places}; give --scans the folder with average_faces and single, or mesh files")
    job = Job(config.load(settings=[f"locate.method={arguments.method}"] if arguments.method else []))
    upright = {path: run(readers.read(path), job) for path in paths}
    for path, reference in upright.items():
        figures = f"residual {reference.residual_mm:.3f} mm, confidence {reference.confidence:.2f}"
        print(f"{path.name:16s} upright: {figures} {reference.reason}", flush=True)
    paths = [path for path in paths if not upright[path].reason]
    rows = []
    for path, label, rotation in orientations(paths, arguments.count, arguments.seed, arguments.every_axis):
        rows.append(row_of(path, label, rotation, upright[path], job))
        if rows[-1].outcome != RIGHT:
            print(formatted_row(rows[-1]), flush=True)
    print("\n".join(table(rows)))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        found = {"method": job.config.locate.method, "seed": arguments.seed, "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(found, indent=1))
    return 0


def parser() -> argparse.ArgumentParser:
    arguments = common.parser(__doc__)
    add = arguments.add_argument
    add("--scans", nargs="+", type=pathlib.Path, default=[common.SHARED / "scans"], help="folders or mesh files")
    add("--count", type=int, default=200, help="random rotations")
    add("--seed", type=int, default=0)
    add("--method", default=None, help="the locator; by default the configuration's")
    add("--every-axis", action="store_true", help="the 24 axis orientations for each scan, not dealt out")
    add("--json", type=pathlib.Path, default=None, help="file for every row")
    return arguments


def scan_files(given: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    folders = [path for path in given if path.is_dir()]
    found = [file for folder in folders for pattern in PATTERNS for file in sorted(folder.glob(pattern))]
    return found + [path for path in given if path.is_file()]


def orientations(
    paths: Sequence[pathlib.Path], count: int, seed: int, every_axis: bool
) -> Iterator[tuple[pathlib.Path, str, np.ndarray]]:
    """(scan, label, rotation (3, 3)): the axis orientations, then `count` random ones, which depend on the seed alone."""
    axes = Rotation.create_group("O").as_matrix()
    for number, rotation in enumerate(axes):
        for path in paths if every_axis else [paths[number % len(paths)]]:
            yield path, f"axis {number:02d}", rotation
    for number, rotation in enumerate(Rotation.random(count, rng=np.random.default_rng(seed)).as_matrix() if count else ()):
        yield paths[number % len(paths)], f"random {number:03d}", rotation


def turned(scan: Scan, rotation: np.ndarray) -> tuple[Scan, SimilarityTransform]:
    """The scan turned about its middle, and the transform from its coordinates to the turned one's."""
    middle = scan.points.mean(0)
    motion = SimilarityTransform(rotation, middle - rotation @ middle)
    normals = None if scan.normals is None else scan.normals @ rotation.T
    return replace(scan, points=motion.apply(scan.points), normals=normals), motion


def run(scan: Scan, job: Job) -> Run:
    """The chain of the pipeline, to the gate that believes a fit or not."""
    walk = common.walk(TO_THE_FIT, ScanState.of(scan), job)
    seconds, location, fit = sum(walk.seconds.values()), walk.state.location, walk.state.fit
    if location is None:
        return Run(None, None, None, np.nan, np.nan, seconds, walk.reason)
    to_mm = SimilarityTransform(np.eye(3), np.zeros(3), 1.0 if scan.unit_mm else location.scan.unit_mm)
    located = location.scan_to_model.compose(to_mm)
    if fit is None:
        return Run(located, None, None, np.nan, location.confidence, seconds, walk.reason)
    fitted = fit.scan_to_model.compose(to_mm)
    return Run(located, fitted, fit.vertices, fit.residuals["mean"], location.confidence, seconds, walk.reason)


def pose_error(
    found: SimilarityTransform | None, upright: SimilarityTransform, motion: SimilarityTransform
) -> tuple[float, float]:
    """(degrees, mm at the nose tip) between a pose of the turned scan and the upright scan's; NaN where there is none."""
    if found is None:
        return float("nan"), float("nan")
    rest = found.compose(motion).compose(upright.inverse())
    return rest.angle_deg, float(np.linalg.norm(rest.translation))  # the nose tip is the model's origin


def row_of(path: pathlib.Path, label: str, rotation: np.ndarray, upright: Run, job: Job) -> Row:
    scan, motion = turned(readers.read(path), rotation)
    found = run(scan, job)
    located, fitted = (pose_error(pose, upright.fitted, motion) for pose in (found.located, found.fitted))
    surface = ratio = float("nan")
    if found.fitted is not None:
        rest = found.fitted.compose(motion).compose(upright.fitted.inverse())
        surface = float(np.linalg.norm(rest.apply(upright.vertices) - found.vertices, axis=1).mean())
        ratio = found.residual_mm / upright.residual_mm
    errors = (*located, *fitted, ratio, surface)
    judged = outcome(found, fitted, ratio)
    return Row(path.name, label, judged, found.confidence, *errors, found.seconds, found.reason, rotation.tolist())


def outcome(found: Run, fitted: tuple[float, float], ratio: float) -> str:
    if found.reason:
        return REFUSED
    if fitted[0] > WRONG_DEG or fitted[1] > WRONG_MM:
        return SILENTLY_WRONG
    return RIGHT if ratio <= WORSE else WORSE_FIT


def formatted_row(row: Row) -> str:
    return (
        f"{row.scan:16s}{row.orientation:12s}{row.outcome:16s} confidence {row.confidence:4.2f}"
        f"  located {row.located_deg:5.1f}° {row.located_mm:5.1f} mm"
        f"  fitted {row.fitted_deg:5.1f}° {row.fitted_mm:5.1f} mm  residual × {row.residual_ratio:.3f}  {row.reason}"
    )


def table(rows: Sequence[Row]) -> list[str]:
    """One line a scan and one for all: how many are right, and how far from the upright run the median and the worst are."""
    outcomes = (RIGHT, WORSE_FIT, REFUSED, SILENTLY_WRONG)
    lines = [
        f"{'scan':16s}{'runs':>5s}"
        + "".join(f"{name:>16s}" for name in outcomes)
        + f"{'located ° mm':>18s}{'worst ° mm':>16s}{'fitted mm':>11s}{'worst':>8s}{'surface mm':>12s}{'seconds':>9s}"
    ]
    for name in [*dict.fromkeys(row.scan for row in rows), "all"]:
        of_scan = [row for row in rows if name in ("all", row.scan)]
        counts = Counter(row.outcome for row in of_scan)
        values = np.array([[r.located_deg, r.located_mm, r.fitted_mm, r.surface_mm, r.seconds] for r in of_scan])
        if not len(values):
            continue
        middle = np.nanmedian(values, 0) if np.isfinite(values).any() else np.full(5, np.nan)
        worst = np.nanmax(values, 0) if np.isfinite(values).any() else np.full(5, np.nan)
        lines.append(
            f"{name:16s}{len(of_scan):5d}"
            + "".join(f"{counts[kind]:9d} ({100 * counts[kind] / len(of_scan):3.0f}%)" for kind in outcomes)
            + f"{middle[0]:11.1f}° {middle[1]:4.1f}{worst[0]:10.1f}° {worst[1]:4.1f}"
            + f"{middle[2]:11.2f}{worst[2]:8.2f}{middle[3]:12.3f}{middle[4]:9.2f}"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
