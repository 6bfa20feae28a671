"""What the workers of a run tell its launcher: which scans they have begun, and how scans ended.

Each worker process appends lines to a file of its own in a folder on the launching machine; workers elsewhere find
no such folder and stay silent. The launcher counts lines for its progress bar, sees how long a scan has been under way, and
learns what a crashed worker did.
"""

import contextlib
import os
import time
from collections import Counter

BEGUN = "begun"
WAITING = "waiting"  # for the model to load, for its archive to be unpacked, for its batch to fill: not the scan's time


def note(folder: str, event: str, scan_id: str) -> None:
    """`event`: BEGUN, WAITING, or how the scan ended: ok, rejected, failed, kept. On a full disk nothing is told: the states of
    finished scans are what counts."""
    if folder and os.path.isdir(folder):
        with contextlib.suppress(OSError), open(os.path.join(folder, str(os.getpid())), "a", encoding="ascii") as handle:
            handle.write(f"{event} {scan_id}\n")


class Reader:
    """A journal as far as it is written; `update` reads what is new.

    ended: scan_id → how it ended; under_way: worker → scan_id → when this reader first saw it so, by `time.monotonic`, or None
    while the scan waits."""

    def __init__(self, folder: str):
        self.folder = folder
        self.ended: dict[str, str] = {}
        self.under_way: dict[int, dict[str, float | None]] = {}
        self._read: dict[str, int] = {}  # bytes of each file

    def update(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # the run has not begun, or is over
            for worker in filter(str.isdigit, os.listdir(self.folder)):
                self._update(worker)

    def _update(self, worker: str) -> None:
        with open(os.path.join(self.folder, worker), "rb") as handle:
            handle.seek(self._read.get(worker, 0))
            whole, _, _ = handle.read().rpartition(b"\n")
        if not whole:
            return
        self._read[worker] = self._read.get(worker, 0) + len(whole) + 1
        now, under_way = time.monotonic(), self.under_way.setdefault(int(worker), {})
        for line in whole.decode("ascii", "replace").splitlines():
            event, _, scan_id = line.partition(" ")
            if event in (BEGUN, WAITING):
                under_way[scan_id] = now if event == BEGUN else None
            else:
                under_way.pop(scan_id, None)
                self.ended[scan_id] = event

    def pass_over(self, seconds: float) -> None:
        """Time in which nothing ran here, as of a stopped process or a machine that slept: no scan took it."""
        for scans in self.under_way.values():
            scans.update({scan_id: since + seconds for scan_id, since in scans.items() if since is not None})

    def counts(self) -> Counter[str]:
        """Status → number of scans that ended so."""
        return Counter(self.ended.values())


def ended_scans(folder: str) -> dict[str, str]:
    """scan_id → how it ended, of those that have."""
    reader = Reader(folder)
    reader.update()
    return reader.ended


def unfinished(folder: str, worker: int) -> set[str]:
    """The scan_ids that a worker has begun and not ended."""
    reader = Reader(folder)
    reader.update()
    return set(reader.under_way.get(worker, ()))
