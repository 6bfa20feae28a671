"""How clean the surfaces of finished runs are, and how much of the scans they cover: a row a scan that ended ok, and one of all.

    python -m pipeline.run --input ../shared/scans --output runs/scans
    python benchmarks/surface_quality.py runs/scans --json runs/quality.json

Of the skin of `refined.ply` (without a mouth's bag) and of `registered.ply` (without eyeballs and cavities): **crossing**
triangles, which pass through another one; **flipped** ones, turned by more than 90° from the mean normal of the triangles about
them (the refined template's own mean has 2, at an eye); **degenerate** ones, with an angle of less than 1° or without area;
connected **parts**; **loops** of the border (the model's skin has 4: neck, eyes, mouth); the median of the triangles' smallest
**angles**. Of the registered mesh also the triangles **turned** by more than 90° from the same of `coarse.ply`, whose own lids
may lie folded, those that cross where eyeballs or cavities take part (**inside**), and the dihedral angles at **lids, lips and
nostrils**: their 99th percentile over that of the model's mean face.

**Coverage**: points drawn by area from the cleaned scan, of a bare cloud one a cell of 1 mm, where they lie within 10 mm of the
face and ears of `coarse.ply` and face the same way to within 60°; the share of them within 1 mm of `refined.ply`, and within
3 mm: what lacks in the second is missing; what lacks in the first alone lies elsewhere than in the scan, or the scan is noisy.

The row of all has sums of the counts, medians of angles and ratios, and means of the shares.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import common
import numpy as np
from finished_scans import FinishedScan, finished_scans, skin_triangles
from mesh_quality import REGION_MM, covered, crossing, dihedral_ratio, shape_of, surface_samples, turned_from, within_region
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.reconstruction.dense_template import dense_template
from geometry.scan import Scan
from geometry.surfaces.joined_borders import joined
from geometry.surfaces.normals import voxel_representatives

FACE_AND_EARS = ("face", "forehead", "cheeks", "jaw", "ears", "eyeballs", "eyes", "lids", "lips", "nostrils")
NOT_FACE = ("neck", "mouth_cavity", "nostril_cavities")
PARTS = ("lids", "lips", "nostrils")  # whose dihedral angles are compared
REACHES_MM = (1.0, 3.0)
SAMPLES, CLOUD_MM = 30_000, 1.0
COUNTS = ("triangles", "crossing", "flipped", "degenerate", "components", "loops", "inside", "turned")
Row = dict[str, float]
Columns = Sequence[tuple[str, str, int, str]]  # key, head, width, format
SHARED_COLUMNS: Columns = (
    ("crossing", "cross", 7, "d"),
    ("flipped", "flip", 6, "d"),
    ("degenerate", "degen", 7, "d"),
    ("components", "parts", 6, "d"),
    ("loops", "loops", 6, "d"),
    ("smallest_angle", "angle", 7, ".1f"),
)
COLUMNS: Mapping[str, Columns] = {
    "refined": (
        ("triangles", "triangles", 11, "d"),
        *SHARED_COLUMNS,
        ("within_1mm", "1 mm", 7, ".1%"),
        ("within_3mm", "3 mm", 7, ".1%"),
    ),
    "registered": (
        *SHARED_COLUMNS,
        ("turned", "turned", 8, "d"),
        ("inside", "inside", 8, "d"),
        *((part, part[:5], 6, ".2f") for part in PARTS),
    ),
}
NAME_WIDTH = 36


class Measures:
    """What is measured on a run's scans; what depends on the model alone is made once."""

    def __init__(self, model: MorphableModel) -> None:
        self.model, self.skin = model, skin_triangles(model)
        self.whole = joined(TriangleMesh(model.mean, model.triangles))[model.triangles]
        self.template = TriangleMesh(model.mean, self.skin)
        self.region = vertices_of(model, FACE_AND_EARS) & ~vertices_of(model, NOT_FACE)
        self.of_template = len(dense_template(model).mean)  # vertices of a mouth's bag come after them

    def __call__(self, finished: FinishedScan) -> dict[str, Row]:
        """ "refined" and "registered" → figure → value."""
        coarse, refined, registered = (finished.mesh(name) for name in ("coarse", "refined", "registered"))
        skin = TriangleMesh(registered.vertices, self.skin)
        points, normals = head_samples(finished.scan, coarse.vertices)
        points = points[within_region(points, normals, coarse, self.region)]
        shares = {f"within_{reach:g}mm": covered(points, refined, reach) for reach in REACHES_MM}
        ratios = {part: dihedral_ratio(skin, self.template, vertices_of(self.model, [part])) for part in PARTS}
        shape, before = shape_of(skin), TriangleMesh(coarse.vertices, self.skin)
        inside = crossing(TriangleMesh(registered.vertices, self.whole)) - shape.crossing
        of_registered = {"inside": inside, "turned": int(turned_from(skin, before).sum())}
        skin = TriangleMesh(refined.vertices, refined.triangles[(refined.triangles < self.of_template).all(axis=1)])
        return {"refined": asdict(shape_of(skin)) | shares, "registered": asdict(shape) | ratios | of_registered}


