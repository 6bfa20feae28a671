"""A training run: it learns, and a killed and resumed run ends bit for bit where an uninterrupted one does."""

import numpy as np
import pytest
from gan_pairs import write_records

from gan import train, weights
from gan.config import config_from_dict
from gan.refiner.training import RefinerTraining
from gan.refiner.validation import baseline_names
from gan.training.curves import Curves, read_curves
from geometry.errors import ConfigError
from geometry.settings.options import to_dict


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write_records(folder / "a.tfrecord.gz", range(12), ["train"] * 8 + ["validation"] * 4, size=64)
    return folder


def config(folder, output):
    return config_from_dict(
        {
            "output": str(output),
            "data": {"train": [f"{folder}/*.gz"], "crop": 32, "batch_size": 2},
            # A prior that is wrong by a factor of four: there is something to learn.
            "generator": {"filters": 4, "levels": 2, "head_filters": 4, "widths_per_mm": 2.0},
            "discriminator": {"filters": 4, "levels": 1},
            "optimizer": {"learning_rate": 3e-3, "ema_momentum": 0.8, "warmup_steps": 2},
            "schedule": {
                "steps": STEPS,
                "validate_every": 20,
                "checkpoint_every": STEPS // 3,
                "log_every": 10,
                "samples_every": STEPS,
                "validation_images": 2,
            },
        }
    )


def final_arrays(output) -> dict[str, np.ndarray]:
    with np.load(sorted((output / "checkpoints").glob("step-*.npz"))[-1]) as arrays:
        return {name: arrays[name] for name in arrays.files if name != "state"}


def curve(output) -> list:
    return [tuple(row.values()) for row in read_curves(output / "curves.csv")]


STEPS = 40


def test_a_killed_and_resumed_run_ends_where_an_uninterrupted_one_does(folder, tmp_path, monkeypatch, caplog):
    """Ended by an exception one step after a checkpoint, resumed under a time limit that allows one step. The curves hold the
    losses of single batches, as Keras resets its means before every step: a resumed run has no window of them to restore."""
    caplog.set_level("INFO")
    train.train(config(folder, tmp_path / "whole"))
    check_what_a_run_leaves(tmp_path / "whole")

    def kill(training, logs, after_step=RefinerTraining._after_step):
        if training.progress.step == STEPS:
            raise InterruptedError("killed")
        after_step(training, logs)

    with monkeypatch.context() as patch:
        patch.setattr(RefinerTraining, "_after_step", kill)
        with pytest.raises(InterruptedError, match="killed"):
            train.train(config(folder, tmp_path / "killed"))
    assert not (tmp_path / "killed" / "refiner.weights.h5").exists()
    train.train(config(folder, tmp_path / "killed"), resume=True, max_minutes=1e-6)
    assert f"reached at step {STEPS}" in caplog.text
    whole, resumed = final_arrays(tmp_path / "whole"), final_arrays(tmp_path / "killed")
    differing = {
        name: np.abs(whole[name] - resumed[name]).max() for name in whole if not np.array_equal(whole[name], resumed[name])
    }
    assert whole.keys() == resumed.keys() and not differing
    assert curve(tmp_path / "whole") == curve(tmp_path / "killed")
    assert (tmp_path / "whole" / "refiner.weights.h5").read_bytes() == (tmp_path / "killed" / "refiner.weights.h5").read_bytes()
    with pytest.raises(ConfigError, match="holds a run; pass --resume"):
        train.train(config(folder, tmp_path / "whole"))


def check_what_a_run_leaves(output) -> None:
    names = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    events = {name for name in names if name.startswith("tensorboard/events")}
    assert (
        names - events
        == {
            "config.json",
            "curves.csv",
            "best.npz",
            "refiner.weights.h5",
            "refiner.json",
            "refiner.md",
            f"samples/step-{STEPS:08d}.png",
            f"checkpoints/step-{STEPS - 1:08d}.npz",
            f"checkpoints/step-{STEPS:08d}.npz",
        }
        and events
    )
    rows = {name for _, phase, name, _ in curve(output) if phase == "validation"}
    assert {f"{method}/mean/depth_mm" for method in (*baseline_names(), "smooth_oracle", "refined")} <= rows
    scores = [float(value) for _, _, name, value in curve(output) if name == "score"]
    assert scores[-1] < 0.97 * scores[0]  # it learns
    card = weights.read_card(output / "refiner.weights.h5")
    assert card["figures"]["refined"].keys() == card["figures"]["coarse"].keys() and card["data"]["pairs"]["train"]


def test_another_configuration_cannot_resume_a_run(folder, tmp_path):
    before = config(folder, tmp_path / "run")
    weights.write_json(tmp_path / "run" / "config.json", to_dict(before))
    with pytest.raises(ConfigError, match="another seed \\(1 → 9\\)"):
        RefinerTraining(config_from_dict(to_dict(before) | {"seed": 9}), resume=True)


def test_the_command_refuses_what_it_does_not_know(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("network: refinr\n")
    assert train.main(["--config", str(tmp_path / "c.yaml")]) == 2
    assert "did you mean 'refiner'" in capsys.readouterr().err
    assert train.main(["--config", str(tmp_path / "c.yaml"), "--set", "sed=3"]) == 2
    assert "did you mean 'seed'" in capsys.readouterr().err


def test_curves_continue_without_the_lost_steps(tmp_path):
    curves = Curves(tmp_path)
    for step in (10, 20, 30):
        curves.write(step, "train", {"loss": step / 10})
    assert [row["step"] for row in read_curves(Curves(tmp_path, first_step=20).path)] == ["10", "20"]
