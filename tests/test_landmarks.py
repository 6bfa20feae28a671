"""Landmark schemes: names, groups, reflection, and where a model carries them."""
import numpy as np
import pytest

from geometry.errors import ModelError
from geometry.landmarks import LANDMARK_SCHEMES, NOSE_TIP, landmark_indices, landmarks_on
from geometry.model_formats import load_model


@pytest.mark.parametrize("scheme", LANDMARK_SCHEMES.values(), ids=lambda scheme: scheme.name)
def test_a_scheme_is_consistent(scheme):
    assert len(scheme) == int(scheme.name.removeprefix("ibug")) == len(set(scheme.names)) == len(scheme.in_ibug68)
    assert sorted(place for group in scheme.groups.values() for place in group) == list(range(len(scheme)))
    assert [scheme.mirror[scheme.mirror[i]] for i in range(len(scheme))] == list(range(len(scheme)))


def test_reflection_swaps_left_and_right_groups():
    scheme = LANDMARK_SCHEMES["ibug68"]
    for side in ("eye", "brow"):
        mirrored = {scheme.mirror[i] for i in scheme.groups[f"left_{side}"]}
        assert mirrored == set(scheme.groups[f"right_{side}"])
    assert [scheme.names[scheme.mirror[i]] for i in (36, 39, 48, 30, 8)] == [
        "left_eye_outer", "left_eye_inner", "mouth_left", "nose_tip", "chin"]


def test_landmarks_follow_the_vertices_in_any_frame():
    model = load_model("default")
    moved = model.mean + (1.0, 2.0, 3.0)
    assert np.allclose(landmarks_on(model, moved)[NOSE_TIP], (1.0, 2.0, 3.0), atol=1e-5)
    assert np.array_equal(landmarks_on(model, moved, "ibug51"), landmarks_on(model, moved)[17:])


def test_default_landmarks_are_where_their_names_say():
    model = load_model("default")
    place = dict(zip(LANDMARK_SCHEMES["ibug68"].names, landmarks_on(model, model.mean)))
    assert place["left_eye_outer"][0] > place["left_eye_inner"][0] > 0 > place["right_eye_inner"][0] > place["right_eye_outer"][0]
    assert place["mouth_left"][0] > 0 > place["mouth_right"][0]
    assert place["chin"][1] < place["subnasale"][1] < place["nose_tip"][1] < place["left_eye_inner"][1]
    assert len(set(landmark_indices(model))) == 68


def test_an_unknown_scheme_and_a_wrong_topology_are_named():
    model = load_model("default")
    with pytest.raises(ModelError, match="ibug69.*ibug51, ibug68"):
        landmarks_on(model, model.mean, "ibug69")
    with pytest.raises(ModelError, match="expected"):
        landmarks_on(model, model.mean[:-1])
