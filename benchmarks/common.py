"""What the benchmarks share: the packages beside them, one thread, manifests, and a scan's way through the chain."""

# ruff: noqa: E402  (the thread limits must stand before NumPy loads, the path before the packages)
import argparse
import json
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
sys.path.insert(0, str(ROOT))

from pipeline.execution.environment import prepare

prepare()  # as a run: one thread, and a quiet terminal

from geometry.errors import FaceReliefError
from pipeline.scans.chain import Step, through
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState


def parser(text: str | None) -> argparse.ArgumentParser:
    """A parser that prints a benchmark's own description as it stands."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)


def pin_to_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def say(text: str) -> None:
    """Progress, beside the table on standard output."""
    print(text, file=sys.stderr, flush=True)


def manifest(run: pathlib.Path) -> list[dict]:
    """The manifest lines of a run's OUT."""
    return [json.loads(line) for line in (run / "manifest.jsonl").read_text().splitlines() if line.strip()]


@dataclass(frozen=True)
class Walk:
    """How far a scan came: its state after the last step that went well, why the next did not ("" where all did), and each step's
    seconds by the clock and of the processor, the failed one's too."""

    state: ScanState
    reason: str
    seconds: dict[str, float]
    processor: dict[str, float]


def walk(chain: Sequence[Step], state: ScanState, job: Job) -> Walk:
    """A scan through the steps of a chain, until one refuses it."""
    reached, reason, seconds, processor = [state], "", {}, {}
    began = [time.perf_counter(), time.process_time()]

    def note(step: Step) -> None:
        now = [time.perf_counter(), time.process_time()]
        seconds[step.__name__], processor[step.__name__] = now[0] - began[0], now[1] - began[1]
        began[:] = now

    def after(step: Step, state: ScanState) -> None:
        note(step)
        reached.append(state)

    try:
        through(chain, state, job, after)
    except FaceReliefError as error:
        note(chain[len(reached) - 1])
        reason = f"{type(error).__name__}: {error}"
    return Walk(reached[-1], reason, seconds, processor)
