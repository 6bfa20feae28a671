"""Of several heads in a scan the largest is taken, with a note; one head with other things about it is one head."""

from types import SimpleNamespace

import numpy as np
import pytest
from sampled_faces import NO_TRIANGLES, default_model, known_face, mesh_scan
from surfaces import sphere

from geometry.camera import PinholeCamera
from geometry.locating import cleaning
from geometry.locating.head_groups import APART_MM, HEAD_CENTRE, Head, Heads, by_head, head_centre, largest, rivals
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh, merged
from geometry.recognition import trial_fit
from geometry.scan import Scan
from geometry.synthesis import occluders
from geometry.synthesis.sensors import head_rotation, render_depth
from geometry.transforms import SimilarityTransform

CAMERA = PinholeCamera(640, 480, 560.0, 560.0, 319.5, 239.5)


def placed(seed: int, place, size: float = 1.0) -> TriangleMesh:
    """A known face, looking along +z (a mesh scene)."""
    return TriangleMesh(size * known_face(seed).vertices + place, default_model().triangles)


def depth_frame(*people: tuple[int, float, tuple[float, float, float]]) -> Scan:
    """People (seed, yaw, place in the camera's frame) as a depth camera sees them."""
    meshes = [
        TriangleMesh(known_face(seed).vertices @ head_rotation(yaw, 0, 0).T + place, default_model().triangles)
        for seed, yaw, place in people
    ]
    return Scan.from_depth(render_depth(merged(meshes), CAMERA)[0], CAMERA, "people", "test")


def scan_of(*meshes: TriangleMesh) -> Scan:
    return mesh_scan(merged(meshes).vertices, merged(meshes).triangles)


def located(scan: Scan) -> Location:
    return trial_fit.locate(cleaning.clean(scan), default_model())


def head_notes(location: Location) -> list[str]:
    return [note for note in location.scan.notes if "heads found" in note]


def test_of_two_heads_in_a_depth_frame_the_one_that_shows_more_of_its_face_is_taken():
    location = located(depth_frame((1, 55, (-150, 0, 600)), (2, 10, (180, 20, 900))))
    assert np.linalg.norm(head_centre(location.scan_to_model) - ([180, 20, 900] + head_rotation(10, 0, 0) @ HEAD_CENTRE)) < 25
    (note,) = head_notes(location)
    assert note.startswith("2 heads found; the largest (") and "mm² of face) was taken, the other lies " in note


def test_two_heads_in_one_mesh_are_told_apart_even_cheek_to_cheek():
    location = located(scan_of(placed(1, (0, 0, 0), size=0.9), placed(2, (190, 0, 0))))
    assert np.linalg.norm(head_centre(location.scan_to_model) - ([190, 0, 0] + HEAD_CENTRE)) < 15
    assert len(head_notes(location)) == 1
    assert location.scan.points[:, 0].min() > 50  # the other head's half of the scan is gone


def test_a_head_among_other_things_is_one_head():
    model = default_model()
    hand = occluders.hand(model.mean[model.landmarks["ibug68"]], np.random.default_rng(0))
    hand = hand.with_vertices(hand.vertices + [220, -60, 20])
    shoulders = sphere(170.0, (0.0, -330.0, -90.0), 4)
    balloon = sphere(100.0, (-300.0, 40.0, -60.0), 4)
    location = located(scan_of(placed(1, (0, 0, 0)), hand, shoulders, balloon))
    assert np.linalg.norm(head_centre(location.scan_to_model) - HEAD_CENTRE) < 15
    assert not head_notes(location)


def test_two_heads_in_a_bare_cloud_are_told_apart():
    location = located(mesh_scan(merged([placed(1, (0, 0, 0)), placed(2, (300, 100, 0), size=0.9)]).vertices, NO_TRIANGLES))
    assert np.linalg.norm(head_centre(location.scan_to_model) - HEAD_CENTRE) < 15
    assert len(head_notes(location)) == 1


def pose_at(x: float, confidence: float):
    return SimpleNamespace(scan_to_model=SimilarityTransform(np.eye(3), np.array([-x, 0.0, 0.0])), confidence=confidence)


def test_poses_of_one_head_are_one_group():
    poses = [pose_at(0, 0.9), pose_at(400, 0.8), pose_at(40, 0.7), pose_at(380, 0.6), pose_at(0.9 * APART_MM, 0.5)]
    assert by_head(poses) == [[poses[0], poses[2], poses[4]], [poses[1], poses[3]]]


def test_only_confident_poses_may_be_further_heads():
    groups = by_head([pose_at(0, 0.9), pose_at(400, 0.7), pose_at(800, 0.6)])
    assert rivals(groups) == groups[:2]


def head(x: float, area: float, points: int = 1000) -> Head:
    return Head(np.array([x, 0.0, 0.0]), area, points)


def test_the_largest_head_shows_most_of_its_face_and_of_equals_has_most_points():
    assert largest([head(0, 30_000, 9000), head(0, 40_000)]) == 1
    assert largest([head(0, 40_000), head(0, 39_500, 2000), head(0, 20_000, 9000)]) == 1


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ((0, 320), "2 heads found; the largest (14,200 mm² of face) was taken, the other lies 320 mm away"),
        ((0, 700, 320), "3 heads found; the largest (14,200 mm² of face) was taken, the others lie 320 and 700 mm away"),
    ],
)
def test_the_note_says_how_many_and_where(places, expected):
    assert Heads(tuple(head(x, 14_200) for x in places), 0, 0).note == expected
