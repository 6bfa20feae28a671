"""Seconds of locating and fitting per scan on one core, after loading.

    python benchmarks/fit_speed.py ../shared/scans/average_faces ../shared/bench/depth --repeat 3

Reading and cleaning are timed beside them but do not count as the fit; model and libraries are loaded, and one scan
has been through, before the clock runs. The smallest of the repetitions is reported, and the processor's seconds of
locate + fit beside the clock's: on a shared machine the rest measures the neighbours.
"""

# ruff: noqa: E402  (the thread limits must stand before NumPy loads)
from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TBB_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before NumPy and Open3D load: one core

import argparse
import pathlib
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from geometry import readers
from geometry.errors import FaceReliefError
from geometry.fitting import staged_fit
from geometry.locating import candidates, cleaning
from geometry.model.registry import load_model

STAGES = ("read", "clean", "locate", "fit")


def main() -> int:
    arguments = parser().parse_args()
    pin_to_one_core()
    model = load_model(arguments.model)
    paths = [path for given in arguments.scans for path in scan_files(given)]
    if not paths:
        sys.exit("no scans found")
    timed(paths[0], model)
    print(
        f"{'scan':44s}"
        + "".join(f"{stage:>9s}" for stage in STAGES)
        + f"{'locate+fit':>12s}{'processor':>11s}  outcome   (seconds)"
    )
    rows = []
    for path in paths:
        runs = [timed(path, model) for _ in range(arguments.repeat)]
        best = {stage: min((run[stage] for run, _ in runs if stage in run), default=float("nan")) for stage in STAGES}
        cells = "".join(f"{best[stage]:9.3f}" for stage in STAGES)
        processor = min(run.get("processor", float("nan")) for run, _ in runs)
        print(
            f"{'/'.join(path.parts[-2:])[-43:]:44s}{cells}{best['locate'] + best['fit']:12.3f}{processor:11.3f}  {runs[0][1]}",
            flush=True,
        )
        rows.append([best[stage] for stage in STAGES] + [best["locate"] + best["fit"], processor])
    fitted = np.array([row for row in rows if np.isfinite(row).all()])
    if len(fitted):
        for name, row in (("mean", fitted.mean(0)), ("longest", fitted.max(0))):
            print(
                f"{name + f' of {len(fitted)} fitted':44s}"
                + "".join(f"{value:9.3f}" for value in row[:4])
                + f"{row[4]:12.3f}{row[5]:11.3f}"
            )
    return 0


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("scans", nargs="*", type=pathlib.Path, default=[ROOT / "examples" / "scans"], help="files or folders")
    arguments.add_argument("--model", default="default", help="model name or file")
    arguments.add_argument("--repeat", type=int, default=3)
    return arguments


def pin_to_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def scan_files(path: pathlib.Path) -> list[pathlib.Path]:
    """The scans at or below a path, as the pipeline would list them."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in files if file.is_file() and readers.claims(file.name, file.read_bytes()[:65536])]


def timed(path: pathlib.Path, model) -> tuple[dict[str, float], str]:
    """(stage → seconds, outcome); a scan that ends early has no later stages."""
    seconds: dict[str, float] = {}
    value = path
    stages = (
        readers.read,
        cleaning.clean,
        lambda scan: candidates.candidate_locations(scan, model, lambda place: None)[0],
        lambda found: staged_fit.fit(found, model),
    )
    for stage, function in zip(STAGES, stages, strict=True):
        start, processor = time.perf_counter(), time.process_time()
        try:
            value = function(value)
        except FaceReliefError as error:
            return seconds, f"{stage}: {type(error).__name__}"
        seconds[stage] = time.perf_counter() - start
        if stage in ("locate", "fit"):
            seconds["processor"] = seconds.get("processor", 0.0) + time.process_time() - processor
    return seconds, f"fit quality {value.fit_quality:.2f}"


if __name__ == "__main__":
    sys.exit(main())
