"""Landmark schemes: names, groups, reflection, the JSON files, and where the points lie on a model."""

import json
import pathlib
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.model.landmark_embedding import (
    NOSE_TIP,
    embedding,
    landmarks_on,
    points_of,
    scheme,
    shipped_schemes,
)
from geometry.model.landmark_scheme import NO_POINT, parse_scheme
from geometry.surfaces.closest_point import surface_distance

COUNTS = {"bosphorus22": 22, "caple_stephan": 46, "ibug51": 51, "ibug68": 68, "now7": 7}


def on_mean(model, name):
    return dict(zip(scheme(name).names, landmarks_on(model, model.mean, name)))


def own(points, **more):
    return json.dumps({"name": "mine", "points": points, **more}).encode()


@pytest.mark.parametrize("name", COUNTS)
def test_a_shipped_scheme_is_consistent(name):
    shipped = shipped_schemes()[name]
    assert shipped.name == name and len(shipped) == COUNTS[name] == len(set(shipped.names)) == len(shipped.in_ibug68)
    assert sorted(place for group in shipped.groups.values() for place in group) == list(range(len(shipped)))
    assert [shipped.mirror[shipped.mirror[i]] for i in range(len(shipped))] == list(range(len(shipped)))
    assert all(number == NO_POINT or 0 <= number < 68 for number in shipped.in_ibug68)


@pytest.mark.parametrize("name", COUNTS)
def test_a_shipped_scheme_lies_symmetrically_on_the_skin(model, name):
    points, shipped = landmarks_on(model, model.mean, name), scheme(name)
    assert surface_distance(points, model.mesh()).max() < 1e-3
    np.testing.assert_allclose(points[list(shipped.mirror)] * (-1, 1, 1), points, atol=0.1)


@pytest.mark.parametrize("name", COUNTS)
def test_a_scheme_agrees_with_ibug68_where_it_says_so(model, name):
    points, shipped = landmarks_on(model, model.mean, name), scheme(name)
    numbers = np.array(shipped.in_ibug68)
    assert np.array_equal(points[numbers >= 0], landmarks_on(model, model.mean)[numbers[numbers >= 0]])
    mirror68 = scheme("ibug68").mirror
    assert all(numbers[image] == mirror68[number] for number, image in zip(numbers, shipped.mirror) if number >= 0)


def test_reflection_swaps_left_and_right_groups():
    ibug68 = shipped_schemes()["ibug68"]
    for side in ("eye", "brow"):
        assert {ibug68.mirror[i] for i in ibug68.groups[f"left_{side}"]} == set(ibug68.groups[f"right_{side}"])
    assert [ibug68.names[ibug68.mirror[i]] for i in (36, 39, 48, 30, 8)] == [
        "left_eye_outer",
        "left_eye_inner",
        "mouth_left",
        "nose_tip",
        "chin",
    ]


def test_landmarks_follow_the_vertices_in_any_frame(model):
    moved = model.mean + (1.0, 2.0, 3.0)
    assert np.allclose(landmarks_on(model, moved)[NOSE_TIP], (1.0, 2.0, 3.0), atol=1e-5)
    assert np.array_equal(landmarks_on(model, moved, "ibug51"), landmarks_on(model, moved)[17:])
    np.testing.assert_allclose(
        landmarks_on(model, 2 * moved, "bosphorus22"), 2 * landmarks_on(model, moved, "bosphorus22"), atol=1e-9
    )


def test_default_landmarks_are_where_their_names_say(model):
    place = on_mean(model, "ibug68")
    assert place["left_eye_outer"][0] > place["left_eye_inner"][0] > 0 > place["right_eye_inner"][0] > place["right_eye_outer"][0]
    assert place["mouth_left"][0] > 0 > place["mouth_right"][0]
    assert place["chin"][1] < place["subnasale"][1] < place["nose_tip"][1] < place["left_eye_inner"][1]


def test_now7_has_the_order_of_its_evaluation_code():
    assert scheme("now7").in_ibug68 == (36, 39, 42, 45, 33, 48, 54)  # outer right eye … nose bottom, mouth corners


def test_nose_peaks_are_the_most_lateral_points_of_the_wings(model):
    """A step up, down, forward or back along the wing leads no farther out."""
    place, normals = on_mean(model, "bosphorus22"), model.mesh().vertex_normals
    wing = (
        model.regions["nose"]
        & ~model.regions["cavities"]
        & (normals[:, 0] > 0.9)
        & (model.mean[:, 1] > -12)
        & (model.mean[:, 1] < 0)
    )
    peak = place["left_nose_peak"]
    assert peak[0] > model.mean[wing, 0].max() - 0.3 and -10 < peak[1] < -4 and -27 < peak[2] < -17
    corner = embedding(scheme("bosphorus22"), model)[0][scheme("bosphorus22").names.index("left_nose_peak")]
    assert (normals[corner] @ (1, 0, 0) > 0.95).all()


