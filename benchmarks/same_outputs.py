"""Whether two output folders hold the same results: the check that a change of the code changed nothing.

    python benchmarks/same_outputs.py before/ after/
    python benchmarks/same_outputs.py before/ after/ --tolerance-mm 1e-3

A and B are output folders of `pipeline.run` or of `pipeline.synthesize`. Every file must have the same bytes, and none may be in
one folder only. Set aside, because they may differ between two equal runs, are: seconds and wall times (JSON, CSV, the report's
page), the paths of the input and of the folder itself, the version of the program and the hash that contains it, and of a log all
but its last line.

With --tolerance-mm, the scans' statuses must be equal, and of each PLY the number of vertices and, within the tolerance, their
places (in mm where the scan's fit.json names the unit, else in the file's own unit). What else differs is listed and is no error.
The exit code is 0 where the folders are equal, else 1.
"""

import csv
import io
import json
import pathlib
import re
import sys

import common
import numpy as np

from geometry import readers
from geometry.errors import ReadError

ASIDE = {"seconds", "wall_seconds", "result_hash", "face-relief", "root"}
PAGE_ASIDE = (  # regular expressions
    r"<dt>(Wall time|Input)</dt><dd>.*?</dd>",
    r'<section aria-labelledby="timings">.*?</section>',
    r'<td class="number" data-value="[^"]*">[^<]*</td>(?=\s*</tr>)',  # the last column of the scans: seconds
    r"\n *&#34;(wall_seconds|result_hash|face-relief|input|root)&#34;: (?!\{)[^\n]*",  # run.json, shown in the page
    r"face-relief \d[\w.+]*,? ?",
)


def main() -> int:
    arguments = common.parser(__doc__)
    arguments.add_argument("a", metavar="A", type=pathlib.Path, help="an output folder")
    arguments.add_argument("b", metavar="B", type=pathlib.Path, help="the other one")
    arguments.add_argument("--tolerance-mm", type=float, metavar="MM", help="compare statuses and places of vertices, not bytes")
    arguments.add_argument("--set-aside", action="append", default=[], metavar="KEY", help="a further key of JSON to pass over")
    given = arguments.parse_args()
    a, b, tolerance, aside = given.a, given.b, given.tolerance_mm, ASIDE.union(given.set_aside)
    if not (a.is_dir() and b.is_dir()):
        arguments.error(f"expected two folders, got {a} and {b}")
    in_a, in_b = ({path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} for folder in (a, b))
    differ = [name for name in sorted(in_a & in_b) if comparable(a, name, aside) != comparable(b, name, aside)]
    equal = len(in_a & in_b) - len(differ)
    print(f"{equal} files equal, {len(differ)} differ, {len(in_a - in_b)} only in A, {len(in_b - in_a)} only in B")
    wrong = [f"only in A: {name}" for name in sorted(in_a - in_b)] + [f"only in B: {name}" for name in sorted(in_b - in_a)]
    if tolerance is None:
        wrong += [f"differs: {name}" for name in differ]
    else:
        wrong += status_changes(a, b) + number_changes(a, b, differ, tolerance)
    print("\n".join(wrong) or ("equal" if tolerance is None else f"equal within {tolerance:g} mm"))
    return 1 if wrong else 0


def comparable(folder: pathlib.Path, name: str, aside: set[str]):
    """The content of a file without what may differ between equal runs; its bytes where nothing is set aside."""
    data, suffix = (folder / name).read_bytes(), name.rpartition(".")[2]
    if suffix not in ("json", "jsonl", "html", "csv") and not name.startswith("logs/"):
        return data
    try:
        text = without_paths(data.decode("utf-8"), folder)
        if suffix == "html":
            return re.sub("|".join(PAGE_ASIDE), "", text, flags=re.DOTALL)
        if suffix == "csv":
            rows = csv.DictReader(io.StringIO(text))
            return [{key: value for key, value in row.items() if not key.startswith("seconds")} for row in rows]
        if name.startswith("logs/"):
            return text.splitlines()[-1:]  # the lines of code above the error are no result
        return [without(json.loads(part), aside) for part in (text.splitlines() if suffix == "jsonl" else [text])]
    except ValueError:  # damaged
        return data


