"""One shard of a training set is made and written."""

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from geometry.errors import FaceReliefError
from pipeline.execution import journal
from pipeline.store import storage, tfrecord
from pipeline.training import landmark_views, sampled_pairs, scan_pairs
from pipeline.training.config import SynthesisConfig
from pipeline.training.real_truth import Archive, ScanLeftOut
from pipeline.training.shards import SHARD_SUFFIXES, Shard


@dataclass(frozen=True)
class Job:
    """What every worker knows: where to write, the configuration, whether views for the landmark network are made instead of
    pairs, the archive where the faces are not sampled, and the folder that the progress bar reads."""

    folder: str
    config: SynthesisConfig
    views: bool = False
    archive: Archive | None = None
    journal: str = ""

    def make(self, index: int) -> Sequence[dict]:
        """The records of one index: a pair, or a scan's views. Raises FaceReliefError where there are none."""
        if self.views:
            return landmark_views.make_views(index, self.config)
        if self.archive is not None:
            return [scan_pairs.make_pair(index, self.config, self.archive)]
        return [sampled_pairs.make_pair(index, self.config)]


def write_shard(shard: Shard, job: Job) -> None:
    """Makes the shard's records and writes them; what cannot be used is left out and counted by reason."""
    began = time.monotonic()
    examples, dropped, sensors, residuals, left_out = [], Counter(), Counter(), [], {}
    for index in shard.indices:
        journal.note(job.journal, journal.BEGUN, str(index))
        try:
            made = job.make(index)
        except FaceReliefError as error:
            dropped[_reason(error)] += 1
            if isinstance(error, ScanLeftOut):
                left_out[error.source] = str(error)
            journal.note(job.journal, "rejected", str(index))
            continue
        journal.note(job.journal, "ok", str(index))
        examples += [tfrecord.encode_example(features) for features in made]
        sensors[made[0]["sensor"]] += len(made)
        residuals += [round(float(features["fit_residual_mm"][0]), 4) for features in made if "fit_residual_mm" in features]
    account, records = (storage.join(job.folder, shard.name + suffix) for suffix in SHARD_SUFFIXES)
    tfrecord.write_tfrecord(records, examples, gzip=True)
    described = {
        "indices": list(shard.indices),
        "pairs": len(examples),
        "dropped": dict(sorted(dropped.items())),
        "sensors": dict(sorted(sensors.items())),
        "fit_residual_mm": residuals,
        "seconds": round(time.monotonic() - began, 2),
    }
    storage.write_json(account, described if job.archive is None else {**described, "left_out": left_out})


def _reason(error: FaceReliefError) -> str:
    """An error's kind and text without its numbers, so that equal causes are counted together."""
    return f"{type(error).__name__}: " + re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", "#", str(error))
