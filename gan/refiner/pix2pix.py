"""The conditional GAN as one Keras model, trainable by any backend's own `train_step`.

`compute_loss` returns the *sum* of both players' losses. The discriminator's is taken on
stop_gradient(fake), the generator's through the discriminator's `stateless_call` on stopped weights,
so that each player's variables receive exactly the gradient of their own loss.
"""

from typing import Any

import keras
from keras import ops

from gan.config import TrainingConfig
from gan.layout import Tensor
from gan.refiner.losses import adversarial_loss, depth_loss, emphasised, fooling_loss, normal_loss, pixel_weights, quantile_loss
from gan.refiner.networks import build_discriminator, build_generator, discriminator_surface
from gan.refiner.surface import normals_from_components


class Pix2Pix(keras.Model):
    """x = {"coarse", "scan"}, y = truth (b, h, w, 4), in the layout of `gan.layout`. Calling it is the generator."""

    def __init__(self, config: TrainingConfig, **options: Any):
        super().__init__(**options)
        self.config = config
        self.generator = build_generator(config.generator)
        self.adversarial = config.loss.adversarial > 0
        self.discriminator = build_discriminator(config.discriminator) if self.adversarial else None
        names = ["depth", "normal", "depth_normal", "uncertainty"] + (
            ["adversarial", "discriminator"] if self.adversarial else []
        )
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}
        self.built = True

    def call(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.generator(inputs)

    def compute_loss(
        self, x: Tensor = None, y: Tensor = None, y_pred: Tensor = None, sample_weight: Tensor = None, training: bool = True
    ) -> Tensor:
        terms = self.loss_terms(x, y, y_pred)
        for name, value in terms.items():
            self.trackers[name].update_state(value)
        return self.generator_loss(terms) + terms.get("discriminator", 0.0)

    def generator_loss(self, terms: dict[str, Tensor]) -> Tensor:
        """The generator's weighted sum of `loss_terms`."""
        return sum(getattr(self.config.loss, name) * terms[name] for name in self.trackers if name != "discriminator")

    def loss_terms(self, x: dict[str, Tensor], truth: Tensor, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        """Unweighted losses by name."""
        options = self.config.loss
        scan_mask, noise, truth_mask = x["scan"][..., -1:], x["scan"][..., -2:-1], truth[..., -1:]
        weights = pixel_weights(truth_mask, scan_mask, noise, options.unobserved, options.noise_balance)
        truth_residual = truth[..., :1]
        truth_normals = normals_from_components(truth[..., 1:2], truth[..., 2:3])
        log_error = ops.log(ops.abs(ops.stop_gradient(prediction["depth"]) - truth_residual) + 1e-3)
        terms = {
            "uncertainty": quantile_loss(weights, log_error, ops.log(prediction["sigma"] + 1e-6)),
        }
        weights = emphasised(weights, truth_normals, truth_mask, self.generator.pixel_mm, options.feature)
        terms |= {
            "depth": depth_loss(
                weights, prediction["depth"], truth_residual, options.depth_epsilon_mm, options.depth_saturation_mm
            ),
            "normal": normal_loss(weights, prediction["normals"], truth_normals, options.normal_kind),
            "depth_normal": normal_loss(weights, prediction["depth_normals"], truth_normals, options.normal_kind),
        }
        if self.adversarial:
            real = discriminator_surface(truth_residual, truth_normals, truth_mask)
            fake = discriminator_surface(prediction["depth"], prediction["normals"], truth_mask)
            terms |= self._adversarial_terms(x["coarse"], real, fake)
        return terms

    def _adversarial_terms(self, coarse: Tensor, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        kind = self.config.loss.adversarial_kind
        judged_real = self.discriminator({"coarse": coarse, "surface": real})
        judged_fake = self.discriminator({"coarse": coarse, "surface": ops.stop_gradient(fake)})
        stopped = [ops.stop_gradient(variable.value) for variable in self.discriminator.trainable_variables]
        state = [variable.value for variable in self.discriminator.non_trainable_variables]
        fooled, _ = self.discriminator.stateless_call(stopped, state, {"coarse": coarse, "surface": fake})
        halved = 0.5 * (adversarial_loss(judged_real, True, kind) + adversarial_loss(judged_fake, False, kind))
        return {"adversarial": fooling_loss(fooled, kind), "discriminator": halved}
