"""Clipping, patches, embedding and triangulation on surfaces whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from surfaces import grid_mesh

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.template.constraints import AnchorGatherer
from geometry.template.remeshing import Cloud, embed_in_circle, relaxed, samples_on, smallest_angles, spread_vertices, triangulate
from geometry.template.skin_patch import (
    Skin,
    boundary_loops,
    clip,
    edge_path,
    mean_value_coordinates,
    one_part_below,
    pieces_between,
    ring_patch,
    split,
    strip,
)


def dome(rings=14, radius=30.0, reach=25.0):
    """A spherical cap as a fan of rings; vertices on a sphere about the origin."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    plane = np.concatenate([[[0.0, 0.0]], *(circle * reach * ring / rings for ring in range(1, rings + 1))])
    index = 1 + np.arange(rings * 40).reshape(rings, 40)
    after = np.roll(index, -1, axis=1)
    fan = np.stack([np.zeros(40, int), index[0], after[0]], 1)
    quads = [np.stack([index[r], index[r + 1], after[r + 1]], 1) for r in range(rings - 1)]
    quads += [np.stack([index[r], after[r + 1], after[r]], 1) for r in range(rings - 1)]
    return TriangleMesh(np.column_stack([plane, np.sqrt(radius**2 - (plane**2).sum(1))]), np.vstack([fan, *quads]))


def as_skin(mesh):
    n = len(mesh.vertices)
    return Skin(sparse.identity(n, format="csr"), np.zeros((n, 3)), mesh.triangles, np.zeros(len(mesh.triangles), int))


def test_clipping_by_a_plane_leaves_its_side_and_its_area():
    mesh = grid_mesh(*np.meshgrid(np.arange(6.0), np.arange(5.0)))
    clipped = clip(as_skin(mesh), mesh.vertices @ (1.0, 0.3, 0.0) - 2.2)
    points = clipped.points(mesh.vertices)
    assert (points @ (1.0, 0.3, 0.0) - 2.2).min() > -2e-6
    result = TriangleMesh(points, clipped.triangles)
    assert result.triangle_area_vectors[:, 2].sum() == pytest.approx(5 * 4 - (2.2 + 1.0) / 2 * 4, rel=1e-5)
    assert (result.triangle_area_vectors[:, 2] > 0).all() and len(boundary_loops(result.triangles)) == 1


def test_splitting_by_a_circle_keeps_the_surface_and_lays_a_closed_chain_along_it():
    mesh = grid_mesh(*np.meshgrid(np.arange(9.0), np.arange(8.0)))
    level = np.linalg.norm(mesh.vertices - (4.0, 3.5, 0), axis=1) - 2.2
    whole, above = split(replace(as_skin(mesh), part=np.arange(len(mesh.triangles))), level)
    points = whole.points(mesh.vertices)
    result = TriangleMesh(points, whole.triangles)
    assert np.array_equal(points[: len(mesh.vertices)], mesh.vertices)
    assert (result.triangle_area_vectors[:, 2] > 0).all() and len(boundary_loops(whole.triangles)) == 1
    area = np.bincount(whole.part, result.triangle_area_vectors[:, 2])
    np.testing.assert_allclose(area, mesh.triangle_area_vectors[:, 2], rtol=1e-12, err_msg="pieces stay in their part")
    (chain,) = boundary_loops(whole.triangles[~above])
    assert chain.min() >= len(mesh.vertices) and len(chain) == len(points) - len(mesh.vertices)
    np.testing.assert_allclose(whole.weights[chain] @ level, 0, atol=1e-12)


def test_one_negative_part_is_kept_by_its_rank_in_size():
    mesh = grid_mesh(*np.meshgrid(np.arange(12.0), np.arange(6.0)))
    x = mesh.vertices[:, 0]
    level = np.where((x < 5) | (np.abs(x - 7.5) < 1) | (x > 10), -2.0, 1.0)
    changed = one_part_below(as_skin(mesh), mesh.vertices, level, rank=2)
    largest = one_part_below(as_skin(mesh), mesh.vertices, level, rank=1)
    assert np.array_equal(largest < 0, x < 5)
    assert np.array_equal(changed < 0, np.abs(x - 7.5) < 1) and np.array_equal(np.abs(changed), np.abs(level))
    assert (one_part_below(as_skin(mesh), mesh.vertices, np.where(x < 5, -2.0, 1.0), rank=2) > 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 40))
