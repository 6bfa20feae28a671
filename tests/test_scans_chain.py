"""One chain: whoever sends a scan through it gets the same bytes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import face_relief
from geometry import readers
from geometry.errors import NoFaceFound, ReadError
from geometry.fitting import encoding
from geometry.fitting.target import prepare_target
from geometry.landmarks.given import GivenLandmarks
from geometry.model.landmark_embedding import shipped_schemes
from geometry.readers import ply_elements
from geometry.readers.scan_file import ScanFile
from geometry.recognition.rightness import probability_right
from geometry.synthesis import deformation_transfer
from geometry.transforms import SimilarityTransform
from pipeline.execution.stages import Load, Steps
from pipeline.inputs.source import Source
from pipeline.scans import chain, config, files, methods, steps
from pipeline.scans.job import Job
from pipeline.scans.state import ScanState
from pipeline.training import real_truth, sampled_pairs
from pipeline.training.config import SynthesisConfig

SCAN = Path(__file__).parents[1] / "examples" / "scans" / "laser_frontal.ply"
SOURCE = Source(SCAN.name, str(SCAN))


def bytes_of(state: ScanState) -> bytes:
    """All that is fitted and encoded."""
    images = [values for image in (state.encoding.coarse, state.encoding.scan) for values in image.channels.values()]
    fit = [state.fit.vertices, state.fit.identity_coefficients, state.fit.expression_coefficients, state.fit.scan_to_model.matrix]
    return b"".join(np.ascontiguousarray(array).tobytes() for array in (*fit, *images))


@pytest.fixture(scope="module")
def by_run(tmp_path_factory):
    """What the run's own stages make of the scan's bytes."""
    job = Job(config.Config(), str(tmp_path_factory.mktemp("out")))
    (loaded,) = Load(job).process(SOURCE)
    (state,) = Steps(chain.TO_THE_FIT, job).process(loaded)
    return state


def test_a_scan_that_is_already_read_goes_the_same_way(by_run):
    state = chain.fitted(ScanState(SOURCE, scan=readers.read(SCAN)), Job(SynthesisConfig()))
    assert bytes_of(state) == bytes_of(by_run)


def test_the_quality_of_a_fit_is_the_probability_that_its_evidence_gives(by_run):
    assert by_run.fit.fit_quality == probability_right(by_run.evidence) >= 0.9
    assert by_run.evidence.has_landmarks and by_run.evidence.visible_face == by_run.fit.visible_face
    held = json.loads(files.fit_bytes(by_run, Job(config.Config()).model))
    assert held["fit_quality"] == by_run.fit.fit_quality
    assert held["evidence"].keys() == vars(by_run.evidence).keys()


def test_a_fit_says_how_sure_it_is(by_run):
    """In fit.json, and for every vertex of coarse.ply."""
    model = Job(config.Config()).model
    told = json.loads(files.fit_bytes(by_run, model))
    posterior, count = told["posterior"], len(told["identity_coefficients"]) + len(told["expression_coefficients"])
    assert len(posterior["pose_sigma"]) == 6 and len(posterior["diagonal"]) == len(posterior["factor"]) == 6 + count
    variances = np.array(posterior["diagonal"]) + (np.array(posterior["factor"]) ** 2).sum(axis=1)
    sigma = posterior["pose_sigma"] + posterior["identity_sigma"] + posterior["expression_sigma"]
    np.testing.assert_allclose(np.sqrt(variances), sigma, rtol=2e-3)
    assert told["noise"]["sigma_mm"] >= 0 and 0.2 < told["discrepancy_sigma"] < 4
    coarse = ply_elements.read_elements(ScanFile("coarse.ply", files.coarse_bytes(by_run, model)))
    seen = model.regions["face"]  # the laser looks at it; the back of the head nobody saw
    stated = coarse["vertex"]["sigma_mm"]
    assert len(stated) == model.n_vertices and np.median(stated[seen]) < 0.6 < np.median(stated[~seen])


def test_noise_is_told_in_the_models_millimetres(by_run):
    """A scan without scale is fitted at the model's size: what its points scatter by there is its noise."""
    location = by_run.location
    grown = SimilarityTransform(np.eye(3), np.zeros(3), 2.0)
    scan = replace(location.scan, points=2 * location.scan.points, scale_is_metric=False)
    larger = replace(location, scan=scan, scan_to_model=location.scan_to_model.compose(grown.inverse()))
    model, noise = Job(config.Config()).model, []
    for each in (location, larger):
        noise.append(prepare_target(each, model).noise_mm)
    assert noise[1] == pytest.approx(noise[0], rel=0.15) and noise[0] > 0


def test_a_fit_that_is_too_improbable_is_refused(by_run):
    job = Job(config.load(settings=["accept.probability=1.0"]))
    with pytest.raises(NoFaceFound, match="at least 100"):
        steps.rasterize(by_run, job)


