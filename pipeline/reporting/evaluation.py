"""From the command of an evaluation to the report and the table."""

import argparse
from pathlib import Path

from geometry.settings import loading
from geometry.settings.options import options
from pipeline.reporting import comparison, page
from pipeline.store import storage


@options
class EvaluationConfig:
    """All that an evaluation can be told."""

    truth: str | None = None
    """Folder of true meshes, named like the sources, in the scans' own frame and unit (also --truth); null: none."""


def run(arguments: argparse.Namespace) -> int:
    """Writes the report anew, and the comparison with the truth where one is given. Raises ConfigError."""
    flags = [] if arguments.truth is None else [f"truth='{arguments.truth.replace(chr(39), 2 * chr(39))}'"]
    config, out = loading.load(EvaluationConfig, arguments.config, [*arguments.settings, *flags]), arguments.output
    lines, finished = comparison.load_run(out)
    table = None if config.truth is None else comparison.compare(out, lines, Path(config.truth))
    page.write_report(out, lines, finished)
    if table is not None:
        storage.write_text(storage.join(out, "report", "truth.csv"), comparison.truth_csv(table))
        print(comparison.formatted(table))
    print(f"report: {storage.join(out, 'report', 'index.html')}")
    return 0
