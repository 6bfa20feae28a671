"""A run that outlives its workers: Beam's in-process runner waits for ever where a worker process has died.

A worker dies when the system runs out of memory or a library crashes on a damaged scan. Then the other workers are
ended too, and the caller decides which scans to try again (`WorkerLost` tells which were under way).
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from pipeline.execution import journal

log = logging.getLogger(__name__)
GRACE_SECONDS = 2.0  # workers end a little before the pipeline does


class WorkerLost(Exception):
    """A worker process died; `unfinished` are the scan_ids it was at."""

    def __init__(self, unfinished: set[str]):
        super().__init__(f"a worker process died over {len(unfinished)} scans")
        self.unfinished = unfinished


def run_watched(run: Callable[[], None], folder: str, workers_folder: str) -> None:
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
    while thread.is_alive():
        thread.join(0.2)
        dead = {worker for worker in worker_ids(workers_folder) if not is_alive(worker)}
        if dead and thread.is_alive():
            thread.join(GRACE_SECONDS)
            if thread.is_alive() or failure:
                lost = set().union(*(journal.unfinished(folder, worker) for worker in dead))
                end_workers(workers_folder)
                raise WorkerLost(lost)
    if failure:
        raise failure[0]


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
