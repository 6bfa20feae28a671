"""How every network starts TensorFlow when it runs or is trained."""

import logging
import os

log = logging.getLogger(__name__)


def start_tensorflow(threads: int) -> None:
    """Import TensorFlow as Keras' backend with a fixed number of threads."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # it has started computing; two refiners in one process must agree
        log.warning("TensorFlow already runs with another thread count than %d; the last bits of the output may differ", threads)
