"""The Beam side: thin DoFns over the steps of `pipeline.scans`, each with an output for the scans that end there.

An element is a `ScanState`; what ends (ok, rejected, failed, kept) is an `Outcome`. Elements pass from stage to stage
inside one fused bundle and are never serialized: only the small `Source` crosses the shuffle.
"""

from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.execution import journal
from pipeline.inputs.source import Source
from pipeline.scans import manifest, methods, steps
from pipeline.scans.chain import Step
from pipeline.scans.job import Job, warm_up
from pipeline.scans.outcome import Outcome, advance, ended_by, refine_batch, timed
from pipeline.scans.state import ScanState

ENDED = "ended"  # the tag of the output for scans that go no further


class Steps(beam.DoFn):
    """Sends each scan through the steps of a chain, until it ends."""

    def __init__(self, chain: Sequence[Step], job: Job):
        self.chain, self.job = chain, job

    def process(self, state: ScanState) -> Iterator:
        result = advance(self.chain, state, self.job)
        yield beam.pvalue.TaggedOutput(ENDED, result) if isinstance(result, Outcome) else result


class OfJob(beam.DoFn):
    """What needs to know the job alone."""

    def __init__(self, job: Job):
        self.job = job


class Load(OfJob):
    """Source → its bytes as a `ScanState`; a scan that an earlier run finished, unchanged, ends here with its old line."""

    def process(self, source: Source) -> Iterator:
        # up to the first member, a compressed archive is unpacked from its start: that is not the scan's own time
        journal.note(self.job.journal, journal.WAITING if source.member else journal.BEGUN, source.scan_id)
        try:
            result = self._loaded(source)
        except Exception as error:  # of the state, the model, a network: whatever it is, the other scans go on
            result = ended_by(error, ScanState(source), "read")
        yield beam.pvalue.TaggedOutput(ENDED, result) if isinstance(result, Outcome) else result

    def _loaded(self, source: Source) -> ScanState | Outcome:
        result = timed("read", steps.load, ScanState(source), self.job)
        if isinstance(result, Outcome):
            return result
        kept = None if self.job.force else manifest.kept_line(self.job.out, source, result.input_hash, self.job.result_hash)
        if kept is not None:
            return Outcome(kept, result.input_hash, is_new=False)
        journal.note(self.job.journal, journal.WAITING, source.scan_id)
        warm_up(self.job)  # no scan's seconds (and time limits) shall pay for that
        journal.note(self.job.journal, journal.BEGUN, source.scan_id)
        return result


class Refine(OfJob):
    """Refines scans, in batches where the refiner gains from them; a scan that breaks its batch fails alone."""

    def start_bundle(self) -> None:
        self._waiting: list[ScanState] = []

    def process(self, item: ScanState) -> Iterator:
        self._waiting.append(item)
        settings = self.job.config.refine
        if len(self._waiting) >= (settings.batch_size if settings.method in methods.BATCHED else 1):
            yield from self._flush()
        else:
            journal.note(self.job.journal, journal.WAITING, item.source.scan_id)

    def finish_bundle(self) -> Iterator:
        for result in self._flush():
            in_window = lambda value: WindowedValue(value, GlobalWindow().max_timestamp(), (GlobalWindow(),))
            if isinstance(result, beam.pvalue.TaggedOutput):
                yield beam.pvalue.TaggedOutput(result.tag, in_window(result.value))
            else:
                yield in_window(result)

    def _flush(self) -> Iterator:
        """The clock runs for all of the batch while it is refined, and then for the one that goes on."""
        batch, self._waiting = self._waiting, []
        self._note(journal.BEGUN, batch)
        results = refine_batch(batch, self.job) if batch else []
        self._note(journal.WAITING, batch)
        for state, result in zip(batch, results, strict=True):
            self._note(journal.BEGUN, [state])
            yield beam.pvalue.TaggedOutput(ENDED, result) if isinstance(result, Outcome) else result

    def _note(self, event: str, batch: Sequence[ScanState]) -> None:
        for state in batch:
            journal.note(self.job.journal, event, state.source.scan_id)


def finished(state: ScanState) -> Outcome:
    """Of a scan whose files are written."""
    return Outcome(manifest.line(state, "ok"), state.input_hash, name=state.source.name)


class Record(OfJob):
    """Outcome → its state file, from which the manifest is written and a killed run resumes."""

    def process(self, outcome: Outcome) -> None:
        is_new = outcome.is_new and self._record(outcome)
        journal.note(self.job.journal, outcome.line["status"] if is_new else "kept", outcome.line["scan_id"])

    def _record(self, outcome: Outcome) -> bool:
        """Whether it takes the place of what was there. Raises OutputError, which ends the run, where nothing can be recorded any
        more."""
        job, line = self.job, outcome.line
        try:
            return manifest.record(job.out, line, outcome.input_hash, job.result_hash, outcome.trace, outcome.name)
        except Exception as error:  # without its log, a small file may still have room
            reason = line["reason"] or f"{type(error).__name__}: {' '.join(str(error).split())}"
            failed = (
                line
                if line["status"] == "failed"
                else line | {"status": "failed", "stage": "write", "reason": reason, "metrics": {}, "files": {}}
            )
            return manifest.record(job.out, failed, outcome.input_hash, job.result_hash, name=outcome.name)
