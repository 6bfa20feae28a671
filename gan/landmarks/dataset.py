"""TFRecords of views with landmarks (`pipeline.synthesize --landmarks`) → batches.

A record's landmarks come in mm of the view's frame; the network's are mm in the picture's plane from its upper left corner, x to
the right, y down.
"""

import json
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from gan.config import DataConfig, LandmarkNetConfig
from gan.landmarks.losses import ASTRAY_WEIGHT, OUTSIDE_MM
from gan.landmarks.network import VIEW_PIXEL_MM
from gan.layout import VIEW, mirrored
from gan.training import records
from geometry.model.landmark_embedding import shipped_schemes

FLOATS = tuple(f"view/{name}" for name in VIEW) + ("landmarks", "visible")
TEXTS = ("chart", "split", "sensor", "subject", "scan_id", "kind", "mark_up")
Marked = tuple[tf.Tensor, tf.Tensor]  # a view and its marks


def _records(config: DataConfig, split: str) -> tf.data.Dataset:
    needed = "the landmark network needs `python -m pipeline.synthesize --landmarks`"
    return records.split_records(config, split, (*FLOATS, *TEXTS, "shape"), needed)


def _decode(record: tf.Tensor) -> dict:
    """{"view": (h, w, 5) f16, "marks": (l, 3) f32 of x, y, visible; "kind", "sensor": text}."""
    schema = {name: tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True) for name in FLOATS}
    schema |= {name: tf.io.FixedLenFeature([], tf.string) for name in ("chart", "kind", "sensor")}
    parsed = tf.io.parse_single_example(record, schema | {"shape": tf.io.FixedLenFeature([2], tf.int64)})
    view = tf.stack([tf.reshape(parsed[f"view/{name}"], parsed["shape"]) for name in VIEW], axis=-1)
    marks = tf.numpy_function(_in_picture, [parsed["chart"], parsed["landmarks"]], tf.float32, stateful=False)
    marks = tf.concat([tf.reshape(marks, [-1, 2]), parsed["visible"][:, None]], axis=1)
    return {"view": tf.cast(view, tf.float16), "marks": marks, "kind": parsed["kind"], "sensor": parsed["sensor"]}


def _in_picture(chart: bytes, landmarks: np.ndarray) -> np.ndarray:
    """View frame (3 l,) → (l, 2) mm from the picture's upper left corner."""
    fields = json.loads(chart)
    x, y, _ = landmarks.reshape(-1, 3).T
    half = np.array([fields["width"], fields["height"]]) * fields["pixel_mm"] / 2
    return np.stack([x - fields["centre_x"] + half[0], half[1] - (y - fields["centre_y"])], 1).astype(np.float32)


def training_batches(config: DataConfig, network: LandmarkNetConfig, seed: int, first_batch: int = 0) -> tf.data.Dataset:
    """Endless (views (b, h, w, 5), targets (b, l, 4) of `losses.TARGET`), changed at random, from batch `first_batch` on."""
    decoded = _records(config, "train").map(_decode, num_parallel_calls=1, deterministic=True)
    images = decoded.map(lambda item: {name: item[name] for name in ("view", "marks")})
    changed = lambda number, item: _changed(config, network, seed, number, item)
    return records.endless_batches(images, changed, config, seed, first_batch)


def _changed(config: DataConfig, network: LandmarkNetConfig, seed: int, number: tf.Tensor, item: dict) -> Marked:
    """Mirrored, shifted, moved in depth and with a hole, all a function of (seed, number)."""
    view, marks = tf.cast(item["view"], tf.float32), item["marks"]
    random = tf.random.stateless_uniform([9], seed=tf.stack([tf.constant(seed, tf.int64), number]))
    view, marks = _with_hole(network, view, marks, random[:5])
    valid = view[..., -1:]
    depth = view[..., :1] + (2 * random[5] - 1) * network.shift_mm * valid
    view = tf.concat([depth, view[..., 1:]], axis=-1)
    view, marks = _shifted(network, view, marks, random[6:8])
    if config.mirror:
        view, marks = _mirrored(network, view, marks, random[8] < 0.5)
    return view, _with_weight(network, view, marks)


