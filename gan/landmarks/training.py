"""The landmark network's training run: its losses, validation and card."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from gan import weights
from gan.config import TrainingConfig
from gan.landmarks.dataset import describe, training_batches, whole_views
from gan.landmarks.network import LandmarkNet, build_landmark_net, cell_centres
from gan.layout import Tensor
from gan.training.optimizer import compiled
from gan.training.run import TrainingRun
from geometry.errors import ConfigError

log = logging.getLogger(__name__)
INNER = slice(17, 68)  # of ibug68: the jaw line slides with the view
MEAN = "mean"  # over the kinds of views
TAIL = 5.0  # degrees of freedom of the error's Student distribution: gross errors shall not set the spread
MEDIAN_CHI2 = 1.3863  # of two dimensions: ln 4


class LandmarkModel(keras.Model):
    """x = views (b, h, w, 5), y = targets (b, l, 4) as `gan.landmarks.dataset.TARGET`."""

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


def loss_terms(prediction: Mapping[str, Tensor], target: Tensor, size: tuple[int, int], target_mm: float) -> dict[str, Tensor]:
    """Unweighted losses: coordinate, the distance of the peak in mm; heatmap, the cross-entropy to a Gaussian of `target_mm`
    about the truth; spread, the negative log-likelihood of the peak's error under a bivariate Student distribution of the
    predicted scale, which sees the peak as given; visibility, a cross-entropy."""
    truth, visible, weight = target[..., :2], target[..., 2], target[..., 3]
    mean = lambda values, by=weight: ops.sum(values * by) / (ops.sum(by) + 1e-6)
    error = prediction["position"] - truth
    distance = ops.sqrt(ops.sum(ops.square(error), axis=-1) + 0.01)
    a, b, c = (prediction["factor"][..., k] for k in range(3))
    fixed = ops.stop_gradient(error)
    squared = ops.square(a * fixed[..., 0] + b * fixed[..., 1]) + ops.square(c * fixed[..., 1])
    spread = 0.5 * (TAIL + 2) * ops.log(1 + squared / TAIL) - ops.log(a) - ops.log(c)
    logit = prediction["visibility"]
    inside = ops.cast(weight > 0, "float32")
    agreement = ops.maximum(logit, 0) - logit * visible + ops.log(1 + ops.exp(-ops.abs(logit)))
    return {
        "coordinate": mean(distance),
        "heatmap": mean(_heatmap_loss(prediction["heatmaps"], truth, size, target_mm)),
        "spread": mean(spread),
        "visibility": mean(agreement, inside),
    }


def _heatmap_loss(heatmaps: Tensor, truth: Tensor, size: tuple[int, int], target_mm: float) -> Tensor:
    """heatmaps (s, b, n, l) logits → (b, l), the mean over the stacks."""
    centres = ops.convert_to_tensor(cell_centres(size[0] // 2, size[1] // 2))
    squared = ops.sum(ops.square(centres[None, :, None] - truth[:, None]), axis=-1)
    wanted = ops.softmax(-squared / (2 * target_mm**2), axis=1)
    return ops.mean(ops.logsumexp(heatmaps, axis=2) - ops.sum(wanted[None] * heatmaps, axis=2), axis=0)


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


def errors_of(network: LandmarkNet, views: list, batch: int = 16) -> list[dict]:
    """One dict a view: kind, sensor; error_mm and squared Mahalanobis distance, (l,) each, that count where `used` (l,), the
    visible inner landmarks; visible and the logit of it, (l,), that count where `counted` (l,)."""
    found = []
    for start in range(0, len(views), batch):
        part = views[start : start + batch]
        prediction = network.predict_on_batch(np.stack([view for view, *_ in part]))
        answers = (prediction[name] for name in ("position", "factor", "visibility"))
        for position, factor, logit, (_, target, kind, sensor) in zip(*answers, part):
            dx, dy = (position - target[:, :2]).T
            squared = (factor[:, 0] * dx + factor[:, 1] * dy) ** 2 + (factor[:, 2] * dy) ** 2
            used = (target[:, 2] > 0.5) & (target[:, 3] > 0)
            used[: INNER.start] = False
            found.append(
                {
                    "kind": kind,
                    "sensor": sensor,
                    "error_mm": np.hypot(dx, dy),
                    "squared": squared,
                    "used": used,
                    "visible": target[:, 2] > 0.5,
                    "counted": target[:, 3] > 0,
                    "logit": logit,
                }
            )
    return found


def figures_of(errors: list[dict]) -> dict[str, dict[str, float]]:
    """By kind of view and by sensor: the visible inner landmarks' mean error in the picture's plane, in mm, and shares within
    2 and 4 mm; and the mean of the kinds."""
    found = {}
    for group in ("kind", "sensor"):
        for name in sorted({item[group] for item in errors}):
            values = np.concatenate([item["error_mm"][item["used"]] for item in errors if item[group] == name])
            if len(values):
                found[name] = {
                    "mean_mm": float(values.mean()),
                    "within_2": float((values < 2).mean()),
                    "within_4": float((values < 4).mean()),
                }
    kinds = [found[name] for name in sorted({item["kind"] for item in errors}) if name in found]
    return {MEAN: {key: float(np.mean([row[key] for row in kinds])) for key in kinds[0]}, **found}


def visibility_figures(errors: list[dict]) -> dict[str, float]:
    """How well visibility is told: share of landmarks right at a probability of one half, and the same by views astray."""
    right = lambda items: float(
        np.mean(np.concatenate([((i["logit"] > 0) == i["visible"])[i["counted"]] for i in items] or [[np.nan]]))
    )
    astray = [item for item in errors if not item["visible"].any()]
    return {"right": right([item for item in errors if item["visible"].any()]), "right_astray": right(astray)}


def sigma_scale(errors: list[dict]) -> float:
    """What the predicted σ must be multiplied by so that half of the errors lie within the covariance's median ellipse."""
    squared = np.concatenate([item["squared"][item["used"]] for item in errors])
    return float(np.sqrt(np.median(squared) / MEDIAN_CHI2))


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each kind of views and each sensor."""
    lines = [f"{'views':<16}{'mean mm':>9}{'< 2 mm':>9}{'< 4 mm':>9}"]
    return "\n".join(
        lines
        + [
            f"{name:<16}{row['mean_mm']:>9.3f}{100 * row['within_2']:>8.1f}%{100 * row['within_4']:>8.1f}%"
            for name, row in figures.items()
        ]
    )
