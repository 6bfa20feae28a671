"""The GAN step: one loss whose gradients are each player's own, terms that mean what they say."""

import keras
import numpy as np
import pytest
from gan_pairs import batch

from gan.config import config_from_dict
from gan.refiner import losses
from gan.refiner.pix2pix import Pix2Pix
from gan.training.optimizer import averaged_weights, compiled, learning_rate


def tiny(**sections) -> dict:
    base = {
        "generator": {"filters": 4, "levels": 2, "head_filters": 4},
        "discriminator": {"filters": 4, "levels": 1},
        "schedule": {"steps": 20},
        "optimizer": {"warmup_steps": 2},
    }
    return {**base, **sections}


@pytest.mark.parametrize("kind", ["bce", "lsgan"])
def test_the_summed_loss_gives_each_player_exactly_its_own_gradient(kind):
    import tensorflow as tf

    model = compiled(Pix2Pix, config_from_dict(tiny(loss={"adversarial_kind": kind, "adversarial": 0.7})))
    x, y = batch(0, 1, size=32)
    # A head of zeros would send no gradient below it.
    model.generator.head.kernel.assign(0.1 * np.random.default_rng(0).normal(size=model.generator.head.kernel.shape))
    with tf.GradientTape(persistent=True) as tape:
        total = model.compute_loss(x, y, model(x, training=True))
        terms = model.loss_terms(x, y, model(x, training=True))
        generator_loss, discriminator_loss = model.generator_loss(terms), terms["discriminator"]
    for player, own in ((model.generator, generator_loss), (model.discriminator, discriminator_loss)):
        for together, alone in zip(*(tape.gradient(loss, player.trainable_variables) for loss in (total, own))):
            scale = float(np.abs(alone).max()) + 1e-12
            np.testing.assert_allclose(together, alone, atol=1e-6 * scale)
            assert scale > 1e-9
    leaked = tape.gradient(discriminator_loss, model.generator.trainable_variables)
    assert all(gradient is None or float(np.abs(gradient).max()) == 0 for gradient in leaked)


def test_steps_are_deterministic_train_both_players_and_are_averaged():
    x, y = batch(0, 1, size=32)
    config = config_from_dict(tiny(optimizer={"ema_momentum": 0.5, "warmup_steps": 1}))
    runs = []
    for _ in range(2):
        model = compiled(Pix2Pix, config)
        states = [[np.asarray(v) for v in model.trainable_variables]]
        for _ in range(2):
            logs = model.train_on_batch(x, y, return_dict=True)
            states.append([np.asarray(v) for v in model.trainable_variables])
        runs.append(states)
        assert all(np.isfinite(list(logs.values())))
    assert all(np.array_equal(a, b) for a, b in zip(runs[0][-1], runs[1][-1]))
    players = [v.path.split("/")[0] for v in model.trainable_variables]
    changed = {player for player, a, b in zip(players, states[0], states[-1]) if not np.array_equal(a, b)}
    assert changed == set(players) and len(changed) == 2
    # Keras' moving average starts at the first step's weights.
    averages = [np.asarray(average) for average in averaged_weights(model, model.generator)]
    for average, first, second in zip(averages, states[1], states[2]):
        np.testing.assert_allclose(average, 0.5 * first + 0.5 * second, atol=1e-6)


def test_without_adversarial_weight_there_is_no_discriminator():
    model = compiled(Pix2Pix, config_from_dict(tiny(loss={"adversarial": 0})))
    x, y = batch(0, 1, size=32)
    assert model.discriminator is None
    assert set(model.loss_terms(x, y, model(x))) == {"depth", "normal", "depth_normal", "uncertainty"}


def test_the_learning_rate_warms_up_and_falls_to_its_final_fraction():
    options = {"learning_rate": 1e-3, "warmup_steps": 100, "final_fraction": 0.1}
    schedule = learning_rate(config_from_dict({"schedule": {"steps": 1000}, "optimizer": options}))
    rates = [float(keras.ops.convert_to_numpy(schedule(step))) for step in (0, 100, 550, 1000, 2000)]
    np.testing.assert_allclose(rates, [1e-5, 1e-3, 5.5e-4, 1e-4, 1e-4], rtol=1e-3)


