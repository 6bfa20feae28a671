"""Whether a scan's identity stays the same when less of it is there: whole, and cropped about the nose.

    python benchmarks/cropped_scans.py

Each scan is fitted whole and cropped to --radii about the fitted nose, each time through the chain of a run. The table gives the
RMS distance of the identity's shape (without expression, aligned rigidly over the same vertices) from that of the whole scan:
over the face region, and over what lies within the smallest radius, which every crop shows; and the 68 % quantile of the
coefficients' differences in parts of the σ that the cropped scan's fit states. Two scans of which one holds more differ by at
most what the other lacks: where that is told truly, the last figure is below 1.
"""

import pathlib

import common
import numpy as np

from geometry.fitting.result import FitResult
from geometry.readers import read
from geometry.scan import Scan
from geometry.transforms import SimilarityTransform
from pipeline.scans import chain, config
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState

SCANS = ("single/humface.ply", "single/james.obj", "average_faces/m66.ply", "average_faces/f56.ply")
INLIERS = 0.68


def main() -> None:
    parser = common.parser(__doc__, "--set")
    parser.add_argument("--scans", type=pathlib.Path, default=common.SHARED / "scans", help="the folder of the scans")
    parser.add_argument("--radii", type=float, nargs="+", default=[70.0, 90.0, 110.0], help="mm")
    arguments = parser.parse_args()
    job = Job(config.load(settings=arguments.settings))
    skin = job.model.regions["face"] & ~job.model.regions["eyes"]
    within = skin & (np.linalg.norm(job.model.mean, axis=1) < min(arguments.radii))
    print(f"{'':26s}{'radius':>8s}{'face':>8s}{'within':>8s}{'in σ':>8s}")
    for name in SCANS:
        scan = read(arguments.scans / name)
        whole, unit_mm = fitted(scan, job)
        nose = whole.scan_to_model.inverse().apply(np.zeros((1, 3)))
        for radius in arguments.radii:
            part, _ = fitted(scan.keep(np.linalg.norm(scan.points * unit_mm - nose, axis=1) < radius), job)
            one, other = (job.model.instance(fit.identity_coefficients) for fit in (part, whole))
            off = np.abs(part.identity_coefficients - whole.identity_coefficients) / part.posterior.identity_sigma
            millimetres = f"{apart(one, other, skin):8.2f}{apart(one, other, within):8.2f}"
            print(f"{name:26s}{radius:8.0f}{millimetres}{np.quantile(off, INLIERS):8.2f}", flush=True)


def fitted(scan: Scan, job: Job) -> tuple[FitResult, float]:
    """The fit, whatever a run thinks of it, and mm in one of the scan's units."""
    walked = common.walk(chain.TO_THE_FIT, ScanState.of(scan), job)
    if walked.state.fit is None:
        raise SystemExit(f"{scan.source}: {walked.reason}")
    return walked.state.fit, scan.unit_mm or walked.state.location.scan.unit_mm or 1.0


def apart(first: np.ndarray, second: np.ndarray, chosen: np.ndarray) -> float:
    """RMS distance of two shapes (n, 3) over the vertices `chosen` (n,), the first aligned rigidly to the second over them."""
    moved = SimilarityTransform.umeyama(first[chosen], second[chosen], with_scale=False).apply(first[chosen])
    return float(np.sqrt(((moved - second[chosen]) ** 2).sum(axis=1).mean()))


if __name__ == "__main__":
    main()
