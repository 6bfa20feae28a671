"""The main job: a folder of raw face scans in, registered and refined geometry out.

    python -m pipeline.run --input PATH --output OUT [--config FILE] [--set section.key=value …] [Beam options]

Exit code 0: every scan ended ok or rejected; 3: some failed; 2: wrong command or configuration.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

# Nothing that takes time to import stands here: --help and a typing error answer at once.


def build(pipeline, listed, job):
    """list → read → clean → locate → fit → rasterize → refine → lift → landmarks → measure → write → record.

    With `--stages landmarks` no fit: list → read → clean → locate → landmarks (on the raw scan) → measure → write → record.
    """
    import apache_beam as beam

    from pipeline import outputs, stages, work

    def apply(label, scans, stage):
        """One stage: returns the scans that go on; those that end here (rejected, failed, kept) are recorded.

        Recorded at each stage and not behind a Flatten, which would wait for the whole input: a killed run resumes."""
        result = scans | label >> beam.ParDo(stage).with_outputs(stages.ENDED, main="on")
        result[stages.ENDED] | f"record what ended at {label}" >> beam.ParDo(stages.Record(job))
        return result.on

    scans = pipeline | "list" >> beam.Create(listed, reshuffle=False) | "spread over workers" >> beam.Reshuffle()
    scans = apply("load", scans, stages.Load(job))
    scans = apply("read", scans, stages.Stage("read", work.read, job))
    scans = apply("clean", scans, stages.Stage("clean", work.clean, job))
    scans = apply("locate", scans, stages.Stage("locate", work.locate, job))
    if job.landmarks_only:
        scans = apply("landmarks", scans, stages.Stage("landmarks", work.raw_landmarks, job))
        scans = apply("measure", scans, stages.Stage("measure", work.measure_landmarks, job))
    else:
        scans = apply("fit", scans, stages.Stage("fit", work.fit, job))
        scans = apply("rasterize", scans, stages.Stage("rasterize", work.rasterize, job))
        scans = apply("refine", scans, stages.Refine(job))
        scans = apply("lift", scans, stages.Stage("lift", work.lift, job))
        scans = apply("landmarks", scans, stages.Stage("landmarks", work.landmarks, job))
        scans = apply("measure", scans, stages.Stage("measure", work.measure, job))
    scans = apply("write", scans, stages.Stage("write", outputs.write, job, is_last=True))
    return scans | "finish" >> beam.ParDo(stages.Finish()) | "record" >> beam.ParDo(stages.Record(job))


def write_records(pipeline, shards, out):
    """The TFRecords of all ok scans, kept ones included, from their saved images."""
    import apache_beam as beam

    from pipeline import stages

    return pipeline | "shards" >> beam.Create(shards) | "write shard" >> beam.Map(stages.write_shard, out)


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="python -m pipeline.run", allow_abbrev=False,
        description="Turns raw 3D face scans into registered, refined geometry: meshes, landmarks, images, a report.",
        epilog="Every other option goes to Apache Beam, such as --runner and its own. A run on the same OUTPUT resumes. "
               "Exit code 0: every scan ended ok or rejected; 3: some failed; 2: wrong command or configuration.",
    )
    add = arguments.add_argument
    add("--input", required=True, metavar="PATH", help="a scan, folder, glob in quotes, .zip, .tar(.gz) or Beam filesystem URL")
    add("--output", required=True, metavar="OUT", help="folder or Beam filesystem URL for everything that is written")
    add("--config", metavar="FILE", help="YAML file with any of the keys of configs/default.yaml")
    add("--set", action="append", default=[], dest="settings", metavar="SECTION.KEY=VALUE", help="one key; repeatable")
    add("--model", metavar="NAME_OR_FILE", help="morphable model (model.name)")
    add("--unit", metavar="UNIT", help="unit of the scans: auto, m, cm, mm, inch, or mm per unit (input.unit)")
    add("--stages", metavar="STAGES", help="all (default), or landmarks: find these on the raw scans, no fit (output.stages)")
    add("--no-previews", action="store_true", help="write no pictures of people")
    add("--force", action="store_true", help="do scans again that are already done")
    add("--workers", type=int, metavar="N", help="processes on this machine; default: one to a core; 1 works in this process")
    add("--runner", metavar="NAME", help="Beam runner; default: the in-process Fn API runner on all cores")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job and returns the exit code."""
    arguments, beam_flags = parser().parse_known_args(argv)
    from pipeline import system
    from pipeline.errors import FaceReliefError

    system.limit_threads()
    system.silence_libraries()
    from pipeline.launch import Launch

    try:
        return Launch.prepare(arguments, beam_flags).run(build, write_records)
    except FaceReliefError as error:
        print(f"{parser().prog}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    # as an importable module, so that what is pickled for the workers is found there
    from pipeline import run

    sys.exit(run.main())
