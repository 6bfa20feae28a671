"""Everything around the graph of one run: checked arguments before it, runner options, and what is written after it."""

from __future__ import annotations

import argparse
import dataclasses
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.errors import ConfigError, FaceReliefError
from pipeline.execution import journal, progress, supervision, worker
from pipeline.execution.environment import check_libraries, usable_cores
from pipeline.inputs import listing
from pipeline.inputs.source import Source
from pipeline.launch.checks import _check_output, _check_runner, _refuse_unknown_flags, _settings_of_flags
from pipeline.launch.identity import VERSIONED, _version, identify
from pipeline.scans import config, manifest
from pipeline.scans.job import Job
from pipeline.store import storage


@dataclass(frozen=True)
class Launch:
    """A run that is ready to go: everything the user could have got wrong has been checked."""

    job: Job
    input: str
    listed: list[Source]
    workers: int
    runner: str | None
    beam_flags: tuple[str, ...]
    identities: dict[str, dict[str, str]]

    @classmethod
    def prepare(cls, arguments: argparse.Namespace, beam_flags: Sequence[str]) -> Launch:
        """Raises ConfigError or ModelError."""
        resolved = config.load(arguments.config, [*arguments.settings, *_settings_of_flags(arguments)])
        if arguments.workers is not None and arguments.workers < 1:
            raise ConfigError(f"--workers {arguments.workers}: expected 1 or more")
        if arguments.runner:
            _check_runner(arguments.runner)
        else:
            _refuse_unknown_flags(beam_flags)
        check_libraries()
        _check_output(arguments.output)
        listed = listing.list_sources(arguments.input, arguments.output, resolved.limits.archive_members)
        identities = identify(resolved)
        hashes = {name: identity["sha256"] for name, identity in identities.items()}
        result_hash = resolved.result_hash(version=_version("face-relief"), **hashes)
        job = Job(resolved, arguments.output, hashes["model"], result_hash, arguments.force)
        workers = min(arguments.workers or usable_cores(), len(listed))
        in_order = listing.in_reading_order(listed)
        return cls(job, arguments.input, in_order, workers, arguments.runner, tuple(beam_flags), identities)

    def run(self, build: Callable, write_records: Callable) -> int:
        """Runs the graph, then writes records, manifest, run.json and report. Returns the exit code."""
        start = time.perf_counter()
        out = self.job.out
        storage.remove_partials(out)
        manifest.drop_others(out, self.listed)
        if self.job.force:
            manifest.forget(out, self.listed)
        with tempfile.TemporaryDirectory(prefix="face-relief-") as folder, progress.Bar(folder, len(self.listed)):
            self._process(build, dataclasses.replace(self.job, journal=folder))
        lines = manifest.collect(out, self.listed)
        self._write_records(lines, write_records)
        manifest.write(out, lines)
        wall_seconds = time.perf_counter() - start
        self._write_report(lines, wall_seconds)
        print(progress.summary(lines, out, wall_seconds))
        print(f"  report: {storage.join(out, 'report', 'index.html')}\n  manifest: {storage.join(out, 'manifest.jsonl')}")
        return 3 if manifest.counts(lines)["failed"] else 0

    def _process(self, build: Callable, job: Job) -> None:
        """All scans through the graph. Where a worker dies, the rest goes on without the scans it was at; those are
        then done one by one, and one that kills its worker again has failed."""
        suspects: dict[str, Source] = {}
        waiting = self.listed
        while waiting:
            try:
                self._run_graph(build, waiting, job, self.workers)
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
                self._run_graph(build, [source], job, 2)  # two: so that it is not this process that dies
            except supervision.WorkerLost:
                reason = "its worker process died of it (out of memory, or a library crashed); see limits.file_mib"
                manifest.record(job.out, manifest.line(source, "", "failed", {}, "run", reason), "", job.result_hash)

    def _run_graph(self, build: Callable, listed: list[Source], job: Job, workers: int) -> None:
        def run() -> None:
            with self._pipeline(workers, folder) as pipeline:
                build(pipeline, listed, job)

        if self.runner or workers == 1:
            with self._pipeline(1) as pipeline:
                build(pipeline, listed, job)
            return
        with tempfile.TemporaryDirectory(prefix="face-relief-workers-") as folder:
            supervision.run_watched(run, job.journal, folder)

    def _pipeline(self, workers: int, workers_folder: str = ""):
        import apache_beam as beam

        if self.runner:
            return beam.Pipeline(options=PipelineOptions([f"--runner={self.runner}", *self.beam_flags]))
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner
        from apache_beam.transforms.environments import SubprocessSDKEnvironment

        # Explicit, since beam's "DirectRunner" first tries to download another runner. More than one worker means
        # processes, as by --direct_running_mode=multi_processing, but with our own quiet worker.
        environment = SubprocessSDKEnvironment.from_command_string(worker.command(workers_folder)) if workers > 1 else None
        flags = [f"--direct_num_workers={workers}", "--default_sdk_harness_log_level=ERROR", *self.beam_flags]
        return beam.Pipeline(runner=FnApiRunner(environment), options=PipelineOptions(flags))

    def _write_records(self, lines: list[dict[str, Any]], write_records: Callable) -> None:
        from pipeline.scans import record_shards

        settings, folder = self.job.config.output, storage.join(self.job.out, "records")
        shards = record_shards.shards_of(lines, self.job.out, settings.scans_per_shard) if settings.records else []
        if shards:
            with self._pipeline(1) as pipeline:  # bound by the disk: worker processes would not help
                write_records(pipeline, shards, self.job.out)
        written = {shard.path for shard in shards}
        storage.delete([path for path in storage.list_files(folder) if path not in written and path.endswith(".tfrecord")])

    def _write_report(self, lines: list[dict[str, Any]], wall_seconds: float) -> None:
        from pipeline.reporting import page

        run = {
            "input": self.input,
            "config": self.job.config.to_dict(),
            "model": self.identities["model"],
            "landmark_scheme": self.identities["landmark_scheme"],
            "refiner": None if self.job.landmarks_only else self.job.config.refine.method,
            "weights": self.identities.get("weights"),
            "landmark_weights": self.identities.get("landmark_weights"),
            "result_hash": self.job.result_hash,
            "versions": {"python": platform.python_version()}
            | {name: version for name in VERSIONED if (version := _version(name))},
            "counts": manifest.counts(lines),
            "wall_seconds": round(wall_seconds, 3),
        }
        storage.write_json(storage.join(self.job.out, "run.json"), run)
        page.write_report(self.job.out, lines, run)
