"""What acceptance is worth: of fits called right with 90 %, how many are; how many right and wrong ones are accepted.

    python benchmarks/acceptance.py --cache DIR                              the shipped coefficients on the test split
    python benchmarks/acceptance.py --cache DIR --split validation --calibrate      fits geometry/data/acceptance.json anew

Simulated scans of the split's subjects (benchmarks/located_scans.py: open mouths, halves, profiles, hands), located as a run
locates and kept in DIR; fitted and encoded as a run does, which is kept too, until the code of the fit changes. Right means: the
true face where the sensor saw it lies within 1.5 mm of the fit on average, and no landmark of the lips is more than 8 mm off; far
off: more than 3 mm, or 16 mm.

The run's fits are wrong too seldom to learn from alone. Calibration adds others: "unmarked", every third scan once more without
landmarks, as a run that locates by geometry alone, and "nudged", every fifth scan begun 10–25° and 5–25 mm off besides. They are
reported apart; the first has a regression of its own.
"""

import argparse
import hashlib
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import common
import judged_fits as figures
import located_scans
import numpy as np
from located_scans import LocatedScan
from scipy.spatial.transform import Rotation

from geometry.charts.geometry_image import GeometryImage
from geometry.errors import FaceReliefError, NoFaceFound
from geometry.fitting import encoding
from geometry.fitting.encoding import Encoding
from geometry.fitting.result import FitResult
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh
from geometry.model.landmark_embedding import landmarks_on
from geometry.recognition import acceptance
from geometry.recognition.evidence import Evidence, evidence_of
from geometry.surfaces.closest_point import surface_distance
from geometry.transforms import SimilarityTransform
from pipeline.scans import config, methods
from pipeline.scans.job import Job

DATA = common.ROOT / "geometry" / "data" / "acceptance.json"
STARTS = (figures.RUN, figures.UNMARKED, figures.NUDGED)
EVERY = {figures.RUN: 1, figures.UNMARKED: 3, figures.NUDGED: 5}  # so many-th scans are fitted from that start
DECIDE_FITS = ("geometry/fitting", "geometry/surfaces", "geometry/charts", "geometry/model")  # the code that a fit depends on
DECIDE_ROWS = ("geometry/recognition/evidence.py",)
LIPS = slice(48, 68)
UNEXPLAINED = "no landmark"


def is_started(start: str, scan: LocatedScan) -> bool:
    """Whether a scan is fitted from that start at all."""
    return scan.location is not None and scan.truth.number % EVERY[start] == EVERY[start] - 1


def started(location: Location, start: str, number: int) -> Location:
    """The location as `start` says: all starts but a run's without landmarks."""
    if start == figures.RUN:
        return location
    blind = replace(location, estimate=None, coefficients=None)
    if start == figures.UNMARKED:
        return blind
    rng = np.random.default_rng(number)
    axis, shift = rng.normal(size=(2, 3))
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.deg2rad(rng.uniform(10, 25))).as_matrix()
    off = SimilarityTransform(turn, shift / np.linalg.norm(shift) * rng.uniform(5, 25))
    return replace(blind, scan_to_model=off.compose(location.scan_to_model))


def fit_of(scan: LocatedScan, start: str, job: Job) -> tuple[FitResult, Encoding] | str:
    """Fit and encoding of a located scan, or why there is none."""
    fitter, settings, model = methods.FITTERS[job.config.fit.method], job.config.fit, job.model
    try:
        fit = fitter(started(scan.location, start, scan.truth.number), model, settings, lambda: None)
        encoded = encoding.encode(scan.location.scan, fit, model, job.chart)
    except FaceReliefError as error:
        return f"{type(error).__name__}: {error}"
    return fit, Encoding(depth_alone(encoded.coarse), depth_alone(encoded.scan))


def depth_alone(image: GeometryImage) -> GeometryImage:
    """The channels that evidence is taken from."""
    channels = {name: values for name, values in image.channels.items() if name in ("depth", "noise_sigma")}
    return GeometryImage(channels, image.valid_mask, image.chart)


def row_of(scan: LocatedScan, start: str, made: tuple[FitResult, Encoding] | str, job: Job) -> figures.Row:
    """What the tables need of one fit."""
    truth, model = scan.truth, job.model
    row: figures.Row = {name: getattr(truth, name) for name in ("number", "kind", "sensor", "jaw")} | {
        "start": start,
        "reason": made,
    }
    if isinstance(made, str):
        return row | dict.fromkeys(
            [*Evidence.__dataclass_fields__, "discrepancy_sigma", "face_mm", "lips_mm", "lips_seen_mm"], np.nan
        )
    fit, encoded = made
    row |= asdict(evidence_of(fit, encoded, scan.location, model)) | {"reason": "", "discrepancy_sigma": fit.discrepancy_sigma}
    seen = fit.scan_to_model.apply(truth.face[truth.face_seen].astype(float))
    away = np.linalg.norm(landmarks_on(model, fit.vertices) - fit.scan_to_model.apply(truth.landmarks), axis=1)[LIPS]
    row["face_mm"] = float(surface_distance(seen, TriangleMesh(fit.vertices, model.triangles)).mean()) if len(seen) else np.nan
    row["lips_mm"] = float(away.max())
    row["lips_seen_mm"] = float(max(away[truth.landmarks_seen[LIPS]], default=0.0))
    return row


def judged(row: figures.Row, options: acceptance.AcceptanceOptions) -> figures.Row:
    """The row, with the bound of a face that it fails as its reason."""
    try:
        acceptance.require_bounds(row["visible_face"], row["on_face"], row["relief"], row["identity_sigma"], options)
        if not (figures.evidence(row).has_landmarks or row["discrepancy_sigma"] <= options.discrepancy_sigma):
            raise NoFaceFound(f"{UNEXPLAINED}, {row['discrepancy_sigma']:.1f} times a face's discrepancy")
    except NoFaceFound as error:
        return row | {"reason": row["reason"] or str(error)}
    return row


