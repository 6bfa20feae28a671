"""TFRecords of training pairs → batches, by tf.data alone (usable with any Keras backend).

The order is a function of the seed only: element number i of the endless stream is always the same crop,
so that a resumed run continues at element `step · batch_size` as if it had never stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from gan import layout
from gan.config import DataConfig
from gan.training.records import DatasetError, compression, evenly_spread, record_files, text_feature
from geometry.charts.chart import from_json
from geometry.charts.geometry_image import CHANNELS, GeometryImage

SPLITS = ("train", "validation", "test")
GROUPS = {"coarse": CHANNELS, "scan": (*CHANNELS, "noise_sigma"), "truth": CHANNELS}
FLOAT_FEATURES = tuple(f"{group}/{channel}" for group, channels in GROUPS.items() for channel in (*channels, "valid_mask"))
TEXT_FEATURES = ("chart", "split", "sensor", "subject", "scan_id")
# Depth needs float32 (the normals are its differences); everything else fits float16, residuals to ≤ 0.004 mm.
HALVES = len(layout.COARSE) - 1 + len(layout.SCAN) + len(layout.TRUTH)


def split_records(config: DataConfig, split: str) -> tf.data.Dataset:
    """Serialized records of one split in file order. Only the split is read here: decoding two million floats to throw them
    away would cost more than all else."""
    files = record_files(config.validation if split == "validation" and config.validation else config.train)
    check_schema(files[0])
    records = tf.data.TFRecordDataset(files, compression_type=compression(files[0]))
    records = records.filter(lambda record: tf.equal(text_feature(record, "split"), split))
    return records.take(config.max_pairs) if config.max_pairs else records


def pairs(config: DataConfig, split: str) -> tf.data.Dataset:
    """Decoded pairs of one split in file order: {"depth": (h, w, 1) f32, "halves": (h, w, 16) f16, "sensor", "scan_id": text}."""
    return split_records(config, split).map(_decode, num_parallel_calls=1, deterministic=True)


def training_batches(config: DataConfig, seed: int, first_batch: int = 0) -> tf.data.Dataset:
    """Endless (x, y) batches of random crops, from batch number `first_batch` of the stream on."""
    images = pairs(config, "train")
    if config.cache == "memory":
        images = images.cache()
    images = images.shuffle(config.shuffle_buffer, seed=seed, reshuffle_each_iteration=True).repeat()
    if config.crops_per_image > 1:
        images = images.flat_map(lambda pair: tf.data.Dataset.from_tensors(pair).repeat(config.crops_per_image))
    numbered = images.enumerate().skip(first_batch * config.batch_size)
    crops = numbered.map(lambda number, pair: _crop(config, seed, number, pair), num_parallel_calls=1, deterministic=True)
    batches = crops.batch(config.batch_size, drop_remainder=True).prefetch(2)
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = 1
    return batches.with_options(options)


def whole_pairs(config: DataConfig, split: str, count: int = 0) -> Iterator[tuple[dict, np.ndarray, str]]:
    """Up to `count` (0: all) whole images, evenly spread over the split: x and y of batch size 1, and the sensor."""
    for pair in evenly_spread(split_records(config, split), count).map(_decode, num_parallel_calls=1, deterministic=True):
        x, y = _unpack(pair["depth"][None], tf.cast(pair["halves"][None], tf.float32))
        yield {name: value.numpy() for name, value in x.items()}, y.numpy(), pair["sensor"].numpy().decode()


def describe(config: DataConfig) -> dict:
    """Counts of pairs by split and sensor, and the chart: the data part of a weights card."""
    counts: dict[str, dict[str, int]] = {}
    chart = None
    files = sorted(set(record_files(config.train)) | set(record_files(config.validation) if config.validation else ()))
    records = tf.data.TFRecordDataset(files, compression_type=compression(files[0]))
    for text in records.map(lambda record: {name: text_feature(record, name) for name in ("split", "sensor", "chart")}):
        split, sensor, chart = (text[name].numpy().decode() for name in ("split", "sensor", "chart"))
        counts.setdefault(split, {}).setdefault(sensor, 0)
        counts[split][sensor] += 1
    return {"files": len(files), "pairs": counts, "chart": json.loads(chart)}


def check_schema(path: str) -> None:
    """Raises DatasetError where the first record lacks a feature of the schema."""
    try:
        first = next(iter(tf.data.TFRecordDataset([path], compression_type=compression(path))), None)
        present = tf.train.Example.FromString(first.numpy()).features.feature if first is not None else {}
    except tf.errors.DataLossError as error:
        raise DatasetError(f"{path}: no readable TFRecords ({error.message}); make them anew") from None
    if first is None:
        raise DatasetError(f"{path}: holds no records; make them anew")
    missing = [name for name in (*FLOAT_FEATURES, "shape", *TEXT_FEATURES) if name not in present]
    if missing:
        raise DatasetError(f"{path}: lacks {', '.join(missing)}; training needs pairs from `python -m pipeline.synthesize`")


def _decode(record: tf.Tensor) -> dict:
    schema = {name: tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True) for name in FLOAT_FEATURES}
    schema |= {name: tf.io.FixedLenFeature([], tf.string) for name in TEXT_FEATURES}
    parsed = tf.io.parse_single_example(record, schema | {"shape": tf.io.FixedLenFeature([2], tf.int64)})
    values = [parsed["chart"], parsed["shape"], *(parsed[name] for name in FLOAT_FEATURES)]
    depth, halves = tf.numpy_function(_pack, values, (tf.float32, tf.float16), stateful=False)
    depth.set_shape([None, None, 1])
    halves.set_shape([None, None, HALVES])
    return {"depth": depth, "halves": halves, "sensor": parsed["sensor"], "scan_id": parsed["scan_id"]}


def _pack(chart: bytes, shape: np.ndarray, *floats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features = {name: values.reshape(shape) for name, values in zip(FLOAT_FEATURES, floats)}
    on_chart = from_json(chart.decode())
    coarse, scan, truth = (
        GeometryImage({name: features[f"{group}/{name}"] for name in channels}, features[f"{group}/valid_mask"] > 0.5, on_chart)
        for group, channels in GROUPS.items()
    )
    packed = layout.pack_coarse(coarse)
    others = [packed[..., 1:], layout.pack_scan(coarse, scan), layout.pack_truth(coarse, truth)]
    return packed[..., :1], np.concatenate(others, axis=-1).astype(np.float16)


def _unpack(depth: tf.Tensor, halves: tf.Tensor) -> tuple[dict, tf.Tensor]:
    """(…, h, w, ·) float32 → x, y."""
    coarse, scan, truth = tf.split(halves, [len(layout.COARSE) - 1, len(layout.SCAN), len(layout.TRUTH)], axis=-1)
    return {"coarse": tf.concat([depth, coarse], axis=-1), "scan": scan}, truth


def _crop(config: DataConfig, seed: int, number: tf.Tensor, pair: dict) -> tuple[dict, tf.Tensor]:
    """The crop and the mirroring are functions of (seed, number) alone."""
    size = tf.shape(pair["depth"])[:2]
    random = tf.random.stateless_uniform([3], seed=tf.stack([tf.constant(seed, tf.int64), number]))
    room = tf.cast(tf.maximum(size - config.crop, 0) + 1, tf.float32)
    row, column = tf.cast(random[0] * room[0], tf.int32), tf.cast(random[1] * room[1], tf.int32)
    window = (slice(row, row + config.crop), slice(column, column + config.crop))
    depth, halves = pair["depth"][window], tf.cast(pair["halves"][window], tf.float32)
    depth = tf.ensure_shape(depth, [config.crop, config.crop, 1])
    x, y = _unpack(depth, halves)
    if not config.mirror:
        return x, y
    flip = random[2] < 0.5
    x = {"coarse": _mirror(x["coarse"], layout.COARSE, flip), "scan": _mirror(x["scan"], layout.SCAN, flip)}
    return x, _mirror(y, layout.TRUTH, flip)


def _mirror(image: tf.Tensor, names: tuple[str, ...], flip: tf.Tensor) -> tf.Tensor:
    """Left–right mirrored, n_x with it, where flip is true."""
    signs = np.array([-1.0 if name == "normal_x" else 1.0 for name in names], np.float32)
    return tf.where(flip, image[:, ::-1] * signs, image)
