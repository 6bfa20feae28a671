"""Shipped configuration files: found from any folder, and never in the way of the user's own."""

from pathlib import Path

import pytest

from geometry.settings import shipped

CONFIGS = Path(__file__).parents[1] / "configs"


def test_every_shipped_file_is_listed():
    assert shipped.names() == sorted(file.stem for file in CONFIGS.iterdir())


@pytest.mark.parametrize("given", ["configs/train_refiner.yaml", "train_refiner", "train_refiner.yaml"])
def test_a_shipped_file_is_found_from_any_folder(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.config_path(given).read_bytes() == (CONFIGS / "train_refiner.yaml").read_bytes()


def test_a_file_of_the_users_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "default.yaml").write_text("refine: none\n")
    assert shipped.config_path("configs/default.yaml") == Path("configs/default.yaml")
    assert shipped.config_path("default.yaml") == shipped.folder() / "default.yaml"  # here there is no file of that name


@pytest.mark.parametrize("given", ["elsewhere/default.yaml", "defaults", "/configs/default.yaml", "configs/default.yaml.bak", ""])
def test_any_other_path_stays_as_it_is(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.config_path(given) == Path(given)
