"""The dense surface recovers known reliefs where they are seen, and joins the registered mesh smoothly where nothing is."""

import numpy as np
import pytest
from dense_faces import boundary_loops, followed, lip_rims, opened, thin_face
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled_faces import default_model, known_face
from scipy.spatial import cKDTree
from surfaces import grid_mesh

from geometry.mesh import TriangleMesh
from geometry.reconstruction.dense_offsets import SIZE_MM
from geometry.reconstruction.dense_surface import FINE_MM, DenseSurface, _drawn_apart, dense_surface, within
from geometry.surfaces.closest_point import surface_distance
from geometry.surfaces.self_intersection import intersecting_triangles

FACE = known_face(1).vertices
REGISTERED = thin_face().mesh(thin_face().matrix @ FACE, mouth_closed=True)
LAID_OUT = np.maximum(thin_face().lids, thin_face().lips)
FLAT = ~thin_face().folded & (surface_distance(REGISTERED.vertices, REGISTERED.submesh(LAID_OUT > 0)[0]) > 6)
FLAT &= cKDTree(REGISTERED.vertices[REGISTERED.boundary_vertices]).query(REGISTERED.vertices)[0] > 5
FOREHEAD, CHEEK = (0.0, 55.0), (42.0, -18.0)


def about(centre: tuple[float, float], width: float) -> np.ndarray:
    """(N,) a bell of height 1 about (x, y) on the front."""
    square = ((REGISTERED.vertices[:, :2] - centre) ** 2).sum(axis=1)
    return np.exp(-square / (2 * width**2)) * (REGISTERED.vertices[:, 2] > -75)


def bumped(height_mm: np.ndarray | float) -> TriangleMesh:
    """The registered surface, raised along its normals."""
    return REGISTERED.with_vertices(REGISTERED.vertices + np.reshape(height_mm, (-1, 1)) * REGISTERED.vertex_normals)


def made(*targets, closed: bool = True) -> DenseSurface:
    return dense_surface(thin_face(), FACE, targets, closed)


def raised(surface: DenseSurface) -> np.ndarray:
    """(N,) mm from the registered surface, along the directions."""
    return ((surface.mesh.vertices - REGISTERED.vertices) * surface.directions).sum(axis=1)


@pytest.mark.parametrize("centre", [FOREHEAD, CHEEK], ids=["forehead", "cheek"])
@pytest.mark.parametrize("height", [0.5, 2.0, -1.0])
def test_a_bump_is_recovered_and_nothing_else_moves(centre, height):
    bell = about(centre, 9.0)
    target, surface = bumped(height * bell), made(followed(bumped(height * bell)))
    on = FLAT & (bell > 0.02)
    assert on.sum() > 500 and surface_distance(surface.mesh.vertices[on], target).max() < 0.02
    assert np.abs(raised(surface)[FLAT & (bell < 1e-4)]).max() < 0.02


def test_beyond_what_is_seen_it_fades_to_the_registered_mesh_without_a_step():
    """A whole millimetre before it on one side of a line on the forehead, and nothing on the other."""
    x, y = REGISTERED.vertices[:, 0], REGISTERED.vertices[:, 1]
    plain = (y > 35) & (np.abs(x) < 45) & FLAT
    raise_mm = 1.0
    surface = made(followed(bumped(raise_mm), support=(x < 0).astype(float)))
    offset = raised(surface)
    np.testing.assert_allclose(offset[plain & (x < -6)], raise_mm, atol=0.05)
    assert np.abs(offset[(x > 60) & FLAT]).max() < 0.025 and 0.02 < np.median(offset[plain & (x > 4) & (x < 8)]) < raise_mm
    bins = np.digitize(x[plain], np.arange(-45, 46, 1.5))
    profile = np.array([offset[plain][bins == each].mean() for each in np.unique(bins)])
    assert np.diff(profile).max() < 0.02 and np.abs(np.diff(profile)).max() < 0.35  # falls, by no more than a gentle slope
    assert np.abs(np.diff(profile, 2)).max() < 0.15


def test_spikes_are_passed_over():
    rng = np.random.default_rng(0)
    spikes = np.where(rng.random(len(FLAT)) < 0.01, rng.choice([-3.0, 3.0], len(FLAT)), 0.0)
    surface = made(followed(bumped(0.5 + spikes)))
    plain = FLAT & (REGISTERED.vertices[:, 1] > 35)
    assert (np.abs(spikes[plain]) > 1).sum() > 20
    assert np.quantile(np.abs(raised(surface)[plain] - 0.5), 0.99) < 0.05 and np.abs(raised(surface)[plain] - 0.5).max() < 0.8


