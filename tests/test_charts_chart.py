import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry.charts.chart import CylindricalChart, OrthographicChart, from_json, pixel_centres, to_json

CHARTS = [OrthographicChart(), OrthographicChart(64, 48, 2.0, 3.0, -5.0), CylindricalChart(), CylindricalChart(40, 80, 1.5)]


@pytest.mark.parametrize("chart", CHARTS)
@given(seed=st.integers(0, 1000))
def test_lift_is_the_inverse_of_project(chart, seed):
    rng = np.random.default_rng(seed)
    points = np.stack([rng.uniform(-80, 80, 50), rng.uniform(-90, 90, 50), rng.uniform(-60, 20, 50)], 1)
    image_points, depth = chart.project(points)
    np.testing.assert_allclose(chart.lift(image_points, depth), points, atol=1e-9)


@pytest.mark.parametrize("chart", CHARTS)
def test_a_hit_at_distance_t_along_a_ray_has_depth_start_minus_t(chart):
    centres = pixel_centres(chart)[::37]
    origins, directions, start = chart.rays(centres, 150.0)
    image_points, depth = chart.project(origins + 90.0 * directions)
    np.testing.assert_allclose(depth, start - 90.0, atol=1e-9)
    np.testing.assert_allclose(image_points, centres, atol=1e-6)


@pytest.mark.parametrize("chart", CHARTS)
def test_depth_grows_along_the_outward_directions(chart):
    centres = pixel_centres(chart)[::41]
    near, far = (chart.lift(centres, np.full(len(centres), d)) for d in (80.0, 83.0))
    np.testing.assert_allclose((far - near) / 3, chart.outward_directions(centres), atol=1e-9)


@pytest.mark.parametrize("chart", CHARTS)
def test_row_0_is_the_top_and_column_0_the_subjects_right(chart):
    (middle, higher, left), _ = chart.project(np.array([[0.0, 0.0, 0.0], [0.0, 10.0, 0.0], [10.0, 0.0, 0.0]]))
    assert higher[1] < middle[1] and left[0] > middle[0]


def test_pixel_centres_lie_at_integers_plus_half_row_major():
    centres = pixel_centres(OrthographicChart(2, 3))
    np.testing.assert_array_equal(centres, [[0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [0.5, 1.5], [1.5, 1.5], [2.5, 1.5]])


def test_the_default_chart_covers_chin_to_hairline():
    chart = OrthographicChart()
    (chin, hairline), _ = chart.project(np.array([[0.0, -85.0, 0.0], [0.0, 100.0, 0.0]]))
    assert 0 < hairline[1] < chin[1] < chart.height


@pytest.mark.parametrize("chart", CHARTS)
def test_json_round_trip(chart):
    assert from_json(to_json(chart)) == chart


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="conical.*orthographic"):
        from_json('{"kind": "conical"}')
