"""From the command of a training set to the finished set."""

import argparse
import json
from collections.abc import Sequence

from geometry.errors import ConfigError
from geometry.settings import loading
from pipeline.execution import environment, lock, resources
from pipeline.execution.local import Runner
from pipeline.launch.checks import check_output, check_workers
from pipeline.launch.command import settings_of
from pipeline.launch.training_set import synthesize
from pipeline.scans.job import model_of
from pipeline.store import storage
from pipeline.training.config import SynthesisConfig
from pipeline.training.example_scans import write_examples
from pipeline.training.making import Job
from pipeline.training.real_truth import Archive, list_archive

COUNT = 1000  # of pairs, where none is given
SHOWN = ("pairs", "pairs_by_split", "pairs_by_sensor", "dropped", "scans_left_out", "fit_residual_mm")


def run(arguments: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    """Makes the set, or the example scans, and prints what came out. Raises FaceReliefError."""
    config = loading.load(SynthesisConfig, arguments.config, settings_of(arguments))
    environment.check_libraries()
    check_workers(arguments.workers)
    if arguments.examples:
        check_output(arguments.examples, "--examples")
        for name in write_examples(arguments.examples, model_of(config.model.name)):
            print(storage.join(arguments.examples, name))
        return 0
    with lock.held(arguments.output):
        archive = None if arguments.from_scans is None else list_archive(arguments.from_scans, config, arguments.output)
        job = Job(arguments.output, config, arguments.landmarks, archive)
        runner = Runner(arguments.workers or resources.default_workers(), arguments.runner, tuple(beam_flags))
        card = synthesize(job, _count(config, archive), runner, arguments.force)
    print(json.dumps({key: card[key] for key in SHOWN if key in card}, indent=1))
    return 0


def _count(config: SynthesisConfig, archive: Archive | None) -> int:
    """How many records to try. Raises ConfigError where an archive has not so many."""
    if archive is None:
        return config.set.count or COUNT
    most = len(archive.scans) * config.set.views_per_subject
    if config.set.count is not None and config.set.count > most:
        given = f"{len(archive.scans)} scans times {config.set.views_per_subject} views"
        raise ConfigError(f"set.count {config.set.count}: {given} give at most {most} pairs; raise --views, or leave --count out")
    return config.set.count or most
