"""Band-limited curvature on waves whose curvature is known."""

import numpy as np
import pytest

from geometry.charts.chart import OrthographicChart, pixel_centres
from geometry.evaluation.curvature_error import LIMIT, Band, band_curvature, comparable_pixels, detail_error

CHART = OrthographicChart(height=128, width=128)
BAND = Band(6.0, 20.0)
ALL = np.ones((128, 128), bool)
INNER = np.zeros((128, 128), bool)
INNER[24:-24, 24:-24] = True


def wave(wavelength_mm: float, height_mm: float = 0.02) -> np.ndarray:
    """A shallow wave along columns, (128, 128) mm; its mean curvature is (2π/λ)²/2 times itself."""
    x = CHART.lift(pixel_centres(CHART), np.zeros(128 * 128))[:, 0].reshape(128, 128)
    return height_mm * np.cos(2 * np.pi * x / wavelength_mm)


def answer(wavelength_mm: float, band: Band = BAND) -> float:
    """Amplitude of the wave's curvature in the band over its whole curvature's."""
    whole = (2 * np.pi / wavelength_mm) ** 2 / 2 * wave(wavelength_mm)[INNER]
    return float((band_curvature(wave(wavelength_mm), ALL, CHART, band)[INNER] * whole).sum() / (whole**2).sum())


@pytest.mark.parametrize("band", [BAND, Band(2.0, 8.0)])
def test_a_wave_within_the_band_passes_and_its_ends_are_halved(band):
    assert answer(float(np.sqrt(band.shortest_mm * band.longest_mm)), band) > 0.65
    assert [answer(end, band) for end in (band.shortest_mm, band.longest_mm)] == pytest.approx([0.5, 0.5], abs=0.12)


def test_waves_far_outside_the_band_are_stopped():
    assert answer(2.5) < 0.05 and answer(60.0) < 0.1


def test_the_truth_itself_has_no_error_and_full_correlation():
    error = detail_error(wave(10.0), wave(10.0), ALL, INNER, CHART, BAND)
    assert error.rms == 0.0 and error.correlation == pytest.approx(1.0)


def test_offset_and_tilt_cost_nothing():
    error = detail_error(wave(10.0) + 1.5 + 0.02 * np.arange(128)[:, None], wave(10.0), ALL, INNER, CHART, BAND)
    assert error.rms < 0.02 * error.truth_rms and error.correlation > 0.999


def test_a_surface_without_detail_is_wrong_by_all_of_it():
    error = detail_error(np.zeros((128, 128)), wave(10.0), ALL, INNER, CHART, BAND)
    assert error.rms == pytest.approx(error.truth_rms) and error.correlation == 0.0


def test_one_crease_does_not_outvote_the_skin():
    crease = np.zeros((128, 128))
    crease[:, 64:66] = -1.5  # a lip line that one surface lacks
    error = detail_error(wave(5.0, 0.05), wave(5.0, 0.05) + crease, ALL, INNER, CHART, Band(2.0, 8.0))
    assert error.rms < 0.5 * LIMIT and error.correlation > 0.5


def test_opposite_relief_correlates_negatively():
    assert detail_error(-wave(10.0), wave(10.0), ALL, INNER, CHART, BAND).correlation == pytest.approx(-1.0)


def test_what_lies_under_a_hole_is_not_read():
    valid = ALL.copy()
    valid[60:70, 60:70] = False
    error = detail_error(np.where(valid, wave(10.0), 500.0), wave(10.0), valid, INNER, CHART, BAND)
    assert error.rms < 1e-9 and error.pixels < INNER.sum()


def test_pixels_beside_a_step_or_a_border_are_left_out():
    stepped = np.zeros((128, 128))
    stepped[:, 64:] = 30.0
    kept = comparable_pixels(stepped, ALL, CHART)
    assert not kept[:, 62:66].any() and kept[10:-10, 20:50].all()


def test_too_few_pixels_give_no_figure():
    few = np.zeros((128, 128), bool)
    few[60:65, 60:65] = True
    error = detail_error(wave(10.0), wave(10.0), ALL, few, CHART, BAND)
    assert np.isnan(error.rms) and error.pixels == 25


@pytest.mark.parametrize("ends", [(0.0, 5.0), (8.0, 2.0)])
def test_an_empty_band_is_refused(ends):
    with pytest.raises(ValueError, match="shortest"):
        Band(*ends)
