"""The bag behind the lips of modelled heads: followed where a scan has one, left alone where it has none."""

from dataclasses import replace
from functools import lru_cache
from unittest.mock import patch

import numpy as np
import pytest
from dense_faces import boundary_loops, followed, is_oriented, opened, thin_face
from sampled_faces import default_model
from scipy.spatial import cKDTree

from geometry.mesh import TriangleMesh
from geometry.reconstruction import mouth_lining as module
from geometry.reconstruction.dense_surface import dense_surface
from geometry.reconstruction.dense_template import dense_template
from geometry.reconstruction.mouth_lining import Inside, inside_of_mouth, mouth_lining, with_lining
from geometry.surfaces.closest_point import surface_distance
from geometry.surfaces.seen_surface import seen_surface, skin_and_eyeballs

BESIDE_MM = 3.0


@lru_cache(maxsize=4)
def head(jaw: float) -> tuple[np.ndarray, TriangleMesh]:
    """Registered vertices, and a head with the same skin and another bag: one that leans to a side and bulges, away from its
    rim."""
    model, registered = default_model(), opened(default_model(), jaw)
    bag = mouth_lining(model).vertices
    away = cKDTree(registered[skin_and_eyeballs(model)].reshape(-1, 3)).query(registered[bag])[0]
    share = np.clip(away / 10.0, 0, 1)[:, None]
    vertices = registered.copy()
    vertices[bag] += share * [BESIDE_MM, 0.0, 0.0] * np.cos(registered[bag, 1:2] / 15.0)
    return registered, TriangleMesh(vertices, model.triangles)


@pytest.mark.parametrize("jaw", [0.0, 0.5])
def test_a_bag_of_another_shape_is_followed_and_its_rim_stays_at_the_lips(jaw):
    registered, scan = head(jaw)
    found = inside_of_mouth(default_model(), registered, followed(scan))
    assert isinstance(found, Inside)
    bag = found.lining.vertices
    others = np.setdiff1d(np.arange(len(registered)), bag)
    np.testing.assert_array_equal(found.registered[others], registered[others])
    rim = bag[found.lining.mesh.boundary_vertices]
    np.testing.assert_array_equal(found.registered[rim], registered[rim])
    truth = TriangleMesh(scan.vertices, default_model().triangles[np.isin(default_model().triangles, bag).all(axis=1)])
    before, after = (surface_distance(vertices[bag], truth) for vertices in (registered, found.registered))
    assert after.mean() < before.mean() / 4 and np.median(after) < 0.1
    assert found.observed.mean() > 0.5


@pytest.mark.parametrize("jaw", [0.0, 0.5, 1.0])
def test_a_scan_without_a_bag_has_none(jaw):
    """Skin alone, and skin with what a sensor sees between open lips: tongue and teeth, 12 mm behind them."""
    model, (registered, _) = default_model(), head(jaw)
    triangles, inside = seen_surface(model)
    outside = TriangleMesh(registered, triangles[~inside])
    assert inside_of_mouth(model, registered, followed(outside)) is None
    tongue = registered - [0.0, 0.0, 12.0 if jaw else 0.0]
    both = TriangleMesh(
        np.concatenate([registered, tongue]), np.concatenate([triangles[~inside], len(registered) + triangles[inside]])
    )
    assert inside_of_mouth(model, registered, followed(both)) is None
    assert inside_of_mouth(model, registered, None) is None
    assert inside_of_mouth(model, registered, followed(TriangleMesh(registered[:3], model.triangles[:0]))) is None


def test_the_refined_surface_goes_on_into_the_mouth():
    registered, scan = head(0.5)
    target, template = followed(scan), thin_face()
    with patch.multiple(module, EDGE_MM=4.0, LEVELS=1):  # longer edges than the thin template's
        lining = mouth_lining.__wrapped__(default_model())
    inside = replace(inside_of_mouth(default_model(), registered, target), lining=lining)
    plain = dense_surface(template, inside.registered, [target], mouth_closed=False)
    whole, linear = with_lining(plain, template, inside.lining, inside.registered, target)
    count = len(plain.mesh.vertices)
    np.testing.assert_array_equal(whole.mesh.vertices[:count], plain.mesh.vertices)
    np.testing.assert_array_equal(whole.mesh.triangles[: len(plain.mesh.triangles)], plain.mesh.triangles)
    assert boundary_loops(whole.mesh) == 1 == boundary_loops(plain.mesh) - 1
    assert np.ptp(whole.mesh.component_labels) == 0 and is_oriented(whole.mesh)
    added = slice(count, None)
    assert len(whole.mesh.vertices) - count == linear.shape[0] == (whole.sigma_mm[added].size) > 500
    np.testing.assert_allclose(np.asarray(linear.sum(axis=1)), 1.0)
    told = whole.observed[added] > 0
    assert told.mean() > 0.5 and np.isfinite(whole.sigma_mm[added][told]).all()
    assert np.median(surface_distance(whole.mesh.vertices[added][told], scan)) < 0.05


def test_the_seam_of_the_shipped_template_is_closed():
    """As fine as a run has it, where the lips' rims have more vertices than the bag's."""
    model, lining = default_model(), mouth_lining(default_model())
    template = dense_template(model)
    seam, outside = module._seam(template, lining), template.mesh(template.mean, mouth_closed=False)
    vertices = np.concatenate([template.mean, lining.fine.vertices[~seam.rim]])
    whole = TriangleMesh(vertices, np.concatenate([outside.triangles, seam.triangles]))
    assert boundary_loops(whole) == 1 == boundary_loops(outside) - 1
    assert np.ptp(whole.component_labels) == 0 and is_oriented(whole)


def test_a_model_without_a_bag_has_no_lining(model):
    without = {name: mask for name, mask in model.regions.items() if name != "mouth_cavity"}
    for plain in (replace(model, regions=without), replace(model, curves={})):  # a format need not name the rims of the lips
        assert mouth_lining(plain) is None and inside_of_mouth(plain, model.mean, followed(model.mesh())) is None
