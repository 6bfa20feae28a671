"""Pictures of a model's template: a sphere in the place of a head, of which it is known what a picture has to show."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from surfaces import sphere

from geometry.learning import card_pictures
from geometry.mesh import TriangleMesh
from geometry.model.landmark_embedding import shipped_schemes
from geometry.model.morphable_model import MorphableModel
from geometry.pictures import heads
from geometry.pictures.drawing import draw_lines, label_places
from geometry.pictures.landmark_page import landmark_page
from geometry.pictures.painting import clay, finished, region_of, scaled, wire
from geometry.pictures.template_pages import curves_page, regions_page, wire_page
from geometry.pictures.texture_pages import checker_page, median_by_area, stretch, stretch_page
from geometry.pictures.views import Body, View, seen, view_of

RADIUS, CENTRE = 60.0, np.array([0.0, 0.0, -60.0])
PLAIN = np.full(3, 0.8)


@pytest.fixture(scope="module")
def ball():
    """A model that is a sphere, its landmarks on a spiral round the point in front."""
    mesh = sphere(RADIUS, CENTRE, subdivisions=3)
    turn = np.arange(68) * 2.4
    spiral = np.stack([4 * np.sqrt(np.arange(68)) * np.cos(turn), 4 * np.sqrt(np.arange(68)) * np.sin(turn)], axis=1)
    away = np.linalg.norm(mesh.vertices[:, None, :2] - spiral, axis=2) + 1e3 * (mesh.vertices[:, 2:] < CENTRE[2])
    upper = mesh.vertices[:, 1] > 0
    modes = np.zeros((1, *mesh.vertices.shape), np.float32)
    return MorphableModel(
        "ball", mesh.vertices, mesh.triangles, modes, modes, {"ibug68": away.argmin(axis=0)},
        {"face": np.ones(len(mesh.vertices), bool), "upper": upper, "lower": ~upper},
        expression_names=("jawOpen",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def front(ball):
    return seen(heads.body_of(ball), View(80, 60, 2.5, tuple(CENTRE)))


def test_a_sphere_is_a_disc_on_white(front):
    picture = np.asarray(finished(clay(front))).astype(int)
    row, column = np.mgrid[:60, :80] + 0.5
    away = np.hypot(column - 40, row - 30) * 2.5
    assert (picture[away > RADIUS + 3] == 255).all()
    assert (picture[away < RADIUS - 3].max(axis=1) < 255).all()
    assert front.hit.mean() * 80 * 60 * 2.5**2 == pytest.approx(np.pi * RADIUS**2, rel=0.02)
    light_side, dark_side = picture[20, 30].sum(), picture[42, 55].sum()
    assert light_side > dark_side  # the key light stands to the upper left


@pytest.mark.parametrize("yaw, pitch", [(0.0, 0.0), (38.0, 0.0), (90.0, 0.0), (180.0, 0.0), (25.0, -22.0)])
def test_a_view_looks_from_where_it_says(ball, yaw, pitch):
    view = view_of(ball.mean, (50, 40), yaw, pitch)
    assert np.allclose(view.axes @ view.axes.T, np.eye(3)) and np.linalg.det(view.axes) == pytest.approx(1)
    turned = np.radians([yaw, pitch])
    towards = np.array([np.sin(turned[0]) * np.cos(turned[1]), np.sin(turned[1]), np.cos(turned[0]) * np.cos(turned[1])])
    look, poles = seen(heads.body_of(ball), view), CENTRE + RADIUS * np.outer([1, -1], towards)
    assert look.shows(poles).tolist() == [True, False]
    pixels, depth = view.project(poles)
    assert np.allclose(pixels, [25, 20], atol=0.3) and depth[0] - depth[1] == pytest.approx(2 * RADIUS)
    assert np.nanmax(np.where(look.hit, look.depth, np.nan)) == pytest.approx(depth[0], abs=0.5)


def test_left_of_the_subject_is_right_in_front_and_the_camera_s_side_when_turned():
    left_ear = np.array([[75.0, 0.0, 0.0]])
    view = View(100, 100, 2.0, (0.0, 0.0, 0.0))
    assert view.project(left_ear)[0][0, 0] > 50
    assert replace(view, yaw=90.0).project(left_ear)[1][0] == pytest.approx(75)


def test_a_cut_shows_the_far_half_from_within(ball):
    look = heads.cut_head(heads.body_of(ball), (40, 40))
    assert (look.depth[look.hit] < 0).all()
    assert look.view.cuts and look.depth[60, 60] == pytest.approx(-RADIUS, abs=0.5)


def test_openness_is_whole_outside_and_nothing_within_a_closed_shell():
    ball = sphere(20.0, (0, 0, 0), subdivisions=3)
    inside_out = TriangleMesh(ball.vertices, ball.triangles[:, ::-1])
    colours = np.ones((len(ball.vertices), 3))
    assert Body(ball, colours).openness.min() == 1 and Body(inside_out, colours).openness.max() == 0


def test_wire_lies_on_edges_and_is_as_wide_as_asked(ball):
    square = TriangleMesh([[0, 0, 0], [40, 0, 0], [40, 40, 0], [0, 40, 0]], [[0, 1, 2], [0, 2, 3]])
    look = seen(Body(square, np.ones((4, 3))), View(40, 40, 1.0, (20.0, 20.0, 0.0)))
    points = look.of(square.vertices)
    edge = np.min(
        [points[:, 0], points[:, 1], 40 - points[:, 0], 40 - points[:, 1], abs(points[:, 0] - points[:, 1]) / 2**0.5], 0
    )
    ink = wire(look, 3.0)
    assert (ink[edge < 1.3] == 1).all() and (ink[edge > 1.7] == 0).all()


def test_parts_lie_beside_each_other_and_what_they_make_up_is_apart(ball):
    parts, sets = heads.parts_and_sets(ball)
    assert set(parts) == {"upper", "lower"} and set(sets) == {"face"}
    look = seen(heads.body_of(ball), View(40, 40, 2.0, tuple(CENTRE)))
    found = region_of(look, {"upper": ball.regions["upper"], "lower": ball.regions["lower"]})
    height = look.of(ball.mean)[:, 1]
    assert (found[height > 12] == 0).all() and (found[height < -12] == 1).all()


def test_a_line_is_drawn_where_it_is_seen(front):
    turn = np.linspace(0, 2 * np.pi, 400)
    equator = CENTRE + RADIUS * np.stack([np.sin(turn), np.zeros(400), np.cos(turn)], axis=1)
    white = Image.new("RGB", (80, 60), "white")
    drawn = np.asarray(draw_lines(white, front, [equator], (200, 0, 0), 2.0)).astype(int)
    red = (drawn[..., 0] > 150) & (drawn[..., 1] < 100)
    assert red[29:31, 20:60].all() and not red[:25].any() and not red[35:].any()
    behind = equator[150:250]
    assert draw_lines(white, front, [behind], (200, 0, 0), 2.0).tobytes() == white.tobytes()


def test_labels_keep_off_each_other_and_inside():
    points = np.array([[5.0, 5], [8, 6], [50, 50], [52, 52], [54, 50], [50, 53], [96, 97]])
    extents = np.tile([14.0, 10.0], (len(points), 1))
    places = label_places(points, extents, 2.0, (100, 100))
    apart = np.abs(places[:, None] - places) >= extents
    assert apart.any(axis=2)[~np.eye(len(points), dtype=bool)].all()
    assert (places - extents / 2 >= 0).all() and (places + extents / 2 <= 100).all()


def test_stretch_of_a_plane_is_that_of_its_map(ball):
    flat = replace(
        ball, mean=np.array([[0.0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]]), triangles=np.array([[0, 1, 2], [0, 2, 3]])
    )
    uv = flat.mean[:, :2] * (0.03, 0.01)
    ratio, texels = stretch(flat, uv, flat.triangles)
    assert np.allclose(ratio, 3) and np.allclose(texels, 0.03 * 0.01 * 2048**2)
    turned = uv @ np.array([[0.6, 0.8], [-0.8, 0.6]])
    assert np.allclose(stretch(flat, turned, flat.triangles), [ratio, texels])
    assert np.isinf(stretch(flat, uv * (1, 0), flat.triangles)[0]).all()
    assert median_by_area(np.array([3.0, 1, 2]), np.array([1.0, 1, 5])) == 2


def test_scales_are_clipped_and_even():
    stops = np.array([[0.0, 0, 0], [1, 1, 1]])
    assert np.allclose(scaled(np.array([-1.0, 0.5, 1, 9]), 0, 1, stops)[:, 0], [0, 0.5, 1, 1])


def test_pages_can_be_drawn_and_are_the_same_twice(ball, monkeypatch):
    monkeypatch.setattr(View, "SAMPLES", 1)  # rays are what takes time
    heads.body_of.cache_clear()  # what other tests have looked at has more
    texture = _own_corners(ball)
    pages = (
        lambda: wire_page(ball),
        lambda: curves_page(ball, {"left_rim": np.arange(5), "right_rim": np.arange(5, 9)}),
        lambda: landmark_page(ball, shipped_schemes()["now7"]),
        lambda: checker_page(ball, texture.uv, texture.triangles, texture.corner_vertex),
        lambda: stretch_page(ball, texture.uv, texture.triangles),
    )
    for page in pages:
        assert np.asarray(page()).std() > 5
    first, second = (card_pictures.compressed(regions_page(ball)) for _ in range(2))
    assert first == second and len(first) < 250_000


def _own_corners(model):
    """A texture layout in which every triangle has corners of its own."""
    corner_vertex = model.triangles.ravel()
    uv = model.mean[corner_vertex, :2] / 130 + 0.5
    return SimpleNamespace(uv=uv, triangles=np.arange(len(uv)).reshape(-1, 3), corner_vertex=corner_vertex)


def test_a_model_gets_the_pages_that_it_has_data_for(ball):
    schemes = {f"landmarks_{name}" for name in shipped_schemes()}
    assert set(card_pictures.card_pages(ball)) == {"wire", "regions", "modes"} | schemes
    bare = SimpleNamespace(n_identity=0, n_expression=0, curves={"rim": np.arange(3)}, texture=_own_corners(ball))
    assert set(card_pictures.card_pages(bare)) == {"wire", "regions", "curves", "texture", "stretch"} | schemes


def test_the_card_shows_every_picture_that_is_written(ball, tmp_path, monkeypatch):
    dot = Image.new("RGB", (4, 3), "red")
    monkeypatch.setattr(
        card_pictures, "card_pages", lambda model: {"wire": ("Triangles", lambda: dot), "b": ("Others", lambda: dot)}
    )
    sizes = card_pictures.draw_pictures(ball, tmp_path / "new")
    assert {path.name: path.stat().st_size for path in (tmp_path / "new").iterdir()} == {f"{k}.webp": v for k, v in sizes.items()}
    section = card_pictures.pictures_section(ball, "../images/model")
    assert section.startswith("## Pictures\n") and section.endswith("\n")
    assert all(f"](../images/model/{name}.webp)" in section for name in sizes)


def test_a_picture_is_made_to_fit():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8).astype(np.uint8))
    best = len(card_pictures.compressed(noise))
    fitted = card_pictures.compressed(noise, best - 1)
    assert len(fitted) < best and Image.open(io.BytesIO(fitted)).size == (96, 96)


def test_the_command_says_what_is_wrong(capsys, tmp_path):
    assert card_pictures.main(["--model", "nothing", "--output", str(tmp_path)]) == 2
    assert "no such morphable model" in capsys.readouterr().err
