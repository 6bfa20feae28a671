"""TFRecord files of training sets → records and batches, by tf.data alone (usable with any Keras backend).

The order is a function of the seed only: element number i of the endless stream is always the same, so that a resumed run
continues at element `step · batch_size` as if it had never stopped.
"""

import functools
import glob
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from gan.config import DataConfig
from geometry.errors import FaceReliefError


class DatasetError(FaceReliefError):
    """Training records that are missing or lack a feature."""


def record_files(patterns: tuple[str, ...]) -> list[str]:
    """Sorted files of the globs. Raises DatasetError where there are none."""
    files = sorted({name for pattern in patterns for name in glob.glob(pattern)})
    if not files:
        raise DatasetError(f"data: no TFRecords match {', '.join(patterns)}; make them with `face-relief synthesize`")
    return files


def split_records(config: DataConfig, split: str, features: Sequence[str], needed: str) -> tf.data.Dataset:
    """Serialized records of one split in file order. Only the split is read here: decoding two million floats to throw them
    away would cost more than all else. Raises DatasetError where the first file lacks a feature; `needed` says what is needed."""
    files = record_files(config.validation if split == "validation" and config.validation else config.train)
    check_schema(files[0], features, needed)
    records = tf.data.TFRecordDataset(files, compression_type=compression(files[0]))
    records = records.filter(lambda record: tf.equal(text_feature(record, "split"), split))
    return records.take(config.max_pairs) if config.max_pairs else records


def check_schema(path: str, features: Sequence[str], needed: str) -> None:
    """Raises DatasetError where the first record lacks a feature."""
    try:
        first = next(iter(tf.data.TFRecordDataset([path], compression_type=compression(path))), None)
        present = tf.train.Example.FromString(first.numpy()).features.feature if first is not None else {}
    except tf.errors.DataLossError as error:
        raise DatasetError(f"{path}: no readable TFRecords ({error.message}); make them anew") from None
    if first is None:
        raise DatasetError(f"{path}: holds no records; make them anew")
    missing = [name for name in features if name not in present]
    if missing:
        raise DatasetError(f"{path}: lacks {', '.join(missing)}; {needed}")


def endless_batches(
    images: tf.data.Dataset, change: Callable, config: DataConfig, seed: int, first_batch: int
) -> tf.data.Dataset:
    """Batches of change(number, image) of shuffled images, from batch number `first_batch` of the stream on."""
    if config.cache == "memory":
        images = images.cache()
    images = images.shuffle(config.shuffle_buffer, seed=seed, reshuffle_each_iteration=True).repeat()
    if config.crops_per_image > 1:
        images = images.flat_map(lambda image: tf.data.Dataset.from_tensors(image).repeat(config.crops_per_image))
    numbered = images.enumerate().skip(first_batch * config.batch_size)
    changed = numbered.map(change, num_parallel_calls=1, deterministic=True)
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = 1
    return changed.batch(config.batch_size, drop_remainder=True).prefetch(2).with_options(options)


def census(config: DataConfig) -> tuple[int, dict[str, dict[str, int]], dict]:
    """The number of files, counts of records by split and sensor, and the chart: for a weights card."""
    counts: dict[str, dict[str, int]] = {}
    chart = "null"
    files = sorted(set(record_files(config.train)) | set(record_files(config.validation) if config.validation else ()))
    records = tf.data.TFRecordDataset(files, compression_type=compression(files[0]))
    for text in records.map(lambda record: {name: text_feature(record, name) for name in ("split", "sensor", "chart")}):
        split, sensor, chart = (text[name].numpy().decode() for name in ("split", "sensor", "chart"))
        counts.setdefault(split, {}).setdefault(sensor, 0)
        counts[split][sensor] += 1
    return len(files), counts, json.loads(chart)


def evenly_spread(records: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """Up to `count` (0: all) of the records, evenly spread over them, in their order."""
    if not count:
        return records
    total = int(records.reduce(0, lambda n, _: n + 1))
    chosen = tf.constant(np.unique(np.linspace(0, max(total - 1, 0), min(count, total)).astype(np.int64)), tf.int64)
    return records.enumerate().filter(lambda number, _: tf.reduce_any(chosen == number)).map(lambda _, record: record)


@functools.lru_cache
def compression(path: str) -> str:
    with Path(path).open("rb") as file:
        return "GZIP" if file.read(2) == b"\x1f\x8b" else ""


def text_feature(record: tf.Tensor, name: str) -> tf.Tensor:
    return tf.io.parse_single_example(record, {name: tf.io.FixedLenFeature([], tf.string)})[name]
