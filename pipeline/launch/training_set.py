"""Makes or completes a training set: a Beam job over its shards."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace

import apache_beam as beam

from geometry.errors import FaceReliefError
from geometry.settings.options import to_dict
from pipeline.execution import progress, supervision
from pipeline.execution.local import Runner
from pipeline.scans.job import model_of
from pipeline.store import storage
from pipeline.training import making, set_card
from pipeline.training.making import Job
from pipeline.training.sampled_pairs import STEPS
from pipeline.training.shards import Shard, check_plan, delete_others, is_done, plan_shards


def synthesize(job: Job, count: int, runner: Runner, force: bool = False) -> dict:
    """Makes or completes a set of `count` records and returns its card.

    Raises ConfigError where the folder holds another set, ModelError for a model that cannot be loaded.
    """
    model = model_of(job.config.model.name)
    config = to_dict(job.config)
    del config["set"]["count"]  # a set grows
    plan = {"views": job.views, "config": config, "steps": STEPS, "model": {"name": model.name, "sha256": model.sha256}}
    if job.archive is not None:
        plan["archive"] = job.archive.plan()
    check_plan(job.folder, plan, force)
    storage.remove_partials(job.folder)
    shards = plan_shards(count, job.config.set, job.archive)
    delete_others(job.folder, [] if force else shards)
    complete(shards, job, runner)
    card = set_card.summarize(job.folder, shards, plan)
    storage.write_json(storage.join(job.folder, "card.json"), card)
    set_card.write_contact_sheet(job.folder, shards)
    return card


def complete(shards: Sequence[Shard], job: Job, runner: Runner) -> None:
    """Runs until every shard is written. Raises FaceReliefError where workers die before they finish any, and not over
    scans of an archive, which are then left out."""
    missing = [shard for shard in shards if not is_done(shard, job.folder)]
    total = sum(len(shard.indices) for shard in missing)
    with tempfile.TemporaryDirectory(prefix="face-relief-") as folder, progress.Bar(folder, total):
        while missing:
            try:
                _run(missing, replace(job, journal=folder), runner)
                break
            except supervision.WorkerLost as loss:
                left = [shard for shard in missing if not is_done(shard, job.folder)]
                if len(left) == len(missing):
                    job = _without_deadly(job, loss)
                missing = left


def _run(shards: Sequence[Shard], job: Job, runner: Runner) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        listed = pipeline | "list shards" >> beam.Create(list(shards), reshuffle=False)
        listed | "spread over workers" >> beam.Reshuffle() | "make pairs" >> beam.Map(making.write_shard, job)

    runner.run(build, job.journal)


def _without_deadly(job: Job, loss: supervision.WorkerLost) -> Job:
    """The job less the scans that workers died over: a library may crash on one. Raises FaceReliefError where none is new."""
    known = frozenset() if job.archive is None else job.archive.deadly
    positions = {int(index) // job.config.set.views_per_subject for index in loss.unfinished} - known
    if job.archive is None or not positions:
        raise FaceReliefError("worker processes die before they finish a shard; is there memory enough?") from loss
    return replace(job, archive=replace(job.archive, deadly=known | positions))
