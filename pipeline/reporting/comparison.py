"""A finished run against true surfaces: what each scan's meshes err, as a table.

The truth is a folder of meshes named like the sources (`a/b.png` ↔ `a/b.ply`, or `b.ply` where that name occurs once), in the
scans' own frame and unit. Nothing is aligned first (no degree of freedom): pose and scale errors count.
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from geometry import readers
from geometry.errors import ConfigError, ReadError
from geometry.evaluation import metrics
from geometry.mesh import TriangleMesh
from geometry.settings.printing import printable
from geometry.transforms import SimilarityTransform
from pipeline.reporting.metrics import inert
from pipeline.scans import manifest
from pipeline.store import storage

SURFACES = ("coarse", "refined", "registered")
NOSE_TIP = 30  # of iBUG-68, counted from 0
FIGURES = ("truth_to_surface_mm", "surface_to_truth_mm", "normal_angle_deg", "area_ratio")
MESH_SUFFIXES = (".ply", ".obj", ".stl", ".off", ".glb", ".gltf")


@dataclass(frozen=True)
class Comparison:
    """One scan against its truth: surface → geometry.evaluation.metrics.SurfaceErrors."""

    source: str
    status: str
    errors: Mapping[str, Any]


def load_run(out: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The manifest's lines and run.json ({} where a run was cut off before it). Raises ConfigError."""
    path = storage.join(out, "manifest.jsonl")
    if not storage.exists(path):
        raise ConfigError(f"--output {out}: holds no manifest.jsonl; give the --output of a finished run")
    try:
        lines = [json.loads(text) for text in storage.read_bytes(path).decode("utf-8").split("\n") if text.strip()]
        run_file = storage.join(out, "run.json")
        run = json.loads(storage.read_bytes(run_file)) if storage.exists(run_file) else {}
        if not isinstance(run, dict) or not all(map(manifest.is_line, lines)):
            raise ValueError("not all in them is a run's")
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--output {out}: manifest.jsonl or run.json is damaged ({error}); run the pipeline again") from error
    return lines, run


def compare(out: str, lines: Sequence[Mapping], truth: Path) -> list[Comparison]:
    """The scans that have a truth, in the manifest's order. Raises ConfigError where none has one, or one cannot be read."""
    if not truth.is_dir():
        raise ConfigError(f"--truth {truth}: is no folder; give one with meshes named like the sources")
    files = truth_files(truth)
    pairs = [(line, find_truth(line["source"], files)) for line in lines]
    found = [Comparison(line["source"], line["status"], scan_errors(out, line, path)) for line, path in pairs if path is not None]
    if not found:
        example = PurePosixPath(lines[0]["source"] if lines else "scan.png").with_suffix(".ply")
        raise ConfigError(
            f"--truth {truth}: none of its {len(files)} meshes is named like a source; expected, for example, {example}"
        )
    return found


def truth_files(folder: Path) -> dict[str, Path | None]:
    """Relative path without suffix → mesh file; also each bare name, None where several files share it."""
    meshes = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MESH_SUFFIXES)
    names = Counter(path.stem for path in meshes)
    found: dict[str, Path | None] = {path.stem: path if names[path.stem] == 1 else None for path in meshes}
    return found | {path.relative_to(folder).with_suffix("").as_posix(): path for path in meshes}


def find_truth(source: str, files: Mapping[str, Path | None]) -> Path | None:
    """The truth of `archive.zip!a/b.png` is a/b, else the only b."""
    member = PurePosixPath(source.rpartition("!")[2]).with_suffix("")
    return files.get(member.as_posix()) or files.get(member.name)


