"""Refiners and the surfaces they must beat, in one table: on the simulated depth images of --shared/bench and on synthetic pairs.

    python benchmarks/refinement.py --work runs/refinement --pairs 'runs/pairs/test-*.tfrecord.gz' --weights default runs/refiner

**Bench.** Every scan is read, located, fitted and encoded once, as `pipeline.run` does it, and kept under --work; every method
starts from there, and its surface, in the scan's frame, is what `score.py`'s own `score_surface` measures: both ways, but for
coarse and amberg (marked →), whose topology is the model's, truth → surface only. A refined surface is that of the run's
refined.ply. **Pairs.** Mean |depth error| and mean angle between normals as in `gan/refiner/validation.py`, over the pixels that
the scan observes (within 15 mm of the fit) and whose truth is known; mean over pairs.

Detail: curvature within 6–20 mm (bench) and 2–8 mm (pairs) of wavelength against the truth's, RMS error in 1/m and correlation
(`geometry.evaluation.curvature_error`: which band, which filter), over observed pixels where the scan shows the skin (within its
noise of the truth); of a refined pair, that of the fused depth, which is lifted. Where a method has no surface, the coarse one
stands in. Seconds: of processor time, a method's own; reading, fitting and encoding come on top.
"""

import argparse
import functools
import pathlib
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import SimpleNamespace

import baselines
import common
import numpy as np
from common import say
from refinement_cases import (
    BenchScan,
    Pair,
    bench_groups,
    bench_scans,
    near_fit,
    on_skin,
    pair_error,
    pair_groups,
    pairs_of,
    score_module,
)

from geometry.charts.geometry_image import channel_normals
from geometry.charts.rasterize import rasterize
from geometry.evaluation.curvature_error import Band, DetailError, detail_error
from geometry.fitting import encoding
from geometry.mesh import TriangleMesh
from geometry.reconstruction import lifting
from geometry.reconstruction.depth_normal_fusion import fuse
from geometry.reconstruction.reconstruct import reconstruct
from pipeline.scans import config, files, methods, steps
from pipeline.scans.job import Job

BENCH_BAND, PAIRS_BAND = Band(6.0, 20.0), Band(2.0, 8.0)
ONE_WAY = ("coarse", "amberg")
WORSE = 1.05
NO_DETAIL = DetailError(float("nan"), float("nan"), float("nan"), 0)
KEYS = ("distance", "angle", "detail_rms", "detail_correlation", "detail_truth_rms", "seconds")


@dataclass(frozen=True)
class Method:
    """A row. mesh: BenchScan → its surface in the scan's frame; image: Pair → depth (h, w), normals (h, w, 3), the depth whose
    detail counts (h, w)."""

    name: str
    mesh: Callable[[BenchScan], TriangleMesh]
    image: Callable[[Pair], tuple[np.ndarray, np.ndarray, np.ndarray]]


def main() -> None:
    parser = common.parser(__doc__, "--shared", "--limit", "--set", "--json")
    add = parser.add_argument
    add("--work", type=pathlib.Path, default=common.ROOT / "runs" / "refinement", help="folder for the encoded bench scans")
    add("--scans", default="", help="only bench scans whose name contains this")
    add("--no-bench", action="store_true", help="only the pairs")
    add("--pairs", nargs="+", default=[], help="files or globs of synthetic pairs, test-*.tfrecord.gz")
    add("--weights", nargs="*", default=["default"], help="names or files of generators")
    add("--skip", nargs="*", default=[], help="methods to leave out, such as amberg (10 s a scan) or poisson")
    add("--amberg-pairs", type=int, default=0, help="amberg on the first N pairs (default: none, it is slow)")
    arguments = parser.parse_args()
    score = score_module(arguments.shared / "bench" / "score.py")
    rows = all_methods(arguments, score)
    results = {
        "bench": [] if arguments.no_bench else bench_results(rows, arguments, score),
        "pairs": pair_results(rows, arguments) if arguments.pairs else [],
    }
    for kind, found in results.items():
        if found:
            print(report(kind, found) + "\n")
    common.keep(results, arguments.json)


# the methods


def all_methods(arguments: argparse.Namespace, score) -> list[Method]:
    rows = [
        Method("raw", lambda s: raw_mesh(s, s.depth, score), lambda p: baselines.plain(p.scan)),
        Method(
            "bilateral",
            lambda s: raw_mesh(s, baselines.filtered_head(s.depth, s.item.location.scan), score),
            baselines.bilateral_image,
        ),
        Method("poisson", poisson_mesh, baselines.poisson_image),
        Method("amberg", amberg_mesh, baselines.amberg_image),
        Method("coarse", coarse_mesh, lambda p: baselines.plain(p.coarse)),
        refiner("smooth", {"method": "smooth"}),
        *(refiner(f"refined {label(weights)}", {"method": "gan", "weights": weights}) for weights in arguments.weights),
    ]
    return [row for row in rows if row.name not in arguments.skip]


