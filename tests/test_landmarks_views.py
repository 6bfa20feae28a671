"""Views of a raw scan: what is seen from a side lifts back to where it is, and hidden things are known to be hidden."""

from dataclasses import replace

import numpy as np
import pytest
from sampled_faces import NO_TRIANGLES, mesh_scan
from scipy.spatial.transform import Rotation
from surfaces import sphere

from geometry.charts.geometry_image import CHANNELS
from geometry.evaluation.metrics import sample_surface
from geometry.landmarks.views import DEPTH_MM, FACE_CENTRE, VIEW_CHART, Viewer, turn_of, view_of_pose, visible
from geometry.mesh import TriangleMesh
from geometry.transforms import SimilarityTransform


@pytest.fixture(scope="module")
def viewer(scan):
    return Viewer(scan)


def test_a_view_of_the_true_pose_is_the_model_frame_about_the_face_centre(face, viewer):
    view = viewer.view(view_of_pose(face.pose.inverse()))
    assert set(view.image.channels) == set(CHANNELS) - {"mean_curvature"} and view.image.chart == VIEW_CHART
    assert np.allclose(view.scan_to_view.apply(face.scan_points), face.vertices - FACE_CENTRE, atol=1e-9)
    assert visible(view.image, face.landmarks - FACE_CENTRE)[17:48].all(), "brows, nose and eyes, looked at straight on"


@pytest.mark.parametrize("angles", [(0, 0, 0), (50, 0, 0), (-30, 20, 40), (0, -35, -45)])
def test_seen_landmarks_lift_back_to_where_they_are(face, viewer, angles):
    view = viewer.view(view_of_pose(face.pose.inverse(), turn_of(*angles)))
    truth = view.scan_to_view.apply(face.scan_landmarks)
    seen = visible(view.image, truth)
    lifted, gradient, valid = view.lift(VIEW_CHART.project(truth)[0])
    flat = seen & (np.linalg.norm(gradient, axis=1) < 1.0) & (np.arange(68) < 48)  # the slit of the mouth is smoothed over
    assert flat.sum() > 10 and valid[flat].all()
    assert np.median(np.linalg.norm(lifted - truth, axis=1)[flat]) < 0.5, "depth is smoothed over about 1.5 mm"


def test_what_the_far_side_holds_is_hidden(face, viewer):
    view = viewer.view(view_of_pose(face.pose.inverse(), turn_of(70, 0, 0)))
    seen = visible(view.image, view.scan_to_view.apply(face.scan_landmarks))
    # turned to the subject's left, the view meets the right cheek
    right, left = slice(0, 7), slice(10, 17)
    assert seen[right].sum() > seen[left].sum() and not seen[left].all()


def test_a_turn_by_yaw_shows_the_face_looking_to_its_left():
    nose = turn_of(40, 0, 0) @ np.array([0, 0, 1.0])
    assert nose[0] > 0.6 and abs(nose[1]) < 1e-12
    assert (turn_of(0, 30, 0) @ np.array([0, 0, 1.0]))[1] < -0.4, "pitch looks down"


def test_normals_are_those_of_the_surface():
    ball = sphere(70.0, (5.0, -3.0, 0.0))
    image = Viewer(mesh_scan(ball.vertices, ball.triangles)).view(SimilarityTransform.identity()).image
    rows, columns = np.nonzero(image.valid_mask)
    x, y = (columns + 0.5 - 64) * 1.5, (64 - rows - 0.5) * 1.5
    inner = np.hypot(x - 5, y + 3) < 45
    assert np.allclose(image["normal_x"][rows, columns][inner], (x - 5)[inner] / 70, atol=0.03)
    assert np.allclose(image["normal_y"][rows, columns][inner], (y + 3)[inner] / 70, atol=0.03)


def test_a_bare_cloud_gives_the_view_of_its_surface(face, model):
    inside = model.regions["cavities"] | model.regions["mouth_interior"]  # no sensor delivers points of these
    mesh = TriangleMesh(face.scan_points, model.triangles[~inside[model.triangles].any(1)])
    areas = np.linalg.norm(mesh.triangle_area_vectors, axis=1)
    points = sample_surface(mesh, areas, 40_000, np.random.default_rng(0))
    cloud = Viewer(mesh_scan(points, NO_TRIANGLES))
    pose = view_of_pose(face.pose.inverse())
    a, b = cloud.view(pose).image, Viewer(mesh_scan(mesh.vertices, mesh.triangles)).view(pose).image
    both = a.valid_mask & b.valid_mask
    middle = np.zeros_like(both)
    middle[25:105, 30:98] = True
    assert (both & middle).sum() > 0.95 * (b.valid_mask & middle).sum()
    assert np.median(np.abs(a["depth"] - b["depth"])[both]) < 0.3
    assert np.allclose(cloud.nearest(points[:5] + 0.01), points[:5], atol=0.5)


def test_what_is_nearer_or_farther_than_the_head_is_not_in_the_picture():
    wall = sphere(30.0, (0.0, 0.0, -DEPTH_MM - 40))
    image = Viewer(mesh_scan(wall.vertices, wall.triangles)).view(SimilarityTransform.identity()).image
    assert not image.valid_mask.any()


def test_a_scan_without_points_and_one_inside_out_show_nothing(face, scan):
    pose = view_of_pose(face.pose.inverse())
    assert not Viewer(mesh_scan(np.zeros((0, 3)), NO_TRIANGLES)).view(pose).image.valid_mask.any()
    assert Viewer(replace(scan, triangles=scan.triangles[:, ::-1])).view(pose).image.valid_mask.mean() < 0.05


def test_far_coordinates_lose_nothing(face, viewer):
    """Rays are float32: a scan a kilometre from its origin must look the same."""
    away = SimilarityTransform(Rotation.from_rotvec(np.array([0.3, 1.0, -0.2])).as_matrix(), np.array([1e6, -2e6, 5e5]))
    pose = view_of_pose(face.pose.inverse())
    far = Viewer(mesh_scan(away.apply(face.scan_points))).view(pose.compose(away.inverse())).image
    near = viewer.view(pose).image
    both = far.valid_mask & near.valid_mask
    assert both.sum() > 0.99 * near.valid_mask.sum() and np.abs(far["depth"] - near["depth"])[both].max() < 0.05