def test_the_chin_middle_is_the_most_anterior_midline_point_of_the_chin(model):
    middle = on_mean(model, "bosphorus22")["chin_middle"]
    chin = model.mean[model.regions["chin"] & (np.abs(model.mean[:, 0]) < 1) & (model.mean[:, 1] < -60)]
    foremost = chin[np.argmax(chin[:, 2])]
    assert abs(middle[0]) < 0.1 and abs(middle[1] - foremost[1]) < 3 and abs(middle[2] - foremost[2]) < 0.3


def test_the_nose_saddles_lie_beside_the_bridge_between_its_ridge_and_the_inner_eye_corners(model):
    place = on_mean(model, "bosphorus22") | {name: point for name, point in on_mean(model, "ibug68").items() if "bridge" in name}
    saddle, eye, ridge = place["left_nose_saddle"], place["left_eye_inner"], place["nose_bridge_1"]
    assert 4 < saddle[0] < eye[0] and eye[2] < saddle[2] < ridge[2] and eye[1] - 10 < saddle[1] < eye[1] - 3


def test_every_kind_of_place_is_found_on_the_model(model):
    corners = model.triangles[7].tolist()
    mine = parse_scheme(
        own(
            [
                {"name": "tip", "ibug68": 30},
                {"name": "vertex", "vertex": 5},
                {"name": "inside", "triangle": corners, "weights": [0.2, 0.3, 0.5]},
                {"name": "bridge", "between": [[27, 0.5], [28, 0.5]]},
                {"name": "before", "point": [0, 0, 30]},
            ],
            model=model.name,
        ),
        "mine.json",
    )
    found = points_of(mine, model, model.mean)
    assert np.allclose(found[0], 0, atol=1e-5) and np.array_equal(found[1], model.mean[5])
    np.testing.assert_allclose(found[2], np.array([0.2, 0.3, 0.5]) @ model.mean[corners])
    assert 22 < found[3][1] < 34 and abs(found[3][0]) < 0.1
    assert np.linalg.norm(found[4]) < 3  # before the nose: its tip is nearest, or a point beside it
    assert mine.in_ibug68 == (30, -1, -1, -1, -1) and embedding(mine, model) is embedding(mine, model)


def test_the_documented_scheme_lies_where_its_names_say(model):
    page = (pathlib.Path(__file__).parents[1] / "docs/how_to/own_landmarks.md").read_text(encoding="utf-8")
    content = next(block for block in re.findall(r"```json\n(.*?)```", page, re.S) if '"mine"' in block)
    mine = parse_scheme(content.encode(), "mine.json")
    vertices = dict(zip(mine.names, embedding(mine, model)[0]))
    assert model.regions["ears"][vertices["lobe"][0]] and model.regions["cheeks"][vertices["mole"]].all()


def test_three_vertices_that_are_no_triangle_are_refused(model):
    mine = parse_scheme(own([{"name": "a", "triangle": [10, 11, 12], "weights": [0.2, 0.3, 0.5]}], model=model.name), "p")
    with pytest.raises(ModelError, match="10, 11, 12 are no triangle"):
        embedding(mine, model)


def test_a_point_over_the_surface_drops_to_its_foot(model):
    rng = np.random.default_rng(0)
    skin = model.triangles[~(model.regions["cavities"] | model.regions["mouth_interior"])[model.triangles].any(1)]
    starts = model.mean[skin[rng.integers(len(skin), size=12)]].mean(1) + rng.normal(size=(12, 3))
    mine = parse_scheme(own([{"name": str(k), "point": start.tolist()} for k, start in enumerate(starts)]), "p")
    distance = np.linalg.norm(points_of(mine, model, model.mean) - starts, axis=1)
    np.testing.assert_allclose(distance, surface_distance(starts, TriangleMesh(model.mean, skin)), atol=1e-4)


def test_left_and_right_mirror_by_name_and_by_list():
    points = [{"name": name, "vertex": number} for number, name in enumerate(("cheek_left", "cheek_right", "tip", "Right ear"))]
    assert parse_scheme(own(points), "a").mirror == (1, 0, 2, NO_POINT)
    given_list = parse_scheme(own(points, mirror=["tip", "cheek_right", "cheek_left", "Right ear"], groups={"g": ["tip"]}), "a")
    assert given_list.mirror == (2, 1, 0, 3) and given_list.groups == {"g": (2,)}


def test_a_users_scheme_is_read_from_its_file(model, tmp_path):
    (tmp_path / "mine.json").write_bytes(own([{"name": "tip", "ibug68": 30}]))
    mine = scheme(tmp_path / "mine.json")
    assert mine == scheme(str(tmp_path / "mine.json")) and mine.name == "mine"
    assert np.allclose(landmarks_on(model, model.mean, str(tmp_path / "mine.json")), 0, atol=1e-5)
    with pytest.raises(ModelError, match=r"none.json: cannot be opened"):
        scheme(tmp_path / "none.json")


@pytest.mark.parametrize("name", COUNTS)
def test_a_users_scheme_may_not_carry_a_shipped_name(tmp_path, name):
    (tmp_path / "mine.json").write_bytes(json.dumps({"name": name, "points": [{"name": "tip", "ibug68": 30}]}).encode())
    words = rf"mine.json: its name '{name}' is that of a shipped scheme; give it a \"name\" of its own, or say {name} "
    with pytest.raises(ModelError, match=words):
        scheme(tmp_path / "mine.json")


