"""Sampled faces: amplitudes, bands, where detail lies, determinism, and the subdivision that carries it."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sampled_faces import default_model as model
from surfaces import grid_mesh

from geometry.charts.chart import OrthographicChart
from geometry.charts.rasterize import rasterize
from geometry.mesh import TriangleMesh, merged
from geometry.surfaces.raycasting import cast_rays, first_hits, raycasting_scene
from geometry.surfaces.subdivision import refine_region
from geometry.synthesis import faces, fine_surface, occluders, sensors, wrinkles
from geometry.synthesis.faces import SynthesisOptions, sample_face

BARE = SynthesisOptions(hair_share=0.0, hand_share=0.0, glasses_share=0.0)


@cache
def face(seed=0, options=BARE):
    return sample_face(model(), np.random.default_rng(seed), options)


def average():
    """The coefficients of the mean."""
    return np.zeros(model().n_identity)


def grid(n=12, step=3.0):
    return grid_mesh(*np.meshgrid(*2 * [np.arange(n) * step]))


@pytest.fixture
def surface():
    return fine_surface.fine_surface(model(), BARE.edge_mm)


@pytest.fixture
def marks():
    return model().mean[model().landmarks["ibug68"]]


def test_subdivision_keeps_old_vertices_and_makes_no_t_junctions():
    coarse = grid()
    x, count = coarse.vertices[:, 0], len(coarse.vertices)
    fine = refine_region(coarse.vertices, coarse.triangles, (x > 8) & (x < 25), 1.6)
    mesh = TriangleMesh(fine.apply(coarse.vertices), fine.triangles)
    np.testing.assert_array_equal(mesh.vertices[:count], coarse.vertices)
    assert mesh.is_edge_manifold and len(mesh.vertices) > 3 * count
    assert mesh.vertex_areas.sum() == pytest.approx(coarse.vertex_areas.sum())
    outline = lambda m: np.linalg.norm(np.diff(m.vertices[m.boundary_edges], axis=1)[:, 0], axis=1).sum()
    assert outline(mesh) == pytest.approx(outline(coarse)), "a crack would lengthen the boundary"
    assert (mesh.triangle_area_vectors[:, 2] > 0).all()
    line = np.isclose(x, np.unique(x)[np.unique(x) > 12][0])
    along = fine.along(line)
    assert (along[:count] == line).all() and along.sum() == 2 * line.sum() - 1
    np.testing.assert_allclose(mesh.vertices[along, 0], x[line][0])


def test_subdivision_reproduces_linear_functions_and_follows_a_curved_surface():
    coarse = grid(20, 2.0)
    fine = refine_region(coarse.vertices, coarse.triangles, np.ones(len(coarse.vertices), bool), 1.5)
    points = fine.apply(coarse.vertices)
    np.testing.assert_allclose(fine.apply(coarse.vertices @ [1.0, 2, 3]), points @ [1.0, 2, 3], atol=1e-9)
    bowl = lambda p: ((p[:, :2] - 19) ** 2).sum(1) / 80  # a radius of curvature of 40 mm
    butterfly = np.abs(fine.apply(bowl(coarse.vertices)) - bowl(points))[(np.abs(points[:, :2] - 19) < 12).all(1)].max()
    assert butterfly < 1e-9, "the butterfly scheme is exact on quadratics over a regular grid; midpoints miss by 0.025 mm"


def test_the_fine_mesh_resolves_the_detail_it_carries(surface):
    mesh = TriangleMesh(surface.mean, surface.subdivision.triangles)
    edges = mesh.edges[np.isin(mesh.edges, surface.detailed).all(1)]
    lengths = np.linalg.norm(mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]], axis=1)
    assert np.median(lengths) < 1.1 and np.quantile(lengths, 0.95) < 2.0
    assert mesh.is_edge_manifold == model().mesh().is_edge_manifold


def test_the_same_generator_gives_the_same_face_and_another_another():
    np.testing.assert_array_equal(sample_face(model(), np.random.default_rng(0), BARE).mesh.vertices, face(0).mesh.vertices)
    assert np.abs(face(1).mesh.vertices - face(0).mesh.vertices).max() > 1.0


def test_a_person_keeps_shape_and_detail_while_the_expression_changes():
    one, other = (
        sample_face(model(), np.random.default_rng([5, number]), BARE, person=np.random.default_rng(99)) for number in (1, 2)
    )
    np.testing.assert_array_equal(one.identity, other.identity)
    np.testing.assert_array_equal(one.displacement, other.displacement)
    assert not np.array_equal(one.expression, other.expression)


def test_shape_beyond_the_span_has_the_stated_amplitude_and_is_not_symmetric():
    points = model().mean[model().regions["face"]]
    options = replace(BARE, beyond_rms_mm=(0.5, 0.5), broad_rms_mm=(0.0, 0.0))
    fields = np.array([faces.discrepancy(points, np.random.default_rng(seed), options) for seed in range(40)])
    assert fields.std() == pytest.approx(0.5, rel=0.1)
    mirrored = np.array([faces.discrepancy(points * [-1, 1, 1], np.random.default_rng(seed), options) for seed in range(40)])
    correlation = np.mean(fields * mirrored) / 0.5**2
    assert 0.3 < correlation < 0.75, "half of the variance is mirrored (more near the midline, where both halves are one)"


def test_the_model_cannot_represent_what_lies_beyond_its_span():
    """At least half of the field's energy is left after a least-squares fit of all modes over the face."""
    face_vertices = model().regions["face"]
    basis = np.concatenate([model().identity_basis, model().expression_basis])[:, face_vertices]
    along = np.einsum("knc,nc->nk", basis, model().mesh().vertex_normals[face_vertices])
    field = faces.discrepancy(model().mean[face_vertices], np.random.default_rng(3), replace(BARE, broad_rms_mm=(0.0, 0.0)))
    assert (field - along @ np.linalg.lstsq(along, field, rcond=None)[0]).std() > 0.5 * field.std()


