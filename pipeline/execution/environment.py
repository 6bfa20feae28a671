"""The process a run lives in: one thread to a worker, quiet libraries, and the system libraries that Open3D needs."""

import ctypes
import importlib.util
import logging
import os
import sys
import warnings

from geometry.errors import ConfigError

# Workers are processes, one to a core. Threads inside them would fight for the cores, and sums taken by another
# number of threads end in other bits: results must not depend on the number of workers.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
_QUIET_VARIABLES = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "GRPC_VERBOSITY": "ERROR", "GLOG_minloglevel": "3"}
# library → Debian package, for the Open3D wheels on Linux
_OPEN3D_LIBRARIES = {"libX11.so.6": "libx11-6", "libGL.so.1": "libgl1", "libudev.so.1": "libudev1", "libgomp.so.1": "libgomp1"}


def prepare() -> None:
    """For a launcher and its workers, to be called before NumPy or TensorFlow is imported: one thread to a process, which its
    workers inherit, and a quiet terminal, which belongs to the run's own words."""
    os.environ.update({name: "1" for name in _THREAD_VARIABLES})
    for name, value in _QUIET_VARIABLES.items():
        os.environ.setdefault(name, value)
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # what stops a run is raised as well
    warnings.filterwarnings("ignore", module=r"(apache_beam|google|keras|tensorflow)\b.*")


def check_libraries() -> None:
    """Raises ConfigError with the packages to install where Open3D could not be imported, without importing it."""
    if importlib.util.find_spec("open3d") is None:
        raise ConfigError("the Python package open3d is missing; install the program again with: pip install .")
    if not sys.platform.startswith("linux"):
        return
    missing = []
    for library, package in _OPEN3D_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(package)
    if missing:
        raise ConfigError(f"Open3D needs system libraries; on Debian or Ubuntu: apt-get install {' '.join(missing)}")
