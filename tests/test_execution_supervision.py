"""A worker that exceeds its limits is ended, and no scan pays for what it did not do: waiting, a stopped run, shared pages."""

import os
import subprocess
import threading
from dataclasses import replace

import pytest

from geometry.errors import FaceReliefError
from pipeline.execution import journal, resources, stages, supervision
from pipeline.execution.local import Runner
from pipeline.execution.supervision import Limits, WorkerLost
from pipeline.inputs.listing import Listing
from pipeline.inputs.source import Source
from pipeline.launch.launch import Launch
from pipeline.scans import config, manifest
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState

SOURCES = tuple(Source(name, f"/in/{name}") for name in ("a.ply", "b.ply"))


@pytest.fixture
def worker(tmp_path):
    """A process that the supervision may end, registered as a worker."""
    for folder in ("workers", "journal"):
        (tmp_path / folder).mkdir()
    with subprocess.Popen(["sleep", "60"]) as process:
        (tmp_path / "workers" / str(process.pid)).touch()
        yield process
        process.kill()


def test_a_worker_is_ended_over_its_limits_and_the_reason_names_the_key(worker):
    assert supervision.ended_for(worker.pid, {"a": None}, Limits(1.0)) == ""
    assert "limits.wall_seconds = 1 s" in supervision.ended_for(worker.pid, {"a": -1e9, "b": None}, Limits(1.0))
    assert worker.wait() == -9


def test_a_scan_that_ends_in_the_moment_of_the_kill_is_not_blamed(tmp_path, worker, monkeypatch):
    note = lambda event: (tmp_path / "journal" / str(worker.pid)).open("a").write(f"{event} a\n")
    note("begun")
    real = supervision.ended_for

    def late(process, under_way, limits):
        note("ok")
        reason = real(process, under_way, limits)
        worker.wait()
        return reason

    monkeypatch.setattr(supervision, "ended_for", late)
    never = threading.Event()
    with pytest.raises(WorkerLost) as lost:
        supervision.run_watched(never.wait, str(tmp_path / "journal"), str(tmp_path / "workers"), Limits(0.0))
    never.set()
    assert vars(lost.value) == {"unfinished": set(), "reason": lost.value.reason} and "wall_seconds" in lost.value.reason


def test_pages_that_are_shared_with_files_are_not_a_workers_memory(tmp_path):
    (tmp_path / "proc" / "7").mkdir(parents=True)
    pages = lambda mib: mib * 2**20 // os.sysconf("SC_PAGE_SIZE")
    (tmp_path / "proc" / "7" / "statm").write_text(f"{pages(9000)} {pages(1500)} {pages(400)} 1 0 1 0\n")
    assert resources.used_mib(7, tmp_path) == 1100 and resources.used_mib(8, tmp_path) == 0


def test_a_run_that_was_stopped_for_a_while_ends_no_worker(tmp_path, worker, monkeypatch):
    """As by Ctrl-Z, which stops workers and launcher alike: the clock of both goes on."""
    (tmp_path / "journal" / str(worker.pid)).write_text("begun a\n")
    clock = iter([0.0, 0.2, 0.2, 0.2, *[1000.0] * 10_000])
    monkeypatch.setattr(supervision.time, "monotonic", lambda: next(clock))
    done = threading.Event()
    threading.Timer(1.0, done.set).start()
    supervision.run_watched(done.wait, str(tmp_path / "journal"), str(tmp_path / "workers"), Limits(60.0))
    assert worker.poll() is None


class Told(list):
    """In the place of the journal's `note`."""

    def note(self, _folder, event, scan_id):
        self.append((event, scan_id.partition(".")[0]))


@pytest.fixture
def told(monkeypatch):
    told = Told()
    monkeypatch.setattr(stages.journal, "note", told.note)
    return told


def test_a_scan_waits_while_its_batch_fills_and_while_the_others_of_it_go_on(tmp_path, told, monkeypatch):
    job = Job(config.load(settings=["refine=gan", "refine.batch_size=2"]), str(tmp_path))
    monkeypatch.setattr(stages, "refine_batch", lambda batch, _: list(batch))
    stage = stages.Refine(job)
    stage.start_bundle()
    first, second = (ScanState(source) for source in SOURCES)
    assert list(stage.process(first)) == [] and told == [("waiting", "a")]
    results = stage.process(second)
    assert next(results) is first
    assert told[1:] == [("begun", "a"), ("begun", "b"), ("waiting", "a"), ("waiting", "b"), ("begun", "a")]
    assert next(results) is second and told[-1] == ("begun", "b")


def test_unpacking_an_archive_up_to_a_member_is_not_the_members_time(tmp_path, told, monkeypatch):
    monkeypatch.setattr(stages, "warm_up", lambda _: told.append("loading"))
    monkeypatch.setattr(stages.steps, "load", lambda state, _: told.append("read") or replace(state, input_hash="x"))
    source = Source("x.tar!a.ply", "/in/x.tar", "a.ply")
    list(stages.Load(Job(config.load(), str(tmp_path))).process(source))
    events = [entry if isinstance(entry, str) else entry[0] for entry in told]
    assert events == ["waiting", "read", "waiting", "loading", "begun"]


@pytest.fixture
def launched(tmp_path, monkeypatch):
    """Runs scans over workers that die as `deaths` says: one call of the runner each. Returns the calls' limits and sources."""
    (tmp_path / "journal").mkdir()
    monkeypatch.setattr(resources, "worker_mib", lambda workers: 8000 // workers)

    def launched(*deaths, settings=()):
        job = Job(config.load(settings=settings), str(tmp_path / "out"), journal=str(tmp_path / "journal"))
        limits, calls, left = Limits(60.0, job.config.limits.worker_mib or 4000), [], list(deaths)

        def through(_self, runner, sources, _job):
            calls.append((runner.limits.worker_mib, [source.name for source in sources]))
            if death := left.pop(0):
                raise death

        monkeypatch.setattr(Launch, "_through", through)
        Launch(job, "/in", Listing("/in", SOURCES, ()), Runner(2, limits=limits), {})._process(job)
        return calls, manifest.states(job.out)

    return launched


def test_a_scan_whose_worker_took_too_much_is_tried_again_alone_with_all_memory(launched):
    calls, states = launched(WorkerLost({SOURCES[0].scan_id}, "took more memory"), None, None)
    assert calls == [(4000, ["a.ply", "b.ply"]), (4000, ["b.ply"]), (8000, ["a.ply"])] and not states


def test_a_scan_that_loses_its_worker_again_has_failed_and_a_limit_that_is_stated_holds(launched):
    suspect = {SOURCES[0].scan_id}
    calls, states = launched(
        WorkerLost(suspect, "took more"), None, WorkerLost(suspect, "took too long"), settings=["limits.worker_mib=900"]
    )
    assert calls[-1] == (900, ["a.ply"])
    assert [state.line["reason"] for state in states.values()] == ["took too long"]


def test_workers_that_die_before_any_scan_are_told_with_the_limit(launched):
    with pytest.raises(FaceReliefError, match="before they begin a scan; the last one took more memory than limits"):
        launched(WorkerLost(set(), "took more memory than limits.worker_mib, 256 MiB"))


def test_a_journal_passes_over_time_in_which_nothing_ran(tmp_path):
    reader = journal.Reader(str(tmp_path))
    reader.under_way = {1: {"a": 5.0, "b": None}}
    reader.pass_over(100.0)
    assert reader.under_way == {1: {"a": 105.0, "b": None}}
