"""The manifest and what a run remembers to resume: one small state file per finished scan, written last and atomically.

OUT/.state/<scan_id>.json holds the manifest line and the hashes of input and configuration it was made from. A scan
whose hashes are unchanged and whose files are there is kept; a failed one is tried again. A state that is damaged, or that
something else has written, is none. States of scans that an input does not hold stay until they are purged.
"""

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from geometry.errors import ConfigError
from geometry.settings.printing import printable, utf8
from pipeline.inputs.source import Source
from pipeline.scans.state import ScanState
from pipeline.store import storage

STATUSES = ("ok", "rejected", "failed")
LINE_KEYS = ("scan_id", "source", "sha256", "status", "stage", "reason", "seconds", "metrics", "files")  # and "notes", if any
STAYS = "the result is an earlier run's, and the last run could not read the scan"  # a note
MOST_BYTES = 2**22  # of a state; a larger file is something else's
_SCAN_ID = re.compile(r"(?!\.+$)[A-Za-z0-9._-]+")  # no path, and neither "." nor ".."
FILE_NAMES = {  # of a scan's folder, by their keys in a line's `files`
    "coarse": "coarse.ply",
    "refined": "refined.ply",
    "registered": "registered.ply",
    "landmarks": "landmarks.json",
    "fit": "fit.json",
    "geometry_images": "geometry_images.npz",
    "preview": "preview.png",
}


@dataclass(frozen=True)
class Finished:
    """What is remembered of a scan. input_hash: "" where that is not known; name: its source as the filesystem has it, which the
    line's may not be (`utf8`), "" where that is not known; unread: why a later run, which kept the result, could not read the
    scan, or ""."""

    line: dict[str, Any]
    input_hash: str
    result_hash: str
    name: str
    unread: str = ""

    @property
    def has_results(self) -> bool:
        """Whether there is more to lose than the knowledge that it failed."""
        return self.line["status"] != "failed"

    @property
    def told(self) -> dict[str, Any]:
        """The line as the manifest has it, with a note where the result is of an earlier run's reading."""
        note = f"{STAYS}: {self.unread}"
        return self.line | {"notes": [*self.line.get("notes", []), note]} if self.unread else self.line


def scan_folder(out: str, scan_id: str) -> str:
    return storage.join(out, "scans", scan_id)


def _state_path(out: str, scan_id: str) -> str:
    return storage.join(out, ".state", f"{scan_id}.json")


def _log_path(out: str, scan_id: str) -> str:
    return storage.join(out, "logs", f"{scan_id}.txt")


def input_hash(data: bytes, sidecars: Mapping[str, bytes]) -> str:
    """SHA-256 of a scan's bytes and its sidecars' names and bytes."""
    digest = hashlib.sha256(hashlib.sha256(data).digest())
    for name in sorted(sidecars):
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + hashlib.sha256(sidecars[name]).digest())
    return digest.hexdigest()


def line(state: ScanState, status: str, stage: str | None = None, reason: str | None = None) -> dict[str, Any]:
    """A manifest line; stage and reason are null for a scan that is ok, and only such a one has metrics and, but for the picture
    that a rejected one may have (`outcome.with_picture`), files."""
    ok = status == "ok"
    values = (
        state.source.scan_id,
        utf8(state.source.name),
        state.sha256,
        status,
        stage,
        None if reason is None else utf8(reason),
        {name: round(value, 4) for name, value in state.seconds.items()},
        dict(state.metrics) if ok else {},
        dict(state.files) if ok else {},
    )
    notes = {"notes": [utf8(note) for note in state.notes]} if state.notes else {}
    return dict(zip(LINE_KEYS, values, strict=True)) | notes


def kept_line(out: str, source: Source, inputs: str, results: str) -> dict[str, Any] | None:
    """The line of a scan that is finished with this input and configuration and need not be done again, or None.

    That it could not be read for a while is forgotten."""
    state = read_state(out, source.scan_id)
    if state is None or state.input_hash != inputs or state.result_hash != results or not _is_whole(out, state):
        return None
    if state.unread:
        remember(out, replace(state, unread=""))
    return state.line


