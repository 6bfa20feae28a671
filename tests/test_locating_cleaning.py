"""What leaves a scan before a face is sought in it, what stays, and which units it may be in."""

from dataclasses import replace

import numpy as np
import pytest
from sampled_faces import CAMERA, NO_TRIANGLES, mesh_scan
from surfaces import sphere

from geometry.errors import NoFaceFound
from geometry.locating.cleaning import CleaningOptions, clean
from geometry.locating.units import candidate_units
from geometry.scan import Scan
from geometry.surfaces.bulk import spans_of_bulk
from geometry.surfaces.normals import oriented_normals, plane_normals, voxel_downsampled, with_normals


def cloud(points: np.ndarray, unit_mm: float | None = 1.0) -> Scan:
    return mesh_scan(points, NO_TRIANGLES, unit_mm)


def on_a_sphere(count: int, seed: int = 0, radius: float = 100.0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True)


def test_a_million_points_are_thinned_evenly_within_the_same_bounds():
    points = on_a_sphere(1_000_000)
    options = CleaningOptions(max_points=40_000)
    few = clean(replace(cloud(points), colors=np.zeros((len(points), 3), np.uint8)), options)
    assert 0.3 * options.max_points < len(few.points) <= options.max_points
    assert np.isfinite(few.points).all() and len(few.colors) == len(few.points)
    np.testing.assert_allclose(few.points.min(0), points.min(0), atol=2.0)
    np.testing.assert_allclose(few.points.max(0), points.max(0), atol=2.0)
    octants = np.bincount((few.points > 0) @ [1, 2, 4], minlength=8)
    assert octants.min() > 0.8 * octants.max()
    assert any("thinned from 1000000" in note for note in few.notes)


def test_thinning_survives_a_spike_far_away():
    points = on_a_sphere(60_000)
    points[7] = [1e6, 1e6, -1e6]
    few = clean(cloud(points), CleaningOptions(max_points=20_000))
    assert len(few.points) > 5_000 and np.abs(few.points).max() < 101


@pytest.mark.filterwarnings("error")
def test_thinning_survives_points_on_a_line():
    line = np.zeros((3_000, 3))
    line[:, 0] = np.arange(3_000.0)
    assert 100 <= len(clean(cloud(line), CleaningOptions(max_points=1_000)).points) <= 1_000


def test_a_point_that_a_cloud_repeats_counts_once():
    """Many at one place, as a sensor's "nothing here", took time with the square of their number: 200,000 of them two minutes."""
    surface, nothing = on_a_sphere(5_000), np.zeros((150_000, 3))
    points = np.concatenate([nothing, surface, nothing, surface[:10]])
    colors = np.arange(len(points), dtype=np.uint32)[:, None] % 251 * np.ones(3, np.uint32)
    kept = clean(replace(cloud(points), colors=colors.astype(np.uint8)))
    assert np.array_equal(kept.points, surface) and np.array_equal(kept.colors, colors[150_000:155_000])
    assert kept.notes == ("300009 repeated points dropped", "1 lone points dropped")
    assert clean(cloud(surface)).notes == ()


def test_points_far_from_the_origin_are_no_repeats_of_each_other():
    """Coordinates of maps, whose sums are alike where they are not."""
    points = 5e6 + np.random.default_rng(0).uniform(0, 0.3, (400_000, 3))
    points = np.concatenate([points, points[:7]])
    kept = clean(cloud(points), CleaningOptions(outlier_neighbours=1, outlier_factor=1e6, max_points=10**6))
    assert np.array_equal(kept.points, points[:-7]) and kept.notes == ("7 repeated points dropped",)


def test_a_cloud_of_one_point_is_refused_at_once():
    with pytest.raises(NoFaceFound, match="only 1 usable points"):
        clean(cloud(np.ones((300_000, 3))))


