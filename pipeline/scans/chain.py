"""The one chain that every caller sends a scan through: read → clean → locate → fit → rasterize.

A run (`pipeline.execution`), pairs from scans, sampled pairs (`pipeline.training`), the Python API and the benchmarks all call
these steps. What differs is in the state that goes in: bytes or a simulated scan, and perhaps a start that is taken for granted.
"""

from collections.abc import Callable, Sequence

from pipeline.scans import files, measures, steps
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState

Step = Callable[[ScanState, Job], ScanState]
TO_THE_HEAD: tuple[Step, ...] = (steps.read, steps.clean, steps.locate)
TO_THE_FIT: tuple[Step, ...] = (*TO_THE_HEAD, steps.fit, steps.rasterize)
LIFTED: tuple[Step, ...] = (steps.lift, steps.landmarks, measures.measure)
REFINED: tuple[Step, ...] = (*LIFTED, files.write)
LANDMARKS_ALONE: tuple[Step, ...] = (*TO_THE_HEAD, steps.raw_landmarks, measures.measure_landmarks, files.write)


def through(chain: Sequence[Step], state: ScanState, job: Job) -> ScanState:
    """The state after the steps of `chain`. Raises what a step raises: NoFaceFound, ReadError, …"""
    for step in chain:
        state = step(state, job)
    return state


def fitted(state: ScanState, job: Job) -> ScanState:
    """A scan located, fitted, encoded and judged. Raises FaceReliefError."""
    return through(TO_THE_FIT, state, job)
