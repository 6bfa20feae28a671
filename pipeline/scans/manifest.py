"""The manifest and what a run remembers to resume: one small state file per finished scan, written last and atomically.

OUT/.state/<scan_id>.json holds the manifest line and the hashes of input and configuration it was made from. A scan
whose hashes are unchanged and whose files are there is kept; a failed one is tried again. State and manifest lines of
scans that the input no longer holds are dropped; their folders under OUT/scans are left, for the user to decide on.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.inputs.source import Source
from pipeline.scans.state import ScanState
from pipeline.store import storage

STATUSES = ("ok", "rejected", "failed")
LINE_KEYS = ("scan_id", "source", "sha256", "status", "stage", "reason", "seconds", "metrics", "files")  # and "notes", if any


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
        digest.update(name.encode() + b"\0" + hashlib.sha256(sidecars[name]).digest())
    return digest.hexdigest()


def line(state: ScanState, status: str, stage: str | None = None, reason: str | None = None) -> dict[str, Any]:
    """A manifest line; stage and reason are null for a scan that is ok, and only such a one has metrics and, but for the picture
    that a rejected one may have (`outcome.with_picture`), files."""
    ok = status == "ok"
    values = (
        state.source.scan_id,
        state.source.name,
        state.sha256,
        status,
        stage,
        reason,
        {name: round(value, 4) for name, value in state.seconds.items()},
        dict(state.metrics) if ok else {},
        dict(state.files) if ok else {},
    )
    return dict(zip(LINE_KEYS, values, strict=True)) | ({"notes": list(state.notes)} if state.notes else {})


def kept_line(out: str, source: Source, inputs: str, results: str) -> dict[str, Any] | None:
    """The line of a scan that is finished with this input and configuration and need not be done again, or None."""
    state = _read_state(out, source.scan_id)
    if state is None or state.get("input_hash") != inputs or state.get("result_hash") != results:
        return None
    kept = state["line"]
    whole = all(storage.exists(storage.join(out, *path.split("/"))) for path in kept["files"].values())
    return kept if kept["status"] != "failed" and whole else None


def _read_state(out: str, scan_id: str) -> dict[str, Any] | None:
    path = _state_path(out, scan_id)
    if not storage.exists(path):
        return None
    try:
        state = json.loads(storage.read_bytes(path))
    except ValueError:  # not ours, or damaged by hand: do the scan again
        return None
    return state if isinstance(state, dict) and set(LINE_KEYS) <= set(state.get("line") or ()) else None


def record(out: str, finished: Mapping[str, Any], inputs: str, results: str, trace: str = "") -> None:
    """Remembers a finished scan. One without outputs loses those of an earlier run; a traceback goes to OUT/logs."""
    scan_id = finished["scan_id"]
    if not finished["files"]:
        keep_only(out, scan_id, set())
    log = _log_path(out, scan_id)
    if trace:
        storage.write_text(log, trace)
    elif storage.exists(log):
        storage.delete([log])
    state = {"input_hash": inputs, "result_hash": results, "line": dict(finished)}
    storage.write_json(_state_path(out, scan_id), state, indent=None)


def keep_only(out: str, scan_id: str, names: set[str]) -> None:
    """Removes the files of a scan's folder that are not among `names`."""
    folder = scan_folder(out, scan_id)
    kept = {storage.join(folder, name) for name in names}
    storage.delete([path for path in storage.list_files(folder) if path not in kept])


def collect(out: str, sources: Iterable[Source]) -> list[dict[str, Any]]:
    """The lines of all sources, sorted by source. One without a state was lost by its worker, and is `failed`."""
    lines = []
    for source in sources:
        state = _read_state(out, source.scan_id)
        lost = "its worker ended before the scan did (out of memory?); run the command again"
        lines.append(state["line"] if state else line(ScanState(source), "failed", "run", lost))
    return sorted(lines, key=lambda entry: entry["source"])


def write(out: str, lines: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n" for entry in lines)
    storage.write_text(storage.join(out, "manifest.jsonl"), text)


def drop_others(out: str, sources: Iterable[Source]) -> None:
    """Forgets the state of scans that are not among `sources`."""
    known = {_state_path(out, source.scan_id) for source in sources}
    storage.delete([path for path in storage.list_files(storage.join(out, ".state")) if path not in known])


def counts(lines: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    statuses = [entry["status"] for entry in lines]
    return {status: statuses.count(status) for status in STATUSES}
