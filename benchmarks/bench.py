"""The benchmark: run the pipeline on the simulated depth images and on the real scans, score both against the truth.

    python benchmarks/bench.py --work runs/bench --refine gan smooth none --model default ../shared/models/ict_facekit_light.npz

Every combination of model, refiner and set is one run of the pipeline, kept in its own folder under --work, so that a
run that was cut short resumes. `score.py` (in --shared/bench) defines distance and angle. One table sums them up;
individuals and averages are given separately too, because averages of many faces are the easier half.
"""

import argparse
import itertools
import json
import pathlib
import subprocess
import sys
from collections import Counter, defaultdict

import common
import numpy as np

SURFACES = ("raw", "coarse", "refined", "registered")
INDIVIDUALS = ("humface", "james", "registered_arbitrary_pose")


def main() -> None:
    parser = common.parser(__doc__, "--shared")
    add = parser.add_argument
    add("--work", type=pathlib.Path, default=common.ROOT / "runs" / "bench", help="folder for the outputs")
    add("--refine", nargs="+", default=["gan"], help="refiners: gan, smooth, none")
    add("--model", nargs="+", default=["default"], help="model names or files")
    add("--sets", nargs="+", default=["depth", "meshes"], choices=("depth", "meshes"))
    add("--score-only", action="store_true", help="score what --work already holds")
    add("--pipeline", nargs=argparse.REMAINDER, default=[], help="everything after this goes to pipeline.run")
    arguments = parser.parse_args()
    rows = []
    for model, refiner, kind in itertools.product(arguments.model, arguments.refine, arguments.sets):
        name = pathlib.Path(model).stem
        out = arguments.work / f"{name}-{refiner}-{kind}"
        if not arguments.score_only:
            run_pipeline(arguments.shared, kind, out, model, refiner, arguments.pipeline)
        rows += summary_rows(f"{name}, {refiner}", kind, score(arguments.shared, kind, out))
        print(statuses(out), flush=True)
    print("\n" + formatted(rows))


def run_pipeline(shared: pathlib.Path, kind: str, out: pathlib.Path, model: str, refiner: str, extra: list[str]) -> None:
    """One run; scans that fail (exit code 3) are charged by the score, any other error ends the benchmark."""
    source = (shared / "bench" / "depth" if kind == "depth" else shared / "scans").resolve()
    model = str(pathlib.Path(model).resolve()) if pathlib.Path(model).is_file() else model
    command = [sys.executable, "-m", "pipeline.run", "--input", str(source), "--output", str(out.resolve()), "--model", model]
    command += ["--set", f"refine.method={refiner}", *extra]
    print("$ " + " ".join(command[1:]), flush=True)
    code = subprocess.run(command, cwd=common.ROOT, check=False).returncode
    if code not in (0, 3):
        sys.exit(f"pipeline.run ended with code {code}")


def score(shared: pathlib.Path, kind: str, out: pathlib.Path) -> dict:
    """score.py's table: scan → surface → (distance mm, angle degrees, area ratio)."""
    target = out / "score.json"
    command = [sys.executable, str(shared / "bench" / "score.py"), kind, str(out), "--json", str(target)]
    subprocess.run(command, check=True)
    return json.loads(target.read_text())["scans"]


def summary_rows(label: str, kind: str, table: dict) -> list[tuple]:
    """(run, group, scans, surface → mean (mm, degrees)) per group of scans."""
    groups = defaultdict(list)
    for name, row in table.items():
        for group in groups_of(name, kind):
            groups[group].append(row)
    order = sorted(groups, key=lambda group: (not group.endswith("all"), group))
    return [(label, group, len(groups[group]), {s: mean_of(groups[group], s) for s in SURFACES}) for group in order]


def groups_of(name: str, kind: str) -> list[str]:
    individual = any(word in name for word in INDIVIDUALS)
    if kind == "depth":
        return ["depth all", "depth " + name.split("_", 1)[1], "depth " + ("individuals" if individual else "averages")]
    posed = name.startswith("registered_arbitrary_pose")
    # the six frontal meshes have targets of their own
    return ["meshes posed"] if posed else ["meshes all", "meshes " + ("individuals" if individual else "averages")]


def mean_of(rows: list[dict], surface: str) -> tuple[float, float] | None:
    values = [row[surface][:2] for row in rows if surface in row]
    return tuple(np.mean(values, 0)) if values else None


def statuses(out: pathlib.Path) -> str:
    counts = sorted(Counter(line["status"] for line in common.manifest(out)).items())
    return f"{out.name}: " + ", ".join(f"{count} {status}" for status, count in counts)


def formatted(rows: list[tuple]) -> str:
    lines = [f"{'model, refiner':28s}{'group':24s}{'scans':>5s}" + "".join(f"{surface:>19s}" for surface in SURFACES)]
    for label, group, count, means in rows:
        cells = "".join(f"{'–':>19s}" if mean is None else f"{mean[0]:9.3f} mm {mean[1]:5.1f}°" for mean in means.values())
        lines.append(f"{label:28s}{group:24s}{count:5d}{cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