def test_mean_value_coordinates_reproduce_linear_functions(seed, sides):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.random(sides)) * 2 * np.pi
    polygon = np.stack([np.cos(angle) * 3, np.sin(angle)], 1) * (1 + 0.2 * rng.random((sides, 1)))
    points = np.zeros((1, 2)) + polygon.mean(axis=0) * 0.1
    weights = mean_value_coordinates(polygon, points)
    assert np.allclose(weights.sum(axis=1), 1) and np.allclose(weights @ polygon, points, atol=1e-7)


def test_a_ring_patch_closes_a_hole_with_the_same_orientation():
    mesh = dome()
    holed = mesh.triangles[(mesh.triangles > 80).all(axis=1)]
    rim = min(boundary_loops(holed), key=lambda loop: np.linalg.norm(mesh.vertices[loop, :2], axis=1).max())
    weights, patch = ring_patch(mesh.vertices, rim, 4, len(mesh.vertices))
    closed = TriangleMesh(np.vstack([mesh.vertices, weights @ mesh.vertices[rim]]), np.vstack([holed, patch]))
    assert closed.is_edge_manifold and len(boundary_loops(closed.triangles)) == 1
    assert (closed.triangle_area_vectors[:, 2] > 0).all()


def test_a_strip_joins_two_chains_that_meet():
    points = np.array([[0, 1.0], [1, 0.9], [2, 0.5], [3, 0.0], [2.2, -0.5], [1.5, -0.7], [0.5, -0.9], [0, -1.0]])
    upper, lower = [0, 1, 2, 3], [7, 6, 5, 4, 3]
    triangles = strip(upper, lower, points[:, 0])
    mesh = TriangleMesh(np.column_stack([points, np.zeros(8)]), triangles)
    assert (mesh.triangle_area_vectors[:, 2] > 0).all() and len(triangles) == 6
    assert len(boundary_loops(triangles)) == 1


def test_an_edge_path_goes_through_its_stations():
    mesh = dome()
    path = edge_path(as_skin(mesh), mesh.vertices, [1, 21, 41])
    assert path[0] == 1 and path[-1] == 41 and 21 in path
    edges = {tuple(edge) for edge in mesh.edges.tolist()}
    assert all(tuple(sorted(pair)) in edges for pair in zip(path, path[1:]))


def test_a_closed_line_of_edges_parts_what_it_encloses_and_an_open_one_parts_nothing():
    mesh = dome()
    ring = np.linalg.norm(mesh.vertices[mesh.triangles].mean(axis=1)[:, :2], axis=1) < 8
    loop = boundary_loops(mesh.triangles[ring])[0]
    edges = np.column_stack([loop, np.roll(loop, -1)])
    pieces = pieces_between(mesh.triangles, edges)
    assert len(np.unique(pieces)) == 2 and len(np.unique(pieces[ring])) == len(np.unique(pieces[~ring])) == 1
    assert len(np.unique(pieces_between(mesh.triangles, edges[1:]))) == 1


def test_anchors_stand_on_a_chain_where_told_in_its_order_and_not_twice_at_its_ends():
    points = np.array([[0.0, 0, 0], [4, 0, 0], [4, 3, 0], [4, 9, 0]])
    gatherer = AnchorGatherer(points, np.ones(4))
    gatherer.add_leg_at(np.arange(4), np.array([[4.0, 5, 0], [0, 0, 0], [1, 0.2, 0], [4, 9, 0]]))
    constraints = gatherer.constraints()
    np.testing.assert_allclose(constraints.weights @ points, [[0, 0, 0], [1, 0, 0], [4, 5, 0], [4, 9, 0]], atol=1e-12)
    np.testing.assert_array_equal(constraints.edges, [[0, 1], [1, 2], [2, 3]])


@pytest.mark.parametrize("closed", [True, False])
def test_a_chain_names_its_anchors_in_order(closed):
    points = np.array([[0.0, 0, 0], [4, 0, 0], [4, 3, 0], [0, 3, 0]])
    gatherer = AnchorGatherer(points, np.ones(4))
    along = gatherer.add_chain(np.arange(4), {0, 2, 3}, closed)
    expected = [[x, 0] for x in range(4)] + [[4, y] for y in range(3)] + [[x, 3] for x in (4, 3, 2, 1)] + [[0, 3], [0, 2], [0, 1]]
    placed = (gatherer.constraints().weights @ points)[along]
    np.testing.assert_allclose(placed[:, :2], expected if closed else expected[:12], atol=1e-12)