def label(weights: str) -> str:
    path = pathlib.Path(weights)
    return "/".join(path.parts[-2:]).removesuffix(".weights.h5") if path.exists() else weights


def refiner(name: str, settings: dict) -> Method:
    @functools.cache
    def refine():
        return methods.REFINERS[settings["method"]](config.RefineConfig(**settings))

    def mesh(scan: BenchScan) -> TriangleMesh:
        (item,) = steps.refine([scan.item], SimpleNamespace(refine=refine()))  # type: ignore[arg-type]  # all it asks of a Job
        follow = settings["method"] != "none"
        made = reconstruct(scan.model, item.fit, item.location.scan, item.refined, item.observed, follow)
        return files.in_input(made.refined.mesh, item)

    def image(pair: Pair):
        (refined,) = refine()([(pair.coarse, pair.scan)])
        depth, normals = refined["depth"].astype(float), channel_normals(refined)
        return depth, normals, fuse(depth, normals, refined.valid_mask, refined.chart, lifting.LiftingOptions().fusion)

    return Method(name, mesh, image)


def raw_mesh(scan: BenchScan, depth: np.ndarray, score) -> TriangleMesh:
    return TriangleMesh(*score.triangulated_depth(depth, scan.camera, scan.score_args[3]))


def coarse_mesh(scan: BenchScan) -> TriangleMesh:
    # the model's every vertex, as coarse.ply has it
    return files.in_input(TriangleMesh(scan.item.fit.vertices, scan.model.triangles), scan.item)


def poisson_mesh(scan: BenchScan) -> TriangleMesh:
    surface = encoding.scan_surface(scan.item.location.scan, scan.item.fit, scan.model)
    near = np.linalg.norm(surface.vertices, axis=1) < baselines.TEMPLATE_RADIUS_MM
    near &= np.linalg.norm(surface.vertex_normals, axis=1) > 0.5
    return files.in_input(baselines.poisson(surface.vertices[near], surface.vertex_normals[near]), scan.item)


def amberg_mesh(scan: BenchScan) -> TriangleMesh:
    surface = encoding.scan_surface(scan.item.location.scan, scan.item.fit, scan.model)
    return files.in_input(baselines.amberg(baselines.face_template(scan.item.fit.vertices, scan.model), surface), scan.item)


def bench_results(rows: list[Method], arguments: argparse.Namespace, score) -> list[dict]:
    found = []
    job = Job(config.load(settings=arguments.settings))
    for scan in bench_scans(arguments.shared / "bench", score, job, arguments.work, arguments.scans):
        for method in rows:
            start = time.process_time()
            if scan.item is None and method.name != "raw":
                found.append(record(scan.name, bench_groups(scan.name), method, score.FAILED, NO_DETAIL, 0.0))
                continue
            mesh = method.mesh(scan)
            seconds = time.process_time() - start
            distance, angle, _ = score.score_surface(
                *scan.score_args, mesh.vertices, mesh.triangles, both_ways=method.name not in ONE_WAY
            )
            detail = NO_DETAIL if scan.item is None else bench_detail(mesh, scan)
            found.append(record(scan.name, bench_groups(scan.name), method, (distance, angle), detail, seconds))
        say(f"{scan.name}: " + ", ".join(f"{row['method']} {row['distance']:.3f}" for row in found[-len(rows) :]))
    return found


def bench_detail(mesh: TriangleMesh, scan: BenchScan) -> DetailError:
    coarse, seen = scan.item.encoding.coarse, scan.item.encoding.scan
    mesh = mesh.with_vertices(scan.item.fit.scan_to_model.apply(mesh.vertices))
    image = baselines.over_coarse(rasterize(mesh, coarse.chart), coarse)
    observed = near_fit(coarse, seen) & near_fit(coarse, scan.truth)
    skin = on_skin(seen, scan.truth, observed)
    return detail_error(image["depth"], scan.truth["depth"], observed, skin, coarse.chart, BENCH_BAND)


def pair_results(rows: list[Method], arguments: argparse.Namespace) -> list[dict]:
    found = []
    for number, pair in enumerate(pairs_of(arguments.pairs, arguments.limit)):
        skin = on_skin(pair.scan, pair.truth, pair.observed)
        for method in rows:
            if method.name == "amberg" and number >= arguments.amberg_pairs:
                continue
            start = time.process_time()
            depth, normals, detailed = method.image(pair)
            seconds = time.process_time() - start
            detail = detail_error(detailed, pair.truth["depth"], pair.observed, skin, pair.scan.chart, PAIRS_BAND)
            found.append(record(pair.name, pair_groups(pair.sensor), method, pair_error(depth, normals, pair), detail, seconds))
        say(f"{number + 1} {pair.name} {pair.sensor}")
    return found


# the tables


def record(name: str, groups: list[str], method: Method, error: tuple, detail: DetailError, seconds: float) -> dict:
    """One method on one scan."""
    row = {"name": name, "groups": groups, "method": method.name, "distance": float(error[0]), "angle": float(error[1])}
    return row | {f"detail_{key}": value for key, value in asdict(detail).items()} | {"seconds": seconds}


