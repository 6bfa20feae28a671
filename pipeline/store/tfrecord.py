"""`tf.train.Example` and TFRecord files without TensorFlow: both are written and read here byte for byte."""

import functools
import gzip
import io
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from pipeline.store import storage

Value = np.ndarray | bytes | str | int | float | list
_MASK_DELTA = 0xA282EAD8
# (message, [(field, number, type, label, type name)]): tensorflow/core/example/{feature,example}.proto
_LISTS = (("BytesList", "TYPE_BYTES"), ("FloatList", "TYPE_FLOAT"), ("Int64List", "TYPE_INT64"))


@functools.cache
def _example_class() -> Any:
    """The class of tf.train.Example, wire-compatible with TensorFlow's, from a private pool."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    proto = descriptor_pb2.FileDescriptorProto(name="face_relief/example.proto", package="tensorflow", syntax="proto3")
    for name, kind in _LISTS:
        proto.message_type.add(name=name).field.add(name="value", number=1, type=getattr(field, kind), label=field.LABEL_REPEATED)
    feature = proto.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, _) in enumerate(_LISTS, start=1):
        feature.field.add(
            name=name.lower().replace("list", "_list"),
            number=number,
            type=field.TYPE_MESSAGE,
            label=field.LABEL_OPTIONAL,
            type_name=f".tensorflow.{name}",
            oneof_index=0,
        )
    features = proto.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL, type_name=".tensorflow.Feature")
    features.field.add(
        name="feature",
        number=1,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".tensorflow.Features.FeatureEntry",
    )
    proto.message_type.add(name="Example").field.add(
        name="features", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL, type_name=".tensorflow.Features"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def encode_example(features: Mapping[str, Value]) -> bytes:
    """Name → array (flattened: floating to float32, integer and bool to int64), bytes, str, number, or a list of bytes/str.

    Returns a serialized tf.train.Example; the same features give the same bytes. Raises TypeError for another type.
    """
    example = _example_class()()
    for name in sorted(features):
        _set_feature(example.features.feature[name], name, features[name])
    return example.SerializeToString(deterministic=True)


def _set_feature(feature: Any, name: str, value: Value) -> None:
    if isinstance(value, (str, bytes)):
        value = [value]
    if isinstance(value, list) and all(isinstance(item, (str, bytes)) for item in value):
        feature.bytes_list.value.extend(item.encode() if isinstance(item, str) else item for item in value)
        return
    array = np.asarray(value)
    if array.dtype.kind == "f":
        feature.float_list.value.extend(array.astype(np.float32).ravel().tolist())
    elif array.dtype.kind in "iub":
        feature.int64_list.value.extend(array.astype(np.int64).ravel().tolist())
    else:
        raise TypeError(f"feature {name!r}: {type(value).__name__} of {array.dtype}; expected floats, integers, bytes or str")


def decode_example(data: bytes) -> dict[str, np.ndarray | list[bytes]]:
    """The inverse of `encode_example`: flat float32 or int64 arrays, lists of bytes."""
    decoded: dict[str, np.ndarray | list[bytes]] = {}
    for name, feature in _example_class().FromString(data).features.feature.items():
        kind = feature.WhichOneof("kind")
        if kind == "bytes_list":
            decoded[name] = list(feature.bytes_list.value)
        elif kind == "float_list":
            decoded[name] = np.array(feature.float_list.value, np.float32)
        else:
            decoded[name] = np.array(feature.int64_list.value, np.int64)
    return decoded


def _masked_crc(data: bytes) -> bytes:
    import google_crc32c

    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF)


def write_tfrecord(path: str, examples: Iterable[bytes], gzip: bool = False) -> int:
    """Writes `path` atomically (a local path or a Beam filesystem URL); returns the number of records."""
    with storage.open_atomic(str(path)) as handle:
        if not gzip:
            return _write_records(handle, examples)
        with storage.gzip_writer(handle) as stream:
            return _write_records(stream, examples)


def _write_records(handle: BinaryIO | gzip.GzipFile, examples: Iterable[bytes]) -> int:
    count = 0
    for example in examples:
        length = struct.pack("<Q", len(example))
        handle.write(length + _masked_crc(length))
        handle.write(example)
        handle.write(_masked_crc(example))
        count += 1
    return count


def read_tfrecord(path: str) -> Iterator[bytes]:
    """The records of `path` (gzip by content). Raises ValueError at a truncated or corrupt record."""
    data = storage.read_bytes(str(path))
    handle = io.BytesIO(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    while header := handle.read(12):
        if len(header) < 12 or _masked_crc(header[:8]) != header[8:]:
            raise ValueError(f"{path}: corrupt record length at byte {handle.tell() - len(header)}")
        (length,) = struct.unpack("<Q", header[:8])
        payload, crc = handle.read(length), handle.read(4)
        if len(payload) < length or _masked_crc(payload) != crc:
            raise ValueError(f"{path}: truncated or corrupt record of {length} bytes")
        yield payload