def rows_of(cache: Path, split: str, count: int, starts: tuple[str, ...], job: Job) -> Iterator[figures.Row]:
    """One row a located scan and start; fits and rows that the cache holds are as they were."""
    fits, rows = cache / fits_folder(job, split), cache / rows_folder(job, split)
    for folder in (fits, rows):
        folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        wanted = [(start, rows / f"{number:05d}_{start}.npz") for start in starts]
        if missing := [start for start, file in wanted if not file.exists()]:
            scan = located_scans.generated(cache, split, number, job)
            for start in (start for start in missing if is_started(start, scan)):
                made = kept(fits / f"{number:05d}_{start}.pkl", partial(fit_of, scan, start, job))
                np.savez(rows / f"{number:05d}_{start}.npz", **row_of(scan, start, made, job))
        for file in (file for _, file in wanted if file.exists()):
            with np.load(file) as held:
                yield judged({name: held[name].item() for name in held.files}, job.config.accept)
        if number % 20 == 19:
            common.say(f"{number + 1} of {count} scans")


def kept(file: Path, make: Callable[[], Any]) -> Any:
    """What the file holds; it is made and written where there is none."""
    if not file.exists():
        part = file.with_suffix(".part")
        part.write_bytes(pickle.dumps(make(), protocol=5))
        part.rename(file)
    return pickle.loads(file.read_bytes())


def fits_folder(job: Job, split: str) -> str:
    decides = (job.config.fit, job.config.chart, job.model.sha256)
    return f"fits_{split}_{fingerprint(decides, DECIDE_FITS)}"


def rows_folder(job: Job, split: str) -> str:
    decides = (job.config.fit, job.config.chart, job.model.sha256)
    return f"rows_{split}_{fingerprint(decides, DECIDE_FITS + DECIDE_ROWS)}"


def fingerprint(decides: tuple, code: tuple[str, ...]) -> str:
    """Of the options and the code that decide what is kept."""
    digest = hashlib.sha256(repr(decides).encode())
    for place in (common.ROOT / name for name in code):
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def least_of(row: figures.Row, options: acceptance.AcceptanceOptions) -> float:
    """The probability that a run asks of a fit. One from another start than a run's stands for a scan where no network looked."""
    return acceptance.least_probability(figures.evidence(row).has_landmarks, options, row["start"] != figures.RUN)


def report(rows: list[figures.Row], found: np.ndarray, least: np.ndarray) -> list[str]:
    """All tables of fits, their probabilities (n,), NaN where there was no fit, and what a run asks of each (n,)."""
    passed, fitted = np.array([not row["reason"] for row in rows]), np.array([np.isfinite(row["lips_mm"]) for row in rows])
    refused = f"{(~fitted).sum()} failed in the fit, {(fitted & ~passed).sum()} refused by the bounds of a face"
    lines = [f"{len(rows)} located scans; {refused}"]
    lost = [row for row, refused in zip(rows, fitted & ~passed) if refused and figures.right(row)]
    lines += [f"a right fit refused: {row['kind']} {row['sensor']} {row['number']}: {row['reason']}" for row in lost]
    keep = lambda mask: [row for row, kept in zip(rows, mask) if kept]
    lines += ["", *figures.calibration_table(keep(passed & fitted), found[passed & fitted])]
    of_fits = np.where(passed, found, 0.0)[fitted]
    lines += ["", *figures.acceptance_table(keep(fitted), of_fits >= least[fitted])]
    return [*lines, "", *figures.threshold_table(keep(fitted), of_fits)]


def main() -> None:
    parser = common.parser(__doc__, "--set")
    parser.add_argument("--cache", type=Path, required=True, help="folder of located scans and rows")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--count", type=int, default=1000, help="scans of the split; default %(default)s")
    parser.add_argument("--calibrate", action="store_true", help=f"fit and write {DATA.name}; tables are cross-validated")
    arguments: argparse.Namespace = parser.parse_args()
    job = Job(config.load(settings=arguments.settings))
    starts = STARTS if arguments.calibrate else STARTS[:1]
    rows = list(rows_of(arguments.cache, arguments.split, arguments.count, starts, job))
    fitted = [row for row in rows if np.isfinite(row["lips_mm"])]
    # a fit that only the bound of the discrepancy refuses still teaches what a wrong one looks like
    usable = [row for row in fitted if not row["reason"] or row["reason"].startswith(UNEXPLAINED)]
    if arguments.calibrate:
        parts = figures.regressions(usable)
        command = f"benchmarks/acceptance.py --split {arguments.split} --count {arguments.count} --calibrate"
        counts: dict[str, Any] = {"fits": len(usable), "right": sum(map(figures.right, usable))}
        made = {"command": command, **counts, "rows": rows_folder(job, arguments.split)}
        DATA.write_text(json.dumps(figures.as_json(parts, made), indent=1) + "\n", encoding="utf-8")
        print(DATA.read_text(encoding="utf-8"))
    values = figures.cross_validated(usable) if arguments.calibrate else figures.probabilities(usable)
    by_row = dict(zip(map(id, usable), values))
    found = np.array([by_row.get(id(row), 0.0) for row in rows])
    for start in starts:
        chosen = [number for number, row in enumerate(rows) if row["start"] == start]
        print(f"\n== fits started as {start!r}\n")
        group = [rows[number] for number in chosen]
        least = np.array([least_of(row, job.config.accept) for row in group])
        print("\n".join(report(group, found[chosen], least)))


if __name__ == "__main__":
    main()
