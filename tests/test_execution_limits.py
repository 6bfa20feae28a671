"""What a scan may cost ends that scan alone: time by the clock, memory, a full disk; and what a machine or container allows."""

import errno
import io
import json
import os
import pathlib
import resource
import subprocess
import sys

import pytest

from geometry.errors import OutputError
from pipeline import run
from pipeline.execution import journal, resources
from pipeline.execution.worker import Unfailing
from pipeline.launch import checks
from pipeline.launch.launch import WORK_FOLDER
from pipeline.scans import config, manifest

ROOT = pathlib.Path(__file__).parents[1]
# in the place of the readers' `read`, in worker processes alone: a library that hangs, or takes all memory, in native code
PLUG = """
import ctypes, os, sys
if "pipeline.execution.worker" in " ".join(sys.orig_argv):
    from geometry import readers
    real = readers.read
    def read(data, source=None, **options):
        if source == "hangs.ply":
            ctypes.PyDLL(None).sleep(1000)  # holds the interpreter's lock: no thread of this process can do anything
        if source == "eats.ply":
            held = [bytearray(2**26) for _ in range(100)]
            ctypes.CDLL(None).sleep(1000)
        if source == "asks.ply":
            bytearray(2**46)
        return real(data, source=source, **options)
    readers.read = read
"""


