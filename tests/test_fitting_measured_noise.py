"""The noise of a scan, measured from what a fit leaves: simulated sensors before a face that the model does not quite hold."""

import numpy as np
import pytest
from sampled_faces import default_model as model

from geometry.fitting.measured_noise import measured_noise, residuals_on_smooth_skin, signed_distances
from geometry.mesh import TriangleMesh
from geometry.scan import Scan
from geometry.surfaces.noise_estimation import noise_of_surface
from geometry.surfaces.noise_spectrum import noise_spectrum
from geometry.surfaces.triangulation import surface_of
from geometry.synthesis.faces import SynthesisOptions, discrepancy, sample_face
from geometry.synthesis.sensors import SENSORS, head_rotation, observe
from geometry.transforms import SimilarityTransform

BARE = SynthesisOptions(hair_share=0.0, hand_share=0.0, glasses_share=0.0, beard_share=0.0)


def seen_by(sensor, seed):
    """A scan of a face off the model, where it truly is, and what the model has of the face: mm about 0.4 off it."""
    rng = np.random.default_rng(seed)
    face = sample_face(model(), rng, BARE)
    pose = SimilarityTransform(head_rotation(10, 5, 0), np.array([0, 0, np.mean(SENSORS[sensor].distance_mm)]))
    scan = observe(face.skin, SENSORS[sensor], pose, rng, face.surroundings, strength=1.0)
    return scan, pose.inverse(), model().instance(face.identity, face.expression), face.skin


def alone(scan):
    return noise_of_surface(scan, surface_of(scan))


@pytest.mark.parametrize("sensor", ["kinect_v1", "truedepth", "time_of_flight", "stereo", "photogrammetry"])
def test_correlated_noise_is_told_from_what_the_fit_is_off(sensor):
    """The estimate from the scan alone finds 0.07 to 0.63 of it. Variances are pooled over the scans: photogrammetry's noise is
    nearly as long as what counts as noise, so that a scan may have no correlated part at all."""
    pooled = []
    for seed in range(3):
        scan, to_model, fitted, skin = seen_by(sensor, seed)
        found = measured_noise(scan, to_model, fitted, model(), alone(scan))
        points = residuals_on_smooth_skin(scan, to_model, fitted, model()).points
        truth = noise_spectrum(points, signed_distances(points, skin)[0])
        pooled.append([(each.sigma_mm**2, (each.sigma_mm * each.correlation_mm) ** 2) for each in (found, truth)])
    (found_variance, found_moment), (variance, moment) = np.mean(pooled, axis=0)
    sigma, length = np.sqrt(found_variance / variance), np.sqrt(found_moment / found_variance / (moment / variance))
    assert 0.75 < sigma < 1.3 and 0.65 < length < 1.5


def test_of_a_laser_scan_what_is_alike_over_millimetres_is_the_fits_error():
    """Its noise is alike over its lines' spacing at most. Half of it and more was told to be alike over 3 mm."""
    pooled = []
    for seed in range(4):
        scan, to_model, fitted, skin = seen_by("laser", seed)
        found = measured_noise(scan, to_model, fitted, model(), alone(scan))
        points = residuals_on_smooth_skin(scan, to_model, fitted, model()).points
        truth = noise_spectrum(points, signed_distances(points, skin)[0])
        pooled.append((found.sigma_mm**2, (found.sigma_mm * found.correlation_mm) ** 2, truth.sigma_mm**2))
    variance, moment, true = np.mean(pooled, axis=0)
    assert 0.75 < np.sqrt(variance / true) < 1.3 and np.sqrt(moment / variance) < 1.5


@pytest.mark.parametrize("wrong", [1, 3])
def test_a_fit_that_is_far_off_does_not_take_a_depth_images_noise_away(wrong):
    """What it is off is taken off the noise, which then was none at all; the scan alone shows some."""
    scan, to_model, _, _ = seen_by("truedepth_vga", 0)
    other = model().instance(2.5 * np.random.default_rng(wrong).standard_normal(model().n_identity))
    found = measured_noise(scan, to_model, other, model(), alone(scan))
    assert found.broad_mm > 4 and found.sigma_mm > 0.999 * alone(scan) > 0.05


def test_a_clean_mesh_shows_next_to_nothing_alone():
    """Its vertices are off by 1 µm here; where the face is curved, the chords of its triangles are by 10."""
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        face = sample_face(model(), rng, BARE)
        pose = SimilarityTransform(head_rotation(10, 5, 0), np.array([0, 0, 400.0]))
        found.append(alone(observe(face.skin, SENSORS["clean_mesh"], pose, rng, face.surroundings, strength=0.1)))
    assert np.mean(found) < 0.008, found


def test_what_the_fit_is_off_is_no_noise():
    fitted = model().instance(np.random.default_rng(0).standard_normal(model().n_identity))
    mesh = TriangleMesh(fitted, model().triangles)
    for seed in range(3):
        off = discrepancy(model().mean, np.random.default_rng(seed), SynthesisOptions(beyond_rms_mm=(0.4, 0.4)))
        scan = Scan(fitted + off[:, None] * mesh.vertex_normals, model().triangles, source="face", format="test")
        found = measured_noise(scan, SimilarityTransform.identity(), fitted, model(), alone(scan))
        assert found.sigma_mm < 0.15 and found.broad_mm > 0.2


def test_signed_distances_are_positive_outside():
    mesh = TriangleMesh(model().mean, model().triangles)
    skin = np.flatnonzero(model().regions["forehead"])
    outside, corners = signed_distances(mesh.vertices[skin] + 2.0 * mesh.vertex_normals[skin], mesh)
    inside, _ = signed_distances(mesh.vertices[skin] - 1.0 * mesh.vertex_normals[skin], mesh)
    assert np.allclose(outside, 2.0, atol=0.05) and np.allclose(inside, -1.0, atol=0.05)
    assert model().regions["forehead"][corners].any(axis=1).mean() > 0.95
    assert len(signed_distances(np.zeros((0, 3)), mesh)[0]) == 0


def test_a_scan_elsewhere_has_no_noise_to_measure():
    far = Scan(np.random.default_rng(0).normal(size=(500, 3)) + 1000, [], source="far", format="test")
    assert measured_noise(far, SimilarityTransform.identity(), model().mean, model(), alone(far)) is None
