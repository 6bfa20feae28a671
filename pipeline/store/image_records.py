"""TFRecords of geometry images: tf.train.Example without TensorFlow.

The message classes live in a descriptor pool of their own, because `tensorflow` and `tfrecord` both register
`tensorflow.BytesList` in the default pool and cannot share a process; with a private pool this module runs
beside either. Framing (TensorFlow's tfrecord format): u64 length, masked CRC-32C of it, payload, masked CRC-32C of it.
"""

from collections.abc import Mapping

import numpy as np

from geometry.charts import chart as charts
from geometry.charts.geometry_image import GeometryImage
from pipeline.store.tfrecord import Value, encode_example


def image_features(group: str, image: GeometryImage) -> dict[str, np.ndarray]:
    """`<group>/<channel>` and `<group>/valid_mask` as flat float32, row-major."""
    features = {f"{group}/{name}": np.asarray(values, np.float32).ravel() for name, values in image.channels.items()}
    features[f"{group}/valid_mask"] = image.valid_mask.astype(np.float32).ravel()
    return features


def images_example(scan_id: str, images: Mapping[str, GeometryImage], **extra: Value) -> bytes:
    """Geometry images of one scan by group, all on one chart, as a serialized Example (docs: the record schema)."""
    first = next(iter(images.values()))
    shape, chart = np.array(first.shape), charts.to_json(first.chart)
    features: dict[str, Value] = {"scan_id": scan_id, "shape": shape, "chart": chart, **extra}
    for group, image in images.items():
        features.update(image_features(group, image))
    return encode_example(features)
