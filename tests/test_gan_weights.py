"""Weights on disk: float16, a card, a hash that is checked."""

import json

import numpy as np
import pytest
from test_refiner_networks import TINY, inputs, outputs, random_generator

from gan import weights
from gan.config import TrainingConfig
from gan.refiner.networks import build_generator

FIGURES = {
    "refined": {"mean": {"observed_depth_mm": 0.1, "observed_angle_degrees": 4.0}},
    "coarse": {"mean": {"observed_depth_mm": 0.4, "observed_angle_degrees": 8.0}},
}


def saved(path, generator):
    return weights.save(path, generator, TrainingConfig(generator=TINY), {"pairs": {"train": {"kinect": 5}}}, FIGURES)


def test_a_saved_generator_comes_back_within_its_rounding(tmp_path):
    generator = random_generator(scale=0.3)
    card = saved(tmp_path / "new" / "tiny.weights.h5", generator)
    loaded, loaded_card = weights.load(tmp_path / "new" / "tiny.weights.h5", build_generator)
    assert card == loaded_card and card["parameters"] == generator.count_params()
    for original, value in zip(generator.variables, loaded.variables):
        np.testing.assert_allclose(np.asarray(value), np.asarray(original), rtol=5e-4, atol=1e-7)
    x = inputs()
    assert np.abs(outputs(loaded, x)["depth"] - outputs(generator, x)["depth"]).max() < 0.02
    assert (tmp_path / "new" / "tiny.weights.h5").stat().st_size < 2 * card["parameters"] + 135_000  # and HDF5 keeps 3 kB a layer


def test_the_same_weights_give_the_same_bytes(tmp_path):
    saved(tmp_path / "a.weights.h5", random_generator())
    saved(tmp_path / "b.weights.h5", random_generator.__wrapped__())  # built later: its layers have other running numbers
    assert (tmp_path / "a.weights.h5").read_bytes() == (tmp_path / "b.weights.h5").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{n}.{s}" for n in "ab" for s in ("json", "md", "weights.h5")]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.weights.h5"
    saved(path, random_generator())
    return path


def test_the_card_reads_well(path):
    text = weights.card_path(path, ".md").read_text()
    assert "| refined | 0.100 / 4.00 |" in text and "train: 5 kinect" in text


def test_damaged_missing_and_unknown_weights_are_refused(path):
    with path.open("r+b") as file:
        file.seek(2000)
        file.write(b"\xff" * 8)
    with pytest.raises(weights.WeightsError, match="SHA-256 .* expected; the file is damaged"):
        weights.load(path, build_generator)
    weights.card_path(path).unlink()
    with pytest.raises(weights.WeightsError, match="card a.json cannot be read"):
        weights.read_card(path)
    with pytest.raises(weights.WeightsError, match="did you mean 'default'"):
        weights.load("defualt", build_generator)


def test_weights_of_another_network_are_refused(path):
    card = json.loads(weights.card_path(path).read_text())
    weights.write_card(path, card | {"generator": card["generator"] | {"filters": 8}})
    with pytest.raises(weights.WeightsError, match="does not fit the network on its card"):
        weights.load(path, build_generator)
