"""Training sets: `python -m pipeline.synthesize --output DIR --count N` makes N pairs as GZIP TFRecords, a Beam job.

    DIR/train-00000.tfrecord.gz …, validation-…, test-…     pairs of subjects that no other split holds
    DIR/train-00000.json …                                  what became of each shard's pairs
    DIR/card.json                                           options, counts, drops by reason, model: the set's own description
    DIR/contact_sheet.png                                   some pairs to look at

A shard is written in one piece and kept on the next call, so a killed job goes on where it was, and a set grows with a
larger N; a folder that holds a set made with other options is refused. `--from-scans FOLDER` makes the pairs from an
archive of real scans instead of sampled faces, `--views` of each (`pipeline.training.scan_pairs`). `--landmarks` makes views of raw
scans with their landmarks, for the landmark network (`pipeline.training.landmark_views`). `--examples DIR` writes the example
scans (`pipeline.training.example_scans`).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace

from pipeline.errors import ConfigError, FaceReliefError
from pipeline.launch.training_set import synthesize
from pipeline.store import storage
from pipeline.training.making import Job, _model


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="python -m pipeline.synthesize",
        allow_abbrev=False,
        description="Makes training pairs for the refiner: sampled faces (or a user's own scans), simulated sensors, real fits. "
        "Or the example scans.",
        epilog="With --runner, every other option goes to Apache Beam. A call on the same folder goes on where the last ended.",
    )
    add = arguments.add_argument
    add("--output", metavar="DIR", help="folder of the training set (local, or any Beam filesystem)")
    add("--count", type=int, metavar="N", help="pairs to try; default 1000, or with --from-scans all: scans times views")
    add("--seed", type=int, default=0, help="the set's seed; default %(default)s")
    add(
        "--views",
        type=int,
        default=1,
        metavar="N",
        help="scans of each subject; with --from-scans pairs of each scan, all but "
        "the first with expression and identity changed by the model; default %(default)s",
    )
    add("--sensors", nargs="+", metavar="NAME=WEIGHT", help="these sensors at these relative frequencies; default: all")
    add(
        "--strength",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="multiples of the published noise; default: each sensor's own",
    )
    add("--pixel-mm", type=float, default=0.75, help="chart sampling over 192 mm: 0.375 makes 512² images; default %(default)s")
    add("--pairs-per-shard", type=int, default=25, metavar="N", help="pairs in a file; default %(default)s")
    add("--model", default="default", metavar="NAME_OR_FILE", help="morphable model; default: the shipped one")
    add("--force", action="store_true", help="make the set anew even where it exists")
    add("--workers", type=int, metavar="N", help="processes on this machine; default: one to a core; 1 works in this process")
    add("--runner", metavar="NAME", help="Beam runner; default: the in-process Fn API runner on all cores")
    add(
        "--landmarks",
        action="store_true",
        help="make views with landmarks, for the landmark network, instead of pairs; "
        "--count is then of scans, each seen from six sides",
    )
    add("--examples", metavar="DIR", help="write the example scans to DIR instead of a training set")
    real = arguments.add_argument_group(
        "real scans",
        "Pairs from an archive of good scans (pipeline.training.scan_pairs). A scan without a face, or too noisy, coarse or "
        "holey to be a truth, is left out and named in the card. Licences and consent are the user's business.",
    ).add_argument
    real("--from-scans", metavar="FOLDER", help="the archive, as --input of pipeline.run: a folder, a glob, a .zip, a URL")
    real(
        "--scan-input",
        choices=("simulated", "real"),
        default="simulated",
        help="what the scan channels show: a simulated "
        "sensor's view of the scan, or the scan itself (the papers' setting, for condition: coarse); default %(default)s",
    )
    real(
        "--subject-from",
        choices=("file", "folder"),
        default="file",
        help="whom a scan shows, so that nobody is in two "
        "splits: each file is a subject, or each folder of FOLDER's first level; default %(default)s",
    )
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
        parsing.error(
            "--landmarks makes views of sampled faces at their own scale: it goes with neither --from-scans nor --pixel-mm"
        )
    for name in ("scan_input", "subject_from"):
        if arguments.from_scans is None and getattr(arguments, name) != parsing.get_default(name):
            parsing.error(f"--{name.replace('_', '-')} needs --from-scans FOLDER")
    from pipeline.execution import environment

    environment.limit_threads()
    environment.silence_libraries()
    try:
        environment.check_libraries()
        return _write_examples(arguments) if arguments.examples else _make_set(arguments, beam_flags)
    except FaceReliefError as error:
        print(f"{parsing.prog}: error: {error}", file=sys.stderr)
        return 2


def _write_examples(arguments: argparse.Namespace) -> int:
    from pipeline.training.example_scans import write_examples

    for name in write_examples(arguments.examples, _model(arguments.model)):
        print(storage.join(arguments.examples, name))
    return 0


def _make_set(arguments: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    from pipeline.execution.environment import usable_cores
    from pipeline.training import landmark_views
    from pipeline.training.sampled_pairs import options_of

    options = options_of(arguments.views, arguments.sensors, arguments.strength, arguments.pixel_mm)
    if arguments.landmarks:
        options = landmark_views.options_of(options)
    job = Job(arguments.output, arguments.seed, arguments.model, options)
    count = arguments.count or 1000
    if arguments.from_scans is not None:
        job, count = _with_archive(job, arguments)
    card = synthesize(
        job,
        count,
        arguments.pairs_per_shard,
        arguments.force,
        workers=arguments.workers or usable_cores(),
        runner=arguments.runner,
        beam_flags=tuple(beam_flags),
    )
    shown = ("pairs", "pairs_by_split", "pairs_by_sensor", "dropped", "scans_left_out", "fit_residual_mm")
    print(json.dumps({key: card[key] for key in shown if key in card}, indent=1))
    return 0


def _with_archive(job: Job, arguments: argparse.Namespace) -> tuple[Job, int]:
    """The job over the user's scans, and how many pairs to try. Raises ConfigError."""
    from pipeline.training import scan_pairs

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
