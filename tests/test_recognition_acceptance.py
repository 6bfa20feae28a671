"""The gate between ok and rejected: relief where a face has relief, bounds on the rest, and the probability of being right."""

import re
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
from surfaces import SMALL_ALL, SMALL_CHART, bumpy_depth, small_image

from geometry.charts.chart import pixel_centres
from geometry.errors import NoFaceFound
from geometry.fitting.beard import BeardSigns
from geometry.recognition.acceptance import AcceptanceOptions, notes_of, require_face, require_right, told_apart
from geometry.recognition.evidence import Evidence, relief_explained
from geometry.recognition.rightness import TERMS, probability_right, shipped_regressions

X, Y = SMALL_CHART.lift(pixel_centres(SMALL_CHART), np.zeros(SMALL_ALL.size)).T[:2].reshape(2, *SMALL_ALL.shape)
FACE = bumpy_depth(X, Y)
PLANE = np.full_like(FACE, FACE.mean())
FOLLOWED = SimpleNamespace(coarse=small_image(FACE), scan=small_image(FACE))  # what the gate asks of an Encoding


def a_good_fit(**changes):
    """What a FitResult must have for the gate."""
    good = {
        "visible_face": 0.9,
        "residuals": {"inlier_fraction": 0.95},
        "identity_rms_sigma": 0.8,
        "discrepancy_sigma": 0.9,
    }
    return SimpleNamespace(**{**good, **changes})


def egg(half_width: float, half_height: float, depth: float) -> np.ndarray:
    return depth * (np.sqrt(np.clip(1 - (X / half_width) ** 2 - (Y / half_height) ** 2, 0.02, None)) - 1)


@pytest.mark.parametrize(
    ("scan", "least", "most"),
    [
        (FACE, 1 - 1e-6, 1 + 1e-6),
        (FACE + np.random.default_rng(0).normal(size=FACE.shape) * 0.5, 0.9, np.inf),
        (FACE + 3.0 + 0.05 * X, 0.9, np.inf),
        (FACE + 60.0 * ((np.abs(X) < 20) & (np.abs(Y + 40) < 20)), 0.99, np.inf),
        (PLANE, -np.inf, 0.2),
        (np.roll(FACE, 9, axis=0), -np.inf, 0.5),
    ],
    ids=["the same", "with noise", "moved and tilted", "something far before it", "a plane", "features elsewhere"],
)
def test_a_fit_explains_the_relief_of_a_scan_whose_features_are_in_its_places(scan, least, most):
    assert least < relief_explained(small_image(FACE), small_image(scan)) < most


@pytest.mark.parametrize("shape", [(76, 124, 105), (74, 114, 95), (81, 114, 95)])
def test_a_featureless_egg_has_no_relief_however_closely_it_is_followed(shape):
    """A flexible model follows a real egg to half a millimetre, its own features shrunk to about that."""
    smooth, features = egg(*shape), FACE + (X**2 + Y**2) / 150
    near = np.hypot(X, Y) < 50
    followed = smooth + 0.5 * (features - features[near].mean()) / features[near].std()
    assert relief_explained(small_image(followed), small_image(smooth)) < AcceptanceOptions().relief_explained


def test_too_little_in_common_is_no_evidence():
    corner = np.pad(np.ones((10, 10), bool), (0, 86))
    assert relief_explained(small_image(FACE), small_image(FACE, corner)) == -1.0
    assert relief_explained(small_image(FACE), small_image(FACE, ~SMALL_ALL)) == -1.0


def test_a_good_fit_passes():
    assert require_face(a_good_fit(), FOLLOWED) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"visible_face": 0.1}, "only 10 % of the face is visible, at least 25 % is needed"),
        ({"residuals": {"inlier_fraction": 0.3}}, "only 30 % of the points about the face lie on it"),
        ({"identity_rms_sigma": 3.1}, "implausible .3.1 σ a mode"),
        ({"discrepancy_sigma": 3.8}, "no landmark was, and what a model of faces cannot show is 3.8 times a face's, at most 1.8"),
        ({"visible_face": np.nan}, "nan"),
        ({"residuals": {"inlier_fraction": np.nan}}, "nan"),
        ({"identity_rms_sigma": np.nan}, "nan"),
    ],
)
def test_each_bound_rejects_and_names_what_was_found_and_needed_and_what_is_no_number_is_not_believed(changes, message):
    with pytest.raises(NoFaceFound, match=message):
        require_face(a_good_fit(**changes), FOLLOWED)


def test_landmarks_speak_for_a_beard_that_the_model_cannot_show():
    require_face(a_good_fit(discrepancy_sigma=3.8), FOLLOWED, marked=True)


def test_a_wall_is_rejected_however_good_the_rest_looks():
    with pytest.raises(NoFaceFound, match="relief"):
        require_face(a_good_fit(), SimpleNamespace(coarse=small_image(FACE), scan=small_image(PLANE)))


def test_the_bounds_are_the_callers():
    with pytest.raises(NoFaceFound, match="at least 95 %"):
        require_face(a_good_fit(), FOLLOWED, replace(AcceptanceOptions(), visible_face=0.95))


