"""What a listing passes over: every file that gets no line, with its kind and the reason: nothing is left out in silence."""

import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

EXAMPLES = 3  # names of each kind that are told


class PassedOver(NamedTuple):
    """name: as a scan's; kind: what it is, such as ".fbx" or "named pipe"; reason: why no scan is read from it."""

    name: str
    kind: str
    reason: str


UNKNOWN = "no format that is read"
HIDDEN = "hidden: names with a dot before them, and __MACOSX, are no data"
PARTIAL = "left by a writer that did not finish"
SPECIAL = "pipes, sockets and devices hold no scan"
LINKED = "links are not followed (input.follow_links)"
ENTERED = "reached a second time by a link"
PICTURE = "pictures: a depth image has 16 bits of grey and a JSON sidecar with its camera"
COLOUR = "colour pictures beside a camera's JSON: a depth image has 16 bits of grey"
LANDMARKS = "landmark files without a scan of their name"
NESTED = "archives within archives are not opened"
OWN = "what this run writes"
CLOSED = "cannot be opened"
TWICE = "another scan of the input has the same name"


def kind_of(name: str) -> str:
    """Of a plain file: its suffix, in small letters."""
    suffix = posixpath.splitext(posixpath.basename(name))[1].lower()
    return suffix if 1 < len(suffix) <= 16 else "without a suffix"


def tally(passed: Iterable[PassedOver]) -> list[dict[str, Any]]:
    """For run.json: reason, kind, count and some names of each, the most frequent first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for entry in passed:
        groups.setdefault((entry.reason, entry.kind), []).append(entry.name)
    return [
        {"reason": reason, "kind": kind, "count": len(names), "examples": sorted(names)[:EXAMPLES]}
        for (reason, kind), names in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    ]


def summary(tallied: Sequence[dict[str, Any]]) -> list[str]:
    """Lines for the terminal: how many entries were not read, then each reason with its kinds; [] where there are none."""
    counts: dict[str, Counter[str]] = {}
    for entry in tallied:
        counts.setdefault(entry["reason"], Counter())[entry["kind"]] += entry["count"]
    total = sum(entry["count"] for entry in tallied)
    if not total:
        return []
    ordered = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    subject = f"{total} files were not read, and have" if total != 1 else "1 file was not read, and has"
    return [f"{subject} no line in the manifest:"] + [
        f"  {kinds.total()} ({', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}): {reason}"
        for reason, kinds in ordered
    ]
