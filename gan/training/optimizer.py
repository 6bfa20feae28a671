"""Optimizer, learning rate and averaged weights of every training."""

from collections.abc import Callable
from typing import TypeVar

import keras

from gan.config import TrainingConfig

Model = TypeVar("Model", bound=keras.Model)


def compiled(make: Callable[[TrainingConfig], Model], config: TrainingConfig) -> Model:
    """A model with its optimizer, whose exponential moving average of the weights is what gets validated and shipped."""
    options = config.optimizer
    keras.utils.set_random_seed(config.seed)
    model = make(config)
    optimizer = keras.optimizers.Adam(
        learning_rate(config),
        beta_1=options.beta_1,
        beta_2=options.beta_2,
        global_clipnorm=options.clip_norm or None,
        use_ema=True,
        ema_momentum=options.ema_momentum,
    )
    model.compile(optimizer=optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)
    return model


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


def averaged_weights(model: keras.Model, network: keras.Model) -> list:
    """The weights of `network`, a part of the compiled `model`, trainable ones as their moving average, in the order of
    `network.variables`."""
    averages = {
        variable.path: average
        for variable, average in zip(model.optimizer._trainable_variables, model.optimizer._model_variables_moving_average)
    }
    return [averages.get(variable.path, variable) for variable in network.variables]
