"""The command lines of a run and of a training set, and the settings that their flags are short for.

Nothing that takes time to import stands here.
"""

import argparse
from collections.abc import Iterator

from geometry.errors import ConfigError
from geometry.settings.commands import add_settings, command_parser


def run_parser(program: str) -> argparse.ArgumentParser:
    """Of `pipeline.run`."""
    parser = command_parser(
        program,
        "Turns raw 3D face scans into registered, refined geometry: meshes, landmarks, images, a report.",
        "Other options, such as those of a runner, go to Apache Beam. A run on the same OUT resumes. "
        "Exit code 0: every scan ended ok or rejected; 3: some failed; 2: wrong command or configuration, results that only "
        "--force may replace, or an output that cannot be written.",
    )
    add = parser.add_argument
    add("--input", required=True, metavar="PATH", help="a scan, folder, glob in quotes, .zip, .tar(.gz) or Beam filesystem URL")
    add_settings(parser, "folder or Beam filesystem URL for everything that is written")
    add(
        "--root",
        metavar="FOLDER",
        help="folder or URL below which scans have their names; default: that of OUT, or the input's own",
    )
    add("--unit", metavar="UNIT", help="unit of the scans: auto, m, cm, mm, inch, or mm per unit (input.unit)")
    add("--stages", metavar="STAGES", help="all (default), or landmarks: find these on the raw scans, no fit (output.stages)")
    add("--no-previews", action="store_true", help="write no pictures of people (output.previews)")
    _add_machine(parser)
    return parser


def set_parser(program: str) -> argparse.ArgumentParser:
    """Of `pipeline.synthesize`."""
    parser = command_parser(
        program,
        "Makes training pairs for the refiner: sampled faces (or a user's own scans), simulated sensors, real fits. "
        "Or views for the landmark network, or the example scans.",
        "With --runner, every other option goes to Apache Beam. A call on the same folder goes on where the last ended.",
    )
    add = parser.add_argument
    add_settings(parser, "folder of the training set (local, or any Beam filesystem)", required=False)
    add("--count", type=int, metavar="N", help="pairs to try, or with --landmarks scans to take views of (set.count)")
    add("--seed", type=int, metavar="N", help="the set's seed (set.seed)")
    add("--views", type=int, metavar="N", help="scans of each subject, or pairs of each real scan (set.views_per_subject)")
    add("--sensors", nargs="+", metavar="NAME=WEIGHT", help="these sensors at these frequencies (pairs.sensor_weights)")
    add("--strength", nargs=2, metavar=("LOW", "HIGH"), help="multiples of the published noise (pairs.strength)")
    add("--pixel-mm", type=float, metavar="MM", help="chart sampling over 192 mm: 0.375 makes 512² images (chart)")
    add("--pairs-per-shard", type=int, metavar="N", help="pairs in a file (set.pairs_per_shard)")
    add("--landmarks", action="store_true", help="views with landmarks, for the landmark network, instead of pairs")
    add("--examples", metavar="DIR", help="write the example scans to DIR instead of a training set")
    real = parser.add_argument_group(
        "real scans",
        "Pairs from an archive of good scans. A scan without a face, or too noisy, coarse or "
        "holey to be a truth, is left out and named in the card. Licences and consent are the user's business.",
    ).add_argument
    real("--from-scans", metavar="FOLDER", help="the archive, as --input of a run: a folder, a glob, a .zip, a URL")
    real("--scan-input", metavar="KIND", help="simulated, or real: what the scan channels show (scans.scan_input)")
    real("--subject-from", metavar="KIND", help="file, or folder: whom a scan shows (scans.subject_from)")
    _add_machine(parser)
    return parser


def _add_machine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="NAME_OR_FILE", help="morphable model (model.name)")
    add("--force", action="store_true", help="do again what is already done; replace or drop results of another configuration")
    add("--workers", type=int, metavar="N", help="processes on this machine; default: one to a core, as far as memory goes")
    add("--runner", metavar="NAME", help="Beam runner; default: the in-process Fn API runner on all cores")


KEYS = {
    "unit": "input.unit",
    "stages": "output.stages",
    "count": "set.count",
    "seed": "set.seed",
    "views": "set.views_per_subject",
    "pairs_per_shard": "set.pairs_per_shard",
    "scan_input": "scans.scan_input",
    "subject_from": "scans.subject_from",
}


def settings_of(arguments: argparse.Namespace) -> list[str]:
    """All settings of a command line: those of --set, then those that its flags are short for."""
    return [*arguments.settings, *_settings_of_flags(vars(arguments))]


def _settings_of_flags(given: dict) -> Iterator[str]:
    if given["model"] is not None:
        name = given["model"].replace("'", "''")
        yield f"model.name='{name}'"  # quoted: a text to YAML, whatever is in it
    yield from (f"{key}={given[flag]}" for flag, key in KEYS.items() if given.get(flag) is not None)
    if given.get("no_previews"):
        yield "output.previews=false"
    if given.get("sensors"):
        weights = (text.partition("=") for text in given["sensors"])
        yield "pairs.sensor_weights={" + ", ".join(f"{name}: {weight or 1}" for name, _, weight in weights) + "}"
    if given.get("strength"):
        yield f"pairs.strength=[{', '.join(given['strength'])}]"
    if given.get("pixel_mm") is not None:
        side = CHART_MM / given["pixel_mm"] if given["pixel_mm"] > 0 else 0
        if not (side and side % 32 == 0):
            raise ConfigError(f"--pixel-mm {given['pixel_mm']:g}: 192 mm must make 32, 64, … pixels; 0.375 makes 512")
        yield f"chart={{pixel_mm: {given['pixel_mm']}, height: {side:g}, width: {side:g}}}"


CHART_MM = 192.0  # what the default chart spans