def _is_whole(out: str, state: Finished) -> bool:
    """Whether there is a result, and all its files."""
    paths = (storage.join(out, *path.split("/")) for path in state.line["files"].values())
    return state.has_results and all(map(storage.exists, paths))


def remember(out: str, state: Finished) -> None:
    """Writes a scan's state."""
    own_name = {"name": state.name} if state.name != state.line["source"] else {}
    unread = {"unread": state.unread} if state.unread else {}
    content = {"input_hash": state.input_hash, "result_hash": state.result_hash, "line": state.line}
    storage.write_json(_state_path(out, state.line["scan_id"]), content | own_name | unread, indent=None)


def remember_all(out: str, states: Iterable[Finished]) -> None:
    """The same of many scans, which at a URL are a round trip each."""
    with ThreadPoolExecutor(16) as pool:
        for _ in pool.map(lambda state: remember(out, state), states):  # raises what one of them raised
            pass


def read_state(out: str, scan_id: str) -> Finished | None:
    """What OUT remembers of a scan; None where that is nothing, damaged, or not a run's: then the scan is done anew."""
    try:
        data = storage.read_head(_state_path(out, scan_id), MOST_BYTES + 1)
        state = json.loads(data) if len(data) <= MOST_BYTES else {}
        name, unread = state.get("name", state["line"]["source"]), state.get("unread", "")
        known = Finished(state["line"], state["input_hash"], state["result_hash"], name, unread)
        texts = (known.input_hash, known.result_hash, known.name, known.unread)
        is_known = all(isinstance(text, str) for text in texts) and is_line(known.line) and known.line["scan_id"] == scan_id
        return known if is_known else None
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None


def is_line(found: Any) -> bool:
    """Whether a value is a manifest line, with nothing in it that a later step would stumble over, or that leads out of OUT."""
    if not isinstance(found, dict) or not set(LINE_KEYS) <= set(found):
        return False
    scan_id = found["scan_id"]
    if not isinstance(scan_id, str) or not _SCAN_ID.fullmatch(scan_id):
        return False
    texts = all(isinstance(found[key], str) for key in ("source", "sha256"))
    perhaps = all(found[key] is None or isinstance(found[key], str) for key in ("stage", "reason"))
    figures = all(_is_map(found[key], _is_figure) for key in ("seconds", "metrics"))
    below = f"scans/{scan_id}/"
    files = _is_map(
        found["files"], lambda path: isinstance(path, str) and path.startswith(below) and "/" not in path[len(below) :]
    )
    notes = found.get("notes", [])
    return (
        texts
        and perhaps
        and figures
        and files
        and found["status"] in STATUSES
        and isinstance(notes, list)
        and all(isinstance(note, str) for note in notes)
    )


def _is_map(value: Any, is_item: Any) -> bool:
    return isinstance(value, dict) and all(map(is_item, value.values()))


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)


def record(out: str, finished: Mapping[str, Any], inputs: str, results: str, trace: str = "", name: str = "") -> bool:
    """Remembers a finished scan. One without outputs loses those of an earlier run; a traceback goes to OUT/logs.

    A scan that failed before its bytes were known (`inputs` is "") keeps an earlier result, since nothing says that it is not
    the scan's any more; the reason becomes a note, and the answer is False. name: the scan's source as the filesystem has it,
    where the line's is another."""
    scan_id = finished["scan_id"]
    earlier = read_state(out, scan_id) if finished["status"] == "failed" and not inputs else None
    is_new = earlier is None or not _is_whole(out, earlier)
    if is_new and not finished["files"]:
        keep_only(out, scan_id, set())
    log = _log_path(out, scan_id)
    if trace:
        storage.write_text(log, printable(trace, keep="\n"))
    elif storage.exists(log):
        storage.delete([log])
    if earlier is None or is_new:
        remember(out, Finished(dict(finished), inputs, results, name or finished["source"]))
    else:
        remember(out, replace(earlier, unread=finished["reason"] or "it failed"))
    return is_new


