"""Training pairs from TFRecords: what they decode to, in which order, and what is refused."""

import numpy as np
import pytest
from gan_pairs import simulate, write_records

from gan import layout
from gan.config import DataConfig
from gan.refiner.dataset import describe, pairs, training_batches, whole_pairs
from gan.training.records import DatasetError
from pipeline.store import image_records, tfrecord


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write_records(folder / "a.tfrecord.gz", range(6), ["train"] * 5 + ["validation"], size=48)
    write_records(folder / "b.tfrecord.gz", range(6, 9), ["train", "validation", "test"], size=48)
    return folder


def config(folder, **options) -> DataConfig:
    return DataConfig(train=(f"{folder}/*.gz",), **{"crop": 32, "batch_size": 2, **options})


def take(batches, count: int) -> list:
    return [({k: v.numpy() for k, v in x.items()}, y.numpy()) for x, y in batches.take(count)]


def equal(a, b) -> bool:
    return all(np.array_equal(p[1], q[1]) and all(np.array_equal(p[0][k], q[0][k]) for k in p[0]) for p, q in zip(a, b))


def test_decoding_inverts_the_schema_to_a_few_micrometres(folder):
    x, y, sensor = next(whole_pairs(config(folder), "train", 0))
    coarse, scan, truth, expected_sensor = simulate(0, 48)
    assert sensor == expected_sensor
    np.testing.assert_array_equal(x["coarse"][0, ..., 0], layout.pack_coarse(coarse)[..., 0])
    np.testing.assert_allclose(x["coarse"][0], layout.pack_coarse(coarse), atol=1e-3)
    np.testing.assert_allclose(x["scan"][0, ..., 0], layout.pack_scan(coarse, scan)[..., 0], atol=4e-3)
    np.testing.assert_allclose(y[0], layout.pack_truth(coarse, truth), atol=2e-3)


def test_splits_are_kept_apart(folder):
    splits = ("train", "validation", "test")
    names = {split: [p["scan_id"].numpy().decode() for p in pairs(config(folder), split)] for split in splits}
    assert names == {"train": [f"pair-{k}" for k in (0, 1, 2, 3, 4, 6)], "validation": ["pair-5", "pair-7"], "test": ["pair-8"]}
    assert sum(sum(c.values()) for c in describe(config(folder))["pairs"].values()) == 9
    assert len(list(whole_pairs(config(folder), "train", 3))) == 3


@pytest.mark.parametrize("cache, crops", [("memory", 1), ("none", 3)])
def test_the_stream_is_a_function_of_the_seed_and_continues_anywhere(folder, cache, crops):
    options = config(folder, cache=cache, crops_per_image=crops)
    whole = take(training_batches(options, seed=5), 8)
    assert equal(whole, take(training_batches(options, seed=5), 8))
    assert equal(whole[5:], take(training_batches(options, seed=5, first_batch=5), 3))
    assert not equal(whole, take(training_batches(options, seed=6), 8))
    assert whole[0][0]["coarse"].shape == (2, 32, 32, 6) and whole[0][0]["scan"].shape == (2, 32, 32, 7)


def test_an_epoch_sees_every_image_once(folder):
    options = config(folder, crop=48, mirror=False, batch_size=1)
    assert len({batch[0]["coarse"][0, ..., 0].tobytes() for batch in take(training_batches(options, seed=1), 6)}) == 6


def test_a_mirrored_crop_is_the_mirrored_face(folder):
    options, unmirrored = (config(folder, crop=48, batch_size=1, mirror=mirror) for mirror in (True, False))
    plain = {batch[0]["coarse"][0, ..., 0].tobytes(): batch for batch in take(training_batches(unmirrored, 1), 6)}
    flipped = 0
    for x, y in take(training_batches(options, seed=1), 12):
        original = plain.get(np.ascontiguousarray(x["coarse"][0, :, ::-1, 0]).tobytes())
        if original is None:
            continue
        flipped += 1
        np.testing.assert_array_equal(y[0, :, ::-1], original[1][0] * np.float32([1, -1, 1, 1]))
        np.testing.assert_array_equal(x["scan"][0, :, ::-1, 3], -original[0]["scan"][0, ..., 3])
        np.testing.assert_array_equal(x["coarse"][0, :, ::-1, 4], original[0]["coarse"][0, ..., 4])
    assert 2 <= flipped <= 10


def test_missing_and_foreign_records_are_refused(folder, tmp_path):
    with pytest.raises(DatasetError, match="no TFRecords match .*face-relief synthesize"):
        pairs(DataConfig(train=(f"{tmp_path}/*.gz",)), "train")
    coarse, scan, _, _ = simulate(0, 16)
    tfrecord.write_tfrecord(
        tmp_path / "run.tfrecord", iter([image_records.images_example("a", {"coarse": coarse, "scan": scan})])
    )
    with pytest.raises(DatasetError, match="lacks truth/depth"):
        pairs(DataConfig(train=(f"{tmp_path}/*.tfrecord",)), "train")
