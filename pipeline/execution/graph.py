"""The Beam graphs: all scans of a run, its records, and the shards of a training set."""

from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from pipeline.execution import stages
from pipeline.inputs.source import Source
from pipeline.scans import chain, record_shards
from pipeline.scans.job import Job


def build(pipeline: beam.Pipeline, listed: Sequence[Source], job: Job) -> Any:
    """load → read → clean → locate → fit → rasterize → refine → lift → landmarks → measure → write → record.

    With `--stages landmarks` no fit: load → read → clean → locate → landmarks (on the raw scan) → measure → write → record.
    What ends is recorded at once and not behind a Flatten, which would wait for the whole input: a killed run resumes.
    """

    def apply(label: str, scans: Any, stage: beam.DoFn) -> Any:
        """The scans that go on; those that end here (rejected, failed, kept) are recorded."""
        result = scans | label >> beam.ParDo(stage).with_outputs(stages.ENDED, main="on")
        result[stages.ENDED] | f"record what ended at {label}" >> beam.ParDo(stages.Record(job))
        return result.on

    scans = pipeline | "list" >> beam.Create(listed, reshuffle=False) | "spread over workers" >> beam.Reshuffle()
    scans = apply("load", scans, stages.Load(job))
    if job.landmarks_only:
        scans = apply("find landmarks", scans, stages.Steps(chain.LANDMARKS_ALONE, job))
    else:
        scans = apply("fit", scans, stages.Steps(chain.TO_THE_FIT, job))
        scans = apply("refine", scans, stages.Refine(job))
        scans = apply("lift and write", scans, stages.Steps(chain.REFINED, job))
    return scans | "finish" >> beam.Map(stages.finished) | "record" >> beam.ParDo(stages.Record(job))


def write_records(pipeline: beam.Pipeline, shards: Sequence[record_shards.Shard], out: str) -> Any:
    """The TFRecords of all ok scans, kept ones included, from their saved images."""
    return pipeline | "shards" >> beam.Create(shards) | "write shard" >> beam.Map(record_shards.write_shard, out)
