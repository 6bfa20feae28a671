"""The dense template of the shipped model, and of models that lack this or that."""

from dataclasses import replace

import numpy as np
import pytest
from dense_faces import boundary_loops, dihedral_angles, is_oriented, lip_rims, opened, smallest_angles, thin_face, thin_template
from sampled_faces import default_model
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.reconstruction.dense_template import EDGE_MM, DenseTemplate, dense_template
from geometry.surfaces.closest_point import surface_distance
from geometry.surfaces.seen_surface import opens_its_mouth, seen_surface
from geometry.surfaces.self_intersection import intersecting_triangles
from geometry.surfaces.side_swaps import SIDEWAYS, cosines_about

NAMED = ("face", "forehead", "ears", "lips", "nose", "chin", "cheeks", "lids")


@pytest.fixture(scope="module")
def face() -> DenseTemplate:
    return dense_template(default_model())


@pytest.fixture(scope="module", params=[True, False], ids=["closed", "open"])
def mesh(request, face) -> TriangleMesh:
    return face.mesh(face.mean, request.param)


def test_it_is_one_oriented_manifold_piece_that_uses_all_of_its_vertices(mesh):
    assert np.unique(mesh.triangles).size == len(mesh.vertices) and np.ptp(mesh.component_labels) == 0
    assert mesh.is_edge_manifold and is_oriented(mesh)
    assert (np.bincount(mesh.boundary_edges.ravel())[np.unique(mesh.boundary_edges)] == 2).all()


def test_it_ends_along_one_line_and_along_the_lips_where_they_are_open(face):
    assert [boundary_loops(face.mesh(face.mean, closed)) for closed in (True, False)] == [1, 2]


def test_no_triangle_is_a_needle(mesh):
    angles = smallest_angles(mesh)
    assert angles.min() > 1 and np.mean(angles < 15) < 1e-3 and np.median(angles) > 35


def test_no_triangles_cross(mesh):
    assert len(intersecting_triangles(mesh)) == 0


def test_the_surface_turns_back_nowhere(face, model):
    """A flipped triangle lies back on its neighbours. The grooves between lids and eyeballs alone are that sharp, by a few
    degrees more than the model's own."""
    triangles = face.triangles[~face.membrane]
    but_lids = triangles[(face.lids[triangles] == 0).all(axis=1)]
    smooth = triangles[~face.folded[triangles].any(axis=1)]
    whole, skin, plain = (dihedral_angles(TriangleMesh(face.mean, part)) for part in (triangles, but_lids, smooth))
    assert whole.max() < 170 and np.mean(whole > 60) < 1e-3 and skin.max() < 140 and plain.max() < 60
    assert np.quantile(plain, 0.999) < 10


def test_no_triangle_looks_sideways_but_where_lids_and_lips_meet_what_is_behind(mesh, face):
    """One at the root of an ear did; every scan moved it a little, and a round after round to draw it back found no way."""
    laid_out = np.maximum(face.lids, face.lips)[mesh.triangles].any(axis=1)
    assert cosines_about(mesh)[~laid_out].min() > SIDEWAYS


def test_its_edges_are_short_and_shortest_nowhere_next_to_nothing(face):
    edges = face.mesh(face.mean, mouth_closed=False).edges
    lengths = np.linalg.norm(face.mean[edges[:, 0]] - face.mean[edges[:, 1]], axis=1)
    assert lengths.max() < 2.5 * EDGE_MM and np.quantile(lengths, 0.99) < 1.1 * EDGE_MM and lengths.min() > 0.02


@pytest.mark.parametrize("name", NAMED)
def test_what_a_face_is_made_of_is_covered(face, model, name):
    skin = model.regions[name] & ~model.regions["cavities"]
    assert surface_distance(model.mean[skin], face.mesh(face.mean, mouth_closed=True)).max() < 0.2


def test_all_landmarks_and_most_of_the_eyeballs_front_are_covered_and_linings_are_not(face, model):
    mesh = face.mesh(face.mean, mouth_closed=True)
    assert surface_distance(model.mean[model.landmarks["ibug68"]], mesh).max() < 1e-3
    assert np.median(surface_distance(model.mean[model.regions["eyeballs"]], mesh)) < 0.01
    assert not np.isin(face.own[:, 0], np.flatnonzero(model.regions["cavities"] & ~model.regions["eyes"])).any()


def test_matrices_keep_constants_and_affine_maps(face, model):
    rng = np.random.default_rng(0)
    turn, shift = rng.normal(size=(3, 3)), rng.normal(size=3) * 50
    for matrix in (face.matrix, face.linear):
        np.testing.assert_allclose(matrix @ np.ones(model.n_vertices), 1.0, atol=1e-12)
        np.testing.assert_allclose(matrix @ (model.mean @ turn + shift), (matrix @ model.mean) @ turn + shift, atol=1e-9)
    np.testing.assert_array_equal(face.matrix @ model.mean, face.mean)


def test_the_flat_matrix_gives_points_of_the_models_triangles(face, model):
    assert face.linear.min() >= 0 and face.linear.max() <= 1
    inner = face.linear[~face.mesh(face.mean, mouth_closed=False).boundary_vertices]
    assert inner.getnnz(axis=1).max() <= 3  # barycentric; along the border they are means of such
    assert surface_distance(inner @ model.mean, model.mesh()).max() < 1e-4


