"""The landmark network: its data, its training, its answers."""

import numpy as np
import pytest
from gan_pairs import write_records
from gan_views import CHART, PLACES, height, view, write_views

from gan import train, weights
from gan.config import DataConfig, LandmarkNetConfig, config_from_dict
from gan.landmarks.dataset import training_batches, whole_views
from gan.landmarks.inference import LandmarkFinder
from gan.landmarks.network import build_landmark_net
from gan.layout import VIEW, pack_view
from gan.training.curves import read_curves
from gan.training.records import DatasetError
from gan.weights import WeightsError
from geometry.charts.geometry_image import GeometryImage
from geometry.landmarks.calibration import shipped_calibration
from geometry.model.landmark_embedding import shipped_schemes

SMALL = {"widths": [8, 12], "shift_px": 2, "shift_mm": 5.0, "hole_share": 0.2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    write_views(folder / "a.tfrecord.gz", ["train"] * 10 + ["validation"] * 3)
    return folder


def config(folder, output, **schedule):
    return config_from_dict(
        {
            "network": "landmarks",
            "output": str(output),
            "landmarks": SMALL,
            "data": {"train": [f"{folder}/*.gz"], "batch_size": 4},
            "optimizer": {"learning_rate": 5e-3, "ema_momentum": 0.5, "warmup_steps": 2},
            "schedule": {"steps": 30, "validate_every": 15, "checkpoint_every": 10, "log_every": 10, "validation_images": 3}
            | schedule,
        }
    )


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "landmarks"
    train.train(config(folder, output, steps=60))
    return output / "landmarks.weights.h5"


def batches(folder, count: int, **options) -> list:
    network = LandmarkNetConfig(**{**SMALL, "widths": (8, 12), **options})
    stream = iter(training_batches(DataConfig(train=(f"{folder}/*.gz",), batch_size=2), network, 3))
    return [tuple(part.numpy() for part in next(stream)) for _ in range(count)]


def test_targets_are_where_the_picture_has_them(folder):
    """Unchanged views: the depth at a landmark's pixel is the landmark's."""
    views = list(whole_views(DataConfig(train=(f"{folder}/*.gz",)), LandmarkNetConfig(), "train"))
    assert len(views) == 10
    for image, target, kind, sensor in views:
        column, row = np.floor(target[:, :2] / CHART.pixel_mm).astype(int).T
        shift = target[:, :2].mean(0) - (PLACES * [1, -1]).mean(0)
        assert np.abs(image[row, column, 0] - height(*(target[:, :2] - shift).T)).max() < 2.0
        assert set(np.unique(target[:, 2])) == {0.0, 1.0} and (kind, sensor) == ("aligned", "test")
        assert np.allclose(target[:, 3], np.where(target[:, 2] > 0.5, 1.0, LandmarkNetConfig().hidden))


def test_a_changed_view_is_changed_with_its_landmarks(folder):
    """Mirrored, shifted or not: the landmark's pixel still shows the normal that the surface has there."""
    seen = set()
    for views, targets in batches(folder, 8, hole_share=0.0):
        for image, target in zip(views, targets):
            places = PLACES * [1, -1]
            shift = target[:, :2].mean(0) - places.mean(0)
            assert np.abs(target[:, :2] - shift - places).max() < 0.01, "the places are those of their own mirror image"
            column, row = np.floor(target[:, :2] / CHART.pixel_mm).astype(int).T
            outward = np.sign(target[:, 0] - shift[0])
            far = np.abs(target[:, 0] - shift[0]) > 10
            assert (np.sign(image[row, column, VIEW.index("normal_x")])[far] == outward[far]).all()
            seen.add(tuple(shift.round(2)))
    assert len(seen) > 8


def test_what_a_hole_covers_is_not_visible(folder):
    for views, targets in batches(folder, 4, hole_share=1.0, shift_px=1):
        for image, target in zip(views, targets):
            column, row = np.clip(np.floor(target[:, :2] / CHART.pixel_mm).astype(int), 1, CHART.width - 2).T
            steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]  # at the hole's rim, half a pixel decides
            empty = np.all([image[row + i, column + j, VIEW.index("valid_mask")] < 0.5 for i, j in steps], axis=0)
            assert not (target[:, 2] > 0.5)[empty].any()


def test_the_stream_is_a_function_of_the_seed_and_can_be_entered_anywhere(folder):
    options = DataConfig(train=(f"{folder}/*.gz",), batch_size=2), LandmarkNetConfig(widths=(8, 12)), 5
    for whole, late in zip(training_batches(*options).skip(4).take(2), training_batches(*options, 4).take(2), strict=True):
        assert all(np.array_equal(*parts) for parts in zip(whole, late, strict=True))


