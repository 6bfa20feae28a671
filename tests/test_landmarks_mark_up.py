"""Landmarks found under an earlier mark-up come out under the model's own, however the face is turned."""

from dataclasses import replace

import numpy as np
from landmark_oracle import Oracle
from sampled_faces import default_model
from scipy.spatial.transform import Rotation

from geometry.landmarks.estimate import LandmarkEstimate
from geometry.landmarks.mark_up import LEAST, carried
from geometry.recognition.by_landmarks import landmark_pose
from geometry.surfaces.closest_point import closest_points
from geometry.surfaces.raycasting import interpolate
from geometry.transforms import SimilarityTransform


def with_earlier(offset):
    """The default model, and what it would know of a mark-up 1 that lies off its own by offset (68, 3)."""
    model = default_model()
    return replace(model, earlier_mark_ups={1: model.mean[model.landmarks["ibug68"]] - offset})


def test_a_turned_and_grown_face_is_carried_exactly():
    offset = np.random.default_rng(0).normal(0, 3, (68, 3))
    model, pose = (
        with_earlier(offset),
        SimilarityTransform(Rotation.from_rotvec([0.3, 2.5, -1]).as_matrix(), np.ones(3) * 70, 1.3),
    )
    points = pose.apply(model.earlier_mark_ups[1])
    seen = np.arange(68) % 3 > 0
    estimate = LandmarkEstimate(np.where(seen[:, None], points, np.nan), np.tile(np.eye(3), (68, 1, 1)), np.ones(68), seen)
    moved = carried(estimate, 1, model)
    assert np.allclose(moved.points[seen], pose.apply(model.mean[model.landmarks["ibug68"]])[seen])
    assert np.isnan(moved.points[~seen]).all() and moved.seen is estimate.seen


def test_the_own_mark_up_and_too_few_points_stay():
    model = with_earlier(np.ones((68, 3)))
    seen = np.arange(68) < LEAST
    estimate = LandmarkEstimate(model.earlier_mark_ups[1], np.tile(np.eye(3), (68, 1, 1)), np.ones(68), seen)
    unaware = replace(model, earlier_mark_ups={})
    assert carried(estimate, 2, model) is estimate and carried(estimate, 1, unaware) is estimate
    assert carried(replace(estimate, seen=seen & (np.arange(68) > 0)), 1, model).points is estimate.points


def test_what_a_network_of_the_earlier_mark_up_finds_on_a_scan_is_the_new_one_s(face, scan, model):
    """Brows were marked 4 mm lower, on the skin that lies deeper there."""
    marks, pose, brows = model.landmarks["ibug68"], face.pose, slice(17, 27)
    skin = model.mesh().submesh(model.regions["face"])[0]
    on_skin = closest_points(model.mean[marks[brows]] - (0.0, 4.0, 0.0), skin)
    placed = lambda vertices: interpolate(vertices[model.regions["face"]], skin.triangles[on_skin.triangle], on_skin.uv)
    offset, earlier = np.zeros((68, 3)), face.scan_landmarks.copy()
    offset[brows], earlier[brows] = model.mean[marks[brows]] - placed(model.mean), placed(face.scan_points)
    oracle = Oracle(earlier, pose.inverse(), sigma_mm=0.2)
    find = lambda images, mirrored=True: [replace(found, mark_up=1) for found in oracle.find(images, mirrored)]
    found = landmark_pose(oracle.viewer_class(scan), pose.inverse(), with_earlier(offset), find, (0.0, -25.0, 25.0))
    error = np.linalg.norm(found.estimate.points - face.scan_landmarks, axis=1)[brows]
    assert np.nanmedian(error) < 0.8 < 3.0 < np.nanmedian(np.linalg.norm(earlier - face.scan_landmarks, axis=1)[brows])
