"""Train a network: `python -m gan.train --config configs/train_refiner.yaml [--set key=value …] [--resume] [--max-minutes M]`.

Writes to the config's `output`: config.json, curves.csv, tensorboard/, samples/, checkpoints/ and, at the end or at
the time limit, the best weights with their card. A killed run continues with --resume, bit for bit.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from gan.config import TrainingConfig, TrainingConfigError, load_config, nearest
from geometry.errors import FaceReliefError


def train_refiner(config: TrainingConfig, resume: bool, max_minutes: float) -> None:
    """The pix2pix refiner of geometry images."""
    from gan.refiner.training import RefinerTraining

    RefinerTraining(config, resume).run(max_minutes)


def train_landmarks(config: TrainingConfig, resume: bool, max_minutes: float) -> None:
    """The heatmap network that finds landmarks on views of raw scans."""
    from gan.landmarks.training import LandmarkTraining

    LandmarkTraining(config, resume).run(max_minutes)


# A network's trainer by its name in the config; another network is one function and one line.
TRAINERS: dict[str, Callable[[TrainingConfig, bool, float], None]] = {"refiner": train_refiner, "landmarks": train_landmarks}


def train(config: TrainingConfig, resume: bool = False, max_minutes: float = 0.0) -> None:
    """Raises TrainingConfigError for an unknown network."""
    if config.network not in TRAINERS:
        hint = nearest(config.network, TRAINERS)
        raise TrainingConfigError(f"network: {config.network!r} is not one of {', '.join(TRAINERS)}{hint}")
    set_threads(config.threads)
    TRAINERS[config.network](config, resume, max_minutes)


def set_threads(threads: int) -> None:
    """A fixed number of threads: TensorFlow's last bits change with it. Must come before TensorFlow computes anything."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()  # sums in a fixed order; measured cost: none
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow already runs (several trainings in one process)
        logging.getLogger(__name__).debug("TensorFlow keeps the thread count it started with")


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="python -m gan.train", description="Train a network from a YAML configuration.")
    arguments.add_argument("--config", required=True, help="YAML file, see configs/")
    arguments.add_argument(
        "--set", action="append", default=[], metavar="section.key=value", help="override one value (repeatable)"
    )
    arguments.add_argument("--resume", action="store_true", help="continue the newest checkpoint in the config's output")
    arguments.add_argument("--max-minutes", type=float, default=0.0, help="stop cleanly after so many minutes (0: no limit)")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """0 done, 2 a wrong command, configuration or data set."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    try:
        train(load_config(arguments.config, arguments.set), arguments.resume, arguments.max_minutes)
    except FaceReliefError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
