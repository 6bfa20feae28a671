"""Train a network: `python -m gan.train --config configs/train_refiner.yaml [--set key=value …] [--resume] [--max-minutes M]`.

Writes to the config's `output`: config.json, curves.csv, tensorboard/, samples/, checkpoints/ and, at the end or at
the time limit, the best weights with their card. A killed run continues with --resume, bit for bit.
"""

import json
import logging
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gan.inference import start_tensorflow
from geometry.settings.commands import add_settings, command_parser, exit_code

if TYPE_CHECKING:
    from gan.config import TrainingConfig


# A network's `gan.training.run.TrainingRun` by its name in the config, imported when it is trained; another network is one line.
TRAINERS = {"refiner": "gan.refiner.training:RefinerTraining", "landmarks": "gan.landmarks.training:LandmarkTraining"}


def train(config: "TrainingConfig", resume: bool = False, max_minutes: float = 0.0) -> None:
    """Raises ConfigError for an unknown network."""
    from geometry.errors import ConfigError
    from geometry.settings.loading import nearest

    if config.network not in TRAINERS:
        hint = nearest(config.network, TRAINERS)
        raise ConfigError(f"network: {config.network!r} is not one of {', '.join(TRAINERS)}{hint}")
    set_threads(config.threads)
    pkgutil.resolve_name(TRAINERS[config.network])(config, resume).run(max_minutes)


def set_threads(threads: int) -> None:
    """A fixed number of threads: TensorFlow's last bits change with it. Must come before TensorFlow computes anything."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    start_tensorflow(threads)  # whatever the backend: TensorFlow reads the records
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()  # sums in a fixed order; measured cost: none


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