def means(found: list[dict], key: str) -> dict[tuple[str, str], float]:
    """(method, group) → mean of `key` over the group's scans that have it."""
    values = defaultdict(list)
    for row in found:
        for group in row["groups"]:
            values[row["method"], group].append(row[key])
    return {at: float(np.nanmean(part)) if np.isfinite(part).any() else float("nan") for at, part in values.items()}


def report(kind: str, found: list[dict]) -> str:
    """The table of one set as text. A scan's first call loads and traces the networks: seconds are medians."""
    names = list(dict.fromkeys(row["method"] for row in found))
    groups = ordered_groups(found)
    mean = {key: means(found, key) for key in KEYS}
    shown = [group for group in groups if " " not in group]
    header = "".join(f"{group:>18s}" for group in shown)
    lines = [title(kind, found), f"{'':26s}{header}{'detail, all':>18s}{'seconds':>9s}{'scans':>7s}"]
    for name in names:
        arrow = " →" if kind == "bench" and name in ONE_WAY else ""
        cells = "".join(error_cell(mean, (name, group)) for group in shown) + detail_cell(mean, (name, "all"))
        seconds = [row["seconds"] for row in found if row["method"] == name]
        lines.append(f"{name + arrow:26s}{cells}{np.median(seconds):9.2f}{len(seconds):7d}")
    lines.append(f"{'detail by group':26s}{header}")
    lines += [f"{name:26s}" + "".join(detail_cell(mean, (name, group)) for group in shown) for name in names]
    own = "".join(f"{1000 * mean['detail_truth_rms'].get((names[0], group), np.nan):11.2f}{'':7s}" for group in shown)
    lines += [f"{'the truth itself, RMS':26s}{own}", *ratio_lines(names, groups, mean)]
    return "\n".join(lines + (worse_lines(names, found) if kind == "bench" else []))


def error_cell(mean: dict, at: tuple[str, str]) -> str:
    return f"{mean['distance'][at]:8.3f} mm {mean['angle'][at]:5.1f}°" if at in mean["distance"] else f"{'–':>18s}"


def detail_cell(mean: dict, at: tuple[str, str]) -> str:
    """RMS error in 1/m and correlation."""
    unknown = float("nan")
    return f"{1000 * mean['detail_rms'].get(at, unknown):11.2f} {mean['detail_correlation'].get(at, unknown):6.3f}"


def title(kind: str, found: list[dict]) -> str:
    count, band = len({row["name"] for row in found}), BENCH_BAND if kind == "bench" else PAIRS_BAND
    what = f"bench, {count} scans, score.py's figures" if kind == "bench" else f"{count} synthetic pairs, observed pixels"
    return f"{what}; detail: curvature in {band.shortest_mm:g}–{band.longest_mm:g} mm, RMS error in 1/m and correlation"


def ordered_groups(found: list[dict]) -> list[str]:
    groups = {group for row in found for group in row["groups"]}
    order = ("truedepth", "kinect_v1", "tof", "time_of_flight", "clean_mesh", "others", "all", "individuals", "averages")
    return sorted(groups, key=lambda group: (group.count(" "), order.index(group.split()[0]), group))


def ratio_lines(names: list[str], groups: list[str], mean: dict) -> list[str]:
    """Refined over smooth, distance and angle."""
    if "smooth" not in names:
        return []
    lines = [f"{'refined ÷ smooth, mm / °':26s}" + "".join(f"{group.replace(' ', ' – '):>26s}" for group in groups)]
    for name in (name for name in names if name.startswith("refined")):
        ratios = (tuple(mean[key][name, group] / mean[key]["smooth", group] for key in ("distance", "angle")) for group in groups)
        lines.append(f"{name:26s}" + "".join(f"{distance:19.2f} / {angle:.2f}" for distance, angle in ratios))
    return lines


def worse_lines(names: list[str], found: list[dict]) -> list[str]:
    """Scans on which a refined surface is worse than the better of raw, coarse and smooth by more than 5 %."""
    at = {(row["method"], row["name"]): row for row in found}
    simple = [name for name in ("raw", "coarse", "smooth") if name in names]
    scans = list(dict.fromkeys(row["name"] for row in found))
    lines = []
    for name in (name for name in names if name.startswith("refined") and simple):
        for key in ("distance", "angle"):
            ratio = {scan: at[name, scan][key] / min(at[other, scan][key] for other in simple) for scan in scans}
            worse = [f"{scan} ×{value:.2f}" for scan, value in ratio.items() if value > WORSE]
            where = f"on {len(worse)} of {len(scans)}" + (f": {', '.join(worse)}" if worse else "")
            lines.append(f"{name}: {key} worse than the better of {', '.join(simple)} by more than 5 % {where}")
    return lines


if __name__ == "__main__":
    main()
