"""`face-relief COMMAND …`: thin aliases of the `python -m` entry points."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "run": ("pipeline.run", "the main job: scans in, registered and refined geometry out"),
    "synthesize": ("pipeline.synthesize", "make a training set of sampled faces seen by simulated sensors"),
    "train": ("gan.train", "train the refining network on such a set"),
    "learn-model": ("geometry.template.model_learning", "learn the default morphable model"),
    "evaluate": ("pipeline.evaluate", "measure and report a run again"),
}
USAGE = (
    "usage: face-relief COMMAND …\n\n"
    + "\n".join(f"  {name:12} {text} (python -m {module})" for name, (module, text) in COMMANDS.items())
    + "\n\nface-relief COMMAND --help tells the options of one."
)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        print(f"face-relief: error: unknown command {arguments[0]!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module = importlib.import_module(COMMANDS[arguments[0]][0])
    return module.main(arguments[1:]) or 0
