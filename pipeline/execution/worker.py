"""The worker process of a run on this machine: Beam's own, started quietly, on one thread, and never left an orphan.

python -m pipeline.execution.worker        (started by pipeline.launch.launch; Beam's addresses are in the environment)
"""

import contextlib
import ctypes
import faulthandler
import io
import logging
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from typing import TextIO

from pipeline.execution.supervision import is_alive

PARENT_VARIABLE, FOLDER_VARIABLE = "FACE_RELIEF_LAUNCHER", "FACE_RELIEF_WORKERS"
MEMORY_VARIABLE = "FACE_RELIEF_WORKER_MIB"
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def command(folder: str, memory_mib: int | None = None) -> str:
    """The shell command that starts a worker; to be run by the process that is to outlive it.

    folder: on this machine; each worker leaves a file there, named by its process id, with what libraries write to its
    standard error. memory_mib: beyond which allocating fails; what is used is the supervision's to watch."""
    os.environ[PARENT_VARIABLE], os.environ[FOLDER_VARIABLE] = str(os.getpid()), folder
    os.environ[MEMORY_VARIABLE] = str(memory_mib or 0)
    os.environ["TMPDIR"] = tempfile.gettempdir()
    return f"exec {shlex.quote(sys.executable)} -m {__name__}"


def _die_with(parent: int) -> None:
    """Ends this process with `parent`: a killed run must not go on writing behind the back of the next."""
    if sys.platform.startswith("linux"):  # at once, by the kernel
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """The same within half a second, on any system."""
    while is_alive(parent):
        time.sleep(0.5)
    os._exit(1)


class Unfailing(io.TextIOBase):
    """A stream whose writes never fail. On a full disk Beam would otherwise fail to print a scan's error, never answer its
    runner, and the run would wait for ever."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()


def _bound_memory(memory_mib: int) -> None:
    """One allocation of more than there is fails here as a MemoryError of its scan, and does not bring the system down. Stacks
    and what libraries reserve but do not touch count too, hence the allowance."""
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        bound = (memory_mib + memory_mib // 2 + 2048) * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (bound if most == resource.RLIM_INFINITY else min(bound, most), most))


def main() -> None:
    from pipeline.execution import environment

    if parent := os.environ.get(PARENT_VARIABLE):
        _die_with(int(parent))
    if folder := os.environ.get(FOLDER_VARIABLE):
        # the terminal belongs to the launcher; a crash leaves its last words here
        log = os.open(os.path.join(folder, str(os.getpid())), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 2)
        sys.stderr = Unfailing(sys.stderr)
        faulthandler.enable()
    if memory_mib := int(os.environ.get(MEMORY_VARIABLE, 0)):
        _bound_memory(memory_mib)
    environment.prepare()
    logging.disable(logging.WARNING)  # Beam sets its own levels as it starts
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