def scan_errors(out: str, line: Mapping, truth_path: Path) -> dict[str, Any]:
    """Surface → SurfaceErrors of one scan. What is not ok, or not there, costs the cap: leaving it out would reward failing."""
    errors = dict.fromkeys(SURFACES, metrics.FAILED)
    if line["status"] != "ok":
        return errors
    files = {key: storage.join(out, *path.split("/")) for key, path in line["files"].items()}
    if "fit" not in files:
        raise ConfigError(f"--output {out}: holds no surfaces (run with --stages landmarks?), and a truth is compared with these")
    fit, landmarks = (json.loads(storage.read_bytes(files[key])) for key in ("fit", "landmarks"))
    unit_mm = fit["unit_mm"]
    nose = nose_tip(landmarks, fit) * unit_mm
    truth = read_mesh(truth_path, unit_mm)
    for surface in SURFACES:
        if surface in files:
            mesh = read_mesh(storage.read_bytes(files[surface]), unit_mm, surface)
            # a model's topology may have a mouth cavity and eyeballs, which the truth lacks: one direction only
            errors[surface] = metrics.surface_errors(truth, mesh, nose, both_ways=surface == "refined")
    return errors


def nose_tip(landmarks: Mapping, fit: Mapping) -> np.ndarray:
    """(3,) in the scan's unit, about which surfaces are compared: the landmark of that name, or the model's origin where
    the scheme has none."""
    points, names = landmarks["points"], landmarks.get("names")
    position = NOSE_TIP if names is None else names.index("nose_tip") if "nose_tip" in names else None
    if position is not None and points[position] is not None:
        return np.array(points[position], float)
    return SimilarityTransform.from_matrix(np.array(fit["scan_to_model"])).inverse().apply(np.zeros((1, 3)))[0]


def read_mesh(file: Path | bytes, unit_mm: float, source: str | None = None) -> TriangleMesh:
    """A mesh file in the scan's unit → TriangleMesh in mm. Raises ConfigError where it cannot be read or is no mesh."""
    try:
        scan = readers.read(file, source=source, unit=unit_mm)
    except ReadError as error:
        raise ConfigError(f"--truth: {error}") from error
    if scan.is_cloud:
        raise ConfigError(f"--truth: {scan.source} holds no triangles; a truth is a mesh")
    return TriangleMesh(scan.points, scan.triangles)


def rows_of(table: Sequence[Comparison]) -> list[list[float]]:
    """One row per scan: for each of `SURFACES` the `FIGURES`; NaN for a direction that is not measured."""
    return [
        [value for surface in SURFACES for value in figures_of(entry.errors[surface], surface == "refined")] for entry in table
    ]


def figures_of(errors: Any, both_ways: bool) -> tuple[float, ...]:
    back, area = (errors.surface_to_truth, errors.area_ratio) if both_ways else (math.nan, math.nan)
    return errors.truth_to_surface, back, errors.normal_angle, area


def truth_csv(table: Sequence[Comparison]) -> str:
    """One row per scan in the manifest's order; a direction that is not measured is an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["source", "status", *(f"{surface}_{figure}" for surface in SURFACES for figure in FIGURES)])
    for entry, row in zip(table, rows_of(table), strict=True):
        writer.writerow([inert(entry.source), entry.status, *("" if math.isnan(value) else f"{value:.6g}" for value in row)])
    return buffer.getvalue()


def formatted(table: Sequence[Comparison]) -> str:
    """The table for a terminal: per surface mm from the truth, mm back to it, and degrees; then the mean over scans."""
    names = [printable(entry.source)[-40:] for entry in table] + [f"mean of {len(table)}"]
    rows = np.array(rows_of(table))
    rows = np.vstack([rows, rows.mean(0)]).reshape(len(names), len(SURFACES), len(FIGURES))
    lines = [f"{'':40s}" + "".join(f"{surface:>22s}" for surface in SURFACES)]
    for name, row in zip(names, rows, strict=True):
        cells = "".join(
            f"{there:8.3f}{'' if math.isnan(back) else f'{back:.3f}':>7s} {angle:5.1f}°" for there, back, angle, _ in row
        )
        lines.append(f"{name:40s}{cells}")
    lines.append(
        "truth to surface mm, surface to truth mm, angle between normals; nothing aligned; "
        "a scan that is not ok costs 20 mm and 90°"
    )
    return "\n".join(lines)
