"""The openings of a sheet with a mouth: lips that curl back, 0.2 mm apart, and a bag joined to their rims."""

from functools import cache

import numpy as np
import pytest

from geometry.learning.contact import LEAST_GAP_MM, REST_GAP_MM, Contact
from geometry.learning.openings import pairs
from geometry.learning.unfolding import LEAST_STRETCH, least_stretch, unfolding
from geometry.mesh import TriangleMesh
from geometry.surfaces.joined_borders import joined
from geometry.surfaces.self_intersection import intersecting_triangles

HALF_MM, CURL_MM = 10.0, 3.0


@cache
def mouth():
    """The mesh, which of its vertices are skin, and the height (n,) of each on its side: 0 at the rim, negative below."""
    across, up = np.arange(-20, 21.0), np.arange(0, 21.0)
    x, height = (part.ravel() for part in np.meshgrid(across, np.append(-up[::-1], up)))
    curl, arc = np.maximum(1 - (x / HALF_MM) ** 2, 0), np.abs(height) / CURL_MM
    round_y = CURL_MM * np.where(arc < np.pi / 2, 1 - np.cos(np.minimum(arc, np.pi / 2)), 1 + arc - np.pi / 2)
    round_z = CURL_MM * (np.sin(np.minimum(arc, np.pi / 2)) - 1)
    side = np.repeat([-1.0, 1.0], len(x) // 2)
    y = side * (curl * (round_y + 0.1) + (1 - curl) * np.abs(height))
    points = np.column_stack([x, y, curl * round_z])
    place = np.arange(len(x)).reshape(2, len(up), len(across))
    place[0, -1, np.abs(across) >= HALF_MM] = place[1, 0, np.abs(across) >= HALF_MM]  # beyond the corners the sides are one
    a, b, c, d = (part.ravel() for part in (place[:, :-1, :-1], place[:, :-1, 1:], place[:, 1:, 1:], place[:, 1:, :-1]))
    lower, upper = place[0, -1, 10:31], place[1, 0, 10:31]
    rim = np.append(upper, lower[-2:0:-1])  # from corner to corner and back
    bag = len(x) + np.arange(len(rim))
    points = np.vstack([points, points[rim], [[0, 0, -15.0]]])
    apex = np.full(len(rim), len(points) - 1)
    fan = np.stack([np.roll(bag, -1), bag, apex], axis=1)
    used, triangles = np.unique(np.vstack([np.stack([a, b, c], 1), np.stack([a, c, d], 1), fan]), return_inverse=True)
    return TriangleMesh(points[used], triangles.reshape(-1, 3)), used < len(x), np.append(height, np.zeros(len(rim) + 1))[used]


@cache
def contact():
    mesh, skin, _ = mouth()
    return Contact(mesh, skin)


def lip(sign):
    """(n,) 1 at the middle of one lip's rim, falling off smoothly, on the skin of that lip and half as much on the bag."""
    mesh, skin, height = mouth()
    own = np.where(skin, sign * height > 0, True) | (np.abs(height) == 0) & (sign * mesh.vertices[:, 1] > 0)
    share = np.exp(-((mesh.vertices[:, 0] / 5) ** 2) - (height / 5) ** 2)
    return share * own * (skin | (sign * mesh.vertices[:, 1] > 0))


def crossings(vertices):
    skin = contact().skin
    own = mouth()[0].triangles
    return len(intersecting_triangles(TriangleMesh(vertices, own[skin[own].all(axis=1)])))


def middle_gap(vertices):
    """Between the lips' rims at x = 0."""
    mesh, skin, height = mouth()
    low, high = np.sort(vertices[skin & (height == 0) & (mesh.vertices[:, 0] == 0), 1])
    return high - low


def test_a_mouth_has_two_sides_that_meet_at_its_corners():
    (opening,) = contact().openings
    mesh, skin, height = mouth()
    assert len(opening.rim) == 40 and np.abs(mesh.vertices[opening.rim, 0]).max() == HALF_MM
    assert (
        (height[opening.upper] >= 0).all()
        and (height[opening.lower] <= 0).all()
        and opening.upper.sum() == opening.lower.sum() > 100
    )
    corners = opening.rim[opening.parting[opening.rim] == 0]
    assert np.abs(mesh.vertices[corners, 0]).tolist() == [HALF_MM, HALF_MM]
    assert opening.zone[~skin].any() and not (opening.zone & (np.abs(height) > 12)).any()


def test_gaps_are_signed_and_follow_a_motion():
    (opening,) = contact().openings
    found = pairs(contact().mesh, opening, 4.0)
    assert found.gap.min() > 0 and np.allclose(np.linalg.norm(found.across, axis=1), 1)
    lifted = 0.5 * lip(-1)[:, None] * [0, 1.0, 0]
    change = found.gap_rows() @ lifted.ravel()
    assert change.max() < 1e-9 and change.min() == pytest.approx(-0.5, abs=0.1)


def test_at_rest_lips_part_evenly_and_what_is_far_stays():
    mesh, skin, height = mouth()
    moved = contact().apart(mesh.vertices, rest=True)
    assert middle_gap(mesh.vertices) == pytest.approx(0.2)
    assert middle_gap(mesh.vertices + moved) == pytest.approx(REST_GAP_MM, abs=0.05)
    assert not moved[skin & (np.abs(height) > 12)].any()
    first = joined(mesh)
    assert (first != np.arange(len(first))).sum() == 40 and np.array_equal(moved, moved[first])  # the bag's rim goes along


@pytest.mark.parametrize("rise", [1.0, 3.0])
def test_a_blendshape_that_lifts_a_lip_into_the_other_lifts_both(rise):
    vertices = contact().mesh.vertices
    lifted = rise * lip(-1)[:, None] * [0, 1.0, 0]
    mended = contact().blendshapes(lifted[None], ("lift",))[0]
    assert crossings(vertices + lifted) > 5 and crossings(vertices + mended) == 0
    assert (
        LEAST_GAP_MM - 0.05 < middle_gap(vertices + mended) < LEAST_GAP_MM + 0.2 * rise
    )  # a deep crossing is pushed a little too far
    opened = -lifted
    assert np.array_equal(contact().blendshapes(opened[None], ("drop",))[0], opened)


def test_closing_lips_is_seen_on_top_of_the_opened_jaw():
    vertices = contact().mesh.vertices
    opened = -3 * lip(-1)[:, None] * [0, 1.0, 0]
    jaw, close = contact().blendshapes(np.stack([opened, -1.3 * opened]), ("jawOpen", "mouthClose"))
    assert np.array_equal(jaw, opened)
    assert crossings(vertices + opened - 1.3 * opened) > 0 and crossings(vertices + jaw + close) == 0


def test_modes_keep_lips_on_each_other_and_leave_motions_of_both_alike():
    mesh, skin, height = mouth()
    apart, alike = lip(1)[:, None] * [0, 1.0, 0.3], np.tile([0.3, -1, 2.0], (len(skin), 1))
    kept, same = contact().attached(np.stack([apart, alike]))
    assert np.abs(same - alike).max() < 1e-9
    gap = lambda moved: middle_gap(mesh.vertices + moved) - middle_gap(mesh.vertices)
    assert gap(apart) > 0.9 and abs(gap(kept)) < 0.05
    assert not (kept - apart)[skin & (np.abs(height) > 12)].any()


def test_without_openings_nothing_is_moved():
    mesh, skin, height = mouth()
    upper = np.flatnonzero(skin & (height > 0))
    sheet = mesh.submesh(np.isin(np.arange(len(skin)), upper))[0]
    closed = Contact(sheet, np.ones(len(upper), bool))
    some = np.random.default_rng(0).standard_normal((2, len(upper), 3))
    assert not closed.apart(sheet.vertices, rest=True).any()
    assert np.array_equal(closed.attached(some), some) and np.array_equal(closed.blendshapes(some, ("a", "b")), some)


def grid(half_mm=60):
    """A flat square of 3 mm's triangles, and the x, y of its vertices."""
    ticks = np.arange(-half_mm, half_mm + 1, 3.0)
    x, y = (part.ravel() for part in np.meshgrid(ticks, ticks))
    place = np.arange(len(x)).reshape(len(ticks), -1)
    a, b, c, d = (part.ravel() for part in (place[:-1, :-1], place[:-1, 1:], place[1:, 1:], place[1:, :-1]))
    return TriangleMesh(np.column_stack([x, y, 0 * x]), np.vstack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])), x, y


