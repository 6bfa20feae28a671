"""What of a command can be wrong before any work starts."""

import argparse
import contextlib
import difflib
import math
import os
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from geometry.errors import ConfigError, OutputError
from pipeline.execution.lock import refuse_pattern
from pipeline.launch.command import run_parser
from pipeline.scans.config import Config
from pipeline.scans.job import chart_of
from pipeline.store import storage


def check_workers(workers: int | None) -> None:
    """Raises ConfigError for a number of processes that is none."""
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers {workers}: expected 1 or more")


def check_output(out: str, option: str = "--output") -> None:
    """Raises ConfigError where nothing can be written."""
    refuse_pattern(out, option)
    probe = storage.partial_name(storage.join(out, ".probe"))
    try:
        storage.write_bytes(probe, b"{}")
        storage.delete([probe])
    except (OSError, ValueError) as error:
        raise ConfigError(f"{option} {out}: cannot be written ({error}); give another folder or Beam URL") from error


def check_room(out: str) -> None:
    """Raises OutputError where there is no room for a file of an ordinary size."""
    probe = storage.partial_name(storage.join(out, ".probe"))
    storage.write_bytes(probe, bytes(2**17))
    with contextlib.suppress(OSError):  # there was room
        storage.delete([probe])


def made_folder(folder: str) -> str:
    """A local folder, made where there is none. Raises OutputError where it cannot be."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made ({error.strerror or error}); check the folder and the space on it"
        ) from error
    return folder


def check_chart(resolved: Config) -> None:
    """Raises ConfigError where the refiner's weights were trained for another chart than the run's, WeightsError."""
    if resolved.refine.method != "gan" or resolved.output.stages != "all":
        return
    from gan.weights import read_card

    chart = chart_of(resolved.chart)
    trained_mm = read_card(resolved.refine.weights, "refiner")["generator"]["pixel_mm"]
    if chart.kind != "orthographic" or not math.isclose(chart.pixel_mm, trained_mm):
        raise ConfigError(
            f"chart: {chart.kind} with {chart.pixel_mm:g} mm a pixel, but refine.weights {resolved.refine.weights} were trained "
            f"on an orthographic one of {trained_mm:g} mm; use that chart, refine=smooth, or weights for this one"
        )


def check_runner(name: str) -> None:
    """Raises ConfigError where Beam has no such runner, or one that loses results."""
    from apache_beam.runners.runner import create_runner

    if "dask" in name.lower():
        raise ConfigError(f"--runner {name}: Beam's runner on Dask loses tagged outputs and the ends of batches; use another")
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise ConfigError(f"--runner {name}: {' '.join(str(error).split())}") from error


def refuse_unknown_flags(flags: Sequence[str]) -> None:
    """Beam drops what it does not know with a warning in a log; a misspelt option must not pass so quietly."""
    beam_parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(beam_parser)  # type: ignore[arg-type]  # any argparse parser will do
    _, unknown = beam_parser.parse_known_args(list(flags))
    if unknown:
        known = [name for each in (run_parser(""), beam_parser) for action in each._actions for name in action.option_strings]
        given = unknown[0].partition("=")[0]
        near = difflib.get_close_matches(given, known, 1, 0.6)
        raise ConfigError(f"unknown option {unknown[0]!r}; {f'did you mean {near[0]!r}? ' if near else ''}See --help")
