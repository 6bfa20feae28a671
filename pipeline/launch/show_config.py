"""`face-relief config`: every key of a command, with its default, what it accepts and what it means."""

import importlib
from collections.abc import Sequence
from typing import Any

from geometry.settings.commands import command_parser

CONFIGS = {
    "run": ("pipeline.scans.config", "Config"),
    "synthesize": ("pipeline.training.config", "SynthesisConfig"),
    "train": ("gan.config", "TrainingConfig"),
    "learn-model": ("geometry.learning.model_learning", "LearningOptions"),
    "evaluate": ("pipeline.reporting.evaluation", "EvaluationConfig"),
}

HEADER = """\
# Every key of `face-relief {command}` with its default. Give a file with any of them back by --config FILE, or single ones by
# --set section.key=value. A section with a `method`, `name` or `kind` may be given as that one value, such as `refine: smooth`.
"""


def config_of(command: str) -> Any:
    """The options class of a command."""
    module, name = CONFIGS[command]
    return getattr(importlib.import_module(module), name)


def main(argv: Sequence[str] | None = None, program: str = "face-relief config") -> int:
    """Prints a configuration file with all defaults, or tables, and returns the exit code."""
    parser = command_parser(program, "Prints every key of a command, as a YAML file to edit and give back with --config.")
    parser.add_argument("command", nargs="?", choices=list(CONFIGS), default="run", help="default: %(default)s")
    parser.add_argument("--markdown", action="store_true", help="as tables, of all commands")
    arguments = parser.parse_args(argv)
    from geometry.settings import describing

    if arguments.markdown:
        print("\n".join(f"## `face-relief {name}`\n\n{describing.as_markdown(config_of(name))}" for name in CONFIGS), end="")
    else:
        print(HEADER.format(command=arguments.command), describing.as_yaml(config_of(arguments.command)), sep="", end="")
    return 0
