import numpy as np
import pytest
from sampled_faces import default_model
from scipy.spatial.transform import Rotation
from surfaces import SMALL_CHART, bumpy_depth, bumpy_mesh, image_with, sphere

from geometry.charts.chart import CylindricalChart, OrthographicChart
from geometry.charts.curvature import positions
from geometry.charts.geometry_image import GeometryImage, channel_normals
from geometry.charts.rasterize import image_from_depth, rasterize
from geometry.evaluation.metrics import surface_errors
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.reconstruction.depth_normal_fusion import fuse, normal_disagreement
from geometry.reconstruction.lifting import LiftingOptions, _split_bow_ties, lift
from geometry.reconstruction.surface_target import FACING, SurfaceTarget
from geometry.reconstruction.template_registration import (
    RegistrationOptions,
    _neighbours,
    _unflipped,
    register_to_targets,
    visibility,
)
from geometry.surfaces.closest_point import surface_distance
from geometry.surfaces.joined_borders import joined
from geometry.surfaces.seen_surface import seen_surface

CHART = OrthographicChart(192, 192, 0.75, 0.0, 0.0)
X, Y = positions(np.zeros((192, 192)), CHART)[..., :2].transpose(2, 0, 1)
BUMPY = bumpy_mesh()
IMAGE = rasterize(BUMPY, CHART)
DEPTH = IMAGE["depth"].astype(float)
NORMALS = channel_normals(IMAGE)
ALL = np.ones(IMAGE.shape, bool)


def vertex_fans(mesh: TriangleMesh) -> np.ndarray:
    """(n,) number of triangle fans around each vertex that has triangles, by walking their links."""
    fans = []
    for vertex in range(len(mesh.vertices)):
        groups = []
        for link in [set(t) - {vertex} for t in mesh.triangles[(mesh.triangles == vertex).any(1)].tolist()]:
            touching = [g for g in groups if g & link]
            groups = [g for g in groups if not g & link] + [set().union(link, *touching)]
        fans.append(len(groups))
    return np.array(fans)


@pytest.mark.parametrize(
    "mesh, chart",
    [
        (sphere(), SMALL_CHART),
        (sphere(), CylindricalChart(128, 200, 1.0, axis_z=-60.0, centre_y=0.0)),
        (BUMPY, OrthographicChart()),
    ],
)
def test_encode_decode_lift_loses_less_than_two_hundredths_of_a_millimetre(mesh, chart):
    image = rasterize(mesh, chart)
    lifted = lift(image, image.valid_mask).mesh
    facing = mesh.vertex_normals @ [0, 0, 1] > 0.3
    inner = np.linalg.norm(mesh.vertices[:, :2], axis=1) < 55
    assert np.median(surface_distance(mesh.vertices[facing & inner], lifted)) < (0.02 if chart.pixel_mm < 1.5 else 0.03)
    assert np.median(surface_distance(lifted.vertices, mesh)) < 1e-3


def test_vertices_lie_on_the_charts_rays_at_the_images_depth():
    image = rasterize(BUMPY, CHART)
    np.testing.assert_allclose(lift(image, ALL).mesh.vertices, positions(image["depth"], CHART).reshape(-1, 3), atol=1e-9)


def test_a_lifted_surface_is_manifold_outward_and_one_piece():
    ragged = rasterize(sphere(), SMALL_CHART)
    valid = ragged.valid_mask & (np.random.default_rng(0).random(ragged.shape) > 0.25)
    options = LiftingOptions(face_axes=(1e-6, 1e-6), hole_mm2=0.0, peel_px=0, island_mm2=1e9)
    mesh = lift(GeometryImage(ragged.channels, valid, SMALL_CHART), valid, options=options).mesh
    assert mesh.is_edge_manifold and (mesh.triangle_area_vectors[:, 2] > 0).all()
    assert (vertex_fans(mesh) == 1).all() and np.unique(mesh.component_labels).size == 1


def test_a_bow_tie_becomes_two_vertices():
    bow = np.array([[0, 4, 1], [4, 7, 8]])  # two cells of a 3 × 3 grid that share only its middle
    triangles, copies = _split_bow_ties(bow, (3, 3))
    np.testing.assert_array_equal(copies, [4])
    assert len(np.intersect1d(triangles[0], triangles[1])) == 0