def execute(tmp_path, names, *options, code=3, workers="2"):
    (tmp_path / "in").mkdir()
    (tmp_path / "sitecustomize.py").write_text(PLUG)
    for name in names:
        (tmp_path / "in" / name).write_bytes(b"")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    words = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--set", "refine=none", "--no-previews"]
    command = [sys.executable, "-m", "pipeline.run", *words, "--set", "locate=pose_search", "--set", "landmarks=mesh"]
    done = subprocess.run(
        [*command, "--workers", workers, *options], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code and "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return {line["source"]: line for line in map(json.loads, (tmp_path / "out" / "manifest.jsonl").read_text().splitlines())}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_scan_over_which_native_code_hangs_ends_at_the_clocks_limit_and_the_others_are_done(tmp_path, workers):
    lines = execute(tmp_path, ["a.ply", "hangs.ply", "z.ply"], "--set", "limits.wall_seconds=3", workers=workers)
    assert lines["hangs.ply"]["stage"] == "run" and "limits.wall_seconds = 3 s" in lines["hangs.ply"]["reason"]
    assert lines["a.ply"]["stage"] == lines["z.ply"]["stage"] == "read"
    assert not [path for path in (tmp_path / "out").iterdir() if path.name in (WORK_FOLDER, ".lock")]


def test_a_scan_that_takes_all_memory_ends_with_its_worker_and_one_that_asks_for_it_alone(tmp_path):
    lines = execute(tmp_path, ["a.ply", "asks.ply", "eats.ply", "z.ply"], "--set", "limits.worker_mib=1200")
    assert lines["eats.ply"]["stage"] == "run" and "limits.worker_mib, 1200 MiB" in lines["eats.ply"]["reason"]
    assert lines["asks.ply"]["reason"] == "MemoryError" and lines["asks.ply"]["stage"] == "read"
    assert lines["a.ply"]["stage"] == lines["z.ply"]["stage"] == "read"


def test_a_limit_on_sizes_ends_with_one_line_and_the_next_run_goes_on(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ply").write_bytes(b"")
    words = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--set", "refine=none"]
    small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
    command = [sys.executable, "-m", "pipeline.run", *words]
    for limit, code in ((small, 2), (None, 3)):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, preexec_fn=limit)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        if limit:
            assert "cannot be written (File too large)" in done.stderr and "give the same command again" in done.stderr
    assert not list((tmp_path / "out").rglob("*.partial"))


def group(root, version, **limits):
    """A container's files below `root`."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text("MemTotal:       16777216 kB\nMemFree: 1 kB\n")
    if version == 2:
        (root / "proc" / "self" / "cgroup").write_text("0::/pod/box\n")
        places = {"cpu": "pod", "memory": "pod/box"}
    else:
        (root / "proc" / "self" / "cgroup").write_text("5:cpu,cpuacct:/pod/box\n4:memory:/elsewhere\n1:name=systemd:/\n")
        places = {"cpu": "cpu/pod", "memory": "memory"}
    for name, text in limits.items():
        file = root / "sys" / "fs" / "cgroup" / places[name.partition("_")[0]] / name.replace("_", ".", 1)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")


@pytest.mark.parametrize(
    "version, limits, cores, mib",
    [
        (2, {}, 4, 16384),
        (2, {"cpu_max": "150000 100000", "memory_max": str(5000 * 2**20)}, 1, 5000),
        (2, {"cpu_max": "max 100000", "memory_max": "max"}, 4, 16384),
        (2, {"cpu_max": "50000 100000"}, 1, 16384),
        (1, {"cpu_cfs_quota_us": "300000", "cpu_cfs_period_us": "100000", "memory_limit_in_bytes": str(2**31)}, 3, 2048),
        (1, {"cpu_cfs_quota_us": "-1", "cpu_cfs_period_us": "100000", "memory_limit_in_bytes": str(2**63 - 4096)}, 4, 16384),
    ],
)
def test_cores_and_memory_are_those_of_the_container(tmp_path, monkeypatch, version, limits, cores, mib):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    group(tmp_path, version, **limits)
    assert resources.usable_cores(tmp_path) == cores and resources.usable_mib(tmp_path) == mib
    workers = resources.default_workers(tmp_path)
    assert workers == max(1, min(cores, (mib - resources.LAUNCHER_MIB) // resources.WORKER_MIB))
    assert resources.worker_mib(workers, tmp_path) == max(resources.WORKER_MIB, (mib - resources.LAUNCHER_MIB) // workers)


def test_without_the_systems_files_nothing_is_limited(tmp_path):
    assert resources.usable_mib(tmp_path) is None and resources.worker_mib(2, tmp_path) is None
    assert resources.usable_cores(tmp_path) == resources.default_workers(tmp_path) >= 1


def test_a_journal_tells_what_is_under_way_and_since_when(tmp_path, monkeypatch):
    reader, folder, me = journal.Reader(str(tmp_path)), str(tmp_path), os.getpid()
    clock = iter(range(100))
    monkeypatch.setattr(journal.time, "monotonic", lambda: float(next(clock)))
    journal.note(folder, journal.BEGUN, "a")
    reader.update()
    journal.note(folder, journal.WAITING, "a")  # for the networks to load
    reader.update()
    assert reader.under_way[me] == {"a": None}
    journal.note(folder, journal.BEGUN, "a")
    with open(tmp_path / str(me), "a") as file:
        file.write("ok")  # cut off
    reader.update()
    assert reader.under_way[me]["a"] > 0 and reader.ended == {}
    with open(tmp_path / str(me), "a") as file:
        file.write(" a\n")
    reader.update()
    assert reader.under_way[me] == {} and reader.ended == {"a": "ok"} and reader.counts() == {"ok": 1}
    journal.note(str(tmp_path / "gone"), "ok", "b")  # a worker elsewhere has no such folder


class FullDisk(io.StringIO):
    def write(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    flush = write


def test_what_a_worker_says_on_a_full_disk_is_lost_and_nothing_else():
    # Beam prints the error that a worker raises, and where that fails its runner waits for an answer for ever
    stream = Unfailing(FullDisk())
    print("said", file=stream, flush=True)
    stream.flush()


def test_a_disk_that_is_full_in_the_middle_of_a_run_is_told_with_what_is_finished(tmp_path, monkeypatch, capsys):
    def full(path, *_, **__):
        raise OutputError(f"{path}: cannot be written (No space left on device)")

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ply").write_bytes(b"")
    monkeypatch.setattr(manifest, "record", full)
    monkeypatch.setattr(checks, "check_room", full)
    words = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--workers", "1"]
    assert run.main([*words, "--set", "refine=none", "--set", "locate=pose_search", "--set", "landmarks=mesh"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "cannot be written (No space left on device) (0 scans of this run are finished)" in told
    assert not (tmp_path / "out" / ".lock").exists() and not (tmp_path / "out" / WORK_FOLDER).exists()


def test_room_for_a_file_is_asked_for_and_nothing_stays_of_that(tmp_path):
    out = tmp_path / "run[12]"
    for folder in (tmp_path / "run1", out):
        folder.mkdir()
        (folder / ".probe").write_bytes(b"mine")
    checks.check_room(str(out))
    checks.check_output(str(out))
    assert {path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == {b"mine"}
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 2


@pytest.mark.parametrize(
    "given, seconds", [((), 600.0), (("limits.seconds_per_scan=5",), 60.0), (("limits.wall_seconds=3",), 3.0)]
)
def test_the_limit_by_the_clock_follows_that_of_working_time(given, seconds):
    assert config.load(settings=given).limits.clock_seconds == seconds
