"""Training sets: `python -m pipeline.synthesize --output DIR --count N` makes N pairs as GZIP TFRecords, a Beam job.

    DIR/train-00000.tfrecord.gz …, validation-…, test-…     pairs of subjects that no other split holds
    DIR/train-00000.json …                                  what became of each shard's pairs
    DIR/card.json                                           options, counts, drops by reason, model: the set's own description
    DIR/contact_sheet.png                                   some pairs to look at

A shard is written in one piece and kept on the next call, so a killed job goes on where it was, and a set grows with a
larger N; a folder that holds a set made with other options is refused. `--from-scans FOLDER` makes the pairs from an
archive of real scans instead of sampled faces, `--views` of each (`pipeline.training.scan_pairs`). `--landmarks` makes views of
raw scans with their landmarks, for the landmark network (`pipeline.training.landmark_views`). `--examples DIR` writes the example
scans (`pipeline.training.example_scans`).
"""

import importlib
import sys
from collections.abc import Sequence

# Nothing that takes time to import stands here: --help and a typing error answer at once.
from geometry.settings.commands import exit_code
from pipeline.launch.command import set_parser


def main(argv: Sequence[str] | None = None, program: str = "python -m pipeline.synthesize") -> int:
    """Runs the job and returns the exit code: 0, or 2 for a wrong command."""
    parsing = set_parser(program)
    arguments, beam_flags = parsing.parse_known_args(argv)
    if (arguments.output is None) == (arguments.examples is None):
        parsing.error("give either --output OUT, for a training set, or --examples DIR")
    if beam_flags and not arguments.runner:
        parsing.error(f"unknown option {beam_flags[0]!r} (Beam's own options need --runner)")
    if arguments.landmarks and (arguments.from_scans is not None or arguments.pixel_mm is not None):
        parsing.error(
            "--landmarks makes views of sampled faces at their own scale: neither --from-scans nor --pixel-mm goes with it"
        )
    for flag, given in (("--scan-input", arguments.scan_input), ("--subject-from", arguments.subject_from)):
        if arguments.from_scans is None and given is not None:
            parsing.error(f"{flag} needs --from-scans FOLDER")

    def run() -> int:
        from pipeline.execution import environment

        environment.prepare()
        from pipeline.launch import set_command

        return set_command.run(arguments, beam_flags)

    return exit_code(program, run)


if __name__ == "__main__":
    # by its import name, so that what is pickled for the workers is found there
    sys.exit(importlib.import_module("pipeline.synthesize").main())
