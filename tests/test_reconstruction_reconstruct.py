"""From simulated scans of faces of the model to the surfaces of a run: with open mouths and shut ones, whole and half seen.

The fits are made up, not fitted: a face beside the true one, in the true pose. Dense templates are thin ones."""

from dataclasses import dataclass, replace
from functools import lru_cache
from unittest.mock import patch

import numpy as np
import pytest
from dense_faces import boundary_loops, followed, opened, thin_face
from sampled_faces import default_model

from geometry.charts.chart import OrthographicChart
from geometry.fitting.encoding import encode
from geometry.fitting.posterior import FitPosterior
from geometry.fitting.result import FitResult
from geometry.locating.cleaning import clean
from geometry.mesh import TriangleMesh
from geometry.reconstruction import reconstruct as module
from geometry.reconstruction.reconstruct import Reconstruction, mouth_is_closed, reconstruct, scan_target
from geometry.refinement.baselines import smooth_refine
from geometry.scan import Scan
from geometry.surfaces.closest_point import surface_distance
from geometry.surfaces.joined_borders import joined
from geometry.surfaces.normals import with_normals
from geometry.surfaces.seen_surface import seen_surface
from geometry.surfaces.self_intersection import intersecting_triangles
from geometry.synthesis.sensors import SENSORS, head_rotation, observe
from geometry.transforms import SimilarityTransform

FIT_SIGMA_MM = 0.7
TONGUE_MM = 12.0  # behind open lips
NOISE_MM = {"clean_mesh": 0.03, "truedepth": 0.4, "kinect_v1": 1.0}


@dataclass(frozen=True, eq=False)
class Simulated:
    """true (n, 3): the face that was scanned, model frame; scan, and a fit that is off by some tenths of a millimetre."""

    true: np.ndarray
    scan: Scan
    fit: FitResult

    @property
    def surface(self) -> TriangleMesh:
        return TriangleMesh(self.true, seen_surface(default_model())[0])


@lru_cache(maxsize=8)
def simulated(sensor: str, jaw: float, seed: int) -> Simulated:
    model, rng = default_model(), np.random.default_rng(seed)
    identity = 0.7 * rng.standard_normal(model.n_identity)
    true, (triangles, inside) = opened(model, jaw, identity), seen_surface(model)
    tongue = TriangleMesh(true - [0.0, 0.0, TONGUE_MM if jaw else 0.0], triangles[inside])
    pose = SimilarityTransform(head_rotation(5, 3, 0), np.array([0, 0, np.mean(SENSORS[sensor].distance_mm)]))
    scene = [tongue.submesh(np.isin(np.arange(len(true)), tongue.triangles))[0]]
    scan = with_normals(clean(observe(TriangleMesh(true, triangles[~inside]), SENSORS[sensor], pose, rng, scene, strength=1.0)))
    beside = opened(model, jaw, identity + 0.1 * rng.standard_normal(model.n_identity))
    return Simulated(true, scan, fit_of(beside, pose.inverse(), NOISE_MM[sensor]))


def fit_of(vertices: np.ndarray, scan_to_model: SimilarityTransform, noise_mm: float) -> FitResult:
    model = default_model()
    count = 6 + model.n_identity + model.n_expression
    posterior = FitPosterior(0.01 * np.eye(count), 6, model.n_identity, np.full(model.n_vertices, FIT_SIGMA_MM))
    none = np.zeros(model.n_identity), np.zeros(model.n_expression)
    return FitResult(*none, scan_to_model, vertices, {}, np.nan, noise_mm, 1.0, 1e4, 1.0, posterior)


def made(face: Simulated, follow_scan: bool = True) -> Reconstruction:
    encoded = encode(face.scan, face.fit, default_model(), OrthographicChart())
    refined = smooth_refine(encoded.coarse, encoded.scan)
    with patch.object(module, "dense_template", lambda model: thin_face()):
        return reconstruct(default_model(), face.fit, face.scan, refined, refined["confidence"] > 0.5, follow_scan)


@lru_cache(maxsize=8)
def made_of(sensor: str, jaw: float, seed: int) -> Reconstruction:
    return made(simulated(sensor, jaw, seed))


def skin(model) -> np.ndarray:
    return model.triangles[~model.regions["cavities"][model.triangles].any(axis=1)]


