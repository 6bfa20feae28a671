"""The contradiction gate: silent where scan and refinement agree, firm where they do not, blind to what stands before a face, and
without a step where the scan ends."""

import numpy as np
import pytest
from sampled_faces import default_model, known_face
from surfaces import SMALL_ALL, SMALL_CHART, small_image, small_relief

from geometry.charts.chart import CylindricalChart, OrthographicChart
from geometry.charts.geometry_image import channel_normals
from geometry.charts.rasterize import image_from_depth, rasterize
from geometry.fitting.encoding import noise_map
from geometry.mesh import TriangleMesh
from geometry.refinement.contradiction_gate import LENGTH_MM, contradiction, replace_contradicted
from geometry.refinement.scan_evidence import scan_evidence
from geometry.surfaces.noise_estimation import noise_of_surface
from geometry.surfaces.seen_surface import seen_surface
from geometry.surfaces.triangulation import surface_of
from geometry.synthesis.sensor_noise import correlated_noise
from geometry.synthesis.sensors import SENSORS, head_rotation, observe
from geometry.transforms import SimilarityTransform

SURFACE = small_relief()
SHAPE = SURFACE.shape
ROWS, COLUMNS = np.indices(SHAPE)
LEFT = COLUMNS < 48
BUMP = np.exp(-((ROWS - SHAPE[0] / 2) ** 2 + (COLUMNS - SHAPE[1] / 2) ** 2) / (2 * 9.0**2))
NOISE_MM = 0.3


def scan_of(depth, valid=SMALL_ALL, seed=0):
    noise = np.random.default_rng(seed).normal(size=SHAPE) * NOISE_MM
    return small_image(depth + noise, valid).with_channel("noise_sigma", np.where(valid, NOISE_MM, 0))


def test_a_refinement_that_the_scan_bears_out_is_kept_bit_for_bit():
    refined = small_image(SURFACE + 0.2)
    gated = replace_contradicted(small_image(SURFACE), scan_of(SURFACE + 0.2), refined)
    np.testing.assert_array_equal(gated["depth"], refined["depth"])
    assert not gated["fallback"].any()


def test_an_invented_bump_is_taken_back():
    gated = replace_contradicted(small_image(SURFACE), scan_of(SURFACE), small_image(SURFACE + 2 * BUMP))
    wrong, left = 2 * BUMP, np.abs(gated["depth"] - SURFACE)
    assert left[BUMP > 0.8].mean() < 0.2 * wrong[BUMP > 0.8].mean()
    assert gated["fallback"][BUMP > 0.8].min() > 0.7 and gated["fallback"][BUMP < 0.05].mean() < 1e-3
    np.testing.assert_allclose(np.linalg.norm(channel_normals(gated), axis=2), 1, atol=1e-5)


def test_a_refinement_that_knows_its_uncertainty_is_given_it():
    refined = small_image(SURFACE + 2 * BUMP).with_channel("sigma_mm", np.full(SHAPE, 1.5))
    assert not contradiction(scan_evidence(scan_of(SURFACE), refined), refined).any()


def test_where_the_surface_was_changed_sigma_says_so():
    refined = small_image(SURFACE + 2 * BUMP).with_channel("sigma_mm", np.full(SHAPE, 0.01))
    gated = replace_contradicted(small_image(SURFACE), scan_of(SURFACE), refined)
    assert gated["sigma_mm"][BUMP > 0.9].min() > 1.0 and np.median(gated["sigma_mm"][BUMP < 0.01]) == pytest.approx(0.01)


def test_a_hand_before_the_face_is_no_evidence():
    gated = replace_contradicted(small_image(SURFACE), scan_of(SURFACE + np.where(BUMP > 0.5, 12.0, 0.0)), small_image(SURFACE))
    np.testing.assert_allclose(gated["depth"], SURFACE, atol=1e-4)


@pytest.mark.parametrize("behind_mm", [4.5, 8.0, 12.0])
@pytest.mark.parametrize("where", [SMALL_ALL, BUMP > 0.5], ids=["everywhere", "in a patch"])
def test_a_scan_behind_the_surface_is_evidence(behind_mm, where):
    flat = np.zeros(SHAPE)
    gated = replace_contradicted(small_image(flat), scan_of(flat - where * behind_mm), small_image(flat))
    assert np.abs(gated["depth"] + behind_mm)[where & (BUMP > 0.6)].mean() < 0.25 * behind_mm
    assert np.abs(gated["depth"])[~where & (BUMP < 0.1)].max(initial=0) < 0.1


def test_what_flew_off_an_edge_is_no_evidence():
    flat, stray = np.zeros(SHAPE), np.random.default_rng(1).random(SHAPE) < 0.05
    gated = replace_contradicted(small_image(flat), scan_of(np.where(stray, -60.0, 0.0)), small_image(flat))
    assert gated["fallback"].mean() < 1e-3 and np.abs(gated["depth"]).max() < 0.1


