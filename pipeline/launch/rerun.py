"""What a run finds in its output folder, and what it may do with it: a rerun keeps, adds and retries, and destroys nothing
unasked.

A scan is known by its path below a root, which OUT/run.json states. Results that the run would replace (made by another
configuration, or from another archive's file of the same name) or drop (of another configuration or archive, and not in the
input) need --force, also those whose states are lost (`pipeline.scans.lost`). What is of the same configuration and archive and
not in the input stays: the run was given a part of the archive, or the scan has left it and is named, until `face-relief purge`
removes it. It has left only where that could be seen.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from geometry.errors import ConfigError, ReadError
from pipeline.inputs import archives, passed_over, reading, walking
from pipeline.inputs.listing import Listing
from pipeline.inputs.source import Source
from pipeline.scans import lost, manifest
from pipeline.scans.config import LimitsConfig
from pipeline.scans.manifest import Finished
from pipeline.store import storage


@dataclass(frozen=True)
class Earlier:
    """What OUT holds: run.json ({} where there is none, or a damaged one), and what is remembered of scans, by scan_id;
    lost: of these, the results of which only the manifest tells."""

    out: str
    run: dict[str, Any]
    states: dict[str, Finished]
    lost: frozenset[str] = frozenset()

    @property
    def root(self) -> str | None:
        """Below which its scans have their names."""
        root = self.run.get("root")
        return root if isinstance(root, str) else None


@dataclass(frozen=True)
class Plan:
    """What a run does with it. kept: scans not in the input that stay, of these `left` are gone from the archive;
    finished: scan_ids in the input that have a result; dropped, forgotten: scan_ids not in the input, with and without one;
    regained: results that get a state again."""

    kept: tuple[Finished, ...] = ()
    left: tuple[str, ...] = ()
    finished: frozenset[str] = frozenset()
    dropped: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    regained: tuple[Finished, ...] = ()


def earlier(out: str) -> Earlier:
    """What a run finds in OUT. Raises ConfigError where its manifest cannot be read."""
    run, states = run_info(out), manifest.states(out)
    without = lost.found(out, run, states)
    return Earlier(out, run, states | without, frozenset(without))


def run_info(out: str) -> dict[str, Any]:
    """OUT/run.json; {} where it is missing, damaged or something else's."""
    try:
        run = json.loads(storage.read_bytes(storage.join(out, "run.json")))
    except (OSError, ValueError, RecursionError):
        return {}
    return run if isinstance(run, dict) else {}


def root_of(path: str, given: str | None, known: Earlier) -> str | None:
    """The root that names the scans of PATH: the given one, else that of OUT where PATH lies below it; None: PATH's own."""
    if given is not None or known.root is None:
        return given
    return known.root if walking.contains(known.root, walking.natural_root(path)) else None


def plan(known: Earlier, listing: Listing, run: Mapping[str, Any], limits: LimitsConfig, is_stated: bool, force: bool) -> Plan:
    """What a run of `listing` does with what OUT holds. Raises ConfigError where that takes --force.

    run: its content of run.json; is_stated: the root is the user's word, so that all of OUT is of this archive."""
    listed = {source.scan_id: source for source in listing.sources}
    moved = known.root is not None and not _same_place(known.root, listing.root)
    finished = {scan_id for scan_id in listed if scan_id in known.states and known.states[scan_id].has_results}
    others = {scan_id: state for scan_id, state in known.states.items() if scan_id not in listed}
    of_another = {scan_id for scan_id, state in known.states.items() if state.result_hash != run["result_hash"]}
    foreign = set(others) if moved and not is_stated else set(others) & of_another
    dropped = {scan_id for scan_id in foreign if others[scan_id].has_results}
    replaced, changed = finished & of_another, set[str]()
    if moved and not force:
        pairs = ((listed[scan_id], known.states[scan_id]) for scan_id in sorted(finished - replaced))
        changed = _with_other_content(pairs, limits)
    if (replaced or changed or dropped) and not force:
        hint = f"{len(changed)} of its files are others" if changed else "the same archive elsewhere? give --root"
        moving = f"the input lies below {listing.root}, and not below {known.root} ({hint})"
        reasons = [*_changes(known.run, run), *([moving] if moved and (changed or not is_stated) else [])]
        raise ConfigError(_refusal(len(replaced | changed), len(dropped), reasons))
    gone = _gone({scan_id: state.name for scan_id, state in others.items() if scan_id not in dropped}, listing)
    failed = {scan_id for scan_id in gone | foreign if not others[scan_id].has_results}
    forgotten = failed - manifest.with_files(known.out, failed)  # of what is forgotten, purge could not remove any
    kept = {scan_id: _as_known(scan_id, known) for scan_id in sorted(set(others) - dropped - forgotten)}
    again = sorted(finished & known.lost) if lost.is_sure(known.run) and not force else []
    return Plan(
        kept=tuple(kept.values()),
        left=tuple(sorted(others[scan_id].line["source"] for scan_id in set(kept) & gone)),
        finished=frozenset(finished),
        dropped=tuple(sorted(dropped)),
        forgotten=tuple(sorted(forgotten)),
        regained=tuple(known.states[scan_id] for scan_id in again)
        + tuple(state for scan_id, state in kept.items() if scan_id in known.lost),
    )


