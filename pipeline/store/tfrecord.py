"""`tf.train.Example` and TFRecord files without TensorFlow: both are written and read here byte for byte."""

import contextlib
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
# tensorflow/core/example/{feature,example}.proto
_EXAMPLE_PROTO = """
name: "face_relief/example.proto" package: "tensorflow" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
message_type { name: "FloatList" field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED } }
message_type { name: "Int64List" field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
message_type {
  name: "Feature"
  oneof_decl { name: "kind" }
  field {
    name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: ".tensorflow.BytesList" label: LABEL_OPTIONAL oneof_index: 0
  }
  field {
    name: "float_list" number: 2 type: TYPE_MESSAGE type_name: ".tensorflow.FloatList" label: LABEL_OPTIONAL oneof_index: 0
  }
  field {
    name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: ".tensorflow.Int64List" label: LABEL_OPTIONAL oneof_index: 0
  }
}
message_type {
  name: "Features"
  nested_type {
    name: "FeatureEntry"
    options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type_name: ".tensorflow.Feature" type: TYPE_MESSAGE label: LABEL_OPTIONAL }
  }
  field { name: "feature" number: 1 type_name: ".tensorflow.Features.FeatureEntry" type: TYPE_MESSAGE label: LABEL_REPEATED }
}
message_type {
  name: "Example"
  field { name: "features" number: 1 type_name: ".tensorflow.Features" type: TYPE_MESSAGE label: LABEL_OPTIONAL }
}
"""


@functools.cache
def _example_class() -> Any:
    """The class of tf.train.Example, wire-compatible with TensorFlow's, from a private pool."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_EXAMPLE_PROTO, descriptor_pb2.FileDescriptorProto()))
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
        feature.float_list.MergeFromString(_packed(array.astype("<f4").tobytes()))  # as Python floats it would take long
    elif array.dtype.kind in "iub":
        feature.int64_list.value.extend(array.astype(np.int64).ravel().tolist())
    else:
        raise TypeError(f"feature {name!r}: {type(value).__name__} of {array.dtype}; expected floats, integers, bytes or str")


def _packed(data: bytes) -> bytes:
    """The values of field 1 of a message, of fixed width and as they lie in memory, as that message is serialized."""
    length, digits = len(data), bytearray()
    while length > 127:
        digits.append(length & 127 | 128)
        length >>= 7
    return b"\x0a" + bytes([*digits, length]) + data  # wire type 2 under number 1


def decode_example(data: bytes) -> dict[str, np.ndarray | list[bytes]]:
    """The inverse of `encode_example`: flat float32 or int64 arrays, lists of bytes."""
    decoded: dict[str, np.ndarray | list[bytes]] = {}
    for name, feature in _example_class().FromString(data).features.feature.items():
        kind = feature.WhichOneof("kind") or "int64_list"
        values = getattr(feature, kind).value
        dtype = np.float32 if kind == "float_list" else np.int64
        decoded[name] = list(values) if kind == "bytes_list" else np.array(values, dtype)
    return decoded


def _masked_crc(data: bytes) -> bytes:
    import google_crc32c

    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF)


def write_tfrecord(path: str, examples: Iterable[bytes], gzip: bool = False) -> int:
    """Writes `path` atomically (a local path or a Beam filesystem URL); returns the number of records."""
    writer = storage.gzip_writer if gzip else contextlib.nullcontext
    with storage.open_atomic(str(path)) as handle, writer(handle) as stream:
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
