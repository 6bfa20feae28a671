"""Results whose states are lost, so that only the manifest's lines tell of them.

A copy of OUT without its hidden `.state`, a damaged state file and a run that was cut off leave such results; like all others
they are not replaced or dropped unasked. What run.json says of the last run tells what they are: after a run that came to its
end, results of that run's configuration. After one that was cut off they may be anything's: `--force` takes states away before
scans are done again, and a scan's state goes before the first byte of its new files.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from pipeline.inputs.source import Source
from pipeline.scans import manifest
from pipeline.scans.manifest import Finished
from pipeline.store import storage

DOUBT = "its state is lost, and a run was cut off since: its files may not be one scan's; run the command again over it"


def found(out: str, run: Mapping[str, Any], states: Mapping[str, Finished]) -> dict[str, Finished]:
    """Results without a state, by scan_id, with the files that are there. run: the content of OUT/run.json."""
    written = manifest.written_lines(out)
    lines = [line for line in written if line["status"] != "failed" and line["scan_id"] not in states]
    results = run.get("result_hash")
    with ThreadPoolExecutor(16) as pool:
        files = list(pool.map(lambda line: _there(out, line["files"]), lines))
    return {
        line["scan_id"]: Finished(line | {"files": there}, "", results if isinstance(results, str) else "", _name(line))
        for line, there in zip(lines, files, strict=True)
        if there or not line["files"]
    }


def _there(out: str, files: Mapping[str, str]) -> dict[str, str]:
    return {key: path for key, path in files.items() if storage.exists(storage.join(out, *path.split("/")))}


def _name(line: Mapping[str, Any]) -> str:
    """The scan's source as the filesystem has it; "" where the line's is another, so that it is not known."""
    return line["source"] if Source(line["source"], "").scan_id == line["scan_id"] else ""


def is_sure(run: Mapping[str, Any]) -> bool:
    """Whether such results are the last run's."""
    return run.get("status") == "finished"


def doubted(state: Finished) -> Finished:
    """The same as a scan that failed; its files stay until it is done again or purged."""
    failed = {"status": "failed", "stage": "run", "reason": DOUBT, "metrics": {}, "files": {}}
    return replace(state, line=state.line | failed)
