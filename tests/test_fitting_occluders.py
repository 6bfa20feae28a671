"""What stands before a face, or moves below it, is not taken for its shape."""

import numpy as np
import pytest
from sampled_faces import default_model as model

from geometry.fitting.staged_fit import fit
from geometry.locating.cleaning import clean
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh
from geometry.surfaces.normals import with_normals
from geometry.synthesis import occluders
from geometry.synthesis.faces import SampledFace, SynthesisOptions, sample_face
from geometry.synthesis.sensors import SENSORS, head_rotation, observe
from geometry.transforms import SimilarityTransform

ON_MODEL = SynthesisOptions(
    expression_strength=(0, 0), beyond_rms_mm=(0, 0), broad_rms_mm=(0, 0), feature_rms_mm=(0, 0), soft_share=0.0,
    smooth_share=1.0, aged_share=0.0, hair_share=0.0, beard_share=0.0, glasses_share=0.0, hand_share=0.0,
)  # fmt: skip


def core(face: SampledFace) -> TriangleMesh:
    return TriangleMesh(model().instance(face.identity, face.expression), model().triangles)


def identity_error_mm(sensor: str, thing: str, seed: int) -> float:
    """RMS distance over the face of the fitted identity's shape from the true one."""
    rng = np.random.default_rng(seed)
    face = sample_face(model(), rng, ON_MODEL)
    before = occluders.shoulders(face.landmarks, rng) if thing == "shoulders" else occluders.hair(core(face), face.landmarks, rng)
    pose = SimilarityTransform(head_rotation(5, 3, 0), np.array([0, 0, np.mean(SENSORS[sensor].distance_mm)]))
    scan = with_normals(clean(observe(face.skin, SENSORS[sensor], pose, rng, [*face.surroundings, before], strength=1.0)))
    found = fit(Location(scan, pose.inverse(), 0.9), model())
    shape, truth = model().instance(found.identity_coefficients), model().instance(face.identity)
    skin = model().regions["face"] & ~model().regions["eyes"]
    return float(np.sqrt(((shape - truth)[skin] ** 2).sum(axis=1).mean()))


@pytest.mark.parametrize(("sensor", "thing", "most_mm"), [("truedepth", "shoulders", 2.8), ("clean_mesh", "hair", 1.3)])
def test_identities_do_not_follow_what_stands_before_or_below_a_face(sensor, thing, most_mm):
    errors = [identity_error_mm(sensor, thing, seed) for seed in range(4)]
    assert np.sqrt(np.mean(np.square(errors))) < most_mm, errors


def capped(head: TriangleMesh, thickness_mm: float) -> TriangleMesh:
    """The scalp of a head, with hair of one thickness."""
    patch, kept = head.submesh(model().regions["scalp"])
    return patch.with_vertices(patch.vertices + thickness_mm * head.vertex_normals[kept])


def test_identities_seen_from_the_side_do_not_follow_the_hair():
    """There half of what a camera sees of a head is scalp."""
    apart = []
    for seed in range(3):
        shapes = []
        face = sample_face(model(), np.random.default_rng(seed), ON_MODEL)
        pose = SimilarityTransform(head_rotation(60, 0, 0), np.array([0, 0, np.mean(SENSORS["truedepth"].distance_mm)]))
        for hair in ([], [capped(core(face), 10.0)]):
            around, rng = [*face.surroundings, *hair], np.random.default_rng(10 + seed)
            scan = with_normals(clean(observe(face.skin, SENSORS["truedepth"], pose, rng, around, strength=1.0)))
            shapes.append(model().instance(fit(Location(scan, pose.inverse(), 0.9), model()).identity_coefficients))
        skin = model().regions["face"] & ~model().regions["eyes"]
        apart.append(np.sqrt(((shapes[1] - shapes[0])[skin] ** 2).sum(axis=1).mean()))
    assert np.sqrt(np.mean(np.square(apart))) < 0.2, apart
