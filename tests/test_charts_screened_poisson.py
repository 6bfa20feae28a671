"""The screened Poisson equation: exact on planes, the closed form on a strip, nothing across a jump."""

import numpy as np
import pytest

from geometry.charts.screened_poisson import extended

ROWS, COLUMNS = np.indices((90, 120)).astype(float)
LEFT = COLUMNS < 40


def test_a_membrane_reproduces_planes():
    holes = np.hypot(ROWS - 40, COLUMNS - 60) < 12
    plane = 2 * COLUMNS - ROWS
    np.testing.assert_allclose(extended(np.where(holes, 0, plane), ~holes, holes), plane, atol=1e-8)


@pytest.mark.parametrize("length_px", [2.0, 8.0])
def test_known_values_fade_over_the_length(length_px):
    """u(k) = λᵏ with λ + 1 / λ = 2 + 1 / ℓ²."""
    sum_of_both = 2 + 1 / length_px**2
    decay = sum_of_both / 2 - np.sqrt(sum_of_both**2 / 4 - 1)
    found = extended(np.where(LEFT, 5.0, 99.0), LEFT, ~LEFT, length_px)
    np.testing.assert_allclose(found[:, 39:80], 5 * decay ** (COLUMNS[:, 39:80] - 39), atol=1e-3)


@pytest.mark.parametrize("unknown", [~LEFT, (ROWS + COLUMNS) % 5 < 2], ids=["one region of 7,200", "many small ones"])
def test_the_equation_holds_at_every_unknown_pixel(unknown):
    source, rng = np.sin(COLUMNS / 7), np.random.default_rng(0)
    u = extended(rng.normal(size=unknown.shape), ~unknown, unknown, 6.0, source)
    framed = np.pad(u, 1, mode="edge")  # natural boundary
    laplacian = framed[:-2, 1:-1] + framed[2:, 1:-1] + framed[1:-1, :-2] + framed[1:-1, 2:] - 4 * u
    assert np.abs(laplacian - (u - source) / 36)[unknown].max() < 1e-4


def test_detail_of_the_source_is_left_out_and_its_breadth_is_kept():
    source = 3.0 + (-1.0) ** (ROWS + COLUMNS)
    found = extended(np.zeros(LEFT.shape), LEFT, ~LEFT, 5.0, source)
    np.testing.assert_allclose(found[20:70, 80:110], 3.0, atol=0.02)


def test_nothing_flows_over_a_jump_of_the_relief():
    behind = (COLUMNS >= 43) * -100.0
    found = extended(LEFT * 5.0, LEFT, ~LEFT, 20.0, None, behind)
    assert found[:, 40:43].min() > 4.5 and found[:, 43:].max() < 0.02


def test_what_touches_nothing_known_follows_the_source():
    unknown, nothing = ~LEFT, np.zeros(LEFT.shape, bool)
    np.testing.assert_allclose(extended(np.ones(LEFT.shape), nothing, unknown, 8.0, np.full(LEFT.shape, 2.0))[unknown], 2.0)
    assert not extended(np.ones(LEFT.shape), nothing, unknown)[unknown].any()


def test_the_known_stays_and_an_image_without_unknowns_is_itself():
    values, nothing = np.random.default_rng(1).normal(size=LEFT.shape), np.zeros(LEFT.shape, bool)
    np.testing.assert_array_equal(extended(values, LEFT, ~LEFT, 4.0)[LEFT], values[LEFT])
    np.testing.assert_array_equal(extended(values, LEFT, nothing), values)
