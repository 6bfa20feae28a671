"""Which side is the outside where a file does not say: two-sided, wound at random, solid with walls, with useless normals."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from sampled_faces import NO_TRIANGLES, mesh_scan, most_confident, seen_scan

from geometry.errors import MirroredScan
from geometry.locating import cleaning
from geometry.locating.cloud_normals import with_believable_normals
from geometry.locating.location import Location
from geometry.locating.winding import consistently_wound
from geometry.recognition import handedness
from geometry.recognition.handedness import facing, require_unmirrored, with_checked_normals
from geometry.surfaces.normals import with_normals
from geometry.surfaces.triangulation import surface_of

BALL = trimesh.creation.icosphere(subdivisions=4, radius=90.0)


def cap(radius=90.0):
    """Points and triangles of the front of a ball, outside outward: open, as a face scan is."""
    kept = BALL.faces[(BALL.triangles_center[:, 2] > 0)]
    used, faces = np.unique(kept, return_inverse=True)
    return BALL.vertices[used] * radius / 90, faces.reshape(-1, 3)


def turned_at_random(triangles, share, seed=0):
    turned = np.random.default_rng(seed).random(len(triangles)) < share
    return np.where(turned[:, None], triangles[:, ::-1], triangles)


def solid(points, triangles, wall):
    """Closed: the surface, its copy inside, the rim between."""
    mesh = trimesh.Trimesh(points, triangles, process=False)
    edges = mesh.edges[trimesh.grouping.group_rows(mesh.edges_sorted, require_count=1)]
    n, (a, b) = len(points), edges.T
    rim = np.concatenate([np.stack([b, a, a + n], 1), np.stack([b, a + n, b + n], 1)])
    inner = points - wall * mesh.vertex_normals
    return np.concatenate([points, inner]), np.concatenate([triangles, triangles[:, ::-1] + n, rim])


def as_wound(scan, location, model):
    """`facing`, were the winding the file's."""
    return facing(replace(scan, guessed_winding=None), location, model)


def outward_share(scan):
    """Share of the triangles that face away from the origin."""
    surface = surface_of(scan)
    centres = scan.points[scan.triangles].mean(1)
    return ((centres * surface.triangle_area_vectors).sum(1) > 0).mean()


@pytest.mark.parametrize("own_vertices", [False, True], ids=["of the same vertices", "of vertices of their own"])
def test_a_surface_with_two_sides_has_each_triangle_once(own_vertices):
    points, triangles = cap()
    back = triangles[:, ::-1] + (len(points) if own_vertices else 0)
    order = np.random.default_rng(0).permutation(2 * len(triangles))
    both = np.concatenate([triangles, back])[order]
    scan = consistently_wound(mesh_scan(np.concatenate([points, points]) if own_vertices else points, both))
    assert len(scan.triangles) == len(triangles) and outward_share(scan) == 1 and scan.guessed_winding[scan.triangles].all()
    assert f"{len(triangles)} of {len(both)} triangles lie on others" in scan.notes[0]
    front_first = consistently_wound(mesh_scan(points, np.concatenate([triangles, triangles[:, ::-1]])))
    assert np.array_equal(front_first.triangles, triangles) and front_first.guessed_winding.all()


@pytest.mark.parametrize("order", ["outer first", "inner first", "pair by pair"])
def test_a_face_with_two_sides_is_no_mirror_image_whichever_comes_first(order, face, model):
    whole = seen_scan(face.scan_points)
    outer, inner = whole.triangles, whole.triangles[:, ::-1]
    pairs = [outer, inner] if order == "outer first" else [inner, outer]
    both = np.stack(pairs, axis=1 if order == "pair by pair" else 0).reshape(-1, 3)
    scan = cleaning.clean(replace(whole, triangles=both))
    assert len(scan.triangles) == len(outer) and scan.guessed_winding.all()
    assert scan.notes[-1] == "its triangles do not say which side is the outer one"
    found = most_confident(scan, model)
    assert np.linalg.norm(found.scan_to_model.apply(face.scan_landmarks) - face.landmarks, axis=1).mean() < 8
    assert as_wound(found.scan, found, model) > 0.9 and np.isnan(facing(found.scan, found, model))
    assert require_unmirrored(scan, found, model) == ""


@pytest.mark.parametrize("inward", [False, True])
def test_of_a_surface_with_two_sides_in_part_the_rest_says_which_is_the_outer_one(inward):
    points, triangles = cap()
    triangles = triangles[:, ::-1] if inward else triangles
    doubled = triangles[points[triangles].mean(1)[:, 0] > -40]
    assert 0.6 < len(doubled) / len(triangles) < 0.9
    scan = consistently_wound(mesh_scan(points, np.concatenate([doubled[:, ::-1], triangles])))
    assert len(scan.triangles) == len(triangles) and outward_share(scan) == (0 if inward else 1)
    assert scan.guessed_winding is None and "wound alike" in scan.notes[1]


