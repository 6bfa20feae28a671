"""How far the written surfaces lie from the true skin, and whether their σ says so: simulated faces, each with its truth.

    python benchmarks/dense_surfaces.py --cache DIR                                      the test split
    python benchmarks/dense_surfaces.py --cache DIR --split validation --count 60        what settings may be chosen on
    python benchmarks/dense_surfaces.py --cache DIR --split validation --count 60 --constant dense_offsets.SLOPE_MM=0.2

Simulated scans of faces off the model, of subjects that no training saw (benchmarks/located_scans.py), fitted, encoded, judged
and refined as a run does, which is kept in DIR; then reconstructed, with a constant of a module of geometry.reconstruction set to
something else where one is named. By group and by region: `to`, the mean distance in mm from what the sensor saw of the true skin
to the surface; `from`, from the surface's observed vertices to the true skin; `angle`, in degrees, between the normals there;
`in σ`, the 68 % quantile of those distances in parts of the vertices' σ, which should be 1; and the same of the vertices that
were not observed, as far as they are of the face. Each scan counts the same. Scans that a run refuses are left out.
"""

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import common
import located_scans
import numpy as np
from acceptance import DECIDE_FITS, fingerprint, fits_folder, kept
from correspondence import ASKED_MM, groups_of, refine, walked
from located_scans import LocatedScan
from skin_regions import NAMES as SKIN
from skin_regions import WHOLE

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.reconstruction.dense_template import dense_template
from geometry.reconstruction.reconstruct import Reconstruction, reconstruct
from geometry.surfaces.closest_point import closest_points
from geometry.surfaces.raycasting import interpolate
from pipeline.scans import config, steps
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState

SURFACES = ("refined", "registered")
REGIONS = (WHOLE, *SKIN, "eyes", "nostrils", "ears")
FIGURES = ("to", "from", "angle", "in σ", "unseen, in σ")
POINTS = 12_000  # of the true skin, and of a surface's vertices
REACH_MM = 130.0  # about the nose
DECIDE_STATES = ("geometry/refinement", "geometry/recognition", "gan", "geometry/data/acceptance.json")  # besides a fit's code
FEWEST = 40  # points of a region of which a mean is made


@dataclass(frozen=True)
class Row:
    """One scan; figures: surface → region → of `FIGURES`, NaN where there is next to nothing."""

    sensor: str
    number: int
    figures: Mapping[str, Mapping[str, np.ndarray]]


def refined(scan: LocatedScan, folder: Path, job: Job) -> ScanState | str:
    """A located scan up to its refined image, or why a run refuses it; its fit is kept in the folder."""
    state = walked(scan, folder, job, (steps.rasterize, refine))
    return state if isinstance(state, str) else replace(state, evidence=None)


def true_skin(scan: LocatedScan, job: Job) -> tuple[TriangleMesh, np.ndarray]:
    """In the scan's frame, and (p, 3) vertices of it that the sensor saw."""
    truth = scan.truth
    face, _ = located_scans.face_of(truth.number, truth.split, job)
    skin = face.skin.with_vertices(truth.pose.apply(face.skin.vertices))
    near = np.flatnonzero(np.linalg.norm(face.skin.vertices, axis=1) < REACH_MM)
    near = np.intersect1d(near, skin.triangles)
    chosen = np.sort(np.random.default_rng(truth.number).permutation(near)[:POINTS])
    seen = located_scans.seen(skin.vertices[chosen], face, truth.pose, scan.location.scan)
    return skin, skin.vertices[chosen[seen]]


def figures_of(
    mesh: TriangleMesh, known: np.ndarray, sigma: np.ndarray, regions: np.ndarray, skin: TriangleMesh, seen: np.ndarray
):
    """mesh: a surface in the model frame; known (n,) bool: its observed vertices; sigma (n,) mm; regions (n, r + 1) bool, as of
    `masks_of`; skin and the points seen (p, 3) of it, model frame → (r, 5)."""
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.triangles] = True
    met = closest_points(seen, mesh)
    at = mesh.triangles[met.triangle, np.argmax(np.c_[1 - met.uv.sum(1), met.uv], axis=1)]
    near = np.flatnonzero(used & regions[:, -1] & (np.linalg.norm(mesh.vertices, axis=1) < REACH_MM))
    near = np.sort(np.random.default_rng(0).permutation(near)[: 3 * POINTS])
    back = closest_points(mesh.vertices[near], skin)
    normals = interpolate(skin.vertex_normals, skin.triangles[back.triangle], back.uv)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    angle = np.degrees(np.arccos(np.clip((normals * mesh.vertex_normals[near]).sum(1), -1, 1)))
    rows = []
    for region in regions.T[:-1]:
        to, told, untold = met.distance[region[at]], region[near] & known[near], region[near] & ~known[near]
        ratio = back.distance / sigma[near]
        parts = (to, back.distance[told], angle[told])
        means = [part.mean() if len(part) >= FEWEST else np.nan for part in parts]
        spreads = [np.quantile(ratio[part], 0.68) if part.sum() >= FEWEST else np.nan for part in (told, untold)]
        rows.append([*means, *spreads])
    return np.array(rows)


