"""The generator and the discriminator: shapes, sizes, and what must hold before and after any training."""

import functools
from dataclasses import replace

import keras
import numpy as np
import pytest
from gan_pairs import batch, simulate

from gan import layout
from gan.config import DiscriminatorConfig, GeneratorConfig
from gan.refiner.networks import build_discriminator, build_generator, discriminator_surface

TINY = GeneratorConfig(filters=4, levels=4, head_filters=4)


def inputs(seed: int = 0, sensor: str = "middle") -> dict:
    return batch(seed, sensor=sensor)[0]


def noise_free_inputs() -> dict:
    """As a sensor gives them that says its noise to be 0.012 mm."""
    x = inputs(sensor="clean")
    x["scan"][..., 5] = 0.012 * x["scan"][..., 6]
    return x


@functools.lru_cache
def random_generator(config: GeneratorConfig = TINY, seed: int = 0, scale: float = 1.0):
    """With a head as far from its initial zeros as training may take it."""
    keras.utils.set_random_seed(seed)
    generator = build_generator(config)
    rng = np.random.default_rng(seed)
    for variable in generator.head.variables:
        variable.assign(scale * rng.normal(size=variable.shape))
    return generator


def outputs(generator, x: dict) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in generator(x).items()}


@pytest.mark.parametrize(("condition", "head"), [("coarse", "kernels"), ("coarse+scan", "kernels"), ("coarse+scan", "residual")])
def test_outputs_have_the_documented_shapes_and_ranges(condition, head):
    found = outputs(random_generator(replace(TINY, condition=condition, head=head)), inputs())
    assert {name: value.shape for name, value in found.items()} == {
        "depth": (1, 64, 64, 1),
        "normals": (1, 64, 64, 3),
        "depth_normals": (1, 64, 64, 3),
        "confidence": (1, 64, 64, 1),
        "sigma": (1, 64, 64, 1),
    }
    np.testing.assert_allclose(np.linalg.norm(found["normals"], axis=-1), 1, atol=1e-5)
    assert all(np.isfinite(value).all() for value in found.values())
    assert found["confidence"].min() >= 0 and found["confidence"].max() <= 1


@pytest.mark.parametrize("condition", ["coarse", "coarse+scan"])
def test_the_default_generator_stays_below_twelve_million_parameters(condition):
    assert build_generator(GeneratorConfig(condition=condition, filters=32)).count_params() < 12e6


def test_a_noise_free_scan_passes_through_whatever_the_weights():
    x = noise_free_inputs()
    found = outputs(random_generator(), x)
    seen = x["scan"][..., 6] > 0.5
    assert np.abs(found["depth"] - x["scan"][..., :1])[seen].max() < 1e-5
    np.testing.assert_allclose(found["normals"][seen], found["depth_normals"][seen], atol=1e-6)
    assert found["confidence"][seen].min() > 0.99


def test_the_untrained_generator_already_beats_the_raw_scan_and_the_coarse_surface():
    errors = []
    generator = random_generator(scale=0.0)
    for seed in range(3):
        x, truth = batch(seed, sensor="middle")
        surfaces = (outputs(generator, x)["depth"], x["scan"][..., :1], 0.0)
        errors.append([np.abs(surface - truth[..., :1])[x["scan"][..., 6] > 0.5].mean() for surface in surfaces])
    refined, raw, coarse_error = np.mean(errors, axis=0)
    assert refined < 0.6 * raw and refined < 0.6 * coarse_error


def test_an_empty_scan_or_an_empty_image_gives_finite_output_without_confidence():
    x = inputs()
    nothing = outputs(random_generator(), {"coarse": x["coarse"], "scan": np.zeros_like(x["scan"])})
    assert all(np.isfinite(value).all() for value in nothing.values()) and nothing["confidence"].max() == 0
    untrained = outputs(random_generator(scale=0.0), {"coarse": x["coarse"], "scan": np.zeros_like(x["scan"])})
    assert np.abs(untrained["depth"]).max() == 0
    empty = outputs(random_generator(), {name: np.zeros_like(value) for name, value in x.items()})
    assert all(np.isfinite(value).all() for value in empty.values()) and np.abs(empty["depth"]).max() == 0


def test_values_under_a_zero_mask_have_no_influence():
    x = inputs(3)
    assert not x["scan"][x["scan"][..., -1] < 0.5][:, :-1].any()  # packing has already zeroed them
    coarse, scan, _, _ = simulate(3, sensor="middle")
    scan.channels["depth"][10:20, 10:20] += 16.0
    moved = layout.pack_scan(coarse, scan)
    assert moved[10:20, 10:20].max() == 0 == moved[10:20, 10:20].min()
    assert np.isfinite(outputs(random_generator(), {"coarse": x["coarse"], "scan": moved[None]})["depth"]).all()


def test_a_crop_gets_nearly_what_its_whole_image_gets():
    """No statistics over the image enter: only the receptive field's missing surroundings may differ."""
    generator = random_generator(replace(TINY, levels=2), scale=0.3)
    whole = batch(1, size=128, sensor="middle")[0]
    expected = outputs(generator, whole)["depth"][:, 16:112, 16:112]
    difference = expected - outputs(generator, {name: value[:, 16:112, 16:112] for name, value in whole.items()})["depth"]
    assert np.abs(difference[:, 32:64, 32:64]).mean() < 0.03 * np.abs(expected).mean()


def test_a_logit_of_the_discriminator_sees_seventy_pixels():
    discriminator = build_discriminator(DiscriminatorConfig(filters=4, norm="none"))
    rng = np.random.default_rng(0)
    x = {"coarse": rng.normal(size=(1, 128, 128, 6)).astype("f"), "surface": rng.normal(size=(1, 128, 128, 5)).astype("f")}
    logits = np.asarray(discriminator(x))
    assert logits.shape == (1, 16, 16, 1)
    touched = []
    for first in range(0, 128, 32):  # 32 images at a time, each changed in another column
        surface = np.repeat(x["surface"], 32, axis=0)
        surface[np.arange(32), :, first + np.arange(32)] += 1
        changed = np.asarray(discriminator({"coarse": np.repeat(x["coarse"], 32, axis=0), "surface": surface}))
        touched += (first + np.flatnonzero(np.abs(changed[:, 8, 8, 0] - logits[0, 8, 8, 0]) > 1e-6)).tolist()
    assert touched == list(range(touched[0], touched[0] + 70))


def test_the_discriminator_sees_nothing_outside_the_mask():
    x, normals = np.ones((1, 4, 4, 1), np.float32), np.tile(np.float32([0, 0.6, 0.8]), (1, 4, 4, 1))
    mask = np.zeros((1, 4, 4, 1), np.float32)
    mask[:, :2] = 1
    seen = np.asarray(discriminator_surface(x, normals, mask))
    assert seen.shape == (1, 4, 4, 5) and np.abs(seen[:, 2:]).max() == 0 and np.abs(seen[:, :2]).min(axis=(0, 1, 2))[2] > 0


def test_half_precision_convolutions_keep_float32_geometry():
    exact = random_generator()
    halved = build_generator(replace(TINY, precision="mixed_bfloat16"))
    halved.set_weights(exact.get_weights())
    x = noise_free_inputs()
    found = outputs(halved, x)
    assert found["depth"].dtype == np.float32
    assert np.abs(found["depth"] - x["scan"][..., :1])[x["scan"][..., 6] > 0.5].max() < 1e-5
    rough = inputs(sensor="middle")
    assert np.median(np.abs(outputs(halved, rough)["depth"] - outputs(exact, rough)["depth"])) < 0.05