def test_a_surface_whose_triangles_a_file_repeats_has_the_side_that_they_say():
    points, triangles = cap()
    scan = consistently_wound(mesh_scan(points, np.concatenate([triangles, triangles[:, [1, 2, 0]]])))
    assert np.array_equal(scan.triangles, triangles) and scan.guessed_winding is None and len(scan.notes) == 1


@pytest.mark.parametrize("share, guessed", [(0.05, False), (0.95, False), (0.3, True), (0.5, True)])
def test_triangles_wound_this_way_and_that_are_wound_alike(share, guessed):
    points, triangles = cap()
    scan = consistently_wound(mesh_scan(points, turned_at_random(triangles, share)))
    assert outward_share(scan) == (0 if share == 0.95 else 1) and (scan.guessed_winding is not None) == guessed
    assert "of neighbouring triangles were wound against each other" in scan.notes[0]


def test_each_piece_is_wound_by_itself_and_an_even_mesh_is_left_alone():
    points, triangles = cap()
    pieces = np.concatenate([points, points + [0, 400, 0]])
    both = np.concatenate([turned_at_random(triangles, 0.5), triangles + len(points)])
    scan = consistently_wound(mesh_scan(pieces, both))
    near = scan.triangles.max(1) < len(points)
    assert outward_share(replace(scan, triangles=scan.triangles[near])) == 1
    assert np.array_equal(scan.triangles[~near], both[len(triangles) :])
    even = mesh_scan(points, triangles[:, ::-1])
    assert consistently_wound(even) is even


def test_a_randomly_wound_face_is_found_and_not_called_mirrored(face, model):
    whole = seen_scan(face.scan_points)
    scan = cleaning.clean(replace(whole, triangles=turned_at_random(whole.triangles, 0.5)))
    assert scan.guessed_winding.all()
    found = most_confident(scan, model)
    assert np.linalg.norm(found.scan_to_model.apply(face.scan_landmarks) - face.landmarks, axis=1).mean() < 8
    inward = replace(scan, triangles=scan.triangles[:, ::-1])
    assert as_wound(inward, found, model) < -0.9 and require_unmirrored(inward, found, model) == ""


def with_cards(scan, share, two_sided=True):
    """The scan with a separate, curved piece above it of that share of its area, as of hair, of which both sides lie there."""
    size, count = np.sqrt(share * surface_of(scan).vertex_areas.sum()), 25
    x, y = (values.ravel() for values in np.meshgrid(*[np.linspace(0, size, count)] * 2))
    sheet = np.stack([x, scan.points[:, 1].max() + 40 + 15 * np.sin(3 * x / size), y], 1)
    number = np.arange(count * count).reshape(count, count)
    a, b, c, d = (corner.ravel() for corner in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]))
    front = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)]) + len(scan.points)
    sides = [scan.triangles, front, front[:, ::-1]] if two_sided else [scan.triangles, front]
    return replace(scan, points=np.concatenate([scan.points, sheet]), triangles=np.concatenate(sides))


@pytest.mark.parametrize("share", [0.04, 0.1, 3.0])
def test_pieces_with_two_sides_do_not_hide_that_a_face_is_mirrored(share, face, model, monkeypatch):
    monkeypatch.setattr(handedness, "trial_fit_is_face", lambda *_, **__: True)
    whole = seen_scan(face.scan_points)
    place = Location(with_normals(whole), face.pose.inverse(), 0.9)
    for inward in (False, True):
        scan = with_cards(replace(whole, triangles=whole.triangles[:, ::-1]) if inward else whole, share)
        scan = consistently_wound(scan)
        assert scan.guessed_winding[-625:].all() and scan.guessed_winding.sum() == 625
        share_told = f" of {100 * share / (1 + share):.0f} % of its area" if share > 0.05 else None
        assert [note for note in scan.notes if "which side" in note] == (
            [f"its triangles do not say which side{share_told} is the outer one"] if share_told else []
        )
        assert facing(scan, place, model) * (-1 if inward else 1) > 0.9
        if inward:
            with pytest.raises(MirroredScan, match="its triangles face inward"):
                require_unmirrored(scan, place, model)
        else:
            assert require_unmirrored(scan, place, model) == ""


