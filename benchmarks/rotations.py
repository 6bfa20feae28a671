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

import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import common
import numpy as np
from scipy.spatial.transform import Rotation

from geometry import readers
from geometry.fitting.result import FitResult
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
SHOWN = (
    "{scan:16s}{orientation:12s}{outcome:16s} confidence {confidence:4.2f}"
    "  located {located_deg:5.1f}° {located_mm:5.1f} mm"
    "  fitted {fitted_deg:5.1f}° {fitted_mm:5.1f} mm  residual × {residual_ratio:.3f}  {reason}"
)


@dataclass(frozen=True)
class Run:
    """One scan through the chain. located, fitted: file coordinates → model mm; None, as is fit, where it ended earlier, as
    `reason` says."""

    located: SimilarityTransform | None
    fitted: SimilarityTransform | None
    fit: FitResult | None
    confidence: float
    seconds: float
    reason: str

    @property
    def residual_mm(self) -> float:
        return np.nan if self.fit is None else self.fit.residuals["mean"]


def main() -> None:
    parser = common.parser(__doc__, "--json")
    add = parser.add_argument
    add("--scans", nargs="+", type=pathlib.Path, default=[common.SHARED / "scans"], help="folders or mesh files")
    add("--count", type=int, default=200, help="random rotations")
    add("--seed", type=int, default=0)
    add("--method", help="the locator; by default the configuration's")
    add("--every-axis", action="store_true", help="the 24 axis orientations for each scan, not dealt out")
    arguments = parser.parse_args()
    paths = scan_files(arguments.scans)
    if not paths:
        places = ", ".join(map(str, arguments.scans))
        raise SystemExit(f"no scans at {places}; give --scans the folder with average_faces and single, or mesh files")
    job = Job(config.load(settings=[f"locate.method={arguments.method}"] if arguments.method else []))
    upright = {path: run(readers.read(path), job) for path in paths}
    for path, reference in upright.items():
        figures = f"residual {reference.residual_mm:.3f} mm, confidence {reference.confidence:.2f}"
        print(f"{path.name:16s} upright: {figures} {reference.reason}", flush=True)
    paths = [path for path in paths if not upright[path].reason]
    rows = []
    for path, label, rotation in orientations(paths, arguments.count, arguments.seed, arguments.every_axis):
        rows.append(row_of(path, label, rotation, upright[path], job))
        if rows[-1]["outcome"] != RIGHT:
            print(SHOWN.format(**rows[-1]), flush=True)
    print("\n".join(table(rows)))
    common.keep({"method": job.config.locate.method, "seed": arguments.seed, "rows": rows}, arguments.json)


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
    for number, rotation in enumerate(Rotation.random(count, rng=np.random.default_rng(seed)).as_matrix()):
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
    location, fit = walk.state.location, walk.state.fit
    to_mm = SimilarityTransform(np.eye(3), np.zeros(3), walk.unit_mm(scan))
    located, fitted = (None if found is None else found.scan_to_model.compose(to_mm) for found in (location, fit))
    confidence = np.nan if location is None else location.confidence
    return Run(located, fitted, fit, confidence, sum(walk.seconds.values()), walk.reason)


def pose_error(
    found: SimilarityTransform | None, upright: SimilarityTransform, motion: SimilarityTransform
) -> tuple[float, float]:
    """(degrees, mm at the nose tip) between a pose of the turned scan and the upright scan's; NaN where there is none."""
    if found is None:
        return np.nan, np.nan
    rest = found.compose(motion).compose(upright.inverse())
    return rest.angle_deg, float(np.linalg.norm(rest.translation))  # the nose tip is the model's origin


def row_of(path: pathlib.Path, label: str, rotation: np.ndarray, upright: Run, job: Job) -> dict:
    """One turned scan against its upright run; surface_mm is NaN where nothing was fitted."""
    scan, motion = turned(readers.read(path), rotation)
    found = run(scan, job)
    surface_mm = np.nan
    located, fitted = (pose_error(pose, upright.fitted, motion) for pose in (found.located, found.fitted))
    if found.fit is not None:
        rest = found.fitted.compose(motion).compose(upright.fitted.inverse())
        surface_mm = float(np.linalg.norm(rest.apply(upright.fit.vertices) - found.fit.vertices, axis=1).mean())
    ratio = found.residual_mm / upright.residual_mm
    return {
        "scan": path.name,
        "orientation": label,
        "outcome": outcome(found, fitted, ratio),
        "confidence": found.confidence,
        "located_deg": located[0],
        "located_mm": located[1],
        "fitted_deg": fitted[0],
        "fitted_mm": fitted[1],
        "residual_ratio": ratio,
        "surface_mm": surface_mm,
        "seconds": found.seconds,
        "reason": found.reason,
        "rotation": rotation.tolist(),
    }


def outcome(found: Run, fitted: tuple[float, float], ratio: float) -> str:
    if found.reason:
        return REFUSED
    if fitted[0] > WRONG_DEG or fitted[1] > WRONG_MM:
        return SILENTLY_WRONG
    return RIGHT if ratio <= WORSE else WORSE_FIT


def table(rows: Sequence[dict]) -> list[str]:
    """One line a scan and one for all: how many are right, and how far from the upright run the median and the worst are."""
    outcomes = (RIGHT, WORSE_FIT, REFUSED, SILENTLY_WRONG)
    lines = [
        f"{'scan':16s}{'runs':>5s}"
        + "".join(f"{name:>16s}" for name in outcomes)
        + f"{'located ° mm':>18s}{'worst ° mm':>16s}{'fitted mm':>11s}{'worst':>8s}{'surface mm':>12s}{'seconds':>9s}"
    ]
    for name in [*dict.fromkeys(row["scan"] for row in rows), "all"]:
        of_scan = [row for row in rows if name in ("all", row["scan"])]
        counts = Counter(row["outcome"] for row in of_scan)
        keys = ("located_deg", "located_mm", "fitted_mm", "surface_mm", "seconds")
        values = np.array([[row[key] for key in keys] for row in of_scan])
        middle, worst = np.nanmedian(values, 0), np.nanmax(values, 0)
        lines.append(
            f"{name:16s}{len(of_scan):5d}"
            + "".join(f"{counts[kind]:9d} ({100 * counts[kind] / len(of_scan):3.0f}%)" for kind in outcomes)
            + f"{middle[0]:11.1f}° {middle[1]:4.1f}{worst[0]:10.1f}° {worst[1]:4.1f}"
            + f"{middle[2]:11.2f}{worst[2]:8.2f}{middle[3]:12.3f}{middle[4]:9.2f}"
        )
    return lines


if __name__ == "__main__":
    main()
