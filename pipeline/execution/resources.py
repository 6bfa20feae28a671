"""What this process may use of the machine: cores and memory, by its affinity and by the limits of the container it runs in."""

import os
from collections.abc import Iterator
from pathlib import Path

WORKER_MIB = 1536  # a worker with model, networks and a scan takes about 1.2 GiB
LAUNCHER_MIB = 512
MIB = 2**20


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may run on, no more than its container's CPU quota; at least 1. root: where /proc and /sys lie."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_quota(folder) for folder in _groups("cpu", root)]
    return max(1, int(min([float(cores), *(quota for quota in quotas if quota is not None)])))


def usable_mib(root: Path = Path("/")) -> int | None:
    """Memory of this machine or its container in MiB; None where neither tells."""
    told = [_bytes(folder / name) for folder in _groups("memory", root) for name in ("memory.max", "memory.limit_in_bytes")]
    for line in _text(root / "proc" / "meminfo").splitlines():
        if line.startswith("MemTotal:") and line.split()[1:2] and line.split()[1].isdigit():
            told.append(int(line.split()[1]) * 1024)
    known = [amount for amount in told if amount is not None]
    return min(known) // MIB if known else None


def default_workers(root: Path = Path("/")) -> int:
    """One to a core, as far as memory goes."""
    memory, cores = usable_mib(root), usable_cores(root)
    return cores if memory is None else max(1, min(cores, (memory - LAUNCHER_MIB) // WORKER_MIB))


def worker_mib(workers: int, root: Path = Path("/")) -> int | None:
    """A worker's share of the memory; None where that is not known."""
    memory = usable_mib(root)
    return None if memory is None else max(WORKER_MIB, (memory - LAUNCHER_MIB) // workers)


def used_mib(process: int, root: Path = Path("/")) -> int:
    """What a process holds in memory now, for itself alone; 0 where the system does not tell. Pages of files (libraries, weights)
    do not count: the system takes them back when it needs room. root: where /proc lies."""
    fields = _text(root / "proc" / str(process) / "statm").split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE") // MIB if len(fields) > 2 else 0


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the control groups (version 1 or 2) that this process is in, up to their roots: each may limit it."""
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            top = root / "sys" / "fs" / "cgroup"
        elif controller in controllers.split(","):
            top = root / "sys" / "fs" / "cgroup" / controller
        else:
            continue
        folder = top / path.lstrip("/")
        yield from (place for place in (folder, *folder.parents) if place == top or top in place.parents)


def _quota(folder: Path) -> float | None:
    """Cores that a group's CPU quota is worth."""
    words = _text(folder / "cpu.max").split() or [
        _text(folder / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    ]
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):  # "max" and −1: none
        return int(words[0]) / int(words[1])
    return None


def _bytes(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace")
    except OSError:
        return ""