def test_a_shipped_name_means_the_shipped_scheme_on_a_model_that_has_its_own_of_that_name(model):
    rich = replace(model, landmarks={**model.landmarks, "now7": np.arange(7), "own": np.array([5, 6])})
    assert np.array_equal(landmarks_on(rich, rich.mean, "now7"), landmarks_on(model, model.mean, "now7"))
    assert np.array_equal(landmarks_on(rich, rich.mean, "own"), model.mean[[5, 6]])
    moved = replace(model, landmarks={"ibug68": model.landmarks["ibug68"][::-1]})
    assert np.array_equal(landmarks_on(moved, moved.mean), landmarks_on(model, model.mean)[::-1])


TIP = {"name": "tip", "ibug68": 30}


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "is no JSON text"),
        (b"[" * 100_000, "is no JSON text"),
        (b"[]", 'list "points"'),
        (b'{"points": []}', "at least one point"),
        (own([TIP, {"name": "tip", "vertex": 1}]), "several points named 'tip'"),
        (own([TIP, {"name": "x"}]), r'point 1 \("x"\): expected exactly one of ibug68, between.*found none of them'),
        (own([{"name": "x", "ibug68": 3, "vertex": 4}]), r'point 0 \("x"\).*found ibug68 and vertex'),
        (own([{"name": "x", "ibug68": 68}]), r'"x".*holds 68; expected a whole number from 0 to 67'),
        (own([{"name": "x", "ibug68": True}]), "holds true; expected a whole number"),
        (own([{"name": "x", "vertex": -1}]), "holds -1; expected a whole number ≥ 0"),
        (own([{"name": "x", "between": [[1, 0.5], [2, 0.4]]}]), "weights sum to 0.9; expected 1"),
        (own([{"name": "x", "between": [[1, "a"]]}]), "expected 1 finite number$"),
        (own([{"name": "x", "between": []}]), r"expected \[\[iBUG point, weight\], …\]"),
        (own([{"name": "x", "triangle": [0, 1]}]), "expected three vertex numbers"),
        (own([{"name": "x", "triangle": [0, 1, 2]}]), '"weights" is null; expected 3 finite numbers'),
        (own([{"name": "x", "point": [0, 1, float("nan")]}]), "expected 3 finite numbers"),
        (own([{"name": "x", "vertex": 1, "weight": 1}]), "unknown key 'weight' beside \"vertex\""),
        (own([{"name": "x", "vertex": 1, "definition": 3}]), '"definition" is 3; expected a text'),
        (own([{"nme": "x"}]), 'expected an object with a "name"'),
        (own([TIP], mirrors=[]), "unknown key 'mirrors'"),
        (own([TIP], mirror=["nose"]), "names 'nose', which is no point"),
        (own([TIP], groups={"a": ["nose"]}), "group 'a' names 'nose'"),
        (own([TIP, {"name": "b", "vertex": 1}], mirror=["b", "b"]), "reflection of 'tip' is another point"),
        (b'{"points": [{"name": "tip", "ibug68": 30}]}', 'lacks "name"'),
    ],
)
def test_a_malformed_scheme_says_which_point_and_what_was_expected(data, words):
    with pytest.raises(ModelError, match=r"landmark scheme mine\.json.*" + words):
        parse_scheme(data, "mine.json")


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-2, 99) | st.floats() | st.sampled_from(["tip", "left", "", "ibug68"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["name", "points", "ibug68", "between", "vertex", "weights", "mirror", "groups", "model", "label"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_json_breaks_the_scheme_reader(content):
    try:
        parsed = parse_scheme(json.dumps(content).encode(), "mine.json")
    except ModelError:
        return
    assert len(parsed) >= 1


@pytest.mark.parametrize(
    "find, words",
    [
        (
            lambda model: landmarks_on(model, model.mean, "ibug69"),
            "ibug69.*bosphorus22, caple_stephan, ibug51, ibug68, now7.*did you mean 'ibug68'",
        ),
        (lambda model: scheme("Bosphorus"), "unknown landmark scheme 'Bosphorus'.*known schemes"),
        (lambda model: scheme("own"), "unknown landmark scheme 'own'"),  # of a model that brings its own
        (lambda model: landmarks_on(model, model.mean[:-1]), "expected"),
    ],
    ids=["on a model", "by its name", "of a model", "wrong topology"],
)
def test_an_unknown_scheme_and_a_wrong_topology_are_named(model, find, words):
    with pytest.raises(ModelError, match=words):
        find(model)


@pytest.mark.parametrize(
    "vertex, of, words",
    [
        (1, {"model": "flame"}, "counts the vertices of model 'flame', not of 'face-relief'"),
        (99999, {}, "'x': vertex 99999; model 'face-relief' has {n_vertices}"),
    ],
)
def test_a_scheme_of_another_models_vertices_is_refused(model, vertex, of, words):
    with pytest.raises(ModelError, match=words.format(n_vertices=model.n_vertices)):
        embedding(parse_scheme(own([{"name": "x", "vertex": vertex}], **of), "x"), model)
