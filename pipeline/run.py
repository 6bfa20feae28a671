"""The main job: a folder of raw face scans in, registered and refined geometry out.

    python -m pipeline.run --input PATH --output OUT [--config FILE] [--set section.key=value …] [Beam options]

Exit code 0: every scan ended ok or rejected; 3: some failed; 2: wrong command or configuration, or the output cannot be written.
"""

import sys
from collections.abc import Sequence

# Nothing that takes time to import stands here: --help and a typing error answer at once.
from geometry.settings.commands import exit_code
from pipeline.launch.command import run_parser


def main(argv: Sequence[str] | None = None, program: str = "python -m pipeline.run") -> int:
    """Runs the job and returns the exit code. argv None: the command line's, as a command; given: as a function of this process,
    which a single worker is too."""
    arguments, beam_flags = run_parser(program).parse_known_args(argv)

    def run() -> int:
        from pipeline.execution import environment

        environment.prepare()
        from pipeline.launch.launch import launch

        return launch(arguments, beam_flags, is_command=argv is None)

    return exit_code(program, run)


if __name__ == "__main__":
    # as an importable module, so that what is pickled for the workers is found there
    from pipeline import run

    sys.exit(run.main())
