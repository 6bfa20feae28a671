"""The refiner's training run: crops of pairs, validation against the simple refinements it must beat, and its card."""

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gan import weights
from gan.refiner import validation
from gan.refiner.dataset import describe, training_batches, whole_pairs
from gan.refiner.growing import factor_at, phases, reduced
from gan.refiner.networks import build_generator
from gan.refiner.pix2pix import Pix2Pix
from gan.refiner.samples import save_grid
from gan.training.optimizer import compiled
from gan.training.run import TrainingRun
from geometry.errors import ConfigError

log = logging.getLogger(__name__)


class RefinerTraining(TrainingRun):
    """The pix2pix refiner of geometry images."""

    def build(self) -> None:
        phases(self.config.schedule.growing)  # a wrong phase is said now
        self.model, self.averaged = compiled(Pix2Pix, self.config), build_generator(self.config.generator)
        self.network = self.model.generator
        self._factor = 0

    def prepare(self) -> None:
        config = self.config
        self.images = list(whole_pairs(config.data, "validation", config.schedule.validation_images))
        if not self.images:
            raise ConfigError(
                f"data: no pair of {', '.join(config.data.validation or config.data.train)} has split 'validation'; "
                "make more, or set set.split_shares"
            )
        self.baselines = validation.baseline_errors(self.images, config.generator.pixel_mm)
        log.info("baselines on %d validation images:\n%s", len(self.images), validation.table(self.baselines))

    def begin(self) -> None:
        for name, errors in self.baselines.items():
            self.curves.write(0, "validation", _named(name, errors))

    def batches(self, first_batch: int) -> Iterator:
        return iter(training_batches(self.config.data, self.config.seed, first_batch))

    def at_resolution(self, x: dict, y: Any) -> tuple[dict, Any]:
        """The batch at the step's resolution, and the model told of it."""
        factor = factor_at(self.progress.step, self.config.schedule.growing)
        if factor != self._factor:
            self._factor = factor
            self.model.generator.pixel_mm = self.config.generator.pixel_mm * factor
            self.model.train_function = None  # traced anew: Keras would generalize the old trace, and its pixel size
        return reduced(x, y, factor)

    def validate(self) -> tuple[float, dict[str, float], str]:
        """The score: errors relative to the coarse surface's, the mean over sensors."""
        errors = validation.refiner_errors(self.averaged, self.images)
        score = float(np.mean([errors[s].ratio(self.baselines["coarse"][s]) for s in errors if s != validation.MEAN]))
        text = validation.table({"refined": errors, "smooth_oracle": self.baselines["smooth_oracle"]})
        return score, _named("refined", errors), f"(errors relative to the coarse surface's)\n{text}"

    def sample(self, path: Path) -> None:
        count = min(self.config.schedule.sample_images, len(self.images))
        chosen = [self.images[k] for k in np.linspace(0, len(self.images) - 1, count).astype(int)]
        save_grid(path, self.averaged, chosen, self.config.generator.pixel_mm)

    def export_best(self) -> None:
        path = self.output / f"{self.config.network}{weights.SUFFIX}"
        scale = validation.sigma_scale(self.averaged, self.images)
        weights.save(path, self.averaged, self.config, describe(self.config.data), figures={}, sigma_scale=scale)
        # The figures are those of the file as shipped, after its rounding to float16.
        shipped, card = weights.load(path, build_generator)
        figures = {"refined": validation.refiner_errors(shipped, self.images), **self.baselines}
        covered = validation.coverage(shipped, self.images, card["sigma_scale"])
        validated = {
            "figures": _rounded(figures),
            "coverage": covered,
            "step": self.progress.best_step,
            "images": len(self.images),
        }
        weights.write_card(path, card | validated)
        log.info("wrote %s:\n%s", path, validation.table(figures))


def _named(method: str, errors: dict[str, validation.SurfaceError]) -> dict[str, float]:
    return {
        f"{method}/{sensor}/{name}": value
        for sensor, error in errors.items()
        for name, value in dataclasses.asdict(error).items()
    }


def _rounded(figures: dict) -> dict:
    def plain(error: validation.SurfaceError) -> dict[str, float]:
        return {name: round(value, 4) for name, value in dataclasses.asdict(error).items()}

    return {method: {sensor: plain(error) for sensor, error in errors.items()} for method, errors in figures.items()}