def test_colours_confidence_and_observed_travel_with_their_pixels():
    colors = np.stack([X + 100, Y + 100, np.full(X.shape, 7)], 2).astype(np.uint8)
    surface = lift(IMAGE, X < 0, confidence=np.abs(X) / 100, colors=colors)
    np.testing.assert_array_equal(surface.observed, surface.mesh.vertices[:, 0] < 0)
    np.testing.assert_allclose(surface.confidence, np.abs(surface.mesh.vertices[:, 0]) / 100, atol=1e-6)
    np.testing.assert_array_equal(surface.mesh.colors[:, 0], (surface.mesh.vertices[:, 0] + 100).astype(np.uint8))
    assert surface.observed.dtype == np.uint8 and surface.confidence.dtype == np.float32


def test_holes_inside_the_face_are_filled_smoothly_and_marked_unobserved():
    hole = np.hypot(X - 20, Y) < 6
    surface = lift(GeometryImage(IMAGE.channels, ~hole, CHART), ~hole)
    filled = np.hypot(surface.mesh.vertices[:, 0] - 20, surface.mesh.vertices[:, 1]) < 6
    assert filled.sum() == hole.sum() and not surface.observed[filled].any() and surface.observed[~filled].all()
    x, y, z = surface.mesh.vertices[filled].T
    assert np.abs(z - bumpy_depth(x, y)).max() < 1.0
    assert len(lift(IMAGE, ALL).mesh.boundary_edges) == len(surface.mesh.boundary_edges)


def test_a_large_hole_outside_the_face_stays_open():
    hole = np.hypot(X, Y + 62) < 6
    surface = lift(GeometryImage(IMAGE.channels, ~hole, CHART), ~hole)
    assert len(surface.mesh.vertices) < ALL.sum() and len(surface.mesh.boundary_edges) > len(lift(IMAGE, ALL).mesh.boundary_edges)


def test_jumps_are_bridged_inside_the_face_and_cut_at_the_outer_silhouette():
    flat = image_from_depth(np.zeros(X.shape), ALL, CHART)  # normals of a surface that does not know of the jump
    beside = lift(image_with(flat, depth=np.where(X < 62, 0.0, -20.0)), ALL, options=LiftingOptions(island_mm2=1.0)).mesh
    assert np.ptp(beside.vertices[beside.triangles][..., 2], axis=1).max() < 1e-6  # no web
    assert np.unique(beside.component_labels).size == 2
    across = lift(image_with(flat, depth=-20.0 * (np.hypot(X, Y) > 15)), ALL).mesh
    assert np.unique(across.component_labels).size == 1 and len(across.vertices) == ALL.sum()


def test_small_islands_are_dropped_and_large_pieces_kept():
    valid = (np.abs(X + 20) < 40) | ((np.abs(X - 50) < 3) & (np.abs(Y) < 3))
    assert lift(GeometryImage(IMAGE.channels, valid, CHART), valid).mesh.vertices[:, 0].max() < 25
    valid |= np.abs(X - 60) < 8
    assert lift(GeometryImage(IMAGE.channels, valid, CHART), valid).mesh.vertices[:, 0].max() > 60


def test_single_pixel_spikes_are_removed():
    depth = IMAGE["depth"].copy()
    depth[96, 96] += 30
    depth[40, 40:42] -= 25
    lifted = lift(image_with(IMAGE, depth=depth), ALL).mesh
    assert np.abs(lifted.vertices[:, 2] - bumpy_depth(*lifted.vertices[:, :2].T)).max() < 0.7


def test_a_clean_scan_passes_through_fusion_unchanged():
    assert np.abs(fuse(DEPTH, NORMALS, ALL, CHART) - DEPTH).max() < 0.01


def test_depth_noise_is_pulled_to_the_normals():
    noisy = DEPTH + np.random.default_rng(0).normal(0, 0.4, DEPTH.shape)
    fused = fuse(noisy, NORMALS, ALL, CHART)
    inner = np.s_[5:-5, 5:-5]
    assert (fused - DEPTH)[inner].std() < 0.3 * (noisy - DEPTH)[inner].std()
    assert normal_disagreement(fused, NORMALS, ALL, CHART) < 0.3 * normal_disagreement(noisy, NORMALS, ALL, CHART)