def test_pairs_of_the_refiner_are_refused_by_name(tmp_path):
    write_records(tmp_path / "pairs.tfrecord.gz", range(2), ["train", "validation"], size=32)
    with pytest.raises(DatasetError, match="lacks view/depth.*--landmarks"):
        train.train(config(tmp_path, tmp_path / "out"))


def test_training_learns_and_writes_a_card(trained):
    card = weights.read_card(trained)
    assert card["data"]["mark_up"] == 2
    assert card["network"] == "landmarks" and card["landmarks"]["widths"] == [8, 12] and card["sigma_scale"] > 0
    scores = [float(row["value"]) for row in read_curves(trained.parent / "curves.csv") if row["name"] == "score"]
    assert card["figures"]["mean"]["mean_mm"] < 0.75 * scores[0]
    text = weights.card_path(trained, ".md").read_text()
    assert "68 landmarks (ibug68)" in text and "within 4 mm" in text


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(folder, tmp_path):
    train.train(config(folder, tmp_path / "whole", steps=20))
    train.train(config(folder, tmp_path / "parts", steps=20), max_minutes=1e-6)
    train.train(config(folder, tmp_path / "parts", steps=20), resume=True)
    whole, parts = (np.load(sorted((tmp_path / name / "checkpoints").glob("step-*.npz"))[-1]) for name in ("whole", "parts"))
    assert all(np.array_equal(whole[key], parts[key]) for key in whole.files if key != "state")


def test_the_finder_is_mirror_symmetric_and_independent_of_company(trained):
    finder = LandmarkFinder(str(trained))
    first, second = (view(np.random.default_rng(seed))[0] for seed in (1, 2))
    alone, (together, _) = finder.find([first])[0], finder.find([first, second])
    assert np.array_equal(alone.position, together.position) and np.array_equal(alone.covariance, together.covariance)
    channels = {name: values[:, ::-1] * (-1 if name == "normal_x" else 1) for name, values in first.channels.items()}
    other = finder.find([GeometryImage(channels, first.valid_mask[:, ::-1], first.chart)])[0]
    swap = list(shipped_schemes()["ibug68"].mirror)
    assert np.allclose(other.position[:, 0], CHART.width - alone.position[swap, 0], atol=1e-3)
    assert np.allclose(other.position[:, 1], alone.position[swap, 1], atol=1e-3)
    assert np.allclose(other.covariance, alone.covariance[swap] * [[1, -1], [-1, 1]], rtol=1e-3, atol=1e-4)
    assert ((alone.visibility > 0) & (alone.visibility < 1)).all() and (np.linalg.eigvalsh(alone.covariance) > 0).all()


def test_the_network_finds_landmarks_of_views_it_has_not_seen(trained):
    image, landmarks = view(np.random.default_rng(99))
    truth, _ = CHART.project(landmarks)
    off = lambda position: np.linalg.norm(position - truth, axis=1).mean()
    middle = np.array([CHART.width / 2, CHART.height / 2])
    assert off(LandmarkFinder(str(trained)).find([image])[0].position) < 0.75 * off(middle)


@pytest.mark.parametrize("stacks", [1, 2])
def test_every_stack_has_heatmaps_and_any_size_goes(stacks):
    network = build_landmark_net(LandmarkNetConfig(widths=(8, 12), stacks=stacks), size=32)
    found = network(np.zeros((2, 64, 48, len(VIEW)), np.float32))
    assert found["heatmaps"].shape == (stacks, 2, 32 * 24, 68) and found["position"].shape == (2, 68, 2)
    assert np.allclose(found["position"][0, 0], [36.0, 48.0], atol=1.0), "an empty picture: its middle"


def test_packing_leaves_nothing_where_nothing_was_seen():
    image, _ = view(np.random.default_rng(0))
    packed = pack_view(image)
    assert packed.shape == (64, 64, len(VIEW)) and not packed[~image.valid_mask].any() and np.isfinite(packed).all()


def test_weights_of_another_network_are_refused(trained):
    with pytest.raises(WeightsError, match="weights of the network 'landmarks'; expected 'refiner'"):
        weights.load(trained, lambda config: None)


def test_the_shipped_weights_say_how_they_were_made():
    card = weights.read_card("landmarks", "landmarks")
    assert card["step"] > 0 and card["figures"]["mean"]["mean_mm"] < 2.0 and card["data"]["views"]["train"]
    assert not any(
        "/work" in path or path.startswith("/") for path in (*card["training"]["data"]["train"], card["training"]["output"])
    )
    assert "Licence" in weights.card_path(weights.locate("landmarks"), ".md").read_text()


def test_the_shipped_calibration_is_measured():
    found = shipped_calibration()
    assert all(len(set(values)) > 20 for values in (found.seen_mm, found.unseen_mm, found.heatmap_variance, found.correlation))
    assert 0.5 < found.fused_variance < 2 and 0 <= found.gross_share < 0.1
