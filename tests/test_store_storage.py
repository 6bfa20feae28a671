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
    storage.write_bytes(storage.partial_name(storage.join(folder, "y.bin")), b"y")
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


@pytest.mark.parametrize("name", ["film.mkv.partial", "notes.1.partial", "a.0123456789abc.partial", "a.0123456789ab.partial.txt"])
def test_partial_files_of_other_programs_stay(tmp_path, name):
    other = tmp_path / name
    other.write_bytes(b"x")
    storage.remove_partials(str(tmp_path))
    assert other.exists()


PATTERNS = ("run[12]", "run?", "run*", "run[!a]")  # names of folders, which Beam would take for those of run1 and run2


@pytest.mark.parametrize("name", PATTERNS)
def test_a_local_path_is_never_a_pattern(tmp_path, name):
    partial = storage.partial_name("x.ply")
    for folder in ("run1", "run2", name):
        for file in ("a*.ply", "ab.ply", partial):
            storage.write_bytes(storage.join(str(tmp_path), folder, file), b"x")
    before = set(storage.list_files(str(tmp_path)))
    of_name = {storage.join(str(tmp_path), name, file) for file in ("a*.ply", "ab.ply", partial)}
    assert set(storage.list_files(str(tmp_path / name))) == of_name
    storage.delete([storage.join(str(tmp_path), name, "a*.ply")])
    storage.remove_partials(str(tmp_path / name))
    assert set(storage.list_files(str(tmp_path))) == before - of_name | {storage.join(str(tmp_path), name, "ab.ply")}


def test_links_to_nowhere_are_removed_and_what_is_gone_already_is_no_fault(tmp_path):
    link = tmp_path / "link.ply"
    link.symlink_to(tmp_path / "gone.ply")
    storage.delete([str(link), str(tmp_path / "gone.ply")])
    assert not os.path.lexists(link)


def test_a_file_that_cannot_be_removed_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_bytes(b"x")
    with pytest.raises(OutputError, match="folder: cannot be removed"):
        storage.delete([str(tmp_path / "folder")])
    assert (tmp_path / "folder" / "mine.txt").exists()


def test_a_url_may_look_like_a_pattern_and_a_local_path_never_does(memory_filesystem):
    assert all(storage.is_pattern(f"{memory_filesystem}://bucket/{name}") for name in PATTERNS)
    assert not storage.is_pattern(f"{memory_filesystem}://bucket/run") and not any(map(storage.is_pattern, PATTERNS))
