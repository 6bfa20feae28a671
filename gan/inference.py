"""What every network shares when it runs: how TensorFlow is started, and mirrored images."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import numpy as np

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


def mirrored(image, names: Sequence[str]):
    """(b, h, w, c) left–right mirrored; the channel called normal_x, where there is one, changes sign."""
    flipped = image[:, :, ::-1]
    if "normal_x" not in names:
        return flipped
    return flipped * np.array([-1.0 if name == "normal_x" else 1.0 for name in names], np.float32)
