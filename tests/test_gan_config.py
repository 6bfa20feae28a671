"""Training configurations: defaults, overrides, and refusals that name the remedy."""

from pathlib import Path

import pytest

from gan.config import config_from_dict, load
from geometry.errors import ConfigError
from geometry.settings.options import flatten, to_dict

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("name, condition", [("train_refiner.yaml", "coarse+scan"), ("train_refiner_coarse.yaml", "coarse")])
def test_the_shipped_configs_load(name, condition):
    config = load(str(CONFIGS / name))
    assert config.network == "refiner" and config.generator.condition == condition


def test_a_config_survives_its_dict():
    config = config_from_dict({"seed": 7, "data": {"train": ["a", "b"]}, "loss": {"depth": 3}})
    assert config_from_dict(to_dict(config)) == config
    assert config.data.train == ("a", "b") and config.loss.depth == 3.0


def test_overrides_win_over_the_file_and_are_typed(tmp_path):
    (tmp_path / "c.yaml").write_text("seed: 3\noptimizer: {learning_rate: 1e-3}\n")
    config = load(tmp_path / "c.yaml", ["seed=5", "optimizer.learning_rate=2e-4", "data.train=x/*.gz"])
    assert flatten(config)["optimizer.learning_rate"] == 2e-4
    assert config.seed == 5 and config.data.train == ("x/*.gz",)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"sed": 1}, "unknown key 'sed'; did you mean 'seed'"),
        ({"loss": {"dept": 1}}, "unknown key 'loss.dept'; did you mean 'loss.depth'"),
        ({"seed": "one"}, "seed: 'one' is of type str; expected a whole number"),
        ({"seed": True}, "seed: True is of type bool; expected a whole number"),
        ({"generator": {"condition": "coarse_scan"}}, "generator.condition: 'coarse_scan'.*did you mean 'coarse\\+scan'"),
        ({"data": {"crop": 100}}, "data.crop: 100 is no multiple of 32.*take 96"),
        ({"schedule": {"steps": 0}}, "schedule.steps: 0 is out of range; expected a whole number ≥ 1"),
        ({"data": {"train": [1]}}, r"data.train: \[1\] is of type list; expected a list of texts"),
        ({"data": {"train": 1}}, r"data.train: 1 is of type int; expected a list of texts"),
        ({"data": {"train": None}}, r"data.train: None is of type NoneType; expected a list of texts"),
        ({"data": {"train": {"a": "b"}}}, r"data.train: {'a': 'b'} is of type dict; expected a list of texts"),
        ({"seed": -1}, "seed: -1 is out of range"),
        ({"generator": {"levels": 10**10}}, "generator.levels: 10000000000 is out of range"),
        ({"landmarks": {"hole_px": [5]}}, r"landmarks.hole_px: \[5\].*a list of 2 whole numbers"),
        ({"loss": 3}, "'loss'.* is 3, expected keys of the section: depth"),
        ({"landmarks": {"widths": [8, 0]}}, r"landmarks.widths: \[8, 0\] is out of range; expected a list of whole numbers ≥ 1"),
        ({"landmarks": {"stacks": 0}}, "landmarks.stacks: 0 is out of range; expected a whole number ≥ 1"),
    ],
)
def test_a_wrong_config_is_refused_by_name(fields, message):
    with pytest.raises(ConfigError, match=message):
        config_from_dict(fields)


@pytest.mark.parametrize("name, words", [("none.yaml", "cannot be read"), ("c.yaml", "expected section.key=value")])
def test_a_missing_file_and_a_malformed_override_are_refused(tmp_path, name, words):
    (tmp_path / "c.yaml").write_text("seed: 3\n")
    with pytest.raises(ConfigError, match=words):
        load(tmp_path / name, ["seed"])
