"""How a scan ends: stages within their time limit, errors as outcomes, batches in which only the culprit fails."""

import re
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

from geometry.errors import FaceReliefError, NoFaceFound
from pipeline.scans import files, manifest, steps
from pipeline.scans.chain import Step
from pipeline.scans.job import Job, refiner_of
from pipeline.scans.state import Deadline, ScanState

NAMES = {"raw_landmarks": "landmarks", "measure_landmarks": "measure"}  # steps that stand for others, in the manifest

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # of an object that a library names: the same input gives the same bytes


@dataclass(frozen=True)
class Outcome:
    """How a scan ended: its manifest line, what it was made from, and the traceback of an unexpected error.

    is_new: False where an earlier run's result is kept; name: the scan's source as the filesystem has it."""

    line: dict
    input_hash: str
    trace: str = ""
    is_new: bool = True
    name: str = ""


def ended_by(error: Exception, state: ScanState, stage: str) -> Outcome:
    """`NoFaceFound` rejects; every other error fails the scan, and only that scan."""
    status = "rejected" if isinstance(error, NoFaceFound) else "failed"
    message = _ADDRESS.sub("", " ".join(str(error).split()))
    expected = isinstance(error, FaceReliefError)
    reason = message if expected and message else f"{type(error).__name__}: {message}" if message else type(error).__name__
    trace = "" if expected else "".join(traceback.format_exception(error))
    return Outcome(manifest.line(state, status, stage, reason), state.input_hash, trace, name=state.source.name)


def advance(chain: Sequence[Step], state: ScanState, job: Job) -> ScanState | Outcome:
    """A scan through the steps of a chain, each within the time that is left; an Outcome where it ends."""
    for step in chain:
        result = timed(NAMES.get(step.__name__, step.__name__), step, state, job, limit_after=step is not files.write)
        if isinstance(result, Outcome):
            return result
        state = result
    return state


def timed(stage: str, step: Step, state: ScanState, job: Job, limit_after: bool = True) -> ScanState | Outcome:
    """One step on one scan, within the time that the scan has left."""
    start = time.perf_counter()
    deadline = Deadline(job.config.limits.seconds_per_scan, sum(state.seconds.values()))

    def done(result: ScanState) -> ScanState:
        seconds = state.seconds.get(stage, 0.0) + time.perf_counter() - start
        return replace(result, seconds={**state.seconds, stage: seconds}, deadline=None)

    try:
        result = step(replace(state, deadline=deadline), job)
        if limit_after:  # what is already written is kept
            deadline.check()
        return done(result)
    except Exception as error:  # whatever one scan does to a step, the others go on
        ended = ended_by(error, done(state), stage)
        spent = sum(ended.line["seconds"].values())
        late = spent > job.config.limits.seconds_per_scan
        return ended if ended.line["status"] != "rejected" or late else with_picture(ended, state, job)


def with_picture(ended: Outcome, state: ScanState, job: Job) -> Outcome:
    """A rejected scan's outcome with a picture of what was looked at; one that cannot be made costs it nothing else, and its
    traceback goes where unexpected errors do."""
    start = time.perf_counter()
    try:
        made = dict(files.write_rejected(state, job, str(ended.line["reason"])).files)
    except Exception as error:
        return replace(ended, trace="".join(traceback.format_exception(error)))
    seconds = {**ended.line["seconds"], "write": round(time.perf_counter() - start, 4)} if made else ended.line["seconds"]
    return replace(ended, line={**ended.line, "files": made, "seconds": seconds})


def refine_batch(batch: list[ScanState], job: Job) -> list[ScanState | Outcome]:
    """The batch in one step of the network; where that fails, one by one, so that only the culprits do."""
    try:
        refiner_of(job.config.refine)  # networks load outside of any scan's time
    except Exception as error:
        return [ended_by(error, state, "refine") for state in batch]
    start = time.perf_counter()
    try:
        refined = steps.refine(batch, job)
    except Exception as error:
        if len(batch) == 1:
            return [ended_by(error, batch[0], "refine")]
        return [result for state in batch for result in refine_batch([state], job)]
    share = (time.perf_counter() - start) / len(batch)
    return [_within_limit(replace(state, seconds={**state.seconds, "refine": share}), job) for state in refined]


def _within_limit(state: ScanState, job: Job) -> ScanState | Outcome:
    try:
        Deadline(job.config.limits.seconds_per_scan, sum(state.seconds.values())).check()
    except FaceReliefError as error:
        return ended_by(error, state, "refine")
    return state
