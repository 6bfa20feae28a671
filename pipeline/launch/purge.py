"""`face-relief purge`: removes scans from an output folder with all their traces.

Without SOURCE these are the scans that the last run named as having left its input. Files, pictures, logs and states go, then
records, manifest, run.json and report are written without them. Exit code 0: done; 2: no such scan, or no finished run.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from geometry.settings.commands import command_parser, exit_code
from geometry.settings.printing import printable


def main(argv: Sequence[str] | None = None, program: str = "face-relief purge") -> int:
    """Purges and returns the exit code."""
    parser = command_parser(program, "Removes scans from an output folder, with all their traces.")
    parser.add_argument("--output", required=True, metavar="OUT", help="the run's output folder or Beam filesystem URL")
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    what = "as the manifest names them (source or scan_id); default: those that left the input of the last run"
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help=what)
    arguments = parser.parse_args(argv)

    def run() -> int:
        from pipeline.execution import environment, lock
        from pipeline.reporting import comparison

        environment.prepare()
        comparison.load_run(arguments.output)  # is it one? Before a lock is left in a folder that is none
        with lock.held(arguments.output):
            return _purge(arguments)

    return exit_code(program, run)


def _purge(arguments: argparse.Namespace) -> int:
    """Raises ConfigError where OUT holds no such scan."""
    from pipeline.launch import tables
    from pipeline.reporting import comparison, page
    from pipeline.scans import manifest
    from pipeline.store import storage

    out = arguments.output
    lines, run = comparison.load_run(out)
    chosen = _chosen(lines, run, arguments)
    word = "would be removed" if arguments.dry_run else "removed"
    count = "1 scan" if len(chosen) == 1 else f"{len(chosen)} scans"
    print("\n".join([f"{count} {word}", *(f"  {printable(line['source'])}" for line in chosen)]))
    if arguments.dry_run or not chosen:
        return 0
    gone = {line["scan_id"] for line in chosen}
    rest = [line for line in lines if line["scan_id"] not in gone]
    left = [source for source in _left(run) if source not in {line["source"] for line in chosen}]
    told = run | {"counts": manifest.counts(rest), "left_the_input": left}
    manifest.purge(out, sorted(gone))
    tables.rewrite_records(rest, out, _scans_per_shard(run))
    manifest.write(out, rest)  # not earlier: cut off before, the same command still finds what to remove
    storage.write_json(storage.join(out, "run.json"), told)
    page.write_report(out, rest, told)
    return 0


def _chosen(lines: list[dict[str, Any]], run: dict[str, Any], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from geometry.errors import ConfigError

    wanted = set(arguments.sources or _left(run))
    unknown = wanted - {line["source"] for line in lines} - {line["scan_id"] for line in lines}
    if arguments.sources and unknown:
        raise ConfigError(f"{sorted(unknown)[0]}: OUT has no scan of that source or scan_id; its manifest.jsonl names them")
    return [line for line in lines if wanted & {line["source"], line["scan_id"]}]


def _left(run: dict[str, Any]) -> list[str]:
    """The sources that the last run named as gone."""
    named = run.get("left_the_input")
    return [source for source in named if isinstance(source, str)] if isinstance(named, list) else []


def _scans_per_shard(run: dict[str, Any]) -> int:
    from pipeline.scans.config import OutputConfig

    number: Any = run
    for key in ("config", "output", "scans_per_shard"):
        number = number.get(key) if isinstance(number, dict) else None
    return number if isinstance(number, int) and number > 0 else OutputConfig().scans_per_shard


if __name__ == "__main__":
    raise SystemExit(main())
