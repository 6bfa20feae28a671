"""TFRecords of training pairs → batches of crops."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from gan import layout
from gan.config import DataConfig
from gan.training import records
from geometry.charts.chart import from_json
from geometry.charts.geometry_image import CHANNELS, GeometryImage

GROUPS = {"coarse": CHANNELS, "scan": (*CHANNELS, "noise_sigma"), "truth": CHANNELS}
FLOAT_FEATURES = tuple(f"{group}/{channel}" for group, channels in GROUPS.items() for channel in (*channels, "valid_mask"))
TEXT_FEATURES = ("chart", "split", "sensor", "subject", "scan_id")
# Depth needs float32 (the normals are its differences); everything else fits float16, residuals to ≤ 0.004 mm.
HALVES = len(layout.COARSE) - 1 + len(layout.SCAN) + len(layout.TRUTH)


def _records(config: DataConfig, split: str) -> tf.data.Dataset:
    needed = "training needs pairs from `python -m pipeline.synthesize`"
    return records.split_records(config, split, (*FLOAT_FEATURES, "shape", *TEXT_FEATURES), needed)


def pairs(config: DataConfig, split: str) -> tf.data.Dataset:
    """Decoded pairs of one split in file order: {"depth": (h, w, 1) f32, "halves": (h, w, 16) f16, "sensor", "scan_id": text}."""
    return _records(config, split).map(_decode, num_parallel_calls=1, deterministic=True)


def training_batches(config: DataConfig, seed: int, first_batch: int = 0) -> tf.data.Dataset:
    """Endless (x, y) batches of random crops, from batch number `first_batch` of the stream on."""
    crop = lambda number, pair: _crop(config, seed, number, pair)
    return records.endless_batches(pairs(config, "train"), crop, config, seed, first_batch)


def whole_pairs(config: DataConfig, split: str, count: int = 0) -> Iterator[tuple[dict, np.ndarray, str]]:
    """Up to `count` (0: all) whole images, evenly spread over the split: x and y of batch size 1, and the sensor."""
    for pair in records.evenly_spread(_records(config, split), count).map(_decode, num_parallel_calls=1, deterministic=True):
        x, y = _unpack(pair["depth"][None], tf.cast(pair["halves"][None], tf.float32))
        yield {name: value.numpy() for name, value in x.items()}, y.numpy(), pair["sensor"].numpy().decode()


def describe(config: DataConfig) -> dict:
    """Counts of pairs by split and sensor, and the chart: the data part of a weights card."""
    files, counts, chart = records.census(config)
    return {"files": files, "pairs": counts, "chart": chart}


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
    turned = lambda image, names: tf.where(flip, layout.mirrored(image, names), image)
    return {"coarse": turned(x["coarse"], layout.COARSE), "scan": turned(x["scan"], layout.SCAN)}, turned(y, layout.TRUTH)
