"""The command line of a run."""

from __future__ import annotations

import argparse


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="python -m pipeline.run",
        allow_abbrev=False,
        description="Turns raw 3D face scans into registered, refined geometry: meshes, landmarks, images, a report.",
        epilog="Every other option goes to Apache Beam, such as --runner and its own. A run on the same OUTPUT resumes. "
        "Exit code 0: every scan ended ok or rejected; 3: some failed; 2: wrong command or configuration.",
    )
    add = arguments.add_argument
    add("--input", required=True, metavar="PATH", help="a scan, folder, glob in quotes, .zip, .tar(.gz) or Beam filesystem URL")
    add("--output", required=True, metavar="OUT", help="folder or Beam filesystem URL for everything that is written")
    add("--config", metavar="FILE", help="YAML file with any of the keys of configs/default.yaml")
    add("--set", action="append", default=[], dest="settings", metavar="SECTION.KEY=VALUE", help="one key; repeatable")
    add("--model", metavar="NAME_OR_FILE", help="morphable model (model.name)")
    add("--unit", metavar="UNIT", help="unit of the scans: auto, m, cm, mm, inch, or mm per unit (input.unit)")
    add("--stages", metavar="STAGES", help="all (default), or landmarks: find these on the raw scans, no fit (output.stages)")
    add("--no-previews", action="store_true", help="write no pictures of people")
    add("--force", action="store_true", help="do scans again that are already done")
    add("--workers", type=int, metavar="N", help="processes on this machine; default: one to a core; 1 works in this process")
    add("--runner", metavar="NAME", help="Beam runner; default: the in-process Fn API runner on all cores")
    return arguments