GOOD = Evidence(
    **{
        **dict.fromkeys((field.name for field in fields(Evidence)), 0.0),
        "visible_face": 0.9,
        "on_face": 0.95,
        "relief": 0.97,
        "relief_whole": 0.97,
        "looked_at": 0.8,
        "looked_at_below": 0.8,
        "residual_mm": 0.3,
        "noise_mm": 0.1,
        "identity_sigma": 1.0,
        "front_mm": 0.1,
        "front_below_mm": 0.1,
        "away_mm": 0.3,
        "away_p90_mm": 0.6,
        "away_below_mm": 0.3,
        "away_below_p90_mm": 0.6,
        "landmarks_seen": 0.8,
        "mouth_seen": 0.8,
        "lower_lip_seen": 0.8,
        "chin_seen": 0.8,
        "landmark_sigma": 1.0,
        "landmark_p90_sigma": 2.0,
        "mouth_sigma": 1.0,
        "lower_lip_sigma": 1.0,
        "lower_lip_mm": 1.5,
        "chin_sigma": 1.0,
        "stated_lower_lip_mm": 1.2,
    }
)
UNMARKED = replace(GOOD, **{name: np.nan for name in vars(GOOD) if name.startswith(("landmark", "mouth", "lower_lip", "chin"))})
HIGHER_IS_BETTER = {"relief", "looked_at_below", "lower_lip_seen"}


def test_a_fit_that_everything_speaks_for_is_very_probably_right():
    assert 0.95 < probability_right(GOOD) < 1 and 0.8 < probability_right(UNMARKED) < 1
    assert require_right(GOOD) == probability_right(GOOD)


@pytest.mark.parametrize(
    "name", sorted({name for terms in TERMS.values() for name in terms if hasattr(GOOD, name)} - {"noise_mm"})
)
@pytest.mark.parametrize("start", [GOOD, UNMARKED], ids=["with landmarks", "without"])
def test_no_figure_makes_a_fit_likelier_by_being_worse(name, start):
    """But noise, which explains what a fit leaves."""
    worse = -1 if name in HIGHER_IS_BETTER else 1
    steps = [replace(start, **{name: max(getattr(start, name) + worse * step, 0.0)}) for step in np.linspace(0, 6, 40)]
    found = [probability_right(each) for each in steps]
    assert (np.diff(found) <= 1e-12).all() and all(0 <= each <= 1 for each in found)


@pytest.mark.parametrize(
    "changes",
    [
        {"lower_lip_mm": 20.0, "lower_lip_sigma": 10.0, "chin_sigma": 8.0, "in_front_below": 0.3},
        {"residual_mm": 3.0, "away_mm": 3.0, "noise_mm": 1.0},
    ],
    ids=["a mouth elsewhere", "a face elsewhere"],
)
def test_what_contradicts_a_fit_makes_it_improbable(changes):
    assert probability_right(replace(GOOD, **changes)) < 0.5


def test_a_fit_where_a_network_found_no_face_must_be_surer():
    """An upside-down face in time-of-flight noise passed with 0.85, located by its shape alone."""
    least = AcceptanceOptions(unmarked=0.0, unrecognised=1.0)
    assert require_right(UNMARKED, least) == probability_right(UNMARKED)
    with pytest.raises(NoFaceFound, match="at least 100"):
        require_right(UNMARKED, least, recognised=False)


def test_free_space_speaks_against_a_mouth_where_no_landmark_does():
    shut = replace(UNMARKED, in_front_below=0.4, front_below_mm=4.0, away_below_p90_mm=10.0)
    assert probability_right(shut) < probability_right(UNMARKED) - 0.3


def test_the_shipped_weights_have_the_signs_of_their_terms():
    for name, regression in shipped_regressions().items():
        assert regression.terms.keys() == TERMS[name].keys()
        assert all(weight * TERMS[name][term].sign >= 0 < scale for term, (_, scale, weight) in regression.terms.items())


def test_an_improbable_fit_is_refused_and_says_how_improbable_it_is():
    doubtful = replace(GOOD, residual_mm=3.0, away_mm=3.0, noise_mm=2.0, lower_lip_mm=20.0)
    with pytest.raises(NoFaceFound, match=r"right with a probability of \d+ % only, at least 80 % is needed"):
        require_right(doubtful)
    least = AcceptanceOptions(probability=0.0)
    assert require_right(doubtful, least) == probability_right(doubtful)
    with pytest.raises(NoFaceFound, match="at least 100"):
        require_right(GOOD, AcceptanceOptions(probability=1.0))


@pytest.mark.parametrize(
    ("found", "bound", "digits", "texts"),
    [
        (2.604, 2.6, 1, ("2.604", "2.600")),
        (2.7, 2.6, 1, ("2.7", "2.6")),
        (69.6, 70.0, 0, ("69.6", "70.0")),
        (10.0, 25.0, 0, ("10", "25")),
        (np.nextafter(2.6, 3), 2.6, 1, ("2.6000000000000005", "2.6")),
        (np.nan, 70.0, 0, ("nan", "70")),
    ],
)
def test_two_numbers_are_told_apart(found, bound, digits, texts):
    assert told_apart(found, bound, digits) == texts


@pytest.mark.parametrize(
    "changes",
    [
        {"identity_rms_sigma": 3.0001},
        {"visible_face": 0.2499},
        {"residuals": {"inlier_fraction": 0.64999}},
    ],
)
def test_a_reason_gives_numbers_that_differ(changes):
    """It said: 2.6 σ a mode, at most 2.6."""
    with pytest.raises(NoFaceFound) as refused:
        require_face(a_good_fit(**changes), FOLLOWED)
    found, bound = re.findall(r"\d+\.?\d*", str(refused.value))
    assert found != bound and abs(float(found) - float(bound)) < 0.02


def test_what_the_model_guessed_is_noted():
    assert notes_of(GOOD) == ()
    assert "45 % of the face" in notes_of(replace(GOOD, visible_face=0.45))[0]
    assert "12 % of mouth and chin" in notes_of(replace(GOOD, looked_at_below=0.12))[0]


def test_a_beard_is_noted():
    assert notes_of(GOOD, BeardSigns(0.1, 0.3, 1.0)) == ()
    assert "a beard seems to cover the chin" in notes_of(GOOD, BeardSigns(2.5, 0.4, 2.5))[0]
