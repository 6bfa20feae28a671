"""Previews: what is drawn is where it should be, for meshes, clouds and scans that show nothing."""

import numpy as np
import pytest
from surfaces import grid_mesh

from geometry.landmarks.estimate import LandmarkEstimate
from geometry.mesh import TriangleMesh
from pipeline.pictures import marks, preview
from pipeline.pictures.preview import FRONT, FRONT_HEIGHT, PANEL_WIDTH, STRIP_HEIGHT


def dome(radius=80.0, centre=(0.0, 6.0, -60.0), steps=80, flip=False):
    """The front of a sphere, mm, as a grid mesh that looks along +z."""
    u, v = np.meshgrid(np.linspace(-0.98, 0.98, steps), np.linspace(-0.98, 0.98, steps))
    inside = u**2 + v**2 < 0.96
    mesh = grid_mesh(u, v, np.sqrt(np.maximum(1 - u**2 - v**2, 0)))
    triangles = mesh.triangles[inside.ravel()[mesh.triangles].all(1)]
    return TriangleMesh(mesh.vertices * radius + centre, triangles[:, ::-1] if flip else triangles)


def estimate(*points, seen=True, confidence=1.0):
    count = len(points)
    return LandmarkEstimate(
        np.array(points, float).reshape(-1, 3),
        np.tile(np.eye(3), (count, 1, 1)),
        np.full(count, confidence),
        np.full(count, seen),
    )


def panel(image, number):
    """The frontal panel as floats; 0 scan, 1 coarse, 2 refined, 3 heat."""
    left = number * PANEL_WIDTH
    return np.asarray(image.crop((left, STRIP_HEIGHT, left + PANEL_WIDTH, STRIP_HEIGHT + FRONT_HEIGHT)), float)


def centre_colour(image, number):
    return panel(image, number)[FRONT_HEIGHT // 2 - 6 : FRONT_HEIGHT // 2 + 6, PANEL_WIDTH // 2 - 6 : PANEL_WIDTH // 2 + 6].mean(
        (0, 1)
    )


@pytest.fixture(scope="module")
def plain():
    """A scan that agrees with all that was made of it, nothing marked."""
    return preview.render_preview(dome(), None, dome(), dome(), None, "")


@pytest.mark.parametrize("view", (FRONT, *preview.TURNED.values()))
def test_projection_and_lift_are_inverses(view):
    points = np.random.default_rng(0).uniform(-80, 80, (50, 3))
    np.testing.assert_allclose(view.lift(*view.project(points)), points, atol=1e-9)


@pytest.mark.parametrize("view", (FRONT, *preview.TURNED.values()))
def test_rays_hit_the_pixels_that_points_project_to(view):
    layer = preview.Surface(dome()).seen_by(view)
    pixels, _ = view.project(layer.points)
    np.testing.assert_allclose(pixels, np.argwhere(layer.hit)[:, ::-1], atol=2e-3)


def test_a_surface_on_the_scan_is_pale(plain):
    assert np.ptp(centre_colour(plain, 3)) < 10


@pytest.mark.parametrize("radius, sign", [(81.0, 1), (79.0, -1)], ids=["outside", "inside"])
def test_offsets_are_red_outside_and_blue_inside(radius, sign):
    red, _, blue = centre_colour(preview.render_preview(dome(radius), None, dome(), dome(), None, ""), 3)
    assert sign * (red - blue) > 80


