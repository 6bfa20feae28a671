"""Evaluation of a finished run: truth found by name, errors known in advance, failures charged, the report rewritten."""

import csv

import numpy as np
import pytest
from surfaces import grid_mesh

from geometry.errors import ConfigError
from geometry.evaluation.metrics import CAP_MM
from geometry.mesh import TriangleMesh
from geometry.readers.ply_writer import ply_bytes
from pipeline import evaluate
from pipeline.inputs.source import Source
from pipeline.reporting import comparison
from pipeline.scans import manifest
from pipeline.scans.files import FILE_NAMES
from pipeline.scans.state import ScanState
from pipeline.store import storage

FILES = ("coarse", "refined", "registered", "fit", "landmarks")


def plate(z=0.0, size=140.0, steps=36, scale=1.0):
    """A square that looks along +z, in mm × scale."""
    return grid_mesh(*np.meshgrid(*2 * [np.linspace(-size, size, steps) * scale]), z * scale)


def write_run(out, offsets, unit_mm=1.0, failed=()):
    """An OUT whose surfaces lie `offsets` (source → mm) before the truth; files in the unit given."""
    lines = [manifest.line(ScanState(Source(source, "")), "failed", "read", "truncated") for source in failed]
    for source, offset in offsets.items():
        scan = Source(source, "")
        paths = {key: f"scans/{scan.scan_id}/{FILE_NAMES[key]}" for key in FILES}
        at = {key: storage.join(out, *path.split("/")) for key, path in paths.items()}
        for key, factor in (("coarse", 2), ("refined", 1), ("registered", 3)):
            storage.write_bytes(at[key], ply_bytes(plate(offset * factor, scale=1 / unit_mm)))
        storage.write_json(at["fit"], {"unit_mm": unit_mm})
        storage.write_json(at["landmarks"], {"points": [[0.0, 0.0, 0.0]] * 68})
        lines.append(manifest.line(ScanState(scan, files=paths), "ok"))
    manifest.write(out, lines)
    return lines


def write_truth(folder, *names, unit_mm=1.0):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ply_bytes(plate(scale=1 / unit_mm)))


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out")


def test_a_known_offset_is_measured_in_both_directions_and_in_mm_whatever_the_unit(out, tmp_path, capsys):
    write_run(out, {"a.png": 0.5}, unit_mm=1000.0)
    write_truth(tmp_path / "truth", "a.ply", unit_mm=1000.0)
    assert evaluate.main(["--output", out, "--truth", str(tmp_path / "truth")]) == 0
    (row,) = csv.DictReader((tmp_path / "out" / "report" / "truth.csv").open())
    measured = ("coarse_truth_to_surface_mm", "refined_truth_to_surface_mm", "refined_surface_to_truth_mm")
    assert [float(row[key]) for key in measured] == pytest.approx([1.0, 0.5, 0.5], abs=1e-3)
    assert row["coarse_surface_to_truth_mm"] == "" and float(row["refined_normal_angle_deg"]) < 0.1
    assert "mean of 1" in capsys.readouterr().out


