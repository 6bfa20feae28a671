"""Seconds of locating and fitting per scan on one core, after loading.

    python benchmarks/fit_speed.py ../shared/scans/average_faces ../shared/bench/depth --repeat 3

Reading and cleaning are timed beside them but do not count as the fit; model, networks and libraries are loaded, and one scan
has been through, before the clock runs. The smallest of the repetitions is reported, and the processor's seconds of
locate + fit beside the clock's: on a shared machine the rest measures the neighbours.
"""

import common
import numpy as np

from pipeline.inputs import listing
from pipeline.scans import config, steps
from pipeline.scans.chain import TO_THE_FIT
from pipeline.scans.job import Job, warm_up
from pipeline.scans.state import ScanState

STAGES = ("read", "clean", "locate", "fit")


def main() -> None:
    parser = common.parser(__doc__, "--set")
    parser.add_argument("scans", nargs="*", default=[str(common.ROOT / "examples" / "scans")], help="files or folders")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    common.pin_to_one_core()
    job = Job(config.load(settings=arguments.settings))
    warm_up(job)
    states = [steps.load(ScanState(source), job) for given in arguments.scans for source in listing.list_sources(given)]
    common.walk(TO_THE_FIT, states[0], job)
    print(
        f"{'scan':44s}"
        + "".join(f"{stage:>9s}" for stage in STAGES)
        + f"{'locate+fit':>12s}{'processor':>11s}  outcome   (seconds)"
    )
    fitted = []
    for state in states:
        runs = [common.walk(TO_THE_FIT, state, job) for _ in range(arguments.repeat)]
        row = [min(run.seconds.get(stage, np.nan) for run in runs) for stage in STAGES]
        row += [row[2] + row[3], min(run.processor.get("locate", np.nan) + run.processor.get("fit", np.nan) for run in runs)]
        outcome = runs[0].reason.partition(":")[0] or f"fit quality {runs[0].state.fit.fit_quality:.2f}"
        print(line(state.source.name[-43:], row) + f"  {outcome}", flush=True)
        if not runs[0].reason:
            fitted.append(row)
    for name, statistic in (("mean", np.mean), ("longest", np.max)) if fitted else ():
        print(line(f"{name} of {len(fitted)} fitted", statistic(fitted, axis=0)))


def line(name: str, row: list[float]) -> str:
    return f"{name:44s}" + "".join(f"{value:9.3f}" for value in row[:4]) + f"{row[4]:12.3f}{row[5]:11.3f}"


if __name__ == "__main__":
    main()
