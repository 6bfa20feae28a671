"""How every network starts TensorFlow when it runs or is trained."""

import importlib.util
import logging
import os

from geometry.errors import ConfigError

BACKENDS = ("tensorflow", "jax", "torch")
log = logging.getLogger(__name__)


def start_tensorflow(threads: int) -> None:
    """Import TensorFlow, which is Keras' backend unless KERAS_BACKEND names another, with a fixed number of threads.

    Raises ConfigError where that backend is unknown or not installed."""
    backend = os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend not in BACKENDS or importlib.util.find_spec(backend) is None:
        fault = "is not installed" if backend in BACKENDS else f"is none of {', '.join(BACKENDS)}"
        raise ConfigError(
            f"the environment variable KERAS_BACKEND is {backend!r}, which {fault}; unset it, or install that backend"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # it has started computing; two refiners in one process must agree
        log.warning("TensorFlow already runs with another thread count than %d; the last bits of the output may differ", threads)