def test_normals_alone_restore_detail_that_the_depth_has_lost():
    smooth, ripple = -(X**2 + Y**2) / 200, 0.25 * np.cos(X / 0.9)
    fused = fuse(smooth, channel_normals(image_from_depth(smooth + ripple, ALL, CHART)), ALL, CHART)
    assert np.corrcoef((fused - smooth)[8:-8, 8:-8].ravel(), ripple[8:-8, 8:-8].ravel())[0, 1] > 0.9


def test_a_mean_error_of_the_depth_is_not_the_normals_business():
    noisy = DEPTH + 2.0 + np.random.default_rng(0).normal(0, 0.4, DEPTH.shape)
    assert (fuse(noisy, NORMALS, ALL, CHART) - DEPTH).mean() == pytest.approx(2.0, abs=0.02)


def test_an_image_without_valid_pixels_lifts_to_an_empty_mesh():
    surface = lift(GeometryImage({k: np.zeros_like(v) for k, v in IMAGE.channels.items()}, ~ALL, CHART), ~ALL)
    assert len(surface.mesh.triangles) == 0 and len(surface.observed) == 0


# Registration: the model is a coarse grid over the same relief, without its nose and wrinkles.

MODEL_MESH = bumpy_mesh(2.5, 70.0)
FLAT = MODEL_MESH.vertices * [1, 1, 0] + [0, 0, 1] * (-18 - (MODEL_MESH.vertices[:, :2] ** 2).sum(1, keepdims=True) / 150)
MODEL = MorphableModel(
    "grid",
    FLAT,
    MODEL_MESH.triangles,
    np.zeros((0, len(FLAT), 3), np.float32),
    np.zeros((0, len(FLAT), 3), np.float32),
    {"ibug68": np.zeros(68, int)},
    {"face": np.ones(len(FLAT), bool)},
)
GENTLE = image_from_depth(-18 - (X**2 + Y**2) / 150 + 3 * np.exp(-(X**2 + Y**2) / 300), ALL, CHART)


def target(surface: TriangleMesh, support: np.ndarray | float = 1.0) -> SurfaceTarget:
    """A surface that is followed as it is."""
    count = len(surface.vertices)
    return SurfaceTarget(surface, np.full(count, support), np.full(count, 0.1), 0.03)


def register(image: GeometryImage, observed: np.ndarray) -> np.ndarray:
    """The flat model registered to an image's surface, of which what is not observed counts little."""
    lifted = lift(image, observed)
    return register_to_targets(MODEL, FLAT, target(lifted.mesh, np.where(lifted.observed > 0, 1.0, 0.05)), CHART)


def test_registration_puts_the_model_on_the_surface_with_its_triangles():
    registered = register(GENTLE, ALL)
    x, y, z = registered[np.abs(FLAT[:, :2]).max(1) < 60].T
    assert np.abs(z - (-18 - (x**2 + y**2) / 150 + 3 * np.exp(-(x**2 + y**2) / 300))).mean() < 0.02
    lifted = lift(GENTLE, ALL).mesh
    errors = surface_errors(lifted, TriangleMesh(registered, MODEL.triangles), np.array([0, 0, -15.0]), outer_mm=55, inner_mm=50)
    assert errors.distance < 0.02 and errors.normal_angle < 1.0


def test_registration_neither_flips_triangles_nor_slides_far_along_the_surface():
    registered = register(GENTLE, ALL)
    after = TriangleMesh(registered, MODEL.triangles).triangle_area_vectors
    assert ((TriangleMesh(FLAT, MODEL.triangles).triangle_area_vectors * after).sum(1) > 0).all()
    assert np.abs(registered - FLAT)[:, :2].max() < 2.5


def test_what_the_scan_does_not_reach_follows_smoothly():
    covered = X < 0
    registered = register(GeometryImage(GENTLE.channels, covered, CHART), covered)
    edges = TriangleMesh(FLAT, MODEL.triangles).edges
    unseen = (FLAT[edges, 0] > 4).all(1)
    assert np.linalg.norm(registered - FLAT, axis=1)[FLAT[:, 0] > 60].max() < 0.3  # far from data it fades
    jumps = np.linalg.norm((registered - FLAT)[edges[unseen, 0]] - (registered - FLAT)[edges[unseen, 1]], axis=1)
    assert jumps.max() < 0.4