def _as_known(scan_id: str, known: Earlier) -> Finished:
    """What OUT says of a scan that this run does not do."""
    is_doubtful = scan_id in known.lost and not lost.is_sure(known.run)
    return lost.doubted(known.states[scan_id]) if is_doubtful else known.states[scan_id]


def _same_place(first: str, second: str) -> bool:
    return walking.contains(first, second) and walking.contains(second, first)


def _with_other_content(pairs: Iterable[tuple[Source, Finished]], limits: LimitsConfig) -> set[str]:
    """The scans whose files are not those that their results were made from."""

    def differs(pair: tuple[Source, Finished]) -> str | None:
        source, state = pair
        try:
            data, sidecars = reading.read(source, limits.file_mib * 2**20, limits.archive_ratio)
        except ReadError:
            return source.scan_id
        if not state.input_hash:  # of a result whose state is lost the manifest knows the scan's own bytes
            return source.scan_id if hashlib.sha256(data).hexdigest() != state.line["sha256"] else None
        return source.scan_id if manifest.input_hash(data, sidecars) != state.input_hash else None

    with ThreadPoolExecutor(2) as pool:  # a scan may be large
        return {scan_id for scan_id in pool.map(differs, pairs) if scan_id is not None}


def _gone(names: Mapping[str, str], listing: Listing) -> set[str]:
    """Of scans that this run did not list, those that the archive holds no more. What the run could not look at is still there: a
    folder that could not be opened, and what an archive holds behind its damage. names: by scan_id; "" where it is not known."""
    closed = {entry.name for entry in listing.passed if entry.reason.startswith(passed_over.CLOSED)}
    damaged = {source.path for source in listing.sources if source.fault and not source.member}
    listed = {source.path for source in listing.sources if source.member} - damaged
    is_closed = lambda name: not closed.isdisjoint((".", name, *(name[:at] for at, char in enumerate(name) if char == "/")))
    unseen = {scan_id for scan_id, name in names.items() if not name or is_closed(name)}
    return {scan_id for scan_id in names.keys() - unseen if not _is_there(names[scan_id], listing.root, listed)}


def _is_there(name: str, root: str, listed: set[str]) -> bool:
    """Whether a file of a name, or an archive that it is a member's of, may be there. listed: archive files of which it is known
    what they hold."""
    may_be = storage.exists if storage.is_url(root) else _may_be
    if may_be(storage.join(root, *name.split("/"))):
        return True
    files = (name[:at] for at, char in enumerate(name) if char == "!" and name[:at].lower().endswith(archives.SUFFIXES))
    places = (storage.join(root, *file.split("/")) for file in files)
    return any(may_be(place) and place not in listed for place in places)


def _may_be(path: str) -> bool:
    """Whether there is something of that name, or no telling: its folder may not be opened, its disk not answer."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def _refusal(replaced: int, dropped: int, reasons: list[str]) -> str:
    finished = lambda count: f"{count} finished scan{'s' * (count != 1)}"
    words = [f"replace {finished(replaced)}"] if replaced else []
    words += [f"drop {finished(dropped)} that {'are' if dropped != 1 else 'is'} not in the input"] if dropped else []
    because = "; ".join(reasons[:5]) or "the configuration or the version is another"
    return (
        f"OUT holds results of an earlier run, and this one would {' and '.join(words)}: {because}; "
        "give --force to do that, another --output, or the earlier configuration and input"
    )


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """In words, what decides results and differs between two contents of run.json."""
    old, new = (dict(_flat(run.get("config", {}))) for run in (before, now))
    decisive = [key for key in new if not key.startswith(("limits.", "output.records", "output.scans_per_shard", "input.follow"))]
    yield from (f"{key} was {old[key]!r}, is {new[key]!r}" for key in decisive if key in old and old[key] != new[key])
    for key in ("model", "landmark_scheme", "weights", "landmark_weights"):
        if before and before.get(key) != now.get(key) and None not in (before.get(key), now.get(key)):
            yield f"another {key.replace('_', ' ')}"
    versions = [run.get("versions") for run in (before, now)]
    if all(isinstance(version, Mapping) for version in versions):
        old_version, new_version = (version.get("face-relief") for version in versions)
        if old_version != new_version:
            yield f"made by face-relief {old_version}, this is {new_version}"


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value
