"""Everything around the graph of one run: checked arguments before it, runner options, and what is written after it."""

import argparse
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from geometry.errors import FaceReliefError
from geometry.settings.commands import installed_version
from geometry.settings.options import to_dict
from pipeline.execution import graph, journal, progress, supervision
from pipeline.execution.environment import check_libraries, usable_cores
from pipeline.execution.local import Runner
from pipeline.inputs import listing
from pipeline.inputs.source import Source
from pipeline.launch import checks
from pipeline.launch.command import settings_of
from pipeline.launch.identity import VERSIONED, identify
from pipeline.reporting import page
from pipeline.scans import config, manifest, record_shards
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState
from pipeline.store import storage


@dataclass(frozen=True)
class Launch:
    """A run that is ready to go: everything the user could have got wrong has been checked."""

    job: Job
    input: str
    listed: list[Source]
    runner: Runner
    identities: dict[str, dict[str, str]]

    @classmethod
    def prepare(cls, arguments: argparse.Namespace, beam_flags: Sequence[str]) -> Self:
        """Raises ConfigError or ModelError."""
        resolved = config.load(arguments.config, settings_of(arguments))
        checks.check_workers(arguments.workers)
        if arguments.runner:
            checks.check_runner(arguments.runner)
        else:
            checks.refuse_unknown_flags(beam_flags)
        check_libraries()
        checks.check_chart(resolved)
        checks.check_output(arguments.output)
        listed = listing.list_sources(arguments.input, arguments.output, resolved.limits.archive_members)
        identities = identify(resolved)
        hashes = {name: identity["sha256"] for name, identity in identities.items()}
        result_hash = resolved.result_hash(version=installed_version(), **hashes)
        job = Job(resolved, arguments.output, hashes["model"], result_hash, arguments.force)
        workers = min(arguments.workers or usable_cores(), len(listed))
        runner = Runner(workers, arguments.runner, tuple(beam_flags))
        return cls(job, arguments.input, listing.in_reading_order(listed), runner, identities)

    def run(self) -> int:
        """Runs the graph, then writes records, manifest, run.json and report. Returns the exit code."""
        start = time.perf_counter()
        out = self.job.out
        storage.remove_partials(out)
        manifest.drop_others(out, [] if self.job.force else self.listed)  # a killed forced run takes no old results for its own
        with tempfile.TemporaryDirectory(prefix="face-relief-") as folder, progress.Bar(folder, len(self.listed)):
            self._process(replace(self.job, journal=folder))
        lines = manifest.collect(out, self.listed)
        self._write_records(lines)
        manifest.write(out, lines)
        wall_seconds = time.perf_counter() - start
        self._write_report(lines, wall_seconds)
        print(progress.summary(lines, out, wall_seconds))
        print(f"  report: {storage.join(out, 'report', 'index.html')}\n  manifest: {storage.join(out, 'manifest.jsonl')}")
        return 3 if manifest.counts(lines)["failed"] else 0

    def _process(self, job: Job) -> None:
        """All scans through the graph. Where a worker dies, the rest goes on without the scans it was at; those are
        then done one by one, and one that kills its worker again has failed."""
        suspects: dict[str, Source] = {}
        waiting = self.listed
        while waiting:
            try:
                self.runner.run(partial(graph.build, listed=waiting, job=job), job.journal)
                break
            except supervision.WorkerLost as loss:
                suspects |= {source.scan_id: source for source in waiting if source.scan_id in loss.unfinished}
                done = journal.ended_scans(job.journal)
                remaining = [source for source in waiting if source.scan_id not in suspects and source.scan_id not in done]
                if len(remaining) == len(waiting):
                    raise FaceReliefError("worker processes die before they begin a scan; is there memory enough?") from loss
                waiting = remaining
        for source in suspects.values():
            try:
                alone = replace(self.runner, workers=2)  # two: so that it is not this process that dies
                alone.run(partial(graph.build, listed=[source], job=job), job.journal)
            except supervision.WorkerLost:
                reason = "its worker process died of it (out of memory, or a library crashed); see limits.file_mib"
                manifest.record(job.out, manifest.line(ScanState(source), "failed", "run", reason), "", job.result_hash)

    def _write_records(self, lines: list[dict[str, Any]]) -> None:
        settings, folder = self.job.config.output, storage.join(self.job.out, "records")
        shards = record_shards.shards_of(lines, self.job.out, settings.scans_per_shard) if settings.records else []
        if shards:
            # bound by the disk: worker processes would not help
            replace(self.runner, workers=1).run(partial(graph.write_records, shards=shards, out=self.job.out))
        written = {shard.path for shard in shards}
        storage.delete([path for path in storage.list_files(folder) if path not in written and path.endswith(".tfrecord")])

    def _write_report(self, lines: list[dict[str, Any]], wall_seconds: float) -> None:
        run = {
            "input": self.input,
            "config": to_dict(self.job.config),
            "model": self.identities["model"],
            "landmark_scheme": self.identities["landmark_scheme"],
            "refiner": None if self.job.landmarks_only else self.job.config.refine.method,
            "weights": self.identities.get("weights"),
            "landmark_weights": self.identities.get("landmark_weights"),
            "result_hash": self.job.result_hash,
            "versions": {"python": platform.python_version()}
            | {name: version for name in VERSIONED if (version := installed_version(name))},
            "counts": manifest.counts(lines),
            "wall_seconds": round(wall_seconds, 3),
        }
        storage.write_json(storage.join(self.job.out, "run.json"), run)
        page.write_report(self.job.out, lines, run)
