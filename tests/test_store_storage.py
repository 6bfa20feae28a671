"""Files appear whole or not at all, on local paths and on Beam filesystems by URL; the same content gives the same bytes."""

import errno
import io
import os
import time

import numpy as np
import pytest

from geometry.errors import OutputError
from pipeline.store import storage


@pytest.fixture(params=["local", "url"])
def folder(request, tmp_path, memory_filesystem):
    return str(tmp_path) if request.param == "local" else f"{memory_filesystem}://{tmp_path.name}"


def test_what_is_written_is_read_and_listed(folder):
    path = storage.join(folder, "a", "b.bin")
    assert not storage.exists(path)
    storage.write_bytes(path, b"one")
    storage.write_bytes(path, b"two")  # replaces
    assert storage.exists(path) and storage.read_bytes(path) == b"two" and storage.read_head(path, 1) == b"t"
    assert storage.list_files(folder) == [path]
    storage.delete([path])
    assert storage.list_files(folder) == []


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(folder):
    path = storage.join(folder, "x.bin")
    storage.write_bytes(path, b"old")
    with pytest.raises(RuntimeError, match="power"), storage.open_atomic(path) as handle:
        handle.write(b"half of the n")
        raise RuntimeError("power")
    assert storage.read_bytes(path) == b"old" and storage.list_files(folder) == [path]


def test_partial_files_of_killed_writers_are_removed(folder):
    whole = storage.join(folder, "x.bin")
    storage.write_bytes(whole, b"x")
    storage.write_bytes(storage.join(folder, f"y.bin.0123{storage.PARTIAL_SUFFIX}"), b"y")
    storage.remove_partials(folder)
    assert storage.list_files(folder) == [whole]


def test_a_name_that_ends_in_gz_is_not_compressed(folder):
    path = storage.join(folder, "x.gz")
    storage.write_bytes(path, b"plain")
    assert storage.read_bytes(path) == b"plain"


def test_json_refuses_what_is_not_json(tmp_path):
    with pytest.raises(ValueError):
        storage.write_json(str(tmp_path / "x.json"), {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_npz_bytes_are_read_by_numpy_and_do_not_depend_on_the_clock(monkeypatch):
    depth = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = {"coarse/depth": depth, "mask": np.array([True, False]), "chart": np.array('{"kind": 1}')}
    first = storage.npz_bytes(arrays)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.struct_time((2033, 5, 18, 0, 0, 0, 0, 1, 0)))
    assert storage.npz_bytes(arrays) == first
    with np.load(io.BytesIO(first)) as loaded:
        assert set(loaded.files) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(loaded[name], array)
            assert loaded[name].dtype == array.dtype


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_an_error_that_says_so_and_leaves_nothing(tmp_path, monkeypatch):
    path = str(tmp_path / "x.bin")
    storage.write_bytes(path, b"old")
    with (
        pytest.raises(OutputError, match=r"x.bin: cannot be written \(No space left on device\); free space"),
        storage.open_atomic(path),
    ):
        full()
    with monkeypatch.context() as patched, pytest.raises(OutputError, match="cannot be written"):
        patched.setattr(os, "rename", full)
        storage.write_bytes(path, b"new")
    assert storage.read_bytes(path) == b"old" and storage.list_files(str(tmp_path)) == [path]
    with pytest.raises(OutputError, match="cannot be written"):
        storage.write_bytes(storage.join(path, "below a file"), b"")


def test_partial_files_of_other_programs_stay(tmp_path):
    other = tmp_path / "film.mkv.partial"
    other.write_bytes(b"x")
    storage.remove_partials(str(tmp_path))
    assert other.exists()
