"""The gate between ok and rejected: relief where a face has relief, and bounds on the rest."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from surfaces import SMALL_ALL, SMALL_CHART, bumpy_depth, small_image

from geometry.charts.chart import pixel_centres
from geometry.errors import NoFaceFound
from geometry.recognition.acceptance import AcceptanceOptions, relief_explained, require_face

X, Y = SMALL_CHART.lift(pixel_centres(SMALL_CHART), np.zeros(SMALL_ALL.size)).T[:2].reshape(2, *SMALL_ALL.shape)
FACE = bumpy_depth(X, Y)
PLANE = np.full_like(FACE, FACE.mean())
FOLLOWED = SimpleNamespace(coarse=small_image(FACE), scan=small_image(FACE))  # what the gate asks of an Encoding


def a_good_fit(**changes):
    """What a FitResult must have for the gate."""
    good = {
        "visible_face": 0.9,
        "residuals": {"inlier_fraction": 0.95},
        "fit_quality": 0.9,
        "identity_rms_sigma": 0.8,
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
        ({"fit_quality": 0.1}, "quality is 0.10"),
        ({"identity_rms_sigma": 3.1}, "implausible .3.1 σ a mode"),
        ({"visible_face": np.nan}, "nan"),
        ({"residuals": {"inlier_fraction": np.nan}}, "nan"),
        ({"fit_quality": np.nan}, "nan"),
        ({"identity_rms_sigma": np.nan}, "nan"),
    ],
)
def test_each_bound_rejects_and_names_what_was_found_and_needed_and_what_is_no_number_is_not_believed(changes, message):
    with pytest.raises(NoFaceFound, match=message):
        require_face(a_good_fit(**changes), FOLLOWED)


def test_a_wall_is_rejected_however_good_the_rest_looks():
    with pytest.raises(NoFaceFound, match="relief"):
        require_face(a_good_fit(), SimpleNamespace(coarse=small_image(FACE), scan=small_image(PLANE)))


def test_the_bounds_are_the_callers():
    with pytest.raises(NoFaceFound, match="at least 95 %"):
        require_face(a_good_fit(), FOLLOWED, replace(AcceptanceOptions(), visible_face=0.95))
