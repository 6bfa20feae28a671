"""The landmark network's training run: its data, validation and card."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from gan import weights
from gan.config import TrainingConfig
from gan.landmarks.dataset import describe, training_batches, whole_views
from gan.landmarks.figures import MEAN, errors_of, figures_of, sigma_scale, table, visibility_figures
from gan.landmarks.losses import loss_terms
from gan.landmarks.network import build_landmark_net
from gan.layout import Tensor
from gan.training.optimizer import compiled
from gan.training.run import TrainingRun
from geometry.errors import ConfigError

log = logging.getLogger(__name__)


class LandmarkModel(keras.Model):
    """x = views (b, h, w, 5), y = targets (b, l, 4) as `gan.landmarks.losses.TARGET`."""

    def __init__(self, config: TrainingConfig, **options: Any):
        super().__init__(**options)
        self.options = config.landmarks
        self.network = build_landmark_net(config.landmarks)
        self.trackers = {name: keras.metrics.Mean(name=name) for name in ("coordinate", "heatmap", "spread", "visibility")}
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        return self.network(inputs, training=training)

    def compute_loss(
        self, x: Tensor = None, y: Tensor = None, y_pred: Tensor = None, sample_weight: Tensor = None, training: bool = True
    ) -> Tensor:
        terms = loss_terms(y_pred, y, x.shape[1:3], self.options.target_mm)
        for name, value in terms.items():
            self.trackers[name].update_state(value)
        return sum(getattr(self.options, name) * value for name, value in terms.items())


class LandmarkTraining(TrainingRun):
    """The heatmap network of landmarks."""

    def build(self) -> None:
        self.model, self.averaged = compiled(LandmarkModel, self.config), build_landmark_net(self.config.landmarks)
        self.network = self.model.network

    def prepare(self) -> None:
        config = self.config
        self.views = list(whole_views(config.data, config.landmarks, "validation", config.schedule.validation_images))
        if not self.views:
            raise ConfigError(
                f"data: no view of {', '.join(config.data.validation or config.data.train)} has split 'validation'; "
                "make more, or set set.split_shares"
            )

    def begin(self) -> None:
        """Nothing: there is no simpler method to compare with."""

    def batches(self, first_batch: int) -> Iterator:
        return iter(training_batches(self.config.data, self.config.landmarks, self.config.seed, first_batch))

    def validate(self) -> tuple[float, dict[str, float], str]:
        """The score: the mean error in mm over the kinds of views."""
        errors = errors_of(self.averaged, self.views)
        figures, visibility = figures_of(errors), visibility_figures(errors)
        values = {f"{name}/{key}": value for name, row in figures.items() for key, value in row.items()}
        told = "  ".join(f"{name} {100 * value:.1f}%" for name, value in visibility.items())
        return (
            figures[MEAN]["mean_mm"],
            values | {f"visibility/{k}": v for k, v in visibility.items()},
            f"{table(figures)}\nvisibility: {told}",
        )

    def sample(self, path: Path) -> None:
        """Nothing: `pipeline.run` draws landmarks on scans."""

    def export_best(self) -> None:
        path = self.output / f"{self.config.network}{weights.SUFFIX}"
        weights.save(path, self.averaged, self.config, describe(self.config.data), figures={})
        # The figures are those of the file as shipped, after its rounding to float16.
        shipped, card = weights.load(path, build_landmark_net, "landmarks")
        errors = errors_of(shipped, self.views)
        figures = figures_of(errors)
        rounded = {name: {key: round(value, 4) for key, value in row.items()} for name, row in figures.items()}
        found = {
            "figures": rounded,
            "sigma_scale": round(sigma_scale(errors), 4),
            "step": self.progress.best_step,
            "images": len(self.views),
        }
        weights.write_card(path, card | found)
        log.info("wrote %s:\n%s", path, table(figures))