def test_fine_detail_grows_with_its_strength_and_stays_in_the_range_of_skin(surface, marks):
    points = surface.mean[surface.detailed]
    rms = [
        np.mean([wrinkles.detail(points, marks, strength, np.random.default_rng(seed)).std() for seed in range(3)])
        for strength in (0.0, 0.4, 1.0)
    ]
    assert rms[0] < 0.04 < rms[2] < 0.3 and rms[0] < rms[1] < rms[2]
    aged = wrinkles.detail(points, marks, 1.0, np.random.default_rng(4))
    assert -2.5 < aged.min() < -0.25 and aged.max() < 1.5


def test_texture_has_the_asked_rms_and_nothing_outside_its_band():
    x = np.arange(0, 120, 0.5)
    points = np.stack([np.zeros_like(x), x - 60, np.zeros_like(x)], 1)
    spectrum = np.zeros(len(x) // 2 + 1)
    for seed in range(20):
        field = wrinkles.texture(points, 0.1, np.random.default_rng(seed))
        spectrum += np.abs(np.fft.rfft(field * np.hanning(len(x)))) ** 2
    wavelength = 1 / np.maximum(np.fft.rfftfreq(len(x), 0.5), 1e-9)
    assert spectrum[wavelength < 1.8].sum() < 0.01 * spectrum.sum()
    assert spectrum[(wavelength > 4) & (wavelength < 30)].sum() > 0.5 * spectrum.sum()
    everywhere = wrinkles.texture(np.random.default_rng(0).uniform(-60, 60, (20000, 3)), 0.1, np.random.default_rng(1))
    assert everywhere.std() == pytest.approx(0.1, rel=0.1)


def test_a_stroke_is_a_groove_of_its_depth_with_raised_flanks_and_ends():
    stroke = wrinkles.Stroke(np.array([0.0, 0.0]), 0.0, 40.0, depth=0.5, width=1.0)
    profile = stroke.displacement(np.stack([np.full(401, 20.0), np.linspace(-10, 10, 401)], 1))
    assert profile.argmin() == 200 and profile.min() == pytest.approx(-0.5, rel=0.08)
    assert profile.max() > 0.1 and abs(profile[0]) < 1e-6
    assert np.abs(stroke.displacement(np.array([[-1.0, 0], [41.0, 0]]))).max() < 1e-9


def test_detail_spares_eyes_mouth_and_back_of_the_head(surface):
    fine_eyes = surface.subdivision.apply(model().regions["eyes"].astype(float)) > 0.5
    assert not fine_eyes[surface.detailed[surface.weight > 0.5]].any()
    assert surface.mean[surface.detailed, 2].min() > -125
    assert np.abs(face(0).displacement[fine_eyes]).max() < 0.05


def test_landmarks_lie_on_the_sampled_surface():
    np.testing.assert_array_equal(face(0).landmarks, face(0).mesh.vertices[model().landmarks["ibug68"]])


def test_expression_weights_stay_in_the_models_range():
    names = tuple(f"shape{i}_{'LR'[i % 2]}" for i in range(model().n_expression))
    bounded = replace(model(), expression_range=(0.0, 1.0), expression_names=names)
    options = replace(BARE, expression_strength=(1.0, 1.0))
    drawn = np.array([faces.sample_expression(bounded, average(), np.random.default_rng(seed), options) for seed in range(50)])
    assert drawn.min() >= 0 and drawn.max() <= 1 and 0.02 < (drawn > 0).mean() < 0.4


def test_occluders_lie_before_the_face_and_do_not_cover_it():
    seen = sample_face(model(), np.random.default_rng(7), replace(BARE, hair_share=1.0, hand_share=1.0))
    assert len(seen.occluders) == 2
    hand = seen.occluders[1]
    assert hand.vertices[:, 2].max() > seen.landmarks[8, 2]
    volume = np.einsum("ij,ij->", hand.vertices[hand.triangles[:, 0]], hand.triangle_area_vectors) / 3
    assert volume > 0, "wound so that normals point outward"
    together = [seen.mesh, *seen.occluders]
    assert len(merged(together).vertices) == sum(len(mesh.vertices) for mesh in together)


def test_features_move_most_and_half_of_it_mirrored():
    options = faces.SynthesisOptions(feature_rms_mm=(1.0, 1.0))
    shift = np.stack([faces.feature_shift(model().mean, np.random.default_rng(n), options) for n in range(40)])
    assert np.sqrt((shift**2).mean()) == pytest.approx(1.0, rel=0.15)
    share = fine_surface.fine_surface(model(), options.edge_mm).features
    assert share[model().regions["eyes"]].min() > 0.6 and share[model().regions["forehead"]].mean() < 0.45


def test_softened_features_lose_their_sharpest_curves_and_nothing_else_moves():
    averaging = fine_surface.fine_surface(model(), 1.2).averaging
    options = faces.SynthesisOptions(soft_share=1.0, soft_rounds=(8.0, 8.1))
    soft = faces.soften(model().mean, model(), averaging, np.random.default_rng(0), options)
    moved = np.linalg.norm(soft - model().mean, axis=1)
    assert moved[model().regions["eyes"]].max() > 0.5
    assert np.median(moved[~(model().regions["eyes"] | model().regions["mouth"] | model().regions["nose"])]) == 0
    untouched = faces.soften(model().mean, model(), averaging, np.random.default_rng(0), faces.SynthesisOptions(soft_share=0.0))
    np.testing.assert_array_equal(untouched, model().mean)


def test_a_beard_grows_on_the_jaw_and_not_on_lips_or_brow(marks):
    grown = np.mean([wrinkles.beard(model().mean, marks, np.random.default_rng(n)) for n in range(8)], axis=0)
    assert grown.min() >= 0 and grown.max() < 12
    chin = np.linalg.norm(model().mean - (marks[8] + [0, 5, 0]), axis=1) < 12
    assert grown[chin].mean() > 0.5 and grown[model().mean[:, 1] > marks[27, 1]].max() == 0
    assert grown[np.linalg.norm(model().mean - marks[62], axis=1) < 5].max() < 0.2


def test_glasses_sit_before_the_eyes_and_leave_them_free(marks):
    for seed in range(5):
        frame = occluders.glasses(marks, np.random.default_rng(seed))
        for eye in (marks[36:42].mean(0), marks[42:48].mean(0)):
            assert frame.vertices[np.hypot(*(frame.vertices - eye)[:, :2].T) < 32][:, 2].min() > eye[2] - 5
            assert np.hypot(*(frame.vertices - eye)[:, :2].T)[frame.vertices[:, 2] > eye[2]].min() > 8


def test_what_hides_a_face_is_wound_outward(marks):
    """A sensor sees no inner side: frames that were wound inward were holes."""
    rng = np.random.default_rng(0)
    for thing in (occluders.glasses(marks, rng), occluders.shoulders(marks, rng)):
        low, high = thing.vertices.min(0), thing.vertices.max(0)
        x, y = np.meshgrid(np.linspace(low[0], high[0], 200), np.linspace(low[1], high[1], 200))
        starts = np.stack([x.ravel(), y.ravel(), np.full(x.size, high[2] + 10)], 1)
        distance, _, _, normals = first_hits(raycasting_scene(thing), starts, np.tile([0.0, 0.0, -1.0], (x.size, 1)))
        hit = np.isfinite(distance)
        assert hit.sum() > 200 and (normals[hit, 2] > -1e-6).mean() > 0.99


def test_no_sampled_mouth_closes_more_than_its_jaw_opens():
    names = list(model().expression_names)
    drawn = np.stack([faces.sample_expression(model(), average(), np.random.default_rng(n), BARE) for n in range(300)])
    closes, opens = drawn[:, names.index("mouthClose")], drawn[:, names.index("jawOpen")]
    assert (closes <= opens).all() and (opens > 0).sum() > 10 and (closes > 0).any()


def test_a_share_of_faces_opens_its_jaw_wide_and_the_others_stay_as_they_were():
    jaw = list(model().expression_names).index("jawOpen")
    draw = lambda n, **change: faces.drawn_expression(model(), np.random.default_rng(n), replace(BARE, **change))
    opened = np.array([draw(n, open_share=0.5, open_jaw=(0.6, 0.9))[jaw] for n in range(200)])
    wide = (opened >= 0.6) & (opened <= 0.9)
    assert 0.35 < wide.mean() < 0.65
    np.testing.assert_array_equal(draw(3), draw(3, open_share=0.0, open_jaw=(0.9, 1.0)))


def expressing(weights):
    """A face with blendshapes of those weights and nothing else that a model does not hold."""
    expression = np.array([weights.get(name, 0.0) for name in model().expression_names])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces, "sample_expression", lambda *_: expression)
        return sample_face(model(), np.random.default_rng(0), replace(BARE, soft_share=0.0))