def _with_hole(network: LandmarkNetConfig, view: tf.Tensor, marks: tf.Tensor, random: tf.Tensor) -> Marked:
    """A rectangle without data; what it covers is no longer visible."""
    size = tf.cast(tf.shape(view)[:2], tf.float32)
    low, high = (float(side) for side in network.hole_px)
    sides = low + random[1:3] * (high - low)
    corner = random[3:5] * (size - sides)
    inside = lambda row, column: (
        (row >= corner[0]) & (row < corner[0] + sides[0]) & (column >= corner[1]) & (column < corner[1] + sides[1])
    )
    rows, columns = tf.meshgrid(tf.range(size[0]) + 0.5, tf.range(size[1]) + 0.5, indexing="ij")
    chosen = random[0] < network.hole_share
    pixels = marks[:, :2] / VIEW_PIXEL_MM
    covered = inside(pixels[:, 1], pixels[:, 0]) & chosen
    view = tf.where((inside(rows, columns) & chosen)[..., None], 0.0, view)
    return view, tf.concat([marks[:, :2], tf.where(covered, 0.0, marks[:, 2])[:, None]], axis=1)


def _shifted(network: LandmarkNetConfig, view: tf.Tensor, marks: tf.Tensor, random: tf.Tensor) -> Marked:
    """By whole pixels; what comes in at the rim is empty."""
    reach = network.shift_px
    step = tf.cast(tf.floor(random * (2 * reach + 1)), tf.int32) - reach
    shape = tf.shape(view)
    padded = tf.pad(view, [[reach, reach], [reach, reach], [0, 0]])
    view = tf.ensure_shape(tf.slice(padded, [reach - step[0], reach - step[1], 0], shape), view.shape)
    moved = marks[:, :2] + tf.cast(step[::-1], tf.float32) * VIEW_PIXEL_MM
    return view, tf.concat([moved, marks[:, 2:]], axis=1)


def _mirrored(network: LandmarkNetConfig, view: tf.Tensor, marks: tf.Tensor, flip: tf.Tensor) -> Marked:
    width = tf.cast(tf.shape(view)[1], tf.float32) * VIEW_PIXEL_MM
    other = tf.concat([width - marks[:, :1], marks[:, 1:]], axis=1)
    other = tf.gather(other, np.array(shipped_schemes()[network.scheme].mirror))
    return tf.where(flip, mirrored(view, VIEW), view), tf.where(flip, other, marks)


def _with_weight(network: LandmarkNetConfig, view: tf.Tensor, marks: tf.Tensor) -> tf.Tensor:
    size = tf.cast(tf.shape(view)[:2][::-1], tf.float32) * VIEW_PIXEL_MM
    inside = tf.reduce_all((marks[:, :2] > -OUTSIDE_MM) & (marks[:, :2] < size + OUTSIDE_MM), axis=1)
    weight = tf.where(inside, tf.where(marks[:, 2] > 0.5, 1.0, network.hidden), 0.0)
    # a view astray shows no landmark, and tells of the visibility of all
    weight = tf.where(tf.reduce_any(marks[:, 2] > 0.5), weight, ASTRAY_WEIGHT)
    return tf.concat([marks, weight[:, None]], axis=1)


def whole_views(
    config: DataConfig, network: LandmarkNetConfig, split: str, count: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, str, str]]:
    """Up to `count` (0: all) unchanged views, evenly spread over the split: view (h, w, 5), target (l, 4), kind, sensor."""
    for item in records.evenly_spread(_records(config, split), count).map(_decode, num_parallel_calls=1, deterministic=True):
        view = tf.cast(item["view"], tf.float32)
        target = _with_weight(network, view, item["marks"])
        yield view.numpy(), target.numpy(), item["kind"].numpy().decode(), item["sensor"].numpy().decode()


def describe(config: DataConfig) -> dict:
    """Counts of views by split and sensor, and the mark-up of their landmarks: the data part of a weights card."""
    files, counts, _ = records.census(config)
    first = next(iter(_records(config, "train")))
    mark_up = int(records.text_feature(first, "mark_up").numpy())
    return {"files": files, "views": counts, "mark_up": mark_up}
