"""What every command line shares: its options, its version, its exit codes."""

import argparse
import importlib.metadata
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from geometry.errors import ConfigError, FaceReliefError

DISTRIBUTION = "face-relief"


def installed_version(distribution: str = DISTRIBUTION) -> str:
    """The version of an installed distribution; empty where there is none, as in a checkout that is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def command_parser(program: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser that takes no abbreviations and knows --version."""
    parser = argparse.ArgumentParser(prog=program, allow_abbrev=False, description=description, epilog=epilog)
    parser.add_argument("--version", action="version", version=f"{DISTRIBUTION} {installed_version() or '(not installed)'}")
    return parser


def add_settings(parser: argparse.ArgumentParser, output: str, required: bool = True) -> None:
    """The three options that every command shares; `output` says what `--output` is."""
    parser.add_argument("--output", required=required, metavar="OUT", help=output)
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file with any key of `face-relief config`, or a shipped one's name"
    )
    parser.add_argument(
        "--set", action="append", default=[], dest="settings", metavar="SECTION.KEY=VALUE", help="one key; repeatable"
    )


def writable_folder(folder: str | Path) -> Path:
    """The local folder that `--output` names, made where there is none. Raises ConfigError where no file can be written in it."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return Path(folder)
    except OSError as error:
        raise ConfigError(f"--output {folder}: cannot be written ({error}); give another folder") from None


def exit_code(program: str, work: Callable[[], int]) -> int:
    """What `work` returns; 2, with one line on standard error, for a wrong command or configuration; 130 when interrupted."""
    try:
        return work()
    except FaceReliefError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
