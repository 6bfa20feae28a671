"""Whether a vertex lies on its own point of the face: simulated faces whose true vertices are known in the model's topology.

    python benchmarks/correspondence.py --cache DIR                                    the test split
    python benchmarks/correspondence.py --cache DIR --split validation --count 60      what settings may be chosen on
    python benchmarks/correspondence.py --cache DIR --refine none                      without the network

Simulated scans of faces off the model, of subjects that no training saw (benchmarks/located_scans.py), located, fitted,
encoded, judged, refined, lifted and registered as a run does; located scans and fits are kept in DIR and shared with
benchmarks/acceptance.py. The true face is the model's mesh with shape, shifted features and detail that no mode holds, so that
vertex i of it is where vertex i of a registered mesh ought to be. Measured is the distance between the two over the vertices of
the face's outer skin that the sensor saw, and its parts along the true surface and normal to it, for the fitted ("coarse") mesh
as well: so one sees what registration gains in the normal part, and what it gains or loses along the surface. Means and
quantiles are by area, and each scan counts the same. Scans that a run refuses are counted and left out; halves, profiles and
hands take part with `--kind all` alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import common
import located_scans
import numpy as np
from acceptance import fit_of, fits_folder, kept
from judged_fits import RUN
from located_scans import LocatedScan
from skin_regions import WHOLE, skin_regions, weighted_quantile

from geometry.mesh import TriangleMesh
from pipeline.scans import config, methods, steps
from pipeline.scans.chain import Step
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState

MESHES = ("clean_mesh", "laser", "photogrammetry")  # what they deliver is nearly clean; the others are depth cameras
ASKED_MM = {"meshes": 1.0, "depth cameras": 1.5}
FEWEST = 50  # vertices of a region in a scan of which a mean is made
SURFACES = ("coarse", "registered")


@dataclass(frozen=True)
class Row:
    """One accepted scan; seen (n,) bool: true vertices that its sensor saw; areas (n,) mm²; parts: of each of `SURFACES` (n, 2),
    mm along the true surface and normal to it, outward positive."""

    sensor: str
    number: int
    seen: np.ndarray
    areas: np.ndarray
    parts: Mapping[str, np.ndarray]

    def means(self, surface: str, region: np.ndarray) -> np.ndarray:
        """(5,) over the region (n,) bool where seen: mean, median and 90 % quantile of the distance, mean of its part along the
        surface and of that normal to it. NaN where hardly anything of it is seen."""
        chosen = self.seen & region
        if chosen.sum() < FEWEST:
            return np.full(5, np.nan)
        parts, areas = np.abs(self.parts[surface][chosen]), self.areas[chosen]
        distance = np.hypot(*parts.T)
        quantiles = [weighted_quantile(distance, areas, share) for share in (0.5, 0.9)]
        return np.array([np.average(distance, weights=areas), *quantiles, *np.average(parts, weights=areas, axis=0)])


def parts_of(found: np.ndarray, truth: TriangleMesh) -> np.ndarray:
    """Vertices (n, 3) against the truth's → (n, 2): how far they are off along its surface, and along its normals."""
    off, normals = found - truth.vertices, truth.vertex_normals
    normal = (off * normals).sum(1)
    return np.stack([np.linalg.norm(off - normal[:, None] * normals, axis=1), normal], axis=1)