def smallest_stretch(mesh, displacement):
    return least_stretch(mesh.vertices, mesh.vertices + displacement, mesh.triangles)[0].min()


def test_the_stretch_of_an_affine_map_is_its_smaller_singular_value():
    mesh = mouth()[0]
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    flat = mesh.vertices * [1, 1, 0]
    wide = mesh.triangles[np.ptp(flat[mesh.triangles][:, :, 1], axis=1) > 0.5]
    assert np.allclose(least_stretch(flat, flat * [0.4, 2, 1] @ turn, wide)[0], 0.4)


def test_the_rows_of_a_stretch_are_its_derivative():
    mesh, rng = grid(9)[0], np.random.default_rng(0)
    bent, step = mesh.vertices + rng.standard_normal(mesh.vertices.shape), rng.standard_normal(mesh.vertices.shape)
    stretch, rows = least_stretch(mesh.vertices, bent, mesh.triangles)
    after, before = (least_stretch(mesh.vertices, bent + sign * 1e-5 * step, mesh.triangles)[0] for sign in (1, -1))
    assert np.allclose(rows @ step.ravel(), (after - before) / 2e-5, atol=1e-6)
    assert (stretch < 0.6).any()


def test_triangles_on_a_line_have_no_stretch():
    mesh = grid(9)[0]
    with pytest.raises(ValueError, match="lie on a line"):
        least_stretch(mesh.vertices * [1, 0, 0], mesh.vertices, mesh.triangles)