def test_lone_points_are_dropped_and_the_surface_stays():
    surface, lone = on_a_sphere(20_000), np.random.default_rng(1).uniform(-600, 600, (60, 3))
    lone = lone[np.abs(np.linalg.norm(lone, axis=1) - 100) > 60]
    kept = clean(cloud(np.concatenate([surface, lone]))).points
    assert len(kept) == len(surface) and np.allclose(np.linalg.norm(kept, axis=1), 100)


def test_points_that_a_file_repeats_do_not_make_the_others_lone():
    repeated = np.repeat(on_a_sphere(500), 10, axis=0)
    once = on_a_sphere(3_000, seed=2)
    assert len(clean(cloud(np.concatenate([repeated, once]))).points) == 500 + len(once)


def test_depth_beyond_the_range_of_face_capture_is_background():
    depth = np.full((240, 240), 3000.0)
    depth[80:160, 80:160] = 600.0
    scan = clean(Scan.from_depth(depth, CAMERA, "room", "test"))
    assert len(scan.pixels) == len(scan.points) == 80 * 80 and scan.points[:, 2].max() == 600
    assert any("beyond 1600 mm" in note for note in scan.notes)


@pytest.mark.parametrize(
    ("scan", "usable"),
    [
        (cloud(on_a_sphere(5)), 5),
        (Scan.from_depth(np.full((240, 240), 5000.0), CAMERA, "far wall", "test"), 0),
        (cloud(np.zeros((0, 3))), 0),
    ],
    ids=["five points", "far wall", "no points"],
)
def test_a_scan_with_nothing_in_it_is_no_face(scan, usable):
    with pytest.raises(NoFaceFound, match=f"only {usable} usable points"):
        clean(scan)


@pytest.mark.parametrize(("longest", "first"), [(240.0, 1.0), (0.24, 1000.0), (24.0, 10.0)])
def test_a_head_sized_scan_is_first_taken_in_the_unit_that_makes_it_a_head(longest, first):
    assert candidate_units(cloud(on_a_sphere(1000, radius=longest / 2), unit_mm=None))[0] == (first, True)


def test_inches_are_among_the_candidates_of_a_head_of_ten():
    assert (25.4, True) in candidate_units(cloud(on_a_sphere(1000, radius=5.0), unit_mm=None))


def test_every_scan_of_some_size_may_have_no_unit_at_all():
    units = candidate_units(cloud(on_a_sphere(1000, radius=1e-4), unit_mm=None))
    assert units and all(not is_metric for _, is_metric in units)
    sizes = [2e-4 * unit_mm for unit_mm, _ in units]
    assert min(sizes) < 200 and max(sizes) > 300


def test_metric_units_come_before_free_scales_and_none_comes_twice():
    units = candidate_units(cloud(on_a_sphere(1000, radius=120.0), unit_mm=None))
    flags = [is_metric for _, is_metric in units]
    assert flags == sorted(flags, reverse=True) and len(set(units)) == len(units)


def test_a_known_unit_is_the_only_candidate_and_a_point_has_none():
    assert candidate_units(cloud(on_a_sphere(100), unit_mm=25.4)) == [(25.4, True)]
    assert candidate_units(cloud(np.zeros((50, 3)), unit_mm=None)) == []


HEAD = sphere(120.0, subdivisions=5)
FAR = np.array([[20_000.0, -5_000.0, 300.0]])


@pytest.mark.parametrize("strays", [FAR, 1e6 * FAR, np.random.default_rng(0).uniform(-5e3, 5e3, (200, 3))], ids=len)
@pytest.mark.parametrize("kind", ["lone vertices", "spikes", "cloud"])
def test_what_strays_from_a_head_does_not_change_its_units(kind, strays):
    points, first = np.concatenate([HEAD.vertices, strays]), len(HEAD.vertices)
    spikes = [[0, 1, first + k] for k in range(len(strays))] if kind == "spikes" else np.zeros((0, 3), int)
    triangles = NO_TRIANGLES if kind == "cloud" else np.concatenate([HEAD.triangles, spikes])
    known = candidate_units(mesh_scan(HEAD.vertices, HEAD.triangles, unit_mm=None))
    assert candidate_units(mesh_scan(points, triangles, unit_mm=None)) == known
    assert known[0] == (1.0, True)


