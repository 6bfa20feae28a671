"""Train a network: `python -m gan.train --config configs/train_refiner.yaml [--set key=value …] [--resume] [--max-minutes M]`.

Writes to the config's `output`: config.json, curves.csv, tensorboard/, samples/, checkpoints/ and, at the end or at
the time limit, the best weights with their card. A killed run continues with --resume, bit for bit.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from geometry.settings.commands import add_settings, command_parser, exit_code

if TYPE_CHECKING:
    from gan.config import TrainingConfig


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
    """Raises ConfigError for an unknown network."""
    from geometry.errors import ConfigError
    from geometry.settings.loading import nearest

    if config.network not in TRAINERS:
        hint = nearest(config.network, TRAINERS)
        raise ConfigError(f"network: {config.network!r} is not one of {', '.join(TRAINERS)}{hint}")
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


def main(argv: Sequence[str] | None = None, program: str = "python -m gan.train") -> int:
    """0 done, 2 a wrong command, configuration or data set."""
    parser = command_parser(program, "Trains a network. Configurations that ship, by name: train_refiner, train_landmarks, …")
    add_settings(parser, "folder of the run (output)", required=False)
    parser.add_argument("--resume", action="store_true", help="continue the newest checkpoint in the output")
    parser.add_argument("--max-minutes", type=float, default=0.0, help="stop cleanly after so many minutes (0: no limit)")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)

    def run() -> int:
        from gan import config  # pydantic: --help shall not wait for it

        flags = [] if arguments.output is None else [f"output={json.dumps(arguments.output)}"]
        train(config.load(arguments.config, [*arguments.settings, *flags]), arguments.resume, arguments.max_minutes)
        return 0

    return exit_code(program, run)


if __name__ == "__main__":
    sys.exit(main())