@settings(max_examples=4)
@given(noise=st.floats(0.2, 0.6), seed=st.integers(0, 9))
def test_rough_targets_are_averaged(noise, seed):
    """Noise of a known roughness shrinks, and no bias comes of it."""
    height = np.random.default_rng(seed).normal(0, noise, len(FLAT))
    offset = raised(made(followed(bumped(height), rough_mm=noise)))
    plain = FLAT & (REGISTERED.vertices[:, 1] > 35)
    assert offset[plain].std() < 0.5 * noise and abs(offset[plain].mean()) < 0.05


def test_the_surest_target_decides_where_it_is_and_the_next_one_elsewhere():
    x = REGISTERED.vertices[:, 0]
    first = followed(bumped(0.3), support=(x > 0).astype(float), sigma_mm=0.1)
    surface = made(first, followed(bumped(-0.3), sigma_mm=0.4))
    plain = FLAT & (REGISTERED.vertices[:, 1] > 35)
    np.testing.assert_allclose(raised(surface)[plain & (x > 6)], 0.3, atol=0.02)
    np.testing.assert_allclose(raised(surface)[plain & (x < -6)], -0.3, atol=0.02)
    assert surface.observed[plain].all()
    np.testing.assert_allclose(surface.sigma_mm[plain & (x > 6)], np.hypot(0.1, FINE_MM), atol=1e-6)
    np.testing.assert_allclose(surface.sigma_mm[plain & (x < -6)], np.hypot(0.4, FINE_MM), atol=1e-6)


def test_what_was_seen_is_said_to_be():
    x = REGISTERED.vertices[:, 0]
    surface = made(followed(REGISTERED, support=(x > 0).astype(float)))
    assert surface.observed.dtype == np.uint8 and set(np.unique(surface.observed)) == {0, 1}
    assert surface.observed[FLAT & (x > 3)].all() and not surface.observed[x < -3].any()
    np.testing.assert_array_equal(np.isnan(surface.sigma_mm), surface.observed == 0)
    np.testing.assert_allclose(np.linalg.norm(surface.directions, axis=1), 1.0)


EMPTY = TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), int))
FAR = grid_mesh(*np.meshgrid([-50.0, 50.0], [-50.0, 50.0]), 300.0)
NOTHING = {"no targets": (), "an empty one": (followed(EMPTY),), "one out of reach": (followed(FAR),),
           "one without support": (followed(bumped(1.0), support=0.0),)}  # fmt: skip


@pytest.mark.parametrize("targets", NOTHING.values(), ids=NOTHING)
def test_where_nothing_is_seen_it_is_the_registered_mesh(targets):
    surface = made(*targets)
    np.testing.assert_array_equal(surface.mesh.vertices[FLAT], REGISTERED.vertices[FLAT])
    assert not surface.observed.any() and np.isnan(surface.sigma_mm).all()
    assert surface_distance(surface.mesh.vertices, REGISTERED).max() < 1.5  # what folds was laid out
    opened_folds = made(*targets, closed=False)
    beside = thin_face().lids == 0
    assert surface_distance(opened_folds.mesh.vertices[beside], REGISTERED).max() < 0.05


@pytest.mark.parametrize("gape_mm", [2.0, 3.0])
def test_closed_lips_of_a_fit_that_gapes_are_one_sheet(gape_mm):
    """The scan shows lips that meet: the surface goes across, seen from the front once, facing forward."""
    model, face = default_model(), thin_face()
    upper, lower = lip_rims(model)
    jaw = np.interp(gape_mm, [0.74, 3.52], [0.0, 0.1])  # of its jaw: this opens by so much
    gaping = opened(model, float(jaw))
    assert np.median(np.linalg.norm(gaping[upper] - gaping[lower], axis=1)) == pytest.approx(gape_mm, abs=0.2)
    shown = face.mesh(face.matrix @ opened(model, 0.0), mouth_closed=True)
    surface = dense_surface(face, gaping, [followed(shown)], mouth_closed=True)
    sheet = face.triangles[(face.lips[face.triangles] > 0.5).all(axis=1)]
    normals = TriangleMesh(surface.mesh.vertices, sheet).triangle_area_vectors
    assert (normals[:, 2] > 0).mean() > 0.999
    assert len(intersecting_triangles(TriangleMesh(surface.mesh.vertices, face.triangles))) == 0
    assert boundary_loops(surface.mesh) == 1
    mouth = (face.lips > 0.5) & (surface.observed > 0)
    assert np.quantile(surface_distance(surface.mesh.vertices[mouth], shown), 0.95) < 0.3


