"""Whether a fit knows how little it knows of what it never saw: real faces, of each of which one half is cut off.

    python benchmarks/halved_scans.py

Each scan is fitted whole, which tells where its middle is and what is skin, and each half of it alone, through the chain of a
run. The points of the other half, from 3 mm beyond the middle on, at most 100 mm from the nose and 6 mm from a vertex of the
whole scan's fit, are the truth: how far they lie from the half's fit, and what `sigma_mm` of that says at the nearest vertex.
The share within σ would be 68 % of Gaussian errors.
"""

import pathlib

import common
import numpy as np
from cropped_scans import fitted
from scipy.spatial import cKDTree

from geometry.fitting.result import FitResult
from geometry.mesh import TriangleMesh
from geometry.readers import read
from geometry.surfaces.closest_point import surface_distance
from pipeline.scans import config
from pipeline.scans.job import Job

SCANS = ("average_faces/f56.ply", "average_faces/m66.ply", "single/humface.ply")
BEYOND_MM, NEAR_MM, SKIN_MM = 3.0, 100.0, 6.0


def main() -> None:
    parser = common.parser(__doc__, "--set")
    parser.add_argument("--scans", type=pathlib.Path, default=common.SHARED / "scans", help="the folder of the scans")
    arguments = parser.parse_args()
    job, every = Job(config.load(settings=arguments.settings)), []
    print(f"{'':26s}{'missing':>10s}{'within σ':>10s}{'mean σ':>8s}{'RMS mm':>8s}")
    for name in SCANS:
        scan = read(arguments.scans / name)
        whole, unit_mm = fitted(scan, job)
        points = scan.points * unit_mm
        local = whole.scan_to_model.apply(points)
        truth = (np.linalg.norm(local, axis=1) < NEAR_MM) & (cKDTree(whole.vertices[_skin(job)]).query(local)[0] < SKIN_MM)
        for side, missing in ((1, "left"), (-1, "right")):
            half, of_half = fitted(scan.keep(side * local[:, 0] < 0), job)
            if of_half != unit_mm:
                raise SystemExit(f"{name}: its half was taken for a scan in units of {of_half} mm, the whole for {unit_mm}")
            every.append(missed(half, points[truth & (side * local[:, 0] > BEYOND_MM)], job))
            print(f"{name:26s}{missing:>10s}{_line(*every[-1])}", flush=True)
    print(f"{'all':36s}{_line(*(np.concatenate(part) for part in zip(*every, strict=True)))}")


def missed(fit: FitResult, points: np.ndarray, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """How far points (p, 3), mm in the scan's frame, lie from the fit, (p,), and the σ, (p,), that it states nearest to them."""
    skin, local = _skin(job), fit.scan_to_model.apply(points)
    distance = surface_distance(local, TriangleMesh(fit.vertices, job.model.triangles))
    return distance, fit.posterior.sigma_mm[skin[cKDTree(fit.vertices[skin]).query(local)[1]]]


def _skin(job: Job) -> np.ndarray:
    return np.flatnonzero(job.model.regions["face"] & ~job.model.regions["eyes"])


def _line(distance: np.ndarray, sigma: np.ndarray) -> str:
    return f"{(distance <= sigma).mean():10.1%}{sigma.mean():8.2f}{np.sqrt((distance**2).mean()):8.2f}"


if __name__ == "__main__":
    main()