def test_what_no_triangle_has_does_not_count_however_much_of_it_there_is():
    points = np.concatenate([HEAD.vertices, np.repeat(FAR, 3 * len(HEAD.vertices), axis=0)])
    assert candidate_units(mesh_scan(points, HEAD.triangles, unit_mm=None))[0] == (1.0, True)


def test_the_bulk_of_an_even_surface_is_all_of_it_and_of_a_bust_its_shoulders_too():
    points = on_a_sphere(5_000)
    np.testing.assert_array_equal(spans_of_bulk(points), np.ptp(points, axis=0))
    bust = np.concatenate([points, on_a_sphere(1_500, 1, 220.0) * [1, 0.3, 0.5] - [0, 200, 0]])
    np.testing.assert_array_equal(spans_of_bulk(bust), np.ptp(bust, axis=0))
    assert not spans_of_bulk(np.zeros((0, 3))).any() and not spans_of_bulk(np.ones((5, 3))).any()


def test_a_stray_point_does_not_turn_the_normals_of_a_cloud():
    points = on_a_sphere(5_000)
    normals = oriented_normals(cloud(np.concatenate([points, 20 * FAR])))[:-1]
    assert ((normals * points).sum(1) / 100 > 0.9).mean() > 0.999


def test_normals_of_a_bare_cloud_point_outward():
    points = on_a_sphere(5_000)
    assert ((oriented_normals(cloud(points)) * points).sum(1) / 100 > 0.9).mean() > 0.999


@pytest.mark.parametrize("order", [1, -1])
def test_normals_of_a_mesh_point_to_the_side_that_its_triangles_face(order):
    ball = sphere(50.0, (200.0, 0.0, 0.0), 4)
    scan = mesh_scan(ball.vertices, ball.triangles[:, ::order])
    outward = (ball.vertices - [200, 0, 0]) / 50
    assert ((oriented_normals(scan) * outward).sum(1) * order > 0.99).all()
    from_elsewhere = replace(scan, normals=-order * outward)  # of a file: a surface has its own
    assert ((with_normals(from_elsewhere).normals * outward).sum(1) * order > 0.99).all()


@pytest.mark.parametrize("order", [1, -1])
def test_a_clean_mesh_is_left_as_it_is_and_not_turned_before_it_is_known_why_it_is_inside_out(order):
    ball = sphere(50.0, subdivisions=4)
    scan = mesh_scan(ball.vertices, ball.triangles[:, ::order])
    assert clean(scan) is scan


def test_normals_of_planes_are_found_for_some_of_the_points():
    points = on_a_sphere(5_000)
    at = np.arange(0, 5_000, 7)
    normals = plane_normals(points, at)
    assert (np.abs((normals * points[at]).sum(1)) / 100 > 0.99).mean() > 0.95
    np.testing.assert_array_equal(normals, plane_normals(points)[at])


def test_normals_of_a_depth_image_face_the_camera():
    rows, columns = np.mgrid[:240, :240]
    scan = Scan.from_depth(500.0 + 0.3 * columns, CAMERA, "plane", "test")
    normals = oriented_normals(scan)
    assert ((normals * scan.points).sum(1) < 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0)


def test_given_normals_are_kept():
    scan = replace(cloud(on_a_sphere(200)), normals=np.tile([0, 0, 1.0], (200, 1)))
    assert with_normals(scan) is scan


def test_a_grid_cell_gives_the_mean_of_its_points_and_a_unit_normal():
    points = np.array([[0.1, 0.1, 0.1], [0.3, 0.5, 0.1], [5.1, 0.1, 0.1]])
    normals = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    means, directions = voxel_downsampled(points, normals, 2.0)
    np.testing.assert_allclose(means, [[0.2, 0.3, 0.1], [5.1, 0.1, 0.1]])
    np.testing.assert_allclose(directions, [[np.sqrt(0.5), np.sqrt(0.5), 0], [0, 0, 1]])
