"""Training sets: `python -m pipeline.synthesize --output DIR --count N` makes N pairs as GZIP TFRecords, a Beam job.

    DIR/train-00000.tfrecord.gz …, validation-…, test-…     pairs of subjects that no other split holds
    DIR/train-00000.json …                                  what became of each shard's pairs
    DIR/card.json                                           options, counts, drops by reason, model: the set's own description
    DIR/contact_sheet.png                                   some pairs to look at

A shard is written in one piece and kept on the next call, so a killed job goes on where it was, and a set grows with a
larger N; a folder that holds a set made with other options is refused. `--from-scans FOLDER` makes the pairs from an
archive of real scans instead of sampled faces, `--views` of each (`pipeline.scan_pairs`). `--landmarks` makes views of raw
scans with their landmarks, for the landmark network (`pipeline.landmark_views`). `--examples DIR` writes the example
scans (`pipeline.example_scans`).
"""
from __future__ import annotations

import argparse
import functools
import importlib
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline import set_card, storage
from pipeline.errors import ConfigError, FaceReliefError

PLAN_FILE = "plan.json"
SHARD_SUFFIXES = (".json", ".tfrecord.gz")
SHARD_FILE = re.compile(r"((?:train|validation|test)-\d{5})\.(?:json|tfrecord\.gz)")


@dataclass(frozen=True)
class Shard:
    """The pairs of one file: name without suffix, and their indices in the set."""

    name: str
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """What every worker knows: where to write, the seed, the model's name, `training_pairs.PairOptions` (for the landmark
    network `landmark_views.ViewOptions`), the folder that the progress bar reads, and a `scan_pairs.Archive` where the
    faces are not sampled."""

    folder: str
    seed: int
    model: str
    options: Any
    journal: str = ""
    archive: Any = None

    @property
    def views(self) -> int:
        return self.options.views_per_subject


