"""The worker process of a run on this machine: Beam's own, started quietly, on one thread, and never left an orphan.

python -m pipeline.execution.worker        (started by pipeline.launch.launch; Beam's addresses are in the environment)
"""

import faulthandler
import logging
import os
import shlex
import sys
import threading
import time

from pipeline.execution.supervision import is_alive

PARENT_VARIABLE, FOLDER_VARIABLE = "FACE_RELIEF_LAUNCHER", "FACE_RELIEF_WORKERS"


def command(folder: str) -> str:
    """The shell command that starts a worker; to be run by the process that is to outlive it.

    folder: on this machine; each worker leaves a file there, named by its process id, with what libraries write to its
    standard error."""
    os.environ[PARENT_VARIABLE], os.environ[FOLDER_VARIABLE] = str(os.getpid()), folder
    return f"exec {shlex.quote(sys.executable)} -m {__name__}"


def _end_with(parent: int) -> None:
    """Ends this process soon after `parent` has: a killed run must not go on writing behind the back of the next."""
    while is_alive(parent):
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    from pipeline.execution import environment

    if parent := os.environ.get(PARENT_VARIABLE):
        threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    if folder := os.environ.get(FOLDER_VARIABLE):
        # the terminal belongs to the launcher; a crash leaves its last words here
        log = os.open(os.path.join(folder, str(os.getpid())), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 2)
        faulthandler.enable()
    environment.prepare()
    logging.disable(logging.WARNING)  # Beam sets its own levels as it starts
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
