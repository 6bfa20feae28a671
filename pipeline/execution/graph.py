"""The Beam graphs of a run: all stages over all scans, and the records."""

from __future__ import annotations


def build(pipeline, listed, job):
    """list → read → clean → locate → fit → rasterize → refine → lift → landmarks → measure → write → record.

    With `--stages landmarks` no fit: list → read → clean → locate → landmarks (on the raw scan) → measure → write → record.
    """
    import apache_beam as beam

    from pipeline.execution import stages
    from pipeline.scans import files, measures, steps

    def apply(label, scans, stage):
        """One stage: returns the scans that go on; those that end here (rejected, failed, kept) are recorded.

        Recorded at each stage and not behind a Flatten, which would wait for the whole input: a killed run resumes."""
        result = scans | label >> beam.ParDo(stage).with_outputs(stages.ENDED, main="on")
        result[stages.ENDED] | f"record what ended at {label}" >> beam.ParDo(stages.Record(job))
        return result.on

    scans = pipeline | "list" >> beam.Create(listed, reshuffle=False) | "spread over workers" >> beam.Reshuffle()
    scans = apply("load", scans, stages.Load(job))
    scans = apply("read", scans, stages.Stage("read", steps.read, job))
    scans = apply("clean", scans, stages.Stage("clean", steps.clean, job))
    scans = apply("locate", scans, stages.Stage("locate", steps.locate, job))
    if job.landmarks_only:
        scans = apply("landmarks", scans, stages.Stage("landmarks", steps.raw_landmarks, job))
        scans = apply("measure", scans, stages.Stage("measure", measures.measure_landmarks, job))
    else:
        scans = apply("fit", scans, stages.Stage("fit", steps.fit, job))
        scans = apply("rasterize", scans, stages.Stage("rasterize", steps.rasterize, job))
        scans = apply("refine", scans, stages.Refine(job))
        scans = apply("lift", scans, stages.Stage("lift", steps.lift, job))
        scans = apply("landmarks", scans, stages.Stage("landmarks", steps.landmarks, job))
        scans = apply("measure", scans, stages.Stage("measure", measures.measure, job))
    scans = apply("write", scans, stages.Stage("write", files.write, job, is_last=True))
    return scans | "finish" >> beam.ParDo(stages.Finish()) | "record" >> beam.ParDo(stages.Record(job))


def write_records(pipeline, shards, out):
    """The TFRecords of all ok scans, kept ones included, from their saved images."""
    import apache_beam as beam

    from pipeline.scans import record_shards

    return pipeline | "shards" >> beam.Create(shards) | "write shard" >> beam.Map(record_shards.write_shard, out)
