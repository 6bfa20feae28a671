"""What the benchmarks of surfaces count, on meshes whose faults are known, and both of them on a run made by hand."""

import importlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sampled_faces import known_face, seen_scan
from surfaces import grid_mesh, sphere

from geometry.locating.cleaning import CleaningOptions
from geometry.mesh import TriangleMesh
from geometry.readers.ply_writer import write_ply
from geometry.scan import Scan

CORNER = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0]], float)


@pytest.fixture
def benchmark(monkeypatch):
    """The benchmark of a name, imported as it is when it is run."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def quality(benchmark):
    return benchmark("mesh_quality")


def flat(size: int = 20) -> TriangleMesh:
    """(size + 1)² points 1 mm apart in the plane z = 0, seen from above."""
    return grid_mesh(*np.meshgrid(*2 * [np.arange(size + 1.0)]))


def moved(mesh: TriangleMesh, vertex: int, place) -> TriangleMesh:
    vertices = mesh.vertices.copy()
    vertices[vertex] = place
    return mesh.with_vertices(vertices)


def test_two_triangles_that_cross_are_counted_and_two_apart_are_not(quality):
    across = CORNER[:, [2, 0, 1]] + [0.5, 0.3, -0.5]
    for other, count in ((across, 2), (across + [0, 0, 5], 0)):
        mesh = TriangleMesh(np.concatenate([CORNER, other]), np.arange(6).reshape(2, 3))
        assert quality.shape_of(mesh).crossing == count
        assert quality.shape_of(mesh).components == 2


def test_a_sphere_with_a_hole_has_one_loop_and_one_with_two_has_two(quality):
    whole = sphere(subdivisions=3)
    height = whole.vertices[:, 2] - whole.vertices[:, 2].mean()
    loops = [quality.shape_of(whole.submesh(kept)[0]).loops for kept in (height < 99, height < 50, np.abs(height) < 50)]
    assert loops == [0, 1, 2]


def test_triangles_folded_over_are_flipped_from_their_neighbours_and_from_the_mesh_before(quality):
    mesh = flat()
    middle = 10 * 21 + 10
    assert quality.shape_of(mesh).flipped == quality.turned_from(mesh, mesh).sum() == 0
    folded = moved(mesh, middle, [12.4, 10.3, 0.0])  # beyond the next vertex
    turned = quality.turned_from_neighbours(folded)
    assert turned.any()
    assert (turned == (folded.triangle_area_vectors[:, 2] < 0)).all()
    assert (turned == quality.turned_from(folded, mesh)).all()


def test_triangles_without_area_or_with_a_needles_angle_are_degenerate(quality):
    mesh = flat()
    middle = 10 * 21 + 10
    for place, count in (([10, 10, 0], 0), ([11, 10, 0], 2), ([10.999, 10, 0], 2)):
        assert quality.shape_of(moved(mesh, middle, place)).degenerate == count
    assert quality.shape_of(mesh).smallest_angle == pytest.approx(45)


def test_dihedral_angles_are_those_of_a_roof_and_none_beyond_the_region(quality):
    mesh = flat()
    roof = mesh.with_vertices(mesh.vertices + np.abs(mesh.vertices[:, :1] - 10) * [0, 0, -1])
    ridge = mesh.vertices[:, 0] == 10
    assert quality.dihedral_angles(roof, ridge) == pytest.approx(np.full(20, 90))
    assert quality.dihedral_angles(roof, mesh.vertices[:, 0] > 10).max() == pytest.approx(0, abs=1e-6)
    assert quality.dihedral_ratio(roof, roof, ridge) == 1


def test_half_of_a_surface_covers_half_of_it(quality):
    whole = sphere(subdivisions=4)
    points, normals = quality.surface_samples(whole, 20_000)
    outward = points - whole.vertices.mean(0)
    assert (normals * outward).sum(1) == pytest.approx(np.linalg.norm(outward, axis=1), rel=1e-3)
    half = whole.submesh(outward_height(whole) > 0)[0]
    assert quality.covered(points, half, 1.0) == pytest.approx(0.5, abs=0.03)
    assert quality.covered(points, whole, 1.0) == 1
    assert quality.covered(points, TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3))), 1.0) == 0


def outward_height(mesh: TriangleMesh) -> np.ndarray:
    return mesh.vertices[:, 2] - mesh.vertices[:, 2].mean()


def test_a_region_has_the_points_before_it_that_face_as_it_does(quality):
    mesh = flat()
    region = mesh.vertices[:, 0] <= 10
    up = [0, 0, 1.0]
    points = np.array([[5, 5, 1], [5, 5, 1], [15, 5, 1], [5, 5, 12.0]])
    normals = np.array([up, [0, 0, -1.0], up, up])
    assert quality.within_region(points, normals, mesh, region).tolist() == [True, False, False, False]


@pytest.fixture
def run(tmp_path):
    """A run of a scan in metres with surfaces as they should be, but for the chin of `refined.ply`, and of a rejected one."""
    face, out = known_face(3), tmp_path / "out"
    seen = seen_scan(face.scan_points / 1000)
    head = TriangleMesh(face.scan_points / 1000, face.mesh.triangles)
    refined = head.submesh(face.vertices[:, 1] > -40)[0]
    scans, folder = tmp_path / "scans", out / "scans" / "one"
    for made in (scans, folder):
        made.mkdir(parents=True)
    surface = TriangleMesh(seen.points, seen.triangles)
    files = {scans / "one.ply": surface, scans / "two.ply": surface}
    files |= {folder / f"{name}.ply": mesh for name, mesh in (("coarse", head), ("registered", head), ("refined", refined))}
    for path, mesh in files.items():
        with path.open("wb") as file:
            write_ply(file, mesh, unit_mm=1000.0)
    to_model = face.pose.inverse().matrix @ np.diag([1000, 1000, 1000, 1])
    (folder / "fit.json").write_text(json.dumps({"scan_to_model": to_model.tolist(), "unit_mm": 1000.0}))
    names = {name: f"scans/one/{name}.ply" for name in ("coarse", "registered", "refined")} | {"fit": "scans/one/fit.json"}
    lines = [{"scan_id": name, "source": f"{name}.ply", "status": "rejected", "files": {}} for name in ("one", "two")]
    lines[0] |= {"status": "ok", "files": names}
    (out / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = {"model": {"name": "default"}, "clean": asdict(CleaningOptions()), "input": {"unit": "auto"}}
    (out / "run.json").write_text(json.dumps({"input": str(scans), "config": config}))
    return out


def test_the_table_of_a_run_tells_what_lacks_and_nothing_else(benchmark, run, monkeypatch, capsys):
    table = benchmark("surface_quality")
    monkeypatch.setattr("sys.argv", ["surface_quality.py", str(run), "--json", str(run / "quality.json")])
    table.main()
    told = json.loads((run / "quality.json").read_text())
    (row,) = told["scans"]
    registered, refined = row["registered"], row["refined"]
    assert [registered[key] for key in ("flipped", "degenerate", "components", "loops")] == [0, 0, 1, 4]
    assert [registered[part] for part in ("lids", "lips", "nostrils")] == pytest.approx([1, 1, 1], abs=0.2)
    assert 0.75 < refined["within_1mm"] <= refined["within_3mm"] < 0.98
    assert told["all"]["registered"]["loops"] == 4
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4
    assert printed[2].startswith("one.ply ")
    assert printed[3].startswith("all 1 ")


def test_the_pictures_of_a_run_show_every_scan(benchmark, run, monkeypatch):
    pictures = benchmark("surface_pictures")
    for name, size in (("TILE", (60, 66)), ("ENLARGED", (60, 54)), ("SMALL", (40, 44))):
        monkeypatch.setattr(pictures, name, size)
    monkeypatch.setattr("sys.argv", ["surface_pictures.py", str(run), str(run / "pictures")])
    pictures.main()
    shown = {path.name: Image.open(path).convert("L") for path in (run / "pictures").iterdir()}
    assert sorted(shown) == ["one.png", "sheet-0.png", "two.png"]
    assert shown["one.png"].width == shown["two.png"].width == 3 * 60 + 4 * 14
    assert shown["one.png"].height > 5 * shown["two.png"].height / 2
    for image in shown.values():
        assert (np.asarray(image) < 200).mean() > 0.05


def test_a_cloud_is_shown_as_small_triangles_that_face_as_its_points_do(benchmark):
    pictures, points = benchmark("surface_pictures"), flat().vertices
    cloud = Scan(points, np.zeros((0, 3), np.int32), "cloud", "test", normals=np.tile([0, 0, 1.0], (len(points), 1)))
    mesh = pictures.scan_mesh(cloud, np.array([10, 10, 0.0]), 8.0)
    near = np.linalg.norm(points - [10, 10, 0], axis=1) < 8
    assert mesh.vertices[mesh.triangles].mean(1) == pytest.approx(points[near])
    assert (mesh.triangle_area_vectors[:, 2] > 0.5).all()
    assert np.abs(mesh.triangle_area_vectors[:, :2]).max() < 1e-9