def plan_shards(count: int, pairs_per_shard: int, options, archive=None) -> list[Shard]:
    """Pairs 0 … count − 1 in shards of one split each, in order; an archive's scans whole, for each is fitted once."""
    from pipeline.training_pairs import SPLITS, split_of

    views, find_split = options.views_per_subject, split_of
    if archive is not None:
        find_split, pairs_per_shard = archive.split, max(pairs_per_shard // views, 1) * views
    by_split: dict[str, list[int]] = {split: [] for split in SPLITS}
    for index in range(count):
        by_split[find_split(index // views, options.split_shares)].append(index)
    return [
        Shard(f"{split}-{number:05d}", tuple(indices[start : start + pairs_per_shard]))
        for split, indices in by_split.items()
        for number, start in enumerate(range(0, len(indices), pairs_per_shard))
    ]


@functools.lru_cache(maxsize=1)
def _model(name: str):
    from geometry.model_formats import load_model

    return load_model(name)


def write_shard(shard: Shard, job: Job) -> None:
    """Makes the shard's pairs and writes them; pairs that cannot be used are left out and counted by reason."""
    from pipeline import journal, records, scan_pairs

    model, make, began = _model(job.model), _maker(job), time.monotonic()
    examples, dropped, sensors, residuals, left_out = [], Counter(), Counter(), [], {}
    for index in shard.indices:
        journal.note(job.journal, journal.BEGUN, str(index))
        try:
            made = make(index, job.seed, model, job.options)
        except FaceReliefError as error:
            dropped[_reason(error)] += 1
            if isinstance(error, scan_pairs.ScanLeftOut):
                left_out[error.source] = str(error)
            journal.note(job.journal, "rejected", str(index))
            continue
        journal.note(job.journal, "ok", str(index))
        examples += [records.encode_example(features) for features in made]
        sensors[made[0]["sensor"]] += len(made)
        residuals += [round(float(features["fit_residual_mm"][0]), 4) for features in made if "fit_residual_mm" in features]
    records.write_tfrecord(storage.join(job.folder, f"{shard.name}.tfrecord.gz"), examples, gzip=True)
    storage.write_json(storage.join(job.folder, f"{shard.name}.json"), {
        "indices": list(shard.indices), "pairs": len(examples), "dropped": dict(sorted(dropped.items())),
        "sensors": dict(sorted(sensors.items())), "fit_residual_mm": residuals, "seconds": round(time.monotonic() - began, 2),
        **({} if job.archive is None else {"left_out": left_out}),
    })


def _maker(job: Job):
    """The function that makes the records of one index of this job: a pair, or a scan's views."""
    from pipeline import landmark_views, scan_pairs, training_pairs

    if isinstance(job.options, landmark_views.ViewOptions):
        return landmark_views.make_views
    make_pair = training_pairs.make_pair if job.archive is None else functools.partial(scan_pairs.make_pair, archive=job.archive)
    return lambda *arguments: [make_pair(*arguments)]


def _reason(error: FaceReliefError) -> str:
    """An error's kind and text without its numbers, so that equal causes are counted together."""
    return f"{type(error).__name__}: " + re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", "#", str(error))


def is_done(shard: Shard, folder: str) -> bool:
    """The account is written last: where it is, and is of these pairs, the records are whole."""
    account, written = (storage.join(folder, shard.name + suffix) for suffix in SHARD_SUFFIXES)
    if not (storage.exists(account) and storage.exists(written)):
        return False
    return json.loads(storage.read_bytes(account))["indices"] == list(shard.indices)


def delete_others(folder: str, shards: Sequence[Shard]) -> None:
    """Removes shards of a larger set that was in the folder before."""
    names = {shard.name for shard in shards}
    found = {path: SHARD_FILE.fullmatch(path.rpartition("/")[2]) for path in storage.list_files(folder)}
    storage.delete([path for path, match in found.items() if match and match[1] not in names])


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

    from pipeline import supervision, worker

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
    from pipeline import progress, supervision

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
    from pipeline.training_pairs import STEPS

    model = _model(job.model)
    plan = {"seed": job.seed, "pairs_per_shard": pairs_per_shard, "options": job.options.to_dict(), "steps": STEPS,
            "model": {"name": model.name, "sha256": model.sha256}}
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


def _check_plan(folder: str, plan: dict, force: bool) -> None:
    path = storage.join(folder, PLAN_FILE)
    if not force and storage.exists(path):
        found = json.loads(storage.read_bytes(path))
        if found != json.loads(json.dumps(plan)):
            made = json.loads(json.dumps(plan))
            different = ", ".join(sorted(key for key in {*made, *found} if found.get(key) != made.get(key)))
            raise ConfigError(f"{folder} holds a set made with another {different}; give another --output, or --force")
    storage.write_json(path, plan)


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="python -m pipeline.synthesize", allow_abbrev=False,
        description="Makes training pairs for the refiner: sampled faces (or a user's own scans), simulated sensors, real fits. "
        "Or the example scans.",
        epilog="With --runner, every other option goes to Apache Beam. A call on the same folder goes on where the last ended.",
    )
    add = arguments.add_argument
    add("--output", metavar="DIR", help="folder of the training set (local, or any Beam filesystem)")
    add("--count", type=int, metavar="N", help="pairs to try; default 1000, or with --from-scans all: scans times views")
    add("--seed", type=int, default=0, help="the set's seed; default %(default)s")
    add("--views", type=int, default=1, metavar="N", help="scans of each subject; with --from-scans pairs of each scan, all but "
        "the first with expression and identity changed by the model; default %(default)s")
    add("--sensors", nargs="+", metavar="NAME=WEIGHT", help="these sensors at these relative frequencies; default: all")
    add("--strength", nargs=2, type=float, metavar=("LOW", "HIGH"), help="multiples of the published noise; default: each sensor's own")
    add("--pixel-mm", type=float, default=0.75, help="chart sampling over 192 mm: 0.375 makes 512² images; default %(default)s")
    add("--pairs-per-shard", type=int, default=25, metavar="N", help="pairs in a file; default %(default)s")
    add("--model", default="default", metavar="NAME_OR_FILE", help="morphable model; default: the shipped one")
    add("--force", action="store_true", help="make the set anew even where it exists")
    add("--workers", type=int, metavar="N", help="processes on this machine; default: one to a core; 1 works in this process")
    add("--runner", metavar="NAME", help="Beam runner; default: the in-process Fn API runner on all cores")
    add("--landmarks", action="store_true", help="make views with landmarks, for the landmark network, instead of pairs; "
        "--count is then of scans, each seen from six sides")
    add("--examples", metavar="DIR", help="write the example scans to DIR instead of a training set")
    real = arguments.add_argument_group(
        "real scans", "Pairs from an archive of good scans (pipeline.scan_pairs). A scan without a face, or too noisy, coarse or "
        "holey to be a truth, is left out and named in the card. Licences and consent are the user's business.",
    ).add_argument
    real("--from-scans", metavar="FOLDER", help="the archive, as --input of pipeline.run: a folder, a glob, a .zip, a URL")
    real("--scan-input", choices=("simulated", "real"), default="simulated", help="what the scan channels show: a simulated "
         "sensor's view of the scan, or the scan itself (the papers' setting, for condition: coarse); default %(default)s")
    real("--subject-from", choices=("file", "folder"), default="file", help="whom a scan shows, so that nobody is in two "
         "splits: each file is a subject, or each folder of FOLDER's first level; default %(default)s")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job and returns the exit code: 0, or 2 for a wrong command."""
    parsing = parser()
    arguments, beam_flags = parsing.parse_known_args(argv)
    if (arguments.output is None) == (arguments.examples is None):
        parsing.error("give either --output DIR, for a training set, or --examples DIR")
    if beam_flags and not arguments.runner:
        parsing.error(f"unknown option {beam_flags[0]!r} (Beam's own options need --runner)")
    for name in ("count", "workers", "views", "pairs_per_shard"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            parsing.error(f"--{name.replace('_', '-')} {getattr(arguments, name)}: expected at least 1")
    if arguments.landmarks and (arguments.from_scans is not None or arguments.pixel_mm != parsing.get_default("pixel_mm")):
        parsing.error("--landmarks makes views of sampled faces at their own scale: it goes with neither --from-scans nor --pixel-mm")
    for name in ("scan_input", "subject_from"):
        if arguments.from_scans is None and getattr(arguments, name) != parsing.get_default(name):
            parsing.error(f"--{name.replace('_', '-')} needs --from-scans FOLDER")
    from pipeline import system

    system.limit_threads()
    system.silence_libraries()
    try:
        system.check_libraries()
        return _write_examples(arguments) if arguments.examples else _make_set(arguments, beam_flags)
    except FaceReliefError as error:
        print(f"{parsing.prog}: error: {error}", file=sys.stderr)
        return 2


def _write_examples(arguments: argparse.Namespace) -> int:
    from pipeline.example_scans import write_examples

    for name in write_examples(arguments.examples, _model(arguments.model)):
        print(storage.join(arguments.examples, name))
    return 0


def _make_set(arguments: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    from pipeline import landmark_views
    from pipeline.system import usable_cores
    from pipeline.training_pairs import options_of

    options = options_of(arguments.views, arguments.sensors, arguments.strength, arguments.pixel_mm)
    if arguments.landmarks:
        options = landmark_views.options_of(options)
    job = Job(arguments.output, arguments.seed, arguments.model, options)
    count = arguments.count or 1000
    if arguments.from_scans is not None:
        job, count = _with_archive(job, arguments)
    card = synthesize(
        job, count, arguments.pairs_per_shard, arguments.force,
        workers=arguments.workers or usable_cores(), runner=arguments.runner, beam_flags=tuple(beam_flags),
    )
    shown = ("pairs", "pairs_by_split", "pairs_by_sensor", "dropped", "scans_left_out", "fit_residual_mm")
    print(json.dumps({key: card[key] for key in shown if key in card}, indent=1))
    return 0


def _with_archive(job: Job, arguments: argparse.Namespace) -> tuple[Job, int]:
    """The job over the user's scans, and how many pairs to try. Raises ConfigError."""
    from pipeline import scan_pairs

    options = scan_pairs.ScanOptions(scan_input=arguments.scan_input, subject_from=arguments.subject_from)
    archive = scan_pairs.list_archive(arguments.from_scans, options, out=arguments.output)
    most = len(archive.scans) * job.views
    if arguments.count is not None and arguments.count > most:
        given = f"{len(archive.scans)} scans times {job.views} views"
        raise ConfigError(f"--count {arguments.count}: {given} give at most {most} pairs; raise --views, or leave --count out")
    return replace(job, archive=archive), arguments.count or most


if __name__ == "__main__":
    # by its import name, so that what is pickled for the workers is found there
    sys.exit(importlib.import_module("pipeline.synthesize").main())
