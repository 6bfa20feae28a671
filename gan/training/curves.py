"""Training curves: a CSV that a resumed run continues, and TensorBoard events beside it."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

COLUMNS = ("step", "phase", "name", "value")


class Curves:
    """Long-format CSV (step, phase, name, value); rows after `first_step` of an earlier run are dropped, so that
    a run that was killed and resumed leaves the same file as one that was not."""

    def __init__(self, folder: Path, first_step: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "curves.csv"
        earlier = read_curves(self.path) if self.path.exists() and first_step else []
        kept = [row for row in earlier if int(row["step"]) <= first_step]
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)
        os.replace(temporary, self.path)
        self._events = _event_writer(folder / "tensorboard")

    def write(self, step: int, phase: str, values: dict[str, float]) -> None:
        """phase: train | validation."""
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerows([step, phase, name, repr(float(value))] for name, value in values.items())
        if self._events is not None:
            self._events(step, {f"{phase}/{name}": value for name, value in values.items()})


def read_curves(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _event_writer(folder: Path) -> Callable[[int, dict[str, float]], None] | None:
    """A function (step, values) that appends scalar events; the raw operation needs no tensorboard package.
    None where TensorFlow is not installed (training under JAX or PyTorch)."""
    try:
        import tensorflow as tf
    except ImportError:
        return None
    writer = tf.summary.create_file_writer(str(folder))

    def write(step: int, values: dict[str, float]) -> None:
        with writer.as_default(step=step):
            for name, value in values.items():
                at = tf.constant(step, tf.int64)
                tf.raw_ops.WriteScalarSummary(writer=writer._resource, step=at, tag=name, value=float(value))
        writer.flush()

    return write
