"""The Beam side: thin DoFns over the functions of `pipeline.work`, each with an output for the scans that end there.

An element is a `Work`; what ends (ok, rejected, failed, kept) is an `Outcome`. Elements pass from stage to stage
inside one fused bundle and are never serialized: only the small `Source` crosses the shuffle.
"""
from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipeline import journal, manifest, methods, outputs, records, sources, storage, work
from pipeline.errors import FaceReliefError, NoFaceFound
from pipeline.work import Deadline, Job, Work

ENDED = "ended"  # the tag of the output for scans that go no further


@dataclass(frozen=True)
class Outcome:
    """How a scan ended: its manifest line, what it was made from, and the traceback of an unexpected error.

    is_new: False where an earlier run's result is kept."""

    line: dict
    input_hash: str
    trace: str = ""
    is_new: bool = True


def ended_by(error: Exception, item: Work, stage: str) -> Outcome:
    """`NoFaceFound` rejects; every other error fails the scan, and only that scan."""
    status = "rejected" if isinstance(error, NoFaceFound) else "failed"
    message = " ".join(str(error).split())
    expected = isinstance(error, FaceReliefError)
    reason = message if expected and message else f"{type(error).__name__}: {message}" if message else type(error).__name__
    trace = "" if expected else "".join(traceback.format_exception(error))
    finished = manifest.line(item.source, item.sha256, status, item.seconds, stage, reason, notes=item.notes)
    return Outcome(finished, item.input_hash, trace)


def timed(stage: str, function: Callable[[Work, Job], Work], item: Work, job: Job, limit_after: bool = True) -> Work | Outcome:
    """One stage on one scan, within the time that the scan has left."""
    start = time.perf_counter()
    deadline = Deadline(job.config.limits.seconds_per_scan, sum(item.seconds.values()))

    def done(result: Work) -> Work:
        seconds = item.seconds.get(stage, 0.0) + time.perf_counter() - start
        return replace(result, seconds={**item.seconds, stage: seconds}, deadline=None)

    try:
        result = function(replace(item, deadline=deadline), job)
        if limit_after:  # what is already written is kept
            deadline.check()
        return done(result)
    except Exception as error:  # whatever one scan does to a stage, the others go on
        return ended_by(error, done(item), stage)


class Stage(beam.DoFn):
    """Applies `function` to each scan as the stage `name`."""

    def __init__(self, name: str, function: Callable[[Work, Job], Work], job: Job, is_last: bool = False):
        self.name, self.function, self.job, self.is_last = name, function, job, is_last

    def process(self, item: Work) -> Iterator:
        result = timed(self.name, self.function, item, self.job, limit_after=not self.is_last)
        yield beam.pvalue.TaggedOutput(ENDED, result) if isinstance(result, Outcome) else result


class Load(beam.DoFn):
    """Source → its bytes as a `Work`; a scan that an earlier run finished, unchanged, ends here with its old line."""

    def __init__(self, job: Job):
        self.job = job

    def process(self, source: sources.Source) -> Iterator:
        journal.note(self.job.journal, journal.BEGUN, source.scan_id)
        result = timed("read", self._load, Work(source), self.job)
        if isinstance(result, Outcome):
            yield beam.pvalue.TaggedOutput(ENDED, result)
            return
        kept = None if self.job.force else manifest.kept_line(self.job.out, source, result.input_hash, self.job.result_hash)
        if kept is None:
            work.warm_up(self.job)  # no scan's seconds (and time limit) shall pay for that
            yield result
        else:
            yield beam.pvalue.TaggedOutput(ENDED, Outcome(kept, result.input_hash, is_new=False))

    def _load(self, item: Work, job: Job) -> Work:
        data, sidecars = sources.read(item.source, job.config.limits.file_mib * 2**20)
        return replace(
            item, data=data, sidecars=sidecars, sha256=hashlib.sha256(data).hexdigest(),
            input_hash=manifest.input_hash(data, sidecars),
        )