@pytest.mark.parametrize("jaw", [0.3, 1.0])
def test_an_open_mouth_stays_open_and_its_lips_are_followed(jaw):
    model, face = default_model(), thin_face()
    wide = opened(model, jaw)
    shown = face.mesh(face.matrix @ wide + [0.0, 0.0, 0.3], mouth_closed=False)
    surface = dense_surface(face, wide, [followed(shown)], mouth_closed=False)
    assert boundary_loops(surface.mesh) == 2 and len(surface.mesh.triangles) == (~face.membrane).sum()
    assert len(intersecting_triangles(surface.mesh)) == 0
    upper, lower = (face.own[np.isin(face.own[:, 0], rim[8:-8]), 1] for rim in lip_rims(model))
    gap = surface.mesh.vertices[upper, 1].mean() - surface.mesh.vertices[lower, 1].mean()
    truly = shown.vertices[upper, 1].mean() - shown.vertices[lower, 1].mean()
    assert gap == pytest.approx(truly, abs=0.5)


@pytest.mark.parametrize("centre", [CHEEK, FOREHEAD, (20.0, -62.0)], ids=["cheek", "forehead", "chin"])
def test_plain_skin_that_was_crumpled_is_smoothed_out(centre):
    """Where skin lies close to skin the template's folds are asked for crossings; elsewhere a ragged scan may make them."""
    near = about(centre, 2.0) > 0.3
    crumpled = REGISTERED.vertices + near[:, None] * np.random.default_rng(0).normal(0, 2.0, (len(near), 3))
    assert len(intersecting_triangles(REGISTERED.with_vertices(crumpled))) > 10
    apart = _drawn_apart(thin_face(), crumpled, REGISTERED.vertices, mouth_closed=True)
    assert len(intersecting_triangles(REGISTERED.with_vertices(apart))) == 0
    far = np.linalg.norm(REGISTERED.vertices[:, :2] - centre, axis=1) > 30
    np.testing.assert_array_equal(apart[far], _drawn_apart(thin_face(), REGISTERED.vertices, REGISTERED.vertices, True)[far])


def test_moving_the_target_a_little_moves_the_surface_a_little():
    """Also where the part that was laid out ends: no threshold."""
    lips = (thin_face().lips > 0) & (thin_face().lips < 1)
    one, other = (made(followed(bumped(height))).mesh.vertices for height in (0.8, 0.8 + 1e-3))
    assert np.linalg.norm(one - other, axis=1)[lips].max() < 0.05


def test_offsets_pass_from_the_part_that_was_laid_out_to_the_rest_without_a_step():
    face = thin_face()
    zone, plain = np.maximum(face.lids, face.lips), made(followed(REGISTERED)).mesh.vertices
    lifted = made(followed(bumped(2.0))).mesh.vertices
    change = np.linalg.norm(lifted - plain, axis=1)
    edges = REGISTERED.edges
    across = (
        (zone[edges].min(axis=1) <= 0.5) & (zone[edges].max(axis=1) > 0.5) & (REGISTERED.vertex_normals[edges, 2] > 0.8).all(1)
    )
    lengths = np.linalg.norm(np.diff(REGISTERED.vertices[edges], axis=1)[:, 0], axis=1)
    slope = np.abs(np.diff(change[edges], axis=1)[:, 0]) / lengths
    assert across.sum() > 100 and slope[across].max() < 0.4


@given(offset=st.floats(-50, 50), room=st.floats(0.01, 6), step=st.floats(1e-6, 0.1))
def test_offsets_within_half_of_the_room_are_kept_and_none_uses_all(offset, room, step):
    found = within(np.array([offset, offset + step, -offset]), np.full(3, room))
    assert abs(found[0]) <= room and found[2] == -found[0] and -1e-12 <= found[1] - found[0] <= step * (1 + 1e-9) + 1e-12
    if abs(offset) <= room / 2:
        assert found[0] == offset


def test_an_offset_that_nothing_else_tells_is_drawn_to_nothing():
    """The prior S: a target as rough as that is followed half-way."""
    offset = raised(made(followed(bumped(0.5), rough_mm=SIZE_MM)))
    plain = FLAT & (REGISTERED.vertices[:, 1] > 45) & (np.abs(REGISTERED.vertices[:, 0]) < 25)
    assert np.median(offset[plain]) == pytest.approx(0.25, abs=0.03)


def test_the_same_comes_out_twice():
    target = bumped(about(CHEEK, 9.0))
    once, again = (made(followed(target)) for _ in range(2))
    for name in ("observed", "sigma_mm", "directions"):
        assert getattr(once, name).tobytes() == getattr(again, name).tobytes()
    assert once.mesh.vertices.tobytes() == again.mesh.vertices.tobytes()