def test_the_embedding_flips_no_triangle():
    mesh = dome()
    loop = boundary_loops(mesh.triangles)[0]
    plane, at_corner = embed_in_circle(mesh, loop, sparse.identity(len(mesh.vertices), format="csr")[loop[::3]])
    a, b, c = (plane[mesh.triangles[:, k]] for k in range(3))
    assert ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] > 0).all()
    assert np.allclose(np.linalg.norm(at_corner, axis=1), 1) and np.linalg.norm(plane, axis=1).max() < 1 + 1e-9


@pytest.mark.parametrize("edge", [5.0, 3.2])
def test_a_dome_is_remeshed_evenly_through_its_anchors(edge):
    mesh, rng = dome(), np.random.default_rng(0)
    size = np.full(len(mesh.vertices), edge)
    border = boundary_loops(mesh.triangles)[0]
    crease = np.array([1 + 40 * ring for ring in range(2, 10)])  # a line of vertices that must become edges
    gatherer = AnchorGatherer(mesh.vertices, size)
    gatherer.add_chain(border, {int(border[0])}, closed=True)
    gatherer.add_chain(crease, {int(crease[0]), int(crease[-1])}, closed=False)
    constraints = gatherer.constraints()
    fixed = Cloud.of(mesh, size, constraints.weights)
    on_border = constraints.weights @ mesh.boundary_vertices.astype(float) > 1 - 1e-9
    samples, wanted = samples_on(mesh, size, np.ones(len(mesh.triangles), bool), on_border.sum(), rng)
    chosen = spread_vertices(samples, fixed, wanted - len(on_border), rng, 25)
    plane, corners = embed_in_circle(mesh, border, constraints.weights[on_border])

    def result(chosen):
        vertices = fixed.joined(samples, chosen)
        flat = vertices.weights @ plane
        flat[: len(on_border)][on_border] = corners
        return TriangleMesh(vertices.positions, triangulate(vertices.positions, flat, constraints.edges, vertices.normals))

    first = result(chosen)
    final = result(relaxed(samples, fixed, chosen, first.triangles, 30.0))
    assert final.is_edge_manifold and len(final.vertices) - len(final.edges) + len(final.triangles) == 1
    edges = {tuple(pair) for pair in final.edges.tolist()}
    assert all(tuple(sorted(pair)) in edges for pair in constraints.edges.tolist())
    angle = smallest_angles(final.vertices[final.triangles])
    assert angle.min() >= smallest_angles(first.vertices[first.triangles]).min() - 1e-9 and angle.min() > 18
    length = np.linalg.norm(final.vertices[final.edges[:, 0]] - final.vertices[final.edges[:, 1]], axis=1)
    assert 0.85 * edge < length.mean() < 1.2 * edge
    assert ((final.vertex_normals * final.vertices).sum(axis=1) > 0).all()
    assert np.abs(np.linalg.norm(final.vertices, axis=1) - 30).max() < 0.5


def test_smallest_angles_of_known_triangles():
    apexes = np.array([[0.5, np.sqrt(3) / 2, 0], [0, 1, 0], [2, 0, 0]])
    corners = np.stack([np.zeros((3, 3)), np.tile([1.0, 0, 0], (3, 1)), apexes], axis=1)
    assert np.allclose(smallest_angles(corners), [60, 45, 0])


def test_an_edge_that_must_be_kept_is_there_or_an_error_names_it():
    rng, kept = np.random.default_rng(0), 0
    for _ in range(40):
        plane = np.append(rng.uniform(-1, 1, (60, 2)), [[-2, -2], [2, -2], [2, 2], [-2, 2]], axis=0)
        points, edge = np.column_stack([plane, np.zeros(64)]), rng.choice(60, 2, replace=False)
        try:
            triangles = triangulate(points, plane, edge[None], np.tile([0.0, 0.0, 1.0], (64, 1)))
        except ModelError as error:
            assert f"points {edge[0]} and {edge[1]}" in str(error)
        else:
            kept += 1
            assert tuple(sorted(edge)) in set(map(tuple, TriangleMesh(points, triangles).edges.tolist()))
    assert 0 < kept < 40
