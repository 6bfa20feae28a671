"""What a run shows on the terminal: a bar while it works, a table when it is done."""

import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TextIO

from geometry.settings.printing import printable
from pipeline.execution import journal
from pipeline.store import storage


class Bar:
    """A context that shows scans done of `total`, rate, time left and failures so far, from a thread.

    folder: the run's journal."""

    def __init__(self, folder: str, total: int, stream: TextIO | None = None):
        self.journal, self.total, self.stream = journal.Reader(folder), total, stream or sys.stderr
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        from tqdm import tqdm

        # in a log file a line every ten seconds is enough
        interval = 0.2 if self.stream.isatty() else 10.0
        self._bar = tqdm(
            total=self.total, unit="scan", file=self.stream, mininterval=interval, maxinterval=interval, dynamic_ncols=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self._update()
        self._bar.close()

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            self._update()

    def _update(self) -> None:
        self.journal.update()
        ended = self.journal.counts()
        shown = {status: ended[status] for status in ("failed", "rejected", "kept") if ended[status]}
        self._bar.set_postfix({"failed": 0, **shown}, refresh=False)
        self._bar.update(ended.total() - self._bar.n)


@dataclass(frozen=True)
class Rerun:
    """What a run did with what it found: scans kept from an earlier run, done, and of these those that replaced a result;
    others: of an earlier run, that this input does not hold; left: sources among them that are gone; dropped: results removed;
    unread: of the kept ones, those that could not be read this time."""

    kept: int = 0
    done: int = 0
    replaced: int = 0
    others: int = 0
    left: tuple[str, ...] = ()
    dropped: int = 0
    unread: int = 0

    def lines(self, out: str, most: int = 5) -> list[str]:
        """For the terminal; [] for a run that found nothing."""
        if not (self.kept or self.replaced or self.others or self.dropped):
            return []
        text = [f"  {self.kept} kept from an earlier run, {self.done} done, {self.replaced} of these replaced an earlier result"]
        text += [f"  {self.dropped} results of an earlier run dropped"] if self.dropped else []
        if self.unread:
            text.append(f"  {self.unread} of the kept could not be read this time; their notes in the manifest say why")
        subject = "1 scan that this input does not hold stays as it was"
        subject = subject if self.others == 1 else f"{self.others} scans that this input does not hold stay as they were"
        text += [f"  {subject}"] if self.others else []
        if self.left:
            names = ", ".join(map(printable, self.left[:most])) + (", \u2026" if len(self.left) > most else "")
            text.append(
                f"  {len(self.left)} of them left the input: {names}; `face-relief purge --output {printable(out)}` removes them"
            )
        return text


MOST_OF_A_REASON = 500  # letters on the terminal: a remedy stands at its end


def summary(lines: Sequence[Mapping[str, Any]], out: str, wall_seconds: float, most: int = 10) -> str:
    """The table at the end: counts, where the time went, what failed and why, where to look."""
    counts = Counter(line["status"] for line in lines)
    ended_as = ", ".join(f"{counts[status]} {status}" for status in ("ok", "rejected", "failed"))
    text = [f"{len(lines)} scan{'s' * (len(lines) != 1)} in {wall_seconds:.1f} s: {ended_as}"]
    stages: Counter[str] = Counter()
    for line in lines:
        stages.update(line["seconds"])
    if (total := sum(stages.values())) > 0:
        slowest = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in stages.most_common(4))
        text.append(f"  {total / len(lines):.2f} s of work a scan; slowest stages: {slowest}")
    for status in ("failed", "rejected"):
        ended = [line for line in lines if line["status"] == status]
        text += [f"  {status:8}  {line['stage'] or '':9}  {printable(line['source'])}: {_reason(line)}" for line in ended[:most]]
        if len(ended) > most:
            text.append(f"  … and {len(ended) - most} more {status}, in {storage.join(out, 'manifest.jsonl')}")
    return "\n".join(text)


def _reason(line: Mapping[str, Any]) -> str:
    told = (line["reason"] or "").removeprefix(line["source"] + ": ").removeprefix(" ".join(line["source"].split()) + ": ")
    reason = printable(told)
    return reason if len(reason) <= MOST_OF_A_REASON else reason[: MOST_OF_A_REASON - 1] + "…"
