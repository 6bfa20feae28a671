"""A run that outlives its workers: Beam's in-process runner waits for ever where a worker process has died.

A worker dies when the system runs out of memory or a library crashes on a damaged scan, and is ended here when a scan takes too
long by the clock (a library that hangs asks for no time) or too much memory. Then the other workers are ended too, and the caller
tries the scans that were under way again, each alone (`WorkerLost` names them).
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.execution import journal, resources

log = logging.getLogger(__name__)
POLL_SECONDS = 0.2
GRACE_SECONDS = 2.0  # workers end a little before the pipeline does
STOPPED_SECONDS = 3.0  # longer between two looks: this process was stopped, as by Ctrl-Z, and its workers with it


@dataclass(frozen=True)
class Limits:
    """What a worker may spend on a scan: seconds by the clock, and memory in MiB (None: as much as there is)."""

    wall_seconds: float = float("inf")
    worker_mib: int | None = None


class WorkerLost(Exception):
    """A worker process died; `unfinished` are the scan_ids it was at; `reason`: why it was ended here, or ""."""

    def __init__(self, unfinished: set[str], reason: str = ""):
        super().__init__(f"a worker process died over {len(unfinished)} scans")
        self.unfinished, self.reason = unfinished, reason


def run_watched(run: Callable[[], None], folder: str, workers_folder: str, limits: Limits | None = None) -> None:
    """Calls `run()` and returns when it does. Raises what it raises, or WorkerLost.

    folder: the journal; workers_folder: where each worker has left a file named by its process id."""
    failure: list[BaseException] = []

    def target() -> None:
        try:
            run()
        except BaseException as error:  # handed to the caller below, KeyboardInterrupt included
            failure.append(error)

    # a dead worker breaks a dozen of Beam's threads; what there is to say about it is said by WorkerLost
    threading.excepthook = lambda broken: log.debug("%s: %s", broken.thread, broken.exc_value)
    thread = threading.Thread(target=target, name="pipeline", daemon=True)
    thread.start()
    try:
        _watch(thread, failure, journal.Reader(folder), workers_folder, limits or Limits())
    except BaseException:  # a worker that is lost, or an interruption: this process could not end before the others do
        end_workers(workers_folder)
        raise
    if failure:
        raise failure[0]


def _watch(
    thread: threading.Thread, failure: Sequence[BaseException], reader: journal.Reader, workers_folder: str, limits: Limits
) -> None:
    """Returns when the thread has ended. Raises WorkerLost."""
    reason, looked = "", time.monotonic()
    while thread.is_alive():
        thread.join(POLL_SECONDS)
        now = time.monotonic()
        if now - looked > STOPPED_SECONDS:
            reader.pass_over(now - looked)
        looked = now
        reader.update()
        for worker in filter(is_alive, worker_ids(workers_folder)):
            reason = ended_for(worker, reader.under_way.get(worker, {}), limits) or reason
        dead = {worker for worker in worker_ids(workers_folder) if not is_alive(worker)}
        if dead and thread.is_alive():
            thread.join(GRACE_SECONDS)
            if thread.is_alive() or failure:
                reader.update()  # a scan may have ended between the last look and its worker's end
                lost = {scan_id for worker in dead for scan_id in reader.under_way.get(worker, ())}
                raise WorkerLost(lost, reason)


def ended_for(worker: int, under_way: Mapping[str, float | None], limits: Limits) -> str:
    """Ends a worker that exceeds the limits. Why, or "" where it does not."""
    longest = max((time.monotonic() - since for since in under_way.values() if since is not None), default=0.0)
    used, most = resources.used_mib(worker), limits.worker_mib
    if longest > limits.wall_seconds:
        reason = f"took longer than limits.wall_seconds = {limits.wall_seconds:g} s by the clock; raise it for such scans"
    elif most is not None and used > most:
        reason = f"took more memory than limits.worker_mib, {most} MiB; raise it, use fewer --workers, or thin the scan"
    else:
        return ""
    if is_alive(worker):
        os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    return reason


def worker_ids(workers_folder: str) -> set[int]:
    return {int(name) for name in os.listdir(workers_folder) if name.isdigit()}


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def end_workers(workers_folder: str) -> None:
    for worker in worker_ids(workers_folder):
        if is_alive(worker):
            os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(map(is_alive, worker_ids(workers_folder))) and time.monotonic() < deadline:
        time.sleep(0.05)
