"""What the two benchmarks of correspondence measure, on surfaces where the answer is known."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from surfaces import grid_mesh

from geometry.mesh import TriangleMesh
from geometry.transforms import SimilarityTransform

TURN = SimilarityTransform(Rotation.from_rotvec([0.2, -0.1, 0.3]).as_matrix(), np.array([5.0, -3.0, 40.0]))


@pytest.fixture(scope="module")
def benchmark():
    """A function of a benchmark's name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
        yield importlib.import_module


@pytest.fixture
def sheet() -> TriangleMesh:
    """A flat sheet of 21 × 21 mm, facing z."""
    return grid_mesh(*np.meshgrid(np.arange(21.0), np.arange(21.0)))


def moved(mesh: TriangleMesh, shift: np.ndarray) -> TriangleMesh:
    """Turned and shifted as a head is between two scans, after its skin has moved by shift (n, 3)."""
    return mesh.with_vertices(TURN.apply(mesh.vertices + shift))


def test_vertices_are_carried_with_their_skin(benchmark, sheet):
    """Points between the vertices and 0.3 mm above the sheet go where a linear motion of the sheet takes their feet."""
    tool = benchmark("expression_correspondence")
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(1, 19, (50, 2)), np.full(50, 0.3)])
    stretched = lambda at: at * [1.2, 0.9, 1.0]
    way = tool.carried(points, sheet, sheet.with_vertices(stretched(sheet.vertices)))
    assert way.off_mm == pytest.approx(0.3, abs=1e-5)
    assert way.here == pytest.approx(points * [1, 1, 0], abs=1e-5)
    assert way.there == pytest.approx(stretched(points * [1, 1, 0]), abs=1e-5)


def test_motion_is_told_apart_from_the_heads(benchmark, sheet):
    """Skin of which a quarter moves by 4 mm while the head turns: with the rest held still it moved by that, and no other did."""
    tool = benchmark("expression_correspondence")
    quarter = (sheet.vertices[:, :2] < 10.5).all(1)
    way = tool.carried(sheet.vertices, sheet, moved(sheet, quarter[:, None] * [0.0, 0.0, 4.0]))
    motion = way.motion_mm(~quarter)
    assert motion[quarter] == pytest.approx(4.0, abs=1e-3)
    assert motion[~quarter] == pytest.approx(0.0, abs=1e-3)
    assert way.motion_mm(np.ones(len(quarter), bool)).max() < 4.0


def test_standing_still_is_a_ratio_of_one(benchmark, sheet):
    tool = benchmark("expression_correspondence")
    shift = np.zeros_like(sheet.vertices)
    shift[:, 0] = np.linspace(1, 3, len(shift))
    way = tool.carried(sheet.vertices, sheet, sheet.with_vertices(sheet.vertices + shift))
    still = np.linalg.norm(sheet.vertices - way.there, axis=1)
    all_of_it = np.ones(len(shift), bool)
    row = tool.medians(still, np.linalg.norm(shift, axis=1), {"face": all_of_it, "none": ~all_of_it})
    assert row["face"]["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert row["face"]["vertices"] == len(shift) and row["none"]["vertices"] == 0
    assert not tool.reached(row["face"]) and not tool.reached(row["none"])
    assert tool.reached({"error": 1.4, "motion": 3.0, "ratio": 0.47})
    assert not tool.reached({"error": 1.4, "motion": 2.0, "ratio": 0.7})


def test_errors_are_parted_along_the_surface_and_normal_to_it(benchmark, sheet):
    truth = sheet.with_vertices(TURN.apply(sheet.vertices))
    outward = TURN.inverse().apply_to_directions(truth.vertex_normals)
    parts = benchmark("correspondence").parts_of(TURN.apply(sheet.vertices + [3.0, 4.0, 0.0] - 2 * outward), truth)
    assert parts[:, 0] == pytest.approx(5.0) and parts[:, 1] == pytest.approx(-2.0)


def test_a_rows_means_are_by_area_over_what_was_seen(benchmark):
    """Half of the vertices seen, with a third of the area, are 3 mm off along the surface and 4 mm behind it, the others right;
    what the sensor did not see is 100 mm off."""
    tool = benchmark("correspondence")
    parts = np.repeat([[3.0, -4.0], [0.0, 0.0], [100.0, 0.0]], 60, axis=0)
    areas, seen = np.repeat([1.0, 2.0, 9.0], 60), np.repeat([True, True, False], 60)
    row = tool.Row("laser", 0, seen, areas, {"coarse": parts, "registered": 0 * parts})
    everything = np.ones(180, bool)
    assert row.means("coarse", everything) == pytest.approx([5 / 3, 0, 5, 1, 4 / 3])
    assert row.means("registered", everything) == pytest.approx(np.zeros(5))
    assert np.isnan(row.means("coarse", np.arange(180) < 20)).all()  # hardly anything of it


def test_scans_that_do_not_show_a_region_have_no_say_in_it(benchmark):
    tool = benchmark("correspondence")
    off = np.full((100, 2), [2.0, 0.0])
    seen, some = np.ones(100, bool), np.arange(100) < 60
    rows = [
        tool.Row("laser", 0, seen, np.ones(100), {"coarse": off}),
        tool.Row("laser", 1, ~some, np.ones(100), {"coarse": 3 * off}),
    ]
    assert tool.means_of(rows, "coarse", some)[0] == pytest.approx(2.0)
    assert np.isnan(tool.means_of(rows, "coarse", ~seen)).all()
    assert list(tool.groups_of(rows)) == ["meshes", "laser"]


def test_regions_hold_no_lining(benchmark):
    regions = benchmark("skin_regions").skin_regions
    masks = {"face": [1, 1, 1, 0], "eyes": [0, 1, 0, 0], "lids": [0, 1, 1, 0], "chin": [0, 0, 0, 1]}
    model = SimpleNamespace(n_vertices=4, regions={name: np.array(mask, bool) for name, mask in masks.items()})
    found = regions(model)
    assert set(found) == {"face", "lids"}  # of the chin nothing is in the face
    assert found["face"].tolist() == [True, False, True, False] and found["lids"].tolist() == [False, False, True, False]


@pytest.mark.parametrize(("share", "expected"), [(0.1, 1.0), (0.5, 3.0), (0.9, 3.0), (1.0, 3.0)])
def test_quantiles_are_by_weight(benchmark, share, expected):
    quantile = benchmark("skin_regions").weighted_quantile
    assert quantile(np.array([3.0, 1.0, 2.0]), np.array([6.0, 2.0, 2.0]), share) == expected
