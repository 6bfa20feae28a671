"""Training curves: a CSV that a resumed run continues, and TensorBoard events beside it."""

import csv
from pathlib import Path

import tensorflow as tf


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
            writer = csv.DictWriter(file, ("step", "phase", "name", "value"))
            writer.writeheader()
            writer.writerows(kept)
        temporary.replace(self.path)
        self._events = tf.summary.create_file_writer(str(folder / "tensorboard"))

    def write(self, step: int, phase: str, values: dict[str, float]) -> None:
        """phase: train | validation."""
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerows([step, phase, name, repr(float(value))] for name, value in values.items())
        with self._events.as_default(step=step):
            for name, value in values.items():  # the raw operation needs no tensorboard package
                at, tag = tf.constant(step, tf.int64), f"{phase}/{name}"
                tf.raw_ops.WriteScalarSummary(writer=self._events._resource, step=at, tag=tag, value=float(value))
        self._events.flush()


def read_curves(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
