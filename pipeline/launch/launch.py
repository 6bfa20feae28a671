"""Everything around the graph of one run: checked arguments before it, runner options, and what is written after it."""

import argparse
import contextlib
import os
import platform
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from geometry.errors import FaceReliefError, OutputError
from geometry.settings.commands import installed_version
from geometry.settings.options import to_dict
from geometry.settings.printing import printable, utf8
from pipeline.execution import graph, journal, lock, progress, resources, supervision
from pipeline.execution.environment import check_libraries
from pipeline.execution.local import Runner
from pipeline.inputs import listing, passed_over
from pipeline.inputs.listing import Listing
from pipeline.inputs.source import Source
from pipeline.launch import checks, rerun, tables
from pipeline.launch.command import settings_of
from pipeline.launch.identity import VERSIONED, identify
from pipeline.launch.rerun import Plan
from pipeline.reporting import page
from pipeline.scans import config, manifest
from pipeline.scans.config import Config
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState
from pipeline.store import storage

WORK_FOLDER = ".face-relief-run"  # below OUT: what a run needs while it lasts; a killed one's is removed by the next


def launch(arguments: argparse.Namespace, beam_flags: Sequence[str], is_command: bool = True) -> int:
    """Checks everything that the user could have got wrong, then runs, alone on its output. Returns the exit code.

    is_command: called as a command and not from Python, so that even a single worker is a process of its own, which the limits of
    time and memory can end. Raises ConfigError, ModelError or OutputError."""
    resolved = config.load(arguments.config, settings_of(arguments))
    checks.check_workers(arguments.workers)
    if arguments.runner:
        checks.check_runner(arguments.runner)
    else:
        checks.refuse_unknown_flags(beam_flags)
    check_libraries()
    checks.check_chart(resolved)
    with lock.held(arguments.output):
        ready = Launch.prepare(arguments, beam_flags, resolved, is_command)
        return ready.run()


