"""How a scan ends: stages within their time limit, errors as outcomes, batches in which only the culprit fails."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.errors import FaceReliefError, NoFaceFound
from pipeline.scans import manifest, steps
from pipeline.scans.job import Job, refiner_of
from pipeline.scans.state import Deadline, ScanState


@dataclass(frozen=True)
class Outcome:
    """How a scan ended: its manifest line, what it was made from, and the traceback of an unexpected error.

    is_new: False where an earlier run's result is kept."""

    line: dict
    input_hash: str
    trace: str = ""
    is_new: bool = True


def ended_by(error: Exception, item: ScanState, stage: str) -> Outcome:
    """`NoFaceFound` rejects; every other error fails the scan, and only that scan."""
    status = "rejected" if isinstance(error, NoFaceFound) else "failed"
    message = " ".join(str(error).split())
    expected = isinstance(error, FaceReliefError)
    reason = message if expected and message else f"{type(error).__name__}: {message}" if message else type(error).__name__
    trace = "" if expected else "".join(traceback.format_exception(error))
    finished = manifest.line(item.source, item.sha256, status, item.seconds, stage, reason, notes=item.notes)
    return Outcome(finished, item.input_hash, trace)


def timed(
    stage: str, function: Callable[[ScanState, Job], ScanState], item: ScanState, job: Job, limit_after: bool = True
) -> ScanState | Outcome:
    """One stage on one scan, within the time that the scan has left."""
    start = time.perf_counter()
    deadline = Deadline(job.config.limits.seconds_per_scan, sum(item.seconds.values()))

    def done(result: ScanState) -> ScanState:
        seconds = item.seconds.get(stage, 0.0) + time.perf_counter() - start
        return replace(result, seconds={**item.seconds, stage: seconds}, deadline=None)

    try:
        result = function(replace(item, deadline=deadline), job)
        if limit_after:  # what is already written is kept
            deadline.check()
        return done(result)
    except Exception as error:  # whatever one scan does to a stage, the others go on
        return ended_by(error, done(item), stage)


def refine_batch(batch: list[ScanState], job: Job) -> list[ScanState | Outcome]:
    """The batch in one step of the network; where that fails, one by one, so that only the culprits do."""
    try:
        refiner_of(job.config.refine)  # networks load outside of any scan's time
    except Exception as error:
        return [ended_by(error, item, "refine") for item in batch]
    start = time.perf_counter()
    try:
        refined = steps.refine(batch, job)
    except Exception as error:
        if len(batch) == 1:
            return [ended_by(error, batch[0], "refine")]
        return [result for item in batch for result in refine_batch([item], job)]
    share = (time.perf_counter() - start) / len(batch)
    return [_within_limit(replace(item, seconds={**item.seconds, "refine": share}), job) for item in refined]


def _within_limit(item: ScanState, job: Job) -> ScanState | Outcome:
    try:
        Deadline(job.config.limits.seconds_per_scan, sum(item.seconds.values())).check()
    except FaceReliefError as error:
        return ended_by(error, item, "refine")
    return item
