"""Triangles that look sideways give up their longest side; nothing else changes."""

import numpy as np
from surfaces import bumpy_mesh, grid_mesh

from geometry.mesh import TriangleMesh
from geometry.surfaces.side_swaps import SIDEWAYS, cosines_about, swapped


def with_a_thin_corner() -> tuple[TriangleMesh, int]:
    """A plane, and a vertex of it just beyond the diagonal of a cell that it lies in: a thin triangle lies back on the plane."""
    plane = grid_mesh(*np.meshgrid(*2 * [np.arange(9.0)]))
    vertices = plane.vertices.copy()
    vertices[40] += [0.55, 0.55, 0.05]
    mesh = plane.with_vertices(vertices)
    return mesh, int(cosines_about(mesh).argmin())


def test_cosines_are_one_on_a_plane_and_minus_one_of_what_lies_back_on_it():
    plane = grid_mesh(*np.meshgrid(*2 * [np.arange(9.0)]))
    np.testing.assert_allclose(cosines_about(plane), 1.0)
    mesh, back = with_a_thin_corner()
    assert cosines_about(mesh)[back] < -0.8
    assert cosines_about(TriangleMesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))).tolist() == [1.0]


def test_a_triangle_that_lies_back_is_cut_along_the_other_diagonal():
    mesh, back = with_a_thin_corner()
    other = TriangleMesh(mesh.vertices, swapped(mesh, np.ones(len(mesh.triangles), bool)))
    assert (other.triangles != mesh.triangles).any(axis=1).sum() == 2
    assert cosines_about(other).min() > SIDEWAYS > cosines_about(mesh)[back]
    assert other.is_edge_manifold and np.array_equal(np.sort(other.boundary_edges), np.sort(mesh.boundary_edges))
    sides = [np.sort(each.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=0) for each in (mesh, other)]
    assert len(sides[0]) == len(sides[1])


def test_what_may_not_change_does_not_and_what_is_smooth_need_not():
    mesh, back = with_a_thin_corner()
    assert np.array_equal(swapped(mesh, np.arange(len(mesh.triangles)) != back), mesh.triangles)
    relief = bumpy_mesh(step=3.0)
    assert np.array_equal(swapped(relief, np.ones(len(relief.triangles), bool)), relief.triangles)
