import runpy

import numpy as np
import pytest
from shared_files import SHARED, needs
from surfaces import bumpy_mesh, sphere

from geometry.evaluation.metrics import (
    CAP_MM,
    FAILED,
    boundary_triangles,
    surface_errors,
)
from geometry.mesh import TriangleMesh, merged
from geometry.surfaces.closest_point import surface_distance

NOSE = np.zeros(3)
SCORE = SHARED / "bench" / "score.py"


def test_distance_to_a_sphere_is_the_difference_of_radii():
    directions = np.random.default_rng(0).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = np.linspace(30, 80, 200)
    np.testing.assert_allclose(
        surface_distance(directions * radii[:, None], sphere(50, (0, 0, 0))), np.abs(radii - 50), atol=0.02
    )


def test_a_mesh_without_triangles_has_no_distance():
    with pytest.raises(ValueError, match="3 vertices and no triangle"):
        surface_distance(np.zeros((1, 3)), TriangleMesh(np.zeros((3, 3)), np.zeros((0, 3))))


def test_a_surface_has_no_error_against_itself():
    mesh = bumpy_mesh(2.0)
    errors = surface_errors(mesh, mesh, NOSE)
    assert errors.distance < 1e-4 and errors.normal_angle < 0.1 and errors.area_ratio == pytest.approx(1)


def test_a_shift_along_z_of_a_plane_is_the_error_in_both_directions():
    truth, other = (TriangleMesh(mesh.vertices * [1, 1, 0], mesh.triangles) for mesh in (bumpy_mesh(4.0), bumpy_mesh(5.0)))
    errors = surface_errors(truth, other.with_vertices(other.vertices + [0, 0, 1.5]), NOSE, outer_mm=70, inner_mm=60)
    assert errors.truth_to_surface == pytest.approx(1.5, abs=1e-4) and errors.normal_angle == pytest.approx(0, abs=1e-3)
    assert errors.surface_to_truth == pytest.approx(1.5, abs=1e-4)


def test_an_inside_out_surface_has_180_degrees():
    mesh = bumpy_mesh(2.0)
    assert surface_errors(mesh, TriangleMesh(mesh.vertices, mesh.triangles[:, ::-1]), NOSE).normal_angle > 179


def test_an_extra_sheet_costs_in_the_second_direction_and_in_area():
    mesh = bumpy_mesh(2.0)
    errors = surface_errors(mesh, merged([mesh, mesh.with_vertices(mesh.vertices - [0, 0, 5])]), NOSE)
    assert errors.truth_to_surface < 1e-4 and errors.surface_to_truth > 1 and errors.area_ratio > 1.8


def test_a_missing_surface_is_charged_and_never_left_out():
    mesh = bumpy_mesh(4.0)
    far = mesh.with_vertices(mesh.vertices + 1000)
    assert surface_errors(mesh, TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3))), NOSE) == FAILED
    assert surface_errors(mesh, far, NOSE) == FAILED
    assert surface_errors(mesh, far, NOSE, both_ways=False).distance == CAP_MM


def test_boundary_triangles_of_a_grid_are_its_rim():
    assert boundary_triangles(bumpy_mesh(40.0)).sum() == 14 and not boundary_triangles(sphere(subdivisions=2)).any()


@needs(SCORE)
@pytest.mark.parametrize("both_ways", [True, False])
def test_the_figures_are_those_of_the_bench(both_ways):
    truth, rng = bumpy_mesh(1.6), np.random.default_rng(1)
    mesh = bumpy_mesh(2.1)
    mesh = mesh.with_vertices(mesh.vertices + rng.normal(0, 0.3, mesh.vertices.shape))
    keep = np.linalg.norm(truth.vertices, axis=1) < 85
    expected = runpy.run_path(str(SCORE))["score_surface"](
        (truth.vertices, truth.triangles),
        truth.vertices[keep],
        truth.vertex_normals[keep],
        NOSE,
        mesh.vertices,
        mesh.triangles,
        both_ways,
    )
    found = surface_errors(truth, mesh, NOSE, both_ways=both_ways)
    np.testing.assert_allclose((found.distance, found.normal_angle, found.area_ratio), expected, rtol=1e-5)
