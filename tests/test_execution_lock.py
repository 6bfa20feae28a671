"""One run at a time writes to an output folder; what a dead one left is taken over."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from geometry.errors import ConfigError
from pipeline.execution import lock
from pipeline.store import storage

HOLD = """
import sys, time
from pipeline.execution import lock
with lock.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_told_whose_the_folder_is_and_a_killed_ones_lock_is_taken_over(tmp_path, holder):
    out = str(tmp_path / "out")
    content = (tmp_path / "out" / ".lock").read_bytes()
    with pytest.raises(ConfigError) as error, lock.held(out):
        pass
    for words in (json.loads(content)["run"], socket.gethostname(), f"process {holder.pid}", "for ", "another folder"):
        assert words in str(error.value)
    assert (tmp_path / "out" / ".lock").read_bytes() == content and os.listdir(out) == [".lock"]
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with lock.held(out):
        assert json.loads((tmp_path / "out" / ".lock").read_text())["process"] == os.getpid()
    assert os.listdir(out) == []


def test_a_run_on_another_machine_counts_as_living_while_it_gives_signs_of_life(tmp_path):
    file = tmp_path / ".lock"
    file.write_text(json.dumps({"run": "abc", "host": "another", "process": 1, "began": round(time.time()) - 50}))
    with (
        pytest.raises(ConfigError, match=r"run abc on another, process 1, .* for 5\d s, last sign of life"),
        lock.held(str(tmp_path)),
    ):
        pass
    assert file.exists()
    os.utime(file, (time.time() - 2 * lock.STALE_SECONDS,) * 2)
    with lock.held(str(tmp_path)):
        pass
    assert not file.exists()


@pytest.mark.parametrize("content", [b"", b"{", b'{"run": "', b'{"run": "7", "ho', bytes(200), b'{"run": "7"' + b"[" * 5000])
def test_a_damaged_lock_is_taken_over(tmp_path, content):
    (tmp_path / ".lock").write_bytes(content)
    os.utime(tmp_path / ".lock", (0, 0))
    with lock.held(str(tmp_path)):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"[]", b"my own", b'{"host": 3}', b"[" * 5000])
@pytest.mark.parametrize("is_at_url", [False, True])
def test_a_file_of_the_users_in_the_locks_place_stays_and_is_named(tmp_path, memory_filesystem, content, is_at_url):
    out = f"{memory_filesystem}://bucket/out" if is_at_url else str(tmp_path)
    storage.write_bytes(storage.join(out, ".lock"), content)
    with pytest.raises(ConfigError, match=r"--output .*: .*\.lock is no lock of a run; move it away"), lock.held(out):
        pass
    assert storage.read_bytes(storage.join(out, ".lock")) == content and len(storage.list_files(out)) == 1


def test_the_holder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    with lock.held(str(tmp_path)):
        os.utime(tmp_path / ".lock", (0, 0))
        deadline = time.monotonic() + 10
        while os.stat(tmp_path / ".lock").st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert os.stat(tmp_path / ".lock").st_mtime > 0


@pytest.mark.parametrize("error", [OSError("no answer"), RuntimeError("a client's own error")])
def test_a_lock_that_cannot_be_read_for_a_while_is_kept_alive(tmp_path, monkeypatch, error):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    tried = threading.Event()

    def unreadable(*_):
        tried.set()
        raise error

    with lock.held(str(tmp_path)):
        with monkeypatch.context() as patched:
            patched.setattr(storage, "read_head", unreadable)
            assert tried.wait(10)
            time.sleep(0.1)
        os.utime(tmp_path / ".lock", (0, 0))
        deadline = time.monotonic() + 10
        while os.stat(tmp_path / ".lock").st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert os.stat(tmp_path / ".lock").st_mtime > 0


def test_a_url_that_beam_takes_for_a_pattern_is_refused(memory_filesystem):
    out = f"{memory_filesystem}://bucket/run[12]"
    with pytest.raises(ConfigError, match=r"--output .*run\[12\]: at a URL \*, \? and \[ stand for other names"), lock.held(out):
        pass
    assert storage.list_files(f"{memory_filesystem}://bucket") == []


