"""The refiner's training run: batches → steps, with curves, validation, samples and checkpoints between them."""
from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from pathlib import Path

import numpy as np

from gan import validation, weights
from gan.checkpoints import Checkpoints, save_arrays
from gan.config import TrainingConfig, TrainingConfigError, flatten, from_dict, to_dict
from gan.curves import Curves
from gan.dataset import describe, training_batches, whole_pairs
from gan.growing import factor_at, phases, reduced
from gan.networks import build_generator
from gan.pix2pix import averaged_weights, compiled
from gan.samples import save_grid
from geometry.errors import FaceReliefError

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


class RefinerTraining:
    """One run in `config.output`; `resume` continues the newest checkpoint there. Raises TrainingConfigError where
    the folder holds another run."""

    def __init__(self, config: TrainingConfig, resume: bool = False):
        self.config, self.output = config, Path(config.output)
        self.checkpoints = Checkpoints(self.output / "checkpoints", config.schedule.keep_checkpoints)
        phases(config.schedule.growing)  # a wrong phase is said now
        self._check_output(resume)
        self.model = compiled(config)
        self.averaged = build_generator(config.generator)
        self._factor = 0
        state = self.checkpoints.restore(self._variables()) if resume else None
        self.progress = Progress(**state) if state else Progress()
        self.images = list(whole_pairs(config.data, "validation", config.schedule.validation_images))
        if not self.images:
            files = ", ".join(config.data.validation or config.data.train)
            raise TrainingConfigError(f"data: no pair of {files} has split 'validation'")
        self.baselines = validation.baseline_errors(self.images, config.generator.pixel_mm)
        self.curves = Curves(self.output, self.progress.step)
        weights.write_json(self.output / "config.json", to_dict(config))

    def run(self, max_minutes: float = 0.0) -> Progress:
        """Train until the last step, the time limit (minutes; 0: none) or lost patience; then export the best weights."""
        schedule, progress = self.config.schedule, self.progress
        log.info("baselines on %d validation images:\n%s", len(self.images), validation.table(self.baselines))
        if not progress.step:
            self._write_baselines()
            self._validate()
        batches = iter(training_batches(self.config.data, self.config.seed, progress.step))
        started, earlier = time.monotonic(), progress.seconds
        while progress.step < schedule.steps and not self._patience_lost():
            x, y = self._at_resolution(*(_arrays(part) for part in next(batches)))
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
        self.export()
        return progress

    def _at_resolution(self, x: dict, y) -> tuple[dict, object]:
        """The batch at the step's resolution, and the model told of it."""
        factor = factor_at(self.progress.step, self.config.schedule.growing)
        if factor != self._factor:
            self._factor = factor
            self.model.generator.pixel_mm = self.config.generator.pixel_mm * factor
            self.model.train_function = None  # traced anew: Keras would generalize the old trace, and its pixel size
        return reduced(x, y, factor)

    def export(self) -> Path:
        """refiner.weights.h5 with its card, from the best validated weights."""
        with np.load(self.output / "best.npz") as best:
            for number, variable in enumerate(self.averaged.variables):
                variable.assign(best[f"{number:04d}"])
        path = self.output / f"{self.config.network}{weights.SUFFIX}"
        scale = validation.sigma_scale(self.averaged, self.images)
        weights.save(path, self.averaged, self.config, describe(self.config.data), figures={}, sigma_scale=scale)
        # The figures are those of the file as shipped, after its rounding to float16.
        shipped, card = weights.load(path)
        figures = {"refined": validation.refiner_errors(shipped, self.images), **self.baselines}
        covered = validation.coverage(shipped, self.images, card["sigma_scale"])
        validated = {"figures": _rounded(figures), "coverage": covered, "step": self.progress.best_step, "images": len(self.images)}
        weights.write_card(path, card | validated)
        log.info("wrote %s:\n%s", path, validation.table(figures))
        return path

    def _after_step(self, logs: dict) -> None:
        schedule, step = self.config.schedule, self.progress.step
        if not math.isfinite(logs["loss"]):
            raise DivergedError(f"step {step}: the loss is {logs['loss']}; lower optimizer.learning_rate or set optimizer.clip_norm")
        if step % schedule.log_every == 0:
            self.curves.write(step, "train", logs)
            losses = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
            log.info("step %d  %.0f s  %s", step, self.progress.seconds, losses)
            self.model.reset_metrics()
        if step % schedule.validate_every == 0:
            self._validate()
        if schedule.samples_every and step % schedule.samples_every == 0:
            self._load_average()
            path = self.output / "samples" / f"step-{step:08d}.png"
            save_grid(path, self.averaged, self._sample_images(), self.config.generator.pixel_mm)
        if step % schedule.checkpoint_every == 0:
            self._checkpoint()

    def _validate(self) -> None:
        self._load_average()
        errors = validation.refiner_errors(self.averaged, self.images)
        score = float(np.mean([errors[s].ratio(self.baselines["coarse"][s]) for s in errors if s != validation.MEAN]))
        self.curves.write(self.progress.step, "validation", _named("refined", errors) | {"score": score})
        log.info("validation at step %d, score %.4f (errors relative to the coarse surface's):\n%s", self.progress.step, score,
                 validation.table({"refined": errors, "smooth_oracle": self.baselines["smooth_oracle"]}))
        self.progress.last_validation = self.progress.step
        if score < self.progress.best_score:
            self.progress.best_score, self.progress.best_step = score, self.progress.step
            save_arrays(self.output / "best.npz", {f"{n:04d}": np.asarray(v) for n, v in enumerate(self.averaged.variables)})

    def _write_baselines(self) -> None:
        for name, errors in self.baselines.items():
            self.curves.write(0, "validation", _named(name, errors))

    def _sample_images(self) -> list:
        count = min(self.config.schedule.sample_images, len(self.images))
        return [self.images[k] for k in np.linspace(0, len(self.images) - 1, count).astype(int)]

    def _load_average(self) -> None:
        source = averaged_weights(self.model) if self.progress.step else self.model.generator.variables
        for variable, value in zip(self.averaged.variables, source):
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
                raise TrainingConfigError(f"output: {self.output} holds a run; pass --resume or choose another output")
            return
        if not saved.exists():
            return
        before, now = flatten(from_dict(TrainingConfig, json.loads(saved.read_text()))), flatten(self.config)
        changed = [key for key in now if before[key] != now[key] and not key.startswith(MAY_CHANGE)]
        if changed:
            listed = ", ".join(f"{key} ({before[key]!r} → {now[key]!r})" for key in changed)
            raise TrainingConfigError(f"--resume: {self.output} was trained with another {listed}; choose another output")


def _arrays(batch):
    """TensorFlow tensors as they are under TensorFlow, as the backend's own for the others."""
    import keras

    if keras.backend.backend() == "tensorflow":
        return batch
    own = keras.ops.convert_to_tensor
    return {name: own(value.numpy()) for name, value in batch.items()} if isinstance(batch, dict) else own(batch.numpy())


def _named(method: str, errors: dict[str, validation.SurfaceError]) -> dict[str, float]:
    return {
        f"{method}/{sensor}/{name}": value for sensor, error in errors.items() for name, value in dataclasses.asdict(error).items()
    }


def _rounded(figures: dict) -> dict:
    def plain(error) -> dict[str, float]:
        return {name: round(value, 4) for name, value in dataclasses.asdict(error).items()}

    return {method: {sensor: plain(error) for sensor, error in errors.items()} for method, errors in figures.items()}
