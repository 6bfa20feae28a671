"""How far fits are off, and whether they say so: errors in units of the σ that the fit states, and the surface's distances.

    python benchmarks/fit_calibration.py --cache DIR                      the test split
    python benchmarks/fit_calibration.py --cache DIR --split validation   what the constants of geometry.fitting.posterior are of
    python benchmarks/fit_calibration.py --cache DIR --kind cut --count 900     faces cut in half alone

Simulated scans of faces off the model (benchmarks/located_scans.py), located as a run locates and fitted, both kept in DIR and
shared with benchmarks/acceptance.py. A σ is right where 68 % of the errors are within it: the table gives the 68 % quantile of
|error| / σ, 1 where that is so, over identity coefficients, and over points of the true face, seen and not seen, by the σ of
the fitted vertex nearest to them. Of faces cut in half it gives the share of missing points within σ by terciles of σ. Fits
that are wrong (more than 1.5 mm off where seen, or a lip landmark by more than 8 mm) are counted, and left out of the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import common
import located_scans
import numpy as np
from acceptance import fit_of, fits_folder, kept
from judged_fits import RUN
from located_scans import LocatedScan
from scipy.spatial import cKDTree

from geometry.fitting.result import FitResult
from geometry.mesh import TriangleMesh
from geometry.model.landmark_embedding import landmarks_on
from geometry.model.morphable_model import MorphableModel
from geometry.recognition.rightness import FACE_MM, LIPS_MM
from geometry.surfaces.closest_point import surface_distance
from pipeline.scans import config
from pipeline.scans.job import Job

MESHES = ("clean_mesh", "laser", "photogrammetry")
INLIERS = 0.68
FEWEST = 100  # points of a face of which a share is made


@dataclass(frozen=True)
class Row:
    """sensor, kind and jaw of a scan; ratios (K,) of its identity coefficients' errors to their σ, and their RMS error; of the
    points that were seen, and were not: error in mm and σ; the lips' largest error in mm."""

    sensor: str
    kind: str
    jaw: float
    identity: np.ndarray
    identity_rms: float
    seen: np.ndarray
    unseen: np.ndarray
    lips_mm: float

    @property
    def right(self) -> bool:
        return bool(self.seen.shape[1] and self.seen[0].mean() <= FACE_MM and self.lips_mm <= LIPS_MM)


def row_of(scan: LocatedScan, found: FitResult, model: MorphableModel) -> Row:
    truth = scan.truth
    face = found.scan_to_model.apply(truth.face.astype(float))
    error = surface_distance(face, TriangleMesh(found.vertices, model.triangles))
    skin = np.flatnonzero(model.regions["face"])
    sigma = found.posterior.sigma_mm[skin[cKDTree(found.vertices[skin]).query(face)[1]]]
    off = found.identity_coefficients - truth.identity[: len(found.identity_coefficients)]
    marks = landmarks_on(model, found.vertices) - found.scan_to_model.apply(truth.landmarks)
    told = np.stack([error, sigma])
    return Row(
        truth.sensor,
        truth.kind,
        truth.jaw,
        np.abs(off) / found.posterior.identity_sigma,
        float(np.sqrt((off**2).mean())),
        told[:, truth.face_seen],
        told[:, ~truth.face_seen],
        float(np.linalg.norm(marks[48:68], axis=1).max()),
    )


def rows_of(cache: Path, split: str, numbers: list[int], job: Job) -> Iterator[Row]:
    """Of the scans of these numbers that have a fit."""
    folder = cache / fits_folder(job, split)
    folder.mkdir(parents=True, exist_ok=True)
    for done, number in enumerate(numbers):
        scan = located_scans.generated(cache, split, number, job)
        if scan.location is not None:
            made = kept(folder / f"{number:05d}_{RUN}.pkl", partial(fit_of, scan, RUN, job))
            if not isinstance(made, str):
                yield row_of(scan, made[0], job.model)
        if done % 20 == 19:
            common.say(f"{done + 1} of {len(numbers)} scans")


def line(label: str, rows: list[Row]) -> str:
    right = [row for row in rows if row.right]
    seen, unseen = (np.concatenate(parts, axis=1) for parts in ([row.seen for row in right], [row.unseen for row in right]))
    ratio = lambda values: np.quantile(values, INLIERS) if len(values) > FEWEST else np.nan
    mean = lambda parts: np.mean([part[0].mean() for part in parts if part.shape[1] > FEWEST])
    return (
        f"{label:16s}{len(rows):6d}{len(rows) - len(right):7d}{mean([row.seen for row in right]):9.3f}"
        f"{mean([row.unseen for row in right]):8.2f}{np.mean([row.identity_rms for row in right]):10.2f}"
        f"{ratio(np.concatenate([row.identity for row in right])):10.2f}{ratio(seen[0] / seen[1]):8.2f}"
        f"{ratio(unseen[0] / unseen[1]):8.2f}"
    )


def halves(rows: list[Row]) -> list[str]:
    """Of the faces cut in half: points that nobody saw, by terciles of their σ."""
    cut = [row.unseen for row in rows if row.kind == "cut" and row.right and row.unseen.shape[1] > FEWEST]
    if not cut:
        return []
    error, sigma = np.concatenate(cut, axis=1)
    edges = np.quantile(sigma, [0, 1 / 3, 2 / 3, 1])
    lines = [f"{len(cut)} faces cut in half, what is missing", f"{'σ, mm':>16s}{'within σ':>10s}{'mean σ':>9s}{'RMS error':>11s}"]
    for low, high in [*zip(edges, edges[1:]), (edges[0], edges[-1])]:
        part = (sigma >= low) & (sigma <= high)
        within, rms = (error[part] <= sigma[part]).mean(), np.sqrt((error[part] ** 2).mean())
        lines.append(f"{f'{low:.2f}–{high:.2f}':>16s}{100 * within:9.1f}%{sigma[part].mean():9.2f}{rms:11.2f}")
    return lines


def main() -> None:
    parser = common.parser(__doc__, "--set")
    parser.add_argument("--cache", type=Path, required=True, help="folder of located scans")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--count", type=int, default=200, help="scans of the split; default %(default)s")
    parser.add_argument("--kind", choices=(*located_scans.KINDS, "common"), help="of these scans only those of one kind")
    arguments = parser.parse_args()
    job = Job(config.load(settings=arguments.settings))
    numbers = [n for n in range(arguments.count) if arguments.kind in (None, located_scans.kind_of(n))]
    rows = list(rows_of(arguments.cache, arguments.split, numbers, job))
    heads = (
        ("fits", 6),
        ("wrong", 7),
        ("seen mm", 9),
        ("unseen", 8),
        ("identity", 10),
        ("68 %: id", 10),
        ("seen", 8),
        ("unseen", 8),
    )
    print(f"{'':16s}" + "".join(f"{head:>{width}s}" for head, width in heads))
    groups = {"all": rows, "meshes": [row for row in rows if row.sensor in MESHES]}
    groups |= {"depth cameras": [row for row in rows if row.sensor not in MESHES], "jaw ≥ 0.3": [r for r in rows if r.jaw >= 0.3]}
    groups |= {sensor: [row for row in rows if row.sensor == sensor] for sensor in sorted({row.sensor for row in rows})}
    for label, members in groups.items():
        if any(row.right for row in members):
            print(line(label, members))
    print("\n".join(["", *halves(rows)]))


if __name__ == "__main__":
    main()