class Refine(beam.DoFn):
    """Refines scans, in batches where the refiner gains from them; a scan that breaks its batch fails alone."""

    def __init__(self, job: Job):
        self.job = job

    def start_bundle(self):
        self._waiting: list[Work] = []

    def process(self, item: Work) -> Iterator:
        self._waiting.append(item)
        settings = self.job.config.refine
        if len(self._waiting) >= (settings.batch_size if settings.method in methods.BATCHED else 1):
            yield from self._flush()

    def finish_bundle(self) -> Iterator:
        for result in self._flush():
            in_window = lambda value: WindowedValue(value, GlobalWindow().max_timestamp(), [GlobalWindow()])
            if isinstance(result, beam.pvalue.TaggedOutput):
                yield beam.pvalue.TaggedOutput(result.tag, in_window(result.value))
            else:
                yield in_window(result)

    def _flush(self) -> Iterator:
        batch, self._waiting = self._waiting, []
        for result in refine_batch(batch, self.job) if batch else ():
            yield beam.pvalue.TaggedOutput(ENDED, result) if isinstance(result, Outcome) else result


def refine_batch(batch: list[Work], job: Job) -> list[Work | Outcome]:
    """The batch in one step of the network; where that fails, one by one, so that only the culprits do."""
    try:
        work.refiner_of(job.config.refine)  # networks load outside of any scan's time
    except Exception as error:
        return [ended_by(error, item, "refine") for item in batch]
    start = time.perf_counter()
    try:
        refined = work.refine(batch, job)
    except Exception as error:
        if len(batch) == 1:
            return [ended_by(error, batch[0], "refine")]
        return [result for item in batch for result in refine_batch([item], job)]
    share = (time.perf_counter() - start) / len(batch)
    return [_within_limit(replace(item, seconds={**item.seconds, "refine": share}), job) for item in refined]


def _within_limit(item: Work, job: Job) -> Work | Outcome:
    try:
        Deadline(job.config.limits.seconds_per_scan, sum(item.seconds.values())).check()
    except FaceReliefError as error:
        return ended_by(error, item, "refine")
    return item


class Finish(beam.DoFn):
    """Work whose files are written → its Outcome."""

    def process(self, item: Work) -> Iterator[Outcome]:
        finished = manifest.line(
            item.source, item.sha256, "ok", item.seconds, metrics=item.metrics, files=item.files, notes=item.notes
        )
        yield Outcome(finished, item.input_hash)


class Record(beam.DoFn):
    """Outcome → its state file, from which the manifest is written and a killed run resumes."""

    def __init__(self, job: Job):
        self.job = job

    def process(self, outcome: Outcome) -> None:
        if outcome.is_new:
            manifest.record(self.job.out, outcome.line, outcome.input_hash, self.job.result_hash, outcome.trace)
        journal.note(self.job.journal, outcome.line["status"] if outcome.is_new else "kept", outcome.line["scan_id"])


@dataclass(frozen=True)
class Shard:
    """One file of OUT/records: the scans (scan_id, path of their images below OUT) it holds, in order."""

    path: str
    scans: tuple[tuple[str, str], ...]


def shards_of(lines: list[dict], out: str, scans_per_shard: int) -> list[Shard]:
    """The ok scans that have images, in the order of `lines`, a fixed number to a shard."""
    scans = [(line["scan_id"], line["files"]["geometry_images"]) for line in lines if "geometry_images" in line["files"]]
    groups = [tuple(scans[start: start + scans_per_shard]) for start in range(0, len(scans), scans_per_shard)]
    name = lambda index: f"geometry_images-{index:05d}-of-{len(groups):05d}.tfrecord"
    return [Shard(storage.join(out, "records", name(index)), group) for index, group in enumerate(groups)]


def write_shard(shard: Shard, out: str) -> int:
    """Encodes the scans' saved images as records; returns their number."""
    examples = (
        records.images_example(scan_id, outputs.load_images(storage.read_bytes(storage.join(out, *path.split("/")))))
        for scan_id, path in shard.scans
    )
    return records.write_tfrecord(shard.path, examples)
