"""One shard of a training set is made and written."""

from __future__ import annotations

import functools
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pipeline.errors import FaceReliefError
from pipeline.store import storage
from pipeline.training.shards import Shard


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


@functools.lru_cache(maxsize=1)
def _model(name: str):
    from geometry.model.registry import load_model

    return load_model(name)


def write_shard(shard: Shard, job: Job) -> None:
    """Makes the shard's pairs and writes them; pairs that cannot be used are left out and counted by reason."""
    from pipeline.execution import journal
    from pipeline.store import tfrecord
    from pipeline.training import scan_pairs

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
        examples += [tfrecord.encode_example(features) for features in made]
        sensors[made[0]["sensor"]] += len(made)
        residuals += [round(float(features["fit_residual_mm"][0]), 4) for features in made if "fit_residual_mm" in features]
    tfrecord.write_tfrecord(storage.join(job.folder, f"{shard.name}.tfrecord.gz"), examples, gzip=True)
    storage.write_json(
        storage.join(job.folder, f"{shard.name}.json"),
        {
            "indices": list(shard.indices),
            "pairs": len(examples),
            "dropped": dict(sorted(dropped.items())),
            "sensors": dict(sorted(sensors.items())),
            "fit_residual_mm": residuals,
            "seconds": round(time.monotonic() - began, 2),
            **({} if job.archive is None else {"left_out": left_out}),
        },
    )


def _maker(job: Job):
    """The function that makes the records of one index of this job: a pair, or a scan's views."""
    from pipeline.training import landmark_views, sampled_pairs, scan_pairs

    if isinstance(job.options, landmark_views.ViewOptions):
        return landmark_views.make_views
    make_pair = sampled_pairs.make_pair if job.archive is None else functools.partial(scan_pairs.make_pair, archive=job.archive)
    return lambda *arguments: [make_pair(*arguments)]


def _reason(error: FaceReliefError) -> str:
    """An error's kind and text without its numbers, so that equal causes are counted together."""
    return f"{type(error).__name__}: " + re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", "#", str(error))