def test_skin_pressed_into_a_knot_is_stretched_and_other_skin_left_alone():
    mesh, x, y = grid()
    skin = np.ones(len(x), bool)
    knot, gentle = (
        -size * np.tanh(x / width)[:, None] * np.exp(-((y / 25) ** 2))[:, None] * [1, 0, 0] for size, width in ((8, 6), (4, 25))
    )
    assert smallest_stretch(mesh, knot) < 0.1
    change = unfolding(mesh, skin, knot)
    assert smallest_stretch(mesh, knot + change) > LEAST_STRETCH - 0.02
    assert np.abs(change[:, 2]).max() < 1e-9  # within its plane
    assert not change[np.hypot(x, y) > 60].any()
    assert not unfolding(mesh, skin, gentle).any()


def test_what_begins_on_a_rim_that_is_stretched_stays_on_it():
    mesh, x, y = grid(30)
    rim = np.flatnonzero(x == -30)
    flap = np.array([[k, k + 1, len(x) + k] for k in range(len(rim) - 1)])  # of new vertices on the rim, the last ones behind it
    points = np.vstack([mesh.vertices, mesh.vertices[rim], mesh.vertices[rim] - [3, 0, 3]])
    own = np.where(flap >= len(x), flap + len(rim), flap + len(x))
    both = TriangleMesh(points, np.vstack([mesh.triangles, own]))
    skin = np.arange(len(points)) < len(x)
    knot = -8 * np.tanh((points[:, :1] + 27) / 4) * np.exp(-((points[:, 1:2] / 12) ** 2)) * [1, 0, 0]
    change = unfolding(both, skin, knot)
    assert np.abs(change[rim]).max() > 0.3 and np.array_equal(change[len(x) : len(x) + len(rim)], change[rim])


def test_a_crease_is_stretched_where_it_is():
    """A blendshape with one crease keeps its form about it: 8 pressed triangles once cost a pucker up to 7 mm of its form."""
    mesh, x, y = grid()
    wide = 6 * np.exp(-((x / 20) ** 2 + (y / 20) ** 2))[:, None] * [0, 0, 1]
    crease = np.where((np.abs(x - 1.5) < 2) & (np.abs(y) < 4), -np.sign(x - 1.5) * 1.1, 0.0)[:, None] * [1, 0, 0]
    change = unfolding(mesh, np.ones(len(x), bool), wide + crease)
    assert smallest_stretch(mesh, wide + crease) < 0.35
    assert smallest_stretch(mesh, wide + crease + change) > LEAST_STRETCH - 0.02
    assert np.linalg.norm(change, axis=1).max() < 1.5 and np.abs(change[:, 2]).max() < 0.3


SQUINT = {"jawOpen": 1.0} | {f"{name}_{side}": 0.65 for name in ("eyeLookDown", "eyeSquint", "cheekSquint") for side in "LR"}


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
@pytest.mark.parametrize("weights", [{}, {"jawOpen": 1.0}, SQUINT], ids=["rest", "open jaw", "open jaw and squint"])
def test_the_shipped_skin_does_not_pass_through_itself(seed, weights, model):
    identity = np.zeros(1) if seed is None else np.random.default_rng(seed).standard_normal(model.n_identity)
    expression = np.array([weights.get(name, 0.0) for name in model.expression_names])
    near = model.regions["face"] | model.regions["mouth"] | model.regions["lids"]
    skin = near[model.triangles].any(axis=1) & ~model.regions["cavities"][model.triangles].any(axis=1)
    mesh = TriangleMesh(model.instance(identity, expression), model.triangles[skin])
    assert len(intersecting_triangles(mesh)) == 0