def seen_from_the_front(mesh, points):
    """Points (k, 3) → distance (k,) to the mesh behind them along −z, inf where none; whether its outer side is met."""
    origins = np.column_stack([np.asarray(points)[:, :2], np.full(len(points), 200.0)])
    distance, _, _, outer = cast_rays(raycasting_scene(mesh), origins, np.tile([0.0, 0, -1], (len(points), 1)))
    return 200 - distance, outer


def test_a_sensor_sees_eyeballs_between_the_lids_and_teeth_behind_parted_lips():
    opened = expressing({"jawOpen": 0.7})
    eyes = np.stack([opened.landmarks[36:42].mean(0), opened.landmarks[42:48].mean(0)])
    depth, outer = seen_from_the_front(opened.skin, eyes)
    assert outer.all() and (np.abs(depth - eyes[:, 2]) < 6).all()
    upper, lower = opened.landmarks[[62, 66]]
    between = np.linspace(upper, lower, 9)[1:-1]
    assert upper[1] - lower[1] > 15
    assert not seen_from_the_front(opened.skin, between)[1].any(), "the true surface is open there"
    depth, outer = seen_from_the_front(merged([opened.skin, *opened.surroundings]), between)
    behind = between[:, 2] - depth
    assert outer.all() and behind.min() > 1 and behind.max() < faces.MOUTH_DEPTH_MM[1] + 8