@dataclass(frozen=True)
class Launch:
    """A run that is ready to go: everything the user could have got wrong has been checked."""

    job: Job
    input: str
    listing: Listing
    runner: Runner
    identities: dict[str, dict[str, str]]
    plan: Plan = Plan()

    @classmethod
    def prepare(cls, arguments: argparse.Namespace, beam_flags: Sequence[str], resolved: Config, is_command: bool) -> Self:
        """Lists the input and compares it with what OUT holds; changes nothing. Raises ConfigError or ModelError."""
        out = arguments.output
        known = rerun.earlier(out)
        root = rerun.root_of(arguments.input, arguments.root, known)
        found = listing.list_input(arguments.input, out, config.bounds_of(resolved), root)
        identities = identify(resolved)
        hashes = {name: identity["sha256"] for name, identity in identities.items()}
        result_hash = resolved.result_hash(version=installed_version(), **hashes)
        job = Job(resolved, out, hashes["model"], result_hash, arguments.force)
        workers = min(arguments.workers or resources.default_workers(), len(found.sources))
        limits = supervision.Limits(resolved.limits.clock_seconds, resolved.limits.worker_mib or resources.worker_mib(workers))
        runner = Runner(workers, arguments.runner, tuple(beam_flags), limits, is_watched=is_command)
        ready = cls(job, arguments.input, found, runner, identities)
        is_stated = arguments.root is not None
        return replace(ready, plan=rerun.plan(known, found, ready.run_info(), resolved.limits, is_stated, arguments.force))

    def run(self) -> int:
        """Runs the graph, then writes records, manifest, run.json and report. Returns the exit code."""
        start, out, plan = time.perf_counter(), self.job.out, self.plan
        tables.check_records(self.job, bool(plan.finished or plan.kept))
        manifest.remember_all(out, plan.regained)  # while run.json still tells what it is
        storage.write_json(storage.join(out, "run.json"), self.run_info() | {"status": "running"})
        self._make_room()
        try:
            with self._work_folder() as folder, progress.Bar(folder, len(self.listing.sources)):
                self._process(replace(self.job, journal=folder))
                ended = journal.ended_scans(folder)
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):
                storage.write_json(storage.join(out, "run.json"), self.run_info() | {"status": "interrupted"})
            raise
        storage.remove_partials(out)  # of workers that died
        own = manifest.collect(out, self.listing.sources)
        lines = manifest.in_order([*own, *(state.told for state in plan.kept)])
        tables.write_records(lines, self.job, self.runner)
        manifest.write(out, lines)
        wall_seconds = time.perf_counter() - start
        run = self.run_info() | {"status": "finished", "counts": manifest.counts(lines), "wall_seconds": round(wall_seconds, 3)}
        storage.write_json(storage.join(out, "run.json"), run)
        page.write_report(out, lines, run)
        self._tell(own, ended, wall_seconds)
        return 3 if manifest.counts(own)["failed"] else 0

    def _make_room(self) -> None:
        """Removes what killed runs left, and what this run was allowed to drop."""
        out, plan = self.job.out, self.plan
        storage.remove_partials(out)
        if not storage.is_url(out):
            shutil.rmtree(storage.join(out, WORK_FOLDER), ignore_errors=True)
        if plan.dropped:  # from the manifest first: without its state, a line would count as a result (`pipeline.scans.lost`)
            dropped = set(plan.dropped)
            manifest.write(out, [line for line in manifest.written_lines(out) if line["scan_id"] not in dropped])
            manifest.drop(out, plan.dropped)
        manifest.forget(out, plan.forgotten)
        if self.job.force:  # a killed forced run takes no old results for its own
            manifest.forget(out, (source.scan_id for source in self.listing.sources))

    @contextlib.contextmanager
    def _work_folder(self) -> Iterator[str]:
        """The journal's folder; below OUT where that is local, so that nothing of a killed run is left elsewhere."""
        if storage.is_url(self.job.out):
            with tempfile.TemporaryDirectory(prefix="face-relief-") as folder:
                yield folder
            return
        folder, temporary = storage.join(self.job.out, WORK_FOLDER), tempfile.tempdir
        try:
            if self.runner.is_watched:  # Beam's and TensorFlow's temporary files, the workers' too; in a Python session they stay
                tempfile.tempdir = checks.made_folder(os.path.abspath(storage.join(folder, "tmp")))
            yield checks.made_folder(storage.join(folder, "journal"))
        finally:
            tempfile.tempdir = temporary
            shutil.rmtree(folder, ignore_errors=True)

    def _process(self, job: Job) -> None:
        """All scans through the graph. Where a worker dies, or is ended over its limits, the rest goes on without the scans it
        was at; those are then done one by one, with all memory that there is, and one that loses its worker again has failed."""
        suspects: dict[str, Source] = {}
        waiting = listing.in_reading_order(list(self.listing.sources))
        runner = self.runner if storage.is_url(job.out) else replace(self.runner, folder=storage.join(job.out, WORK_FOLDER))
        while waiting:
            try:
                self._through(runner, waiting, job)
                break
            except supervision.WorkerLost as loss:
                suspects |= {source.scan_id: source for source in waiting if source.scan_id in loss.unfinished}
                done = journal.ended_scans(job.journal)
                remaining = [source for source in waiting if source.scan_id not in suspects and source.scan_id not in done]
                if len(remaining) == len(waiting):
                    why = f"the last one {loss.reason}" if loss.reason else "is there memory enough?"
                    raise FaceReliefError(f"worker processes die before they begin a scan; {why}") from loss
                waiting = remaining
        limits = replace(runner.limits, worker_mib=self.job.config.limits.worker_mib or resources.worker_mib(1))
        alone = replace(runner, workers=1, is_watched=True, limits=limits)  # so that it is not this process that dies
        for scan_id, source in suspects.items():
            try:
                self._through(alone, [source], job)
            except supervision.WorkerLost as loss:
                reason = "its worker process died of it (out of memory, or a library crashed); see limits.file_mib"
                if scan_id not in journal.ended_scans(job.journal):  # in the last moment
                    self._fail(source, loss.reason or reason, job)

    def _through(self, runner: Runner, sources: list[Source], job: Job) -> None:
        """Raises WorkerLost, and OutputError where the output cannot be written: of that workers die, or raise what Beam hands on
        as a text."""
        try:
            runner.run(partial(graph.build, listed=sources, job=job), job.journal)
        except Exception as error:
            done = sum(status != "failed" for status in journal.ended_scans(job.journal).values())
            try:
                checks.check_room(job.out)
            except OutputError as full:
                raise OutputError(f"{full} ({done} scans of this run are finished)") from error
            raise

    def _fail(self, source: Source, reason: str, job: Job) -> None:
        """Records a scan that ended with its worker; a result that is there stays."""
        line = manifest.line(ScanState(source), "failed", "run", reason)
        is_new = manifest.record(job.out, line, "", job.result_hash, name=source.name)
        journal.note(job.journal, "failed" if is_new else "kept", source.scan_id)

    def run_info(self) -> dict[str, Any]:
        """What run.json says of this run before it is known how it ends."""
        return {
            "status": "prepared",
            "input": utf8(self.input),
            "root": self.listing.root,
            "config": to_dict(self.job.config),
            "model": self.identities["model"],
            "landmark_scheme": self.identities["landmark_scheme"],
            "refiner": None if self.job.landmarks_only else self.job.config.refine.method,
            "weights": self.identities.get("weights"),
            "landmark_weights": self.identities.get("landmark_weights"),
            "result_hash": self.job.result_hash,
            "versions": {"python": platform.python_version()}
            | {name: version for name in VERSIONED if (version := installed_version(name))},
            "passed_over": passed_over.tally(self.listing.passed),
            "left_the_input": list(self.plan.left),
        }

    def _tell(self, own: list[dict[str, Any]], ended: dict[str, str], wall_seconds: float) -> None:
        """The summary on the terminal."""
        out, plan, status = self.job.out, self.plan, Counter(ended.values())
        again = sum(scan_id in ended and ended[scan_id] != "kept" for scan_id in plan.finished)
        done = sum(status.values()) - status["kept"]
        unread = sum(note.startswith(manifest.STAYS) for line in own for note in line.get("notes", ()))
        found = progress.Rerun(status["kept"], done, again, len(plan.kept), plan.left, len(plan.dropped), unread)
        text = [progress.summary(own, out, wall_seconds), *found.lines(out)]
        text += [f"  {printable(line)}" for line in passed_over.summary(passed_over.tally(self.listing.passed))]
        for name, path in (("report", ("report", "index.html")), ("manifest", ("manifest.jsonl",))):
            text.append(f"  {name}: {printable(storage.join(out, *path))}")
        print("\n".join(text))
