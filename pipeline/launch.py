"""Everything around the graph of one run: checked arguments before it, runner options, and what is written after it."""
from __future__ import annotations

import argparse
import dataclasses
import difflib
import hashlib
import importlib.metadata
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from geometry import landmarks
from geometry.landmark_calibration import calibration
from pipeline import config, journal, manifest, progress, sources, storage, supervision, system, worker
from pipeline.errors import ConfigError, FaceReliefError
from pipeline.landmarking import landmark_network_is_used
from pipeline.sources import Source
from pipeline.work import Job, model_of

VERSIONED = (
    "face-relief", "apache-beam", "tensorflow", "keras", "numpy", "scipy", "open3d", "open3d-cpu",
)


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
        system.check_libraries()
        _check_output(arguments.output)
        listed = sources.list_sources(arguments.input, arguments.output, resolved.limits.archive_members)
        identities = identify(resolved)
        hashes = {name: identity["sha256"] for name, identity in identities.items()}
        result_hash = resolved.result_hash(version=_version("face-relief"), **hashes)
        job = Job(resolved, arguments.output, hashes["model"], result_hash, arguments.force)
        workers = min(arguments.workers or system.usable_cores(), len(listed))
        in_order = sources.in_reading_order(listed)
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
        from pipeline import stages

        settings, folder = self.job.config.output, storage.join(self.job.out, "records")
        shards = stages.shards_of(lines, self.job.out, settings.scans_per_shard) if settings.records else []
        if shards:
            with self._pipeline(1) as pipeline:  # bound by the disk: worker processes would not help
                write_records(pipeline, shards, self.job.out)
        written = {shard.path for shard in shards}
        storage.delete([path for path in storage.list_files(folder) if path not in written and path.endswith(".tfrecord")])

    def _write_report(self, lines: list[dict[str, Any]], wall_seconds: float) -> None:
        from pipeline import report

        run = {
            "input": self.input,
            "config": self.job.config.to_dict(),
            "model": self.identities["model"],
            "landmark_scheme": self.identities["landmark_scheme"],
            "refiner": None if self.job.landmarks_only else self.job.config.refine.method,
            "weights": self.identities.get("weights"),
            "landmark_weights": self.identities.get("landmark_weights"),
            "result_hash": self.job.result_hash,
            "versions": {"python": platform.python_version()} | {name: version for name in VERSIONED if (version := _version(name))},
            "counts": manifest.counts(lines),
            "wall_seconds": round(wall_seconds, 3),
        }
        storage.write_json(storage.join(self.job.out, "run.json"), run)
        report.write_report(self.job.out, lines, run)


def identify(resolved: config.Config) -> dict[str, dict[str, str]]:
    """Name and SHA-256 of the model, the landmark scheme and of the weights of each network that is used. Raises ModelError or ConfigError."""
    scheme = landmarks.scheme(resolved.landmarks.scheme)
    identities = {
        "model": {"name": resolved.model.name, "sha256": model_of(resolved.model.name).sha256},
        "landmark_scheme": {"name": scheme.name, "sha256": hashlib.sha256(repr(scheme).encode()).hexdigest()},
    }
    networks = {
        "weights": ("refiner", resolved.refine.weights, resolved.refine.method == "gan" and resolved.output.stages == "all"),
        "landmark_weights": ("landmarks", resolved.landmarks.weights, landmark_network_is_used(resolved)),
    }
    for role, (network, name, is_used) in networks.items():
        if is_used:
            from gan import weights

            identities[role] = {"name": name, "sha256": weights.read_card(name, network)["sha256"]}
    measured = json.dumps(calibration(), sort_keys=True).encode()
    return identities | {"landmark_calibration": {"name": "shipped", "sha256": hashlib.sha256(measured).hexdigest()}}


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:  # run from a checkout, or the other of open3d and open3d-cpu
        return ""


def _settings_of_flags(arguments: argparse.Namespace) -> Iterator[str]:
    """The flags that are short for a setting."""
    if arguments.model is not None:
        name = arguments.model.replace("'", "''")
        yield f"model.name='{name}'"  # quoted: a text to YAML, whatever is in it
    if arguments.unit is not None:
        yield f"input.unit={arguments.unit}"
    if arguments.stages is not None:
        yield f"output.stages={arguments.stages}"
    if arguments.no_previews:
        yield "output.previews=false"


def _check_output(out: str) -> None:
    """Raises ConfigError where nothing can be written."""
    probe = storage.join(out, ".state", "probe.json")
    try:
        storage.write_bytes(probe, b"{}")
        storage.delete([probe])
    except (OSError, ValueError) as error:
        raise ConfigError(f"--output {out}: cannot be written ({error}); give another folder or Beam URL") from error


def _check_runner(name: str) -> None:
    """Raises ConfigError where Beam has no such runner, or one that loses results."""
    from apache_beam.runners.runner import create_runner

    if "dask" in name.lower():
        raise ConfigError(f"--runner {name}: Beam's runner on Dask loses tagged outputs and the ends of batches; use another")
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise ConfigError(f"--runner {name}: {' '.join(str(error).split())}") from error


def _refuse_unknown_flags(flags: Sequence[str]) -> None:
    """Beam drops what it does not know with a warning in a log; a misspelt option must not pass so quietly."""
    beam_parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(beam_parser)
    _, unknown = beam_parser.parse_known_args(list(flags))
    if unknown:
        from pipeline.run import parser

        known = [name for each in (parser(), beam_parser) for action in each._actions for name in action.option_strings]
        given = unknown[0].partition("=")[0]
        near = difflib.get_close_matches(given, known, 1, 0.6)
        raise ConfigError(f"unknown option {unknown[0]!r}; {f'did you mean {near[0]!r}? ' if near else ''}See --help")
