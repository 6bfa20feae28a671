"""The whole job per scan on one core, warm, by stage, and the worker's peak memory.

    python benchmarks/job_speed.py ../shared/bench/depth --set refine.method=gan

The job runs twice with one worker in this process: first on --warm scans, which loads model, network and libraries;
then, forced, on all. Seconds per scan are the second run's, from its manifest; `other` is its wall time beyond the
stages (Beam, records, manifest, report). Peak memory is the whole process's (resource.getrusage), so it also holds
what the launching process needs.
"""

import pathlib
import resource
import sys
import tempfile
import time

import common
import numpy as np

from pipeline import run


def main() -> int:
    parser = common.parser(__doc__)
    default = common.ROOT / "examples" / "scans"
    parser.add_argument("input", nargs="?", type=pathlib.Path, default=default, help="what pipeline.run takes as --input")
    parser.add_argument("--warm", type=pathlib.Path, help="scans for the first, warming run (default: the same)")
    parser.add_argument("--output", type=pathlib.Path, help="keep the outputs here")
    arguments, extra = parser.parse_known_args()
    common.pin_to_one_core()
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.output or pathlib.Path(folder)
        job = ["--output", str(out), "--workers", "1", "--force", *extra]
        code = run.main(["--input", str(arguments.warm or arguments.input), *job])
        if code not in (0, 3):
            return code
        start = time.perf_counter()
        run.main(["--input", str(arguments.input), *job])
        wall = time.perf_counter() - start
        lines = common.manifest(out)
    show(lines, wall)
    return 0


def show(lines: list[dict], wall: float) -> None:
    done = [line["seconds"] for line in lines if line["status"] == "ok"]
    print(f"\n{len(done)} of {len(lines)} scans ok; seconds per ok scan")
    print(f"{'stage':12s}{'mean':>9s}{'median':>9s}{'longest':>9s}")
    stages = dict.fromkeys(stage for seconds in done for stage in seconds)
    table = {stage: [seconds[stage] for seconds in done if stage in seconds] for stage in stages}
    table["all stages"] = [sum(seconds.values()) for seconds in done] or [np.nan]
    for name, values in table.items():
        print(f"{name:12s}{np.mean(values):9.3f}{np.median(values):9.3f}{np.max(values):9.3f}")
    spent = sum(sum(line["seconds"].values()) for line in lines)
    print(f"{'other':12s}{(wall - spent) / max(len(lines), 1):9.3f}")
    print(f"{'wall / scan':12s}{wall / max(len(lines), 1):9.3f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory {peak / (2**30 if sys.platform == 'darwin' else 2**20):.2f} GiB")


if __name__ == "__main__":
    sys.exit(main())