def test_the_truth_ends_at_the_lips_of_an_open_mouth_and_holds_the_eyes():
    opened, chart = expressing({"jawOpen": 0.7}), OrthographicChart(160, 160, 1.0)
    truth = rasterize(opened.mesh, chart, opened.excluded)
    at = lambda point: tuple(np.round(chart.project(point[None])[0][0]).astype(int)[::-1])
    assert not truth.valid_mask[at(opened.landmarks[[62, 66]].mean(0))]
    assert all(truth.valid_mask[at(opened.landmarks[eye].mean(0))] for eye in (slice(36, 42), slice(42, 48)))


def test_closed_lips_leave_no_mouth_to_see_and_lids_cover_hardly_anything_of_eyeballs(surface):
    mesh = TriangleMesh(surface.mean, surface.subdivision.triangles)
    area = np.linalg.norm(mesh.triangle_area_vectors, axis=1)
    assert 0 < surface.excluded.sum() < 100 and area[surface.excluded].sum() < 60
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(-60, 60, 0.5), np.arange(0, 60, 0.5)))
    origins = np.stack([x, y, np.full(x.shape, 200.0)], 1)
    hit = np.unique(cast_rays(raycasting_scene(mesh), origins, np.tile([0.0, 0, -1], (len(origins), 1)))[1])
    assert area[surface.covered].sum() < 20 and not surface.covered[hit].any()  # a ball begins on the lids' rim


@pytest.mark.parametrize("seed", range(4))
def test_no_view_of_a_sampled_face_looks_past_an_eyeball(seed):
    sampled = face(seed)
    scene = raycasting_scene(sampled.skin)
    for yaw in (-40, 0, 40):
        out = sensors.head_rotation(yaw, 0, 0)[2]  # into the scene, in the model's frame
        for eye in (slice(36, 42), slice(42, 48)):
            middle = sampled.landmarks[eye].mean(0)
            x, y = (axis.ravel() for axis in np.meshgrid(np.arange(-13, 13, 0.5), np.arange(-4, 4, 0.5)))
            origins = middle + np.outer(x, [1.0, 0, 0]) + np.outer(y, [0, 1.0, 0]) - 200 * out
            _, triangle, _, outer = cast_rays(scene, origins, np.tile(out, (len(origins), 1)))
            assert (~outer[triangle >= 0]).mean() < 0.01