def test_what_is_told_elsewhere_does_not_speak_for_a_face_with_two_sides(face, model):
    whole = seen_scan(face.scan_points)
    both = replace(whole, triangles=np.concatenate([whole.triangles[:, ::-1], whole.triangles]))
    scan = consistently_wound(with_cards(both, 0.5, two_sided=False))
    assert scan.guessed_winding.sum() == len(whole.points) and "% of its area is the outer one" in scan.notes[-1]
    part = scan.keep(np.arange(len(scan.points)) % 3 > 0)
    assert np.array_equal(part.guessed_winding, scan.guessed_winding[np.arange(len(scan.points)) % 3 > 0])
    place = Location(with_normals(whole), face.pose.inverse(), 0.9)
    assert np.isnan(facing(scan, place, model)) and require_unmirrored(scan, place, model) == ""


@pytest.mark.parametrize("wall", [2.0, 8.0])
@pytest.mark.parametrize("inside_out", [False, True])
@pytest.mark.parametrize("make", [cap, lambda: (BALL.vertices, BALL.faces)], ids=["open", "closed"])
def test_of_a_solid_with_walls_the_outer_surface_is_used(make, inside_out, wall):
    points, triangles = solid(*make(), wall)
    scan = cleaning.clean(mesh_scan(points, triangles[:, ::-1] if inside_out else triangles))
    radius = np.linalg.norm(scan.points, axis=1)
    assert radius.min() > 90 - wall / 4 and len(scan.triangles) > 0.9 * len(make()[1])
    assert outward_share(scan) == (0 if inside_out else 1)
    assert f"walls about {wall:.1f} mm thick: only its outer surface" in scan.notes[0]


def test_one_surface_is_no_solid(face):
    for points, triangles in (cap(), (BALL.vertices, BALL.faces), (BALL.vertices, BALL.faces[:, ::-1])):
        scan = mesh_scan(points, triangles)
        assert cleaning.clean(scan) is scan
    whole = seen_scan(face.scan_points)
    assert cleaning.clean(whole) is whole


def cloud(face, normals=lambda right: right):
    whole = seen_scan(face.scan_points)
    return replace(whole, triangles=NO_TRIANGLES, normals=normals(surface_of(whole).vertex_normals))


def half_space(axis):
    return lambda normals: normals * np.where(normals[:, [axis]] < 0, -1, 1)


def random_lines(normals):
    lines = np.random.default_rng(0).normal(size=normals.shape)
    return lines / np.linalg.norm(lines, axis=1, keepdims=True)


USELESS = {
    "of a half space, x": half_space(0),
    "of a half space, y": half_space(1),
    "of a half space, z": half_space(2),
    "of random sign": lambda normals: normals * np.random.default_rng(0).choice([-1, 1], (len(normals), 1)),
    "a tenth turned": lambda normals: normals * np.where(np.random.default_rng(0).random((len(normals), 1)) < 0.1, -1, 1),
    "all alike": lambda normals: np.tile([[0.0, 0.6, 0.8]], (len(normals), 1)),
    "random": random_lines,
    "axes exchanged": lambda normals: normals[:, [0, 2, 1]],
    "a third zero": lambda normals: normals * (np.random.default_rng(0).random((len(normals), 1)) > 0.33),
}


@pytest.mark.parametrize("kind", USELESS)
def test_a_cloud_with_useless_normals_is_what_the_bare_cloud_is(kind, face):
    scan = with_believable_normals(cloud(face, USELESS[kind]))
    assert scan.normals is None and "file's normals" in scan.notes[0] and "dropped" in scan.notes[0]
    bare = with_normals(replace(scan, notes=()))
    right = cloud(face).normals
    assert ((bare.normals * right).sum(1) > 0).mean() > 0.95


@pytest.mark.parametrize("sign", [1, -1], ids=["outward", "inward"])
def test_normals_that_agree_with_each_other_are_kept(sign, face):
    scan = cloud(face, lambda normals: sign * normals)
    assert with_checked_normals(scan) is scan
    noisy = cloud(
        face, lambda n: (m := n + np.random.default_rng(0).normal(size=n.shape) * 0.2) / np.linalg.norm(m, axis=1)[:, None]
    )
    assert with_believable_normals(noisy) is noisy


def test_a_surface_wound_inward_is_believed_where_its_landmarks_are_not_mirrored(face, model):
    scan = seen_scan(face.scan_points)
    inward = replace(scan, triangles=scan.triangles[:, ::-1])
    place = Location(with_normals(scan), face.pose.inverse(), 0.9, landmarks=face.scan_landmarks)
    assert "wound inside out" in require_unmirrored(inward, place, model)
    assert require_unmirrored(scan, place, model) == ""