CASES = pytest.mark.parametrize(
    ("sensor", "jaw", "seed"),
    [("clean_mesh", 0.0, 1), ("clean_mesh", 0.6, 2), ("truedepth", 0.0, 3), ("truedepth", 1.0, 4), ("kinect_v1", 0.3, 5)],
)


@CASES
def test_the_surface_is_nearer_to_the_face_than_the_fit_was_and_no_farther_than_noise_has_it(sensor, jaw, seed):
    face, found = simulated(sensor, jaw, seed), made_of(sensor, jaw, seed)
    seen = found.refined.observed > 0
    errors = surface_distance(found.refined.mesh.vertices[seen], face.surface)
    assert seen.mean() > 0.4 and np.median(errors) < max(1.2 * NOISE_MM[sensor], 0.05)
    if sensor == "clean_mesh":
        region = default_model().regions["face"] & (found.observed > 0)
        for vertices, most in ((found.registered, 0.1), (face.fit.vertices, np.inf)):
            assert surface_distance(vertices[region], face.surface).mean() < most
        assert np.quantile(errors, 0.95) < 0.3 < np.quantile(surface_distance(face.fit.vertices[region], face.surface), 0.95)


@CASES
def test_no_skin_passes_through_skin_nor_turns_over(model, sensor, jaw, seed):
    found = made_of(sensor, jaw, seed)
    assert len(intersecting_triangles(TriangleMesh(found.registered, skin(model)))) == 0
    assert len(intersecting_triangles(found.refined.mesh)) == 0
    before, after = (
        TriangleMesh(v, skin(model)).triangle_area_vectors for v in (simulated(sensor, jaw, seed).fit.vertices, found.registered)
    )
    assert ((before * after).sum(axis=1) < 0).mean() < 1e-3


@CASES
def test_mouths_are_open_or_shut_as_the_scan_shows_them(sensor, jaw, seed):
    mesh = made_of(sensor, jaw, seed).refined.mesh
    assert boundary_loops(mesh) == (2 if jaw else 1) and np.ptp(mesh.component_labels) == 0


@CASES
def test_every_vertex_has_a_spread_and_what_is_unseen_the_fits(sensor, jaw, seed):
    found = made_of(sensor, jaw, seed)
    for sigma, observed in ((found.refined_sigma_mm, found.refined.observed), (found.sigma_mm, found.observed)):
        assert np.isfinite(sigma).all() and (sigma > 0).all()
        np.testing.assert_allclose(sigma[observed == 0], FIT_SIGMA_MM)
        assert 0.1 < observed.mean() < 1 and observed.dtype == np.uint8


@CASES
def test_vertices_at_one_place_say_the_same(model, sensor, jaw, seed):
    """Eyeballs and linings begin on the rims of lids and lips."""
    found, first = made_of(sensor, jaw, seed), joined(model.mesh())
    assert (first != np.arange(len(first))).sum() > 100
    for values in (found.registered, found.observed, found.sigma_mm):
        np.testing.assert_array_equal(values, values[first])


def test_the_registered_mesh_lies_on_the_refined_one():
    found = made_of("clean_mesh", 0.0, 1)
    region = default_model().regions["cheeks"] | default_model().regions["forehead"]
    seen = region & (found.observed > 0)
    assert np.quantile(surface_distance(found.registered[seen], found.refined.mesh), 0.95) < 0.1


def test_half_a_face_is_followed_where_it_is_seen_and_is_the_fit_far_from_there():
    face = simulated("clean_mesh", 0.0, 1)
    half = replace(face, scan=face.scan.keep(face.fit.scan_to_model.apply(face.scan.points)[:, 0] > 0))
    found = made(half)
    x = found.registered[:, 0]
    assert found.observed[default_model().regions["face"] & (x > 8)].mean() > 0.8 and not found.observed[x < -8].any()
    unseen = default_model().regions["face"] & (x < -35)
    assert np.linalg.norm(found.registered - face.fit.vertices, axis=1)[unseen].max() < 0.6
    assert boundary_loops(found.refined.mesh) == 1


def nowhere(face: Simulated) -> Simulated:
    return replace(face, scan=face.scan.keep(np.zeros(len(face.scan.points), bool)))


def aside(face: Simulated) -> Simulated:
    away = SimilarityTransform(np.eye(3), np.array([0.0, 0.0, -700.0]))
    return replace(face, fit=replace(face.fit, scan_to_model=away.compose(face.fit.scan_to_model)))


