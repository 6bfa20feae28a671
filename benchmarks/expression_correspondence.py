"""Whether a vertex of the registered mesh stays on its point of skin while the expression of one person changes.

    python -m pipeline.run --input ../shared/more_scans/spacetime_faces --output RUN
    python benchmarks/expression_correspondence.py RUN

Vertex i is the same point of skin in each of the four scans. Each vertex of the neutral's registered mesh in the face region is
put on the neutral scan at the nearest point, which is a point of skin in a triangle; where that skin is in another scan, there
the same vertex of that scan's registered mesh ought to be. The error is the distance between the two. The motion is how far the
skin itself went, in mm, apart from the rigid motion that carries all these points best (`--frame face`; with `--frame stable`
forehead and nasal bridge alone decide it, as if the skull were tracked, and the lower face moves further). A registration that
takes every vertex for unmoved errs by the motion: a ratio of 1. Medians over the vertices of each region; vertices more than
2 mm off the neutral scan are left out and counted. The scans' own correspondence is a registration, too: some tenths of a
millimetre say nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import common
import numpy as np
from skin_regions import WHOLE, skin_regions

from geometry import readers
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.surfaces.closest_point import closest_points
from geometry.surfaces.raycasting import interpolate
from geometry.transforms import SimilarityTransform

SCANS = Path("more_scans") / "spacetime_faces"
NEUTRAL, EXPRESSIONS = "neutral", ("smile", "disgust", "surprise")
OFF_MM = 2.0
LARGEST_MM, LARGEST_RATIO = 1.5, 0.5  # what is asked of every region
FRAMES = {"face": WHOLE, "stable": "stable"}


@dataclass(frozen=True)
class Carried:
    """Of n vertices: where their skin is on one scan, `here`, and on another, `there` (n, 3); off_mm (n,) from the first scan."""

    here: np.ndarray
    there: np.ndarray
    off_mm: np.ndarray

    def motion_mm(self, still: np.ndarray) -> np.ndarray:
        """(n,) mm that the skin went, apart from the rigid motion of what is under the mask `still` (n,) bool."""
        rigid = SimilarityTransform.umeyama(self.here[still], self.there[still], with_scale=False)
        return np.linalg.norm(rigid.apply(self.here) - self.there, axis=1)


def carried(vertices: np.ndarray, one: TriangleMesh, other: TriangleMesh) -> Carried:
    """Vertices (n, 3) that lie on one mesh, through its triangles to another of the same topology."""
    near = closest_points(vertices, one)
    here, there = (interpolate(mesh.vertices, one.triangles[near.triangle], near.uv) for mesh in (one, other))
    return Carried(here, there, near.distance)


def medians(errors: np.ndarray, motion: np.ndarray, regions: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Region → medians of errors (n,) and motion (n,), their ratio, and how many vertices; regions: masks (n,)."""
    table = {}
    for name, mask in regions.items():
        error, moved = (float(np.median(values[mask])) if mask.any() else float("nan") for values in (errors, motion))
        table[name] = {"error": error, "motion": moved, "ratio": error / moved, "vertices": int(mask.sum())}
    return table


def reached(row: Mapping[str, float]) -> bool:
    """Whether a region's medians are what is asked."""
    return row["error"] <= LARGEST_MM and row["ratio"] <= LARGEST_RATIO


def mesh_of(file: Path) -> TriangleMesh:
    scan = readers.read(file.read_bytes(), source=file.name, unit="mm")
    return TriangleMesh(scan.points, scan.triangles)


def fitted_vertices(run: Path, surface: str) -> dict[str, np.ndarray]:
    """Expression → vertices of its coarse or registered mesh, in the scan's frame. Those that the run did not accept are said."""
    found = {}
    for line in common.manifest(run):
        name = PurePosixPath(line["source"]).stem
        if line["status"] == "ok":
            found[name] = mesh_of(run / line["files"][surface]).vertices
        else:
            common.say(f"{name}: {line['status']}, {line['reason']}")
    return found


def tables(
    found: Mapping[str, np.ndarray], scans: Mapping[str, TriangleMesh], model: MorphableModel, frame: str
) -> dict[str, dict[str, dict[str, float]]]:
    """Expression → region → medians, of those that were found."""
    regions, answer = skin_regions(model), {}
    fixed = regions[WHOLE] & model.regions.get(FRAMES[frame], regions[WHOLE])
    for name in (name for name in EXPRESSIONS if name in found):
        way = carried(found[NEUTRAL], scans[NEUTRAL], scans[name])
        on = way.off_mm < OFF_MM
        errors, motion = np.linalg.norm(found[name] - way.there, axis=1), way.motion_mm(fixed & on)
        answer[name] = medians(errors, motion, {region: mask & on for region, mask in regions.items()})
    return answer


def lines(answer: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """The table region × expression; a star beside what misses what is asked."""
    first = next(iter(answer.values()))
    shown = [f"{'median mm':12s}{'vertices':>9s}" + "".join(f"{name:>27s} " for name in answer)]
    shown.append(f"{'':21s}" + f"{'error':>9s}{'motion':>9s}{'ratio':>9s} " * len(answer))
    for region, row in first.items():
        cells = ""
        for table in answer.values():
            each = table[region]
            cells += f"{each['error']:9.2f}{each['motion']:9.2f}{each['ratio']:9.2f}" + (" " if reached(each) else "*")
        shown.append(f"{region:12s}{row['vertices']:9d}{cells}")
    parts = [row for table in answer.values() for region, row in table.items() if region != WHOLE]
    asked = f"error ≤ {LARGEST_MM} mm and ≤ {LARGEST_RATIO} × the motion"
    return [*shown, f"{asked}: {sum(map(reached, parts))} of {len(parts)} (regions × expressions)"]


def main() -> None:
    parser = common.parser(__doc__, "--shared", "--json")
    parser.add_argument("run", type=Path, help="OUT of a run over the four scans")
    parser.add_argument("--surface", choices=("registered", "coarse"), default="registered", help="default: %(default)s")
    parser.add_argument("--frame", choices=tuple(FRAMES), default="face", help="in which motion is told; default: %(default)s")
    arguments = parser.parse_args()
    found = fitted_vertices(arguments.run, arguments.surface)
    if NEUTRAL not in found or len(found) < 2:
        raise SystemExit(f"{arguments.run} holds no accepted {NEUTRAL} scan, or none beside it; nothing can be carried")
    scans = {name: mesh_of(arguments.shared / SCANS / f"{name}.ply") for name in (NEUTRAL, *EXPRESSIONS)}
    model = common.model_of(arguments.run)
    answer = tables(found, scans, model, arguments.frame)
    print("\n".join(lines(answer)))
    skin = skin_regions(model)[WHOLE]
    off = carried(found[NEUTRAL], scans[NEUTRAL], scans[NEUTRAL]).off_mm[skin] >= OFF_MM
    print(f"left out, more than {OFF_MM:.0f} mm off the neutral scan: {100 * off.mean():.1f} %")
    common.keep(answer, arguments.json)


if __name__ == "__main__":
    main()
