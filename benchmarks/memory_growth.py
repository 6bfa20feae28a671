"""Whether the memory of a run stays flat, however many scans it has.

    python benchmarks/memory_growth.py                          10,000 tiny scans, each tenth shows a face; an hour on 2 cores
    python benchmarks/memory_growth.py --count 500 --face-every 50

Samples the memory (resident set) of the launcher and of each worker while `pipeline.run --stages landmarks` works, and compares
the mean over the last tenth of the scans with that over the second tenth. Exit code 1 where a process has grown by more than
--most.
"""

import pathlib
import subprocess
import sys
import tempfile
import time

import cheap_scans
import common
import numpy as np

from pipeline.execution import journal, resources
from pipeline.launch.launch import WORK_FOLDER


def main() -> int:
    arguments = common.parser(__doc__, "--json")
    arguments.add_argument("--count", type=int, default=10_000, metavar="N", help="scans (default: %(default)s)")
    arguments.add_argument(
        "--face-every", type=int, default=10, metavar="N", help="scan that shows a face (default: %(default)s)"
    )
    arguments.add_argument("--workers", type=int, default=2, metavar="N", help="default: %(default)s")
    arguments.add_argument("--most", type=float, default=0.05, metavar="SHARE", help="of growth allowed (default: %(default)s)")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="memory-growth-") as folder:
        work = pathlib.Path(folder)
        cheap_scans.make(work / "in", given.count, given.face_every)
        samples, code = watched(work, given.workers)
    figures = [figures_of(name, np.array(of), given.count) for name, of in sorted(samples.items())]
    common.keep({"exit_code": code, "processes": figures}, given.json)
    print(f"{'process':16s}{'second tenth':>14s}{'last tenth':>14s}{'growth':>9s}{'largest':>10s}   MiB")
    for of in figures:
        print(f"{of['process']:16s}{of['second']:14.1f}{of['last']:14.1f}{of['growth']:9.1%}{of['largest']:10.0f}")
    return 1 if code not in (0, 3) or not figures or any(not of["growth"] <= given.most for of in figures) else 0


def watched(work: pathlib.Path, workers: int) -> tuple[dict[str, list[tuple[int, int]]], int]:
    """Process → (scans that had ended, MiB) ten times a second, and the run's exit code."""
    out = work / "out"
    words = ["--input", str(work / "in"), "--output", str(out), "--workers", str(workers), *cheap_scans.OPTIONS]
    process = subprocess.Popen([sys.executable, "-m", "pipeline.run", *words], cwd=common.ROOT, stdout=subprocess.DEVNULL)
    reader, samples, shown = journal.Reader(str(out / WORK_FOLDER / "journal")), dict[str, list[tuple[int, int]]](), 0.0
    while process.poll() is None:
        time.sleep(0.1)
        reader.update()
        ids = sorted(int(file.name) for file in (out / WORK_FOLDER).glob("face-relief-workers-*/*") if file.name.isdigit())
        for name, number in [("launcher", process.pid), *((f"worker {each}", each) for each in ids)]:
            if ids and (used := resources.used_mib(number)):
                samples.setdefault(name, []).append((len(reader.ended), used))
        if time.monotonic() - shown > 60:
            shown = time.monotonic()
            common.say(f"{len(reader.ended)} scans: " + ", ".join(f"{name} {of[-1][1]} MiB" for name, of in samples.items()))
    return samples, process.returncode


def figures_of(name: str, samples: np.ndarray, count: int) -> dict:
    """Means over the scans of the second and of the last tenth; samples (n, 2): scans that had ended, MiB."""
    done, used = samples.T

    def tenth(first: int) -> float:
        inside = used[(done >= first * count / 10) & (done < (first + 1) * count / 10)]
        return float(inside.mean() if len(inside) else np.interp((first + 0.5) * count / 10, done, used))  # quick between samples

    second, last = tenth(1), tenth(9)
    return {"process": name, "second": second, "last": last, "growth": last / second - 1, "largest": int(samples[:, 1].max())}


if __name__ == "__main__":
    sys.exit(main())
