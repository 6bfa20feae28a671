"""TFRecords written without TensorFlow are read back by TensorFlow, Beam and the tfrecord package."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geometry.charts.chart import OrthographicChart, from_json
from geometry.charts.geometry_image import CHANNELS, GeometryImage
from pipeline.store import image_records, tfrecord


def image(seed: int = 0, extra: tuple[str, ...] = ()) -> GeometryImage:
    rng = np.random.default_rng(seed)
    channels = {name: rng.normal(size=(5, 7)).astype(np.float32) for name in CHANNELS + extra}
    return GeometryImage(channels, rng.random((5, 7)) > 0.3, OrthographicChart(height=5, width=7))


@settings(max_examples=30, deadline=None)
@given(
    floats=hnp.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32, allow_nan=False)),
    integers=hnp.arrays(np.int64, st.integers(0, 20)),
    text=st.text(max_size=20),
    raw=st.binary(max_size=20),
)
def test_decode_inverts_encode(floats, integers, text, raw):
    decoded = tfrecord.decode_example(tfrecord.encode_example({"f": floats, "i": integers, "t": text, "b": raw, "n": 7}))
    np.testing.assert_array_equal(decoded["f"], floats)
    np.testing.assert_array_equal(decoded["i"], integers)
    assert decoded["t"] == [text.encode()] and decoded["b"] == [raw] and decoded["n"].tolist() == [7]


def test_the_same_features_in_another_order_give_the_same_bytes():
    features = {name: np.arange(4.0) + k for k, name in enumerate("qwertyuiop")}
    assert tfrecord.encode_example(features) == tfrecord.encode_example(dict(reversed(features.items())))


def test_an_unsupported_value_is_named():
    with pytest.raises(TypeError, match="'when'.*expected floats"):
        tfrecord.encode_example({"when": np.array(["2020"], "datetime64[D]")})


@pytest.mark.parametrize("compressed", [False, True])
def test_records_come_back_whole_and_the_file_is_deterministic(tmp_path, compressed):
    images = [{"coarse": image(k), "scan": image(k + 9, ("noise_sigma",))} for k in range(3)]
    examples = [image_records.images_example(f"scan-{k}", groups) for k, groups in enumerate(images)]
    paths = [tmp_path / "a.tfrecord", tmp_path / "b.tfrecord"]
    for path in paths:
        assert tfrecord.write_tfrecord(path, iter(examples), gzip=compressed) == 3
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert list(tfrecord.read_tfrecord(paths[0])) == examples
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tfrecord", "b.tfrecord"]


def test_an_example_holds_what_the_schema_says():
    original = image(extra=("confidence",))
    decoded = tfrecord.decode_example(image_records.images_example("a-1", {"refined": original}, subject="s7"))
    assert decoded["scan_id"] == [b"a-1"] and decoded["subject"] == [b"s7"] and decoded["shape"].tolist() == [5, 7]
    assert from_json(decoded["chart"][0].decode()) == original.chart
    for name in (*CHANNELS, "confidence"):
        np.testing.assert_array_equal(decoded[f"refined/{name}"].reshape(5, 7), original[name])
    np.testing.assert_array_equal(decoded["refined/valid_mask"].reshape(5, 7) == 1, original.valid_mask)


def test_a_truncated_and_a_corrupt_file_are_noticed(tmp_path):
    path = tmp_path / "x.tfrecord"
    tfrecord.write_tfrecord(path, [b"payload of some length"])
    data = path.read_bytes()
    for broken in (data[:-6], data[:14] + b"X" + data[15:], data[:5]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="corrupt"):
            list(tfrecord.read_tfrecord(path))


READERS = {
    "beam": """
import io
from apache_beam.io.tfrecordio import _TFRecordUtil
from pipeline.store.tfrecord import decode_example
with open(path, 'rb') as handle:
    floats = decode_example(_TFRecordUtil.read_record(handle))['coarse/depth']
""",
    "tfrecord": """
from tfrecord.reader import tfrecord_loader
floats = next(iter(tfrecord_loader(path, None, {'coarse/depth': 'float'})))['coarse/depth']
""",
    "tensorflow": """
import tensorflow as tf
features = {'coarse/depth': ([35], tf.float32), 'subject': ([], tf.string), 'shape': ([2], tf.int64)}
schema = {name: tf.io.FixedLenFeature(*feature) for name, feature in features.items()}
for raw in tf.data.TFRecordDataset(path, 'GZIP' if compressed else ''):
    example = tf.io.parse_single_example(raw, schema)
    assert example['subject'].numpy() == b's7' and example['shape'].numpy().tolist() == [5, 7]
    floats = example['coarse/depth'].numpy()
""",
}


@pytest.mark.parametrize(
    "reader, compressed", [("beam", False), ("tfrecord", False), ("tensorflow", False), ("tensorflow", True)]
)
def test_other_readers_agree(tmp_path, reader, compressed):
    # in a process of its own: tfrecord and tensorflow cannot be imported into one
    original, path = image(), tmp_path / "x.tfrecord"
    example = image_records.images_example("a", {"coarse": original}, subject="s7")
    tfrecord.write_tfrecord(path, [example], gzip=compressed)
    code = f"path, compressed = {str(path)!r}, {compressed}\n{READERS[reader]}\nprint(' '.join(float(x).hex() for x in floats))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_array_equal([float.fromhex(x) for x in done.stdout.split()], original["depth"].ravel())