def test_the_nose_is_found_by_name_and_from_the_fit_where_the_scheme_lacks_it():
    fit = {"scan_to_model": [[1, 0, 0, -5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}
    points = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert comparison.nose_tip({"points": points, "names": ["chin", "nose_tip"]}, fit).tolist() == points[1]
    for content in ({"points": points, "names": ["chin", "brow"]}, {"points": [None, None], "names": ["chin", "nose_tip"]}):
        np.testing.assert_allclose(comparison.nose_tip(content, fit), [5.0, 0, 0])


def test_a_run_for_landmarks_alone_has_nothing_to_compare(out, tmp_path):
    (line,) = write_run(out, {"a.ply": 1.0})
    line["files"] = {"landmarks": line["files"]["landmarks"]}
    write_truth(tmp_path / "truth", "a.ply")
    with pytest.raises(ConfigError, match="holds no surfaces"):
        comparison.compare(out, [line], tmp_path / "truth")


def test_a_failed_scan_costs_the_cap_and_is_in_the_mean(out, tmp_path):
    write_truth(tmp_path / "truth", "a.ply", "b.ply")
    table = comparison.compare(out, write_run(out, {"a.ply": 1.0}, failed=("b.ply",)), tmp_path / "truth")
    assert [entry.errors["refined"].truth_to_surface for entry in table] == pytest.approx([CAP_MM, 1.0], abs=1e-3)
    assert f"{(1 + CAP_MM) / 2:.3f}" in comparison.formatted(table).splitlines()[-2]


def test_a_missing_surface_costs_the_cap(out, tmp_path):
    lines = write_run(out, {"a.ply": 1.0})
    del lines[0]["files"]["registered"]
    write_truth(tmp_path / "truth", "a.ply")
    (entry,) = comparison.compare(out, lines, tmp_path / "truth")
    assert entry.errors["registered"].truth_to_surface == CAP_MM


def test_truth_is_found_by_path_then_by_a_name_that_occurs_once(tmp_path):
    write_truth(tmp_path, "a/x.ply", "b/x.ply", "b/only.ply")
    files = comparison.truth_files(tmp_path)
    assert comparison.find_truth("a/x.png", files) == tmp_path / "a" / "x.ply"
    assert comparison.find_truth("archive.zip!b/x.obj", files) == tmp_path / "b" / "x.ply"
    assert comparison.find_truth("elsewhere/only.png", files) == tmp_path / "b" / "only.ply"
    assert comparison.find_truth("elsewhere/x.png", files) is None


@pytest.mark.parametrize(
    "name, instead, words",
    [
        ("out", None, "--output {out}: holds no manifest"),
        ("truth", None, ": is no folder; give one with meshes named like the sources"),
        ("truth/a.ply", None, "none of its 1 meshes is named like a source; expected, for example, a.ply"),
        ("truth/a.ply", b"ply\n", "--truth: a.ply"),
        ("truth/a.ply", ply_bytes(TriangleMesh(plate().vertices, np.zeros((0, 3)))), "--truth: a.ply holds no triangles"),
        ("out/manifest.jsonl", b"{", "--output {out}: manifest.jsonl or run.json is damaged"),
    ],
    ids=["no run", "no folder", "no match", "broken truth", "cloud truth", "broken manifest"],
)
def test_a_wrong_argument_is_named_with_a_remedy_and_ends_with_code_2(out, tmp_path, capsys, name, instead, words):
    write_run(out, {"a.ply": 1.0})
    write_truth(tmp_path / "truth", "a.ply", "other.ply")
    (tmp_path / name).rename(tmp_path / "away")
    if instead is not None:
        (tmp_path / name).write_bytes(instead)
    assert evaluate.main(["--output", out, "--truth", str(tmp_path / "truth")]) == 2
    message = capsys.readouterr().err
    assert "error: --" in message and words.format(out=out) in message and "Traceback" not in message


def test_without_truth_the_report_is_written_again(out, tmp_path):
    write_run(out, {"a.ply": 1.0})
    assert evaluate.main(["--output", out]) == 0
    first = (tmp_path / "out" / "report" / "index.html").read_bytes()
    assert evaluate.main(["--output", out]) == 0
    assert (tmp_path / "out" / "report" / "index.html").read_bytes() == first
    assert not (tmp_path / "out" / "report" / "truth.csv").exists()


def test_a_run_on_a_remote_filesystem_is_evaluated_too(memory_filesystem, tmp_path):
    out = f"{memory_filesystem}://bucket/out"
    write_run(out, {"a.ply": 0.25})
    write_truth(tmp_path, "a.ply")
    assert evaluate.main(["--output", out, "--truth", str(tmp_path)]) == 0
    assert b"a.ply" in storage.read_bytes(storage.join(out, "report", "index.html"))
    assert b"0.25" in storage.read_bytes(storage.join(out, "report", "truth.csv"))