def test_signed_distance_is_that_of_concentric_spheres():
    layer = preview.Surface(dome(80.0, steps=160)).seen_by(FRONT)
    for scan in (preview.Surface(dome(80.6, steps=160)), preview.Cloud(dome(80.6, steps=240).vertices)):
        distance = preview._distance_image(layer, scan, 2)
        middle = distance[FRONT_HEIGHT // 2 - 40 : FRONT_HEIGHT // 2 + 40, PANEL_WIDTH // 2 - 40 : PANEL_WIDTH // 2 + 40]
        assert np.isfinite(middle).all()
        np.testing.assert_allclose(middle, 0.6, atol=0.03)


def test_what_the_scan_does_not_show_is_grey_but_a_large_error_is_not():
    refined = dome()
    half = refined.submesh(refined.vertices[:, 0] < 0)[0]
    picture = panel(preview.render_preview(half, None, refined, refined, None, ""), 3)
    assert np.ptp(picture[FRONT_HEIGHT // 2, PANEL_WIDTH * 3 // 4]) < 6  # not measured
    wrong = TriangleMesh(refined.vertices + (0, 0, 12.0), refined.triangles)
    red, _, blue = centre_colour(preview.render_preview(wrong, None, refined, refined, None, ""), 3)
    assert red > blue + 80


def test_a_cloud_is_drawn_where_its_mesh_is():
    mesh = dome(steps=150)
    from_mesh = panel(preview.render_preview(mesh, None, mesh, mesh, None, ""), 0)
    from_cloud = panel(preview.render_preview(None, mesh.vertices[np.unique(mesh.triangles)], mesh, mesh, None, ""), 0)
    paper = np.array(preview.PAPER)
    covered = [(np.abs(image - paper) > 12).any(-1) for image in (from_mesh, from_cloud)]
    assert (covered[0] & covered[1]).sum() / (covered[0] | covered[1]).sum() > 0.95
    assert np.abs(from_mesh - from_cloud)[covered[0] & covered[1]].mean() < 12


@pytest.mark.parametrize(
    "points", [None, np.zeros((0, 3)), np.array([[0.0, 0, 0]]), np.full((5, 3), np.nan), np.full((9, 3), 1e6)]
)
def test_a_scan_that_shows_nothing_still_gives_a_picture(points):
    mesh = dome()
    image = preview.render_preview(None, points, mesh, mesh, estimate(), "empty")
    assert image.mode == "RGB" and image.width == 4 * PANEL_WIDTH


def test_an_inside_out_fit_is_shown_as_one_but_an_inside_out_scan_is_not(plain):
    bad = dome(flip=True)
    image = preview.render_preview(bad, None, bad, dome(), None, "")
    np.testing.assert_array_equal(panel(image, 0), panel(plain, 0))
    assert np.abs(centre_colour(image, 1) - centre_colour(plain, 1)).max() > 25


def test_landmarks_are_drawn_on_the_scan_and_on_the_refined_panel(plain):
    mesh = dome()
    dotted = preview.render_preview(mesh, None, mesh, mesh, estimate((20.0, 30.0, 10.0)), "")
    for number in (1, 3):
        np.testing.assert_array_equal(panel(plain, number), panel(dotted, number))
    for number in (0, 2):
        changed = np.argwhere((panel(plain, number) != panel(dotted, number)).any(-1))
        expected, _ = FRONT.project(np.array([[20.0, 30.0, 10.0]]))
        np.testing.assert_allclose(changed.mean(0)[::-1], expected[0], atol=1.0)
        assert len(changed) < 60


def middle_of(image):
    """(8, 8, 3) of the frontal scan panel."""
    return panel(image, 0)[FRONT_HEIGHT // 2 - 4 : FRONT_HEIGHT // 2 + 4, PANEL_WIDTH // 2 - 4 : PANEL_WIDTH // 2 + 4]


def marked(**options):
    """`middle_of` a picture with one mark there."""
    mesh, mark = dome(), estimate((0.0, 6.0, 20.0), **options)
    return middle_of(preview.render_preview(mesh, None, mesh, mesh, mark, ""))


def test_a_seen_landmark_is_filled_and_an_inferred_one_hollow(plain):
    seen, inferred, without = marked(seen=True), marked(seen=False), middle_of(plain)
    middle = np.s_[3:5, 3:5]
    assert np.abs(seen[middle] - np.array(marks.confidence_colour(1.0))).max() < 12
    np.testing.assert_array_equal(inferred[middle], without[middle])
    assert (np.abs(inferred - without) > 40).any()  # its ring


def test_marks_tell_the_confidence_by_colour_and_by_lightness():
    sure, unsure = marked(confidence=1.0), marked(confidence=0.1)
    assert unsure[3:5, 3:5].mean() > sure[3:5, 3:5].mean() + 25
    lightness = [sum(marks.confidence_colour(share)) for share in np.linspace(0, 1, 20)]
    assert (np.diff(lightness) < 0).all() and marks.confidence_colour(float("nan")) == marks.confidence_colour(0.0)


def test_a_landmark_of_which_nothing_is_known_is_not_drawn():
    mesh = dome(steps=40)
    empty = preview.render_preview(mesh, None, mesh, mesh, estimate(), "")
    unknown = preview.render_preview(mesh, None, mesh, mesh, estimate((np.nan,) * 3, (1e9, 0, 0)), "")
    assert preview.png_bytes(empty) == preview.png_bytes(unknown)


def test_landmarks_alone_are_shown_on_the_scan_from_three_sides_but_not_through_it():
    mesh, left_cheek = dome(), (60.0, 6.0, -20.0)
    plain = preview.render_landmarks(mesh, None, estimate(), "")
    dotted = preview.render_landmarks(mesh, None, estimate(left_cheek), "")
    differs = [(panel(plain, number) != panel(dotted, number)).any() for number in range(4)]
    assert differs == [False, True, False, True]  # from its right the face hides it
    assert dotted.size == preview.front_row(dotted).size[:1] + (STRIP_HEIGHT + FRONT_HEIGHT,)


def test_the_same_input_gives_the_same_bytes():
    mesh, points = dome(steps=40), estimate((0, 0, 0), (10, 10, 10))
    for draw in (
        lambda: preview.render_preview(mesh, None, mesh, mesh, points, "x"),
        lambda: preview.render_landmarks(mesh, None, points, "x"),
    ):
        assert preview.png_bytes(draw()) == preview.png_bytes(draw())


def test_a_long_title_is_shortened_in_the_middle_and_stays_in_the_strip():
    mesh = dome(steps=30)
    title = preview.preview_title("archive.zip!" + "folder/" * 60 + "last.ply", {"fit_quality": 0.5, "noise_mm": float("nan")})
    assert (np.asarray(preview.render_preview(mesh, None, mesh, mesh, None, title))[:35, -10:] == preview.PAPER).all()


def test_the_title_names_only_the_figures_that_are_known():
    assert preview.preview_title("a.ply", {"noise_mm": 0.123}) == "a.ply\nnoise 0.12 mm"
    assert preview.preview_title("a.ply", {}) == "a.ply\n"
    assert preview.preview_title("a.ply", {"landmarks_seen": 61.0, "landmark_sigma_mm": 1.234}) == (
        "a.ply\n61 landmarks seen  \u00b7  sigma 1.2 mm"
    )


def test_the_front_row_is_the_four_frontal_panels(plain):
    assert preview.front_row(plain).size == (4 * PANEL_WIDTH, FRONT_HEIGHT)


def test_the_registered_mesh_carries_a_pattern_that_moves_with_its_vertices():
    template = dome()
    shown = lambda vertices: preview.render_preview(
        template, None, template, template, None, "", preview.patterned(vertices, template)
    )
    still, again, turned = shown(template.vertices), shown(template.vertices), shown(template.vertices * [1.2, 1, 1])
    assert still.width == 5 * PANEL_WIDTH and still.tobytes() == again.tobytes()
    assert np.array_equal(panel(still, 1), panel(turned, 1))
    middle = panel(still, 4)[FRONT_HEIGHT // 2 - 20 : FRONT_HEIGHT // 2 + 20, PANEL_WIDTH // 2 - 20 : PANEL_WIDTH // 2 + 20]
    assert middle.mean(axis=2).std() > 8  # squares, where the plain panels are smooth
    assert np.abs(panel(still, 4) - panel(turned, 4)).mean() > 2
