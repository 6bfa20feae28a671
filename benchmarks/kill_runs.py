"""Whether a run that is killed, and given again, ends as an undisturbed one.

    python benchmarks/kill_runs.py                              30 kills of a run of 40 scans; about an hour on 2 cores
    python benchmarks/kill_runs.py --kills 3 --scans 10

At random moments of a run its launcher, one of its workers, or both are ended by SIGKILL; then the same command is given again,
to its end. Manifest and every file must be equal to an undisturbed run's (seconds and wall times apart, as in same_outputs.py),
and nothing may be left over: no partial or lock file, no temporary folder, no process. One line a kill; exit code 1 where one
differs.
"""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import cheap_scans
import common
import same_outputs

from pipeline.launch.launch import WORK_FOLDER

VICTIMS = ("launcher", "worker", "both")


def main() -> int:
    arguments = common.parser(__doc__)
    arguments.add_argument("--kills", type=int, default=30, metavar="N", help="default: %(default)s")
    arguments.add_argument("--scans", type=int, default=40, metavar="N", help="default: %(default)s")
    arguments.add_argument("--face-every", type=int, default=4, metavar="N", help="scan that shows a face (default: %(default)s)")
    arguments.add_argument("--seed", type=int, default=0, help="of the moments")
    given = arguments.parse_args()
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="kill-runs-") as folder:
        work = pathlib.Path(folder)
        cheap_scans.make(work / "in", given.scans, given.face_every)
        began = time.monotonic()
        end_code = run(work, work / "undisturbed").wait()
        whole = time.monotonic() - began
        print(f"undisturbed: {given.scans} scans in {whole:.0f} s, exit code {end_code}", flush=True)
        wrong = 0
        for number in range(given.kills):
            victim, moment = VICTIMS[number % len(VICTIMS)], moments.uniform(0.02, 0.98) * whole
            faults = disturbed(work, victim, moment, end_code)
            wrong += bool(faults)
            print(
                f"{number:3d}  {victim:8s} after {moment:6.1f} s: {'; '.join(faults) or 'equal, nothing left over'}", flush=True
            )
    print(f"{given.kills - wrong} of {given.kills} as undisturbed")
    return 1 if wrong else 0


def run(work: pathlib.Path, out: pathlib.Path) -> subprocess.Popen:
    """The command, begun; its temporary files lie in a folder of their own."""
    temporary = work / "tmp"
    temporary.mkdir(exist_ok=True)
    words = ["--input", str(work / "in"), "--output", str(out), "--workers", "2", *cheap_scans.OPTIONS]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.run", *words],
        cwd=common.ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def workers_of(out: pathlib.Path) -> list[int]:
    return sorted(int(file.name) for file in (out / WORK_FOLDER).glob("face-relief-workers-*/*") if file.name.isdigit())


def disturbed(work: pathlib.Path, victim: str, moment: float, end_code: int) -> list[str]:
    """Kills a run after `moment` seconds, ends it, and says how it differs from the undisturbed one."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    process = run(work, out)
    time.sleep(moment)
    workers = workers_of(out)
    for worker in workers[: 1 if victim == "worker" else None] if victim != "launcher" else ():
        end(worker)
    if victim != "worker":
        end(process.pid)
    process.wait()
    code = run(work, out).wait()
    faults = [f"exit code {code}, not {end_code}"] if code != end_code else []
    return faults + differences(work / "undisturbed", out) + left_over(work, out, workers)


def end(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.kill(process, signal.SIGKILL)


def differences(undisturbed: pathlib.Path, out: pathlib.Path) -> list[str]:
    """Files that only one of the folders has, or that differ."""
    first, second = ({path.relative_to(at).as_posix() for path in at.rglob("*") if path.is_file()} for at in (undisturbed, out))
    aside = same_outputs.ASIDE
    same = lambda name: same_outputs.comparable(undisturbed, name, aside) == same_outputs.comparable(out, name, aside)
    faults = [f"missing: {name}" for name in sorted(first - second)] + [f"too much: {name}" for name in sorted(second - first)]
    return faults + [f"differs: {name}" for name in sorted(first & second) if not same(name)]


def left_over(work: pathlib.Path, out: pathlib.Path, workers: list[int]) -> list[str]:
    """What a run that has ended must not leave."""
    faults = [
        f"left: {path.relative_to(out)}"
        for path in out.rglob("*")
        if path.name in (WORK_FOLDER, ".lock") or ".partial" in path.name
    ]
    faults += [f"left: temporary {path.name}" for path in (work / "tmp").iterdir()]
    return faults + [f"left: worker {worker}" for worker in workers if is_worker(worker)]


def is_worker(process: int) -> bool:
    try:
        return b"pipeline.execution.worker" in pathlib.Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
