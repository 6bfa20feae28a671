"""What is made of all scans of an output folder together: its records. Manifest and report are written beside them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from geometry.errors import ConfigError
from pipeline.execution import graph
from pipeline.execution.local import Runner
from pipeline.scans import record_shards
from pipeline.scans.job import Job
from pipeline.store import storage

_SHARD = re.compile(r"geometry_images-\d{5,}-of-\d{5,}\.tfrecord$")


def _written(out: str) -> list[str]:
    return [path for path in storage.list_files(storage.join(out, "records")) if _SHARD.search(path)]


def check_records(job: Job, holds_results: bool) -> None:
    """Raises ConfigError where a run would remove the records of results that stay, unasked."""
    if holds_results and not job.force and not job.config.output.records and _written(job.out):
        raise ConfigError(
            f"--output {job.out}: holds records of an earlier run, and output.records is false; "
            "give --force to remove them, another --output, or output.records=true"
        )


def write_records(lines: Sequence[dict[str, Any]], job: Job, runner: Runner) -> None:
    """The TFRecords of all scans that have images, and no others."""
    settings = job.config.output
    shards = record_shards.shards_of(list(lines), job.out, settings.scans_per_shard) if settings.records else []
    if shards:
        # bound by the disk: worker processes would not help
        replace(runner, workers=1, is_watched=False).run(partial(graph.write_records, shards=shards, out=job.out))
    _keep_only(shards, job.out)


def rewrite_records(lines: Sequence[dict[str, Any]], out: str, scans_per_shard: int) -> None:
    """The same in this process, where OUT has records."""
    if not _written(out):
        return
    shards = record_shards.shards_of(list(lines), out, scans_per_shard)
    for shard in shards:
        record_shards.write_shard(shard, out)
    _keep_only(shards, out)


def _keep_only(shards: Sequence[record_shards.Shard], out: str) -> None:
    written = {shard.path for shard in shards}
    storage.delete([path for path in _written(out) if path not in written])
