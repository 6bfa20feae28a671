"""What every command line shares: its options, its version, its exit codes."""

import argparse
import importlib.metadata
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from geometry.errors import ConfigError, FaceReliefError
from geometry.settings.printing import printable

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
    """What `work` returns; 2, with one line on standard error, for a wrong command or configuration; 130 when interrupted;
    1, with one line that names a file with the traceback, for what should not happen."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a character must not end a run
    try:
        return work()
    except FaceReliefError as error:
        print(f"{program}: error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has left, as `head` does: there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer must not fail again
        return 1
    except Exception as error:
        what = printable(f"{type(error).__name__}: {str(error).strip() or 'without a message'}")[:500]
        print(f"{program}: unexpected error: {what}; please report it, with {_kept_trace(error)}", file=sys.stderr)
        return 1


def _kept_trace(error: BaseException) -> str:
    """The file that holds the traceback of `error`, or the place that raised it where no file can be written."""
    try:
        with tempfile.NamedTemporaryFile("wb", prefix="face-relief-error-", suffix=".txt", delete=False) as file:
            file.write("".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace"))
        return file.name
    except OSError:
        frames = traceback.extract_tb(error.__traceback__)
        return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "the command"