def test_losses_are_zero_at_the_truth_and_weigh_only_known_pixels():
    mask = np.zeros((1, 4, 4, 1), np.float32)
    mask[:, :, :2] = 1
    seen = np.zeros_like(mask)
    seen[:, :2] = 1
    weights = np.asarray(losses.pixel_weights(mask, seen, 0.2 * seen, 0.3, 0.5))
    assert weights.sum() == pytest.approx(1, abs=1e-4) and weights[mask == 0].max() == 0
    assert weights[0, 3, 0, 0] / weights[0, 0, 0, 0] == pytest.approx(0.3, rel=1e-5)
    error = np.where(mask > 0, 1.0, 99.0).astype(np.float32)
    assert float(losses.depth_loss(weights, error, 0 * error, 0.02, 1e3)) == pytest.approx(0.98, abs=0.01)
    assert float(losses.depth_loss(weights, 50 * error, 0 * error, 0.02, 2.0)) == pytest.approx(2 * np.log(26), rel=0.01)
    up, tilted = np.zeros((1, 4, 4, 3), np.float32), np.zeros((1, 4, 4, 3), np.float32)
    up[..., 2], tilted[..., 1:] = 1, (0.6, 0.8)
    for kind, expected in (("cosine", 0.2), ("chord", np.sqrt(0.4) - 0.01)):
        assert float(losses.normal_loss(weights, up, up, kind)) == pytest.approx(0, abs=1e-6)
        assert float(losses.normal_loss(weights, up, tilted, kind)) == pytest.approx(expected, abs=1e-3)


def test_bending_is_twice_the_mean_curvature_of_a_sphere():
    y, x = (np.mgrid[:32, :32] - 15.5) * 0.75
    normals = np.stack([x, -y, np.sqrt(50.0**2 - x**2 - y**2)], -1)[None].astype(np.float32) / 50
    mask = np.ones((1, 32, 32, 1), np.float32)
    mask[:, 20:] = 0
    found = np.asarray(losses.bending(normals, mask, 0.75))
    np.testing.assert_allclose(found[:, 1:19, 1:-1], 2 / 50, rtol=1e-4)
    assert found[:, 22:].max() == 0


def test_emphasis_keeps_the_sum_and_favours_bent_pixels():
    normals = np.zeros((1, 8, 16, 3), np.float32)
    normals[..., 2] = 1
    normals[:, :, 8:, 0], normals[:, :, 8:, 2] = 0.6, 0.8  # an edge
    mask = np.ones((1, 8, 16, 1), np.float32)
    weights = np.asarray(losses.emphasised(mask / mask.sum(), normals, mask, 0.75, 3.0))
    assert weights.sum() == pytest.approx(1, abs=1e-4)
    assert weights[0, 4, 8, 0] / weights[0, 4, 2, 0] == pytest.approx(4, rel=1e-5)


def test_the_quantile_loss_is_least_at_the_68_percent_quantile():
    errors = np.random.default_rng(0).lognormal(size=(1, 100, 100, 1)).astype(np.float32)
    weights = np.full_like(errors, 1e-4)
    candidates = np.quantile(errors, [0.5, 0.6, 0.68, 0.76, 0.9])
    found = [float(losses.quantile_loss(weights, np.log(errors), np.full_like(errors, np.log(c)))) for c in candidates]
    assert int(np.argmin(found)) == 2


def test_the_hinge_asks_for_a_margin_and_no_more():
    logits = np.array([-2.0, 0.0, 3.0], np.float32)
    assert float(losses.adversarial_loss(logits, True, "hinge")) == pytest.approx((3 + 1 + 0) / 3)
    assert float(losses.adversarial_loss(logits, False, "hinge")) == pytest.approx((0 + 1 + 4) / 3)
    assert float(losses.fooling_loss(logits, "hinge")) == pytest.approx(-1 / 3)