def keep_only(out: str, scan_id: str, names: set[str]) -> None:
    """Removes the files of a scan's folder that runs write and that are not among `names`; what else lies there is the user's."""
    folder = scan_folder(out, scan_id)
    removed = {storage.join(folder, name) for name in FILE_NAMES.values() if name not in names}
    storage.delete([path for path in storage.list_files(folder) if path in removed])


def with_files(out: str, scan_ids: Iterable[str]) -> set[str]:
    """Of these scans those in whose folder there is a file that a run has written."""
    listed = list(scan_ids)

    def has_any(scan_id: str) -> bool:
        folder = scan_folder(out, scan_id)
        return not {storage.join(folder, name) for name in FILE_NAMES.values()}.isdisjoint(storage.list_files(folder))

    with ThreadPoolExecutor(16) as pool:
        return {scan_id for scan_id, is_there in zip(listed, pool.map(has_any, listed), strict=True) if is_there}


def states(out: str) -> dict[str, Finished]:
    """All that OUT remembers, by scan_id."""
    names = (path.replace("\\", "/").rpartition("/")[2] for path in storage.list_files(storage.join(out, ".state")))
    scan_ids = sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda scan_id: read_state(out, scan_id), scan_ids)
        return {scan_id: state for scan_id, state in zip(scan_ids, found, strict=True) if state is not None}


def collect(out: str, sources: Iterable[Source]) -> list[dict[str, Any]]:
    """The lines of all sources, in order. One without a state was lost by its worker, and is `failed`."""
    lines = []
    for source in sources:
        state = read_state(out, source.scan_id)
        lost = "its result could not be recorded, or its worker ended before (out of memory, a full disk?); run the command again"
        lines.append(state.told if state else line(ScanState(source), "failed", "run", lost))
    return in_order(lines)


def in_order(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The manifest's order: by source."""
    return sorted(lines, key=lambda entry: (entry["source"], entry["scan_id"]))


def written_lines(out: str) -> list[dict[str, Any]]:
    """Those of OUT's manifest that are a run's; [] where there is none. Raises ConfigError where there is one that cannot be
    read."""
    path = storage.join(out, "manifest.jsonl")
    if not storage.exists(path):
        return []
    try:
        texts = storage.read_bytes(path).split(b"\n")
    except OSError as error:
        raise ConfigError(f"--output {out}: its manifest.jsonl cannot be read ({error}); check its permissions") from error
    found = []
    for text in filter(bytes.strip, texts):
        with contextlib.suppress(ValueError, RecursionError):
            found.append(json.loads(text))
    return [entry for entry in found if is_line(entry)]


def write(out: str, lines: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n" for entry in lines)
    storage.write_text(storage.join(out, "manifest.jsonl"), text)


def forget(out: str, scan_ids: Iterable[str]) -> None:
    """Removes the states of these scans; their files stay."""
    paths = (_state_path(out, scan_id) for scan_id in scan_ids)
    storage.delete([path for path in paths if storage.exists(path)])


def purge(out: str, scan_ids: Iterable[str]) -> None:
    """As `drop`, and with all that others have put into the scans' folders."""
    for scan_id in scan_ids:
        folder = scan_folder(out, scan_id)
        if not _is_link(folder):
            storage.delete(storage.list_files(folder))
        drop(out, [scan_id])


def drop(out: str, scan_ids: Iterable[str]) -> None:
    """Removes what runs have written of these scans but for the tables over all scans: files, logs and states, these last. A
    scan's folder that is a link stays with what it leads to: no run made it."""
    for scan_id in scan_ids:
        folder = scan_folder(out, scan_id)
        if not _is_link(folder):
            keep_only(out, scan_id, set())
            storage.remove_folder(folder)
        log = _log_path(out, scan_id)
        storage.delete([log] if storage.exists(log) else [])
        forget(out, [scan_id])


def _is_link(folder: str) -> bool:
    return not storage.is_url(folder) and os.path.islink(folder)


def counts(lines: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    statuses = [entry["status"] for entry in lines]
    return {status: statuses.count(status) for status in STATUSES}