def without_paths(text: str, folder: pathlib.Path) -> str:
    """`text` with the absolute paths of the folder and of its run's input replaced by OUT and INPUT."""
    source = "".join(json.loads(run.read_bytes()).get("input", "") for run in folder.glob("run.json"))
    places = {str(folder.resolve()): "OUT"} | ({source: "INPUT"} if source.startswith("/") else {})
    for place in sorted(places, reverse=True):  # the longer of two that begin alike first
        text = text.replace(place, places[place])
    return text


def without(value, aside: set[str]):
    """A JSON value less the entries under `aside`, and less a path under `input` (settings of that name stay). Order counts."""
    if isinstance(value, dict):
        kept = [key for key in value if key not in aside and not (key == "input" and isinstance(value[key], str))]
        return [(key, without(value[key], aside)) for key in kept]
    return [without(item, aside) for item in value] if isinstance(value, list) else repr(value)


def status_changes(a: pathlib.Path, b: pathlib.Path) -> list[str]:
    texts = ["".join(file.read_text("utf-8") for file in folder.glob("manifest.jsonl")) for folder in (a, b)]  # "" without one
    in_a, in_b = ({line["source"]: line["status"] for line in map(json.loads, text.splitlines())} for text in texts)
    changed = [name for name in sorted(in_a | in_b) if in_a.get(name) != in_b.get(name)]
    return [f"status of {name}: {in_a.get(name)} in A, {in_b.get(name)} in B" for name in changed]


def number_changes(a: pathlib.Path, b: pathlib.Path, differ: list[str], tolerance: float) -> list[str]:
    """Prints the largest differences in PLY and NPZ files; returns which PLY files exceed the tolerance."""
    distances = {name: vertex_distance(a / name, b / name) for name in differ if name.endswith(".ply")}
    farthest, arrays = max(distances, key=distances.get, default=""), {}
    print(f"largest distance of a vertex: {distances.get(farthest, 0.0):.3g} mm {farthest}")
    for name in (name for name in differ if name.endswith(".npz")):
        for key, difference in array_differences(a / name, b / name).items():
            arrays[key] = max(arrays.get(key, (0.0, "")), (difference, name))
    lines = [f"largest difference in {key}: {most:.3g} {name}" for key, (most, name) in sorted(arrays.items()) if most]
    print("".join(f"{line}\n" for line in [*lines, *(f"differ in bytes: {name}" for name in differ)]), end="")
    return [f"vertices differ by {far:.3g} mm: {name}" for name, far in distances.items() if not far <= tolerance]


def vertex_distance(a: pathlib.Path, b: pathlib.Path) -> float:
    """The largest distance between vertices of equal number; infinite where the counts differ or a file cannot be read."""
    try:
        first, second = readers.read(a).points, readers.read(b).points
    except ReadError:
        return float("inf")
    fit = a.with_name("fit.json")
    in_scan_unit = fit.is_file() and a.name != "neutral.ply"  # which lies in the model's frame, in mm
    unit_mm = json.loads(fit.read_bytes()).get("unit_mm", 1.0) if in_scan_unit else 1.0
    return float(np.linalg.norm(first - second, axis=1).max()) * unit_mm if first.shape == second.shape else float("inf")


def array_differences(a: pathlib.Path, b: pathlib.Path) -> dict[str, float]:
    """Key → largest absolute difference; infinite where they cannot be subtracted, or only one file has the array."""
    first, second = (dict(np.load(path)) for path in (a, b))
    differences = dict.fromkeys(sorted(first.keys() | second.keys()), float("inf"))
    for key in first.keys() & second.keys():
        x, y = first[key], second[key]
        if np.array_equal(x, y):
            differences[key] = 0.0  # texts too
        elif x.shape == y.shape and x.dtype.kind in "biuf" and np.array_equal(np.isnan(x), np.isnan(y)):
            differences[key] = float(np.nanmax(np.abs(x.astype(float) - y.astype(float)), initial=0.0))
    return differences


if __name__ == "__main__":
    sys.exit(main())
