"""Learning rate and averaged weights of every training."""

from __future__ import annotations

import keras

from gan.config import TrainingConfig


def learning_rate(config: TrainingConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up, then a cosine down to `final_fraction` at the last step (Loshchilov & Hutter 2017)."""
    options = config.optimizer
    warmup = min(options.warmup_steps, max(1, config.schedule.steps // 4))
    return keras.optimizers.schedules.CosineDecay(
        options.learning_rate / warmup,
        max(1, config.schedule.steps - warmup),
        alpha=options.final_fraction,
        warmup_target=options.learning_rate,
        warmup_steps=warmup,
    )


def averaged_weights(model: keras.Model, network: keras.Model | None = None) -> list:
    """The weights of `network`, a part of the compiled `model` (its generator where not given), trainable ones as their
    moving average, in the order of `network.variables`."""
    network = model.generator if network is None else network
    averages = {
        variable.path: average
        for variable, average in zip(model.optimizer._trainable_variables, model.optimizer._model_variables_moving_average)
    }
    return [averages.get(variable.path, variable) for variable in network.variables]