def test_a_fit_without_a_landmark_is_refused_where_the_network_looked_and_accepted_where_it_was_not_asked(by_run):
    blind = replace(by_run, location=replace(by_run.location, estimate=None))
    asked, unasked = (Job(config.load(settings=["accept.unrecognised=1", *more])) for more in ([], ["locate=pose_search"]))
    with pytest.raises(NoFaceFound, match="probability"):
        steps.rasterize(blind, asked)
    assert steps.rasterize(blind, unasked).fit.fit_quality >= 0.6


def test_what_half_a_face_does_not_show_is_noted_as_the_models_guess(by_run):
    job, half = Job(config.load(settings=["accept.probability=0"])), replace(by_run.fit, visible_face=0.4)
    (note,) = set(steps.rasterize(replace(by_run, fit=half), job).notes) - set(by_run.notes)
    assert note == "only 40 % of the face was seen; the rest is the model's guess"


def test_pairs_from_scans_are_fitted_as_a_run_fits(by_run, monkeypatch):
    asked = []
    monkeypatch.setattr(real_truth, "judge_truth", lambda surface, fit, scan, *_: asked.append((surface, fit, scan)))
    monkeypatch.setattr(deformation_transfer, "attach", lambda *_: None)
    digest = by_run.input_hash
    face = real_truth.real_face(SOURCE, digest, SynthesisConfig())
    surface, fit, scan = asked[0]
    assert bytes_of(replace(by_run, fit=fit, encoding=replace(by_run.encoding, scan=scan))) == bytes_of(by_run)
    assert np.array_equal(face.identity, by_run.fit.identity_coefficients)
    expected = encoding.scan_surface(by_run.location.scan, by_run.fit, Job(config.Config()).model)
    assert np.array_equal(surface.vertices, expected.vertices)


def test_sampled_pairs_are_fitted_as_a_run_fits(by_run):
    pose = by_run.fit.scan_to_model.inverse()  # stands for the true pose, which only judges where the fit ended
    rng = np.random.default_rng(0)
    assert bytes_of(sampled_pairs.fitted(readers.read(SCAN), pose, Job(SynthesisConfig()), rng)) == bytes_of(by_run)
    with pytest.raises(sampled_pairs.FitError, match="from the true pose"):
        astray = SimilarityTransform(np.eye(3), np.array([0.0, 40.0, 0.0])).compose(pose)
        sampled_pairs.fitted(readers.read(SCAN), astray, Job(SynthesisConfig()), rng)


def test_the_python_api_is_a_run_of_one_scan(by_run):
    result = face_relief.process(SCAN, "refine=none", "landmarks.method=mesh")
    assert bytes_of(result.state) == bytes_of(by_run)
    assert result.registered.vertices.shape == result.model.mean.shape and len(result.landmarks.points) == 68


def test_a_start_that_is_taken_for_granted_leads_to_the_same_face(by_run):
    start = SimilarityTransform(np.eye(3), np.array([3.0, -2.0, 4.0])).compose(by_run.fit.scan_to_model)
    state = chain.fitted(ScanState(SOURCE, scan=readers.read(SCAN), start=start), Job(SynthesisConfig()))
    apart = np.linalg.norm(state.fit.vertices - by_run.fit.vertices, axis=1)[Job(config.Config()).model.regions["face"]]
    assert apart.mean() < 1.0


@pytest.mark.parametrize("confidence", [0.3, 0.9])
def test_given_landmarks_win_against_a_face_of_which_the_locator_is_not_sure(by_run, confidence, monkeypatch):
    """Found is a face that is turned and away from where it is; where that is not sure, the chain goes on from the given."""
    job, located = Job(config.Config()), by_run.location
    off = SimilarityTransform(np.diag([-1.0, 1, -1]), np.array([0.0, 80, 60]))
    marks = located.estimate.points
    astray = replace(
        located, estimate=located.estimate.transformed(off), scan_to_model=located.scan_to_model.compose(off.inverse())
    )
    astray = replace(astray, confidence=confidence)
    monkeypatch.setitem(methods.LOCATORS, "landmarks", lambda *given: astray)
    monkeypatch.setattr(steps.handedness, "require_unmirrored", lambda *given: None)
    given = GivenLandmarks(marks[17:], shipped_schemes()["ibug51"].names, tuple(range(17, 68)), "ibug51", "scan.pp")
    state = ScanState(SOURCE, scan=located.scan, given_landmarks=given)
    if confidence > 0.6:
        with pytest.raises(ReadError, match="contradict the face found"):
            steps.locate(state, job)
        return
    found = steps.locate(state, job).location
    assert found.scan_to_model.compose(located.scan_to_model.inverse()).angle_deg < 5 and found.estimate is None
    assert (
        "the given landmarks contradict the face found, which is not sure or another one, and were believed"
        in found.scan.notes[-1]
    )