def true_vertices(scan: LocatedScan, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) in the scan's frame, in the model's topology, and (n,) bool: whether the sensor saw them."""
    truth = scan.truth
    face, _ = located_scans.face_of(truth.number, truth.split, job)
    vertices = truth.pose.apply(face.mesh.vertices[: job.model.n_vertices])
    skin = np.flatnonzero(skin_regions(job.model)[WHOLE])
    seen = np.zeros(len(vertices), bool)
    seen[skin] = located_scans.seen(vertices[skin], face, truth.pose, scan.location.scan)
    return vertices, seen


def refine(state: ScanState, job: Job) -> ScanState:
    """One scan through the step that takes a batch."""
    return steps.refine([state], job)[0]


def walked(
    scan: LocatedScan, folder: Path, job: Job, chain: Sequence[Step] = (steps.rasterize, refine, steps.lift)
) -> ScanState | str:
    """The located scan, fitted and at the end of a chain, or why it does not come there; its fit is kept in the folder."""
    made = kept(folder / f"{scan.truth.number:05d}_{RUN}.pkl", partial(fit_of, scan, RUN, job))
    if isinstance(made, str):
        return made
    state = replace(ScanState.of(scan.location.scan), location=scan.location, scan=None, fit=made[0])
    walk = common.walk(chain, state, job)
    return walk.reason or walk.state


def row_of(state: ScanState, scan: LocatedScan, told: tuple[np.ndarray, np.ndarray], job: Job) -> Row:
    vertices, seen = told
    truth = TriangleMesh(state.scan_to_model.apply(vertices), job.model.triangles)
    parts = {"coarse": parts_of(state.fit.vertices, truth), "registered": parts_of(state.registered, truth)}
    return Row(scan.truth.sensor, scan.truth.number, seen, truth.vertex_areas, parts)


def rows_of(cache: Path, split: str, numbers: Sequence[int], job: Job) -> Iterator[Row | str]:
    """Of the scans of these numbers, or why a run refuses them."""
    fits, truths = cache / fits_folder(job, split), cache / f"vertices_{split}_{job.model.sha256[:12]}"
    for folder in (fits, truths):
        folder.mkdir(parents=True, exist_ok=True)
    for done, number in enumerate(numbers):
        scan = located_scans.generated(cache, split, number, job)
        state = scan.reason if scan.location is None else walked(scan, fits, job)
        if isinstance(state, str):
            yield state
        else:
            yield row_of(state, scan, kept(truths / f"{number:05d}.pkl", partial(true_vertices, scan, job)), job)
        if done % 20 == 19:
            common.say(f"{done + 1} of {len(numbers)} scans")


def groups_of(rows: Sequence[Any]) -> dict[str, list[Any]]:
    """Meshes, depth cameras and each sensor; those of which there are any. A row tells its `sensor`."""
    is_mesh = [row.sensor in MESHES for row in rows]
    groups = {name: [row for row, mesh in zip(rows, is_mesh) if mesh == clean] for name, clean in zip(ASKED_MM, (True, False))}
    groups |= {sensor: [row for row in rows if row.sensor == sensor] for sensor in sorted({row.sensor for row in rows})}
    return {name: members for name, members in groups.items() if members}


def means_of(rows: Sequence[Row], surface: str, region: np.ndarray) -> np.ndarray:
    """(5,) `Row.means` averaged over the scans that show the region; NaN where none does."""
    found = np.array([row.means(surface, region) for row in rows])
    shown = np.isfinite(found[:, 0])
    return found[shown].mean(0) if shown.any() else np.full(5, np.nan)


def table(title: str, lines: Mapping[str, tuple[int, Callable[[str], np.ndarray]]]) -> list[str]:
    """lines: label → how many scans, and a function of the surface → (5,)."""
    head = "".join(f"{name:>38s}" for name in SURFACES)
    columns = "".join(f"{name:>8s}" for name in ("mean", "median", "90 %", "along", "normal"))[2:]
    shown = [f"{title:16s}{'':6s}{head}", f"{'mm':16s}{'scans':>6s}" + f"{columns:>38s}" * len(SURFACES)]
    for label, (count, means) in lines.items():
        cells = "".join(f"{value:{width}.2f}" for surface in SURFACES for value, width in zip(means(surface), (6, 8, 8, 8, 8)))
        shown.append(f"{label:16s}{count:6d}{cells}")
    return shown


def report(rows: Sequence[Row], regions: Mapping[str, np.ndarray]) -> list[str]:
    """The whole face by sensor, then by region of meshes and of depth cameras."""
    groups = groups_of(rows)
    by_sensor = {name: (len(group), partial(means_of, group, region=regions[WHOLE])) for name, group in groups.items()}
    lines = table("face, by sensor", by_sensor)
    for group in (name for name in ASKED_MM if name in groups):
        by_region = {
            name: (len(groups[group]), partial(means_of, groups[group], region=region)) for name, region in regions.items()
        }
        lines += ["", *table(group, by_region)]
        reached = means_of(groups[group], "registered", regions[WHOLE])[0]
        lines.append(f"asked of {group}: a mean of {ASKED_MM[group]} mm; reached: {reached:.2f}")
    return lines


def main() -> None:
    parser = common.parser(__doc__, "--set", "--json")
    located_scans.add_choice(parser)
    parser.add_argument("--refine", choices=tuple(methods.REFINERS), help="instead of the configuration's refine.method")
    arguments = parser.parse_args()
    chosen = [f"refine.method={arguments.refine}"] if arguments.refine else []
    job = Job(config.load(settings=arguments.settings + chosen))
    numbers = located_scans.chosen(arguments)
    made = list(rows_of(arguments.cache, arguments.split, numbers, job))
    rows, regions = [row for row in made if isinstance(row, Row)], skin_regions(job.model)
    print(f"{len(made)} scans, {len(made) - len(rows)} of them refused")
    if not rows:
        return
    print("\n".join(report(rows, regions)))
    groups = groups_of(rows)
    figures = {
        group: {s: {name: means_of(groups[group], s, mask).tolist() for name, mask in regions.items()} for s in SURFACES}
        for group in groups
    }
    common.keep(figures, arguments.json)


if __name__ == "__main__":
    main()