@pytest.mark.parametrize("strength", [0.4, 1.0, 2.5])
def test_correlated_noise_is_no_contradiction_of_a_perfect_surface(strength):
    """TrueDepth's, which its scan alone shows as a seventh of what it is."""
    rng, chart = np.random.default_rng(0), OrthographicChart(160, 160)
    noise = (
        0.42 * strength * (np.sqrt(0.75) * correlated_noise((160, 160), 2.1, rng) + 0.5 * correlated_noise((160, 160), 12.8, rng))
    )
    everywhere = np.ones((160, 160), bool)
    scan = image_from_depth(noise, everywhere, chart).with_channel("noise_sigma", np.full((160, 160), 0.06 * strength))
    flat = image_from_depth(np.zeros((160, 160)), everywhere, chart)
    gated = replace_contradicted(flat, scan, flat.with_channel("sigma_mm", np.full((160, 160), 0.05)))
    assert gated["fallback"].mean() < 0.01 and np.abs(gated["depth"]).mean() < 0.01 * strength


@pytest.mark.parametrize("name", SENSORS)
def test_a_perfect_surface_that_is_sure_is_kept_under_every_simulated_sensor(name):
    model, chart, shares = default_model(), OrthographicChart(), []
    for seed in range(2):
        sensor, rng = SENSORS[name], np.random.default_rng(seed)
        face = TriangleMesh(known_face(seed + 1).vertices, seen_surface(model)[0])
        pose = SimilarityTransform(head_rotation(15 * seed, 5, 0), np.array([0, 0, np.mean(sensor.distance_mm)]))
        scan = observe(face, sensor, pose, rng)
        surface, truth = surface_of(scan), rasterize(face, chart)
        image = rasterize(surface.with_vertices(pose.inverse().apply(surface.vertices)), chart)
        image = image.with_channel("noise_sigma", noise_map(truth, image, noise_of_surface(scan, surface)))
        gated = replace_contradicted(truth, image, truth.with_channel("sigma_mm", np.full(truth.shape, 0.05)))
        shares.append(gated["fallback"][truth.valid_mask & image.valid_mask].mean())
    assert np.mean(shares) < 0.01


@pytest.mark.parametrize(
    "chart", [SMALL_CHART, CylindricalChart(96, 96, 2.0, reference_radius=150.0)], ids=lambda chart: chart.kind
)
def test_on_every_chart_a_steep_surface_is_contradicted_by_a_distance_and_not_by_a_step_in_depth(chart):
    steep = 150 + 3 * 2.0 * (ROWS - 48)  # tan 72°: a step of 1 mm in depth is a distance of 0.32 mm
    image = lambda depth: image_from_depth(depth, SMALL_ALL, chart)
    rng, patch = np.random.default_rng(0), BUMP > 0.7
    for step_mm, is_evidence in ((0.5, False), (4.0, True)):
        measured = image(steep + patch * step_mm + rng.normal(size=SHAPE) * 0.05)
        refined = image(steep).with_channel("sigma_mm", np.full(SHAPE, 0.05))
        found = contradiction(scan_evidence(measured.with_channel("noise_sigma", np.full(SHAPE, 0.05)), refined), refined)
        assert found[BUMP > 0.95].mean() > 0.9 if is_evidence else not found.any()


@pytest.mark.parametrize("miss_mm", [4.0, 5.0, 6.0, 8.0, -6.0])
def test_a_surface_that_is_whole_stays_whole_where_the_scan_ends(miss_mm):
    """The fit is off, the refined surface is perfect, the scan shows the left half: no step, and no crease in the normals."""
    coarse, refined = small_image(SURFACE), small_image(SURFACE + miss_mm)
    gated = replace_contradicted(coarse, scan_of(SURFACE + miss_mm, LEFT), refined)
    assert np.abs(np.diff(gated["depth"] - SURFACE, axis=1)).max() < 0.5
    inner = np.s_[4:-4, 4:-4]
    assert (channel_normals(gated) * channel_normals(coarse)).sum(2)[inner].min() > np.cos(np.radians(12))


def test_what_nobody_saw_leaves_the_seen_surface_without_a_step_and_comes_to_rest_at_the_prediction():
    flat = np.zeros(SHAPE)
    gated = replace_contradicted(small_image(flat), scan_of(flat, LEFT), small_image(np.where(LEFT, 0.0, 6.0)))
    beyond = np.maximum(COLUMNS - 47, 0) * SMALL_CHART.pixel_mm
    np.testing.assert_allclose(gated["depth"], 6 * (1 - np.exp(-beyond / LENGTH_MM)), atol=0.06)


def test_where_a_hand_hides_the_face_the_surface_follows_from_what_is_seen_about_it():
    hand, invented = BUMP > 0.6, 1.5 * (-1.0) ** (ROWS + COLUMNS)
    scan = scan_of(SURFACE + np.where(hand, 12.0, 0.0))
    gated = replace_contradicted(small_image(SURFACE), scan, small_image(SURFACE + np.where(hand, invented, 0.0)))
    np.testing.assert_allclose(gated["depth"], SURFACE, atol=0.1)


def test_what_nobody_saw_carries_no_fine_pattern():
    flat, checks = np.zeros(SHAPE), 0.3 * (-1.0) ** (ROWS + COLUMNS)
    gated = replace_contradicted(small_image(flat), scan_of(flat, LEFT), small_image(flat + np.where(LEFT, 0.0, 0.8 + checks)))
    unseen = np.s_[8:-8, SHAPE[1] // 2 + 24 : -8]
    np.testing.assert_allclose(gated["depth"][unseen], 0.8, atol=0.02)
    assert gated["normal_elevation"][unseen].min() > np.radians(88)