def vertices_of(model: MorphableModel, names: Sequence[str]) -> np.ndarray:
    """(n,) bool: the vertices of any of the regions; a region that the model lacks has none."""
    none = np.zeros(model.n_vertices, bool)
    return np.any([model.regions.get(name, none) for name in names], axis=0)


def head_samples(scan: Scan, head: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of a scan about a head's vertices (n, 3), spread evenly over its area, and their outward normals: (k, 3) each."""
    near = np.isfinite(cKDTree(head).query(scan.points, distance_upper_bound=2 * REGION_MM)[0])
    if scan.is_cloud:
        points, normals = scan.points[near], scan.normals[near]
        chosen = voxel_representatives(points, CLOUD_MM) if len(points) else np.zeros(0, int)
        return points[chosen], normals[chosen]
    return surface_samples(TriangleMesh(scan.points, scan.triangles[near[scan.triangles].any(axis=1)]), SAMPLES)


def summary(rows: Sequence[dict[str, Row]]) -> dict[str, Row]:
    """Sums of counts, medians of angles and ratios, means of shares."""

    def way(key: str) -> Callable:
        if key in COUNTS:
            return np.sum
        return np.nanmean if key.startswith("within") else np.nanmedian

    return {name: {key: way(key)([row[name][key] for row in rows]).item() for key in rows[0][name]} for name in COLUMNS}


def heads() -> str:
    """The two lines above the table."""
    over, names = " " * NAME_WIDTH, f"{'scan':{NAME_WIDTH}s}"
    for name, columns in COLUMNS.items():
        over += f"  {name:^{sum(column[2] for column in columns)}s}"
        names += "  " + "".join(f"{head:>{width}s}" for _, head, width, _ in columns)
    return f"{over.rstrip()}\n{names}"


def row_text(label: str, row: dict[str, Row]) -> str:
    text = f"{label[-NAME_WIDTH + 1 :]:{NAME_WIDTH}s}"
    for name, columns in COLUMNS.items():
        text += "  " + "".join(f"{format(row[name][key], form):>{width}s}" for key, _, width, form in columns)
    return text


def main() -> None:
    parser = common.parser(__doc__, "--json", "--limit")
    parser.add_argument("runs", type=pathlib.Path, nargs="+", metavar="RUN", help="a run's OUT")
    parser.add_argument("--scans", type=pathlib.Path, help="the folder that the runs read, if it is not where they say")
    arguments = parser.parse_args()
    print(heads())
    rows: list[dict[str, Row]] = []
    names: list[dict[str, str]] = []
    for run in arguments.runs:
        measures = Measures(common.model_of(run))
        for finished in [each for each in finished_scans(run, arguments.scans) if each.is_ok][: arguments.limit]:
            row = measures(finished)
            label = finished.source if len(arguments.runs) == 1 else f"{run.name}/{finished.source}"
            print(row_text(label, row), flush=True)
            rows.append(row)
            names.append({"run": str(run), "source": finished.source})
    if not rows:
        raise SystemExit("no scan of these runs ended ok")
    total = summary(rows)
    print(row_text(f"all {len(rows)}", total))
    common.keep({"scans": [name | row for name, row in zip(names, rows)], "all": total}, arguments.json)


if __name__ == "__main__":
    main()
