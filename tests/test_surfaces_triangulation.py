"""Pixel grids and bare clouds as surfaces: toward the camera, and never across a jump."""

import numpy as np
import pytest
from sampled_faces import CAMERA, NO_TRIANGLES, mesh_scan

from geometry.mesh import TriangleMesh
from geometry.scan import Scan
from geometry.surfaces.triangulation import FLOOR_MM, cloud_triangles, grid_triangles, surface_of

COLUMNS = np.tile(np.arange(240), (240, 1))


def depth_surface(depth: np.ndarray) -> tuple[Scan, TriangleMesh]:
    scan = Scan.from_depth(depth, CAMERA, "depth", "test")
    return scan, surface_of(scan)


def cloud_surface(points: np.ndarray) -> TriangleMesh:
    return TriangleMesh(points, cloud_triangles(points, points[:, :2]))


def longest_edges(mesh: TriangleMesh) -> np.ndarray:
    corners = mesh.vertices[mesh.triangles]
    return np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)


def test_a_plane_becomes_two_triangles_a_pixel_cell_all_toward_the_camera():
    scan, mesh = depth_surface(500.0 + 0.5 * COLUMNS)
    assert len(mesh.triangles) == 2 * 239 * 239 and mesh.is_edge_manifold
    assert ((mesh.triangle_area_vectors * mesh.vertices[mesh.triangles].mean(1)).sum(1) < 0).all()
    box = np.linalg.norm(np.diff(scan.points[[0, 239]], axis=0)) * np.ptp(scan.points[:, 1])
    assert mesh.vertex_areas.sum() == pytest.approx(box, rel=0.15)


def test_no_triangle_bridges_a_depth_jump():
    depth = np.full((240, 240), 900.0)
    depth[60:180, 60:180] = 600.0
    _, mesh = depth_surface(depth)
    assert np.ptp(mesh.vertices[mesh.triangles][:, :, 2], axis=1).max() == 0
    assert len(set(mesh.component_labels[np.unique(mesh.triangles)])) == 2


@pytest.mark.parametrize("unit_mm", [1.0, 10.0, 1000.0], ids=["mm", "cm", "m"])
def test_in_an_open_unit_no_triangle_bridges_a_depth_jump_either(unit_mm):
    """An organized cloud whose file does not say its unit: a length in mm means nothing to its coordinates."""
    depth = np.full((240, 240), 900.0)
    depth[60:180, 60:180] = 600.0
    known = Scan.from_depth(depth, CAMERA, "depth", "test")
    cloud = Scan(known.points / unit_mm, NO_TRIANGLES, "cloud", "test", pixels=known.pixels, raster_shape=(240, 240))
    mesh = surface_of(cloud)
    assert len(mesh.triangles) > 2 * 230 * 230 and np.ptp(mesh.vertices[mesh.triangles][:, :, 2], axis=1).max() < 1e-9
    np.testing.assert_array_equal(surface_of(cloud.in_unit(unit_mm, True)).triangles, surface_of(known).triangles)


def test_steps_of_a_quantised_sensor_are_no_jumps():
    near = Scan.from_depth(np.where(COLUMNS % 2, 120.0, 122.5), CAMERA, "depth", "test")  # cells of 0.43 mm
    assert len(surface_of(near).triangles) == 2 * 239 * 239


def test_a_steep_surface_survives():
    _, mesh = depth_surface(500.0 + 6.0 * COLUMNS)  # a step of 6 mm over some 2 mm: about 72°
    assert len(mesh.triangles) == 2 * 239 * 239


def test_holes_stay_open():
    depth = np.full((240, 240), 600.0)
    depth[100:110, 100:110] = np.nan
    scan, mesh = depth_surface(depth)
    in_hole = lambda p: (np.abs(CAMERA.project(p)[0] - 104.5) < 4.6).all(1)
    assert not in_hole(mesh.vertices[mesh.triangles].mean(1)).any()
    assert len(mesh.vertices) == len(scan.points) == 240 * 240 - 100


def test_a_single_row_of_pixels_has_no_surface():
    depth = np.zeros((240, 240))
    depth[100] = 500.0
    assert len(depth_surface(depth)[1].triangles) == 0
    assert grid_triangles(np.zeros((0, 2), int), np.zeros((0, 3)), FLOOR_MM).shape == (0, 3)


X, Y = np.meshgrid(*2 * [np.arange(40.0)])
WAVY_GRID = np.stack([X, Y, 3 * np.sin(X / 8)], 2).reshape(-1, 3)


def test_a_cloud_is_triangulated_without_long_edges():
    points = WAVY_GRID + np.random.default_rng(0).uniform(-0.2, 0.2, (1600, 3))
    mesh = cloud_surface(points)
    assert len(mesh.triangles) > 2 * 38 * 38 and longest_edges(mesh).max() < 6.0
    assert len(np.unique(mesh.triangles)) == len(points)


def test_a_gap_in_a_cloud_is_not_bridged():
    mesh = cloud_surface(np.concatenate([WAVY_GRID, WAVY_GRID + [70.0, 0, 0]]))
    assert longest_edges(mesh).max() < 6.0
    assert mesh.component_labels.max() == 1


def test_a_cloud_that_repeats_its_points_has_the_same_surface():
    once, often = cloud_surface(WAVY_GRID), cloud_surface(np.repeat(WAVY_GRID, 6, axis=0))
    assert often.vertex_areas.sum() == pytest.approx(once.vertex_areas.sum(), rel=0.02)


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.eye(3), np.c_[np.arange(50.0), np.zeros((50, 2))]])
def test_points_that_span_no_surface_have_no_triangles(points):
    assert cloud_triangles(points, points[:, :2]).shape == (0, 3)


def test_a_bare_cloud_is_no_surface_and_a_mesh_is_its_own():
    assert len(surface_of(mesh_scan(WAVY_GRID, NO_TRIANGLES)).triangles) == 0
    triangles = cloud_surface(WAVY_GRID).triangles
    np.testing.assert_array_equal(surface_of(mesh_scan(WAVY_GRID, triangles)).triangles, triangles)


def test_a_scans_surface_is_made_once():
    scan = mesh_scan(np.eye(3), np.array([[0, 1, 2]]))
    assert surface_of(scan) is surface_of(scan)