def test_own_vertices_are_the_models_in_place(face, model):
    mine, theirs = face.own.T[::-1]
    assert len(np.unique(mine)) == len(mine) == len(np.unique(theirs)) and theirs.max() < model.n_vertices
    inner = ~face.mesh(face.mean, mouth_closed=True).boundary_vertices[mine]
    np.testing.assert_allclose(face.mean[mine[inner]], model.mean[theirs[inner]], atol=1e-9)
    assert np.linalg.norm(face.mean[mine] - model.mean[theirs], axis=1).max() < 1.5  # the border was straightened


def test_it_is_as_symmetric_as_the_model(face):
    away = cKDTree(face.mean).query(face.mean * [-1, 1, 1])[0]
    assert np.quantile(away, 0.98) < 0.05 and away.max() < EDGE_MM


def test_the_membrane_lies_between_the_lips_and_looks_forward(face, model):
    between = TriangleMesh(face.mean, face.triangles[face.membrane])
    assert face.membrane.sum() > 50 and (between.triangle_area_vectors[:, 2] > 0).all()
    rims = model.mean[np.concatenate(lip_rims(model))]
    assert cKDTree(rims).query(face.mean[np.unique(between.triangles)])[0].max() < 1.0


def test_parts_that_fold_are_marked_and_others_not(face):
    for part in (face.lids, face.lips):
        assert part.min() == 0 and part.max() == 1
    forehead = (face.mean[:, 1] > 60) & (np.abs(face.mean[:, 0]) < 30)
    assert forehead.sum() > 3000 and not face.folded[forehead].any() and face.before_mm[forehead].min() > 5
    assert face.before_mm.min() > 0 and face.behind_mm.min() > 0


def test_laplacian_and_averaging_agree_with_the_triangles(face):
    ones = np.ones(len(face.mean))
    assert np.abs(face.laplacian @ ones).max() == 0
    np.testing.assert_allclose(face.averaging @ ones, 1.0)
    means = face.mean - (face.laplacian @ face.mean) / face.laplacian.diagonal()[:, None]
    np.testing.assert_allclose(face.averaging @ face.mean, means, atol=1e-9)


@pytest.mark.parametrize("jaw", [0.3, 1.0])
def test_faces_with_an_open_mouth_are_clean_too(model, jaw):
    face = thin_face()
    mesh = face.mesh(face.matrix @ opened(model, jaw), mouth_closed=False)
    crossing = len(intersecting_triangles(TriangleMesh(opened(model, jaw), seen_surface(model)[0][~seen_surface(model)[1]])))
    assert len(intersecting_triangles(mesh)) <= crossing and smallest_angles(mesh).min() > 1


def test_the_same_template_comes_out_twice():
    once, again = (thin_template(default_model()) for _ in range(2))
    for name in ("mean", "triangles", "own", "lids", "lips", "before_mm", "behind_mm"):
        assert getattr(once, name).tobytes() == getattr(again, name).tobytes()
    assert (once.matrix != again.matrix).nnz == (once.linear != again.linear).nnz == 0


def needed(model):
    return {name: model.regions[name] for name in ("face", "eyes", "mouth_interior")}


WITHOUT = {
    "curves": lambda model: replace(model, curves={}),
    "one rim": lambda model: replace(model, curves={"upper_lip_rim": model.curves["upper_lip_rim"]}),
    "regions that it may lack": lambda model: replace(model, regions=needed(model)),
    "linings of its mouth": lambda model: replace(
        model, regions={**model.regions, "cavities": model.regions["cavities"] & ~model.regions["mouth_interior"]}
    ),
    "ears and lids": lambda model: replace(
        model, regions={name: region for name, region in model.regions.items() if name not in ("ears", "lids")}
    ),
}


@pytest.mark.parametrize("what", WITHOUT)
def test_models_without_much_have_a_template_without_a_membrane(model, what):
    changed = WITHOUT[what](model)
    face = thin_template(changed)
    assert face.membrane.any() == opens_its_mouth(changed) == (what == "ears and lids")
    mesh = face.mesh(face.mean, mouth_closed=True)
    assert mesh.is_edge_manifold and is_oriented(mesh) and len(mesh.triangles) > 20_000
    skin = model.regions["face"] & ~model.regions["cavities"] & ~model.regions["mouth_interior"]
    assert np.quantile(surface_distance(model.mean[skin], mesh), 0.99) < 0.3
    assert (face.lips.any(), face.lids.any()) == ("lips" in changed.regions, True)  # eyes are always there


def test_rims_may_run_either_way(model):
    lower = model.curves["lower_lip_rim"]
    turned = thin_template(replace(model, curves={**model.curves, "lower_lip_rim": lower[::-1]}))
    assert (
        boundary_loops(turned.mesh(turned.mean, mouth_closed=True)) == 1 and turned.membrane.sum() == thin_face().membrane.sum()
    )


def test_a_model_that_shows_nothing_has_an_empty_template(model):
    nothing = replace(model, regions={name: np.zeros(model.n_vertices, bool) for name in needed(model)})
    assert len(thin_template(nothing).mean) == len(thin_template(nothing).triangles) == 0
