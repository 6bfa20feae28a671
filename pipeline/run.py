"""The main job: a folder of raw face scans in, registered and refined geometry out.

    python -m pipeline.run --input PATH --output OUT [--config FILE] [--set section.key=value …] [Beam options]

Exit code 0: every scan ended ok or rejected; 3: some failed; 2: wrong command or configuration.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipeline.execution.graph import build, write_records
from pipeline.launch.command import parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job and returns the exit code."""
    arguments, beam_flags = parser().parse_known_args(argv)
    from pipeline.errors import FaceReliefError
    from pipeline.execution import environment

    environment.limit_threads()
    environment.silence_libraries()
    from pipeline.launch.launch import Launch

    try:
        return Launch.prepare(arguments, beam_flags).run(build, write_records)
    except FaceReliefError as error:
        print(f"{parser().prog}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    # as an importable module, so that what is pickled for the workers is found there
    from pipeline import run

    sys.exit(run.main())