def test_nothing_to_register_to_leaves_the_coarse_mesh():
    np.testing.assert_array_equal(register(GeometryImage(GENTLE.channels, ~ALL, CHART), ~ALL), FLAT)


def sheets(tilt_deg, *heights):
    """The model's grid as parallel flat sheets at these heights, in mm, turned about the y axis."""
    turn = Rotation.from_euler("y", tilt_deg, degrees=True)
    flat = [turn.apply(FLAT * [1, 1, 0] + [0, 0, height]) for height in heights]
    return TriangleMesh(np.concatenate(flat), np.concatenate([MODEL.triangles + i * len(FLAT) for i in range(len(flat))]))


# where each choice stands at half: (tilt of the model, tilt of the surface's sheets, their heights, rounds of projection)
@pytest.mark.parametrize(
    "tilt, surface_tilt, heights, projections",
    [
        (0, np.degrees(np.arccos(np.mean(FACING))), (0.0,), 2),
        (np.degrees(np.arccos(0.2)), np.degrees(np.arccos(0.2)), (0.5,), 0),
        (np.degrees(np.arccos(0.1)), np.degrees(np.arccos(0.1)), (0.5,), 2),
        (0, 0, (RegistrationOptions().reach_mm,), 1),
        (0, 0, (2.0, -2.0), 2),
    ],
    ids=["facing", "grazing", "visible", "reach", "nearer"],
)
def test_no_vertex_moves_by_the_last_bits_of_the_coordinates(tilt, surface_tilt, heights, projections):
    def registered(change):
        surface = sheets(surface_tilt + change, heights[0] + change, *heights[1:])
        coarse, options = sheets(tilt + change, 0.0).vertices, RegistrationOptions(projections=projections)
        vertices = register_to_targets(MODEL, coarse, target(surface), CHART, options=options)
        return vertices[np.abs(FLAT[:, :2]).max(1) < 60]  # a ray may miss the grids' borders by the last bit

    # midway between two sheets each round pushes it further off, so a change may grow; a jump is 0.5 mm and more
    assert np.abs(registered(1e-6) - registered(-1e-6)).max() < 0.02


def test_a_turned_triangle_is_mended_without_a_jump():
    coarse, height = TriangleMesh(FLAT, MODEL.triangles), np.linspace(0, 15, 101)
    pulled = FLAT + np.eye(len(FLAT))[len(FLAT) // 2][:, None] * [0, 0, 1] * height[:, None, None]
    mended = np.stack(
        [_unflipped(vertices, coarse, _neighbours(coarse), RegistrationOptions().turned_deg) for vertices in pulled]
    )
    steps, after = np.abs(np.diff(mended, axis=0)).max((1, 2)), coarse.with_vertices(mended[-1]).triangle_area_vectors
    assert (mended[0] == FLAT).all() and steps.max() < 10 * height[1]
    assert ((after * coarse.triangle_area_vectors).sum(1) > 0).all()


def test_what_is_visible_does_not_turn_with_the_last_bits_of_the_coordinates():
    mesh, hidden_mm = default_model().mesh(), RegistrationOptions().hidden_mm
    visible = visibility(mesh, OrthographicChart(), hidden_mm)
    shaken = mesh.with_vertices(mesh.vertices + np.random.default_rng(0).normal(0, 1e-5, mesh.vertices.shape))
    assert visible.sum() > 9000 and np.abs(visibility(shaken, OrthographicChart(), hidden_mm) - visible).max() < 1e-3


def test_eyeballs_are_registered_too_and_linings_stay_on_their_rims(model):
    """A scanned eye is the eyeball's surface; what begins on lids and lips does not part from them."""
    seen = TriangleMesh(model.mean + [0.0, 0.0, 0.8], seen_surface(model)[0])
    registered = register_to_targets(model, model.mean, target(seen), CHART)
    front = model.regions["eyeballs"] & (model.mean[:, 2] > -38)
    assert np.median(surface_distance(registered[front], seen)) < 0.1 < 0.5 < np.median(surface_distance(model.mean[front], seen))
    first = joined(model.mesh())
    assert (first != np.arange(model.n_vertices)).sum() > 100 and np.array_equal(registered, registered[first])
