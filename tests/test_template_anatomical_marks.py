"""The anatomical landmarks: the scheme's file, and their definitions on the shipped mean."""

import json
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from geometry.errors import ModelError
from geometry.model.landmark_embedding import landmarks_on, scheme
from geometry.template.anatomical_marks import anatomical_marks, frankfurt_axes
from geometry.transforms import MIRROR

NAME = "caple_stephan"
FILE = resources.files("geometry") / "data" / "schemes" / f"{NAME}.json"


@pytest.fixture(scope="module")
def measured(model):
    """Name → (3,) by the rules."""
    return anatomical_marks(model)


@pytest.fixture(scope="module")
def axes(model, measured):
    globe = model.mean[model.regions["eyeballs"] & (model.mean[:, 0] > 0)]
    return frankfurt_axes(measured["left_tragion"], globe[np.argmax(globe[:, 2])])


def test_each_point_has_a_label_and_a_definition_and_a_mirror_image():
    shipped, entries = scheme(NAME), json.loads(FILE.read_text(encoding="utf-8"))["points"]
    assert len({name.removeprefix("left_").removeprefix("right_") for name in shipped.names}) == 30 and len(shipped) == 46
    assert min(shipped.mirror) >= 0 and len(set(shipped.labels)) == 46
    assert all(entry["label"] and entry["definition"].endswith(".") for entry in entries)
    positions = {name: np.array(place.position) for name, place in zip(shipped.names, shipped.places) if place.position}
    for name, position in positions.items():
        image = positions[shipped.names[shipped.mirror[shipped.names.index(name)]]]
        np.testing.assert_array_equal(image, position * MIRROR)
        assert name.startswith(("left_", "right_")) == (position[0] != 0)
        assert position[0] >= 0 if name.startswith("left_") else position[0] <= 0


def test_the_file_holds_what_the_rules_measure(model, measured):
    shipped, placed = scheme(NAME), landmarks_on(model, model.mean, NAME)
    positions = {name: place.position for name, place in zip(shipped.names, shipped.places) if place.position}
    assert positions.keys() == measured.keys()
    for name, position in positions.items():
        assert np.linalg.norm(measured[name] - position) < 0.3, name
        assert np.linalg.norm(placed[shipped.names.index(name)] - position) < 1, name


def test_median_points_are_the_extremes_of_the_midline_that_their_names_say(model, measured, axes):
    midline = model.mean[(np.abs(model.mean[:, 0]) < 1e-6) & ~model.regions["cavities"]]
    forward, up = midline @ axes.forward, midline @ axes.up
    at = {name: (point @ axes.forward, point @ axes.up) for name, point in measured.items() if point[0] == 0}
    assert forward.max() - 0.3 < at["pronasale"][0] and up.max() - 0.3 < at["vertex"][1]
    front = forward > at["menton"][0]

    def between(low, high):
        return forward[front & (up > at[low][1]) & (up < at[high][1])]

    assert between("pronasale", "glabella").min() > at["sellion"][0] - 0.3
    assert between("sellion", "vertex").max() < at["glabella"][0] + 0.3
    assert between("menton", "supramentale").max() < at["pogonion"][0] + 0.3
    order = ["vertex", "glabella", "sellion", "pronasale", "subnasale", "supramentale", "pogonion", "gnathion", "menton"]
    heights = [at[name][1] for name in order]
    assert heights == sorted(heights, reverse=True) and at["subnasale"][0] < at["columella"][0] < at["pronasale"][0]


def test_points_of_the_ear_are_its_extremes(model, measured, axes):
    ear = model.mean[model.regions["ears"]]  # with the scalp about it, which stands out less
    left = {name.removeprefix("left_"): point for name, point in measured.items() if name.startswith("left_")}
    outer = ear[ear[:, 0] > left["superaurale"][0] - 5]
    assert (outer @ axes.up).max() < left["superaurale"] @ axes.up + 0.5
    assert (outer @ axes.forward).min() > left["postaurale"] @ axes.forward - 0.5
    lobe = ear[(ear[:, 0] > left["subaurale"][0] - 1) & (ear @ axes.up < left["tragion"] @ axes.up - 10)]
    assert (lobe @ axes.up).min() > left["subaurale"] @ axes.up - 0.5
    tragion = left["tragion"] @ axes.up
    assert left["otobasion_inferius"] @ axes.up < tragion - 15 and left["otobasion_superius"] @ axes.up > tragion + 15
    for name in ("otobasion_superius", "tragion"):
        assert left["postaurale"] @ axes.forward < left[name] @ axes.forward - 15


def test_the_points_about_eye_and_nose_lie_on_the_rims_that_they_name(model, measured):
    globe = model.mean[model.regions["eyeballs"] & (model.mean[:, 0] > 0)]
    top, bottom, corner = (measured[f"left_{name}"] for name in ("palpebrale_superius", "palpebrale_inferius", "exocanthion"))
    assert 7 < top[1] - bottom[1] < 14 and bottom[1] < corner[1] < top[1] and corner[0] > max(top[0], bottom[0]) + 8
    assert np.linalg.norm(globe - corner, axis=1).min() < 4
    alare, curvature, subalare = (measured[f"left_{name}"] for name in ("alare", "alar_curvature", "subalare"))
    wing = model.regions["nose"] & ~model.regions["cavities"] & (model.mean[:, 2] > alare[2]) & (np.abs(model.mean[:, 1]) < 10)
    assert model.mean[wing, 0].max() < alare[0] + 0.3
    assert curvature[2] < alare[2] - 3 and subalare[1] < alare[1] - 3 and subalare[0] < alare[0]


def test_the_frankfurt_axes_are_the_models_own_where_the_orbit_is_level_with_tragion():
    level = frankfurt_axes(np.array([72.0, 5.0, -120.0]), np.array([31.0, 22.0, -36.0]))
    np.testing.assert_allclose([level.forward, level.up], [[0, 0, 1], [0, 1, 0]], atol=1e-12)
    raised = frankfurt_axes(np.array([72.0, 5.0, -120.0]), np.array([31.0, 106.0, -36.0]))
    np.testing.assert_allclose(raised.forward, np.array([0, 1, 1]) / np.sqrt(2), atol=1e-12)
    assert abs(raised.forward @ raised.up) < 1e-12 and raised.up[1] > 0


def test_a_model_without_a_whole_head_is_refused_by_what_it_lacks(model):
    regions = {name: mask for name, mask in model.regions.items() if name not in ("eyeballs", "ears")}
    with pytest.raises(ModelError, match=r"lacks the regions \['ears', 'eyeballs'\].*whole head"):
        anatomical_marks(replace(model, regions=regions))
