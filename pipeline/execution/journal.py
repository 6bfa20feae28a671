"""What the workers of a run tell its launcher: which scans they have begun, and how scans ended.

Each worker process appends lines to a file of its own in a folder on the launching machine; workers elsewhere find
no such folder and stay silent. The launcher counts lines for its progress bar, and learns what a crashed worker did.
"""

import os
from collections import Counter

BEGUN = "begun"


def note(folder: str, event: str, scan_id: str) -> None:
    """`event`: BEGUN, or how the scan ended: ok, rejected, failed, kept."""
    if folder and os.path.isdir(folder):
        with open(os.path.join(folder, str(os.getpid())), "a", encoding="ascii") as handle:
            handle.write(f"{event} {scan_id}\n")


def _events(folder: str, worker: int | str) -> list[tuple[str, str]]:
    try:
        with open(os.path.join(folder, str(worker)), encoding="ascii") as handle:
            lines = [line.split() for line in handle if line.endswith("\n")]
    except FileNotFoundError:  # it has begun nothing yet
        return []
    return [(event, scan_id) for event, scan_id in lines]


def ended(folder: str) -> Counter[str]:
    """Status → number of scans that ended so."""
    events = (event for worker in os.listdir(folder) for event, _ in _events(folder, worker))
    return Counter(event for event in events if event != BEGUN)


def ended_scans(folder: str) -> set[str]:
    """The scan_ids that have ended, however."""
    return {scan_id for worker in os.listdir(folder) for event, scan_id in _events(folder, worker) if event != BEGUN}


def unfinished(folder: str, worker: int) -> set[str]:
    """The scan_ids that a worker has begun and not ended."""
    open_scans = set()
    for event, scan_id in _events(folder, worker):
        (open_scans.add if event == BEGUN else open_scans.discard)(scan_id)
    return open_scans