def masks_of(model: MorphableModel) -> dict[str, np.ndarray]:
    """Of each surface's vertices (n, r + 1) bool: those of `REGIONS`, and last of any of them."""
    whole = np.stack([model.regions[name] for name in REGIONS], axis=1)
    fine = dense_template(model).linear @ whole.astype(float) > 0.5
    skin = ~model.regions.get("cavities", np.zeros(model.n_vertices, bool))
    masks = {"refined": fine, "registered": whole & skin[:, None]}
    return {name: np.column_stack([mask, mask.any(axis=1)]) for name, mask in masks.items()}


def row_of(state: ScanState, made: Reconstruction, scan: LocatedScan, told, masks: Mapping[str, np.ndarray], job: Job) -> Row:
    skin, seen = told[0].with_vertices(state.scan_to_model.apply(told[0].vertices)), state.scan_to_model.apply(told[1])
    grown = len(made.refined.mesh.vertices) - len(masks["refined"])  # the inside of a mouth
    fine = np.concatenate([masks["refined"], np.zeros((grown, masks["refined"].shape[1]), bool)])
    outside = TriangleMesh(made.registered, job.model.triangles[masks["registered"][:, -1][job.model.triangles].all(axis=1)])
    figures = {
        "refined": figures_of(made.refined.mesh, made.refined.observed > 0, made.refined_sigma_mm, fine, skin, seen),
        "registered": figures_of(outside, made.observed > 0, made.sigma_mm, masks["registered"], skin, seen),
    }
    return Row(
        scan.truth.sensor, scan.truth.number, {name: dict(zip(REGIONS, each, strict=True)) for name, each in figures.items()}
    )


def rows_of(cache: Path, split: str, numbers: Sequence[int], job: Job) -> Iterator[Row]:
    fits = cache / fits_folder(job, split)
    decides = (job.config.fit, job.config.chart, job.config.refine, job.config.accept, job.model.sha256)
    states = cache / f"refined_{split}_{fingerprint(decides, (*DECIDE_FITS, *DECIDE_STATES))}"
    skins = cache / f"skins_{split}_{job.model.sha256[:12]}"
    for folder in (fits, states, skins):
        folder.mkdir(parents=True, exist_ok=True)
    masks = masks_of(job.model)
    for number in numbers:
        scan = located_scans.generated(cache, split, number, job)
        if scan.location is None:
            continue
        state = kept(states / f"{number:05d}.pkl", partial(refined, scan, fits, job))
        if isinstance(state, str):
            continue
        told = kept(skins / f"{number:05d}.pkl", partial(true_skin, scan, job))
        follow = job.config.refine.method != "none"
        made = reconstruct(job.model, state.fit, state.location.scan, state.refined, state.observed, follow)
        yield row_of(state, made, scan, told, masks, job)


def table(surface: str, groups: Mapping[str, Sequence[Row]]) -> list[str]:
    shown = [f"{surface:12s}" + "".join(f"{name + ' (' + str(len(group)) + ')':>52s}" for name, group in groups.items())]
    shown.append(f"{'':12s}" + ("{:>9s}{:>9s}{:>9s}{:>9s}{:>16s}".format(*FIGURES)) * len(groups))
    for region in REGIONS:
        cells = [np.nanmean([row.figures[surface][region] for row in group], axis=0) for group in groups.values()]
        shown.append(f"{region:12s}" + "".join("{:9.3f}{:9.3f}{:9.2f}{:9.2f}{:16.2f}".format(*cell) for cell in cells))
    return shown


def main() -> None:
    parser = common.parser(__doc__, "--set", "--json")
    located_scans.add_choice(parser)
    parser.add_argument("--constant", action="append", default=[], help="module.NAME=value of geometry.reconstruction")
    parser.add_argument("--sensors", action="store_true", help="every sensor by itself as well")
    arguments = parser.parse_args()
    for given in arguments.constant:
        (module, name), value = given.split("=")[0].split("."), json.loads(given.split("=", 1)[1])
        module = importlib.import_module(f"geometry.reconstruction.{module}")
        if not hasattr(module, name):
            parser.error(f"{module.__name__} has no {name}")
        setattr(module, name, tuple(value) if isinstance(value, list) else value)
    job = Job(config.load(settings=arguments.settings))
    rows = list(rows_of(arguments.cache, arguments.split, located_scans.chosen(arguments), job))
    groups = groups_of(rows)
    both = {name: group for name, group in groups.items() if name in ASKED_MM}
    for surface in SURFACES:
        print("\n".join(table(surface, both)))
        for sensor, group in groups.items() if arguments.sensors else ():
            values = np.nanmean([row.figures[surface][WHOLE] for row in group], axis=0)
            print(f"{sensor:16s}{len(group):4d}" + "".join(f"{value:9.3f}" for value in values))
    common.keep(
        [
            {
                "sensor": row.sensor,
                "number": row.number,
                "figures": {s: {r: v.tolist() for r, v in f.items()} for s, f in row.figures.items()},
            }
            for row in rows
        ],
        arguments.json,
    )


if __name__ == "__main__":
    main()
