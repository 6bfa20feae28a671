import numpy as np
import pytest
from surfaces import sphere

from geometry.mesh import TriangleMesh

SQUARE = TriangleMesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])


def test_counter_clockwise_triangles_look_towards_the_viewer():
    np.testing.assert_allclose(SQUARE.vertex_normals, np.tile([0, 0, 1.0], (4, 1)))


def test_a_spheres_normals_are_radial_and_its_area_is_right():
    mesh = sphere(50, (0, 0, 0), 5)
    np.testing.assert_allclose((mesh.vertex_normals * mesh.vertices).sum(1) / 50, 1, atol=1e-4)
    assert mesh.vertex_areas.sum() == pytest.approx(4 * np.pi * 50**2, rel=2e-3)


def test_a_closed_surface_has_no_boundary_and_euler_characteristic_2():
    mesh = sphere(1, (0, 0, 0), 2)
    assert len(mesh.boundary_edges) == 0 and not mesh.boundary_vertices.any() and mesh.is_edge_manifold
    assert len(mesh.vertices) - len(mesh.edges) + len(mesh.triangles) == 2


def test_a_square_has_four_boundary_edges():
    assert len(SQUARE.boundary_edges) == 4 and len(SQUARE.edges) == 5 and SQUARE.boundary_vertices.all()


def test_three_triangles_on_one_edge_are_not_manifold():
    assert not TriangleMesh([*SQUARE.vertices, [0, 0, 1]], [[0, 1, 2], [0, 2, 3], [0, 2, 4]]).is_edge_manifold


def test_adjacency_is_symmetric_and_matches_the_edges():
    mesh = sphere(1, (0, 0, 0), 2)
    assert (mesh.adjacency != mesh.adjacency.T).nnz == 0
    assert mesh.adjacency.nnz == 2 * len(mesh.edges)


def test_components_and_submesh():
    two = TriangleMesh(
        np.concatenate([SQUARE.vertices, SQUARE.vertices + 5]),
        np.concatenate([SQUARE.triangles, SQUARE.triangles + 4]),
        np.arange(24, dtype=np.uint8).reshape(8, 3),
    )
    assert len(np.unique(two.component_labels)) == 2
    part, kept = two.submesh(two.component_labels == two.component_labels[5])
    np.testing.assert_array_equal(kept, [4, 5, 6, 7])
    np.testing.assert_array_equal(part.colors, two.colors[4:])
    np.testing.assert_array_equal(part.triangles, SQUARE.triangles)


def test_a_vertex_without_triangles_has_a_zero_normal_and_a_component_of_its_own():
    mesh = TriangleMesh([*SQUARE.vertices, [9, 9, 9]], SQUARE.triangles)
    np.testing.assert_array_equal(mesh.vertex_normals[4], 0)
    assert (mesh.component_labels == mesh.component_labels[4]).sum() == 1


def test_a_mesh_does_not_change_and_leaves_the_callers_array_as_it_is():
    vertices = np.zeros((3, 3))
    mesh = TriangleMesh(vertices, np.array([[0, 1, 2]], np.int32))
    with pytest.raises(ValueError, match="read-only"):
        mesh.vertices[0] = 1.0
    assert np.shares_memory(mesh.vertices, vertices) and vertices.flags.writeable
