"""Measures and reports a run again.

    python -m pipeline.evaluate --output OUT [--truth FOLDER]

Writes OUT/report/ anew from OUT's manifest, run.json and pictures. With --truth it also measures each result against the true
surface of its scan (`pipeline.reporting.comparison`), in both directions, prints the table and writes OUT/report/truth.csv.

Exit code 0: done; 2: OUT is no finished run, or no truth fits it.
"""

import sys
from collections.abc import Sequence

# Nothing that takes time to import stands here: --help and a typing error answer at once.
from geometry.settings.commands import add_settings, command_parser, exit_code


def main(argv: Sequence[str] | None = None, program: str = "python -m pipeline.evaluate") -> int:
    """Runs the evaluation and returns the exit code."""
    parser = command_parser(program, "Measures and reports a finished run again.")
    add_settings(parser, "the run's output folder or Beam filesystem URL")
    parser.add_argument(
        "--truth", metavar="FOLDER", help="meshes named like the sources, in the scans' own frame and unit (truth)"
    )
    arguments = parser.parse_args(argv)

    def run() -> int:
        from pipeline.execution import environment

        environment.prepare()
        from pipeline.reporting import evaluation

        return evaluation.run(arguments)

    return exit_code(program, run)


if __name__ == "__main__":
    sys.exit(main())
