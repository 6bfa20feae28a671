"""The shards of a training set: which pairs each file holds, and whether it is written."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from geometry.errors import ConfigError
from pipeline.store import storage
from pipeline.training.config import SetOptions
from pipeline.training.real_truth import Archive
from pipeline.training.sampled_pairs import SPLITS, split_of

PLAN_FILE = "plan.json"
MOST_NAMED = 8  # differences in a message; a set of an earlier version differs in every key
SHARD_SUFFIXES = (".json", ".tfrecord.gz")
SHARD_FILE = re.compile(r"((?:train|validation|test)-\d{5})\.(?:json|tfrecord\.gz)")


@dataclass(frozen=True)
class Shard:
    """The pairs of one file: name without suffix, and their indices in the set."""

    name: str
    indices: tuple[int, ...]


def plan_shards(count: int, options: SetOptions, archive: Archive | None = None) -> list[Shard]:
    """Pairs 0 … count − 1 in shards of one split each, in order; an archive's scans whole, for each is fitted once."""
    views, pairs_per_shard = options.views_per_subject, options.pairs_per_shard
    find_split = split_of if archive is None else archive.split
    if archive is not None:
        pairs_per_shard = max(pairs_per_shard // views, 1) * views
    by_split: dict[str, list[int]] = {split: [] for split in SPLITS}
    for index in range(count):
        by_split[find_split(index // views, options.split_shares)].append(index)
    return [
        Shard(f"{split}-{number:05d}", tuple(indices[start : start + pairs_per_shard]))
        for split, indices in by_split.items()
        for number, start in enumerate(range(0, len(indices), pairs_per_shard))
    ]


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


def check_plan(folder: str, plan: dict, force: bool) -> None:
    """Writes the plan of a set. Raises ConfigError where the folder holds a set made by another."""
    path = storage.join(folder, PLAN_FILE)
    if not force and storage.exists(path):
        found, made = _flat(json.loads(storage.read_bytes(path))), _flat(json.loads(json.dumps(plan)))
        if found != made:
            different = sorted(key for key in {*made, *found} if found.get(key) != made.get(key))
            named = ", ".join(different[:MOST_NAMED]) + f" and {len(different) - MOST_NAMED} more" * (len(different) > MOST_NAMED)
            raise ConfigError(f"{folder} holds a set made with another {named}; give another --output, or --force")
    storage.write_json(path, plan)


def _flat(plan: dict, prefix: str = "") -> dict:
    """Dotted key → value."""
    parts = (
        {prefix + name: value} if not isinstance(value, dict) else _flat(value, f"{prefix}{name}.")
        for name, value in plan.items()
    )
    return {key: value for part in parts for key, value in part.items()}
