"""Makes or completes a training set: a Beam job over its shards."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace

from pipeline.errors import FaceReliefError
from pipeline.store import storage
from pipeline.training import set_card
from pipeline.training.making import Job, _model, write_shard
from pipeline.training.shards import Shard, _check_plan, delete_others, is_done, plan_shards


def run_shards(
    shards: Sequence[Shard], job: Job, workers: int, runner: str | None = None, beam_flags: Sequence[str] = ()
) -> None:
    """The Beam job: shards spread over `workers` processes of this machine, or over what `runner` names.

    Raises `supervision.WorkerLost` where a worker process dies; what is written stays.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    from pipeline.execution import supervision, worker

    def run(chosen, flags: Sequence[str]) -> None:
        with beam.Pipeline(runner=chosen, options=PipelineOptions(list(flags))) as pipeline:
            _ = (
                pipeline
                | "list shards" >> beam.Create(list(shards), reshuffle=False)
                | "spread over workers" >> beam.Reshuffle()
                | "make pairs" >> beam.Map(write_shard, job)
            )

    if runner:
        run(None, [f"--runner={runner}", *beam_flags])
    elif workers == 1:  # FnApiRunner explicitly: beam's DirectRunner first tries to download another runner
        run(FnApiRunner(), ["--default_sdk_harness_log_level=ERROR"])
    else:
        with tempfile.TemporaryDirectory(prefix="face-relief-workers-") as folder:
            processes = FnApiRunner(SubprocessSDKEnvironment.from_command_string(worker.command(folder)))
            flags = [f"--direct_num_workers={workers}", "--default_sdk_harness_log_level=ERROR"]
            supervision.run_watched(lambda: run(processes, flags), job.journal, folder)


def complete(shards: Sequence[Shard], job: Job, **beam_options) -> None:
    """Runs until every shard is written. Raises FaceReliefError where workers die before they finish any, and not over
    scans of an archive, which are then left out."""
    from pipeline.execution import progress, supervision

    missing = [shard for shard in shards if not is_done(shard, job.folder)]
    total = sum(len(shard.indices) for shard in missing)
    with tempfile.TemporaryDirectory(prefix="face-relief-") as folder, progress.Bar(folder, total):
        while missing:
            try:
                run_shards(missing, replace(job, journal=folder), **beam_options)
                break
            except supervision.WorkerLost as loss:
                left = [shard for shard in missing if not is_done(shard, job.folder)]
                if len(left) == len(missing):
                    job = _without_deadly(job, loss)
                missing = left


def _without_deadly(job: Job, loss) -> Job:
    """The job less the scans that workers died over: a library may crash on one. Raises FaceReliefError where none is new."""
    positions = {int(index) // job.views for index in loss.unfinished} if job.archive is not None else set()
    if not positions - getattr(job.archive, "deadly", set()):
        raise FaceReliefError("worker processes die before they finish a shard; is there memory enough?") from loss
    return replace(job, archive=replace(job.archive, deadly=job.archive.deadly | positions))


def synthesize(job: Job, count: int, pairs_per_shard: int = 25, force: bool = False, **beam_options) -> dict:
    """Makes or completes a set of `count` pairs and returns its card; beam_options as of `run_shards`.

    Raises ConfigError where the folder holds another set, ModelError for a model that cannot be loaded.
    """
    from pipeline.training.sampled_pairs import STEPS

    model = _model(job.model)
    plan = {
        "seed": job.seed,
        "pairs_per_shard": pairs_per_shard,
        "options": job.options.to_dict(),
        "steps": STEPS,
        "model": {"name": model.name, "sha256": model.sha256},
    }
    if job.archive is not None:
        plan["archive"] = job.archive.plan()
    _check_plan(job.folder, plan, force)
    storage.remove_partials(job.folder)
    shards = plan_shards(count, pairs_per_shard, job.options, job.archive)
    delete_others(job.folder, [] if force else shards)
    complete(shards, job, **beam_options)
    card = set_card.summarize(job.folder, shards, plan)
    storage.write_json(storage.join(job.folder, "card.json"), card)
    set_card.write_contact_sheet(job.folder, shards)
    return card