@pytest.mark.parametrize("follow_scan", [True, False])
@pytest.mark.parametrize("scan", [nowhere, aside])
def test_without_any_scan_in_reach_it_is_the_fit(scan, follow_scan):
    face = scan(simulated("truedepth", 0.0, 3))
    found = made(face, follow_scan)
    assert not found.observed.any() and not found.refined.observed.any()
    np.testing.assert_allclose(found.sigma_mm, FIT_SIGMA_MM)
    assert np.linalg.norm(found.registered - face.fit.vertices, axis=1)[default_model().regions["face"]].max() < 0.6


def test_a_scan_that_is_not_followed_has_no_say_beside_the_image():
    """The image of another face's scan decides then, and with it the scan's own vertices change nothing."""
    face = simulated("clean_mesh", 0.0, 1)
    encoded = encode(face.scan, face.fit, default_model(), OrthographicChart())
    refined = smooth_refine(encoded.coarse, encoded.scan)
    with patch.object(module, "dense_template", lambda model: thin_face()):
        with_scan, without = (
            reconstruct(default_model(), face.fit, scan, refined, refined["confidence"] > 0.5, False)
            for scan in (face.scan, nowhere(face).scan)
        )
    for name in ("registered", "observed", "sigma_mm", "refined_sigma_mm"):
        np.testing.assert_array_equal(getattr(with_scan, name), getattr(without, name))
    assert without.observed.mean() < made_of("clean_mesh", 0.0, 1).observed.mean()  # the sides


def test_without_a_posterior_what_is_unseen_has_no_spread():
    face = simulated("truedepth", 0.0, 3)
    found = made(replace(face, fit=replace(face.fit, posterior=None)))
    for sigma, observed in ((found.refined_sigma_mm, found.refined.observed), (found.sigma_mm, found.observed)):
        np.testing.assert_array_equal(np.isnan(sigma), observed == 0)


def test_the_same_comes_out_twice():
    once, again = made_of("truedepth", 0.0, 3), made(simulated("truedepth", 0.0, 3))
    for name in ("registered", "observed", "sigma_mm", "refined_sigma_mm"):
        assert getattr(once, name).tobytes() == getattr(again, name).tobytes()
    assert once.refined.mesh.vertices.tobytes() == again.refined.mesh.vertices.tobytes()


# whether a mouth is closed

GAPES = {0.0: True, 0.02: True, 0.1: False, 0.3: False, 1.0: False}


@pytest.mark.parametrize("jaw", GAPES)
def test_without_a_scan_the_registered_lips_decide(model, jaw):
    empty = followed(TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), int)))
    assert mouth_is_closed(model, opened(model, jaw), None) == mouth_is_closed(model, opened(model, jaw), empty) == GAPES[jaw]


@pytest.mark.parametrize("cut_mm", range(-30, 31, 3))
def test_half_a_closed_mouth_is_closed_and_half_an_open_one_open(model, cut_mm):
    """However much of it the scan shows."""
    triangles, inside = seen_surface(model)
    for jaw, closed in ((0.0, True), (0.4, False)):
        vertices = opened(model, jaw)
        shown = TriangleMesh(vertices, triangles if closed else triangles[~inside])
        half = shown.submesh(vertices[:, 0] > cut_mm)[0]
        assert mouth_is_closed(model, vertices, followed(half)) == closed


def test_a_scan_is_believed_before_the_fit(model):
    triangles, inside = seen_surface(model)
    shut, agape = opened(model, 0.0), opened(model, 0.1)
    assert mouth_is_closed(model, agape, followed(TriangleMesh(agape, triangles)))  # something lies between the lips
    deep = agape - [0.0, 0.0, 8.0] * np.isin(np.arange(len(agape)), triangles[inside])[:, None]
    assert not mouth_is_closed(model, shut, followed(TriangleMesh(deep, triangles[inside])))


def test_a_model_without_rims_has_its_mouth_closed(model):
    assert mouth_is_closed(replace(model, curves={}), opened(model, 1.0), None)


@pytest.mark.parametrize(("sensor", "jaw"), [("clean_mesh", 0.2), ("truedepth", 0.6), ("kinect_v1", 1.0), ("truedepth", 0.0)])
def test_sensors_show_whether_mouths_are_open(model, sensor, jaw):
    for seed in (11, 12):
        face = simulated(sensor, jaw, seed)
        assert mouth_is_closed(model, face.fit.vertices, scan_target(face.scan, face.fit, model)) == (jaw == 0)
