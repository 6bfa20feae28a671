"""A training run of any network: batches → steps, with curves, validation, samples and checkpoints between them.

A network's own part is a subclass: what its batches are, what a better network is, and what it exports.
"""

import abc
import dataclasses
import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from gan import weights
from gan.config import TrainingConfig, config_from_dict
from gan.training.checkpoints import Checkpoints, save_arrays
from gan.training.curves import Curves
from gan.training.optimizer import averaged_weights
from geometry.errors import ConfigError, FaceReliefError
from geometry.settings.commands import writable_folder
from geometry.settings.options import flatten, to_dict

log = logging.getLogger(__name__)
MAY_CHANGE = ("output", "threads", "schedule.")  # between a run and its resumption


@dataclasses.dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    step: int = 0
    best_step: int = 0
    best_score: float = math.inf
    seconds: float = 0.0
    last_validation: int = -1


class DivergedError(FaceReliefError):
    """The loss is no longer a number."""


class TrainingRun(abc.ABC):
    """One run in `config.output`; `resume` continues the newest checkpoint there. Raises ConfigError where
    the folder holds another run. Subclasses set the attributes below in `build`, and fill in what is abstract."""

    model: keras.Model
    """What is trained, compiled."""
    network: keras.Model
    """The part of it that is shipped."""
    averaged: keras.Model
    """One like that, with the moving average of its weights: what is validated."""

    def __init__(self, config: TrainingConfig, resume: bool = False):
        self.config, self.output = config, Path(config.output)
        self.checkpoints = Checkpoints(self.output / "checkpoints", config.schedule.keep_checkpoints)
        self._check_output(resume)
        self.build()
        state = self.checkpoints.restore(self._variables()) if resume else None
        self.progress = Progress(**state) if state else Progress()
        self.prepare()
        self.curves = Curves(writable_folder(self.output), self.progress.step)
        weights.write_json(self.output / "config.json", to_dict(config))

    @abc.abstractmethod
    def build(self) -> None:
        """Sets `model`, `network` and `averaged`."""

    @abc.abstractmethod
    def prepare(self) -> None:
        """Loads what validation needs."""

    @abc.abstractmethod
    def begin(self) -> None:
        """Once, before the first step."""

    @abc.abstractmethod
    def batches(self, first_batch: int) -> Iterator:
        """Endless (x, y) from batch number `first_batch` of the stream on."""

    def at_resolution(self, x: Any, y: Any) -> tuple:
        """The batch as the step wants it."""
        return x, y

    @abc.abstractmethod
    def validate(self) -> tuple[float, dict[str, float], str]:
        """Of `averaged`: a score that is the smaller the better, values for the curves, and a text for the log."""

    @abc.abstractmethod
    def sample(self, path: Path) -> None:
        """Draws what `averaged` does, to be looked at."""

    @abc.abstractmethod
    def export_best(self) -> None:
        """Writes the weights that `averaged` holds, with their card."""

    def run(self, max_minutes: float = 0.0) -> Progress:
        """Train until the last step, the time limit (minutes; 0: none) or lost patience; then export the best weights."""
        schedule, progress = self.config.schedule, self.progress
        if not progress.step:
            self.begin()
            self._validate()
        batches = self.batches(progress.step)
        started, earlier = time.monotonic(), progress.seconds
        while progress.step < schedule.steps and not self._patience_lost():
            x, y = self.at_resolution(*(own_arrays(part) for part in next(batches)))
            logs = self.model.train_on_batch(x, y, return_dict=True)
            progress.step += 1
            progress.seconds = earlier + time.monotonic() - started
            self._after_step(logs)
            if max_minutes and time.monotonic() - started > 60.0 * max_minutes:
                log.info("time limit of %g minutes reached at step %d", max_minutes, progress.step)
                break
        self._checkpoint()
        if progress.last_validation != progress.step:
            self._validate()
        with np.load(self.output / "best.npz") as best:
            for number, variable in enumerate(self.averaged.variables):
                variable.assign(best[f"{number:04d}"])
        self.export_best()
        return progress

    def _after_step(self, logs: dict) -> None:
        schedule, step = self.config.schedule, self.progress.step
        if not math.isfinite(logs["loss"]):
            raise DivergedError(
                f"step {step}: the loss is {logs['loss']}; lower optimizer.learning_rate or set optimizer.clip_norm"
            )
        if step % schedule.log_every == 0:
            self.curves.write(step, "train", logs)
            losses = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
            log.info("step %d  %.0f s  %s", step, self.progress.seconds, losses)
            self.model.reset_metrics()
        if step % schedule.validate_every == 0:
            self._validate()
        if schedule.samples_every and step % schedule.samples_every == 0:
            self._load_average()
            self.sample(self.output / "samples" / f"step-{step:08d}.png")
        if step % schedule.checkpoint_every == 0:
            self._checkpoint()

    def _validate(self) -> None:
        self._load_average()
        score, values, text = self.validate()
        self.curves.write(self.progress.step, "validation", values | {"score": score})
        log.info("validation at step %d, score %.4f\n%s", self.progress.step, score, text)
        self.progress.last_validation = self.progress.step
        if score < self.progress.best_score:
            self.progress.best_score, self.progress.best_step = score, self.progress.step
            save_arrays(self.output / "best.npz", {f"{n:04d}": np.asarray(v) for n, v in enumerate(self.averaged.variables)})

    def _load_average(self) -> None:
        values = averaged_weights(self.model, self.network) if self.progress.step else self.network.variables
        for variable, value in zip(self.averaged.variables, values):
            variable.assign(np.asarray(value))  # a copy: JAX gives the original away with the next step

    def _checkpoint(self) -> None:
        self.checkpoints.save(self.progress.step, self._variables(), dataclasses.asdict(self.progress))

    def _variables(self) -> list:
        """Everything a step reads: weights, optimizer (moments, averages, iteration) and the running means of the losses."""
        found = [*self.model.variables, *self.model.optimizer.variables, *self.model.metrics_variables]
        return list({id(variable): variable for variable in found}.values())

    def _patience_lost(self) -> bool:
        schedule = self.config.schedule
        waited = self.progress.last_validation - self.progress.best_step
        return bool(schedule.patience) and waited >= schedule.patience * schedule.validate_every

    def _check_output(self, resume: bool) -> None:
        saved = self.output / "config.json"
        if not resume:
            if self.checkpoints.paths():
                raise ConfigError(f"output: {self.output} holds a run; pass --resume or choose another output")
            return
        if not saved.exists():
            return
        before, now = flatten(config_from_dict(json.loads(saved.read_text()))), flatten(self.config)
        changed = [key for key in now if before[key] != now[key] and not key.startswith(MAY_CHANGE)]
        if changed:
            listed = ", ".join(f"{key} ({before[key]!r} → {now[key]!r})" for key in changed)
            raise ConfigError(f"--resume: {self.output} was trained with another {listed}; choose another output")


def own_arrays(batch: Any) -> Any:
    """TensorFlow tensors as they are under TensorFlow, as the backend's own for the others."""
    if keras.backend.backend() == "tensorflow":
        return batch
    own = keras.ops.convert_to_tensor
    return {name: own(value.numpy()) for name, value in batch.items()} if isinstance(batch, dict) else own(batch.numpy())
