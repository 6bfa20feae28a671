"""What the benchmarks share: the packages beside them, one thread, options, files of runs, and a scan's way through the chain."""

# ruff: noqa: E402  (the thread limits must stand before NumPy loads, the path before the packages)
import argparse
import json
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
sys.path.insert(0, str(ROOT))

from pipeline.execution.environment import prepare

prepare()  # as a run: one thread, and a quiet terminal

from geometry.errors import FaceReliefError
from geometry.model.morphable_model import MorphableModel
from geometry.model.registry import load_model
from geometry.scan import Scan
from pipeline.scans.chain import Step
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState

OPTIONS: dict[str, dict[str, Any]] = {
    "--shared": {"type": pathlib.Path, "default": SHARED, "help": "folder with bench/ and scans/"},
    "--set": {"dest": "settings", "action": "append", "default": [], "help": "section.key=value of the configuration"},
    "--limit": {"type": int, "help": "only the first N pairs"},
    "--json": {"type": pathlib.Path, "help": "write every figure here as well"},
}


def parser(text: str | None, *options: str) -> argparse.ArgumentParser:
    """A parser that prints a benchmark's own description as it stands, with some of `OPTIONS`."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    for option in options:
        made.add_argument(option, **OPTIONS[option])
    return made


def keep(figures: Any, file: pathlib.Path | None) -> None:
    """Writes the figures as JSON, where --json names a file."""
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(figures, indent=1))


def pin_to_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def say(text: str) -> None:
    """Progress, beside the table on standard output."""
    print(text, file=sys.stderr, flush=True)


def manifest(run: pathlib.Path) -> list[dict]:
    """The manifest lines of a run's OUT."""
    return [json.loads(line) for line in (run / "manifest.jsonl").read_text().splitlines() if line.strip()]


def model_of(run: pathlib.Path) -> MorphableModel:
    """The model that a run fitted."""
    return load_model(json.loads((run / "run.json").read_text())["config"]["model"]["name"])


def fit_of(run: pathlib.Path, line: dict) -> dict:
    """The fit.json of a scan that ended ok; line: of the run's manifest."""
    return json.loads((run / line["files"]["fit"]).read_text())


@dataclass(frozen=True)
class Walk:
    """How far a scan came: its state after the last step that went well, why the next did not ("" where all did), and each step's
    seconds by the clock and of the processor, the failed one's too."""

    state: ScanState
    reason: str
    seconds: dict[str, float]
    processor: dict[str, float]

    def unit_mm(self, scan: Scan) -> float:
        """What the coordinates of the scan that went in must be multiplied by to be mm; 1 where it was not located."""
        return 1.0 if scan.unit_mm or self.state.location is None else self.state.location.scan.unit_mm or 1.0


def walk(chain: Sequence[Step], state: ScanState, job: Job) -> Walk:
    """A scan through the steps of a chain, until one refuses it."""
    reason, seconds, processor = "", {}, {}
    for step in chain:
        clock, work = time.perf_counter(), time.process_time()
        try:
            state = step(state, job)
        except FaceReliefError as error:
            reason = f"{type(error).__name__}: {error}"
            break
        finally:
            seconds[step.__name__], processor[step.__name__] = time.perf_counter() - clock, time.process_time() - work
    return Walk(state, reason, seconds, processor)
