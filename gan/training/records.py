"""TFRecord files of training sets: which there are, how they are packed, in which order they are spread."""

from __future__ import annotations

import functools
import glob
from pathlib import Path

import numpy as np
import tensorflow as tf

from geometry.errors import FaceReliefError


class DatasetError(FaceReliefError):
    """Training records that are missing or lack a feature."""


def record_files(patterns: tuple[str, ...]) -> list[str]:
    """Sorted files of the globs. Raises DatasetError where there are none."""
    files = sorted({name for pattern in patterns for name in glob.glob(pattern)})
    if not files:
        raise DatasetError(f"data: no TFRecords match {', '.join(patterns)}; make them with `python -m pipeline.synthesize`")
    return files


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