@pytest.mark.parametrize("place", ["/dev/null/out", "/proc/out"])
def test_a_folder_that_cannot_be_written_is_a_wrong_command(place):
    with pytest.raises(ConfigError, match=f"--output {place}: cannot be written"), lock.held(place):
        pass


def test_an_error_inside_passes_through_and_releases(tmp_path):
    with pytest.raises(OSError, match="of the work"), lock.held(str(tmp_path)):
        raise OSError("of the work")
    assert os.listdir(tmp_path) == []


def test_a_folder_at_a_url_is_locked_too(memory_filesystem):
    out = f"{memory_filesystem}://bucket/out"
    with lock.held(out):
        assert storage.exists(storage.join(out, ".lock"))
    assert storage.list_files(out) == []


def taken_over(path):
    """What another run leaves that has taken the lock over."""
    content = json.dumps({"run": "other", "host": "another", "process": 1, "began": round(time.time())})
    storage.write_text(path, content)
    return content


@pytest.mark.parametrize("is_at_url", [False, True])
def test_a_lock_that_another_run_took_over_is_neither_refreshed_nor_removed(tmp_path, monkeypatch, memory_filesystem, is_at_url):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    out = f"{memory_filesystem}://bucket/out" if is_at_url else str(tmp_path)
    path = storage.join(out, ".lock")
    with lock.held(out):
        content = taken_over(path)
        time.sleep(0.2)
        assert storage.read_bytes(path).decode() == content
    assert storage.read_bytes(path).decode() == content


def test_a_lock_file_that_cannot_be_removed_is_let_go_of(tmp_path, monkeypatch):
    held = len(os.listdir("/proc/self/fd"))

    def refused(*_):
        raise PermissionError("no")

    with lock.held(str(tmp_path)):
        monkeypatch.setattr(os, "unlink", refused)
        monkeypatch.setattr(storage, "delete", refused)
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == held


def test_of_two_runs_that_write_at_a_url_at_a_time_one_has_it(memory_filesystem, monkeypatch):
    out = f"{memory_filesystem}://bucket/out"
    real = storage.write_bytes

    def beaten(path, data):
        real(path, data)
        monkeypatch.setattr(storage, "write_bytes", real)
        taken_over(path)

    monkeypatch.setattr(storage, "write_bytes", beaten)
    with pytest.raises(ConfigError, match="run other on another"), lock.held(out):
        pass
    assert storage.exists(storage.join(out, ".lock"))


def test_a_killed_containers_lock_is_taken_over_at_once(tmp_path, monkeypatch):
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():
        pytest.skip("this kernel does not say which it is")
    content = {"run": "abc", "host": "3f2a9c", "process": 7, "began": round(time.time()), "boot": boot.read_text().strip()}
    (tmp_path / ".lock").write_text(json.dumps(content))
    with lock.held(str(tmp_path)):
        pass
    (tmp_path / ".lock").write_text(json.dumps(content | {"boot": "another"}))
    with pytest.raises(ConfigError, match="run abc on 3f2a9c"), lock.held(str(tmp_path)):
        pass


@pytest.mark.parametrize("age, is_alive", [(10, True), (1000, False)])
@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_signs_of_life_are_told_by_the_filesystems_own_clock(tmp_path, monkeypatch, ahead, age, is_alive):
    (tmp_path / ".lock").write_text(json.dumps({"run": "abc", "host": "another", "process": 1, "began": 0}))
    os.utime(tmp_path / ".lock", (time.time() - age,) * 2)
    real = time.time
    monkeypatch.setattr(lock.time, "time", lambda: real() - ahead)
    if is_alive:
        with pytest.raises(ConfigError, match=r"last sign of life 1\d s ago"), lock.held(str(tmp_path)):
            pass
        assert os.listdir(tmp_path) == [".lock"]
    else:
        with lock.held(str(tmp_path)):
            pass
