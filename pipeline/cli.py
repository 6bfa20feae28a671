"""`face-relief COMMAND …`: the `python -m` entry points by one name."""

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "run": ("pipeline.run", "the main job: scans in, registered and refined geometry out"),
    "synthesize": ("pipeline.synthesize", "make a training set of sampled faces seen by simulated sensors"),
    "train": ("gan.train", "train a network on such a set"),
    "export": ("gan.export", "write a refiner as a TensorFlow SavedModel"),
    "evaluate": ("pipeline.evaluate", "measure and report a run again"),
    "learn-model": ("geometry.model_learning", "learn the default morphable model"),
    "purge": ("pipeline.launch.purge", "remove scans from an output folder, with all their traces"),
    "config": ("pipeline.launch.show_config", "print every key of a command with its default and meaning"),
}
USAGE = (
    "usage: face-relief COMMAND …\n\n"
    + "\n".join(f"  {name:12} {text}" for name, (_, text) in COMMANDS.items())
    + "\n\nface-relief COMMAND --help tells the options of one; face-relief --version the version."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Hands the arguments to a command and returns its exit code."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or [""]
    if name == "--version":
        from geometry.settings.commands import DISTRIBUTION, installed_version

        print(DISTRIBUTION, installed_version() or "(not installed)")
        return 0
    if name in ("", "-h", "--help"):
        print(USAGE)
        return 0 if name else 2
    if name not in COMMANDS:
        print(f"face-relief: error: unknown command {name!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    program = f"face-relief {name}"
    if argv is None:
        sys.argv = [program, *rest]  # a command's own arguments, and no list: so that it knows that it is called as a command
    return importlib.import_module(COMMANDS[name][0]).main(None if argv is None else rest, program) or 0
